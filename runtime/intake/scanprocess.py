"""Runs scans in a process of their own (`worker: process`), which can be ended whatever it does.

The process gets a view by its standard input and gives what was found by its standard output: what a
scan prints goes to standard error. It is started by the first scan, and again by the next one after
it has ended; where nobody asks any more it ends by itself.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import IO, Any

import msgpack

from openbell.adapters.scanners import Scan
from openbell.market.history import History
from openbell.market.scans import Found, ScanView, found_by, narrowed

_LENGTH = struct.Struct("<Q")

_BEYOND_SECONDS = 5
"""So much later than its deadline a process ends by itself: whoever started it was killed."""


class ProcessFailed(Exception):
    """The scan raised there, or the process ended; the text says which."""


class ScanProcess:
    """A process that runs one scan after another; asked by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        """Whether somebody waits for its answer."""
        self._sent: dict[str, History] = {}
        """What each scan looks back at, as the process has it: it is the same all day."""

    def found(self, scan: Scan, view: ScanView, symbols_max: int, seconds: float) -> list[Found]:
        """What a scan finds.

        Parameters
        ----------
        seconds : float
            After so long somebody calls `kill`.

        Raises
        ------
        ProcessFailed
            If it raised, or its process ended.
        """
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                _over(self._process)  # between two scans
                self._process = None
            if self._process is None:
                self._process, self._sent = _started(), {}
            process, name, self._asked = self._process, scan.spec.name, True
            history = None if self._sent.pop(name, None) is view.history else view.history
        assert process.stdin is not None
        assert process.stdout is not None
        answer: list[bytes] | None = None
        try:
            buffers: list[pickle.PickleBuffer] = []
            asked = name, scan.function, _packed(view), history, symbols_max, seconds
            whole = pickle.dumps(asked, protocol=5, buffer_callback=buffers.append)
            with suppress(OSError, ValueError):  # of a pipe that is closed by now
                _send(process.stdin, [whole, *(of.raw() for of in buffers)])
                answer = _received(process.stdout)
        finally:
            with self._lock:
                killed = self._process is not process
                self._asked = self._asked and killed
        if answer is None or killed:
            raise ProcessFailed(f"its process {_ended(_over(process))}")
        told = msgpack.unpackb(answer[0])
        if isinstance(told, str):
            raise ProcessFailed(f"it failed with {told}")
        self._sent[name] = view.history
        return [Found(symbol, score, reason) for symbol, score, reason in told]

    @property
    def pid(self) -> int | None:
        """Of the process that runs by now, if one does."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it, whatever it does; the next scan has another."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                process.kill()
                if not self._asked:  # else who asks hears that it has ended
                    _over(process)


def told_of(error: BaseException) -> str:
    """What users' code raised, on one line that every file and store takes."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 of an error of theirs
        text = "its text can't be had"
    line = " ".join(text.encode(errors="replace").decode().split())[:500]
    return f"{type(error).__name__}: {line or 'no text'}"


def _started() -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
    return subprocess.Popen(  # noqa: S603 this very program
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the run, which ends it then
    )


def _over(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, once it has ended."""
    process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # of what was not written any more
                pipe.close()
    return code


def _packed(view: ScanView) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A view without what it looks back at, and without what no other process can be given."""
    whole = view.whole or view
    fields = {of.name: getattr(whole, of.name) for of in dataclasses.fields(ScanView)}
    del fields["history"], fields["whole"]
    for name in ("levels", "indicators", "options", "companion_of"):
        fields[name] = dict(fields[name])
    return view.symbols, fields


def _unpacked(symbols: tuple[str, ...], fields: dict[str, Any], history: History) -> ScanView:
    for name in ("levels", "indicators", "options", "companion_of"):
        fields[name] = MappingProxyType(fields[name])
    return narrowed(ScanView(history=history, **fields), symbols)


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    by_whom = ", as the system does when memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{by_whom}"


def serve() -> None:
    """What the process does: run what it is asked for, until nobody asks any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a scan prints is no answer
    asks = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    histories: dict[str, History] = {}
    while (parts := _received(asks)) is not None:
        _send(answers, [msgpack.packb(_answered(parts, histories))])


def _answered(parts: list[bytes], histories: dict[str, History]) -> Any:
    whole, *buffers = parts  # arrays over bytes can't be written to
    try:
        # Written by who started this process.
        name, function, (symbols, fields), history, symbols_max, seconds = pickle.loads(  # noqa: S301
            whole, buffers=buffers
        )
        if history is not None:
            histories[name] = history
        _end_after(seconds + _BEYOND_SECONDS)
        found = found_by(function(_unpacked(symbols, fields, histories[name])), symbols_max)
        return [(of.symbol, of.score, of.reason) for of in found]
    except BaseException as error:  # noqa: BLE001 users' code may raise anything
        return told_of(error)
    finally:
        _end_after(0)


def _end_after(seconds: float) -> None:
    """Have the system end this process, whatever it does then; 0: not."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _send(pipe: IO[bytes], parts: Sequence[bytes | memoryview]) -> None:
    pipe.write(_LENGTH.pack(len(parts)))
    for part in parts:
        pipe.write(_LENGTH.pack(memoryview(part).nbytes))
        pipe.write(part)
    pipe.flush()


def _received(pipe: IO[bytes]) -> list[bytes] | None:
    """None: nothing follows."""
    found: list[bytes] = []
    if (count := _number(pipe)) is None:
        return None
    for _ in range(count):
        if (length := _number(pipe)) is None:
            return None
        part = pipe.read(length)
        if len(part) < length:
            return None
        found.append(part)
    return found


def _number(pipe: IO[bytes]) -> int | None:
    raw = pipe.read(_LENGTH.size)
    return None if len(raw) < _LENGTH.size else int(_LENGTH.unpack(raw)[0])
