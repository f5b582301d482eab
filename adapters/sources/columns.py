"""A file's columns as openbell's: which they are, and their values as numpy arrays.

A row's place in its file (1-based) goes along, so that an error and `bad_rows.csv` can name it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters.sources.base import DataOptions
from openbell.adapters.sources.times import NonexistentTimeError, epoch_unit_ns, instants
from openbell.errors import DataError
from openbell.market.bars import Codes, Mask, Prices
from openbell.market.days import DAY_NS, Nanoseconds

Positions = slice | NDArray[np.int64]

_OPTIONAL = ("volume", "size")  # some vendors have none, e.g. for indices
_UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_NUMPY_NAMES = {"halffloat": "float16", "float": "float32", "double": "float64"}


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """Rows of one file as arrays of one length; they are read-only."""

    file: str
    row: int | NDArray[np.int64]
    """1-based data rows in the file, or the first of them when they are consecutive."""
    symbols: tuple[str, ...]
    """What `code` points into; may hold symbols without a row."""
    code: Codes
    ts: Nanoseconds
    """Bar start or tick time, ns UTC."""
    columns: dict[str, Prices]

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def nbytes(self) -> int:
        return self.code.nbytes + self.ts.nbytes + sum(c.nbytes for c in self.columns.values())

    def cut(self, at: Positions) -> Decoded:
        """The rows at some positions: a view for a slice, else a copy."""
        if isinstance(at, slice):
            row = self.row + at.start if isinstance(self.row, int) else self.row[at]
        else:
            row = self.row + at if isinstance(self.row, int) else self.row[at]
        columns = {name: values[at] for name, values in self.columns.items()}
        return Decoded(self.file, row, self.symbols, self.code[at], self.ts[at], columns)

    def present(self) -> tuple[str, ...]:
        """The symbols that have a row."""
        used = np.bincount(self.code, minlength=len(self.symbols)) > 0
        return tuple(s for s, is_used in zip(self.symbols, used.tolist(), strict=True) if is_used)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where openbell's columns are in one file."""

    file: str
    options: DataOptions
    names: Mapping[str, str]
    """Our name to the file's, for those that the file has."""
    parts: tuple[str, ...]
    """The columns that are joined with a blank to make `ts`; empty where it is one column."""
    symbol: str | None
    """The symbol of all rows, where there is no column of symbols."""

    def needed(self, ours: Sequence[str]) -> list[str]:
        """The file's names of the columns that some of ours are made from."""
        found: list[str] = []
        for name in ours:
            if name == "ts" and self.parts:
                found += self.parts
            elif name in self.names:
                found.append(self.names[name])
        return found

    def all_needed(self) -> list[str]:
        return self.needed(("symbol", "ts", *self.options.value_columns))


def plan_columns(
    file: str, existing: Sequence[str], options: DataOptions, symbol: str | None
) -> Plan:
    """Find openbell's columns among a file's.

    `symbol` is what all rows belong to if there is no symbol column; None if that isn't known.

    Raises
    ------
    openbell.errors.DataError
        If one that is needed is missing.
    """
    names: dict[str, str] = {}
    parts: tuple[str, ...] = ()
    for ours in ("symbol", "ts", *options.value_columns):
        theirs = options.columns.get(ours, ours)
        mapped = ours in options.columns
        if theirs in existing:
            names[ours] = theirs
        elif ours == "ts" and mapped and len(theirs.split()) > 1 and _all_in(theirs, existing):
            parts = tuple(theirs.split())
        elif ours == "symbol" and symbol is not None:
            continue
        elif ours not in _OPTIONAL or mapped:
            _missing(file, ours, theirs, existing, options)
    return Plan(file, options, names, parts, symbol if "symbol" not in names else None)


def _all_in(names: str, existing: Sequence[str]) -> bool:
    return all(name in existing for name in names.split())


def _missing(
    file: str, ours: str, theirs: str, existing: Sequence[str], options: DataOptions
) -> NoReturn:
    like = next((name for name in existing if name.strip().lower() == ours), "NAME")
    instead = "set data.symbol, or " if ours == "symbol" else ""
    raise DataError(
        f'{file}: no column "{theirs}", which {options.kind} need; it has {", ".join(existing)}; '
        f"{instead}name it with data.columns, e.g. {{{ours}: {like}}}"
    )


def check_types(plan: Plan, types: Mapping[str, Any]) -> None:
    """Whether the columns' Arrow types can be used.

    Raises
    ------
    openbell.errors.DataError
        If one can't, or if times without a zone need `data.timezone`.
    """
    for ours, theirs in plan.names.items():
        kind = types[theirs]
        if ours == "symbol":
            inner = kind.value_type if pa.types.is_dictionary(kind) else kind
            good, needed = _is_text(inner) or pa.types.is_integer(inner), "text"
        elif ours == "ts":
            good = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind)
            good, needed = good or pa.types.is_integer(kind), "a timestamp, a date or epoch counts"
        else:
            good = pa.types.is_floating(kind) or pa.types.is_integer(kind)
            good, needed = good or pa.types.is_decimal(kind), "a number"
        if not good and not pa.types.is_null(kind):
            raise DataError(
                f'{plan.file}: column "{theirs}" is {kind}; {ours} must be {needed}; the file has '
                f"{', '.join(types)}; data.columns can name another, e.g. {{{ours}: NAME}}"
            )
    if "ts" in plan.names and is_naive(types[plan.names["ts"]]):
        require_timezone(plan)


def is_naive(kind: Any) -> bool:
    """Whether times of an Arrow type carry no zone (text may or may not)."""
    return bool(pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))


def require_timezone(plan: Plan) -> str:
    if plan.options.timezone is None:
        raise DataError(
            f'{plan.file}: column "{_ts_name(plan)}" has times without a zone; set data.timezone '
            "to the zone they are in, e.g. America/New_York, Asia/Kolkata or UTC"
        )
    return plan.options.timezone


def _ts_name(plan: Plan) -> str:
    return " ".join(plan.parts) or plan.names["ts"]


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def decode(plan: Plan, table: Any, first_row: int = 1) -> Decoded:
    """All columns of an Arrow table, whose first row is the file's data row `first_row`.

    Nothing is copied where a column is one chunk of float64 (or timestamp[ns]) without nulls.
    A null price is NaN; a missing volume or size column is 0.0.

    Raises
    ------
    openbell.errors.DataError
        If a time or a symbol is null or can't be understood.
    """
    symbols, code = decode_symbols(plan, table, first_row)
    ts = decode_times(plan, table, first_row)
    columns: dict[str, Prices] = {}
    for ours in plan.options.value_columns:
        if ours not in plan.names:
            columns[ours] = _read_only(np.zeros(len(ts)))
            continue
        values = _floats(table[plan.names[ours]])
        if plan.options.price_scale != 1.0 and ours not in _OPTIONAL:
            values = values * plan.options.price_scale
        columns[ours] = _read_only(values)
    return Decoded(plan.file, first_row, symbols, _read_only(code), _read_only(ts), columns)


def decode_symbols(plan: Plan, table: Any, first_row: int) -> tuple[tuple[str, ...], Codes]:
    """The rows' symbols, and each row's position in them."""
    if plan.symbol is not None:
        return (plan.symbol,), np.zeros(len(table), np.int32)
    column = table[plan.names["symbol"]]
    if pa.types.is_null(column.type) or not len(column):
        _refuse_nulls(plan, plan.names["symbol"], np.ones(len(column), np.bool_), first_row)
        return (), np.empty(0, np.int32)
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.large_string()).dictionary_encode()
    if column.num_chunks > 1:
        column = column.unify_dictionaries()
    indices = pa.chunked_array([chunk.indices for chunk in column.chunks])
    code = _values(indices, _dtype(indices.type)).astype(np.int32, copy=False)
    missing = _nulls(indices)
    names = column.chunk(0).dictionary.to_pylist()
    empty = [i for i, name in enumerate(names) if name is None or name == ""]
    if empty:
        missing = np.isin(code, empty) if missing is None else missing | np.isin(code, empty)
    if missing is not None:
        _refuse_nulls(plan, plan.names["symbol"], missing, first_row)
    return tuple("" if name is None else str(name) for name in names), code


def decode_times(plan: Plan, table: Any, first_row: int) -> Nanoseconds:
    """The rows' times: bar starts or tick times, ns UTC."""
    column = _joined(plan, table) if plan.parts else table[plan.names["ts"]]
    missing = np.ones(len(column), np.bool_) if pa.types.is_null(column.type) else _nulls(column)
    if missing is not None:
        _refuse_nulls(plan, _ts_name(plan), missing, first_row)
    if not len(column):
        return np.empty(0, np.int64)
    naive = is_naive(column.type)
    if pa.types.is_timestamp(column.type):
        ts = _to_ns(plan, _values(column, np.dtype(np.int64)), _UNIT_NS[column.type.unit])
    elif pa.types.is_date(column.type):
        ts = _to_ns(plan, _values(column.cast(pa.date32()), np.dtype(np.int32)), DAY_NS)
    elif pa.types.is_integer(column.type):
        ts = _epochs(plan, _values(column, _dtype(column.type)))
    else:
        ts, naive = _parsed(plan, column, first_row)
    if naive:
        ts = _localised(plan, ts, first_row)
    shift = plan.options.label_shift_ns
    return ts - shift if shift else ts


def _localised(plan: Plan, ts: Nanoseconds, first_row: int) -> Nanoseconds:
    tz = require_timezone(plan)
    try:
        return instants(ts, tz)
    except NonexistentTimeError as error:
        wall = np.datetime64(int(ts[error.position]), "ns").astype("datetime64[s]")
        raise DataError(
            f"{plan.file}: row {first_row + error.position}: {wall} does not exist in {tz}, whose "
            "clock skips it; correct data.timezone"
        ) from None
    except (OverflowError, ValueError):
        raise _out_of_range(plan) from None


def _out_of_range(plan: Plan) -> DataError:
    return DataError(
        f'{plan.file}: column "{_ts_name(plan)}" has times beyond 1678 to 2261; '
        "is its unit right? Write the file again with timestamps"
    )


def _to_ns(plan: Plan, values: NDArray[Any], unit_ns: int) -> Nanoseconds:
    if unit_ns == 1:
        return values.astype(np.int64, copy=False)
    limit = np.iinfo(np.int64).max // unit_ns
    if int(values.max()) > limit or int(values.min()) < -limit:
        raise _out_of_range(plan)
    return values.astype(np.int64) * unit_ns


def _epochs(plan: Plan, values: NDArray[Any]) -> Nanoseconds:
    low, high = int(values.min()), int(values.max())
    if 19_000_101 <= low and high <= 21_001_231:
        # As seconds these would lie in August 1970, when no market wrote files.
        raise DataError(
            f'{plan.file}: column "{_ts_name(plan)}" has numbers such as {low}, which look like '
            "dates; write them as text, 2024-07-01, or as epoch counts"
        )
    return _to_ns(plan, values, epoch_unit_ns(max(high, -low)))


def _joined(plan: Plan, table: Any) -> Any:
    import pyarrow.compute as pc  # 26 ms that only such files pay

    texts = [table[name].cast(pa.string()) for name in plan.parts]
    return pc.binary_join_element_wise(*texts, " ")


def _parsed(plan: Plan, column: Any, first_row: int) -> tuple[Nanoseconds, bool]:
    """Times of text: ISO 8601 with or without an offset, all alike; whether they have none."""
    import pyarrow.compute as pc

    texts = column.cast(pa.string())
    compact = pc.replace_substring_regex(texts, r"^(\d{4})(\d\d)(\d\d)\b", r"\1-\2-\3")
    for tz in (None, "UTC"):
        for candidate in (texts, compact):  # 20240701 09:15 is common, but not known to Arrow
            try:
                parsed = candidate.cast(pa.timestamp("ns", tz))
            except pa.ArrowInvalid:
                continue
            return _values(parsed, np.dtype(np.int64)), tz is None
    row = max(_first_failing(compact, pa.timestamp("ns", tz)) for tz in (None, "UTC"))
    raise DataError(
        f'{plan.file}: row {first_row + row}: {_ts_name(plan)} is "{texts[row].as_py()}"; '
        "write times in ISO 8601, 2024-07-01T09:30:00, in all rows with or in all without offset"
    )


def refuse_text_numbers(plan: Plan, table: Any, first_row: int = 1) -> None:
    """Name the row because of which a column that should hold numbers was read as text."""
    for ours in plan.options.value_columns:
        column = table[plan.names[ours]] if ours in plan.names else None
        if column is None or not _is_text(column.type):
            continue
        row = _first_failing(column, pa.float64())
        raise DataError(
            f'{plan.file}: row {first_row + row}: {plan.names[ours]} is "{column[row].as_py()}", '
            f"not a number; correct the row, or name another column for {ours} with data.columns"
        )


def _first_failing(column: Any, kind: Any) -> int:
    """First position whose cast fails, found by halving; the column's length less 1 if none."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(kind)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _floats(column: Any) -> Prices:
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values = _values(column, _dtype(column.type)).astype(np.float64, copy=False)
    missing = _nulls(column)
    return values if missing is None else np.where(missing, np.nan, values)


def _refuse_nulls(plan: Plan, name: str, missing: Mask, first_row: int) -> None:
    rows = np.flatnonzero(missing)
    if len(rows):
        raise DataError(
            f'{plan.file}: row {first_row + int(rows[0])}: column "{name}" is empty (in '
            f"{len(rows)} rows); fill it in, or take these rows out"
        )


# Array.to_numpy would import pandas, 0.3 s that a run on Parquet files has no other need of.


def _dtype(kind: Any) -> np.dtype[Any]:
    return np.dtype(_NUMPY_NAMES.get(str(kind), str(kind)))


def _values(column: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A column of fixed width as numpy, without a copy if it is one chunk; anything at nulls."""
    arrays = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk) + chunk.offset)[chunk.offset :]
        for chunk in column.chunks
        if len(chunk)
    ]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _nulls(column: Any) -> Mask | None:
    """Where a column is null; None if it nowhere is."""
    if not column.null_count:
        return None
    masks = [np.empty(0, np.bool_)]
    for chunk in column.chunks:
        if chunk.null_count:
            bits = np.frombuffer(chunk.buffers()[0], np.uint8)
            valid = np.unpackbits(bits, bitorder="little", count=chunk.offset + len(chunk))
            masks.append(valid[chunk.offset :] == 0)
        else:
            masks.append(np.zeros(len(chunk), np.bool_))
    return np.concatenate(masks)


def _read_only(values: NDArray[Any]) -> Any:
    values.setflags(write=False)
    return values
