"""`openbell sessions`: what has become of each session."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading, refuse_unknown
from openbell.runtime.cli.times import Utc, times_of
from openbell.runtime.cli.words import LISTED, counted, one_line


class Status(StrEnum):
    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    SKIPPED = "SKIPPED"


def sessions(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    status: Annotated[
        Status | None, typer.Option(case_sensitive=False, help="What has become of them.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", help="One session.", autocompletion=completing.sessions),
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Levels of one symbol.", autocompletion=completing.symbols)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--completed-from",
            help="Completed at this time or later, UTC or with a zone.",
            metavar="TIME",
        ),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option("--completed-before", help="Completed before this time.", metavar="TIME"),
    ] = None,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Print session documents: levels, and how many signals each has given."""
    import orjson

    date = given_day("--date", day)
    with reading(config, store, name) as opened:
        refuse_unknown(opened, symbol=symbol, session=session)
        times, headed = times_of(opened, utc=utc), json
        ids: dict[tuple[str, str], list[str]] = {}
        for _, found in opened.signals(trading_date=date, session=session):
            ids.setdefault((str(found.trading_date), found.session), []).append(found.id)
        for document in opened.documents(
            trading_date=date,
            status=status and status.value,
            session=session,
            completed_since_ns=_instant("--completed-from", since),
            completed_before_ns=_instant("--completed-before", before),
        ):
            fields = orjson.loads(document.body)
            fields["signals_generated"] = ids.get(
                (str(document.trading_date), document.session), []
            )
            if json:
                print(one_line(fields))
                continue
            if not headed:
                print(f"{'day':<10}  {'session':<20} {'status':<10} {times.zone:<13} signals")
                headed = True
            hours = "–".join(times.wall(fields[key]) for key in ("started_at", "completed_at"))
            count = counted(len(fields["signals_generated"]), "signal")
            print(
                f"{document.trading_date}  {document.session:<20} {document.status:<10} "
                f"{hours.strip('–'):<{max(13, len(times.zone))}} {count}"
            )
            for line in _levels(fields["symbols_data"], symbol):
                print(f"{'':<12}{line}")


def _levels(of: dict[str, Any], symbol: str | None) -> Iterator[str]:
    shown = [name for name in of if symbol in (None, name)]
    for name in shown[:LISTED]:
        levels = of[name]
        if levels["high"] is None:
            yield f"{name:<12} no row"
        else:
            yield f"{name:<12} high {levels['high']!s:<10} low {levels['low']}"
    if len(shown) > LISTED:
        yield f"… and {counted(len(shown) - LISTED, 'more symbol')}; --symbol shows one, --json all"


def _instant(option: str, given: str | None) -> int | None:
    """ns UTC."""
    if given is None:
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise InputError(
            f'{option} is "{given}"; write a time, e.g. 2024-07-01T13:36:00Z'
        ) from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp() * 10**6) * 1000
