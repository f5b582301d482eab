"""`openbell sessions`: what has become of each session."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading
from openbell.runtime.cli.words import one_line


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
    session: Annotated[str | None, typer.Option("--session", help="One session.")] = None,
    json: Json = False,
) -> None:
    """Print session documents, with the ids of the signals that each has given."""
    import orjson

    date = given_day("--date", day)
    with reading(config, store, name) as opened:
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
                print(one_line(fields))
            else:
                print(
                    f"{document.trading_date}  {document.session:<20} {document.status:<10} "
                    f"{len(fields['signals_generated']):>5} signals"
                )
