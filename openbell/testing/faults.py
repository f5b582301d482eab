"""What goes wrong outside of a run: its process is killed, its store or its source fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from openbell.adapters.sources import Source, SourceInfo
from openbell.adapters.stores import Corrupt, Fenced, Store
from openbell.market.bars import RawRows
from openbell.testing.clocks import HandClock


class Killed(BaseException):
    """The process ends here, as by `kill -9`: nothing may catch it but what starts the next."""


@dataclass(frozen=True)
class Fail:
    """The call raises, before the store has executed it or after."""

    error: BaseException
    executed: bool = False


@dataclass(frozen=True)
class Delay:
    """The call takes so long."""

    seconds: float


@dataclass(frozen=True)
class LoseLease:
    """The lease is somebody else's from here on."""


@dataclass(frozen=True)
class Damage:
    """The newest snapshot is corrupt from here on."""


Fault = Fail | Delay | LoseLease | Damage


def in_turn(faults: Mapping[str, Iterable[Fault | None]]) -> Callable[[str], Fault | None]:
    """Faults by operation (`commit`, `head`, `states`, …): one for each call, in turn.

    None stands for a call that goes well, as do all when the faults are over.
    """
    left = {operation: iter(of) for operation, of in faults.items()}
    return lambda operation: next(left.get(operation, iter(())), None)


_AS_HOLDER = ("commit", "renew", "prune", "fold", "commands", "take_commands", "keep")


class FailingStore:
    """A store whose calls fail as it is told.

    Parameters
    ----------
    faults : callable
        Asked before each call, with its name; gives what goes wrong, or None.
    """

    def __init__(
        self,
        store: Store,
        faults: Callable[[str], Fault | None],
        clock: HandClock | None = None,
    ) -> None:
        self.store = store
        self.damaged: set[int] = set()
        """Epochs that are corrupt."""
        self._faults = faults
        self._clock = clock or HandClock()
        self._lost: set[int] = set()

    @property
    def location(self) -> str:
        return self.store.location

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self.store, operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            fault = self._faults(operation)
            match fault:
                case Fail(error, executed):
                    if executed:
                        method(*args, **kwargs)
                    raise error
                case Delay(seconds):
                    self._clock.advance(seconds)
                case LoseLease():
                    self._lost.add(self.store.head().fence)
                case Damage():
                    newest = next(iter(self.store.epochs()), None)
                    self.damaged |= {newest.epoch} if newest else set()
            if operation in _AS_HOLDER and args[0] in self._lost:
                raise Fenced(f"the lease of token {args[0]} is gone; nothing was written")
            if operation == "states" and args[0] in self.damaged:
                raise Corrupt(f"epoch {args[0]}: fails its checksum")
            found = method(*args, **kwargs)
            if operation == "epochs":
                problem = "the state fails its checksum"
                return [
                    replace(info, problem=problem) if info.epoch in self.damaged else info
                    for info in found
                ]
            return found

        return call


class FailingSource:
    """A source whose first reads fail, or take long.

    It outlives the processes of a rehearsal; whoever opened the source below it closes that.

    Parameters
    ----------
    failures : int
        How many reads raise `error`; openbell gives a day up after four in a row.
    seconds : float
        How long each read takes, by `clock`.
    """

    def __init__(
        self,
        source: Source,
        failures: int = 0,
        *,
        error: Exception | None = None,
        seconds: float = 0.0,
        clock: HandClock | None = None,
    ) -> None:
        self.source = source
        self.failures = failures
        self.reads = 0
        self._error = error or OSError("the source does not answer")
        self._seconds = seconds
        self._clock = clock or HandClock()

    def info(self) -> SourceInfo:
        return self.source.info()

    def dates(self, tz: str) -> dict[date, int]:
        return self.source.dates(tz)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        self.reads += 1
        self._clock.advance(self._seconds)
        if self.reads <= self.failures:
            raise self._error
        return self.source.read(start_ns, end_ns, symbols)

    def close(self) -> None:
        return
