"""`openbell events`: what happened beside signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing
from openbell.runtime.cli.following import Lines, print_log
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import listed, one_line

if TYPE_CHECKING:
    from openbell.runtime.results.events import Event


def events(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these: day.error, or day for all of them; may be repeated.",
            metavar="KIND",
            autocompletion=completing.kinds,
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="Go on after this cursor.", metavar="CURSOR")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more.")] = False,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Print what happened beside signals: states, silence, restarts; each event once."""
    from openbell.runtime.results.events import read, wanted

    of_day = given_day("--date", day)
    try:
        is_wanted = wanted(kind or None)
    except ValueError as error:
        raise InputError(f"--kind: {error}") from None
    with reading(config, store, name) as opened:

        def begin() -> Lines[Event]:
            times = times_of(opened, utc=utc)

            def line(_: str, event: Event) -> str | None:
                if not is_wanted(event) or of_day not in (None, event.trading_date):
                    return None
                return one_line(event.as_dict()) if json else _line(times, event)

            return Lines(None if json else f"{times.header}  {'kind':<18} {'day':<10} what", line)

        print_log(
            "events",
            begin,
            lambda cursor: ((event.cursor, event) for event in read(opened, cursor)),
            after,
            follow=follow,
        )


def _line(times: Times, event: Event) -> str:
    fields = event.as_dict()
    clock = "market_time" if event.trading_date else "wall_time"
    at = times.cell(fields[clock] or fields["wall_time"])
    named = [*filter(None, [event.session]), *event.symbols]
    about = f"{listed(named)}: " if named else ""
    return f"{at}  {event.kind:<18} {fields['trading_date'] or '':<10} {about}{event.why}"
