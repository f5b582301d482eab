"""Puts a run together: actors on a dispatcher, rows in, commits out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any, Literal, assert_never

from openbell.actors import clock
from openbell.actors import day as day_actor
from openbell.actors import scanner as scanner_actor
from openbell.actors.effects import (
    Anchor,
    AskFeed,
    Await,
    Commit,
    Effect,
    Fetch,
    Fill,
    Finish,
    GoOn,
    Halt,
    Insert,
    NextDay,
    Publish,
    RunScan,
    Settled,
    TooLate,
    WakeAt,
    Watch,
)
from openbell.adapters.sources import Source
from openbell.errors import DayFailed, FeedSilent, OpenbellError
from openbell.hosttime import HostClock
from openbell.market.days import ONE_DAY, MarketTime, TradingDay
from openbell.messages.base import Message
from openbell.messages.control import (
    Arrived,
    Backfilled,
    DayOver,
    Loaded,
    NotFilled,
    Pause,
    Prepared,
    Resume,
    Roll,
    RollFailed,
    Start,
    StepOnce,
    SymbolsChanged,
)
from openbell.messages.scan import ScanDue, ScanResult
from openbell.messages.time import Grant
from openbell.runtime.config.pace import AT_ONCE, Pace
from openbell.runtime.intake.connection import Gap
from openbell.runtime.intake.fed import RunRows
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.intake.inserting import Inserter
from openbell.runtime.intake.loading import Loader
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.scanning import Scanning, not_run
from openbell.runtime.kernel.cells import Cell, cells
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline, Threads
from openbell.runtime.kernel.metrics import Buckets, Metrics, Spread
from openbell.runtime.kernel.pacing import Pacer
from openbell.runtime.kernel.timekeeping import Timekeeper, WallKeeper
from openbell.runtime.kernel.wiring import actors, scanner_settings, wiring
from openbell.runtime.record.inserted import rows_that_came
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.record.telling import Telling
from openbell.runtime.record.writing import wall_time
from openbell.runtime.results.recording import Recorder

Observer = Callable[[Commit], None]

_PATIENCE_SECONDS = 0.3
"""How long a run that was stopped waits for a read: Ctrl-C has to end it within a second."""


class Engine:
    """One run over a plan; `run` may be called once, from any thread."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        recorder: Recorder,
        *,
        dispatcher: Literal["inline", "threads"] = "inline",
        pace: Pace = AT_ONCE,
        load_timeout: float | None = None,
        seed: int | None = None,
        delayed: tuple[str, str] | None = None,
        journals: bool = False,
        feed: HandOver | None = None,
        filler: Filler | None = None,
        host: HostClock | None = None,
        check_seconds: float = 60.0,
        day_after: Callable[[date], TradingDay | None] | None = None,
        jumped: Callable[[int], None] = lambda by_ns: None,
        checked: Callable[[], None] = lambda: None,
        telling: Telling | None = None,
        settled: Callable[[Commit, Grant], None] = lambda commit, grant: None,
        exits_in_silence: bool = False,
        step_times: Buckets | None = None,
    ) -> None:
        self._step_times, self._busy = step_times, 0.0
        self._settled = settled
        self._brought: Commit | None = None
        """What the step under way brought, where no ledger keeps it."""
        self.telling = telling or Telling()
        self.cells = cells(
            actors(plan.settings), wiring(plan.settings.sessions, scans=bool(plan.settings.scans))
        )
        self._plan = plan
        self._recorder = recorder
        self.dispatcher: Dispatcher = (
            Threads(self.cells, self._carry_out)
            if dispatcher == "threads"
            else Inline(self.cells, self._carry_out, seed=seed, delayed=delayed)
        )
        self._metrics = Metrics()
        self.loader = Loader(
            source,
            symbols=plan.symbols,
            registers=plan.registers,
            windows=plan.row_spans,
            trailing=plan.trailing,
            took=partial(self._metrics.add, "history"),
            journals=journals,
            order=plan.settings.order,
            rules=plan.settings.row_rules,
            fed=plan.settings.fed,
        )
        self.inserter = Inserter(
            plan,
            self.loader,
            known=None if plan.settings.fed else lambda: source.info().symbols,
            filler=filler,
            host_now=host if pace.wall else None,
            look_up=None if feed is None else feed.look_up,
            timeout_seconds=load_timeout if pace.live else None,
        )
        self.held_since: dict[str, str] = {}
        """Tokens that hold the clock, and since when."""
        self._inserting: tuple[str, ...] = ()
        """Those of them of which an answer gives the clock free."""
        self.watching: Callable[[SymbolsChanged], None] = lambda change: None
        """Told which symbols are watched from here on, before the step with that is settled."""
        self._feed = feed
        self._exits_in_silence = exits_in_silence
        self.filler = filler
        self.scanning = (
            Scanning(
                plan.scans,
                live=pace.live,
                before=plan.trailing.before,
                tell=self.telling.tell,
            )
            if plan.scans
            else None
        )
        """Who runs scans; None: there are none, or they were run before."""
        self._scans_known: Sequence[ScanResult] | None = None
        self._scan_asked: tuple[ScanDue, Loaded | None] | None = None
        """The scan that is under way."""
        self.came = source if isinstance(source, RunRows) else None
        """What was acted on of a feed's rows, where the days after may need it."""
        # A day that is fed opens without rows anyway, and not without the days before.
        self._load_timeout = load_timeout if pace.live and feed is None else None
        self._pacer = Pacer(pace.speed, self.tell_clock) if pace.scaled else None
        self.timekeeper: Timekeeper | None = self._pacer
        self._day_after = day_after
        self._jumped = jumped
        self.elsewhere: Callable[[Callable[[], None]], None] = self._on_a_thread
        """Does what takes seconds, and must not hold the actors' thread: a calendar's next year."""
        if pace.wall and feed is not None and host is not None:
            keeper = WallKeeper(
                self.tell_clock,
                feed.complete_ns,
                host,
                check_seconds=check_seconds,
                jumped=self.clock_set,
                stopped=self._stood_still,
                checked=checked,
            )
            self.timekeeper, feed.handed_over = keeper, keeper.handed_over
        self._listens_from: MarketTime | None = None
        """Up to when history was asked for, before a feed that loses rows had brought one."""
        if feed is not None and filler is not None:
            feed.gap_said = self._fill_gap
        self._error: str | None = None
        self._gives_up: str | None = None
        """Why the run ends after the step under way: the feed stays silent."""
        self._stopped = False
        self.ledger: Ledger | None = None
        """What makes steps durable before they can be seen; None: nothing does."""
        self.read_again: frozenset[date] = frozenset()
        """Dates whose rows a restart has read already."""

    def tell_clock(self, message: Message | OpenbellError) -> None:
        """Let something in by the clock, or end the run with what went wrong."""
        if isinstance(message, OpenbellError):
            self.dispatcher.fail(message)
        else:
            if isinstance(message, Loaded):
                self._metrics.loaded()
            self.dispatcher.post(clock.NAME, message)

    def run(self, going_on: Prepared | Start | None = None) -> None:
        """Run to the end of the plan, from its start or from where a restart has come.

        A restart that begins a day anew gives a Start of its own.

        Raises
        ------
        ActorFailed
            If an actor raised.
        DayFailed
            If a day's data can't be had; what was complete before stays.
        FeedSilent
            If the feed stays silent, and the run is to end then.
        InputError
            If a source turns out to be unusable.
        """
        try:
            if self.timekeeper is not None:
                self.timekeeper.start()
            start = Start(days=self._plan.days, live_from_ns=self._plan.live_from_ns)
            self.tell_clock(going_on or start)
            if self._feed is not None:
                grants = going_on.grants if isinstance(going_on, Prepared) else ()
                of_clock: clock.State = self.cells[clock.NAME].state
                self._keep_hours(self._feed, grants)
                anew = going_on.days[0].date if isinstance(going_on, Start) else None
                self._feed.open(
                    self.tell_clock,
                    *fed_so_far(self.cells, grants),
                    since=anew or of_clock.preparing,
                )
            self.dispatcher.run()
            if self._stopped and self.ledger is not None:
                self.ledger.drain()
        finally:
            self.close()
        if self._error is not None:
            raise DayFailed(self._error)
        if self._gives_up is not None:
            raise FeedSilent(self._gives_up)

    def close(self) -> None:
        """Let go of threads; what was committed stays."""
        if self.timekeeper is not None:
            self.timekeeper.close()
        if self.filler is not None:
            self.filler.close()
        self.inserter.close()
        if self.scanning is not None:
            self.scanning.close()
        if self.ledger is not None:
            self.ledger.close()
        self.loader.shutdown(_PATIENCE_SECONDS if self._stopped else None)
        self.dispatcher.close()

    def stop(self) -> None:
        """Make `run` return; a slow read is not waited for long. A signal handler may call this.

        Where steps are made durable, the one under way ends first, and what was settled is
        committed, if that does not take long. Called again, neither is waited for.
        """
        again, self._stopped = self.stopped, True
        if self.ledger is None or again:
            if self.ledger is not None:
                self.ledger.leave()
            self.dispatcher.finish()
            return
        self.ledger.leave_soon(self.dispatcher.finish)
        self.dispatcher.ask(clock.NAME, self._finish_between_steps)

    def _finish_between_steps(self) -> None:
        state: clock.State = self.cells[clock.NAME].state
        if state.granted is None:
            self.dispatcher.finish()

    @property
    def stopped(self) -> bool:
        """Whether it was told to."""
        return self._stopped

    def pause(self, token: str) -> None:
        self.held_since.setdefault(token, wall_time())
        self.tell_clock(Pause(token=token))

    def resume(self, token: str) -> None:
        self.held_since.pop(token, None)
        self.tell_clock(Resume(token=token))

    def pauses(self) -> list[dict[str, str]]:
        """Who holds the clock, and since when, by wall time."""
        return [
            {"token": token, "since": since} for token, since in sorted(self.held_since.items())
        ]

    def step(self) -> None:
        """Grant one step although the clock is held."""
        self.tell_clock(StepOnce())

    def reached(self) -> tuple[str | None, int]:
        """The trading day and the step that the clock has come to."""
        state: clock.State = self.cells[clock.NAME].state
        return str(state.day.date) if state.day else None, state.step

    def metrics(self) -> dict[str, Any]:
        """How long the parts of the run took so far."""
        taken = self._metrics.summary(
            {name: cell.busy for name, cell in self.cells.items()},
            steps=self.cells[clock.NAME].state.step,
            drift=self.timekeeper.drift if self.timekeeper is not None else Spread(),
            outages=self.ledger.outages if self.ledger is not None else (),
            events=self.telling.counts,
        )
        return taken if self._feed is None else {**taken, "feed": self._feed.status()}

    def _scan(self, due: ScanDue, loaded: Loaded | None) -> None:
        """Have a scan run; nobody does where a run is only gone through again."""
        self._scan_asked = due, loaded
        if self.scanning is None and self._scans_known is not None:
            known = (of for of in self._scans_known if of.answers(due))
            self.tell_clock(next(known, None) or not_run(due, loaded))
        elif self.scanning is not None:
            self.held_since[due.token] = wall_time()
            settings = scanner_settings(self._plan.settings)
            state: scanner_actor.State = self.cells[scanner_actor.NAME].state
            of_day: day_actor.State = self.cells[day_actor.NAME].state
            self.scanning.ask(
                settings,
                state,
                due,
                loaded,
                self.tell_clock,
                followed=of_day.followed,
                live_from_ns=of_day.live_from_ns,
            )

    def answer_scans(self, known: Sequence[ScanResult]) -> None:
        """From here on say of scans, which nobody runs here, what they came to when they were run."""
        self._scans_known = known
        if self._scan_asked is not None:
            self._scan(*self._scan_asked)

    def _ask(self, asked: AskFeed) -> None:
        """What the day wants of its feed. A step that is given again has asked for it before."""
        if self._feed is None or (self.ledger is not None and self.ledger.gives_again(asked.step)):
            return
        if asked.what != "give up":
            self._feed.ask(asked.what, asked.symbols, asked.why)
        elif self._exits_in_silence:
            self._gives_up = asked.why

    def _held_by(self, tokens: tuple[str, ...]) -> None:
        """These hold the clock now until symbols have come, or gone, and no other such."""
        for token in self._inserting:
            self.held_since.pop(token, None)
            self.telling.paused(token, None)
        self._inserting = tokens
        for token in tokens:
            self.held_since[token] = wall_time()
            self.telling.paused(None, token)

    def _watch(self, change: SymbolsChanged) -> None:
        """Other symbols are watched: of the day under way, and of those that follow."""
        step = self.cells[day_actor.NAME].step
        if self.ledger is not None and self.ledger.gives_again(step):
            return  # what was planned since knows of them
        self.loader.watch(change.registers)
        self.inserter.later = change.later
        if self._feed is not None:
            every = tuple(sorted({*change.symbols, *change.later}))
            self._feed.watch(every, change.added, change.removed)
        self.watching(change)

    def _leave(self) -> None:
        if self.ledger is not None:
            self.ledger.drain()
        self.dispatcher.finish()

    def _took(self, feed: HandOver, grant: Grant) -> None:
        """What a feed brought with a step has been acted on."""
        for entered in grant.inputs:
            if isinstance(entered, Arrived | Backfilled) and self.came is not None:
                self.came.add(entered.date, entered.rows)
            if isinstance(entered, SymbolsChanged) and entered.date and self.came is not None:
                theirs = rows_that_came(entered)
                if theirs is not None:
                    self.came.add_anew(entered.date, theirs)
            if isinstance(entered, Arrived) and self._listens_from is not None:
                self._listened(entered)
            if isinstance(entered, Arrived | DayOver):
                feed.taken(entered)
                if self.ledger is None:
                    feed.made_durable(entered.position)

    def _fill(self, fill: Fill, *, awaited: bool = True) -> None:
        """Have what is lacking of the day read from history."""
        today = self._today()
        if self.filler is None or today is None or today.date != fill.date:
            return
        if awaited and self._plan.settings.loses:
            self._listens_from = fill.until_ns
        symbols = self.loader.register(fill.date)
        self.filler.ask(today, symbols, fill, self.tell_clock, awaited=awaited)

    def _today(self) -> TradingDay | None:
        of_day: day_actor.State = self.cells[day_actor.NAME].state
        return of_day.day if of_day.position >= 0 else None

    def _fill_gap(self, gap: Gap) -> None:
        """What a feed has missed comes from history, and the day goes on meanwhile."""
        today = self._today()
        if today is None or self._plan.settings.fills_ns is None:
            return
        from_ns = MarketTime(max(gap.from_ns + 1, today.open_ns))
        until_ns = MarketTime(min(gap.until_ns, today.close_ns))
        whose = gap.symbols
        if whose is not None:
            register = set(self.loader.register(today.date))
            whose = tuple(symbol for symbol in whose if symbol in register)
        if from_ns >= until_ns or whose == ():
            return
        lacking = NotFilled(
            date=today.date,
            from_ns=from_ns,
            until_ns=until_ns,
            gap=True,
            symbols=whose,
            why=gap.why,
            comes=True,
        )
        self.tell_clock(lacking)
        self._fill(Fill(today.date, from_ns, until_ns, True, whose), awaited=False)

    def _listened(self, arrived: Arrived) -> None:
        """A feed that loses rows brought its first: what came since history was asked is lacking."""
        from_ns, self._listens_from = self._listens_from, None
        if from_ns is not None and len(arrived.rows):
            first_ns = MarketTime(int(arrived.rows.ts.min()))
            why = "the feed brought nothing before its first row"
            self._fill_gap(Gap(MarketTime(from_ns - 1), first_ns, None, why))

    def _keep_hours(self, feed: HandOver, grants: Sequence[Message]) -> None:
        """Where the host's clock rolls days, one that is under way has the hours of its roll."""
        if self._plan.settings.wall is None:
            return
        today = self._today()
        for entered in (e for g in grants if isinstance(g, Grant) for e in g.inputs):
            if isinstance(entered, Start):
                today = entered.days[0]
            elif isinstance(entered, Roll):
                today = entered.day or today
        if today is not None:
            days = feed.keep(today)
            if self.came is not None:
                self.came.days = days

    def _roll(self, after: date) -> Roll | RollFailed:
        """Which day follows, as the calendar has it by now."""
        try:
            following = None if self._day_after is None else self._day_after(after)
        except (OpenbellError, OSError) as error:
            return RollFailed(reason=f"after {after}: {error}")
        if following is not None and self._feed is not None:
            days = self._feed.follow(after, following)
            if self.came is not None:
                self.came.days = days
        return Roll(day=following)

    def reopen(self, waiting: TradingDay, now: TradingDay) -> None:
        """The day that waits for its open is another one by now."""
        if self._feed is not None:
            days = self._feed.follow(waiting.date - ONE_DAY, now)
            if self.came is not None:
                self.came.days = days
        self.tell_clock(Roll(day=now, instead_of=waiting.date))

    def _on_a_thread(self, work: Callable[[], None]) -> None:
        def done() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 it ends the run, as it does on its own thread
                self.dispatcher.fail(error)

        threading.Thread(target=done, name="openbell-calendar", daemon=True).start()

    def clock_set(self, by_ns: int) -> None:
        """The host's clock was set: forward also where the whole host stood still, as a virtual
        machine that was paused does, so that much may wait outside."""
        self._jumped(by_ns)
        if by_ns > 0 and self._feed is not None:
            self._feed.fall_behind()

    def _stood_still(self, seconds: float) -> None:
        self.telling.tell(
            "clock.stopped",
            f"nothing ran here for {seconds:.0f} s: this process, or its host, was stopped",
            seconds=round(seconds, 3),
        )
        if self._feed is not None:
            self._feed.fall_behind()

    def _carry_out(self, effect: Effect) -> None:
        self._metrics.before(effect)
        self._do(effect)
        self._metrics.after(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Fetch(day=day):
                if day.date not in self.read_again:
                    self.loader.start(day)
            case Await(date=awaited):
                self.loader.deliver(awaited, self.tell_clock, self._load_timeout)
            case WakeAt(at_ns=at, traded_ns=traded) if self.timekeeper is not None:
                self.timekeeper.wake_at(at, traded)
            case WakeAt() | NextDay() if (
                self._plan.settings.wall is not None and self._feed is None
            ):
                pass  # a replay goes no further than what it is given
            case NextDay(after=after):
                self.elsewhere(lambda: self.tell_clock(self._roll(after)))
            case TooLate(arrived=Backfilled(date=day)):
                why = f"{day}: what history has of it came when it was over, and is not used"
                self.telling.tell("backfill.failed", why, trading_date=day)
            case TooLate(arrived=arrived):
                if self._feed is not None and isinstance(arrived, Arrived):
                    self._feed.too_late(arrived)
            case AskFeed():
                self._ask(effect)
            case Fill():
                self._fill(effect)
            case Insert() if self.ledger is not None and self.ledger.gives_again(
                self.cells[clock.NAME].state.step
            ):
                pass  # a replay goes no further than what it is given
            case Insert(asked=asked):
                self._held_by(clock.tokens_of(asked))
                self.inserter.ask(effect, self.cells[day_actor.NAME].state, self.tell_clock)
            case Watch(change=change):
                self._watch(change)
            case RunScan(due=due, loaded=loaded):
                self._scan(due, loaded)
            case Anchor(traded_ns=traded) if self._pacer is not None:
                self._pacer.anchor(traded)
            case Halt() if self._pacer is not None:
                self._pacer.halt()
            case GoOn(traded_ns=traded) if self._pacer is not None:
                self._pacer.go_on(traded)
            case Commit():
                if self.ledger is None:
                    self._recorder.commit(effect)
                    self._brought = effect
                else:
                    self.ledger.brought(effect)
            case Settled(grant=grant):
                if self._step_times is not None:
                    before, self._busy = self._busy, sum(of.busy for of in self.cells.values())
                    self._step_times.add(self._busy - before)
                for entered in grant.inputs:
                    if isinstance(entered, ScanResult):
                        self._scan_asked = None
                        self.held_since.pop(entered.token, None)
                if any(isinstance(i, clock.CHANGES) for i in grant.inputs):
                    self._held_by(())
                if self.ledger is not None:
                    self.ledger.settled(effect)
                elif self._brought is not None:
                    brought, self._brought = self._brought, None
                    self._settled(brought, grant)
                if self._feed is not None:
                    self._took(self._feed, grant)
                if self._gives_up is not None:
                    self._leave()
                if self._stopped:
                    self.dispatcher.finish()
            case Finish(error=error):
                self._error = error
                self._leave()
            case WakeAt() | Anchor() | Halt() | GoOn():
                raise AssertionError("a clock that no wall time moves asks for none")
            case Publish():
                raise AssertionError("the cell publishes")
            case _:
                assert_never(effect)


def fed_so_far(
    cells: Mapping[str, Cell], grants: Sequence[Message]
) -> tuple[int, date | None, date | None, tuple[int, str]]:
    """How far a feed has come once grants are given again: its position, the day that is open, the
    last one of which no more rows are waited for, and from where it can be asked again."""
    of_clock: clock.State = cells[clock.NAME].state
    position, over, read_on = of_clock.position, of_clock.over, of_clock.read_on
    begun = of_clock.day.date if of_clock.day is not None and of_clock.agenda else None
    for entered in (
        entered for grant in grants if isinstance(grant, Grant) for entered in grant.inputs
    ):
        if isinstance(entered, Arrived | DayOver):
            position = max(position, entered.position)
            read_on = max(read_on, entered.read_on)
            if isinstance(entered, Arrived):
                begun = entered.date
            else:
                over = entered.date
    return position, begun if begun != over else None, over, read_on
