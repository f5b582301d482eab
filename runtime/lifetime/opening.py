"""The store that a configuration names, and a name in it that nothing is known of."""

from __future__ import annotations

from openbell.adapters.stores import Store, open_store
from openbell.errors import InputError, way_out
from openbell.runtime.config import Config
from openbell.runtime.lifetime.lease import acquired


def open_configured_store(config: Config) -> Store:
    """The store that a configuration names.

    Raises
    ------
    StoreError
        If it can't be opened; the text says why.
    """
    return open_store(config.store.url, config.name, replicas=config.store.replicas)


def empty_state(config: Config, *, force: bool) -> None:
    """Have nothing under the configuration's name in its store.

    Raises
    ------
    InputError
        If there is something; with `force` it is removed.
    LeaseLost
        If somebody is running it.
    """
    store = open_configured_store(config)
    try:
        head = store.head()
        if not head.step:
            return
        if not force:
            raise InputError(
                f'{store.location}: has the state of "{config.name}" already, up to step '
                f"{head.step}; pass {way_out('--force', 'force=True')} to replace it, or give the "
                "configuration another name"
            )
        acquired(store, config.lease.ttl, standby=None)
        store.delete()
    finally:
        store.close()
