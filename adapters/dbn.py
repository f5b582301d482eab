"""Databento's records as columns: DBN, in which files and the live gateway send them.

https://databento.com/docs/standards-and-conventions/databento-binary-encoding
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import Codes, Kind, Mask, Prices
from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, Nanoseconds

Records = NDArray[np.void]

SCHEMAS = {SECOND_NS: "ohlcv-1s", MINUTE_NS: "ohlcv-1m", 60 * MINUTE_NS: "ohlcv-1h"}
"""Of bars, by their length."""

RTYPES = {SECOND_NS: 0x20, MINUTE_NS: 0x21, 60 * MINUTE_NS: 0x22}
TRADES = (0x00, 0x01)
"""Records of trades alone, and of trades with the best quotes."""
SYMBOL_MAPPING = 0x16
SYSTEM = 0x17

LENGTH_UNIT = 4
"""Bytes that a record's first byte counts."""

_HEADER: dict[str, tuple[str, int]] = {
    "length": ("u1", 0),
    "rtype": ("u1", 1),
    "publisher_id": ("<u2", 2),
    "instrument_id": ("<u4", 4),
    "ts_event": ("<u8", 8),
}
_FIELDS: dict[Kind, dict[str, tuple[str, int]]] = {
    "bars": {
        "open": ("<i8", 16),
        "high": ("<i8", 24),
        "low": ("<i8", 32),
        "close": ("<i8", 40),
        "volume": ("<u8", 48),
    },
    "ticks": {
        "price": ("<i8", 16),
        "size": ("<u4", 24),
        "action": ("S1", 28),
        "ts_recv": ("<u8", 32),
    },
}
RECORD_BYTES = {"bars": 56, "ticks": 48}
"""What a record of a kind has at least; others may follow."""

_NO_PRICE = 2**63 - 1
_NO_TIME = np.uint64(2**64 - 1)
DAY_BITS = 20
"""Of a date's number since 1970, beside an instrument's 32 bits."""


class Broken(ValueError):
    """Bytes that are no records."""


def layout(kind: Kind, stride: int) -> np.dtype[np.void]:
    """How a record lies in `stride` bytes."""
    fields = _HEADER | _FIELDS[kind]
    return np.dtype(
        {
            "names": list(fields),
            "formats": [of for of, _ in fields.values()],
            "offsets": [at for _, at in fields.values()],
            "itemsize": stride,
        }
    )


def records_of(
    data: NDArray[np.uint8], rtypes: tuple[int, ...], kind: Kind
) -> tuple[Records, NDArray[np.int64]]:
    """The records of some types, and the place of each among all.

    Parameters
    ----------
    data : (n,) uint8
        Records one after another.

    Raises
    ------
    Broken
        If they are no whole records.
    """
    if not len(data):
        return np.empty(0, layout(kind, RECORD_BYTES[kind])), np.empty(0, np.int64)
    starts = _starts(data)
    which = np.flatnonzero(np.isin(data[starts + 1], rtypes))
    taken = starts[which]
    if not len(taken):
        return np.empty(0, layout(kind, RECORD_BYTES[kind])), which
    stride = int(data[taken[0]]) * LENGTH_UNIT
    if stride < RECORD_BYTES[kind]:
        raise Broken(f"a record of {kind} has {stride} bytes")
    if len(which) == len(starts) and len(starts) * stride == len(data):
        return data.view(layout(kind, stride)), which
    size = RECORD_BYTES[kind]
    cut = np.ascontiguousarray(data[taken[:, None] + np.arange(size)])
    return cut.view(layout(kind, size)).reshape(-1), which


def starts_of(data: NDArray[np.uint8], rtype: int) -> NDArray[np.int64]:
    """Where the records of a type begin.

    Raises
    ------
    Broken
        If they are no whole records.
    """
    if not len(data):
        return np.empty(0, np.int64)
    starts = _starts(data)
    return starts[np.flatnonzero(data[starts + 1] == rtype)]


def _starts(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where each record begins."""
    stride = int(data[0]) * LENGTH_UNIT
    if stride and len(data) % stride == 0 and (data[::stride] == data[0]).all():
        return np.arange(0, len(data), stride)
    # A recording of a live session: records of several lengths, each of which says its own.
    found, at, end = [], 0, len(data)
    lengths = data.tobytes()
    while at < end:
        found.append(at)
        if not lengths[at]:
            raise Broken(f"a record at byte {at} has no length")
        at += lengths[at] * LENGTH_UNIT
    if at > end:
        raise Broken(f"the last record lacks {at - end} bytes")
    return np.array(found, np.int64)


def times(records: Records, kind: Kind) -> Nanoseconds:
    """Starts of bars, times of trades; ns UTC."""
    ts = records["ts_event"]
    if kind == "ticks":
        ts = np.where(ts == _NO_TIME, records["ts_recv"], ts)
    return ts.astype(np.int64)


def columns(records: Records, kind: Kind) -> dict[str, Prices]:
    """Values by our names; a price that there is not is NaN."""
    named = ("open", "high", "low", "close") if kind == "bars" else ("price",)
    found = {name: _decimals(records[name]) for name in named}
    count = "volume" if kind == "bars" else "size"
    found[count] = records[count].astype(np.float64)
    return found


def _decimals(whole: NDArray[np.int64]) -> Prices:
    return np.where(whole == _NO_PRICE, np.nan, whole / 1e9)


class Interval(NamedTuple):
    """An instrument's symbol for some dates."""

    instrument_id: int
    from_day: int
    """Since 1970-01-01, UTC."""
    until_day: int
    """The first one after."""
    symbol: str


class Symbols:
    """Which symbol an instrument has on a date."""

    def __init__(self, intervals: Iterable[Interval]) -> None:
        # Of intervals that begin on one day the one told last holds.
        newest = {(of.instrument_id, of.from_day): of for of in intervals}
        found = [newest[key] for key in sorted(newest)]
        place: dict[str, int] = {}
        self._code = np.array([place.setdefault(of.symbol, len(place)) for of in found], np.int32)
        self.names = tuple(place)
        self._starts = _key(
            np.array([of.instrument_id for of in found], np.int64),
            np.array([of.from_day for of in found], np.int64),
        )
        self._until = np.array([of.until_day for of in found], np.int64)

    def __len__(self) -> int:
        return len(self._until)

    def codes(self, instrument_ids: NDArray[Any], ts: Nanoseconds) -> Codes:
        """Each one's place in `names`; -1 where it has none on that date."""
        if not len(self):
            return np.full(len(ts), -1, np.int32)
        ids, days = instrument_ids.astype(np.int64), ts // DAY_NS
        at = np.searchsorted(self._starts, _key(ids, days), side="right") - 1
        held: Mask = (at >= 0) & (self._starts[at] >> DAY_BITS == ids) & (days < self._until[at])
        return np.where(held, self._code[at], -1).astype(np.int32)


def _key(ids: NDArray[np.int64], days: NDArray[np.int64]) -> NDArray[np.int64]:
    return (ids << DAY_BITS) + np.clip(days, 0, 2**DAY_BITS - 1)


def intervals_of(metadata: Any) -> list[Interval]:
    """What a file's metadata says of symbols; nothing if it does not name instruments."""
    from datetime import date

    epoch = date(1970, 1, 1)
    # Which of the two is a number depends on what was asked for.
    by_id = str(metadata.stype_in) == "instrument_id"
    found = []
    mappings: Mapping[str, Any] = metadata.mappings
    for name, parts in mappings.items():
        for part in parts:
            number, symbol = (name, part["symbol"]) if by_id else (part["symbol"], name)
            if symbol and str(number).isdigit():
                days = [(part[end] - epoch).days for end in ("start_date", "end_date")]
                found.append(Interval(int(number), days[0], days[1], symbol))
    return found


def mapping_told(record: bytes) -> tuple[int, str]:
    """An instrument, and the symbol that a SymbolMappingMsg gives it: the one asked for, or where that
    stands for many its own.

    Raises
    ------
    Broken
        If it is no such record.
    """
    places = next((of for size, of in _MAPPED if len(record) >= size), None)
    if places is None:
        raise Broken(f"a mapping of symbols has {len(record)} bytes")
    asked, own = (_text(record[first:after]) for first, after in places)
    many = asked in ("", "ALL_SYMBOLS") or asked.endswith((".FUT", ".OPT")) or asked.isdigit()
    symbol = own if many and not own.isdigit() else asked
    return int.from_bytes(record[4:8], "little"), symbol


_MAPPED = ((176, ((17, 88), (89, 160))), (80, ((16, 38), (38, 60))))
"""Where the two symbols stand in a record of so many bytes; the second is of the format's version 1."""


def _text(padded: bytes) -> str:
    return padded.partition(b"\0")[0].decode(errors="backslashreplace")
