"""What goes wrong at all vendors alike, as scripts of a venue; a feed has to come through each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from venues.venue import Case, Row, Script, Session
from ws_vendor import PATIENCE_SECONDS

HEARTBEATS = 5


def _as_they_are(case: Case) -> Sequence[Row]:
    return case.rows


@dataclass(frozen=True)
class Fault:
    """A script, and what a feed delivers through it."""

    name: str
    script: Script
    delivers: Callable[[Case], Sequence[Row]] = _as_they_are
    """Which rows."""
    states: tuple[str, ...] = ("connected",)
    """What it says of its connection first, each change once; a host that is slow may take a venue
    for silent once more, where there are options for that."""
    gaps: int = 0
    """How many it says, at least."""
    refuses: bool = False
    """Whether it refuses messages."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the feed."""
    pulls: bool = False
    """Whether the way to the venue is a cable, which goes dead when the venue's `pulled` is set."""


def _halves(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


def _whole(on: Session) -> None:
    on.send(on.rows)
    on.stay()


def _split_and_merged(on: Session) -> None:
    """Many rows a message; then messages in fragments of a few bytes, each its own frame."""
    first, second = _halves(on.rows)
    on.send(first, together=len(first))
    for message in on.talk.messages(second, together=2):
        step = max(1, len(message) // 7)
        on.client.socket.send([message[at : at + step] for at in range(0, len(message), step)])
    on.stay()


def _duplicates(on: Session) -> None:
    for message in on.talk.messages(on.rows):
        on.client.socket.send(message)
        on.client.socket.send(message)
    on.stay()


def _twice(case: Case) -> Sequence[Row]:
    return [row for row in case.rows for _ in range(2 if case.repeats else 1)]


def _backwards(rows: Sequence[Row]) -> list[Row]:
    """Later ones first, by fours."""
    return [row for at in range(0, len(rows), 4) for row in reversed(rows[at : at + 4])]


def _disorder(on: Session) -> None:
    on.send(_backwards(on.rows))
    on.stay()


def _heartbeat_only(on: Session) -> None:
    first, second = _halves(on.rows)
    on.send(first)
    for _ in range(HEARTBEATS):
        beat = on.talk.heartbeat()
        if beat is not None:
            on.client.socket.send(beat)
    on.send(second)
    on.stay()


def _garbage(on: Session) -> None:
    first, second = _halves(on.rows)
    on.send(first)
    for message in on.talk.garbage():
        on.client.socket.send(message)
    on.send(second)
    on.stay()


def _mute(on: Session) -> None:
    """Rows end, and the socket stays open; who judges silence has the feed connect anew."""
    first, second = _halves(on.rows)
    if on.number == 0:
        on.send(first)
        on.venue.wait_came(len(first))
        on.venue.feed.reconnect()
    else:
        on.send(second)
    on.stay()


def _resubscribed(on: Session) -> None:
    """Rows end, and come again when the feed asks for them anew."""
    first, second = _halves(on.rows)
    on.send(first)
    on.venue.wait_came(len(first))
    on.venue.feed.resubscribe(tuple(sorted({row[0] for row in on.rows})))
    on.client.socket.recv(timeout=PATIENCE_SECONDS)  # it asks
    on.send(second)
    on.stay()


def _silent(on: Session) -> None:
    """Nothing comes any more, not even a heartbeat, and nobody but the feed itself looks."""
    half = len(on.rows) // 2
    came = on.venue.came  # on a slow host the first rows may have come too late for it
    on.send(on.rows[came:half] if came < half else on.rows[came:])
    on.stay()


def _half_open(on: Session) -> None:
    half = len(on.rows) // 2
    came = on.venue.came  # a slow machine may have missed a heartbeat before
    if came < half:
        on.send(on.rows[came:half])
        on.venue.wait_came(half)
        on.venue.pulled.set()
    else:
        on.send(on.rows[came:])
    on.stay()


def _forced_close(on: Session) -> None:
    first, second = _halves(on.rows)
    if on.number == 0:
        on.send(first)
        on.venue.wait_came(len(first))
        on.client.socket.close(1001, "going away")
        return
    on.send(second)
    on.stay()


def _killed(on: Session) -> None:
    first, second = _halves(on.rows)
    if on.number == 0:
        on.send(first)
        on.venue.wait_came(len(first))
        on.abort()
        return
    on.send(second)
    on.stay()


def _expired(on: Session) -> None:
    """The token ends: the connection does, and the next login is refused, until it is renewed."""
    first, second = _halves(on.rows)
    if not on.venue.states.count("auth"):
        on.send(first)
        on.venue.wait_came(len(first))
        on.venue.expired = True

        def renewed() -> None:
            on.venue.wait_said("auth")
            on.venue.expired = False
            on.venue.feed.reconnect()

        threading.Thread(target=renewed, daemon=True).start()
        on.client.socket.close(1001, "")
        return
    on.send(second)
    on.stay()


FAULTS = (
    Fault("no fault", _whole),
    Fault("split and merged", _split_and_merged),
    Fault("duplicates", _duplicates, delivers=_twice),
    Fault("disorder", _disorder, delivers=lambda case: _backwards(case.rows)),
    Fault("heartbeat only", _heartbeat_only),
    Fault("garbage", _garbage, refuses=True),
    Fault("mute", _mute, states=("connected", "reconnecting", "connected"), gaps=1),
    Fault("resubscribed", _resubscribed),
    Fault(
        "not even a heartbeat",
        _silent,
        states=("connected", "reconnecting", "connected"),
        gaps=1,
        options={"silence_max": "500ms"},
    ),
    Fault(
        "half open",
        _half_open,
        states=("connected", "reconnecting", "connected"),
        gaps=1,
        options={"heartbeat": "500ms"},
        pulls=True,
    ),
    Fault("forced close", _forced_close, states=("connected", "reconnecting", "connected"), gaps=1),
    Fault("killed", _killed, states=("connected", "reconnecting", "connected"), gaps=1),
    Fault(
        "token expired",
        _expired,
        states=("connected", "reconnecting", "auth", "connected"),
        gaps=1,
    ),
)
