"""The step log: every grant, and a digest of what its step brought, chained step by step.

A grant is written without the rows that it carried: they are read again from the source, whose
identity the store keeps, or from the journal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import msgpack
import numpy as np

from openbell.actors.effects import Commit
from openbell.market.results import Levels, Quality, SignalBatch
from openbell.messages.base import Message
from openbell.messages.control import (
    AddSymbols,
    Arrived,
    Backfilled,
    DayOver,
    Halted,
    Input,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Missed,
    NotFilled,
    Rang,
    Recover,
    RemoveSymbols,
    Roll,
    RollFailed,
    Start,
    SymbolsChanged,
    SymbolsRefused,
)
from openbell.messages.data import QualityReport
from openbell.messages.scan import ScanResult
from openbell.messages.time import Grant
from openbell.runtime.record.codec import Undecodable, decode, encode

START = b"\0" * 16
"""What the chain begins with."""

GRANT = ("step", "from_ns", "until_ns", "inputs")
"""What an entry keeps of a grant."""

Parts = dict[str, bytes]
"""Digest of each field of what a step brought: `breakout: signals 0: price`, …"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log, decoded but for its rows."""

    grant: dict[str, Any]
    parts: Parts


def parts(commit: Commit | None) -> Parts:
    """What a step brought to the market's record, digested field by field."""
    if commit is None:
        return {}
    found: Parts = {}
    for document in commit.documents:
        _digest(found, f"session {document.session_name}: document", document)
    for number, batch in enumerate(commit.signals):
        _digest(found, f"breakout: signals {number}", batch)
    for bars in commit.bars:
        _digest(found, f"upkeep: {bars.interval_minutes}-minute bars", bars)
    for bars in commit.bars_again:
        _digest(found, f"upkeep: {bars.interval_minutes}-minute bars once more", bars)
    if commit.quality is not None:
        _digest(found, "upkeep: quality", _wherever(commit.quality))
        if commit.quality.late is None:  # as in entries of before rows could come too late
            del found["upkeep: quality: late"]
    if commit.indicators is not None:
        _digest(found, "upkeep: indicators", commit.indicators)
    if commit.transitions:
        _digest(found, "day: transitions", commit.transitions)
    if commit.noticed:
        _digest(found, "noticed", commit.noticed)
    if commit.without_data:
        _digest(found, "day: without data", commit.without_data)
    if commit.register:
        _digest(found, "day: register", commit.register)
    return found


def _wherever(report: QualityReport) -> QualityReport:
    """The same wherever the data lies: its folder may be named in another way the next time."""
    if not report.bad:
        return report
    bad = tuple(dataclasses.replace(row, file=PurePath(row.file).name) for row in report.bad)
    return report.model_copy(update={"bad": bad})


_NEVER = object()

_ONLY_IF_SET: Mapping[tuple[type, str], object] = {
    (Quality, "by_rule"): (),
    (SignalBatch, "rules"): None,
    (Levels, "first_open"): None,
    (Levels, "first_close"): None,
}
"""Steps that were stored before there were such fields go on to have their digests."""

_WITH_KINDS = ("kind", "touched_at", "touch_excess", "closed_beyond_at")
"""Of signals, only where what follows breakouts is looked for: before, there was nothing of these."""


def _digest(found: Parts, about: str, value: Any) -> None:
    kind: type = type(value)
    fields = _fields(kind, about)
    if fields is not None and kind is SignalBatch and value.kind is None:
        fields = tuple(field for field in fields if field[0] not in _WITH_KINDS)
    if fields is not None:
        for name, about_field in fields:
            of = getattr(value, name)
            unset = _ONLY_IF_SET.get((kind, name), _NEVER)
            if type(of) is type(unset) and of == unset:
                continue
            _digest(found, about_field, of)
        return
    while about in found:  # two of a name: neither may hide the other
        about += " again"
    if kind is np.ndarray:
        # Columns are nearly all of the bytes, and this takes a fifth of a cryptographic hash's time.
        header = _header(value.dtype, value.shape)
        found[about] = zlib.crc32(np.ascontiguousarray(value).data, header).to_bytes(4)
    elif kind is tuple and value:
        found[about] = _of_tuple(_ById(value))
    elif kind in _PLAIN:
        found[about] = _of_plain(kind, value)
    else:
        found[about] = _of(value)


_PLAIN = frozenset({str, int, bool, type(None), date})
"""A day's messages repeat most of these: names, states, dates, the instants of a step."""


def _of(value: Any) -> bytes:
    return hashlib.blake2b(encode(value), digest_size=8).digest()


@lru_cache(maxsize=4096)
def _of_plain(kind: type, value: str | int | date | None) -> bytes:
    """The kind keeps 1 and True apart."""
    return _of(value)


@lru_cache(maxsize=1024)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return zlib.crc32(f"{dtype.str}{shape}".encode())


@lru_cache(maxsize=4096)
def _fields(kind: type, about: str) -> tuple[tuple[str, str], ...] | None:
    """Names of its fields, and what each is about; None: it has none."""
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif issubclass(kind, Message):
        names = list(kind.model_fields)
    else:
        return None
    return tuple((name, f"{about}: {name}") for name in names)


class _ById:
    """A tuple that is the same one, not an equal one: 1 and True are equal."""

    __slots__ = ("value",)

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


@lru_cache(maxsize=32)  # a day's messages share their tuples of symbols
def _of_tuple(held: _ById) -> bytes:
    return _of(held.value)


def chained(before: bytes, grant: Grant, brought: Parts) -> bytes:
    """The chain's digest after a step."""
    content = [grant.step, grant.from_ns, grant.until_ns, sorted(brought.items())]
    packed: bytes = msgpack.packb(content, use_bin_type=True)
    return hashlib.blake2b(before + packed, digest_size=16).digest()


def differing(before: Parts, now: Parts) -> list[str]:
    """What differs between two runs of the same step."""
    names = sorted(before.keys() | now.keys())
    return [name for name in names if before.get(name) != now.get(name)]


def what_differs(grant: Grant, was: Entry, brought: Parts) -> str:
    """Why a step that was given again is another one, in words."""
    names = differing(was.parts, brought)
    at = datetime.fromtimestamp(grant.until_ns // 1_000_000_000, UTC)
    where = "; ".join(names) if names else "the grants before it"
    return (
        f"step {grant.step} ({at:%Y-%m-%d %H:%M:%S}Z) comes to something else than was committed: "
        f"{where}; the data, the configuration or the program is not the one that wrote it"
    )


def written(grant: Grant, brought: Parts) -> bytes:
    """An entry as bytes."""
    inputs = [_written_input(entered) for entered in grant.inputs]
    packed: bytes = msgpack.packb(
        {
            "step": grant.step,
            "from_ns": grant.from_ns,
            "until_ns": grant.until_ns,
            "inputs": inputs,
            "parts": brought,
        },
        use_bin_type=True,
    )
    return packed


def read(entry: bytes) -> Entry:
    """An entry from its bytes.

    Raises
    ------
    Undecodable
        If it is none of this program's.
    """
    try:
        fields = msgpack.unpackb(entry, raw=False)
        brought = fields.pop("parts")
        return Entry({name: fields[name] for name in GRANT}, brought)
    except Exception as error:
        raise Undecodable(f"an entry of the step log can't be read: {error!r}") from error


def granted(
    entry: Entry,
    load: Callable[[date], Loaded],
    late: Callable[[date], LoadTimedOut],
    came: Callable[[int], Arrived] | None = None,
    filled: Callable[[int], Sequence[Backfilled]] = lambda step: (),
    inserted: Callable[[int, SymbolsChanged], SymbolsChanged] | None = None,
) -> Grant:
    """The grant of an entry; `load` gives a day's rows again, `late` a day without them, `came` what
    a feed brought with a step, `filled` what history did, in order; `inserted` what came into the day
    with symbols, given all else of that."""
    from_history: Iterator[Backfilled] = iter(())
    if any(written[:1] == ["backfilled"] for written in entry.grant["inputs"]):
        from_history = iter(filled(entry.grant["step"]))
    fields = entry.grant
    return Grant(
        step=fields["step"],
        from_ns=fields["from_ns"],
        until_ns=fields["until_ns"],
        inputs=tuple(
            _read_input(fields["step"], written, load, late, came, from_history, inserted)
            for written in fields["inputs"]
        ),
    )


def scans_of(entry: bytes) -> list[ScanResult]:
    """What scans came to with a step, from its entry.

    Raises
    ------
    Undecodable
        If it is none of this program's.
    """
    messages = (of[1] for of in read(entry).grant["inputs"] if of[:1] == ["message"])
    return [found for of in messages if isinstance(found := decode(of), ScanResult)]


def _written_input(entered: Input) -> list[Any]:
    match entered:
        case Loaded(date=day):
            return ["loaded", day.isoformat()]
        case LoadTimedOut(date=day):
            return ["timed_out", day.isoformat()]
        case Arrived(date=day):
            return ["arrived", day.isoformat()]
        case Backfilled(date=day):
            return ["backfilled", day.isoformat()]
        case SymbolsChanged(data=data) if data is not None:
            nothing = {"data": None, "history": None}
            return ["inserted", encode(entered.model_copy(update=nothing))]
        case (
            Start()
            | Roll()
            | RollFailed()
            | Rang()
            | Recover()
            | Missed()
            | LoadFailed()
            | DayOver()
            | Halted()
            | NotFilled()
            | AddSymbols()
            | RemoveSymbols()
            | SymbolsChanged()
            | SymbolsRefused()
            | ScanResult()
        ):
            return ["message", encode(entered)]
    raise TypeError(f"{type(entered).__name__} can't be written to the step log")


def _read_input(
    step: int,
    entry: list[Any],
    load: Callable[[date], Loaded],
    late: Callable[[date], LoadTimedOut],
    came: Callable[[int], Arrived] | None,
    filled: Iterator[Backfilled],
    inserted: Callable[[int, SymbolsChanged], SymbolsChanged] | None,
) -> Input:
    match entry:
        case ["message", bytes(content)] if isinstance(message := decode(content), Input):
            return message
        case ["loaded", str(day)]:
            return load(date.fromisoformat(day))
        case ["timed_out", str(day)]:
            return late(date.fromisoformat(day))
        case ["inserted", bytes(content)] if inserted is not None and isinstance(
            change := decode(content), SymbolsChanged
        ):
            return inserted(step, change)
        case ["arrived", str()] if came is not None:
            return came(step)
        case ["backfilled", str()] if (found := next(filled, None)) is not None:
            return found
    raise Undecodable(f"the step log has an input that this program doesn't know, {entry!r:.80}")
