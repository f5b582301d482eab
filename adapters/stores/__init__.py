"""Where commits, documents and signals live."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from openbell.adapters.stores.base import (
    SCHEMA_VERSION,
    CommitRecord,
    Conflict,
    Corrupt,
    Document,
    EpochInfo,
    Fenced,
    Gap,
    Head,
    Held,
    Holder,
    Joins,
    JournalEntry,
    LeaseHeld,
    NoRoom,
    SignalRows,
    Snapshot,
    Step,
    Store,
    StoredSignal,
    Unavailable,
    Usage,
)
from openbell.adapters.stores.holders import is_certainly_dead, this_process
from openbell.errors import ConfigError

if TYPE_CHECKING:
    from openbell.adapters.stores.memory import Memory

__all__ = [
    "SCHEMA_VERSION",
    "CommitRecord",
    "Conflict",
    "Corrupt",
    "Document",
    "EpochInfo",
    "Fenced",
    "Gap",
    "Head",
    "Held",
    "Holder",
    "Joins",
    "JournalEntry",
    "LeaseHeld",
    "NoRoom",
    "SignalRows",
    "Snapshot",
    "Step",
    "Store",
    "StoredSignal",
    "Unavailable",
    "Usage",
    "is_certainly_dead",
    "open_store",
    "this_process",
]


def open_store(url: str, name: str, *, replicas: int = 0, base: Path | None = None) -> Store:
    """The state of one name.

    Parameters
    ----------
    url : `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://…`, `rediss://…`, `unix://…`,
        `memory://` (a place of its own, gone with the store) or `memory://PLACE` (shared by all in
        this process that name it)
    name : namespace; made of letters, digits, dots, dashes and underscores
    replicas : of Redis that must hold a commit before it counts
    base : what a relative path starts from; the working folder by default

    Raises
    ------
    openbell.errors.ConfigError
        If the URL or the name can't be used.
    openbell.errors.StoreError
        If what is there is no state of openbell's, or can't be reached.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise ConfigError(
            f'name is "{name}"; use letters, digits, dots, dashes and underscores: keys are made '
            "with it"
        )
    scheme, _, rest = url.partition("://")
    if scheme in ("redis", "rediss", "unix") and rest:
        from openbell.adapters.stores.redis import open_redis

        return open_redis(url, name, replicas=replicas)
    # Here, so that Redis alone does not need a Python with SQLite.
    from openbell.adapters.stores.sqlite import FileDatabase, SqliteStore

    if scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
        return SqliteStore(FileDatabase((base or Path.cwd()) / rest[1:]), name)
    if scheme == "memory":
        from openbell.adapters.stores.memory import Memory

        return SqliteStore(_shared_memory(rest) if rest else Memory(), name)
    raise ConfigError(
        f'store.url is "{url}"; write sqlite:///FILE, redis://HOST:PORT/DB or memory://, e.g. '
        '"sqlite:///state/openbell.db"'
    )


@cache
def _shared_memory(_place: str) -> Memory:
    from openbell.adapters.stores.memory import Memory

    return Memory()
