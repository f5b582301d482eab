"""`openbell snapshots`: what is kept of the actors."""

from __future__ import annotations

from typing import Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl, example, settable
from openbell.runtime.cli.stored import either, reading
from openbell.runtime.cli.times import Utc, times_of
from openbell.runtime.cli.words import one_line

snapshots_app = typer.Typer(
    help="List snapshots, or show one.",
    invoke_without_command=True,
    epilog=example("openbell snapshots --config config.yaml"),
)


@snapshots_app.callback()
@settable
def snapshots(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """List the snapshots, newest first."""
    from openbell.runtime.record.writing import market_time

    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    with reading(config, store, name) as opened:
        times, headed = times_of(opened, utc=utc), json
        for epoch in opened.epochs():
            if not headed:
                print(f"{'epoch':>7}  {'step':>7}  {times.header}  {'bytes':>12}  state")
                headed = True
            found = {
                "epoch": epoch.epoch,
                "step": epoch.step,
                "trading_date": str(epoch.trading_date),
                "market_time": market_time(epoch.market_ns),
                "size": epoch.size,
                "state": epoch.problem or "ok",
            }
            if json:
                print(one_line(found))
            else:
                print(
                    f"{epoch.epoch:>7}  {epoch.step:>7}  {times.cell(market_time(epoch.market_ns))}  "
                    f"{epoch.size:>12,}  {found['state']}"
                )


@snapshots_app.command(
    "show", epilog=example("openbell snapshots show 12 --actor day --config config.yaml")
)
@settable
def snapshots_show(
    context: typer.Context,
    epoch: Annotated[int, typer.Argument(help="Its number.", metavar="EPOCH")],
    actor: Annotated[str | None, typer.Option(help="One actor's state.")] = None,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Print one snapshot in words."""
    from openbell.runtime.record.codec import decode
    from openbell.runtime.record.words import in_words

    with reading(*either(context, config, store, name)) as opened:
        known = [str(found.epoch) for found in opened.epochs()]
        if str(epoch) not in known:
            raise InputError(f"no snapshot {epoch}; there are {', '.join(known) or 'none'}")
        states = opened.states(epoch)
        if actor is not None and actor not in states:
            raise InputError(f"no actor {actor!r}; there are {', '.join(states)}")
        for held, data in states.items():
            if actor is None or held == actor:
                print(f"{held}:")
                for line in in_words(decode(data)):
                    print(f"  {line}")
