"""Delivers the signals of a log to one sink: each at least once, in the log's order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, TypeVar

from loguru import logger
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from openbell.adapters.deliveries import Failed, Message, Refused, Sink
from openbell.adapters.stores import Fenced, Store, Unavailable
from openbell.errors import StoreError
from openbell.hidden import conceal
from openbell.hosttime import Monotonic, monotonic, utc_now, wall
from openbell.market.kinds import KINDS
from openbell.messages.events import NoticeKind
from openbell.runtime.config.model import SinkConfig
from openbell.runtime.delivery.callbacks import CallbackSink
from openbell.runtime.delivery.limits import Paced
from openbell.runtime.delivery.lines import (
    Line,
    end_of_signals,
    event_pages,
    last_event,
    signal_pages,
)
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
from openbell.runtime.record.news import News
from openbell.runtime.record.telling import Tell
from openbell.runtime.record.writing import wall_time

SAVE_SECONDS = 0.2
"""How long a position may lag behind while deliveries go well: a kill has so much sent again."""

ASK_SECONDS = 1.0
"""How often is looked whether somebody wants something of the sink."""

RETRY_SECONDS = 0.5
"""Pause after a first failure; it doubles, up to a minute."""

TOLD_TRIES = 3
"""A message that failed so often is told of: what is taken at the second try is no trouble."""

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
    news : sequence of News
        Tell that there is more in a log.
    tell : Tell
        Told of troubles, and of what people had it skip.
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
        news: Sequence[News],
        tell: Tell,
        *,
        age_seconds: Callable[[datetime], float],
        max_age_seconds: float,
        shares_store: bool = False,
    ) -> None:
        self.name = config.called
        self.sink = sink
        self.breakable = not isinstance(sink, CallbackSink)
        """Whether a delivery under way can be broken off; a program's own function can't."""
        self._config = config
        self._store = store
        self._shares_store = shares_store
        self._fence = fence
        self._news = news
        self._tell = tell
        self._age_seconds = age_seconds
        self._max_age_seconds = max_age_seconds
        self._signals = Line(signal_pages(store), None)
        self._events = Line(event_pages(store, config.events, self.name), None)
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
        self._idle_at: int | None = None
        """What had been heard when nothing was left to deliver."""
        self._ended = False
        self._let_go = False
        self._unlisten: list[Callable[[], None]] = []
        self._thread = threading.Thread(
            target=self._go, name=f"openbell-sink-{self.name}", daemon=True
        )
        self.position = Position()
        self.failures = 0
        """Tries that failed, of this courier's."""
        self.failed: str | None = None
        """Why its thread has ended, if that was not asked for."""

    def register(self) -> None:
        """Know where the sink is; one that is new begins here, for good.

        Raises
        ------
        StoreError
        """
        config, store = self._config, self._store
        found = position_of(store, self.name)
        begins_now = config.begin == "now" if found is None else not found.takes_signals
        position = found or Position()
        if not config.signals or begins_now:
            cursor, count = end_of_signals(store)
            position = replace(position, cursor=cursor, count=count)
        if config.events and not position.takes_events and config.begin == "now":
            position = replace(position, event_cursor=last_event(store))
        position = replace(position, takes_signals=config.signals, takes_events=bool(config.events))
        if position.gave_up:  # whoever starts a run wants it tried again
            position = position.well()
        if position != found:
            store.keep(self._fence, {at(self.name): encoded(position)})
        self.position = position
        self._signals.begin(position.cursor)
        self._events.begin(position.event_cursor)

    def start(self) -> None:
        self._unlisten = [news.listen(self._wake) for news in self._news]
        self._thread.start()

    def hurry(self) -> None:
        """Wait for no digest to fill until what waits is delivered."""
        self._hurries = True
        self._wake()

    def end(self) -> None:
        """Deliver no more than what is under way."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for unlisten in self._unlisten:
            unlisten()
        self._unlisten = []

    def has_ended(self, seconds: float | None) -> bool:
        """Whether its thread ends within so long."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def let_go(self) -> None:
        """Of the sink: a delivery that is under way is broken off."""
        if not self._let_go:
            self._let_go = True
            try:
                self.sink.close()
            except Exception as error:  # noqa: BLE001 a plug-in's
                logger.warning("sink {}: closing it: {!r}", self.name, error)
        if self._thread.ident is None:
            self._close_store()

    def _close_store(self) -> None:
        if not self._shares_store:
            self._store.close()

    def pause(self, seconds: float) -> None:
        """Wait a moment for what its thread does."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    def is_done(self, signals: int) -> bool:
        """Whether the first signals of the log are delivered, and all events there were."""
        return self.position.waits(signals) == 0 and self.is_idle

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits of what it has heard of."""
        return self._idle_at == self._heard

    @property
    def takes_events(self) -> bool:
        return bool(self._config.events)

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
            self._tell_of("sink.failed", f"delivers no more: {error}")
        except Exception as error:  # noqa: BLE001 the run goes on, and says so
            self.failed = repr(error)
            logger.exception("sink {}", self.name)
            self._tell_of("sink.failed", f"delivers no more: {error!r}")
        finally:
            with suppress(StoreError, _Interrupted):
                self._save()
            self._close_store()

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
        self._idle_at = heard
        self._hear_more(heard, ASK_SECONDS)

    def _hear_more(self, heard: int, seconds: float) -> None:
        """Wait until there is news, or somebody may want something."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._heard > heard, seconds)

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
        if self._config.events and (batch := self._next_events()):
            return batch
        return self._next_signals() if self._config.signals else ()

    def _next_events(self) -> Sequence[Message]:
        line = self._events
        if not line.waiting:
            self._fill(line)
        if not line.waiting:
            if line.end != self.position.event_cursor:
                self._put(replace(self.position, event_cursor=line.end))
            return ()
        return [*islice(line.waiting, 1 if self._config.rate else self.sink.at_once)]

    def _next_signals(self) -> Sequence[Message]:
        config, waiting = self._config, self._signals.waiting
        digest = config.digest.window.ns > 0
        wanted = config.digest.max if digest else 1 if config.rate else self.sink.at_once
        while len(waiting) < wanted and self._fill(self._signals):
            pass
        if waiting and self.position.sending is not None:
            return self._pinned(self.position.sending)
        while waiting and self._is_passed_over(waiting[0]):
            is_old = self._is_of_its_kinds(waiting[0])
            passed = self.position.after([waiting.popleft()])
            self._put(replace(passed, old=passed.old + 1) if is_old else passed)
            if not waiting:
                self._fill(self._signals)
        if not waiting:
            self._first_waits_since = None
            return ()
        if digest and len(waiting) < wanted and not self._hurries:
            self._first_waits_since = self._first_waits_since or monotonic()
            left = self._first_waits_since + config.digest.window.seconds - monotonic()
            if left > 0:
                self._hear_more(self._heard, min(left, ASK_SECONDS))
                raise _Interrupted
        self._first_waits_since = None
        fresh = takewhile(lambda message: not self._is_passed_over(message), waiting)
        batch = [*islice(fresh, wanted)]
        if digest and len(batch) > 1:
            # Before it is sent: who gets it a second time must get the same bytes.
            self._put(replace(self.position, sending=batch[-1].cursor))
            self._save()
        return batch

    def _pinned(self, last: str) -> Sequence[Message]:
        """The digest that was under way, as it was."""
        waiting = self._signals.waiting
        while last not in (cursors := [message.cursor for message in waiting]):
            if not self._fill(self._signals):
                self._put(replace(self.position, sending=None))
                raise _Interrupted
        return [*islice(waiting, cursors.index(last) + 1)]

    def _fill(self, line: Line) -> bool:
        return self._answered(lambda: line.fill(self._heard))

    def _is_passed_over(self, message: Message) -> bool:
        return not self._is_of_its_kinds(message) or self._is_too_old(message)

    def _is_of_its_kinds(self, message: Message) -> bool:
        kinds = self._config.kinds
        # Of before, all are breakouts.
        return len(kinds) == len(KINDS) or message.fields.get("kind", "breakout") in kinds

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
            before_sleep=self._is_to_be_tried_again,
            reraise=True,
        )
        try:
            retrying(self._try, batch)
        except Failed as error:
            self._give_up(batch, error)
            return
        before = self.position
        events = len(batch) if batch[0].kind == "event" else 0
        self._drop(batch)
        self._put(
            replace(
                before.after(batch),
                delivered=before.delivered + len(batch) - events,
                events_delivered=before.events_delivered + events,
                last_id=batch[-1].id,
                delivered_at=wall_time(),
            )
        )
        if before.tries >= TOLD_TRIES:
            self._say("sink.back", batch, "delivers again")
        if monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()

    def _try(self, batch: Sequence[Message]) -> None:
        self._paced.goes(monotonic())
        try:
            self.sink.deliver(batch)
        except Exception as error:
            if self._ended:
                raise _Interrupted from None  # it was broken off
            failed = error if isinstance(error, Failed) else Failed(repr(error))
            if failed is not error:
                logger.opt(exception=error).debug("sink {}", self.name)
            self.failures += 1
            before = self.position
            if before.failing_id != batch[0].id:
                before = before.well()
            since = before.failing_since
            self._put(
                replace(
                    before,
                    failing_id=batch[0].id,
                    tries=before.tries + 1,
                    failing_since=wall() if since is None else since,
                    error=conceal(str(failed)),
                )
            )
            raise failed from error

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

    def _is_to_be_tried_again(self, tried: RetryCallState) -> None:
        seconds = tried.next_action.sleep if tried.next_action is not None else 0.0
        position, (batch,) = self.position, tried.args
        if position.tries == TOLD_TRIES:
            self._say("sink.failing", batch, f"fails, and is tried again: {position.error}")
        then = utc_now() + timedelta(seconds=seconds)
        said = then.isoformat(timespec="seconds").replace("+00:00", "Z")
        self._put(replace(position, next_try_at=said))
        self._save()

    def _give_up(self, batch: Sequence[Message], error: Failed) -> None:
        position, one = self.position, batch[0].id
        what = one if len(batch) == 1 else f"{one} and {len(batch) - 1} more"
        tries = f"{position.tries} tries" if position.tries > 1 else "one try"
        why = f"gave up {what} after {tries}: {error}"
        if self._config.on_give_up == "stop":
            self._put(replace(position, gave_up=True, next_try_at=None))
            self._save()
            self._say("sink.gave_up", batch, why)
            return
        letters = {
            dead(self.name, position.letters + place): encoded(
                DeadLetter(
                    message.id,
                    message.cursor,
                    message.kind,
                    message.body.decode(),
                    str(error),
                    position.tries,
                    wall_time(),
                )
            )
            for place, message in enumerate(batch, 1)
        }
        more = len(batch)
        self._drop(batch)
        self._put(
            replace(
                position.after(batch),
                dead=position.dead + more,
                letters=position.letters + more,
            )
        )
        self._save(letters)
        self._say("sink.gave_up", batch, why)

    def _say(self, kind: NoticeKind, batch: Sequence[Message], why: str) -> None:
        """Told as an event too; but not of events, as two sinks would then tell of each other."""
        if batch[0].kind == "event":
            logger.warning("sink {}: {}", self.name, why)
        else:
            self._tell_of(kind, why)

    def _tell_of(self, kind: NoticeKind, why: str) -> None:
        self._tell(kind, f"sink {self.name}: {why}", sink=self.name)

    def _drop(self, batch: Sequence[Message]) -> None:
        line = self._events if batch[0].kind == "event" else self._signals
        for _ in batch:
            line.waiting.popleft()

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
                self._put(self.position.well())
                self._save(done)
                self._tell_of("sink.retried", "tried again, as somebody asked for it")
            case "flush":
                self._hurries = True
                self._save(done)
            case "skip":
                said = self._skip(ask)
                self._save(done)
                self._tell_of("sink.skipped", f"{said}: {ask.cause}")

    def _skip(self, ask: Ask) -> str:
        position = self.position
        if ask.id is None:
            count = max(ask.until_count - position.count, 0)
            position = replace(position.well(), sending=None, skipped=position.skipped + count)
            if count:
                position = replace(position, cursor=ask.until, count=ask.until_count)
                self._signals.begin(ask.until)
            if ask.until_event is not None:
                position = replace(position, event_cursor=ask.until_event)
                self._events.begin(ask.until_event)
            self._put(position)
            return f"skipped {count} signals"
        for key, letter in self._answered(lambda: dead_letters(self._store, self.name)).items():
            if letter.id == ask.id:
                self._put(replace(position, dead=position.dead - 1, skipped=position.skipped + 1))
                self._save({key: None})
                return f"skipped the dead letter {ask.id}"
        for line in (self._events, self._signals):
            if not line.waiting:
                self._fill(line)
            if line.waiting and line.waiting[0].id == ask.id:
                gone = line.waiting.popleft()
                self._put(replace(position.after([gone]), skipped=position.skipped + 1))
                return f"skipped {gone.id}"
        return f"skipped nothing, as {ask.id} was done with"

    def _retry_dead(self) -> None:
        """Send what was given up; what fails once more stays."""
        for key, letter in self._answered(lambda: dead_letters(self._store, self.name)).items():
            try:
                self.sink.deliver([letter.message()])
            except Exception as error:  # noqa: BLE001 it stays where it is
                logger.warning("sink {}: {}: {}", self.name, letter.id, error)
                return
            position = self.position
            self._put(replace(position, dead=position.dead - 1, delivered=position.delivered + 1))
            self._save({key: None})

    # Its position.

    def _put(self, position: Position) -> None:
        self.position, self._dirty = position, True

    def _save(self, more: dict[str, Any] | None = None) -> None:
        if not self._dirty and not more:
            return
        changed = {at(self.name): encoded(self.position), **(more or {})}
        self._answered(lambda: self._store.keep(self._fence, changed))
        self._dirty, self._saved_at = False, monotonic()
