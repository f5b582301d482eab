"""What an actor may ask of the runtime; carrying it out is not the actor's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Generic, Literal, TypeVar

from openbell.market.days import MarketTime, TradingDay
from openbell.market.results import DerivedBars, SessionDocument, SignalBatch
from openbell.messages.base import Message
from openbell.messages.control import (
    AddSymbols,
    Arrived,
    Backfilled,
    Loaded,
    RemoveSymbols,
    SymbolsChanged,
)
from openbell.messages.data import IndicatorsReady, QualityReport
from openbell.messages.scan import ScanDue
from openbell.messages.session import (
    DayOpened,
    DayWithoutData,
    Noticed,
    PhaseEntered,
    StateChanged,
)
from openbell.messages.time import Grant

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell everyone downstream who hears messages of this type."""

    message: Message


@dataclass(frozen=True, slots=True)
class Fetch:
    """Have a day's rows read in the background, after those asked for before."""

    day: TradingDay


@dataclass(frozen=True, slots=True)
class Await:
    """Tell the clock when this date's rows are there."""

    date: date


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tell the clock when wall time has come as far as this market time; a later one replaces it."""

    at_ns: MarketTime
    """EPOCH: there is nothing to wait for."""
    traded_ns: int = 0
    """How much trading time lies between the day's open and then; of use where market time runs at
    so many times wall time."""


@dataclass(frozen=True, slots=True)
class NextDay:
    """Find out which trading day follows, and say Roll, or RollFailed."""

    after: date


@dataclass(frozen=True, slots=True)
class TooLate:
    """These rows came when their day was over, and are not used."""

    arrived: Arrived | Backfilled


@dataclass(frozen=True, slots=True)
class Fill:
    """Have rows of the day under way read from history, and say Backfilled, or NotFilled."""

    date: date
    from_ns: MarketTime
    until_ns: MarketTime
    gap: bool
    symbols: tuple[str, ...] | None = None
    """These as of `Backfilled`."""


@dataclass(frozen=True, eq=False, slots=True)
class RunScan:
    """Have a scan run, and say ScanResult."""

    due: ScanDue
    loaded: Loaded | None
    """Of a scan before the open: the day that is to be opened, and the days before."""


@dataclass(frozen=True, slots=True)
class Insert:
    """Have symbols loaded that are to come into the run, or taken from it, and say SymbolsChanged, or
    SymbolsRefused; time stands until then."""

    asked: AddSymbols | RemoveSymbols
    now_ns: MarketTime
    """What market time has come to, or rows of a feed, if they are ahead."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Other symbols are watched from here on."""

    change: SymbolsChanged


@dataclass(frozen=True, slots=True)
class AskFeed:
    """Have the feed do something about its silence; not where the step is only given again."""

    step: int
    what: Literal["resubscribe", "reconnect", "give up"]
    """Ask for rows anew; make the connection anew; or, as the configuration says, end the process."""
    symbols: tuple[str, ...]
    """Whose rows; none: all of them."""
    why: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """This much of the day's trading time is over as of now; wall time counts from here."""

    traded_ns: int


@dataclass(frozen=True, slots=True)
class Halt:
    """Let wall time pass without counting, from now on."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Let wall time count again, from where it was halted."""

    traded_ns: int
    """So much of the day's trading time is over at least: single steps may have gone further."""


@dataclass(frozen=True, eq=False, slots=True)
class Commit:
    """Make one step durable: all of it, or nothing."""

    number: int
    step: int
    documents: tuple[SessionDocument, ...] = ()
    """Documents that changed in this step."""
    signals: tuple[SignalBatch, ...] = ()
    bars: tuple[DerivedBars, ...] = ()
    bars_again: tuple[DerivedBars, ...] = ()
    """Those that take the place of others of the same symbol and time, if there are any."""
    quality: QualityReport | None = None
    indicators: IndicatorsReady | None = None
    transitions: tuple[StateChanged | PhaseEntered, ...] = ()
    noticed: tuple[Noticed, ...] = ()
    without_data: tuple[DayWithoutData, ...] = ()
    opened: DayOpened | None = None
    register: tuple[str, ...] = ()
    """The day's, where symbols have come into it with this step."""
    closed: date | None = None
    """The trading day that ended with this step."""
    scans: tuple[Noticed, ...] = ()
    """Of what was noticed, what scans came to: it belongs to the day's results."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A step is over: everyone has reached, and nothing is in flight."""

    grant: Grant
    clock: object
    """The clock's own state then, without what is still outside the door."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""

    error: str | None = None
    """Why it could not go on to its last day."""


Effect = (
    Publish
    | Fetch
    | Await
    | WakeAt
    | NextDay
    | TooLate
    | AskFeed
    | Insert
    | Watch
    | Fill
    | RunScan
    | Anchor
    | Halt
    | GoOn
    | Commit
    | Settled
    | Finish
)
Effects = tuple[Effect, ...]


def _as_it_is(state: S) -> S:
    return state


@dataclass(frozen=True, eq=False)
class Actor(Generic[S]):
    """An actor before anything runs it: a name, a first state, and what follows from a message.

    `update` is pure: the same state and message give the same state and effects. The runtime
    gives it a step's messages sender by sender, in the order of the wiring; an actor that hears
    `Reached` gets it last.

    `kept` is the state as it is written: what an actor puts off, because it is done faster for
    many rows together, is done there. It may be asked for at any time, and changes no answer.
    """

    name: str
    initial: S
    update: Callable[[S, Message], tuple[S, Effects]]
    hears: frozenset[type[Message]] = field(default_factory=frozenset)
    kept: Callable[[S], S] = _as_it_is
