"""Alpaca's messages: arrays of objects, as JSON or MessagePack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import orjson

from openbell.adapters.feeds.entries import Decoder, Gathered, Refuse, Row, Unusable
from openbell.adapters.feeds.sockets import Halt, Read
from openbell.adapters.feeds.waiting import Frame
from openbell.market.bars import Kind

HALTED = frozenset("2HP")
RESUMED = frozenset("3T")
"""Codes of statuses, of tapes A and B (2, 3) and of tape C (H, P, T). Others leave it as it is."""

NO_PRICE = tuple("CHIMNQRTUVW7")
"""Conditions of trades that make neither a high nor a low by the rules of the tapes: cash, price
variation, odd lot, official close and open, next day, seller, extended hours, contingent, average
price."""

_AVERAGE = "B"
"""On tapes A and B an average price as well; on tape C a bunched trade, which makes one."""

LOGIN = {401, 402, 408, 409}
"""Codes of errors by which the vendor wants other keys, or another subscription."""

ASKED_WRONG = {400, 405, 410}
"""By which it refuses what was subscribed to: nothing of it comes."""

_HARMLESS = {403}
"""Already authenticated."""


@dataclass(frozen=True)
class Messages:
    """Makes rows of messages.

    Parameters
    ----------
    skipped : frozenset of str
        Conditions of trades that are left out.
    """

    kind: Kind
    names: Mapping[str, str]
    """The vendor's name of a symbol → ours, where they differ."""
    skipped: frozenset[str] = frozenset(NO_PRICE)
    decoder: Decoder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", Decoder(self.kind, "alpaca", ts_unit="ns"))

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> tuple[Read, list[Mapping[str, Any]]]:
        """What messages hold.

        Returns
        -------
        read : Read
        subscriptions : list of mapping
            Each answer that tells what is subscribed to by now.
        """
        read, subscriptions = Read(), []
        gathered = Gathered(self.kind, "alpaca")
        for frame in frames:
            of = f"message {frame.number}"
            try:
                parts = unpacked(frame.body)
            except ValueError as error:
                refuse("a message can't be read", f"alpaca {of}", str(error)[:300])
                continue
            for n, part in enumerate(parts, 1):
                where = f"alpaca {of}, part {n}"
                told = part.get("T") if isinstance(part, dict) else None
                try:
                    if told in self._row_kinds:
                        row = self.row(part)
                        if row is not None:
                            gathered.add(of, n, *row)
                    elif told == "s":
                        self._take_status(part, read)
                    elif told == "c":
                        refuse("a trade was corrected", where, _plain(part))
                    elif told == "x":
                        refuse("a trade was cancelled", where, _plain(part))
                    elif told == "subscription":
                        subscriptions.append(part)
                    elif told == "error":
                        self._take_error(part, read)
                    elif told is None:
                        refuse("a message is of no kind", where, _plain(part))
                except Unusable as error:
                    refuse(error.kind, where, str(error))
        if len(gathered):
            read.rows = gathered.rows()
        return read, subscriptions

    @property
    def _row_kinds(self) -> tuple[str, ...]:
        return ("t",) if self.kind == "ticks" else ("b", "u")

    def row(self, part: Mapping[str, Any]) -> Row | None:
        """A trade or bar as a row; None: the trade makes no price.

        Raises
        ------
        Unusable
        """
        if self.kind == "bars":
            return self.decoder.row(self._bar(part))
        return None if self._skips(part) else self.decoder.row(self._trade(part))

    def _skips(self, trade: Mapping[str, Any]) -> bool:
        conditions = trade.get("c")
        if not isinstance(conditions, list) or not self.skipped:
            return False
        if _AVERAGE in conditions and trade.get("z") in ("A", "B"):
            return True
        return any(isinstance(of, str) and of in self.skipped for of in conditions)

    def _trade(self, part: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "symbol": self._named(part.get("S")),
            "ts": _instant(part.get("t")),
            "price": part.get("p"),
            "size": part.get("s"),
            "trade_id": _number(part.get("i"), part.get("x")),
        }

    def _bar(self, part: Mapping[str, Any]) -> dict[str, Any]:
        names = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
        return {
            "symbol": self._named(part.get("S")),
            "ts": _instant(part.get("t")),
            **{ours: part.get(theirs) for ours, theirs in names.items()},
        }

    def _named(self, symbol: Any) -> Any:
        return self.names.get(symbol, symbol) if isinstance(symbol, str) else symbol

    def _take_status(self, part: Mapping[str, Any], read: Read) -> None:
        code, symbol = part.get("sc"), self._named(part.get("S"))
        if not isinstance(symbol, str) or not isinstance(code, str):
            return
        if code not in HALTED | RESUMED:
            return
        why = ": ".join(str(part[of]) for of in ("sm", "rm") if part.get(of))
        read.halts.append(Halt(symbol, code in HALTED, _line(why)))

    def _take_error(self, part: Mapping[str, Any], read: Read) -> None:
        code = code_of(part)
        words = said(part)
        if code in _HARMLESS:
            return
        if code in LOGIN:
            read.login = words
        elif code in ASKED_WRONG:
            read.asked_wrong = words
        else:
            read.ended = words


def unpacked(body: bytes) -> list[Any]:
    """The parts of a message.

    Raises
    ------
    ValueError
        If it can't be read.
    """
    if body[:1] in (b"[", b"{"):
        found = orjson.loads(body)
    else:
        try:
            found = msgpack.unpackb(body, timestamp=0)
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"it is neither JSON nor MessagePack: {error}") from None
    if not isinstance(found, list):
        raise ValueError(f"it is no array: {found!r:.200}")  # noqa: TRY004
    return found


def code_of(error: Mapping[str, Any]) -> int | None:
    given = error.get("code")
    return given if isinstance(given, int) else None


def said(error: Mapping[str, Any]) -> str:
    return _line(f"{error.get('code')} {error.get('msg')}")


def _instant(given: Any) -> Any:
    return given.to_unix_nano() if isinstance(given, msgpack.Timestamp) else given


def _number(trade: Any, exchange: Any) -> Any:
    """Of a trade, whose numbers are each exchange's own."""
    return None if trade is None else f"{exchange} {trade}"


def _plain(part: Any) -> str:
    return _line(repr(part))[:300]


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
