"""`openbell run` as a service manager has it: a real socket to tell, and a run over a real stream."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from commands import environment
from feed_places import Place
from ports import free_port
from redis_server import RedisServer

from openbell.adapters.web.asking import Answered, Unanswered, asked

PATIENCE_SECONDS = 120.0


def wait_until(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.02)


class Manager:
    """Hears what a process tells it, as systemd would."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._heard: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while said := self._socket.recv(65536):
            at = time.monotonic()
            self._heard += [(at, line) for line in said.decode().split("\n")]

    @property
    def heard(self) -> list[str]:
        return [line for _, line in self._heard]

    def times(self, state: str) -> list[float]:
        return [at for at, line in self._heard if line == state]

    def wait_for(self, state: str) -> None:
        wait_until(lambda: any(line.startswith(state) for line in self.heard))

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@contextmanager
def managed(folder: Path) -> Iterator[Manager]:
    # Abstract: the path of a socket's file may be no longer than some hundred bytes.
    made = Manager(f"@openbell-test-{os.getpid()}-{folder.name}"[:90])
    try:
        yield made
    finally:
        made.close()


def midday_zone() -> str:
    """A time zone where it is between 11:00 and 13:00 now."""
    west = datetime.now(UTC).hour - 12
    return f"Etc/GMT{west:+d}"  # these are named by what is added to get to UTC


def live(folder: Path, server: RedisServer, **more: Any) -> Path:
    """The configuration of a run that follows this host's clock, over a stream.

    It is midday there, whenever the tests run: no day ends meanwhile, and the night is over.
    """
    keys: dict[str, Any] = {
        "name": folder.name.replace("[", "-").replace("]", ""),
        "exchange": "24/7",
        "calendar": {"timezone": midday_zone()},
        "symbols": ["A", "B"],
        "sessions": [{"name": "Night", "start": "00:00", "end": "00:05"}],
        "data": {"kind": "ticks"},
        "feed": {"type": "redis", "options": Place(server, f"ticks-{folder.name}").given},
        "store": {"url": f"sqlite:///{folder}/state.db"},
        "web": {"enabled": True, "port": free_port()},
        **more,
    }
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(keys))
    return config


class Process:
    """`openbell run`; what it says on stderr is kept in a file."""

    def __init__(
        self,
        config: Path,
        *arguments: str,
        env: Mapping[str, str] = {},
        before: str = "",
        manager: Manager | None = None,
    ) -> None:
        self.config = config
        self._told = config.parent / f"told-{time.monotonic_ns()}"
        more = {"NOTIFY_SOCKET": manager.address} if manager is not None else {}
        command = [sys.executable, "-m", "openbell"]
        if before:
            command = [
                sys.executable,
                "-c",
                f"{before}\nfrom openbell.__main__ import main\nmain()",
            ]
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                [*command, "run", "--config", str(config), *arguments],
                cwd=config.parent,
                env=environment({**more, **env}),
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
            )

    @property
    def told(self) -> str:
        return self._told.read_text()

    def ask(self, path: str, token: str | None = None) -> Answered:
        """Status 0: nobody answers."""
        port = yaml.safe_load(self.config.read_text())["web"]["port"]
        url = f"http://127.0.0.1:{port}{path}"
        try:
            return asked(url, token=token, seconds=10, directly=True)
        except Unanswered as error:
            return Answered(0, str(error))

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it does not end: {self.told}") from None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running(
    config: Path,
    *arguments: str,
    env: Mapping[str, str] = {},
    before: str = "",
    manager: Manager | None = None,
) -> Iterator[Process]:
    process = Process(config, *arguments, env=env, before=before, manager=manager)
    try:
        yield process
    finally:
        process.kill()
