"""What one symbol's prices did at a session's levels: breaks, touches that were refused and by which
rule, and the nearest miss.

Found with the same function as breaks themselves are, so that it can't tell another story.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np

from openbell.market.bars import Mask, Positions, Prices, RowBatch
from openbell.market.breakouts import Armed, BreakRules, Breaks, find_breaks, limit_of, tick_of
from openbell.market.conditions import CONDITIONS, Condition
from openbell.market.prices import limits, rounded
from openbell.market.results import HIGH_BREAK, LOW_BREAK
from openbell.market.volumes import is_enough

Break = Literal["HIGH_BREAK", "LOW_BREAK"]
_NAMES: tuple[Break, Break] = ("HIGH_BREAK", "LOW_BREAK")

Rule = Literal[
    "symbols",
    "sides",
    "on_incomplete",
    "min_range",
    "max_range",
    "direction",
    "once",
    "strict",
    "buffer",
    "close",
    "reported",
    "revised",
    "rearm",
    "max",
    "valid_until",
    "volume",
    "history",
]
"""Why a touch is no signal. `symbols`: nobody follows this symbol's breaks, it is a companion;
`sides`: nor this side's; `once`: only the first price after the session counts; `strict`: equal to
the level is not beyond it; `buffer`: beyond the level, not beyond the buffer too; `close`: beyond
during the bar, not at its close; `reported`: the side has had its one signal; `revised`: it has had
one, and a bar that takes the place of an earlier one brings no other; `rearm`: too few
closes in a row came back inside since the last one; `max`: it was watched again as often as may
be; `valid_until`: known too late; `volume`: too little had traded; the session's `on_incomplete`,
`min_range`, `max_range`, `direction`: these levels have no breaks; `history`: rows of before had not
come when this one was looked at."""


Reported = tuple[Mask, Mask]


@dataclass(frozen=True, slots=True)
class Point:
    """A row that mattered."""

    ts_ns: int
    """The bar's start or the tick's time."""
    known_ns: int
    price: float
    """Of a touch the bar's high or low, of a miss what had to be beyond; of a tick its price."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Touches of a side's level that one rule refused; a touch reaches the level or goes beyond."""

    rule: Rule
    rows: int
    first: Point
    furthest: Point
    last: Point
    inside: int | None = None
    """Of `rearm`: so many closes in a row had come back inside before the last of them."""
    volume: tuple[float, float] | None = None
    """Of `volume`: what had traded, and the average, where that was the most by its measure; NaN
    where it is not known."""


@dataclass(frozen=True, slots=True)
class Miss:
    """The nearest that a side's prices came to the threshold, none of them beyond it."""

    point: Point
    distance: float
    """Price still lacking to the threshold, which itself is no break; 0: it was reached exactly."""
    percent: float | None
    """The same, of the threshold; None where that is 0."""


@dataclass(frozen=True, slots=True)
class Side:
    """What came of one side of a session's levels."""

    side: Break
    level: float | None
    threshold: float | None
    """What a price has to be beyond: the level with its buffer."""
    refused: tuple[Refused, ...]
    """In the order of their first rows."""
    nearest: Miss | None
    """None where it broke, or would have but for volume or time, where nobody watched it, or there was
    no row to look at."""
    looked_at: int
    """Rows after the session."""
    barred: Condition | None = None
    """What refused all breaks of this side when its session was over."""
    breaks: tuple[Point, ...] = ()
    """Rows that broke it, whoever was told; of each what lay beyond."""


Traded = tuple[Prices, Prices]
"""(n,) what had traded in the minute of each row, and the average that it is held against."""


def sides(
    state: Armed,
    rows: RowBatch,
    rules: BreakRules,
    reported: Reported | None = None,
    traded: Traded | None = None,
) -> tuple[Side, Side]:
    """What came of a symbol's levels.

    Parameters
    ----------
    state : Armed
        Of one symbol, as it stood when the session was over.
    rows : RowBatch
        The symbol's rows since then in the order in which they came, none of them `by_time`.
    reported : pair of (n,) bool, optional
        Which of these rows were reported as breaks, high side first; None: those that break by the
        rules. They may be others where rows of before came late and nothing was decided again.
    traded : pair of (n,) float64, optional
        Needed where the rules ask for volume.
    """
    enough = _enough(rules, traded)
    if reported is None:
        _, found = find_breaks(state, rows, rules, enough)
        reported = _breaks(rows, HIGH_BREAK, found), _breaks(rows, LOW_BREAK, found)
    high, low = (
        _side(state, rows, rules, side, reported[side], traded) for side in (HIGH_BREAK, LOW_BREAK)
    )
    return high, low


def _enough(rules: BreakRules, traded: Traded | None) -> Mask | None:
    if rules.volume is None or traded is None:
        return None
    return is_enough(*traded, rules.volume.times)


def _breaks(rows: RowBatch, side: int, found: Breaks | None) -> Mask:
    broke = np.zeros(len(rows), np.bool_)
    if found is not None:
        # Turns count over all of the rows given, also those before the session's end.
        broke[found.turn[found.side == side]] = True
    return broke


def _side(
    state: Armed,
    rows: RowBatch,
    rules: BreakRules,
    side: int,
    reported: Mask,
    traded: Traded | None,
) -> Side:
    since = np.flatnonzero(rows.ts >= state.from_ns)
    level, threshold = float(state.level[side, 0]), float(state.threshold[side, 0])
    if np.isnan(level):
        return Side(_NAMES[side], None, None, (), None, len(since))
    extreme = (rows.high if side == HIGH_BREAK else rows.low)[since]
    confirming = rows.close[since] if rules.confirm == "close" else extreme
    broke = reported[since]
    refused = _refused(state, rows, rules, side, since, broke, traded)
    beyond = any(of.rule in ("valid_until", "volume") for of in refused)
    nearest = None
    if state.watched[side, 0] and not broke.any() and not beyond and len(since):
        counted = confirming[:1] if rules.check == "once" else confirming
        limit = limit_of(state, rules)[side, 0]
        short = np.flatnonzero(~_beyond(counted, limit, side))
        if len(short):
            at = short[counted[short].argmax() if side == HIGH_BREAK else counted[short].argmin()]
            distance = _lacking(float(counted[at]), threshold, side)
            percent = 100 * distance / abs(threshold) if threshold else None
            nearest = Miss(_point(rows, int(since[at]), float(counted[at])), distance, percent)
    barred = _verdict(state, side)
    breaks = tuple(
        _point(rows, int(since[at]), float(confirming[at])) for at in np.flatnonzero(broke)
    )
    return Side(_NAMES[side], level, threshold, refused, nearest, len(since), barred, breaks)


def _beyond(price: Prices, bound: float, side: int) -> Mask:
    return price > bound if side == HIGH_BREAK else price < bound


def _lacking(price: float, threshold: float, side: int) -> float:
    lacking = threshold - price if side == HIGH_BREAK else price - threshold
    size = max(abs(threshold), abs(price))
    return max(0.0, float(rounded(np.array([lacking]), np.array([size]))[0]))


def _point(rows: RowBatch, at: int, price: float) -> Point:
    return Point(int(rows.ts[at]), int(rows.known[at]), price)


def _refused(
    state: Armed,
    rows: RowBatch,
    rules: BreakRules,
    side: int,
    since: Positions,
    broke: Mask,
    traded: Traded | None,
) -> tuple[Refused, ...]:
    enough = _enough(rules, traded)
    outward = 1.0 if side == HIGH_BREAK else -1.0
    level = state.level[side]
    extreme = (rows.high if side == HIGH_BREAK else rows.low)[since]
    close = rows.close[since]
    limit = limit_of(state, rules)[side, 0]
    # Numbers that mean the level's price lie between these two.
    tick = tick_of(state, rules)
    least = limits(level, np.array([-outward]), tick)[0]
    most = limits(level, np.array([outward]), tick)[0]

    touched = (extreme >= least if side == HIGH_BREAK else extreme <= least) & ~broke
    over = np.cumsum(broke)
    confirmed = _beyond(close if rules.confirm == "close" else extreme, limit, side)
    always = np.ones(len(extreme), np.bool_)
    # A touch is refused by the first of these that applies.
    by_rule: list[tuple[Rule, Mask]] = []
    if rules.sides not in ("both", ("high", "low")[side]):
        by_rule.append(("sides", always))
    elif (condition := _verdict(state, side)) is not None:
        by_rule.append((condition, always))
    elif not state.watched[side, 0]:
        by_rule.append(("symbols", always))
    if rules.check == "once":
        by_rule.append(("once", np.arange(len(extreme)) > 0))
    elif not rules.inside_bars:
        by_rule.append(("reported", over > 0))
    else:
        if rules.rearms_max is not None:
            by_rule.append(("max", over > rules.rearms_max))
        if rows.revises is not None:
            by_rule.append(("revised", rows.revises[since] & (over > 0)))
        by_rule.append(("rearm", _waiting(state, rows, rules, side, since, broke, enough)))
    by_rule.append(("strict", ~_beyond(extreme, most, side)))
    by_rule.append(("buffer", ~_beyond(extreme, limit, side)))
    by_rule.append(("close", ~confirmed))
    if state.until_ns is not None:
        by_rule.append(("valid_until", rows.known[since] > state.until_ns))
    if enough is not None:
        by_rule.append(("volume", ~enough[since]))
    by_rule.append(("history", always))

    found = []
    left = touched
    for rule, applies in by_rule:
        at = np.flatnonzero(left & applies)
        left = left & ~applies
        if not len(at):
            continue
        prices = extreme[at]
        far = int(prices.argmax() if side == HIGH_BREAK else prices.argmin())
        inside = None
        if rule == "rearm":
            stop = int(since[at[-1]])
            before, _ = find_breaks(state, rows.rows(0, stop), rules, _cut(enough, 0, stop))
            inside = int(before.inside[side, 0])
        first, furthest, last = (
            _point(rows, int(since[place]), float(extreme[place]))
            for place in (at[0], at[far], at[-1])
        )
        volume = _most(traded, since[at]) if rule == "volume" and traded is not None else None
        found.append(Refused(rule, len(at), first, furthest, last, inside, volume))
    return tuple(sorted(found, key=lambda r: (r.first.known_ns, r.first.ts_ns)))


def _verdict(state: Armed, side: int) -> Condition | None:
    """What refused all breaks of a side when its session was over."""
    refused = 0 if state.verdict is None else int(state.verdict.refused[side, 0])
    return CONDITIONS[refused - 1] if refused else None


def _cut(mask: Mask | None, start: int, stop: int) -> Mask | None:
    return None if mask is None else mask[start:stop]


def _most(traded: Traded, at: Positions) -> tuple[float, float]:
    """Of some rows the volume that was the most, by its average where that is known."""
    volume, average = (column[at] for column in traded)
    known = np.isfinite(average) & (average > 0) & ~np.isnan(volume)
    by = np.divide(volume, average, out=np.full(len(at), -1.0), where=known)
    best = int(by.argmax())
    return float(volume[best]), float(average[best])


def _waiting(
    state: Armed,
    rows: RowBatch,
    rules: BreakRules,
    side: int,
    since: Positions,
    broke: Mask,
    enough: Mask | None,
) -> Mask:
    """(n,) of the rows since the session, those that came before their side was watched again.

    From one break to the next it is not watched up to some row and is from there on: that row is
    found by bisection, with the function that finds breaks.
    """
    waiting = np.zeros(len(since), np.bool_)
    breaks = np.flatnonzero(broke)
    came = 0
    ends = [*breaks[1:].tolist(), len(since)]
    for at, until in zip(breaks.tolist(), ends, strict=False):
        first = int(since[at]) + 1
        state, _ = find_breaks(state, rows.rows(came, first), rules, _cut(enough, came, first))
        came = first

        def watched(row: int, state: Armed = state, first: int = first) -> bool:
            stop = int(since[row])
            after, _ = find_breaks(state, rows.rows(first, stop), rules, _cut(enough, first, stop))
            return bool(after.watched[side, 0])

        again = at + 1 + bisect_left(range(at + 1, until), True, key=watched)
        waiting[at + 1 : again] = True
    return waiting
