"""Keeps recordings of what a run's feed brings, taken from the run's store.

What the store has is durable, in order, and there once. So a recording goes on behind a kill where
it had come to, and what it says of a step is what a restart would be given.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from loguru import logger

from openbell import __version__
from openbell.adapters.stores import JournalEntry, Step, Store
from openbell.errors import InputError, OpenbellError, StoreError
from openbell.market.days import Segment, TradingDay
from openbell.market.instruments import NO_CONTRACTS
from openbell.messages.control import Roll, Start
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.intake.handover import Account
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.lifetime import watched
from openbell.runtime.lifetime.eras import Era, counted, era_on, eras_of, written_contracts
from openbell.runtime.lifetime.recovery import recorded_steps
from openbell.runtime.lifetime.replaying import states_after
from openbell.runtime.record import brought, feedlog, inserted, steplog
from openbell.runtime.record.codec import encode
from openbell.runtime.record.recorded import Stretch, stretches
from openbell.runtime.record.recordedfiles import drop, put_together, write_part
from openbell.runtime.record.recordings import (
    About,
    RecordedDay,
    recorded_days,
    written,
)

CARRIED = "carried"
"""Begins the name of the entry with what earlier days left to a day; its first step follows."""

STEPS_MAX = 50_000
"""Of a part: a run that was recorded late has millions to be read."""

EVERY_SECONDS = 60.0
"""How often what came is written into the recording of the day under way."""


class Recording:
    """Writes the days of a run into a folder, on a thread of its own, until it is closed.

    Parameters
    ----------
    store : Store
        Only read; it may be the run's own, or another one of the same state.
    config_on : callable
        What a day is run with.
    account : callable
        What became of what the feed brought, in this process.
    tell : callable
        Gets why it can't be written, in words, once until it can.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        config_on: Callable[[Sequence[Era], date], Config],
        account: Callable[[], Account | None] = lambda: None,
        tell: Callable[[str], None] = lambda why: None,
        every: float = EVERY_SECONDS,
    ) -> None:
        self.folder = folder
        self._store = store
        self._config_on = config_on
        self._account = account
        self._tell = tell
        self._noted: dict[str, Counter[str]] = {}
        self._every = every
        self._said: set[date] = set()
        self.problem: str | None = None
        """Why it could not be written the last time, in words."""
        self.run_ended = False
        """Whether the last day is over, and no step follows."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="openbell-recording", daemon=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: can't be written ({error.strerror}); name a folder that can, in "
                "feed.record or by --record"
            ) from error

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Write what is durable by now, and no more."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tried()

    def _run(self) -> None:
        while not self._closed.wait(self._every):
            self._tried()

    def _tried(self) -> None:
        try:
            self.catch_up()
            self.problem = None
        except Exception as error:  # noqa: BLE001 the run goes on without
            before = self.problem
            self.problem = f"the recording in {self.folder} was not written: {error}"
            if not isinstance(error, OpenbellError | OSError):
                logger.exception("{}", self.problem)
            if self.problem != before:
                self._tell(self.problem)

    def catch_up(self, only: date | None = None) -> None:
        """Write what the store has and the recording hasn't.

        Parameters
        ----------
        only : date, optional
            Of this trading day; None: of all.

        Raises
        ------
        StoreError, OSError
        """
        head = self._store.head()
        if not head.step:
            return
        eras = eras_of(head, ())
        days = counted(stretches(self._store), eras)
        for of in days:
            if only is not None and of.trading_date != only:
                continue
            self._write(of, eras, over=of is not days[-1] or self.run_ended)

    def check(self, plan: Plan) -> None:
        """Refuse a folder that has another run's recording of a day that this run records.

        Raises
        ------
        InputError
            It names the day.
        """
        head = self._store.head()
        if not head.step:
            for of in recorded_days(self.folder):
                if of >= plan.days[0].date:
                    raise _of_another_run(self.folder, of)
            return
        eras = eras_of(head, ())
        for stretch in counted(stretches(self._store), eras):
            self._pieces(stretch, eras)

    def _pieces(self, of: Stretch, eras: Sequence[Era]) -> list[About]:
        """What there is of a day; nothing where it was begun anew since."""
        pieces = written(self.folder, of.trading_date)
        if not pieces:
            return []
        first, last = pieces[0].first, pieces[-1].last
        if first < of.first and any(era.step == of.first for era in eras):
            drop(self.folder, of.trading_date)
            return []
        follows = first == of.first or first < of.first <= last + 1  # or its beginning was dropped
        if not follows or pieces[0].name != self._config_on(eras, of.trading_date).name:
            raise _of_another_run(self.folder, of.trading_date)
        if last > of.last:
            raise _of_another_run(self.folder, of.trading_date)
        if of.first <= last:
            step = next(iter(self._store.steps(after=last - 1, until=last)), None)
            if step is None or step.digest.hex() != pieces[-1].digest:
                raise _of_another_run(self.folder, of.trading_date)
        return pieces

    def _write(self, of: Stretch, eras: Sequence[Era], *, over: bool) -> None:
        pieces = self._pieces(of, eras)
        last = pieces[-1].last if pieces else of.first - 1
        if not pieces and not self._is_whole(of.trading_date, eras):
            return
        names = {name for about in pieces for name in about.kept}
        while last < of.last:
            until = min(of.last, last + STEPS_MAX)
            part = self._part(of, eras, last, until, names, whole=last < of.first)
            write_part(self.folder, part)
            names |= set(part.about.kept)
            last = until
        if over:
            put_together(self.folder, of.trading_date, closed=True)

    def _is_whole(self, of: date, eras: Sequence[Era]) -> bool:
        """Whether the store has a day from its beginning on; it is said once of those it hasn't."""
        try:
            recorded_steps(self._store, of, eras)
            return True
        except OpenbellError as error:
            if of not in self._said:
                self._said.add(of)
                logger.warning("{}: is not recorded: {}", of, error)
            return False

    def _part(
        self,
        of: Stretch,
        eras: Sequence[Era],
        after: int,
        until: int,
        names: set[str],
        *,
        whole: bool,
    ) -> RecordedDay:
        steps = list(self._store.steps(after=after, until=until))
        entries = list(self._entries(of.trading_date, after, until))
        came = feedlog.arrivals(entries, lambda step, at: after < step <= until)
        kept = [
            entry
            for entry in entries
            if not entry.name.startswith(f"{feedlog.CAME} ")
            and entry.name not in names
            and of.first <= _entered(entry) <= until
        ]
        era = era_on(eras, of.trading_date)
        config = self._config_on(eras, of.trading_date)
        today: TradingDay | None = None
        if whole:
            today, first, carried = self._beginning(eras, of, steps[0])
            steps[0] = first
            kept.insert(0, carried)
        options = data_options(config)
        changes = inserted.insertions(
            entries, lambda step, at: of.first <= step <= until and at == of.trading_date
        )
        registers = tuple((step, changes[step].symbols) for step in sorted(changes))
        configured = _configured(self._store, era)
        return RecordedDay(
            About(
                name=config.name,
                trading_date=of.trading_date.isoformat(),
                exchange=config.exchange,
                kind=options.kind,
                interval_ns=options.interval_ns if options.kind == "bars" else None,
                symbols=era.symbols,
                config=era.config,
                contracts=_of_day(era, of.trading_date),
                program=__version__,
                first=after + 1,
                last=until,
                digest=steps[-1].digest.hex(),
                rows=sum(len(part.ts) for part in came.values()),
                zone="" if today is None else today.tz,
                segments=() if today is None else _spans(today.segments),
                products=()
                if today is None
                else tuple((of.product, _spans(of.segments), of.symbols) for of in today.products),
                auctions=()
                if today is None
                else tuple(
                    (of.product, a.kind, a.open_ns, a.close_ns)
                    for of in today.products
                    for a in of.auctions
                    if a.kind in today.named
                ),
                until_ns=steps[-1].market_ns,
                not_used=self._not_used(),
                kept=tuple(entry.name for entry in kept),
                registers=registers,
                configured=configured,
            ),
            tuple(steps),
            came,
            tuple(kept),
        )

    def _entries(self, of: date, after: int, until: int) -> Iterator[JournalEntry]:
        """What came from outside with some steps of a day, and perhaps with others."""
        for entry in self._store.journal(of, after):
            kind, first, *_ = entry.name.split()
            if kind == feedlog.CAME and int(first) > until:
                return  # they follow each other, and a day may have very many
            if kind != brought.BROUGHT:
                yield entry

    def _beginning(
        self, eras: Sequence[Era], of: Stretch, first: Step
    ) -> tuple[TradingDay, Step, JournalEntry]:
        """A day, its first step as one with which a run of that day alone begins, and what earlier
        days left to it."""
        today = of.trading_date
        days, states = states_after(
            self._store, of.first - 1, eras, lambda day: self._config_on(eras, day), today
        )
        grant = steplog.granted(steplog.read(first.grant), _no_rows, _no_rows, _no_rows)
        start = _start(grant, today, days)
        inputs = tuple(start if isinstance(i, Roll | Start) else i for i in grant.inputs)
        begun = steplog.written(grant.model_copy(update={"inputs": inputs}), {})
        carried = JournalEntry(today, f"{CARRIED} {of.first}", encode(states), of.first)
        return start.days[0], replace(first, grant=begun), carried

    def _not_used(self) -> dict[str, dict[str, int]]:
        """What this process has counted since it was asked last."""
        account = self._account()
        if account is None:
            return {}
        now: dict[str, Counter[str]] = {
            "unknown_symbols": Counter(account.unknown),
            "refused": Counter(account.refused),
            "rows": Counter(on_no_day=account.on_no_day, day_over=account.day_over),
        }
        more = {why: counts - self._noted.get(why, Counter()) for why, counts in now.items()}
        self._noted = now
        return {why: dict(counts) for why, counts in more.items() if counts}


def _configured(store: Store, era: Era) -> tuple[str, ...] | Literal["all"] | None:
    """The symbols that the configuration named for a day, where the run had others; None: it had
    these, as far as is known."""
    known = watched.beside(store.head().meta)
    if known is None:
        return None
    if known.configured is None:
        return "all"
    # Of an earlier configuration what was asked for since does not tell.
    named = known.configured
    return named if set(named) <= {*era.followed, *known.removed} else None


def _of_another_run(folder: Path, of: date) -> InputError:
    return InputError(
        f"{folder}: has a recording of {of} that is not of this run's state; name another folder, or "
        "take that one away"
    )


def _entered(entry: JournalEntry) -> int:
    """The step that an entry came with."""
    if entry.step is not None:
        return entry.step
    last = entry.name.split()[-1]
    return int(last) if last.isdecimal() else 0


def _no_rows(wanted: object) -> Any:
    raise StoreError(f"{wanted}: a day does not begin with rows")


def _spans(segments: Iterable[Segment]) -> tuple[tuple[int, int], ...]:
    return tuple((s.open_ns, s.close_ns) for s in segments)


def _start(grant: Grant, of: date, days: Sequence[TradingDay]) -> Start:
    for entered in grant.inputs:
        if isinstance(entered, Start):
            (today,) = (day for day in entered.days if day.date == of)
            return Start(days=(today,), live_from_ns=entered.live_from_ns)
        if isinstance(entered, Roll) and entered.day is not None:
            return Start(days=(entered.day,))
    (today,) = (day for day in days if day.date == of)
    return Start(days=(today,))


def _of_day(era: Era, day: date) -> dict[str, Any] | None:
    """What instruments said for a day, as it is written down."""
    of_day = era.contracts.from_day(day).until(day)
    return None if of_day == NO_CONTRACTS else written_contracts(of_day)
