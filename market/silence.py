"""Who is silent: of a feed, and of each of its symbols, judged by the rows that came.

Silence is what lies between the last row that was newer than all before it and now, as far as
there was trading: it begins with a segment's open at the earliest. How long is too long depends on
how often rows use to come: of today, and of the days before while today has shown little.

All of it is a function of the rows and the instants at which they came. So it does not matter when
somebody looks, nor how rows that came at one instant are cut into batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from openbell.market.bars import Codes, Mask, Positions
from openbell.market.days import (
    DAY_NS,
    EPOCH,
    MINUTE_NS,
    SECOND_NS,
    MarketTime,
    Nanoseconds,
    Segment,
    TradingDay,
)
from openbell.market.history import History
from openbell.market.products import OwnHours, edges
from openbell.market.results import NO_TIME, Counts

NEVER = np.int64(2**62)
"""Longer than any day: of whom nothing is known."""

FEED_NS = 15 * SECOND_NS
"""A feed that has been silent for less is not suspected, however often rows come."""

UNKNOWN_GAP_NS = 30 * SECOND_NS
"""What lies between two rows of whom nothing is known: counted like one gap that was seen."""

LITTLE = 20
"""So many rows tell of today what days before need not tell."""

LONGEST_TIMES, FEED_LONGEST_TIMES = 4.0, 2.5
"""How many times the day's longest gap. Of gaps that chance spreads, the next after n is longer than
c times the longest of them about once in n ** c / c! cases; symbols are many, and quieter at noon."""

BEFORE_TIMES = 2.0
"""How many times the longest gap of the days before, which are many hours."""

UNLOOKED_NS = 10 * SECOND_NS
"""Who looks so much later than was due did not listen meanwhile: a process was down, or stopped."""

Stage = Literal["suspect", "reconnect", "timeout", "give up"]
"""What follows from a feed's silence, as it goes on: rows are asked for anew; the connection is made
anew; the day is in TIMEOUT; whoever runs it is told that it does not come back by itself."""


@dataclass(frozen=True, slots=True)
class SilenceRules:
    """How long silence is at least before anything follows from it."""

    timeout_ns: int
    """Of the feed, after which the day is in TIMEOUT, whatever is usual."""
    suspect_ns: int | None = None
    """Of the feed, after which it is suspected; None: by what is usual, and `FEED_NS` at least."""
    symbol_ns: int = MINUTE_NS
    """Of a symbol, at least; what is usual may be longer."""
    interval_ns: int | None = None
    """Length of a bar, None for ticks."""

    @property
    def soonest_ns(self) -> int:
        """Nothing follows from less."""
        suspect = FEED_NS if self.suspect_ns is None else self.suspect_ns
        return min(suspect, self.symbol_ns, self.timeout_ns)


@dataclass(frozen=True, eq=False)
class Listening:
    """What a day's rows tell of silence. Arrays (s + 1,): each symbol's, then the feed's as a whole."""

    newest: Nanoseconds
    """The latest `ts` that came, NO_TIME before the first."""
    at_ns: Nanoseconds
    """When, by the host's clock, something newer came last; NO_TIME before."""
    times: Counts
    """At how many instants something newer came."""
    longest: Nanoseconds
    """The longest gap before one of them, inside a segment; 0 where none was."""
    total: Nanoseconds
    """All gaps."""
    before: Nanoseconds
    """How long silence is at most after what came on the days before, NEVER where nothing did."""
    silent: Mask
    """(s,) who is known to be silent."""
    halted: Mask
    """(s,) whose silence is explained."""
    since_ns: MarketTime = EPOCH
    """What lies before is no silence: nobody listened, or the feed as a whole was silent."""
    begun_ns: MarketTime = EPOCH
    """Where the feed's silence began from which `stages` have followed."""
    stages: int = 0
    look_ns: MarketTime | None = None
    """When to look next; None: not before a row comes."""

    @property
    def feed_is_silent(self) -> bool:
        return self.stages > 0


@dataclass(frozen=True, eq=False, slots=True)
class Verdict:
    """What a look has brought out."""

    stages: tuple[Stage, ...]
    """What is due by now of what follows from the feed's silence."""
    silent_since_ns: MarketTime
    """Of the feed."""
    symbols: Positions
    """Who of the symbols has turned silent."""


def begun(
    symbols: int, before: Nanoseconds | None = None, since_ns: MarketTime = EPOCH
) -> Listening:
    """Before a day's first row; `before` is as `usual_before` gives it."""
    n = symbols + 1
    return Listening(
        newest=np.full(n, NO_TIME, np.int64),
        at_ns=np.full(n, NO_TIME, np.int64),
        times=np.zeros(n, np.int64),
        longest=np.zeros(n, np.int64),
        total=np.zeros(n, np.int64),
        before=np.full(n, NEVER) if before is None else before,
        silent=np.zeros(symbols, np.bool_),
        halted=np.zeros(symbols, np.bool_),
        since_ns=since_ns,
    )


def usual_before(history: History, symbols: Sequence[str], interval_ns: int | None) -> Nanoseconds:
    """How long silence is at most after what the days before had, symbol by symbol and in all.

    Parameters
    ----------
    history : History
        Of which the minutes with a row, and those that were expected, are looked at.
    symbols : sequence of str
        The day's register, s symbols.

    Returns
    -------
    (s + 1,) int64, ns
        NEVER where the days before had no row.
    """
    place = {symbol: n for n, symbol in enumerate(history.symbols)}
    with_rows, expected = np.zeros(len(symbols)), np.zeros(len(symbols))
    ours = np.array([place.get(symbol, -1) for symbol in symbols], np.intp)
    known = ours >= 0
    for day in history.days:
        with_rows[known] += day.actual[ours[known]]
        expected[known] += day.expected[ours[known]]
    # A share of minutes with a row, never all: rows by chance at this rate leave so many without.
    share = (np.minimum(with_rows, expected) + 0.5) / (expected + 1.0)
    rate = -np.log1p(-share)
    rate[with_rows == 0] = 0.0
    rates = np.append(rate, rate.sum())
    minutes = np.append(expected, expected.max(initial=0.0))
    longest = np.full(len(rates), np.inf)
    some = rates > 0
    longest[some] = np.maximum(np.log1p(minutes[some]) / rates[some] * MINUTE_NS, interval_ns or 0)
    return np.where(some, np.minimum(BEFORE_TIMES * longest, float(NEVER)), NEVER).astype(np.int64)


def heard(
    listening: Listening,
    rules: SilenceRules,
    day: TradingDay,
    code: Codes,
    ts: Nanoseconds,
    host_ns: MarketTime,
    own: OwnHours | None = None,
) -> tuple[Listening, Positions, bool]:
    """Further rows, which came at an instant of the host's clock.

    Parameters
    ----------
    code, ts : (n,)
        Usable rows inside the hours, in any order.
    own : OwnHours, optional
        What of the day is each symbol's own; None: all have the day's hours.

    Returns
    -------
    listening : Listening
    back : (k,) positions
        Symbols that were silent and have a newer row.
    feed_is_back : bool
        Whether the feed was silent and has one.
    """
    if len(ts) == 0:
        return listening, _NOBODY, False
    feed = len(listening.silent)
    newest = listening.newest.copy()
    np.maximum.at(newest, code, ts)
    newest[feed] = max(int(newest[feed]), int(ts.max()))
    moved = np.flatnonzero(newest > listening.newest)
    if not len(moved):
        return listening, _NOBODY, False
    listening = _looked(listening, host_ns)
    first = moved[listening.at_ns[moved] < host_ns]
    back = first[first < feed]
    back = back[listening.silent[back]]
    feed_is_back = listening.feed_is_silent and bool(moved[-1] == feed)
    at_ns, times, total = listening.at_ns.copy(), listening.times.copy(), listening.total.copy()
    at_ns[first] = host_ns
    times[first] += 1
    longest = listening.longest
    if not listening.feed_is_silent:  # what lies before is no gap of theirs
        opens, _ = _spans(day, own, host_ns, feed)
        base = np.maximum(opens[first], listening.since_ns)
        gap = np.maximum(host_ns - np.maximum(listening.at_ns[first], base), 0)
        if len(back):
            # It may have been no failure. So much is believed that the next time takes twice as long.
            believed = (patience(listening, rules)[back] / LONGEST_TIMES * 2).astype(np.int64)
            told = first.searchsorted(back)
            gap[told] = np.minimum(gap[told], believed)
        total[first] += gap
        longest = longest.copy()
        longest[first] = np.maximum(longest[first], gap)
    elif feed_is_back and listening.stages == 1:
        # It came back by itself: it may be quiet by its nature, and is given half as long again.
        longest = longest.copy()
        half_again = int(patience(listening, rules)[feed] / FEED_LONGEST_TIMES * 1.5)
        longest[feed] = max(int(longest[feed]), half_again)
    silent = listening.silent
    if len(back):
        silent = silent.copy()
        silent[back] = False
    listening = replace(
        listening,
        newest=newest,
        at_ns=at_ns,
        times=times,
        longest=longest,
        total=total,
        silent=silent,
    )
    if feed_is_back:
        listening = replace(listening, since_ns=host_ns, begun_ns=EPOCH, stages=0)
    return listening, back, feed_is_back


def judged(
    listening: Listening,
    rules: SilenceRules,
    day: TradingDay,
    now_ns: MarketTime,
    own: OwnHours | None = None,
) -> tuple[Listening, Verdict]:
    """A look at an instant of the host's clock: what has become due, and when to look next.

    Who is outside of its own hours is not silent.
    """
    listening = _looked(listening, now_ns)
    opens, closes = _spans(day, own, now_ns, len(listening.silent))
    usual = _patience_at(listening, rules, now_ns, opens, closes)
    stages = _stages(int(usual[-1]), rules.timeout_ns)
    base = np.maximum(listening.at_ns, np.maximum(opens, listening.since_ns))
    feed_base = MarketTime(int(base[-1]))
    trades = bool(opens[-1] <= now_ns < closes[-1])
    # In a break nothing begins anew: whether somebody looks then must decide nothing.
    if feed_base != listening.begun_ns and (trades or now_ns >= closes[-1]):
        listening = replace(listening, begun_ns=feed_base, stages=0)
    due: tuple[Stage, ...] = ()
    symbols = _NOBODY
    if trades:
        if not _explained(listening):
            passed = sum(after <= now_ns - feed_base for after, _ in stages)
            due = tuple(stage for _, stage in stages[listening.stages : passed])
            listening = replace(listening, stages=max(passed, listening.stages))
        if not listening.feed_is_silent:
            over = ((base + usual) <= now_ns) & (opens <= now_ns) & (now_ns < closes)
            symbols = np.flatnonzero(over[:-1] & ~listening.silent & ~listening.halted)
            if len(symbols):
                silent = listening.silent.copy()
                silent[symbols] = True
                listening = replace(listening, silent=silent)
    look_ns = _next_look(listening, rules, day, now_ns, own)
    return replace(listening, look_ns=look_ns), Verdict(due, feed_base, symbols)


def patience(listening: Listening, rules: SilenceRules) -> Nanoseconds:
    """(s + 1,) how long silence is at most after what came so far, ns."""
    n = listening.times
    mean = (listening.total + UNKNOWN_GAP_NS) / (n + 1)
    times = np.full(len(n), LONGEST_TIMES)
    times[-1] = FEED_LONGEST_TIMES
    # Few gaps say little of how long one may be: one, 22 times itself at least, ten, six times.
    usual = np.maximum(times * listening.longest, mean * (2.0 + 40.0 / (n + 1)))
    usual = np.where(n < LITTLE, np.minimum(usual, listening.before), usual)
    interval = rules.interval_ns or 0
    usual = np.maximum(usual, max(rules.symbol_ns, interval * 5 // 2))
    whole = usual.astype(np.int64)
    if rules.suspect_ns is not None:
        whole[-1] = rules.suspect_ns
    else:
        of_feed = mean[-1] * (2.0 + 40.0 / (n[-1] + 1))
        of_feed = max(of_feed, FEED_LONGEST_TIMES * listening.longest[-1])
        if n[-1] < LITTLE:
            of_feed = min(of_feed, float(listening.before[-1]))
        whole[-1] = max(int(of_feed), FEED_NS + 2 * interval)
    return whole


def halted(listening: Listening, symbols: Positions, now_ns: MarketTime, *, on: bool) -> Listening:
    """Trading in symbols is halted, which explains their silence, or goes on."""
    of, silent, at_ns = listening.halted.copy(), listening.silent.copy(), listening.at_ns.copy()
    of[symbols] = on
    silent[symbols] = False
    if not on:  # from here on they are listened to
        at_ns[symbols] = np.maximum(at_ns[symbols], now_ns)
        everybody = _explained(listening)
        if everybody:
            at_ns[-1] = max(int(at_ns[-1]), now_ns)
    return replace(listening, halted=of, silent=silent, at_ns=at_ns)


def soon(listening: Listening, rules: SilenceRules, host_ns: MarketTime) -> MarketTime | None:
    """When to look after rows, if that is before the look that is due: rows may have shown that
    less silence is usual than was known. None: it isn't."""
    at_ns = MarketTime(host_ns + rules.soonest_ns)
    return at_ns if listening.look_ns is None or at_ns < listening.look_ns else None


_NOBODY: Positions = np.zeros(0, np.intp)


def _looked(listening: Listening, now_ns: MarketTime) -> Listening:
    """Where nobody looked when it was due, nobody listened: silence begins now."""
    if listening.look_ns is None or now_ns <= listening.look_ns + UNLOOKED_NS:
        return listening
    return replace(listening, since_ns=now_ns, begun_ns=EPOCH, stages=0, look_ns=None)


def _explained(listening: Listening) -> bool:
    """Whether all that could come is halted."""
    return bool(listening.halted.all())


def _spans(
    day: TradingDay, own: OwnHours | None, at_ns: int, symbols: int
) -> tuple[Nanoseconds, Nanoseconds]:
    """(s + 1,) open and close of each symbol's segment, and of the feed's, that is under way or the
    next; after the close of the last."""
    if own is None:
        span = _under_way(day.segments, at_ns)
        return _of_all(span.open_ns, span.close_ns, symbols)
    found = [_under_way(segments, at_ns) for segments in (*own.segments, own.together)]
    which = np.append(own.which, len(found) - 1)
    opens = np.array([s.open_ns for s in found], np.int64)
    closes = np.array([s.close_ns for s in found], np.int64)
    return opens[which], closes[which]


def _under_way(segments: Sequence[Segment], at_ns: int) -> Segment:
    return next((s for s in segments if at_ns < s.close_ns), segments[-1])


@lru_cache(maxsize=4)  # asked for with each batch
def _of_all(open_ns: int, close_ns: int, symbols: int) -> tuple[Nanoseconds, Nanoseconds]:
    opens, closes = np.full(symbols + 1, open_ns), np.full(symbols + 1, close_ns)
    opens.flags.writeable = closes.flags.writeable = False
    return opens, closes


def _patience_at(
    listening: Listening,
    rules: SilenceRules,
    at_ns: int,
    opens: Nanoseconds,
    closes: Nanoseconds,
) -> Nanoseconds:
    """As `patience`; a feed is not livelier than the liveliest symbol that trades at an instant."""
    usual = patience(listening, rules)
    trades = ((opens <= at_ns) & (at_ns < closes))[:-1] & ~listening.halted
    if rules.suspect_ns is None and trades.any() and not trades.all():
        usual[-1] = max(int(usual[-1]), int(usual[:-1][trades].min()))
    return usual


def _stages(usual_ns: int, timeout_ns: int) -> list[tuple[int, Stage]]:
    """What follows from a feed's silence, each after how long, ascending."""
    over: list[tuple[int, Stage]]
    if usual_ns <= timeout_ns // 2:
        over = [
            (usual_ns, "suspect"),
            ((usual_ns + timeout_ns) // 2, "reconnect"),
            (timeout_ns, "timeout"),
            (timeout_ns, "give up"),
        ]
    else:  # it is quiet by its nature: what the configuration says comes first
        over = [
            (timeout_ns, "suspect"),
            (timeout_ns, "timeout"),
            (timeout_ns * 3 // 2, "reconnect"),
            (timeout_ns * 2, "give up"),
        ]
    after = over[-1][0] * 2
    while after < DAY_NS:  # ever less often
        over += [(after, "reconnect"), (after, "give up")]
        after *= 2
    return over


def _next_look(
    listening: Listening,
    rules: SilenceRules,
    day: TradingDay,
    now_ns: MarketTime,
    own: OwnHours | None,
) -> MarketTime | None:
    listened = ~listening.silent & ~listening.halted
    ends = [segment.close_ns for segment in day.segments]
    if own is not None:
        ends = sorted(edges(day)[1])
    for at_ns in (now_ns, *(end for end in ends if end > now_ns)):
        opens, closes = _spans(day, own, at_ns, len(listened))
        usual = _patience_at(listening, rules, at_ns, opens, closes)
        base = np.maximum(listening.at_ns, np.maximum(opens, listening.since_ns))
        done = listening.stages if int(base[-1]) == listening.begun_ns else 0
        stages = [] if _explained(listening) else _stages(int(usual[-1]), rules.timeout_ns)
        due = np.array([int(base[-1]) + after for after, _ in stages[done : done + 1]], np.int64)
        due = due[(due < closes[-1]) & (at_ns < closes[-1])]
        if not done:
            others = (base + usual)[:-1]
            some = listened & (at_ns < closes[:-1]) & (others < closes[:-1])
            due = np.append(due, others[some])
        if len(due):
            return MarketTime(max(int(due.min()), now_ns + 1))
    return None
