"""What somebody wants of a sink, done without a run."""

from __future__ import annotations

from typing import Any

from openbell.adapters.stores import Store
from openbell.errors import ConfigError, LeaseLost
from openbell.runtime.config import Config
from openbell.runtime.delivery.deliveries import Deliveries
from openbell.runtime.lifetime.lease import Heartbeat, acquired
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.record.telling import Telling


def delivered_alone(config: Config, store: Store, name: str, *, delivers: bool) -> dict[str, Any]:
    """Take the lease for as long as it takes to do what is asked of a sink.

    Parameters
    ----------
    delivers : bool
        Whether what waits is delivered then, as far as the receiver takes it.

    Returns
    -------
    How the sink fares then.

    Raises
    ------
    ConfigError
        If the configuration has no such sink.
    LeaseLost
        If a process that lives has the lease: it will find what is asked.
    """
    if name not in (sink.called for sink in config.sinks):
        raise ConfigError(
            f'no sink is called "{name}" in the configuration; add it, or name another'
        )
    fence = acquired(store, config.lease.ttl, standby=None)
    lost: list[BaseException] = []
    telling = Telling()
    telling.fence = fence
    heartbeat = Heartbeat(store, fence, config.lease.ttl, lost.append, telling)
    in_memory = config.store.url == "memory://"
    try:
        heartbeat.start()
        deliveries = Deliveries(
            config,
            lambda: store if in_memory else open_configured_store(config),
            fence,
            (),
            telling.tell,
            live_from_ns=0,
            only=name,
        )
        try:
            (courier,) = deliveries.couriers
            courier.obey()
            signals = store.head().signals
            if delivers:
                deliveries.start()
                deliveries.drain(signals, lambda: bool(lost) or courier.failures > 1)
        finally:
            deliveries.stop()
            telling.bring_to(store)
        if lost:
            raise LeaseLost(str(lost[0]))
        (status,) = deliveries.status(signals)
        return status
    finally:
        heartbeat.stop()
        store.release(fence)
