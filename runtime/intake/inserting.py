"""Symbols that are to come into a run under way, or to go: checked, loaded, and said to the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches

from loguru import logger

from openbell.actors import day as day_actor
from openbell.actors.effects import Fill, Insert
from openbell.errors import OpenbellError
from openbell.market.assembly import as_came, no_raw_rows
from openbell.market.bars import DayData
from openbell.market.days import MarketTime, TradingDay
from openbell.market.instruments import on
from openbell.messages.control import AddSymbols, RemoveSymbols, SymbolsChanged, SymbolsRefused
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.loading import Loader
from openbell.runtime.intake.planning import Plan

Answer = SymbolsChanged | SymbolsRefused

Say = Callable[[Answer | OpenbellError], None]

LookUp = Callable[[tuple[str, ...], float], Mapping[str, str] | None]
"""Why the vendor does not deliver some symbols, after at most so many seconds; None: it can't tell."""

LOOK_UP_SECONDS = 10.0
"""How long a vendor's answer is waited for at most."""

NOT_TOLD = "the feed can't tell whether it has {them}: no row of {them} came yet"

NO_HISTORY = "there is no history to read: what was before is not known of them"


class Refusal(Exception):
    """What was asked for can't be had; the text says why, and what to do."""


@dataclass(frozen=True)
class Watched:
    """Which symbols are watched when something is asked for."""

    day: TradingDay | None
    """The one that is open."""
    since: date
    """The first day that is to be loaded for other symbols."""
    today: tuple[str, ...]
    """The register of the open day."""
    gone: tuple[str, ...]
    """Those of it that are not watched any more."""
    later: tuple[str, ...]
    """Those of the days from `since` on."""
    followed: tuple[str, ...]
    """Those of them whose breakouts are reported."""
    followed_today: tuple[str, ...]


class Inserter:
    """Carries out what is asked for while the clock stands, and answers once.

    Parameters
    ----------
    known : callable
        The symbols that the source has; None: nobody can tell.
    filler : Filler, optional
        Reads history of a day that a feed brings.
    host_now : callable, optional
        Up to when history is read, where a feed brings the day.
    look_up : callable, optional
        Asks the feed whether it has symbols.
    timeout_seconds : float, optional
        After so long it is refused, and what comes later is not used; None: however long it takes.
    """

    def __init__(
        self,
        plan: Plan,
        loader: Loader,
        *,
        known: Callable[[], Sequence[str]] | None,
        filler: Filler | None = None,
        host_now: Callable[[], MarketTime] | None = None,
        look_up: LookUp | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._settings = plan.settings
        self.later = plan.symbols
        """All symbols of the days that follow."""
        self.loader = loader
        self._known = known
        self._filler, self.host_now = filler, host_now
        self._look_up = look_up
        self._timeout_seconds = timeout_seconds
        self._closed = threading.Event()
        self.refuses = ""
        """Why nothing can be had any more, if so."""
        self.begin: Callable[[Callable[[], None]], None] = _on_a_thread
        self.after: Callable[[float, Callable[[], None]], None] = _after

    def ask(self, insert: Insert, of_day: day_actor.State, say: Say) -> None:
        """Have it done; what becomes of it is said once."""
        asked = insert.asked
        once = _Once(asked, say, self._closed)
        try:
            if self.refuses:
                raise Refusal(self.refuses)
            watched = self._watched(of_day)
            change = self._planned(asked, watched)
        except Refusal as refusal:
            once.refuse(str(refusal))
            return
        loads = bool(change.added) and watched.day is not None
        looks_up = bool(change.added) and self._look_up is not None
        if not loads and not looks_up:
            once.answer(change)
            return
        if self._timeout_seconds is not None:
            self.after(self._timeout_seconds, lambda: once.not_in_time(self._timeout_seconds))
        today = watched.day
        self.begin(lambda: self._carry_out(change, today, insert.now_ns, once))

    def close(self) -> None:
        """Say nothing more."""
        self._closed.set()

    def _watched(self, of_day: day_actor.State) -> Watched:
        today = of_day.day if of_day.position >= 0 else None
        is_open = today is not None and of_day.phase == "stream"
        if today is None:
            since = date.min
        elif is_open or of_day.is_over:
            since = today.date + timedelta(days=1)
        else:
            since = today.date
        if is_open and of_day.without_rows:
            raise Refusal(
                "the rows of the day under way have not come yet; ask again when they have"
            )
        of_today: tuple[str, ...] = ()
        if is_open and today is not None:
            of_today = of_day.inserted or self.loader.register(today.date)
        later = self.later
        at = since if today is None else today.date
        return Watched(
            day=today if is_open else None,
            since=since,
            today=of_today,
            gone=of_day.removed,
            later=later,
            followed=self._followed(since, of_day.followed) or later,
            followed_today=self._followed(at, of_day.followed_today or of_day.followed) or of_today,
        )

    def _followed(
        self, at: date, inserted: tuple[date, tuple[str, ...]] | None
    ) -> tuple[str, ...] | None:
        found = [known for known in self._settings.followed if known[0] <= at]
        if inserted is not None:
            found.append(inserted)
        if not found:
            return None
        latest = max(since for since, _ in found)
        return next(names for since, names in reversed(found) if since == latest)

    def _companions(self, day: date) -> tuple[tuple[str, str], ...]:
        """Each symbol and the companion that goes with it on a day."""
        of_day = on(self._settings.contracts.companions, day)
        return self._settings.companions if of_day is None else of_day

    def _registers(
        self, since: date, symbols: tuple[str, ...]
    ) -> tuple[tuple[date, tuple[str, ...]], ...]:
        """What each day is loaded for: of contracts only those that it needs."""
        if self._settings.fed:
            return ((since, symbols),)
        return ((since, symbols), *self._settings.contracts.from_day(since).registers(symbols))

    def _planned(self, asked: AddSymbols | RemoveSymbols, watched: Watched) -> SymbolsChanged:
        names = tuple(dict.fromkeys(asked.symbols))
        if not names:
            raise Refusal("no symbol was named")
        now = set(watched.today) - set(watched.gone) if watched.day else set(watched.later)
        if isinstance(asked, AddSymbols):
            return self._added(asked, names, watched, now)
        return self._removed(asked, names, watched, now)

    def _added(
        self, asked: AddSymbols, names: tuple[str, ...], watched: Watched, now: set[str]
    ) -> SymbolsChanged:
        followed = set(watched.followed)
        if self._known is not None:
            held = sorted(self._known())
            for name in names:
                if name not in held:
                    raise Refusal(f"{name}: the data has no such symbol{_nearest(name, held)}")
        if watched.day is not None:  # one that was there for its prices alone comes as others do
            there = now & set(watched.followed_today)
        else:
            there = now
        new = tuple(sorted(name for name in names if name not in there))
        if not new and followed.issuperset(names) and set(watched.later).issuperset(names):
            verb = "is" if len(names) == 1 else "are"
            raise Refusal(f"{', '.join(names)} {verb} watched already; nothing has changed")
        at = watched.since if watched.day is None else watched.day.date
        self._refuse_without_tick(names, at)
        companions = dict(self._companions(at))
        beside = {companions[name] for name in new if name in companions}
        come = tuple(sorted({*new, *(beside - now)}))
        register = tuple(sorted({*watched.later, *names, *beside}))
        followed_now = tuple(sorted(followed | set(names)))
        return SymbolsChanged(
            request=asked.request,
            by=asked.by,
            added=come,
            promoted=tuple(sorted(set(names) - followed - set(come))),
            date=watched.day.date if watched.day is not None else None,
            since=watched.since,
            later=register,
            registers=self._registers(watched.since, register),
            followed=followed_now,
            followed_today=tuple(sorted({*watched.followed_today, *names})),
            symbols=tuple(sorted({*watched.today, *come})) if watched.day is not None else (),
            alone=tuple(sorted({*come, *beside})),
        )

    def _refuse_without_tick(self, names: Sequence[str], day: date) -> None:
        """Where a buffer is in ticks that the file of instruments says, of such a symbol no break
        would ever be found."""
        if not any(of.buffer_unit == "ticks" and of.buffer for of in self._settings.rules):
            return
        ticks = self._settings.contracts.ticks
        known = dict(on(ticks, max(day, ticks[0][0])) or ()) if ticks else {}
        for name in names:
            if name not in known:
                raise Refusal(
                    f"{name}: a buffer is in ticks, and the file of instruments has no tick_size of "
                    "it; write it there, or set breakout.tick_size, and start anew"
                )

    def _removed(
        self, asked: RemoveSymbols, names: tuple[str, ...], watched: Watched, now: set[str]
    ) -> SymbolsChanged:
        every = now | set(watched.later)
        for name in names:
            if name not in every:
                raise Refusal(f"{name} is not watched{_nearest(name, sorted(every))}")
        left = tuple(name for name in watched.later if name not in names)
        followed = set(watched.followed)
        followed_now = tuple(sorted(followed - set(names)))
        for of, companion in self._companions(watched.since):
            if companion in names and of in every and of not in names:
                raise Refusal(f"{companion} is the companion of {of}; remove {of} too, or first")
        if not left or not followed_now:
            raise Refusal("no symbol would be left; stop the run instead, or add another one first")
        return SymbolsChanged(
            request=asked.request,
            by=asked.by,
            removed=tuple(sorted(names)),
            date=watched.day.date if watched.day is not None else None,
            since=watched.since,
            later=left,
            registers=self._registers(watched.since, left),
            followed=followed_now,
            followed_today=tuple(sorted(set(watched.followed_today) - set(names))),
            symbols=watched.today,
        )

    def _carry_out(
        self, change: SymbolsChanged, today: TradingDay | None, now_ns: MarketTime, once: _Once
    ) -> None:
        try:
            change = change.model_copy(update={"untold": self._untold(change.added)})
        except Refusal as refusal:
            once.refuse(str(refusal))
        else:
            if today is None:
                once.answer(change)
            else:
                self._load(change, today, now_ns, once)

    def _untold(self, symbols: tuple[str, ...]) -> str:
        """What the feed can't tell of symbols; it is asked whether it has them.

        Raises
        ------
        Refusal
            If it has not, or does not answer.
        """
        if self._look_up is None:
            return ""
        seconds = LOOK_UP_SECONDS
        if self._timeout_seconds is not None:
            seconds = min(seconds, self._timeout_seconds / 2)
        try:
            refused = self._look_up(symbols, seconds)
        except Exception as error:  # noqa: BLE001 a plug-in may raise anything
            why = str(error) or type(error).__name__
            raise Refusal(
                f"{', '.join(symbols)}: whether the feed has {_them(symbols)} is not known: {why}; "
                "ask again"
            ) from None
        if refused is None:
            return NOT_TOLD.format(them=_them(symbols))
        if refused:
            told = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items()))
            raise Refusal(told)
        return ""

    def _load(
        self, change: SymbolsChanged, today: TradingDay, now_ns: MarketTime, once: _Once
    ) -> None:
        try:
            if self._settings.fed:
                once.answer(self._with_history(change, today, now_ns))
            else:
                read = self.loader.read_for(today, change.symbols)
                once.answer(
                    change.model_copy(
                        update={
                            "data": read.data,
                            "history": read.history,
                            "journaled": self.loader.journals,
                        }
                    )
                )
        except Exception as error:  # noqa: BLE001 a feed or a file may raise anything
            once.refuse(f"their rows can't be had: {error}")

    def _with_history(
        self, change: SymbolsChanged, today: TradingDay, now_ns: MarketTime
    ) -> SymbolsChanged:
        """What history has of the day so far; the days before, where they are looked at."""
        interval_ns = self._settings.interval_ns
        until_ns = max(now_ns, now_ns if self.host_now is None else self.host_now())
        until_ns = min(until_ns, today.close_ns)
        lacking = ""
        if self._filler is None:
            raw = no_raw_rows(change.alone, interval_ns)
            data = as_came(raw, today, interval_ns)
            lacking = NO_HISTORY
        else:
            fill = Fill(today.date, today.open_ns, until_ns, gap=False)
            found = self._filler.found(today, change.alone, fill)
            data = DayData(today, found.rows, found.counts, found.bad)
            if not len(found.rows):
                lacking = "history has nothing of them today"
        history = self.loader.history_for(today, change.symbols)
        return change.model_copy(
            update={"data": data, "history": history, "lacking": lacking, "journaled": True}
        )


class _Once:
    """The one answer to what was asked."""

    def __init__(
        self, asked: AddSymbols | RemoveSymbols, say: Say, closed: threading.Event
    ) -> None:
        self._asked, self._say, self._closed = asked, say, closed
        self._lock = threading.Lock()
        self._done = False

    def answer(self, answer: Answer) -> None:
        with self._lock:
            if self._done or self._closed.is_set():
                return
            self._done = True
            self._say(answer)

    def refuse(self, why: str) -> None:
        asked = self._asked
        logger.debug("{}: {}", asked.request, why)
        self.answer(
            SymbolsRefused(request=asked.request, by=asked.by, symbols=asked.symbols, why=why)
        )

    def not_in_time(self, seconds: float | None) -> None:
        self.refuse(
            f"{', '.join(self._asked.symbols)}: not loaded within {seconds:g} s "
            "(prefetch.timeout_seconds); the day goes on without, ask again"
        )


def _them(symbols: Sequence[str]) -> str:
    return "it" if len(symbols) == 1 else "them"


def _nearest(name: str, among: Sequence[str]) -> str:
    near = get_close_matches(name.upper(), among, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _on_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="openbell-insert", daemon=True).start()


def _after(seconds: float, work: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
