"""Commands around stored state: `run`, and those that read what it leaves."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import ConfigError, DayFailed, InputError

if TYPE_CHECKING:
    from openbell.adapters.stores import LeaseHeld, Store
    from openbell.runtime.config import Config

EXIT_DIFFERS, EXIT_ERROR_STATE, EXIT_LEASE, EXIT_INTERRUPTED = 1, 3, 4, 130

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration's file.", metavar="FILE")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store, instead of a file.", metavar="URL")
]
Name = Annotated[str | None, typer.Option(help="Whose state, where the store is named.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Day = Annotated[str | None, typer.Option("--date", help="One trading day.", metavar="DATE")]

snapshots_app = typer.Typer(help="List snapshots, or show one.", invoke_without_command=True)
state_app = typer.Typer(help="Say where state lives, or delete it.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: openbell run --config config.yaml --out out/")(run)
    app.command(epilog="Example: openbell signals --config config.yaml --date 2024-07-01")(signals)
    app.command(epilog="Example: openbell sessions --config config.yaml --status COMPLETED")(
        sessions
    )
    app.command(epilog="Example: openbell status --config config.yaml")(status)
    app.command(epilog="Example: openbell audit --config config.yaml --json")(audit)
    app.command(epilog="Example: openbell recover --config config.yaml")(recover)
    app.command(epilog="Example: openbell replay --config config.yaml --date 2024-07-01")(replay)
    app.add_typer(snapshots_app, name="snapshots")
    app.add_typer(state_app, name="state")


def run(
    config: ConfigFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for each day's results.", metavar="DIR")
    ] = None,
    no_standby: Annotated[
        bool, typer.Option("--no-standby", help="Refuse instead of waiting for the lease.")
    ] = False,
    log_level: Annotated[str | None, typer.Option(help="Log to stderr from this level on.")] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")] = False,
) -> None:
    """Run a replay whose state survives it; started again, it goes on where it was."""
    from openbell.adapters.sinks.parts import DayParts
    from openbell.runtime.durable import DurableRun, LeaseLost, open_configured_store
    from openbell.runtime.planning import settings

    sys.setswitchinterval(0.0005)
    if log_level is not None or log_json:
        from openbell.runtime.logs import log_to_stderr

        log_to_stderr(log_level or "info", as_json=log_json)
    made = _config(config)
    if made.feed.type != "replay":
        raise ConfigError(f'feed.type is "{made.feed.type}"; this version runs replay')
    parts = DayParts(out, settings(made).derived_minutes) if out is not None else None
    store = open_configured_store(made)
    for warning in store.warnings():
        print(f"openbell: {warning}", file=sys.stderr)
    waits = not no_standby and made.store.url.startswith(("redis", "unix"))
    try:
        with _terminable() as caught:
            runner = DurableRun(
                made,
                store,
                sinks=(parts,) if parts is not None else (),
                written=parts.last if parts is not None else None,
                standby=_saying_once() if waits else None,
            )
            caught.append(runner.stop)
            before = runner.head.step
            runner.run()
        if parts is not None:
            parts.put_together({"exchange": made.exchange, "config": made.digest()})
        if len(caught) > 1:
            print("openbell: stopped; start it again to go on", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED if caught[1] is signal.SIGINT else 0)
        head = store.head()
        after, count = head.step, head.signals
        if before and before == after:
            print(f"This run had ended before: {after:,} steps, {count:,} signals")
        else:
            print(f"The last day has ended: {after:,} steps, {count:,} signals")
    except LeaseLost as error:
        print(f"openbell: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_LEASE) from None
    except DayFailed as error:
        print(f"openbell: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR_STATE) from None
    finally:
        store.close()


def signals(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    symbol: Annotated[str | None, typer.Option(help="One symbol.")] = None,
    session: Annotated[str | None, typer.Option(help="One session.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Go on after this cursor.", metavar="CURSOR")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more.")] = False,
    json: Json = False,
) -> None:
    """Print the signal log: every signal once, in its order."""
    import orjson

    with _reading(config, store, name) as opened:
        filters: dict[str, Any] = {
            "trading_date": _date(day),
            "symbol": symbol,
            "session": session,
        }
        try:
            while True:
                for cursor, found in opened.signals(after, **filters):
                    after = cursor
                    fields = orjson.loads(found.body)
                    if json:
                        print(orjson.dumps({**fields, "cursor": cursor}).decode())
                    else:
                        print(
                            f"{fields['ts']}  {fields['symbol']:<12} {fields['side']:<10} "
                            f"{fields['price']:>12}  {fields['session']} at {fields['level']}"
                        )
                if not follow:
                    return
                sys.stdout.flush()
                time.sleep(0.2)
        except ValueError as error:
            raise InputError(f"--after {after}: {error}") from None


def sessions(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    status: Annotated[
        str | None, typer.Option(help="PENDING, ACTIVE, COMPLETED or SKIPPED.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="One session.")] = None,
    json: Json = False,
) -> None:
    """Print session documents, with the ids of the signals that each has given."""
    import orjson

    with _reading(config, store, name) as opened:
        ids: dict[tuple[str, str], list[str]] = {}
        for _, found in opened.signals(trading_date=_date(day), session=session):
            ids.setdefault((str(found.trading_date), found.session), []).append(found.id)
        for document in opened.documents(trading_date=_date(day), status=status, session=session):
            fields = orjson.loads(document.body)
            fields["signals_generated"] = ids.get(
                (str(document.trading_date), document.session), []
            )
            if json:
                print(orjson.dumps(fields).decode())
            else:
                print(
                    f"{document.trading_date}  {document.session:<20} {document.status:<10} "
                    f"{len(fields['signals_generated']):>5} signals"
                )


def status(
    config: ConfigFile = None, store: StoreUrl = None, name: Name = None, json: Json = False
) -> None:
    """Say how far the run has come."""
    import orjson

    from openbell.runtime.ledger import market_time

    with _reading(config, store, name) as opened:
        head = opened.head()
        steps = list(opened.steps(after=max(head.step - 1, 0))) if head.step else []
        usage = opened.usage()
        found: dict[str, Any] = {
            "commits": head.commit,
            "steps": head.step,
            "trading_date": str(steps[-1].trading_date) if steps else None,
            "market_time": market_time(steps[-1].market_ns) if steps else None,
            "signals": usage.counts.get("signals", 0),
            "location": usage.location,
            "dead_letter": orjson.loads(head.meta["error"]) if head.meta.get("error") else None,
        }
        if json:
            print(orjson.dumps(found).decode())
        elif not head.step:
            print(f"Nothing was ever run here: {usage.location}")
        else:
            dead = found.pop("dead_letter")
            for key, value in found.items():
                print(f"{key.replace('_', ' '):<14} {value}")
            if dead is not None:
                print(f"ERROR: {dead['actor']}, step {dead['step']}, {dead['message']}")
                print(dead["traceback"])


def recover(config: ConfigFile = None, store: StoreUrl = None, name: Name = None) -> None:
    """Leave ERROR: the next `openbell run` tries again."""
    from openbell.runtime.durable import RECOVER

    with _reading(config, store, name) as opened:
        opened.send_command(RECOVER)
    print("The next `openbell run` tries again")


def audit(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    after: Annotated[int, typer.Option(help="Go on after this position.")] = 0,
    json: Json = False,
) -> None:
    """Print the audit trail: every transition, and what happened to the process."""
    import orjson

    with _reading(config, store, name) as opened:
        for position, entry in opened.audit(after):
            fields = orjson.loads(entry)
            if json:
                print(orjson.dumps({"position": position, **fields}).decode())
            else:
                change = f"{fields.get('from') or ''} → {fields.get('to') or ''}".strip(" →")
                print(
                    f"{fields['wall_time']}  {fields['what']:<9} "
                    f"{fields.get('trading_date') or '':<10} {change}  {fields.get('why') or ''}"
                )


@snapshots_app.callback()
def snapshots(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """List the snapshots, newest first."""
    import orjson

    from openbell.runtime.ledger import market_time

    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    with _reading(config, store, name) as opened:
        for epoch in opened.epochs():
            found = {
                "epoch": epoch.epoch,
                "step": epoch.step,
                "trading_date": str(epoch.trading_date),
                "market_time": market_time(epoch.market_ns),
                "size": epoch.size,
                "state": epoch.problem or "ok",
            }
            if json:
                print(orjson.dumps(found).decode())
            else:
                print(
                    f"{epoch.epoch:>7}  step {epoch.step:<7} {found['market_time']}  "
                    f"{epoch.size:>12,} bytes  {found['state']}"
                )


@snapshots_app.command("show", epilog="Example: openbell snapshots -c config.yaml show 12")
def snapshots_show(
    context: typer.Context,
    epoch: Annotated[int, typer.Argument(help="Its number.")],
    actor: Annotated[str | None, typer.Option(help="One actor's state.")] = None,
) -> None:
    """Print one snapshot in words."""
    from openbell.runtime.codec import decode
    from openbell.runtime.words import in_words

    with _reading(*context.obj) as opened:
        states = opened.states(epoch)
        if actor is not None and actor not in states:
            raise InputError(f"no actor {actor!r}; there are {', '.join(states)}")
        for held, data in states.items():
            if actor is None or held == actor:
                print(f"{held}:")
                for line in in_words(decode(data)):
                    print(f"  {line}")


@state_app.callback()
def state(
    context: typer.Context,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    json: Json = False,
) -> None:
    """Say where state lives, its version and its size."""
    import orjson

    if context.invoked_subcommand is not None:
        context.obj = (config, store, name)
        return
    with _reading(config, store, name) as opened:
        usage = opened.usage()
        if json:
            found = {
                "location": usage.location,
                "schema": usage.schema,
                "bytes": usage.bytes,
                **usage.counts,
            }
            print(orjson.dumps(found).decode())
            return
        print(f"{usage.location}, schema {usage.schema}, {usage.bytes:,} bytes")
        for key, count in usage.counts.items():
            print(f"{count:>10,} {key}")


@state_app.command("delete", epilog="Example: openbell state -c config.yaml delete --yes")
def state_delete(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
) -> None:
    """Remove this name's state, and nothing else."""
    with _reading(*context.obj) as opened:
        where = opened.usage().location
        if not yes:
            raise InputError(f"this removes {where}; pass --yes to do it")
        opened.delete()
        print(f"Removed {where}")


def replay(
    day: Annotated[str, typer.Option("--date", help="A trading day that was run.", metavar="DATE")],
    config: ConfigFile = None,
    until: Annotated[
        str | None, typer.Option(help="Stop at this local time.", metavar="HH:MM")
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Print an actor's state there; `levels`: the levels.")
    ] = None,
) -> None:
    """Run a recorded day again and compare it with what was committed then."""
    from openbell.runtime.durable import open_configured_store
    from openbell.runtime.replaying import replay_day

    made = _config(config)
    store = open_configured_store(made)
    try:
        found = replay_day(made, store, _date(day), until=until)
        if show is None:
            print(found.verdict)
            if found.differs is not None:
                raise typer.Exit(EXIT_DIFFERS)
        else:
            for line in found.show(show):
                print(line)
    finally:
        store.close()


@contextmanager
def _reading(config: Path | None, url: str | None, name: str | None) -> Iterator[Store]:
    from openbell.adapters.stores import open_store
    from openbell.runtime.durable import open_configured_store

    if url is not None:
        opened = open_store(url, name or "default")
    else:
        opened = open_configured_store(_config(config))
    try:
        yield opened
    finally:
        opened.close()


def _config(file: Path | None) -> Config:
    from openbell.runtime.config import load_config

    if file is None and not Path("config.yaml").is_file():
        raise InputError("no configuration; pass --config FILE, or --store URL where that will do")
    return load_config(file or Path("config.yaml"))


def _date(text: str | None) -> Any:
    from datetime import date

    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--date {text}: write a day as 2024-07-01") from None


def _saying_once() -> Callable[[LeaseHeld], None]:
    said: set[str] = set()

    def say(held: LeaseHeld) -> None:
        if str(held) not in said:
            said.add(str(held))
            print(f"openbell: waiting: {held}", file=sys.stderr)

    return say


@contextmanager
def _terminable() -> Iterator[list[Any]]:
    """Ctrl-C and SIGTERM end the run after the step under way; what caught them comes second."""
    caught: list[Any] = []

    def stop(number: int, frame: object) -> None:
        if not caught:
            if number == signal.SIGTERM:  # as it waits for the lease, or still begins
                raise SystemExit(0)
            raise KeyboardInterrupt
        caught.append(signal.Signals(number))
        caught[0]()

    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
