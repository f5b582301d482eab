"""What Prometheus is told. Names and units follow its conventions; docs/operations.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Any

from openbell import __version__
from openbell.actors import clock, upkeep
from openbell.errors import InputError
from openbell.runtime.kernel.metrics import Buckets
from openbell.runtime.lifetime.observed import Observed
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.service.health import Health

DAY_STATES = (*("NOT_STARTED", "PRE_MARKET", "ACTIVE", "POST_MARKET", "ENDED", "TIMEOUT", "ERROR"),)

KIND = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All of them as text.

    Parameters
    ----------
    name : str
        Of the run.

    Raises
    ------
    openbell.errors.InputError
        If prometheus_client is not installed.
    """

    def __init__(
        self,
        name: str,
        observed: Observed,
        health: Callable[[], Health],
        run: Callable[[], DurableRun | None],
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry
            from prometheus_client.platform_collector import PlatformCollector
            from prometheus_client.process_collector import ProcessCollector
        except ImportError:
            raise InputError(
                "/metrics needs the package prometheus-client; run `pip install "
                "'openbell[metrics]'`"
            ) from None
        self._name, self._observed = name, observed
        self._health, self._run = health, run
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> str:
        from prometheus_client import generate_latest

        text: str = generate_latest(self._registry).decode()
        return text

    def describe(self) -> Iterable[Any]:
        """None, so that nothing is collected before it is asked for."""
        return ()

    def collect(self) -> Iterator[Any]:
        health, run, observed = self._health(), self._run(), self._observed
        yield from self._of_process(health)
        yield _histogram(
            "openbell_step_duration_seconds",
            "How long actors worked on a step.",
            observed.step_times,
        )
        yield _histogram(
            "openbell_commit_duration_seconds",
            "How long the store took for a commit, until it answered.",
            observed.commit_times,
        )
        yield _counter("openbell_signals", "Signals made durable.", observed.signals)
        yield _counter(
            "openbell_restarts",
            "Times that actors began again after one raised.",
            observed.restarts,
        )
        if run is not None:
            yield from _of_run(run, health)

    def _of_process(self, health: Health) -> Iterator[Any]:
        from prometheus_client.core import InfoMetricFamily, StateSetMetricFamily

        yield InfoMetricFamily(
            "openbell_build",
            "The program and its run.",
            {"version": __version__, "run": self._name},
        )
        yield _gauge("openbell_alive", "Whether the actors get on.", health.alive)
        yield _gauge("openbell_ready", "Whether a breakout would be reported.", health.ready)
        yield _gauge(
            "openbell_standby", "Whether another process is waited for.", health.phase == "standby"
        )
        states = {state: state == health.day_state for state in DAY_STATES}
        yield StateSetMetricFamily("openbell_day_state", "The trading day's state.", states)


def _of_run(run: DurableRun, health: Health) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    of_clock: clock.State = run.engine.cells[clock.NAME].state
    ledger = run.engine.ledger
    away = run.talking.away or (ledger is not None and ledger.talking.away)
    yield _gauge(
        "openbell_market_time_seconds", "Market time, since 1970 UTC.", of_clock.now_ns / 1e9
    )
    yield _gauge("openbell_step", "The number of the last step.", of_clock.step)
    yield _gauge(
        "openbell_lease_age_seconds", "Since the lease was renewed.", health.lease_seconds or 0.0
    )
    yield _gauge("openbell_lease_ttl_seconds", "`lease.ttl`.", run.config.lease.ttl.seconds)
    yield _gauge("openbell_store_up", "Whether the store answers.", not away)
    yield _counter("openbell_store_outages", "Times that the store did not.", len(run.outages))
    yield _counter(
        "openbell_store_outage_seconds", "For how long, once it answered again.", sum(run.outages)
    )
    waiting = 0 if ledger is None else ledger.waiting_bytes
    yield _gauge("openbell_backlog_bytes", "Finished steps that wait for the store.", waiting)
    limit = run.config.store.backlog.bytes
    yield _gauge("openbell_backlog_limit_bytes", "`store.backlog`.", limit)
    events = CounterMetricFamily("openbell_events", "What was told, by kind.", labels=["kind"])
    for kind, count in dict(run.telling.counts).items():
        events.add_metric([kind], count)
    yield events
    late = run.engine.cells[upkeep.NAME].state.today
    if late is not None and late.late is not None:
        yield _gauge(
            "openbell_day_late_rows",
            "Rows of the trading day that came after a window or a bucket of theirs was over.",
            int(late.late.rows.sum()),
        )
    if run.feed is not None:
        yield from _of_feed(run, health)
    yield from _of_sinks(run)


def _of_sinks(run: DurableRun) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    deliveries = run.deliveries
    if deliveries is None or not deliveries.couriers:
        return
    waiting = GaugeMetricFamily(
        "openbell_sink_waiting_signals", "Signals that a sink has not delivered.", labels=["sink"]
    )
    up = GaugeMetricFamily("openbell_sink_up", "Whether a sink delivers.", labels=["sink"])
    delivered = CounterMetricFamily(
        "openbell_sink_delivered_signals", "Signals that a sink has delivered.", labels=["sink"]
    )
    dead = GaugeMetricFamily(
        "openbell_sink_dead_letters", "Messages that a sink has put aside.", labels=["sink"]
    )
    for sink in deliveries.status(run.observed.logged):
        name = [sink["name"]]
        waiting.add_metric(name, sink["waits"])
        up.add_metric(name, float(sink["error"] is None and sink["state"] != "stopped"))
        delivered.add_metric(name, sink["delivered"])
        dead.add_metric(name, sink["dead_letters"])
    yield from (waiting, up, delivered, dead)


def _of_feed(run: DurableRun, health: Health) -> Iterator[Any]:
    from prometheus_client.core import CounterMetricFamily

    feed = run.feed
    assert feed is not None, "that is asked before"
    account = feed.account
    if health.feed_seconds is not None:
        yield _gauge("openbell_feed_age_seconds", "Since rows last came.", health.feed_seconds)
    yield _gauge("openbell_feed_up", "Whether the feed can be reached.", not feed.away)
    yield _counter("openbell_feed_gaps", "Times that rows may be missing.", feed.connection.gaps)
    yield _gauge("openbell_feed_waiting_rows", "Rows that wait to be acted on.", feed.depth)
    yield _counter("openbell_feed_rows", "Rows that came.", account.rows)
    unused = CounterMetricFamily(
        "openbell_feed_unused_rows", "Rows that came and were not used.", labels=["reason"]
    )
    for reason, count in account.unused().items():
        unused.add_metric([reason], count)
    yield unused
    refused = CounterMetricFamily(
        "openbell_feed_refused_entries", "What came and is no row.", labels=["kind"]
    )
    for kind, count in dict(account.refused).items():
        refused.add_metric([kind], count)
    yield refused


def _gauge(name: str, what: str, value: float) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, what, value=float(value))


def _counter(name: str, what: str, value: float) -> Any:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, what, value=float(value))


def _histogram(name: str, what: str, times: Buckets) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    counts = list(times.counts)
    upto = zip((*map(str, times.bounds), "+Inf"), accumulate(counts), strict=True)
    return HistogramMetricFamily(name, what, buckets=[*upto], sum_value=times.total)
