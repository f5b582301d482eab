"""`openbell audit`: what happened, in its order."""

from __future__ import annotations

from typing import Annotated

import typer

from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading
from openbell.runtime.cli.times import Utc, times_of
from openbell.runtime.cli.words import one_line


def audit(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    after: Annotated[
        int, typer.Option(min=0, help="Go on after this position.", metavar="POSITION")
    ] = 0,
    day: Day = None,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Print the audit trail: every transition, and what happened to the process."""
    import orjson

    asked = given_day("--date", day)
    with reading(config, store, name) as opened:
        times, headed = times_of(opened, utc=utc), json
        for position, entry in opened.audit(after):
            fields = orjson.loads(entry)
            if asked is not None and fields.get("trading_date") != str(asked):
                continue
            if not headed:
                print(f"{times.header}  {'what':<9} {'day':<10} change")
                headed = True
            if json:
                print(one_line({"position": position, **fields}))
            else:
                change = f"{fields.get('from') or ''} → {fields.get('to') or ''}".strip(" →")
                print(
                    f"{times.cell(fields['wall_time'])}  {fields.get('kind') or fields['what']:<9} "
                    f"{fields.get('trading_date') or '':<10} "
                    f"{change}  {fields.get('session_name') or ''}"
                    f"{': ' if 'session_name' in fields else ''}{fields.get('why') or ''}"
                )
