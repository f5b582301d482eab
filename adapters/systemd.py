"""Tells a service manager how the process is, by the datagrams of sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from loguru import logger

from openbell.hidden import conceal


class Notifier:
    """Sends states to the socket that `NOTIFY_SOCKET` names; does nothing where there is none."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        path = env.get("NOTIFY_SOCKET", "")
        # "@" stands for the byte 0 of Linux's abstract sockets, which have no file.
        self._address = f"\0{path[1:]}" if path[:1] == "@" else path
        self._refused = False
        self.watchdog_seconds: float | None = None
        """How often the manager wants to hear WATCHDOG; None: not at all."""
        usec, of = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
        if self and usec.isdecimal() and int(usec) and of in ("", str(os.getpid())):
            self.watchdog_seconds = int(usec) / 1e6

    def __bool__(self) -> bool:
        return self._address[:1] in ("/", "\0")

    def tell(self, *states: str) -> None:
        """Send states such as `READY=1`; never waits, and a socket that refuses is told of once."""
        if not self:
            return
        text = "\n".join(conceal(state.replace("\n", " ")) for state in states)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.setblocking(False)
                to.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._refused:
                self._refused = True
                logger.warning("NOTIFY_SOCKET can't be told how the process is: {}", error)
