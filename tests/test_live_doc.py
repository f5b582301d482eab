"""The WebSocket of docs/live.md: its files and commands, as they stand there."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ports import free_port
from test_docs import marked

PATIENCE_SECONDS = 120.0


@pytest.mark.slow
def test_a_socket_of_one_s_own_gives_signals(tmp_path: Path) -> None:
    port = str(free_port())
    for name in ("vendor.py", "socket.yaml"):
        text = marked("docs/live.md", f"file: {name}")
        assert "8765" in text
        (tmp_path / name).write_text(text.replace("8765", port))
    commands = [
        [sys.executable, *(["-m", "openbell"] if words[0] == "openbell" else []), *words[1:]]
        for words in map(shlex.split, marked("docs/live.md", "a socket").splitlines())
    ]
    started = []
    try:
        for command in commands[:2]:
            with (tmp_path / "told").open("ab") as told:
                started.append(subprocess.Popen(command, cwd=tmp_path, stdout=told, stderr=told))
        until = time.monotonic() + PATIENCE_SECONDS
        found = ""
        while found.count("LOW_BREAK") < 2 and time.monotonic() < until:
            time.sleep(0.5)
            found = subprocess.run(
                commands[2], cwd=tmp_path, capture_output=True, text=True, check=False
            ).stdout
        assert [found.count(side) for side in ("HIGH_BREAK", "LOW_BREAK")] == [2, 2], (
            tmp_path / "told"
        ).read_text()

        started[0].kill()
        started[0].wait()
        assert_tells(tmp_path, "reconnecting")
        with (tmp_path / "told").open("ab") as told:
            started[0] = subprocess.Popen(commands[0], cwd=tmp_path, stdout=told, stderr=told)
        assert_tells(tmp_path, "connected since")
    finally:
        for process in started[::-1]:
            process.terminate()
            process.wait(30)


def assert_tells(folder: Path, what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    status = [sys.executable, "-m", "openbell", "status", "--config", "socket.yaml"]
    told = ""
    while what not in told:
        assert time.monotonic() < until, told
        told = subprocess.run(status, cwd=folder, capture_output=True, text=True, check=True).stdout
        time.sleep(0.2)
