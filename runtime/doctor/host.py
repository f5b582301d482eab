"""What the host has to offer: a clock that is right, room on its disks, the port that is asked at."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from openbell.adapters.web.asking import Unanswered, asked
from openbell.runtime.config import Config
from openbell.runtime.doctor.findings import Finding, fail, ok, skip, warn
from openbell.runtime.doctor.stores import nearest, of_file

ROOM_FAIL, ROOM_WARN = 200 * 2**20, 2 * 2**30
"""Bytes: a live day of many ticks takes a gigabyte or two."""

ASK_SECONDS = 5.0

_STATUS_AT, _MAXERROR_AT = 40, 24
_UNSYNC = 0x40
_TIMEX_BYTES = 208


def clock() -> Iterator[Finding]:
    """Whether the kernel takes its clock for kept in time; nothing outside is asked."""
    if sys.platform != "linux":
        yield skip("clock", "whether it is kept by NTP can't be told on this system")
        return
    timex = ctypes.create_string_buffer(_TIMEX_BYTES * 2)  # all zeros: only asks
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        why = os.strerror(ctypes.get_errno())
        yield skip("clock", f"the kernel does not tell whether it is kept by NTP ({why})")
        return
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder)
    error = int.from_bytes(timex.raw[_MAXERROR_AT : _MAXERROR_AT + 8], sys.byteorder) / 1e6
    if status & _UNSYNC:
        yield warn(
            "clock",
            "the kernel says that nobody keeps it in time",
            "run chrony or systemd-timesyncd; in a container or a guest, on its host",
        )
    else:
        yield ok("clock", f"kept in time, by {error:.3f} s at the worst")


def disks(config: Config, out: Path | None) -> Iterator[Finding]:
    """The room where the store's file, the recording and the results are."""
    file, refused = of_file(config), config.feed.refused
    places = {
        "the store": None if file is None else file.parent,
        "the recording": config.feed.record,
        "what feeds refuse": None if refused is None else refused.parent,
        "results": out,
    }
    for what, given in places.items():
        if given is None:
            continue
        folder = nearest(given)
        if not os.access(folder, os.W_OK):
            yield fail("disk", f"{folder}, for {what}: can't be written", "change its owner")
            continue
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            yield fail("disk", f"{folder}, for {what}: {error.strerror}", "see to that disk")
            continue
        said = f"{free / 2**30:,.1f} GiB free in {folder}, for {what}"
        mend = "make room, or name another disk"
        if free < ROOM_FAIL:
            yield fail("disk", said, mend)
        elif free < ROOM_WARN:
            yield warn("disk", said, mend)
        else:
            yield ok("disk", said)


def web(config: Config, *, is_run: bool) -> Iterator[Finding]:
    """Whether the run answers, or could: its port is free."""
    of = config.web
    if not of.enabled:
        yield ok("http", "web.enabled is false: no health checks, no metrics")
        return
    where = f"{of.host}:{of.port}"
    if not is_run:
        try:
            infos = socket.getaddrinfo(of.host, of.port, type=socket.SOCK_STREAM)
            with socket.socket(infos[0][0], socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(infos[0][4])
        except OSError as error:
            yield fail(
                "http", f"{where} can't be listened on: {error.strerror}", "write another web.port"
            )
        else:
            yield ok("http", f"{where} is free")
        return
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(of.host, of.host)  # noqa: S104 asked there
    place = f"[{host}]:{of.port}" if ":" in host else f"{host}:{of.port}"
    try:
        answered = asked(
            f"http://{place}/readyz", token=of.token, seconds=ASK_SECONDS, directly=True
        )
        found = orjson.loads(answered.text) if answered.status in (200, 503) else None
    except (Unanswered, orjson.JSONDecodeError) as error:
        yield warn(
            "http",
            f"{where}: nobody answers ({error})",
            "see whether the run is on this host, and has this configuration",
        )
        return
    if not isinstance(found, dict):
        yield fail("http", f"{where} answers with {answered.status}", "see to web.token, web.port")
    elif found.get("ready"):
        yield ok("http", f"{where}: ready")
    else:
        reasons = "; ".join(found.get("reasons", []))
        yield warn("http", f"{where}: not ready: {reasons}", "see openbell status")
