"""What a feed is: it turns what a vendor sends into columns, on a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Protocol, runtime_checkable

from openbell.errors import ConfigError
from openbell.market.bars import Kind, RawRows
from openbell.market.days import MarketTime

Rewind = Literal["position", "journal", "none"]
"""What a restart does about rows that were not made durable. `position`: the feed can be asked for
them again, from a position on; `journal`: only who pushes has them, what was taken is journaled;
`none`: they are lost, and named as a gap."""


ConnectionState = Literal["connected", "reconnecting", "auth"]
"""Of a feed to its vendor. `connected`: rows come as soon as there are any, what they are asked for
by is sent; `reconnecting`: it tries to; `auth`: it was refused, and does not try until it is told to."""


class Door(Protocol):
    """Where a feed delivers; each call may wait until there is room."""

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        """Rows that came, in the order in which they came.

        Parameters
        ----------
        position : int, optional
            Of the first one; None: they follow what came last. What the run has already is ignored.
        mark : str
            Where a feed that can be asked again goes on after the last one, in its own words.

        Returns
        -------
        The position after the last one.

        Raises
        ------
        FeedFull
            If there is no room, and the run is not to wait for it.
        """
        ...

    def end_day(self, day: date, position: int | None = None, mark: str = "") -> int:
        """No more rows of a day come; the position after this.

        Raises
        ------
        DataError
            If it is no trading day of the run; no position is used up then.
        """
        ...

    def caught_up(self) -> None:
        """All that had come by now was delivered; from a feed with `rewind = "position"`.

        Where the host's clock moves time, it crosses nothing before that: what came in time while
        nobody read is in time. To be called after each read that brought all there was.
        """
        ...

    def refuse(self, kind: str, where: str, why: str) -> None:
        """Something came that is no row; never an error.

        Parameters
        ----------
        kind : str
            What is wrong; it is told once a kind, and counted. `symbol refused`: the vendor does
            not deliver a symbol, which `where` names; each of them is told.
        where, why : str
            Which one it was, and what it holds, for people.
        """
        ...

    def said(self, state: ConnectionState, why: str) -> None:
        """What the connection to the vendor has come to; told once a change, and never waits.

        Parameters
        ----------
        why : str
            In one line for people, without secrets.
        """
        ...

    def gap(
        self,
        from_ns: MarketTime,
        until_ns: MarketTime,
        symbols: tuple[str, ...] | None,
        why: str,
    ) -> None:
        """Rows may be missing, as the feed knows itself; never an error, and never waits.

        Parameters
        ----------
        from_ns, until_ns : int
            Times of the last row before and of the first one after, ns UTC.
        symbols : tuple of str, optional
            Whose rows; None: of all.
        why : str
            In one line for people.
        """
        ...

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        """Trading in symbols is halted, or goes on: their silence is explained; never waits.

        Parameters
        ----------
        on : bool
            Whether it is halted.
        why : str
            In one line for people.
        """
        ...


@runtime_checkable
class Resubscribes(Protocol):
    """What a feed may be able to do besides."""

    def resubscribe(self, symbols: tuple[str, ...]) -> None:
        """Ask the vendor anew for these symbols' rows: none have come for longer than is usual.

        From any thread; returns at once, whether or not it is connected.
        """
        ...


@runtime_checkable
class Watches(Protocol):
    """What a feed may be able to do besides."""

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Deliver rows of further symbols too, and of some no more, while it runs.

        From any thread; returns at once, whether or not it is connected. Rows of symbols that were
        taken away may still come: they are not used.
        """
        ...


@runtime_checkable
class LooksUp(Protocol):
    """What a feed may be able to do besides."""

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> Mapping[str, str]:
        """Why the vendor does not deliver some of these symbols; empty: it has all of them.

        Asked before symbols come into a run, on a thread of its own, while `run` is under way. One
        that is refused is not told by the door as well.

        Raises
        ------
        TimeoutError
            If the vendor does not answer within so many seconds.
        """
        ...


@runtime_checkable
class Reconnects(Protocol):
    """What a feed may be able to do besides."""

    def reconnect(self) -> None:
        """Give the connection up and make another one: no rows have come for longer than is usual,
        or a login that was refused was renewed.

        From any thread; returns at once.
        """
        ...


@dataclass(frozen=True)
class FeedOptions:
    """What a feed is made from."""

    name: str
    """Of the run."""
    kind: Kind
    interval_ns: int | None
    """Bar length; None for ticks."""
    bar_label: Literal["start", "end"] = "start"
    """Which end of a bar its time names, where the feed itself does not know."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """`feed.options` as written."""
    symbols: tuple[str, ...] = ()
    """Those whose rows are wanted, companions among them; none where options are only checked."""
    size_is: Literal["trade", "day_total"] = "trade"
    """What the run takes a row's size for (`feed.size_is`)."""


@dataclass(frozen=True)
class FeedInfo:
    """What a vendor's rows are like, and what its login is, as `docs/vendors.md` tells it.

    A feed's attribute `info`. The texts are for people.
    """

    kinds: tuple[Kind, ...]
    """What it delivers."""
    size_is: Literal["trade", "day_total"]
    """What `size` and `volume` of its rows are."""
    stamps: str
    """What a row's time names."""
    idle_minute: str
    """What comes of a symbol in a minute without a trade."""
    revised: str
    """Whether rows that were sent are sent again, other than before."""
    login_ends: str
    """What it looks like when the token is good no more."""
    silence: str
    """How a connection that is open and mute is told from one without trades."""
    history: str
    """What `history` asks; empty: the feed has none."""
    symbols_max: int | None = None
    """On one connection; None: as many as there are."""
    connections_max: int = 1
    """How many it makes where one is not enough."""


def suits(of_type: str, options: FeedOptions, info: FeedInfo) -> None:
    """See that the run takes rows for what a vendor's are.

    Raises
    ------
    openbell.errors.ConfigError
    """
    problems = []
    if options.kind not in info.kinds:
        problems.append(
            f"data.kind is {options.kind}, and {of_type} delivers {', '.join(info.kinds)}; "
            f"write data.kind: {info.kinds[0]}"
        )
    if options.size_is != info.size_is:
        problems.append(
            f"feed.size_is is {options.size_is}, and {of_type} delivers "
            + ("totals of the day" if info.size_is == "day_total" else "the size of each row")
            + f"; write feed.size_is: {info.size_is}"
        )
    if options.kind == "bars" and options.bar_label != "start":
        problems.append(
            f"data.bar_label is {options.bar_label}, and {of_type} stamps bars at their start; "
            "leave data.bar_label out"
        )
    most = info.symbols_max
    if most is not None and len(options.symbols) > most * info.connections_max:
        several = info.connections_max > 1
        on = f"each of {info.connections_max} connections" if several else "a connection"
        problems.append(
            f"there are {len(options.symbols):,} symbols, and {of_type} takes {most:,} on {on}; "
            "watch fewer"
        )
    if problems:
        raise ConfigError("\n".join(problems))


class Feed(Protocol):
    """Delivers rows until it is closed."""

    rewind: Rewind

    def run(self, door: Door, position: int, mark: str) -> None:
        """Deliver what follows a mark; on a thread that the run starts.

        Parameters
        ----------
        position : int
            Of the first row after the mark.
        mark : str
            As it was given with a row that is durable; empty: from the beginning.

        Raises
        ------
        InputError
            If it can't go on: the run ends with it.
        """
        ...

    def close(self) -> None:
        """Have `run` return; from any thread."""
        ...


@runtime_checkable
class HasHistory(Protocol):
    """What a feed may have besides: rows of before, for a run that begins inside a day."""

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        """Rows of these symbols with `from_ns <= ts < until_ns` (ns UTC), in any order.

        Called on a thread of its own, while `run` is under way or before. It may take as long as it
        takes: the day goes on after `prefetch.timeout_seconds`, and what comes then is merged. What
        it raises is tried again a few times.
        """
        ...
