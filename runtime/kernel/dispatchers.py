"""Two ways to run the same cells: all on one thread, or a thread each.

Hosts are Pykka actors that are never entered in Pykka's registry, which is one for the process:
another runtime's, or the embedding program's, `ActorRegistry.stop_all` doesn't reach them.
"""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import pykka

from openbell.actors.effects import Effect
from openbell.errors import RunError
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.kernel.cells import NOTHING, ActorFailed, Cell, Letter, Said

OUTSIDE = "outside"

CarryOut = Callable[[Effect], None]
"""Does what an actor asked for; called on the thread of the actor that asked."""


class Dispatcher(Protocol):
    """What runs the cells."""

    def post(self, receiver: str, message: Message) -> None:
        """Give an actor a message from outside; may be called from any thread."""
        ...

    def run(self) -> None:
        """Run until `finish` is called.

        Raises
        ------
        ActorFailed, or what `fail` was given
        """
        ...

    def ask(self, actor: str | None, call: Callable[[], object]) -> int:
        """Have a function called between two messages, on the thread of an actor, or (None) on each
        thread that runs some; how often it will be called. From any thread, or a signal handler.
        """
        ...

    def finish(self) -> None: ...

    def fail(self, error: BaseException) -> None:
        """End `run` with an error."""
        ...

    def close(self) -> None:
        """Let go of threads; nothing that is still queued is handled."""
        ...


class Asked(NamedTuple):
    """A function that somebody wants called on a thread that runs actors."""

    call: Callable[[], object]


class _Inbox:
    """A mailbox with a lane of its own for control messages, which are always taken first.

    Letters are handed on once all senders have reached: before that the actor could do nothing
    with them, and to wake its thread for each of them took longer than a step.
    """

    def __init__(self) -> None:
        self.senders = 0
        """Whose Reached make a step; 0: each letter is handed on at once."""
        self._lock = threading.Lock()
        self._reached = 0
        self._waiting: list[Any] = []
        self._letters: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._control: deque[Any] = deque()
        self._held: deque[Any] = deque()

    def put(self, envelope: Any) -> None:
        letter = envelope.message
        if not isinstance(letter, Letter):
            self._control.append(envelope)
            self._letters.put(None)  # wakes whoever waits
            return
        with self._lock:
            self._waiting.append(envelope)
            self._reached += isinstance(letter.message, Reached)
            if self._reached < self.senders:
                return
            step, self._waiting, self._reached = self._waiting, [], 0
        for waited in step:
            self._letters.put(waited)

    def get(self) -> Any:
        while True:
            if self._control:
                return self._control.popleft()
            if self._held:
                return self._held.popleft()
            envelope = self._letters.get()
            if envelope is None:
                continue
            if not self._control:
                return envelope
            self._held.append(envelope)

    def empty(self) -> bool:
        """Whether `get` would wait; asked by the thread that gets alone."""
        # What only woke somebody is nothing to get: a stopped host that took it for a letter
        # would wait for ever.
        while not self._letters.empty():
            if (envelope := self._letters.get()) is not None:
                self._held.append(envelope)
        return not self._control and not self._held

    def qsize(self) -> int:
        return len(self._held) + self._letters.qsize()


class _Host(pykka.ThreadingActor):
    """A thread for one cell."""

    def __init__(self, cell: Cell, dispatcher: Threads) -> None:
        super().__init__()
        self.cell = cell
        inbox: Any = self.actor_inbox
        inbox.senders = cell.senders
        self.thread = threading.Thread(
            target=self._actor_loop, name=f"openbell-{cell.actor.name}", daemon=True
        )
        self._dispatcher = dispatcher

    def _start_actor_loop(self) -> None:
        self.thread.start()

    def _stop(self) -> None:
        # Pykka's own takes it out of the registry, where it is not, and logs that.
        self.actor_stopped.set()

    @staticmethod
    def _create_actor_inbox() -> Any:
        return _Inbox()

    def on_receive(self, message: Any) -> None:
        # Pykka stops every actor of the process on a BaseException: none may leave this method.
        try:
            if isinstance(message, Asked):
                message.call()
            else:
                self._dispatcher.deliver(self.cell, message)
        except BaseException as error:  # noqa: BLE001
            self._dispatcher.fail(error)


class Threads:
    """A thread an actor: live, or to let actors overlap."""

    def __init__(self, cells: Mapping[str, Cell], carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._hosts = {name: _Host(cell, self) for name, cell in cells.items()}
        for host in self._hosts.values():
            host._start_actor_loop()  # `start()` would enter it in the registry

    def post(self, receiver: str, message: Message) -> None:
        self._send(Letter(OUTSIDE, receiver, message))

    def deliver(self, cell: Cell, letter: Letter) -> None:
        """Hand a letter to its cell and see to what follows; on the cell's own thread."""
        outcome = cell.receive(letter)
        for effect in outcome.effects:
            self._carry_out(effect)
        for following in outcome.letters:
            self._send(following)

    def ask(self, actor: str | None, call: Callable[[], object]) -> int:
        hosts = self._hosts.values() if actor is None else (self._hosts[actor],)
        for host in hosts:
            host.actor_inbox.put(pykka._envelope.Envelope(Asked(call)))
        return len(hosts)

    def run(self) -> None:
        # A timeout keeps Ctrl-C alive where a bare wait can't be interrupted.
        while True:
            try:
                error = self._ended.get(timeout=0.2)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            return

    def finish(self) -> None:
        self._ended.put(None)

    def fail(self, error: BaseException) -> None:
        self._ended.put(error)

    def close(self) -> None:
        for host in self._hosts.values():
            with suppress(pykka.ActorDeadError):  # it was closed before
                host.stop()
        for host in self._hosts.values():
            host.thread.join(timeout=5)
            if host.thread.is_alive():
                raise RunError(f"{host.cell.actor.name} did not stop within 5 s")

    def _send(self, letter: Letter) -> None:
        host = self._hosts[letter.receiver]
        if not host.actor_stopped.is_set():
            host.actor_inbox.put(pykka._envelope.Envelope(letter))


class Inline:
    """All actors on the thread that calls `run`: backtests, unit tests, simulation.

    Parameters
    ----------
    seed : int, optional
        Takes the next letter from a connection drawn at random instead of in the order sent.
        Letters of one connection keep their order.
    delayed : (sender, receiver), optional
        A connection whose letters are taken only when there are no others.
    """

    def __init__(
        self,
        cells: Mapping[str, Cell],
        carry_out: CarryOut,
        *,
        seed: int | None = None,
        delayed: tuple[str, str] | None = None,
    ) -> None:
        self.cells = cells
        self._carry_out = carry_out
        self._random = None if seed is None else random.Random(seed)  # noqa: S311 an order
        self._delayed = delayed
        self._lines: dict[tuple[str, str], deque[Letter]] = {}
        self._queue: deque[Letter] = deque()
        self._said: deque[Said] = deque()
        self._outside: queue.SimpleQueue[Letter | Asked | BaseException] = queue.SimpleQueue()
        self._finished = False
        self._thread: int | None = None

    @property
    def in_flight(self) -> int:
        """Letters that nobody has taken yet."""
        waiting = sum(len(said.receivers) for said in self._said)
        return waiting + len(self._queue) + sum(map(len, self._lines.values()))

    def post(self, receiver: str, message: Message) -> None:
        self._outside.put(Letter(OUTSIDE, receiver, message))

    def ask(self, actor: str | None, call: Callable[[], object]) -> int:
        self._outside.put(Asked(call))
        return 1

    def run(self) -> None:
        if self._random is None and self._delayed is None:
            self._run_as_said()
            return
        while not self._finished:
            letter = self._next() or self._from_outside()
            if letter is None:
                return
            outcome = self.cells[letter.receiver].receive(letter)
            for effect in outcome.effects:
                self._carry_out(effect)
            for following in outcome.letters:
                self._send(following)

    def _run_as_said(self) -> None:
        """One message after another, each to all who get it: no letter has to be written."""
        cells, carry_out, said = self.cells, self._carry_out, self._said
        while not self._finished:
            if said:
                sender, message, receivers = said.popleft()
            elif entered := self._from_outside():
                sender, message, receivers = entered.sender, entered.message, (entered.receiver,)
            else:
                return
            for receiver in receivers:
                outcome = cells[receiver].take(sender, message)
                if outcome is not NOTHING:
                    for effect in outcome.effects:
                        carry_out(effect)
                    said.extend(outcome.said)

    def finish(self) -> None:
        self._finished = True

    def fail(self, error: BaseException) -> None:
        self._outside.put(error)

    def close(self) -> None:
        self._said.clear()
        self._queue.clear()
        self._lines.clear()

    def _send(self, letter: Letter) -> None:
        if self._random is None and self._delayed is None:
            self._queue.append(letter)
        else:
            self._lines.setdefault((letter.sender, letter.receiver), deque()).append(letter)

    def _from_outside(self) -> Letter | None:
        """The next letter from outside, waited for; None when `finish` was called."""
        while not self._finished:
            try:
                entered = self._outside.get(timeout=0.2)
            except queue.Empty:
                self._refuse_to_wait_in_vain()
                continue
            if isinstance(entered, BaseException):
                raise entered
            if isinstance(entered, Asked):
                entered.call()
                continue
            return entered
        return None

    def _refuse_to_wait_in_vain(self) -> None:
        if stuck := {name: cell.waits_for for name, cell in self.cells.items() if not cell.idle}:
            # Whatever came from outside, the step could not end.
            raise RunError(
                "the step can't end: "
                + "; ".join(f"{name} waits for {', '.join(who)}" for name, who in stuck.items())
                + "; this is a fault of openbell's own, please report it"
            )

    def _next(self) -> Letter | None:
        if self._queue:
            return self._queue.popleft()
        lines = [line for line, letters in self._lines.items() if letters]
        if self._delayed in lines and len(lines) > 1:
            lines.remove(self._delayed)
        if not lines:
            return None
        line = lines[0] if self._random is None else self._random.choice(lines)
        return self._lines[line].popleft()


__all__ = ["OUTSIDE", "ActorFailed", "Dispatcher", "Inline", "Threads"]
