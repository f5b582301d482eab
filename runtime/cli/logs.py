"""Where log lines go when openbell is the process; embedded, that is the host's decision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING, Any

from loguru import logger

from openbell.hidden import conceal
from openbell.runtime.cli import words

if TYPE_CHECKING:
    from loguru import Message, Record

FORMAT = "{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <7} {extra[where]}{message}\n{exception}"

Reached = Callable[[], tuple[str | None, int]]
"""The trading day that a run is in, and its step."""


class Lines:
    """Lines of text; once there is a run they name it, its trading day and its step."""

    def __init__(self) -> None:
        self.run: str | None = None
        """The run's `name:`."""
        self.reached: Reached | None = None
        self.level: str | None = None
        """The least severe level that is shown."""

    def where(self) -> tuple[str | None, int | None]:
        """Where the run is: what a line is about that names no day of its own."""
        return self.reached() if self.reached is not None else (None, None)

    def show(self, level: str) -> None:
        """Show lines of a level, and what is more severe, from here on."""
        self.level = level
        logger.remove()
        self._add(level.upper())
        logger.enable("openbell")

    def _add(self, level: str) -> None:
        # What variables hold may be secret, and is cut short where it is shown.
        logger.add(_write, level=level, format=self._format, diagnose=False, backtrace=False)

    def _format(self, record: Record) -> str:
        about = record["extra"]
        day, step = (about["day"], about["step"]) if "day" in about else self.where()
        named = [str(of) for of in (self.run, day, None if step is None else f"#{step}") if of]
        about["where"] = f"[{' '.join(named)}] " if named else ""
        return FORMAT


def _write(message: str) -> None:
    sys.stderr.write(conceal(message))
    sys.stderr.flush()


class JsonLines(Lines):
    """One JSON object a line, of a few fields: time, level, message, run, day, step."""

    def __call__(self, message: Message) -> None:
        record = message.record
        text = record["message"]
        if (raised := record["exception"]) is not None:
            text = f"{text}: {raised.value!r}"
        at = f"{record['time'].astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        about = record["extra"]
        where = (about["day"], about["step"]) if "day" in about else self.where()
        self.put(record["level"].name, text, at, *where)

    def _add(self, level: str) -> None:
        logger.add(self, level=level, format="{message}", diagnose=False, backtrace=False)

    def complain(self, text: str) -> None:
        from openbell.runtime.record.writing import wall_time

        for line in text.splitlines():
            self.put("WARNING", line, wall_time(), *self.where())

    def put(self, level: str, text: str, at: str, day: str | None, step: int | None) -> None:
        fields: dict[str, Any] = {"time": at, "level": level, "message": conceal(text)}
        where = {"run": self.run, "day": day, "step": step}
        print(words.one_line({**fields, **where}), file=sys.stderr, flush=True)


def log_to_stderr(level: str, *, as_json: bool) -> Lines:
    """Turn openbell's log on.

    Parameters
    ----------
    level : str
        The least severe level that is shown: DEBUG, INFO, WARNING or ERROR.
    as_json : bool
        One JSON object a line instead of text: of all that goes to stderr from here on.

    Returns
    -------
    Who writes the lines; it can be told which run it is.
    """
    lines = JsonLines() if as_json else Lines()
    lines.show(level)
    if isinstance(lines, JsonLines):
        words.complaints.append(lines.complain)
    return lines
