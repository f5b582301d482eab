"""Keys of what is watched: sessions, breakouts, and scans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from openbell.market.kinds import AuctionName
from openbell.runtime.config import conditions, values
from openbell.runtime.config.conditions import (
    RangeAtLeast,
    RangeAtMost,
    ValidUntil,
    VolumeNeeded,
)
from openbell.runtime.config.fields import (
    Check,
    Confirm,
    Direction,
    Factor,
    Margin,
    OnIncomplete,
    Options,
    Problem,
    Rearming,
    Retesting,
    ScanTime,
    Seconds,
    Section,
    SessionName,
    Sides,
    Text,
    TimeZone,
    When,
)
from openbell.runtime.config.values import Buffer, Duration


class BreakoutConfig(Section):
    """What counts as a breakout of a session's levels."""

    confirm: Confirm = Field(
        default="close",
        description="`close`: the bar's close (each tick) lies beyond the level; `touch`: its high "
        "or low does.",
    )
    check: Check = Field(
        default="continuous",
        description="`continuous`: until the close; `once`: only the first price after the session.",
    )
    rearm: Rearming = Field(
        default=values.NEVER,
        description="`never`: one break a day, session, symbol and side; `inside`: again after a "
        "close back inside; `{inside_bars: k, max: m}`: after k of them, m times at most.",
    )
    buffer: Margin = Field(
        default=Buffer(0.0),
        description="How far beyond the level a price has to be: a price (`0.5`), a share of the "
        'level (`"0.1%"`) or ticks (`"2 ticks"`).',
    )
    sides: Sides = Field(
        default="both", description="Which levels are watched: `both`, `high` or `low`."
    )
    closed_beyond: bool = Field(
        default=False,
        description="With `confirm: touch`: whether the first close beyond that follows a signal is "
        "reported too, as `closed_beyond`.",
    )
    retest: Retesting = Field(
        default=values.NO_RETEST,
        description="`{within_bars: n, tolerance: m}`: whether a return to the level is reported, as "
        "`retest`: within n bars of the signal, as near as m, a price, a share or ticks; `never`: "
        "none is.",
    )
    tick_size: Factor | None = Field(
        default=None,
        description="Price of one tick, of all symbols, needed where a buffer is in ticks; null: as "
        "`instruments` says of each.",
    )
    volume: VolumeNeeded = Field(
        default=conditions.NONE,
        description="How much has to trade in the bar that breaks: `{times: 1.5, of: minute}`, so many "
        "times that minute's average of `period: 10d`; `of: day`, of the day's bars so far. `symbol: "
        "companion`: its companion's. A bar with less is no break.",
    )
    min_range: RangeAtLeast = Field(
        default=conditions.NONE,
        description="How far the session's high and low are apart at least: a price (`0.5`), a share of "
        'it (`"0.25%"`), or times an indicator (`{times: 0.6, of: atr14}`).',
    )
    max_range: RangeAtMost = Field(
        default=conditions.NONE, description="The same at most; written as `min_range`."
    )
    valid_until: ValidUntil = Field(
        default=conditions.NONE,
        description="Until when a break may be known: a time as `sessions[].start`, or how long after "
        "the session (`90m`); `none`: the close.",
    )
    on_incomplete: OnIncomplete = Field(
        default="flag",
        description="Of sessions that lack minutes: `flag`, their breaks say so; `block`, they have none.",
    )
    direction: Direction = Field(
        default="any",
        description="`first_bar`: only the side to which the session's first bar moved; neither where "
        "it opened and closed at one price.",
    )


class BreakoutOverrides(Section):
    """What differs from `breakout` for one session."""

    confirm: Confirm | None = Field(default=None, description="As `breakout.confirm`.")
    check: Check | None = Field(default=None, description="As `breakout.check`.")
    rearm: Rearming | None = Field(default=None, description="As `breakout.rearm`.")
    buffer: Margin | None = Field(default=None, description="As `breakout.buffer`.")
    sides: Sides | None = Field(default=None, description="As `breakout.sides`.")
    closed_beyond: bool | None = Field(default=None, description="As `breakout.closed_beyond`.")
    retest: Retesting | None = Field(default=None, description="As `breakout.retest`.")
    volume: VolumeNeeded | None = Field(default=None, description="As `breakout.volume`.")
    min_range: RangeAtLeast | None = Field(default=None, description="As `breakout.min_range`.")
    max_range: RangeAtMost | None = Field(default=None, description="As `breakout.max_range`.")
    valid_until: ValidUntil | None = Field(default=None, description="As `breakout.valid_until`.")
    on_incomplete: OnIncomplete | None = Field(
        default=None, description="As `breakout.on_incomplete`."
    )
    direction: Direction | None = Field(default=None, description="As `breakout.direction`.")


class SessionConfig(Section):
    """A named window inside the trading day."""

    name: SessionName = Field(
        description="Its name, once in a configuration; signals and documents carry it.",
        examples=["Morning Opening"],
    )
    start: When | None = Field(
        default=None,
        description="First minute: local time `09:30`, or `open+15m`, `close-30m`; required, but "
        "where the session is an `auction`.",
        examples=["09:30"],
    )
    end: When | None = Field(
        default=None,
        description="Last minute, written as `start` is; it belongs to the session unless "
        "`closed: left`.",
        examples=["09:35"],
    )
    auction: AuctionName | None = Field(
        default=None,
        description="`pre_open`, `closing`: the session is this auction of the exchange, in place of "
        "`start` and `end`, when each day and symbol has it.",
    )
    closed: Literal["both", "left"] = Field(
        default="both",
        description="`both`: 09:30 to 09:35 is six minutes; `left`: the end minute is left out.",
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of its wall times, e.g. `Europe/London`; null: the calendar's.",
    )
    breakout: BreakoutOverrides = BreakoutOverrides()

    def _contradictions(self) -> Iterator[Problem]:
        start, end = self.start, self.end
        if self.auction is not None:
            for key in ("start", "end", "closed", "timezone"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    why = f"leave it out; auction: {self.auction} has the times of the calendar"
                    yield (key,), why
            return
        if start is None or end is None:
            for key, given in (("start", start), ("end", end)):
                if given is None:
                    example = "09:30" if key == "start" else "09:35"
                    yield (key,), f'write a time, e.g. "{example}", or name an auction: pre_open'
            return
        if end.anchor == "close" and end.offset_ns == 0 and self.closed == "both":
            yield ("end",), 'the minute from the close on has no rows; write "close-1m"'
        if start.anchor != end.anchor or start.anchor == "clock":
            return  # whether they are in order depends on the day
        if end.offset_ns < start.offset_ns:
            yield ("end",), f'write a time after the start, "{start}"; a session ends on its day'
        elif end.offset_ns == start.offset_ns and self.closed == "left":
            yield ("end",), f'write a time after the start, "{start}", or closed: both'


class ScannerConfig(Section):
    """A scan: a function looks at the market so far and names symbols."""

    name: Text = Field(description="Its name, once in a configuration.", examples=["movers"])
    type: Text = Field(
        description="`relative_volume`, `gap`, `near_high`, `movers`, `range_width`, or the name of a "
        "plug-in or of the program's own.",
        examples=["movers"],
    )
    at: tuple[ScanTime, ...] = Field(
        default=(),
        description="When it runs: `pre` (before the open), `10:30`, `every 15m`, `open+5m`, "
        "`close-30m`; empty: `pre`.",
    )
    then: Literal["report", "follow", "add"] = Field(
        default="report",
        description="`report`: what it found is told; `follow`: from then on breakouts are reported "
        "only of symbols that such a scan has found that day; `add`: symbols that the run does not "
        "have are added.",
    )
    catch_up: Literal["all", "last", "none"] | None = Field(
        default=None,
        description="Of its times that are past when a run comes to a day under way, it runs for all, "
        "for the last one, or for none; each on the day as it was then. null: `all` with `then: follow` "
        "and `add`, `last` with `report`. Before the open it runs in any case.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(10 * values.UNITS_NS["s"]),
        description="How long it may take, live and at a speed; one that takes longer is skipped.",
    )
    worker: Literal["thread", "process"] = Field(
        default="thread",
        description="`process`: it runs in a process of its own, which is ended where it takes too "
        "long, and whose end by a fault only skips the scan.",
    )
    options: Options = Field(default={}, description="What the scan is told.")
