"""Reads files of instruments: of one's own, or a vendor's dump by the names of its columns."""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from openbell.adapters.sources import FileIdentity
from openbell.adapters.sources.files import whole_digest
from openbell.adapters.sources.roles import aliases_of, folded
from openbell.errors import ConfigError, DataError
from openbell.market.calendar import SEGMENTS
from openbell.market.instruments import Instrument, Instruments, Unusable
from openbell.market.prices import product

DELIMITERS = ",;\t|"

Row = tuple[int, list[str]]
"""Its line in the file, of Parquet its number from 1; and its cells."""

COLUMNS = ("symbol", "underlying", "expiry", "tick_size", "lot", "segment", "exchange", "since")

_WORDS_FOR_SEGMENTS: Mapping[str, str] = {
    "NSE": "equity",
    "BSE": "equity",
    "INDICES": "index",
    "NFO-FUT": "futures",
    "BFO-FUT": "futures",
    "CDS-FUT": "futures",
    "BCD-FUT": "futures",
    "MCX-FUT": "futures",
    "NCO-FUT": "futures",
}
"""Of vendors, beside ours."""

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "underlying": ("underlying", "underlyingsymbol", "root"),
    "expiry": ("expiry", "expirydate", "expiration", "expirationdate"),
    "tick_size": ("ticksize", "tick"),
    "lot": ("lot", "lotsize"),
    "segment": ("segment",),
    "exchange": ("exchange", "exch"),
    "since": ("since", "effectivefrom", "validfrom"),
}

_NUMBERS = re.compile(r"([0-9]{4})([-/]?)([0-9]{2})\2([0-9]{2})(?:[T ].*)?")
_INSTANT = re.compile(r".*[T ][0-9]{2}:[0-9]{2}.*(?:Z|[+-][0-9]{2}:?[0-9]{2})")
_NOTHING = frozenset({"", "-", "na", "n/a", "nan", "nat", "none", "null"})
"""How vendors and programs write that there is no date, no number, or no underlying."""
_EPOCHS: Mapping[str, int] = {"epoch s": 1, "epoch ms": 1_000}
_OLDEST = date(1900, 1, 1)
"""Dates before it stand for none: some vendors write one of the year 1."""
_WORDS = re.compile(r"([0-9]{1,2})[ -]?([A-Za-z]{3})[ -]?((?:20)?[0-9]{2})")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True)
class Layout:
    """How a file is to be read."""

    name: Literal["plain", "kite"] = "plain"
    """`kite`: a dump of Zerodha Kite's instruments."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our column → the heading in the file, where it is not known."""
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Heading → the values of which a row has to have one."""
    segments: Mapping[str, str] = field(default_factory=dict)
    """The file's word for a segment → ours."""
    date_format: str | None = None
    """As `strptime` takes it, or `epoch s`, `epoch ms`; None: one of the usual ones."""
    tick_scale: float = 1.0
    """Ticks in the file are multiplied by it."""
    tz: str = "UTC"
    """IANA name of the zone in which an instant has its date."""


@dataclass(frozen=True)
class InstrumentsFile:
    """A file that was read."""

    identity: FileIdentity
    instruments: Instruments
    rows: int
    """All that it has."""
    left_out: int
    """Those that a filter or the layout leaves out."""
    repeated: tuple[int, ...]
    """Rows that say again what another says."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What looks wrong, though it can be used."""
        said = []
        if unusable := self.instruments.unusable:
            rows = "1 row" if len(unusable) == 1 else f"{len(unusable):,} rows"
            said.append(
                f"{self.identity.path}: {rows} can't be used, the first is {unusable[0].row}: "
                f"{unusable[0].why}"
            )
        if self.repeated:
            n = len(self.repeated)
            rows = "1 row repeats another" if n == 1 else f"{n:,} rows repeat others"
            said.append(f"{self.identity.path}: {rows}, such as {self.repeated[0]}")
        return tuple(said)


def read_instruments(path: Path, layout: Layout, *, futures: bool = False) -> InstrumentsFile:
    """What a file says.

    Parameters
    ----------
    futures : bool
        Whether futures are looked for, so that it must have their columns.

    Raises
    ------
    ConfigError
        If there is no such file, or a column that is needed is missing; the text says which.
    DataError
        If nothing in it can be used.
    """
    try:
        heading, rows = cells_of(path)
        identity = FileIdentity(str(path), path.stat().st_size, whole_digest(path))
    except ValueError as error:
        raise ConfigError(f"instruments.file: {error}") from None
    except OSError as error:
        raise ConfigError(f"instruments.file: {path}: {error.strerror or error}") from None
    places = _places(path, heading, layout, futures=futures)
    kept = list(_kept(path, heading, rows, layout))
    found: list[Instrument] = []
    unusable: list[Unusable] = []
    repeated: list[int] = []
    left_out = len(rows) - len(kept)
    seen: set[tuple[object, ...]] = set()
    read = _kite if layout.name == "kite" else _plain
    for line, cells in kept:
        if len(cells) != len(heading):
            why = f"it has {len(cells)} cells, where the heading has {len(heading)}"
            unusable.append(Unusable(line, f"{why}; complete it, or drop it"))
            continue
        try:
            instrument = read(line, _Cells(cells, places, heading, layout))
        except ValueError as error:
            place = places.get("underlying")
            underlying = None if place is None else cells[place].strip()
            unusable.append(Unusable(line, str(error), underlying or None))
            continue
        if instrument is None:
            left_out += 1
            continue
        said = (*_said(instrument),)
        if said in seen:
            repeated.append(line)
            continue
        seen.add(said)
        found.append(instrument)
    if not found:
        raise DataError(_nothing(path, len(rows), len(kept), unusable))
    if layout.name == "kite":
        found = _with_futures_told(found)
    instruments = Instruments(str(path), found, unusable)
    return InstrumentsFile(identity, instruments, len(rows), left_out, tuple(repeated))


def _nothing(path: Path, rows: int, kept: int, unusable: Sequence[Unusable]) -> str:
    if unusable:
        first = unusable[0]
        return f"{path} has no row that can be used; row {first.row}: {first.why}"
    if rows and not kept:
        return f"instruments.filters leave none of the {rows:,} rows of {path}; correct them"
    return f"{path} has no instruments; write one a line"


def _said(of: Instrument) -> Iterator[object]:
    yield from (of.symbol, of.underlying, of.expiry, of.tick_size, of.lot, of.segment)
    yield from (of.exchange, of.since)


@dataclass(frozen=True)
class _Cells:
    """A row's cells, by our names."""

    cells: Sequence[str]
    places: Mapping[str, int]
    heading: Sequence[str]
    layout: Layout

    def text(self, column: str) -> str | None:
        place = self.places.get(column)
        return None if place is None else self.cells[place].strip() or None

    def known(self, column: str) -> str | None:
        """The same of what is a date or a number, or nothing in one of many ways."""
        text = self.text(column)
        return None if text is None or text.lower() in _NOTHING else text

    def called(self, heading: str) -> str:
        """A cell by the file's own name."""
        return self.cells[self.heading.index(heading)].strip()

    def number(self, column: str) -> float | None:
        """None where it is empty, or 0: vendors write that where there is none."""
        if (text := self.known(column)) is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{column} is {text!r}; write a number above 0, or nothing")
        return value or None

    def tick(self) -> float | None:
        size, scale = self.number("tick_size"), self.layout.tick_scale
        if size is None or scale == 1.0:
            return size
        return product(size, scale)  # of decimals: ten paise are 0.1, and nothing beside it

    def day(self, column: str) -> date | None:
        if (text := self.known(column)) is None:
            return None
        try:
            found = _day(text, self.layout.date_format, self.layout.tz)
        except (ValueError, OverflowError):
            given = self.layout.date_format
            how = (
                "2025-09-30, or say how with instruments.date_format, such as %d/%m/%Y or epoch ms"
            )
            how = how if given is None else f"instruments.date_format says, {given}"
            why = f"{column} is {text!r}, which is no date; write it as {how}"
            raise ValueError(why) from None
        return found if found >= _OLDEST else None

    def segment(self) -> str | None:
        if (text := self.text("segment")) is None:
            return None
        ours = {name: name for name in SEGMENTS}
        known = {**_WORDS_FOR_SEGMENTS, **ours, **self.layout.segments}
        return known.get(text)


def _day(text: str, form: str | None, tz: str) -> date:
    """A date as people write it; months are English, wherever this runs."""
    if form is not None and form in _EPOCHS:
        seconds = float(text) / _EPOCHS[form]
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        return moment.astimezone(ZoneInfo(tz)).date()
    if form is not None:
        return datetime.strptime(text, form).date()  # noqa: DTZ007  no time of day is kept
    if _INSTANT.fullmatch(text):  # midnight there is another date in UTC
        return datetime.fromisoformat(text).astimezone(ZoneInfo(tz)).date()
    if found := _NUMBERS.fullmatch(text):
        return date(int(found[1]), int(found[3]), int(found[4]))
    if (found := _WORDS.fullmatch(text)) and found[2].lower() in _MONTHS:
        return date(2000 + int(found[3]) % 100, _MONTHS.index(found[2].lower()) + 1, int(found[1]))
    raise ValueError(text)


def _plain(line: int, cells: _Cells) -> Instrument | None:
    symbol, expiry = _symbol(cells), cells.day("expiry")
    underlying = cells.known("underlying")
    if expiry is not None and underlying is None:
        raise ValueError(f"{symbol} has an expiry and no underlying; write it, or drop the row")
    return _instrument(line, cells, symbol, underlying if expiry is not None else None, expiry)


def _kite(line: int, cells: _Cells) -> Instrument | None:
    """A row of Kite's dump: options are left out, and of a share `name` is the company's."""
    kind = cells.called("instrument_type")
    if kind not in ("FUT", "EQ"):
        return None
    symbol = _symbol(cells)
    if kind == "EQ":
        return _instrument(line, cells, symbol, None, None)
    underlying, expiry = cells.known("underlying"), cells.day("expiry")
    if underlying is None or expiry is None:
        raise ValueError(f"{symbol} is a future without name or expiry; correct it, or drop it")
    return _instrument(line, cells, symbol, underlying, expiry)


def _symbol(cells: _Cells) -> str:
    symbol = cells.text("symbol")
    if symbol is None:
        raise ValueError("the symbol is missing; write it, or drop the row")
    return symbol


def _instrument(
    line: int, cells: _Cells, symbol: str, underlying: str | None, expiry: date | None
) -> Instrument:
    return Instrument(
        row=line,
        symbol=symbol,
        underlying=underlying,
        expiry=expiry,
        tick_size=cells.tick(),
        lot=cells.number("lot"),
        segment=cells.segment(),
        exchange=cells.text("exchange"),
        since=cells.day("since"),
    )


KITE_COLUMNS: Mapping[str, str] = {
    "symbol": "tradingsymbol",
    "underlying": "name",
    "expiry": "expiry",
    "tick_size": "tick_size",
    "lot": "lot_size",
    "segment": "segment",
    "exchange": "exchange",
}


def layout_of(
    name: Literal["plain", "kite"],
    columns: Mapping[str, str],
    filters: Mapping[str, tuple[str, ...]],
    segments: Mapping[str, str],
    date_format: str | None,
    tick_scale: float = 1.0,
    tz: str = "UTC",
) -> Layout:
    """A layout, with what is known of a vendor's beneath what is given."""
    if name == "kite":
        columns = {**KITE_COLUMNS, **columns}
        filters = {"instrument_type": ("FUT", "EQ"), **filters}  # nine of ten rows are options
    return Layout(name, columns, filters, segments, date_format, tick_scale, tz)


def _with_futures_told(rows: Sequence[Instrument]) -> list[Instrument]:
    """Shares that have futures on their exchange's board are a segment of their own."""
    with_futures = {row.underlying for row in rows if row.underlying is not None}
    return [
        Instrument(
            row.row, row.symbol, row.underlying, row.expiry, row.tick_size, row.lot,
            "equity_fno", row.exchange, row.since,
        )
        if row.segment == "equity" and row.exchange == "NSE" and row.symbol in with_futures
        else row
        for row in rows
    ]  # fmt: skip


def _places(path: Path, heading: Sequence[str], layout: Layout, *, futures: bool) -> dict[str, int]:
    """Where our columns stand."""
    if not any(heading):
        raise DataError(
            f"instruments: {path} is empty; write a line of headings, and one an instrument"
        )
    names = ", ".join(heading)
    places: dict[str, int] = {}
    for ours in COLUMNS:
        if (given := layout.columns.get(ours)) is not None:
            if heading.count(given) != 1:
                raise ConfigError(
                    f'instruments: {path} has no column "{given}" for {ours}; it has {names}'
                )
            places[ours] = heading.index(given)
            continue
        aliases = aliases_of(ours) if ours == "symbol" else _ALIASES[ours]
        called = [at for at, name in enumerate(heading) if folded(name) in aliases]
        if len(called) > 1:
            raise ConfigError(
                f"instruments: {path} has {len(called)} columns that may be {ours}, among {names}; "
                f'name it: instruments.columns: {{{ours}: "{heading[called[0]]}"}}'
            )
        if called:
            places[ours] = called[0]
    needed = ("symbol", "underlying", "expiry") if futures else ("symbol",)
    if lacking := [ours for ours in needed if ours not in places]:
        named = f"name it: instruments.columns: {{{lacking[0]}: HEADING}}"
        if layout.name != "kite" and {*KITE_COLUMNS.values(), "instrument_type"} <= {*heading}:
            named = f"if it is a dump of Kite, write instruments.layout: kite; else {named}"
        raise ConfigError(
            f"instruments: {path} has no column called as {lacking[0]} is, among {names}; {named}"
        )
    if layout.name == "kite" and "instrument_type" not in heading:
        raise ConfigError(
            f"instruments: {path} has no column instrument_type, as a dump of Kite has; it has "
            f"{names}: leave out instruments.layout, or correct the file"
        )
    return places


def _kept(path: Path, heading: Sequence[str], rows: Sequence[Row], layout: Layout) -> Iterator[Row]:
    wanted: list[tuple[int, frozenset[str]]] = []
    for name, values in layout.filters.items():
        if heading.count(name) != 1:
            raise ConfigError(
                f'instruments.filters: {path} has no column "{name}"; it has {", ".join(heading)}'
            )
        wanted.append((heading.index(name), frozenset(values)))
    last = max((place for place, _ in wanted), default=-1)
    for line, cells in rows:
        # A row that is cut short is told of, where it can't be seen what it is.
        if len(cells) <= last or all(cells[at].strip() in values for at, values in wanted):
            yield line, cells


def cells_of(path: Path) -> tuple[list[str], list[Row]]:
    """The heading of a CSV or Parquet file, and its rows, as text.

    Raises
    ------
    ValueError
        If the file can't be read; the text says what to do.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(4)
        if begins == b"PAR1":
            return _parquet(path)
        if begins == b"PK\x03\x04":
            raise ValueError(f"{path} is a zip archive; unpack it, and name the file in it")
        return _text(path, packed=begins[:2] == b"\x1f\x8b")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; check the path") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}; get it again") from None
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file: {error}; check the file") from None
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"{path} can't be read: {why}; check the file") from None


def _text(path: Path, *, packed: bool) -> tuple[list[str], list[Row]]:
    whole = path.read_bytes()
    lines = (gzip.decompress(whole) if packed else whole).decode("utf-8-sig").splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    heading = [cell.strip() for cell in rows[0][1]] if rows else [""]
    return heading, rows[1:]


def _parquet(path: Path) -> tuple[list[str], list[Row]]:
    # Only here: most configurations have no such file, and its import takes long.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None
    columns = []
    for column in table.columns:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            column = column.cast(pa.string())
        if pa.types.is_float32(
            column.type
        ):  # as the decimals that were meant: 0.1, not 0.10000000149
            column = column.cast(pa.string())
        columns.append(column.to_pylist())
    rows = [[_cell(cell) for cell in row] for row in zip(*columns, strict=True)]
    return table.column_names, list(enumerate(rows, 1))


def _cell(of: Any) -> str:
    return "" if of is None else str(of)
