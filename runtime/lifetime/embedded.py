"""A durable run inside of another program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from loguru import logger

from openbell.adapters.stores import Store, this_process
from openbell.runtime.config import Config
from openbell.runtime.config.effects import accept
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.lifetime.supervision import RECOVER
from openbell.runtime.results.events import StoredEvents
from openbell.runtime.results.signals import StoredLog


class EmbeddedRun(DurableRun):
    """A run that holds its lease from the beginning, and has a store of its own to close."""

    def __init__(self, config: Config, *, recover: bool = False, **options: Any) -> None:
        accept(config, "run", data=options.get("data"))
        store = open_configured_store(config)
        try:
            for warning in store.warnings():
                logger.warning("{}", warning)
            super().__init__(config, store, **options)
            if recover:
                store.send_command(RECOVER)
            self.keep_lease()
        except BaseException:
            store.close()
            raise

    def logs(self) -> tuple[StoredLog, StoredEvents]:
        """What is read beside the run."""
        store = self._store if self._is_shared else open_configured_store(self.config)
        return StoredLog(store, self.recorder.log), StoredEvents(store, self.telling.news)

    @contextmanager
    def beside(self) -> Iterator[Store]:
        """The store, to be read beside the run."""
        if self._is_shared:
            yield self._store
            return
        with closing(open_configured_store(self.config)) as store:
            yield store

    @property
    def _is_shared(self) -> bool:
        """A store in memory is the only one of its kind."""
        return self.config.store.url == "memory://"

    def liveliness(self) -> dict[str, Any]:
        holder, ledger = this_process(), self.engine.ledger
        return {
            "holder": f"process {holder.pid} on {holder.host}",
            "heartbeat_seconds": round(time.monotonic() - self.heartbeat.beat_at, 3),
            "committed_at": ledger.committed_at if ledger is not None else None,
        }

    def let_go(self) -> None:
        self.close()
        self._store.close()
