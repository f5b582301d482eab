"""Keys of how a run is operated, and where its signals go: none decides an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from openbell.market.kinds import KINDS, Kind
from openbell.runtime.config import values
from openbell.runtime.config.fields import (
    Allowance,
    Bytes,
    Count,
    Date,
    Giving,
    Limit,
    Moment,
    Namespace,
    Options,
    Port,
    Problem,
    Seconds,
    Section,
    Some,
    Span,
    Speed,
    StoreUrl,
    Text,
    Wait,
    days_in_order,
)
from openbell.runtime.config.values import Duration, Size


class DigestConfig(Section):
    """Several signals in one message."""

    window: Allowance = Field(
        default=Duration(0),
        description="How long a message waits for more signals; 0: each is a message of its own.",
    )
    max: Some = Field(default=20, description="Signals that one message has at most.")


class SinkConfig(Section):
    """Somewhere signals are sent."""

    type: Text = Field(
        description="`stdout`, `file`, `redis`, `webhook`, `apprise`, `exec`, or a plug-in's name.",
        examples=["stdout"],
    )
    name: Namespace | None = Field(
        default=None,
        description="Its name, once in a configuration: where it has come to is kept by it; null: "
        "its type.",
    )
    options: Options = Field(default={}, description="What the sink's type needs.")
    signals: bool = Field(default=True, description="Whether signals are sent.")
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        default=KINDS,
        description="Which signals are sent: `breakout`, `closed_beyond` and `retest`, which follow "
        "one; the others are passed over.",
    )
    events: tuple[Text, ...] = Field(
        default=(),
        description="Which events are sent too, e.g. `[day.error, feed.silent]`; `feed`: all whose "
        "kind begins so.",
    )
    begin: Literal["now", "start"] = Field(
        default="now",
        description="Where a sink begins that was not there before: `now`: with what is found from "
        "then on; `start`: with the first signal of the log.",
    )
    digest: DigestConfig = DigestConfig()
    rate: Limit | None = Field(
        default=None,
        description="Messages sent at most, e.g. `20/m`; null: as many as there are.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(10 * values.UNITS_NS["s"]), description="How long one try may take."
    )
    give_up: Giving | None = Field(
        default=None,
        description="Tries (`10`) or time (`1h`) after which a message is given up; null: never.",
    )
    on_give_up: Literal["stop", "dead_letter"] = Field(
        default="stop",
        description="`stop`: the sink waits for `openbell sinks retry` or `skip`; `dead_letter`: "
        "the message is put aside, and the next one is sent.",
    )

    @property
    def called(self) -> str:
        return self.name or self.type


class BacktestConfig(Section):
    """What `openbell backtest` does."""

    start: Moment | None = Field(
        default=None,
        description="First day, or a time in it (`2024-07-02T12:45`, local to the exchange): what "
        "was known before is read first; null: the first trading day with a row inside its hours.",
    )
    end: Date | None = Field(
        default=None,
        description="Last day; null: the last trading day with a row inside its hours.",
    )
    speed: Speed = Field(default=0.0, description="Market time a wall time; 0: as fast as it goes.")
    dispatcher: Literal["inline", "threads"] = Field(
        default="inline",
        description="`inline`: all actors on one thread; `threads`: one each, as `openbell run` "
        "has them.",
    )

    def _contradictions(self) -> Iterator[Problem]:
        yield from days_in_order(self.start, self.end)


class StoreConfig(Section):
    """Where snapshots, sessions, signals and the audit trail live."""

    url: StoreUrl = Field(
        default="sqlite:///state/openbell.db",
        description="`sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://…` or `memory`.",
    )
    keep_days: Some = Field(
        default=30, description="Days whose step log, journal and first snapshot are kept."
    )
    backlog: Bytes = Field(
        default=Size(64 * 2**20),
        description="Finished steps that may wait for the store before time stops.",
    )
    replicas: Count = Field(
        default=0, description="Redis replicas that must hold a signal before it is seen."
    )


class SnapshotConfig(Section):
    """Snapshots of the whole system."""

    every: Span = Field(
        default=Duration(60 * values.UNITS_NS["s"]), description="How often, beside the boundaries."
    )
    keep: Some = Field(default=5, description="How many of the last ones stay.")


class LeaseConfig(Section):
    """Who writes, when several processes share a store."""

    ttl: Span = Field(
        default=Duration(5 * values.UNITS_NS["s"]),
        description="Silence of the holder after which another process takes over.",
    )


class DeadmanConfig(Section):
    """A URL of a service that raises an alarm when it is not asked for."""

    url: Text | None = Field(
        default=None,
        description="What is asked for, with GET, while the run is ready; null: nothing.",
    )
    every: Span = Field(default=Duration(60 * values.UNITS_NS["s"]), description="How often.")

    def _contradictions(self) -> Iterator[Problem]:
        if self.url is not None and not values.is_web_url(self.url):
            yield ("url",), 'write a URL that begins with "https://" or "http://"'


class SupervisionConfig(Section):
    """What happens when an actor fails, and what is done when the run is not ready."""

    restarts: Count = Field(
        default=3, description="Restarts `within` that time before the day goes to ERROR."
    )
    within: Span = Field(
        default=Duration(60 * values.UNITS_NS["s"]), description="The time in which restarts count."
    )
    unready_exit: Wait | None = Field(
        default=None,
        description="How long `openbell run` may be not ready before it ends with exit code 6; a "
        "bare number is minutes. null: for ever.",
    )
    deadman: DeadmanConfig = DeadmanConfig()


class WebConfig(Section):
    """Health checks, metrics and the dashboard."""

    enabled: bool = Field(
        default=False,
        description="Whether `openbell run` answers `/healthz`, `/readyz`, `/metrics`.",
    )
    host: Text = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8700, description="Port to listen on; 0: any free one.")
    token: Text | None = Field(
        default=None,
        description="What who asks has to show (`Authorization: Bearer …`), e.g. "
        "`file:/run/secrets/openbell_token`; needed unless `host` is this machine alone.",
    )

    def _contradictions(self) -> Iterator[Problem]:
        if self.enabled and self.token is None and not values.is_loopback(self.host):
            yield (
                ("host",),
                "others can reach it: set web.token too, or write 127.0.0.1",
            )


class LogConfig(Section):
    """The log of `openbell run`, on stderr."""

    level: Literal["debug", "info", "warning", "error"] | None = Field(
        default=None,
        description="The least severe line that is shown, where `--log-level` does not say; null: "
        "no log.",
    )
