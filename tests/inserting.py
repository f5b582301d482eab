"""Runs into which symbols come while a day is under way, and what is compared of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from openbell.actors.effects import Effect, Settled
from openbell.adapters.sinks.files import DayResult
from openbell.market.kinds import KINDS
from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.config import Config, config_from
from openbell.runtime.inmemory import InMemoryRun
from openbell.runtime.intake.asking import Answer
from openbell.runtime.results.collecting import Collected
from openbell.runtime.results.recording import Recorder

DAYS = ("2024-06-24", "2024-06-25")


def configuration(symbols: Sequence[str], **others: Any) -> Config:
    """Two windows, a companion, rearming, indicators, on NSE."""
    keys: dict[str, Any] = {
        "exchange": "XNSE",
        "symbols": list(symbols),
        "companions": {"B": "F"},
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:35"},
            {"name": "Lunch", "start": "11:50", "end": "12:20"},
        ],
        "breakout": {
            "rearm": {"inside_bars": 3},
            "closed_beyond": True,
            "retest": {"within_bars": 8, "tolerance": 0.05},
        },
        "history": {
            "indicators": {"average": {"type": "trailing_average", "period": "1d"}},
        },
        **others,
    }
    return config_from(keys)


def bars(seed: int, symbols: str = "ABCF", minutes: int = 375) -> pd.DataFrame:
    """Two days of one-minute bars with gaps, by time."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        price = 100.0
        for day in DAYS:
            ts = pd.date_range(f"{day} 09:15", periods=minutes, freq="1min", tz="Asia/Kolkata")
            close = np.round(price + np.cumsum(rng.normal(0, 0.1, minutes)), 2)
            price = float(close[-1])
            opened = np.round(close + rng.normal(0, 0.03, minutes), 2)
            frame = pd.DataFrame(
                {
                    "symbol": symbol,
                    "timestamp": ts,
                    "open": opened,
                    "high": np.maximum(opened, close) + 0.05,
                    "low": np.minimum(opened, close) - 0.05,
                    "close": close,
                    "volume": rng.integers(1, 100, minutes) / 10,
                }
            )
            parts.append(frame[rng.random(minutes) > 0.15])
    return pd.concat(parts).sort_values("timestamp", kind="stable", ignore_index=True)


def ticks(seed: int, symbols: str = "ABCF", count: int = 1500) -> pd.DataFrame:
    """Two days of ticks, by time; many share an instant."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in symbols:
        for day in DAYS:
            opens = pd.Timestamp(f"{day} 09:15", tz="Asia/Kolkata")
            at = np.sort(rng.integers(0, 375 * 12, count)) * 5
            parts.append(
                pd.DataFrame(
                    {
                        "symbol": symbol,
                        "timestamp": opens + pd.to_timedelta(at, unit="s"),
                        "price": np.round(100 + np.cumsum(rng.normal(0, 0.05, count)), 2),
                        "size": rng.integers(1, 100, count) / 10,
                    }
                )
            )
    return pd.concat(parts).sort_values("timestamp", kind="stable", ignore_index=True)


@dataclass
class Left:
    """What a run has left."""

    days: list[DayResult]
    signals: list[tuple[Any, ...]]
    """With all their facts, in the log's order."""
    answers: list[Answer]

    def of(self, *symbols: str) -> list[tuple[Any, ...]]:
        """Some symbols' signals, sorted, but for whether they are marked as of the past."""
        return sorted(signal[:-1] for signal in self.signals if signal[0] in symbols)


Asks = Sequence[tuple[int, AddSymbols | RemoveSymbols]]
"""From which instant on (ns UTC), and what is asked."""


class Stepped(InMemoryRun):
    """A run in memory that asks for symbols between two steps."""

    def __init__(self, config: Config, data: Any, recorder: Recorder, asks: Asks) -> None:
        super().__init__(
            config,
            data,
            recorder,
            start=None,
            end=None,
            speed=0,
            dispatcher="inline",
            indicators=None,
            days_at_once=False,
            pushed=False,
        )
        self.asks = list(asks)
        self.answers: list[Future[Answer]] = []
        self.held: list[frozenset[str]] = []
        self._carry_out = self.engine._do
        self.engine._do = self._watched  # type: ignore[method-assign]
        # Inline, what comes from outside waits until the day is through: but a held clock.
        self.engine.pause("steps")
        self.engine.step()

    def _watched(self, effect: Effect) -> None:
        self._carry_out(effect)
        if not isinstance(effect, Settled):
            return
        while self.asks and effect.grant.until_ns >= self.asks[0][0]:
            self.answers.append(self.symbols.ask(self.asks.pop(0)[1]))
        if self.asks:
            self.engine.step()
        else:
            self.engine.resume("steps")


def left_by(
    config: Config,
    data: Any,
    asks: Asks = (),
    starting: Callable[[Stepped], None] = lambda run: None,
) -> Left:
    """Run to the end, and ask on the way; `starting` gets the run before."""
    kept = Collected()
    recorder = Recorder((kept,), None)
    run = Stepped(config, data, recorder, asks)
    starting(run)
    try:
        run.run()
    finally:
        run.let_go()
    return Left(kept.days, signals_of(recorder), [of.result(0) for of in run.answers])


def signals_of(recorder: Recorder) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for batch in recorder.log.batches():
        for i in range(len(batch)):
            beside = int(batch.companion[i])
            found.append(
                (
                    batch.symbols[batch.symbol[i]],
                    str(batch.trading_date),
                    batch.sessions[batch.session[i]],
                    int(batch.side[i]),
                    (int(batch.number[i]), KINDS[batch.kinds[i]]),
                    int(batch.ts[i]),
                    int(batch.known_at[i]),
                    float(batch.price[i]),
                    float(batch.level[i]),
                    batch.symbols[beside] if beside >= 0 else "",
                    repr(float(batch.companion_price[i])),
                    int(batch.companion_ts[i]),
                    int(batch.filled("touched_at")[i]),
                    repr(float(batch.filled("touch_excess")[i])),
                    int(batch.filled("closed_beyond_at")[i]),
                    bool(batch.gap[i]),
                    bool(batch.ambiguous[i]),
                    bool(batch.complete[i]),
                    bool(batch.backfilled[i]),
                )
            )
    return found


def what_is_left(day: DayResult) -> dict[Any, Any]:
    """Levels, bars and quality of a day, by symbol."""
    found: dict[Any, Any] = {"register": day.symbols}
    for document in day.documents:
        levels = document.levels
        assert levels is not None
        for i, symbol in enumerate(levels.symbols):
            found[document.session_name, symbol] = (
                repr(float(levels.high[i])),
                repr(float(levels.low[i])),
                int(levels.count[i]),
                int(levels.first_ts[i]),
                int(levels.last_ts[i]),
                bool(levels.complete[i]),
            )
    for minutes, parts in day.bars.items():
        for part in parts:
            for i in range(len(part)):
                found[minutes, part.symbols[part.symbol[i]], int(part.ts[i])] = tuple(
                    float(getattr(part, name)[i])
                    for name in ("open", "high", "low", "close", "volume")
                )
    for i, symbol in enumerate(day.quality.symbols):
        found["quality", symbol] = tuple(
            int(getattr(day.quality, name)[i])
            for name in ("expected", "actual", "gaps", "missing", "duplicates", "out_of_order")
        )
    return found


def at(day: str, time: str) -> int:
    """An instant on NSE, ns UTC."""
    return int(pd.Timestamp(f"{day} {time}", tz="Asia/Kolkata").value)
