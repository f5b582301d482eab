"""Entries of a log, such as a Redis Stream, as rows: fields are text, one entry holds one row or many."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, Kind, RawRows

Entry = tuple[str, Mapping[bytes, bytes]]
"""Its id, and its fields."""

Refuse = Callable[[str, str, str], None]
"""Gets the kind of what is wrong, which row it is, and what it holds."""

UNITS_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

_OPTIONAL = ("size", "volume")
"""0 where they are not given."""

_ISO = re.compile(r"(.+?[T ].+?)(?:[.,](\d+))?(Z|z|[+-]\d\d(?::?\d\d)?)")
_WHOLE = re.compile(r"[+-]?\d+")
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


class _Unusable(ValueError):
    """A row can't be made of it."""

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
    """

    kind: Kind
    source: str
    ts_unit: str | None = None
    shift_ns: int = 0

    def pieces(self, entries: Iterable[Entry], refuse: Refuse) -> Iterator[Rows | End]:
        """What entries hold, in their order; what is no row is refused and left out."""
        gathered = _Gathered(self.kind, self.source)
        last = ""
        for of, fields in entries:
            try:
                if b"end" in fields and b"symbol" not in fields and b"rows" not in fields:
                    day = _day(fields[b"end"])
                    if len(gathered):
                        yield Rows(gathered.rows(), last)
                        gathered = _Gathered(self.kind, self.source)
                    yield End(day, of)
                elif b"rows" in fields:
                    self._take_many(of, fields[b"rows"], gathered, refuse)
                else:
                    gathered.add(of, 1, *self._row(fields, _BYTES))
            except _Unusable as error:
                refuse(error.kind, f"{self.source} {of}", str(error))
            last = of
        if len(gathered):
            yield Rows(gathered.rows(), last)

    def _row(self, fields: Mapping[Any, Any], spelled: Mapping[str, Any]) -> _Row:
        ts = fields.get(spelled["ts"])
        if ts is None:
            raise _Unusable("ts is missing", f"no ts; it has {_named(fields)}")
        return (
            _symbol(fields.get(spelled["symbol"])),
            self._instant(ts),
            tuple(
                _number(name, fields.get(spelled[name]), self.kind) for name in _columns(self.kind)
            ),
        )

    def _take_many(self, of: str, body: bytes, gathered: _Gathered, refuse: Refuse) -> None:
        if body.lstrip()[:1] in (b"[", b"{"):
            rows = _listed(body)
            for n, row in enumerate(rows, 1):
                try:
                    if not isinstance(row, dict):
                        raise _Unusable("a row is no object", f"{_shown(row)} is no object")
                    gathered.add(of, n, *self._row(row, _TEXT))
                except _Unusable as error:
                    refuse(error.kind, f"{self.source} {of}, row {n}", str(error))
        else:
            self._take_table(of, body, gathered, refuse)

    def _take_table(self, of: str, body: bytes, gathered: _Gathered, refuse: Refuse) -> None:
        import pyarrow as pa

        try:
            with pa.ipc.open_stream(body) as stream:
                table = stream.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
            raise _Unusable(
                "rows can't be read", f"rows is neither a JSON array nor an Arrow stream: {error}"
            ) from None
        for name in ("symbol", "ts", *_columns(self.kind)):
            if name not in table.column_names and name not in _OPTIONAL:
                raise _Unusable(
                    f"{name} is missing", f"rows has no column {name}: {table.column_names}"
                )
        try:
            columns = [
                _floats(table.column(name))
                if name in table.column_names
                else np.zeros(table.num_rows)
                for name in _columns(self.kind)
            ]
            symbols = table.column("symbol").cast(pa.string()).to_pylist()
        except (pa.ArrowException, ValueError) as error:
            raise _Unusable("rows can't be read", f"a column can't be used: {error}") from None
        for n, (symbol, ts, *values) in enumerate(
            zip(symbols, self._times(table.column("ts")), *columns, strict=True), 1
        ):
            try:
                if ts is None:
                    raise _Unusable("ts is missing", "ts is null")
                at = self._instant(ts) if isinstance(ts, str) else self._in_range(ts)
                gathered.add(of, n, _symbol(symbol), at, tuple(values))
            except _Unusable as error:
                refuse(error.kind, f"{self.source} {of}, row {n}", str(error))

    def _times(self, column: Any) -> list[Any]:
        """ns or text of each, None where it is null."""
        import pyarrow as pa

        of = column.type
        if pa.types.is_timestamp(of):
            if of.tz is None:
                raise _Unusable("ts has no zone", "ts is a timestamp without a zone")
            unit = UNITS_NS[of.unit]
            return [None if v is None else v * unit for v in column.cast(pa.int64()).to_pylist()]
        if pa.types.is_integer(of):
            unit = self._unit("ts")
            return [None if v is None else v * unit for v in column.to_pylist()]
        if pa.types.is_string(of) or pa.types.is_large_string(of):
            listed: list[Any] = column.to_pylist()
            return listed
        raise _Unusable("ts is no time", f"ts is of the type {of}")

    def _instant(self, given: Any) -> int:
        if isinstance(given, bytes):
            given = _text("ts", given)
        if isinstance(given, int) and not isinstance(given, bool):
            return self._in_range(given * self._unit(given))
        if not isinstance(given, str):
            raise _Unusable("ts is no time", f"ts is {_shown(given)}")
        if _WHOLE.fullmatch(given):
            if len(given) > 20:
                raise _Unusable("ts is out of range", f"ts is {_shown(given)}")
            return self._in_range(int(given) * self._unit(given))
        return self._in_range(_iso(given))

    def _unit(self, given: Any) -> int:
        if self.ts_unit is None:
            raise _Unusable(
                "ts is a number without a unit",
                f"ts is {_shown(given)}, and feed.options.ts_unit does not say what it counts; "
                "write s, ms, us or ns",
            )
        return UNITS_NS[self.ts_unit]

    def _in_range(self, ns: int) -> int:
        if not -_LARGEST < ns < _LARGEST or not -_LARGEST < ns + self.shift_ns < _LARGEST:
            raise _Unusable("ts is out of range", f"ts comes to {ns} ns")
        return ns + self.shift_ns


_Row = tuple[str, int, tuple[float, ...]]
"""Symbol, ts and the columns."""


@dataclass
class _Gathered:
    """Rows so far."""

    kind: Kind
    source: str
    place: dict[str, int] = field(default_factory=dict)
    code: list[int] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    where: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ts)

    def add(self, of: str, n: int, symbol: str, ts: int, values: tuple[float, ...]) -> None:
        self.code.append(self.place.setdefault(symbol, len(self.place)))
        self.ts.append(ts)
        self.values.append(values)
        self.where.append((of, n))

    def rows(self) -> RawRows:
        where, source = self.where, self.source

        def locate(position: int) -> tuple[str, int]:
            of, n = where[position]
            return f"{source} {of}", n

        columns = np.array(self.values, np.float64)
        return RawRows(
            kind=self.kind,
            symbols=tuple(self.place),
            code=np.array(self.code, np.int32),
            ts=np.array(self.ts, np.int64),
            columns={
                name: np.ascontiguousarray(columns[:, n])
                for n, name in enumerate(_columns(self.kind))
            },
            locate=locate,
        )


def _columns(kind: Kind) -> tuple[str, ...]:
    return TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS


_TEXT = {name: name for name in ("symbol", "ts", *TICK_COLUMNS, *BAR_COLUMNS)}
_BYTES = {name: name.encode() for name in _TEXT}


def _symbol(given: Any) -> str:
    if given is None:
        raise _Unusable("symbol is missing", "no symbol")
    symbol = _text("symbol", given) if isinstance(given, bytes) else given
    if not isinstance(symbol, str) or not symbol.strip():
        raise _Unusable("symbol is no text", f"symbol is {_shown(given)}")
    return symbol


def _number(name: str, given: Any, kind: Kind) -> float:
    if given is None:
        if name in _OPTIONAL:
            return 0.0
        raise _Unusable(f"{name} is missing", f"no {name}; this run takes {kind}, see data.kind")
    text = _text(name, given) if isinstance(given, bytes) else given
    # 1_000 is Python's way to write numbers, nobody else's.
    if isinstance(text, str | int | float) and not isinstance(text, bool) and "_" not in str(text):
        try:
            return float(text)
        except (ValueError, OverflowError):
            pass
    raise _Unusable(f"{name} is no number", f"{name} is {_shown(given)}")


def _iso(text: str) -> int:
    found = _ISO.fullmatch(text.strip())
    if found is None:
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise _Unusable("ts is no time", f"ts is {_shown(text)}") from None
        raise _Unusable("ts has no zone", f"ts is {_shown(text)}, which has no zone")
    fraction = (found[2] or "")[:9].ljust(9, "0")
    return _second(found[1] + found[3].upper()) * 10**9 + int(fraction)


@lru_cache(4096)
def _second(text: str) -> int:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise _Unusable("ts is no time", f"ts is {_shown(text)}") from None


def _day(given: bytes) -> date:
    try:
        return date.fromisoformat(_text("end", given).strip())
    except ValueError:
        raise _Unusable(
            "end is no date", f"end is {_shown(given)}; write e.g. 2024-07-01"
        ) from None


def _listed(body: bytes) -> list[Any]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Unusable("rows can't be read", f"rows is no JSON: {error}") from None
    if not isinstance(rows, list):
        raise _Unusable("rows can't be read", "rows is a JSON object; write an array of objects")
    return rows


def _floats(column: Any) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    import pyarrow as pa

    made: np.ndarray[tuple[int], np.dtype[np.float64]] = column.cast(pa.float64()).to_numpy()
    return made


def _text(name: str, given: bytes) -> str:
    try:
        return given.decode()
    except UnicodeDecodeError:
        raise _Unusable(f"{name} is no text", f"{name} is {_shown(given)}") from None


def _named(fields: Mapping[Any, Any]) -> str:
    return ", ".join(_shown(name) for name in list(fields)[:8]) or "no fields"


def _shown(given: Any) -> str:
    if isinstance(given, bytes):
        given = given[:_SHOWN].decode(errors="backslashreplace")
    return repr(given) if len(repr(given)) <= _SHOWN else f"{repr(given)[:_SHOWN]}…"
