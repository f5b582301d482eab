"""Who asks for symbols while the run goes on, and gets the answer when it holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from openbell.actors.effects import Commit
from openbell.errors import InputError
from openbell.hosttime import wall_ns
from openbell.messages.base import Message
from openbell.messages.control import AddSymbols, RemoveSymbols

RUN_OVER = "the run has ended; nothing has changed"

ANSWERS_KEPT_MAX = 200

ANSWERS = ("symbol.added", "symbol.removed", "symbol.refused")
"""Kinds of what is told when something that was asked for has its answer."""

Asked = AddSymbols | RemoveSymbols

_PAUSED: ContextVar[frozenset[tuple[int, str]]] = ContextVar("paused", default=frozenset())
"""Runs, and the tokens by which this thread, or this task of asyncio, has paused them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of what was asked for."""

    request: str
    why: str
    """In a sentence for people."""
    done: bool


def names_of(symbols: str | Iterable[str]) -> tuple[str, ...]:
    """The symbols of one name or of several.

    Raises
    ------
    InputError
        If there is none, or one is no name.
    """
    names = (symbols,) if isinstance(symbols, str) else tuple(symbols)
    if not names or any(not isinstance(name, str) or not name.strip() for name in names):
        raise InputError(f"{names!r} names no symbol; pass one name, or several")
    return tuple(dict.fromkeys(name.strip() for name in names))


def answer_of(future: Future[Answer], timeout: float | None) -> str:
    """What was done, in a sentence.

    Raises
    ------
    InputError
        If it was refused; nothing has changed then.
    TimeoutError
        If there is no answer after so many seconds; it is done all the same when it can be.
    """
    try:
        answer = future.result(timeout)
    except TimeoutError:
        raise TimeoutError(
            f"no answer within {timeout:g} s: it is done when nobody holds the clock any more, "
            "which status() tells"
        ) from None
    if not answer.done:
        raise InputError(answer.why)
    return answer.why


class SymbolDesk:
    """Takes in what is asked for of symbols, and gives each its answer, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: dict[str, tuple[Asked, Future[Answer]]] = {}
        self._answers: dict[str, Answer] = {}
        """The last ones, for who asks again: it does not know whether it was heard."""
        self._say: Callable[[Message], None] | None = None
        self._over: str | None = None
        self._count = 0

    def request(self, prefix: str) -> str:
        """A name that no other request has."""
        with self._lock:
            self._count += 1
            return f"{prefix}-{wall_ns()}-{self._count}"

    def ask(self, asked: Asked) -> Future[Answer]:
        """Have it done; the future has the answer when it holds."""
        with self._lock:
            if (known := self._waits.get(asked.request)) is not None:
                return known[1]
            future: Future[Answer] = Future()
            if (answer := self._answers.get(asked.request)) is not None:
                future.set_result(answer)
                return future
            if self._over is not None:
                future.set_result(Answer(asked.request, self._over, done=False))
                return future
            self._waits[asked.request] = asked, future
            say = self._say
        if say is not None:
            say(asked)
        return future

    def hear(self, say: Callable[[Message], None]) -> None:
        """From now on what is asked for goes to a clock; what had no answer goes to it again."""
        with self._lock:
            self._say = say
            waits = [asked for asked, _ in self._waits.values()]
        for asked in waits:
            say(asked)

    def rest(self) -> None:
        """There is no clock at the moment."""
        with self._lock:
            self._say = None

    def known(self, answered: Sequence[tuple[str, str]]) -> None:
        """What a clock has answered before, as its state has it."""
        for request, why in answered:
            self._answer(Answer(request, why or "done", done=not why))

    def saw(self, commit: Commit) -> None:
        """What a step brought holds."""
        found: dict[str, Answer] = {}
        for told in commit.noticed:
            request = told.facts.get("request")
            if told.kind in ANSWERS and isinstance(request, str):
                done = told.kind != "symbol.refused"
                before = found.get(request)
                why = told.why if before is None else f"{before.why}; {told.why}"
                found[request] = Answer(request, why, done)
        for answer in found.values():
            self._answer(answer)

    def end(self, why: str) -> None:
        """Nothing is answered any more."""
        with self._lock:
            self._over = why
            waits = tuple(self._waits)
        for request in waits:
            self._answer(Answer(request, why, done=False))

    def _answer(self, answer: Answer) -> None:
        with self._lock:
            if answer.why != RUN_OVER:
                self._answers[answer.request] = answer
                if len(self._answers) > ANSWERS_KEPT_MAX:
                    del self._answers[next(iter(self._answers))]
            _, future = self._waits.pop(answer.request, (None, None))
        if future is not None:
            future.set_result(answer)

    @property
    def is_open(self) -> bool:
        """Whether there is an answer to wait for: the run has started, or is over."""
        with self._lock:
            return self._say is not None or self._over is not None


class AsksForSymbols:
    """What a program can ask of a run's symbols while it goes on."""

    _tokens: Collection[str] = ()
    """By which the program has paused the run."""

    def _paused_here(self, token: str, on: bool) -> None:
        """The caller has paused the run, or lets it go on."""
        held = (id(self), token)
        _PAUSED.set(_PAUSED.get() | {held} if on else _PAUSED.get() - {held})

    def _refuse_to_wait(self) -> None:
        """A caller that holds the clock would wait for itself."""
        held = [token for of, token in _PAUSED.get() if of == id(self) and token in self._tokens]
        if held:
            raise InputError(
                f"market time is held by the pause of this caller ({', '.join(sorted(held))}), and "
                "symbols come, or go, when it goes on: nothing was asked for; resume first, or pass "
                "wait=False"
            )

    @property
    def _desk(self) -> SymbolDesk | None:
        """Of the run; a recording has none."""
        run: Any = getattr(self, "_run", None)
        found: SymbolDesk | None = getattr(run, "symbols", None)
        return found

    def add_symbols(
        self,
        symbols: str | Iterable[str],
        *,
        wait: bool = True,
        timeout: float | None = 60.0,
    ) -> str:
        """Watch further symbols from here on, as if they had been there from the day's open.

        Time stands until what was known of them since the open is loaded: sessions that are over
        have their levels, and breakouts of that past are reported as backfilled. All of them come,
        or none. They stay until they are removed, over restarts too.

        Parameters
        ----------
        symbols : str or several
        wait : bool
            Whether to wait until they are there; before the run has started nothing is.
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        str
            What was done, in a sentence; without `wait`, the name of what was asked.

        Raises
        ------
        InputError
            If one of them is not known, all are there already, or they can't be loaded; or if the
            caller would wait while it holds the run by a pause of its own.
        TimeoutError
            If there is no answer by then; they come all the same when they can.
        """
        return self._ask_symbols(AddSymbols, symbols, wait=wait, timeout=timeout)

    def remove_symbols(
        self,
        symbols: str | Iterable[str],
        *,
        wait: bool = True,
        timeout: float | None = 60.0,
    ) -> str:
        """Watch some symbols no more: what was said of them stays. As `add_symbols`."""
        return self._ask_symbols(RemoveSymbols, symbols, wait=wait, timeout=timeout)

    async def aadd_symbols(self, *args: Any, **kwargs: Any) -> str:
        """As `add_symbols`, without blocking the event loop."""
        return await asyncio.to_thread(self.add_symbols, *args, **kwargs)

    async def aremove_symbols(self, *args: Any, **kwargs: Any) -> str:
        """As `remove_symbols`, without blocking the event loop."""
        return await asyncio.to_thread(self.remove_symbols, *args, **kwargs)

    def _ask_symbols(
        self,
        kind: type[AddSymbols | RemoveSymbols],
        symbols: str | Iterable[str],
        *,
        wait: bool,
        timeout: float | None,
    ) -> str:
        desk = self._desk
        if desk is None:
            raise InputError("a recording has the symbols that it was made with")
        names = names_of(symbols)
        if wait and desk.is_open:
            self._refuse_to_wait()
        request = desk.request("program")
        future = desk.ask(kind(symbols=names, request=request))
        if wait and desk.is_open:
            return answer_of(future, timeout)
        return request
