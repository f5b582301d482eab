"""Drawn days by the host's clock, recorded at any moment and behind kills, and bugs planted in that."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from by_hand import ByHand, at, config

from openbell.adapters.stores import Step
from openbell.errors import OpenbellError
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.eras import era_on
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.parity import parity
from openbell.runtime.record import recordedfiles, steplog
from openbell.runtime.record.recordings import read_day

DAY = date(2024, 7, 1)
FEW, MANY = 2, 60
ENOUGH = 15
"""So many seeds find each planted bug."""


def record(run: ByHand, folder: Path) -> None:
    made = config_from(run.config)
    Recording(
        folder, run.store, lambda eras, of: made.with_determining(era_on(eras, of).config)
    ).catch_up()


def drawn(seed: int, folder: Path) -> ByHand:
    """A day of ticks, many around the ends of windows and some late; it is killed, and recorded,
    at any moment."""
    rng = random.Random(seed)
    windows = [("A", "09:30", "09:31"), ("B", "09:33", "09:33"), ("C", "09:35", "09:38")]
    made = config(
        sessions=[{"name": n, "start": s, "end": e} for n, s, e in windows],
        clock={"lateness": rng.choice(["500ms", "2s"])},
        breakout={"rearm": rng.choice(["never", "inside"])},
        day={"timeout_seconds": rng.choice([20, 300])},
    )
    begins = at("09:29") if rng.random() < 0.7 else at("09:31:30")
    run = ByHand(made, begins)
    price = 100.0
    for _ in range(rng.randint(60, 150)):
        around = at(rng.choice(["09:32", "09:34", "09:39"]))
        came = rng.uniform(begins, at("09:42"))
        if rng.random() < 0.5:
            came = max(begins, around + rng.uniform(-4, 4))
        price += round(rng.gauss(0, 0.2), 2)
        late = rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 4)])
        run.tick(came, rng.choice("AB"), round(price, 2), ts=came - late)
    for _ in range(rng.randint(0, 4)):
        killed = rng.uniform(begins + 1, at("09:43"))
        run.kill(killed, killed + rng.choice([0.001, 3.0]))
    for _ in range(rng.randint(0, 6)):
        run.do(rng.uniform(begins + 1, at("09:44")), lambda of: record(of, folder))
    return run


def check(seed: int, folder: Path) -> None:
    """Go through a drawn day, and hold it against its recording."""
    run = drawn(seed, folder).until(at("16:01"))
    record(run, folder)

    found = parity(config_from(run.config), run.store, DAY, folder)

    assert found.recording.first is None, f"seed {seed}: {found.recording}"
    inside = sum(ts >= at("09:30") for _, ts, _ in run.sent)
    assert found.rows == inside, f"seed {seed}"
    steps = [step.number for step in read_day(folder, DAY).steps]
    assert steps == list(range(1, run.store.head().step + 1)), f"seed {seed}"


@pytest.mark.parametrize("seed", range(FEW))
def test_a_drawn_day_is_what_its_recording_comes_to(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.slow
def test_many_drawn_days_are_what_their_recordings_come_to(tmp_path: Path) -> None:
    for seed in range(FEW, MANY):
        check(seed, tmp_path / str(seed))


# Bugs planted one at a time

Plant = Callable[[pytest.MonkeyPatch], None]


def a_mark_is_missing(patch: pytest.MonkeyPatch) -> None:
    """Boundaries that are crossed without a row are not noted."""
    write = recordedfiles.write_part

    def without(folder: Path, day: Any) -> None:
        def stays(step: Step) -> Step:
            grant = steplog.read(step.grant).grant
            if grant["inputs"] or grant["until_ns"] == grant["from_ns"]:
                return step
            grant["until_ns"] = grant["from_ns"]
            written = msgpack.packb({**grant, "parts": {}}, use_bin_type=True)
            return replace(step, grant=written)

        write(folder, replace(day, steps=tuple(map(stays, day.steps))))

    patch.setattr("openbell.runtime.lifetime.keeping.write_part", without)


def a_row_falls_on_the_other_side(patch: pytest.MonkeyPatch) -> None:
    """Rows are noted with the step before theirs."""
    write = recordedfiles.write_part

    def earlier(folder: Path, day: Any) -> None:
        came = dict(day.came)
        for step in sorted(came)[5:]:
            if step - 1 in {s.number for s in day.steps} and step - 1 not in came:
                rows = came.pop(step)
                none = replace(
                    rows,
                    code=rows.code[:0],
                    ts=rows.ts[:0],
                    columns={name: column[:0] for name, column in rows.columns.items()},
                )
                came[step] = none
                last = max(of for of in came if of < step)
                came[last] = _behind(came[last], rows)
        write(folder, replace(day, came=came))

    patch.setattr("openbell.runtime.lifetime.keeping.write_part", earlier)


def _behind(first: Any, then: Any) -> Any:
    return replace(
        first,
        code=np.concatenate([first.code, then.code]),
        ts=np.concatenate([first.ts, then.ts]),
        columns={
            name: np.concatenate([column, then.columns[name]])
            for name, column in first.columns.items()
        },
    )


def a_part_begins_too_late(patch: pytest.MonkeyPatch) -> None:
    """What came with the first step of a part is left out."""
    part = Recording._part

    def late(self: Any, of: Any, eras: Any, after: int, *more: Any, **how: Any) -> Any:
        day = part(self, of, eras, after, *more, **how)
        came = {step: rows for step, rows in day.came.items() if step > after + 1 or step == 1}
        rows = sum(len(rows.ts) for rows in came.values())
        return replace(day, came=came, about=replace(day.about, rows=rows))

    patch.setattr(Recording, "_part", late)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [a_mark_is_missing, a_row_falls_on_the_other_side, a_part_begins_too_late],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch)

    for seed in range(ENOUGH):
        try:
            check(seed, tmp_path / str(seed))
        except (AssertionError, OpenbellError):
            return
    pytest.fail(f"no seed up to {ENOUGH} shows it")
