"""What becomes of a run whose actors raise: they begin again, or the day is in ERROR until somebody
says to recover."""

from __future__ import annotations

import json
import traceback
from collections import deque

import orjson
from loguru import logger

from openbell.actors import clock
from openbell.adapters.stores import Head, Store
from openbell.errors import DayFailed, way_out
from openbell.hosttime import Monotonic, monotonic
from openbell.messages.control import LoadFailed, Prepared, RollFailed
from openbell.messages.time import Grant
from openbell.runtime.config.model import SupervisionConfig
from openbell.runtime.kernel.cells import ActorFailed
from openbell.runtime.record.talking import Talking

RECOVER = b"recover"
"""The command that leaves ERROR."""
RECOVER_SECONDS = 0.25
"""How often who waits for it looks whether it has come."""


def recovering() -> str:
    """How ERROR is left."""
    return way_out("`openbell recover`", "Runtime.from_config(…, recover=True)")


class Supervision:
    """Counts what fails, and leads into ERROR and out of it."""

    def __init__(
        self, store: Store, fence: int, talking: Talking, limits: SupervisionConfig
    ) -> None:
        self._store = store
        self._fence = fence
        self._talking = talking
        self.limits = limits
        self._failures: deque[Monotonic] = deque()
        self._failed_on: set[tuple[str, int, str]] = set()
        self.error: str | None = None
        """Why the day is in ERROR."""

    def failed(self, failure: ActorFailed) -> None:
        """Let the actors begin again, or give up.

        Raises
        ------
        DayFailed
        """
        limits, now = self.limits, monotonic()
        cause = failure.__cause__
        about = (failure.actor, failure.step, type(failure.message).__name__)
        poison = about in self._failed_on
        self._failed_on.add(about)
        self._failures.append(now)
        while now - self._failures[0] > limits.within.seconds:
            self._failures.popleft()
        logger.opt(exception=cause).error("{}: {!r}", failure, cause)
        if not poison and len(self._failures) <= limits.restarts:
            self._talking.tell("run.restarted", f"{failure}: {cause!r}")
            return
        why = "twice on the same message" if poison else f"{len(self._failures)} times"
        dead = {
            "actor": failure.actor,
            "step": failure.step,
            "message": type(failure.message).__name__,
            "error": repr(cause),
            "why": why,
            "traceback": "".join(traceback.format_exception(cause)) if cause else "",
        }
        line = self._talking.telling.line(
            "day.error", f"{failure} {why}: {cause!r}", after="ERROR", step=failure.step
        )
        self._talking.note({"error": orjson.dumps(dead)}, line)
        raise DayFailed(
            f"{failure}, {why}: {cause!r}; everything before is kept, "
            f"{way_out('`openbell status` shows the message ', '')}and {recovering()} tries again"
        ) from failure

    def recover_asked(self) -> bool:
        """Whether somebody has said to recover."""
        commands = self._talking.answered(lambda: self._store.commands(self._fence))
        return RECOVER in commands

    def refuse_in_error(self, head: Head) -> None:
        """
        Raises
        ------
        DayFailed
            If a message failed too often, and nobody wants it tried again.
        """
        error = head.meta.get("error")
        if error and not self.recover_asked():
            dead = json.loads(error)
            raise DayFailed(
                f"{dead['actor']} failed at step {dead['step']} on {dead['message']}: "
                f"{dead['error']}; in ERROR, {recovering()} leaves it"
            )

    def leave_error(self, head: Head, ended: clock.State, prepared: Prepared) -> tuple[Head, bool]:
        """Do what RECOVER asks for.

        The command goes when what it asks for is durable: that the last step is to be followed by
        a Recover, which holds until it is.

        Returns
        -------
        head : Head
            As it is then.
        recover : bool
            Whether a day whose rows were not had is tried again.
        """
        failed = ended.ended is not None and ended.ended.error is not None
        if prepared.grants and isinstance(last := prepared.grants[-1], Grant):
            failed = any(isinstance(entered, LoadFailed | RollFailed) for entered in last.inputs)
        step = str(head.step).encode()
        if self.recover_asked():
            dead, asked = head.meta.get("error"), head.meta.get("recover") == step
            if dead or (failed and not asked):
                meta = {"error": b"", **({"recover": step} if failed else {})}
                line = self._talking.telling.line("run.recovered", "somebody asked for it")
                self._talking.note(meta, line)
                self._failures.clear()
                self._failed_on.clear()
            self._talking.answered(lambda: self._store.take_commands(self._fence))
            head = self._talking.answered(self._store.head)
            self.error = None
        return head, failed and head.meta.get("recover") == step
