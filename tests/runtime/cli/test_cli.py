"""The command line: what it prints and where, what it leaves behind, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from commands import OPENBELL, Command, Ran, at_terminal, environment, started

from openbell import __version__
from openbell.adapters.feeds import feed_types
from openbell.adapters.sample import (
    sample_symbols,
    write_dirty_sample,
    write_sample,
    write_tick_sample,
)
from openbell.adapters.sources import Source, SourceInfo, open_source
from openbell.market.bars import RawRows
from openbell.market.calendar import open_calendar
from openbell.market.days import row_spans
from openbell.runtime.intake.loading import Loader
from openbell.runtime.intake.trailing import TrailingSettings

ROOT = Path(__file__).parents[3]
COMMANDS = (
    (),
    ("backtest",),
    ("calendar",),
    ("data",),
    ("data", "check"),
    ("data", "sample"),
    ("config",),
    ("config", "check"),
    ("config", "schema"),
)
US = str(ROOT / "examples/us.yaml")
FILES = {
    "signals.jsonl",
    "signals.parquet",
    "sessions.jsonl",
    "levels.parquet",
    "quality.csv",
    "bars_5m.parquet",
    "bars_15m.parquet",
    "summary.json",
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three symbols on three days from 2024-01-02 on."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, symbols=3, days=3, seed=7)
    return folder


@pytest.fixture
def openbell(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sample: Path,
) -> Command:
    """The command in a folder that holds `minutes/`, `config.yaml` and `examples/`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample, tmp_path / "minutes")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "config.yaml", tmp_path)
    return Command(monkeypatch, capsys)


def contents(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def cells(text: str) -> list[list[str]]:
    """The lines of a table, cut where two blanks or more are."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


# Help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_opens_with_one_sentence_and_ends_with_an_example(
    command: tuple[str, ...], openbell: Command
) -> None:
    ran = openbell(*command, "--help")

    assert ran.code == 0
    assert ran.err == ""
    usage, sentence, *_ = re.split(r"\n\n", ran.out)
    assert usage.startswith(" ".join(("Usage: openbell", *command)))
    assert re.fullmatch(r"[A-Z][^.]*\.", " ".join(sentence.split()))
    assert ran.out.rstrip().splitlines()[-1].startswith("  Example: openbell ")
    assert all(len(line) <= 80 or "Example:" in line for line in ran.out.splitlines())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_of_each_help_runs(command: tuple[str, ...], openbell: Command) -> None:
    example = openbell(*command, "--help").out.rstrip().splitlines()[-1].partition("Example: ")[2]
    if "data sample" in example:
        shutil.rmtree("minutes")
    arguments, _, _file = example.removeprefix("openbell ").partition(" > ")

    ran = openbell(*shlex.split(arguments))

    assert (ran.code, ran.err) == (0, "")


def test_without_a_command_the_help_is_shown_as_a_mistake(openbell: Command) -> None:
    ran = openbell()

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("Usage: openbell")


def test_help_does_not_wait_for_what_only_runs_need(tmp_path: Path) -> None:
    asked = (
        "import sys; from openbell.runtime.cli.app import main; sys.argv = ['openbell', '--help']\n"
        "try: main()\n"
        "except SystemExit: print(sorted(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    loaded = done.stdout.splitlines()[-1]
    for heavy in ("numpy", "pandas", "pyarrow", "pydantic", "rich.table", "exchange_calendars"):
        assert f"'{heavy}'" not in loaded


def test_the_version_is_the_packages(openbell: Command) -> None:
    assert openbell("--version") == Ran(0, f"openbell {__version__}\n", "")


# Backtest


def test_two_runs_write_the_same_bytes_but_for_the_timing(openbell: Command) -> None:
    for out in ("one", "two"):
        assert openbell("backtest", "-c", US, "--data", "minutes", "--out", out).code == 0

    one, two = contents("one"), contents("two")
    summaries = [json.loads(of.pop("summary.json")) for of in (one, two)]
    assert {*one, "summary.json"} == FILES
    assert one == two
    for summary in summaries:
        assert set(summary.pop("timing")) >= {"seconds", "started_at"}
    assert summaries[0] == summaries[1]


def test_both_dispatchers_write_the_same_bytes(openbell: Command) -> None:
    for how in ("inline", "threads"):
        run_ = ("backtest", "-c", US, "--data", "minutes", "--out", how, "--dispatcher", how)
        assert openbell(*run_).code == 0

    inline, threads = contents("inline"), contents("threads")
    del inline["summary.json"], threads["summary.json"]
    assert inline == threads


def test_json_is_one_line_that_equals_the_summary(openbell: Command) -> None:
    ran = openbell("backtest", "-c", US, "--data", "minutes", "--out", "out", "--json")

    (line,) = ran.out.splitlines()
    assert ran.err == ""
    assert json.loads(line) == json.loads(Path("out/summary.json").read_text())


def test_the_closing_table_has_what_the_summary_has(openbell: Command) -> None:
    table = openbell("backtest", "-c", US, "--data", "minutes", "--out", "out").out
    summary = json.loads(Path("out/summary.json").read_text())

    for name, of in summary["sessions"].items():
        keys = ("completed", "truncated", "skipped", "without_rows", "HIGH_BREAK", "LOW_BREAK")
        assert [name, *(str(of[key]) for key in keys)] in cells(table)
    assert f"{summary['signals']} signals" in table
    assert "2024-01-02 to 2024-01-04: 3 trading days, 3 symbols" in table
    assert "Files are in out/" in table
    assert not any(line.endswith(" ") for line in table.splitlines())


def test_options_stand_over_the_configuration(openbell: Command) -> None:
    first_two = list(sample_symbols(3)[:2])
    ran = openbell(
        *("backtest", "-c", "config.yaml", "--exchange", "XNYS", "--data", "minutes"),
        *("--symbols", ",".join(first_two), "--from", "2024-01-03", "--to", "2024-01-03", "--json"),
    )

    summary = json.loads(ran.out)
    assert summary["exchange"] == "XNYS"
    assert (summary["first_day"], summary["last_day"]) == ("2024-01-03", "2024-01-03")
    assert summary["symbols"] == first_two


def test_ticks_give_the_levels_of_their_bars(openbell: Command, tmp_path: Path) -> None:
    write_tick_sample(tmp_path / "ticks", symbols=3, days=3, seed=7)

    openbell("backtest", "-c", US, "--data", "minutes", "--out", "bars")
    ran = openbell(
        *("backtest", "-c", US, "--data", "ticks", "--kind", "ticks", "--out", "out", "--json")
    )

    assert json.loads(ran.out)["kind"] == "ticks"
    columns = ["trading_date", "session", "symbol", "high", "low"]
    levels = [pq.read_table(f"{out}/levels.parquet", columns=columns) for out in ("bars", "out")]
    assert levels[0].equals(levels[1])


def test_the_log_tells_the_named_moments_on_stderr(openbell: Command) -> None:
    ran = openbell("backtest", "-c", US, "--data", "minutes", "--log-level", "debug", "--json")

    json.loads(ran.out)
    for moment in (
        "session activated: Opening Range",
        "session deactivated: Opening Range",
        "market close reached",
        "advancing to 2024-01-03",
        "prefetch started: 2024-01-02",
        "prefetch completed: 2024-01-02, 1170 rows",
    ):
        assert moment in ran.err


def test_the_log_can_be_json(openbell: Command) -> None:
    ran = openbell("backtest", "-c", US, "--data", "minutes", "--log-json", "--json")

    lines = [json.loads(line) for line in ran.err.splitlines()]
    assert "2024-01-02: market close reached" in [line["message"] for line in lines]
    assert {tuple(line) for line in lines} == {("time", "level", "message", "run", "day", "step")}
    closed = next(line for line in lines if line["message"] == "2024-01-03: market close reached")
    assert (closed["run"], closed["day"], closed["level"]) == ("default", "2024-01-03", "INFO")
    assert closed["step"] > 0
    about = [line for line in lines if re.match(r"\d{4}-\d\d-\d\d: |advancing", line["message"])]
    assert [line for line in about if line["day"] not in line["message"]] == []
    opened = [line for line in lines if "session activated: Opening Range" in line["message"]]
    assert sorted({line["day"] for line in opened}) == ["2024-01-02", "2024-01-03", "2024-01-04"]
    assert len({line["step"] for line in opened}) == len(opened)
    assert datetime.fromisoformat(closed["time"]).tzinfo is not None


def test_complaints_are_json_too_where_the_log_is(openbell: Command) -> None:
    ran = openbell("backtest", "-c", US, "--data", "nowhere", "--log-json")

    (line,) = ran.err.splitlines()
    assert ran.code == 2
    assert "nowhere: no such file" in json.loads(line)["message"]
    assert openbell("backtest", "--data", "nowhere").err.startswith("openbell: ")


def test_the_environment_turns_the_log_on(
    openbell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBELL_LOG_LEVEL", "info")

    ran = openbell("backtest", "-c", US, "--data", "minutes", "--json")

    line = next(line for line in ran.err.splitlines() if "market close reached" in line)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO ", line)


WHILE_IT_IMPORTS = """\
import os, signal, sys

class Sends:
    def find_spec(self, name, path=None, target=None):
        if name == "openbell.runtime.cli.app":
            os.kill(os.getpid(), signal.SIGNAL)

sys.meta_path.insert(0, Sends())
sys.argv[:] = ["openbell", *sys.argv[1:]]
from openbell.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("run", "SIGTERM", 0),
        ("signals --follow", "SIGTERM", 0),
        ("backtest", "SIGTERM", 130),
        ("run", "SIGINT", 130),
    ],
)
def test_a_signal_while_python_imports_ends_a_command_as_it_would_later(
    command: str, number: str, code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_IMPORTS.replace("SIGNAL", number), *command.split()],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, f"openbell: {number} before it began\n")


@pytest.mark.parametrize(
    "name", [(), ("data",), ("config",), ("snapshots",), ("sinks",), ("state",)]
)
def test_no_sentence_is_cut_in_a_list_of_commands(
    name: tuple[str, ...], openbell: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    ran = openbell(*name, "--help")

    listed = ran.out.partition("Commands:")[2].partition("Example:")[0]
    assert listed.count("\n") > 1
    assert "..." not in listed
    assert all(len(line) <= 80 for line in listed.splitlines())


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    def completed(*words: str) -> list[str]:
        asked = {"_OPENBELL_COMPLETE": "complete_bash", "COMP_CWORD": str(len(words))}
        ran = subprocess.run(
            OPENBELL,
            env=environment({**asked, "COMP_WORDS": " ".join(("openbell", *words))}),
            capture_output=True,
            text=True,
            check=True,
        )
        return ran.stdout.split()

    installed = subprocess.run(
        [*OPENBELL, "--install-completion", "bash"],
        # The shell by its name: none needs to stand above the process that runs the tests.
        env=environment(
            {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert installed.returncode == 0
    assert list(tmp_path.rglob("openbell.sh")) != []
    assert completed("sig") == ["signals"]
    assert completed("backtest", "--str") == ["--strict"]


def test_a_mic_may_be_written_in_small_letters(openbell: Command) -> None:
    given = ("backtest", "-c", US, "--data", "minutes", "--json")
    large, small = (json.loads(openbell(*given, "--exchange", of).out) for of in ("XNYS", "xnys"))

    assert small["exchange"] == large["exchange"] == "XNYS"
    shown = [openbell("calendar", of, "--from", "2024-07-01").out for of in ("xnse", "XNSE")]
    assert shown[0].splitlines()[1:] == shown[1].splitlines()[1:] != []


def test_keys_are_set_on_the_command_line(openbell: Command) -> None:
    given = ("backtest", "-c", US, "--data", "minutes", "--json")

    one_side = openbell(*given, "--set", "breakout.sides=high", "--set", "symbols=[DICI]")
    wrong = [openbell(*given, "--set", of).messages for of in ("breakout.side=high", "sides")]

    summary = json.loads(one_side.out)
    assert {of["LOW_BREAK"] for of in summary["sessions"].values()} == {0}
    assert (summary["symbols"], summary["signals"] > 0) == (["DICI"], True)
    assert wrong[0][0].startswith("--set breakout.side is not a key; did you mean breakout.sides")
    assert wrong[1] == ['--set is "sides"; write KEY=VALUE, e.g. --set breakout.sides=high']


def test_without_a_log_level_nothing_is_logged(openbell: Command) -> None:
    assert openbell("backtest", "-c", US, "--data", "minutes").err == ""


def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path: Path) -> None:
    command = f"{shlex.join(OPENBELL)} calendar XNYS --from 1990-01-01 --to 2024-01-01 --json"

    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert json.loads(done.stdout)["date"] == "1990-01-01"
    assert done.stderr == ""


# At a terminal


def test_progress_is_shown_on_a_terminal_and_results_go_to_stdout(
    sample: Path, tmp_path: Path
) -> None:
    ran = at_terminal(
        "backtest", "-c", US, "--data", sample, "--json", cwd=tmp_path, out_is_terminal=False
    )

    assert json.loads(ran.out)["trading_days"] == 3
    last = ran.err.strip().splitlines()[-1].rpartition("2024-01-04")[2]
    assert re.search(r"━ 3/3 days [\d,]+ rows/s \d:\d\d:\d\d", last)


def test_progress_gives_way_to_log_lines(sample: Path, tmp_path: Path) -> None:
    ran = at_terminal(
        *("backtest", "-c", US, "--data", sample, "--log-level", "info"),
        cwd=tmp_path,
        out_is_terminal=False,
    )

    assert "market close reached" in ran.err
    assert "━" not in ran.err


def test_tables_fit_a_narrow_terminal_with_their_numbers_whole(
    sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "us.yaml").write_text(
        "exchange: XNYS\n"
        "sessions: [{name: A Window With Quite A Long Name Indeed, start: 09:30, end: 09:44}]\n"
    )
    write_dirty_sample(tmp_path / "dirty", symbols=4, days=3, seed=1)

    closing = at_terminal("backtest", "-c", "us.yaml", "--data", sample, cwd=tmp_path)
    check = at_terminal("data", "check", "dirty", "--exchange", "XNYS", cwd=tmp_path)
    calendar = at_terminal(
        *("calendar", "XNSE", "--from", "2024-10-31", "--to", "2024-11-02"),
        cwd=tmp_path,
    )

    for ran in (closing, check, calendar):
        assert ran.code == 0
        shown = ran.out.rpartition("\r")[2]
        table = [line for line in shown.splitlines() if ".parquet" not in line]
        assert max(map(len, table)) <= 80
        assert "…" not in "".join(line for line in table if "more unusable rows" not in line)
    (numbers,) = (line for line in closing.out.splitlines() if "Long" in line and "3" in line)
    assert re.search(r"\s3\s+0\s+0\s+0\s+\d+\s+\d+\s*$", numbers)
    assert re.search(r"2024-01-04\s+1,553\s+99\.04\s+15\s+15\s+0\s+3\s+3\s+5\s", check.out)
    assert re.search(r"Fri 2024-11-01  18:00–19:00\s+60  overlay nse.yaml\s+Muhurat", calendar.out)


# Interrupted


@pytest.fixture(scope="module")
def long_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that take some seconds to run."""
    folder = tmp_path_factory.mktemp("long")
    write_sample(folder, symbols=60, days=60, seed=7)
    return folder


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if said in line:
            return
    raise AssertionError(f"ended without a word of {said!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_ctrl_c_ends_at_once_and_keeps_the_days_that_are_complete(
    dispatcher: str, number: int, long_sample: Path, tmp_path: Path
) -> None:
    arguments = ("backtest", "-c", US, "--data", long_sample, "--out", "out", "--log-level", "info")
    with started(*arguments, "--dispatcher", dispatcher, cwd=tmp_path) as process:
        wait_for(process, "advancing to 2024-01-08")
        process.send_signal(number)
        out, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in err
    told = re.search(r"^openbell: interrupted after (\d+) of 60 days; out holds", err, re.MULTILINE)
    assert told is not None
    assert "Files are in out/" in out
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["interrupted"] is True
    assert 4 <= summary["trading_days"] == int(told[1]) < 60
    _assert_whole(tmp_path / "out", summary, sorted(p.stem for p in long_sample.iterdir()))


def _assert_whole(out: Path, summary: dict[str, Any], all_days: list[str]) -> None:
    """The files hold the first days of a run and no part of another."""
    days = all_days[: summary["trading_days"]]
    assert summary["last_day"] == days[-1]
    assert {path.name for path in out.iterdir()} == FILES
    documents = [json.loads(line) for line in (out / "sessions.jsonl").read_text().splitlines()]
    assert [document["trading_date"] for document in documents] == sorted(days * 4)
    assert all(document["status"] == "COMPLETED" for document in documents)
    signals = [json.loads(line) for line in (out / "signals.jsonl").read_text().splitlines()]
    assert len(signals) == summary["signals"]
    assert pq.read_metadata(out / "signals.parquet").num_rows == summary["signals"]
    assert {line["trading_date"] for line in signals} == set(days)
    levels = pq.read_table(out / "levels.parquet")
    assert len(levels) == len(days) * 4 * 60
    assert pq.read_metadata(out / "bars_5m.parquet").num_rows == len(days) * 78 * 60
    assert pq.read_metadata(out / "bars_15m.parquet").num_rows == len(days) * 26 * 60
    assert len((out / "quality.csv").read_text().splitlines()) == 1 + len(days) * 60


HELD = """
import pathlib, sys, time
from openbell.runtime.intake.loading import Loader
read = Loader._read
def held(loader, day):
    print(f"held: {day.date}", file=sys.stderr, flush=True)
    while pathlib.Path("hold").exists():
        time.sleep(0.01)
    return read(loader, day)
Loader._read = held
"""
"""No day is read while a file is there."""


def test_ctrl_c_before_the_first_day_is_over_leaves_nothing(
    long_sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    arguments = ("backtest", "-c", US, "--data", long_sample, "--out", "out")
    with started(*arguments, cwd=tmp_path, before=HELD) as process:
        wait_for(process, "held: 2024-01-02")
        process.send_signal(signal.SIGINT)
        (tmp_path / "hold").unlink()
        _, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "openbell: interrupted after 0 of 60 days; nothing was written to out" in err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_the_run_starts_is_said_and_leaves_nothing(
    long_sample: Path, tmp_path: Path
) -> None:
    # Nothing comes through the pipe: the command is held where it reads its configuration.
    os.mkfifo(tmp_path / "us.yaml")
    arguments = ("backtest", "-c", "us.yaml", "--data", long_sample, "--out", "out")
    with started(*arguments, cwd=tmp_path) as process, (tmp_path / "us.yaml").open("w"):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert err == "openbell: interrupted\n"
    assert not (tmp_path / "out").exists()


class SlowSource:
    """A source whose reads take until they are let go."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner
        self.reading, self.go, self.read_all = (threading.Event() for _ in range(3))

    def info(self) -> SourceInfo:
        return self._inner.info()

    def dates(self, tz: str) -> dict[date, int]:
        return self._inner.dates(tz)

    def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> RawRows:
        self.reading.set()
        assert self.go.wait(120)
        self.read_all.set()
        return self._inner.read(start_ns, end_ns, symbols)

    def close(self) -> None:
        self._inner.close()


def test_a_slow_read_does_not_hold_up_who_has_no_patience(sample: Path) -> None:
    source = SlowSource(open_source(sample))
    first = date(2024, 1, 2)
    days = open_calendar("XNYS", first, first).days(first, first)
    loader = Loader(
        source,
        symbols=source.info().symbols,
        windows=row_spans(days),
        trailing=TrailingSettings((), (), before=lambda day, count: (), dates=frozenset()),
    )
    loader.start(days[0])
    assert source.reading.wait(120)

    loader.shutdown(patience_seconds=0.05)

    assert not source.read_all.is_set()
    source.go.set()
    loader.shutdown()


# Calendar


def test_a_days_hours_come_with_their_layer_and_why(openbell: Command) -> None:
    ran = openbell("calendar", "XNSE", "--from", "2024-11-01", "--to", "2024-11-02")

    assert ran.code == 0
    assert cells(ran.out)[0] == ["XNSE, times in Asia/Kolkata"]
    assert ["Fri 2024-11-01", "18:00–19:00", "60", "overlay nse.yaml", "Muhurat trading"] in cells(
        ran.out
    )
    assert ["Sat 2024-11-02", "closed", "pandas_market_calendars NSE", "weekend"] in cells(ran.out)


def test_a_calendar_in_json_is_an_object_a_date(openbell: Command) -> None:
    ran = openbell("calendar", "XHKG", "--from", "2024-11-01", "--to", "2024-11-02", "--json")

    friday, saturday = map(json.loads, ran.out.splitlines())
    assert friday["date"] == "2024-11-01"
    assert friday["hours"] == ["09:30–12:00", "13:00–16:00"]
    assert (friday["open"], friday["minutes"], friday["kind"]) == (True, 330, "regular")
    assert friday["tz"] == "Asia/Hong_Kong"
    assert (saturday["open"], saturday["hours"], saturday["kind"]) == (False, [], "closed")


def test_a_calendar_of_no_date_is_that_of_today(openbell: Command) -> None:
    before = date.today()  # noqa: DTZ011
    (line,) = openbell("calendar", "24/7", "--json").out.splitlines()

    assert before <= date.fromisoformat(json.loads(line)["date"]) <= date.today()  # noqa: DTZ011


def test_a_calendar_of_one_date_is_that_days(openbell: Command) -> None:
    for option in ("--from", "--to"):
        (line,) = openbell("calendar", "XNYS", option, "2024-07-03", "--json").out.splitlines()
        day = json.loads(line)
        assert (day["date"], day["hours"]) == ("2024-07-03", ["09:30–13:00"])


def test_a_calendar_takes_the_corrections_of_a_configuration(openbell: Command) -> None:
    Path("own.yaml").write_text(
        "exchange: XNYS\n"
        "sessions: [{name: A, start: 09:30, end: 09:35}]\n"
        "calendar: {closures: [2024-07-02]}\n"
    )

    ran = openbell("calendar", "--config", "own.yaml", "--from", "2024-07-02", "--json")

    assert json.loads(ran.out)["open"] is False


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("NSEX",), ('exchange "NSEX" is unknown', "nearest: NSE, XNSE")),
        (("XNYS", "--segment", "bonds"), ('segment "bonds" is unknown', "equity_fno")),
        (("XNYS", "--from", "1700-01-01"), ("no calendar for 1700-01-01", "choose dates inside")),
        (("XNYS", "--from", "1.7.2024"), ('--from is "1.7.2024"', "YYYY-MM-DD")),
        (
            ("XNYS", "--from", "2024-07-02", "--to", "2024-07-01"),
            ("--to is 2024-07-01", "not before --from, 2024-07-02"),
        ),
    ],
)
def test_a_calendar_that_there_isnt_is_a_mistake_in_a_line(
    arguments: tuple[str, ...], parts: tuple[str, ...], openbell: Command
) -> None:
    ran = openbell("calendar", *arguments)

    assert (ran.code, ran.out) == (2, "")
    (message,) = ran.messages
    assert all(part in message for part in parts)


def test_a_calendar_of_no_exchange_says_how_to_name_one(openbell: Command) -> None:
    Path("config.yaml").unlink()

    ran = openbell("calendar")

    assert ran.code == 2
    assert ran.messages == ["no exchange; name one, e.g. openbell calendar XNYS, or pass --config"]


# Data


def test_data_check_shows_days_with_gaps_of_real_data(openbell: Command, shared_data: Path) -> None:
    ran = openbell("data", "check", shared_data / "us_stocks_1m_2019.parquet", "--exchange", "XNYS")

    assert (ran.code, ran.err) == (0, "")
    table = cells(ran.out)
    assert ["date", "rows", "quality", "gaps", "missing", "worst symbol"] in table
    assert ["2019-02-14", "1,554", "99.62", "6", "6", "AAPL 388/390"] in table
    assert ["1 day of 5 without a gap or an odd row"] in table
    assert ["2019-02-11 to 2019-02-15: 5 trading days, 4 symbols, 7,790 rows"] in table


def test_data_check_accounts_for_all_rows_of_real_data(
    openbell: Command, shared_data: Path
) -> None:
    path = shared_data / "nse_index_1m_2021.parquet"

    ran = openbell("data", "check", path, "--exchange", "XNSE", "--json")

    *days, total = map(json.loads, ran.out.splitlines())
    assert total["rows"] == pq.read_metadata(path).num_rows
    assert total["trading_days"] == len({day["trading_date"] for day in days}) == 248
    outage = [day for day in days if day["trading_date"] == "2021-02-24"]
    assert all(day["missing"] > 300 for day in outage)


def test_data_check_sees_what_a_backtest_sees(openbell: Command, tmp_path: Path) -> None:
    write_dirty_sample(tmp_path / "dirty", symbols=3, days=2, seed=3)

    check = openbell("data", "check", "dirty", "--exchange", "XNYS", "--json")
    summary = json.loads(openbell("backtest", "-c", US, "--data", "dirty", "--json").out)

    *days, total = map(json.loads, check.out.splitlines())
    for column in ("outside_hours", "duplicates", "out_of_order", "bad_rows"):
        assert sum(day[column] for day in days) == summary["rows"][column]
    assert total["rows"] == summary["rows"]["rows"]
    assert total["ohlc_outside"] == summary["rows"]["ohlc_outside"]
    expected, actual = (sum(day[key] for day in days) for key in ("expected", "actual"))
    assert round(100 * actual / expected, 4) == summary["quality_pct"]


def test_data_check_names_unusable_rows(openbell: Command, tmp_path: Path) -> None:
    write_dirty_sample(tmp_path / "dirty", symbols=4, days=3, seed=1)

    ran = openbell("data", "check", "dirty", "--exchange", "XNYS")

    assert "dirty/2024-01-02.parquet, row 213: FUGA: low is 0, not above 0\n" in ran.out
    assert "… and 6 more unusable rows" in ran.out


def test_data_check_reads_as_the_configuration_says(openbell: Command) -> None:
    Path("bars.csv").write_text(
        "When,O,H,L,C\n2024-01-02 09:30,1,2,1,2\n2024-01-02 09:31,1,2,1,2\n"
    )
    Path("own.yaml").write_text(
        "exchange: XNYS\n"
        "sessions: [{name: A, start: 03:00, end: 03:05}]\n"
        "data:\n"
        "  timezone: America/New_York\n"
        "  symbol: SPY\n"
        "  columns: {ts: When, open: O, high: H, low: L, close: C}\n"
    )

    ran = openbell("data", "check", "bars.csv", "--config", "own.yaml", "--json")

    day, _ = map(json.loads, ran.out.splitlines())
    assert (day["symbol"], day["expected"], day["actual"]) == ("SPY", 390, 2)


def test_data_check_of_no_exchange_says_how_to_name_one(openbell: Command) -> None:
    Path("config.yaml").unlink()

    ran = openbell("data", "check", "minutes")

    assert ran.code == 0
    assert "pass --exchange NAME" in ran.out


def test_a_sample_is_the_same_for_the_same_seed(openbell: Command) -> None:
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        asked = ("--out", folder, "--symbols", 2, "--days", 2, "--seed", seed)
        ran = openbell("data", "sample", *map(str, asked))
        assert ran.out == f"2 files with minute bars of 2 symbols in {folder}\n"

    assert contents("a") == contents("b")
    assert contents("a") != contents("c")


def test_a_sample_has_twenty_symbols_and_a_month_of_days_unless_told(openbell: Command) -> None:
    openbell("data", "sample", "--out", "a")

    tables = [pq.read_table(path) for path in sorted(Path("a").iterdir())]
    assert len(tables) == 21
    assert all(len(set(table["symbol"].to_pylist())) == 20 for table in tables)


def test_a_sample_begins_on_a_trading_day_of_its_exchange(openbell: Command) -> None:
    asked = ("--days", "1", "--symbols", "1", "--exchange", "XNSE", "--from", "2024-11-01")
    openbell("data", "sample", "--out", "a", *asked)

    (path,) = Path("a").iterdir()
    assert path.name == "2024-11-01.parquet"
    assert pq.read_metadata(path).num_rows == 60  # Muhurat trading


def test_a_sample_of_ticks_adds_up_to_the_bars(openbell: Command) -> None:
    ran = openbell("data", "sample", "--out", "a", "--days", "1", "--symbols", "2", "--ticks")

    assert ran.out == "1 file with ticks of 2 symbols in a\n"
    check = openbell("data", "check", "a", "--exchange", "XNYS", "--kind", "ticks", "--json")
    *days, _ = map(json.loads, check.out.splitlines())
    assert all(day["actual"] == 390 for day in days)


def test_a_dirty_sample_says_which_faults_it_has(openbell: Command) -> None:
    ran = openbell("data", "sample", "--out", "a", "--days", "2", "--symbols", "3", "--dirt")

    told = {kind: int(count) for count, kind in re.findall(r"(\d+) ([a-z ]+)", ran.out)}
    check = openbell("data", "check", "a", "--exchange", "XNYS", "--json")
    *days, total = map(json.loads, check.out.splitlines())
    bad = told["nan price"] + told["zero price"] + told["high below low"]
    assert bad == total["bad_rows"] > 0
    assert told["duplicate"] == sum(day["duplicates"] for day in days)


def test_a_sample_of_dirty_ticks_is_refused(openbell: Command) -> None:
    ran = openbell("data", "sample", "--out", "a", "--ticks", "--dirt")

    assert ran.code == 2
    assert not Path("a").exists()


def test_a_sample_is_not_written_over_other_files(openbell: Command) -> None:
    before = contents("minutes")
    sample = ("data", "sample", "--out", "minutes", "--days", "1", "--symbols", "1", "--seed", "9")

    refused = openbell(*sample)

    assert refused.code == 2
    assert "--force" in refused.messages[0]
    assert contents("minutes") == before
    assert openbell(*sample, "--force").code == 0
    assert contents("minutes") != before


# Configuration


@pytest.fixture
def indian_minutes(openbell: Command) -> None:
    """In `minutes/`, as `config.yaml` expects them."""
    shutil.rmtree("minutes")
    write_sample(Path("minutes"), symbols=1, days=1, seed=7, exchange="XNSE")


@pytest.mark.usefixtures("indian_minutes")
def test_a_configuration_in_order_is_shown_with_what_it_comes_to(openbell: Command) -> None:
    ran = openbell("config", "check", "config.yaml")

    assert (ran.code, ran.err) == (0, "")
    assert cells(ran.out)[0] == ["config.yaml is in order"]
    window = ["Morning Opening", "09:30", "09:35", "close", "continuous", "both"]
    assert window in cells(ran.out)
    assert "XNSE (equity), bars of 1m from minutes, symbols: all" in ran.out


def test_a_configuration_in_json_is_one_that_can_be_read(openbell: Command) -> None:
    ran = openbell("config", "check", "examples/us.yaml", "--json")

    (line,) = ran.out.splitlines()
    Path("again.json").write_text(line)
    assert openbell("config", "check", "again.json", "--json").out == ran.out


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("XNSE", "XNSX"), ('exchange "XNSX" is unknown', "nearest: ")),
        (("12:20", "11:20"), ("config.yaml: sessions[3]", "it ends before it starts")),
        (
            ("start: 11:50, end: 12:20", "start: 16:50, end: 17:20"),
            ("config.yaml: sessions[3]", "lies outside the hours"),
        ),
    ],
)
def test_a_configuration_that_can_not_be_run_is_refused(
    change: tuple[str, str], parts: tuple[str, ...], openbell: Command
) -> None:
    Path("config.yaml").write_text(Path("config.yaml").read_text().replace(*change))

    ran = openbell("config", "check", "config.yaml")

    assert (ran.code, ran.out) == (2, "")
    (message,) = ran.messages
    assert all(part in message for part in parts)


@pytest.mark.usefixtures("indian_minutes")
def test_a_check_says_of_each_key_that_is_set_what_it_does(openbell: Command) -> None:
    with Path("config.yaml").open("a") as file:
        file.write(
            "feed: {speed: 60, revisions: amend}\nday: {auto_roll: false}\n"
            "upkeep: {check_interval_seconds: 5}\n"
        )

    ran = openbell("config", "check", "config.yaml", "--set", "data.order=arrival")

    assert ran.code == 0
    keys = {row[0]: row[1:] for row in cells(ran.out) if len(row) == 3}
    assert keys["day.auto_roll"][1] == "Whether the next day follows by itself."
    assert keys["upkeep.check_interval_seconds"] == ["5s", "nothing in this version"]
    assert keys["feed.speed"][1].startswith("In a run that keeps its state. Replay: market time")
    assert keys["feed.revisions"][1].startswith("Of bars with the same symbol and time")
    assert keys["exchange"][0] == "XNSE"


@pytest.mark.parametrize("command", ["config check config.yaml", "run"])
def test_a_check_and_a_run_refuse_the_same(openbell: Command, command: str) -> None:
    given = Path("config.yaml").read_text()
    more = "feed: {type: pigeon}\nsinks: [{type: gull}]\n"
    Path("config.yaml").write_text(re.sub(r"(?m)^  path: .*\n", "", given) + more)

    ran = openbell(*command.split())

    installed = ", ".join(feed_types())
    assert (ran.code, ran.out) == (2, "")
    assert ran.messages == [
        f'config.yaml: feed.type is "pigeon"; installed are replay, push, {installed}: write one of them',
        'config.yaml: sinks[0].type is "gull", which is not installed; write one of apprise, exec, '
        + "file, redis, stdout, webhook",
    ]
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("more", "begins"),
    [
        (
            "scanners: [{name: movers, type: gull}]",
            'scanners "movers".type is "gull", which is unknown; known are gap, movers, ',
        ),
        (
            "history: {indicators: {x: {type: gull, period: 1d}}}",
            'history.indicators.x.type is "gull", which is unknown; known are ',
        ),
        ("instruments: gull.csv", "instruments.file: there is no file "),
    ],
)
@pytest.mark.usefixtures("indian_minutes")
def test_a_check_a_run_and_a_backtest_refuse_what_can_not_be_planned_in_the_same_words(
    openbell: Command, more: str, begins: str
) -> None:
    with Path("config.yaml").open("a") as config:
        config.write(f"{more}\n")

    checked = openbell("config", "check", "config.yaml")

    assert (checked.code, checked.out, len(checked.messages)) == (2, "", 1)
    assert checked.messages[0].startswith(f"config.yaml: {begins}")
    for command in ("run", "backtest"):
        ran = openbell(command)
        assert (ran.code, ran.out, ran.messages) == (2, "", checked.messages)
    assert not Path("state").exists()


@pytest.mark.usefixtures("indian_minutes")
def test_a_check_a_run_and_a_backtest_tell_of_such_a_key(openbell: Command) -> None:
    with Path("config.yaml").open("a") as config:
        config.write("web: {port: 9000}\n")

    told = "web.port has no effect where web.enabled is false; write web.enabled: true, or leave it out"
    for command in ("config check config.yaml", "backtest", "run"):
        ran = openbell(*command.split())
        assert (ran.code, told in ran.err) == (0, True)


@pytest.mark.parametrize("data", ["nowhere", "empty", "config.yaml"])
def test_a_check_shows_a_configuration_and_refuses_its_data_as_a_run_does(
    openbell: Command, data: str
) -> None:
    Path("empty").mkdir()
    changed = re.sub(r"(?m)^  path: .*$", f"  path: {data}", Path("config.yaml").read_text())
    Path("config.yaml").write_text(changed)

    ran = openbell("config", "check", "config.yaml")

    assert (ran.code, ran.err) == (2, openbell("run").err)
    assert "in order" not in ran.out
    assert "the data was not looked at" in ran.out


@pytest.mark.parametrize("command", ["backtest", "export --csv a.csv"])
def test_a_backtest_refuses_sinks_too(openbell: Command, command: str) -> None:
    with Path("config.yaml").open("a") as file:
        file.write("sinks: [{type: stdout}]\n")

    ran = openbell(*command.split())

    assert (ran.code, ran.out) == (2, "")
    assert ran.messages == [
        'config.yaml: sinks[0] is "stdout"; what keeps no state sends signals nowhere: leave it out '
        + "(--set sinks=[]), and read them in signals.jsonl of --out",
    ]
    assert "sinks" not in openbell(*command.split(), "--set", "sinks=[]").err


def test_the_schema_knows_every_key_of_the_examples(openbell: Command) -> None:
    schema = json.loads(openbell("config", "schema").out)

    for path in (ROOT / "config.yaml", *ROOT.glob("examples/*.yaml")):
        assert set(yaml.safe_load(path.read_text())) <= set(schema["properties"])
    assert schema["$schema"].startswith("https://json-schema.org/")
