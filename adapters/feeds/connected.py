"""What stays connected to a vendor, whatever is spoken: connected anew, bounded, gaps told."""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from openbell.adapters.feeds.base import Door, Rewind
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.socket_options import Staying
from openbell.adapters.feeds.waiting import Frame, Waiting
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime

if TYPE_CHECKING:
    from tenacity import RetryCallState

POLL_SECONDS = 0.25
"""How long a read waits: to be closed, and to be told to reconnect, takes as long."""

PAUSE_SECONDS = 0.25
"""Before the first attempt to connect again; twice as long before each further one."""

SYMBOL_REFUSED = "symbol refused"
"""The kind of what is refused, as `Door.refuse` has it."""

DRAIN_SECONDS = 2.0
"""How long a connection that has ended waits for what it brought to be looked at."""


class Refused(Exception):
    """The vendor refuses the login: it is not tried again by itself."""


class Ended(Exception):
    """A connection has ended; another one is made."""


@dataclass(frozen=True)
class Halt:
    """Trading in a symbol is halted, or goes on."""

    symbol: str
    on: bool
    why: str


@dataclass
class Read:
    """What messages held."""

    rows: RawRows | None = None
    login: str | None = None
    """What one of them said that refuses the login."""
    asked_wrong: str | None = None
    """The same of what was subscribed to last: all of it is refused."""
    ended: str | None = None
    """What one of them said for which the connection is made anew."""
    halts: list[Halt] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Messages without a row that are worth to be told."""
    taken: Sequence[str] = ()
    """Symbols of which one of them said that they are delivered."""
    reached: tuple[MarketTime, MarketTime] | None = None
    """The vendor's time at the first and the last row; None: as the rows have it."""


class _Trial:
    """Symbols that a vendor is asked for to see whether it has them."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._news = threading.Condition()
        self._waits = set(symbols)
        self.refused: dict[str, str] = {}

    def took(self, symbol: str) -> None:
        with self._news:
            self._waits.discard(symbol)
            self._news.notify_all()

    def refuses(self, symbol: str, why: str) -> bool:
        """Whether a symbol that is refused is one of these."""
        with self._news:
            if symbol not in self._waits and symbol not in self.refused:
                return False
            self._waits.discard(symbol)
            self.refused[symbol] = why
            self._news.notify_all()
            return True

    def refuses_all(self, why: str) -> bool:
        """Whether there are some that no answer has come of."""
        with self._news:
            waits = sorted(self._waits)
        for symbol in waits:
            self.refuses(symbol, why)
        return bool(waits)

    def wait(self, seconds: float) -> None:
        with self._news:
            if not self._news.wait_for(lambda: not self._waits, seconds):
                waits = ", ".join(sorted(self._waits))
                raise TimeoutError(f"it did not answer within {seconds:g} s whether it has {waits}")


class ConnectedFeed(ABC):
    """Reads one connection, on a thread of its own, and delivers on the run's.

    It is read on while the run is behind, as vendors cut who does not: what waits is bounded, and
    what does not fit is told as a gap. So is what a cut or a restart leaves out.

    Parameters
    ----------
    symbols : tuple of str
        Ours; what is subscribed to.
    where : str
        The address, without what may be secret.
    """

    rewind: Rewind = "none"

    def __init__(self, staying: Staying, symbols: tuple[str, ...], where: str) -> None:
        self._staying = staying
        self._symbols = symbols
        self.where = where
        self._door: Door | None = None
        """Where it delivers, once it does."""
        self._closed = threading.Event()
        self._reconnect = threading.Event()
        self._resubscribe: deque[tuple[str, ...] | None] = deque()
        self._trial: _Trial | None = None
        self._waiting = Waiting(staying.buffer)
        self._rows_came = False
        """Whether the connection under way has brought a row."""
        self._failures = 0
        """Attempts, one after another, that brought none."""
        self._connected_before = False
        self._cut_by = ""
        """Why the last connection ended."""
        self._hidden: frozenset[str] = frozenset()
        """What is kept out of all that is told."""
        self._login_refused: str | None = None
        """What a message said, if it did."""
        self._ended: str | None = None
        """As well, of a connection that is of no use any more."""

    # --- what is each vendor's

    @abstractmethod
    def _connect(self, door: Door) -> None:
        """One connection until it ends: it says `_is_connected`, has what comes wait, and heeds
        `_heed` again and again.

        Raises
        ------
        Refused, Ended
            And what `_passing` names.
        """

    @abstractmethod
    def _read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        """What numbered messages hold, in their order; what can't be used is refused."""

    def _passing(self) -> tuple[type[BaseException], ...]:
        """What a connection may end with for another one to be made."""
        return (OSError, EOFError, Ended)

    def _asked_pause(self, error: BaseException | None) -> float:
        """How many seconds the vendor asks to be left alone for."""
        return 0.0

    # --- what a run does with it

    def run(self, door: Door, position: int, mark: str) -> None:
        self._door = door
        failed: list[BaseException] = []

        def read() -> None:
            try:
                self._stay_connected(door)
            except BaseException as error:  # noqa: BLE001 it is raised where the run sees it
                failed.append(error)
            self._waiting.end()

        reader = threading.Thread(target=read, name="openbell-feed-socket", daemon=True)
        reader.start()
        try:
            self._deliver(door, mark)
        finally:
            self._closed.set()
            self._waiting.end()
            reader.join()
        if failed:
            raise failed[0]

    def close(self) -> None:
        self._closed.set()
        self._waiting.end()

    def resubscribe(self, symbols: tuple[str, ...] | None = None) -> None:
        """Send what subscribes once more, for these symbols or for all; from any thread."""
        self._resubscribe.append(symbols)

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Subscribe to further symbols, and to some no more from the next connection on."""
        self._symbols = tuple(sorted({*self._symbols, *added} - {*removed}))
        if added:
            self._resubscribe.append(added)

    def _tried(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """Subscribe to symbols, and hear from the vendor's answer which it refuses, and why.

        Raises
        ------
        TimeoutError
            If there is none in time.
        """
        before = self._symbols
        self._trial = trial = _Trial(symbols)
        self._symbols = tuple(sorted({*before, *symbols}))  # of a new connection too
        self._resubscribe.append(symbols)
        try:
            trial.wait(seconds)
        finally:
            self._trial = None
            self._symbols = tuple(s for s in self._symbols if s in before or s not in symbols)
        return trial.refused

    def _refused_of(self, door: Door) -> Refuse:
        def refuse(kind: str, where: str, why: str) -> None:
            trial = self._trial
            if kind == SYMBOL_REFUSED and trial is not None and trial.refuses(where, why):
                return
            door.refuse(kind, where, why)

        return refuse

    def reconnect(self) -> None:
        """Make a new connection, also where the login was refused; from any thread."""
        self._reconnect.set()

    # --- what came goes to the run

    def _deliver(self, door: Door, mark: str) -> None:
        last: MarketTime | None = None
        cut: tuple[MarketTime, str] | None = None
        if mark:
            last = MarketTime(int(mark))
            cut = last, "nobody read while this process was not there"
        for part in self._waiting:
            if isinstance(part, str):
                if last is not None:
                    cut = (last, part) if cut is None else (cut[0], _both(cut[1], part))
                continue
            read = self._read(part, self._refused_of(door))
            trial = self._trial
            if trial is not None:
                for symbol in read.taken:
                    trial.took(symbol)
            if read.asked_wrong is not None and not (trial and trial.refuses_all(read.asked_wrong)):
                self._login_refused = read.asked_wrong  # it waits for somebody
            for other in read.others:
                # Who sets a feed up sees its vendor's answers, such as that a symbol is unknown.
                logger.info("{}: a message without a row: {}", self.where, self._hide(other))
            if read.login is not None:
                self._login_refused = read.login
            if read.ended is not None:
                self._ended = read.ended
            for halt in read.halts:
                door.halted((halt.symbol,), halt.on, halt.why)
            rows = read.rows
            if rows is None:
                continue
            self._rows_came = True
            first, last = read.reached or (
                MarketTime(int(rows.ts[0])),
                MarketTime(int(rows.ts[-1])),
            )
            if cut is not None:
                door.gap(cut[0], max(cut[0], first), None, cut[1])
                cut = None
            door.take(rows, None, str(last))

    # --- the connection

    def _stay_connected(self, door: Door) -> None:
        from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_when_event_set

        passing = self._passing()

        def passes(error: BaseException) -> bool:
            return isinstance(error, passing)

        def told(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if not self._closed.is_set() and error is not None:
                self._cut_by = self._words(error)
                pause = state.upcoming_sleep
                again = f"; again in {pause:.0f} s" if pause >= 1 else ""
                door.said("reconnecting", f"{self.where}: {self._cut_by}{again}")

        while not self._closed.is_set():
            retrying = Retrying(
                retry=retry_if_exception(passes),
                wait=self._pause,
                stop=stop_when_event_set(self._closed),
                sleep=sleep_using_event(self._closed),
                before_sleep=told,
                reraise=True,
            )
            try:
                retrying(self._connection, door)
            except Refused as error:
                self._cut_by = self._hide(str(error))
                door.said("auth", f"{self.where}: {self._cut_by}")
                while not self._closed.is_set() and not self._reconnect.wait(POLL_SECONDS):
                    pass
            except passing:
                if not self._closed.is_set():
                    raise

    def _pause(self, state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        from tenacity import wait_random

        self._failures = 1 if self._rows_came else self._failures + 1
        error = state.outcome.exception() if state.outcome is not None else None
        asked = self._asked_pause(error)
        doubled = PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 30)
        pause = min(doubled, self._staying.pause_max)
        return max(asked, pause) + wait_random(0, pause)(state)

    def _connection(self, door: Door) -> None:
        self._rows_came, self._login_refused, self._ended = False, None, None
        self._reconnect.clear()
        self._resubscribe.clear()
        self._connect(door)

    def _is_logged_in(self) -> None:
        """From here on what is not read is missing."""
        if self._connected_before:
            self._waiting.cut(self._cut_by)
        self._connected_before = True

    def _heed(self) -> None:
        """What has come up meanwhile.

        Raises
        ------
        Refused, Ended
            If this connection is of no use any more.
        """
        if self._login_refused is not None:
            raise Refused(f"it says {self._login_refused}")
        if self._ended is not None:
            raise Ended(f"it says {self._ended}")
        if self._reconnect.is_set():
            raise Ended("asked to, as it is taken to be silent")

    def _words(self, error: BaseException) -> str:
        """In one line, without secrets."""
        text = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"its certificate can't be verified: {error.verify_message}"
        return self._hide(" ".join(text.split()))

    def _hide(self, text: str) -> str:
        for secret in sorted(self._hidden, key=len, reverse=True):
            if secret:
                text = text.replace(secret, "…")
        return "".join(letter if letter.isprintable() else " " for letter in text)


def _both(one: str, other: str) -> str:
    """Two reasons in one line, which many reconnects do not make longer and longer."""
    return one if other in one or len(one) > 200 else f"{one}; {other}"
