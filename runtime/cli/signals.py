"""`openbell signals`: the signal log."""

from __future__ import annotations

import difflib
import sys
import time
from typing import Annotated, Any

import typer

from openbell.errors import InputError, StoreError
from openbell.market.kinds import KINDS
from openbell.runtime.cli import completing
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading, refuse_unknown
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import complain, one_line


def signals(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    symbol: Annotated[
        str | None, typer.Option(help="One symbol.", autocompletion=completing.symbols)
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="One session.", autocompletion=completing.sessions)
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these: breakout, closed_beyond, retest; may be repeated.",
            metavar="KIND",
            autocompletion=completing.signal_kinds,
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option(help="Go on after this cursor.", metavar="CURSOR")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more.")] = False,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Print the signal log: every signal once, in its order."""
    import orjson

    from openbell.adapters.stores import Unavailable

    for of_kind in kind or ():
        if of_kind not in KINDS:
            near = difflib.get_close_matches(of_kind, KINDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"write {', '.join(KINDS)}"
            raise InputError(f'--kind: "{of_kind}" is no kind of signals; {hint}')
    asked = after
    filters: dict[str, Any] = {
        "trading_date": given_day("--date", day),
        "symbol": symbol,
        "session": session,
    }
    with reading(config, store, name) as opened:
        times: Times | None = None
        away, headed = False, json
        try:
            while True:
                try:
                    if times is None:
                        refuse_unknown(opened, symbol=symbol, session=session)
                        times = times_of(opened, utc=utc)
                    for cursor, found in opened.signals(after, **filters):
                        after = cursor
                        fields = orjson.loads(found.body)
                        of_kind = fields.get("kind", "breakout")  # of before, all are
                        if kind and of_kind not in kind:
                            continue
                        if json:
                            print(one_line({**fields, "cursor": cursor}))
                        else:
                            if not headed:
                                print(
                                    f"{times.header}  {'symbol':<12} {'side':<10} {'price':>12}  "
                                    "session at level"
                                )
                                headed = True
                            print(
                                f"{times.cell(fields['ts'])}  {fields['symbol']:<12} "
                                f"{fields['side']:<10} "
                                f"{fields['price']:>12}  {fields['session']} at {fields['level']}"
                                f"{_followed(of_kind)}"
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
                time.sleep(0.2)
        except ValueError as error:
            if after != asked:
                raise StoreError(
                    f"the signal log has no {after} any more: its state was deleted or begun anew; "
                    "start again to have it from its beginning"
                ) from None
            raise InputError(f"--after {after}: {error}") from None


def _followed(kind: str) -> str:
    """Of what is no breakout, which kind it is."""
    return "" if kind == "breakout" else f", {kind}"
