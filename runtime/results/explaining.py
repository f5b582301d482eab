"""From what a day brought a symbol to why it has its signals: session by session."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from openbell.market.auctions import WORDS, auction_slots
from openbell.market.bars import Mask, RowBatch
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.levels import is_inside
from openbell.market.products import OwnHours, own_hours
from openbell.market.touches import Point, Refused, Side, sides
from openbell.market.windows import SessionSpec, Window, hours_in_words, session_window
from openbell.runtime.config import Config
from openbell.runtime.intake.settings import settings
from openbell.runtime.results.conditions import Conditioned, conditions_in_words
from openbell.runtime.results.explanation import (
    LateRow,
    NearMiss,
    Priced,
    Refusal,
    SessionExplained,
    SideExplained,
    SymbolData,
    Unusable,
)
from openbell.runtime.results.signals import Signal, moment
from openbell.runtime.results.witness import Witness


def from_rows(
    witness: Witness,
    config: Config,
    reached_ns: int,
    signals: Collection[Signal],
    wanted: str | None = None,
) -> tuple[tuple[SessionExplained, ...], SymbolData]:
    """The sessions of a day that was gone through, and what the symbol's rows were worth.

    Parameters
    ----------
    reached_ns : int
        Market time that the day has come to.
    signals : collection of Signal
        The symbol's, as they are known to users.
    wanted : str, optional
        One session alone.
    """
    specs = settings(config).sessions
    sessions = tuple(
        _session(witness, config, place, specs[place], reached_ns, signals)
        for place in range(len(specs))
        if wanted in (None, specs[place].name)
    )
    return sessions, _data(witness, reached_ns)


def _session(
    witness: Witness,
    config: Config,
    place: int,
    spec: SessionSpec,
    reached_ns: int,
    signals: Collection[Signal],
) -> SessionExplained:
    assert witness.opened is not None
    day, interval_ns = witness.opened.day, witness.opened.interval_ns
    window = session_window(day, spec, interval_ns or MINUTE_NS)
    ruled = rules_in_words(config, place)
    if not isinstance(window, Window):
        return skipped(spec.name, window.reason, ruled)
    rows, passed = witness.rows(), witness.passed()
    if spec.auction is not None:
        rows, passed = witness.in_auctions()
    inside = is_inside(rows, window.start_ns, window.end_ns)
    in_time = rows.taken(inside & (passed < window.end_ns)).standing
    at = np.unique(np.searchsorted(window.slots, in_time.ts, side="right") - 1)
    own = own_hours(day, (witness.symbol,))
    slots = window.slots if own is None else window.slots[own.slots(window.slots)[:, 0]]
    if spec.auction is not None:
        slots = slots[:0]  # no minute of an auction is waited for
    missing = np.setdiff1d(slots, window.slots[at[at >= 0]])
    if (completed := witness.completed.get(spec.name)) is None:
        # A minute that is not over yet lacks nothing.
        missing = missing[missing + (interval_ns or MINUTE_NS) <= reached_ns]
        status = "ACTIVE" if reached_ns >= window.start_ns else "PENDING"
        high = low = None
    else:
        status = "COMPLETED"
        since = witness.rows(completed.before)
        mine = [signal for signal in signals if signal.session == spec.name]
        reported = None
        if witness.filled:
            # Rows of before came late: breaks are not what the rules make of all rows in a row.
            reported = _rows_of(mine, "HIGH_BREAK", since), _rows_of(mine, "LOW_BREAK", since)
        rules = settings(config).rules[place]
        traded = None if rules.volume is None else witness.traded(rules.volume, completed.before)
        found = sides(completed.armed, since, rules, reported, traded)
        told = Conditioned(config, place, completed.armed, witness.unknown, day)
        high, low = (
            _side(side, now, in_time, mine, config, place, told, witness)
            for side, now in zip(found, completed.now, strict=True)
        )
    late = rows.taken(inside & (passed >= window.end_ns))
    return SessionExplained(
        session=spec.name,
        status=status,
        reason=_why_a_part(witness, spec, own, slots, window),
        start=moment(window.start_ns),
        end=moment(window.end_ns),
        rows=len(in_time) if completed is None else completed.count,
        seen=len(slots) - len(missing) if completed is not None else len(at),
        expected=len(slots) if spec.auction is None else None,
        missing=tuple(moment(ns) for ns in missing.tolist()),
        complete=None if completed is None else bool(completed.armed.complete[0]),
        late=tuple(
            LateRow(moment(ts), moment(known), high, low)
            for ts, known, high, low in zip(
                late.ts.tolist(),
                late.known.tolist(),
                late.high.tolist(),
                late.low.tolist(),
                strict=True,
            )
        ),
        **ruled,
        high=high,
        low=low,
    )


def _rows_of(signals: Sequence[Signal], side: str, rows: RowBatch) -> Mask:
    """(n,) which of the rows are those of a side's signals."""
    known = {(s.ts, s.known_at) for s in signals if s.side == side and s.kind == "breakout"}
    found = np.zeros(len(rows), np.bool_)
    if known:
        for at, (ts, when) in enumerate(zip(rows.ts.tolist(), rows.known.tolist(), strict=True)):
            key = moment(ts), moment(when)
            if key in known:
                known.remove(key)
                found[at] = True
    return found


def rules_in_words(config: Config, place: int) -> dict[str, Any]:
    """A session's rules, as fields of `SessionExplained`."""
    rules = config.breakout_for(config.sessions[place])
    return {
        "confirm": rules.confirm,
        "check": rules.check,
        "buffer": str(rules.buffer),
        "rearm": _rearm_in_words(rules.rearm.inside_bars, rules.rearm.max),
        "sides": rules.sides,
        "conditions": conditions_in_words(rules),
    }


def _rearm_in_words(inside_bars: int, rearms_max: int | None) -> str:
    if not inside_bars:
        return "never"
    closes = "1 close" if inside_bars == 1 else f"{inside_bars} closes in a row"
    at_most = "" if rearms_max is None else f", at most {rearms_max} times"
    return f"after {closes} back inside{at_most}"


def skipped(session: str, reason: str | None, ruled: Mapping[str, Any]) -> SessionExplained:
    """A session that had no window on the day."""
    return SessionExplained(
        session, "SKIPPED", reason, None, None, 0, None, None, (), None, (), **ruled, high=None,
        low=None,
    )  # fmt: skip


def _side(
    of: Side,
    now: float,
    inside: RowBatch,
    signals: Sequence[Signal],
    config: Config,
    place: int,
    told: Conditioned,
    witness: Witness,
) -> SideExplained:
    made = None
    if of.level is not None:
        column = inside.high if of.side == "HIGH_BREAK" else inside.low
        at = np.flatnonzero(column == of.level)
        if len(at):
            first = at[np.argmin(inside.ts[at])]
            made = Priced(moment(int(inside.ts[first])), moment(int(inside.known[first])), of.level)
    nearest = None
    if (miss := of.nearest) is not None:
        nearest = NearMiss(_priced(miss.point), miss.distance, miss.percent)
    left_out = tuple(_priced(point) for point in of.breaks if witness.is_left_out(point.known_ns))
    return SideExplained(
        side=of.side,
        level=of.level,
        made=made,
        threshold=of.threshold,
        since_filled=now if of.level is not None and now != of.level else None,
        signals=tuple(signal for signal in signals if signal.side == of.side),
        nearest=nearest,
        refused=tuple(
            _refusal(refused, of, config, place, told, "break" if left_out else "signal")
            for refused in of.refused
        ),
        looked_at=of.looked_at,
        barred=None if of.barred is None else told.why(of.barred),
        left_out=left_out,
    )


def _priced(point: Point) -> Priced:
    return Priced(moment(point.ts_ns), moment(point.known_ns), point.price)


def _refusal(
    of: Refused, side: Side, config: Config, place: int, told: Conditioned, what: str
) -> Refusal:
    rules = config.breakout_for(config.sessions[place])
    needed = rules.rearm.inside_bars
    closes = "1 close" if needed == 1 else f"{needed} closes in a row"
    why = {
        "symbols": "nobody follows this symbol's breaks: it is read as a companion only",
        "sides": f"this side is not watched (breakout.sides is {rules.sides})",
        "once": "only the first price after the session counts (breakout.check is once)",
        "strict": "equal to the level, and only what is beyond it breaks it",
        "buffer": f"beyond the level, but not beyond {side.threshold} "
        f"(breakout.buffer is {rules.buffer})",
        "close": "beyond inside the bar, but not at its close (breakout.confirm is close)",
        "revised": f"it takes the place of an earlier bar, and the side has had a {what}",
        "reported": f"the side has had its one {what} of the day (breakout.rearm is never)",
        "rearm": f"not watched again yet: that takes {closes} back inside since the last {what}, "
        f"and before the last touch there were {of.inside} (breakout.rearm)",
        "history": "rows of before came later, from history, and what was looked at by then is not "
        "decided again",
        "max": f"the side was watched again {rules.rearm.max} times, as often as may be "
        "(breakout.rearm.max)",
    }
    text = why[of.rule] if of.rule in why else told.why(of.rule, of.volume)
    points = (_priced(of.first), _priced(of.furthest), _priced(of.last))
    return Refusal(of.rule, text, of.rows, *points)


def _why_a_part(
    witness: Witness, spec: SessionSpec, own: OwnHours | None, slots: Nanoseconds, window: Window
) -> str | None:
    assert witness.opened is not None
    day = witness.opened.day
    if spec.auction is not None:
        if auction_slots(day, (witness.symbol,), spec.auction, window.slots).any():
            return None
        return f"{witness.symbol} has no {WORDS[spec.auction]} on {day.date}"
    return window.truncated if own is None else _own_part(day, own, slots, window)


def _own_part(day: TradingDay, own: OwnHours, slots: Nanoseconds, window: Window) -> str | None:
    """How the hours, the symbol's own among them, cut a session."""
    if len(slots) == len(window.slots):
        return window.truncated
    hours = hours_in_words(replace(day, segments=own.segments[0], products=(), named=()))
    if not len(slots):
        return f"it lies outside the hours of the symbol on {day.date}, {hours}"
    return f"the hours of the symbol on {day.date} are {hours}, and cut it"


def _data(witness: Witness, reached_ns: int) -> SymbolData:
    assert witness.opened is not None
    place, day = witness.place, witness.opened.day
    starts, ends = day.grid(witness.opened.interval_ns or MINUTE_NS)
    rows = witness.rows()
    seen = np.zeros(len(starts), np.bool_)
    seen[np.searchsorted(starts, rows.ts, side="right") - 1] = True
    expected = ends <= reached_ns
    if (own := own_hours(day, (witness.symbol,))) is not None:
        expected &= own.slots(starts)[:, 0]
    expected |= seen

    def count(name: str) -> int:
        return int(sum(getattr(counts, name)[place] for counts in witness.counts))

    return SymbolData(
        expected=int(expected.sum()),
        actual=int(seen.sum()),
        missing=_runs(day, starts, ends, expected & ~seen),
        duplicates=count("duplicates"),
        outside_hours=count("outside_hours"),
        out_of_order=count("out_of_order"),
        bad_rows=count("bad_rows"),
        bad=tuple(
            Unusable(bad.file, bad.row, moment(bad.ts_ns), bad.reason)
            for bad in witness.bad
            if bad.symbol == witness.symbol
        ),
    )


def _runs(
    day: TradingDay,
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    ends: np.ndarray[tuple[int], np.dtype[np.int64]],
    missing: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> tuple[tuple[datetime, datetime], ...]:
    """Runs of missing bars; none goes across a break between segments."""
    opens = np.isin(starts, [segment.open_ns for segment in day.segments])
    first = missing & (opens | ~np.append(False, missing[:-1]))
    last = missing & np.append(opens[1:] | ~missing[1:], True)
    return tuple(
        (moment(a), moment(b))
        for a, b in zip(starts[first].tolist(), ends[last].tolist(), strict=True)
    )
