"""openbell watches markets by the clock and reports each breakout exactly once.

Logging goes through loguru under the name `openbell` and is off until the host turns it on with
`loguru.logger.enable("openbell")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    from openbell.runtime.api import Result, Runtime, Signal, backtest

__version__ = "0.1.0"
__all__ = ["Result", "Runtime", "Signal", "backtest"]

logger.disable("openbell")


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line must answer `--help` before numpy has been imported.
    if name in __all__:
        from openbell.runtime import api

        return getattr(api, name)
    raise AttributeError(f"module 'openbell' has no attribute {name!r}")
