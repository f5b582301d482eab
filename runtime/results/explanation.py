"""Why a symbol has the signals that it has on a day, or has none: facts, and the words for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from openbell.market.touches import Rule
from openbell.runtime.results.signals import Signal

LISTED = 8
"""Of what may go on and on, so many are shown in words; `as_dict` has all."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A row that mattered; instants are UTC."""

    ts: datetime
    """The bar's start or the tick's time."""
    known_at: datetime
    price: float


@dataclass(frozen=True, slots=True)
class NearMiss:
    """The nearest that a side came to a break."""

    at: Priced
    """`price` is what had to be beyond: the close, or with `confirm: touch` the high or low."""
    distance: float
    """What was lacking to the threshold; 0: it was reached, which is no break."""
    percent: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Touches of a level that one rule refused."""

    rule: Rule
    why: str
    touches: int
    """Rows whose high (low) reached the level or went beyond."""
    first: Priced
    furthest: Priced
    last: Priced


@dataclass(frozen=True, slots=True)
class SideExplained:
    """One side of a session's levels; `level` is null where the session had no row."""

    side: str
    level: float | None
    made: Priced | None
    """The first row that had this price; None where rows are not kept."""
    threshold: float | None
    """What a price has to be beyond: the level with its buffer."""
    since_filled: float | None
    """The level by rows that came from history when this one had been broken: what was signalled
    stays as it was."""
    signals: tuple[Signal, ...]
    """Breakouts, and what followed them."""
    nearest: NearMiss | None
    """None where there are signals, nobody watched this side, or no row came."""
    refused: tuple[Refusal, ...]
    looked_at: int | None
    """Rows of the symbol after the session; None where rows are not kept."""
    barred: str | None = None
    """Why this side has no breaks, whatever prices do: its session is too narrow, …"""
    left_out: tuple[Priced, ...] = ()
    """Breaks that were not reported, as no scan that says whose are (`then: follow`) had found the
    symbol by then."""


@dataclass(frozen=True, slots=True)
class LateRow:
    """A row of the window that came when it was over: the level was made without it."""

    ts: datetime
    known_at: datetime
    high: float
    low: float


@dataclass(frozen=True, slots=True)
class SessionExplained:
    """What came of one session."""

    session: str
    status: str
    reason: str | None
    """Why it was skipped, or how the hours cut it."""
    start: datetime | None
    end: datetime | None
    """The window's exclusive end: levels hold from here on."""
    rows: int
    """Used for the levels."""
    seen: int | None
    """Minutes (or bars) of the window with a row; None where rows are not kept."""
    expected: int | None
    missing: tuple[datetime, ...]
    """The others, by their start."""
    complete: bool | None
    late: tuple[LateRow, ...]
    confirm: str
    check: str
    buffer: str
    rearm: str
    sides: str
    conditions: tuple[str, ...]
    """What a break has to pass besides, in words."""
    high: SideExplained | None
    """None where there are no levels: skipped, or not over."""
    low: SideExplained | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that was refused."""

    file: str
    row: int
    ts: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SymbolData:
    """What the symbol's rows of the day were worth."""

    expected: int
    """Minutes (or bars) inside the hours so far."""
    actual: int
    missing: tuple[tuple[datetime, datetime], ...]
    """Runs without a row, [start, end)."""
    duplicates: int
    outside_hours: int
    out_of_order: int
    bad_rows: int
    bad: tuple[Unusable, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to the day or to the process that ran it, from the audit trail."""

    wall_time: str
    market_time: str | None
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a symbol has the signals of a day, or none; prints itself."""

    exchange: str
    symbol: str
    trading_date: date
    zone: str
    """IANA name; times of the text are in it."""
    origin: str
    """What this is known from."""
    reached: datetime | None
    """How far the day has come, where it is not over."""
    interval: str | None
    """Of bars; None: the rows are ticks."""
    sessions: tuple[SessionExplained, ...]
    data: SymbolData | None
    """None where rows are not kept."""
    events: tuple[Event, ...]
    notes: tuple[str, ...]
    companion: str | None = None
    """Whose price went with its signals on that day; None: nobody's."""

    @property
    def signals(self) -> tuple[Signal, ...]:
        """All that are explained."""
        return tuple(
            signal
            for of in self.sessions
            for side in (of.high, of.low)
            if side is not None
            for signal in side.signals
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON: instants as `2024-07-01T13:31:00Z`, dates as text."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def __str__(self) -> str:
        return "\n".join(_words(self, self.zone))

    def in_zone(self, zone: str) -> str:
        """The text with times of another zone, an IANA name."""
        return "\n".join(_words(self, zone))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        names = (f.name for f in fields(value) if f.name != "cursor")
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        text = value.isoformat().removesuffix("+00:00")
        return f"{text.rstrip('0') if '.' in text else text}Z"
    return value.isoformat() if isinstance(value, date) else value


class _Local:
    """Instants as people of a zone read them."""

    def __init__(self, zone: str, day: date) -> None:
        self._zone = ZoneInfo(zone)
        self._day = day

    def __call__(self, at: datetime) -> str:
        local = at.astimezone(self._zone)
        text = f"{local:%H:%M}" if not (local.second or local.microsecond) else f"{local:%H:%M:%S}"
        if local.microsecond:
            text += f".{local.microsecond:06d}".rstrip("0")
        return text if local.date() == self._day else f"{local:%Y-%m-%d} {text}"


def _words(of: Explanation, zone: str) -> Iterator[str]:
    local = _Local(zone, of.trading_date)
    yield f"{of.symbol} on {of.trading_date}, {of.exchange}; times of {zone}"
    yield of.origin
    if of.companion is not None:
        yield f"its companion on that day is {of.companion}"
    if of.reached is not None:
        yield f"the day is under way: it has come to {local(of.reached)}"
    for note in of.notes:
        yield f"note: {note}"
    for session in of.sessions:
        yield ""
        yield from _session(session, local, of)
    if of.data is not None:
        yield ""
        yield from _data(of.data, local, of)
    if of.events:
        yield ""
        yield "what happened to the day"
        for event in of.events:
            at = local(datetime.fromisoformat(event.wall_time).replace(microsecond=0))
            market = event.market_time and local(datetime.fromisoformat(event.market_time))
            told = f" (market time {market})" if market else ""
            yield f"  {at}  {event.what}: {event.text}{told}"


def _session(of: SessionExplained, local: _Local, whole: Explanation) -> Iterator[str]:
    hours = f"  {local(of.start)} to {local(of.end)}" if of.start and of.end else ""
    yield f"{of.session}{hours}  {of.status}"
    if of.reason:
        yield f"  {of.reason}"
    if of.status == "SKIPPED":
        return
    if of.expected is not None:
        unit = "minute" if whole.interval in (None, "1m") else f"bar of {whole.interval}"
        seen = f"{of.seen} of {_counted(of.expected, unit)} seen"
        rest = "complete" if of.complete else "incomplete, the levels may be too narrow"
        if of.complete is None:
            rest = "not over yet"
        yield f"  rows      {of.rows:,} used, {seen}: {rest}"
        if of.missing:
            yield f"  missing   {_some([local(at) for at in of.missing])}"
    else:
        lacking = ", minutes are missing" if of.complete is False else ""
        yield f"  rows      {of.rows:,} used{lacking}"
    for row in of.late[:LISTED]:
        yield f"  late      {_late(row, of, local)}"
    if len(of.late) > LISTED:
        yield f"  late      and {len(of.late) - LISTED} more"
    if of.high is None or of.low is None:
        return
    if of.high.level is None:
        yield f"  no level: {whole.symbol} had no row in the window, so nothing could break"
        return
    yield f"  rule      {_rule(of, ticks=whole.interval is None)}"
    for side in (of.high, of.low):
        yield from _side(side, of, local, ticks=whole.interval is None)


def _rule(of: SessionExplained, *, ticks: bool) -> str:
    price = (
        "a price" if ticks else "a bar's close" if of.confirm == "close" else "a bar's high or low"
    )
    if of.check == "once":
        price = "the first price after the session" if ticks else f"{price}, of the first bar only,"
    parts = [f"{price} strictly beyond the level"]
    parts += [f"buffer {of.buffer}", f"rearm {of.rearm}"]
    if of.sides != "both":
        parts.append(f"sides: {of.sides} only")
    parts += of.conditions
    return "; ".join(parts)


def _side(
    of: SideExplained, session: SessionExplained, local: _Local, *, ticks: bool
) -> Iterator[str]:
    name = "high" if of.side == "HIGH_BREAK" else "low"
    made = f", made {_at(of.made, local)}" if of.made else ""
    held = f", holds from {local(session.end)}" if session.end else ""
    beyond = "above" if name == "high" else "below"
    price = "price" if ticks else "close" if session.confirm == "close" else name
    needs = ""
    if of.threshold is not None:
        needs = f"; to break it takes a {price} {beyond} {of.threshold}"
    yield f"  {name:<9} {of.level}{made}{held}{needs}"
    if of.since_filled is not None:
        yield f"  {'':<9} by rows that came from history later it is {of.since_filled}"
    for signal in of.signals[:LISTED]:
        what = signal.side if signal.kind == "breakout" else f"{signal.side}, {signal.kind}"
        yield f"  {'':<9} {what}: {_signal(signal, local)}"
        yield f"  {'':<9}   {signal.id}"
    if (more := len(of.signals) - LISTED) > 0:
        yield f"  {'':<9} and {_counted(more, 'more signal')}, the last {_signal(of.signals[-1], local)}"
    if not of.signals:
        yield f"  {'':<9} no {of.side}: {_none(of, session, local)}"
    if of.left_out:
        yield f"  {'':<9} left out {_left_out(of.left_out, local)}"
    for refusal in of.refused:
        yield f"  {'':<9} refused {_refusal(refusal, local)}"


def _signal(of: Signal, local: _Local) -> str:
    known = "" if of.known_at == of.ts else f", known at {local(of.known_at)}"
    text = f"price {of.price} at {local(of.ts)}{known}"
    if of.touched_at not in (None, of.ts):
        text += f", first touched at {local(of.touched_at)}, {of.touch_excess} beyond the level"
    said = {
        "gap: the first price after the session already lay beyond": of.gap,
        "ambiguous: both sides broke in this bar": of.ambiguous,
        "the level is incomplete": not of.complete,
        "backfilled: found in what was past already": of.backfilled,
    }
    return "; ".join([text, *(words for words, so in said.items() if so)])


def _none(of: SideExplained, session: SessionExplained, local: _Local) -> str:
    if of.nearest is not None:
        miss = of.nearest
        percent = "" if miss.percent is None else f" ({_percent(miss.percent)})"
        what = "reached it exactly, which is no break" if not miss.distance else "short of it"
        lacking = f"{miss.distance}{percent} " if miss.distance else ""
        return f"the nearest was {miss.at.price} {_at(miss.at, local)}, {lacking}{what}"
    if session.sides not in ("both", "high" if of.side == "HIGH_BREAK" else "low"):
        return f"nobody watches it, breakout.sides is {session.sides}"
    if of.left_out:
        return "it broke, and that was not reported"
    if any(refusal.rule in ("valid_until", "volume") for refusal in of.refused):
        return "prices lay beyond, and a rule refused them"
    if of.barred is not None:
        return of.barred
    if of.looked_at is None:
        return "how near it came can't be told, see above"
    return "no row came after the session" if not of.looked_at else "nobody watches it"


def _percent(value: float) -> str:
    return f"{value:.3f} %" if value >= 0.001 else f"{value:.2g} %"


def _left_out(of: tuple[Priced, ...], local: _Local) -> str:
    breaks = _some([f"{one.price} {_at(one, local)}" for one in of])
    why = "no scan that says whose are reported had found the symbol by then (then: follow)"
    return f"{_counted(len(of), 'break')}, {breaks}: {why}"


def _refusal(of: Refusal, local: _Local) -> str:
    count = _counted(of.touches, "touch", "touches")
    if of.touches == 1:
        where = f"{of.first.price} {_at(of.first, local)}"
    else:
        where = (
            f"from {local(of.first.ts)} to {local(of.last.ts)}, "
            f"the furthest {of.furthest.price} {_at(of.furthest, local)}"
        )
    return f"{count}, {where}: {of.why}"


def _at(of: Priced, local: _Local) -> str:
    if of.known_at == of.ts:
        return f"at {local(of.ts)}"
    return f"at {local(of.ts)} (known {local(of.known_at)})"


def _late(row: LateRow, of: SessionExplained, local: _Local) -> str:
    came = f"the row of {local(row.ts)} came when the session was over (at {local(row.known_at)})"
    wider = []
    if of.high and (of.high.level is None or row.high > of.high.level):
        wider.append(f"the high {row.high}")
    if of.low and (of.low.level is None or row.low < of.low.level):
        wider.append(f"the low {row.low}")
    would = f"it would have made {' and '.join(wider)}" if wider else "it would change no level"
    return f"{came}: {would}"


def _data(of: SymbolData, local: _Local, whole: Explanation) -> Iterator[str]:
    unit = "minutes" if whole.interval in (None, "1m") else f"bars of {whole.interval}"
    yield f"data of {whole.symbol}: {of.actual} of {of.expected} {unit} have a row"
    if of.missing:
        spans = [f"{local(a)} to {local(b)}" for a, b in of.missing]
        yield f"  missing   {_some(spans)}"
    counts = {
        "out of order": of.out_of_order,
        "replaced by a later row of the same time": of.duplicates,
        "outside the hours, not used": of.outside_hours,
        "unusable": of.bad_rows,
    }
    if said := [f"{count:,} {what}" for what, count in counts.items() if count]:
        yield f"  rows      {', '.join(said)}"
    for bad in of.bad[:LISTED]:
        yield f"  unusable  {local(bad.ts)}: {bad.reason} ({bad.file}, row {bad.row})"


def _counted(number: int, what: str, several: str | None = None) -> str:
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def _some(items: list[str]) -> str:
    more = len(items) - LISTED
    return ", ".join(items[:LISTED]) + (f" and {more} more" if more > 0 else "")
