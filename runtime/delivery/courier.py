"""Delivers the signals of a log to one sink: each at least once, in the log's order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Any, TypeVar

import orjson
from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from openbell.adapters.deliveries import Failed, Message, Refused, Sink
from openbell.adapters.stores import Fenced, Store, Unavailable
from openbell.errors import StoreError
from openbell.hosttime import Monotonic, monotonic, utc_now, wall
from openbell.runtime.config.model import SinkConfig
from openbell.runtime.delivery.limits import Paced
from openbell.runtime.delivery.positions import (
    Ask,
    DeadLetter,
    Position,
    ask_of,
    asked,
    at,
    dead,
    dead_letters,
    encoded,
    position_of,
)
from openbell.runtime.record.writing import wall_time
from openbell.runtime.results.recording import SignalLog

PAGE = 500
"""Signals read from the log at a time."""

SAVE_SECONDS = 0.2
"""How long a position may lag behind while deliveries go well: a kill has so much sent again."""

ASK_SECONDS = 1.0
"""How often is looked whether somebody wants something of the sink."""

RETRY_SECONDS = 0.5
"""Pause after a first failure; it doubles, up to a minute."""

STOP_SECONDS = 1.0
"""How long a delivery under way may take when its sink is to stop; then it is broken off."""

T = TypeVar("T")


class _Interrupted(Exception):
    """A wait is over for a reason of its own: the run stops, or somebody wants something."""


class Courier:
    """One sink's thread.

    Parameters
    ----------
    store : Store
        Its own to read, to write its position, and to close, unless `shares_store`.
    fence : int
        Of the lease under which positions are written.
    news : SignalLog
        Tells that there is more in the log.
    age_seconds : callable
        How long ago a backfilled signal's `known_at` was, as its sink is to see it.
    max_age_seconds : float
        Backfilled signals that are older are passed over.
    """

    def __init__(
        self,
        config: SinkConfig,
        sink: Sink,
        store: Store,
        fence: int,
        news: SignalLog,
        *,
        age_seconds: Callable[[datetime], float],
        max_age_seconds: float,
        shares_store: bool = False,
    ) -> None:
        self.name = config.called
        self.sink = sink
        self._config = config
        self._store = store
        self._shares_store = shares_store
        self._fence = fence
        self._news = news
        self._age_seconds = age_seconds
        self._max_age_seconds = max_age_seconds
        self._queue: deque[Message] = deque()
        self._first_waits_since: Monotonic | None = None
        self._hurries = False
        self._paced = Paced(config.rate)
        self._pauses = wait_exponential_jitter(
            multiplier=RETRY_SECONDS, max=60.0, jitter=RETRY_SECONDS / 2
        )
        self._saved_at = monotonic()
        self._looked_at: Monotonic | None = None
        self._ask: Ask | None = None
        self._dirty = False
        self._changed = threading.Condition()
        self._heard = 0
        self._read_at: int | None = None
        """What had been heard when the log was read to its end."""
        self._ended = False
        self._unlisten: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._go, name=f"openbell-sink-{self.name}")
        self._thread.daemon = True
        self.position = Position()
        self.failed: str | None = None
        """Why its thread has ended, if that was not asked for."""

    def register(self) -> None:
        """Know where the sink is; one that is new begins here, for good.

        Raises
        ------
        StoreError
        """
        found = position_of(self._store, self.name)
        if found is None:
            found = Position()
            if self._config.begin == "now":
                found = Position(self._store.last_signal(), self._store.head().signals)
            self._store.keep(self._fence, {at(self.name): encoded(found)})
        self.position = found

    def start(self) -> None:
        self._unlisten = self._news.listen(self._wake)
        self._thread.start()

    def hurry(self) -> None:
        """Wait for no digest to fill until what waits is delivered."""
        self._hurries = True
        self._wake()

    def stop(self) -> None:
        """Deliver no more; what is under way may end, or is broken off."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._unlisten()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            # A program's own function can't be broken off.
            breakable = not getattr(self.sink, "unbreakable", False)
            self._thread.join(STOP_SECONDS if breakable else None)
            if self._thread.is_alive():
                self._close_sink()
                self._thread.join(STOP_SECONDS)
                if self._thread.is_alive():
                    logger.warning("sink {}: is held up, and left behind", self.name)
                return
        self._close_sink()
        if not self._shares_store:
            self._store.close()

    def _close_sink(self) -> None:
        try:
            self.sink.close()
        except Exception as error:  # noqa: BLE001 a plug-in's
            logger.warning("sink {}: closing it: {!r}", self.name, error)

    def pause(self, seconds: float) -> None:
        """Wait a moment for what its thread does."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    @property
    def lives(self) -> bool:
        return self._thread.is_alive()

    # Its thread.

    def _go(self) -> None:
        try:
            while not self._ended:
                with suppress(_Interrupted):
                    self._round()
        except Fenced:
            logger.info("sink {}: the lease is somebody else's, who delivers from here", self.name)
        except _Interrupted:
            pass
        except StoreError as error:
            self.failed = str(error)
            logger.error("sink {}: delivers no more: {}", self.name, error)
        except Exception as error:  # noqa: BLE001 the run goes on, and says so
            self.failed = repr(error)
            logger.exception("sink {}: delivers no more", self.name)
        finally:
            with suppress(StoreError, _Interrupted):
                self._save()

    def _round(self) -> None:
        heard = self._heard
        self.obey()
        if self.position.gave_up:
            self._rest(ASK_SECONDS)
            return
        batch = self._next()
        if batch:
            self._send(batch)
            return
        self._hurries = False
        self._save()
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._heard > heard, ASK_SECONDS)

    def _wake(self) -> None:
        with self._changed:
            self._heard += 1
            self._changed.notify_all()

    def _rest(self, seconds: float) -> None:
        """Let time go by.

        Raises
        ------
        _Interrupted
            If the run stops, or somebody wants something.
        """
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._ended, min(left, ASK_SECONDS))
            if self._ended or self._is_asked():
                raise _Interrupted

    def _is_asked(self) -> bool:
        try:
            self._look()
        except Unavailable:
            return False
        return self._ask is not None

    def _look(self) -> None:
        """See what somebody wants of the sink, where that was not seen a moment ago."""
        now = monotonic()
        if self._looked_at is None or now - self._looked_at >= ASK_SECONDS / 2:
            self._ask = ask_of(self._store, self.name)
            self._looked_at = now

    def _answered(self, call: Callable[[], T]) -> T:
        """What the store answers, asked again until it does."""
        while True:
            try:
                return call()
            except Unavailable as error:
                logger.debug("sink {}: {}", self.name, error)
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, 0.5)
                if self._ended:
                    raise _Interrupted from None

    # What comes next.

    def _next(self) -> Sequence[Message]:
        """The messages of the next delivery; none: there are none, or they wait for more."""
        config = self._config
        digest = config.digest.window.ns > 0
        wanted = config.digest.max if digest else 1 if config.rate else self.sink.at_once
        while len(self._queue) < wanted and self._read():
            pass
        if self._queue and self.position.sending is not None:
            return self._pinned(self.position.sending)
        while self._queue and self._is_too_old(self._queue[0]):
            passed = self._queue.popleft()
            self._put(self.position.done(passed.cursor, 1, old=self.position.old + 1))
        if not self._queue:
            self._first_waits_since = None
            if self._dirty and self._read():
                raise _Interrupted  # all that was read was too old
            return ()
        if digest and len(self._queue) < wanted and not self._hurries:
            self._first_waits_since = self._first_waits_since or monotonic()
            left = self._first_waits_since + config.digest.window.seconds - monotonic()
            if left > 0:
                heard = self._heard
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or self._heard > heard, left)
                raise _Interrupted
        self._first_waits_since = None
        fresh = takewhile(lambda message: not self._is_too_old(message), self._queue)
        batch = [*islice(fresh, wanted)]
        if digest and len(batch) > 1:
            # Before it is sent: who gets it a second time must get the same bytes.
            self._put(replace(self.position, sending=batch[-1].cursor))
            self._save()
        return batch

    def _pinned(self, last: str) -> Sequence[Message]:
        """The digest that was under way, as it was."""
        while last not in (cursors := [message.cursor for message in self._queue]):
            if not self._read():
                self._put(replace(self.position, sending=None))
                raise _Interrupted
        return [*self._queue][: cursors.index(last) + 1]

    def _read(self) -> bool:
        """Read on in the log; False: there is no more."""
        heard = self._heard
        if heard == self._read_at:
            return False
        after = self._queue[-1].cursor if self._queue else self.position.cursor
        page = self._answered(lambda: [*self._store.signals(after, limit=PAGE)])
        self._queue += (Message(signal.id, signal.body, cursor) for cursor, signal in page)
        if len(page) < PAGE:
            self._read_at = heard
        return bool(page)

    def _is_too_old(self, message: Message) -> bool:
        if b'"backfilled":true' not in message.body:
            return False
        known = datetime.fromisoformat(message.fields["known_at"])
        return self._age_seconds(known) > self._max_age_seconds

    # A delivery.

    def _send(self, batch: Sequence[Message]) -> None:
        if seconds := self._paced.wait_seconds(monotonic()):
            self._save()
            self._rest(seconds)
        retrying = Retrying(
            retry=retry_if_exception_type(Failed),
            wait=self._pause_seconds,
            stop=self._gives_up,
            sleep=self._rest,
            before_sleep=self._say_failing,
            reraise=True,
        )
        try:
            retrying(self._try, batch)
        except Failed as error:
            self._give_up(batch, error)
            return
        self._drop(len(batch))
        self._put(
            self.position.done(
                batch[-1].cursor,
                len(batch),
                delivered=self.position.delivered + len(batch),
                last_id=batch[-1].id,
                delivered_at=wall_time(),
            )
        )
        self._save_now_and_then()

    def _try(self, batch: Sequence[Message]) -> None:
        self._paced.goes(monotonic())
        was_failing = self.position.error is not None
        try:
            self.sink.deliver(batch)
        except Exception as error:
            if self._ended:
                raise _Interrupted from None  # it was broken off
            failed = error if isinstance(error, Failed) else Failed(repr(error))
            if failed is not error:
                logger.opt(exception=error).debug("sink {}", self.name)
            since = self.position.failing_since
            self._put(
                replace(
                    self.position,
                    tries=self.position.tries + 1,
                    failing_since=wall() if since is None else since,
                    error=str(failed),
                )
            )
            raise failed from error
        if was_failing:
            logger.warning("sink {}: delivers again", self.name)

    def _pause_seconds(self, tried: RetryCallState) -> float:
        error = tried.outcome.exception() if tried.outcome is not None else None
        asked_for = getattr(error, "after_seconds", None) or 0.0
        return max(self._pauses(tried), asked_for)

    def _gives_up(self, tried: RetryCallState) -> bool:
        error = tried.outcome.exception() if tried.outcome is not None else None
        limit, position = self._config.give_up, self.position
        if isinstance(error, Refused):
            return True
        if limit is None:
            return False
        if limit.tries is not None:
            return position.tries >= limit.tries
        assert limit.after is not None, "it has one of both"
        return wall() - (position.failing_since or wall()) >= limit.after.seconds

    def _say_failing(self, tried: RetryCallState) -> None:
        seconds = tried.next_action.sleep if tried.next_action is not None else 0.0
        position = self.position
        if position.tries == 1:
            logger.warning("sink {}: {}; it is tried again", self.name, position.error)
        then = utc_now() + timedelta(seconds=seconds)
        said = then.isoformat(timespec="seconds").replace("+00:00", "Z")
        self._put(replace(position, next_try_at=said))
        self._save()

    def _give_up(self, batch: Sequence[Message], error: Failed) -> None:
        position, one = self.position, batch[0].id
        what = one if len(batch) == 1 else f"{one} and {len(batch) - 1} more"
        why = f"sink {self.name}: gave up {what} after {position.tries} tries: {error}"
        logger.error("{}", why)
        if self._config.on_give_up == "stop":
            self._put(replace(position, gave_up=True, next_try_at=None))
            self._save()
        else:
            letters = {
                dead(self.name, position.count + place): encoded(
                    DeadLetter(message.id, message.cursor, str(error), position.tries, wall_time())
                )
                for place, message in enumerate(batch, 1)
            }
            self._put(position.done(batch[-1].cursor, len(batch), dead=position.dead + len(batch)))
            self._save(letters)
            self._drop(len(batch))
        self._note("gave up", why)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()

    # What people want.

    def obey(self) -> None:
        """Do what somebody wants of the sink, if anybody does."""
        self._answered(self._look)
        ask, self._ask = self._ask, None
        if ask is None:
            return
        done = {asked(self.name): None}
        match ask.what:
            case "retry":
                self._retry_dead()
                self._put(replace(self.position, tries=0, failing_since=None, gave_up=False))
                self._save(done)
                self._note("retry", f"sink {self.name}: tried again, as somebody asked for it")
            case "flush":
                self._hurries = True
                self._save(done)
            case "skip":
                said = self._skip(ask)
                self._save(done)
                self._note("skip", f"sink {self.name}: {said}: {ask.cause}")

    def _skip(self, ask: Ask) -> str:
        position = self.position
        if ask.until is not None:
            count = ask.until_count - position.count
            if count <= 0:
                return "skipped nothing, as all of it was done with"
            self._queue.clear()
            self._read_at = None
            self._put(position.done(ask.until, count, skipped=position.skipped + count))
            return f"skipped {count} signals"
        for key, letter in self._answered(lambda: dead_letters(self._store, self.name)).items():
            if letter.id == ask.id:
                self._put(replace(position, dead=position.dead - 1, skipped=position.skipped + 1))
                self._save({key: None})
                return f"skipped the dead letter {ask.id}"
        if not self._queue:
            self._read()
        if not self._queue or self._queue[0].id != ask.id:
            return f"skipped nothing, as {ask.id} was done with"
        head = self._queue.popleft()
        self._put(self.position.done(head.cursor, 1, skipped=self.position.skipped + 1))
        return f"skipped {head.id}"

    def _retry_dead(self) -> None:
        """Send what was given up; what fails once more stays."""
        for key, letter in self._answered(lambda: dead_letters(self._store, self.name)).items():
            found = self._answered(partial(self._letter, letter))
            try:
                self.sink.deliver([found])
            except Exception as error:  # noqa: BLE001 it stays where it is
                logger.warning("sink {}: {}: {}", self.name, letter.id, error)
                return
            self._put(
                replace(
                    self.position,
                    dead=self.position.dead - 1,
                    delivered=self.position.delivered + 1,
                )
            )
            self._save({key: None})

    def _letter(self, letter: DeadLetter) -> Message:
        day = datetime.fromisoformat(letter.id.split(":")[1]).date()
        for cursor, signal in self._store.signals(trading_date=day):
            if signal.id == letter.id:
                return Message(signal.id, signal.body, cursor)
        raise StoreError(f"{self._store.location}: the log has no {letter.id}")

    def _note(self, to: str, why: str) -> None:
        entry = {"what": "sink", "from": None, "to": to, "sink": self.name}
        line = orjson.dumps({**entry, "wall_time": wall_time(), "why": why})
        self._answered(lambda: self._store.append_audit(line))

    # Its position.

    def _put(self, position: Position) -> None:
        self.position, self._dirty = position, True

    def _save_now_and_then(self) -> None:
        if monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _save(self, more: dict[str, Any] | None = None) -> None:
        if not self._dirty and not more:
            return
        changed = {at(self.name): encoded(self.position), **(more or {})}
        self._answered(lambda: self._store.keep(self._fence, changed))
        self._dirty, self._saved_at = False, monotonic()


def age_by(now_ns: Callable[[], int]) -> Callable[[datetime], float]:
    """How many seconds before an instant, ns UTC, another one was."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return lambda known: now_ns() / 1e9 - (known - epoch).total_seconds()
