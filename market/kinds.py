"""What a configuration, rows and logs call things that are of a few kinds.

Entries of the signal log are breakouts, and what follows them.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["breakout", "closed_beyond", "retest"]
KINDS: tuple[Kind, ...] = ("breakout", "closed_beyond", "retest")

AuctionName = Literal["pre_open", "closing"]
"""How a configuration calls the auctions of a day."""

BREAKOUT: Literal[0] = 0
CLOSED_BEYOND: Literal[1] = 1
RETEST: Literal[2] = 2
