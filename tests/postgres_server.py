"""A real PostgreSQL for tests, where one is installed: on a socket of its own, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120.0


def find_postgres() -> Path | None:
    """Folder of its programs."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return newest[-1].parent if newest else None


@contextmanager
def postgres(programs: Path) -> Iterator[str]:
    """A server's connection string."""
    # It refuses to run as root, and takes no folder that others own.
    user = "nobody" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="openbell-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    how = {"user": user, "cwd": folder, "env": {**os.environ, "HOME": str(folder), "LC_ALL": "C"}}
    data = folder / "data"
    try:
        with (folder.parent / f"{folder.name}.log").open("wb") as said:
            made = [programs / "initdb", "-D", data, "-U", "bot", "-A", "trust", "-N"]
            subprocess.run(made, stdout=said, stderr=said, check=True, **how)  # type: ignore[call-overload]
            command = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses="]
            server = subprocess.Popen(command, stdout=said, stderr=said, **how)  # type: ignore[call-overload]
        try:
            yield _ready(folder)
        finally:
            server.terminate()
            server.wait(120)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.log").unlink(missing_ok=True)


def _ready(folder: Path) -> str:
    import psycopg

    where = f"host={folder} user=bot dbname=postgres"
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(where).close()
            return where
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
