"""Symbols that come into a live day: what a feed refused so far counts, and history has the rest."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from datetime import date
from functools import cache
from typing import Any

import pytest
from by_hand import ByHand, at, config
from changing import ADD, BOTH, ROWS, Live
from histories import history

from openbell.market.bars import RawRows
from openbell.runtime.config import config_from
from openbell.runtime.intake.asking import Answer
from openbell.runtime.lifetime.replaying import replay_day


def symbol_events(run: ByHand) -> list[str]:
    """Of those that tell who is watched."""
    kinds = ("symbol.added", "symbol.removed", "symbol.refused")
    return [of["kind"] for of in run.audit("notice") if of["kind"] in kinds]


@cache
def from_the_open() -> Live:
    return Live(["A", "B"]).until(at("13:00"))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "when",
    [
        pytest.param("09:29", marks=slow),
        pytest.param("09:31", marks=slow),
        pytest.param("09:36:30", marks=slow),
        pytest.param("10:15", marks=slow),
        "12:04",
        pytest.param("12:30", marks=slow),
    ],
)
def test_what_comes_has_the_rows_of_history_and_of_the_feed(when: str) -> None:
    live = Live(["A"], [(at(when), ADD)], {"history": history(ROWS), "round_trips": True})

    live.until(at("13:00"))

    whole = from_the_open()
    assert live.answers["add"].result(0).done
    assert live.left("A") == whole.left("A")
    assert live.left("B") == whole.left("B")
    late = [of for of, backfilled in live.run.signals() if backfilled and ":B:" in of]
    assert bool(late) == (when in ("10:15", "12:04", "12:30"))


@slow
def test_without_history_its_levels_begin_now_and_are_not_complete() -> None:
    live = Live(["A"], [(at("12:04"), ADD)]).until(at("13:00"))

    answer = live.answers["add"].result(0)
    assert answer.done
    assert "there is no history" in answer.why
    documents = live.run.sessions()
    assert documents["Morning"]["symbols_data"]["B"]["high"] is None
    noon = documents["Noon"]["symbols_data"]["B"]
    assert noon["first_tick_time"] >= "2024-07-01T16:04:00Z"
    signals = [of for of in live.run._signals() if of.symbol == "B"]
    assert signals
    assert not any(of.complete or of.backfilled for of in signals)


def test_the_day_goes_on_without_what_is_not_there_in_time() -> None:
    live = Live(["A"], [(at("10:00"), ADD)], {"history": history(ROWS)}, takes=31.0)

    live.until(at("13:00"))

    answer = live.answers["add"].result(0)
    assert not answer.done
    assert "not loaded within 30 s" in answer.why
    assert live.left("A") == from_the_open().left("A")
    assert live.left("B")[1]["Noon"] == ("COMPLETED", None)
    told = symbol_events(live.run)
    assert told == ["symbol.refused"]


@slow
def test_history_that_fails_is_told_to_who_asked() -> None:
    def gone(symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        raise OSError("the vendor is away")

    live = Live(["A"], [(at("10:00"), ADD)], {"history": gone}).until(at("13:00"))

    answer = live.answers["add"].result(0)
    assert not answer.done
    assert "the vendor is away" in answer.why
    assert live.left("A") == from_the_open().left("A")


@pytest.mark.parametrize(
    "step", [1, *(pytest.param(step, marks=slow) for step in (0, *range(2, 12)))]
)
def test_a_kill_in_the_middle_leaves_all_or_nothing(step: int) -> None:
    live = Live(["A"], BOTH, {"history": history(ROWS)}, takes=1.0)
    counted = Live(["A"], BOTH, {"history": history(ROWS)}, takes=1.0)
    first: list[int] = []
    counted.run.do(at("10:15"), lambda of: first.append(of.messages))
    counted.until(at("13:00"))
    live.run.kills_at = frozenset({first[0] + 5 * step + 1, first[0] + 5 * step + 40})

    live.until(at("13:00"))

    assert live.run.restarts == 2
    assert {name: of.result(0).done for name, of in live.answers.items()} == {
        "add": True,
        "remove": True,
    }
    assert live.left("B") == from_the_open().left("B")
    assert live.left("A") == counted.left("A")
    kinds = symbol_events(live.run)
    assert kinds == ["symbol.added", "symbol.removed"]


@slow
def test_the_days_after_have_the_symbols_and_a_replay_gives_the_same() -> None:
    live = Live(["A"], BOTH, {"history": history(ROWS)})
    tuesday = "2024-07-02"
    for symbol in "AB":
        live.run.tick(at("09:31", tuesday), symbol, 100.0)
        live.run.tick(at("09:36", tuesday), symbol, 101.0)
    live.run.kill(at("18:00"), at("08:00", tuesday))

    live.until(at("12:00", tuesday))

    morning = live.run.sessions()["Morning"]["symbols_data"]
    assert list(morning) == ["B"]
    assert [of for of, _ in live.run.signals() if tuesday in of] == [
        "XNYS:2024-07-02:Morning:B:HIGH_BREAK:1"
    ]
    again = replay_day(config_from(live.run.config), live.run.store, date(2024, 7, 1))
    assert again.differs is None


def asked_before_the_open(look_up: Any) -> tuple[Answer, tuple[str, ...]]:
    """What is answered, and which symbols are watched then."""
    run = ByHand(config(symbols=["A"]), at("08:00"))

    def starting(made: Any) -> None:
        made.engine.inserter._look_up = look_up
        made.engine.inserter.begin = lambda work: work()
        made.engine.inserter.after = lambda seconds, work: None

    answers: list[Future[Answer]] = []

    def ask(of: ByHand) -> None:
        assert of.run is not None
        answers.append(of.run.symbols.ask(ADD))

    run.starting = starting
    run.do(at("08:30"), ask).until(at("08:40"))
    assert run.run is not None
    assert not run.run.engine.pauses()
    return answers[0].result(0), run.run.engine.inserter.later


def test_what_the_vendor_has_not_is_refused_and_nothing_changes() -> None:
    answer, watched = asked_before_the_open(lambda symbols, seconds: {"B": "no such market"})

    assert (answer.done, answer.why) == (False, "B: no such market")
    assert watched == ("A",)


def test_a_vendor_that_does_not_answer_adds_nothing() -> None:
    def silent(symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        raise TimeoutError(f"it did not answer within {seconds:g} s")

    answer, watched = asked_before_the_open(silent)

    assert not answer.done
    assert answer.why == (
        "B: whether the feed has it is not known: it did not answer within 10 s; ask again"
    )
    assert watched == ("A",)


def test_where_nobody_can_tell_the_answer_says_so() -> None:
    answer, watched = asked_before_the_open(lambda symbols, seconds: None)

    assert answer.done
    assert answer.why.endswith("the feed can't tell whether it has it: no row of it came yet")
    assert watched == ("A", "B")
