"""`openbell symbols`: which symbols a run watches; add some, or remove some, while it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli.exits import EXIT_FAILURE
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl, example, settable
from openbell.runtime.cli.stored import either, opened_store, reading
from openbell.runtime.cli.words import complain, counted, one_line

if TYPE_CHECKING:
    from openbell.adapters.stores import Store
    from openbell.runtime.lifetime.asks import What

symbols_app = typer.Typer(
    help="Say which symbols are watched; add or remove some while the run goes on.",
    invoke_without_command=True,
    epilog=example("openbell symbols --config config.yaml"),
)

Names = Annotated[list[str], typer.Argument(help="Symbols.", metavar="SYMBOL…")]
Wait = Annotated[
    float, typer.Option(help="How long to wait for the answer.", metavar="SECONDS", min=0.0)
]

WAIT_SECONDS = 45.0


@symbols_app.callback()
@settable
def symbols(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say which symbols are watched."""
    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    _list(config, store, name, json=json)


@symbols_app.command("list", epilog=example("openbell symbols list --config config.yaml"))
@settable
def symbols_list(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say which symbols are watched, and which of them were added or removed."""
    _list(*either(context, config, store, name), json=json)


@symbols_app.command("add", epilog=example("openbell symbols add RELIANCE --config config.yaml"))
@settable
def symbols_add(
    context: typer.Context,
    names: Names,
    wait: Wait = WAIT_SECONDS,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Watch further symbols from now on, as if they had been there from the day's open."""
    _ask("add", names, wait, either(context, config, store, name))


@symbols_app.command(
    "remove", epilog=example("openbell symbols remove RELIANCE --config config.yaml")
)
@settable
def symbols_remove(
    context: typer.Context,
    names: Names,
    wait: Wait = WAIT_SECONDS,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Watch some symbols no more; what was reported of them stays."""
    _ask("remove", names, wait, either(context, config, store, name))


def _list(config: Any, store: Any, name: Any, *, json: bool) -> None:
    from openbell.runtime.lifetime.asks import waiting
    from openbell.runtime.lifetime.watched import watched_by

    with reading(config, store, name) as opened:
        found, asked = watched_by(opened), waiting(opened)
        until = _until(opened) if asked else ""
    if json:
        for of in (*found, *asked):
            print(one_line(of))
        return
    if not found:
        print("Nothing was ever run here")
    for of in found:
        since = f" from {of['since']} on" if of["since"] else ""
        print(f"{of['symbol']:<20} {of['how']}{since}")
    for of in asked:
        print(f"{of['symbol']:<20} {of['how']}, asked at {of['asked_at']}: {until}")


def _until(opened: Store) -> str:
    """What it takes until what is asked for is done."""
    lease = opened.lease()
    if lease is None or lease.dead:
        return "no run is up, the next one does it"
    if held := _held(opened):
        return f"the run is paused by {', '.join(held)}"
    return "the run is at it"


def _ask(what: What, names: list[str], wait: float, given: tuple[Any, Any, Any]) -> None:
    from openbell.hosttime import wall_ns
    from openbell.runtime.lifetime.asks import answer_of, ask

    symbols = tuple(dict.fromkeys(name.strip() for name in names))
    if not all(symbols):
        raise InputError('a symbol is ""; name each as the data does')
    request = f"operator-{wall_ns()}"
    with opened_store(*given) as opened:
        ask(opened, request, what, symbols)
        lease = opened.lease()
        if lease is None or lease.dead:
            print("No run is up; the next one does it")
            return
        until = time.monotonic() + wait
        while (answer := answer_of(opened, request)) is None:
            if time.monotonic() >= until:
                complain(_not_yet(opened, wait))
                return
            time.sleep(0.1)
    if not answer.done:
        complain(answer.why)
        raise typer.Exit(EXIT_FAILURE)
    print(answer.why)


def _not_yet(opened: Store, wait: float) -> str:
    held = _held(opened)
    why = f"; the run is paused by {', '.join(held)}" if held else ""
    return (
        f"no answer within {counted(round(wait), 'second')}{why}; the run does it when it can, "
        "`openbell symbols` tells"
    )


def _held(opened: Store) -> list[str]:
    """Who holds the clock, but for symbols that are loaded."""
    from openbell.runtime.cli.stored import paused_by

    ours = ("insert:", "remove:")
    return [token for token in paused_by(opened) if not token.startswith(ours)]
