"""What is in the name of a file or folder, apart from a symbol: dates, bar lengths, common words."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from openbell.adapters.sources.patterns import OF_DAY

Span = tuple[date, date]
"""First and last day that a name speaks of, both included."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = rf"(?P<named>{'|'.join(_MONTHS)})[a-z]*"
_YEAR = r"(?P<year>(?:19[7-9]|20\d)\d)"


def words(text: str) -> frozenset[str]:
    """A set of words, written with blanks between them."""
    return frozenset(text.split())


# What a writer calls its files whoever's prices are in them. A name that has nothing else can be
# no symbol's, unless its neighbours are symbols: ALL.csv beside AAPL.csv is Allstate's.
_WORDS = words(
    "adj adjsplit adjsplitdiv adjusted all ascii ask bar bars bid candle candles candlestick "
    "candlesticks chunk close csv dat data dataset download dump eod export file full hist "
    "history historical intraday kline klines minute minutes mt ohlc ohlcv parquet part price "
    "prices quote quotes raw result sample snappy table tick ticks trade trades unadjusted"
)
_LENGTH = re.compile(
    r"\d+(?:s|secs?|seconds?|m|min|mins|minutes?|h|hours?|d|days?)|[MHD]\d+|mins?|minutely|hourly|daily",
    re.IGNORECASE,
)
_COUNTER = re.compile(r"(?:part|chunk|data|file)[-_.]?\d+(?:[-_.].*)?|[0-9a-f-]{32,36}(?:[-_]\d+)?")
_SEPARATORS = " _-.,"
_TOKEN = re.compile(rf"[^{re.escape(_SEPARATORS)}]+")

# In this order: what is longer is tried first.
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<!\d){_YEAR}([-_.]?)(?P<month>0[1-9]|1[0-2])\2(?P<day>0[1-9]|[12]\d|3[01]){OF_DAY}(?!\d)",
        rf"(?<!\d){_YEAR}([-_.]?)(?P<month>0[1-9]|1[0-2])\2(?P<day>0[1-9]|[12]\d|3[01])(?!\d)",
        rf"(?<!\d)(?P<day>\d\d)([-_.]?)(?P<month>\d\d)\2{_YEAR}(?!\d)",
        rf"(?<!\d)(?P<day>\d\d?)[-_ ]?{_NAMED}[-_ ]?{_YEAR}(?!\d)",
        rf"(?<![a-z0-9]){_YEAR}[-_]?W(?P<week>[0-5]\d)(?![a-z0-9])",
        rf"(?<![a-z0-9]){_YEAR}[-_]?Q(?P<quarter>[1-4])(?![a-z0-9])",
        rf"(?<![a-z0-9])Q(?P<quarter>[1-4])[-_]?{_YEAR}(?![a-z0-9])",
        rf"(?<![a-z0-9]){_YEAR}[-_.]?(?P<month>0[1-9]|1[0-2])(?![a-z0-9])",
        rf"(?<![a-z0-9]){_YEAR}[-_. ]?{_NAMED}(?![a-z0-9])",
        rf"(?<![a-z0-9]){_NAMED}[-_. ]?{_YEAR}(?![a-z0-9])",
        r"(?<![a-z0-9])(?P<short>\d{6})(?![a-z0-9])",
        rf"(?<![a-z0-9]){_YEAR}(?![a-z0-9])",
    )
)
_SHARE_CLASS = re.compile(r"\.[A-Z]")
"""What follows a symbol in capitals, as in MT.A, where MT would be a common word alone."""

_BETWEEN = re.compile(r"[\s_.-]*(?:to)?[\s_.-]*", re.IGNORECASE)
"""What stands between the first and the last day of a range."""


@dataclass(frozen=True, slots=True)
class Name:
    """A file's or a folder's name, taken apart."""

    text: str
    rest: str
    """What is neither date, bar length nor common word; empty where there is nothing else."""
    undated: str
    """What is left when only dates are taken off."""
    words: tuple[str, ...]
    """Bar lengths and common words that were taken off; not counters such as `part-0`."""
    length: str | None
    """The bar length that was taken off, as it is written."""
    spans: tuple[Span, ...]
    """The days it speaks of; several where they can be read in several ways; none: no date."""
    pattern: str
    """The name as a pattern: `{symbol}` for the rest, `{date}` for a date."""

    @property
    def is_date(self) -> bool:
        """Whether it is a date and nothing else that tells instruments apart."""
        return bool(self.spans) and not self.rest


@dataclass(frozen=True, slots=True)
class _Mark:
    """A part of a name that is no symbol's."""

    start: int
    end: int
    kind: str
    spans: tuple[Span, ...] = ()


def taken_apart(text: str) -> Name:
    """What a name is made of. Only dates at its ends are taken off: what stands around a date in
    the middle may be a contract and its strike."""
    dates = list(_dates(text))
    if _COUNTER.fullmatch(text.lower()) and (not dates or text.lower().startswith("part")):
        return Name(text, "", "", (), None, (), "*")
    apart = [w for w in _words(text) if not any(w.start < d.end and d.start < w.end for d in dates)]
    marks = sorted([*dates, *apart], key=lambda mark: mark.start)
    head, tail = 0, len(text)
    off: list[_Mark] = []
    while True:
        start = _skip(text, head, tail, 1)
        end = _skip(text, tail, start, -1)
        first = next((m for m in marks if m.start == start and m.end <= end), None)
        last = next((m for m in marks if m.end == end and m.start >= start), None)
        # From the end first: a name begins with its symbol more often than it ends with it.
        taken = last or first
        if taken is None or start >= end:
            break
        off.append(taken)
        if taken is last:
            tail = taken.start
        else:
            head = taken.end
    head, tail = _skip(text, head, tail, 1), _skip(text, tail, head, -1)
    off.sort(key=lambda mark: mark.start)
    lengths = [text[m.start : m.end] for m in off if m.kind == "length"]
    return Name(
        text,
        text[head:tail],
        _undated(text, off),
        tuple(text[m.start : m.end] for m in off if m.kind != "date"),
        lengths[0] if lengths else None,
        next((m.spans for m in off if m.kind == "date"), ()),
        _pattern(text, off, head, tail),
    )


def _skip(text: str, at: int, limit: int, step: int) -> int:
    """Past the separators that follow a position in one direction."""
    while at != limit and text[at if step > 0 else at - 1] in _SEPARATORS:
        at += step
    return at


def _dates(text: str) -> Iterator[_Mark]:
    taken: list[tuple[int, int]] = []
    marks: list[_Mark] = []
    for pattern in _DATES:
        for found in pattern.finditer(text):
            if any(found.start() < end and start < found.end() for start, end in taken):
                continue
            spans = tuple(_spans(found))
            if spans:
                taken.append(found.span())
                marks.append(_Mark(*found.span(), "date", spans))
    marks.sort(key=lambda mark: mark.start)
    while marks:
        mark = marks.pop(0)
        if marks and _BETWEEN.fullmatch(text[mark.end : marks[0].start]):
            last = marks.pop(0)
            both = [day for spans in (mark.spans, last.spans) for span in spans for day in span]
            mark = _Mark(mark.start, last.end, "date", ((min(both), max(both)),))
        yield mark


def _spans(found: re.Match[str]) -> Iterator[Span]:
    parts = found.groupdict()
    if parts.get("short"):
        for form in ("%y%m%d", "%d%m%y"):
            with suppress(ValueError):
                day = datetime.strptime(parts["short"], form).date()  # noqa: DTZ007 a date only
                yield day, day
        return
    year = int(parts["year"])
    if parts.get("week"):
        try:
            monday = date.fromisocalendar(year, int(parts["week"]), 1)
        except ValueError:
            return
        yield monday, monday + timedelta(days=6)
        return
    if parts.get("quarter"):
        last = 3 * int(parts["quarter"])
        yield date(year, last - 2, 1), date(year, last, monthrange(year, last)[1])
        return
    month = parts.get("month")
    if parts.get("named"):
        month = str(_MONTHS.index(parts["named"].lower()) + 1)
    if month is None:
        yield date(year, 1, 1), date(year, 12, 31)
        return
    if parts.get("day") is None:
        yield date(year, int(month), 1), date(year, int(month), monthrange(year, int(month))[1])
        return
    # 01.07.2024 is a day in July to some and a day in January to others.
    turned = found.start("day") < found.start("year") and not parts.get("named")
    for of_month, of_day in ((month, parts["day"]), (parts["day"], month))[: 1 + turned]:
        with suppress(ValueError):
            day = date(year, int(of_month), int(of_day))
            yield day, day


def _words(text: str) -> Iterator[_Mark]:
    for found in _TOKEN.finditer(text):
        token = found[0]
        if _LENGTH.fullmatch(token):
            yield _Mark(*found.span(), "length")
        elif token.isupper() and _SHARE_CLASS.fullmatch(text, found.end()):
            continue
        elif token.lower() in _WORDS:
            yield _Mark(*found.span(), "word")
    charted = re.search(r", (\d+[SHDWM]?|[DW])$", text)  # as TradingView ends its names
    if charted is not None:
        yield _Mark(*charted.span(1), "length")
    counted = re.search(
        r"(?<![A-Za-z0-9-])[1-9]\d{0,2}[_ ](?:[MHDS]|(?i:min|minute|hour|day|sec|second)s?)(?![A-Za-z])",
        text,
    )
    if counted is not None:
        yield _Mark(*counted.span(), "length")


def _undated(text: str, off: list[_Mark]) -> str:
    for mark in reversed([m for m in off if m.kind == "date"]):
        text = text[: mark.start] + text[mark.end :]
    return text.strip(_SEPARATORS)


def _pattern(text: str, off: list[_Mark], head: int, tail: int) -> str:
    parts = [(m.start, m.end, "{date}" if m.kind == "date" else "") for m in off]
    if tail > head:
        parts.append((head, tail, "{symbol}"))
    written, at = "", 0
    for start, end, name in sorted(parts):
        written += text[at:start] + (name or text[start:end])
        at = end
    return written + text[at:]


def numbered_date(text: str, before: tuple[int, ...]) -> tuple[int, ...] | None:
    """A name of digits that goes on with a date begun by the folders above it; None: it doesn't.

    `before` is the year, or the year and the month, that they spell: `2024/07/01` has (2024, 7)
    before `01`.
    """
    if before and re.fullmatch(_NAMED, text, re.IGNORECASE) and len(before) == 1:
        return (*before, _MONTHS.index(text[:3].lower()) + 1)
    both = re.fullmatch(r"(\d\d)[-_.]?(\d\d)", text)
    if len(before) == 1 and both is not None:
        return _valid((*before, int(both[1]), int(both[2])))
    if not re.fullmatch(r"\d{1,2}", text) or not 1 <= len(before) <= 2:
        return None
    return _valid((*before, int(text)))


def _valid(parts: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        date(*(*parts, 1)[:3])
    except ValueError:
        return None
    return parts


def spanned(parts: tuple[int, ...]) -> Span:
    """The days of a year, of a month or of one day."""
    if len(parts) == 1:
        return date(parts[0], 1, 1), date(parts[0], 12, 31)
    if len(parts) == 2:
        return date(*parts, 1), date(*parts, monthrange(*parts)[1])
    return date(*parts), date(*parts)
