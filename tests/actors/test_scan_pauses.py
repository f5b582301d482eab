"""Scans, operators and the store hold the clock side by side, and none gives back what is another's."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st
from runs import of_cases, one_day

from openbell.actors import clock
from openbell.actors.effects import Publish, RunScan
from openbell.market.days import MarketTime
from openbell.messages.base import Message
from openbell.messages.control import Loaded, Pause, Resume, Start, StepOnce
from openbell.messages.scan import ScanDue, ScanResult
from openbell.messages.session import DayOpened
from openbell.messages.time import Grant, Reached

CASE = one_day(date(2021, 3, 1), "bars")
DAY = CASE.day
DATA = of_cases([CASE]).data[DAY.date]
SETTINGS = clock.Settings(speakers=frozenset({"day", "keeper"}))
OPENED = DayOpened(
    day=DAY,
    symbols=DATA.symbols,
    kind="bars",
    interval_ns=CASE.interval_ns,
    boundaries=tuple(map(MarketTime, (DAY.open_ns + 60, DAY.close_ns))),
    counts=DATA.counts,
    bad=(),
    live_from_ns=DAY.open_ns,
)
START, LOADED = Start(days=(DAY,)), Loaded(date=DAY.date, data=DATA)
DUE = [
    ScanDue(scan=name, date=DAY.date, at_ns=OPENED.boundaries[0], label="10:30")
    for name in ("one", "two")
]


class Desk:
    """The clock of an open day, and what a model says of it."""

    def __init__(self) -> None:
        self.state = clock.State()
        self.granted: list[Grant] = []
        self.asked: list[ScanDue] = []
        self.tokens: set[str] = set()
        self.open: list[ScanDue] = []
        self.forced = 0
        for message in (START, LOADED, OPENED, *DUE):
            self.tell(message)
        self.open = list(DUE)
        self.finish()

    def tell(self, message: Message) -> int:
        """How many grants follow."""
        self.state, effects = clock.update(SETTINGS, self.state, message)
        given = [e.message for e in effects if isinstance(e, Publish)]
        grants = [message for message in given if isinstance(message, Grant)]
        self.granted += grants
        self.asked += [e.due for e in effects if isinstance(e, RunScan)]
        return len(grants)

    def finish(self) -> int:
        step, count = self.state.step, 0
        if self.state.granted is not None:
            for sender in ("day", "keeper"):
                count += self.tell(Reached(step=step, sender=sender))
        return count


def result(due: ScanDue) -> ScanResult:
    return ScanResult(scan=due.scan, date=due.date, at_ns=due.at_ns, label=due.label)


MOVES = st.lists(
    st.sampled_from(
        [
            "pause operator",
            "resume operator",
            "pause store",
            "resume store",
            "resume scan:one:10:30",
            "resume scan:two:10:30",
            "answer",
            "answer late",
            "step",
        ]
    ),
    max_size=25,
)


@given(moves=MOVES)
def test_nothing_is_granted_while_anybody_holds_the_clock(moves: list[str]) -> None:
    desk = Desk()
    answered: list[ScanDue] = []

    for move in moves:
        what, _, token = move.partition(" ")
        before = len(answered)
        if what == "pause":
            desk.tokens.add(token)
            grants = desk.tell(Pause(token=token))
        elif what == "resume":
            desk.tokens.discard(token)
            grants = desk.tell(Resume(token=token))
        elif what == "step":
            grants = desk.tell(StepOnce())
        elif token == "late" and answered:
            grants = desk.tell(result(answered[0]))
        else:
            waiting = [due for due in desk.asked if due not in answered]
            if not waiting:
                continue
            answered.append(waiting[0])
            grants = desk.tell(result(waiting[0]))
        scans_over = len(answered) == len(DUE)
        assert not grants or scans_over, "granted though a scan is under way"
        assert not grants or not desk.tokens or what == "step" or desk.state.steps_allowed >= 0
        if not scans_over:
            assert {due.token for due in desk.asked} - {due.token for due in answered} <= (
                clock.held_by(desk.state)
            )
        if desk.tokens and what != "step" and before == len(answered):
            assert desk.tokens <= clock.held_by(desk.state)

    assert desk.asked == DUE[: len(desk.asked)]
    assert len({due.scan for due in desk.asked}) == len(desk.asked)
    # Once nobody holds it any more, what was found enters with one grant, in the scans' order.
    for due in DUE:
        if due not in answered:
            desk.tell(result(due))
    for token in sorted(desk.tokens):
        desk.tell(Resume(token=token))
    entered = [i for grant in desk.granted for i in grant.inputs if isinstance(i, ScanResult)]
    assert [of.scan for of in entered] == ["one", "two"]
    assert desk.state.scans == ()
