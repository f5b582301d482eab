"""`openbell state`: where state lives, and its end."""

from __future__ import annotations

from typing import Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl, example, settable
from openbell.runtime.cli.stored import either, name_of, nothing_run, opened_store, reading
from openbell.runtime.cli.words import complain, one_line

state_app = typer.Typer(
    help="Say where state lives, or delete it.",
    invoke_without_command=True,
    epilog=example("openbell state --config config.yaml"),
)


@state_app.callback()
@settable
def state(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say where state lives, its version and its size."""
    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    with reading(config, store, name) as opened:
        usage = opened.usage()
        if json:
            found = {
                "location": usage.location,
                "schema": usage.schema,
                "bytes": usage.bytes,
                **usage.counts,
            }
            print(one_line(found))
            return
        print(f"{usage.location}, schema {usage.schema}, {usage.bytes:,} bytes")
        for key, count in usage.counts.items():
            print(f"{count:>10,} {key}")


@state_app.command("delete", epilog=example("openbell state delete --yes --config config.yaml"))
@settable
def state_delete(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Remove this name's state, and nothing else."""
    from openbell.adapters.stores import Corrupt

    given = either(context, config, store, name)
    with opened_store(*given) as opened:
        where = f'the state of "{name_of(*given)}" in {opened.location}'
        if not yes:
            raise InputError(f"this removes {where}; pass --yes to do it")
        try:
            there = opened.head().commit > 0
        except Corrupt:  # this is what one is told to do then
            there = True
        opened.delete()
        if there:
            print(f"Removed {where}")
        else:
            complain(nothing_run(name_of(*given), opened))
