"""Commands around stored state: `run`, and those that read what it leaves."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import ConfigError, DayFailed, InputError, StoreError
from openbell.runtime.cli.options import (
    ConfigFile,
    Interrupted,
    Json,
    LogJson,
    LogLevel,
    example,
    given_day,
    given_folder,
    log_if_asked,
)

if TYPE_CHECKING:
    from openbell.adapters.stores import LeaseHeld, Store
    from openbell.runtime.config import Config

EXIT_DIFFERS, EXIT_ERROR_STATE, EXIT_LEASE = 1, 3, 4


class Status(StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    SKIPPED = "SKIPPED"


StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store, instead of a file.", metavar="URL")
]
Name = Annotated[
    str | None, typer.Option(help="With --store: whose state; `default` if there is none.")
]
Day = Annotated[str | None, typer.Option("--date", help="One trading day.", metavar="DATE")]

snapshots_app = typer.Typer(
    help="List snapshots, or show one.",
    invoke_without_command=True,
    epilog=example("openbell snapshots --config config.yaml"),
)
state_app = typer.Typer(
    help="Say where state lives, or delete it.",
    invoke_without_command=True,
    epilog=example("openbell state --config config.yaml"),
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command, shown in (
        (run, "run --config config.yaml --out out/"),
        (signals, "signals --config config.yaml --date 2024-07-01"),
        (sessions, "sessions --config config.yaml --status COMPLETED"),
        (status, "status --config config.yaml"),
        (audit, "audit --config config.yaml --json"),
        (recover, "recover --config config.yaml"),
        (replay, "replay --config config.yaml --date 2024-07-01"),
    ):
        app.command(epilog=example(f"openbell {shown}"))(command)
    app.add_typer(snapshots_app, name="snapshots")
    app.add_typer(state_app, name="state")


def run(
    config: ConfigFile = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for each day's results.", metavar="DIR")
    ] = None,
    no_standby: Annotated[
        bool, typer.Option("--no-standby", help="Refuse instead of waiting for the lease.")
    ] = False,
    fresh_day: Annotated[
        bool,
        typer.Option(
            "--fresh-day", help="Begin the day under way anew if the configuration has changed."
        ),
    ] = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Run a replay whose state survives it; started again, it goes on where it was."""
    from openbell.runtime.cli import process

    process.start_up()
    from openbell.adapters.sinks.parts import DayParts
    from openbell.runtime.intake.planning import settings
    from openbell.runtime.lifetime.durable import DurableRun, LeaseLost, open_configured_store

    log_if_asked(log_level, log_json)
    folder = given_folder(out) if out is not None else None
    made = _config(config)
    if made.feed.type != "replay":
        raise ConfigError(f'feed.type is "{made.feed.type}"; this version runs replay')
    parts = None
    if folder is not None:
        parts = DayParts(folder, settings(made).derived_minutes, {"name": made.name}, _complain)
    store = open_configured_store(made)
    for warning in store.warnings():
        _complain(warning)
    waits = not no_standby and made.store.url.startswith(("redis", "unix"))
    try:
        with _terminable() as caught:
            runner = DurableRun(
                made,
                store,
                days=parts,
                standby=_saying_once() if waits else None,
                in_error=_wait_in_error if made.feed.speed > 0 else None,
                fresh_day=fresh_day,
            )
            if runner.change is not None:
                _complain(runner.change.said)
            caught.append(runner.stop)
            before = runner.head.step
            process.go_on()
            runner.run()
        if len(caught) > 1:
            if caught[1] is signal.SIGINT:
                raise Interrupted("stopped; start it again to go on")
            print("openbell: stopped; start it again to go on", file=sys.stderr)
            return
        after, count = runner.head.step, runner.head.signals
        if before and before == after:
            print(f"This run had ended before: {after:,} steps, {count:,} signals")
        else:
            print(f"The last day has ended: {after:,} steps, {count:,} signals")
        if away := runner.outages:
            print(
                f"Outages of the store: {len(away):,}, {sum(away):,.1f} s in all, "
                f"{max(away):,.1f} s at most"
            )
    except LeaseLost as error:
        print(f"openbell: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_LEASE) from None
    except DayFailed as error:
        _complain(_with_remedy(error))
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

    from openbell.adapters.stores import Unavailable

    asked = after
    filters: dict[str, Any] = {
        "trading_date": given_day("--date", day),
        "symbol": symbol,
        "session": session,
    }
    with _reading(config, store, name) as opened:
        try:
            away = False
            while True:
                try:
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
                    away = False
                except Unavailable as error:
                    if not follow:
                        raise
                    if not away:
                        _complain(f"{error}; asking again until it answers")
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


def sessions(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    status: Annotated[
        Status | None, typer.Option(case_sensitive=False, help="What has become of them.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="One session.")] = None,
    json: Json = False,
) -> None:
    """Print session documents, with the ids of the signals that each has given."""
    import orjson

    date = given_day("--date", day)
    with _reading(config, store, name) as opened:
        ids: dict[tuple[str, str], list[str]] = {}
        for _, found in opened.signals(trading_date=date, session=session):
            ids.setdefault((str(found.trading_date), found.session), []).append(found.id)
        for document in opened.documents(
            trading_date=date, status=status and status.value, session=session
        ):
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

    from openbell.runtime.record.ledger import market_time

    with _opened(config, store, name) as opened:
        head = opened.head()
        steps = list(opened.steps(after=max(head.step - 1, 0))) if head.step else []
        usage = opened.usage()
        state, why = _state(opened)
        found: dict[str, Any] = {
            "commits": head.commit,
            "steps": head.step,
            "trading_date": str(steps[-1].trading_date) if steps else None,
            "market_time": market_time(steps[-1].market_ns) if steps else None,
            "state": state,
            "error": why if state == "ERROR" else None,
            "signals": usage.counts.get("signals", 0),
            "location": usage.location,
            "dead_letter": orjson.loads(head.meta["error"]) if head.meta.get("error") else None,
        }
        if json:
            print(orjson.dumps(found).decode())
        elif not head.commit:
            print(f"Nothing was ever run here: {usage.location}")
        else:
            error, dead = found.pop("error"), found.pop("dead_letter")
            for key, value in found.items():
                print(f"{key.replace('_', ' '):<14} {value}")
            if error is not None:
                print(f"ERROR: {error}; `openbell recover` has the next run try again")
            if dead is not None:
                print(dead["traceback"])


def _state(opened: Store) -> tuple[str | None, str]:
    """What the trading day is in, and why: the last change that the audit trail tells."""
    import orjson

    if dead := opened.head().meta.get("error"):
        letter = orjson.loads(dead)
        about = f"{letter['actor']} failed at step {letter['step']} on {letter['message']}"
        return "ERROR", f"{about}, {letter['why']}: {letter['error']}"
    count = opened.usage().counts.get("audit", 0)
    for tail in (50, count):
        for _, entry in reversed(list(opened.audit(max(0, count - tail)))):
            fields = orjson.loads(entry)
            if fields["what"] == "day" and fields.get("from"):
                return fields["to"], fields["why"]
    return None, ""


def recover(config: ConfigFile = None, store: StoreUrl = None, name: Name = None) -> None:
    """Leave ERROR: a run that waits for it, or the next one, tries again."""
    from openbell.runtime.lifetime.durable import RECOVER

    with _reading(config, store, name) as opened:
        if _state(opened)[0] != "ERROR":
            print("Not in ERROR: there is nothing to leave")
            return
        opened.send_command(RECOVER)
    print("A run that waits for this, or the next `openbell run`, tries again")


def audit(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    after: Annotated[
        int, typer.Option(min=0, help="Go on after this position.", metavar="POSITION")
    ] = 0,
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
                    f"{fields.get('trading_date') or '':<10} "
                    f"{change}  {fields.get('session_name') or ''}"
                    f"{': ' if 'session_name' in fields else ''}{fields.get('why') or ''}"
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

    from openbell.runtime.record.ledger import market_time

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


@snapshots_app.command(
    "show", epilog=example("openbell snapshots show 12 --actor day --config config.yaml")
)
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

    with _reading(*_either(context, config, store, name)) as opened:
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


@state_app.command("delete", epilog=example("openbell state delete --yes --config config.yaml"))
def state_delete(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
) -> None:
    """Remove this name's state, and nothing else."""
    from openbell.adapters.stores import Corrupt

    given = _either(context, config, store, name)
    with _opened(*given) as opened:
        where = f'the state of "{_name(*given)}" in {opened.location}'
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
            _complain(_nothing(_name(*given), opened))


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
    from openbell.runtime.lifetime.durable import open_configured_store
    from openbell.runtime.lifetime.replaying import replay_day

    asked = given_day("--date", day)
    assert asked is not None
    made = _config(config)
    store = open_configured_store(made)
    try:
        if not store.head().commit:
            raise InputError(f"{_nothing(made.name, store)}; run it first, with `openbell run`")
        found = replay_day(made, store, asked, until=until)
        if show is None:
            print(found.verdict)
            if found.differs is not None:
                raise typer.Exit(EXIT_DIFFERS)
        else:
            for line in found.show(show):
                print(line)
    finally:
        store.close()


def _either(
    context: typer.Context, config: Path | None, url: str | None, name: str | None
) -> tuple[Path | None, str | None, str | None]:
    """Options of a command, or of the one above it: people write them at either."""
    above: tuple[Path | None, str | None, str | None] = context.obj
    return config or above[0], url if url is not None else above[1], name or above[2]


@contextmanager
def _reading(config: Path | None, url: str | None, name: str | None) -> Iterator[Store]:
    """A store to be read, with a word where there is nothing to read: a path is soon mistyped."""
    with _opened(config, url, name) as opened:
        if not opened.head().commit:
            _complain(_nothing(_name(config, url, name), opened))
        yield opened


def _nothing(name: str, opened: Store) -> str:
    return f'nothing was ever run as "{name}" in {opened.location}'


def _opened(config: Path | None, url: str | None, name: str | None) -> closing[Store]:
    from openbell.adapters.stores import open_store

    if url is None:
        if name is not None:
            raise InputError(f"--name {name}: goes with --store; a configuration has its own name:")
        made = _config(
            config
        )  # not by runtime/lifetime/durable.py, which imports all that a run needs
        return closing(open_store(made.store.url, made.name, replicas=made.store.replicas))
    if config is not None:
        raise InputError("--config and --store: pass one of them; a configuration names its store")
    return closing(open_store(url, _name(config, url, name)))


def _name(config: Path | None, url: str | None, name: str | None) -> str:
    return _config(config).name if url is None else name or "default"


def _config(file: Path | None) -> Config:
    from openbell.runtime.config import load_config

    if file is None and not Path("config.yaml").is_file():
        raise InputError("no configuration; pass --config FILE, or --store URL where that will do")
    return load_config(file or Path("config.yaml"))


def _complain(text: str) -> None:
    print(f"openbell: {text}", file=sys.stderr)


def _with_remedy(error: DayFailed) -> str:
    todo = "" if "openbell recover" in str(error) else "; `openbell recover` tries it again"
    return f"{error}{todo}"


def _wait_in_error(error: DayFailed) -> None:
    _complain(f"{_with_remedy(error)}; waiting for it (Ctrl-C or SIGTERM end this)")


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
