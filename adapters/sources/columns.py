"""A file's columns as openbell's: which they are, and their values as numpy arrays.

A row's place in its file (1-based) goes along, so that an error and `bad_rows.csv` can name it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters.marks import is_partial, trade_number
from openbell.adapters.sources.base import DataOptions
from openbell.adapters.sources.clockchange import RepeatedTimeError, instants_in_order
from openbell.adapters.sources.names import taken_apart
from openbell.adapters.sources.roles import (
    Content,
    column_of,
    folded,
    time_columns,
    written_as,
)
from openbell.adapters.sources.times import (
    NonexistentTimeError,
    compact_times,
    epoch_unit_ns,
    epochs_by_size,
    spreadsheet_times,
)
from openbell.adapters.sources.timetexts import (
    AmbiguousOrderError,
    BadTimeError,
    Style,
    parse_times,
)
from openbell.errors import DataError
from openbell.market.bars import Codes, Mask, Prices
from openbell.market.days import DAY_NS, MINUTE_NS, Nanoseconds, distinct
from openbell.market.prices import as_written, from_float32, scaled

Positions = slice | NDArray[np.int64]

_VOLUME_LIKE = re.compile(r"vol|qty|quant|contracts|shares|turnover|lots|amount", re.IGNORECASE)
_OPTIONAL = ("volume", "size")  # some vendors have none, e.g. for indices
_NO_NANOS = float(2**63 - 1)
"""What stands for no price where prices are whole numbers of 1e-9."""
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
class Found:
    """What was seen of a file's columns, beyond their names."""

    contents: Mapping[str, Content] = field(default_factory=dict)
    """By name; empty where nobody looked."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Our name to the file's, of columns that are known by what they hold."""
    times: tuple[str, ...] = ()
    """The column of the times, or those of date and time of day, likewise."""
    zone: str | None = None
    """Of times that carry none, where the file tells it."""
    named: bool = False
    """Whether the names are the configuration's own, in which case ours stand for themselves."""
    nanos: bool = False
    """Whether prices are whole numbers of 1e-9."""


NOTHING = Found()


class OpenDatesError(DataError):
    """Nothing in a file tells the day from the month; other files of its kind may."""


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
    zone: str | None = None
    """Of times that carry none; None: not known."""
    nanos: bool = False
    """Whether prices are whole numbers of 1e-9."""

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
        return list(dict.fromkeys(self.needed(("symbol", "ts", *self.options.value_columns))))


def plan_columns(
    file: str,
    existing: Sequence[str],
    options: DataOptions,
    symbol: str | None,
    found: Found = NOTHING,
) -> Plan:
    """Find openbell's columns among a file's.

    Those that `data.columns` names are meant; else it is the one with our name, or with a name
    that vendors use for it. `symbol` is what all rows belong to if there is no symbol column;
    None if that isn't known.

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
        if mapped and found.named and theirs not in existing:
            theirs, mapped = ours, not _is_named(ours, existing)
        if ours == "ts":
            times = _times(theirs, existing) if mapped else ()
            if not mapped:
                exact = (ours,) if ours in existing else ()
                times = exact or found.times or time_columns(existing, found.contents or None)
            if len(times) > 1:
                parts = times
            elif times:
                names[ours] = times[0]
        elif ours == "symbol" and not mapped:
            column = symbol_column(existing, options, found)
            if column is not None:
                names[ours] = column
        elif theirs in existing:
            names[ours] = theirs
        elif mapped:
            names.update({ours: same} if (same := written_as(theirs, existing)) else {})
        else:
            taken = {*parts, *names.values()}
            column = found.roles.get(ours) or column_of(
                ours, [name for name in existing if name not in taken]
            )
            names.update({ours: column} if column else {})
        if ours in names or (ours == "ts" and parts) or (ours == "symbol" and symbol is not None):
            continue
        if ours not in (*_OPTIONAL, "partial") or mapped:
            _missing(file, ours, theirs, existing, options)
    return Plan(
        file,
        options,
        names,
        parts,
        symbol if "symbol" not in names else None,
        options.timezone or found.zone,
        found.nanos,
    )


def taken_as_zero(plan: Plan, existing: Sequence[str]) -> Iterator[str]:
    """What is not read although it may be a volume, for people."""
    for ours in _OPTIONAL:
        if ours not in plan.options.value_columns or ours in plan.names:
            continue
        used = {*plan.all_needed()}
        like = [name for name in existing if name not in used and _VOLUME_LIKE.search(name)]
        if like:
            yield (
                f"{ours} is taken as 0, as no column is known to be it; if {like[0]} is, write "
                f'data.columns: {{{ours}: "{like[0]}"}}'
            )


def _is_named(ours: str, existing: Sequence[str]) -> bool:
    return ours in existing or (ours == "ts" and len(time_columns(existing)) > 0)


def symbol_column(
    existing: Sequence[str], options: DataOptions, found: Found = NOTHING
) -> str | None:
    """The column of symbols; None where there is none.

    One that is only known by another name does not stand up to `data.symbol`.
    """
    theirs = options.columns.get("symbol", "symbol")
    if theirs in existing:
        return theirs
    if "symbol" in options.columns:
        return written_as(theirs, existing)
    if options.symbol is not None:
        return None
    return found.roles.get("symbol") or column_of("symbol", existing)


def _times(theirs: str, existing: Sequence[str]) -> tuple[str, ...]:
    """The columns that `data.columns.ts` names: one, or two with a blank between them."""
    if theirs in existing:
        return (theirs,)
    words = theirs.split()
    for at in range(1, len(words)):
        both = (" ".join(words[:at]), " ".join(words[at:]))
        named = [n if n in existing else written_as(n, existing) for n in both]
        if named[0] is not None and named[1] is not None:
            return (named[0], named[1])
    same = written_as(theirs, existing)
    return (same,) if same is not None else ()


def _missing(
    file: str, ours: str, theirs: str, existing: Sequence[str], options: DataOptions
) -> NoReturn:
    near = get_close_matches(ours, {folded(name): name for name in existing}, n=1, cutoff=0.6)
    like = next((name for name in existing if [folded(name)] == near), None)
    example = f": {{{ours}: {json.dumps(like, ensure_ascii=False)}}}" if like is not None else ""
    advice = f"name it with data.columns{example}"
    if ours == "open" and column_of("price", existing) and not column_of("high", existing):
        advice = "if these are ticks, write data.kind: ticks; else " + advice
    if ours == "symbol":
        advice = f"set data.symbol: {_likely_symbol(file)} for all rows, or {advice}"
    held = ", ".join(existing) or "no columns"
    raise DataError(
        f'{file}: no column "{theirs}", which {options.kind} need; it has {held}; {advice}'
    )


def _likely_symbol(file: str) -> str:
    """A symbol that a file's name could mean, for a message."""
    stem = re.split(r"[/\\]", file)[-1].partition(".")[0]
    rest = taken_apart(stem).rest
    return rest if re.fullmatch(r"[A-Za-z][\w-]*", rest) else "AAPL"


def check_types(plan: Plan, types: Mapping[str, Any]) -> None:
    """Whether the columns' Arrow types can be used.

    Raises
    ------
    openbell.errors.DataError
        If one can't, or if times without a zone need `data.timezone`.
    """
    for ours, theirs in plan.names.items():
        kind = plain_type(types[theirs])
        if ours == "symbol":
            good, needed = _is_text(kind) or pa.types.is_integer(kind), "text"
        elif ours == "ts":
            good = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind)
            good = good or pa.types.is_integer(kind) or pa.types.is_floating(kind)
            needed = "a timestamp, a date or epoch counts"
        elif ours in plan.options.extras:
            continue
        else:
            good = pa.types.is_floating(kind) or pa.types.is_integer(kind) or _is_text(kind)
            good, needed = good or pa.types.is_decimal(kind), "a number"
        if ours == "ts" and pa.types.is_time(kind):
            raise DataError(
                f'{plan.file}: column "{theirs}" has times of day without a date; name both '
                "columns with data.columns, e.g. {ts: Date Time}"
            )
        if not good and not pa.types.is_null(kind):
            raise DataError(
                f'{plan.file}: column "{theirs}" is {kind}; {ours} must be {needed}; the file has '
                f"{', '.join(types)}; data.columns can name another for {ours}"
            )
    if "ts" in plan.names and is_naive(plain_type(types[plan.names["ts"]])):
        require_timezone(plan)


def plain_type(kind: Any) -> Any:
    """The type of a column's values, however they are stored: as dictionary, in runs, as bytes."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return pa.large_string()
    return kind


def _plain(plan: Plan, table: Any, name: str) -> Any:
    """A column with values of a plain type; the same one where it has them."""
    column = table[name]
    wanted = plain_type(column.type)
    if wanted == column.type:
        return column
    try:
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([c.storage for c in column.chunks], column.type.storage_type)
        if pa.types.is_run_end_encoded(column.type):
            import pyarrow.compute as pc

            column = pc.run_end_decode(column)
        if pa.types.is_fixed_size_binary(column.type):
            column = column.cast(pa.binary())
        return column.cast(wanted) if column.type != wanted else column
    except (pa.ArrowException, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f'{plan.file}: column "{name}" is {table[name].type}, which can\'t be read ({reason}); '
            f"write it as {'text' if _is_text(wanted) else wanted}"
        ) from None


def is_naive(kind: Any) -> bool:
    """Whether times of an Arrow type carry no zone (text may or may not)."""
    return bool(pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))


def require_timezone(plan: Plan) -> str:
    if plan.zone is None:
        exchange = plan.options.exchange_zone
        local = f": {exchange} if they are local to the exchange, or" if exchange else ""
        raise DataError(
            f'{plan.file}: column "{_ts_name(plan)}" has times without a zone; set data.timezone'
            f"{local} to the zone they are in, e.g. America/New_York, Asia/Kolkata or UTC"
        )
    return plan.zone


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
    ts = decode_times(plan, table, first_row, lambda: code)
    columns: dict[str, Prices] = {}
    for ours in plan.options.value_columns:
        if ours not in plan.names:
            columns[ours] = _read_only(np.zeros(len(ts)))
            continue
        if ours in plan.options.extras:
            values = _plain(plan, table, plan.names[ours]).to_pylist()
            told = trade_number if ours == "trade_id" else is_partial
            columns[ours] = _read_only(np.array([told(value) for value in values], np.float64))
            continue
        column = _number_column(plan, table, ours, first_row)
        columns[ours] = _read_only(_floats(column) if ours in _OPTIONAL else _prices(plan, column))
    return Decoded(plan.file, first_row, symbols, _read_only(code), _read_only(ts), columns)


def _number_column(plan: Plan, table: Any, ours: str, first_row: int) -> Any:
    column = _plain(plan, table, plan.names[ours])
    if not _is_text(column.type):
        return column
    import pyarrow.compute as pc

    try:
        return pc.utf8_trim_whitespace(column).cast(pa.float64())
    except pa.ArrowInvalid:
        name = plan.names[ours]
        at = table.schema.get_field_index(name)
        refuse_text_numbers(plan, table.set_column(at, name, column), first_row)
        raise


def decode_symbols(plan: Plan, table: Any, first_row: int) -> tuple[tuple[str, ...], Codes]:
    """The rows' symbols, and each row's position in them."""
    if plan.symbol is not None:
        return (plan.symbol,), np.zeros(len(table), np.int32)
    column = table[plan.names["symbol"]]
    if not pa.types.is_dictionary(column.type) or (
        not _is_text(column.type.value_type) and not pa.types.is_integer(column.type.value_type)
    ):
        column = _plain(plan, table, plan.names["symbol"])
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


def decode_times(
    plan: Plan, table: Any, first_row: int, symbols: Callable[[], Codes]
) -> Nanoseconds:
    """The rows' times: bar starts or tick times, ns UTC.

    `symbols` gives the rows' codes; it is only asked where a wall time comes twice.
    """
    column = _joined(plan, table) if plan.parts else _plain(plan, table, plan.names["ts"])
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
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        ts, naive = _counted(plan, _values(column, _dtype(column.type)), first_row)
    else:
        ts, naive = _parsed(plan, column, first_row, symbols)
    shift = plan.options.time_shift_ns
    if naive:
        ts = _localised(plan, ts + shift if shift else ts, first_row, symbols)
    elif shift:
        ts = ts + shift
    return _from_label(plan, ts)


def _from_label(plan: Plan, ts: Nanoseconds) -> Nanoseconds:
    """Bar starts (or tick times) by what bars are labelled with.

    An end may be the last instant inside the bar, 09:30:59 or 09:30:59.999.
    """
    shift = plan.options.label_shift_ns
    if not shift:
        return ts
    if shift % MINUTE_NS == 0:
        left = distinct(MINUTE_NS - ts % MINUTE_NS)
        if len(left) == 1 and int(left[0]) in _UNIT_NS.values():
            shift -= int(left[0])
    return ts - shift


def _localised(
    plan: Plan, ts: Nanoseconds, first_row: int, symbols: Callable[[], Codes]
) -> Nanoseconds:
    tz = require_timezone(plan)
    try:
        return instants_in_order(ts, tz, symbols, _is_hourly(plan))
    except RepeatedTimeError as error:
        raise _repeated(plan, int(ts[error.position]), first_row + error.position, tz) from None
    except NonexistentTimeError as error:
        wall = np.datetime64(int(ts[error.position]), "ns").astype("datetime64[s]")
        raise DataError(
            f"{plan.file}: row {first_row + error.position}: {wall} does not exist in {tz}, whose "
            "clock skips it; correct data.timezone"
        ) from None
    except (OverflowError, ValueError):
        raise _out_of_range(plan) from None


def _is_hourly(plan: Plan) -> bool:
    return plan.options.kind == "bars" and (plan.options.interval_ns or 0) >= 60 * MINUTE_NS


def _repeated(plan: Plan, wall_ns: int, row: int, tz: str) -> DataError:
    wall = np.datetime64(wall_ns, "ns").astype("datetime64[s]")
    return DataError(
        f"{plan.file}: row {row}: {wall} comes twice in {tz}, whose clock is put back then, and "
        "the order of the rows does not tell which one is meant; write times with their offset, "
        "or in UTC, or take these rows out"
    )


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


def _counted(plan: Plan, values: NDArray[Any], first_row: int) -> tuple[Nanoseconds, bool]:
    """Times of numbers: epoch counts, or dates written as numbers; whether they are naive."""
    if values.dtype.kind == "u":
        values = _to_ns(plan, values, 1) if int(values.max()) < 2**63 else values.astype(np.float64)
    form = plan.options.csv.time_format or ""
    if form.startswith("epoch"):
        unit = _UNIT_NS[form.split()[-1]]
        return _scaled(plan, values, unit), False
    compact = compact_times(values)
    if compact is None:
        compact = spreadsheet_times(values)
    if compact is not None:
        return compact, True
    low, high = values.min(), values.max()
    if not np.isfinite(high) or max(high, -low) < 10**8:
        # As seconds these would lie before March 1973, when no market wrote files.
        raise DataError(
            f'{plan.file}: column "{_ts_name(plan)}" has numbers such as {_shown(values[0])}, which '
            "are neither dates nor epoch counts; name another column for ts with data.columns, or "
            "write times as 2024-07-01 09:30"
        )
    mixed = epochs_by_size(values)
    if mixed is not None:
        return mixed, False
    return _scaled(plan, values, epoch_unit_ns(int(max(high, -low)))), False


def _scaled(plan: Plan, values: NDArray[Any], unit_ns: int) -> Nanoseconds:
    if values.dtype.kind != "f":
        return _to_ns(plan, values, unit_ns)
    if not np.abs(values).max() < 2**63 / unit_ns:
        raise _out_of_range(plan)
    whole = np.floor(values)
    if np.abs(whole).max() >= np.iinfo(np.int64).max // unit_ns:
        raise _out_of_range(plan)
    # What float64 holds of an epoch count in seconds is a fraction of a microsecond.
    part = np.rint((values - whole) * unit_ns / 1000).astype(np.int64) * 1000
    ts: Nanoseconds = _to_ns(plan, whole.astype(np.int64), unit_ns) + part
    return ts


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, np.floating) else str(value)


def _joined(plan: Plan, table: Any) -> Any:
    import pyarrow.compute as pc  # 26 ms that only such files pay

    first = _plain(plan, table, plan.parts[0])
    if pa.types.is_timestamp(first.type):
        counts = _values(first, np.dtype(np.int64))
        if len(counts) and (counts % (DAY_NS // _UNIT_NS[first.type.unit])).any():
            return first  # whole times, beside which their time of day stands once more
    texts = [
        pc.utf8_trim_whitespace(_of_day(_plain(plan, table, name)).cast(pa.string()))
        for name in plan.parts
    ]
    day, of_day = texts
    if len(day) and re.search(r"[ T]0?0:00", str(day[0].as_py())):
        day = pc.replace_substring_regex(day, r"[ T]0?0:00(:00(\.0+)?)?$", "")
    # 930, 93000 and 093000500 have lost or kept their zeros together, the whole column alike.
    if pc.all(pc.utf8_is_digit(of_day)).as_py():
        longest = pc.max(pc.utf8_length(of_day)).as_py()
        width = next((w for w in (4, 6, 9) if longest <= w), longest)
        of_day = pc.utf8_lpad(of_day, width, "0")
    return pc.binary_join_element_wise(day, of_day, " ")


def _of_day(column: Any) -> Any:
    """A length of time since midnight, as pandas has times of day, as a time of day."""
    if not pa.types.is_duration(column.type):
        return column
    unit = column.type.unit
    counts = column.cast(pa.int64())
    if unit in ("us", "ns"):
        return counts.cast(pa.time64(unit))
    return counts.cast(pa.int32()).cast(pa.time32(unit))


def _parsed(
    plan: Plan, column: Any, first_row: int, symbols: Callable[[], Codes]
) -> tuple[Nanoseconds, bool]:
    """Times of text, all with or all without a zone; whether they have none."""
    texts = column.cast(pa.string())
    csv = plan.options.csv
    form = csv.time_format
    if form is None:
        for tz in (None, "UTC"):  # what Arrow reads itself is read faster
            try:
                parsed = texts.cast(pa.timestamp("ns", tz))
            except pa.ArrowInvalid:
                continue
            return _values(parsed, np.dtype(np.int64)), tz is None
        numbers = _numbers(texts)
        if numbers is not None:
            return _counted(plan, numbers, first_row)

    def localise(wall: Nanoseconds, rows: NDArray[np.int64], zone: str) -> Nanoseconds:
        return instants_in_order(wall, zone, lambda: symbols()[rows], _is_hourly(plan))

    try:
        return parse_times(texts, Style(csv.date_order, form, plan.zone), localise)
    except RepeatedTimeError as error:
        row = first_row + error.position
        raise DataError(
            f"{plan.file}: row {row}: {texts[error.position].as_py()} comes twice, because the "
            "clock is put back then, and the order of the rows does not tell which one is meant; "
            "write times with their offset, or in UTC, or take these rows out"
        ) from None
    except AmbiguousOrderError as error:
        example = texts[error.position].as_py()
        raise OpenDatesError(
            f'{plan.file}: row {first_row + error.position}: {_ts_name(plan)} is "{example}", and '
            "nothing in the file tells the day from the month; write "
            + " or ".join(f"data.csv: {{date_order: {order}}}" for order in error.orders)
        ) from None
    except BadTimeError as error:
        raise _bad_time(plan, texts, first_row, error) from None
    except NonexistentTimeError as error:
        raise DataError(
            f"{plan.file}: row {first_row + error.position}: {texts[error.position].as_py()} does "
            "not exist, the clock skips it; correct the row"
        ) from None


def _bad_time(plan: Plan, texts: Any, first_row: int, error: BadTimeError) -> DataError:
    row = f"{plan.file}: row {first_row + error.position}: {_ts_name(plan)} is "
    row += f'"{texts[error.position].as_py()}"'
    form = plan.options.csv.time_format
    if error.reason:
        return DataError(f"{row}; {error.reason}")
    if form is not None:
        return DataError(f"{row}, not {form}; correct data.csv.time_format, or leave it out")
    if (order := plan.options.csv.date_order) is not None:
        return DataError(f"{row}, no time in the order {order}; correct data.csv.date_order")
    return DataError(
        f"{row}; write times in ISO 8601, 2024-07-01T09:30:00, in all rows with or in all without "
        "offset"
    )


def _numbers(texts: Any) -> NDArray[Any] | None:
    """Texts as numbers, where all are."""
    for kind in (pa.int64(), pa.float64()):
        try:
            return _values(texts.cast(kind), _dtype(kind))
        except pa.ArrowInvalid:
            continue
    return None


def refuse_text_numbers(plan: Plan, table: Any, first_row: int = 1) -> None:
    """Name the row because of which a column that should hold numbers was read as text."""
    for ours in plan.options.number_columns:
        column = table[plan.names[ours]] if ours in plan.names else None
        if column is None or not _is_text(column.type):
            continue
        row = _first_failing(column, pa.float64())
        if column[row].as_py() == plan.names[ours]:
            raise DataError(
                f"{plan.file}: row {first_row + row} is the header line once more, as where files "
                "were put one behind the other; take such rows out"
            )
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


def _prices(plan: Plan, column: Any) -> Prices:
    if pa.types.is_float32(column.type):
        single = from_float32(_values(column, np.dtype(np.float32)))
        missing = _nulls(column)
        values = single if missing is None else np.where(missing, np.nan, single)
    else:
        values = _floats(column)
        if pa.types.is_floating(column.type):
            values = as_written(values)
    if plan.nanos:
        values = np.where(values == _NO_NANOS, np.nan, values) / 1e9
    scale = plan.options.price_scale
    return values if scale == 1.0 else scaled(values, scale)


def _floats(column: Any) -> Prices:
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(column.type):
        return _decimals(column)
    values = _values(column, _dtype(column.type)).astype(np.float64, copy=False)
    missing = _nulls(column)
    return values if missing is None else np.where(missing, np.nan, values)


def _decimals(column: Any) -> Prices:
    """Decimals as the numbers that their texts are read as, which Arrow's own cast misses."""
    missing = _nulls(column)
    texts = column.cast(pa.string()).fill_null("nan")
    values = _values(texts.cast(pa.float64()), np.dtype(np.float64))
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
