"""A run without sessions, for who only wants what its feed brings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from openbell.runtime.config import Config
from openbell.runtime.config.model import (
    HistoryConfig,
    SessionConfig,
    StoreConfig,
    UpkeepConfig,
)
from openbell.runtime.lifetime.eras import Era
from openbell.runtime.lifetime.run import DurableRun

STATE = ".openbell.db"
"""The file in the folder of the recordings that has how far they have come."""

KEEP_DAYS = 2
"""Of state: what was recorded is in the recordings."""

ANY_SESSION = [{"name": "Day", "start": "open", "end": "close", "closed": "left"}]
"""Stands for the sessions of a configuration, which may have none where nobody asks for them."""


def for_recording_only(config: Config, folder: Path) -> Config:
    """A configuration with nothing to be found in the rows that come, and its state in a folder."""
    history = config.history.model_copy(
        update={"data": HistoryConfig().data, "indicators": {}, "enable_quality": False}
    )
    return config.model_copy(
        update={
            "sessions": tuple[SessionConfig, ...](),
            "upkeep": UpkeepConfig(enabled=False),
            "history": history,
            "scanners": (),
            "sinks": (),
            "store": StoreConfig(url=f"sqlite:///{folder / STATE}", keep_days=KEEP_DAYS),
            "feed": config.feed.model_copy(update={"record": folder}),
        }
    )


class RecordingRun(DurableRun):
    """Its configuration has no sessions, and can't be made of what the state has of it."""

    def _config_of(self, eras: Sequence[Era], day: date) -> Config:
        return self.config
