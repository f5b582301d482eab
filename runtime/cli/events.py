"""`openbell events`: what happened beside signals."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from openbell.errors import InputError, StoreError
from openbell.runtime.cli import completing
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import complain, listed, one_line

FOLLOW_SECONDS = 0.2
"""How often the store is asked for more."""


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
    from openbell.adapters.stores import Unavailable
    from openbell.runtime.results.events import read, wanted

    asked, of_day = after, given_day("--date", day)
    try:
        is_wanted = wanted(kind or None)
    except ValueError as error:
        raise InputError(f"--kind: {error}") from None
    with reading(config, store, name) as opened:
        times: Times | None = None
        away, headed = False, json
        try:
            while True:
                try:
                    if times is None:
                        times = times_of(opened, utc=utc)
                    for event in read(opened, after):
                        after = event.cursor
                        if not is_wanted(event) or of_day not in (None, event.trading_date):
                            continue
                        fields = event.as_dict()
                        if json:
                            print(one_line(fields))
                            continue
                        if not headed:
                            print(f"{times.header}  {'kind':<18} {'day':<10} what")
                            headed = True
                        clock = "market_time" if event.trading_date else "wall_time"
                        at = times.cell(fields[clock] or fields["wall_time"])
                        named = [*filter(None, [event.session]), *event.symbols]
                        about = f"{listed(named)}: " if named else ""
                        print(
                            f"{at}  {event.kind:<18} {fields['trading_date'] or '':<10} "
                            f"{about}{event.why}"
                        )
                    away = False
                except Unavailable as error:
                    if not follow:
                        raise
                    if not away:
                        complain(f"{error}; asking again until it answers")
                    away = True
                if not follow:
                    return
                sys.stdout.flush()
                time.sleep(FOLLOW_SECONDS)
        except ValueError as error:
            if after != asked:
                raise StoreError(
                    f"the events have no {after} any more: their state was deleted or begun anew; "
                    "start again to have them from their beginning"
                ) from None
            raise InputError(f"--after {after}: {error}") from None
