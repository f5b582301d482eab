"""`openbell signals`: the signal log."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError
from openbell.market.kinds import KINDS
from openbell.runtime.cli import completing
from openbell.runtime.cli.following import Lines, print_log
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading, refuse_unknown
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import one_line

if TYPE_CHECKING:
    from openbell.adapters.stores import StoredSignal


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
    for of_kind in kind or ():
        if of_kind not in KINDS:
            near = difflib.get_close_matches(of_kind, KINDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"write {', '.join(KINDS)}"
            raise InputError(f'--kind: "{of_kind}" is no kind of signals; {hint}')
    filters: dict[str, Any] = {
        "trading_date": given_day("--date", day),
        "symbol": symbol,
        "session": session,
    }
    with reading(config, store, name) as opened:

        def begin() -> Lines[StoredSignal]:
            refuse_unknown(opened, symbol=symbol, session=session)
            return _lines(times_of(opened, utc=utc), kind or KINDS, as_json=json)

        print_log(
            "signals",
            begin,
            lambda cursor: opened.signals(cursor, **filters),
            after,
            follow=follow,
        )


def _lines(times: Times, kinds: Sequence[str], *, as_json: bool) -> Lines[StoredSignal]:
    import orjson

    def line(cursor: str, found: StoredSignal) -> str | None:
        fields = orjson.loads(found.body)
        kind = fields.get("kind", "breakout")  # of before, all are
        if kind not in kinds:
            return None
        if as_json:
            return one_line({**fields, "cursor": cursor})
        return (
            f"{times.cell(fields['ts'])}  {fields['symbol']:<12} {fields['side']:<10} "
            f"{fields['price']:>12}  {fields['session']} at {fields['level']}"
            f"{'' if kind == 'breakout' else f', {kind}'}"
        )

    header = f"{times.header}  {'symbol':<12} {'side':<10} {'price':>12}  session at level"
    return Lines(None if as_json else header, line)
