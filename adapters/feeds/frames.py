"""JSON messages of a vendor as rows: which of them are rows, and where in them each value stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import orjson

from openbell.adapters.feeds.entries import Decoder, Gathered, Refuse, Unusable
from openbell.adapters.marks import is_partial
from openbell.market.bars import RawRows

_MISSING = object()

MESSAGE = "$"
"""Begins a path that is looked for in the whole message, not in the row."""

ROWS_MAX = 100_000
"""How many rows one message may hold."""

OTHERS_TOLD = 5
"""How many messages without a row are kept to be told."""

_SEEN_MAX = 200
"""How much of a message is told at most."""


class Path:
    """Where a value stands: names and places with dots between, `data.0.p`.

    Raises
    ------
    ValueError
        If it is no path.
    """

    def __init__(self, text: str) -> None:
        whole = text == MESSAGE or text.startswith(f"{MESSAGE}.")
        left = text[2:] if whole else text
        if not left and text != MESSAGE:
            raise ValueError("write names and places with dots between, e.g. data.0.p")
        self.text = text
        self.of_message = whole
        self.parts = tuple(part.replace("\\.", ".") for part in _split(left)) if left else ()
        if "" in self.parts:
            raise ValueError("write names and places with dots between, e.g. data.0.p")

    def of(self, row: Any, message: Any) -> Any:
        """The value, or _MISSING."""
        found = message if self.of_message else row
        for part in self.parts:
            if isinstance(found, dict):
                found = found.get(part, _MISSING)
            elif isinstance(found, list) and part.lstrip("-").isdigit():
                place = int(part)
                found = found[place] if -len(found) <= place < len(found) else _MISSING
            else:
                return _MISSING
            if found is _MISSING:
                return found
        return found


def _split(text: str) -> list[str]:
    """At dots; `\\.` is a dot in a name."""
    parts, at = [""], 0
    while at < len(text):
        if text[at : at + 2] == "\\.":
            parts[-1] += "\\."
            at += 2
            continue
        if text[at] == ".":
            parts.append("")
        else:
            parts[-1] += text[at]
        at += 1
    return parts


@dataclass(frozen=True)
class Where:
    """Which messages, or rows, are meant: all of these hold."""

    conditions: tuple[tuple[Path, tuple[Any, ...]], ...] = ()
    """A path, and the values that may stand there; in texts `*` stands for any."""

    @classmethod
    def given(cls, given: Mapping[str, Any]) -> Where:
        """As it is written: a path to a value, or to a list of them.

        Raises
        ------
        ValueError
            If a path is none.
        """
        return cls(
            tuple(
                (Path(str(path)), tuple(of) if isinstance(of, list | tuple) else (of,))
                for path, of in given.items()
            )
        )

    def holds(self, row: Any, message: Any) -> bool:
        return all(
            any(_matches(path.of(row, message), wanted) for wanted in values)
            for path, values in self.conditions
        )


def _matches(found: Any, wanted: Any) -> bool:
    if found is _MISSING or isinstance(found, bool) != isinstance(wanted, bool):
        return False
    if isinstance(wanted, str) and isinstance(found, str):
        return found == wanted or ("*" in wanted and fnmatchcase(found, wanted))
    return bool(found == wanted)


@dataclass
class Seen:
    """What became of messages."""

    messages: int = 0
    others: int = 0
    """Those that are no rows, such as answers and heartbeats."""
    first_others: list[str] = field(default_factory=list)
    """The first of them, as far as nobody has told them."""


@dataclass(frozen=True)
class Frames:
    """Makes rows of messages.

    Parameters
    ----------
    decoder : Decoder
        Reads a row's values.
    fields : mapping
        Our name → where it stands.
    names : mapping
        The vendor's name of a symbol → ours, where they differ.
    rows : Path, optional
        Where in a message its rows stand; None: it is a row, or a list of them.
    where : Where
        Which rows count.
    refused_login : Where, optional
        Which messages say that the login is refused.
    """

    decoder: Decoder
    fields: Mapping[str, Path]
    names: Mapping[str, str] = field(default_factory=dict)
    rows: Path | None = None
    where: Where = Where()
    refused_login: Where | None = None

    def read(
        self, frames: Iterable[tuple[int, str | bytes]], refuse: Refuse, seen: Seen
    ) -> tuple[RawRows | None, str | None]:
        """Rows of numbered messages, in their order.

        Returns
        -------
        rows : RawRows, optional
            None: there is none.
        login : str, optional
            What a message said that refuses the login; those after it are read too.
        """
        gathered = Gathered(self.decoder.kind, self.decoder.source)
        login: str | None = None
        for number, frame in frames:
            seen.messages += 1
            of = f"message {number}"
            try:
                message = orjson.loads(frame)
            except orjson.JSONDecodeError as error:
                refuse(
                    "a message is no JSON",
                    f"{self.decoder.source} {of}",
                    f"{error}: {_told(frame)}",
                )
                continue
            login = self._refusal(message) or login
            had = False
            n = 0
            for row, whole in self._candidates(message):
                if not self.where.holds(row, whole):
                    continue
                had = True
                n += 1
                try:
                    if n > ROWS_MAX:
                        raise Unusable(
                            "a message holds too many rows",
                            f"more than {ROWS_MAX:,}: {_told(frame)}",
                        )
                    gathered.add(of, n, *self.decoder.row(self._values(row, whole)))
                except Unusable as error:
                    refuse(error.kind, f"{self.decoder.source} {of}, row {n}", str(error))
                    if n > ROWS_MAX:
                        break
            if not had:
                seen.others += 1
                if seen.others <= OTHERS_TOLD:
                    seen.first_others.append(_told(frame))
        return (gathered.rows() if len(gathered) else None), login

    def _refusal(self, message: Any) -> str | None:
        if self.refused_login is None:
            return None
        for part in message if isinstance(message, list) else (message,):
            if self.refused_login.holds(part, part):
                return _told(orjson.dumps(part))
        return None

    def _candidates(self, message: Any) -> Iterator[tuple[Any, Any]]:
        """What may be a row, each with the message that it is looked for in."""
        if self.rows is None:
            if isinstance(message, list) and message and isinstance(message[0], dict | list):
                yield from ((row, row) for row in message)
            else:
                yield message, message
            return
        found = self.rows.of(message, message)
        if found is _MISSING and isinstance(message, list):
            for part in message:
                yield from self._listed(self.rows.of(part, part), part)
            return
        yield from self._listed(found, message)

    def _listed(self, found: Any, message: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(found, list):
            yield from ((row, message) for row in found)
        elif found is not _MISSING and found is not None:
            yield found, message

    def _values(self, row: Any, message: Any) -> dict[str, Any]:
        values = {}
        for name, path in self.fields.items():
            found = path.of(row, message)
            if found is not _MISSING and found is not None:
                values[name] = found
        if "closed" in self.fields:  # the other way round
            values["partial"] = not is_partial(values.pop("closed", True))
        symbol = values.get("symbol")
        if isinstance(symbol, int) and not isinstance(symbol, bool):
            symbol = values["symbol"] = str(symbol)  # an instrument's number
        if isinstance(symbol, str) and symbol in self.names:
            values["symbol"] = self.names[symbol]
        return values


def _told(frame: str | bytes) -> str:
    text = frame.decode(errors="backslashreplace") if isinstance(frame, bytes) else frame
    text = "".join(letter if letter.isprintable() else " " for letter in text[: _SEEN_MAX + 1])
    return text if len(text) <= _SEEN_MAX else f"{text[:_SEEN_MAX]}…"
