"""What a feed is: it turns what a vendor sends into columns, on a thread of its own."""

from __future__ import annotations

from datetime import date
from typing import Literal, Protocol

from openbell.market.bars import RawRows

Rewind = Literal["position", "journal", "none"]
"""What a restart does about rows that were not made durable. `position`: the feed can be asked for
them again, from a position on; `journal`: only who pushes has them, what was taken is journaled;
`none`: they are lost, and named as a gap."""


class Door(Protocol):
    """Where a feed delivers; each call may wait until there is room."""

    def take(self, rows: RawRows, position: int | None = None) -> int:
        """Rows that came, in the order in which they came.

        Parameters
        ----------
        position : int, optional
            Of the first one; None: they follow what came last. What the run has already is ignored.

        Returns
        -------
        The position after the last one.

        Raises
        ------
        FeedFull
            If there is no room, and the run is not to wait for it.
        """
        ...

    def end_day(self, day: date, position: int | None = None) -> int:
        """No more rows of a day come; the position after this mark."""
        ...


class Feed(Protocol):
    """Delivers rows until it is closed."""

    rewind: Rewind

    def run(self, door: Door, position: int) -> None:
        """Deliver what follows a position; on a thread that the run starts."""
        ...

    def close(self) -> None:
        """Have `run` return; from any thread."""
        ...
