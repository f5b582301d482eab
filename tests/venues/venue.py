"""A venue on loopback: it speaks a vendor's language, and fails in the ways that all vendors do.

A vendor's module has its `Wire` (how the vendor greets, and writes rows), and a `Case`: how our feed
is made for it, and with which rows it is asked. What goes wrong is in `faults`.
"""

from __future__ import annotations

import socket as sockets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from ws_vendor import PATIENCE_SECONDS, Client, vendor

from openbell.adapters.feeds import Door, Feed, Rewind
from openbell.market.bars import Kind, RawRows

Row = tuple[Any, ...]
"""`(symbol, ts, price, size)` or `(symbol, ts, open, high, low, close, volume)`, as `check_feed` has
them: ts in ns UTC, and of a bar its start."""

Message = str | bytes


class Refused(Exception):
    """The vendor has said that the login is refused."""


class Talk(Protocol):
    """What a vendor says on one connection, in the way that this client asked for."""

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        """Rows as the vendor writes them, so many a message, in this order."""
        ...

    def heartbeat(self) -> Message | None:
        """What it says while it has no rows; None: it says nothing then."""
        ...

    def garbage(self) -> list[Message]:
        """What it should not say: each is refused, and none is a row."""
        ...


class Wire(Protocol):
    """A vendor's side of the wire."""

    def admit(self, request: Request, expired: bool) -> int | None:
        """The HTTP status that refuses a handshake, if it is refused.

        Parameters
        ----------
        expired : bool
            Whether the token that the client has is good no more.
        """
        ...

    def greet(self, client: Client, expired: bool) -> Talk:
        """Whatever comes before rows: greeting, login, subscription.

        Raises
        ------
        Refused
            If the login is refused, after it was said.
        """
        ...


@dataclass(frozen=True)
class Case:
    """A vendor's feed, and what it is asked with."""

    name: str
    kind: Kind
    wire: Callable[[], Wire]
    feed: Callable[..., Feed]
    """`(url, **options) -> Feed`, for the symbols of `rows`. `options` are added to `feed.options`."""
    rows: Sequence[Row]
    """In the order of their times, eight at least, no two alike."""
    repeats: bool = True
    """Whether its feed delivers a row again that is equal to the one before of its symbol."""
    by_symbol: bool = False
    """Whether only rows of the same symbol keep their order: the host's clock closes bars, symbol by
    symbol."""
    heavy: bool = False
    """Whether most faults are left to `make soak`: what they are about is tested of others."""
    without: tuple[str, ...] = ()
    """Faults that can't be at it, by name."""
    serve: Callable[..., AbstractContextManager[Any]] = vendor
    """What listens: `(script, admits=…)`, with the address as its `url`."""


class Venue:
    """What goes on at the venue while a feed is connected; a fault's script gets it.

    Attributes
    ----------
    number : int
        Of the connection, from 0.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.wire = case.wire()
        self.expired = False
        """Whether the client's token is good no more."""
        self.news = threading.Condition()
        self.came = 0
        """How many rows the feed has delivered."""
        self.states: list[str] = []
        self.refused = 0
        self.pulled = threading.Event()
        """Of the cable, where there is one: from then on it says nothing more."""
        self.feed: Any = None
        self.connections = 0

    # --- what a test sees of the feed

    def watched(self, feed: Feed) -> Feed:
        """The feed, of which the venue knows what it has delivered."""
        self.feed = feed
        return _Watched(feed, self)

    def wait(self, until: Callable[[], bool]) -> None:
        """Until it holds; looked at whenever the feed has delivered or said something."""
        with self.news:
            assert self.news.wait_for(until, PATIENCE_SECONDS), (
                f"{self.came} rows came, {self.refused} were refused, it said {self.states}"
            )

    def wait_came(self, rows: int) -> None:
        self.wait(lambda: self.came >= rows)

    def wait_said(self, state: str, times: int = 1) -> None:
        self.wait(lambda: self.states.count(state) >= times)

    def told(self) -> None:
        with self.news:
            self.news.notify_all()


Script = Callable[["Session"], None]
"""What a venue does with one connection after the login; it is closed when that returns."""


@dataclass(frozen=True)
class Session:
    """One connection on which a feed has logged in and subscribed."""

    number: int
    client: Client
    talk: Talk
    venue: Venue

    @property
    def rows(self) -> Sequence[Row]:
        return self.venue.case.rows

    def send(self, rows: Sequence[Row], together: int = 1) -> None:
        for message in self.talk.messages(rows, together):
            self.client.socket.send(message)

    def stay(self) -> None:
        """Until the client goes, or the venue is shut; what it says is passed over."""
        stay(self.client)

    def beat(self) -> None:
        """As `stay`, with the vendor's heartbeats."""
        stay(self.client, self.talk.heartbeat())

    def abort(self) -> None:
        """Gone without a word, as a server that is killed."""
        self.client.socket.socket.shutdown(sockets.SHUT_RDWR)


def stay(client: Client, heartbeat: Message | None = None) -> None:
    while not client.vendor.shut.is_set():
        try:
            if heartbeat is not None:
                client.socket.send(heartbeat)
            client.socket.recv(timeout=0.1)
        except TimeoutError:
            continue
        except ConnectionClosed:
            return


@contextmanager
def opened(case: Case, script: Script) -> Iterator[tuple[Venue, str]]:
    """A venue that does this with each connection, and its address."""
    venue = Venue(case)

    def handle(client: Client) -> None:
        venue.connections += 1
        try:
            talk = venue.wire.greet(client, venue.expired)
        except Refused:
            stay(client)
            return
        script(Session(client.number, client, talk, venue))

    def admits(request: Request) -> int | None:
        return venue.wire.admit(request, venue.expired)

    with case.serve(handle, admits=admits) as of:
        yield venue, of.url


class _Watched:
    """A feed between a run and the one that is tested."""

    def __init__(self, feed: Feed, venue: Venue) -> None:
        self._feed, self._venue = feed, venue
        self.rewind: Rewind = feed.rewind

    def run(self, door: Door, position: int, mark: str) -> None:
        self._feed.run(_WatchedDoor(door, self._venue), position, mark)

    def close(self) -> None:
        self._feed.close()


class _WatchedDoor:
    def __init__(self, door: Door, venue: Venue) -> None:
        self._door, self._venue = door, venue

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        reached = self._door.take(rows, position, mark)
        self._venue.came += len(rows)
        self._venue.told()
        return reached

    def said(self, state: Any, why: str) -> None:
        self._door.said(state, why)
        self._venue.states.append(state)
        self._venue.told()

    def refuse(self, kind: str, where: str, why: str) -> None:
        self._door.refuse(kind, where, why)
        self._venue.refused += 1
        self._venue.told()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)
