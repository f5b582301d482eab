"""Entries of a log, such as a Redis Stream, as rows: fields are text, one entry holds one row or many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from openbell.adapters.marks import is_partial, trade_number
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind, RawRows

Entry = tuple[str, Mapping[bytes, bytes]]
"""Its id, and its fields."""

Refuse = Callable[[str, str, str], None]
"""Gets the kind of what is wrong, which row it is, and what it holds."""

UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

_OPTIONAL = ("size", "volume")
"""0 where they are not given."""

_ISO = re.compile(r"(.+?[T ].+?)(?:[.,](\d+))?(Z|z|[+-]\d\d(?::?\d\d)?)")
_WHOLE = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?\d+\.\d*(?:[eE][+-]?\d{1,2})?|[+-]?\d+[eE][+-]?\d{1,2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = int(np.iinfo(np.int64).max)
_SHOWN = 80


class Rows(NamedTuple):
    """Rows that came together."""

    rows: RawRows
    last: str
    """Id of the entry with the last of them."""


class End(NamedTuple):
    """No more rows of a day follow."""

    day: date
    id: str


class Unusable(ValueError):
    """A row can't be made of it; `kind` says what is wrong in general."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class Decoder:
    """Makes rows of entries.

    Parameters
    ----------
    kind : str
        Whether they are bars or ticks.
    source : str
        Stands before an entry's id where a row is named.
    ts_unit : str, optional
        What integer times count: `s`, `ms`, `us` or `ns`.
    shift_ns : int
        Added to each time: minus a bar's length where bars are stamped with their ends.
    ts_format, timezone : str, optional
        How times are written that are neither ISO 8601 with a zone nor numbers, in strptime's letters
        (None: as the text tells), and the zone of those that carry none.
    """

    kind: Kind
    source: str
    ts_unit: str | None = None
    shift_ns: int = 0
    ts_format: str | None = None
    timezone: str | None = None

    def pieces(self, entries: Iterable[Entry], refuse: Refuse) -> Iterator[Rows | End]:
        """What entries hold, in their order; what is no row is refused and left out."""
        gathered = Gathered(self.kind, self.source)
        tables: list[_Table] = []
        last = ""
        for of, fields in entries:
            try:
                body = fields.get(b"rows")
                if body is not None and body.lstrip()[:1] not in (b"[", b"{"):
                    table = _Table(of, _table(body))
                    if tables and not tables[0].rows.schema.equals(table.rows.schema):
                        self._take_tables(tables, gathered, refuse)
                        tables = []
                    tables.append(table)
                    last = of
                    continue
                self._take_tables(tables, gathered, refuse)
                tables = []
                if body is not None:
                    self._take_listed(of, body, gathered, refuse)
                elif b"end" in fields and b"symbol" not in fields:
                    day = _day(fields[b"end"])
                    if len(gathered):
                        yield Rows(gathered.rows(), last)
                        gathered = Gathered(self.kind, self.source)
                    yield End(day, of)
                else:
                    gathered.add(of, 1, *self._row(fields, _BYTES))
            except Unusable as error:
                self._take_tables(tables, gathered, refuse)
                tables = []
                refuse(error.kind, f"{self.source} {of}", str(error))
            last = of
        self._take_tables(tables, gathered, refuse)
        if len(gathered):
            yield Rows(gathered.rows(), last)

    def row(self, fields: Mapping[str, Any]) -> Row:
        """A row of values by our names.

        Raises
        ------
        Unusable
        """
        return self._row(fields, _TEXT)

    def _row(self, fields: Mapping[Any, Any], spelled: Mapping[str, Any]) -> Row:
        ts = fields.get(spelled["ts"])
        if ts is None:
            raise Unusable("ts is missing", f"no ts; it has {_named(fields)}")
        return (
            _symbol(fields.get(spelled["symbol"])),
            self._instant(ts),
            (
                *(
                    _number(name, fields.get(spelled[name]), self.kind)
                    for name in columns_of(self.kind)
                ),
                _mark(self.kind, fields.get(spelled[EXTRAS[self.kind][0]])),
            ),
        )

    def _take_listed(self, of: str, body: bytes, gathered: Gathered, refuse: Refuse) -> None:
        for n, row in enumerate(_listed(body), 1):
            try:
                if not isinstance(row, dict):
                    raise Unusable("a row is no object", f"{shown(row)} is no object")
                gathered.add(of, n, *self._row(row, _TEXT))
            except Unusable as error:
                refuse(error.kind, f"{self.source} {of}, row {n}", str(error))

    def _take_tables(self, tables: list[_Table], gathered: Gathered, refuse: Refuse) -> None:
        """Rows of tables that are alike, all at once: there may be many small ones."""
        if not tables:
            return
        try:
            columns = self._columns_of(tables)
        except Unusable as error:
            if len(tables) == 1:
                refuse(error.kind, f"{self.source} {tables[0].id}", str(error))
                return
            for table in tables:
                self._take_tables([table], gathered, refuse)
            return
        good, entries, numbers = columns.good, columns.entries, columns.numbers
        for n in np.flatnonzero(~good).tolist():
            try:
                code = columns.code[n]
                self._unusable(columns.names[code] if code >= 0 else None, columns.given_ts[n])
            except Unusable as error:
                refuse(error.kind, f"{self.source} {entries[n]}, row {numbers[n]}", str(error))
        if good.all():
            gathered.add_all(
                columns.names, columns.code, columns.ts, columns.values, entries, numbers
            )
            return
        at = np.flatnonzero(good)
        gathered.add_all(
            columns.names,
            columns.code[at],
            columns.ts[at],
            columns.values[at],
            [entries[n] for n in at],
            [numbers[n] for n in at],
        )

    def _columns_of(self, tables: list[_Table]) -> _TableColumns:
        import pyarrow as pa

        table = tables[0].rows if len(tables) == 1 else pa.concat_tables([t.rows for t in tables])
        for name in ("symbol", "ts", *columns_of(self.kind)):
            if name not in table.column_names and name not in _OPTIONAL:
                raise Unusable(
                    f"{name} is missing", f"rows has no column {name}: {table.column_names}"
                )
        try:
            values = [
                _floats(table.column(name))
                if name in table.column_names
                else np.zeros(table.num_rows)
                for name in columns_of(self.kind)
            ]
            extra = EXTRAS[self.kind][0]
            marks = table.column(extra).to_pylist() if extra in table.column_names else [None]
            told = np.array([_mark(self.kind, mark) for mark in marks])
            values.append(np.broadcast_to(told, table.num_rows))
            symbols = table.column("symbol").cast(pa.string()).to_pylist()
        except (pa.ArrowException, ValueError) as error:
            raise Unusable("rows can't be read", f"a column can't be used: {error}") from None
        names, code = _coded(symbols)
        ts, good = self._times(table.column("ts"))
        good &= (code >= 0) & np.array([*map(_is_symbol, names), False])[code]
        return _TableColumns(
            names,
            code,
            table.column("ts"),
            ts,
            np.array(values).T,
            good,
            [of for of, rows in tables for _ in range(len(rows))],
            [n for _, rows in tables for n in range(1, len(rows) + 1)],
        )

    def _times(self, column: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """ns of each, and of which there are any."""
        import pyarrow as pa

        of = column.type
        if pa.types.is_timestamp(of):
            if of.tz is None:
                raise Unusable("ts has no zone", "ts is a timestamp without a zone")
            return self._whole(column.cast(pa.int64()), UNITS_NS[of.unit])
        if pa.types.is_integer(of):
            return self._whole(column, self._unit("ts"))
        if pa.types.is_string(of) or pa.types.is_large_string(of):
            ts, good = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
            for n, text in enumerate(column.to_pylist()):
                with suppress(Unusable):
                    ts[n] = self._instant(text)
                    good[n] = True
            return ts, good
        raise Unusable("ts is no time", f"ts is of the type {of}")

    def _whole(self, column: Any, unit: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        missing = np.zeros(len(column), np.bool_)
        if column.null_count:
            missing = np.asarray(column.is_null())
            column = column.fill_null(0)
        counts = np.asarray(column)
        most = (_LARGEST - abs(self.shift_ns)) // unit
        good = ~missing & (counts < most) & (counts > -most if counts.dtype.kind == "i" else True)
        return np.where(good, counts, 0).astype(np.int64) * unit + self.shift_ns, good

    def _unusable(self, symbol: str | None, ts: Any) -> None:
        """Say what is wrong with a row of a table.

        Raises
        ------
        Unusable
        """
        import pyarrow as pa

        given = (
            ts.as_py() if pa.types.is_string(ts.type) or pa.types.is_large_string(ts.type) else ts
        )
        if not ts.is_valid:
            raise Unusable("ts is missing", "ts is null")
        if given is not ts:
            self._instant(given)
        else:
            unit = UNITS_NS[ts.type.unit] if pa.types.is_timestamp(ts.type) else self._unit("ts")
            count = ts.value if pa.types.is_timestamp(ts.type) else ts.as_py()
            self._in_range(count * unit)
        _symbol(symbol)

    def _instant(self, given: Any) -> int:
        if isinstance(given, bytes):
            given = _text("ts", given)
        if isinstance(given, int) and not isinstance(given, bool):
            return self._in_range(given * self._unit(given))
        if isinstance(given, float):
            given = repr(given)  # the digits that were sent, not their binary neighbour
        if not isinstance(given, str):
            raise Unusable("ts is no time", f"ts is {shown(given)}")
        if self.ts_format is not None:
            return self._in_range(_formatted(given, self.ts_format, self.timezone))
        if _WHOLE.fullmatch(given):
            if len(given) > 20:
                raise Unusable("ts is out of range", f"ts is {shown(given)}")
            return self._in_range(int(given) * self._unit(given))
        if _DECIMAL.fullmatch(given):
            if len(given) > 40:
                raise Unusable("ts is out of range", f"ts is {shown(given)}")
            return self._in_range(int(Decimal(given) * self._unit(given)))
        if self.timezone is not None and _ISO.fullmatch(given.strip()) is None:
            return self._in_range(_formatted(given, None, self.timezone))
        return self._in_range(_iso(given))

    def _unit(self, given: Any) -> int:
        if self.ts_unit is None:
            raise Unusable(
                "ts is a number without a unit",
                f"ts is {shown(given)}, and feed.options.ts_unit does not say what it counts; "
                "write s, ms, us or ns",
            )
        return UNITS_NS[self.ts_unit]

    def _in_range(self, ns: int) -> int:
        if not -_LARGEST < ns < _LARGEST or not -_LARGEST < ns + self.shift_ns < _LARGEST:
            raise Unusable("ts is out of range", f"ts comes to {ns} ns")
        return ns + self.shift_ns


Row = tuple[str, int, tuple[float, ...]]
"""Symbol, ts and the columns, at last the one of `EXTRAS`."""


class _Table(NamedTuple):
    """An entry that holds an Arrow stream."""

    id: str
    rows: Any


class _TableColumns(NamedTuple):
    """Columns of tables, one after another."""

    names: list[str]
    """Symbols."""
    code: NDArray[np.int32]
    """On `names`; -1 where there is none."""
    given_ts: Any
    ts: NDArray[np.int64]
    values: NDArray[np.float64]
    good: NDArray[np.bool_]
    """Which rows can be used."""
    entries: list[str]
    numbers: list[int]
    """Of each row within its entry, from 1."""


class _Part(NamedTuple):
    """Rows of one entry or of several, as columns."""

    code: NDArray[np.int32]
    ts: NDArray[np.int64]
    values: NDArray[np.float64]
    """(n, columns), at last the one of `EXTRAS`."""
    entries: Sequence[str]
    numbers: Sequence[int]
    """Of each within its entry, from 1."""


@dataclass
class Gathered:
    """Rows so far."""

    kind: Kind
    source: str
    place: dict[str, int] = field(default_factory=dict)
    parts: list[_Part] = field(default_factory=list)
    code: list[int] = field(default_factory=list)
    """Of rows that came one by one after the last part, as are those that follow."""
    ts: list[int] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    entries: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ts) + sum(len(part.ts) for part in self.parts)

    def add(self, of: str, n: int, symbol: str, ts: int, values: tuple[float, ...]) -> None:
        self.code.append(self.place.setdefault(symbol, len(self.place)))
        self.ts.append(ts)
        self.values.append(values)
        self.entries.append(of)
        self.numbers.append(n)

    def add_all(
        self,
        names: Sequence[str],
        code: NDArray[np.int32],
        ts: NDArray[np.int64],
        values: NDArray[np.float64],
        entries: Sequence[str],
        numbers: Sequence[int],
    ) -> None:
        """Rows as columns; `code` is on `names`."""
        if not len(ts):
            return
        self._close()
        place = np.zeros(len(names), np.int32)
        for known in np.unique(code).tolist():
            place[known] = self.place.setdefault(names[known], len(self.place))
        self.parts.append(_Part(place[code], ts, values, entries, numbers))

    def _close(self) -> None:
        if self.ts:
            code, ts = np.array(self.code, np.int32), np.array(self.ts, np.int64)
            values = np.array(self.values, np.float64)
            self.parts.append(_Part(code, ts, values, self.entries, self.numbers))
            self.code, self.ts, self.values = [], [], []
            self.entries, self.numbers = [], []

    def rows(self) -> RawRows:
        self._close()
        parts, source = self.parts, self.source
        stops = np.cumsum([len(part.ts) for part in parts])

        def locate(position: int) -> tuple[str, int]:
            which = int(stops.searchsorted(position, side="right"))
            part, at = parts[which], position - (int(stops[which - 1]) if which else 0)
            return f"{source} {part.entries[at]}", part.numbers[at]

        columns = np.concatenate([part.values for part in parts])
        names, marks = columns_of(self.kind), columns[:, -1]
        if ((marks > 0) if self.kind == "bars" else ~np.isnan(marks)).any():
            names = (*names, *EXTRAS[self.kind])
        return RawRows(
            kind=self.kind,
            symbols=tuple(self.place),
            code=np.concatenate([part.code for part in parts]),
            ts=np.concatenate([part.ts for part in parts]),
            columns={name: np.ascontiguousarray(columns[:, n]) for n, name in enumerate(names)},
            locate=locate,
        )


def columns_of(kind: Kind) -> tuple[str, ...]:
    return TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS


_NAMES = ("symbol", "ts", *TICK_COLUMNS, *BAR_COLUMNS, *EXTRAS["ticks"], *EXTRAS["bars"])
_TEXT = {name: name for name in _NAMES}
_BYTES = {name: name.encode() for name in _TEXT}


def _mark(kind: Kind, given: Any) -> float:
    """The number of a trade, or whether a bar is marked as partial."""
    if isinstance(given, bytes):
        given = given.decode(errors="backslashreplace")
    return trade_number(given) if kind == "ticks" else float(is_partial(given))


def _coded(symbols: Iterable[str | None]) -> tuple[list[str], NDArray[np.int32]]:
    """The texts that there are, and which of them each row has; -1 where it has none."""
    place: dict[str | None, int] = {None: -1}
    code = [place.setdefault(symbol, len(place) - 1) for symbol in symbols]
    return [name for name in place if name is not None], np.array(code, np.int32)


def _is_symbol(given: Any) -> bool:
    return isinstance(given, str) and bool(given.strip())


def _symbol(given: Any) -> str:
    if given is None:
        raise Unusable("symbol is missing", "no symbol")
    symbol = _text("symbol", given) if isinstance(given, bytes) else given
    if not _is_symbol(symbol):
        raise Unusable("symbol is no text", f"symbol is {shown(given)}")
    return str(symbol)


def _number(name: str, given: Any, kind: Kind) -> float:
    if given is None:
        if name in _OPTIONAL:
            return 0.0
        raise Unusable(f"{name} is missing", f"no {name}; this run takes {kind}, see data.kind")
    text = _text(name, given) if isinstance(given, bytes) else given
    # 1_000 is Python's way to write numbers, nobody else's.
    if isinstance(text, str | int | float) and not isinstance(text, bool) and "_" not in str(text):
        try:
            return float(text)
        except (ValueError, OverflowError):
            pass
    raise Unusable(f"{name} is no number", f"{name} is {shown(given)}")


def _iso(text: str) -> int:
    found = _ISO.fullmatch(text.strip())
    if found is None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise Unusable("ts is no time", f"ts is {shown(text)}") from None
        raise Unusable("ts has no zone", f"ts is {shown(text)}, which has no zone")
    fraction = (found[2] or "")[:9].ljust(9, "0")
    return _second(found[1] + found[3].upper()) * 10**9 + int(fraction)


@lru_cache(4096)
def _formatted(text: str, form: str | None, zone: str | None) -> int:
    """An instant of a text as files have them, ns UTC."""
    import pyarrow as pa

    from openbell.adapters.sources.clockchange import RepeatedTimeError, later_by
    from openbell.adapters.sources.times import NonexistentTimeError, instants
    from openbell.adapters.sources.timetexts import (
        AmbiguousOrderError,
        BadTimeError,
        Style,
        parse_times,
    )

    def localised(walls: NDArray[np.int64], rows: NDArray[np.int64], of: str) -> NDArray[np.int64]:
        found = instants(walls, of)
        if later_by(walls, of).any():
            raise RepeatedTimeError(0)
        return found

    try:
        walls, naive = parse_times(pa.array([text.strip()]), Style(form=form, zone=zone), localised)
        if naive:
            if zone is None:
                raise Unusable("ts has no zone", f"ts is {shown(text)}, which has no zone")
            walls = localised(walls, np.zeros(1, np.int64), zone)
    except AmbiguousOrderError:
        raise Unusable(
            "day and month can't be told apart",
            f"ts is {shown(text)}; write feed.options.ts_format, e.g. %d.%m.%Y %H:%M:%S",
        ) from None
    except NonexistentTimeError:
        raise Unusable("ts does not exist", f"{zone} skips {shown(text)}") from None
    except RepeatedTimeError:
        raise Unusable("ts comes twice", f"{zone} has {shown(text)} twice") from None
    except (BadTimeError, ValueError, OverflowError):
        raise Unusable("ts is no time", f"ts is {shown(text)}") from None
    return int(walls[0])


@lru_cache(4096)
def _second(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise Unusable("ts is no time", f"ts is {shown(text)}") from None


def _day(given: bytes) -> date:
    try:
        return date.fromisoformat(_text("end", given).strip())
    except ValueError:
        raise Unusable("end is no date", f"end is {shown(given)}; write e.g. 2024-07-01") from None


def _table(body: bytes) -> Any:
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(body) as stream:
            table = stream.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise Unusable(
            "rows can't be read", f"rows is neither a JSON array nor an Arrow stream: {error}"
        ) from None
    return table


def _listed(body: bytes) -> list[Any]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unusable("rows can't be read", f"rows is no JSON: {error}") from None
    if not isinstance(rows, list):
        raise Unusable("rows can't be read", "rows is a JSON object; write an array of objects")
    return rows


def _floats(column: Any) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    import pyarrow as pa

    made: np.ndarray[tuple[int], np.dtype[np.float64]] = column.cast(pa.float64()).to_numpy()
    return made


def _text(name: str, given: bytes) -> str:
    try:
        return given.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{name} is no text", f"{name} is {shown(given)}") from None


def _named(fields: Mapping[Any, Any]) -> str:
    return ", ".join(shown(name) for name in list(fields)[:8]) or "no fields"


def shown(given: Any) -> str:
    if isinstance(given, bytes):
        given = given[:_SHOWN].decode(errors="backslashreplace")
    return repr(given) if len(repr(given)) <= _SHOWN else f"{repr(given)[:_SHOWN]}…"
