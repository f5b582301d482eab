"""`openbell run --out`: the files of a backtest, whatever happens on the way."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import Command, Ran, run
from faults.crashing import KILLED, Nursery, nursery
from redis_server import RedisServer
from store_places import server_binary

from openbell.adapters.sample import write_dirty_sample
from openbell.adapters.sources import Source, open_source
from openbell.runtime.intake import loading
from openbell.testing import FailingSource

CONFIG = """\
name: bot
exchange: XNYS
sessions:
  - {name: Opening, start: 09:30, end: 09:34}
  - {name: Lunch, start: 11:50, end: 12:20}
data: {path: MINUTES}
history:
  data: [{trailing_days: 2, intervals: [1m], apply_to: all}]
  indicators: {high: {type: trailing_max, period: 2d}}
feed: {start: 2024-07-01, end: 2024-07-11}
backtest: {start: 2024-07-01, end: 2024-07-11}
store: {url: sqlite:///state/openbell.db}
"""
PACED = CONFIG.replace("feed: {", "feed: {speed: 200000, ")
OFTEN = CONFIG + "snapshot: {every: 0.01s}\n"
"""A commit is made so often that there are many to be killed at."""
DAYS = ["2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05", "2024-07-08", "2024-07-09"]
FRIDAY_NS = 1_720_150_000 * 10**9
WITHOUT_DATA = ["2024-07-03", "2024-07-10", "2024-07-11"]

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and days of three symbols with faults; one in the middle and two at the end
    have no data."""
    folder = tmp_path_factory.mktemp("fresh")
    write_dirty_sample(
        folder / "minutes", symbols=3, days=len(DAYS), seed=5, start=date(2024, 7, 1)
    )
    (folder / "minutes" / "2024-07-03.parquet").unlink()
    for name, text in (("config", CONFIG), ("paced", PACED), ("often", OFTEN)):
        (folder / f"{name}.yaml").write_text(text.replace("MINUTES", str(folder / "minutes")))
    return folder


@pytest.fixture(scope="module")
def expected(fresh: Path) -> Files:
    """What a backtest writes."""
    assert run("backtest", "--out", "backtest", cwd=fresh).code == 0
    files = results(fresh / "backtest")
    shutil.rmtree(fresh / "backtest")
    assert {"bad_rows.csv", "signals.parquet", "summary.json"} <= files.keys()
    summary = json.loads(files["summary.json"])
    assert summary["days_without_data"] == WITHOUT_DATA
    assert summary["trading_days"] == len(DAYS) - 1
    assert summary["indicators"]["high"]["nulls"] > 0
    return files


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("said")) as made:
        yield made


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def own(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for config in fresh.glob("*.yaml"):
        shutil.copy(config, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results(folder: str | Path) -> Files:
    """All files by name; without what the wall clock has said."""
    files = {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}
    summary = json.loads(files["summary.json"])
    assert summary.pop("timing").keys() == {
        "started_at",
        "seconds",
        "rows_per_second",
        "metrics",
    }
    return {**files, "summary.json": json.dumps(summary).encode()}


def assert_same(found: Files, expected: Files) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def summary_of(folder: str | Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_bytes())
    return summary


def changed(file: str, before: str, after: str) -> None:
    text = Path(file).read_text()
    assert before in text
    Path(file).write_text(text.replace(before, after))


def refusal(ran: Ran, code: int) -> str:
    assert (ran.code, ran.out) == (code, "")
    return ran.messages[-1]


# The files of a backtest


def test_a_run_writes_the_bytes_of_a_backtest(expected: Files, command: Command) -> None:
    ran = command("run", "--out", "out")

    assert (ran.code, ran.err) == (0, "")
    assert_same(results("out"), expected)
    assert command("run", "--out", "out").out.startswith("This run had ended before")
    assert_same(results("out"), expected)


def test_a_run_that_is_killed_again_and_again_writes_the_bytes_of_a_backtest(
    expected: Files, own: Path, children: Nursery
) -> None:
    everything = ("run", "--config", own / "often.yaml", "--out", own / "out")
    kills = 0

    for point, nth in (
        ("files, not renamed", 9),
        ("files, being put together", 1),
        ("commit, before it is seen", 200),
        ("signal, after its commit", 2),
        ("files, before a day", 1),
        ("files, put together", 1),
    ):
        code, said = children.run(*everything, point=point, nth=nth)
        assert code in (KILLED, 0), said
        kills += code == KILLED
        if Path("out/summary.json").exists():
            assert summary_of("out")["interrupted"] == (summary_of("out")["last_day"] < DAYS[-1])

    assert kills >= 3
    assert children.run(*everything)[0] == 0
    assert_same(results("out"), expected)


def test_a_run_that_is_stopped_says_that_it_was_interrupted_until_it_has_ended(
    expected: Files, own: Path, children: Nursery, command: Command
) -> None:
    paced = ("run", "--config", own / "paced.yaml", "--out", own / "out")
    child = children.start(*paced, hold=f"{DAYS[3]}T13:30-04:00")
    children.wait_until_held(child)

    children.send(child, signal.SIGTERM)

    assert children.ended(child) == 0
    stopped = summary_of("out")
    assert stopped["interrupted"] is True
    assert stopped.keys() == json.loads(expected["summary.json"]).keys() | {"timing"}
    assert stopped["last_day"] == DAYS[1]
    sessions = Path("out/sessions.jsonl").read_text().splitlines()
    assert len(sessions) == 2 * stopped["trading_days"]
    assert pq.read_table("out/signals.parquet").num_rows == stopped["signals"]
    assert command("run", "--out", "out").code == 0
    assert_same(results("out"), expected)


def test_a_run_goes_on_wherever_its_folder_is_called_from(
    fresh: Path, own: Path, children: Nursery, command: Command
) -> None:
    shutil.copytree(fresh / "minutes", "minutes")
    changed("often.yaml", str(fresh / "minutes"), "minutes")

    absolute = ("run", "--config", own / "often.yaml", "--out", own / "out")
    code, said = children.run(*absolute, point="files, before a day", nth=2)

    assert code == KILLED, said
    relative = ("run", "--config", "often.yaml", "--out", "out")
    ran = command(*relative)
    assert (ran.code, ran.err) == (0, "")
    assert b"\nminutes/2024-07-02.parquet," in Path("out/bad_rows.csv").read_bytes()
    shutil.copy(f"minutes/{DAYS[1]}.parquet", f"minutes/{DAYS[0]}.parquet")
    message = refusal(command(*relative), 2)
    assert message.startswith(f"minutes/{DAYS[0]}.parquet: not the file that the state of 'bot' ")


# Days that are not what was written


def cut(day: Path) -> None:
    file = day / "signals.parquet"
    file.write_bytes(file.read_bytes()[:-100])


def flipped(name: str) -> Callable[[Path], None]:
    def flip(day: Path) -> None:
        data = bytearray((day / name).read_bytes())
        data[len(data) // 2] ^= 1
        (day / name).write_bytes(data)

    return flip


def gone(day: Path) -> None:
    shutil.rmtree(day)


DAMAGES: dict[str, tuple[Callable[[Path], None], str | None]] = {
    "cut": (cut, "signals.parquet is not as it was written"),
    "a bit": (flipped("quality.csv"), "quality.csv is not as it was written"),
    "a bit of the account": (flipped("account.json"), "account.json "),
    "a file gone": (lambda day: (day / "levels.parquet").unlink(), "levels.parquet is missing"),
    "an account gone": (lambda day: (day / "account.json").unlink(), "account.json is missing"),
    "the folder gone": (gone, None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_day_is_noticed_and_run_again(
    damage: str, expected: Files, command: Command
) -> None:
    assert command("run", "--out", "out").code == 0
    spoil, said = DAMAGES[damage]
    for day in (DAYS[1], DAYS[-1]):
        spoil(Path("out/.days", day))

    ran = command("run", "--out", "out")

    assert ran.code == 0
    assert ran.out.startswith("This run had ended")
    notices = ran.messages
    if said is None:
        assert notices == []
    else:
        assert [notice.split(":")[0] for notice in notices] == [
            f"out/.days/{day}" for day in (DAYS[1], DAYS[-1])
        ]
        assert all(said in notice and "run again" in notice for notice in notices)
    assert_same(results("out"), expected)


def test_a_day_that_is_damaged_while_the_run_is_on_ends_it(
    expected: Files, own: Path, children: Nursery, command: Command
) -> None:
    paced = ("run", "--config", own / "paced.yaml", "--out", own / "out")
    child = children.start(*paced, hold=f"{DAYS[1]}T13:30-04:00")
    children.wait_until_held(child)
    flipped("sessions.jsonl")(own / "out" / ".days" / DAYS[0])
    child.let_go()

    assert children.ended(child) == 1

    assert f"{DAYS[0]}: sessions.jsonl is not as it was written; remove that folder" in child.err
    assert command("run", "--out", "out").code == 0
    assert_same(results("out"), expected)


def test_results_whose_steps_were_dropped_are_refused(own: Path, command: Command) -> None:
    keys = "snapshot: {every: 0.001s, keep: 1}\nstore: {keep_days: 1, "
    changed("config.yaml", "store: {", keys)
    assert command("run").code == 0

    message = refusal(command("run", "--out", "out"), 2)

    assert message.startswith(
        f"{DAYS[0]}: its files are not in --out, and can't be made any more: "
    )
    assert "store.keep_days" in message


def test_days_before_the_first_are_not_missed_when_steps_were_dropped(command: Command) -> None:
    keys = "snapshot: {every: 0.001s, keep: 1}\nstore: {keep_days: 1, "
    changed("config.yaml", "store: {", keys)
    changed("config.yaml", "feed: {start: 2024-07-01", "feed: {start: 2024-07-02")
    assert command("run", "--out", "out").code == 0
    changed("config.yaml", "feed: {start: 2024-07-02", "feed: {start: 2024-07-01")

    again = command("run", "--out", "out")

    assert again.code == 0, again.err
    assert "had ended before" in again.out


# Folders of others


def test_days_of_another_run_are_refused(own: Path, command: Command) -> None:
    assert command("run", "--out", "out").code == 0
    before = results("out")
    shutil.copy("config.yaml", "other.yaml")
    changed("other.yaml", "name: bot", "name: other")
    assert command("run", "--config", "other.yaml").code == 0

    message = refusal(command("run", "--config", "other.yaml", "--out", "out"), 2)

    assert message == "out: holds days of a run with another name; name another --out"
    assert_same(results("out"), before)


def test_days_of_a_state_that_was_deleted_are_refused(own: Path, command: Command) -> None:
    assert command("run", "--out", "out").code == 0
    assert command("state", "delete", "--yes").code == 0

    message = refusal(command("run", "--out", "out"), 2)

    assert message == (
        "out: holds days of a run whose state is gone; empty it, or name another --out"
    )
    shutil.rmtree("out")
    assert command("run", "--out", "out").code == 0


# What goes wrong otherwise


def test_a_full_disk_ends_the_run_and_a_later_one_completes_its_files(
    own: Path, expected: Files, command: Command
) -> None:
    with RedisServer(server_binary()) as server:  # another process's files are not limited
        changed("config.yaml", "sqlite:///state/openbell.db", server.url)

        of_a_day = run("run", "--out", "out", cwd=own, before="ulimit -f 6")
        whole = run("run", "--out", "out", cwd=own, before="ulimit -f 30")

        assert refusal(of_a_day, 1).startswith(
            f"out/.days/{DAYS[0]}: can't be written ([Errno 27] "
        )
        assert refusal(whole, 1).startswith("out: results can't be written ([Errno 27] ")
        assert refusal(whole, 1).endswith("free some space there and start again: no day is lost")
        left = {path.name for path in Path("out").rglob("*")}
        assert not any(name.endswith(".part") for name in left)
        assert command("run", "--out", "out").code == 0
    assert_same(results("out"), expected)


def test_a_day_that_fails_stands_in_the_summary_as_in_that_of_a_backtest(
    own: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_away(*given: Any) -> Source:
        return Away(open_source(*given), error=RuntimeError("the disk is away"))

    monkeypatch.setattr(loading, "BACKOFF_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("openbell.runtime.lifetime.run.open_source", open_away)
        patch.setattr("openbell.runtime.inmemory.open_source", open_away)
        message = refusal(command("run", "--out", "out"), 3)
        assert command("backtest", "--out", "backtest").code == 3

    failed = results("out")
    assert_same(failed, results("backtest"))
    error = json.loads(failed["summary.json"])["error"]
    assert error == f"{DAYS[3]}: the disk is away (4 attempts)"
    assert message == f"{error}; `openbell recover` tries it again"
    assert refusal(command("run", "--out", "out"), 3) == message
    assert_same(results("out"), failed)
    assert command("recover").code == command("run", "--out", "out").code == 0
    assert summary_of("out")["error"] is None
    assert summary_of("out")["trading_days"] == len(DAYS) - 1


class Away(FailingSource):
    """Stops answering after the first days."""

    def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> Any:
        is_a_day = end_ns - start_ns > 12 * 3600 * 10**9  # planning looks at less
        away = is_a_day and start_ns > FRIDAY_NS
        self.failures = self.reads + 1 if away else 0
        return super().read(start_ns, end_ns, symbols)
