"""Who holds the clock: scans, symbols that come, operators and the store never undo each other's."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openbell.actors import clock
from openbell.actors.effects import Effects, GoOn, Halt, Insert, Publish, WakeAt
from openbell.actors.states import changed
from openbell.market.arrivals import no_counts
from openbell.market.days import MINUTE_NS, MarketTime, Segment, TradingDay
from openbell.messages.base import Message
from openbell.messages.control import (
    AddSymbols,
    Pause,
    RemoveSymbols,
    Resume,
    Start,
    SymbolsChanged,
    SymbolsRefused,
    Woke,
)
from openbell.messages.session import AwaitLoad, DayOpened
from openbell.messages.time import Grant, Reached
from openbell.runtime.kernel.wiring import BACK
from openbell.runtime.record.codec import decode, encode

OPEN = MarketTime(1_719_202_500_000_000_000)
DAY = TradingDay(
    date=date(2024, 6, 24),
    tz="Asia/Kolkata",
    segments=(Segment(OPEN, MarketTime(OPEN + 375 * MINUTE_NS)),),
)
TOKENS = ["operator", "store", "scan:gap:10:30", "scan:movers:10:30", "program"]
SYMBOLS = ["A", "B", "C"]


class Pauses(RuleBasedStateMachine):
    """A paced clock inside a day, and all who hold it; what they hold is kept beside."""

    def __init__(self) -> None:
        super().__init__()
        speakers = frozenset(BACK)
        self.update: Any = partial(clock.update, clock.Settings(speakers, paced=True))
        self.state = clock.State()
        self.held: set[str] = set()
        self.inserting: list[AddSymbols | RemoveSymbols] = []
        """Granted and not answered, in order."""
        self.waits: list[AddSymbols | RemoveSymbols] = []
        """Asked, and not granted yet."""
        self.asked_runtime: list[str] = []
        self.under_way: Grant | None = None
        self.halted = 0
        self.requests = 0
        self.wanted_ns = OPEN

    def tell(self, message: Message) -> None:
        before = set(self.held), list(self.inserting)
        self.state, effects = self.update(self.state, message)
        self.seen(effects, *before)

    def seen(
        self, effects: Effects, held: set[str], inserting: list[AddSymbols | RemoveSymbols]
    ) -> None:
        for effect in effects:
            match effect:
                case Publish(message=Grant() as grant):
                    self.granted(grant, held, inserting)
                case Halt():
                    self.halted += 1
                case GoOn():
                    self.halted -= 1
                case Insert(asked=asked):
                    self.asked_runtime.append(asked.request)
                case WakeAt(at_ns=at):
                    self.wanted_ns = at
                case _:
                    pass

    def granted(
        self, grant: Grant, held: set[str], inserting: list[AddSymbols | RemoveSymbols]
    ) -> None:
        assert self.under_way is None, "one step after another"
        assert not held, f"granted while {held} hold the clock"
        answers = [i for i in grant.inputs if isinstance(i, SymbolsChanged | SymbolsRefused)]
        if inserting:
            assert [a.request for a in answers] == [inserting[0].request], "nothing else goes on"
            assert grant.until_ns == grant.from_ns, "the answer moves no time"
            self.inserting.pop(0)
        else:
            assert not answers
        for entered in grant.inputs:
            if isinstance(entered, AddSymbols | RemoveSymbols):
                self.inserting.append(entered)
                self.waits.remove(entered)
        self.under_way = grant

    @initialize()
    def opens(self) -> None:
        self.tell(Start(days=(DAY,)))
        self.tell(AwaitLoad(date=DAY.date))
        self.tell(
            DayOpened(
                day=DAY,
                symbols=("Z",),
                kind="bars",
                interval_ns=MINUTE_NS,
                boundaries=tuple(MarketTime(OPEN + n * MINUTE_NS) for n in range(1, 376)),
                counts=no_counts(1),
                bad=(),
                live_from_ns=OPEN,
            )
        )
        self.state = changed(self.state, awaiting=None)
        self.ends_step()

    @rule(token=st.sampled_from(TOKENS))
    def pauses(self, token: str) -> None:
        self.held.add(token)
        self.tell(Pause(token=token))

    @rule(token=st.sampled_from(TOKENS))
    def resumes(self, token: str) -> None:
        self.held.discard(token)
        self.tell(Resume(token=token))

    @rule(symbol=st.sampled_from(SYMBOLS), adds=st.booleans())
    def asks(self, symbol: str, adds: bool) -> None:
        self.requests += 1
        kind = AddSymbols if adds else RemoveSymbols
        asked = kind(symbols=(symbol,), request=f"r{self.requests}")
        self.waits.append(asked)
        self.tell(asked)

    @precondition(lambda self: self.waits or self.inserting)
    @rule(data=st.data())
    def asks_again(self, data: st.DataObject) -> None:
        """Who does not know whether it was heard."""
        self.tell(data.draw(st.sampled_from([*self.waits, *self.inserting])))

    @precondition(lambda self: self.inserting)
    @rule(done=st.booleans(), twice=st.booleans())
    def answers(self, done: bool, twice: bool) -> None:
        asked = self.inserting[0]
        if asked.request not in self.asked_runtime:
            return
        answer: Message = SymbolsRefused(
            request=asked.request, by="test", symbols=asked.symbols, why="no"
        )
        if done:
            answer = SymbolsChanged(
                request=asked.request,
                by="test",
                date=DAY.date,
                since=date(2024, 6, 25),
                later=("Z",),
                registers=((date(2024, 6, 25), ("Z",)),),
                followed=("Z",),
            )
        self.tell(answer)
        if twice:
            self.tell(answer)

    @rule(minutes=st.integers(1, 3))
    def time_passes(self, minutes: int) -> None:
        if not self.halted:
            self.tell(Woke(at_ns=MarketTime(self.wanted_ns + minutes * MINUTE_NS)))

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def ends_step(self) -> None:
        grant, self.under_way = self.under_way, None
        for speaker in sorted(BACK):
            step = self.state.step if grant is None else grant.step
            self.tell(Reached(step=step, sender=speaker))

    @precondition(lambda self: self.under_way is None and not self.state.awaited)
    @rule()
    def is_killed_and_goes_on(self) -> None:
        """What holds the clock by a request comes back by itself; who paused does so anew."""
        kept = decode(encode(clock._kept(self.state)))
        unheard, self.asked_runtime = list(self.waits), []
        self.state = changed(kept, begun=True)
        self.halted = 0
        held, self.held = sorted(self.held), set()
        self.waits = []
        for token in held:
            self.pauses(token)
        for asked in unheard:
            self.waits.append(asked)
            self.tell(asked)
        self.tell(Pause(token="restart"))
        self.tell(Resume(token="restart"))

    @invariant()
    def nobody_undoes_anothers(self) -> None:
        tokens = {token for of in self.inserting for token in clock.tokens_of(of)}
        assert clock.held_by(self.state) == self.held | tokens
        if self.under_way is None and self.inserting:
            assert self.state.awaited or self.inserting[0].request in self.asked_runtime

    def teardown(self) -> None:
        """All that hold it give it back: then it is free, and time goes on."""
        if self.state.day is None:
            return
        for _ in range(200):
            if self.under_way is not None:
                self.ends_step()
            elif self.held:
                self.resumes(min(self.held))
            elif self.inserting:
                self.answers(done=False, twice=False)
            elif self.waits:
                self.time_passes(1)
            else:
                break
        assert clock.held_by(self.state) == frozenset()
        assert self.halted == 0
        before = self.state.now_ns
        if self.state.agenda:
            self.time_passes(1)
            assert self.under_way is not None
            assert self.state.now_ns > before


Pauses.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_pauses = Pauses.TestCase
