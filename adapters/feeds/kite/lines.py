"""One feed over several connections, where a vendor takes so many symbols on each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from openbell.adapters.feeds.base import ConnectionState, Door, Rewind
from openbell.adapters.feeds.connected import ConnectedFeed
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime

Made = Callable[[tuple[str, ...]], ConnectedFeed]
"""A connection for these symbols."""


class _Line:
    """A connection and its symbols; the door that it delivers at."""

    def __init__(self, of: ConnectedFeed, symbols: tuple[str, ...]) -> None:
        self.of, self.symbols = of, set(symbols)
        self.taken = set(symbols)
        """Those that the vendor counts: what goes is not given back before the connection ends."""
        self.state: ConnectionState | None = None
        self.why = ""
        self.mark = ""
        self.thread: threading.Thread | None = None


class SeveralLines:
    """Symbols spread over connections, each of which is read, and watched over, by itself.

    Rows of one symbol come by one connection, in its order. The feed is connected when all of them
    are.

    Parameters
    ----------
    most : int
        Symbols on a connection.
    lines_max : int
        Connections.
    """

    rewind: Rewind = "none"

    def __init__(self, made: Made, symbols: tuple[str, ...], most: int, lines_max: int) -> None:
        self._made, self._most, self._lines_max = made, most, lines_max
        self._lock = threading.RLock()
        self._closed, self._ended = threading.Event(), threading.Event()
        self._door: Door | None = None
        self._mark = ""
        self._failed: list[BaseException] = []
        parts = [symbols[at : at + most] for at in range(0, len(symbols), most)] or [()]
        self._lines = [self._line(part) for part in parts]

    def _line(self, symbols: tuple[str, ...]) -> _Line:
        return _Line(self._made(symbols), symbols)

    @property
    def room(self) -> int:
        """How many further symbols there can be."""
        with self._lock:
            held = sum(len(line.taken) for line in self._lines)
        return self._most * self._lines_max - held

    # --- what a run does with it

    def run(self, door: Door, position: int, mark: str) -> None:
        with self._lock:
            self._door, self._mark = door, mark
            for line in self._lines:
                self._start(line, mark)
        self._ended.wait()
        for line in self._lines:
            line.of.close()
        for line in self._lines:
            if line.thread is not None:
                line.thread.join()
        if self._failed:
            raise self._failed[0]

    def _start(self, line: _Line, mark: str) -> None:
        door = self._door
        assert door is not None

        def read() -> None:
            try:
                line.of.run(_LineDoor(self, line, door), 0, mark)
            except BaseException as error:  # noqa: BLE001 it is raised where the run sees it
                self._failed.append(error)
            self._ended.set()

        if self._closed.is_set():
            return
        line.thread = threading.Thread(target=read, name="openbell-feed-line", daemon=True)
        line.thread.start()

    def close(self) -> None:
        with self._lock:
            self._closed.set()
            for line in self._lines:
                line.of.close()
        self._ended.set()

    def reconnect(self) -> None:
        """Make new connections, also where the login was refused; from any thread."""
        for line in self._of_now():
            line.of.reconnect()

    def resubscribe(self, symbols: tuple[str, ...] | None = None) -> None:
        """Send what subscribes once more, for these symbols or for all; from any thread."""
        for line in self._of_now():
            if symbols is None:
                line.of.resubscribe()
            elif theirs := tuple(symbol for symbol in symbols if symbol in line.symbols):
                line.of.resubscribe(theirs)

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        """Subscribe to further symbols where there is room for them, and to some no more."""
        with self._lock:
            for line in self._lines:
                gone = tuple(symbol for symbol in removed if symbol in line.symbols)
                back = tuple(symbol for symbol in added if symbol in line.taken)
                line.symbols = (line.symbols - {*gone}) | {*back}
                if gone or back:
                    line.of.watch(back, gone)
            left = [s for s in added if not any(s in line.taken for line in self._lines)]
            for line in self._lines:
                more, left = _cut(left, self._most - len(line.taken))
                if more:
                    line.symbols.update(more)
                    line.taken.update(more)
                    line.of.watch(more, ())
            while left and len(self._lines) < self._lines_max:
                more, left = _cut(left, self._most)
                self._lines.append(line := self._line(more))
                if self._door is not None:
                    self._start(line, "")
        if left and self._door is not None:
            for symbol in left:
                self._door.refuse("symbol refused", symbol, self.full())

    def full(self) -> str:
        return (
            f"there are {self._most:,} symbols on each of {self._lines_max} connections, which is "
            "all that the vendor has; remove others and start anew, or watch fewer"
        )

    def _of_now(self) -> Sequence[_Line]:
        with self._lock:
            return tuple(self._lines)

    # --- what its connections say

    def said_by(self, line: _Line, state: ConnectionState, why: str) -> None:
        with self._lock:
            line.state, line.why = state, why
            if state == "connected":
                line.taken = set(line.symbols)
            told = self._state()
            if told is None or self._door is None:
                return
            # Each word of a connection is passed on; another one's does not hide that it is away.
            self._door.said(*(told if told[0] != state else (state, why)))

    def _state(self) -> tuple[ConnectionState, str] | None:
        lines = self._lines
        for state in ("auth", "reconnecting"):
            for line in lines:
                if line.state == state:
                    return line.state, line.why
        if any(line.state is None for line in lines):
            return None  # it is told when all have said what they have come to
        return "connected", lines[0].why

    def marked(self, line: _Line, mark: str) -> str:
        """From where all of them can be asked for what is lacking."""
        with self._lock:
            line.mark = mark
            marks = [of.mark for of in self._lines if of.mark]
            self._mark = min(marks, key=int)
            return self._mark


class _LineDoor:
    """The run's door, as one of several connections has it."""

    def __init__(self, of: SeveralLines, line: _Line, door: Door) -> None:
        self._of, self._line, self._door = of, line, door

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        return self._door.take(rows, position, self._of.marked(self._line, mark) if mark else "")

    def end_day(self, *args: object) -> int:
        raise AssertionError("who stays connected ends no day")

    def caught_up(self) -> None:
        self._door.caught_up()

    def refuse(self, kind: str, where: str, why: str) -> None:
        self._door.refuse(kind, where, why)

    def said(self, state: ConnectionState, why: str) -> None:
        self._of.said_by(self._line, state, why)

    def gap(
        self, from_ns: MarketTime, until_ns: MarketTime, symbols: tuple[str, ...] | None, why: str
    ) -> None:
        alone = len(self._of._of_now()) == 1
        whose = None if alone else tuple(sorted(self._line.symbols))
        self._door.gap(from_ns, until_ns, whose if symbols is None else symbols, why)

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        self._door.halted(symbols, on, why)


def _cut(symbols: list[str], count: int) -> tuple[tuple[str, ...], list[str]]:
    count = max(count, 0)
    return tuple(symbols[:count]), symbols[count:]
