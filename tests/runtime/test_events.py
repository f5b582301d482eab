"""Events as an embedding program gets them: each once, in one order, whoever reads them and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from observed import threads_since

from openbell.adapters.sample import write_sample
from openbell.adapters.sources import open_source
from openbell.adapters.stores import open_store
from openbell.errors import DayFailed
from openbell.messages.events import KINDS, NOTICE_KINDS
from openbell.messages.session import DayState, Phase
from openbell.runtime.api import Event, Runtime
from openbell.runtime.config import config_from
from openbell.runtime.intake.settings import data_options
from openbell.runtime.results.events import event_of, read, wanted
from openbell.testing import FailingSource, Kill, Rehearsal, kills

DAYS = ("2024-07-01", "2024-07-02")
WINDOW = {"name": "Opening", "start": "09:30", "end": "09:34"}
DAY_KINDS = ["day.pre_market", "day.active", "day.post_market", "day.ended"]


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "minutes"
    write_sample(folder, symbols=2, days=2, seed=3, start=date(2024, 7, 1))
    return folder


@pytest.fixture
def keys(minutes: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "bot",
        "exchange": "XNYS",
        "sessions": [WINDOW],
        "data": {"path": str(minutes)},
        "store": {"url": f"sqlite:///{tmp_path}/openbell.db"},
    }


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert threads_since(before) == []


def in_memory(keys: dict[str, Any]) -> list[Event]:
    with Runtime.from_config(keys, durable=False) as runtime:
        return list(runtime.events())


def durable(keys: dict[str, Any], after: str | None = None) -> list[Event]:
    with Runtime.from_config(keys) as runtime:
        return list(runtime.events(after))


def of_steps(events: list[Event]) -> list[tuple[Any, ...]]:
    """All of them that a step brought, but for the wall time."""
    return [
        (e.id, e.kind, e.trading_date, e.market_time, e.session, e.before, e.after, e.why)
        for e in events
        if e.trading_date is not None
    ]


# What there is


def test_a_run_in_memory_tells_of_its_days_sessions_and_end(keys: dict[str, Any]) -> None:
    events = in_memory(keys)

    for day in DAYS:
        of_day = [event for event in events if str(event.trading_date) == day]
        states = [event.kind for event in of_day if event.kind.startswith("day.")]
        assert states[-4:] == DAY_KINDS
        (completed,) = (event for event in of_day if event.kind == "session.completed")
        assert (completed.session, completed.before, completed.after) == (
            "Opening",
            "ACTIVE",
            "COMPLETED",
        )
    assert completed.market_time == datetime(2024, 7, 2, 13, 35, tzinfo=UTC)
    assert events[-1].kind == "run.ended"
    assert events[-1].market_time is None
    assert len({event.id for event in events}) == len(events)


def test_state_that_survives_gives_the_events_of_steps_that_memory_gives(
    keys: dict[str, Any],
) -> None:
    kept = durable(keys)

    assert of_steps(kept) == of_steps(in_memory(keys))
    assert (kept[0].kind, kept[-1].kind) == ("run.started", "run.ended")


def test_the_next_process_has_the_events_of_the_one_before(keys: dict[str, Any]) -> None:
    first = durable(keys)
    both = durable(keys)
    new = durable(keys, first[-1].cursor)

    assert both[: len(first)] == first
    assert [event.kind for event in both[len(first) :]] == ["run.restored", "run.ended"]
    assert [event.kind for event in new] == ["run.restored", "run.ended"] * 2
    assert len({event.id for event in [*both, *new]}) == len(both) + 2


def test_metrics_count_events_by_kind(keys: dict[str, Any]) -> None:
    with Runtime.from_config(keys) as runtime:
        events = list(runtime.events())
        counted = runtime.summary()["timing"]["metrics"]["events"]

    assert counted == {
        kind: sum(event.kind == kind for event in events)
        for kind in sorted({event.kind for event in events})
    }


def test_steps_that_are_given_again_after_kills_double_no_event(minutes: Path) -> None:
    rehearsal = Rehearsal({"exchange": "XNYS", "sessions": [WINDOW]}, str(minutes), seed=1)
    rehearsal.run()
    restarted = Rehearsal({"exchange": "XNYS", "sessions": [WINDOW]}, str(minutes), seed=2)
    restarted.run(lambda of: of.restart() if of.messages in (40, 90, 130) else None)

    assert restarted.restarts == 3
    assert of_steps(restarted.events()) == of_steps(rehearsal.events())
    assert len({event.id for event in restarted.events()}) == len(restarted.events())
    assert [e.kind for e in restarted.events()].count("run.restored") >= 1


# Cursors


@pytest.mark.parametrize("is_durable", [False, True], ids=["in memory", "durable"])
def test_reading_goes_on_after_any_cursor(keys: dict[str, Any], is_durable: bool) -> None:
    with Runtime.from_config(keys, durable=is_durable) as runtime:
        runtime.run()
        events = list(runtime.events(follow=False))
        rest = {event.cursor: list(runtime.events(event.cursor, follow=False)) for event in events}

    assert len(events) > 20
    for place, event in enumerate(events, 1):
        assert rest[event.cursor] == events[place:]


def test_a_cursor_of_another_log_is_refused_and_the_oldest_named(
    keys: dict[str, Any], tmp_path: Path
) -> None:
    events = durable(keys)
    elsewhere = {**keys, "store": {"url": f"sqlite:///{tmp_path}/other.db"}}
    durable(elsewhere)

    with Runtime.from_config(elsewhere) as runtime:
        oldest = next(runtime.events(follow=False)).cursor
        for cursor in (events[0].cursor, events[-1].cursor, "99999-00000000"):
            with pytest.raises(ValueError, match=f"no cursor of this log.*oldest.*{oldest}"):
                list(runtime.events(cursor))
            with pytest.raises(ValueError, match="no cursor of this log"):
                runtime.on_event(print, cursor)
        for cursor in ("", "7", "0-00000000", "x-y", "-1-00000000"):
            with pytest.raises(ValueError, match="is no cursor"):
                list(runtime.events(cursor))


def test_only_some_kinds_can_be_asked_for(keys: dict[str, Any]) -> None:
    with Runtime.from_config(keys) as runtime:
        days = [event.kind for event in runtime.events(kinds=["day.active", "run"])]
        sessions = [event.kind for event in runtime.events(kinds="session", follow=False)]
        with pytest.raises(ValueError, match=r'"day.actve" is no kind.*did you mean "day.active"'):
            list(runtime.events(kinds=["day.actve"]))

    assert days == ["run.started", "day.active", "day.active", "run.ended"]
    assert sessions == ["session.pending", "session.active", "session.completed"] * 2


# Ways to read


def test_a_handler_and_a_coroutine_get_what_an_iteration_gets(keys: dict[str, Any]) -> None:
    heard: list[Event] = []

    async def awaited(runtime: Runtime) -> list[Event]:
        return [event async for event in runtime.aevents(kinds="day")]

    with Runtime.from_config(keys) as runtime:
        runtime.on_event(heard.append, kinds="day")
        waited = asyncio.run(awaited(runtime))
        runtime.wait()
        read_again = list(runtime.events(kinds="day", follow=False))

    assert heard == waited == read_again
    assert len(heard) > 8


@pytest.mark.parametrize("is_durable", [False, True], ids=["in memory", "durable"])
def test_a_run_that_is_held_and_stopped_says_so(keys: dict[str, Any], is_durable: bool) -> None:
    with Runtime.from_config(keys, durable=is_durable) as runtime:
        runtime.pause("dinner")
        events = runtime.events(kinds=["run.paused", "run.resumed", "run.stopped"])
        paused = next(events)
        runtime.stop()
        stopped = next(events)
        with pytest.raises(StopIteration):
            next(events)

    assert (paused.kind, paused.before, paused.after) == ("run.paused", None, "dinner")
    assert stopped.kind == "run.stopped"


def test_what_a_handler_raises_is_told_with_the_event(keys: dict[str, Any]) -> None:
    told: list[tuple[str, str]] = []

    def fail(event: Event) -> None:
        raise RuntimeError(event.kind)

    def tell(error: Exception, event: Event) -> None:
        told.append((str(error), event.kind))

    with Runtime.from_config(keys) as runtime:
        runtime.on_event(fail, kinds="day.error", on_error=tell)
        runtime.on_event(fail, kinds="session.completed", on_error=tell)
        runtime.wait()

    assert set(told) == {("session.completed", "session.completed")}


def test_a_day_that_fails_is_an_event_of_its_own_and_of_the_run(minutes: Path) -> None:
    made = {"exchange": "XNYS", "sessions": [WINDOW], "data": {"path": str(minutes)}}
    source = FailingSource(open_source(minutes, data_options(config_from(made))), failures=9)
    rehearsal = Rehearsal(made, source)

    with pytest.raises(DayFailed):
        rehearsal.run()

    (failed,) = (event for event in rehearsal.events() if event.kind == "day.error")
    assert (str(failed.trading_date), failed.after) == (DAYS[0], "ERROR")
    assert "does not answer" in failed.why


def test_a_consumer_that_keeps_its_cursor_with_its_act_hears_each_event_once(
    minutes: Path,
) -> None:
    rehearsal = Rehearsal({"exchange": "XNYS", "sessions": [WINDOW]}, str(minutes))
    rehearsal.run()
    expected = [event.id for event in rehearsal.events() if event.kind.startswith("session.")]
    kept: list[tuple[str, str]] = []

    def consume() -> None:
        after = kept[-1][1] if kept else None
        for event in rehearsal.events(after):
            if event.kind.startswith("session."):
                kept.append((event.id, event.cursor))

    many: list[Kill] = []
    for kill in kills():
        kept.clear()
        kill.during(consume)
        many.append(kill)
        assert [key for key, _ in kept] == expected, kill

    assert len(many) > 20


# Kinds


def test_every_kind_is_listed_once_and_every_state_is_one() -> None:
    states = {f"day.{state.lower()}" for state in get_args(DayState)}
    phases = {f"phase.{phase}" for phase in get_args(Phase)}
    sessions = {f"session.{status}" for status in ("pending", "active", "completed", "skipped")}

    assert states | phases | sessions | NOTICE_KINDS == set(KINDS)
    assert not NOTICE_KINDS & (states | phases | sessions)
    assert all(wanted([kind]) for kind in KINDS)


def test_the_documents_list_every_kind_with_its_meaning() -> None:
    text = (Path(__file__).parents[2] / "docs/outputs.md").read_text()

    for kind, of in KINDS.items():
        assert f"| `{kind}` | {of.meaning} |" in text


# Entries of before there were events


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ({"what": "outage", "seconds": 2.5, "why": "w"}, "store.outage"),
        ({"what": "restart", "why": "w"}, "run.restarted"),
        ({"what": "recover", "from": None, "to": None, "why": "w"}, "run.recovered"),
        ({"what": "config", "from": None, "to": None, "why": "w"}, "run.config"),
        ({"what": "day", "to": "ERROR", "why": "w"}, "day.error"),
        ({"what": "clock", "from": None, "to": None, "seconds": -7, "why": "w"}, "clock.back"),
        ({"what": "clock", "from": None, "to": None, "seconds": 7, "why": "w"}, "clock.forward"),
        ({"what": "pause", "from": None, "to": "operator", "fence": 1, "why": "w"}, "run.paused"),
        ({"what": "pause", "from": "operator", "to": None, "fence": 1, "why": "w"}, "run.resumed"),
        (
            {
                "what": "session",
                "trading_date": "2024-07-01",
                "session_name": "Opening",
                "from": "PENDING",
                "to": "ACTIVE",
                "market_time": "2024-07-01T13:30:00.000000001Z",
                "why": "its start",
            },
            "session.active",
        ),
    ],
)
def test_the_audit_trail_of_an_older_version_is_read_as_events(
    entry: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/old.db", "bot")
    store.append_audit(orjson.dumps({**entry, "wall_time": "2024-07-01T13:30:02.125Z"}))
    store.append_audit(orjson.dumps({**entry, "wall_time": "2024-07-01T13:30:02.125Z"}))

    first, second = read(store)
    store.close()

    assert first.kind == second.kind == kind
    assert first.id != second.id
    assert first.why == entry["why"]
    assert first.wall_time == datetime(2024, 7, 1, 13, 30, 2, 125_000, tzinfo=UTC)
    assert first.facts.get("seconds") == entry.get("seconds")
    assert orjson.loads(orjson.dumps(first.as_dict()))["kind"] == kind


def test_an_event_says_who_it_is_about_and_what_else_is_known() -> None:
    entry = {
        "what": "notice",
        "kind": "symbol.silent",
        "id": "one",
        "trading_date": "2024-07-01",
        "symbols": ["A", "B"],
        "from": None,
        "to": None,
        "market_time": "2024-07-01T13:30:00Z",
        "wall_time": "2024-07-01T13:30:02.125Z",
        "why": "no row for 40 s",
        "seconds": 40,
    }

    event = event_of(orjson.dumps(entry), 7)

    assert event.symbols == ("A", "B")
    assert event.facts == {"seconds": 40}
    assert event.as_dict() == {
        "cursor": event.cursor,
        "id": "one",
        "kind": "symbol.silent",
        "trading_date": "2024-07-01",
        "market_time": "2024-07-01T13:30:00Z",
        "wall_time": "2024-07-01T13:30:02.125Z",
        "session": None,
        "symbols": ["A", "B"],
        "before": None,
        "after": None,
        "why": "no row for 40 s",
        "facts": {"seconds": 40},
    }
