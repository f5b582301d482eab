"""`openbell run`, and the commands that read, mend or remove what it keeps."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from commands import Command, Ran
from faults.crashing import Child, Nursery, nursery, wait_until
from redis_server import RedisServer
from store_places import server_binary, writer

import openbell
from openbell.adapters.sample import write_sample
from openbell.adapters.sources import Source, open_source
from openbell.runtime.intake import loading
from openbell.testing import FailingSource

CONFIG = """\
name: bot
exchange: XNYS
sessions:
  - {name: Opening, start: 09:30, end: 09:34}
  - {name: Lunch, start: 11:50, end: 12:20}
data: {path: minutes}
store: {url: sqlite:///state/openbell.db}
"""
DAYS = ["2024-07-01", "2024-07-02", "2024-07-03"]
TUESDAY_NS = 1_719_880_000 * 10**9
STORE = "sqlite:///state/openbell.db"
COMMANDS = (
    ("run",),
    ("signals",),
    ("sessions",),
    ("status",),
    ("audit",),
    ("snapshots",),
    ("snapshots", "show"),
    ("state",),
    ("state", "delete"),
    ("recover",),
    ("replay",),
)
READERS = (("signals",), ("sessions",), ("status",), ("audit",), ("snapshots",), ("state",))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and three days of two symbols, not run yet."""
    folder = tmp_path_factory.mktemp("fresh")
    write_sample(folder / "minutes", symbols=2, days=3, seed=3, start=date(2024, 7, 1))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "paced.yaml").write_text(CONFIG + "feed: {speed: 20000}\n")
    return folder


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("said")) as made:
        yield made


@pytest.fixture(scope="module")
def finished(fresh: Path, children: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(fresh, folder)
    code, said = children.run("run", "--config", folder / "config.yaml")
    assert code == 0
    assert re.fullmatch(r"The last day has ended: \d+ steps, \d+ signals\n", said)
    return folder


@pytest.fixture(scope="module")
def found(fresh: Path) -> list[dict[str, Any]]:
    """The signals of a backtest."""
    table = openbell.backtest(fresh / "config.yaml").signals
    assert len(table) > 10
    signals: list[dict[str, Any]] = table.to_pylist()
    return signals


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def after(finished: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command where a run has ended; for what changes nothing."""
    monkeypatch.chdir(finished)
    return command


@pytest.fixture
def own(
    finished: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command on a copy of the state of a run that has ended."""
    shutil.copytree(finished, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return command


@pytest.fixture
def before(
    fresh: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command where nothing was run."""
    shutil.copytree(fresh, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return command


def objects(ran: Ran) -> list[dict[str, Any]]:
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def refusal(ran: Ran, code: int = 2) -> str:
    """The one line that says what is wrong."""
    assert (ran.code, ran.out) == (code, "")
    (message,) = ran.messages
    return message


# Help


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_help_opens_with_one_sentence_and_ends_with_an_example_that_runs(
    name: tuple[str, ...], own: Command
) -> None:
    help_ = own(*name, "--help")

    assert (help_.code, help_.err) == (0, "")
    usage, sentence, *_ = re.split(r"\n\n", help_.out)
    assert usage.startswith(" ".join(("Usage: openbell", *name)))
    assert re.fullmatch(r"[A-Z][^.]*\.", " ".join(sentence.split()))
    example = help_.out.rstrip().splitlines()[-1].removeprefix("  Example: openbell ")
    assert all(len(line) <= 80 or "Example:" in line for line in help_.out.splitlines())
    newest = objects(own("snapshots", "--json"))[0]["epoch"]
    ran = own(*shlex.split(example.replace(" 12", f" {newest}")))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out


# Signals


def test_each_signal_is_printed_once_in_its_order(
    after: Command, found: list[dict[str, Any]]
) -> None:
    printed = objects(after("signals", "--json"))
    header, *lines = after("signals", "--utc").out.splitlines()

    assert header.split()[:3] == ["UTC", "symbol", "side"]
    assert sorted(s["id"] for s in printed) == sorted(s["id"] for s in found)
    times = [s["known_at"] for s in printed]
    assert times == sorted(times)
    by_id = {s["id"]: s for s in found}
    for line, signal_ in zip(lines, printed, strict=True):
        expected = by_id[signal_["id"]]
        assert signal_["price"] == expected["price"]
        words = line.split()
        assert [f"{words[0]}T{words[1]}Z", *words[2:5]] == [
            signal_["ts"],
            expected["symbol"],
            expected["side"],
            str(expected["price"]),
        ]
        assert line.endswith(f"  {expected['session']} at {expected['level']}")


@pytest.mark.parametrize("given", [(), ("--store", STORE, "--name", "bot"), ("-c", "config.yaml")])
def test_a_store_may_be_named_by_a_file_or_itself(given: tuple[str, ...], after: Command) -> None:
    assert after("signals", "--json", *given) == after("signals", "--json")


@pytest.mark.parametrize("option", ["date", "symbol", "session"])
def test_signals_of_one_day_symbol_or_session_are_those_of_all_that_have_it(
    option: str, after: Command
) -> None:
    everything = objects(after("signals", "--json"))
    field = "trading_date" if option == "date" else option
    values = {signal_[field] for signal_ in everything}
    assert len(values) > 1

    for value in values:
        some = objects(after("signals", f"--{option}", value, "--json"))
        assert some == [signal_ for signal_ in everything if signal_[field] == value]


def test_filters_count_together(after: Command) -> None:
    everything = objects(after("signals", "--json"))
    one = everything[-1]
    given = [("--date", "trading_date"), ("--symbol", "symbol"), ("--session", "session")]

    some = objects(after("signals", "--json", *(v for o, f in given for v in (o, one[f]))))

    assert one in some
    assert some == [s for s in everything if all(s[f] == one[f] for _, f in given)]


def test_reading_goes_on_after_any_cursor(after: Command) -> None:
    everything = objects(after("signals", "--json"))

    for place, signal_ in [*enumerate(everything)][::5]:
        rest = objects(after("signals", "--after", signal_["cursor"], "--json"))
        assert rest == everything[place + 1 :]
    assert len({signal_["cursor"] for signal_ in everything}) == len(everything)


def test_what_is_of_no_symbol_or_day_that_was_run_is_nothing(after: Command) -> None:
    message = refusal(after("signals", "--symbol", "NOBODY"))
    assert re.fullmatch(r'--symbol is "NOBODY"; this run has no such symbol; there are .*', message)
    assert after("signals", "--date", "2031-01-01") == Ran(0, "", "")
    assert 'did you mean "Lunch"' in refusal(after("sessions", "--session", "Lurch"))


@pytest.mark.parametrize(
    ("name", "day"),
    [
        *(("signals", day) for day in ("yesterday", "20240701", "2024-W27-1", "2024-02-30", "")),
        ("sessions", "today"),
        ("replay", "20240701"),
    ],
)
def test_a_date_that_is_none_is_refused(name: str, day: str, after: Command) -> None:
    assert refusal(after(name, "--date", day)).startswith(f'--date is "{day}"; ')


@pytest.mark.parametrize("cursor", ["", "x", "999999-0", "1", "1-1-1", "0-0", "-1-0", "1-99999"])
def test_a_cursor_that_the_log_never_gave_is_refused(cursor: str, after: Command) -> None:
    message = refusal(after("signals", "--after", cursor))

    assert f'"{cursor}" is no cursor of this signal log' in message


def test_a_signals_id_is_no_cursor(after: Command) -> None:
    identity = objects(after("signals", "--json"))[0]["id"]

    assert "is no cursor" in refusal(after("signals", "--after", identity))


# Sessions


def test_session_documents_have_the_ids_of_their_signals(
    after: Command, found: list[dict[str, Any]]
) -> None:
    documents = objects(after("sessions", "--json"))
    header, *lines = after("sessions").out.splitlines()

    keys = [(d["trading_date"], d["session_name"]) for d in documents]
    assert keys == [(day, session) for day in DAYS for session in ("Opening", "Lunch")]
    assert "America/New_York" in header
    assert len(lines) == 3 * len(documents)
    hours = {"Opening": "09:30–09:35", "Lunch": "11:50–12:21"}
    for document, line, *levels in zip(
        documents, lines[::3], lines[1::3], lines[2::3], strict=True
    ):
        key = document["trading_date"], document["session_name"]
        ids = [s["id"] for s in found if (str(s["trading_date"]), s["session"]) == key]
        assert sorted(document["signals_generated"]) == sorted(ids)
        assert document["status"] == "COMPLETED"
        signals = "signal" if len(ids) == 1 else "signals"
        assert line.split() == [*key, "COMPLETED", hours[key[1]], str(len(ids)), signals]
        told = [
            [symbol, "high", str(of["high"]), "low", str(of["low"])]
            for symbol, of in document["symbols_data"].items()
        ]
        assert [of.split() for of in levels] == told


def test_sessions_are_chosen_by_day_name_and_status(after: Command) -> None:
    everything = objects(after("sessions", "--json"))

    def chosen(*options: str) -> list[dict[str, Any]]:
        return objects(after("sessions", "--json", *options))

    assert chosen("--date", DAYS[1]) == [d for d in everything if d["trading_date"] == DAYS[1]]
    assert chosen("--session", "Lunch") == [d for d in everything if d["session_name"] == "Lunch"]
    assert chosen("--status", "completed") == everything
    assert chosen("--status", "PENDING") == []
    first = chosen("--completed-before", "2024-07-02", "--completed-from", "2024-07-01T16:00Z")
    assert [(d["trading_date"], d["session_name"]) for d in first] == [(DAYS[0], "Lunch")]
    assert "write a time" in refusal(after("sessions", "--completed-from", "noon"))


def test_a_status_that_there_is_not_is_refused_with_those_that_there_are(after: Command) -> None:
    message = refusal(after("sessions", "--status", "DONE"))

    assert all(status in message for status in ("DONE", "pending", "active", "skipped"))


# Status and audit


def test_status_says_how_far_the_run_has_come(after: Command, found: list[Any]) -> None:
    (status,) = objects(after("status", "--json"))
    lines = after("status").out.splitlines()

    assert status["signals"] == len(found)
    assert (status["trading_date"], status["state"]) == (DAYS[-1], "ENDED")
    assert status["market_time"] == "2024-07-03T17:00:00Z"  # an early close
    assert (status["error"], status["dead_letter"]) == (None, None)
    assert (status["process"], status["holder"], status["paused_by"]) == ("none", None, [])
    told = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)
    assert told["market time"] == "2024-07-03 13:00:00 America/New_York"
    assert (told["process"], told["trading date"]) == ("none", DAYS[-1])
    assert "market time    2024-07-03 17:00:00 UTC" in after("status", "--utc").out


def test_the_audit_trail_has_every_transition_of_every_day(after: Command) -> None:
    entries = objects(after("audit", "--json"))
    lines = after("audit").out.splitlines()

    assert [entry["position"] for entry in entries] == [*range(1, len(entries) + 1)]
    for day in DAYS:
        of_day = [e for e in entries if e["trading_date"] == day]
        states = [e["to"] for e in of_day if e["what"] == "day"]
        assert states[-4:] == ["PRE_MARKET", "ACTIVE", "POST_MARKET", "ENDED"]
        phases = [e["to"] for e in of_day if e["what"] == "phase"]
        assert phases[-6:] == ["initialise", "history", "load", "activate", "stream", "end"]
        for session in ("Opening", "Lunch"):
            of_session = [e for e in of_day if e.get("session_name") == session]
            ways = [(e["from"], e["to"]) for e in of_session]
            assert ways == [(None, "PENDING"), ("PENDING", "ACTIVE"), ("ACTIVE", "COMPLETED")]
    assert all(e["market_time"] for e in entries if e["trading_date"])
    assert all(e["wall_time"] and e["why"] for e in entries)
    assert len(lines) == 1 + len(entries)
    assert lines[0].startswith("America/New_York ")
    (opened, *_) = [line for line in lines if "PRE_MARKET → ACTIVE" in line]
    assert re.fullmatch(r"[\d-]{10} [\d:.]+  day +2024-07-01 PRE_MARKET → ACTIVE  the open", opened)
    of_day = [entry for entry in entries if entry["trading_date"] == DAYS[1]]
    assert objects(after("audit", "--date", DAYS[1], "--json")) == of_day != []


def test_the_audit_trail_goes_on_after_a_position(after: Command) -> None:
    entries = objects(after("audit", "--json"))

    assert objects(after("audit", "--after", "5", "--json")) == entries[5:]
    assert after("audit", "--after", "99999") == Ran(0, "", "")
    for position in ("-1", "x", "1.5"):
        assert "--after" in refusal(after("audit", "--after", position))


# Snapshots


def test_snapshots_are_listed_newest_first(after: Command) -> None:
    snapshots = objects(after("snapshots", "--json"))
    header, *lines = after("snapshots", "--utc").out.splitlines()
    assert header.split() == ["epoch", "step", "UTC", "bytes", "state"]

    epochs = [snapshot["epoch"] for snapshot in snapshots]
    assert epochs == sorted(epochs, reverse=True) != []
    assert snapshots[0]["trading_date"] == DAYS[-1]
    for snapshot, line in zip(snapshots, lines, strict=True):
        assert snapshot["state"] == "ok"
        assert line.split() == [
            *(str(snapshot["epoch"]), str(snapshot["step"])),
            *snapshot["market_time"].removesuffix("Z").split("T"),
            *(f"{snapshot['size']:,}", "ok"),
        ]


def test_a_snapshot_is_shown_actor_by_actor(after: Command) -> None:
    newest = str(objects(after("snapshots", "--json"))[0]["epoch"])

    whole = after("snapshots", "show", newest)

    actors = re.findall(r"^(\S.*):$", whole.out, re.MULTILINE)
    assert {"clock", "day", "session:Opening", "session:Lunch", "keeper"} <= set(actors)
    alone = [after("snapshots", "show", newest, "--actor", actor).out for actor in actors]
    assert "".join(alone) == whole.out
    assert "  State\n    plan: 3\n" in alone[actors.index("day")]


def test_a_snapshot_or_actor_that_there_is_not_is_refused(after: Command) -> None:
    epochs = [str(snapshot["epoch"]) for snapshot in objects(after("snapshots", "--json"))]

    unknown = refusal(after("snapshots", "show", "999"))
    nobody = refusal(after("snapshots", "show", epochs[0], "--actor", "nobody"))

    assert unknown == f"no snapshot 999; there are {', '.join(epochs)}"
    assert nobody.startswith("no actor 'nobody'; there are ")
    assert "session:Lunch" in nobody
    for wrong in ((), ("x",), ("-1",)):
        assert after("snapshots", "show", *wrong).code == 2


# Nothing there


@pytest.mark.parametrize("name", READERS, ids=" ".join)
def test_where_nothing_was_run_that_is_said_and_nothing_is_made(
    name: tuple[str, ...], before: Command
) -> None:
    here = sorted(Path().rglob("*"))

    for options in ((), ("--json",), ("--store", "sqlite:///elsewhere/openbell.db")):
        ran = before(*name, *options)
        assert ran.code == 0
        if name == ("status",):
            assert ran.err == ""
            assert "Nothing was ever run here" in ran.out or json.loads(ran.out)["steps"] == 0
        else:
            (message,) = ran.messages
            whose = "default" if "--store" in options else "bot"
            assert message.startswith(f'nothing was ever run as "{whose}" in {Path.cwd()}')
            assert name == ("state",) or ran.out == ""
    assert not Path("elsewhere").exists()
    assert [path for path in sorted(Path().rglob("*")) if "state" not in path.parts] == here


@pytest.mark.parametrize("name", READERS, ids=" ".join)
def test_another_name_in_the_store_has_nothing(name: tuple[str, ...], after: Command) -> None:
    ran = after(*name, "--store", STORE, "--name", "other")

    assert ran.code == 0
    assert "2024-07-01" not in ran.out
    assert "Nothing was ever run" in ran.out or 'nothing was ever run as "other"' in ran.err


def test_what_needs_a_run_refuses_where_there_was_none(before: Command) -> None:
    replayed = refusal(before("replay", "--date", DAYS[0]))
    assert replayed.startswith(f'nothing was ever run as "bot" in {Path.cwd()}')
    shown = before("snapshots", "show", "1")
    assert (shown.code, shown.out) == (2, "")
    assert shown.messages[-1] == "no snapshot 1; there are none"
    assert before("recover").out == "Not in ERROR: there is nothing to leave\n"


# Which store


@pytest.mark.parametrize("name", [*READERS, ("recover",)], ids=" ".join)
def test_a_store_is_named_in_one_way(name: tuple[str, ...], after: Command) -> None:
    both = after(*name, "--config", "config.yaml", "--store", STORE)
    whose = after(*name, "--name", "other")

    assert refusal(both).startswith("--config and --store: pass one of them")
    assert refusal(whose).startswith("--name other: goes with --store")


@pytest.mark.parametrize("name", [*READERS, ("recover",), ("run",)], ids=" ".join)
def test_without_a_configuration_a_command_says_how_to_name_one(
    name: tuple[str, ...], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert "--config FILE" in refusal(command(*name))
    assert "no such file" in refusal(command(*name, "--config", "nowhere.yaml"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--store", "openbell.db"), "store.url"),
        (("--store", ""), "store.url"),
        (("--store", "mysql://localhost"), "store.url"),
        (("--store", STORE, "--name", "a b"), 'name is "a b"'),
        (("--store", "sqlite:///config.yaml"), "config.yaml"),
        (("--nonsense",), "no such option"),
        (("extra",), "extra"),
    ],
)
def test_wrong_usage_is_one_line(given: tuple[str, ...], said: str, after: Command) -> None:
    ran = after("signals", *given)

    assert ran.code == (1 if "config.yaml" in said else 2)
    assert said in refusal(ran, ran.code)


@pytest.mark.parametrize("name", [("signals",), ("state",)], ids=" ".join)
def test_a_store_that_does_not_answer_is_a_failure_in_one_line(
    name: tuple[str, ...], after: Command
) -> None:
    message = refusal(after(*name, "--store", "redis://localhost:1/0"), 1)

    assert message.startswith('redis://localhost:1/0 "default"')
    assert message.endswith("check that the server is up, and store.url")


# Replay


def test_a_replay_says_that_a_day_is_equal(after: Command) -> None:
    for day in DAYS:
        ran = after("replay", "--date", day)
        assert (ran.code, ran.err) == (0, "")
        assert re.fullmatch(rf"{day}: \d+ steps, equal to what was committed\n", ran.out)


def test_a_replay_without_a_day_or_of_an_unknown_actor_is_refused(after: Command) -> None:
    assert "--date" in refusal(after("replay"))
    nobody = refusal(after("replay", "--date", DAYS[0], "--show", "nobody"))
    assert nobody.startswith("--show nobody: write levels, or one of ")


# State


def test_state_says_where_it_lives_and_how_much_it_is(after: Command, found: list[Any]) -> None:
    (state,) = objects(after("state", "--json"))
    first, *counts = after("state").out.splitlines()

    place = str(Path("state/openbell.db").absolute())
    assert state["location"] == place
    assert first == f"{place}, schema {state['schema']}, {state['bytes']:,} bytes"
    told = {key: int(n.replace(",", "")) for n, key in (line.split() for line in counts)}
    assert told == {k: v for k, v in state.items() if k not in ("location", "schema", "bytes")}
    assert (told["signals"], told["documents"]) == (len(found), 6)


def test_deleting_asks_first(own: Command) -> None:
    message = refusal(own("state", "delete"))

    place = Path("state/openbell.db").absolute()
    assert message == f'this removes the state of "bot" in {place}; pass --yes to do it'
    assert own("status").out.startswith("process ")


def test_deleting_removes_one_name_only(own: Command, found: list[Any]) -> None:
    Path("other.yaml").write_text(CONFIG.replace("name: bot", "name: other"))
    assert own("run", "--config", "other.yaml").code == 0

    deleted = own("state", "delete", "--yes")

    place = Path("state/openbell.db").absolute()
    assert deleted == Ran(0, f'Removed the state of "bot" in {place}\n', "")
    assert own("status").out.startswith("Nothing was ever run here")
    (status,) = objects(own("status", "--json", "--store", STORE, "--name", "other"))
    assert status["signals"] == len(found)
    assert own("replay", "--config", "other.yaml", "--date", DAYS[0]).code == 0
    assert own("state", "--store", STORE, "--name", "other", "delete", "--yes").code == 0
    assert own("status", "-c", "other.yaml").out.startswith("Nothing was ever run here")


def test_where_there_is_nothing_to_delete_that_is_said(own: Command) -> None:
    ran = own("state", "delete", "--yes", "--store", STORE, "--name", "other")

    place = Path("state/openbell.db").absolute()
    assert ran == Ran(0, "", f'openbell: nothing was ever run as "other" in {place}\n')


def test_state_that_is_damaged_can_be_deleted_as_it_is_told(own: Command) -> None:
    with closing(sqlite3.connect("state/openbell.db")) as db:
        db.execute("UPDATE heads SET step = step + 1")
        db.commit()
    assert "or remove this state with `openbell state delete --yes`" in refusal(own("run"), 1)

    assert own("state", "delete", "--yes").out.startswith('Removed the state of "bot" in ')

    assert own("run").out.startswith("The last day has ended")


@pytest.mark.parametrize(
    "options", [("--config", "elsewhere.yaml"), ("--store", STORE, "--name", "bot")], ids=" ".join
)
@pytest.mark.parametrize("name", [("snapshots", "show"), ("state", "delete")], ids=" ".join)
def test_a_store_may_be_named_before_a_subcommand_and_after_it(
    name: tuple[str, ...], options: tuple[str, ...], own: Command
) -> None:
    newest = objects(own("snapshots", "--json"))[0]["epoch"]
    Path("config.yaml").rename("elsewhere.yaml")
    group, *rest = name
    which = [str(newest)] if group == "snapshots" else []

    before, after = own(group, *options, *rest, *which), own(*name, *which, *options)

    assert before == after
    assert "clock:" in before.out or 'removes the state of "bot"' in before.err


def test_after_deleting_a_run_begins_anew(own: Command) -> None:
    signals = own("signals").out

    assert own("state", "delete", "--yes").code == 0
    assert own("run").out.startswith("The last day has ended")

    assert own("signals").out == signals


# Run


def test_a_run_that_had_ended_says_so_and_adds_nothing(own: Command) -> None:
    before = own("status", "--json").out

    again = own("run")

    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("This run had ended before: ")
    assert own("status", "--json").out == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--out", ""), "--out"),
        (("--out", "config.yaml"), "config.yaml: can't be written"),
        (("--log-level", "loud"), "'loud' is not one of"),
        (("--config", "minutes"), "minutes: a folder"),
        (("--store", STORE), "no such option"),
    ],
)
def test_a_run_that_is_asked_for_wrongly_is_refused(
    given: tuple[str, ...], said: str, before: Command
) -> None:
    assert said in refusal(before("run", *given))
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("path: minutes", "path: nowhere"), "nowhere"),
        (("data: {path: minutes}\n", ""), "data.path is missing"),
        (("XNYS", "XNYX"), "XNYX"),
        (("name: bot", "name: a b"), "name"),
        (("name: bot", "feed: {type: live}"), "feed.type"),
    ],
)
def test_a_run_that_is_configured_wrongly_is_refused(
    change: tuple[str, str], said: str, before: Command
) -> None:
    Path("config.yaml").write_text(CONFIG.replace(*change))

    assert said in refusal(before("run"))


def test_a_run_whose_lease_is_held_is_refused_while_others_read(own: Command) -> None:
    with writer(f"sqlite:///{Path.cwd()}/state/openbell.db") as holder:
        assert holder.hear().startswith("fence ")

        ran = own("run")

        assert str(holder.process.pid) in refusal(ran, 4)
        for name in READERS:
            assert own(*name).code == 0
        assert own("replay", "--date", DAYS[0]).code == 0


# In ERROR


@pytest.fixture
def broken(before: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A run whose source stops answering after the first day."""

    class Away(FailingSource):
        def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> Any:
            is_a_day = end_ns - start_ns > 12 * 3600 * 10**9  # planning looks at less
            away = is_a_day and start_ns > TUESDAY_NS
            self.failures = self.reads + 1 if away else 0
            return super().read(start_ns, end_ns, symbols)

    def open_away(*given: Any) -> Source:
        return Away(open_source(*given), error=RuntimeError("the disk is away"))

    monkeypatch.setattr(loading, "BACKOFF_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr("openbell.runtime.lifetime.run.open_source", open_away)
        message = refusal(before("run"), 3)
    assert message.startswith("2024-07-02: the disk is away (4 attempts)")
    assert "`openbell recover`" in message
    return before


def test_a_day_whose_rows_cant_be_had_is_in_error_until_recover(
    broken: Command, found: list[dict[str, Any]]
) -> None:
    (status,) = objects(broken("status", "--json"))
    assert (status["trading_date"], status["state"]) == ("2024-07-02", "ERROR")
    assert "the disk is away" in status["error"]
    told = broken("status").out
    assert "\nERROR: 2024-07-02: the disk is away (4 attempts); `openbell recover`" in told
    assert "openbell recover" in refusal(broken("run"), 3)

    assert (
        broken("recover").out
        == "A run that waits for this, or the next `openbell run`, tries again\n"
    )
    assert broken("run").code == 0

    printed = objects(broken("signals", "--json"))
    assert sorted(s["id"] for s in printed) == sorted(s["id"] for s in found)
    (status,) = objects(broken("status", "--json"))
    assert (status["state"], status["error"]) == ("ENDED", None)
    assert broken("recover").out == "Not in ERROR: there is nothing to leave\n"


def test_what_failed_twice_is_shown_with_its_traceback_until_recover(
    before: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openbell.actors import upkeep

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "minutes_seen", lambda *given: 1 / 0)
        message = refusal(before("run"), 3)
        assert "upkeep failed at step" in message
        assert refusal(before("run"), 3).endswith("`openbell recover` leaves it")

    (status,) = objects(before("status", "--json"))
    assert status["state"] == "ERROR"
    assert status["dead_letter"]["actor"] == "upkeep"
    told = before("status").out
    assert "Traceback (most recent call last)" in told
    assert "ZeroDivisionError" in told
    assert before("recover").code == 0
    assert before("run").code == 0


# While it runs


@pytest.fixture
def folder(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(fresh, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return tmp_path / "own"


def objects_so_far(command: Command, *name: str) -> list[dict[str, Any]]:
    ran = command(*name, "--json")
    assert ran.code == 0, ran
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.fixture
def running(folder: Path, children: Nursery, command: Command) -> Iterator[Child]:
    """A run that stands still in the middle of its first day, so that there is time to look."""
    config = folder / "paced.yaml"
    child = children.start("run", "--config", config, hold=f"{DAYS[0]}T13:30-04:00")
    children.wait_until_held(child)
    yield child
    children.kill(child)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_run_is_read_while_it_runs_and_goes_on_after_it_was_stopped(
    number: signal.Signals,
    code: int,
    running: Child,
    children: Nursery,
    command: Command,
    found: list[dict[str, Any]],
) -> None:
    (status,) = objects_so_far(command, "status")
    assert (status["trading_date"], status["state"]) == (DAYS[0], "ACTIVE")
    early = objects_so_far(command, "signals")
    assert 2 < len(early) < len(found)
    statuses = {d["session_name"]: d["status"] for d in objects_so_far(command, "sessions")}
    assert statuses["Opening"] == "COMPLETED"
    snapshots = objects_so_far(command, "snapshots")
    assert {snapshot["state"] for snapshot in snapshots} == {"ok"}
    assert "clock:\n" in command("snapshots", "show", str(snapshots[0]["epoch"])).out
    assert command("audit").code == command("state").code == 0
    assert "equal to what was committed" in command("replay", "--date", DAYS[0]).out

    children.send(running, number)

    assert children.ended(running) == code
    assert running.err == "openbell: stopped; start it again to go on\n"
    assert command("run").code == 0
    signals = objects(command("signals", "--json"))
    assert signals[: len(early)] == early
    assert sorted(s["id"] for s in signals) == sorted(s["id"] for s in found)


def test_a_run_whose_state_is_deleted_ends_without_its_lease(
    running: Child, children: Nursery, command: Command
) -> None:
    assert command("state", "delete", "--yes").code == 0
    running.let_go()

    assert children.ended(running) == 4
    assert re.fullmatch(r"openbell: the lease was lost: .*\n", running.err)
    assert objects_so_far(command, "status")[0]["steps"] == 0


def test_a_run_whose_file_is_removed_ends_although_it_had_nothing_to_write(
    folder: Path, children: Nursery, command: Command
) -> None:
    config = CONFIG + "feed: {speed: 1}\nlease: {ttl: 300ms}\n"
    (folder / "config.yaml").write_text(config)
    child = children.start("run", "--config", folder / "config.yaml")
    wait_until(lambda: objects_so_far(command, "status")[0]["commits"] > 0)

    (folder / "state").rename(folder / "removed")  # at once, whatever is written there meanwhile

    assert children.ended(child) == 1
    (said,) = child.err.splitlines()
    assert "openbell.db: the file was removed or replaced while it was in use" in said


def test_following_prints_each_signal_as_it_comes_until_it_is_stopped(
    folder: Path, children: Nursery, command: Command, found: list[dict[str, Any]]
) -> None:
    follow = ("signals", "--config", folder / "config.yaml", "--follow", "--json")
    follower = children.start(*follow)
    wait_until(lambda: "nothing was ever run" in follower.err)

    assert command("run").code == 0
    wait_until(lambda: follower.err.count("\n") > len(found))
    children.send(follower, signal.SIGINT)

    assert children.ended(follower) == 130
    _, *lines, last = follower.err.splitlines()
    signals = objects(command("signals", "--json"))
    newest = signals[-1]["cursor"]
    assert last == f"openbell: interrupted: read up to {newest}; --after {newest} goes on"
    assert [json.loads(line) for line in lines] == signals
    wanted = [s for s in signals[2:] if s["session"] == "Lunch"]
    again = children.start(*follow, "--after", signals[1]["cursor"], "--session", "Lunch")
    wait_until(lambda: again.err.count("\n") == len(wanted) > 0)
    children.send(again, signal.SIGTERM)
    assert children.ended(again) == 0
    *lines, last = again.err.splitlines()
    newest = wanted[-1]["cursor"]
    assert [json.loads(line) for line in lines] == wanted
    assert last == f"openbell: stopped: read up to {newest}; --after {newest} goes on"


def test_who_follows_is_told_that_the_log_was_deleted(
    folder: Path, children: Nursery, command: Command, found: list[dict[str, Any]]
) -> None:
    assert command("run").code == 0
    follower = children.start("signals", "--config", folder / "config.yaml", "--follow")
    wait_until(lambda: follower.err.count("\n") == 1 + len(found) > 1)  # and a header

    assert command("state", "delete", "--yes").code == 0

    assert children.ended(follower) == 1
    assert "any more: its state was deleted or begun anew" in follower.err.splitlines()[-1]


def test_who_follows_goes_on_when_the_store_is_back(
    folder: Path, children: Nursery, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer(server_binary()) as server:
        monkeypatch.setenv("OPENBELL_STORE__URL", server.url)
        follow = ("signals", "--store", server.url, "--name", "bot", "--follow", "--json")
        follower = children.start(*follow)
        wait_until(lambda: "nothing was ever run" in follower.err)

        server.kill()
        wait_until(lambda: "asking again until it answers" in follower.err)
        server.start()
        assert command("run", "--config", str(folder / "config.yaml")).code == 0

        signals = [json.dumps(signal) for signal in objects(command(*follow[:5], "--json"))]
        wait_until(lambda: follower.err.count("\n") == 2 + len(signals) > 2)
        children.send(follower, signal.SIGINT)
        assert children.ended(follower) == 130
    lines = follower.err.splitlines()[2:-1]
    assert [json.dumps(json.loads(line)) for line in lines] == signals


def test_symbols_that_are_asked_for_while_no_run_is_up_belong_to_the_next_from_its_first_day(
    fresh: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(fresh / "minutes", tmp_path / "minutes")
    first, second = sorted(
        {row["symbol"] for row in openbell.backtest(fresh / "config.yaml").signals.to_pylist()}
    )
    (tmp_path / "config.yaml").write_text(CONFIG + f"symbols: [{first}]\n")
    monkeypatch.chdir(tmp_path)

    asked = command("symbols", "add", second, "--config", "config.yaml")
    ran = command("run", "--config", "config.yaml")

    assert asked.out == "No run is up; the next one does it\n"
    assert ran.code == 0
    told = command("events", "--json", "--config", "config.yaml").out.splitlines()
    (added,) = [of for of in map(json.loads, told) if of["kind"] == "symbol.added"]
    assert (added["symbols"], added["trading_date"]) == ([second], DAYS[0])
    listed = command("symbols", "--config", "config.yaml").out.split()
    assert listed == [first, "configured", second, "added"]
