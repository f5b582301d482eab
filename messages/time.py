"""How time moves: grants, and the barrier that ends a step."""

from __future__ import annotations

from openbell.market.days import MarketTime
from openbell.messages.base import Message
from openbell.messages.control import Input


class Grant(Message):
    """Time may move: handle what happens in (from_ns, until_ns] and what came from outside."""

    step: int
    from_ns: MarketTime
    until_ns: MarketTime
    """The market time that the step reaches; never beyond the next boundary."""
    inputs: tuple[Input, ...] = ()
    """All that was not determined by earlier steps, in the order in which it counts."""


class Alarm(Message):
    """Tell when the host's clock has come to an instant; a `Rang` of this name does.

    There is one of a name: a later one replaces it.
    """

    name: str
    at_ns: MarketTime | None
    """None: there is nothing to wait for any more."""


class Reached(Message):
    """The sender has said all that it has to say in this step."""

    step: int
    sender: str
