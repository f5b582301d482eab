"""What the rules that a break has to pass are called, and with which numbers one refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from openbell.market.breakouts import Armed
from openbell.market.conditions import Condition
from openbell.market.days import SECOND_NS, TradingDay
from openbell.market.prices import rounded
from openbell.market.touches import Rule
from openbell.runtime.config import BreakoutConfig, Config
from openbell.runtime.config.conditions import NONE, Range, Volume


def conditions_in_words(rules: BreakoutConfig) -> tuple[str, ...]:
    """What a break has to pass besides, as a configuration says."""
    found = []
    if rules.volume != NONE:
        found.append(f"volume {rules.volume}")
    if rules.min_range != NONE:
        found.append(f"range at least {rules.min_range}")
    if rules.max_range != NONE:
        found.append(f"range at most {rules.max_range}")
    if rules.valid_until != NONE:
        found.append(f"valid until {_until(str(rules.valid_until))}")
    if rules.on_incomplete == "block":
        found.append("only of complete levels")
    if rules.direction == "first_bar":
        found.append("only to the side of the first bar")
    return tuple(found)


def _until(text: str) -> str:
    after = text[:1].isdigit() and ":" not in text
    return f"{text} after the session" if after else text


@dataclass(frozen=True)
class Conditioned:
    """One session's levels of a symbol, and what was known of the days before."""

    config: Config
    place: int
    armed: Armed
    unknown: Mapping[str, str]
    """Why indicators have no value."""
    day: TradingDay

    @property
    def rules(self) -> BreakoutConfig:
        return self.config.breakout_for(self.config.sessions[self.place])

    def why(self, rule: Rule | Condition, volume: tuple[float, float] | None = None) -> str:
        """What refused touches, in words and numbers."""
        match rule:
            case "volume":
                return self._volume(volume)
            case "min_range" | "max_range":
                return self._width(rule)
            case "valid_until":
                assert self.armed.until_ns is not None
                at = datetime.fromtimestamp(self.armed.until_ns // SECOND_NS, ZoneInfo(self.day.tz))
                return f"known after {at:%H:%M} (breakout.valid_until is {self.rules.valid_until})"
            case "on_incomplete":
                return "minutes of the session are missing (breakout.on_incomplete is block)"
        assert self.armed.verdict is not None
        assert self.armed.verdict.moved is not None
        went = {1: "went up", -1: "went down", 0: "opened and closed at one price"}
        moved = went[int(self.armed.verdict.moved[0])]
        return f"the session's first bar {moved} (breakout.direction is first_bar)"

    def _volume(self, found: tuple[float, float] | None) -> str:
        rule = self.rules.volume
        assert isinstance(rule, Volume)
        assert found is not None
        volume, average = found
        asked = f"(breakout.volume is {rule})"
        if math.isnan(average):
            none_before = "no bar of the day came before"
            why = self.unknown.get(rule.average, "that minute has none on the days before")
            why = why if rule.of == "minute" else none_before
            return f"the volume that is usual is not known: {why} {asked}"
        if not average > 0:
            return (
                "nothing trades usually, its volumes are 0: set symbol: companion for what has none "
                f"of its own {asked}"
            )
        if math.isnan(volume):
            return f"no volume of that minute had come {asked}"
        return (
            f"too little volume: it takes {rule.times:g} × {average:,.10g} = "
            f"{rule.times * average:,.10g}, and the most there was is {volume:,.10g}, "
            f"{volume / average:.2f} × {asked}"
        )

    def _width(self, rule: str) -> str:
        bound = self.rules.min_range if rule == "min_range" else self.rules.max_range
        verdict = self.armed.verdict
        assert isinstance(bound, Range)
        assert verdict is not None
        limits = verdict.least if rule == "min_range" else verdict.most
        assert limits is not None
        level = self.armed.level[:, 0]
        wide = float(rounded(level[:1] - level[1:], abs(level).max(keepdims=True))[0])
        asked = f"(breakout.{rule} is {bound})"
        if math.isnan(limit := float(limits[0])):
            why = self.unknown.get(bound.indicator, f"{bound.indicator} has no value")
            return f"the session is {wide} wide, and what is asked is not known: {why} {asked}"
        than = "at least" if rule == "min_range" else "at most"
        return f"the session is {wide} wide, and has to be {than} {limit:.10g} {asked}"
