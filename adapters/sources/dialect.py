"""How a CSV file is laid out, told by its first and last kilobytes.

Nothing is guessed that the file does not show: where two readings are left, the file is refused,
with the keys of `data.csv` that decide.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from openbell.adapters.sources.base import CsvOptions, DataOptions
from openbell.adapters.sources.roles import (
    Content,
    column_of,
    folded,
    recognised,
    time_columns,
    zone_of,
)
from openbell.adapters.sources.timetexts import looked_at
from openbell.errors import DataError
from openbell.market.bars import BAR_COLUMNS

HEAD_BYTES = 65_536
TAIL_BYTES = 8_192

_DELIMITERS = ",;\t| "
_LINES = 300
"""Of the head, so many are looked at; most files show how they are in the first few."""
_SAMPLE = 60
_FEW = 20
_NEWLINE = re.compile(r"\r\n|\n|\r")
_NUMBER = re.compile(
    r"[+-]?\s?[$€£₹]?\s?[+-]?"
    r"(?:\d+(?:[.,]\d*)?|\d{1,3}(?:[.,' \u00a0\u202f]\d{3})+(?:[.,]\d+)?|[.,]\d+)"
    r"(?:[eE][+-]?\d+)?"
)
_MISSING = frozenset(("", "nan", "null", "n/a", "#n/a", "na", "none", "-nan", "-"))
_MIDNIGHT = re.compile(r"[ T]0?0:00(:00(\.0+)?)?$")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FOOTER_LINES = 20
_EPOCH_DIGITS = {10: 1, 13: 1000, 16: 10**6, 19: 10**9}
_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800
"""1990 to 2100: what a file can be about."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one file is laid out."""

    encoding: str
    delimiter: str
    decimal: str
    thousands: str | None
    skip_rows: int
    """Lines before the header, or before the rows where there is none."""
    header: int
    """Lines with names; 0: none."""
    names: tuple[str, ...]
    """Of the columns, each once."""
    contents: tuple[Content, ...]
    """What the columns hold, by a sample."""
    footer: int
    """Lines behind the rows, where the end of the file was there to look at."""
    first_row: tuple[str, ...]
    """The values of the first row; empty: there is none."""
    roles: tuple[tuple[str, str], ...] = ()
    """Ours and the file's, of columns that are known by what they hold."""
    times: tuple[str, ...] = ()
    """The column of the times, or those of date and time of day, where it is known likewise."""
    symbol: str | None = None
    """Of all rows, where the header lines tell it."""
    zone: str | None = None
    """Of times that carry none, where a column's name tells it."""
    nanos: bool = False
    """Whether prices are whole numbers of 1e-9."""
    currency: bool = False
    """Whether numbers carry a sign such as $."""
    named: bool = False
    """Whether the names are the configuration's own."""

    @property
    def lines(self) -> int:
        """Lines before the first row."""
        return self.skip_rows + self.header

    @property
    def plain_numbers(self) -> bool:
        """Whether numbers can be read as they stand."""
        return self.thousands is None and not self.currency

    def content(self, name: str) -> Content:
        return self.contents[self.names.index(name)]


def decoded(body: bytes, encoding: str) -> str:
    """Text of a part of a file; what is cut off at its ends is replaced."""
    return body.decode(encoding, "replace").lstrip("\ufeff")


def encoding_of(head: bytes, options: CsvOptions) -> str:
    """What the bytes of a file are text in."""
    if options.encoding is not None:
        return options.encoding
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    if len(head) >= 4 and b"\0" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if odd > len(head) // 5 and not even:
            return "utf-16-le"
        if even > len(head) // 5 and not odd:
            return "utf-16-be"
    return "utf-8"


def detect(file: str, head: bytes, tail: bytes, options: DataOptions) -> Dialect:
    """The layout of a file by its first and its last bytes.

    Parameters
    ----------
    head, tail : bytes
        Up to HEAD_BYTES and TAIL_BYTES of it; `tail` is empty where it can't be had.

    Raises
    ------
    openbell.errors.DataError
        If it is empty, or can be read in more than one way.
    """
    given = options.csv
    encoding = encoding_of(head, given)
    try:
        text = decoded(head, encoding)
    except LookupError:
        raise DataError(
            f'data.csv.encoding is "{encoding}", which is not known; write e.g. utf-8 or cp1252'
        ) from None
    lines = _NEWLINE.split(text)
    if len(head) >= HEAD_BYTES:
        lines = lines[:-1]  # it is cut
    lines = lines[:_LINES]
    if not any(line.strip() for line in lines):
        raise DataError(f"{file}: is empty; write a header line and rows, or take it away")
    delimiter = given.delimiter or _delimiter(lines)
    cells = [_split(line, delimiter) for line in lines]
    needed = 3 if options.kind == "bars" else 1
    start, header, width = _start(lines, cells, given, needed)
    rows = [c for c, line in zip(cells[start:], lines[start:], strict=True) if line.strip()]
    alike = [row for row in rows if len(row) == width]
    # A line that only looks like a row, such as a total, tells nothing of the columns.
    sample = [row for row in alike if sum(map(_is_number, row)) >= needed][:_SAMPLE]
    sample = sample or alike[:_SAMPLE]
    names, extra = _names(file, cells, start, header, width, sample, given)
    sampled = sample or [[""] * width]
    contents = tuple(_content([row[i] for row in sampled]) for i in range(width))
    made = Dialect(
        encoding=encoding,
        delimiter=delimiter,
        decimal=given.decimal or ".",
        thousands=given.thousands,
        skip_rows=start - header,
        header=header,
        names=names,
        contents=contents,
        footer=0,
        first_row=tuple(sample[0]) if sample else (),
        named=bool(given.names),
    )
    if extra:
        made = _with_symbol(file, made, extra)
    if header == 0 and not given.names:
        made = _with_roles(made, sampled, options)
    made = _with_numbers(file, _with_volume(made, sampled, options), sampled, options)
    made = replace(made, zone=zone_of(_time_names(made)), nanos=_in_nanos(made, sampled))
    return replace(made, footer=footer_lines(decoded(tail, encoding), made, options))


def footer_lines(tail: str, dialect: Dialect, options: DataOptions) -> int:
    """How many lines at the end of a text are no rows; empty ones are counted too.

    A row that was cut off is one: it has a time where rows have one.
    """
    lines = _NEWLINE.split(tail)
    if options.csv.skip_footer is not None:
        return _last_filled(lines, options.csv.skip_footer)
    if len(lines) < 2 or not dialect.first_row:
        return 0
    places = [
        i for i, c in enumerate(dialect.contents) if c in ("zoned", "epoch", "datetime", "date")
    ]
    needed = 3 if options.kind == "bars" else 1
    count = 0
    for line in reversed(lines[1:]):  # the first one is cut
        cells = _split(line, dialect.delimiter)
        if line.strip() and (not places or _is_row(cells, len(dialect.names), places, needed)):
            break
        count += 1
        if count > _FOOTER_LINES:
            return 0
    blank = sum(not line.strip() for line in lines[len(lines) - count :])
    return count if blank < count or any(lines[-i] for i in range(1, count + 1)) else 0


def footer_bytes(tail: bytes, dialect: Dialect, options: DataOptions) -> int:
    """How many bytes at the end of a file are behind its rows."""
    text = tail.decode(dialect.encoding, "replace")
    count = footer_lines(text, dialect, options)
    if not count:
        return 0
    at = len(text)
    ends = [found.start() for found in _NEWLINE.finditer(text)]
    at = ends[-count] if len(ends) >= count else 0
    return len(text[at:].encode(dialect.encoding, "replace"))


def _last_filled(lines: Sequence[str], wanted: int) -> int:
    """How many lines at the end hold so many that are not empty."""
    count = seen = 0
    for line in reversed(lines):
        if line.strip():
            if seen == wanted:
                break
            seen += 1
        count += 1
    return count if wanted else 0


def _is_row(cells: Sequence[str], width: int, places: Sequence[int], needed: int) -> bool:
    if any(i < len(cells) and _content_of(cells[i]) not in ("text", "empty") for i in places):
        return True
    return len(cells) == width and sum(_is_number(cell) for cell in cells) >= needed


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    try:
        found = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a text longer than any cell
        found = line.split(delimiter)
    return [cell.strip() for cell in found]


@lru_cache(maxsize=4096)
def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _delimiter(lines: Sequence[str]) -> str:
    """What gives the most cells that are numbers or times; of a header alone, what it has most."""
    filled = [line for line in lines if line.strip()]
    looked = filled[1:][-_FEW:] or filled

    def score(delimiter: str) -> tuple[float, int]:
        cells = [_split(line, delimiter) for line in looked]
        useful = sum(_content_of(cell) not in ("text", "empty") for row in cells for cell in row)
        alone = sum(len(row) < 2 for row in cells)
        return useful / len(looked) - alone, filled[0].count(delimiter)

    best = max(_DELIMITERS[:-1], key=score)
    # A blank stands in most times; it only parts the values where nothing else does.
    return " " if score(best)[0] < 2 <= score(" ")[0] and " " in filled[-1].strip() else best


def _start(
    lines: Sequence[str], cells: Sequence[list[str]], given: CsvOptions, needed: int
) -> tuple[int, int, int]:
    """The line of the first row, the header lines before it, and how many values a row has."""
    if given.header is not None:
        start = (given.skip_rows or 0) + given.header
        rows = [c for c in cells[start:] if any(c)]
        width = 1
        if rows:
            width = Counter(map(len, rows)).most_common(1)[0][0]
        elif given.header:
            width = len(cells[start - 1]) if start <= len(cells) else 1
        return start, given.header, len(given.names) or width
    skip = given.skip_rows or 0
    like_rows = (
        i
        for i, c in enumerate(cells[skip:], skip)
        if len(c) > 1 and sum(map(_is_number, c)) >= needed and _has_time(c)
    )
    numbers = list(islice(like_rows, _FEW))
    if not numbers:
        first = next((i for i in range(skip, len(lines)) if lines[i].strip()), skip)
        return first + 1, 1, len(cells[first])
    width = Counter(len(cells[i]) for i in numbers).most_common(1)[0][0]
    start = numbers[0]
    # A row that is broken is still a row: only lines without any value stand before the first.
    while start > skip and any(_is_value(cell) for cell in cells[start - 1]):
        if len(cells[start - 1]) != width:
            break
        start -= 1
    header = _header_lines(lines, cells, skip, start, width)
    return start, header, width


def _header_lines(
    lines: Sequence[str], cells: Sequence[list[str]], skip: int, start: int, width: int
) -> int:
    """How many lines straight before the first row are made of names."""
    count = 0
    while start - count > skip:
        row = cells[start - count - 1]
        if not lines[start - count - 1].strip():
            if count or recognised(cells[start - count - 2] if start - count > 1 else []) < 2:
                break
            count += 1
            continue
        if abs(len(row) - width) > 1 or len(row) < 2 or any(_is_value(cell) for cell in row):
            break
        count += 1
    return count


def _is_value(cell: str) -> bool:
    return _is_number(cell) or _content_of(cell) not in ("text", "empty")


def _has_time(cells: Sequence[str]) -> bool:
    return any(_content_of(cell) not in ("text", "empty", "number") for cell in cells) or any(
        re.fullmatch(r"\d{4,}", cell) for cell in cells
    )


def _names(
    file: str,
    cells: Sequence[list[str]],
    start: int,
    header: int,
    width: int,
    sample: Sequence[list[str]],
    given: CsvOptions,
) -> tuple[tuple[str, ...], list[list[str]]]:
    """The columns' names, and header lines that are beside those with names."""
    if given.names:
        if sample and len(given.names) != width:
            raise DataError(
                f"{file}: data.csv.names has {len(given.names)} names, but rows have {width} "
                f"values; name them all, in their order"
            )
        return _distinct(list(given.names)), []
    above = [row for row in cells[start - header : start] if any(row)]
    if not above:
        return tuple(f"column {i + 1}" for i in range(width)), []
    best = max(above, key=lambda row: (recognised(row), above.index(row)))
    others = [row for row in above if row is not best]
    names = _fitted(best, width, sample)
    for i, name in enumerate(names):
        if recognised([name]):
            continue
        names[i] = next((o[i] for o in others if i < len(o) and recognised([o[i]])), name)
    return _distinct(names), others


def _fitted(names: Sequence[str], width: int, sample: Sequence[list[str]]) -> list[str]:
    """Names for as many columns as rows have."""
    names = list(names)
    while len(names) > width and not names[-1]:
        names.pop()
    if len(names) < width:
        ends_empty = all(not row[-1] for row in sample)
        lacking = [""] * (width - len(names))
        names = names + lacking if ends_empty else lacking + names
    return names[:width] if sample else names


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    made = []
    for name in names:
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name}.{seen[name] - 1}")
    return tuple(made)


@lru_cache(maxsize=4096)
def _content_of(value: str) -> Content:
    return _content([value])


def _content(values: Sequence[str]) -> Content:
    filled = [value for value in values if value.lower() not in _MISSING]
    if not filled:
        return "empty"
    if all(re.fullmatch(r"[0-9.eE+]+", value) for value in filled):
        return _numeric_content(filled)
    kinds: set[Content] = set()
    for value in filled:
        if _is_number(value):
            kinds.add("number")
            continue
        found = looked_at(value) if value[0].isalnum() else None
        if found is None:
            return "text"
        if not found.has_date:
            kinds.add("time")
        elif not found.has_time:
            kinds.add("date")
        else:
            kinds.add("zoned" if found.zoned else "datetime")
    if kinds == {"datetime"} and all(_MIDNIGHT.search(value) for value in filled):
        return "date"
    if kinds == {"date", "datetime"}:
        return "datetime"
    return kinds.pop() if len(kinds) == 1 else "text"


def _numeric_content(values: Sequence[str]) -> Content:
    if all(_is_epoch(value) for value in values):
        return "epoch"
    digits = {len(value) for value in values}
    if len(digits) == 1 and all(value.isdecimal() for value in values):
        size = digits.pop()
        if size in (8, 12, 14, 17) and all(looked_at(value) is not None for value in values):
            return "date" if size == 8 and _recent(values) else "datetime" if size > 8 else "number"
    if all(re.fullmatch(r"\d{1,4}\.\d{1,2}\.\d{1,4}", value) for value in values):
        return "date"
    return "number"


def _recent(values: Sequence[str]) -> bool:
    return all(1900 <= int(value[:4]) <= 2100 for value in values)


def _is_epoch(value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return any(_FIRST_S * unit <= number < _LAST_S * unit for unit in _EPOCH_DIGITS.values())


def _with_symbol(file: str, dialect: Dialect, extra: Sequence[list[str]]) -> Dialect:
    """The symbol that a line under the names repeats for each of them, as yfinance writes it."""
    for row in extra:
        of_columns = {cell for cell in row[1:] if cell}
        if not of_columns or recognised(sorted(of_columns)) >= len(of_columns):
            continue
        if len(of_columns) == 1 and len(row) > 2:
            return replace(dialect, symbol=of_columns.pop())
        if folded(row[0]) in ("ticker", "tickers", "symbol", "symbols"):
            shown = ", ".join(sorted(of_columns)[:3])
            raise DataError(
                f"{file}: has the columns of several symbols side by side ({shown}); write a row a "
                'symbol and time: in pandas, df.stack(level="Ticker", future_stack=True).to_csv(…)'
            )
    return dialect


_FLAGS = frozenset({"true", "false", "buy", "sell"})
"""What stands behind a time and tells of a trade, not of a symbol."""


def _with_roles(dialect: Dialect, sample: Sequence[list[str]], options: DataOptions) -> Dialect:
    """Without a header the columns are known by what they hold, where that leaves no doubt."""
    names, contents = dialect.names, dialect.contents
    moments = [i for i, c in enumerate(contents) if c in ("zoned", "epoch", "datetime")]
    days = [i for i, c in enumerate(contents) if c == "date"]
    roles: dict[str, str] = {}
    after = -1
    times: tuple[str, ...] = ()
    if moments:
        times, after = (names[moments[0]],), moments[0]
    elif days and days[0] + 1 < len(names) and contents[days[0] + 1] in ("time", "number"):
        following = [row[days[0] + 1] for row in sample]
        if contents[days[0] + 1] == "time" or all(_is_clock(value) for value in following):
            times, after = (names[days[0]], names[days[0] + 1]), days[0] + 1
    if after < 0:
        return dialect
    texts = [i for i, c in enumerate(contents[: after + 2]) if c == "text"]
    flags = {row[texts[0]].lower() for row in sample if texts and texts[0] < len(row)} <= _FLAGS
    if len(texts) == 1 and not (flags and texts[0] > after):
        roles["symbol"] = names[texts[0]]
    numbers = [i for i in range(after + 1, len(names)) if contents[i] in ("number", "epoch")]
    if options.kind == "bars" and len(numbers) >= 4 and _are_ohlc(sample, numbers[:4]):
        roles.update(zip(BAR_COLUMNS, (names[i] for i in numbers[:5]), strict=False))
    elif options.kind == "ticks" and 1 <= len(numbers) <= 2:
        roles.update(zip(("price", "size"), (names[i] for i in numbers), strict=False))
    return replace(dialect, roles=tuple(roles.items()), times=times)


_TICK_VOLUMES = ("tickvol", "tickvolume", "tickvolumes")


def _with_volume(dialect: Dialect, sample: Sequence[list[str]], options: DataOptions) -> Dialect:
    """MetaTrader has a column of volumes that is 0 throughout where it only counts ticks."""
    if options.kind != "bars" or "volume" in options.columns or "volume" in dict(dialect.roles):
        return dialect
    usual = column_of("volume", dialect.names)
    ticks = next((name for name in dialect.names if folded(name) in _TICK_VOLUMES), None)
    if usual is None or ticks is None or usual == ticks:
        return dialect
    at = dialect.names.index(usual)
    if any(row[at].strip("0.") for row in sample):
        return dialect
    return replace(dialect, roles=(*dialect.roles, ("volume", ticks)))


def _is_clock(value: str) -> bool:
    if not re.fullmatch(r"\d{1,6}", value):
        return False
    padded = value.zfill(4 if len(value) <= 4 else 6)
    return int(padded[:2]) < 24 and int(padded[2:4]) < 60 and int(padded[4:] or 0) < 60


def _are_ohlc(sample: Sequence[list[str]], places: Sequence[int]) -> bool:
    """Whether the second of four columns is the highest and the third the lowest."""
    good = seen = 0
    for row in sample:
        values = [_float(row[i]) for i in places]
        if any(value is None for value in values):
            continue
        o, h, l, c = (value or 0.0 for value in values)
        seen += 1
        good += h >= max(o, c) and l <= min(o, c)
    return seen > 0 and good >= 0.95 * seen


def _float(cell: str) -> float | None:
    try:
        return float(cell.replace(",", "."))
    except ValueError:
        return None


def _with_numbers(
    file: str, dialect: Dialect, sample: Sequence[list[str]], options: DataOptions
) -> Dialect:
    """How numbers are written: the sign of decimals, and of thousands."""
    wanted = {name for _, name in dialect.roles} | {
        name for ours in options.number_columns if (name := _value_column(ours, dialect, options))
    }
    places = [i for i, name in enumerate(dialect.names) if name in wanted]
    cells = [row[i] for row in sample for i in places if _is_number(row[i])]
    currency = any(re.search("[$€£₹]", cell) for cell in cells)
    dialect = replace(dialect, currency=currency)
    if options.csv.decimal is not None:
        return dialect
    cells = [re.sub(r"[$€£₹+\s-]*(.*)", r"\1", cell) for cell in cells]
    thousands = options.csv.thousands
    if thousands is not None:
        return replace(dialect, decimal="," if thousands == "." else ".")
    commas = [cell for cell in cells if "," in cell]
    dots = [cell for cell in cells if "." in cell]
    apart = next((m[0] for c in cells if (m := re.search("[' \u00a0\u202f]", c))), None)
    both = [cell for cell in commas if "." in cell]
    if both:
        comma_last = all(cell.rfind(",") > cell.rfind(".") for cell in both)
        return replace(
            dialect, decimal="," if comma_last else ".", thousands="." if comma_last else ","
        )
    if not commas:
        grouped = bool(dots) and all(re.fullmatch(r"\d{1,3}(\.\d{3}){2,}", cell) for cell in dots)
        return replace(
            dialect, thousands="." if grouped else apart, decimal="," if grouped else "."
        )
    if apart is not None:
        return replace(dialect, decimal=",", thousands=apart)
    in_threes = all(re.fullmatch(r"\d{1,3}(,\d{3})+", cell) for cell in commas)
    if not in_threes:
        return replace(dialect, decimal=",", thousands="." if dots else None)
    twice = any(cell.count(",") > 1 for cell in commas)
    long = any(re.fullmatch(r"\d{4,}", cell) for cell in cells)
    if twice or (dots and not long):
        return replace(dialect, thousands=",")
    if long and not dots:
        return replace(dialect, decimal=",")
    raise DataError(
        f'{file}: "{commas[0]}" may have a comma for decimals or for thousands; write '
        'data.csv: {decimal: ","} or data.csv: {thousands: ","}'
    )


def _value_column(ours: str, dialect: Dialect, options: DataOptions) -> str | None:
    mapped = options.columns.get(ours, ours)
    return mapped if mapped in dialect.names else column_of(ours, dialect.names)


def _time_names(dialect: Dialect) -> tuple[str, ...]:
    return dialect.times or time_columns(
        dialect.names, dict(zip(dialect.names, dialect.contents, strict=True))
    )


def _in_nanos(dialect: Dialect, sample: Sequence[list[str]]) -> bool:
    """Whether prices are Databento's whole numbers of 1e-9."""
    known = {folded(name) for name in dialect.names}
    if not {"publisherid", "rtype"} <= known:
        return False
    prices = [n for n in ("open", "high", "low", "close", "price") if n in dialect.names]
    values = [row[dialect.names.index(name)] for row in sample for name in prices]
    filled = [value for value in values if value]
    return bool(filled) and all(re.fullmatch(r"-?\d{7,}", value) for value in filled)
