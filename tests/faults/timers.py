"""Whole durable runs by the host's clock, with faults drawn from a seed: timers, jumps, silence.

As in `arrivals.py` process after process is started on one store, and who brings rows goes on where
the one before says. What differs: time is the host's. Rows come when they come; the clock is set
forward and back, processes are stopped and go on, killed and begun again much later, paused; the
feed is silent, or connects anew; the calendar changes before a day rolls. When all is over, what the
step log says is gone through (`marks.py`): which boundary was crossed when, what rang, which state
the day was in. The plain reference is given the rows and these marks, and so is the recording.

    .venv/bin/python tests/faults/timers.py --seed 17
    .venv/bin/python tests/faults/timers.py --seeds 0 200
"""

from __future__ import annotations

import random
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.arrivals import FedProcess, FedWorld, given_again
from faults.drawn_faults import Faults
from faults.fed_days import main
from faults.marks import Granted, Pushed, check_answers, check_marks, check_told
from faults.simulation import Process, check_replay, written
from faults.wall_days import Act, WallDays, following, wall_days
from reference import bad_reason, segment_of

from openbell.actors import clock, day
from openbell.actors.effects import Effects, Publish
from openbell.market.days import SECOND_NS, MarketTime, TradingDay
from openbell.messages.base import Message
from openbell.messages.control import Prepared
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.intake.handover import ByTheWall
from openbell.runtime.intake.planning import Plan
from openbell.runtime.lifetime.eras import era_on
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.parity import parity
from openbell.testing import HandClock

SLACK_NS = SECOND_NS // 4
"""How much later than due something is looked for: a clock that waits is woken every 0.1 s."""
UNTROUBLED_NS = 2 * SECOND_NS
"""Whoever did not look for longer did not listen meanwhile."""


@dataclass(frozen=True)
class Bringing:
    """How rows are brought."""

    piece_max: int
    haste: float
    """How often before a message what has come is brought."""
    marks: bool
    """Whether a process is told behind which mark to go on; else who pushes asks for a position."""


class WallProcess(FedProcess):
    world: WallWorld

    def _listening(self) -> dict[str, Any]:
        world = self.world
        self.pushed: list[Pushed] = []
        """All that was brought, in the order of the feed's positions."""
        self.resumes_at: float | None = None
        self.listens_from = self.looked_ns = self.host()
        return {
            "ahead_max_ns": world.scenario.skew_ns,
            "by_the_wall": ByTheWall(
                self.host,
                max(world.scenario.lateness_ns, SECOND_NS),
                self.config.prefetch.timeout_seconds.ns,
            ),
            "lateness_ns": world.scenario.lateness_ns,
            "tell": self.telling.tell,
        }

    def _day_after(self, day: date) -> TradingDay | None:
        return following(self.world.calendar, day)

    def wake(self) -> bool:
        """Time goes on when there is nothing to do, and not before."""
        return False

    def idle(self) -> None:
        world = self.world
        if self.commit_waiting() or self._outside_waits() or self.bring():
            return
        keeper = self.engine.timekeeper
        assert keeper is not None
        left = keeper.left()
        if self._outside_waits():
            return
        now_ns = self.host()
        if now_ns > self.looked_ns + UNTROUBLED_NS:
            self.listens_from = now_ns
        due_ns = self._check_what_is_due(now_ns)
        now = self.clock.seconds
        act = world.next_act
        stops = [now + left] if left is not None else []
        stops += [now + (due_ns - now_ns) / 1e9] if due_ns is not None else []
        stops += [act.at] if act is not None else []
        stops += [self.resumes_at] if self.resumes_at is not None else []
        if self.at is not None and self.at < len(world.scenario.items):
            stops.append(world.scenario.items[self.at].at)
        if not stops:
            world.nothing_comes(self)
            return
        self.clock.seconds = max(now, min(stops)) + 1e-6
        self.looked_ns = self.host()
        world.check_time()
        if self.resumes_at is not None and self.resumes_at <= self.clock.seconds:
            self._resume()
        if act is not None and act.at <= self.clock.seconds:
            world.acts.pop(0)
            self._befalls(act)

    def _check_what_is_due(self, now_ns: MarketTime) -> int | None:
        """Nothing is left undone whose time has come; the instant at which to look again."""
        made, complete_ns = self.world.scenario, self.door.complete_ns(now_ns)
        of_clock: clock.State = self.engine.cells[clock.NAME].state
        of_day: day.State = self.engine.cells[day.NAME].state
        if of_clock.tokens or complete_ns < now_ns - UNTROUBLED_NS:
            self.listens_from = now_ns
        if of_clock.tokens or of_clock.ended is not None or of_day.position < 0:
            return None
        today, dues = of_day.day, list[int]()
        if of_day.phase == "load" and now_ns < today.close_ns:
            dues.append(today.open_ns)
        elif of_day.phase == "stream" and of_clock.agenda:
            boundary = of_clock.agenda[0] + made.lateness_ns
            if complete_ns >= boundary or now_ns < boundary:
                dues.append(boundary)
            if of_day.state == "ACTIVE" and not of_day.halted:
                dues += self._silent_at(today, now_ns, complete_ns)
        elif of_day.phase == "end" and made.auto_roll:
            dues += [at for at, name in of_clock.alarms if name == clock.ROLL] or [0]
        for due in dues:
            about = f"{of_day.state}, at {now_ns}, due at {due}: {today.date}"
            assert now_ns < due + SLACK_NS, f"nothing happens: {about}"
        return min((due + SLACK_NS for due in dues), default=None)

    def _silent_at(self, today: TradingDay, now_ns: int, complete_ns: int) -> list[int]:
        """When the day is in TIMEOUT if no row comes before, where that is known."""
        heard_ns = self.world.heard.get(today.date, (0, 0))[1]
        for segment in today.segments:
            base = max(heard_ns, segment.open_ns, self.listens_from)
            due = base + self.world.scenario.timeout_ns
            if segment.open_ns <= now_ns and due + SLACK_NS < segment.close_ns:
                return [due] if complete_ns >= due or now_ns < due else []
        return []

    def _befalls(self, act: Act) -> None:
        world, how = self.world, act.how
        world.sometimes(True, f"act {act.what}")
        open_now = self.engine.cells[day.NAME].state.phase == "stream"
        match act.what:
            case "jump":
                self.clock.set_ahead += how
                world.sometimes(how < 0 and open_now, "the clock was set back while a day was open")
                world.sometimes(how > 0 and open_now, "the clock was set forward in an open day")
                self.listens_from = self.looked_ns = self.host()
            case "suspend":
                self.clock.advance(how)
                world.sometimes(open_now, "a process was stopped in an open day, and went on")
                if how > 1:
                    self.engine._stood_still(how)
                self.listens_from = self.looked_ns = self.host()
            case "kill":
                world.down = how
                self.life.kill()
            case "pause":
                self.paused = True
                self.resumes_at = self.clock.seconds + how
                self.engine.pause("operator")
            case "reconnect":
                self.door.said("reconnecting", "drawn")
                self.door.said("connected", "drawn")
            case "gap":
                until = self.host()
                self.door.gap(MarketTime(until - round(how * 1e9)), until, None, "drawn")
            case "halt":
                on = not world.halted
                world.halted = on
                self.door.halted(world.scenario.symbols[:1], on)
            case "hours":
                world.calendar = world.scenario.other_hours
            case "record":
                world.record()

    def _pause_or_resume(self) -> None:
        super()._pause_or_resume()
        if self.paused:
            self.resumes_at = self.clock.seconds + self.world.random.choice((0.1, 5, 100))

    def _resume(self) -> None:
        super()._resume()
        self.resumes_at = None
        self.listens_from = self.host()
        self.world.sometimes(True, "a pause was over")

    def bring(self) -> bool:
        """The next piece of what has come; False if there is none."""
        world = self.world
        items = world.scenario.items
        if self.door.asked is None or self.life.dead:
            return False
        if self.at is None:
            self.at = self._goes_on_at(*self.door.asked)
            self.pushed = world.pushed[: self.door.position]
            if self.superseded is None:
                world.pushed = self.pushed
        if self.at == len(items) or items[self.at].at > self.clock.seconds:
            return False
        stop = self.at + world.random.randint(1, world.bringing.piece_max)
        due = [
            i for i in range(self.at, min(stop, len(items))) if items[i].at <= self.clock.seconds
        ]
        stop = due[-1] + 1
        mark = str(stop) if world.bringing.marks and world.random.random() < 0.7 else ""
        had = self.door.position
        before = self.door.account.day_over
        host_ns = self.host()
        self.door.take(world.scenario.rows(self.at, stop), self.at, mark)
        for place in range(max(had, self.at), stop):
            row = items[place].row
            end = row[1] + (world.scenario.interval_ns or 0)
            ahead = end > host_ns + world.scenario.skew_ns
            self.pushed.append(Pushed(row, host_ns, ahead))
            world.sometimes(ahead, "a row was ahead of the host's clock")
            if not ahead:
                self._heard(row, host_ns)
        world.sometimes(self.door.account.day_over > before, "a row of a day that was over came")
        self.at = stop
        return True

    def _heard(self, row: Any, host_ns: int) -> None:
        of_day: day.State = self.engine.cells[day.NAME].state
        if of_day.position < 0 or row[0] not in self.world.scenario.symbols:
            return
        today, heard = of_day.day, self.world.heard
        segment = segment_of(today, row[1], row[0])
        usable = segment and bad_reason(row, segment, self.world.scenario.interval_ns) is None
        if usable and row[1] > heard.get(today.date, (0, 0))[0]:
            heard[today.date] = (row[1], host_ns)

    def _updated(self, cell: Any, update: Any, state: Any, message: Message) -> tuple[Any, Effects]:
        after, effects = super()._updated(cell, update, state, message)
        if cell.actor.name == clock.NAME and self.superseded is None:
            again = message.grants if isinstance(message, Prepared) else state.again
            for effect in () if again else effects:
                if isinstance(effect, Publish) and isinstance(effect.message, Grant):
                    self.world.granted[effect.message.step] = Granted(
                        self.host(), self.world.calendar, len(self.pushed)
                    )
        return after, effects


class WallWorld(FedWorld):
    scenario: WallDays  # type: ignore[assignment]
    bringing: Bringing  # type: ignore[assignment]
    scans_fail = frozenset({"kill_in_scan", "late_scan"})
    letter_seconds = 1e-4

    def __init__(
        self, seed: int, faults: Faults | None = None, without: Collection[str] = ()
    ) -> None:
        super().__init__(seed, faults, without)
        # Who begins at what a store had once pushes rows anew that are durable.
        self.drawn = self.faults = replace(self.drawn, stale=0.0)
        rng = random.Random(f"wall {seed}")
        self.clock = HandClock(self.scenario.begins)
        self.bringing = Bringing(
            rng.choice((1, 3, 10)), rng.choice((0.02, 0.3)), rng.random() < 0.5
        )
        self.safety_letters = rng.choice((1000, 4000, 15_000))
        self.acts = list(self.scenario.acts)
        self.calendar = self.scenario.days
        self.down: float | None = None
        """For how long nobody starts another process after a kill, seconds; None: to be drawn."""
        self.granted: dict[int, Granted] = {}
        """By step, what was the case when it was granted first."""
        self.pushed: list[Pushed] = []
        self.heard: dict[date, tuple[int, int]] = {}
        """Newest time of each day's usable rows, and when it came."""
        self.halted = False
        self.folder: Path | None = None

    def scenario_of(self, number: int, without: Collection[str]) -> WallDays:  # type: ignore[override]
        return wall_days(number)

    def plan(self, config: Config, *scan: Any) -> Plan:
        return self.scenario.planned(config, self._calendar(), *scan)

    def _calendar(self) -> tuple[TradingDay, ...]:
        return getattr(self, "calendar", self.scenario.days)

    def hand_clock(self) -> HandClock:
        return self.clock

    def process(self, **how: Any) -> Process:
        return WallProcess(self, **how)

    @property
    def next_act(self) -> Act | None:
        return self.acts[0] if self.acts else None

    @property
    def ends(self) -> float:
        return self.scenario.days[-1].close_ns / 1e9

    def check_time(self) -> None:
        last = max((act.at + act.how for act in self.scenario.acts), default=0.0)
        limit = max(self.ends, last) + 4 * 86_400
        assert self.clock.seconds < limit, "the days are over, and the run is not"

    def nothing_comes(self, process: WallProcess) -> None:
        """Nothing will happen by itself any more."""
        if process.paused:
            process._resume()
            return
        of_day = process.engine.cells[day.NAME].state
        waits = not self.scenario.auto_roll and of_day.is_over
        assert waits, f"nothing will ever happen: {of_day.state} of {of_day.day.date}"
        self.sometimes(True, "a day rolled as the run was started again")
        self.down = self.random.choice((0.001, 3600.0))
        process.life.kill()

    def live(self, *, rival: bool = False) -> bool:
        ended = super().live(rival=rival)
        if not rival and not ended:
            down = self.down
            if down is None:
                down = 0.001 if self.calm else self.random.choice((0.001, 0.001, 3, 90, 1500))
            self.sometimes(down >= 90, "a process was started long after a kill")
            self.clock.advance(down)
            self.down = None
        return ended

    def record(self) -> None:
        """Write the recording of what is durable."""
        if self.folder is not None:
            of = self.config
            Recording(
                self.folder,
                self.connected(),
                lambda eras, on: of.with_determining(era_on(eras, on).config),
            ).catch_up()


def simulate(seed: int, without: Collection[str] = ()) -> WallWorld:
    """One seed, from its first process to the comparison with the reference.

    Raises
    ------
    AssertionError
        Its text says which seed, and how to see it again.
    """
    world = WallWorld(seed, without=without)
    try:
        with TemporaryDirectory(prefix="openbell-") as folder:
            world.folder = Path(folder)
            check(world)
    except Exception as error:
        print(*world.said, sep="\n")
        command = f".venv/bin/python tests/faults/timers.py --seed {seed}"
        raise AssertionError(f"seed {seed}: {error!r}\n  see it again: {command}") from error
    return world


def check(world: WallWorld) -> None:
    world.run()
    assert not world.wrong, world.wrong[0]
    before = world.state()
    world.process().run()
    assert world.state() == before, "a run that had ended wrote again"
    grants: list[Grant] = []
    found = given_again(check_replay(world, grants))
    if world.whole_days:
        days = {of.trading_date: written(of) for of in found.days}
        kept = {of: day for of, day in world.days.items() if of not in found.without_data}
        assert days == kept, "what sinks got is not what the step log gives"
    lived = check_marks(world, grants, found)
    check_answers(world, lived, found, grants)
    check_told(world, found)
    world.record()
    for of in found.days:
        compared = parity(world.config, world.connected(), of.trading_date, world.folder)
        assert compared.recording.first is None, f"{of.trading_date}: {compared.recording}"


def told(seed: int) -> tuple[object, ...]:
    world = WallWorld(seed)
    config = world.config.model_dump_json(exclude_defaults=True)
    return world.drawn, world.bringing, config, *world.scenario.acts


if __name__ == "__main__":
    main("Run seeds of the simulation with timers.", simulate, told)
