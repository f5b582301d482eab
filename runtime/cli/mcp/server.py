"""Tools and resources over stdio. Nothing but the protocol goes to stdout."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import mcp.server.mcpserver
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from openbell import __version__
from openbell.errors import OpenbellError
from openbell.hidden import conceal
from openbell.runtime.cli import words
from openbell.runtime.cli.mcp.answers import TABLES, Answers
from openbell.runtime.cli.mcp.bounds import ROWS_MAX, shortened

INSTRUCTIONS = """\
What a run of openbell has to tell: sessions (named windows of the trading day), the levels (high \
and low) of each symbol there, and signals (prices that broke a level). All of it is read, and \
nothing can be changed. Instants are UTC unless a zone is named. Long answers are cut and say so: \
go on with `next_offset` or `cursor`, or ask for one date, session or symbol."""

READS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

Day = Annotated[str | None, Field(description="A trading day, YYYY-MM-DD.", max_length=10)]
NewestDay = Annotated[
    str | None,
    Field(description="A trading day, YYYY-MM-DD; the newest if not given.", max_length=10),
]
Session = Annotated[str | None, Field(description="One session, by its name.", max_length=200)]
Symbol = Annotated[str | None, Field(description="One symbol.", max_length=200)]
Cursor = Annotated[
    str | None,
    Field(description="Go on after this cursor, which an answer gave.", max_length=200),
]
Limit = Annotated[int, Field(description="So many rows at most.", ge=1, le=ROWS_MAX)]
Offset = Annotated[int, Field(description="Leave out so many rows.", ge=0, le=10_000_000)]


def serve(file: Path) -> None:
    """Answer until stdin ends.

    Parameters
    ----------
    file : Path
        The configuration, read anew for each answer.
    """
    server(file).run("stdio")


def server(file: Path) -> mcp.server.mcpserver.MCPServer:
    """Who answers about the run of a configuration."""
    made = mcp.server.mcpserver.MCPServer(
        "openbell",
        version=__version__,
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        subscriptions=False,
    )
    answers, one_at_a_time = Answers(file), threading.Lock()

    def ask(answer: Callable[[], str], failure: type[Exception] = ToolError) -> str:
        said: list[str] = []
        with one_at_a_time:
            words.complaints.append(said.append)
            try:
                text = answer()
            except OpenbellError as error:
                raise failure(shortened(conceal(str(error)))) from None
            except Exception as error:  # noqa: BLE001 the client is told, and others may ask
                print(conceal(traceback.format_exc()), file=sys.stderr, end="", flush=True)
                raise failure(
                    f"{type(error).__name__}, which nobody saw coming; stderr of openbell mcp has it"
                ) from None
            finally:
                words.complaints.pop()
        return conceal("\n".join([text, *said]))

    def tool(name: str, about: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
        return made.tool(name=name, description=about, annotations=READS, structured_output=False)

    @tool("status", "How far the run has come, whether a process is at it, silent symbols, sinks.")
    def status() -> str:
        return ask(answers.status)

    @tool("sessions", "What has become of each session of a trading day, and its signals' count.")
    def sessions(date: NewestDay = None, offset: Offset = 0, limit: Limit = 100) -> str:
        return ask(lambda: answers.sessions(date, offset, limit))

    @tool("levels", "High and low of each session and symbol of a trading day.")
    def levels(
        date: NewestDay = None,
        session: Session = None,
        symbol: Symbol = None,
        offset: Offset = 0,
        limit: Limit = 100,
    ) -> str:
        return ask(lambda: answers.levels(date, session, symbol, offset, limit))

    @tool("signals", "The signal log in its order, each once; `cursor` goes on where this ended.")
    def signals(
        after: Cursor = None,
        date: Day = None,
        session: Session = None,
        symbol: Symbol = None,
        limit: Limit = 50,
    ) -> str:
        return ask(lambda: answers.signals(after, date, session, symbol, limit))

    @tool("events", "What happened beside signals: states of days, silence, gaps, restarts, sinks.")
    def events(
        after: Cursor = None,
        date: Day = None,
        kinds: Annotated[
            list[str] | None,
            Field(description="Only these: day.error, or day for all of them.", max_length=50),
        ] = None,
        limit: Limit = 50,
    ) -> str:
        return ask(lambda: answers.events(after, date, kinds or [], limit))

    @tool(
        "why",
        "Why a symbol has the signals of a day, or none: how levels were made, which rule refused "
        "what, the nearest miss. Give a symbol and a date, or a signal's id alone.",
    )
    def why(
        symbol_or_id: Annotated[str, Field(description="A symbol, or an id.", max_length=500)],
        date: Day = None,
        session: Session = None,
    ) -> str:
        return ask(lambda: answers.why(symbol_or_id, date, session))

    @tool("quality", "How many of a day's minutes each symbol has a row of; the worst first.")
    def quality(
        date: NewestDay = None, symbol: Symbol = None, offset: Offset = 0, limit: Limit = 50
    ) -> str:
        return ask(lambda: answers.quality(date, symbol, offset, limit))

    @tool("calendar", "The exchange's hours of each date of a range, and why they are so.")
    def calendar(
        first: Annotated[str | None, Field(description="First date; today if not given.")] = None,
        last: Annotated[str | None, Field(description="Last date; the first if not given.")] = None,
    ) -> str:
        return ask(lambda: answers.calendar(first, last))

    @tool("config_check", "Whether a run takes the configuration, and what each of its keys does.")
    def config_check() -> str:
        return ask(answers.config_check)

    @made.resource("openbell://status", mime_type="application/json")
    def status_now() -> str:
        """How far the run has come, as the tool status tells it."""
        return ask(answers.status, ResourceError)

    for what in TABLES:
        named, whole = _readers(answers, ask, what)
        made.resource(
            f"openbell://{what}/newest",
            name=f"{what}-newest",
            description=f"The {what} of the newest trading day that was run, as CSV.",
            mime_type="text/csv",
        )(whole)
        made.resource(
            f"openbell://{what}/{{date}}",
            name=f"{what}-of-a-day",
            description=f"The {what} of a trading day, YYYY-MM-DD, as CSV.",
            mime_type="text/csv",
        )(named)
    return made


def _readers(
    answers: Answers, ask: Callable[[Callable[[], str], type[Exception]], str], what: str
) -> tuple[Callable[[str], str], Callable[[], str]]:
    """Who gives a table of a day, and of the newest."""

    def of_day(date: str) -> str:
        return ask(lambda: answers.table(what, date), ResourceError)

    def newest() -> str:
        return ask(lambda: answers.table(what, None), ResourceError)

    return of_day, newest
