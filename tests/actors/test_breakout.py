"""Breakout: armed by completed sessions, one message of signals a step."""

from __future__ import annotations

from datetime import date

import numpy as np
from runs import of_cases, one_day

from openbell.actors.breakout import Settings, State, update
from openbell.actors.effects import Publish
from openbell.market.bars import BarBlock, RowBatch
from openbell.market.breakouts import BreakRules
from openbell.market.days import MINUTE_NS, MarketTime
from openbell.market.kinds import KINDS
from openbell.market.results import HIGH_BREAK, LOW_BREAK, Levels
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import DayCleared, DayOpened, SessionCompleted
from openbell.messages.signal import BreakoutsChecked, Signals

DAY = one_day(date(2021, 3, 1), "bars").day
STARTS, ENDS = DAY.grid(MINUTE_NS)
OPEN = DAY.open_ns
COUNTS = of_cases([one_day(date(2021, 3, 1), "bars")]).data[DAY.date].counts
# Sessions and symbols on purpose not in the order of their names.
SETTINGS = Settings(
    exchange="XTST",
    sessions=("Second", "First"),
    rules=(BreakRules(), BreakRules()),
    companions=(("B", "A"),),
)


def block(prices: dict[str, list[float]]) -> BarBlock:
    """Bars from the open on whose four prices are equal; NaN where there is none."""
    m = max(map(len, prices.values()))
    price = np.full((len(STARTS), len(prices)), np.nan)
    for column, of_symbol in enumerate(prices.values()):
        price[: len(of_symbol), column] = of_symbol
    there = ~np.isnan(price)
    rows = BarBlock(
        DAY, tuple(prices), MINUTE_NS, STARTS, ENDS, price, price, price, price, price, there
    )
    return rows.rows(0, m)


def opened(symbols: tuple[str, ...], live_from_ns: int = OPEN) -> DayOpened:
    return DayOpened(
        day=DAY,
        symbols=symbols,
        kind="bars",
        interval_ns=MINUTE_NS,
        boundaries=(DAY.close_ns,),
        counts=COUNTS,
        bad=(),
        live_from_ns=MarketTime(live_from_ns),
    )


def completed(
    name: str, symbols: tuple[str, ...], at_ns: int = OPEN, high: float = 101.0
) -> SessionCompleted:
    s = len(symbols)
    count = np.ones(s, np.int64)
    levels = Levels(
        symbols, np.full(s, high), np.full(s, 99.0), count, count, count, np.ones(s, np.bool_)
    )
    return SessionCompleted(session=name, at_ns=MarketTime(at_ns), levels=levels)


def batch(rows: BarBlock, watermark_ns: int | None = None) -> Batch:
    at = int(rows.ends[-1]) if watermark_ns is None else watermark_ns
    return Batch(step=1, rows=rows, watermark_ns=at)


def told(state: State, *heard: Message) -> tuple[State, list[Message]]:
    said: list[Message] = []
    for message in heard:
        state, effects = update(SETTINGS, state, message)
        said += [effect.message for effect in effects if isinstance(effect, Publish)]
    return state, said


def test_signals_of_a_step_are_one_message_in_order() -> None:
    rows = block({"B": [100.0, 102.0, 98.0], "A": [102.0, 100.0, 98.0]})
    sessions = [completed("Second", rows.symbols), completed("First", rows.symbols)]

    _, said = told(State(), opened(rows.symbols), *sessions, batch(rows))

    (signals,) = (message.batch for message in said if isinstance(message, Signals))
    names = [
        (
            int(ts - OPEN) // MINUTE_NS,
            signals.symbols[symbol],
            signals.sessions[session],
            int(side),
        )
        for ts, symbol, session, side in zip(
            signals.ts, signals.symbol, signals.session, signals.side, strict=True
        )
    ]
    assert names == sorted(names)
    assert len(names) == 8
    assert {side for *_, side in names} == {HIGH_BREAK, LOW_BREAK}
    assert (signals.exchange, signals.trading_date) == ("XTST", DAY.date)
    assert not signals.backfilled.any()


def test_levels_hold_from_the_sessions_end_whoever_is_heard_first() -> None:
    rows = block({"A": [102.0, 102.0, 100.0]})
    session = completed("First", ("A",), at_ns=OPEN + 2 * MINUTE_NS)

    for order in ((session, batch(rows)), (batch(rows), session)):
        _, said = told(State(), opened(("A",)), *order)
        assert not any(isinstance(message, Signals) for message in said)


def test_what_was_signalled_is_not_signalled_again() -> None:
    rows = block({"A": [102.0, 103.0, 98.0, 104.0]})

    state, first = told(State(), opened(("A",)), completed("First", ("A",)), batch(rows.rows(0, 1)))
    _, second = told(state, batch(rows.rows(1, 4)))

    sides = [
        side for m in (*first, *second) if isinstance(m, Signals) for side in m.batch.side.tolist()
    ]
    assert sides == [HIGH_BREAK, LOW_BREAK]


def test_a_companions_price_is_carried_from_step_to_step() -> None:
    rows = block({"A": [50.0, np.nan, np.nan], "B": [100.0, 100.0, 102.0]})

    state, _ = told(
        State(), opened(("A", "B")), completed("First", ("A", "B")), batch(rows.rows(0, 1))
    )
    _, said = told(state, batch(rows.rows(1, 3)))

    (signals,) = (message.batch for message in said if isinstance(message, Signals))
    assert signals.symbols[signals.companion[0]] == "A"
    assert (signals.companion_price.tolist(), signals.companion_ts.tolist()) == ([50.0], [OPEN])


def test_breakouts_are_checked_when_each_symbol_had_a_price_or_at_the_close() -> None:
    rows = block({"A": [100.0, 100.0, 100.0], "B": [np.nan, 100.0, 100.0]})
    session = completed("First", ("A", "B"))

    state, early = told(State(), opened(("A", "B")), session, batch(rows.rows(0, 1)))
    _, late = told(state, batch(rows.rows(1, 3)))
    _, at_the_close = told(state, batch(rows.rows(3, 3), DAY.close_ns))

    assert early == []
    assert late == [BreakoutsChecked(session="First", at_ns=MarketTime(OPEN + 2 * MINUTE_NS))]
    assert at_the_close == [BreakoutsChecked(session="First", at_ns=DAY.close_ns)]


def test_a_session_that_ends_with_the_day_has_been_checked() -> None:
    session = completed("First", ("A",), at_ns=DAY.close_ns)

    state, said = told(State(), opened(("A",)), session)
    _, more = told(state, batch(block({"A": [102.0]}), DAY.close_ns))

    assert said == [BreakoutsChecked(session="First", at_ns=DAY.close_ns)]
    assert more == []


def test_a_signal_of_the_past_is_marked_as_backfilled() -> None:
    rows = block({"A": [102.0, 100.0, 98.0]})
    late = opened(("A",), live_from_ns=OPEN + 2 * MINUTE_NS)

    _, said = told(State(), late, completed("First", ("A",)), batch(rows))

    (signals,) = (message.batch for message in said if isinstance(message, Signals))
    assert signals.backfilled.tolist() == [True, False]


def test_a_cleared_day_is_forgotten() -> None:
    rows = block({"A": [102.0]})
    state, _ = told(State(), opened(("A",)), completed("First", ("A",)))

    state, _ = told(state, DayCleared(date=DAY.date))
    _, said = told(state, opened(("A",)), batch(rows))

    assert state.watches == ()
    assert said == []


# Rows of before that come late


def rows_of(prices: dict[int, float], known_ns: int | None = None) -> RowBatch:
    """Bars of one symbol whose four prices are equal, by their minute."""
    ts = OPEN + np.array(list(prices), np.int64) * MINUTE_NS
    price = np.array(list(prices.values()))
    known = ts + MINUTE_NS if known_ns is None else np.full(len(ts), known_ns)
    code = np.zeros(len(ts), np.int32)
    return RowBatch(DAY, ("A",), MINUTE_NS, code, ts, known, price, price, price, price, price)


def told_late(
    live: dict[int, float], late: dict[int, float], further: dict[int, float]
) -> list[tuple[str, int, bool]]:
    """Kind, minute and whether it is of the past, of what is told when rows come late."""
    rules = BreakRules(retest_bars=3)
    settings = Settings("XTST", ("First",), (rules,))
    begun, more = rows_of(live), rows_of(further)
    known_ns = int(begun.known[-1])
    batches = [
        Batch(step=1, rows=begun, watermark_ns=known_ns, lacking=True),
        Batch(step=2, rows=more, watermark_ns=known_ns, backfilled=rows_of(late, known_ns)),
    ]
    state, found = State(), list[tuple[str, int, bool]]()
    for message in (opened(("A",)), completed("First", ("A",)), *batches):
        state, effects = update(settings, state, message)
        for effect in effects:
            if isinstance(effect, Publish) and isinstance(effect.message, Signals):
                of = effect.message.batch
                minutes = ((of.ts - OPEN) // MINUTE_NS).tolist()
                kinds = [KINDS[kind] for kind in of.kinds.tolist()]
                found += zip(kinds, minutes, of.backfilled.tolist(), strict=True)
    return found


def test_what_follows_a_breakout_that_was_found_late_is_looked_for_in_the_rows_since() -> None:
    told = told_late({3: 101.0}, {1: 102.0}, {4: 102.0})

    assert told == [("breakout", 1, True), ("retest", 3, True)]


def test_rows_that_come_late_tell_nothing_of_a_breakout_that_was_told_in_time() -> None:
    told = told_late({1: 102.0, 4: 102.0}, {2: 101.0}, {5: 102.0})

    assert told == [("breakout", 1, False)]


def test_what_follows_is_found_among_the_rows_that_come_late() -> None:
    told = told_late({5: 100.0}, {1: 102.0, 2: 101.0}, {6: 102.0})

    assert told == [("breakout", 1, True), ("retest", 2, True)]
