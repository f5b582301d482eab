"""A command that is started for each message, with its JSON on standard input."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from openbell.adapters.deliveries.base import Failed, Message, Refused, SinkOptions
from openbell.errors import ConfigError

REFUSES = 65
"""EX_DATAERR of sysexits.h: the exit code of a command that will not take a message, however often it gets it."""

TAIL_BYTES = 2_000


def open_exec(options: SinkOptions) -> ExecSink:
    """`command`: the program and its arguments, as a list or as one line; no shell reads it."""
    options.only("command")
    command = options.given.get("command")
    if isinstance(command, str):
        try:
            command = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"options.command: {error}; write it as a list") from None
    if not isinstance(command, list | tuple) or not command:
        raise ConfigError("options.command is missing; write e.g. command: [notify-send, openbell]")
    if not all(isinstance(part, str) for part in command):
        raise ConfigError("options.command: put each part in quotes; as it stands one is no text")
    return ExecSink(tuple(command), options.timeout_seconds)


class ExecSink:
    at_once = 1

    def __init__(self, command: Sequence[str], timeout_seconds: float) -> None:
        self._command = command
        self._timeout_seconds = timeout_seconds
        self._running: subprocess.Popen[bytes] | None = None

    def deliver(self, messages: Sequence[Message]) -> None:
        lines = b"".join(message.body + b"\n" for message in messages)
        program = self._command[0]
        with tempfile.TemporaryFile() as said:  # not a pipe: whatever it says, it is never held up
            try:
                # A group of its own, so that what it started ends with it.
                child = subprocess.Popen(  # noqa: S603 what the configuration names
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
            except OSError as error:
                raise Failed(f"{program}: {error.strerror or error}") from error
            self._running = child
            try:
                child.communicate(lines, timeout=self._timeout_seconds)
            except subprocess.TimeoutExpired:
                raise Failed(f"{program}: took more than {self._timeout_seconds:g} s") from None
            finally:
                self._running = None
                _end(child)
            code = child.returncode
            if code:
                why = f"{program}: exit code {code}{_last_line(said)}"
                raise Refused(why) if code == REFUSES else Failed(why)

    def close(self) -> None:
        if (running := self._running) is not None:
            _kill(running)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        _kill(child)
        child.wait()
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _last_line(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - TAIL_BYTES))
    lines = said.read(TAIL_BYTES).decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
