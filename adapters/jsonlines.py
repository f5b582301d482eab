"""Results as JSON lines, made from columns.

Making an object a signal takes longer than finding the signals, so each line is joined, all
lines at once, from columns of text in which every distinct value was spelled only once. Numbers
are the shortest that read back equal; NaN is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openbell.adapters.arrays import array_of, join_of, text_of, texts_of
from openbell.adapters.tables import FLAGS, breakout_ids, breaks, signal_ids
from openbell.market.bars import Prices
from openbell.market.conditions import condition_names
from openbell.market.days import SECOND_NS, Nanoseconds
from openbell.market.kinds import BREAKOUT, KINDS
from openbell.market.results import NO_TIME, SIDES, SessionDocument, SignalBatch

ROWS_AT_ONCE = 65_536
"""Rows encoded together: an Arrow string array holds at most 2 GiB of text."""


def format_instants(ns: Nanoseconds) -> pa.StringArray:
    """UTC texts such as `2025-08-26T04:06:00Z`; a fraction only where there is one.

    Parameters
    ----------
    ns : (n,) int64
        ns UTC; NO_TIME gives null.
    """
    seconds, fraction = np.divmod(ns, SECOND_NS)
    # Without a zone, which would take Arrow ten times as long.
    spelled = array_of(seconds.view("datetime64[s]")).cast(pa.string())
    text = np.empty((len(ns), 30), dtype=np.uint8)
    text[:, :19] = np.frombuffer(spelled.buffers()[2], np.uint8, 19 * len(ns)).reshape(-1, 19)
    text[:, 10] = ord("T")
    text[:, 19] = ord("Z")
    length = np.full(len(ns), 20, dtype=np.int32)
    if fraction.any():
        broken = fraction != 0
        text[:, 19] = ord(".")
        for column in range(28, 19, -1):
            fraction, digit = np.divmod(fraction, 10)
            text[:, column] = digit + ord("0")
        digits = 9 - (text[:, 28:19:-1] != ord("0")).argmax(axis=1)
        length[broken] += (1 + digits)[broken]
        text[np.arange(len(ns)), length - 1] = ord("Z")
    absent = ns == NO_TIME
    length[absent] = 0
    offsets = np.zeros(len(ns) + 1, dtype=np.int32)
    np.cumsum(length, out=offsets[1:])
    valid = array_of(~absent).buffers()[1] if absent.any() else None
    kept = text[np.arange(30) < length[:, None]]
    return pa.StringArray.from_buffers(
        len(ns), pa.py_buffer(offsets), pa.py_buffer(kept), null_bitmap=valid
    )


def format_floats(*columns: Prices) -> pa.StringArray:
    """Numbers as JSON, shortest that read back equal, each with a comma: `100.0,`; NaN: `null,`.

    Those of several columns follow each other.
    """
    # Arrow's own cast writes 100 for 100.0 and takes longer. With one number more, a comma
    # stands behind every one that counts.
    numbers = np.concatenate((*columns, np.zeros(1)))
    text = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)
    offsets = np.ones(len(numbers), dtype=np.int32)
    offsets[1:] += np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord(","))
    return pa.StringArray.from_buffers(len(numbers) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def runs(*columns: NDArray[Any]) -> tuple[NDArray[np.intp], pa.Array]:
    """Where rows begin that differ from the one before in any column, and each row's such run.

    Neighbours are often alike in times and counts, and spelling a text costs more than taking it.
    """
    starts = np.ones(len(columns[0]), dtype=np.bool_)
    starts[1:] = False
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(starts), array_of(np.cumsum(starts, dtype=np.int32) - np.int32(1))


def signal_lines(batch: SignalBatch, ids: pa.StringArray | None = None) -> Iterator[pa.Buffer]:
    """The batch as JSON lines, UTF-8, in buffers of whole lines.

    `ids` are the escaped ones (`escaped_ids`) if they are at hand.
    """
    ids = escaped_ids(batch) if ids is None else ids
    for start in range(0, len(batch), ROWS_AT_ONCE):
        yield joined(*_signal_pieces(batch, ids, slice(start, start + ROWS_AT_ONCE)))


def signal_objects(batch: SignalBatch) -> Iterator[dict[str, Any]]:
    """Each signal as a dict with the fields of its JSON line; instants are UTC texts."""
    # Reading the lines back costs less than making dicts from columns, and can't differ.
    for lines in signal_lines(batch):
        for line in bytes(lines).splitlines():
            yield orjson.loads(line)


def escaped_ids(batch: SignalBatch, ids: pa.StringArray | None = None) -> pa.StringArray:
    """Each signal's id as it stands between the quotes of a JSON string.

    `ids` are the plain ones (`signal_ids`) if they are at hand: mostly they are the same.
    """
    sessions, symbols = _escaped(batch.sessions), _escaped(batch.symbols)
    exchange = _escape(batch.exchange)
    plain = (batch.exchange, batch.sessions, batch.symbols)
    if ids is not None and (exchange, sessions, symbols) == plain:
        return ids
    return signal_ids(_with_escaped_names(batch))


def _with_escaped_names(batch: SignalBatch) -> SignalBatch:
    return replace(
        batch,
        exchange=_escape(batch.exchange),
        sessions=_escaped(batch.sessions),
        symbols=_escaped(batch.symbols),
    )


def ids_by_session(batch: SignalBatch, ids: pa.StringArray) -> dict[str, bytes]:
    """The signals' escaped ids as a JSON array for each session that has any."""
    order = np.argsort(batch.session, kind="stable")
    ends = np.cumsum(np.bincount(batch.session, minlength=len(batch.sessions)))
    offsets = array_of(np.append(0, ends).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, ids.take(array_of(order)))
    texts = pc.binary_join(lists, text_of('","')).to_pylist()
    return {
        session: f'["{text}"]'.encode()
        for session, text in zip(batch.sessions, texts, strict=True)
        if text
    }


def document_lines(documents: Sequence[SessionDocument], ids: Mapping[str, bytes]) -> bytes:
    """Session documents as JSON lines, UTF-8, in the order given.

    `ids` has, by session, the ids of the session's signals on the documents' day as a JSON array.
    """
    levels = [document.levels for document in documents if document.levels is not None]
    columns = [
        np.concatenate([np.empty(0, np.int64), *(getattr(of, name) for of in levels)])
        for name in ("count", "first_ts", "last_ts")
    ]
    heads, run = runs(*columns)
    count, first, last = (column[heads] for column in columns)
    moments = [
        NO_TIME if moment is None else moment
        for document in documents
        for moment in (
            *(document.started_at, document.completed_at),
            *(document.created_at, document.updated_at),
        )
    ]
    times = _quoted_instants(np.concatenate((first, last, np.array(moments, np.int64))))
    after = join_of(
        *('"tick_count":', array_of(count).cast(pa.string())),
        *(',"first_tick_time":', times.slice(0, len(heads))),
        *(',"last_tick_time":', times.slice(len(heads), len(heads))),
        *("},", ""),
    ).take(run)
    prices = format_floats(*(of.high for of in levels), *(of.low for of in levels))
    moment_texts = iter(times.slice(2 * len(heads)).to_pylist())

    lines: list[bytes | memoryview] = []
    row = 0
    for document in documents:
        started, completed, created, updated = (next(moment_texts) for _ in range(4))
        lines.append(
            f'{{"trading_date":"{document.trading_date}"'
            f',"session_name":"{_escape(document.session_name)}"'
            f',"start_time":"{_escape(document.start_time)}"'
            f',"end_time":"{_escape(document.end_time)}","status":"{document.status}"'
            f',"started_at":{started},"completed_at":{completed},"symbols_data":{{'.encode()
        )
        if document.levels is not None and (size := len(document.levels.symbols)):
            entries = joined(
                _entry_names(document.levels.symbols),
                prices.slice(row, size),
                '"low":',
                prices.slice(len(run) + row, size),
                after.slice(row, size),
            )
            lines.append(memoryview(entries)[:-1])
            row += size
        lines.append(
            f'}},"breakouts_checked":{_bool(document.breakouts_checked)}'
            ',"signals_generated":'.encode()
        )
        lines.append(ids.get(document.session_name, b"[]"))
        lines.append(
            f',"created_at":{created},"updated_at":{updated}'
            f',"reason":{_quoted(document.reason)}}}\n'.encode()
        )
    return b"".join(lines)


def joined(*pieces: pa.StringArray | pa.StringScalar | str) -> pa.Buffer:
    """The text of all rows, each made of its pieces in turn; at least one piece is a column."""
    rows = join_of(*pieces, "")
    _, offsets, text = rows.buffers()
    if not len(rows):
        return pa.py_buffer(b"")
    return text.slice(0, int(np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1)[-1]))


def _signal_pieces(
    batch: SignalBatch, ids: pa.StringArray, rows: slice
) -> Iterator[pa.StringArray | str]:
    ts, known_at = batch.ts[rows], batch.known_at[rows]
    heads, run = runs(ts, known_at)
    times = format_instants(np.concatenate((ts[heads], known_at[heads])))
    moments = join_of(
        times.slice(0, len(heads)), '","known_at":"', times.slice(len(heads)), '","price":', ""
    )
    names = _break_names(_escaped(batch.sessions), _escaped(batch.symbols))
    numbers = format_floats(batch.price[rows], batch.level[rows])
    flags = np.zeros(len(ts), np.int8)
    for bit, name in enumerate(FLAGS):
        flags |= getattr(batch, name)[rows].astype(np.int8) << bit
    companions = _companion_texts(batch, rows)

    yield '{"id":"'
    yield ids.slice(rows.start, len(ts))
    yield f'","trading_date":"{batch.trading_date}","session":"'
    yield names.take(breaks(batch, rows))
    yield moments.take(run)
    yield numbers.slice(0, len(ts))
    yield '"level":'
    yield numbers.slice(len(ts))
    yield '"companion":'
    yield companions
    yield _flags_texts().take(array_of(flags))
    yield from _linked_pieces(batch, rows)
    yield "}\n"


def _linked_pieces(batch: SignalBatch, rows: slice) -> Iterator[pa.StringArray | str]:
    """What stands behind the flags: the kind, what it belongs to, and when the other of touch and
    close was."""
    kinds, count = batch.kinds[rows], len(batch.ts[rows])
    if kinds.any():
        yield ',"kind":"'
        yield texts_of(KINDS).take(array_of(kinds))
        yield '","of":'
        breakouts = breakout_ids(_with_escaped_names(batch)).slice(rows.start, count)
        of = join_of('"', breakouts, '"', "")
        yield pc.if_else(array_of(kinds == BREAKOUT), text_of("null"), of)
    else:
        yield ',"kind":"breakout","of":null'
    yield ',"touched_at":'
    yield _quoted_instants(batch.filled("touched_at")[rows])
    yield ',"touch_excess":'
    yield format_floats(batch.filled("touch_excess")[rows])
    yield '"closed_beyond_at":'
    yield _quoted_instants(batch.filled("closed_beyond_at")[rows])
    if batch.rules is not None:
        distinct, place = np.unique(batch.rules[rows], return_inverse=True)
        yield texts_of(map(_rules_text, distinct.tolist())).take(array_of(place.astype(np.int32)))


def _rules_text(passed: int) -> str:
    """What a line says of rules; nothing where there are none."""
    names = condition_names(passed)
    return f',"rules":{orjson.dumps(names).decode()}' if names else ""


@lru_cache(maxsize=4)  # days share their symbols
def _break_names(sessions: tuple[str, ...], symbols: tuple[str, ...]) -> pa.StringArray:
    """What a line says of each kind of break, in the order of `breaks`; the names are escaped."""
    return texts_of(
        f'{session}","symbol":"{symbol}","side":"{side}","ts":"'
        for session in sessions
        for symbol in symbols
        for side in SIDES
    )


def _companion_texts(batch: SignalBatch, rows: slice) -> pa.StringArray | str:
    companion = batch.companion[rows]
    absent = companion < 0
    if absent.all():
        return "null"
    names = texts_of(f'{{"symbol":"{name}","price":' for name in _escaped(batch.symbols))
    present = join_of(
        names.take(array_of(companion, absent)),
        format_floats(batch.companion_price[rows]),
        '"ts":',
        _quoted_instants(batch.companion_ts[rows]),
        "}",
        "",
    )
    return pc.if_else(array_of(absent), text_of("null"), present)


@cache
def _flags_texts() -> pa.StringArray:
    """What a line says of the flags, for each combination."""
    ends = []
    for flags in range(1 << len(FLAGS)):
        fields = (f'"{name}":{_bool(flags >> bit & 1)}' for bit, name in enumerate(FLAGS))
        ends.append(f",{','.join(fields)}")
    return texts_of(ends)


@lru_cache(maxsize=4)  # days share their symbols
def _entry_names(symbols: tuple[str, ...]) -> pa.StringArray:
    return texts_of(f'"{name}":{{"high":' for name in _escaped(symbols))


def _quoted_instants(ns: Nanoseconds) -> pa.StringArray:
    """JSON strings, `null` for NO_TIME."""
    return join_of('"', format_instants(ns), '"', "").fill_null(text_of("null"))


@lru_cache(maxsize=8)  # days share their symbols
def _escaped(texts: tuple[str, ...]) -> tuple[str, ...]:
    escaped = tuple(_escape(text) for text in texts)
    return texts if escaped == texts else escaped


def _escape(text: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return orjson.dumps(text)[1:-1].decode()


def _quoted(text: str | None) -> str:
    return orjson.dumps(text).decode()


def _bool(value: int) -> str:
    return "true" if value else "false"
