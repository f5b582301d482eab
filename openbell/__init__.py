"""openbell watches markets by the clock and reports each breakout exactly once.

`backtest` runs named windows of the trading day over stored data and returns Arrow tables; a
`Runtime` gives signals as they are found, and its state survives the process. Both take a
configuration: a path, a mapping or a `Config`, with `overrides` on top.

    import openbell

    result = openbell.backtest("config.yaml", "minutes/", overrides={"breakout.sides": "high"})
    print(result.signals.to_pandas())

    with openbell.Runtime.from_config("config.yaml") as runtime:
        for signal in runtime.signals():
            print(signal.known_at, signal.symbol, signal.session, signal.side, signal.price)

- `backtest`: a whole backtest in one call; gives a `Result`, whose tables are Arrow's
- `Runtime`: a run in this process: signals as they are found, rows that are pushed, pause, status
- `Signal`: a reported breakout; its `cursor` is where to go on after it
- `Event`: what else happened: states of days and sessions, silence of a feed, restarts
- `why`: why a symbol has the signals of a day, or none; gives an `Explanation`, which prints itself
- `consume`: signals, each acted on exactly once in your own database's transactions
- `load_config`: a `Config` from a file or a mapping; it holds the keys of docs/configuration.md

Errors are in `openbell.errors`; what helps to test a program of your own in `openbell.testing`.
Logging goes through loguru under the name `openbell` and is off until the host turns it on with
`loguru.logger.enable("openbell")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from openbell.runtime.api import Event, Runtime, Signal, backtest, why
    from openbell.runtime.config import Config, load_config
    from openbell.runtime.results.consuming import consume
    from openbell.runtime.results.explanation import Explanation
    from openbell.runtime.results.frames import Result

__version__ = "0.1.0"
__all__ = [
    "Config",
    "Event",
    "Explanation",
    "Result",
    "Runtime",
    "Signal",
    "backtest",
    "consume",
    "load_config",
    "why",
]

_CONFIGURATION = ("Config", "load_config")

logger.disable("openbell")


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line must answer `--help` before numpy has been imported.
    if name in _CONFIGURATION:
        from openbell.runtime import config

        return getattr(config, name)
    if name == "consume":
        from openbell.runtime.results import consuming

        return consuming.consume
    if name == "Explanation":
        from openbell.runtime.results import explanation

        return explanation.Explanation
    if name in __all__:
        from openbell.runtime import api

        return getattr(api, name)
    raise AttributeError(f"module 'openbell' has no attribute {name!r}")


def __dir__() -> list[str]:
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *__all__, "errors", "testing"})
