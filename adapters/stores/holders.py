"""Who holds a lease: telling this process to others, and the dead from the living."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson

from openbell.adapters.stores.base import Fenced, Held, Holder, LeaseHeld

_PROC = Path("/proc")

_COUNTS_TO = 10**11
"""Heartbeats above are times: no count gets there, and no time since 1973 is below."""


def this_process() -> Holder:
    """On systems without /proc it can't be told from afar whether the process has died."""
    return Holder(socket.gethostname(), _boot_id(), os.getpid(), _started(os.getpid()) or "")


def is_certainly_dead(holder: Holder) -> bool:
    """Whether its process, on this host and since its boot, is gone; False when in doubt."""
    if not _is_here(holder):
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # somebody else's, and alive
    started = _started(holder.pid)
    # None: /proc may hide others' processes (hidepid), or it ended this instant.
    return started is not None and started != holder.started


def _is_here(holder: Holder) -> bool:
    """Whether its process would be seen from this one."""
    if not holder.boot_id or not holder.started:
        return False
    return (holder.host, holder.boot_id) == (socket.gethostname(), _boot_id())


@cache
def _boot_id() -> str:
    """Of the kernel's boot and of the pid namespace: containers share the one but not the other,
    and a pid says nothing outside its own."""
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    return ""


def _started(pid: int) -> str | None:
    """Ticks since boot at which the process started; "ended" when only its parent's call for its
    exit code is outstanding."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold anything; field 3 follows it.
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]


class Lease(NamedTuple):
    """As a store keeps it."""

    fence: int
    beat: int
    """Higher with each heartbeat: milliseconds since 1970 by the store's clock, or a mere count,
    which is what version 2 had. Watchers go by its changes only."""
    token: str
    """Drawn at random by the `Store` object that holds it: two in one process are told apart."""
    holder: Holder | None
    """None: what was stored can't be read."""

    def whose(self) -> str:
        if self.holder is None:
            return "a process whose record is damaged"
        return f"process {self.holder.pid} on {self.holder.host}"

    def held(self, now_ms: int) -> Held:
        """For people."""
        tells = self.beat > _COUNTS_TO
        return Held(
            self.holder,
            max(now_ms - self.beat, 0) / 1e3 if tells else None,
            self.holder is not None and is_certainly_dead(self.holder),
        )


def encode_holder(holder: Holder) -> bytes:
    return orjson.dumps(asdict(holder))


def decode_holder(data: bytes) -> Holder | None:
    try:
        return Holder(**orjson.loads(data))
    except (ValueError, TypeError):
        return None


class Watch:
    """Judges another's lease by this process's monotonic clock: no two clocks are compared."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._seen: tuple[int, int] | None = None
        self._since_ns = 0

    def may_replace(self, lease: Lease, token: str, ttl_ns: int) -> bool:
        if lease.token == token or (lease.holder and is_certainly_dead(lease.holder)):
            return True
        now_ns = self._clock_ns()
        if self._seen != (lease.fence, lease.beat):
            self._seen, self._since_ns = (lease.fence, lease.beat), now_ns
        return now_ns - self._since_ns >= ttl_ns


def held(where: str, lease: Lease, ttl_ns: int) -> LeaseHeld:
    return LeaseHeld(
        lease.whose(),
        f"{where}: {lease.whose()} holds the lease; stop it, or wait until its heartbeat has stood "
        f"still for {ttl_ns / 1e9:g} s",
        lives=lease.holder is not None and _is_here(lease.holder),
    )


def fenced(where: str, fence: int, lease: Lease | None) -> Fenced:
    if lease is None:
        return Fenced(
            f"{where}: the lease of token {fence} is gone, and nobody has it: the state was deleted, "
            "or the store has lost its data; nothing was written; bring the data back, or start "
            "again from what is there now"
        )
    now = f"{lease.whose()} has it, with token {lease.fence}"
    return Fenced(
        f"{where}: the lease of token {fence} is gone, {now}; nothing was written; stop this "
        "process, or let it take the lease and read the state anew"
    )
