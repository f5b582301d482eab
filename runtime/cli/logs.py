"""Where log lines go when openbell is the process; embedded, that is the host's decision."""

from __future__ import annotations

import sys
from typing import Any

from loguru import logger


def log_to_stderr(level: str, *, as_json: bool) -> None:
    """Turn openbell's log on.

    Parameters
    ----------
    level : str
        The least severe level that is shown: DEBUG, INFO, WARNING or ERROR.
    as_json : bool
        One JSON object a line instead of text.
    """
    logger.remove()
    options: dict[str, Any] = {"level": level.upper(), "serialize": as_json}
    if not as_json:
        options["format"] = "{time:HH:mm:ss.SSS} {level: <7} {message}"
    logger.add(sys.stderr, **options)
    logger.enable("openbell")
