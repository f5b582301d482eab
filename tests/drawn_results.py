"""Random results of a day for property tests: signals, levels, session documents, derived bars."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbell.adapters.sinks.files import DayResult
from openbell.market.bars import BadRow
from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime
from openbell.market.kinds import KINDS
from openbell.market.results import (
    NO_TIME,
    DerivedBars,
    Levels,
    Quality,
    SessionDocument,
    SignalBatch,
)

DAY = date(2025, 8, 26)
OPEN_NS = 1_756_179_900 * SECOND_NS
"""2025-08-26T03:45:00Z, 09:15 in Kolkata."""

PRICES = st.floats(1e-9, 1e18) | st.sampled_from([100.0, 0.1 + 0.2, 1e16, 1e-7, 24710.55])
# A lone surrogate is no UTF-8, and no source delivers one.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TIMES = (
    st.integers(0, 2**33).map(lambda ns: OPEN_NS + ns)
    | st.integers(0, 5).map(lambda minute: OPEN_NS + minute * MINUTE_NS)
).map(MarketTime)


def _floats(size: int, missing: bool = False) -> st.SearchStrategy[Any]:
    return arrays(np.float64, size, elements=PRICES | st.just(np.nan) if missing else PRICES)


def _times(size: int, missing: bool = False) -> st.SearchStrategy[Any]:
    return arrays(np.int64, size, elements=TIMES | st.just(NO_TIME) if missing else TIMES)


def _names(draw: st.DrawFn) -> tuple[str, ...]:
    return tuple(draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True)))


@st.composite
def signal_batches(draw: st.DrawFn, max_size: int = 12) -> SignalBatch:
    """Signals in any order, with and without companions, and texts that need escaping."""
    size = draw(st.integers(0, max_size))
    sessions, symbols = _names(draw), _names(draw)

    def codes(dtype: Any, first: int, last: int) -> Any:
        return draw(arrays(dtype, size, elements=st.integers(first, last)))

    companion = codes(np.int32, -1, len(symbols) - 1)
    absent = companion < 0
    # A batch of before has none of these.
    kind = draw(st.none() | arrays(np.int8, size, elements=st.integers(0, len(KINDS) - 1)))
    touched_at = draw(st.none() | _times(size, missing=True))
    return SignalBatch(
        exchange="XNSE",
        trading_date=DAY,
        sessions=sessions,
        symbols=symbols,
        session=codes(np.int32, 0, len(sessions) - 1),
        symbol=codes(np.int32, 0, len(symbols) - 1),
        side=codes(np.int8, 0, 1),
        number=codes(np.int32, 1, 3),
        ts=draw(_times(size)),
        known_at=draw(_times(size)),
        price=draw(_floats(size)),
        level=draw(_floats(size)),
        companion=companion,
        companion_price=np.where(absent, np.nan, draw(_floats(size))),
        companion_ts=np.where(absent, NO_TIME, draw(_times(size))),
        gap=codes(np.bool_, 0, 1),
        ambiguous=codes(np.bool_, 0, 1),
        complete=codes(np.bool_, 0, 1),
        backfilled=codes(np.bool_, 0, 1),
        kind=kind,
        touched_at=touched_at,
        touch_excess=draw(st.none() | _floats(size, missing=True)),
        closed_beyond_at=draw(st.none() | _times(size, missing=True)),
    )


@st.composite
def levels(draw: st.DrawFn) -> Levels:
    symbols = _names(draw)
    size = len(symbols)
    return Levels(
        symbols=symbols,
        high=draw(_floats(size, missing=True)),
        low=draw(_floats(size, missing=True)),
        count=draw(arrays(np.int64, size, elements=st.integers(0, 10**12))),
        first_ts=draw(_times(size, missing=True)),
        last_ts=draw(_times(size, missing=True)),
        complete=draw(arrays(np.bool_, size)),
    )


@st.composite
def documents(draw: st.DrawFn) -> SessionDocument:
    return SessionDocument(
        exchange="XNSE",
        trading_date=DAY,
        session_name=draw(TEXTS),
        start_time="09:30",
        end_time="09:35",
        status=draw(st.sampled_from(["PENDING", "ACTIVE", "COMPLETED", "SKIPPED"])),
        created_at=draw(TIMES),
        updated_at=draw(TIMES),
        started_at=draw(st.none() | TIMES),
        completed_at=draw(st.none() | TIMES),
        reason=draw(st.none() | TEXTS),
        levels=draw(st.none() | levels()),
        breakouts_checked=draw(st.booleans()),
    )


def chosen(batch: SignalBatch, rows: Any) -> SignalBatch:
    """Some of a batch's signals, by mask or positions."""
    return replace(
        batch,
        **{
            name: value[rows]
            for name, value in vars(batch).items()
            if isinstance(value, np.ndarray)
        },
    )


def some_signals(size: int, seed: int = 0) -> SignalBatch:
    """Ordinary signals of two sessions and three symbols, without companions."""
    rng = np.random.default_rng(seed)
    ts = OPEN_NS + rng.integers(0, 375, size) * MINUTE_NS
    return SignalBatch(
        exchange="XNSE",
        trading_date=DAY,
        sessions=("Morning Opening", "Lunch Break"),
        symbols=("NIFTY", "BANKNIFTY", "ABB"),
        session=rng.integers(0, 2, size, dtype=np.int32),
        symbol=rng.integers(0, 3, size, dtype=np.int32),
        side=rng.integers(0, 2, size, dtype=np.int8),
        number=np.ones(size, dtype=np.int32),
        ts=ts,
        known_at=ts + MINUTE_NS,
        price=np.round(rng.uniform(100, 200, size), 2),
        level=np.round(rng.uniform(100, 200, size), 2),
        companion=np.full(size, -1, dtype=np.int32),
        companion_price=np.full(size, np.nan),
        companion_ts=np.full(size, NO_TIME),
        gap=rng.random(size) < 0.5,
        ambiguous=rng.random(size) < 0.5,
        complete=rng.random(size) < 0.5,
        backfilled=rng.random(size) < 0.5,
    )


def some_bars(minutes: int, size: int, start_ns: int = OPEN_NS) -> DerivedBars:
    """Bars of one symbol."""
    price = np.linspace(100.0, 101.0, size)
    return DerivedBars(
        interval_minutes=minutes,
        symbols=("NIFTY", "BANKNIFTY", "ABB"),
        symbol=np.zeros(size, dtype=np.int32),
        ts=start_ns + np.arange(size, dtype=np.int64) * minutes * MINUTE_NS,
        open=price,
        high=price + 0.5,
        low=price - 0.5,
        close=price,
        volume=np.full(size, 10.0),
    )


SYMBOLS = ("NIFTY", "BANKNIFTY", "ABB")


def document(name: str, day: date) -> SessionDocument:
    levels = Levels(
        symbols=SYMBOLS,
        high=np.array([101.0, np.nan, 7.5]),
        low=np.array([100.0, np.nan, 7.25]),
        count=np.array([6, 0, 5]),
        first_ts=np.full(3, OPEN_NS),
        last_ts=np.full(3, OPEN_NS + 5 * MINUTE_NS),
        complete=np.array([True, False, False]),
    )
    return SessionDocument(
        exchange="XNSE",
        trading_date=day,
        session_name=name,
        start_time="09:30",
        end_time="09:35",
        status="COMPLETED",
        created_at=MarketTime(OPEN_NS),
        updated_at=MarketTime(OPEN_NS),
        levels=levels,
    )


def day_result(
    number: int = 0, signals: int = 40, bars: int = 6, bad: tuple[BadRow, ...] = ()
) -> DayResult:
    day = DAY + timedelta(days=number)
    batch = replace(some_signals(signals, seed=number), trading_date=day)
    half = signals // 2
    start = OPEN_NS + number * 1440 * MINUTE_NS
    none = np.zeros(3, dtype=np.int64)
    return DayResult(
        trading_date=day,
        symbols=SYMBOLS,
        documents=(document("Morning Opening", day), document("Lunch Break", day)),
        signals=(chosen(batch, slice(half, None)), chosen(batch, slice(half))),
        bars={5: (some_bars(5, bars, start),), 15: (some_bars(15, bars // 3, start),)},
        quality=Quality(
            trading_date=day,
            symbols=("NIFTY", 'BANK "X", Y', "ABB"),
            expected=np.full(3, 375),
            actual=np.array([375, 374, 0]),
            gaps=none,
            missing=np.array([0, 1, 375]),
            out_of_order=none,
            late=none,
            duplicates=none,
            outside_hours=none,
            bad_rows=none,
        ),
        bad=bad,
    )
