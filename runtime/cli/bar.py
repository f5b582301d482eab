"""A progress bar on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


@contextmanager
def progress_bar(unit: str, waits: Callable[[], str] = lambda: "") -> Iterator[Advance]:
    """A bar on stderr; `waits` is asked at each drawing what else there is to say."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        _Waits(waits),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        yield Advance(bar)


class Advance:
    """Moves a bar on: takes (date, days over, days in all, rows so far)."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        # Time counts from when the number of days is known: what comes before says nothing of it.
        self._task = bar.add_task("reading", total=None, start=False, note="")

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None:
        self._bar.start_task(self._task)
        description = str(day or "")
        self._bar.update(
            self._task, description=description, completed=done, total=total, rows=rows
        )

    def before(self, what: str) -> None:
        """What stands in the place of a day until there is one."""
        self._bar.update(self._task, description=what)

    def note(self, text: str) -> None:
        """Say something at the bar's end."""
        self._bar.update(self._task, note=text)


class _Waits(ProgressColumn):
    def __init__(self, waits: Callable[[], str]) -> None:
        super().__init__()
        self._waits = waits

    def render(self, task: Task) -> Text:
        return Text(self._waits(), overflow="ellipsis", no_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rows, seconds = task.fields.get("rows", 0), task.elapsed or 0
        return Text(f"{rows / seconds:,.0f} rows/s" if rows and seconds else "")
