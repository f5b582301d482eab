"""Runs `openbell` in processes of their own that are killed, at a chosen point or from outside.

As a script it is a nursery: it imports openbell once, then forks a process for each line on stdin
(`{"arguments": […], "point": …, "nth": …, "said": FILE}`), says its pid, and how it ended. Arguments
that begin with a Python file are that program's, others those of `openbell`. A
process that has a point kills itself there with SIGKILL, so that nothing of it gets any further:
no destructor, no flush, no thread. One that is held at an instant of market time goes no further
until it is let go: what a test does to a process in the midst of a day, it does while that is held.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow.parquet as pq
import pytest
import yaml

from openbell.actors.effects import Settled
from openbell.adapters.stores import open_store
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.results.events import read

KILLED = -signal.SIGKILL

OF_A_STEP = re.compile(r"[a-z_.]+:\d{4}-\d\d-\d\d:\d+\.\d+")
"""Ids of events that steps brought; those of what a process told have its wall time in them."""

TABLE_BOT = Path(__file__).with_name("table_bot.py")
"""A program that embeds openbell with a table, to be given a configuration and a folder."""


class Point(NamedTuple):
    """Where a process kills itself: before or after a call of one of some functions."""

    names: tuple[str, ...]
    """`module:Class.method`"""
    after: bool = False
    only: Callable[..., bool] = lambda *args, **kwargs: True


def _has_signals(store: Any, fence: int, record: Any) -> bool:
    return bool(record.signals)


def _has_snapshot(store: Any, fence: int, record: Any) -> bool:
    return record.snapshot is not None


def _has_no_snapshot(store: Any, fence: int, record: Any) -> bool:
    return record.snapshot is None


def _encoded_snapshot(store: Any, db: Any, encoded: Any, head: Any) -> bool:
    return encoded.snapshot is not None


def _is_commit(store: Any, script: str, keys: Any, values: Any, *staged: Any) -> bool:
    return bool(staged)


_SQLITE = "adapters.stores.sqlite:SqliteStore"
_REDIS = "adapters.stores.redis:RedisStore"
_COMMIT = (f"{_SQLITE}.commit", f"{_REDIS}.commit")

POINTS = {
    # Between a signal and its commit.
    "signal, before its commit": Point(_COMMIT, only=_has_signals),
    "signal, after its commit": Point(_COMMIT, after=True, only=_has_signals),
    # During a commit: rows are in the transaction; bytes are on their way; nobody heard the answer.
    "commit, not ended": Point((f"{_SQLITE}._write", f"{_REDIS}._evaluate"), after=True),
    "commit, half of it": Point((f"{_SQLITE}._set_head", "tests:half of what is sent")),
    "commit, unanswered": Point((f"{_SQLITE}._beat", "tests:all of what is sent"), after=True),
    "commit, before it is seen": Point(("runtime.lifetime.run:DurableRun._seen",)),
    "commit, after one without a snapshot": Point(_COMMIT, after=True, only=_has_no_snapshot),
    # During a snapshot.
    "snapshot, encoding it": Point(("runtime.record.ledger:encode",), after=True),
    "snapshot, before": Point(_COMMIT, only=_has_snapshot),
    "snapshot, written": Point(
        (f"{_SQLITE}._write", f"{_REDIS}._to_take_over"),
        after=True,
        only=lambda *given: len(given) == 3 or _encoded_snapshot(*given),
    ),
    "snapshot, after": Point(_COMMIT, after=True, only=_has_snapshot),
    "snapshots, while they are pruned": Point((f"{_SQLITE}._set_head", f"{_REDIS}._drop")),
    "snapshots, pruned": Point((f"{_SQLITE}.prune", f"{_REDIS}.prune"), after=True),
    # During recovery.
    "recovery, lease taken": Point((f"{_SQLITE}.acquire", f"{_REDIS}.acquire"), after=True),
    "recovery, states being read": Point(("runtime.lifetime.recovery:decode",), after=True),
    "recovery, states read": Point(
        ("runtime.lifetime.replaying:restored", "runtime.lifetime.recovery:restored"), after=True
    ),
    "recovery, grants being read": Point(("runtime.record.steplog:granted",), after=True),
    "recovery, states put back": Point(
        ("runtime.lifetime.recovery:restore", "runtime.lifetime.changes:restore"), after=True
    ),
    "recovery, said": Point((f"{_SQLITE}.append_audit", f"{_REDIS}.append_audit"), after=True),
    "recovery, steps given again": Point(("runtime.record.ledger:Ledger._again",), after=True),
    # While a day's files are written, and afterwards.
    "files, before a day": Point(("adapters.sinks.parts:DayParts.write_day",)),
    "files, not renamed": Point(("adapters.sinks.parts:_synced",)),
    "files, being put together": Point(("adapters.sinks.parts:_texts",)),
    "files, put together": Point(("adapters.sinks.parts:DayParts.put_together",), after=True),
    "lease, before it is given back": Point((f"{_SQLITE}.release", f"{_REDIS}.release")),
}
"""Every instant that matters, by what it is; any run comes to each of them."""

IN_ERROR = {
    "recover, before its command is taken": Point(
        (f"{_SQLITE}.take_commands", f"{_REDIS}.take_commands")
    ),
    "recover, command taken": Point(
        (f"{_SQLITE}.take_commands", f"{_REDIS}.take_commands"), after=True
    ),
}
"""Instants while ERROR is left."""


class Planted:
    """Kills this process at the nth time that it comes to a point."""

    def __init__(self, point: Point, nth: int) -> None:
        self._point = point
        self._left = nth
        self._lock = threading.Lock()
        for name in point.names:
            if name.startswith("tests:"):
                self._plant_in_socket(half=name == "tests:half of what is sent")
                continue
            module, _, path = name.partition(":")
            try:
                holder: Any = importlib.import_module(f"openbell.{module}")
            except ImportError:
                continue  # without redis-py
            *outer, last = path.split(".")
            for part in outer:
                holder = getattr(holder, part)
            setattr(holder, last, self._wrapped(getattr(holder, last)))

    def come(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # the signal takes a moment; the other threads must not get further

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            concerned = self._point.only(*args, **kwargs)
            if concerned and not self._point.after:
                self.come()
            value = function(*args, **kwargs)
            if concerned and self._point.after:
                self.come()
            return value

        return wrapped

    def _plant_in_socket(self, *, half: bool) -> None:
        """Counts what redis-py sends; half of the last one, or all of it, reaches the server."""
        try:
            from redis.connection import Connection
        except ImportError:
            return
        send: Callable[..., Any] = Connection.send_packed_command

        def sent(connection: Any, command: Any, check_health: bool = True) -> Any:
            if half and self._left <= 1 and connection._sock is not None:
                data = b"".join([command] if isinstance(command, bytes) else list(command))
                connection._sock.sendall(data[: len(data) // 2])
                self.come()
            value = send(connection, command, check_health)
            self.come()
            return value

        setattr(Connection, "send_packed_command", sent)  # noqa: B010 mypy takes no assignment


Settle = Callable[[Ledger, Settled], None]


def held(
    instant: str, may_go: Callable[[], bool], is_held: Callable[[], object] = lambda: None
) -> Settle:
    """Stands for `Ledger.settled`: runs settle no step at or after an instant of market time until
    they may go on, or are stopped.

    Parameters
    ----------
    instant : str
        ISO 8601.
    is_held : callable
        Called when a run is held, and all steps before are durable.
    """
    at_ns = int(datetime.fromisoformat(instant).timestamp()) * 10**9
    settle = Ledger.settled

    def settled(ledger: Ledger, of: Settled) -> None:
        if of.grant.until_ns >= at_ns and not may_go():
            with ledger._changed:
                ledger._changed.wait_for(
                    lambda: ledger._error or ledger._closed or not (ledger._queue or ledger._busy)
                )
            is_held()
            while not (may_go() or ledger._leave_at or ledger._closed or ledger._error):
                time.sleep(0.01)
        settle(ledger, of)

    return settled


def _commit_each_step() -> None:
    """Have this process's run make each step durable by itself: what there is then at some step does
    not hang on how fast steps and commits are."""
    settle = Ledger.settled

    def settled(ledger: Ledger, of: Settled) -> None:
        settle(ledger, of)
        ledger.drain()

    setattr(Ledger, "settled", settled)  # noqa: B010 mypy takes no assignment


# In tests


@dataclass
class Child:
    """One `openbell` process."""

    pid: int
    said: Path

    @property
    def err(self) -> str:
        return self.said.read_text()

    @property
    def is_held(self) -> bool:
        return Path(f"{self.said}.held").exists()

    def let_go(self) -> None:
        """Of one that is held, or will be."""
        Path(f"{self.said}.go").touch()


class Code(int):
    """An exit code; where an assertion about it fails, what the child said is shown with it."""

    def __new__(cls, code: int, said: str) -> Self:
        made = super().__new__(cls, code)
        made.said = said
        return made

    said: str

    def __repr__(self) -> str:
        return f"{int(self)} (it said: {self.said.strip()[-180:] or 'nothing'})"


class Nursery:
    """Starts `openbell` processes without paying for its imports each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("OPENBELL_")},
        )
        self._codes: dict[int, int] = {}
        self._heard = threading.Condition()
        self._pids: list[int] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(
        self,
        *arguments: object,
        point: str | None = None,
        nth: int = 1,
        hold: str | None = None,
        each_step: bool = False,
    ) -> Child:
        """Start a process.

        Parameters
        ----------
        point, nth
            Where it kills itself, and at which time that it comes there.
        hold
            An instant of market time, in ISO 8601, from which on it settles no step until it is
            let go, or stopped, after one step more.
        each_step
            Whether each step is a commit.
        """
        said = self._folder / f"said-{self._count}"
        said.touch()
        self._count += 1
        self._ask(
            arguments=[*map(str, arguments)],
            point=point,
            nth=nth,
            hold=hold,
            each_step=each_step,
            said=str(said),
        )
        with self._heard:
            assert self._heard.wait_for(lambda: self._pids, timeout=120)
            return Child(self._pids.pop(), said)

    def ended(self, child: Child, timeout: float = 120) -> int:
        """Its exit code; that of a signal is negative."""
        with self._heard:
            if not self._heard.wait_for(lambda: child.pid in self._codes, timeout):
                self.send(child, signal.SIGKILL)
                self._heard.wait_for(lambda: child.pid in self._codes, timeout)
                pytest.fail(f"it does not end: {child.err}")
            return Code(self._codes[child.pid], child.err)

    def send(self, child: Child, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended, as a fast one may at any time.

        Its parent does: nobody else knows that the pid is still its own.
        """
        self._ask(signal=int(number), pid=child.pid)

    def kill(self, child: Child) -> bool:
        """End it by `kill -9`. False where it had ended by itself."""
        self.send(child, signal.SIGKILL)
        return self.ended(child) == KILLED

    def is_running(self, child: Child) -> bool:
        with self._heard:
            return child.pid not in self._codes

    def wait_until_held(self, child: Child) -> None:
        """Until it is held, and all that was before is durable."""
        wait_until(lambda: child.is_held or not self.is_running(child))
        assert child.is_held, f"it was to be held: {child.err}"

    def run(
        self, *arguments: object, point: str | None = None, nth: int = 1, each_step: bool = False
    ) -> tuple[int, str]:
        child = self.start(*arguments, point=point, nth=nth, each_step=each_step)
        return self.ended(child), child.err

    def _ask(self, **what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)
        self._listener.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, pid, *code = line.split()
            with self._heard:
                if what == "started":
                    self._codes.pop(int(pid), None)  # of another that had this pid
                    self._pids.append(int(pid))
                else:
                    self._codes[int(pid)] = int(code[0])
                self._heard.notify_all()


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    made = Nursery(folder)
    try:
        yield made
    finally:
        made.close()


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.01)


# What a run leaves


@dataclass(frozen=True)
class Setting:
    """A configuration's file and what it names."""

    config: Path
    out: Path
    url: str
    name: str

    @property
    def run(self) -> tuple[object, ...]:
        return ("run", "--config", self.config, "--out", self.out)


def setting(folder: Path, data: Path, url: str, name: str, **more: Any) -> Setting:
    """Two-day samples and real days of New York alike; `more` is what differs."""
    folder.mkdir(parents=True, exist_ok=True)
    keys: dict[str, Any] = {
        "name": name,
        "exchange": "XNYS",
        "sessions": [
            {"name": "Morning Opening", "start": "09:30", "end": "09:35"},
            {"name": "Mid Morning", "start": "10:30", "end": "10:35"},
            {"name": "Lunch Break", "start": "11:50", "end": "12:20"},
        ],
        "data": {"path": str(data)},
        "feed": {"type": "replay", "speed": 0},
        "clock": {"step": "bar"},
        "snapshot": {"every": "0.02s"},
        "store": {"url": url},
        **more,
    }
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(keys))
    return Setting(config, folder / f"{name}-out", url, name)


def steps_of(of: Setting) -> int:
    """How many steps a run has made durable so far."""
    store = open_store(of.url, of.name)
    try:
        return store.head().step
    finally:
        store.close()


def left(of: Setting) -> dict[str, Any]:
    """All that a run has left in its store and its folder, but for wall time and cursors."""
    store = open_store(of.url, of.name)
    try:
        kept: dict[str, Any] = {
            "signals": [signal.body for _, signal in store.signals()],
            "ids": [signal.id for _, signal in store.signals()],
            "sessions": [document.body for document in store.documents()],
            "steps": [(step.number, step.market_ns, step.digest) for step in store.steps()],
            "transitions": [
                {k: v for k, v in entry.items() if k not in ("wall_time", "id", "fence")}
                for entry in (json.loads(entry) for _, entry in store.audit())
                if entry["what"] in ("phase", "day", "session")
            ],
            "events": [e.id for e in read(store) if OF_A_STEP.fullmatch(e.id)],
        }
    finally:
        store.close()
    for file in sorted(of.out.glob("*")) if of.out.is_dir() else ():
        if file.suffix == ".parquet":
            kept[file.name] = pq.read_table(file).to_pylist()
        elif file.name == "summary.json":
            kept[file.name] = json.loads(file.read_bytes())
            del kept[file.name]["timing"]
        elif file.is_file():
            kept[file.name] = file.read_bytes()
    return kept


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any], about: str) -> None:
    """Says what is lost and what is repeated, not two walls of text."""
    lost = set(expected["ids"]) - set(found["ids"])
    repeated = sum(len(found[of]) - len(set(found[of])) for of in ("ids", "events"))
    assert (lost, repeated) == (set(), 0), f"{about}: lost {lost}, {repeated} repeated"
    names = found.keys() | expected.keys()
    differing = [name for name in sorted(names) if found.get(name) != expected.get(name)]
    assert not differing, f"{about}: {differing} differ from the run that was not killed"


# As a script


def _serve() -> None:
    import exchange_calendars  # noqa: F401 what a run imports when it comes to it
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import openbell.adapters.sinks.parts
    import openbell.adapters.sources.parquet
    import openbell.adapters.stores.memory
    import openbell.adapters.stores.sqlite
    import openbell.runtime.api
    import openbell.runtime.cli.app
    import openbell.runtime.lifetime.replaying
    import openbell.runtime.lifetime.run

    try:
        import redis  # noqa: F401

        import openbell.adapters.stores.redis  # noqa: F401
    except ImportError:
        pass
    _calendar_warm()
    children: set[int] = set()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    import select

    asked = b""
    open_ = True
    while open_ or children:
        ready, _, _ = select.select([0, read] if open_ else [read], [], [], 0.5)
        if read in ready:
            os.read(read, 4096)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)
        if open_ and 0 in ready:
            some = os.read(0, 65536)
            if not some:
                open_ = False
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
            asked += some
            while b"\n" in asked:
                line, asked = asked.split(b"\n", 1)
                what = json.loads(line)
                if "signal" in what:
                    if what["pid"] in children:
                        os.kill(what["pid"], what["signal"])
                    continue
                pid = os.fork()
                if pid == 0:
                    _live(what)
                children.add(pid)
                print("started", pid, flush=True)


def _calendar_warm() -> None:
    from datetime import date

    from openbell.market.calendar import open_calendar

    open_calendar("XNYS", date(2024, 1, 1), date(2024, 2, 1))


def _live(asked: dict[str, Any]) -> None:
    """This process is the child; it does not come back."""
    from openbell.runtime.cli.app import main

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said = os.open(asked["said"], os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.close(0)
    if asked["point"] is not None:
        Planted((POINTS | IN_ERROR)[asked["point"]], asked["nth"])
    if asked["hold"] is not None:
        told, go = (Path(f"{asked['said']}.{of}") for of in ("held", "go"))
        settled = held(asked["hold"], go.exists, told.touch)
        setattr(Ledger, "settled", settled)  # noqa: B010 mypy takes no assignment
    if asked["each_step"]:
        _commit_each_step()
    program, *_ = sys.argv = asked["arguments"]
    code = 1
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
            code = 0
        else:
            sys.argv = ["openbell", *sys.argv]
            main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:  # noqa: BLE001 as the interpreter would
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
