"""DBN files whose every byte Databento's own encoder has made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest

dbn = pytest.importorskip("databento_dbn", reason="databento is not installed: openbell[databento]")

DATASET = "XNAS.ITCH"


@dataclass(frozen=True)
class Interval:
    start_date: date
    end_date: date
    symbol: str


@dataclass(frozen=True)
class _Mapping:
    raw_symbol: str
    intervals: list[Interval]


Named = Mapping[str, list[tuple[str, str, int]]]
"""Symbol → first date, the first one after, instrument."""


def metadata(schema: str | None, named: Named = MappingProxyType({}), **more: Any) -> bytes:
    stypes = {"stype_in": dbn.SType.RAW_SYMBOL, "stype_out": dbn.SType.INSTRUMENT_ID, **more}
    made: bytes = dbn.Metadata(
        dataset=DATASET,
        start=0,
        schema=None if schema is None else dbn.Schema.from_str(schema),
        symbols=list(named),
        mappings=[
            _Mapping(
                symbol,
                [
                    Interval(date.fromisoformat(first), date.fromisoformat(after), str(of))
                    for first, after, of in parts
                ],
            )
            for symbol, parts in named.items()
        ],
        **stypes,
    ).encode()
    return made


def nanos(price: float) -> int:
    """A price as DBN has it."""
    return round(price * 10**9)


def bar(
    instrument: int,
    ts: int,
    prices: tuple[float, float, float, float],
    volume: int = 100,
    rtype: str = "OHLCV_1M",
    publisher: int = 2,
    **more: Any,
) -> bytes:
    return bytes(
        dbn.OHLCVMsg(
            getattr(dbn.RType, rtype),
            publisher,
            instrument,
            ts,
            *map(nanos, prices),
            volume,
            **more,
        )
    )


def trade(
    instrument: int, ts: int, price: float, size: int, action: str = "T", **more: Any
) -> bytes:
    return bytes(
        dbn.TradeMsg(
            publisher_id=2,
            instrument_id=instrument,
            ts_event=ts,
            price=nanos(price),
            size=size,
            action=dbn.Action(action),
            side=dbn.Side.NONE,
            depth=0,
            ts_recv=more.pop("ts_recv", ts + 165_000),
            **more,
        )
    )


def mapping(instrument: int, asked: str, own: str, ts: int = 0) -> bytes:
    """As the live gateway sends it before an instrument's first record."""
    return bytes(
        dbn.SymbolMappingMsg(
            publisher_id=0,
            instrument_id=instrument,
            ts_event=ts,
            stype_in=dbn.SType.RAW_SYMBOL,
            stype_in_symbol=asked,
            stype_out=dbn.SType.INSTRUMENT_ID,
            stype_out_symbol=own,
            start_ts=ts,
            end_ts=dbn.UNDEF_TIMESTAMP,
        )
    )


def system(text: str, ts: int = 0) -> bytes:
    return bytes(dbn.SystemMsg(ts_event=ts, msg=text))


def write(path: Path, head: bytes, records: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = head + b"".join(records)
    if path.name.endswith(".zst"):
        with pa.output_stream(str(path), compression="zstd") as out:
            out.write(body)
    else:
        path.write_bytes(body)
    return path
