"""Keys of what delivers rows while a run goes on, and of how market time moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from openbell.runtime.config import values
from openbell.runtime.config.fields import (
    MINUTE_NS,
    Allowance,
    Count,
    Date,
    Delay,
    FilePath,
    Moment,
    Options,
    Problem,
    Seconds,
    Section,
    Speed,
    Text,
    Wall,
    days_in_order,
)
from openbell.runtime.config.pace import Pace, replay_at
from openbell.runtime.config.values import Duration


class FeedConfig(Section):
    """What delivers data while `openbell run` runs."""

    type: Text = Field(
        default="replay",
        description="`replay` (reads `data`, ends after its last day), `redis`, `push`, "
        "`websocket`, a vendor's (`vendors.md`), or a plug-in's name.",
    )
    speed: Speed = Field(
        default=0.0, description="Replay: market time a wall time; 0: as fast as it goes."
    )
    start: Moment | None = Field(
        default=None,
        description="Replay: first day, or a time in it, as `backtest.start`; null: the first with "
        "rows.",
    )
    end: Date | None = Field(
        default=None, description="Replay: last day; null: the last with rows."
    )
    suspect_seconds: Seconds | None = Field(
        default=None,
        description="Silence of a live feed after which it is suspected, and symbols are subscribed "
        "to anew; null: as long as is unusual by how often its rows come, 15 s at least.",
    )
    symbol_suspect_seconds: Seconds = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="A symbol's silence, while others have rows, that is told at the earliest; "
        "of one with few rows longer is usual.",
    )
    silent: Literal["timeout", "exit"] = Field(
        default="timeout",
        description="What follows where a live feed stays silent although it was connected anew, "
        "beside the state TIMEOUT: `timeout`, nothing; `exit`, the process ends with code 5, so that "
        "a supervisor starts it again.",
    )
    renew: tuple[Text, ...] = Field(
        default=(),
        description="A command and its arguments that renew a live feed's login when it was refused; "
        "the feed connects anew after it. Its last line may say until when the login holds: "
        "`2024-07-02T06:00:00+05:30`.",
    )
    token_expires: Wall | None = Field(
        default=None,
        description="The time of day, where the exchange is, at which a live feed's login ends; a "
        "warning comes before the open if that is before the close.",
    )
    refused: FilePath | None = Field(
        default=None,
        description="A file to which what a live feed brought and is no row is appended, a JSON "
        "object a line, with its place.",
    )
    record: FilePath | None = Field(
        default=None,
        description="A folder into which what a live feed brings is recorded, a day a file, to be "
        "backtested as it was lived.",
    )
    revisions: Literal["freeze", "amend"] = Field(
        default="freeze",
        description="Of bars with the same symbol and time from a feed: `freeze`, the first counts and "
        "later ones are counted; `amend`, a later one takes the earlier one's place in all that is not "
        "over.",
    )
    size_is: Literal["trade", "day_total"] = Field(
        default="trade",
        description="What a feed's `size` or `volume` is: `trade`, of the row; `day_total`, of the day "
        "up to it, of which the difference counts.",
    )
    dedupe: Literal["none", "trade_id", "same"] = Field(
        default="none",
        description="Which rows of a feed came before and don't count again: `trade_id`, those with "
        "the number of an earlier trade of their symbol; `same`, those equal to an earlier one.",
    )
    on_partial: Literal["flag", "drop"] = Field(
        default="flag",
        description="What becomes of bars that a feed marks as `partial`: `flag`, they count and their "
        "minutes don't; `drop`, they are left out.",
    )
    options: Options = Field(default={}, description="What the feed's type needs beyond that.")

    def pace(self) -> Pace:
        """How market time goes by this feed; a live one may leave it to the host's clock."""
        return replay_at(self.speed) if self.type == "replay" else Pace(live=True)

    def _contradictions(self) -> Iterator[Problem]:
        yield from days_in_order(self.start, self.end)


class ClockConfig(Section):
    """How market time moves."""

    step: Literal["boundary", "bar"] = Field(
        default="boundary",
        description="`boundary`: steps end at session starts, ends and scans; `bar`: at every "
        "minute too.",
    )
    time: Literal["wall", "feed"] | None = Field(
        default=None,
        description="What moves time where rows come from a feed: `wall`, this host's clock, whether "
        "rows come or not; `feed`, its rows alone, and marks that a day is over. null: `wall`, but "
        "`feed` where `feed.end` is past, as the rows of such days are recorded ones.",
    )
    lateness: Allowance = Field(
        default=Duration(2 * values.UNITS_NS["s"]),
        description="How long a boundary waits for rows that are still on their way.",
    )
    skew_max: Allowance = Field(
        default=Duration(5 * values.UNITS_NS["s"]),
        description="How far ahead of this host's clock a row's time may be.",
    )


class PrefetchConfig(Section):
    """Loading ahead."""

    days: Count | None = Field(
        default=None,
        description="Days loaded ahead of the one that runs; null: 4 for bars at speed 0, else 1.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(30 * values.UNITS_NS["s"]),
        description="Longest wait for a load when live or clock-driven; the rest comes later.",
    )


class DayConfig(Section):
    """The course of the trading day."""

    auto_roll: bool = Field(default=True, description="Whether the next day follows by itself.")
    timeout_seconds: Seconds = Field(
        default=Duration(300 * values.UNITS_NS["s"]),
        description="Silence of the feed after which the day is in TIMEOUT.",
    )
    boundary_check_interval: Seconds = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="How often the agenda is checked against the wall clock; a bare number is "
        "seconds.",
    )
    post_market_roll_delay: Delay = Field(
        default=Duration(30 * MINUTE_NS),
        description="From the actual close to the roll; a bare number is minutes.",
    )
