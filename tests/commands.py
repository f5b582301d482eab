"""The command line as a stranger has it: in this process, in one of its own, or at a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from loguru import logger

from openbell.runtime.cli.app import main

OPENBELL = (sys.executable, "-m", "openbell")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def messages(self) -> list[str]:
        """Lines on stderr, without the name that they all begin with."""
        lines = self.err.splitlines()
        assert all(line.startswith("openbell: ") for line in lines), self.err
        return [line.removeprefix("openbell: ") for line in lines]


class Command:
    """`openbell` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["openbell", *map(str, arguments)])
        self._capsys.readouterr()
        stopping = [
            (number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
        with pytest.raises(SystemExit) as left:
            main()
        assert [(number, signal.getsignal(number)) for number, _ in stopping] == stopping
        logger.disable("openbell")  # --log-level turns it on for the process
        out, err = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, out, err)


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """This one without what would configure openbell, or change how wide it prints."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENBELL_") and name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    return {**kept, **more}


def run(*arguments: str | Path, cwd: Path, before: str = "", timeout: float = 120) -> Ran:
    """`openbell` in a process of its own; `before` is shell, such as `ulimit -f 8`."""
    command = [*OPENBELL, *map(str, arguments)]
    if before:
        command = ["bash", "-c", f'{before}; exec "$@"', "bash", *command]
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(*arguments: str | Path, cwd: Path, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """`openbell` while it runs; `before` is Python, which comes first."""
    program = ["-c", f"{before}\nfrom openbell.__main__ import main\nmain()"]
    command = [sys.executable, *program] if before else [*OPENBELL]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def at_terminal(
    *arguments: str | Path, cwd: Path, columns: int = 80, out_is_terminal: bool = True
) -> Ran:
    """`openbell` with stderr (and stdout) at a terminal; `out` is without colours and movements."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [*OPENBELL, *map(str, arguments)],
        cwd=cwd,
        env=environment({"TERM": "xterm-256color"}),
        stdin=theirs,
        stdout=theirs if out_is_terminal else subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = bytearray()
    late = threading.Timer(60, process.kill)
    late.start()
    while True:
        try:
            some = os.read(ours, 65536)
        except OSError:  # Linux says so that nobody writes there any more
            break
        if not some:
            break
        shown += some
    os.close(ours)
    piped = process.communicate()[0] or b""
    code = process.returncode
    late.cancel()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")
    return Ran(code, text if out_is_terminal else piped.decode(), text)
