"""What is read from stores, journals and feeds is data: whatever it holds, it is taken or refused.

Bytes of a real run are damaged at random, inside their compression too, and their checksums made to
hold again, as somebody could who may write to the store. Each reader takes what comes of it, or
raises what it is documented to, and keeps nothing of it.
"""

from __future__ import annotations

import gc
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import orjson
import psutil
import pyarrow as pa
import pytest

import openbell
from openbell.adapters.feeds.entries import Decoder
from openbell.adapters.feeds.frames import Frames, Seen, Where
from openbell.adapters.feeds.frames import Path as Place
from openbell.adapters.stores import Document, JournalEntry, open_store, records, stepblocks
from openbell.adapters.stores.columns import signal_rows
from openbell.adapters.stores.holders import decode_holder, encode_holder, this_process
from openbell.adapters.stores.records import Reading
from openbell.errors import StoreError
from openbell.market.days import MarketTime
from openbell.market.results import SignalBatch
from openbell.runtime.delivery.positions import Position, dead_letters, encoded, statuses
from openbell.runtime.record import brought, feedlog, filled, journal, steplog
from openbell.runtime.record.codec import decode, encode
from openbell.runtime.results.events import event_of

DAY = date(2024, 7, 1)
SYMBOLS = ["AAPL", "MSFT"]
GROWTH_BYTES_MAX = 150 * 2**20
MIBS = 2**20


class Target(NamedTuple):
    """Something that is read: bytes as they are written, and who reads them."""

    samples: list[bytes]
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...] = (StoreError,)
    layers: tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]] | None = None
    """Takes the compression away, and puts it on again."""


def zstd(beginning: int) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Of bytes after their length, which has so many."""

    def off(body: bytes) -> bytes:
        length = int.from_bytes(body[:beginning], "big")
        return bytes(pa.decompress(body[beginning:], length, codec="zstd", asbytes=True))

    def on(plain: bytes) -> bytes:
        packed: bytes = pa.compress(plain, codec="zstd", asbytes=True)
        return len(plain).to_bytes(beginning, "big") + packed

    return off, on


def lz4_off(body: bytes) -> bytes:
    length = int.from_bytes(body[1:9], "little")
    return bytes(pa.decompress(body[9:], length, codec="lz4", asbytes=True))


def lz4_on(plain: bytes) -> bytes:
    packed: bytes = pa.compress(plain, codec="lz4", asbytes=True)
    return b"\x04" + len(plain).to_bytes(8, "little") + packed


def block_off(body: bytes) -> bytes:
    return zstd(4)[0](body[1:]) if body[0] else body[1:]


def block_on(plain: bytes) -> bytes:
    return b"\1" + zstd(4)[1](plain)


def raw(file: Path, table: str, column: str, like: str = "") -> list[bytes]:
    with closing(sqlite3.connect(file)) as db:
        found = db.execute(f"SELECT {column} FROM {table} {like}").fetchall()
    return [bytes(body) for (body,) in found]


class Beside:
    """A store that has one thing beside the commits."""

    location = "the store"

    def __init__(self, body: bytes) -> None:
        self._body = body

    def kept_at(self, key: str) -> bytes | None:
        return None

    def kept(self, begin: str) -> dict[str, bytes]:
        return {f"{begin}chat": self._body}

    def head(self) -> Any:
        class Head:
            signals = 10

        return Head


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    file = tmp_path_factory.mktemp("fuzzed") / "openbell.db"
    keys = {
        "exchange": "XNYS",
        "symbols": SYMBOLS,
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "data": {"kind": "ticks"},
        "clock": {"time": "feed"},
        "feed": {"type": "push", "start": str(DAY), "end": str(DAY)},
        "store": {"url": f"sqlite:///{file}"},
    }
    with openbell.Runtime.from_config(keys) as runtime:
        for minute, price in ((31, 215.0), (33, 216.5), (36, 217.0), (40, 214.0)):
            at = f"{DAY}T09:{minute:02}:00-04:00"
            runtime.push_ticks(SYMBOLS, [at] * 2, [price, 2 * price])
        runtime.end_day(str(DAY))
        list(runtime.signals())
    with closing(open_store(f"sqlite:///{file}", "default")) as store:
        steps = list(store.steps())
    states, grants = raw(file, "blobs", "body"), [step.grant for step in steps]
    reading = Reading("the store")

    def state(body: bytes) -> object:
        return decode(crc32(body[4:]).to_bytes(4, "big") + body[4:])

    def step_block(body: bytes) -> object:
        row = (steps[-1].number, steps[0].number, steps[-1].market_ns, body, b"", str(DAY), 0)
        return reading.step_block((*row[:-1], stepblocks.row_crc(row)))

    def signal_block(body: bytes) -> object:
        crc = records.block_crc(1, 0, count, str(DAY), body)
        found = reading.signals((1, 0, count, str(DAY), body, crc))
        return list(signal_rows(found) if isinstance(found, SignalBatch) else found)

    def document(body: bytes) -> object:
        row = records.document_row(Document(DAY, "Opening", "COMPLETED", MarketTime(1), body, 0))
        return reading.document(row)

    def as_journaled(name: str, read: Callable[[list[JournalEntry]], object]) -> Any:
        return lambda body: read([JournalEntry(DAY, f"{name} 1", body, 1)])

    def kept(read: Callable[[Any], object]) -> Any:
        return lambda body: read(Beside(body))

    came = raw(file, "journal", "body", f"WHERE entry LIKE '{feedlog.CAME} %'")
    documents = raw(file, "documents", "body")
    with closing(sqlite3.connect(file)) as db:
        packed, count = db.execute("SELECT packed, count FROM signals LIMIT 1").fetchone()
    signals = [bytes(packed)]
    plain = [encode(decode(body)) for body in states]
    length_first = zstd(8)
    assert all((came, signals, documents, states))
    return {
        "states": Target(states, state),
        "plain states": Target(plain, state),
        "steps": Target([stepblocks.pack(steps)], step_block, layers=(block_off, block_on)),
        "grants": Target(grants, steplog.read),
        "signals": Target(signals, signal_block, layers=(lz4_off, lz4_on)),
        "documents": Target(documents, document, layers=(lz4_off, lz4_on)),
        "what a feed brought": Target(
            came, as_journaled(feedlog.CAME, feedlog.arrivals), layers=length_first
        ),
        "what history brought": Target(
            [length_first[1](plain[0])],
            as_journaled(filled.FILLED, lambda of: filled.fills(of, lambda step, day: True)),
            layers=length_first,
        ),
        "what was committed": Target(
            came,
            as_journaled(brought.BROUGHT, lambda of: brought.commits(of, 9)),
            layers=length_first,
        ),
        "a day's rows": Target([length_first[1](plain[0])], journal.read, layers=length_first),
        "manifests": Target(
            [body[8:] for body in raw(file, "epochs", "manifest")],
            lambda body: records.read_manifest(b"%08x" % crc32(body) + body),
        ),
        "positions": Target([encoded(Position(count=3, cursor="1-2", error="x"))], kept(statuses)),
        "dead letters": Target([encoded(Position())], kept(lambda of: dead_letters(of, "chat"))),
        "holders": Target([encode_holder(this_process())], decode_holder),
        "audit": Target(raw(file, "audit", "entry"), lambda body: event_of(body, 1).as_dict()),
        "frames": Target(_FRAMES, _read_frame, ()),
        "entries": Target(_ENTRIES, _read_entry, ()),
        "tables": Target([_arrow(None), _arrow("lz4"), _arrow("zstd")], _read_entry, ()),
    }


_TICKS = [{"s": "AAPL", "t": 1719840660000 + n, "p": 215.5 + n, "v": 10} for n in range(4)]
_FRAMES = [
    orjson.dumps({"ch": "trades", "data": _TICKS}),
    orjson.dumps(_TICKS),
    b'{"data": [' + b"[" * 300 + b"]" * 300 + b"]}",
]
_ENTRIES = [
    orjson.dumps([{"symbol": "AAPL", "ts": 1719840660000, "price": 215.5, "size": 10}] * 3),
    orjson.dumps([{"symbol": "MSFT", "ts": "2024-07-01T13:31:00Z", "price": "215.5"}]),
]


def _arrow(compression: str | None) -> bytes:
    rows = pa.table(
        {
            "symbol": pa.array(["AAPL", "MSFT"] * 50).dictionary_encode(),
            "ts": pa.array(range(1719840660000, 1719840660100), pa.timestamp("ms", "UTC")),
            "price": pa.array([215.5] * 100),
        }
    )
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(out, rows.schema, options=options) as stream:
        stream.write_table(rows)
    return bytes(out.getvalue())


def _told(kind: str, where: str, why: str) -> None:
    assert len(why) < 10_000


def _read_frame(body: bytes) -> object:
    fields = {"symbol": Place("s"), "ts": Place("t"), "price": Place("p"), "size": Place("v")}
    frames = Frames(
        Decoder("ticks", "feed", ts_unit="ms"), fields, rows=Place("data"), where=Where()
    )
    return frames.read([(1, body)], _told, Seen())


def _read_entry(body: bytes) -> object:
    fields = {b"rows": body}
    for part in (body[: len(body) // 2], body[len(body) // 2 :]):  # and as fields of one row
        fields[part[:10]] = part[10:40]
    entries = [("1-0", {b"rows": body}), ("2-0", fields), ("3-0", {b"symbol": b"A", b"ts": body})]
    return list(Decoder("ticks", "feed", ts_unit="ms").pieces(entries, _told))


def other_values(draw: random.Random, value: Any) -> Any:
    """JSON with some values of other types, or out of all bounds."""
    if draw.random() < 0.15:
        return draw.choice((None, True, -1, 2**63 - 1, 1e308, "x", "\x00", [], {}, [[1]], {"a": 1}))
    match value:
        case dict():
            kept = {key: other_values(draw, of) for key, of in value.items()}
            if kept and draw.random() < 0.1:
                kept.pop(draw.choice(list(kept)))
            return kept
        case list():
            return [other_values(draw, of) for of in value]
        case _:
            return value


def mutated(draw: random.Random, target: Target) -> bytes:
    body = draw.choice(target.samples)
    if draw.random() < 0.5:
        with suppress(orjson.JSONDecodeError):  # others are no JSON
            return orjson.dumps(other_values(draw, orjson.loads(body)))
    inside = target.layers is not None and draw.random() < 0.7
    if inside and target.layers is not None:
        body = target.layers[0](body)
    found = bytearray(body)
    for _ in range(draw.choice((1, 1, 1, 2, 5, 20))):
        at = draw.randrange(len(found) + 1)
        match draw.randrange(7):
            case 0 if found:
                found[at % len(found)] ^= 1 << draw.randrange(8)
            case 1 if found:
                found[at % len(found)] = draw.choice(b'\x00\x01\x7f\x80\xc1\xdd\xdf\xff[{"9')
            case 2:
                del found[at : at + draw.choice((1, 2, 8, 100))]
            case 3:
                found[at:at] = draw.randbytes(draw.choice((1, 4, 8, 64)))
            case 4:  # a length or a number out of all bounds
                size = draw.choice((2, 4, 8))
                found[at : at + size] = draw.choice((b"\xff", b"\x7f", b"\x00")) * size
            case 5:
                other = draw.choice(target.samples)
                begin = draw.randrange(len(other))
                found[at : at + 32] = other[begin : begin + 64]
            case 6:  # nested, deeper than anything that is written
                found[at:at] = draw.choice((b"[", b"\x91", b'{"a":', b"\x81\xa1t")) * 2_000
    body = bytes(found)
    if inside and target.layers is not None:
        body = target.layers[1](body)
    return body


def fuzz(targets: dict[str, Target], cases: int, seed: int) -> dict[str, int]:
    """How many of each were refused."""
    refused = dict.fromkeys(targets, 0)
    for number in range(cases):
        name = list(targets)[number % len(targets)]
        target = targets[name]
        body = mutated(random.Random(f"{seed} {number}"), target)
        try:
            target.read(body)
        except target.refuses as error:
            refused[name] += bool(str(error))
        except Exception as error:
            raise AssertionError(f"{name}, case {number} of seed {seed}: {error!r}") from error
    return refused


def growth(targets: dict[str, Target], cases: int, seed: int) -> tuple[dict[str, int], int]:
    fuzz(targets, 2 * len(targets), seed)  # what is imported on the way stays
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    refused = fuzz(targets, cases, seed)
    gc.collect()
    pa.default_memory_pool().release_unused()
    return refused, process.memory_info().rss - before


def test_what_was_written_is_taken(targets: dict[str, Target]) -> None:
    for name in (
        "states",
        "plain states",
        "steps",
        "grants",
        "signals",
        "documents",
        "audit",
        "positions",
    ):
        for sample in targets[name].samples:
            targets[name].read(sample)


def test_damaged_bytes_are_taken_or_refused(targets: dict[str, Target]) -> None:
    refused, grown = growth(targets, 900, 1)

    assert grown < GROWTH_BYTES_MAX
    for name in ("states", "signals", "documents", "what a feed brought", "manifests"):
        assert refused[name] > 10, name


@pytest.mark.slow
def test_ten_thousand_damaged_bytes_are_taken_or_refused(targets: dict[str, Target]) -> None:
    seed = int(os.environ.get("FUZZ_SEED", "2"))

    _, grown = growth(targets, 10_000, seed)

    assert grown < GROWTH_BYTES_MAX
