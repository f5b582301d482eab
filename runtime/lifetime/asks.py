"""What is asked of a run's symbols through its store, by whoever can reach that, and the answers.

Both are kept beside the commits: no answer of the run depends on them. What is asked stays until its
answer is there, so that a process that is killed leaves it to the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson
from loguru import logger

from openbell.adapters.stores import Corrupt, Fenced, Store, Unavailable
from openbell.errors import StoreError
from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.intake.asking import RUN_OVER, Answer, SymbolDesk
from openbell.runtime.record.writing import wall_time

LOOK_SECONDS = 0.5
"""How often a run looks whether something is asked."""

FIRST_LOOK_SECONDS_MAX = 10.0
"""How long a run waits for that before it begins; a store that is away is no reason not to."""

ANSWERS_KEPT_MAX = 50

What = Literal["add", "remove"]

HOW: dict[What, str] = {"add": "added", "remove": "removed"}

_ASKED, _ANSWERED = "symbols ask ", "symbols answer "


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody asks for."""

    what: What
    symbols: tuple[str, ...]
    wall_time: str


def ask(store: Store, request: str, what: What, symbols: tuple[str, ...]) -> None:
    """Have the run that is up, or the next one, do it."""
    store.ask(_ASKED + request, orjson.dumps(asdict(Ask(what, symbols, wall_time()))))


def answer_of(store: Store, request: str) -> Answer | None:
    """What became of it; None: nothing yet."""
    body = store.kept_at(_ANSWERED + request)
    if body is None:
        return None
    fields = orjson.loads(body)
    return Answer(request, fields["why"], fields["done"])


def asked_of(store: Store) -> dict[str, Ask]:
    """What waits for an answer, by its name.

    Raises
    ------
    Corrupt
    """
    found = {}
    for key, body in store.kept(_ASKED).items():
        try:
            fields = orjson.loads(body)
            what, symbols = fields["what"], tuple(fields["symbols"])
            if what not in ("add", "remove") or not all(isinstance(s, str) for s in symbols):
                raise ValueError(f"{what!r} of {symbols!r}")
            found[key.removeprefix(_ASKED)] = Ask(what, symbols, fields["wall_time"])
        except (ValueError, TypeError, KeyError) as error:
            raise Corrupt(
                f"{store.location}: what is asked of symbols can't be read ({error})"
            ) from (error)
    return found


def waiting(store: Store) -> list[dict[str, Any]]:
    """What is asked for and has no answer yet, a symbol each, for people and programs.

    Raises
    ------
    StoreError
    """
    return [
        {"symbol": symbol, "how": f"to be {HOW[of.what]}", "since": None, "asked_at": of.wall_time}
        for of in sorted(asked_of(store).values(), key=lambda of: of.wall_time)
        for symbol in of.symbols
    ]


class SymbolAsks:
    """Looks, on a thread of its own, whether something is asked of a run, and answers.

    Parameters
    ----------
    opened : callable
        Opens a store for this alone, so that nobody waits for it.
    shared : bool
        Whether that is the run's own, which closes it.
    """

    def __init__(
        self, opened: Callable[[], Store], fence: int, desk: SymbolDesk, *, shared: bool
    ) -> None:
        self._opened, self._fence, self._desk, self._shared = opened, fence, desk, shared
        self._ended, self._looked = threading.Event(), threading.Event()
        self._under_way: dict[str, Future[Answer]] = {}
        self._thread = threading.Thread(target=self._run, name="openbell-symbols", daemon=True)

    def start(self) -> None:
        """Look from now on; what was asked while no run was up is heard before this returns, as a
        replay at full speed may be over when it is looked for the next time."""
        self._thread.start()
        self._looked.wait(FIRST_LOOK_SECONDS_MAX)

    def stop(self) -> None:
        """Look no more; what has its answer by now is still answered, if the store takes it."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        store = self._opened()
        try:
            last = False
            while True:
                try:
                    self.look(store, takes=not last)
                except Unavailable as error:
                    logger.debug("what is asked of symbols could not be looked up: {}", error)
                except Fenced:
                    return  # the lease is somebody else's, who goes on with it
                except StoreError as error:
                    logger.warning("what is asked of symbols can't be had: {}", error)
                self._looked.set()
                if last:
                    return
                last = self._ended.wait(LOOK_SECONDS)
        finally:
            self._looked.set()
            if not self._shared:
                store.close()

    def look(self, store: Store, *, takes: bool = True) -> None:
        """Take in what is asked, unless it is too late for that, and answer what holds by now.

        Raises
        ------
        StoreError
        """
        if takes:
            self._take(store)
        self._answer(store)

    def _take(self, store: Store) -> None:
        for request, asked in asked_of(store).items():
            if request in self._under_way:
                continue
            kind = AddSymbols if asked.what == "add" else RemoveSymbols
            logger.info("{} asked: {} {}", request, asked.what, ", ".join(asked.symbols))
            self._under_way[request] = self._desk.ask(kind(symbols=asked.symbols, request=request))

    def _answer(self, store: Store) -> None:
        for request, future in list(self._under_way.items()):
            if not future.done():
                continue
            answer = future.result()
            if not answer.done and answer.why == RUN_OVER:
                continue  # the next process does it
            body = {"done": answer.done, "why": answer.why, "wall_time": wall_time()}
            kept = {_ASKED + request: None, _ANSWERED + request: orjson.dumps(body)}
            old = list(store.kept(_ANSWERED))
            if (over := len(old) - ANSWERS_KEPT_MAX) > 0:
                kept |= dict.fromkeys(self._oldest(store, over))
            store.keep(self._fence, kept)
            del self._under_way[request]

    @staticmethod
    def _oldest(store: Store, count: int) -> list[str]:
        answers = store.kept(_ANSWERED)
        return sorted(answers, key=lambda key: str(orjson.loads(answers[key])["wall_time"]))[:count]
