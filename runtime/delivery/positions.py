"""Where each sink is, as the store keeps it beside the commits.

`sinks` has the names of those that the last run had, `sink NAME` a sink's position, `dead NAME …` a message that was given up, `ask NAME` what
somebody wants of it. Only the holder of the lease writes all but the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter

from openbell.adapters.deliveries import Message
from openbell.adapters.stores import Corrupt, Store

State = Literal["up to date", "delivering", "failing", "stopped", "left out"]
"""`left out`: the configuration has no such sink any more."""

Wish = Literal["retry", "flush", "skip"]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a sink has come, and how it fares."""

    cursor: str | None = None
    """Of the last signal that it has done with; None: it begins with the first."""
    count: int = 0
    """Signals of the log up to there."""
    event_cursor: str | None = None
    """Of the last event that it has done with, if it is sent events."""
    takes_signals: bool = True
    takes_events: bool = False
    delivered: int = 0
    events_delivered: int = 0
    skipped: int = 0
    dead: int = 0
    """Messages on its dead-letter list."""
    letters: int = 0
    """Dead letters that there ever were."""
    old: int = 0
    """Backfilled signals that were older than `sinks_max_age`."""
    last_id: str | None = None
    """What was delivered last."""
    delivered_at: str | None = None
    failing_id: str | None = None
    """The message that fails."""
    tries: int = 0
    """Of it that failed."""
    failing_since: float | None = None
    """Wall time of the first of them."""
    error: str | None = None
    """Why the last one failed."""
    next_try_at: str | None = None
    gave_up: bool = False
    """It waits for a person."""
    sending: str | None = None
    """Cursor of the last signal of the digest under way: after a kill it is sent as it was."""

    def state(self, waits: int) -> State:
        if self.gave_up:
            return "stopped"
        if self.error is not None:
            return "failing"
        return "delivering" if waits else "up to date"

    def waits(self, signals: int) -> int:
        """Signals that wait, of a log with so many."""
        return max(signals - self.count, 0) if self.takes_signals else 0

    def well(self) -> Position:
        """With nothing failing."""
        return replace(
            self,
            failing_id=None,
            tries=0,
            failing_since=None,
            error=None,
            next_try_at=None,
            gave_up=False,
        )

    def after(self, batch: Sequence[Message]) -> Position:
        """Having done with messages, all of one kind, that come next."""
        last = batch[-1].cursor
        if batch[0].kind == "event":
            return replace(self.well(), event_cursor=last)
        return replace(self.well(), cursor=last, count=self.count + len(batch), sending=None)


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants of a sink."""

    what: Wish
    wall_time: str
    cause: str = ""
    id: str | None = None
    """Skip this message, and no other: it may have been delivered meanwhile."""
    until: str | None = None
    """Skip all signals up to this cursor."""
    until_count: int = 0
    """Signals of the log up to there."""
    until_event: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, and stays until it is delivered or skipped."""

    id: str
    cursor: str
    kind: Literal["signal", "event"]
    body: str
    why: str
    tries: int
    wall_time: str

    def message(self) -> Message:
        return Message(self.id, self.body.encode(), self.cursor, self.kind)


NAMES = "sinks"


def at(name: str) -> str:
    return f"sink {name}"


def asked(name: str) -> str:
    return f"ask {name}"


def dead(name: str, count: int) -> str:
    return f"dead {name} {count:012}"


def encoded(value: Position | Ask | DeadLetter) -> bytes:
    return orjson.dumps(asdict(value))


def position_of(store: Store, name: str) -> Position | None:
    """None: this sink was never there."""
    body = store.kept_at(at(name))
    return None if body is None else _read(Position, body, store)


def positions(store: Store) -> dict[str, Position]:
    """Of all sinks that ever were, by name."""
    stored = store.kept("sink ")
    return {key.partition(" ")[2]: _read(Position, body, store) for key, body in stored.items()}


def ask_of(store: Store, name: str) -> Ask | None:
    body = store.kept_at(asked(name))
    return None if body is None else _read(Ask, body, store)


def dead_letters(store: Store, name: str) -> dict[str, DeadLetter]:
    """By the key that each is kept under, in the log's order."""
    stored = store.kept(f"dead {name} ")
    return {key: _read(DeadLetter, body, store) for key, body in stored.items()}


def statuses(store: Store) -> list[dict[str, Any]]:
    """How all sinks fare, for people and programs."""
    signals, known = store.head().signals, store.kept_at(NAMES)
    names = None if known is None else orjson.loads(known)
    found = [status_of(name, of, signals) for name, of in positions(store).items()]
    return [
        of if names is None or of["name"] in names else {**of, "state": "left out"} for of in found
    ]


def status_of(name: str, position: Position, signals: int) -> dict[str, Any]:
    """How a sink fares, of a log with so many signals."""
    waits = position.waits(signals)
    return {
        "name": name,
        "state": position.state(waits),
        "waits": waits,
        "delivered": position.delivered,
        "events_delivered": position.events_delivered,
        "skipped": position.skipped,
        "dead_letters": position.dead,
        "too_old": position.old,
        "last_id": position.last_id,
        "delivered_at": position.delivered_at,
        "tries": position.tries,
        "failing_since": _instant(position.failing_since),
        "error": position.error,
        "next_try_at": position.next_try_at,
    }


def _instant(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    then = datetime.fromtimestamp(seconds, UTC)
    return then.isoformat(timespec="seconds").replace("+00:00", "Z")


_CHECKED: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Position, Ask, DeadLetter)
}
"""Make one of values of its fields' types, and of no others."""


def _read(kind: type[Any], body: bytes, store: Store) -> Any:
    try:
        made = _CHECKED[kind].validate_json(body, strict=True)
        if isinstance(made, Position):
            _instant(made.failing_since)
        return made
    except (ValueError, TypeError, AttributeError, OverflowError, OSError) as error:
        raise Corrupt(
            f"{store.location}: what is kept of a sink can't be read ({error})"
        ) from error
