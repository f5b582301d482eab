"""What happens when a feed's login is refused: somebody renews it, and only then it is tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from loguru import logger

from openbell.errors import ConfigError
from openbell.market.days import SECOND_NS, MarketTime
from openbell.runtime.record.telling import Tell

TIMEOUT_SECONDS = 120.0
"""How long renewing may take."""

PAUSE_SECONDS, PAUSE_SECONDS_MAX = 60.0, 900.0
"""Between two attempts to renew; each time twice as long. Vendors lock accounts that try too often."""

Renew = Callable[[str], datetime | None]
"""Renews a login; gets why it was refused, and says until when the new one holds, if it knows."""


class Renewal:
    """Renews a login on a thread of its own, each time that it was refused.

    Parameters
    ----------
    renew : callable
    done : callable
        Told when that was done, to connect anew.
    still : callable
        Whether the login is still refused.
    tell : callable
        Gets a kind of event and a sentence.
    """

    def __init__(
        self,
        renew: Renew,
        done: Callable[[], None],
        still: Callable[[], bool],
        tell: Tell,
        name: str,
    ) -> None:
        self._renew, self._done, self._still = renew, done, still
        self._tell, self._name = tell, name
        self._closed = threading.Event()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.expires_ns: MarketTime | None = None
        """Until when the last one holds, as who renewed it says."""

    def refused(self, why: str) -> None:
        """The login was refused; returns at once."""
        with self._lock:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=self._go, args=(why,), name="openbell-renewal", daemon=True
            )
            self._thread.start()

    def accepted(self) -> None:
        """The feed is connected."""
        self._news.set()

    def close(self) -> None:
        self._closed.set()
        self._news.set()

    def _go(self, why: str) -> None:
        pause = PAUSE_SECONDS
        while self._still() and not self._closed.is_set():
            self._news.clear()
            if self._renewed(why):
                self._tell("feed.renewed", f"{self._name}: the login was renewed; connecting anew")
                self._done()
            self._news.wait(pause)
            pause = min(2 * pause, PAUSE_SECONDS_MAX)

    def _renewed(self, why: str) -> bool:
        try:
            until = self._renew(why)
        except Exception as error:  # noqa: BLE001 a user's function may raise anything
            logger.opt(exception=True).debug("{}: the login was not renewed", self._name)
            self._tell("feed.auth", f"{self._name}: the login could not be renewed: {error}")
            return False
        if until is not None:
            self.expires_ns = MarketTime(round(until.timestamp()) * SECOND_NS)
        return True


def by_command(command: Sequence[str]) -> Renew:
    """A `Renew` that runs a command, which may print until when the new login holds, as ISO 8601.

    It gets the reason as the environment's OPENBELL_REASON.

    Raises
    ------
    ConfigError
        If there is no such command: who hears of it when the login has ended hears of it too late.
    """
    if shutil.which(command[0]) is None:
        raise ConfigError(
            f'feed.renew: there is no "{command[0]}" that can be run from {Path.cwd()}; write its '
            "whole path, and make it executable"
        )

    def renew(why: str) -> datetime | None:
        done = subprocess.run(  # noqa: S603 what the configuration names
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, "OPENBELL_REASON": why},
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            about = f": {said[-1]}" if said else ""
            raise RuntimeError(f"{command[0]} ended with code {done.returncode}{about}")
        lines = done.stdout.strip().splitlines()
        return _until(lines[-1].strip()) if lines else None

    return renew


def _until(text: str) -> datetime | None:
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return None
    return until if until.tzinfo is not None else None
