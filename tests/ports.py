"""Ports on loopback for servers that tests start, and start again."""

from __future__ import annotations

import random
import socket
import sys

FIRST, LAST = 10_000, 30_000
"""Below what systems draw the near end of connections from: no connection takes the port of a server
that is down for a moment, nor becomes its own other end by trying to reach it."""

_claims: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other process of the tests gets from here while
    this one lives, as often as the server that it is for is killed and started again."""
    while True:
        port = random.SystemRandom().randrange(FIRST, LAST)
        if _is_claimed(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def _is_claimed(port: int) -> bool:
    if sys.platform != "linux":
        return False  # without abstract names there is but chance, which is small enough
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0openbell tests, port {port}")
    except OSError:
        claim.close()
        return True
    _claims.append(claim)
    return False
