"""Instants as people read them: in the exchange's zone, which a table's header names, or UTC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

if TYPE_CHECKING:
    from openbell.adapters.stores import Store

Utc = Annotated[bool, typer.Option("--utc", help="Times in UTC, not in the exchange's zone.")]

CELL_WIDTH = len("2024-07-01 09:30:00.000")


@dataclass(frozen=True)
class Times:
    zone: str
    """IANA name."""

    @property
    def header(self) -> str:
        """Of a column of times, as wide as they are."""
        return f"{self.zone:<{CELL_WIDTH}}"

    def of(self, instant: str | None) -> str:
        """A stored instant, such as 2024-07-01T13:30:00Z: 2024-07-01 09:30:00."""
        if instant is None:
            return ""
        seconds, point, fraction = instant.removesuffix("Z").partition(".")
        local = datetime.fromisoformat(f"{seconds}+00:00").astimezone(ZoneInfo(self.zone))
        return f"{local:%Y-%m-%d %H:%M:%S}{point}{fraction}"

    def wall(self, instant: str | None) -> str:
        """Without its date and, where they are zero, its seconds."""
        text = self.of(instant)[11:]
        return text.removesuffix(":00") if len(text) == 8 else text

    def cell(self, instant: str | None) -> str:
        """For a column of times: to the millisecond, so that it stays one."""
        return f"{self.of(instant)[:CELL_WIDTH]:<{len(self.header)}}"


def times_of(opened: Store, *, utc: bool) -> Times:
    """Those of the exchange that state was made for; where nothing was run, UTC."""
    meta = {} if utc else opened.head().meta
    if zone := meta.get("zone"):
        return Times(zone.decode())
    if "eras" not in meta:
        return Times("UTC")
    from openbell.market.calendar import timezone  # takes a second: it opens a library

    return Times(timezone(json.loads(meta["eras"])[-1]["config"]["exchange"]))
