"""What a feed brought, as the journal keeps it: nobody can be asked for it again.

An entry holds the rows of a commit's steps as columns, the rows of all steps one after another, so
that a few ticks a step take few bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters.stores import JournalEntry
from openbell.errors import StoreError
from openbell.market.arrivals import no_counts
from openbell.market.bars import BAR_COLUMNS, BadRow, Prices, RowBatch, RowCounts
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.messages.control import Arrived
from openbell.runtime.record.codec import Undecodable

CAME = "came"
"""What the names of such entries begin with; the first of their steps follows."""

_CODEC = pa.Codec("zstd", compression_level=1)


@dataclass(frozen=True, eq=False)
class Came:
    """What came with one step, but for what the day's own load tells: its hours, its register."""

    date: date
    position: int
    read_on: tuple[int, str]
    """From where the feed can be asked again, if it can."""
    code: NDArray[np.int32]
    ts: NDArray[np.int64]
    columns: Mapping[str, Prices]
    """`close, volume` of ticks, all five of bars."""
    outside: Sequence[tuple[int, int]]
    """Symbols and how many of their rows lay outside the hours."""
    bad: tuple[BadRow, ...]
    host_ns: MarketTime = EPOCH

    def arrived(
        self, day: TradingDay, symbols: tuple[str, ...], interval_ns: int | None
    ) -> Arrived:
        """The same as it entered."""
        ends = self.ts
        if interval_ns is not None:
            starts, day_ends = day.grid(interval_ns)
            ends = day_ends[starts.searchsorted(self.ts)]
        close = self.columns["close"]
        rows = RowBatch(
            day,
            symbols,
            interval_ns,
            self.code,
            self.ts,
            ends,
            self.columns.get("open", close),
            self.columns.get("high", close),
            self.columns.get("low", close),
            close,
            self.columns["volume"],
        )
        s = len(symbols)
        outside, bad_rows = np.zeros(s, np.int64), np.zeros(s, np.int64)
        for code, count in self.outside:
            outside[code] = count
        place = {symbol: code for code, symbol in enumerate(symbols)}
        for row in self.bad:
            bad_rows[place[row.symbol]] += 1
        used = np.bincount(self.code, minlength=s)
        counts = RowCounts(
            rows=used + outside + bad_rows,
            outside_hours=outside,
            out_of_order=no_counts(s).out_of_order,
            duplicates=no_counts(s).duplicates,
            bad_rows=bad_rows,
            ohlc_outside=no_counts(s).ohlc_outside,
        )
        return Arrived(
            date=self.date,
            rows=rows,
            counts=counts,
            bad=self.bad,
            position=self.position,
            read_on=self.read_on,
            host_ns=self.host_ns,
        )


def entry(of: date, came: Sequence[tuple[int, Arrived]]) -> JournalEntry:
    """What came with some steps of a trading day, oldest first."""
    rows = [arrived.rows for _, arrived in came]
    ticks = rows[0].interval_ns is None
    names = ("close", "volume") if ticks else BAR_COLUMNS
    head = {
        "steps": [step for step, _ in came],
        "dates": [arrived.date.isoformat() for _, arrived in came],
        "positions": [arrived.position for _, arrived in came],
        "read_on": [arrived.read_on for _, arrived in came],
        "rows": [len(part) for part in rows],
        "outside": [_outside(arrived.counts) for _, arrived in came],
        "bad": [[_bad(row) for row in arrived.bad] for _, arrived in came],
        "code": _split(np.concatenate([part.code for part in rows]).astype("<i4")),
        # Times follow each other closely: their differences are small.
        "ts": _split(np.diff(np.concatenate([part.ts for part in rows]), prepend=0).astype("<i8")),
        "columns": {
            name: _split(np.concatenate([getattr(part, name) for part in rows]).astype("<f8"))
            for name in names
        },
    }
    if any(arrived.host_ns for _, arrived in came):  # the host's clock moves time
        head["host_ns"] = [arrived.host_ns for _, arrived in came]
    plain = msgpack.packb(head, use_bin_type=True)
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    body = len(plain).to_bytes(8, "big") + packed
    return JournalEntry(of, f"{CAME} {came[0][0]}", body, step=came[-1][0])


def arrivals(
    kept: Iterable[JournalEntry], counts: Callable[[int, date], bool] = lambda step, of: True
) -> dict[int, Came]:
    """What came, by step.

    Parameters
    ----------
    counts : callable
        Whether a step of a trading day is still part of the run.

    Raises
    ------
    Undecodable
        If an entry is nothing that this program journaled.
    """
    found: dict[int, Came] = {}
    for item in kept:
        if item.name.split()[0] == CAME:
            found |= {
                step: came for step, came in _read(item.body) if counts(step, item.trading_date)
            }
    return found


def _read(body: bytes) -> list[tuple[int, Came]]:
    try:
        plain = _CODEC.decompress(body[8:], int.from_bytes(body[:8], "big"), asbytes=True)
        head = msgpack.unpackb(plain, raw=False)
        code = _whole(head["code"], "<i4")
        ts = np.cumsum(_whole(head["ts"], "<i8"))
        columns = {name: _whole(part, "<f8") for name, part in head["columns"].items()}
        edges = np.cumsum([0, *head["rows"]]).tolist()
        host_ns = head.get("host_ns") or [EPOCH] * len(head["steps"])
        return [
            (
                step,
                Came(
                    date.fromisoformat(head["dates"][n]),
                    head["positions"][n],
                    (head["read_on"][n][0], head["read_on"][n][1]),
                    code[edges[n] : edges[n + 1]],
                    ts[edges[n] : edges[n + 1]],
                    {name: part[edges[n] : edges[n + 1]] for name, part in columns.items()},
                    [(which, count) for which, count in head["outside"][n]],
                    tuple(BadRow(*row) for row in head["bad"][n]),
                    host_ns[n],
                ),
            )
            for n, step in enumerate(head["steps"])
        ]
    except StoreError:
        raise
    except Exception as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error


def _outside(counts: RowCounts) -> list[list[int]]:
    which = np.flatnonzero(counts.outside_hours)
    return [[int(code), int(counts.outside_hours[code])] for code in which]


def _bad(row: BadRow) -> list[Any]:
    return [row.file, row.row, row.symbol, row.ts_ns, row.reason]


def _split(column: NDArray[Any]) -> bytes:
    """All first bytes, then all second ones: like stands beside like, which packs better."""
    return column.view(np.uint8).reshape(len(column), -1).T.tobytes()


def _whole(data: bytes, dtype: str) -> NDArray[Any]:
    width = np.dtype(dtype).itemsize
    together = np.frombuffer(data, np.uint8).reshape(width, -1).T
    return np.ascontiguousarray(together).view(dtype).reshape(-1)
