"""The screen: what it leaves out comes to nothing, and it looks for no less than one made anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from openbell.market.bars import RowBatch
from openbell.market.breakouts import Armed, BreakRules, armed, find_breaks
from openbell.market.days import MINUTE_NS, Segment, TradingDay
from openbell.market.followups import Following, followed_up, follows, nothing_follows
from openbell.market.results import Levels
from openbell.market.screening import Screen, Watched, concerned, rescreened, screen
from openbell.runtime.record.codec import encode

DAY = TradingDay(date(1970, 1, 1), "UTC", (Segment(0, 60 * MINUTE_NS),))
SYMBOLS = ("A", "B", "C")

RULES = st.builds(
    BreakRules,
    confirm=st.sampled_from(("close", "touch")),
    check=st.sampled_from(("continuous", "continuous", "once")),
    sides=st.sampled_from(("both", "both", "high", "low")),
    inside_bars=st.sampled_from((0, 0, 1, 2)),
    rearms_max=st.sampled_from((None, 1)),
    closed_beyond=st.booleans(),
    retest_bars=st.sampled_from((0, 0, 1, 3)),
    retest_tolerance=st.sampled_from((0.0, 1.0)),
)
PRICE = st.sampled_from((97.0, 99.0, 100.0, 101.0, 103.0))


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[Armed], list[BreakRules]]:
    rules = draw(st.lists(RULES, min_size=1, max_size=4))
    count = np.ones(len(SYMBOLS), np.int64)
    found = []
    for of in rules:
        low, high = np.sort([[draw(PRICE), draw(PRICE)] for _ in SYMBOLS], axis=1).T.astype(float)
        levels = Levels(SYMBOLS, high, low, count, count, count, count > 0)
        found.append(armed(levels, draw(st.integers(0, 3)) * MINUTE_NS, of))
    return found, rules


@st.composite
def batches(draw: st.DrawFn) -> list[RowBatch]:
    found: list[RowBatch] = []
    for number in range(draw(st.integers(1, 8))):
        n = draw(st.integers(0, 4))
        code = np.array([draw(st.integers(0, 2)) for _ in range(n)], np.int32)
        ts = np.array([number * MINUTE_NS] * n, np.int64)
        columns = [np.array([draw(PRICE) for _ in range(n)]) for _ in range(2)]
        high, low = np.maximum(*columns), np.minimum(*columns)
        close = np.array([draw(PRICE) for _ in range(n)])  # which may lie outside
        rows = RowBatch(
            DAY, SYMBOLS, MINUTE_NS, code, ts, ts + MINUTE_NS, columns[0], high, low, close, high
        )
        found.append(rows)
    return found


@settings(max_examples=60)
@given(found=windows(), rows=batches())
def test_what_the_screen_leaves_out_changes_nothing(
    found: tuple[list[Armed], list[BreakRules]], rows: list[RowBatch]
) -> None:
    levels, rules = found
    waits: list[Following | None] = [
        nothing_follows(len(SYMBOLS)) if follows(of) else None for of in rules
    ]
    kept = screen(levels, rules, waits)
    left_out, followed, now = 0, 0, 0
    for batch in rows:
        late = [n for n, until in enumerate(kept.until_ns) if len(batch) and until < batch.known[0]]
        as_are = {n: ((levels[n], waits[n]),) * 2 for n in late}
        if late:
            kept = rescreened(kept, as_are, rules, int(batch.known[0]))
        which, changes = concerned(kept, batch), dict[int, tuple[Watched, Watched]]()
        for place, of in enumerate(rules):
            before, waited = levels[place], waits[place]
            after, breaks = find_breaks(before, batch, of)
            waits_now, more = waited, None
            if waited is not None:
                waits_now, more = followed_up(waited, before, batch, of, breaks)
            if which is None or not which[place]:
                left_out += 1
                assert breaks is None
                assert more is None
                assert encode((after, waits_now)) == encode((before, waited))
            else:
                levels[place], waits[place] = after, waits_now
                changes[place] = (before, waited), (after, waits_now)
            followed += more is not None
        now = int(batch.known[-1]) if len(batch) else now
        kept = rescreened(kept, changes, rules, now)
        anew = screen([replace(each, limit=None) for each in levels], rules, waits, now)
        assert looser(kept, anew)
    event(f"{min(left_out // 5 * 5, 10)} left out or more")
    event(f"{min(followed, 2)} followed or more")


def looser(kept: Screen, anew: Screen) -> bool:
    """The same, but for returns that have come too late since, which may still be looked for."""
    names = ("attentive", "heeded", "all_looked")
    if not all(np.array_equal(getattr(kept, name), getattr(anew, name)) for name in names):
        return False
    high = np.where(np.isnan(anew.aims[0]), np.inf, anew.aims[0])
    low = np.where(np.isnan(anew.aims[1]), -np.inf, anew.aims[1])
    return bool(
        (np.where(np.isnan(kept.aims[0]), np.inf, kept.aims[0]) <= high).all()
        and (np.where(np.isnan(kept.aims[1]), -np.inf, kept.aims[1]) >= low).all()
    )
