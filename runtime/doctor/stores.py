"""Whether the store is set up so that it keeps its promises; it is only read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from openbell.adapters.stores import Store
from openbell.adapters.stores.redis import connect, location
from openbell.errors import ConfigError, StoreError
from openbell.hosttime import monotonic, wall
from openbell.runtime.config import Config
from openbell.runtime.doctor.findings import Finding, fail, of_error, ok, skip, warn
from openbell.runtime.lifetime.opening import open_configured_store

CHECK_SECONDS = 10.0
"""How long an SQLite file is looked through."""

OFF_WARN_SECONDS = 0.5
MEMORY_WARN = 0.8

NETWORKS = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs")
"""File systems on which SQLite's locks and its log do not work, or not always."""


def store(config: Config) -> Iterator[Finding]:
    """How it is set up, and what the state in it is."""
    url = config.store.url
    if url.startswith("memory:"):
        yield fail(
            "store",
            "memory:// ends with the process",
            "write store.url: sqlite:///state/openbell.db, or redis://…",
        )
        return
    try:
        opened = open_configured_store(config)
    except (StoreError, ConfigError) as error:
        yield of_error("store", error)
        return
    with closing(opened):
        if url.startswith("sqlite:"):
            yield from _sqlite(Path(url.removeprefix("sqlite:///")))
        else:
            yield from _redis(config, opened)
        yield from _state(config, opened)


def _sqlite(path: Path) -> Iterator[Finding]:
    folder = nearest(path.parent)
    kind = file_system(folder)
    if kind in NETWORKS:
        yield fail(
            "store", f"{path}: on {kind}, a network's file system", "keep it on a local disk"
        )
    elif kind is None:
        yield skip("store", f"{path}: its file system can't be told on this system")
    else:
        yield ok("store", f"{path}: on {kind}")
    for place in (path, folder) if path.exists() else (folder,):
        if not os.access(place, os.W_OK):
            yield fail("store", f"{place}: can't be written by this user", "change its owner")
    if not path.exists():
        yield ok("store", f"{path}: not there yet; the first run makes it")
        return
    yield from _looked_through(path)


def _looked_through(path: Path) -> Iterator[Finding]:
    """Whether SQLite finds the file whole; beside a run, which it does not hold up."""
    until = monotonic() + CHECK_SECONDS
    name = f"file:{quote(os.fspath(path))}?mode=ro"
    try:
        with closing(sqlite3.connect(name, uri=True, timeout=5.0)) as db:
            (mode,) = db.execute("PRAGMA journal_mode").fetchone()
            if mode == "wal":
                yield ok("store", "journal_mode is wal")
            else:
                yield warn(
                    "store",
                    f"journal_mode is {mode}: who reads holds the run up",
                    "run `sqlite3 FILE 'PRAGMA journal_mode = WAL'` while nothing runs",
                )
            db.set_progress_handler(lambda: monotonic() > until, 10_000)
            found = [text for (text,) in db.execute("PRAGMA quick_check(5)")]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            yield skip(
                "store",
                f"{path}: too large to be looked through in {CHECK_SECONDS:g} s",
                "run `sqlite3 FILE 'PRAGMA quick_check'` beside the run",
            )
        else:
            yield fail("store", f"{path}: {error}", "see that this user can read it, and its -wal")
        return
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found == ["ok"]:
        yield ok("store", "quick_check finds no damage")
    else:
        yield fail(
            "store",
            f"{path}: damaged: {'; '.join(found)}",
            "stop the run, keep the file, and restore a copy (docs/persistence.md)",
        )


def _redis(config: Config, opened: Store) -> Iterator[Finding]:
    where = location(config.store.url)
    from redis.exceptions import RedisError

    client = connect(config.store.url, f"{config.name}-doctor")
    try:
        began = wall()
        seconds, micros = client.time()
        ended = wall()
        info = client.info()
    except RedisError as error:
        yield fail("store", f"{where}: {error}", "see that the server runs and lets this user in")
        return
    finally:
        client.close()
    kind = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version", info["redis_version"])
    yield ok("store", f"{where}: {kind} {version}, {info.get('role', 'master')}")
    for text in opened.warnings():
        said, _, mend = text.removeprefix(f"{where}: ").rpartition("; ")
        found = said or mend, mend if said else "use the server that it follows"
        durable = text.startswith(f"{where}: appendfsync")
        yield warn("store", *found) if durable else fail("store", *found)
    if not opened.warnings():
        yield ok("store", "appendonly yes, appendfsync always, noeviction")
    yield from _memory(config, info)
    off = seconds + micros / 1e6 - (began + ended) / 2
    unsure = (ended - began) / 2
    yield _offset(f"the clock of {where}", off, unsure, config)


def _memory(config: Config, info: dict[str, Any]) -> Iterator[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > MEMORY_WARN * limit:
        yield warn(
            "store",
            f"{used / limit:.0%} of maxmemory is used",
            "raise maxmemory, or keep fewer days (store.keep_days)",
        )
    for key in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(key, "ok") != "ok":
            yield fail("store", f"{key} is {info[key]}", "see to the server's disk and its log")
    replicas = int(info.get("connected_slaves", 0))
    if replicas < config.store.replicas:
        yield fail(
            "store",
            f"{replicas} replicas are connected, and store.replicas is {config.store.replicas}",
            "start them, or nothing is committed",
        )


def _offset(whose: str, off: float, unsure: float, config: Config) -> Finding:
    """Of another clock to this host's, in seconds."""
    said = f"{whose} is {off:+.3f} s (±{unsure:.3f}) from this host's"
    certain = abs(off) - unsure
    if certain > config.clock.skew_max.seconds:
        return fail("clock", said, "have both hosts keep time by NTP")
    if certain > OFF_WARN_SECONDS:
        return warn("clock", said, "have both hosts keep time by NTP")
    return ok("clock", said)


def _state(config: Config, opened: Store) -> Iterator[Finding]:
    from openbell.runtime.delivery.positions import statuses

    try:
        head = opened.head()
        broken = [epoch for epoch in opened.epochs() if epoch.problem is not None]
        sinks = statuses(opened)
    except StoreError as error:
        yield of_error("state", error)
        return
    if not head.commit:
        yield ok("state", f'nothing was run as "{config.name}" yet')
        return
    yield ok("state", f'"{config.name}" is at step {head.step:,}, {head.signals:,} signals')
    for epoch in broken:
        yield warn(
            "state",
            f"snapshot {epoch.epoch}: {epoch.problem}",
            "nothing at once: the one before is taken; see to the disk or the server",
        )
    if head.meta.get("error"):
        letter = orjson.loads(head.meta["error"])
        yield fail(
            "state",
            f"the day is in ERROR: {letter['error']}",
            "openbell status shows why; openbell recover tries again",
        )
    for sink in sinks:
        if sink["state"] in ("failing", "stopped"):
            yield warn(
                "sinks",
                f"{sink['name']}: {sink['state']}, {sink['waits']} wait: {sink['error']}",
                f"openbell sinks inspect {sink['name']}; then retry or skip",
            )
        if sink["dead_letters"]:
            yield warn(
                "sinks",
                f"{sink['name']}: {sink['dead_letters']} dead letters",
                f"openbell sinks retry {sink['name']}, or skip",
            )


def nearest(folder: Path) -> Path:
    """A folder, or what of its path there is."""
    return next(of for of in (folder.absolute(), *folder.absolute().parents) if of.exists())


def file_system(folder: Path) -> str | None:
    """The kind of file system that a folder is on; None: this system does not tell."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(place):
            depth = len(place.parts)
            if found is None or depth >= found[0]:
                found = depth, after.split()[0]
    return None if found is None else found[1]


def of_file(config: Config) -> Path | None:
    """Where the store's file is, if it is one."""
    url = config.store.url
    return Path(url.removeprefix("sqlite:///")) if urlsplit(url).scheme == "sqlite" else None
