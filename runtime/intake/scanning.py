"""Runs scans, one at a time, on a thread of their own and with a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from queue import SimpleQueue

from loguru import logger

from openbell.actors import scanner
from openbell.adapters.scanners import Scan
from openbell.errors import OpenbellError, RunError
from openbell.hosttime import Monotonic, monotonic
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.market.history import History, HistoryDay, Need, rolled, wanted_days
from openbell.market.scans import Found, ScanView, found_by
from openbell.messages.control import Loaded
from openbell.messages.data import HistoryReady
from openbell.messages.scan import ScanDue, ScanResult
from openbell.runtime.intake.scanprocess import ProcessFailed, ScanProcess, told_of
from openbell.runtime.record.telling import Tell, tell_log

Before = Callable[[date, int], tuple[TradingDay, ...]]
Say = Callable[[ScanResult | OpenbellError], None]

AWAITED_SECONDS = 600.0
"""How long a scan may take where no wall time moves the run. Its timeout does not count there: what
comes out must not depend on how fast the host is."""

FOUND_MAX = 10_000


class Scanning:
    """Runs what is due and says what it came to.

    Parameters
    ----------
    scans : sequence of Scan
    live : bool
        Whether a scan that takes longer is skipped; if not, it is waited for, up to
        `AWAITED_SECONDS`, and the run fails then.
    before : callable
        The n trading days before a date.
    tell : Tell
        Where it is told that a scan is waited for.
    """

    def __init__(
        self, scans: Sequence[Scan], *, live: bool, before: Before, tell: Tell = tell_log
    ) -> None:
        self._scans = {scan.spec.name: scan for scan in scans}
        self._live, self._before, self._tell = live, before, tell
        self._lock = threading.Lock()
        self._under_way: ScanDue | None = None
        self._worker: _Worker | None = None
        self._past: dict[str, tuple[date, HistoryReady, History]] = {}
        """Of each scan, what it asked for of a day's history; it is the same all day."""
        self._days: dict[int, tuple[HistoryDay, HistoryDay]] = {}
        """Days of the history, and the same with arrays that can't be written to, by identity."""
        self._sealed: tuple[History, History] | None = None
        """The history that was last looked at, and the same with such arrays."""
        self._deadline: Deadline | None = None
        self._closed = False
        self._process = ScanProcess()
        """Of those that have a process of their own; started when one is run."""
        self.waits: Callable[[str], None] = lambda why: None
        """Told that a scan takes longer than it should, and is waited for."""
        self.on_thread = True
        """Whether a scan has a thread of its own; if not, it is run where it is asked for."""

    def ask(
        self,
        settings: scanner.Settings,
        state: scanner.State,
        due: ScanDue,
        loaded: Loaded | None,
        say: Say,
        *,
        followed: tuple[date, tuple[str, ...]] | None = None,
        live_from_ns: MarketTime = EPOCH,
    ) -> None:
        """Run a scan on the day as it is in the scanner's state, or as it was loaded.

        Parameters
        ----------
        followed : tuple, optional
            As of `DayOpened`, of a day that has not opened.
        live_from_ns : int
            As of `DayOpened`.
        """
        backfilled = (due.at_ns or _opens(loaded)) <= live_from_ns
        scan = self._scans[due.scan]
        look = partial(self._view, scan, settings, state, due, loaded, followed)
        with self._lock:
            if self._closed:
                return
            self._under_way = due
        if not self.on_thread:
            self._run(scan, due, loaded, look, say, backfilled)
            return
        allowed = scan.spec.timeout_seconds
        seconds = allowed if self._live else AWAITED_SECONDS
        late = partial(self._late, due, loaded, seconds, say)
        if allowed < seconds:
            self._set(allowed, partial(self._slow, scan, due, seconds - allowed, late))
        else:
            self._set(seconds, late)
        if self._worker is None:
            self._worker = _Worker()
        self._worker.run(partial(self._run, scan, due, loaded, look, say, backfilled))

    def close(self) -> None:
        """Say nothing more; a scan that is under way is left to end by itself."""
        with self._lock:
            self._closed, self._under_way = True, None
            if self._deadline is not None:
                self._deadline.end()
            if self._worker is not None:
                self._worker.end()
        self._process.kill()

    def _set(self, seconds: float, call: Callable[[], object]) -> None:
        if self._deadline is None:
            self._deadline = Deadline()
        self._deadline.set(seconds, call)

    def _view(
        self,
        scan: Scan,
        settings: scanner.Settings,
        state: scanner.State,
        due: ScanDue,
        loaded: Loaded | None,
        followed: tuple[date, tuple[str, ...]] | None,
    ) -> ScanView:
        if loaded is not None:
            day, symbols, history = loaded.data.day, loaded.data.symbols, loaded.history
        else:
            assert state.opened is not None
            day, symbols, history = state.opened.day, state.opened.symbols, state.history
        own = None if history is None else self._own(scan, day.date, history)
        return scanner.view(
            settings,
            state,
            due,
            day,
            symbols,
            own,
            scan.spec.options,
            indicators_of=history,
            followed=followed,
        )

    def _own(self, scan: Scan, day: date, history: HistoryReady) -> History:
        known = self._past.get(scan.spec.name)
        if known is not None and known[0] == day and known[1] is history:
            return known[2]
        wanted = wanted_days(scan.needs, day, self._before)
        own = rolled(self._frozen(history.history), wanted)
        self._past[scan.spec.name] = (day, history, own)
        return own

    def _frozen(self, history: History) -> History:
        """Trading days that follow each other share most of what they look back at."""
        if self._sealed is not None and self._sealed[0] is history:
            return self._sealed[1]
        days: dict[int, tuple[HistoryDay, HistoryDay]] = {}
        for of in history.days:
            known = self._days.get(id(of))
            if known is None or known[0] is not of:
                known = of, scanner.frozen(of)
            days[id(of)] = known
        self._days = days
        sealed = History(history.symbols, tuple(frozen for _, frozen in days.values()))
        self._sealed = history, sealed
        return sealed

    def _run(
        self,
        scan: Scan,
        due: ScanDue,
        loaded: Loaded | None,
        look: Callable[[], ScanView],
        say: Say,
        backfilled: bool,
    ) -> None:
        began = monotonic()
        result: ScanResult | OpenbellError
        try:
            view = look()
            found = self._found(scan, view)
            symbols = tuple(of.symbol for of in found)
            every = (view.whole or view).symbols
        except ProcessFailed as error:
            result = _skipped(due, loaded, str(error))
        except BaseException as error:
            if not self.on_thread and not isinstance(error, Exception | SystemExit):
                raise  # it is not the scan's alone
            where = f"{due.date} {due.label}: scan {due.scan}"
            logger.opt(exception=error).debug("{}: {}", where, told_of(error))
            result = _skipped(due, loaded, f"it failed with {told_of(error)}")
        else:
            result = ScanResult(
                scan=due.scan,
                date=due.date,
                at_ns=due.at_ns,
                label=due.label,
                opens_ns=_opens(loaded),
                symbols=symbols,
                scores=tuple(of.score for of in found),
                reasons=tuple(of.reason for of in found),
                unknown=tuple(sorted(set(symbols) - set(every))),
                backfilled=backfilled,
                companions=tuple(sorted(set(symbols) & set(every) - set(view.symbols))),
            )
        seconds = monotonic() - began
        if self._is_first(due):
            logger.debug("{} {}: scan {} took {:.3f} s", due.date, due.label, due.scan, seconds)
            say(result)
        else:
            logger.info(
                "{} {}: scan {} answered after {:.1f} s, when it was skipped or the run over; its "
                "answer is dropped",
                due.date,
                due.label,
                due.scan,
                seconds,
            )

    def _found(self, scan: Scan, view: ScanView) -> Sequence[Found]:
        if scan.spec.worker == "thread" or not self.on_thread:
            return found_by(scan.function(view), FOUND_MAX)
        seconds = scan.spec.timeout_seconds if self._live else AWAITED_SECONDS
        return self._process.found(scan, view, FOUND_MAX, seconds)

    def _slow(
        self, scan: Scan, due: ScanDue, left_seconds: float, late: Callable[[], object]
    ) -> None:
        """Where wall time does not move the run: say what it waits for, and go on to wait."""
        with self._lock:
            if self._under_way is not due:
                return
            self._set(left_seconds, late)
        after = scan.spec.timeout_seconds
        why = (
            f"{due.date} {due.label}: scan {due.scan} has not answered within {after:g} s "
            "(timeout_seconds); a backtest waits for it, and ends with an error after "
            f"{AWAITED_SECONDS:g} s"
        )
        self._tell("scan.slow", why, trading_date=due.date)
        self.waits(why)

    def _late(self, due: ScanDue, loaded: Loaded | None, seconds: float, say: Say) -> None:
        if not self._is_first(due):
            return
        # A thread that hangs can't be stopped: it is left alone, and the next scan has another.
        of_process = self._scans[due.scan].spec.worker == "process"
        if of_process:
            self._process.kill()
        if self._worker is not None:
            self._worker.end()
            self._worker = None
        if self._live:
            left = "its thread is left alone, and its answer will be dropped"
            ended = "its process was ended" if of_process else left
            why = f"it did not answer within {seconds:g} s (timeout_seconds); {ended}"
            say(_skipped(due, loaded, why))
            return
        say(
            RunError(
                f"{due.date} {due.label}: scan {due.scan} has not answered within {seconds:g} s; a "
                "backtest waits for its scans, so that its answers don't depend on the host: mend it, "
                "or leave it out"
            )
        )

    def _is_first(self, due: ScanDue) -> bool:
        """Whether a scan's answer, or that there is none, is the first that is heard of it."""
        with self._lock:
            if self._under_way is not due:
                return False
            self._under_way = None
            if self._deadline is not None:
                self._deadline.clear()
            return True


class Deadline:
    """A thread that calls when a time is over, one at a time: mostly it is not, and to start a thread
    for each, as `threading.Timer` does, costs more than most scans."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._call: Callable[[], object] | None = None
        self._at = monotonic()
        self._wakes: float | None = None
        """When the thread looks again by itself."""
        self._ended = False
        self.thread = threading.Thread(target=self._go, name="openbell-scan-deadline", daemon=True)
        self.thread.start()

    def set(self, seconds: float, call: Callable[[], object]) -> None:
        """Call when so much time has passed, unless it is cleared or set again before."""
        with self._changed:
            self._call, self._at = call, Monotonic(monotonic() + seconds)
            if self._wakes is None or self._at < self._wakes:
                self._changed.notify()

    def clear(self) -> None:
        with self._changed:
            self._call = None  # the thread sleeps on, and finds nothing to do

    def end(self) -> None:
        with self._changed:
            self._call, self._ended = None, True
            self._changed.notify()

    def _go(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], object] | None:
        """What is to be called, once it is; None: nothing more is."""
        with self._changed:
            while not self._ended:
                left = self._at - monotonic()
                if self._call is not None and left <= 0:
                    call, self._call = self._call, None
                    return call
                self._wakes = self._at if left > 0 else None
                self._changed.wait(left if left > 0 else None)
            return None


class _Worker:
    """A thread that runs one scan after another: to start one each time costs more than most scans."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        threading.Thread(target=self._go, name="openbell-scan", daemon=True).start()

    def run(self, work: Callable[[], object]) -> None:
        self._work.put(work)

    def end(self) -> None:
        """Do nothing more than what is under way."""
        self._work.put(None)

    def _go(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _skipped(due: ScanDue, loaded: Loaded | None, why: str) -> ScanResult:
    return ScanResult(
        scan=due.scan,
        date=due.date,
        at_ns=due.at_ns,
        label=due.label,
        opens_ns=_opens(loaded),
        skipped=why,
    )


def not_run(due: ScanDue, loaded: Loaded | None) -> ScanResult:
    """What is said of a scan where nobody runs it, and it is not known what it came to."""
    why = (
        "it is not known what it came to that day, and a day that is gone through again asks nobody"
    )
    return _skipped(due, loaded, why)


def _opens(loaded: Loaded | None) -> MarketTime:
    return EPOCH if loaded is None else loaded.data.day.open_ns


def scan_needs(scans: Sequence[Scan]) -> tuple[Need, ...]:
    return tuple(need for scan in scans for need in scan.needs)
