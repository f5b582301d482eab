"""Where log lines go when openbell is the process; embedded, that is the host's decision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from loguru import logger

from openbell.runtime.cli import words

if TYPE_CHECKING:
    from loguru import Message

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {message}"

Reached = Callable[[], tuple[str | None, int]]
"""The trading day that a run is in, and its step."""


class JsonLines:
    """One JSON object a line, of a few fields: time, level, message, run, day, step."""

    def __init__(self) -> None:
        self.run: str | None = None
        """The run's `name:`."""
        self.reached: Reached | None = None

    def __call__(self, message: Message) -> None:
        record = message.record
        text = record["message"]
        if (raised := record["exception"]) is not None:
            text = f"{text}: {raised.value!r}"
        at = f"{record['time'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        about = record["extra"]
        where = (about["day"], about["step"]) if "day" in about else self._where()
        self.put(record["level"].name, text, at, *where)

    def complain(self, text: str) -> None:
        from openbell.runtime.record.writing import wall_time

        for line in text.splitlines():
            self.put("WARNING", line, wall_time(), *self._where())

    def _where(self) -> tuple[str | None, int | None]:
        """Where the run is: what a line is about that names no day of its own."""
        return self.reached() if self.reached is not None else (None, None)

    def put(self, level: str, text: str, at: str, day: str | None, step: int | None) -> None:
        fields: dict[str, Any] = {"time": at, "level": level, "message": text}
        where = {"run": self.run, "day": day, "step": step}
        print(words.one_line({**fields, **where}), file=sys.stderr, flush=True)


def log_to_stderr(level: str, *, as_json: bool) -> JsonLines | None:
    """Turn openbell's log on.

    Parameters
    ----------
    level : str
        The least severe level that is shown: DEBUG, INFO, WARNING or ERROR.
    as_json : bool
        One JSON object a line instead of text: of all that goes to stderr from here on.

    Returns
    -------
    Who writes the JSON; it can be told which run it is.
    """
    logger.remove()
    lines = JsonLines() if as_json else None
    if lines is None:
        logger.add(sys.stderr, level=level.upper(), format=FORMAT)
    else:
        logger.add(lines, level=level.upper(), format="{message}")
        words.complaints.append(lines.complain)
    logger.enable("openbell")
    return lines
