"""Reads days in the background, one at a time, and says when one is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import date
from functools import partial
from typing import TypeVar

from loguru import logger

from openbell.adapters.sources import Source
from openbell.errors import InputError
from openbell.market.assembly import assemble, no_raw_rows, no_rows
from openbell.market.bars import DayData, Order, RawRows
from openbell.market.days import TradingDay, row_spans
from openbell.market.history import History
from openbell.market.rules import NO_RULES, RowRules
from openbell.messages.control import Loaded, LoadFailed, LoadTimedOut
from openbell.messages.data import HistoryReady
from openbell.runtime.intake.trailing import Trailing, TrailingSettings
from openbell.runtime.record import journal

Delivery = Loaded | LoadTimedOut | LoadFailed | InputError
"""What becomes of a day's load; wrong input ends the run."""


ATTEMPTS = 4
"""How often something is read before its source is given up."""
BACKOFF_SECONDS = 0.2
"""Pause after the first failure; it doubles with each further one."""

Found = TypeVar("Found")


def tried_again(
    read: Callable[[], Found],
    about: str,
    *,
    passing: type[Exception] = Exception,
    rest: Callable[[float], None] = time.sleep,
) -> Found:
    """What a read gives, which may fail a few times before.

    Parameters
    ----------
    about : what is read, for the log
    passing : what may pass and is tried again; wrong input (`InputError`) never is
    rest : called with seconds between two tries
    """
    try:
        return read()
    except InputError:
        raise
    except passing as error:
        logger.warning("{}: reading failed, {}; trying again", about, error)
    # A good run never imports it.
    from tenacity import Retrying, retry_if_exception, stop_after_attempt
    from tenacity import wait_exponential as growing

    again = Retrying(
        stop=stop_after_attempt(ATTEMPTS - 1),
        wait=growing(multiplier=BACKOFF_SECONDS, max=30),
        retry=retry_if_exception(
            lambda error: isinstance(error, passing) and not isinstance(error, InputError)
        ),
        sleep=rest,
        reraise=True,
    )
    rest(BACKOFF_SECONDS)
    return again(read)


class Loader:
    """A pool of one thread that reads whole days ahead.

    A read that fails is tried again, with growing pauses; wrong input (`InputError`) isn't.

    Parameters
    ----------
    windows : mapping
        From when until when (ns UTC) rows belong to each date, as `market.days.row_spans` gives it.
    registers : sequence
        Other registers than `symbols`, each from a date on.
    took : callable, optional
        Told how many seconds the days before took.
    journals : bool
        Whether what is read goes along as bytes for the journal.
    order : str
        In which order rows are acted on.
    rules : RowRules
        What rows in the order in which they came mean; a feed's are none of the source's.
    fed : bool
        Whether the days' rows come from a feed; the source has those of days before.
    """

    def __init__(
        self,
        source: Source,
        *,
        symbols: tuple[str, ...],
        windows: Mapping[date, tuple[int, int]],
        trailing: TrailingSettings,
        took: Callable[[float], None] = lambda seconds: None,
        registers: Sequence[tuple[date, tuple[str, ...]]] = (),
        journals: bool = False,
        order: Order = "time",
        rules: RowRules = NO_RULES,
        fed: bool = False,
    ) -> None:
        self._rules = NO_RULES if fed else rules
        self._fed = fed
        self.journals = journals
        self._order = order
        self._journaled: dict[date, journal.DayRead] = {}
        self._source = source
        self._symbols = symbols
        self._registers = list(registers)
        self._started: dict[date, TradingDay] = {}
        """What was asked for, back to the day that was delivered last."""
        self._readings = 0
        """How often days that were asked for were begun anew, for other symbols."""
        self._anew_from = date.max
        self._windows = windows
        self._interval_ns = source.info().interval_ns
        self._new_trailing = partial(
            Trailing,
            trailing,
            interval_ns=self._interval_ns,
            read=self._rows,
            took=took,
            order=order,
            rules=self._rules,
        )
        self._trailing: Trailing | None = None
        self._histories: dict[date, History] = {}
        """What was at hand for days that were read, back to the day that was delivered last."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="openbell-prefetch")
        self._shut = threading.Event()
        self._lock, self._at_hand = threading.Lock(), threading.Lock()
        self._reading: dict[date, tuple[TradingDay, Future[Loaded]]] = {}
        # Neither keeps what was read: a future and a timer go once the day is there.
        self._unread: set[Future[Loaded]] = set()
        self._timers: set[threading.Timer] = set()

    def remember(self, journaled: Mapping[date, journal.DayRead]) -> None:
        """Take these days from the journal when they are to be read, and not from the source."""
        self._journaled.update(journaled)

    def start(self, day: TradingDay) -> None:
        """Read a day after those that were started before; does nothing if it was."""
        with self._lock:
            self._started[day.date] = day
            if day.date not in self._reading:
                self._submit(day)

    def _submit(self, day: TradingDay) -> None:
        reading = self._pool.submit(self._read, day)
        self._reading[day.date] = (day, reading)
        self._unread.add(reading)
        reading.add_done_callback(self._unread.discard)

    def register(self, day: date) -> tuple[str, ...]:
        """The symbols that are watched on a day, as it is loaded."""
        held = (symbols for since, symbols in reversed(self._registers) if since <= day)
        return next(held, self._symbols)

    def watch(self, registers: Sequence[tuple[date, tuple[str, ...]]]) -> None:
        """Read days for other symbols, each register from a date on; what was asked for of those
        days is read anew."""
        since = registers[0][0]
        with self._lock:
            self._registers = [known for known in self._registers if known[0] < since]
            self._registers += registers
            self._anew_from = since
            self._readings += 1
            for day in (day for of, day in self._started.items() if of >= since):
                self._submit(day)

    def read_for(self, day: TradingDay, symbols: tuple[str, ...]) -> Loaded:
        """A day under way, read whole for other symbols than those that it was loaded for.

        Raises
        ------
        DataError, OSError, …
            What reading it came to.
        """
        return self._pool.submit(self._brought, day, symbols).result()

    def history_for(self, day: TradingDay, symbols: tuple[str, ...]) -> HistoryReady | None:
        """The days before one, for other symbols."""
        return self._pool.submit(self._before, day, symbols).result()

    @property
    def running(self) -> tuple[date, ...]:
        """The dates that were started, are not read yet, and were not taken."""
        with self._lock:
            return tuple(day for day, (_, reading) in self._reading.items() if not reading.done())

    def wait(self, day: date, timeout: float | None = None) -> DayData:
        """A day that was started, waited for, and taken: it is not kept any longer.

        Raises
        ------
        TimeoutError
            If it is not there after so many seconds; it goes on being read.
        DataError, OSError, …
            What reading it came to.
        """
        return self.take(day, timeout).data

    def take(self, day: date, timeout: float | None = None) -> Loaded:
        """As `wait`, with the days before."""
        loaded = self._reading[day][1].result(timeout)
        with self._lock:
            self._reading.pop(day, None)
        return loaded

    def deliver(
        self, date: date, say: Callable[[Delivery], None], timeout: float | None = None
    ) -> None:
        """Say when a day that was started is there, or can't be had.

        After `timeout` seconds LoadTimedOut is said first, with a day without rows; what was late
        is said all the same when it comes.
        """
        with self._lock:
            day, reading = self._reading.pop(date)
            self._started = {of: day for of, day in self._started.items() if of >= date}
            readings = self._readings
        with self._at_hand:
            self._histories = {of: known for of, known in self._histories.items() if of >= date}
        if timeout is not None:
            timer = threading.Timer(timeout, self._late, (day, reading, say))
            timer.daemon = True
            self._timers.add(timer)
            timer.start()
            reading.add_done_callback(lambda _: self._in_time(timer))
        reading.add_done_callback(lambda done: self._say(date, done, say, readings))

    def shutdown(self, patience_seconds: float | None = None) -> None:
        """Read nothing more; a read that is under way ends first, a pause between tries at once.

        After `patience_seconds` such a read is left to end by itself.
        """
        self._shut.set()
        for timer in tuple(self._timers):
            timer.cancel()
        if patience_seconds is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            _, unfinished = wait(tuple(self._unread), patience_seconds)
            if unfinished:
                return
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _in_time(self, timer: threading.Timer) -> None:
        timer.cancel()
        self._timers.discard(timer)

    def _late(
        self, day: TradingDay, reading: Future[Loaded], say: Callable[[Delivery], None]
    ) -> None:
        if reading.done() or self._shut.is_set():
            return
        about = logger.bind(day=str(day.date), step=None)
        about.warning("{}: not read in time; the day opens without its rows", day.date)
        say(self.timed_out(day))

    def timed_out(self, day: TradingDay) -> LoadTimedOut:
        """What is said of a day whose rows are not there in time."""
        nothing = no_rows(self.register(day.date), day, self._interval_ns)
        return LoadTimedOut(date=day.date, data=nothing)

    def _say(
        self,
        day: date,
        reading: Future[Loaded],
        say: Callable[[Delivery], None],
        readings: int = 0,
    ) -> None:
        if reading.cancelled() or self._shut.is_set():
            return
        with self._lock:
            if readings != self._readings and day >= self._anew_from:
                return  # it is read anew, for other symbols
        error = reading.exception()
        if error is None:
            say(reading.result())
        elif isinstance(error, InputError):
            say(error)
        else:
            say(LoadFailed(date=day, reason=f"{error} ({ATTEMPTS} attempts)"))

    def _read(self, day: TradingDay) -> Loaded:
        with logger.contextualize(day=str(day.date), step=None):  # the run is at another one
            return self._brought(day)

    def _brought(self, day: TradingDay, symbols: tuple[str, ...] | None = None) -> Loaded:
        known = None if symbols else self._journaled.pop(day.date, None)
        if known is not None:
            return self._read_again(known)
        logger.debug("prefetch started: {}", day.date)
        symbols = symbols or self.register(day.date)
        history = self._before(day, symbols)
        trailing = self._trailing_of(symbols, day.date)
        # What a feed brings of the day comes while it is under way.
        raw = no_raw_rows(symbols, self._interval_ns) if self._fed else self._rows(day, symbols)
        places: dict[int, tuple[str, int]] = {}
        data = assemble(
            journal.noted(raw, places), day, self._interval_ns, self._order, self._rules
        )
        if not self._fed:
            trailing.over(data)
        logger.debug("prefetch completed: {}, {} rows", day.date, len(raw))
        written = journal.written(day, raw, places, history) if self.journals else None
        return Loaded(date=day.date, data=data, history=history, journal=written)

    def _read_again(self, known: journal.DayRead) -> Loaded:
        raw = known.rows()
        data = assemble(raw, known.day, self._interval_ns, self._order, self._rules)
        trailing = self._trailing_of(known.symbols, known.day.date)
        trailing.given(known.history)
        self._is_at_hand(known.day, known.history)
        if not self._fed:
            trailing.over(data)
        logger.debug("{}: {} rows from the journal", known.day.date, len(raw))
        return Loaded(date=known.day.date, data=data, history=known.history)

    def _before(self, day: TradingDay, symbols: tuple[str, ...]) -> HistoryReady | None:
        """The days before one; of symbols for which they are at hand they are not read again."""
        history = self._trailing_of(symbols, day.date).before(day)
        self._is_at_hand(day, history)
        return history

    def _is_at_hand(self, day: TradingDay, history: HistoryReady | None) -> None:
        if history is not None:
            with self._at_hand:
                self._histories[day.date] = history.history

    def _trailing_of(self, symbols: tuple[str, ...], day: date) -> Trailing:
        if self._trailing is None or self._trailing.symbols != symbols:
            with self._at_hand:
                # One for a later day may lack what a contract had before the next.
                newest = max((of for of in self._histories if of <= day), default=None)
                known = None if newest is None else self._histories[newest]
            self._trailing = self._new_trailing(symbols=symbols, known=known)
        return self._trailing

    def _rows(self, day: TradingDay, symbols: tuple[str, ...]) -> RawRows:
        window = self._windows.get(day.date) or row_spans((day,))[day.date]
        read = partial(self._source.read, *window, symbols)
        return tried_again(read, str(day.date), rest=self._pause)

    def _pause(self, seconds: float) -> None:
        """Between two tries; ends at once on `shutdown`."""
        self._shut.wait(seconds)
