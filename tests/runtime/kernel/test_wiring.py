"""Who speaks to whom."""

from __future__ import annotations

from datetime import date
from graphlib import TopologicalSorter

import pytest
from runs import of_cases, one_day

from openbell.actors import breakout, clock, day, keeper, prefetch, upkeep
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.data import BarsDerived, Batch, QualityReport
from openbell.messages.session import DayOpened, Noticed, SessionCompleted
from openbell.messages.signal import Signals
from openbell.messages.time import Grant
from openbell.runtime.kernel.wiring import Wiring, actors, edges, wiring

SESSIONS = (SessionSpec("Morning", "09:30", "09:35"), SessionSpec("Lunch", "11:50", "12:20"))


@pytest.fixture(params=[0, 1, 2])
def wires(request: pytest.FixtureRequest) -> Wiring:
    return wiring(SESSIONS[: request.param])


def test_nobody_is_upstream_of_himself(wires: Wiring) -> None:
    order = list(TopologicalSorter(wires.upstream).static_order())

    assert order[0] == clock.NAME
    assert order[-1] == keeper.NAME


def test_upstream_is_downstream_seen_from_the_other_end(wires: Wiring) -> None:
    downstream = {(a, b) for a, receivers in wires.downstream.items() for b in receivers}

    assert downstream == {(a, b) for b, senders in wires.upstream.items() for a in senders}
    assert set(edges(wires)) == downstream | {(a, b) for a, of in wires.back.items() for b in of}
    assert len(list(edges(wires))) == len(set(edges(wires)))


def test_whoever_is_heard_by_keeper_is_waited_for(wires: Wiring) -> None:
    # Whatever reaches Keeper in a step must be in its commit, so that nobody may be left out.
    assert set(wires.upstream[keeper.NAME]) == set(wires.downstream) - {keeper.NAME}


def test_only_what_goes_back_goes_to_the_clock(wires: Wiring) -> None:
    assert wires.upstream[clock.NAME] == ()
    assert {receiver for of in wires.back.values() for receiver in of} == {clock.NAME}
    assert keeper.NAME in wires.back


def test_every_actor_has_its_place() -> None:
    run = of_cases([one_day(date(2021, 3, 1), "bars")])

    names = [actor.name for actor in actors(run.settings)]

    assert names == list(wiring(run.settings.sessions).downstream)
    assert len(names) == len(set(names)) == 6 + len(run.settings.sessions)


def test_what_anyone_notices_comes_to_the_keeper() -> None:
    run = of_cases([one_day(date(2021, 3, 1), "bars")])
    made = actors(run.settings)
    wires = wiring(run.settings.sessions)

    assert Noticed in next(actor.hears for actor in made if actor.name == keeper.NAME)
    for actor in made:
        assert actor.name == keeper.NAME or keeper.NAME in wires.downstream[actor.name]


@pytest.mark.parametrize(
    ("sender", "kind", "receivers"),
    [
        (clock.NAME, Grant, {day.NAME, prefetch.NAME}),
        (prefetch.NAME, Batch, {"session:Morning", "session:Lunch", upkeep.NAME, breakout.NAME}),
        ("session:Morning", SessionCompleted, {breakout.NAME, keeper.NAME}),
        (upkeep.NAME, BarsDerived, {keeper.NAME}),
        (upkeep.NAME, QualityReport, {keeper.NAME}),
        (breakout.NAME, Signals, {keeper.NAME}),
        (
            day.NAME,
            DayOpened,
            {
                prefetch.NAME,
                "session:Morning",
                "session:Lunch",
                upkeep.NAME,
                breakout.NAME,
                keeper.NAME,
                clock.NAME,
            },
        ),
    ],
)
def test_what_is_said_is_heard(sender: str, kind: type[Message], receivers: set[str]) -> None:
    run = of_cases([one_day(date(2021, 3, 1), "bars")])
    hears = {actor.name: actor.hears for actor in actors(run.settings)}
    hears["session:Lunch"] = hears["session:Morning"]
    wires = wiring(SESSIONS)

    reached = {*wires.downstream[sender], *wires.back.get(sender, ())}

    assert {name for name in reached if kind in hears[name]} == receivers
