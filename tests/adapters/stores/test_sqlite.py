"""The file: who may read it, what damages it, what locks it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGSTOP

import pytest
from store_records import (
    DAY,
    TTL_NS,
    a_document,
    a_full_record,
    a_record,
    a_signal,
    a_step,
    an_entry,
    check_everything,
    rows_of,
    taken,
)

from openbell.adapters.stores import (
    SCHEMA_VERSION,
    Corrupt,
    LeaseHeld,
    NoRoom,
    Store,
    Unavailable,
    open_store,
    this_process,
)
from openbell.adapters.stores.sqlite import FileDatabase, SqliteStore
from openbell.errors import ConfigError, StoreError

VERSION_1 = Path(__file__).parents[2] / "data" / "snapshots" / "v1" / "state.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "openbell.db"


def opened(path: Path) -> SqliteStore:
    return SqliteStore(FileDatabase(path, busy_seconds=0.1), "bot")


def filled(path: Path, commits: int) -> None:
    with closing(opened(path)) as store:
        fence = taken(store)
        for number in range(1, commits + 1):
            store.commit(fence, a_full_record(number))
        store.release(fence)


# The file and its folder.


def test_missing_folders_are_made_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "openbell.db"

    filled(path, 1)

    assert {oct(folder.stat().st_mode & 0o777) for folder in path.parents[:2]} == {"0o700"}
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert [file.name for file in path.parent.iterdir()] == ["openbell.db"]


def test_reading_makes_no_file(path: Path) -> None:
    with closing(opened(path)) as store:
        check_everything(store, 0)
        assert store.usage().bytes == 0
        store.delete()

    assert list(path.parent.iterdir()) == []


def test_a_reader_sees_state_that_comes_to_be_after_it_opened(path: Path) -> None:
    with closing(opened(path)) as reader:
        assert reader.head().commit == 0

        filled(path, 2)

        check_everything(reader, 2)


@pytest.mark.parametrize("name", ["plain.db", "with space.db", "100%?#&=ü.db"])
def test_a_path_is_taken_as_it_is_written(tmp_path: Path, name: str) -> None:
    relative = open_store(f"sqlite:///state/{name}", "bot", base=tmp_path)
    relative.commit(taken(relative), a_full_record(1))
    absolute = open_store(f"sqlite:///{tmp_path}/state/{name}", "bot")

    check_everything(absolute, 1)
    assert absolute.usage().location == str(tmp_path / "state" / name)
    assert (tmp_path / "state" / name).is_file()
    relative.close()
    absolute.close()


@pytest.mark.parametrize("url", ["sqlite://x.db", "sqlite:///", "sqlite:x.db", "openbell.db"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_store(url, "bot")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "{a}", "ä"])
def test_a_name_that_keys_cannot_be_made_of_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        open_store("memory://", name)


def test_of_many_that_make_the_file_at_once_none_fails(path: Path) -> None:
    def begin(number: int) -> None:
        with closing(SqliteStore(FileDatabase(path), f"bot{number}")) as store:
            store.commit(taken(store), a_full_record(1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(8)))

    for number in range(8):
        with closing(SqliteStore(FileDatabase(path), f"bot{number}")) as store:
            check_everything(store, 1)


def test_memory_may_be_shared_by_its_place() -> None:
    first = open_store("memory://test-place", "bot")
    first.commit(taken(first), a_full_record(1))
    first.close()

    check_everything(open_store("memory://test-place", "bot"), 1)
    check_everything(open_store("memory://other-place", "bot"), 0)
    check_everything(open_store("memory://", "bot"), 0)


# What goes wrong within a commit.


def test_a_commit_that_fails_half_way_leaves_nothing(path: Path) -> None:
    filled(path, 1)
    store = opened(path)
    fence = taken(store)
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'half way'); END"
        )

    with pytest.raises(StoreError, match="half way"):
        store.commit(fence, a_full_record(2))

    check_everything(store, 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER fails")
    assert store.commit(fence, a_full_record(2)) == "ok"
    check_everything(store, 2)
    store.close()


def test_a_full_disk_is_named_and_nothing_is_written(path: Path) -> None:
    filled(path, 1)
    database = FileDatabase(path)
    store = SqliteStore(database, "bot")
    fence = taken(store)
    database.writing().execute("PRAGMA max_page_count = 1")  # as many as it has
    body = random.Random(7).randbytes(2**20)  # it can't be compressed
    large = replace(a_full_record(2), signals=rows_of([replace(a_signal("x"), body=body)]))

    with pytest.raises(StoreError, match=rf"{path} .*the disk is full") as refusal:
        store.commit(fence, large)

    assert isinstance(refusal.value, NoRoom)
    check_everything(store, 1)
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="no limit of a file's size")
def test_a_disk_that_fills_up_while_the_file_is_made_leaves_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillingUp(sqlite3.Connection):
        def executescript(self, script: str) -> sqlite3.Cursor:
            made = super().executescript(script)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, unlimited[1]))
            return made

    with closing(opened(path)) as store, monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=FillingUp))
        try:
            with pytest.raises(StoreError, match="full"):
                taken(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(path.parent.iterdir()) == []

    filled(path, 1)


# What isn't ours.


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_text("name: default\n" * 1000)

    with pytest.raises(Corrupt, match=rf"{path} .*no SQLite database.*store\.url"):
        opened(path)

    assert path.read_text() == "name: default\n" * 1000


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=rf"{path}: is a database of another program"):
        opened(path)

    assert path.read_bytes() == before


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"{tmp_path}: is a folder; name a file in it"):
        opened(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(path: Path) -> None:
    filled(path, 1)
    path.chmod(0)

    with pytest.raises(StoreError, match="permissions"):
        opened(path)


def _removed(path: Path) -> None:
    path.unlink()


def _replaced(path: Path) -> None:
    other = path.with_name("other.db")
    filled(other, 2)
    other.replace(path)


def _moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


@pytest.mark.parametrize("away", [_removed, _replaced, _moved])
def test_a_file_that_is_taken_away_is_noticed_by_all_who_use_it(
    tmp_path: Path, away: Callable[[Path], None]
) -> None:
    path = tmp_path / "state" / "openbell.db"
    path.parent.mkdir()
    with closing(opened(path)) as store, closing(opened(path)) as reader:
        fence = taken(store)
        store.commit(fence, a_full_record(1))
        assert reader.head().commit == 1

        away(path)

        for call in (
            lambda: store.commit(fence, a_full_record(2)),
            lambda: store.renew(fence),
            lambda: store.head(),
            lambda: reader.head(),
        ):
            with pytest.raises(StoreError, match=f"{path}: the file was removed or replaced"):
                call()


# Damage.


def test_damage_that_nothing_can_be_read_through_says_what_to_remove(path: Path) -> None:
    filled(path, 3)
    path.write_bytes(path.read_bytes()[:8192])

    with pytest.raises(Corrupt, match=r"or remove it, with the -wal and -shm") as refusal:
        opened(path)

    assert "state delete" not in str(refusal.value)


def _found(path: Path) -> list[object] | None:
    """What recovery reads; None: it was refused."""
    try:
        with closing(opened(path)) as store:
            good = next(one for one in store.epochs() if one.problem is None)
            return [
                store.head(),
                store.states(good.epoch),
                list(store.steps(good.step)),
                list(store.steps()),
                list(store.journal(DAY)),
                list(store.signals()),
                list(store.documents()),
                list(store.audit()),
            ]
    except (StoreError, StopIteration):
        return None


def test_a_truncated_file_is_refused(path: Path) -> None:
    filled(path, 3)
    content = path.read_bytes()

    for length in [*range(0, len(content), 4096), 1, 99, 5000, len(content) - 1]:
        path.write_bytes(content[:length])
        assert _found(path) is None, length

    path.write_bytes(content)
    assert _found(path) is not None


def test_a_file_with_a_changed_byte_is_read_rightly_or_refused(path: Path) -> None:
    filled(path, 3)
    content = path.read_bytes()
    expected = _found(path)
    assert expected is not None
    refused = 0

    for position in range(0, len(content), 173):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        found = _found(path)
        refused += found is None
        if found is not None and found != expected:
            # An older snapshot, as the newest is damaged, with the steps after it.
            assert [found[0], *found[3:]] == [expected[0], *expected[3:]], position

    assert refused > 0


def test_what_a_killed_writer_left_is_folded_in(path: Path) -> None:
    script = (
        "import os, sys; from store_records import *; from openbell.adapters.stores import *\n"
        "store = open_store('sqlite:///' + sys.argv[1], 'bot'); fence = taken(store)\n"
        "for number in range(1, 4): store.commit(fence, a_full_record(number))\n"
        "os._exit(9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=False)

    assert path.with_name("openbell.db-wal").stat().st_size > 0
    with closing(opened(path)) as store:
        check_everything(store, 3)
        assert store.commit(taken(store), a_full_record(4)) == "ok"
        check_everything(store, 4)


# Older state.


def test_a_file_of_version_1_is_read_as_it_is_and_upgraded_by_who_takes_the_lease(
    path: Path,
) -> None:
    path.write_bytes(VERSION_1.read_bytes())
    now = 0
    store = SqliteStore(FileDatabase(path), "kept", clock_ns=lambda: now)
    before, usage = store.head(), store.usage()

    assert (before.schema, usage.schema) == (1, 1)
    assert list(store.journal(DAY)) == []
    assert usage.counts["journal"] == 0
    assert path.read_bytes() == VERSION_1.read_bytes()
    with pytest.raises(LeaseHeld, match="another-host"):  # who made it can't be seen from here
        taken(store)
    now += TTL_NS
    fence = taken(store)
    step = replace(a_step(before.step + 1), trading_date=DAY)
    store.commit(fence, a_record(before.commit + 1, steps=(step,), journal=(an_entry("a"),)))

    assert store.head().schema == SCHEMA_VERSION
    assert list(store.journal(DAY)) == [an_entry("a")]
    assert list(store.steps(before.step)) == [step]
    store.close()


def test_a_state_of_version_1_can_be_deleted(path: Path) -> None:
    path.write_bytes(VERSION_1.read_bytes())
    with closing(SqliteStore(FileDatabase(path), "kept")) as store:
        store.delete()

        assert store.head().commit == 0


# Locks.


@contextmanager
def stopped_within_a_transaction(path: Path, *, holds_lease: bool) -> Iterator[int]:
    """A process that has the file locked for writing, and sleeps for ever; its pid."""
    script = (
        "import sys; from store_records import *; from openbell.adapters.stores import *\n"
        "store = open_store('sqlite:///' + sys.argv[1], 'bot')\n"
        "if sys.argv[2] == 'True': taken(store)\n"
        "store._database.writing().execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True); sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(holds_lease)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        child.send_signal(SIGSTOP)
        try:
            yield child.pid
        finally:
            child.kill()


def test_a_holder_that_was_stopped_within_its_transaction_is_named(path: Path) -> None:
    filled(path, 1)
    now = 0
    with stopped_within_a_transaction(path, holds_lease=True) as pid:
        store = SqliteStore(FileDatabase(path, busy_seconds=0.1), "bot", clock_ns=lambda: now)
        with pytest.raises(LeaseHeld, match=f"process {pid} "):
            store.acquire(this_process(), 10)
        now = 10

        with pytest.raises(LeaseHeld, match=f"locked by process {pid} .*kill -CONT {pid}"):
            store.acquire(this_process(), 10)
        check_everything(store, 1)  # readers are not kept

    # Gone, and with it the lock.
    assert store.commit(store.acquire(this_process(), 10), a_full_record(2)) == "ok"
    store.close()


def test_a_commit_that_meets_a_locked_file_may_be_sent_again(path: Path) -> None:
    filled(path, 1)
    store = opened(path)
    fence = taken(store)
    with (
        stopped_within_a_transaction(path, holds_lease=False),
        pytest.raises(Unavailable, match="locked by another process"),
    ):
        store.commit(fence, a_full_record(2))

    assert store.commit(fence, a_full_record(2)) == "ok"
    check_everything(store, 2)
    store.close()


def test_a_commit_of_many_things_runs_few_statements(path: Path) -> None:
    """Each gives Python's lock away, which a busy thread of actors gives back after milliseconds."""
    database = FileDatabase(path)
    store = SqliteStore(database, "bot")
    fence = taken(store)
    documents = [a_document(f"Window {n}", "ACTIVE", body=b"%d" % n) for n in range(250)]
    audit = tuple(b'{"entry":%d}' % n for n in range(1000))
    store.commit(fence, a_record(1, documents=tuple(documents[:150]), audit=audit))
    ran: list[str] = []
    database.writing().set_trace_callback(ran.append)
    store.commit(fence, a_record(2, documents=tuple(documents[100:]), audit=audit))
    database.writing().set_trace_callback(None)

    assert len(ran) < 50, ran
    assert [entry for _, entry in store.audit()] == [*audit, *audit]
    assert len(store.documents()) == 250
    store.close()


def test_a_reader_that_stops_half_way_keeps_nobody(path: Path) -> None:
    store = opened(path)
    fence = taken(store)
    signals = tuple(a_signal(str(number)) for number in range(3000))
    store.commit(fence, a_record(1, signals=signals))
    reader = opened(path)
    half_read: Iterator[object] = reader.signals()
    next(half_read)

    with closing(sqlite3.connect(path)) as db:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert not busy
    assert len(list(half_read)) == 2999
    _close(store, reader)


def _close(*stores: Store) -> None:
    for store in stores:
        store.close()
