"""Who may write: the lease is taken, waited for, and kept by a heartbeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from loguru import logger

from openbell.adapters.stores import Fenced, LeaseHeld, Store, Unavailable, this_process
from openbell.errors import LeaseLost, StoreError
from openbell.hosttime import Monotonic, monotonic
from openbell.runtime.config.values import Duration
from openbell.runtime.record.telling import Telling

LOOK_SECONDS = 0.25
"""How often a standby looks, at least, whether the lease is free."""


def acquired(store: Store, ttl: Duration, standby: Callable[[LeaseHeld], None] | None) -> int:
    """The fencing token of the lease.

    Without `standby` it is waited for only where the holder can't be seen from here, and no longer
    than it takes to tell by its heartbeat whether it lives: a container that was killed and started
    again finds a lease that nobody gave back.

    Raises
    ------
    LeaseLost
        If a process that lives has it, and it is not waited for.
    """
    waited = False
    seen_at: Monotonic | None = None
    while True:
        asked_at = monotonic()
        try:
            return store.acquire(this_process(), ttl.ns)
        except LeaseHeld as held:
            # Since it was seen first: a store that is slow to answer is no sign that the holder lives.
            seen_at = monotonic() if seen_at is None else seen_at
            if standby is not None:
                standby(held)
            elif held.lives or asked_at - seen_at > 1.5 * ttl.seconds:
                raise LeaseLost(str(held)) from None
            waited = True
        except Unavailable as error:
            if not waited:
                raise
            logger.warning("waiting for the lease: {}", error)
        time.sleep(min(ttl.seconds / 4, LOOK_SECONDS))


class Heartbeat:
    """Shows, on a thread of its own, that this process lives.

    Parameters
    ----------
    fail : callable
        Gets what ends the run: the lease is somebody else's, or the store refuses.
    telling : Telling, optional
        What is told is brought to the audit trail, as nobody else can wait for the store.
    """

    def __init__(
        self,
        store: Store,
        fence: int,
        ttl: Duration,
        fail: Callable[[BaseException], None],
        telling: Telling | None = None,
    ) -> None:
        self._store = store
        self._fence = fence
        self._pause = ttl.seconds / 3
        self._fail = fail
        self.telling = telling or Telling()
        self.telling.woken = lambda: self._woken.set()
        self.beside: Callable[[], Mapping[str, bytes]] | None = None
        """What each heartbeat has the store keep beside the commits, by key."""
        self.beat_at = time.monotonic()
        """When the store last had a heartbeat, by the monotonic clock."""
        self._ended = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="openbell-lease", daemon=True)

    def start(self) -> None:
        """Renew the lease from now on; does nothing if it is renewed already."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self, *, brings: bool = True) -> None:
        """Renew it no more; a renewal that is under way ends first. `brings`: what was told is
        still brought to the audit trail, if the store answers."""
        self._ended = True
        self._woken.set()
        if self._thread.ident is not None:
            self._thread.join()
        if brings and self.telling.waits:
            self.beat()

    def _renew(self) -> None:
        is_ours, due = True, time.monotonic() + self._pause
        while is_ours:
            came = self._woken.wait(max(0.0, due - time.monotonic()))
            self._woken.clear()
            if self._ended:
                return
            if came:
                self.bring()
            if time.monotonic() >= due:
                is_ours, due = self.beat(), time.monotonic() + self._pause

    def bring(self) -> None:
        """Bring what was told to the audit trail; what the store does not take, a heartbeat brings."""
        try:
            self.telling.bring_to(self._store)
        except Unavailable as error:
            logger.debug("the audit trail could not be added to: {}", error)
        except StoreError as error:
            self._fail(error)

    def beat(self) -> bool:
        """Show that this process lives; False if the lease is somebody else's."""
        try:
            self._store.renew(self._fence)
            self.beat_at = time.monotonic()
            self.telling.bring_to(self._store)
            if told := self._told():
                self._store.keep(self._fence, told)
        except Fenced as error:
            self._fail(LeaseLost(f"the lease was lost: {error}"))
            return False
        except Unavailable as error:
            logger.debug("the lease could not be renewed: {}", error)
        except StoreError as error:  # ends the run; until then, as in ERROR, the lease is ours
            self._fail(error)
        return True

    def _told(self) -> Mapping[str, bytes]:
        try:
            return {} if self.beside is None else self.beside()
        except Exception:  # noqa: BLE001 the lease must not be lost for what is only shown
            logger.exception("what only this process knows of the run could not be told")
            return {}
