"""Keys that are set and have no effect beside others: what was meant by them doesn't happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from openbell.market.kinds import KINDS
from openbell.runtime.config.model import BreakoutConfig, Config, Section

OF_A_LIVE_FEED = (
    "suspect_seconds",
    "symbol_suspect_seconds",
    "silent",
    "renew",
    "token_expires",
    "refused",
    "options",
)
"""Keys of `feed` that a replay of stored rows knows nothing of."""

OF_SILENCE = ("suspect_seconds", "symbol_suspect_seconds", "silent")
"""Keys of `feed` that go by the host's clock."""

OF_WALL_DAYS = ("auto_roll", "timeout_seconds")
"""Keys of `day` that go by the host's clock."""


class Idle(NamedTuple):
    """A key that has no effect."""

    key: str
    why: str
    todo: str

    def __str__(self) -> str:
        return f"{self.key} has no effect {self.why}; {self.todo}"


def idle_notes(config: Config) -> tuple[str, ...]:
    """Sentences on `idle_keys`, for people."""
    return tuple(map(str, idle_keys(config)))


def idle_keys(config: Config) -> Iterator[Idle]:
    """Keys that are not at their default and have no effect, whatever comes."""
    yield from _of_breakouts(config)
    yield from _of_data(config)
    yield from _of_feed(config)
    yield from _of_days(config)
    yield from _of_scans(config)
    yield from _of_sinks(config)
    yield from _of_the_process(config)


def _of_breakouts(config: Config) -> Iterator[Idle]:
    yield from _of_rules(
        config,
        "rearm",
        lambda rules: rules.rearm.inside_bars > 0,
        lambda rules: rules.check == "once",
        "beside check: once, which looks at one price of a level",
        "leave it out, or write check: continuous",
    )
    if config.data.kind == "ticks":
        yield from _of_rules(
            config,
            "closed_beyond",
            lambda rules: rules.closed_beyond,
            lambda _: True,
            "where data.kind is ticks: the tick that breaks lies beyond",
            "leave it out",
        )
    else:
        yield from _of_rules(
            config,
            "closed_beyond",
            lambda rules: rules.closed_beyond,
            lambda rules: rules.confirm == "close",
            "beside confirm: close: the bar that breaks has closed beyond",
            "leave it out, or write confirm: touch",
        )


def _of_rules(
    config: Config,
    key: str,
    is_set: Callable[[BreakoutConfig], bool],
    is_idle: Callable[[BreakoutConfig], bool],
    why: str,
    todo: str,
) -> Iterator[Idle]:
    """Where a session's own key has none, and where a common one has none for any session."""
    common = list[bool]()
    for place, session in enumerate(config.sessions):
        rules = config.breakout_for(session)
        own = getattr(session.breakout, key) is not None
        idle = is_set(rules) and is_idle(rules)
        if own and idle:
            yield Idle(f"sessions[{place}].breakout.{key}", why, todo)
        elif not own and is_set(rules):
            common.append(idle)
    if common and all(common):
        yield Idle(f"breakout.{key}", why, todo)


def _of_data(config: Config) -> Iterator[Idle]:
    data = config.data
    if data.kind == "ticks":
        for key in _changed(data, "interval", "bar_label"):
            yield Idle(f"data.{key}", "where data.kind is ticks", "leave it out")
    suffixes = PurePath(data.path or "").suffixes
    known = {".parquet": "parquet", ".pq": "parquet", ".parq": "parquet", ".dbn": "dbn"}
    of_path = next((known[suffix] for suffix in suffixes if suffix in known), None)
    if (written := data.format or of_path) in known.values() and (set_ := _all_changed(data.csv)):
        why = f"on files of the format {written}"
        yield Idle(f"data.csv.{set_[0]}", why, "leave data.csv out")
    upkeep = config.upkeep
    if not upkeep.enabled and _changed(upkeep, "derived_intervals"):
        todo = "leave it out, or have upkeep enabled"
        yield Idle("upkeep.derived_intervals", "where upkeep.enabled is false", todo)
    for name, indicator in config.history.indicators.items():
        if indicator.type == "average_true_range" and _changed(indicator, "field"):
            why = "on an average_true_range, which is of high, low and close"
            yield Idle(f"history.indicators.{name}.field", why, "leave it out")


def _of_feed(config: Config) -> Iterator[Idle]:
    feed = config.feed
    if feed.type == "replay":
        why = "where feed.type is replay: stored rows are neither silent nor refused"
        for key in _changed(feed, *OF_A_LIVE_FEED):
            yield Idle(f"feed.{key}", why, "leave it out, or name a live feed's type")
        if config.clock.time is not None:
            todo = "leave it out; feed.speed says how fast stored rows go"
            yield Idle("clock.time", "where feed.type is replay", todo)
        return
    if _changed(feed, "speed"):
        yield Idle("feed.speed", f"where feed.type is {feed.type}", "leave it out")
    if not config.by_the_wall:
        why = "where clock.time is feed, and silence moves no time"
        for key in _changed(feed, *OF_SILENCE):
            yield Idle(f"feed.{key}", why, "leave it out, or have this host's clock move time")


def _of_days(config: Config) -> Iterator[Idle]:
    if config.by_the_wall:
        return
    replay = config.feed.type == "replay"
    why = f"where {'feed.type is replay' if replay else 'clock.time is feed'}"
    for key in _changed(config.day, *OF_WALL_DAYS):
        todo = "leave it out; days go by this host's clock where a live feed's do"
        yield Idle(f"day.{key}", why, todo)


def _of_scans(config: Config) -> Iterator[Idle]:
    if not config.scanners:
        return
    from openbell.market.scanners import BUILT_IN  # imports numpy

    for place, scan in enumerate(config.scanners):
        if scan.then == "add" and scan.type in BUILT_IN:
            yield Idle(
                f"scanners[{place}].then: add",
                f"with {scan.type}, which finds symbols that the run has already",
                "write then: follow, or name a scan of your own",
            )


def _of_sinks(config: Config) -> Iterator[Idle]:
    for place, sink in enumerate(config.sinks):
        where = f"sinks[{place}]"
        if not sink.signals and not sink.events:
            todo = "leave it out, or write which events it is sent"
            yield Idle(where, "where signals is false and events is empty", todo)
        elif not sink.signals and sink.kinds != KINDS:
            yield Idle(f"{where}.kinds", "beside signals: false", "leave one of the two out")
        if not sink.digest.window.ns and _changed(sink.digest, "max"):
            todo = "write digest.window too, e.g. 10s, or leave it out"
            yield Idle(f"{where}.digest.max", "without digest.window", todo)


def _of_the_process(config: Config) -> Iterator[Idle]:
    if config.store.replicas and config.store.url.startswith(("sqlite", "memory")):
        todo = "leave it out, or name a Redis in store.url"
        yield Idle("store.replicas", "on a store that has none", todo)
    supervision = config.supervision
    if supervision.deadman.url is None and _changed(supervision.deadman, "every"):
        todo = "write the url too, or leave it out"
        yield Idle("supervision.deadman.every", "without supervision.deadman.url", todo)
    if not supervision.restarts and _changed(supervision, "within"):
        why = "beside restarts: 0, by which the first failure is one too many"
        yield Idle("supervision.within", why, "leave one of the two out")
    if not config.web.enabled:
        for key in _changed(config.web, "host", "port", "token"):
            todo = "write web.enabled: true, or leave it out"
            yield Idle(f"web.{key}", "where web.enabled is false", todo)


def _changed(section: Section, *keys: str) -> list[str]:
    """Those of some keys that are not at their default."""
    fields = type(section).model_fields
    return [key for key in keys if getattr(section, key) != fields[key].default]


def _all_changed(section: Section) -> list[str]:
    return _changed(section, *type(section).model_fields)
