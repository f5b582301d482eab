"""Times as people write them, read over whole columns.

Rows are read by their shape: the text with every digit alike. A column has a handful of shapes
(`7/1/2024 9:30` and `12/31/2024 10:30` are two), and in rows of one shape each field stands in the
same place, so that it is cut out of all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters.sources.clockchange import RepeatedTimeError, later_by
from openbell.adapters.sources.times import NonexistentTimeError, instants
from openbell.market.bars import Mask
from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, Nanoseconds

DateOrder = Literal["mdy", "dmy", "ymd"]

_HOUR_NS = 60 * MINUTE_NS
_ROWS_AT_ONCE = 2**17
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

OFFSETS_OF_ABBREVIATIONS = {
    "EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
    "PST": -480, "PDT": -420, "BST": 60, "IST": 330, "CET": 60, "CEST": 120, "EET": 120,
    "EEST": 180, "MSK": 180, "JST": 540, "KST": 540, "HKT": 480, "SGT": 480, "AEST": 600,
    "AEDT": 660, "NZST": 720, "NZDT": 780,
}  # fmt: skip
"""Minutes east of UTC. Some are used for other offsets elsewhere, so they only confirm a zone."""

_DATES = (
    r"(?P<Y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})",
    r"(?P<Y>\d{4})(?P<m>\d\d)(?P<d>\d\d)",
    r"(?P<p1>\d{1,2})(?P<s>[-/.])(?P<p2>\d{1,2})(?P=s)(?P<p3>\d{4}|\d{2})",
    r"(?P<d>\d{1,2})[-/. ]?(?P<b>[A-Za-z]{3,9})\.?[-/., ]*(?P<Y>\d{4}|\d{2})",
    r"(?P<b>[A-Za-z]{3,9})\.?[-/ ]\s*(?P<d>\d{1,2}),?[-/ ]+(?P<Y>\d{4})",
)
_TIMES = (
    r"(?P<H>\d{1,2})[:h.](?P<M>\d\d)(?:[:.](?P<S>\d\d)(?:[.,:](?P<f>\d{1,9}))?)?",
    r"(?P<H>\d{1,2})(?P<M>\d\d)(?:(?P<S>\d\d)(?:[.,]?(?P<f>\d{1,9}))?)?",
)
_HALF = r"(?:\s*(?P<p>[AaPp])\.?[Mm]\.?(?![A-Za-z]))?"
_ZONE = (
    r"(?:\s*(?P<utc>Z|z|UTC|GMT))?(?:\s*(?P<sign>[+-])(?P<zh>\d\d):?(?P<zm>\d\d)?(?::?00)?)?"
    r"(?:\s*\[?(?P<zone>[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+)\]?)?(?:\s+(?P<abbr>[A-Z]{2,5}))?"
    r"(?:\s*\([^)]*\))?"
)
_WEEKDAY = r"(?:(?:[Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un)[a-z]*,?\s+)?"
_BETWEEN = r"(?:\s+|\s*[Tt,;_:@-]\s*|)"

_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<Y>\d{2})", "b": r"(?P<b>[A-Za-z]{3,9})",
    "B": r"(?P<b>[A-Za-z]{3,9})", "f": r"(?P<f>\d{1,9})", "p": r"(?P<p>[AaPp])\.?[Mm]\.?",
    "z": r"(?:(?P<utc>Z|z|UTC|GMT)?\s*(?:(?P<sign>[+-])(?P<zh>\d\d):?(?P<zm>\d\d)?)?)",
    "Z": r"(?:(?P<utc>Z|z|UTC|GMT)|(?P<zone>[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+)|(?P<abbr>[A-Z]{2,5}))",
    "a": r"[A-Za-z]{3}", "A": r"[A-Za-z]+", "%": "%",
}  # fmt: skip
_NUMBERS = {"m": "m", "d": "d", "H": "H", "I": "H", "M": "M", "S": "S"}


class BadTimeError(ValueError):
    """A text that is no time; `position` is the first row that has one."""

    def __init__(self, position: int, reason: str = "") -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason


class AmbiguousOrderError(ValueError):
    """Day and month could be either way round; `position` is a row of which that is true."""

    def __init__(self, position: int, orders: tuple[DateOrder, ...]) -> None:
        super().__init__(position, orders)
        self.position = position
        self.orders = orders


@dataclass(frozen=True, slots=True)
class Style:
    """How times are written, as far as the texts themselves don't tell."""

    order: DateOrder | None = None
    """Of `07/01/2024`; None: as the column tells."""
    form: str | None = None
    """A format in strptime's letters that all texts have; None: as each text tells."""
    zone: str | None = None
    """Confirms the abbreviations of zones in the texts, e.g. EDT by America/New_York."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one text turned out to be."""

    has_date: bool
    has_time: bool
    zoned: bool
    order_open: bool
    """Whether day and month may be either way round."""


@lru_cache(maxsize=64)
def compiled(form: str) -> re.Pattern[str]:
    """A format in strptime's letters, as a pattern.

    Raises
    ------
    ValueError
        If it has a letter that isn't known, or the same twice; the text says what to write.
    """
    pattern, at = "", 0
    while at < len(form):
        letter = form[at]
        if letter == "%" and at + 1 < len(form):
            directive = form[at + 1]
            if directive in _NUMBERS:
                # Next to other digits a number has its full width.
                tight = form[at + 2 : at + 3] == "%" or (at >= 2 and form[at - 2] == "%")
                pattern += rf"(?P<{_NUMBERS[directive]}>\d{{{'2' if tight else '1,2'}}})"
            elif directive in _DIRECTIVES:
                pattern += _DIRECTIVES[directive]
            else:
                known = ", ".join(f"%{known}" for known in "YymdbHIMSfpzZ")
                raise ValueError(f'"%{directive}" is not known; write with {known}')
            at += 2
        else:
            pattern += r"\s+" if letter == " " else re.escape(letter)
            at += 1
    try:
        found = re.compile(pattern)
    except re.error:
        raise ValueError("write each letter once, e.g. %d.%m.%Y %H:%M") from None
    if not {"Y", "d"} <= found.groupindex.keys() or not {"m", "b"} & found.groupindex.keys():
        raise ValueError("write year, month and day, e.g. %d.%m.%Y %H:%M")
    return found


# Compiled where there are texts to read: that takes as long as to read a small file.
@cache
def _times_of_day() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(of_day + _HALF + _ZONE) for of_day in _TIMES)


@cache
def _dated() -> tuple[re.Pattern[str], ...]:
    """Dates with a time of day, and alone."""
    return tuple(
        re.compile(_WEEKDAY + of_date + tail)
        for of_date in _DATES
        for tail in (*(_BETWEEN + of_day + _HALF + _ZONE for of_day in _TIMES), "")
    )


@lru_cache(maxsize=4096)
def looked_at(text: str, form: str | None = None) -> Written | None:
    """What a text says, if it is a time, a date, or a time of day."""
    for pattern in (compiled(form),) if form else (*_dated(), *_times_of_day()):
        found = pattern.fullmatch(text.strip())
        if found is None or not _plausible(found):
            continue
        parts = found.groupdict()
        return Written(
            has_date=parts.get("Y") is not None or parts.get("p1") is not None,
            has_time=parts.get("H") is not None,
            zoned=any(parts.get(name) for name in ("utc", "sign", "zone", "abbr")),
            order_open=parts.get("p1") is not None,
        )
    return None


def _plausible(found: re.Match[str]) -> bool:
    parts = found.groupdict()
    limits = {"m": (1, 12), "d": (1, 31), "H": (0, 24), "M": (0, 59), "S": (0, 60), "p1": (0, 99)}
    return all(
        low <= int(parts[name]) <= high
        for name, (low, high) in limits.items()
        if parts.get(name) is not None
    ) and (parts.get("b") is None or parts["b"][:3].lower() in _MONTHS)


@dataclass(eq=False, slots=True)
class _Fields:
    """The fields of all rows; what a text does not have is 0."""

    parts: NDArray[np.int32]
    """(3, n) the numbers of the date, as `order` has them."""
    order: NDArray[np.int8]
    """(n,) position in _ORDERS; _OPEN where the text does not tell."""
    dotted: Mask
    """(n,) dates with dots, 01.07.2024, which have the day first where nothing else is told."""
    of_day: Nanoseconds
    offset: NDArray[np.int32]
    """Minutes east of UTC; _NAIVE where there is none."""
    zones: list[tuple[str, NDArray[np.int64]]] = field(default_factory=list)
    abbreviations: list[tuple[str, NDArray[np.int64]]] = field(default_factory=list)


_ORDERS: tuple[DateOrder, ...] = ("ymd", "mdy", "dmy")
_OPEN = -1
_NAIVE = -10_000


Localise = Callable[[Nanoseconds, NDArray[np.int64], str], Nanoseconds]
"""Instants of wall times in some rows, by the zone."""


def parse_times(texts: Any, style: Style, localise: Localise) -> tuple[Nanoseconds, bool]:
    """Times of an Arrow column of text without nulls, and whether they are of a wall without zone.

    Returns
    -------
    times : (n,) int64
        Instants (ns UTC), or where no text has a zone, ns since 1970-01-01T00:00 on their wall.
    naive : bool

    Raises
    ------
    BadTimeError
        If a text is none, or has a zone where the first one has not.
    AmbiguousOrderError
        If day and month can't be told apart.
    NonexistentTimeError, RepeatedTimeError
        If the clock of a zone that a text names skips its time, or what `localise` says of it.
    """
    found = _fields(texts, style)
    days = _days(found, style)
    wall = days * DAY_NS + found.of_day
    named = np.zeros(len(wall), np.bool_)
    for _, rows in (*found.zones, *found.abbreviations):
        named[rows] = True
    has_offset = found.offset != _NAIVE
    zoned: Mask = has_offset | named
    if not zoned.any():
        return wall, True
    if not zoned.all():
        different = np.flatnonzero(zoned != zoned[0])
        raise BadTimeError(int(different[0]))
    ts = np.where(has_offset, wall - found.offset.astype(np.int64) * MINUTE_NS, wall)
    for zone in sorted({zone for zone, _ in found.zones}):
        rows = np.sort(np.concatenate([rows for of, rows in found.zones if of == zone]))
        rows = rows[~has_offset[rows]]
        try:
            ts[rows] = localise(wall[rows], rows, zone)
        except (NonexistentTimeError, RepeatedTimeError) as error:
            raise type(error)(int(rows[error.position])) from None
    for name, rows in found.abbreviations:
        rows = rows[~has_offset[rows]]
        ts[rows] = _confirmed(wall, rows, name, style.zone)
    return ts, False


def _confirmed(wall: Nanoseconds, rows: NDArray[np.int64], name: str, zone: str | None) -> Any:
    offset = OFFSETS_OF_ABBREVIATIONS.get(name)
    if offset is None:
        raise BadTimeError(int(rows[0]), f'"{name}" is no time zone that is known')
    if zone is None:
        raise BadTimeError(
            int(rows[0]),
            f'"{name}" does not mean one zone everywhere; write the zone that has it, e.g. '
            f"data.timezone: {_HAVING.get(name, 'America/New_York')}",
        )
    wanted = wall[rows] - offset * MINUTE_NS
    first = instants(wall[rows], zone)
    second = first + later_by(wall[rows], zone)
    wrong = (wanted != first) & (wanted != second)
    if wrong.any():
        raise BadTimeError(
            int(rows[wrong.argmax()]),
            f"{zone} has no {name} then; correct data.timezone to the zone that has it, or take "
            f"{name} out of the times",
        )
    return wanted


_HAVING = {
    "EST": "America/New_York", "EDT": "America/New_York", "CST": "America/Chicago",
    "CDT": "America/Chicago", "PST": "America/Los_Angeles", "PDT": "America/Los_Angeles",
    "IST": "Asia/Kolkata", "BST": "Europe/London", "CET": "Europe/Berlin",
    "CEST": "Europe/Berlin", "EET": "Europe/Athens", "EEST": "Europe/Athens",
    "JST": "Asia/Tokyo", "HKT": "Asia/Hong_Kong", "SGT": "Asia/Singapore",
    "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney",
}  # fmt: skip


def _fields(texts: Any, style: Style) -> _Fields:
    n = len(texts)
    found = _Fields(
        np.zeros((3, n), np.int32),
        np.full(n, 0, np.int8),
        np.zeros(n, np.bool_),
        np.zeros(n, np.int64),
        np.full(n, _NAIVE, np.int32),
    )
    first = 0
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        for start in range(0, len(chunk), _ROWS_AT_ONCE):
            part = chunk.slice(start, _ROWS_AT_ONCE)
            for rows, letters in _by_shape(part, first + start):
                _read_shape(found, rows, letters, style)
        first += len(chunk)
    return found


def _by_shape(chunk: Any, first: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Rows of one shape, and their letters (rows × length of the text)."""
    chunk = chunk.cast(pa.large_string())
    offsets = np.frombuffer(chunk.buffers()[1], np.int64, len(chunk) + 1 + chunk.offset)
    offsets = offsets[chunk.offset :]
    body = chunk.buffers()[2]
    letters = np.frombuffer(body, np.uint8) if body is not None else np.empty(0, np.uint8)
    lengths = np.diff(offsets)
    for length in np.unique(lengths).tolist():
        at = np.flatnonzero(lengths == length)
        if length == 0 or length > 80:
            raise BadTimeError(first + int(at[0]))
        if len(at) == len(lengths):
            matrix = letters[offsets[0] : offsets[-1]].reshape(-1, length)
        else:
            matrix = letters[offsets[at][:, None] + np.arange(length)]
        shape = np.where((matrix >= 48) & (matrix <= 57), np.uint8(48), matrix)
        left = np.arange(len(at))
        while left.size:
            same = (shape[left] == shape[left[0]]).all(axis=1)
            if same.all() and len(left) == len(at):
                yield first + at, matrix
                break
            yield first + at[left[same]], matrix[left[same]]
            left = left[~same]


def _read_shape(
    found: _Fields, rows: NDArray[np.int64], letters: NDArray[np.uint8], style: Style
) -> None:
    text = letters[0].tobytes().decode("utf-8", "replace")
    match, lead = _matched(text, len(letters[0]), style.form)
    if match is None:
        raise BadTimeError(int(rows[0]))
    parts = match.groupdict()

    def number(name: str) -> NDArray[np.int64]:
        start, stop = match.span(name)
        digits = letters[:, start + lead : stop + lead].astype(np.int64) - 48
        value: NDArray[np.int64] = digits @ (10 ** np.arange(stop - start - 1, -1, -1))
        return value

    if parts.get("p1") is not None:
        order = style.order
        found.order[rows] = _OPEN if order is None else _ORDERS.index(order)
        found.dotted[rows] = parts["s"] == "." and len(parts["p3"]) == 4
        for place, name in enumerate(("p1", "p2", "p3")):
            found.parts[place, rows] = number(name)
    else:
        year = number("Y")
        found.parts[0, rows] = year if len(parts["Y"]) == 4 else _century(year)
        if parts.get("b") is not None:
            named = parts["b"][:3].lower()
            if named not in _MONTHS:
                raise BadTimeError(int(rows[0]))
            found.parts[1, rows] = _MONTHS.index(named) + 1
        else:
            found.parts[1, rows] = number("m")
        found.parts[2, rows] = number("d")
    if parts.get("H") is not None:
        found.of_day[rows] = _of_day(parts, number, rows)
    if parts.get("sign") is not None:
        minutes = number("zh") * 60 + (number("zm") if parts.get("zm") else 0)
        if (minutes > 18 * 60).any():
            raise BadTimeError(int(rows[(minutes > 18 * 60).argmax()]))
        found.offset[rows] = minutes if parts["sign"] == "+" else -minutes
    elif parts.get("utc") is not None:
        found.offset[rows] = 0
    elif parts.get("zone") is not None:
        found.zones.append((_known_zone(parts["zone"], rows), rows))
    elif parts.get("abbr") is not None:
        found.abbreviations.append((parts["abbr"], rows))


def _matched(text: str, size: int, form: str | None) -> tuple[re.Match[str] | None, int]:
    """How a text is to be read, and how many blanks stand before it."""
    if len(text) != size:  # letters of several bytes would shift the places
        return None, 0
    lead = len(text) - len(text.lstrip())
    for pattern in (compiled(form),) if form else _dated():
        match = pattern.fullmatch(text.strip())
        if match is not None:
            return match, lead
    return None, lead


def _of_day(parts: dict[str, Any], number: Any, rows: NDArray[np.int64]) -> Nanoseconds:
    hour, minute = number("H"), number("M") if parts.get("M") else 0
    second = number("S") if parts.get("S") else np.zeros(len(rows), np.int64)
    bad = (hour > 24) | (np.asarray(minute) > 59) | (second > 59)
    if parts.get("p") is not None:
        bad |= (hour < 1) | (hour > 12)
        hour = hour % 12 + (12 if parts["p"] in "Pp" else 0)
    of_day: Nanoseconds = hour * _HOUR_NS + minute * MINUTE_NS + second * SECOND_NS
    if parts.get("f") is not None:
        of_day = of_day + number("f") * 10 ** (9 - len(parts["f"]))
    bad |= of_day > DAY_NS  # 24:00 is the end of the day
    if bad.any():
        raise BadTimeError(int(rows[bad.argmax()]))
    return of_day


def _known_zone(name: str, rows: NDArray[np.int64]) -> str:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name).key or name
    except (OSError, ValueError, LookupError):
        raise BadTimeError(int(rows[0]), f'"{name}" is no time zone that is known') from None


def _century(year: Any) -> Any:
    return year + np.where(year < 70, 2000, 1900)


def _days(found: _Fields, style: Style) -> NDArray[np.int64]:
    """Days since 1970-01-01; decides the order of day and month where the texts leave it open."""
    undecided = np.flatnonzero(found.order == _OPEN)
    if len(undecided):
        parts = found.parts[:, undecided]
        order = decided_order(parts)
        if order is None and found.dotted[undecided].all() and _valid(parts, "dmy").all():
            order = "dmy"
        if order is None:
            orders = tuple(o for o in _ORDERS if _valid(parts, o).all())
            if not orders:
                orders_of = np.stack([_valid(parts, o) for o in _ORDERS])
                best = int(orders_of.sum(axis=1).argmax())
                raise BadTimeError(int(undecided[(~orders_of[best]).argmax()]))
            raise AmbiguousOrderError(int(undecided[0]), orders)
        found.order[undecided] = _ORDERS.index(order)
    days = np.empty(found.parts.shape[1], np.int64)
    for number, order in enumerate(_ORDERS):
        rows = np.flatnonzero(found.order == number)
        if len(rows):
            parts = found.parts[:, rows]
            good = _valid(parts, order)
            if not good.all():
                raise BadTimeError(int(rows[(~good).argmax()]))
            days[rows] = _civil(parts, order)
    return days


def _ymd(parts: NDArray[np.int32], order: DateOrder) -> tuple[Any, Any, Any]:
    place = {letter: parts[at] for at, letter in enumerate(order)}
    year = place["y"]
    return np.where(year < 100, _century(year), year), place["m"], place["d"]


def _valid(parts: NDArray[np.int32], order: DateOrder) -> Mask:
    year, month, day = _ymd(parts, order)
    good: NDArray[np.bool_] = (
        (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (year >= 1678)
    )
    if order == "ymd":  # 1999 as a day, or a year of two digits before a day of four
        good &= day < 100
    safe = np.where(good, month, 1)
    first = ((year - 1970) * 12 + safe - 1).astype("datetime64[M]")
    length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    good &= (day <= length) & (year < 2262)
    return good


def _civil(parts: NDArray[np.int32], order: DateOrder) -> NDArray[np.int64]:
    year, month, day = _ymd(parts, order)
    months = ((year.astype(np.int64) - 1970) * 12 + month - 1).astype("datetime64[M]")
    days: NDArray[np.int64] = months.astype("datetime64[D]").astype(np.int64) + day - 1
    return days


def only_order(texts: Sequence[str]) -> DateOrder | None:
    """The one order of day and month that all texts can have; None: several, none, or no times.

    Told by numbers that can be no month alone: texts of different files need not follow each other.
    """
    if not texts:
        return None
    try:
        found = _fields(pa.array(texts, pa.string()), Style())
    except BadTimeError:
        return None
    parts = found.parts[:, found.order == _OPEN]
    possible = [order for order in _ORDERS if parts.size and _valid(parts, order).all()]
    return possible[0] if len(possible) == 1 else None


def decided_order(parts: NDArray[np.int32]) -> DateOrder | None:
    """The order of day and month (and year of two digits) that a column of dates has.

    Told by a number that can be no month, or else by the distances of the days: where they follow
    each other within a week in one order, and nowhere in any other, it is that one.

    Parameters
    ----------
    parts : (3, n) int
        The three numbers of each date, in the order that they are written.
    """
    possible = [order for order in _ORDERS if _valid(parts, order).all()]
    if len(possible) < 2:
        return possible[0] if possible else None
    days = {order: _civil(parts, order) for order in possible}
    if all((days[order] == days[possible[0]]).all() for order in possible):
        return possible[0]
    near = {}
    for order in possible:
        steps = np.diff(days[order])
        steps = np.abs(steps[steps != 0])
        if len(steps) < 2:
            return None
        near[order] = float((steps <= 7).mean())
    best = max(possible, key=lambda order: near[order])
    clear = near[best] >= 0.5 and all(near[o] == 0.0 for o in possible if o != best)
    return best if clear else None
