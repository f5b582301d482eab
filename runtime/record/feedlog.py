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
from openbell.adapters.unpacking import unpacked
from openbell.market.arrivals import no_counts
from openbell.market.bars import BAR_COLUMNS, BadRow, Prices, RowBatch, RowCounts
from openbell.market.bars import joined as joined_rows
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.messages.control import Arrived
from openbell.runtime.record.codec import Undecodable
from openbell.runtime.record.packing import (
    pack_integers,
    pack_numbers,
    split,
    unpack_integers,
    unpack_numbers,
    whole,
)

CAME = "came"
"""What the names of such entries begin with; the first of their steps follows."""

PACKED_FROM = 1_000
"""Rows from which on an entry is packed as well as it can be: of few a commit would wait for it."""

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
    """`close, volume` of ticks, all five of bars; `trade_id` and `partial` where there are any."""
    outside: Sequence[tuple[int, int]]
    """Symbols and how many of their rows lay outside the hours."""
    bad: tuple[BadRow, ...]
    host_ns: MarketTime = EPOCH
    left_out: Sequence[tuple[int, int]] = ()
    """Symbols and how many of their bars were marked as partial, and so not used."""
    auction: Sequence[tuple[int, int]] = ()
    """Symbols and how many of their rows outside the hours lay in an auction."""

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
            partial=self.columns["partial"] > 0 if _any_partial(self.columns) else None,
            ids=self.columns["trade_id"] if _any_ids(self.columns) else None,
        )
        s = len(symbols)
        outside, bad_rows = np.zeros(s, np.int64), np.zeros(s, np.int64)
        for code, count in self.outside:
            outside[code] = count
        place = {symbol: code for code, symbol in enumerate(symbols)}
        for row in self.bad:
            bad_rows[place[row.symbol]] += 1
        used = np.bincount(self.code, minlength=s)
        left_out = np.zeros(s, np.int64)
        for code, count in self.left_out:
            left_out[code] = count
        by_rule: list[tuple[str, NDArray[np.int64]]] = []
        for name, counted in (("auction", self.auction), ("partial", self.left_out)):
            if counted:
                of = np.zeros(s, np.int64)
                for code, count in counted:
                    of[code] = count
                by_rule.append((name, of))
        counts = RowCounts(
            rows=used + outside + bad_rows + left_out,
            outside_hours=outside,
            out_of_order=no_counts(s).out_of_order,
            duplicates=no_counts(s).duplicates,
            bad_rows=bad_rows,
            ohlc_outside=no_counts(s).ohlc_outside,
            by_rule=tuple(by_rule),
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
    return _entry(
        of,
        _Block(
            steps=[step for step, _ in came],
            positions=[arrived.position for _, arrived in came],
            dates=[arrived.date.isoformat() for _, arrived in came],
            read_on=[list(arrived.read_on) for _, arrived in came],
            rows=[len(part) for part in rows],
            outside=[_counted(arrived.counts.outside_hours) for _, arrived in came],
            bad=[[_bad(row) for row in arrived.bad] for _, arrived in came],
            host_ns=[arrived.host_ns for _, arrived in came],
            code=np.concatenate([part.code for part in rows]),
            ts=np.concatenate([part.ts for part in rows]),
            columns=_columns(rows),
            left_out=[_counted(dict(arrived.counts.by_rule).get("partial")) for _, arrived in came],
            auction=[_counted(dict(arrived.counts.by_rule).get("auction")) for _, arrived in came],
        ),
    )


def _columns(rows: Sequence[RowBatch]) -> dict[str, Prices]:
    return columns_of(joined_rows(rows))


def columns_of(whole: RowBatch) -> dict[str, Prices]:
    """Numbers of rows, by the journal's names."""
    names = ("close", "volume") if whole.interval_ns is None else BAR_COLUMNS
    columns = {name: getattr(whole, name) for name in names}
    if whole.ids is not None:
        columns["trade_id"] = whole.ids
    if whole.partial is not None:
        columns["partial"] = whole.partial.astype(np.float64)
    return columns


def _any_ids(columns: Mapping[str, Prices]) -> bool:
    return "trade_id" in columns and not np.isnan(columns["trade_id"]).all()


def _any_partial(columns: Mapping[str, Prices]) -> bool:
    return "partial" in columns and bool((columns["partial"] > 0).any())


def joined(entries: Sequence[JournalEntry]) -> JournalEntry:
    """One entry in place of several of a day, oldest first: rows of many steps pack better.

    Raises
    ------
    Undecodable
        If one is nothing that this program journaled.
    """
    blocks = [_block(item.body) for item in entries]
    return _entry(
        entries[0].trading_date,
        _Block(
            **{
                name: [value for block in blocks for value in getattr(block, name)]
                for name in _BY_STEP
            },
            code=np.concatenate([block.code for block in blocks]),
            ts=np.concatenate([block.ts for block in blocks]),
            columns={
                name: np.concatenate(
                    [column_or_none(block.columns, name, len(block.code)) for block in blocks]
                )
                for name in dict.fromkeys(name for block in blocks for name in block.columns)
            },
        ),
    )


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


@dataclass(frozen=True, eq=False, slots=True)
class _Block:
    """What came with the steps of an entry: a value a step, then the rows of all of them."""

    steps: list[int]
    positions: list[int]
    dates: list[str]
    read_on: list[list[Any]]
    rows: list[int]
    outside: list[Any]
    bad: list[Any]
    host_ns: list[MarketTime]
    """EPOCH, and not written, where the host's clock moves no time."""
    code: NDArray[np.int32]
    ts: NDArray[np.int64]
    columns: dict[str, Prices]
    left_out: list[Any]
    """Not written where no rule left anything out."""
    auction: list[Any]
    """Not written where no row lay in an auction."""


_BY_STEP = (
    "steps", "positions", "dates", "read_on", "rows", "outside", "bad", "host_ns", "left_out",
    "auction",
)  # fmt: skip


def column_or_none(columns: Mapping[str, Prices], name: str, count: int) -> Prices:
    """A column that rows of some steps may lack."""
    if name in columns:
        return columns[name]
    return np.full(count, np.nan if name == "trade_id" else 0.0)


def _entry(of: date, block: _Block) -> JournalEntry:
    head: dict[str, Any] = {name: getattr(block, name) for name in _BY_STEP}
    for name in ("host_ns", "left_out", "auction"):
        if not any(head[name]):
            del head[name]
    head["code"] = split(block.code.astype("<i4"))
    if len(block.ts) < PACKED_FROM:
        # Times follow each other closely: their differences are small.
        head["ts"] = split(np.diff(block.ts, prepend=0).astype("<i8"))
        head["columns"] = {
            name: split(column.astype("<f8")) for name, column in block.columns.items()
        }
    else:
        # A symbol's prices are near each other, and so they stand together.
        by_symbol = np.argsort(block.code, kind="stable")
        head["steps"] = pack_integers(np.array(block.steps, np.int64))
        head["positions"] = pack_integers(np.array(block.positions, np.int64))
        head["instants"] = pack_integers(block.ts)
        head["columns"] = {
            name: pack_numbers(column[by_symbol]) for name, column in block.columns.items()
        }
    plain = msgpack.packb(head, use_bin_type=True)
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    body = len(plain).to_bytes(8, "big") + packed
    return JournalEntry(of, f"{CAME} {block.steps[0]}", body, step=block.steps[-1])


def _block(body: bytes) -> _Block:
    try:
        plain = unpacked(body[8:], int.from_bytes(body[:8], "big"), "zstd")
        head = msgpack.unpackb(plain, raw=False)
        head.setdefault("host_ns", [EPOCH] * len(head["rows"]))
        for name in ("left_out", "auction"):
            head.setdefault(name, [()] * len(head["rows"]))
        code = whole(head["code"], "<i4")
        columns: dict[str, Prices] = {}
        if "instants" in head:
            by_symbol = np.argsort(code, kind="stable")
            for name, part in head["columns"].items():
                columns[name] = np.empty(len(code), np.float64)
                columns[name][by_symbol] = unpack_numbers(part)
            for name in ("steps", "positions"):
                head[name] = unpack_integers(head[name]).tolist()
            ts = unpack_integers(head["instants"])
        else:
            columns = {name: whole(part, "<f8") for name, part in head["columns"].items()}
            ts = np.cumsum(whole(head["ts"], "<i8"))
        return _Block(**{name: head[name] for name in _BY_STEP}, code=code, ts=ts, columns=columns)
    except Exception as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error


def _read(body: bytes) -> list[tuple[int, Came]]:
    block = _block(body)
    try:
        edges = np.cumsum([0, *block.rows]).tolist()
        return [
            (
                step,
                Came(
                    date.fromisoformat(block.dates[n]),
                    block.positions[n],
                    (block.read_on[n][0], block.read_on[n][1]),
                    block.code[edges[n] : edges[n + 1]],
                    block.ts[edges[n] : edges[n + 1]],
                    {name: part[edges[n] : edges[n + 1]] for name, part in block.columns.items()},
                    [(which, count) for which, count in block.outside[n]],
                    tuple(BadRow(*row) for row in block.bad[n]),
                    block.host_ns[n],
                    [(which, count) for which, count in block.left_out[n]],
                    [(which, count) for which, count in block.auction[n]],
                ),
            )
            for n, step in enumerate(block.steps)
        ]
    except Exception as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error


def _counted(of: NDArray[np.int64] | None) -> list[tuple[int, int]]:
    if of is None:
        return []
    return [(int(code), int(of[code])) for code in np.flatnonzero(of)]


def _bad(row: BadRow) -> list[Any]:
    return [row.file, row.row, row.symbol, row.ts_ns, row.reason]
