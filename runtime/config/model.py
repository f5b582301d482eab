"""A configuration as a whole; its sections, each key with its type, its default and what it means, are
in the modules beside this one.

The models are the schema. Attributes are named as the keys; a key without a value (`feed:`) has
its default. Where values contradict each other, the model says so, all contradictions at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema

from openbell.runtime.config import conditions, values
from openbell.runtime.config.calendar import CalendarConfig, InstrumentColumns, InstrumentsConfig
from openbell.runtime.config.feed import ClockConfig, DayConfig, FeedConfig, PrefetchConfig
from openbell.runtime.config.fields import (
    Allowance,
    Companion,
    ExchangeName,
    Namespace,
    Problem,
    Section,
    Segment,
    Symbols,
)
from openbell.runtime.config.operation import (
    BacktestConfig,
    DeadmanConfig,
    DigestConfig,
    LeaseConfig,
    LogConfig,
    SinkConfig,
    SnapshotConfig,
    StoreConfig,
    SupervisionConfig,
    WebConfig,
)
from openbell.runtime.config.pace import Pace
from openbell.runtime.config.sessions import (
    BreakoutConfig,
    BreakoutOverrides,
    ScannerConfig,
    SessionConfig,
)
from openbell.runtime.config.stored import (
    CsvConfig,
    DataColumns,
    DataConfig,
    HistoryConfig,
    HistoryData,
    IndicatorConfig,
    UpkeepConfig,
)
from openbell.runtime.config.values import Duration

__all__ = [
    "DIGEST_LEAVES_OUT",
    "FEED_DECIDES",
    "LIVE_FEED_DECIDES",
    "OF_LIVE_DAYS",
    "ONLY_WHERE_SET",
    "READ_AGAIN",
    "ROW_RULES",
    "BacktestConfig",
    "BreakoutConfig",
    "BreakoutOverrides",
    "CalendarConfig",
    "ClockConfig",
    "Config",
    "CsvConfig",
    "DataColumns",
    "DataConfig",
    "DayConfig",
    "DeadmanConfig",
    "DigestConfig",
    "FeedConfig",
    "HistoryConfig",
    "HistoryData",
    "IndicatorConfig",
    "InstrumentColumns",
    "InstrumentsConfig",
    "LeaseConfig",
    "LogConfig",
    "PrefetchConfig",
    "ScannerConfig",
    "Section",
    "SessionConfig",
    "SinkConfig",
    "SnapshotConfig",
    "StoreConfig",
    "SupervisionConfig",
    "UpkeepConfig",
    "WebConfig",
    "config_schema",
]

DIGEST_LEAVES_OUT: dict[str, frozenset[str] | None] = {
    "name": None,
    "instruments": frozenset({"file"}),
    "data": frozenset({"path"}),
    "upkeep": frozenset({"check_interval_seconds"}),
    "feed": None,
    "prefetch": None,
    "day": None,
    "sinks": None,
    "sinks_max_age": None,
    "backtest": None,
    "store": None,
    "snapshot": None,
    "lease": None,
    "supervision": None,
    "web": None,
    "log": None,
}
"""Keys that change how a run is operated but no answer; None: the whole section. What a file of
instruments says is kept beside the configuration, as it is another one from day to day."""

ONLY_WHERE_SET: dict[str, frozenset[str]] = {
    "breakout": frozenset({"closed_beyond", "retest", *conditions.KEYS}),
    "calendar": frozenset({"segments"}),
    "data": frozenset({"allow_negative_prices", "csv", "files", "order", "time_shift"}),
    "instruments": frozenset(
        {"columns", "date_format", "filters", "layout", "segments", "tick_scale"}
    ),
}
"""Keys that are part of what determines the answers only where they are not at their default, so
that state and digests from before there were such keys go on to hold."""

OF_LIVE_DAYS: dict[str, frozenset[str]] = {
    "day": frozenset({"timeout_seconds"}),
    "prefetch": frozenset({"timeout_seconds"}),
}
"""Keys that are part of what determines the answers where a feed is live: what came too late, or not
at all, is no input of such a day."""

ROW_RULES = ("revisions", "size_is", "dedupe", "on_partial")
"""Keys of `feed` that say what rows mean that are taken in the order in which they came; part of what
determines the answers where they are not at their default."""

READ_AGAIN = frozenset({"special_sessions", "closures", "early_closes", "segments"})
"""Keys of `calendar` that are read for each day where days follow each other by the host's clock: the
record has each day's hours, and keeps them."""

LIVE_FEED_DECIDES = ("suspect_seconds", "symbol_suspect_seconds")
"""Keys of a live feed that are part of it where they are not at their default."""

FEED_DECIDES = frozenset(
    {"bar_label", "fields", "rows", "symbols", "timezone", "ts_format", "ts_unit", "where"}
)
"""Options of a live feed that say what its rows mean."""


class Config(Section):
    """A configuration of openbell; immutable."""

    name: Namespace = Field(
        default="default", description="Namespace of all state, so that several can share a store."
    )
    exchange: ExchangeName = Field(
        description="Whose calendar is followed: a MIC such as `XNYS` or `XNSE`, a name of "
        "exchange_calendars or pandas_market_calendars, or `24/7`.",
        examples=["XNYS"],
    )
    segment: Segment = Field(
        default="equity", description="Product, where an exchange's hours depend on it."
    )
    symbols: Symbols = Field(
        default="all",
        description="`all` that the data has, a list, or `{file: instruments.csv}` that has them; "
        "`column` names the one of several. What was [added or removed]"
        "(live.md#symbols-that-come-and-go) while a run went on holds beside it.",
    )
    companions: Mapping[str, Companion] = Field(
        default={},
        description="Symbol → another whose price is recorded with its signals, e.g. "
        "`{NIFTY: NIFTY30SEP25FUT}`. Unless it is among `symbols` too, it has no signals of its own. "
        "`{future: NIFTY, roll: expiry}`: each day the future of `instruments` that expires next; "
        "`roll: 3d`: used through the third trading day before its expiry.",
    )
    instruments: InstrumentsConfig = InstrumentsConfig()
    sessions: tuple[SessionConfig, ...] = Field(
        min_length=1,
        description="The windows whose levels are watched.",
        examples=['[{name: Opening, start: "09:30", end: "09:35"}]'],
    )
    breakout: BreakoutConfig = BreakoutConfig()
    data: DataConfig = DataConfig()
    feed: FeedConfig = FeedConfig()
    clock: ClockConfig = ClockConfig()
    upkeep: UpkeepConfig = UpkeepConfig()
    history: HistoryConfig = HistoryConfig()
    prefetch: PrefetchConfig = PrefetchConfig()
    day: DayConfig = DayConfig()
    calendar: CalendarConfig = CalendarConfig()
    scanners: tuple[ScannerConfig, ...] = Field(
        default=(),
        description="Scans, which look at the market before the open and in the day, and name symbols.",
    )
    sinks: tuple[SinkConfig, ...] = Field(default=(), description="Where signals are sent.")
    sinks_max_age: Allowance = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="Signals found in the past of a late start are sent when younger than this.",
    )
    backtest: BacktestConfig = BacktestConfig()
    store: StoreConfig = StoreConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    lease: LeaseConfig = LeaseConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()

    @property
    def paired(self) -> Mapping[str, str]:
        """Companions that are the same on all days."""
        return {of: name for of, name in self.companions.items() if isinstance(name, str)}

    @property
    def futures(self) -> Mapping[str, values.Future]:
        """Companions that are another contract from time to time."""
        return {
            of: future
            for of, future in self.companions.items()
            if isinstance(future, values.Future)
        }

    def breakout_for(self, session: SessionConfig) -> BreakoutConfig:
        """The rules that hold for a session: `breakout`, with the session's own keys over it."""
        own = {key: value for key, value in session.breakout if value is not None}
        return self.breakout.model_copy(update=own)

    def pace(self) -> Pace:
        """How market time goes in a run that keeps its state."""
        pace = self.feed.pace()
        return replace(pace, wall=True) if self.by_the_wall else pace

    @property
    def by_the_wall(self) -> bool:
        """Whether the host's clock moves time."""
        return self.feed.type != "replay" and self.clock.time != "feed"

    def resolved(self, now: datetime) -> Config:
        """With what moves time said, where `clock.time` leaves it to the instant of the start."""
        if self.feed.type == "replay" or self.clock.time is not None:
            return self
        # A day's margin: a run that is about to end its last day, wherever it is, stays what it was.
        end = self.feed.end
        past = end is not None and now.astimezone(UTC).date() > end + timedelta(days=1)
        clock = self.clock.model_copy(update={"time": "feed" if past else "wall"})
        return self.model_copy(update={"clock": clock})

    def determining(self) -> dict[str, Any]:
        """The keys that determine the answers, as they take effect: all but DIGEST_LEAVES_OUT."""
        kept = self.model_dump(
            mode="json",
            exclude={key: True if of is None else set(of) for key, of in DIGEST_LEAVES_OUT.items()},
        )
        for section, keys in ONLY_WHERE_SET.items():
            given = getattr(self, section)
            for key in keys:
                if getattr(given, key) == type(given).model_fields[key].default:
                    del kept[section][key]
            if not kept[section]:
                del kept[section]
        for session, written in zip(self.sessions, kept["sessions"], strict=True):
            own = self.breakout_for(session)
            left_out = {
                key
                for key in ONLY_WHERE_SET["breakout"] - kept["breakout"].keys()
                if getattr(own, key) == BreakoutConfig.model_fields[key].default
            }
            written["breakout"] = own.model_dump(mode="json", exclude=left_out)
            if session.auction is None:
                del written["auction"]
        for scan, written in zip(self.scanners, kept["scanners"], strict=True):
            del written["worker"]
            if scan.catch_up is None:
                del written["catch_up"]
        if self.feed.type != "replay":
            whole = self.model_dump(mode="json", include={"feed", *OF_LIVE_DAYS})
            options = whole["feed"]["options"]
            decides = {key: options[key] for key in FEED_DECIDES & options.keys()}
            kept["feed"] = {"type": self.feed.type, "options": decides}
            for key in LIVE_FEED_DECIDES:
                if getattr(self.feed, key) != FeedConfig.model_fields[key].default:
                    kept["feed"][key] = whole["feed"][key]
            kept["feed"] |= self._row_rules()
            for section, keys in OF_LIVE_DAYS.items():
                kept[section] = {key: whole[section][key] for key in keys}
        elif self.data.order == "arrival" and (rules := self._row_rules()):
            kept["feed"] = rules
        for column in ("trade_id", "partial"):
            if kept["data"]["columns"][column] is None:
                del kept["data"]["columns"][column]
        del kept["clock"]["time"]
        if self.by_the_wall:
            kept["clock"]["time"] = "wall"
            for key in READ_AGAIN:
                kept["calendar"].pop(key, None)
        return kept

    def _row_rules(self) -> dict[str, str]:
        return {
            key: getattr(self.feed, key)
            for key in ROW_RULES
            if getattr(self.feed, key) != FeedConfig.model_fields[key].default
        }

    def with_determining(self, kept: Mapping[str, Any]) -> Config:
        """This one, but with other keys of those that determine the answers."""
        written: dict[str, Any] = self.model_dump(mode="json")
        for key in ROW_RULES:
            written["feed"][key] = FeedConfig.model_fields[key].default
        for key, value in kept.items():
            if key == "feed":
                at_default = {of: FeedConfig.model_fields[of].default for of in LIVE_FEED_DECIDES}
                kept_feed = {of: value.get(of, values.written(at_default[of])) for of in at_default}
                options = {**written[key]["options"], **value.get("options", {})}
                written[key] = {**written[key], **kept_feed, **value, "options": options}
                continue
            if key == "clock":
                live = self.feed.type != "replay"
                value = {**value, "time": value.get("time", "feed" if live else self.clock.time)}
            partly = DIGEST_LEAVES_OUT.get(key) is not None or key in {*OF_LIVE_DAYS, "calendar"}
            if partly:
                at_default = ONLY_WHERE_SET.get(key, frozenset()) - value.keys()
                if key == "calendar" and kept["clock"].get("time") == "wall":
                    at_default -= READ_AGAIN
                others = {name: of for name, of in written[key].items() if name not in at_default}
                value = {**others, **value}
            written[key] = value
        if _by_instruments(written):
            # The file may not be configured any more; what it said is kept with the days.
            written["instruments"]["file"] = written["instruments"]["file"] or "instruments"
        # They are kept as they take effect: with the common size of a tick, which is no key there.
        allowed = BreakoutOverrides.model_fields
        written["sessions"] = [
            {**of, "breakout": {k: v for k, v in of["breakout"].items() if k in allowed}}
            for of in written["sessions"]
        ]
        return Config.model_validate(written)

    def digest(self) -> str:
        """Hex digest of what determines the answers; equal for equal answers from equal input.

        Two ways to write the same configuration have the same digest.
        """
        text = json.dumps(
            self.determining(), sort_keys=True, ensure_ascii=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _contradictions(self) -> Iterator[Problem]:
        for key in ("sessions", "scanners"):
            names = [item.name for item in getattr(self, key)]
            for place, name in enumerate(names):
                if name in names[:place]:
                    first = names.index(name)
                    yield (key, place, "name"), f"{key}[{first}] has that name; write another"
        sessions = [session.name for session in self.sessions]
        for place, scan in enumerate(self.scanners):
            session = scan.options.get("session") if scan.type == "range_width" else None
            if isinstance(session, str) and session and session not in sessions:
                yield (
                    ("scanners", place, "options", "session"),
                    f"no session is called so; write one of {', '.join(sessions)}",
                )
        called = [sink.called for sink in self.sinks]
        for place, name in enumerate(called):
            if name in called[:place]:
                first = called.index(name)
                yield ("sinks", place, "name"), f"sinks[{first}] has that name; write another"
        if self.feed.type == "replay" and self.data.order == "time":
            for key in self._row_rules():
                yield (
                    ("feed", key),
                    "set data.order: arrival too; rows put in time order don't tell what came first",
                )
        if self.feed.dedupe == "trade_id" and self.data.kind == "bars":
            yield ("feed", "dedupe"), "write same or none; bars have no trade_id"
        if self.feed.on_partial == "drop" and self.data.kind == "ticks":
            yield ("feed", "on_partial"), "leave it out; ticks are never partial"
        if self.feed.revisions == "amend":
            yield from self._not_amended()
        for symbol, companion in self.companions.items():
            if symbol == companion:
                yield ("companions", symbol), "name another symbol; it is its own companion"
            if isinstance(companion, values.Future) and self.instruments.file is None:
                yield (
                    ("companions", symbol),
                    "set instruments.file too, which says when which future is traded",
                )
        if self.breakout.tick_size is None and self.instruments.file is None:
            needed = "set breakout.tick_size too, e.g. 0.05, or instruments.file"
            yield from _in_ticks(("breakout",), self.breakout, needed)
            for place, session in enumerate(self.sessions):
                yield from _in_ticks(("sessions", place, "breakout"), session.breakout, needed)
        yield from conditions.contradictions(self)

    def _not_amended(self) -> Iterator[Problem]:
        """Of what bars that come again can't take the place of earlier ones."""
        at = ("feed", "revisions")
        if self.data.kind == "ticks":
            yield at, "write freeze; ticks are not revised, each of them counts"
            return
        if self.feed.size_is == "day_total":
            yield (
                at,
                "write freeze, or feed.size_is: trade; of a total of the day no bar's part is replaced",
            )
        if self.data.interval.ns >= values.UNITS_NS["m"]:
            return
        asks = [self.breakout, *map(self.breakout_for, self.sessions)]
        if self.scanners or any(isinstance(of.volume, conditions.Volume) for of in asks):
            problem = (
                f"write freeze; what scans and breakout.volume see of bars of {self.data.interval} "
                "is made of whole minutes, in which no bar is replaced"
            )
            yield at, problem


def _in_ticks(
    where: tuple[str | int, ...], of: BreakoutConfig | BreakoutOverrides, needed: str
) -> Iterator[Problem]:
    """Keys that are written in ticks."""
    if of.buffer and of.buffer.unit == "ticks":
        yield (*where, "buffer"), needed
    if of.retest and of.retest.tolerance.unit == "ticks":
        yield (*where, "retest"), needed


def _by_instruments(written: Mapping[str, Any]) -> bool:
    """Whether a configuration that is written down needs a file of instruments."""
    rules = [of["breakout"] for of in (written, *written["sessions"])]
    widths = [of.get(key) for of in rules for key in ("buffer", "retest")]
    in_ticks = any("tick" in str(width) for width in widths)
    return (in_ticks and written["breakout"]["tick_size"] is None) or any(
        isinstance(companion, Mapping) for companion in written["companions"].values()
    )


class _SchemaGenerator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(values.written(dft))  # else a Duration is {"ns": …}


def config_schema() -> dict[str, Any]:
    """The JSON schema of a configuration, for editors and programs."""
    schema = Config.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
