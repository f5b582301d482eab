"""`openbell sinks`: where signals are sent, how far that has come, and what to do about it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing
from openbell.runtime.cli.exits import EXIT_FAILURE
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl, example, settable
from openbell.runtime.cli.stored import either, opened_store, reading
from openbell.runtime.cli.words import complain, counted, listed, one_line

if TYPE_CHECKING:
    from openbell.adapters.stores import Store
    from openbell.runtime.delivery.positions import Ask, Position, Wish

ANSWER_SECONDS = 5.0
"""How long is waited for a run that is up to do what it is asked."""

SHOWN = 10

sinks_app = typer.Typer(
    help="Say how sinks fare; try again, or skip.",
    invoke_without_command=True,
    epilog=example("openbell sinks --config config.yaml"),
)

SinkName = Annotated[
    str, typer.Argument(help="The sink's name.", metavar="NAME", autocompletion=completing.sinks)
]


@sinks_app.callback()
@settable
def sinks(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say how far each sink has come, and what it can't deliver."""
    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    from openbell.runtime.delivery.positions import statuses

    with reading(config, store, name) as opened:
        found = statuses(opened)
    if json:
        for status in found:
            print(one_line(status))
        return
    if not found:
        print("No run has had sinks here")
    for status in found:
        print(in_a_line(status))


def in_a_line(status: dict[str, Any]) -> str:
    """How a sink fares, for people."""
    parts = [f"{status['name']}: {status['state']}"]
    if status["waits"]:
        waits = status["waits"]
        parts.append(f"{counted(waits, 'signal')} wait{'' if waits > 1 else 's'}")
    parts.append(f"{status['delivered']:,} delivered")
    if status["events_delivered"]:
        parts.append(counted(status["events_delivered"], "event"))
    for key, word in (("skipped", "skipped"), ("too_old", "too old")):
        if status[key]:
            parts.append(f"{status[key]:,} {word}")
    if status["dead_letters"]:
        parts.append(counted(status["dead_letters"], "dead letter"))
    if status["error"] is not None:
        since = f" since {status['failing_since']}" if status["failing_since"] else ""
        parts.append(f"{counted(status['tries'], 'failure')}{since}: {status['error']}")
    return ", ".join(parts)


@sinks_app.command("test", epilog=example("openbell sinks test phone --config config.yaml"))
@settable
def sinks_test(
    context: typer.Context,
    sink: SinkName,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Send a made-up signal, marked as a test, to a sink, without a run."""
    from openbell.adapters.deliveries import Failed
    from openbell.adapters.deliveries.templates import test_message
    from openbell.runtime.cli.configured import configuration_file, naming, stored_configuration
    from openbell.runtime.config.sinks import opened_sink

    file, _, _ = either(context, config, store, name)
    made = stored_configuration(file)
    called = [of.called for of in made.sinks]
    if sink not in called:
        raise InputError(f'no sink is called "{sink}"; there are {listed(called) or "none"}')
    with naming(configuration_file(file)):
        opened = opened_sink(made, called.index(sink))
    try:
        opened.deliver([test_message()])
    except Failed as error:
        complain(f"{sink}: {error}")
        raise typer.Exit(EXIT_FAILURE) from None
    finally:
        opened.close()
    complain(f"{sink}: the test was taken")


@sinks_app.command("inspect", epilog=example("openbell sinks inspect phone --config config.yaml"))
@settable
def sinks_inspect(
    context: typer.Context,
    sink: SinkName,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Show what waits for a sink, the first signals of it, and its dead letters."""
    import orjson

    from openbell.runtime.delivery.positions import ask_of, dead_letters, status_of

    with reading(*either(context, config, store, name)) as opened:
        position = _known(opened, sink)
        status = status_of(sink, position, opened.head().signals)
        waiting = [signal for _, signal in opened.signals(position.cursor, limit=SHOWN)]
        waiting = waiting if position.takes_signals else []
        letters = list(dead_letters(opened, sink).values())
        ask = ask_of(opened, sink)
    if json:
        more: dict[str, Any] = {
            "waiting": [orjson.loads(signal.body) for signal in waiting],
            "dead": [{"id": of.id, "why": of.why, "at": of.wall_time} for of in letters],
            "asked": ask.what if ask is not None else None,
        }
        print(one_line({**status, **more}))
        return
    print(in_a_line(status))
    if status["next_try_at"] is not None:
        print(f"next try at {status['next_try_at']}")
    if ask is not None:
        print(f"asked at {ask.wall_time}: {ask.what}")
    for signal in waiting:
        print(f"waits  {signal.id}")
    for letter in letters:
        print(f"dead   {letter.id}: {letter.why}")


@sinks_app.command("retry", epilog=example("openbell sinks retry phone --config config.yaml"))
@settable
def sinks_retry(
    context: typer.Context,
    sink: SinkName,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Try at once what a sink could not deliver, its dead letters first."""
    _wish("retry", context, sink, (config, store, name))


@sinks_app.command("flush", epilog=example("openbell sinks flush phone --config config.yaml"))
@settable
def sinks_flush(
    context: typer.Context,
    sink: SinkName,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Deliver what waits for a sink now, without waiting for more to come."""
    _wish("flush", context, sink, (config, store, name))


@sinks_app.command(
    "skip", epilog=example('openbell sinks skip phone --cause "old news" --config config.yaml')
)
@settable
def sinks_skip(
    context: typer.Context,
    sink: SinkName,
    cause: Annotated[str, typer.Option(help="Why; the audit trail keeps it.", metavar="TEXT")],
    id: Annotated[
        str | None, typer.Option("--id", help="A dead letter, or the signal that waits first.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that waits.")] = False,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Give up the signal that a sink can't deliver, so that the next one is sent."""
    if not cause.strip():
        raise InputError('--cause is ""; say why the signal is skipped')
    if id is not None and all_:
        raise InputError("--id and --all: pass one of them")
    given = (config, store, name)
    _wish("skip", context, sink, given, cause=cause.strip(), id=id, all_waiting=all_)


def _wish(
    what: Wish,
    context: typer.Context,
    sink: str,
    given: tuple[Any, Any, Any],
    *,
    cause: str = "",
    id: str | None = None,
    all_waiting: bool = False,
) -> None:
    from openbell.runtime.cli.configured import stored_configuration
    from openbell.runtime.delivery.lines import end_of_signals, last_event
    from openbell.runtime.delivery.positions import Ask, asked, encoded, status_of
    from openbell.runtime.record.writing import wall_time

    given = either(context, *given)
    with opened_store(*given) as opened:
        position = _known(opened, sink)
        ask = Ask(what, wall_time(), cause, id)
        if all_waiting:
            (until, count), events = end_of_signals(opened), position.takes_events
            ask = replace(
                ask,
                until=until,
                until_count=count,
                until_event=last_event(opened) if events else None,
            )
        elif what == "skip" and id is None:
            if (head := _first(opened, position)) is None:
                print(f"Nothing waits for {sink}")
                return
            ask = replace(ask, id=head)
        opened.ask(asked(sink), encoded(ask))
        lease = opened.lease()
        if lease is not None and not lease.dead:
            if not _answered(opened, sink, ask):
                complain(
                    f"{sink}: the run that is up has not done it yet; it will, or the next one"
                )
                return
        elif given[1] is None:
            from openbell.runtime.lifetime.delivering import delivered_alone

            made = stored_configuration(given[0])
            status = delivered_alone(made, opened, sink, delivers=what != "skip")
            print(in_a_line(status))
            if what != "skip" and status["waits"]:
                raise typer.Exit(EXIT_FAILURE)
            return
        else:
            print("The next run does it; to have it done now, pass --config instead of --store")
            return
        print(in_a_line(status_of(sink, _known(opened, sink), opened.head().signals)))


def _first(opened: Store, position: Position) -> str | None:
    """The id of what a sink fails on, or of the signal that it comes to next."""
    if position.failing_id is not None or not position.takes_signals:
        return position.failing_id
    head = next(opened.signals(position.cursor, limit=1), None)
    return None if head is None else head[1].id


def _answered(opened: Store, sink: str, ask: Ask) -> bool:
    """Whether a run that is up has done it."""
    from openbell.runtime.delivery.positions import ask_of

    until = time.monotonic() + ANSWER_SECONDS
    while ask_of(opened, sink) == ask:
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _known(opened: Store, sink: str) -> Position:
    from openbell.runtime.delivery.positions import positions

    found = positions(opened)
    if sink not in found:
        known = listed(list(found)) if found else "none"
        raise InputError(f'no run had a sink called "{sink}" here; those it had: {known}')
    return found[sink]
