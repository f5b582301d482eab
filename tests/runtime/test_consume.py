"""`openbell.consume`: acts and places in one transaction of the program's own database."""

from __future__ import annotations

import os
import signal as unix_signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from postgres_server import find_postgres, postgres

import openbell
from openbell.adapters.sample import write_sample
from openbell.errors import InputError, RunError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("consume") / "minutes"
    write_sample(folder, symbols=4, days=2, seed=5)
    return folder


@pytest.fixture
def keys(minutes: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
        "data": {"path": str(minutes)},
        "store": {"url": f"sqlite:///{tmp_path / 'state.db'}"},
    }


@pytest.fixture
def ids(keys: dict[str, Any]) -> list[str]:
    found: list[str] = openbell.backtest(keys).signals["id"].to_pylist()
    assert len(found) > 8
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    programs = find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    with postgres(programs) as where:
        yield where


@pytest.fixture(params=["sqlite", "sqlite, autocommit", "postgres"])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A connection with an empty table of acts."""
    if request.param == "postgres":
        import psycopg

        made: Any = psycopg.connect(request.getfixturevalue("server"))
        made.execute("drop table if exists acts, openbell_readers")
    else:
        made = sqlite3.connect(tmp_path / "book.db")
        if request.param == "sqlite, autocommit":
            made.isolation_level = None
    made.execute("create table acts (id text)")
    made.commit()
    with closing(made):
        yield made


def mark(book: Any) -> str:
    return "?" if isinstance(book, sqlite3.Connection) else "%s"


def acts(book: Any) -> list[str]:
    found = [of for (of,) in book.execute("select id from acts").fetchall()]
    book.commit()
    return [of.decode() if isinstance(of, bytes) else of for of in found]


def act(book: Any, signal: openbell.Signal) -> None:
    book.execute(f"insert into acts values ({mark(book)})", (signal.id,))


def test_each_signal_is_acted_on_once_over_breaks_errors_and_restarts(
    book: Any, keys: dict[str, Any], ids: list[str]
) -> None:
    for turn in (2, 3, 4):
        try:
            with (
                openbell.Runtime.from_config(keys) as runtime,
                openbell.consume(book, runtime) as signals,
            ):
                for n, signal in enumerate(signals):
                    act(book, signal)
                    if n == turn:
                        if turn == 3:
                            break
                        raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        so_far = acts(book)
        assert so_far == ids[: len(so_far)]
    assert len(so_far) == 2 + 3 + 4

    with (
        openbell.Runtime.from_config(keys) as runtime,
        openbell.consume(book, runtime) as signals,
    ):
        for signal in signals:
            act(book, signal)

    assert acts(book) == ids


def test_readers_of_other_names_each_have_all(
    book: Any, keys: dict[str, Any], ids: list[str]
) -> None:
    for name in ("one", "two", "one"):
        with (
            openbell.Runtime.from_config(keys) as runtime,
            openbell.consume(book, runtime, name) as signals,
        ):
            for signal in signals:
                act(book, signal)

    assert acts(book) == [*ids, *ids]


def test_of_two_that_read_as_one_the_slower_acts_on_nothing_twice(
    book: Any, keys: dict[str, Any], ids: list[str]
) -> None:
    def read(of: Any, at_the_fourth: Any = lambda: None) -> None:
        with openbell.consume(of, runtime) as signals:
            for n, signal in enumerate(signals):
                if n == 3:
                    at_the_fourth()  # nothing was written in this turn yet: nobody waits for a lock
                act(of, signal)

    if isinstance(book, sqlite3.Connection):
        second: Any = sqlite3.connect(book.execute("pragma database_list").fetchone()[2])
    else:
        second = type(book).connect(book.info.dsn)
    memory = {**keys, "store": {"url": "memory://"}}
    with (
        closing(second),
        openbell.Runtime.from_config(memory) as runtime,
        pytest.raises(RunError, match="another process reads as 'default'"),
    ):
        read(book, lambda: read(second))

    assert sorted(acts(book)) == sorted(ids)


def test_a_loop_that_commits_by_itself_is_told_so(keys: dict[str, Any], tmp_path: Path) -> None:
    def read() -> None:
        with openbell.consume(book, runtime) as signals:
            for _ in signals:
                book.commit()

    with (
        closing(sqlite3.connect(tmp_path / "book.db")) as book,
        openbell.Runtime.from_config(keys) as runtime,
        pytest.raises(RunError, match="committed or rolled back itself"),
    ):
        read()


def test_a_connection_that_can_not_hold_both_is_refused(book: Any, keys: dict[str, Any]) -> None:
    with openbell.Runtime.from_config(keys) as runtime:
        book.execute("begin") if getattr(book, "isolation_level", "") is None else None
        book.execute("insert into acts values ('x')")
        with (
            pytest.raises(InputError, match="inside a transaction"),
            openbell.consume(book, runtime),
        ):
            pass
        book.rollback()
        if not isinstance(book, sqlite3.Connection):
            book.autocommit = True
            with (
                pytest.raises(InputError, match="commits each statement by itself"),
                openbell.consume(book, runtime),
            ):
                pass


BOT = """
import sqlite3, sys, openbell, os, signal
config, data, db, kill_at = sys.argv[1:]
book = sqlite3.connect(db)
book.execute("create table if not exists acts (id text)")
with openbell.Runtime.from_config({"data": {"path": data}, **eval(config)}) as runtime:
    with openbell.consume(book, runtime) as signals:
        for n, found in enumerate(signals):
            book.execute("insert into acts values (?)", (found.id,))
            if n == int(kill_at):
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9_in_a_turn_leaves_each_act_once(
    keys: dict[str, Any], ids: list[str], tmp_path: Path
) -> None:
    db = tmp_path / "book.db"
    bot = tmp_path / "bot.py"
    bot.write_text(BOT)
    codes = []
    for kill_at in (2, -1):
        command = [sys.executable, bot, repr(keys), keys["data"]["path"], db, str(kill_at)]
        codes.append(subprocess.run(command, check=False, env=os.environ).returncode)
    assert codes == [-unix_signal.SIGKILL, 0]
    with closing(sqlite3.connect(db)) as book:
        assert acts(book) == ids
