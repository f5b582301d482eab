"""What a step log says of time: gone through by plain loops, and held against what was the case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from faults.arrivals import arrived, check_signals
from faults.fed_days import check_scans, reported, scanned_in
from faults.wall_days import following
from reference import (
    Crossed,
    Lacking,
    Mark,
    Row,
    bad_reason,
    last_minute_of,
    segment_of,
    session_levels,
)
from runs import Found, answer_of, expected_session
from strategies import Case

from openbell.actors.effects import Commit
from openbell.market.days import MINUTE_NS, TradingDay, row_spans
from openbell.messages.control import Arrived, DayOver, Missed, Rang, Roll, RollFailed, Start
from openbell.messages.session import StateChanged
from openbell.messages.time import Grant
from openbell.runtime.results.events import read

if TYPE_CHECKING:
    from faults.timers import WallWorld

STATES = {
    ("NOT_STARTED", "PRE_MARKET"),
    ("PRE_MARKET", "ACTIVE"),
    ("PRE_MARKET", "ENDED"),
    ("ACTIVE", "TIMEOUT"),
    ("TIMEOUT", "ACTIVE"),
    ("ACTIVE", "POST_MARKET"),
    ("TIMEOUT", "POST_MARKET"),
    ("POST_MARKET", "ENDED"),
    ("ENDED", "NOT_STARTED"),
}


class Pushed(NamedTuple):
    """A row that was brought, when by the host's clock, and whether it was ahead of that."""

    row: Row
    host_ns: int
    ahead: bool


class Granted(NamedTuple):
    """What was the case when a step was granted first."""

    host_ns: int
    calendar: tuple[TradingDay, ...]
    pushed: int
    """How much was brought."""


@dataclass
class Lived:
    """A day as the step log has it."""

    day: TradingDay
    rows: list[Row] = field(default_factory=list)
    """All that came of it and was not ahead, in its order."""
    ahead: int = 0
    marks: list[Mark] = field(default_factory=list)
    crossed: list[int] = field(default_factory=list)
    rang: dict[str, list[int]] = field(default_factory=dict)
    opened: bool = False
    over: bool = False
    """Whether no more rows were waited for."""
    known: int = 0
    newest: int = 0
    heard_ns: int = 0
    """When something newer came last."""


def check_marks(world: WallWorld, grants: Sequence[Grant], found: Found) -> list[Lived]:
    """Each boundary was crossed once, when it might be, and each alarm rang that was due.

    Returns
    -------
    The days that there were.
    """
    commits = {commit.step: commit for commit in found.commits}
    days: list[Lived] = []
    position, state = 0, "NOT_STARTED"
    assert [grant.step for grant in grants] == list(range(1, len(grants) + 1)), "steps"
    for grant in grants:
        brought, when = commits.get(grant.step), world.granted[grant.step]
        for entered in grant.inputs:
            if isinstance(entered, Start):
                days.append(Lived(entered.days[0]))
            elif isinstance(entered, Roll):
                expected = following(when.calendar, days[-1].day.date)
                assert entered.day == expected, f"rolled to {entered.day}, not {expected}"
                assert when.host_ns >= days[-1].day.close_ns, "rolled before the close"
                if entered.day is not None:
                    days.append(Lived(entered.day))
            assert not isinstance(entered, RollFailed)
        lived = days[-1]
        before = position
        position = _taken(world, lived, grant, position)
        if brought is not None and brought.opened is not None:
            assert brought.opened.day == lived.day, "it opened with other hours"
            assert not lived.opened, "it opened twice"
            lived.opened = True
        _check_crossing(world, lived, grant, when, position)
        _note_alarms(lived, grant, when)
        state = _check_states(world, lived, grant, brought, state, position > before)
    for lived in days:
        _check_whole(world, lived)
    return days


def _taken(world: WallWorld, lived: Lived, grant: Grant, position: int) -> int:
    """How far the feed has come with a grant; what came of the day is noted."""
    for entered in grant.inputs:
        if isinstance(entered, Missed):
            if lived.opened:
                lived.marks.append(Lacking(len(lived.rows), entered.from_ns, entered.until_ns))
            continue
        if not isinstance(entered, Arrived | DayOver):
            continue
        came = world.pushed[position : entered.position]
        position = max(position, entered.position)
        if isinstance(entered, DayOver):
            lived.over |= entered.date == lived.day.date
            continue
        assert entered.date == lived.day.date, "rows of another day were acted on"
        for pushed in came:
            if not _is_of(world, lived.day, pushed.row):
                continue
            if pushed.ahead:
                lived.ahead += 1
                continue
            lived.rows.append(pushed.row)
            segment = segment_of(lived.day, pushed.row[1], pushed.row[0])
            if segment is not None and _is_usable(world, lived.day, pushed.row):
                end = pushed.row[1] + (world.scenario.interval_ns or 0)
                lived.known = max(lived.known, min(end, segment.close_ns))
    return position


def _is_of(world: WallWorld, today: TradingDay, row: Row) -> bool:
    start, end = row_spans((today,))[today.date]
    return row[0] in world.scenario.symbols and start <= row[1] < end


def _is_usable(world: WallWorld, today: TradingDay, row: Row) -> bool:
    segment = segment_of(today, row[1], row[0])
    watched = row[0] in world.scenario.symbols
    return (
        watched
        and segment is not None
        and bad_reason(row, segment, world.scenario.interval_ns) is None
    )


def _check_crossing(
    world: WallWorld, lived: Lived, grant: Grant, when: Granted, position: int
) -> None:
    """Rows, or the host's clock, had come to what was crossed, and all that came in time is in."""
    made = world.scenario
    if any(isinstance(i, Start | Roll) for i in grant.inputs):
        return
    assert grant.until_ns >= grant.from_ns, f"step {grant.step}: time went back"
    due = [b for b in agenda(world, lived.day) if grant.from_ns < b <= grant.until_ns]
    assert len(due) <= 1, f"step {grant.step} crosses {due}"
    if not due:
        return
    (boundary,) = due
    assert boundary == grant.until_ns, f"step {grant.step} goes beyond {boundary}"
    lived.crossed.append(boundary)
    lived.marks.append(Crossed(len(lived.rows), boundary))
    # A bar that ends at an instant says nothing of the others that do.
    lag = made.lateness_ns + (made.interval_ns is not None)
    by_rows = lived.known - lag >= boundary
    wait = 0 if lived.over else made.lateness_ns
    by_clock = when.host_ns - wait >= boundary
    assert by_rows or by_clock, f"step {grant.step}: {boundary} was crossed too early"
    world.sometimes(by_rows and not by_clock, "rows crossed a boundary before the host's clock")
    world.sometimes(by_clock and not by_rows, "the host's clock crossed a boundary")
    if by_rows or lived.over:
        return
    for pushed in world.pushed[position : when.pushed]:
        in_time = pushed.host_ns < boundary + made.lateness_ns
        waits = in_time and not pushed.ahead and _is_usable(world, lived.day, pushed.row)
        assert not waits, f"step {grant.step}: {boundary} was crossed before {pushed}"


def agenda(world: WallWorld, today: TradingDay) -> list[int]:
    """The day's boundaries after its open."""
    spans = [*today.segments, *(s for of in today.products for s in of.segments)]
    found = {at for s in spans for at in (s.open_ns, s.close_ns)}
    for start, end in _windows(world, today):
        found |= {start, end}
    found |= {*scanned_in(world.config, today)}
    return sorted(at for at in found if at > today.open_ns)


def _windows(world: WallWorld, today: TradingDay) -> Iterator[tuple[int, int]]:
    for window in world.scenario.cases[0].windows:
        session = session_levels(today, world.scenario.interval_ns, {}, window)
        if session["status"] == "COMPLETED":
            last = last_minute_of(today, session)
            inside = [m for m in _minutes(today) if m >= session["start_ns"]]
            yield inside[0], last + MINUTE_NS


def _minutes(today: TradingDay) -> list[int]:
    return [m for s in today.segments for m in range(s.open_ns, s.close_ns, MINUTE_NS)]


def _note_alarms(lived: Lived, grant: Grant, when: Granted) -> None:
    for entered in grant.inputs:
        if isinstance(entered, Rang):
            assert entered.at_ns <= entered.host_ns <= when.host_ns, f"{entered} rang too early"
            lived.rang.setdefault(entered.name, []).append(entered.at_ns)
            closed = (
                lived.crossed[-1:] == [lived.day.close_ns] and grant.from_ns == lived.day.close_ns
            )
            assert not closed, f"{entered} rang after the close"


def _check_states(
    world: WallWorld,
    lived: Lived,
    grant: Grant,
    brought: Commit | None,
    state: str,
    moved: bool,
) -> str:
    """States follow each other by the table; TIMEOUT is there when rows are silent."""
    made, today = world.scenario, lived.day
    newer = False
    arrived = [i for i in grant.inputs if isinstance(i, Arrived)]
    for entered in arrived:
        times = [row[1] for row in _usable(world, lived)]
        newest = max(times, default=0)
        if newest > lived.newest:
            newer, lived.newest, lived.heard_ns = True, newest, entered.host_ns
    rang = [i for i in grant.inputs if isinstance(i, Rang) and i.name == "silence"]
    changes = [] if brought is None else brought.transitions
    was_silent = state == "TIMEOUT"
    left = False
    for change in changes:
        if not isinstance(change, StateChanged):
            continue
        assert change.before == state, f"step {grant.step}: {change.before} follows {state}"
        assert (state, change.after) in STATES, f"step {grant.step}: {state} to {change.after}"
        world.sometimes(True, f"day {change.after}")
        if change.after == "TIMEOUT":
            assert rang, f"step {grant.step}: TIMEOUT without a look"
            segment = next(
                (s for s in today.segments if s.open_ns <= change.at_ns < s.close_ns), None
            )
            assert segment is not None, f"step {grant.step}: TIMEOUT outside the hours"
            silent = change.at_ns - max(segment.open_ns, lived.heard_ns)
            assert silent >= made.timeout_ns, f"step {grant.step}: TIMEOUT after {silent} ns"
        if (state, change.after) == ("TIMEOUT", "ACTIVE"):
            assert newer, f"step {grant.step}: TIMEOUT was left without a newer row"
            left = True
        world.sometimes((state, change.after) == ("TIMEOUT", "POST_MARKET"), "a silent day closed")
        world.sometimes(left, "rows ended a silence")
        state = change.after
    assert not (was_silent and newer) or left, f"step {grant.step}: a newer row left TIMEOUT on"
    if state == "TIMEOUT":
        world.sometimes(bool(lived.crossed[-1:] == [grant.until_ns]), "a boundary in TIMEOUT")
        world.sometimes(bool(arrived) and not newer, "rows that are not newer came in TIMEOUT")
    return state


def _usable(world: WallWorld, lived: Lived) -> Iterator[Row]:
    return (row for row in lived.rows if _is_usable(world, lived.day, row))


def _check_whole(world: WallWorld, lived: Lived) -> None:
    """All boundaries of a day were crossed, each once, in their order; so did its alarms ring."""
    today = lived.day
    if not lived.opened:
        assert not lived.crossed, f"{today.date}: crossed, and never opened"
        return
    expected = agenda(world, today)
    assert lived.crossed == expected, f"{today.date}: crossed {lived.crossed}, not {expected}"
    for name in ("open", "over"):
        assert len(lived.rang.get(name, [])) <= 1, f"{today.date}: {name} rang twice"
    starts = sorted({start for start, _ in _windows(world, today) if start > today.open_ns})
    rang = lived.rang.get("start", [])
    due = starts if not lived.over else starts[: len(rang)]
    assert rang == due, f"{today.date}: starts rang {rang}, not {due}"


# What it comes to


def check_answers(
    world: WallWorld, days: Sequence[Lived], found: Found, grants: Sequence[Grant]
) -> None:
    """The reference, given rows and marks, says what the run says."""
    for lived in days:
        of = lived.day.date
        case = _case(world, lived)
        of_day = next((day for day in found.days if day.trading_date == of), None)
        if of_day is None:
            assert of in found.without_data, f"{of}: has no results"
            assert not list(_usable(world, lived)), f"{of}: rows came of a day that had none"
            world.sometimes(True, "a day had no row")
            continue
        scans = scanned_in(world.config, lived.day)
        expected = arrived(world.scenario, case, scans, lived.marks)
        got = answer_of(found, case)
        signals = reported(
            expected, check_scans(world.config, lived.day, grants), ticks=case.interval_ns is None
        )
        world.sometimes(len(signals) < len(expected["signals"]), "a scan left signals out")
        world.sometimes(any(of["rules"] for of in signals), "a signal had rules to pass")
        check_signals(of, got["signals"], signals)
        sessions = [expected_session(case, session) for session in expected["sessions"]]
        assert got["sessions"] == sessions, f"{of}: sessions"
        assert got["derived"] == expected["derived"], f"{of}: bars"
        assert got["quality"] == expected["quality"], f"{of}: quality"
        late = sum(counts["rows"] for counts in expected["late"].values())
        assert of_day.tally.counts["late"] == late, f"{of}: late rows"
        if world.scenario.amends:
            counts = of_day.tally.counts
            by_rule = [sum(of) for of in zip(*expected["revised"].values(), strict=True)]
            told = [counts.get(name, 0) for name in ("revised", "revised_late")]
            assert told == by_rule, f"{of}: revised {told}, not {by_rule}"
            world.sometimes(by_rule[0] > 0, "a bar was revised")
        world.sometimes(late > 0, "a row came too late")
        world.sometimes(bool(expected["signals"]), "a level was broken")
        lacks = any(isinstance(mark, Lacking) for mark in lived.marks)
        world.sometimes(lacks, "ticks may be missing")


def _case(world: WallWorld, lived: Lived) -> Case:
    first = world.scenario.cases[0]
    return replace(first, day=lived.day, rows=tuple(lived.rows))


def check_told(world: WallWorld, found: Found) -> None:
    """The audit trail has each change of the day's state, once, in its order."""
    events = list(read(world.connected()))
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids), "an event is told twice"
    told = [
        (event.trading_date, event.before, event.after)
        for event in events
        if event.kind.startswith("day.") and event.before is not None
    ]
    expected: list[tuple[date, str, str]] = [
        (change.date, change.before, change.after)
        for commit in found.commits
        for change in commit.transitions
        if isinstance(change, StateChanged)
    ]
    assert told == expected, "what is told of the day is not what happened"
    kinds = {event.kind for event in events}
    for kind in ("clock.back", "clock.forward", "feed.silent", "calendar.changed"):
        world.sometimes(kind in kinds, f"told {kind}")
