"""The step log: what was granted comes back, and a digest tells any two contents apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import msgpack
import numpy as np
import pytest
from drawn_results import signal_batches, some_signals
from drawn_values import INTEGERS, TEXTS, instances
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from runs import MemorySource, Run, drained, inline, of_cases, one_day, plain, plan_of, some_days

from openbell.actors.effects import Commit
from openbell.market.bars import BarBlock
from openbell.market.calendar import open_calendar
from openbell.market.days import MarketTime
from openbell.market.results import NOTHING, DerivedBars, SessionDocument, SignalBatch
from openbell.messages.base import Message
from openbell.messages.control import (
    AddSymbols,
    Arrived,
    Backfilled,
    DayOver,
    Halted,
    Input,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Missed,
    NotFilled,
    Rang,
    Recover,
    RemoveSymbols,
    Roll,
    RollFailed,
    Start,
    SymbolsChanged,
    SymbolsRefused,
)
from openbell.messages.data import IndicatorsReady, QualityReport
from openbell.messages.scan import ScanResult
from openbell.messages.session import DayWithoutData, Noticed, PhaseEntered, StateChanged
from openbell.messages.time import Grant
from openbell.runtime.intake.loading import Loader
from openbell.runtime.record.codec import Undecodable, decode, encode
from openbell.runtime.record.steplog import (
    START,
    chained,
    differing,
    granted,
    parts,
    read,
    written,
)

DAY = date(2021, 3, 1)

# Grants


def loaded_days(kind: str) -> dict[date, Loaded]:
    run = of_cases(some_days(kind)[:2])
    return {day: Loaded(date=day, data=data) for day, data in run.data.items()}


def through_the_log(grant: Grant, days: dict[date, Loaded]) -> tuple[Grant, list[date]]:
    """A grant read from its entry, and the days that were loaded for it."""
    asked: list[date] = []

    def load(day: date) -> Loaded:
        asked.append(day)
        return days[day]

    def without_rows(day: date) -> LoadTimedOut:
        return timed_out(days[day])

    return granted(read(written(grant, {})), load, without_rows), asked


def timed_out(loaded: Loaded) -> LoadTimedOut:
    """What a run says of a day whose rows are not there."""
    cases = some_days("bars" if isinstance(loaded.data.rows, BarBlock) else "ticks")
    plan = plan_of(cases)
    loader = Loader(MemorySource(cases), symbols=plan.symbols, windows={}, trailing=plan.trailing)
    return loader.timed_out(loaded.data.day)


OTHERS = st.one_of(*(instances(of) for of in (Start, Roll, Recover, LoadFailed)))


@settings(max_examples=40)
@given(
    step=st.integers(1, 2**62),
    from_ns=INTEGERS,
    until_ns=INTEGERS,
    inputs=st.lists(OTHERS, max_size=3).map(tuple),
)
def test_a_grant_that_is_read_is_the_one_that_was_written(
    step: int, from_ns: int, until_ns: int, inputs: tuple[Input, ...]
) -> None:
    grant = Grant(
        step=step, from_ns=MarketTime(from_ns), until_ns=MarketTime(until_ns), inputs=inputs
    )

    back, asked = through_the_log(grant, {})

    assert plain(back) == plain(grant)
    assert asked == []


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_rows_are_not_written_but_loaded_again(kind: str) -> None:
    days = loaded_days(kind)
    today, next_day = days.values()
    late = timed_out(next_day)
    missed = Missed(from_ns=MarketTime(3), until_ns=MarketTime(4), symbols=("A",))
    halted = Halted(symbols=("A",), on=True, host_ns=MarketTime(5), why="news")
    grant = Grant(
        step=3,
        from_ns=MarketTime(1),
        until_ns=MarketTime(2),
        inputs=(today, Roll(), halted, missed, late, next_day),
    )

    back, asked = through_the_log(grant, days)

    assert plain(back) == plain(grant)
    assert asked == [today.date, next_day.date]  # one without rows need not be read
    assert len(written(grant, {})) < 400


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_day_that_timed_out_is_the_same_day_without_a_row(kind: str) -> None:
    (loaded, _) = loaded_days(kind).values()

    late = timed_out(loaded)

    assert (late.date, late.data.day) == (loaded.date, loaded.data.day)
    assert late.data.symbols == loaded.data.symbols
    assert type(late.data.rows) is type(loaded.data.rows)
    assert not late.data.counts.rows.any()
    rows = late.data.rows
    assert not (rows.present.any() if isinstance(rows, BarBlock) else len(rows))


def test_every_kind_of_input_can_be_written() -> None:
    kinds = {of for of in Input.__subclasses__() if of.__module__.startswith("openbell.")}

    of_feeds = {Arrived, DayOver}  # written and read back by the tests of pushed days
    of_walls = {Rang, RollFailed, NotFilled, Backfilled}
    stored = {Start, Loaded, LoadTimedOut, LoadFailed, Roll, Recover, Halted, Missed}
    of_symbols = {AddSymbols, RemoveSymbols, SymbolsChanged, SymbolsRefused}
    assert kinds == stored | of_feeds | of_walls | of_symbols | {ScanResult}


def of_no_day(day: date) -> Any:
    raise AssertionError(day)


@pytest.mark.parametrize(
    "entered",
    [
        Rang(name="silence", at_ns=MarketTime(5), host_ns=MarketTime(7)),
        RollFailed(reason="no day follows"),
        NotFilled(
            date=date(2024, 7, 1),
            from_ns=MarketTime(5),
            until_ns=MarketTime(7),
            symbols=("A",),
            why="the vendor is away",
            comes=True,
        ),
        ScanResult(
            scan="movers",
            date=date(2024, 7, 1),
            at_ns=MarketTime(5),
            label="10:30",
            symbols=("B", "A"),
            scores=(2.5, 1.0),
            reasons=("it moves", "it does too"),
        ),
        ScanResult(
            scan="movers", date=date(2024, 7, 1), at_ns=MarketTime(0), label="pre", skipped="late"
        ),
        Roll(day=open_calendar("XNYS", date(2024, 7, 3), date(2024, 7, 3)).days()[0]),
        AddSymbols(symbols=("B", "C"), by="scan:movers:10:30", request="one"),
        RemoveSymbols(symbols=("B",), request="two"),
        SymbolsRefused(request="one", by="operator", symbols=("C",), why="it is not known"),
        SymbolsChanged(
            request="two",
            by="operator",
            removed=("B",),
            date=DAY,
            since=DAY + timedelta(days=1),
            later=("A",),
            registers=((DAY, ("A",)),),
            followed=("A",),
            followed_today=("A",),
            symbols=("A", "B"),
        ),
    ],
)
def test_what_comes_without_rows_comes_back(entered: Input) -> None:
    grant = Grant(step=1, from_ns=MarketTime(0), until_ns=MarketTime(1), inputs=(entered,))

    again = granted(read(written(grant, {})), of_no_day, of_no_day)

    assert again == grant


def test_symbols_that_come_with_rows_are_written_without_them() -> None:
    data = next(iter(loaded_days("bars").values())).data
    change = SymbolsChanged(
        request="one",
        by="operator",
        added=("B",),
        date=DAY,
        since=DAY,
        later=("A", "B"),
        registers=((DAY, ("A", "B")),),
        followed=("A", "B"),
        symbols=("A", "B"),
        alone=("B",),
        data=data,
        journaled=True,
    )
    grant = Grant(step=4, from_ns=MarketTime(0), until_ns=MarketTime(1), inputs=(change,))
    asked = []

    def inserted(step: int, found: SymbolsChanged) -> SymbolsChanged:
        asked.append((step, found))
        return found.model_copy(update={"data": data})

    entry = written(grant, {})
    again = granted(read(entry), of_no_day, of_no_day, inserted=inserted)

    assert len(entry) < 1000
    assert asked == [(4, change.model_copy(update={"data": None}))]
    assert plain(again) == plain(grant)


class Rumour(Input):
    """Something that no log knows."""


def test_an_input_that_would_not_come_back_is_refused() -> None:
    grant = Grant(step=1, from_ns=MarketTime(0), until_ns=MarketTime(1), inputs=(Rumour(),))

    with pytest.raises(TypeError, match="Rumour can't be written"):
        written(grant, {})


@given(names=st.dictionaries(TEXTS, st.binary(min_size=8, max_size=8)))
def test_digests_are_read_as_they_were_written(names: dict[str, bytes]) -> None:
    grant = Grant(step=1, from_ns=MarketTime(0), until_ns=MarketTime(1))

    assert read(written(grant, names)).parts == names


def test_an_entry_cut_short_or_of_another_program_is_refused() -> None:
    grant = Grant(step=1, from_ns=MarketTime(0), until_ns=MarketTime(1), inputs=(Roll(),))
    entry = written(grant, {"day: transitions": b"x" * 8})

    for length in range(len(entry)):
        with pytest.raises(Undecodable):
            read(entry[:length])
    for other in (b"\x01", b"\x80", msgpack.packb({"step": 1, "parts": {}}), entry + entry):
        with pytest.raises(Undecodable):
            read(other)


@pytest.mark.parametrize(
    "entered",
    [
        ["journal", "2024-07-01"],
        ["loaded", 7],
        ["loaded"],
        [],
        "loaded",
        ["message", b"noise"],
        ["message", encode(DayWithoutData(date=DAY, outside_hours=1))],
    ],
)
def test_an_input_that_the_program_does_not_know_is_refused(entered: object) -> None:
    fields = {"step": 1, "from_ns": 0, "until_ns": 1, "inputs": [entered], "parts": {}}
    days = loaded_days("bars")

    with pytest.raises(Undecodable):
        granted(
            read(msgpack.packb(fields, use_bin_type=True)),
            days.__getitem__,
            lambda day: timed_out(days[day]),
        )


# Digests

RECORDED = (
    "documents",
    "signals",
    "bars",
    "bars_again",
    "quality",
    "indicators",
    "transitions",
    "noticed",
    "without_data",
    "register",
)
"""What of a commit belongs to the market's record."""


def test_every_field_of_a_commit_is_recorded_or_known_not_to_be() -> None:
    names = {field.name for field in dataclasses.fields(Commit)}

    # The day's opening and end are told by transitions, scans were noticed; numbers are the step's
    # own.
    assert names == {*RECORDED, "number", "step", "opened", "closed", "scans"}


def some(of: Any, **unique: Any) -> st.SearchStrategy[Any]:
    return st.lists(instances(of), max_size=2, **unique).map(tuple)


COMMITS = st.builds(
    Commit,
    number=st.integers(0, 9),
    step=st.integers(0, 9),
    # The keeper makes one document a session and gets one batch of bars an interval.
    documents=some(SessionDocument, unique_by=lambda of: of.session_name),
    signals=st.lists(signal_batches(max_size=3), max_size=2).map(tuple),
    bars=some(DerivedBars, unique_by=lambda of: of.interval_minutes),
    bars_again=some(DerivedBars, unique_by=lambda of: of.interval_minutes),
    quality=st.none() | instances(QualityReport),
    indicators=st.none() | instances(IndicatorsReady),
    transitions=st.lists(instances(StateChanged) | instances(PhaseEntered), max_size=2).map(tuple),
    noticed=some(Noticed),
    without_data=some(DayWithoutData),
    register=st.lists(TEXTS, max_size=3, unique=True).map(tuple),
)


def rebuilt(commit: Commit) -> Commit:
    """The same content in other memory."""
    return replace(commit, **{name: decode(encode(getattr(commit, name))) for name in RECORDED})


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with one thing in it changed, as little as can be."""
    if isinstance(value, np.ndarray):
        return (
            _with_a_bit_flipped(value, draw(st.integers(0, 2**20))) if value.size else value[None]
        )
    if isinstance(value, Message):
        name = draw(st.sampled_from(list(type(value).model_fields)))
        return value.model_copy(update={name: draw(changed(getattr(value, name)))})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        if isinstance(value, SignalBatch):
            # What was not there before counts only with a kind.
            of_later = () if value.kind is not None else (*NOTHING,)
            names = [of for of in names if of not in of_later and getattr(value, of) is not None]
        name = draw(st.sampled_from(names))
        return replace(value, **{name: draw(changed(getattr(value, name)))})
    if isinstance(value, tuple):
        if not value:
            return (0,)
        if draw(st.booleans()):
            return draw(st.sampled_from([value[:-1], (*value, value[-1])]))
        place = draw(st.integers(0, len(value) - 1))
        return (*value[:place], draw(changed(value[place])), *value[place + 1 :])
    if isinstance(value, dict):
        key = draw(st.sampled_from([*value, "one more"]))
        return {**value, key: draw(changed(value.get(key)))}
    match value:
        case None:
            return 0
        case bool():
            return not value
        case int():
            return value ^ 1
        case float():
            return float(_with_a_bit_flipped(np.array([value]), draw(st.integers(0, 63)))[0])
        case str():
            return value + "x"
        case date():
            return value + timedelta(days=1) if value < date.max else value - timedelta(days=1)
    raise AssertionError(f"{value!r}: change it")


def _with_a_bit_flipped(array: Any, bit: int) -> Any:
    if array.dtype == np.bool_:
        flipped = array.copy()
        flipped.reshape(-1)[bit % array.size] ^= True
        return flipped
    raw = bytearray(array.tobytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)


@settings(max_examples=50)
@given(commit=COMMITS, number=st.integers())
def test_equal_contents_have_equal_digests(commit: Commit, number: int) -> None:
    again = replace(rebuilt(commit), number=number)

    assert parts(again) == parts(commit)
    assert differing(parts(commit), parts(again)) == []


@settings(max_examples=60)
@given(data=st.data())
def test_contents_that_differ_in_a_single_thing_have_other_digests(data: st.DataObject) -> None:
    commit = data.draw(COMMITS)
    name = data.draw(st.sampled_from([n for n in RECORDED if getattr(commit, n)] or ["signals"]))
    before = getattr(commit, name)
    change: dict[str, Any] = {name: data.draw(changed(before)) if before else (some_signals(1),)}
    if isinstance(report := change.get("quality"), QualityReport):
        # Of a row that is unusable, the folder it lies in does not count.
        change["quality"] = report.model_copy(update={"bad": before.bad})
        assume(change["quality"] != before)
    other = replace(commit, **change)

    assert differing(parts(commit), parts(other)) != []
    grant = Grant(step=1, from_ns=MarketTime(0), until_ns=MarketTime(1))
    assert chained(START, grant, parts(commit)) != chained(START, grant, parts(other))


@given(bit=st.integers(0, 64 * 3 - 1), column=st.sampled_from(["price", "level", "ts", "known_at"]))
def test_a_single_bit_is_named_by_its_column(bit: int, column: str) -> None:
    batch = some_signals(3)
    flipped = replace(batch, **{column: _with_a_bit_flipped(getattr(batch, column), bit)})
    one = Commit(1, 1, signals=(some_signals(2), batch))
    other = Commit(1, 1, signals=(some_signals(2), flipped))

    assert differing(parts(one), parts(other)) == [f"breakout: signals 1: {column}"]


def test_what_only_one_of_two_steps_brought_is_named() -> None:
    transition = PhaseEntered(date=DAY, phase="stream")
    without = Commit(1, 1)

    entered = Commit(1, 1, transitions=(transition,))
    signalled = Commit(1, 1, signals=(some_signals(1),))

    assert differing(parts(without), parts(entered)) == ["day: transitions"]
    assert differing(parts(entered), parts(without)) == ["day: transitions"]
    assert "breakout: signals 0: price" in differing(parts(entered), parts(signalled))


def test_a_step_that_brought_nothing_has_no_digests() -> None:
    assert parts(None) == parts(Commit(1, 1)) == {}


def test_two_sessions_that_swap_their_documents_are_told_apart() -> None:
    one = SessionDocument(
        "XNYS", DAY, "A", "09:30", "09:35", "ACTIVE", MarketTime(1), MarketTime(2)
    )
    other = SessionDocument(
        "XNYS", DAY, "B", "09:30", "09:35", "PENDING", MarketTime(1), MarketTime(2)
    )
    swapped = tuple(
        replace(document, session_name=name) for document, name in ((one, "B"), (other, "A"))
    )

    names = differing(
        parts(Commit(1, 1, documents=(one, other))), parts(Commit(1, 1, documents=swapped))
    )

    assert names == ["session A: document: status", "session B: document: status"]


# The chain


def steps_of(run: Run) -> list[tuple[Grant, dict[str, bytes]]]:
    found = drained(run, inline())
    return [
        (Grant(step=commit.step, from_ns=MarketTime(n), until_ns=MarketTime(n + 1)), parts(commit))
        for n, commit in enumerate(found.commits)
    ]


def chain_of(steps: list[tuple[Grant, dict[str, bytes]]]) -> Iterator[bytes]:
    digest = START
    for grant, brought in steps:
        digest = chained(digest, grant, brought)
        yield digest


def test_two_runs_of_one_day_have_one_chain_and_those_of_another_have_another() -> None:
    monday, tuesday = some_days("bars")[:2]

    first, again, other = (
        list(chain_of(steps_of(of_cases([case]))))
        for case in (monday, one_day(DAY, "bars"), tuesday)
    )

    assert first == again
    assert len(set(first)) == len(first) > 5
    assert not set(first) & set(other)


def test_a_chain_that_is_cut_goes_on_from_its_last_digest() -> None:
    steps = steps_of(of_cases(some_days("bars")[:1]))
    whole = list(chain_of(steps))

    for cut in range(1, len(steps)):
        assert chained(whole[cut - 1], *steps[cut]) == whole[cut]


@given(data=st.data())
def test_steps_in_another_order_have_another_chain(data: st.DataObject) -> None:
    steps = [
        (Grant(step=n, from_ns=MarketTime(n), until_ns=MarketTime(n + 1)), {"a": bytes([n % 2])})
        for n in range(1, 6)
    ]
    order = data.draw(st.permutations(steps))

    same = [grant.step for grant, _ in order] == [1, 2, 3, 4, 5]

    assert ([*chain_of(order)][-1] == [*chain_of(steps)][-1]) is same


@pytest.mark.parametrize("field", ["step", "from_ns", "until_ns"])
def test_a_grant_of_another_time_gives_another_chain(field: str) -> None:
    grant = Grant(step=1, from_ns=MarketTime(1), until_ns=MarketTime(2))

    other = grant.model_copy(update={field: 3})

    assert chained(START, grant, {}) != chained(START, other, {})


def test_digests_of_another_name_or_place_give_another_chain() -> None:
    grant = Grant(step=1, from_ns=MarketTime(1), until_ns=MarketTime(2))
    a, b = b"a" * 8, b"b" * 8

    chains = {
        chained(before, grant, brought)
        for before in (START, b"x" * 16)
        for brought in ({}, {"one": a}, {"other": a}, {"one": b}, {"one": a, "other": b})
    }

    assert len(chains) == 10
    assert chained(START, grant, {"one": a, "other": b}) == chained(
        START, grant, {"other": b, "one": a}
    )
