"""Recorded days, run live and as a backtest, give the same bytes, whatever is killed meanwhile.

Rows in the order in which they were recorded are backtested (`data.order: arrival`); pushed in chunks
drawn at random, from three threads; and written to a Redis Stream, as fast as it goes. The live runs
are killed with `kill -9` at instants drawn at random, and so is the server that holds their stream or
their store. Session documents, signals with their order, levels, bars and quality must be equal; and
so must be what the recording of each live run comes to.

As a script it goes through all of it and prints each case with the seed that repeats it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[1])]

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from faults.crashing import Child, Nursery, nursery
from redis_server import RedisServer, find_server

from openbell.adapters.sinks.files import DayResult
from openbell.adapters.stores import Store, Unavailable
from openbell.runtime.api import run_backtest
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.parity import parity
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.results.frames import Result
from openbell.runtime.results.recording import Recorder

BOT = Path(__file__).with_name("live_bot.py")
NAME = "live"
WAYS = ("push", "redis")
KILLED = ("nothing", "run", "server")
"""What is killed; with the server the run too."""

US = [
    {"name": "Morning Opening", "start": "09:30", "end": "09:35"},
    {"name": "Mid Morning", "start": "10:30", "end": "10:35"},
    {"name": "Lunch Break", "start": "11:50", "end": "12:20"},
]
NSE = [
    {"name": "Morning Opening", "start": "09:15", "end": "09:20"},
    {"name": "Mid Morning", "start": "10:15", "end": "10:20"},
    {"name": "Lunch Break", "start": "11:50", "end": "12:20"},
]
TICKS, BARS = (
    ["symbol", "ts", "price", "size"],
    ["symbol", "ts", "open", "high", "low", "close", "volume"],
)


# Recorded days


@dataclass(frozen=True)
class Recorded:
    """Rows in the order in which they came, and how they are run."""

    name: str
    kind: str
    """`ticks` or `bars`."""
    exchange: str
    sessions: Sequence[Mapping[str, str]]
    rows: pd.DataFrame
    keys: Mapping[str, Any]
    """What else is configured."""

    @cached_property
    def dates(self) -> list[date]:
        dates: list[date] = sorted(set(self.rows["ts"].dt.tz_convert(self._zone).dt.date))
        return dates

    @property
    def _zone(self) -> str:
        return "Asia/Kolkata" if self.exchange == "XNSE" else "America/New_York"

    def between(self, start: str, end: str) -> Recorded:
        """Only rows of some local times of each day."""
        at = self.rows["ts"].dt.tz_convert(self._zone).dt.strftime("%H:%M")
        kept = self.rows[(at >= start) & (at < end)].reset_index(drop=True)
        return replace(self, name=f"{self.name} {start} to {end}".replace(":", ""), rows=kept)


def nse_ticks(shared: Path, *days: str) -> Recorded:
    """Index ticks up to minutes out of order, each symbol's as they stand and both side by side."""
    rows = pd.read_parquet(shared / "ticks_nse_index_2021.parquet", columns=TICKS)
    of = rows["ts"].dt.tz_convert("Asia/Kolkata").dt.strftime("%Y-%m-%d")
    rows = rows[of.isin(days)]
    came = rows.groupby("symbol")["ts"].cummax()
    rows = rows.loc[came.sort_values(kind="stable").index].reset_index(drop=True)
    keys = {"companions": {"NIFTY": "BANKNIFTY"}, "breakout": {"rearm": "inside"}}
    return Recorded("nse ticks", "ticks", "XNSE", NSE, rows, {**keys, "clock": {"lateness": "2s"}})


def us_ticks(shared: Path) -> Recorded:
    """A day of trades with extended hours, and blocks that were reported late."""
    rows = pd.read_parquet(shared / "ticks_us_spy_20131007.parquet", columns=TICKS)
    return Recorded("us ticks", "ticks", "XNYS", US, rows, {"breakout": {"confirm": "touch"}})


def us_minutes(shared: Path, days: int = 5) -> Recorded:
    """Minutes of five stocks, minute by minute; the fifth was recorded in another year, and is laid
    on the same minutes of other days."""
    four = pd.read_parquet(shared / "us_stocks_1m_2019.parquet", columns=BARS)
    fifth = pd.read_parquet(shared / "us_rivn_aapl_1m_2026.parquet", columns=BARS)
    fifth = fifth[fifth["symbol"] == "RIVN"]
    local, there = (of["ts"].dt.tz_convert("America/New_York") for of in (fifth, four))
    to = dict(zip(sorted(set(local.dt.date)), sorted(set(there.dt.date)), strict=True))
    since_midnight = local.dt.tz_localize(None) - local.dt.tz_localize(None).dt.normalize()
    moved = pd.to_datetime(local.dt.date.map(to)) + since_midnight
    fifth = fifth.assign(ts=moved.dt.tz_localize("America/New_York").dt.tz_convert("UTC"))
    rows = pd.concat([four, fifth]).sort_values("ts", kind="stable")
    kept = sorted(to.values())[:days]
    rows = rows[rows["ts"].dt.tz_convert("America/New_York").dt.date.isin(kept)]
    keys = {"breakout": {"rearm": "inside"}}
    return Recorded("us minutes", "bars", "XNYS", US, rows.reset_index(drop=True), keys)


# What a run answers


Answers = Mapping[str, Any]


def answers(store: Store, days: Sequence[DayResult]) -> Answers:
    """All that a run gives; nothing of it tells when on a wall clock it was found."""
    found: dict[str, Any] = {
        "signals": [signal.body for _, signal in store.signals()],
        "documents": [
            (of.trading_date, of.session, of.status, of.body) for of in store.documents()
        ],
    }
    for day in days:
        result, of = Result([day], {}), str(day.trading_date)
        found[f"{of}: signals"] = _bytes(result.signals)
        found[f"{of}: levels"] = _bytes(result.levels)
        found[f"{of}: quality"] = _bytes(result.quality)
        for minutes in sorted(day.bars):
            found[f"{of}: bars of {minutes}m"] = _bytes(result.bars(minutes))
        # The file's name differs: a feed has its own.
        found[f"{of}: unusable"] = [(r.row, r.symbol, r.ts_ns, r.reason) for r in day.bad]
    return found


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


class _Days:
    def __init__(self) -> None:
        self.days: list[DayResult] = []

    def write_day(self, day: DayResult) -> None:
        self.days.append(day)


def differing(found: Answers, expected: Answers) -> str | None:
    """What differs first, in words."""
    for what in expected.keys() | found.keys():
        if found.get(what) == expected.get(what):
            continue
        if what in ("signals", "documents"):
            pairs = zip(found[what], expected[what], strict=False)
            place = next((n for n, (one, other) in enumerate(pairs) if one != other), None)
            counts = f"{len(found[what])} {what} instead of {len(expected[what])}"
            if place is None:
                return counts
            return f"{counts}; [{place}] is {found[what][place]!r}, not {expected[what][place]!r}"
        if isinstance(found.get(what), bytes) and isinstance(expected.get(what), bytes):
            rows = [pa.ipc.open_stream(of[what]).read_all().to_pylist() for of in (found, expected)]
            unlike = [pair for pair in zip(*rows, strict=False) if repr(pair[0]) != repr(pair[1])]
            told = f"{unlike[0][0]}, not {unlike[0][1]}" if unlike else "in their columns"
            return f"{what} differ, {len(rows[0])} of {len(rows[1])} rows: {told}"
        return f"{what} differ: {found.get(what)!r:.500}, not {expected.get(what)!r:.500}"
    return None


# Where it is run


class Case(NamedTuple):
    recorded: Recorded
    way: str
    killed: str
    seed: int

    def __str__(self) -> str:
        return f"{self.recorded.name}, {self.way}, killed: {self.killed}, seed {self.seed}"


class Workshop:
    """A folder, a nursery of processes, and what each recorded day gives as a backtest."""

    def __init__(self, folder: Path, children: Nursery) -> None:
        self.folder = folder
        self.children = children
        self._expected: dict[str, Answers] = {}
        self._count = 0

    def file(self, recorded: Recorded) -> Path:
        path = self.folder / f"{recorded.name}.parquet"
        if not path.exists():
            pq.write_table(pa.Table.from_pandas(recorded.rows, preserve_index=False), path)
        return path

    def keys(self, recorded: Recorded) -> dict[str, Any]:
        return {
            "name": NAME,
            "exchange": recorded.exchange,
            "symbols": sorted(set(recorded.rows["symbol"])),
            "sessions": list(recorded.sessions),
            "data": {"kind": recorded.kind},
            **recorded.keys,
        }

    def expected(self, recorded: Recorded) -> Answers:
        """What a backtest of the rows in their order gives."""
        if recorded.name not in self._expected:
            keys, kept = self.keys(recorded), _Days()
            keys["data"] = {**keys["data"], "order": "arrival", "path": str(self.file(recorded))}
            url = f"sqlite:///{self.folder / recorded.name}.db"
            made = config_from({**keys, "store": {"url": url}})
            run_backtest(made, sinks=(kept,), store=url)
            with closing(open_configured_store(made)) as store:
                self._expected[recorded.name] = answers(store, kept.days)
        return self._expected[recorded.name]

    def check(self, case: Case, kills: int = 3) -> int:
        """Run a case.

        Returns
        -------
        How many times something was killed.

        Raises
        ------
        AssertionError
            It says what differs, and the seed.
        """
        self._count += 1
        live = Live(self, case, self.folder / f"case-{self._count}")
        problem = differing(live.found(kills), self.expected(case.recorded))
        assert problem is None, f"{case}: {problem}"
        return live.kills


class Live:
    """One live run, in as many processes as it needs."""

    def __init__(self, of: Workshop, case: Case, folder: Path) -> None:
        self._of, self._case, self._folder = of, case, folder
        self._drawn = random.Random(case.seed)
        self._server: RedisServer | None = None
        self.kills = 0
        self._over = threading.Event()

    def found(self, kills: int) -> Answers:
        self._folder.mkdir()
        case = self._case
        with ExitStack() as stack:
            if case.way == "redis" or case.killed == "server":
                binary = find_server()
                assert binary is not None, "there is a server"
                self._server = stack.enter_context(RedisServer(binary))
            keys = self._keys()
            config = self._folder / "config.yaml"
            config.write_text(yaml.safe_dump(keys))
            writing: threading.Thread | None = None
            if case.way == "redis":
                writing = threading.Thread(target=self._write, name="writer")
                writing.start()
                stack.callback(writing.join)
                stack.callback(self._over.set)
            self._disturb(config, kills if case.killed != "nothing" else 0)
            made = config_from(config)
            with closing(open_configured_store(made)) as store:
                kept = _Days()
                for day in case.recorded.dates:
                    again = replay_day(made, store, day, recorder=Recorder((kept,)))
                    assert again.differs is None, f"{case}: {again.differs}"
                    of_recording = parity(made, store, day, self._folder / "days").recording
                    assert of_recording.first is None, f"{case}: {of_recording}"
                return answers(store, kept.days)

    def _keys(self) -> dict[str, Any]:
        case, keys = self._case, self._of.keys(self._case.recorded)
        dates = case.recorded.dates
        feed: dict[str, Any] = {"type": case.way, "start": str(dates[0]), "end": str(dates[-1])}
        feed["record"] = str(self._folder / "days")
        url = f"sqlite:///{self._folder / 'state.db'}"
        if case.killed == "server":
            assert self._server is not None
            url = self._server.url
        if case.way == "redis":
            assert self._server is not None
            batch = self._drawn.choice([1, 5] if case.killed != "nothing" else [50, 1000])
            feed["options"] = {"url": self._server.url, "stream": "rows", "batch": batch}
        snapshot = {"every": f"{self._drawn.choice([20, 100, 500])}ms"}
        clock = {**keys.get("clock", {}), "time": "feed"}
        return {**keys, "clock": clock, "feed": feed, "store": {"url": url}, "snapshot": snapshot}

    def _start(self, config: Path) -> Child:
        case = self._case
        if case.way == "redis":
            return self._of.children.start("run", "--config", config)
        rows, last, seed = (
            self._of.file(case.recorded),
            case.recorded.dates[-1],
            self._drawn.random(),
        )
        chunk = self._drawn.choice([40, 400, 4000] if case.killed == "nothing" else [40, 200])
        return self._of.children.start(
            BOT, config, rows, case.recorded.kind, last, int(seed * 2**31), chunk
        )

    def _disturb(self, config: Path, kills: int) -> None:
        """Start the run, kill what is to be killed, and let it come to its end."""
        of, made = self._of.children, config_from(config)
        for _ in range(kills):
            child = self._start(config)
            with suppress(Ended):
                self._come_further(child, made)
                if self._case.killed == "server":
                    assert self._server is not None
                    self._server.kill()
                    self.kills += 1
                    time.sleep(self._drawn.random() * 0.3)
                    if self._drawn.random() < 0.5:
                        self.kills += of.kill(child)
                    self._server.start()
                    self._come_further(child, made)
                self.kills += of.kill(child)
        last = self._start(config)
        assert of.ended(last, 600) == 0, f"{self._case}: {last.err[-2000:]}"

    def _come_further(self, child: Child, made: Any) -> None:
        """Wait until some more steps of a run are durable, or a moment after."""
        wanted = self._steps(made) + self._drawn.randint(1, 10)
        until = time.monotonic() + 120
        while self._steps(made) < wanted:
            if not self._of.children.is_running(child):
                raise Ended
            assert time.monotonic() < until, (
                f"{self._case}: it goes no further: {child.err[-2000:]}"
            )
            time.sleep(0.005)
        time.sleep(self._drawn.random() * 0.02)

    def _steps(self, made: Any) -> int:
        if made.store.url.startswith("sqlite") and not (self._folder / "state.db").exists():
            return 0
        try:
            with closing(open_configured_store(made)) as store:
                return store.head().step
        except Unavailable:
            return 0

    # The stream

    def _write(self) -> None:
        """Write all rows, in entries that are known by their ids: what was not acknowledged is
        written again, and is there once."""
        import redis

        assert self._server is not None
        client = redis.Redis(port=self._server.port)
        entries = list(self._entries(random.Random(self._case.seed)))
        done = 0
        while done < len(entries) and not self._over.is_set():
            asked = client.pipeline(transaction=False)
            for number, fields in enumerate(entries[done : done + 20], done + 1):
                asked.xadd("rows", fields, id=f"{number}-0")
            try:
                answered = asked.execute(raise_on_error=False)
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.01)
                continue
            for answer in answered:
                if isinstance(answer, redis.ConnectionError | redis.BusyLoadingError):
                    break
                if isinstance(answer, redis.ResponseError) and "equal or smaller" not in str(
                    answer
                ):
                    raise answer
                done += 1
        client.close()

    def _entries(self, drawn: random.Random) -> Iterator[Any]:
        """Rows one by one, as JSON and as Arrow, as many at once as is drawn."""
        case, place = self._case, 0
        rows = case.recorded.rows
        table = pa.Table.from_pandas(rows, preserve_index=False)
        chunk = drawn.choice([20, 200, 2000])
        while place < len(rows):
            as_ = drawn.choice(["fields", "json", "arrow", "arrow"])
            count = 1 if as_ == "fields" else drawn.randint(1, chunk if as_ == "arrow" else 30)
            part = table.slice(place, count)
            place += count
            if as_ == "arrow":
                yield {"rows": _bytes(part)}
                continue
            written = [
                {**row, "ts": row["ts"].isoformat()} for row in part.to_pandas().to_dict("records")
            ]
            if as_ == "json":
                yield {"rows": json.dumps(written)}
            else:
                yield {
                    name: repr(value) if isinstance(value, float) else str(value)
                    for name, value in written[0].items()
                }
        yield {"end": str(case.recorded.dates[-1])}


class Ended(Exception):
    """The run ended before it was killed."""


def cases(days: Sequence[Recorded], seed: int) -> Iterator[Case]:
    """Each recorded day each way, with each kind of kill."""
    for recorded in days:
        for way in WAYS:
            for killed in KILLED:
                yield Case(recorded, way, killed, seed)
                seed += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "../shared/data")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**6)
    parser.add_argument("--kills", type=int, default=3, help="of each case")
    parser.add_argument("--only", default="", help="cases whose words hold this")
    parser.add_argument("--until", default="24:00", help="only rows up to this local time")
    options = parser.parse_args()
    if not options.shared.is_dir():
        sys.exit(f"{options.shared} is absent; it holds the recorded days")
    days: list[Recorded] = [
        nse_ticks(options.shared, "2021-04-19"),
        us_minutes(options.shared),
        us_ticks(options.shared),
    ]
    if options.until != "24:00":
        days = [of.between("00:00", options.until) for of in days]
    failed = 0
    with tempfile.TemporaryDirectory() as folder, nursery(Path(folder)) as children:
        workshop = Workshop(Path(folder), children)
        for case in cases(days, options.seed):
            if options.only not in str(case):
                continue
            began = time.monotonic()
            try:
                kills = workshop.check(case, options.kills)
            except AssertionError as error:
                failed += 1
                print(f"FAILED {error}", flush=True)
                continue
            counts = workshop.expected(case.recorded)
            print(
                f"{case}: {len(case.recorded.rows):,} rows, {len(counts['signals'])} signals, "
                f"{len(counts['documents'])} documents equal; {kills} kills, "
                f"{time.monotonic() - began:.1f} s",
                flush=True,
            )
    if failed:
        sys.exit(f"{failed} differ; repeat one with --seed and --only")


if __name__ == "__main__":
    main()
