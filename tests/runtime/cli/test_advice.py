"""What messages say to write is written, to the letter, and the run is right then.

The program's text is walked for such messages: one that no case here brings about fails.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from commands import Command, Ran

ROOT = Path(__file__).parents[3]
KEY = r"(?:data|backtest|breakout|calendar|feed|history|store|upkeep|clock)(?:\.[a-z_]+)+|exchange"
VALUE = r'"[^"]*"|\[[^\]]*\]|\{[^{}]*\}|[^\s;,()"]+'
ADVICE = re.compile(rf"(?<![\w.{{])({KEY}): ({VALUE})")
"""A key of the configuration with its value; within braces, it is a heading of a file of one's own."""
FLAG = re.compile(r"(?<![\w-])(--[a-z-]++)(?: [A-Z]+, e\.g\. (\S+)|(?! [A-Z]{2}))")
"""A flag with an example of what it takes, or one that takes nothing."""

# The first two minutes span 99 to 101.5; 09:33 closes above, 09:34 below.
BARS = [
    ("09:30", 100, 101, 99, 100.2, 1000),
    ("09:31", 100.5, 101.5, 99.5, 101, 1100),
    ("09:32", 101, 101.4, 100.8, 101.2, 900),
    ("09:33", 101.2, 102, 101, 101.8, 1200),
    ("09:34", 101, 101, 98, 98.5, 1300),
]
HEADER = "ts,open,high,low,close,volume"


def lines(day: str = "2024-07-01", pattern: str = "%Y-%m-%d %H:%M", label: float = 0) -> list[str]:
    """The rows as CSV; `label` is what is added to their times, in seconds."""
    made = []
    for clock, *values in BARS:
        moment = datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=UTC)
        moment += timedelta(seconds=label)
        made.append(",".join([moment.strftime(pattern), *map(str, values)]))
    return made


def write(name: str, rows: list[str], header: str | None = HEADER) -> None:
    path = Path("data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n", encoding="utf-8")


def files(*names: str) -> None:
    for name in names:
        write(name, lines())


def outside_hive() -> None:
    for name in ("symbol=AAPL/part-0.csv", "rest.csv"):
        write(name, lines())


def packed_too() -> None:
    write("AAPL.csv", lines())
    Path("data/AAPL.csv.gz").write_bytes(gzip.compress(Path("data/AAPL.csv").read_bytes()))


def mixed_formats() -> None:
    write("AAPL.csv", lines())
    pq.write_table(pa.table({"ts": pa.array([], pa.timestamp("ns"))}), "data/MSFT.parquet")


def commas() -> None:
    rows = [f'{line.partition(",")[0]},"100,500"' for line in lines()]
    prices = ["100,200", "101,500", "100,900", "101,800", "098,500"]
    write(
        "AAPL.csv",
        [f"{row.partition(',')[0]};{p};{p};{p};{p};1" for row, p in zip(rows, prices, strict=True)],
        header="ts;open;high;low;close;volume",
    )


def latin() -> None:
    write("AAPL.csv", lines())
    path = Path("data/AAPL.csv")
    text = (
        path.read_text().replace("\n", ",Z\xfcrich\n").replace("volume,Z\xfcrich", "volume,symbol")
    )
    path.write_bytes(text.encode("cp1252"))


def latin_header() -> None:
    header = HEADER.replace("open", "Er\xf6ffnung")
    write("AAPL.csv", lines(), header=header)
    path = Path("data/AAPL.csv")
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))


def ticks() -> None:
    prices = [("09:30", 99), ("09:31", 101.5), ("09:33", 101.8), ("09:34", 98.5)]
    write("AAPL.csv", [f"2024-07-01 {at},{price},1" for at, price in prices], "ts,price,size")


def negative() -> None:
    rows = [
        ",".join([clock, *(str(round(v - 200, 2)) for v in map(float, values[:4])), values[4]])
        for clock, *values in (line.split(",") for line in lines())
    ]
    write("CL.csv", rows)


def in_dbn(schema: str) -> None:
    """Bars of two seconds a minute, or their closes as trades."""
    from dbn_files import bar, metadata, trade
    from dbn_files import write as written

    rows = []
    for clock, *values in BARS:
        at = datetime.fromisoformat(f"2024-07-01 {clock}-04:00")
        start = int(at.timestamp()) * 10**9
        opened, high, low, close, _ = map(float, values)
        if schema == "trades":
            rows += [
                trade(1, start + n, price, 1) for n, price in enumerate((opened, high, low, close))
            ]
        else:
            prices = (opened, high, low, close)
            rows += [bar(1, start + n * 10**9, prices, rtype="OHLCV_1S") for n in (0, 1)]
    head = metadata(schema, {"AAPL": [("2024-07-01", "2024-07-02", 1)]})
    written(Path("data/a.dbn.zst"), head, rows)


def far_apart() -> None:
    rows = []
    rest = [line.partition(",")[2] for line in lines()]
    for step in range(78):
        minute = 9 * 60 + 30 + 5 * step
        rows.append(f"2024-07-01 {minute // 60:02}:{minute % 60:02},{rest[min(step, 4)]}")
    write("AAPL.csv", rows)


def stamped_with_their_ends() -> None:
    rest = [line.partition(",")[2] for line in lines()]
    clock = [divmod(9 * 60 + 31 + minute, 60) for minute in range(390)]
    write(
        "AAPL.csv",
        [f"2024-07-01 {h:02}:{m:02},{rest[min(i, 4)]}" for i, (h, m) in enumerate(clock)],
    )


def local_day_first() -> None:
    write("AAPL.csv", lines(pattern="%d/%m/%Y %H:%M"))


def parquet_without_zone() -> None:
    Path("data").mkdir()
    of_bars = list(zip(*BARS, strict=True))
    moments = [datetime.fromisoformat(f"2024-07-01 {clock}") for clock in of_bars[0]]
    names = HEADER.split(",")[1:]
    columns = dict(zip(names, map(list, of_bars[1:]), strict=True))
    pq.write_table(pa.table({"ts": moments, **columns}), "data/AAPL.parquet")


@dataclass(frozen=True)
class Case:
    """Something that is refused, or said, with what to write."""

    make: Callable[[], object]
    data: dict[str, Any] = field(default_factory=lambda: {"timezone": "America/New_York"})
    path: str = "data"
    symbols: tuple[str, ...] = ("AAPL",)
    """Those that have both signals once the advice was followed."""
    chosen: int = 0
    """Which of several things to write is the right one here."""
    arguments: tuple[str, ...] = ()
    command: str = "backtest"
    before: Callable[[Command], object] | None = None
    said: bool = False
    """Whether it is said in passing, and the run is right already."""
    all_of_them: bool = False
    """Whether several things have to be written."""
    sessions: tuple[str, str] = ("09:30", "09:31")


NEW_YORK = {"timezone": "America/New_York"}
BOTH = ("AAPL", "MSFT")
CASES: dict[str, Case] = {
    "no header, and its first row named": Case(
        lambda: write("h.csv", lines(), header=None),
        {
            **NEW_YORK,
            "symbol": "AAPL",
            "columns": {"ts": "2024-07-01 09:30", "open": "100", "high": "101", "low": "99"}
            | {"close": "100.2", "volume": "1000"},
        },
        "data/h.csv",
        all_of_them=True,
    ),
    "another encoding": Case(latin, symbols=("Zürich",)),
    "another encoding of the header": Case(
        latin_header, {**NEW_YORK, "columns": {"open": "Er\xf6ffnung"}}
    ),
    "ticks that are run as bars": Case(ticks),
    "commas that may be either": Case(commas),
    "day and month": Case(local_day_first, chosen=1),
    "no zone": Case(lambda: files("AAPL.csv"), {}),
    "no zone in Parquet": Case(parquet_without_zone, {}),
    "no symbol": Case(lambda: files("AAPL.csv"), path="data/AAPL.csv"),
    "a name misspelled": Case(
        lambda: write("AAPL.csv", lines(), header=HEADER.replace("close", "clsoe"))
    ),
    "prices below 0": Case(negative, symbols=("CL",)),
    "five minutes": Case(far_apart, sessions=("09:30", "09:39")),
    "the last second of each bar": Case(
        lambda: write("AAPL.csv", lines(pattern="%Y-%m-%d %H:%M:%S", label=59))
    ),
    "the end of each bar": Case(stamped_with_their_ends, said=True),
    "an abbreviation of a zone": Case(
        lambda: write("AAPL.csv", lines(pattern="%Y-%m-%d %H:%M EDT")), {}
    ),
    "an unknown suffix": Case(
        lambda: files("AAPL.dat"), {**NEW_YORK, "symbol": "AAPL"}, "data/AAPL.dat"
    ),
    "DBN that holds trades": Case(partial(in_dbn, "trades"), {}),
    "DBN that holds seconds": Case(
        partial(in_dbn, "ohlcv-1s"), {"kind": "ticks"}, all_of_them=True
    ),
    "two formats": Case(mixed_formats),
    "one name in two folders": Case(partial(files, "AAPL/foo.csv", "MSFT/foo.csv"), symbols=BOTH),
    "two exchanges": Case(
        partial(files, "XN/AAPL.csv", "XA/AAPL.csv"), symbols=("AAPL",), chosen=1
    ),
    "two bar lengths": Case(partial(files, "AAPL-1m.csv", "AAPL-5m.csv")),
    "a key that may be the symbol": Case(
        partial(files, "id=AAPL/0.csv", "id=MSFT/0.csv"), symbols=BOTH
    ),
    "folders in folders": Case(
        partial(files, "US/AAPL/2024-07-01.csv", "EU/MSFT/2024-07-01.csv"), symbols=BOTH
    ),
    "nothing but dates": Case(partial(files, "2024-07-01.csv")),
    "nothing but words": Case(partial(files, "part-0.csv")),
    "a file in no folder of a symbol": Case(outside_hive),
    "a date that is the download's": Case(partial(files, "AAPL_20240901.csv")),
    "a date that is the contract's": Case(
        partial(files, "AAPL_202412.csv"), symbols=("AAPL_202412",), chosen=1
    ),
    "a layout that was guessed": Case(
        partial(files, "AAPL/2024-07-01.csv", "MSFT/2024-07-01.csv"), symbols=BOTH, said=True
    ),
    "the same rows twice": Case(packed_too, said=True),
    "no exchange": Case(
        lambda: write("AAPL.csv", lines(pattern="%Y-%m-%dT%H:%M-04:00")), command="data quality"
    ),
    "results that exist": Case(
        lambda: files("AAPL.csv"),
        before=lambda command: command("backtest", "--config", "c.yaml", "--out", "out"),
        arguments=("--out", "out"),
    ),
    "an export that exists": Case(
        lambda: files("AAPL.csv"),
        command="export",
        before=lambda command: Path("minutes.csv").touch(),
        arguments=("--csv", "minutes.csv"),
    ),
    "a sample that exists": Case(
        lambda: files("AAPL.csv"),
        command="data sample",
        before=lambda command: command("data", "sample", "--out", "s", "--days", "1"),
        arguments=("--out", "s", "--days", "1"),
    ),
    "state to be removed": Case(
        lambda: files("AAPL.csv"),
        command="state delete",
        before=lambda command: command(
            "backtest", "--config", "c.yaml", "--store", "sqlite:///state.db"
        ),
        arguments=("--store", "sqlite:///state.db"),
    ),
    "no configuration": Case(lambda: files("AAPL.csv"), command="backtest without any"),
    "state that exists": Case(
        lambda: files("AAPL.csv"),
        before=lambda command: command(
            "backtest", "--config", "c.yaml", "--store", "sqlite:///state.db"
        ),
        arguments=("--store", "sqlite:///state.db"),
    ),
}


class Followed:
    """One case in a folder of its own."""

    def __init__(self, case: Case, folder: Path, command: Command) -> None:
        self._case = case
        self._command = command
        folder.mkdir()
        os.chdir(folder)
        self._config: dict[str, Any] = {
            "exchange": "XNYS",
            "sessions": [{"name": "OR", "start": case.sessions[0], "end": case.sessions[1]}],
            "upkeep": {"derived_intervals": []},
            "data": {**case.data, "path": case.path},
        }
        case.make()
        self._write()
        if case.before is not None:
            case.before(command)

    def _write(self) -> None:
        Path("c.yaml").write_text(yaml.safe_dump(self._config), encoding="utf-8")

    def first(self) -> Ran:
        return self._run()

    def again(self, message: str) -> tuple[Ran, str]:
        """Do what a message says; the run, and what was done."""
        if self._case.command == "backtest without any":
            # Lines of a file, each in quotation marks.
            told = re.findall(r'"((?:exchange|sessions): [^"]*)"', message)
            Path("config.yaml").write_text("\n".join([*told, "data: {timezone: America/New_York}"]))
            return self._run(), "; ".join(told)
        said = ADVICE.findall(message)
        flags = FLAG.findall(message)
        if said:
            chosen = said if self._case.all_of_them else [said[self._case.chosen]]
            for key, value in chosen:
                self._set(key.split("."), yaml.safe_load(value))
            self._write()
            return self._run(), ", ".join(f"{key}: {value}" for key, value in chosen)
        assert flags, f"nothing to follow in {message!r}"
        flag, value = flags[0]
        return self._run(flag, *([value] if value else [])), f"{flag} {value}"

    def _set(self, key: list[str], value: Any) -> None:
        at = self._config
        for name in key[:-1]:
            at = at.setdefault(name, {})
        at[key[-1]] = value

    def _run(self, *more: str) -> Ran:
        case = self._case
        if case.command == "backtest":
            out = [] if "--out" in case.arguments else ["--out", "out", "--force"]
            if "--store" in case.arguments:
                out = ["--out", "out2" if not Path("out2").exists() else "out3"]
            return self._command("backtest", "--config", "c.yaml", *out, *case.arguments, *more)
        if case.command == "backtest without any":
            return self._command("backtest", "--data", "data")
        if case.command == "export":
            return self._command("export", "--config", "c.yaml", *case.arguments, *more)
        if case.command == "data quality":
            Path("c.yaml").rename("elsewhere.yaml")
            Path("config.yaml").unlink(missing_ok=True)
            Path("c.yaml").touch()
            return self._command("data", "quality", "data", *more)
        return self._command(*case.command.split(), *case.arguments, *more)

    def signals(self) -> set[tuple[str, str]]:
        found = sorted(Path().glob("out*/signals.jsonl"))
        rows = [json.loads(line) for line in found[-1].read_text().splitlines()]
        return {(row["symbol"], row["side"]) for row in rows}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("OPENBELL_EXCHANGE", "OPENBELL_SESSIONS"):
        monkeypatch.delenv(name, raising=False)
    return Command(monkeypatch, capsys)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # and back afterwards
    return tmp_path


def followed(case: Case, folder: Path, command: Command) -> tuple[str, str]:
    """What is said on bad input, and what is wrong once it was followed; empty: nothing."""
    tried = Followed(case, folder, command)
    refused = tried.first()
    said = "\n".join(refused.messages)
    if refused.code != (0 if case.said else 2):
        return said, f"exit code {refused.code}: {refused}"
    ran, done = tried.again(refused.messages[-1])
    if ran.code != 0:
        return said, f"said {refused.messages[-1]}\ndid {done}\ngot {ran.err}"
    if case.command == "backtest":
        wanted = {(symbol, side) for symbol in case.symbols for side in ("HIGH_BREAK", "LOW_BREAK")}
        if tried.signals() != wanted:
            return said, f"said {refused.messages[-1]}\ndid {done}\ngot {tried.signals()}"
    return said, ""


# The walk


ONLY_FORMS = (
    # These say how something is written, or which of what was given must go.
    "holds .*; write keys and values, e.g",
    "write a day that is not before --from",
    "--config and --store: pass one of them",
    "--id and --all: pass one of them",
    "--name .*: goes with --store",
    "name one, e.g. openbell calendar XNYS",
    # Followed with the bars of a live feed, in tests/runtime/intake/test_ills.py.
    "their times seem to be those of their ends",
    # Followed with a recording, in tests/runtime/lifetime/test_recordings.py.
    "is a recording, whose days are gone through as they were lived",
)
WALKED = ("adapters/sources", "adapters/sample.py", "runtime", "market")


@dataclass(frozen=True)
class Site:
    """A text of the program that tells what to write."""

    place: str
    expression: str


def sites() -> Iterator[Site]:
    for walked in WALKED:
        root = ROOT / walked
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            yield from _sites_in(path)


def _sites_in(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raised = {id(n) for r in ast.walk(tree) if isinstance(r, ast.Raise) for n in ast.walk(r)}
    taken: set[int] = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Expr):
            taken.update(id(node) for node in ast.walk(statement))
    for node in ast.walk(tree):
        parts = list(_parts(node)) if id(node) not in taken else []
        if not parts:
            continue
        taken.update(id(inner) for inner in ast.walk(node))
        shown = "".join("X" if part is None else part for part in parts)
        found = [m for m in ADVICE.finditer(shown) if m.start() > 0]
        if id(node) in raised:
            found += [m for m in FLAG.finditer(shown) if re.search(r"pass |with |to ", shown)]
        if found:
            expression = "".join(".*" if part is None else re.escape(part) for part in parts)
            yield Site(f"{path.relative_to(ROOT)}: {shown[:160]}", expression)


def _parts(node: ast.AST) -> Iterator[str | None]:
    """The text of an expression; None for what is put in when it is made."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        for value in node.values:
            yield value.value if isinstance(value, ast.Constant) else None  # type: ignore[misc]


def test_what_messages_say_to_write_leads_to_a_right_run_and_none_is_left_out(
    here: Path, command: Command
) -> None:
    told = {name: followed(case, here / name, command) for name, case in CASES.items()}

    said = "\n".join(message for message, _ in told.values())
    assert "\n\n".join(f"{name}: {wrong}" for name, (_, wrong) in told.items() if wrong) == ""
    left_out = [site.place for site in sites() if not re.search(site.expression, said)]
    assert [p for p in left_out if not any(re.search(form, p) for form in ONLY_FORMS)] == []
