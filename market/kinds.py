"""What entries of the signal log are: breakouts, and what follows them."""

from __future__ import annotations

from typing import Literal

Kind = Literal["breakout", "closed_beyond", "retest"]
KINDS: tuple[Kind, ...] = ("breakout", "closed_beyond", "retest")

BREAKOUT: Literal[0] = 0
CLOSED_BEYOND: Literal[1] = 1
RETEST: Literal[2] = 2
