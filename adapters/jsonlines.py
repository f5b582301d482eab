"""Results as JSON lines, made from columns.

Making an object a signal takes longer than finding the signals, so each line is joined, all
lines at once, from columns of text in which every distinct value was spelled only once. Numbers
are the shortest that read back equal; NaN is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openbell.market.bars import Prices
from openbell.market.days import SECOND_NS, Nanoseconds
from openbell.market.results import NO_TIME, SIDES, Levels, SessionDocument, SignalBatch

ROWS_AT_ONCE = 65_536
"""Rows encoded together: an Arrow string array holds at most 2 GiB of text."""

FLAGS = ("gap", "ambiguous", "complete", "backfilled")


def format_instants(ns: Nanoseconds) -> pa.StringArray:
    """UTC texts such as `2025-08-26T04:06:00Z`; a fraction only where there is one.

    Parameters
    ----------
    ns : (n,) int64
        ns UTC; NO_TIME gives null.
    """
    seconds, fraction = np.divmod(ns, SECOND_NS)
    whole = seconds.view("datetime64[s]")
    years, months, days = (whole.astype(f"datetime64[{unit}]") for unit in "YMD")
    text = np.empty((len(ns), 30), dtype=np.uint8)
    text[:] = np.frombuffer(b"0000-00-00T00:00:00.000000000Z", dtype=np.uint8)

    def put(first: int, width: int, number: NDArray[Any]) -> None:
        for column in range(first + width - 1, first - 1, -1):
            number, digit = np.divmod(number, 10)
            text[:, column] = digit + ord("0")

    put(0, 4, years.astype(np.int64) + 1970)
    put(5, 2, months.astype(np.int64) % 12 + 1)
    put(8, 2, (days - months).astype(np.int64) + 1)
    put(11, 2, seconds // 3600 % 24)
    put(14, 2, seconds // 60 % 60)
    put(17, 2, seconds % 60)
    length = np.full(len(ns), 20, dtype=np.int32)
    if fraction.any():
        put(20, 9, fraction)
        digits = 9 - (text[:, 28:19:-1] != ord("0")).argmax(axis=1)
        length[fraction != 0] += (1 + digits)[fraction != 0]
    text[np.arange(len(ns)), length - 1] = ord("Z")
    absent = ns == NO_TIME
    length[absent] = 0
    return _strings(text[np.arange(30) < length[:, None]], length, absent)


def format_floats(values: Prices) -> pa.StringArray:
    """Each number as JSON, shortest that reads back equal: `100.0`; `null` for NaN."""
    if not len(values):
        return pa.array([], pa.string())
    # Arrow's own cast writes 100 for 100.0 and takes longer.
    encoded = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    text = np.frombuffer(encoded, dtype=np.uint8)[1:]
    ends = np.flatnonzero((text == ord(",")) | (text == ord("]")))
    length = np.diff(ends, prepend=-1) - 1
    return _strings(np.delete(text, ends), length.astype(np.int32))


def signal_lines(batch: SignalBatch) -> Iterator[pa.Buffer]:
    """The batch as JSON lines, UTF-8, in buffers of whole lines."""
    for start in range(0, len(batch), ROWS_AT_ONCE):
        yield joined(*_signal_pieces(batch, slice(start, start + ROWS_AT_ONCE)))


def signal_objects(batch: SignalBatch) -> Iterator[dict[str, Any]]:
    """Each signal as a dict with the fields of its JSON line; instants are UTC texts."""
    # Reading the lines back costs less than making dicts from columns, and can't differ.
    for lines in signal_lines(batch):
        for line in bytes(lines).splitlines():
            yield orjson.loads(line)


def document_line(document: SessionDocument, signal_ids: Sequence[str]) -> bytes:
    """A session document as a JSON line, UTF-8.

    `signal_ids` are those of the session's signals on the document's day.
    """
    started, completed, created, updated = _instants(
        document.started_at, document.completed_at, document.created_at, document.updated_at
    )
    head = {
        "trading_date": document.trading_date,
        "session_name": document.session_name,
        "start_time": document.start_time,
        "end_time": document.end_time,
        "status": document.status,
        "started_at": started,
        "completed_at": completed,
    }
    tail = {
        "breakouts_checked": document.breakouts_checked,
        "signals_generated": list(signal_ids),
        "created_at": created,
        "updated_at": updated,
        "reason": document.reason,
    }
    symbols = b"" if document.levels is None else bytes(_symbol_entries(document.levels))[:-1]
    return b"".join(
        (
            orjson.dumps(head)[:-1],
            b',"symbols_data":{',
            symbols,
            b"},",
            orjson.dumps(tail)[1:],
            b"\n",
        )
    )


def joined(*pieces: pa.StringArray | pa.StringScalar | str) -> pa.Buffer:
    """The text of all rows, each made of its pieces in turn; at least one piece is a column."""
    rows = pc.binary_join_element_wise(*pieces, "")
    _, offsets, text = rows.buffers()
    if not len(rows):
        return pa.py_buffer(b"")
    return text.slice(0, int(np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1)[-1]))


def by_value(values: NDArray[Any], spell: Callable[[Any], Any]) -> pa.StringArray:
    """`spell` applied to an array of the distinct values, its texts set out row for row."""
    encoded = pa.array(values).dictionary_encode()
    texts = spell(encoded.dictionary.to_numpy(zero_copy_only=False))
    return texts.take(encoded.indices)


def _signal_pieces(batch: SignalBatch, rows: slice) -> Iterator[pa.StringArray | str]:
    day = f"{batch.exchange}:{batch.trading_date}:"
    session, symbol, side = batch.session[rows], batch.symbol[rows], batch.side[rows]
    sessions, symbols = _escaped(batch.sessions), _escaped(batch.symbols)

    def kind_text(kinds: NDArray[np.int64]) -> pa.StringArray:
        middle = f'","trading_date":"{batch.trading_date}","session":"'
        return pa.array(
            f'{SIDES[kind % 2]}:{kind // 2 % count}{middle}{sessions[kind // 2 // count]}","symbol":"'
            for kind in kinds.tolist()
        )

    number = batch.number[rows].astype(np.int64)
    count = int(number.max()) + 1
    times = by_value(np.concatenate((batch.ts[rows], batch.known_at[rows])), format_instants)
    kind = (session * count + number) * 2 + side

    yield _chosen((f'{{"id":"{_escape(day)}{name}:' for name in sessions), session)
    yield _chosen((f"{name}:" for name in symbols), symbol)
    yield by_value(kind, kind_text)
    yield _chosen((f'{name}","side":"' for name in symbols), symbol)
    yield _chosen((f'{name}","ts":"' for name in SIDES), side)
    yield times.slice(0, len(side))
    yield '","known_at":"'
    yield times.slice(len(side))
    yield '","price":'
    yield format_floats(batch.price[rows])
    yield ',"level":'
    yield format_floats(batch.level[rows])
    yield ',"companion":'
    yield _companion_texts(batch, rows, symbols)
    flags = sum(getattr(batch, name)[rows].astype(np.int8) << bit for bit, name in enumerate(FLAGS))
    yield _chosen(map(_flags_text, range(1 << len(FLAGS))), cast(NDArray[np.int8], flags))


def _companion_texts(
    batch: SignalBatch, rows: slice, symbols: Sequence[str]
) -> pa.StringArray | str:
    companion = batch.companion[rows]
    if (companion < 0).all():
        return "null"
    present = pc.binary_join_element_wise(
        _chosen((f'{{"symbol":"{name}","price":' for name in symbols), companion),
        format_floats(batch.companion_price[rows]),
        ',"ts":',
        _quoted_instants(batch.companion_ts[rows]),
        "}",
        "",
    )
    return pc.if_else(pa.array(companion < 0), "null", present)


def _flags_text(flags: int) -> str:
    fields = (f'"{name}":{_bool(flags >> bit & 1)}' for bit, name in enumerate(FLAGS))
    return f",{','.join(fields)}}}\n"


def _symbol_entries(levels: Levels) -> pa.Buffer:
    """`"NIFTY":{…},` for each symbol, with the comma at the end too."""
    times = _quoted_instants(np.concatenate((levels.first_ts, levels.last_ts)))
    return joined(
        pa.array((f'"{name}":{{"high":' for name in _escaped(levels.symbols)), pa.string()),
        format_floats(levels.high),
        ',"low":',
        format_floats(levels.low),
        ',"tick_count":',
        pa.array(levels.count).cast(pa.string()),
        ',"first_tick_time":',
        times.slice(0, len(levels.symbols)),
        ',"last_tick_time":',
        times.slice(len(levels.symbols)),
        "},",
    )


def _quoted_instants(ns: Nanoseconds) -> pa.StringArray:
    """JSON strings, `null` for NO_TIME."""
    return by_value(
        ns,
        lambda values: pc.binary_join_element_wise('"', format_instants(values), '"', "").fill_null(
            "null"
        ),
    )


def _instants(*ns: int | None) -> list[str | None]:
    known = [NO_TIME if value is None else value for value in ns]
    return cast(list[str | None], format_instants(np.array(known, dtype=np.int64)).to_pylist())


def _chosen(texts: Iterable[str], codes: NDArray[Any]) -> pa.StringArray:
    """The text at each code; a code of -1 gives null."""
    indices = pa.array(codes) if codes.min(initial=0) >= 0 else pa.array(codes, mask=codes < 0)
    return pa.array(texts, pa.string()).take(indices)


@lru_cache(maxsize=8)  # days share their symbols, and escaping them is a third of a document
def _escaped(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_escape(text) for text in texts)


def _escape(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return orjson.dumps(text)[1:-1].decode()


def _bool(value: int) -> str:
    return "true" if value else "false"


def _strings(
    text: NDArray[np.uint8], length: NDArray[np.int32], absent: NDArray[np.bool_] | None = None
) -> pa.StringArray:
    """Arrow strings that stand one behind the other in `text`."""
    offsets = np.zeros(len(length) + 1, dtype=np.int32)
    np.cumsum(length, out=offsets[1:])
    valid = None if absent is None or not absent.any() else pa.array(~absent).buffers()[1]
    return pa.StringArray.from_buffers(
        len(length), pa.py_buffer(offsets), pa.py_buffer(text), null_bitmap=valid
    )
