"""A live day that symbols come into and go from, for tests."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from by_hand import ByHand, at, config
from histories import Row

from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.intake.asking import Answer

ROWS: list[Row] = [
    *(("AB"[n % 2], at("09:30:05") + 10 * n, 100.0 + n % 5) for n in range(29)),
    *(("AB"[n % 2], at("09:36:00") + 20 * n, 101 + 0.25 * n) for n in range(20)),
    *(("AB"[n % 2], at("12:00:05") + 20 * n, 99 + 0.5 * (n % 4)) for n in range(30)),
    *(("AB"[n % 2], at("12:20:05") + 20 * n, 102 - 0.25 * n) for n in range(30)),
]


Asks = list[tuple[float, AddSymbols | RemoveSymbols]]
"""When, in seconds since 1970, and what is asked."""


@dataclass
class Live:
    """A day whose ticks of A and B are pushed as they are traded."""

    symbols: list[str]
    asks: Asks = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    takes: float = 0.0

    def __post_init__(self) -> None:
        self.answers: dict[str, Future[Answer]] = {}
        self.run = ByHand(
            config(symbols=self.symbols), at("09:00"), history_takes=self.takes, **self.options
        )
        self.run.starting = self._starting
        for symbol, ts, price in ROWS:
            self.run.tick(ts, symbol, price)
        for when, asked in self.asks:
            self.run.do(when, partial(self._ask_then, asked))

    def _starting(self, made: Any) -> None:
        made.engine.inserter.begin = lambda work: made._later(self.takes, work)
        made.engine.inserter.after = made._later
        for asked in list(self.answers):  # who asked does so again
            self._ask(next(of for _, of in self.asks if of.request == asked))

    def _ask(self, asked: AddSymbols | RemoveSymbols) -> None:
        assert self.run.run is not None
        self.answers[asked.request] = self.run.run.symbols.ask(asked)

    def _ask_then(self, asked: AddSymbols | RemoveSymbols, run: ByHand) -> None:
        self._ask(asked)

    def until(self, when: float) -> Live:
        self.run.until(when)
        return self

    def left(self, symbol: str) -> Any:
        levels = {
            name: (document["status"], document["symbols_data"].get(symbol))
            for name, document in self.run.sessions().items()
        }
        return sorted(of for of, _ in self.run.signals() if f":{symbol}:" in of), levels


ADD = AddSymbols(symbols=("B",), request="add")
REMOVE = RemoveSymbols(symbols=("A",), request="remove")
BOTH: Asks = [(at("10:15"), ADD), (at("12:30"), REMOVE)]
