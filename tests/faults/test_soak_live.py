"""A sample of `soak_live.py`: a short day under load and kills, and what its judge finds wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from faults.soak_live import MEBIBYTE, Soaked, Taken, judged, soaking
from seeds import due_seed
from store_places import server_binary

from openbell.runtime.lifetime.parity import Compared, Parity

SEED = due_seed("LIVE_SEED")
"""Of what is drawn; a failure names it."""


@pytest.mark.slow
def test_a_live_day_under_load_and_kills_takes_no_more_and_its_recording_agrees(
    tmp_path: Path,
) -> None:
    server_binary()  # skips, or fails in CI, where there is none
    with soaking(tmp_path, seconds=25, rate=2_000, kill_every=10, seed=SEED) as soak:
        found = soak.run()

    assert found.problems == [], SEED
    assert found.kills > 0
    assert found.recorded == found.written > 20_000


def soaked() -> Soaked:
    equal = Compared("the live day", "its recording", 10, 10, None)
    taken = [
        Taken(60.0 * life + age, life, age, 200 * MEBIBYTE, 9, 11, 4 * rows, rows)
        for life in range(1, 10)
        for age in (1.0, 25.0, 55.0)
        for rows in (round(5000 * (60 * life + age)),)
    ]
    written = taken[-1].rows
    return Soaked(written, 8, taken, Parity(date(2024, 7, 1), 1, 1, equal, equal), written)


def test_the_judge_finds_nothing_in_a_day_that_takes_no_more() -> None:
    assert judged(soaked()) == []


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"memory": lambda t: t.memory + 20 * MEBIBYTE * t.life}, "memory grew over the day"),
        ({"memory": lambda t: t.memory + 2 * MEBIBYTE * round(t.age)}, "memory grew in a life"),
        ({"threads": lambda t: t.threads + t.life}, "threads grew"),
        ({"files": lambda t: t.files + 2 * t.life}, "files grew"),
        ({"store": lambda t: t.store * t.life}, "the store grew faster"),
    ],
)
def test_the_judge_finds_what_grows(more: dict, problem: str) -> None:  # type: ignore[type-arg]
    found = soaked()
    found.taken = [
        replace(taken, **{name: of(taken) for name, of in more.items()}) for taken in found.taken
    ]

    assert [text for text in judged(found) if problem in text]


def test_the_judge_finds_a_tick_that_is_not_recorded_and_an_answer_that_differs() -> None:
    found = soaked()
    assert found.parity is not None
    found.recorded -= 1
    differs = replace(found.parity.recording, equal=9, first="signal: one")
    found.parity = replace(found.parity, recording=differs)

    assert len(judged(found)) == 2
