"""`kill -9` at chosen and at random instants: nothing is lost, nothing is repeated.

`CRASHES=200 pytest …` (`make soak-crash N=200`) kills so often on each store; a failure prints
the seed, which `CRASH_SEED=…` takes again.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from faults.crashing import KILLED, POINTS, TABLE_BOT, Nursery, Setting, assert_same, left, setting
from redis_server import RedisServer
from seeds import due_seed

from openbell.market.kinds import KINDS

CRASHES = int(os.environ.get("CRASHES", "4"))
SEED = due_seed("CRASH_SEED")

RULES = {
    "breakout": {
        "confirm": "touch",
        "closed_beyond": True,
        "retest": {"within_bars": 8, "tolerance": "0.02%"},
    }
}
"""What follows breakouts is part of what is compared."""

BETWEEN = "commit, after one without a snapshot"

Kept = dict[str, Any]

_names = (f"run-{number}" for number in count())


@pytest.fixture(scope="session")
def real_day(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real days of two New York stocks, of which a minute is missing now and then."""
    rows = pq.read_table(shared_data / "us_stocks_1m_2019.parquet")
    of_two = pc.is_in(rows["symbol"].cast(pa.string()), pa.array(["AAPL", "BAC"]))
    end = pa.scalar(datetime(2019, 2, 14, tzinfo=UTC)).cast(rows["ts"].type)
    kept = pc.and_(of_two, pc.less(rows["ts"], end))
    file = tmp_path_factory.mktemp("real") / "us.parquet"
    pq.write_table(rows.filter(kept), file)
    return file


@pytest.fixture(scope="session")
def uninterrupted(children: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Kept]:
    """What runs over some data leave when nobody kills them, by the data."""
    return {}


def expected_of(data: Path, found: dict[Path, Kept], children: Nursery, folder: Path) -> Kept:
    if data not in found:
        whole = setting(folder / "whole", data, f"sqlite:///{folder}/whole.db", "whole", **RULES)
        code, said = children.run(*whole.run)
        assert code == 0, said
        found[data] = left(whole)
        ids = found[data]["ids"]
        assert len(ids) > 5
        for kind in KINDS[1:]:
            assert any(of.endswith(f":{kind}") for of in ids), kind
    return found[data]


class Chain:
    """One run, killed and started again until it ends; then the next, until there were enough."""

    def __init__(self, children: Nursery, of: Callable[[], Setting], expected: Kept, seed: str):
        self.children = children
        self.rng = random.Random(seed)
        self.expected = expected
        self.kills = 0
        self.ends = 0
        self._of = of
        self.setting = of()
        self.history: list[str] = []

    def killed_between_snapshots(self, nth: int | None = None) -> bool:
        """So that a recovery has steps to give again, however slow or fast this machine is."""
        keys = yaml.safe_load(self.setting.config.read_text())
        keys["snapshot"] = {"every": "1h"}
        config = self.setting.config.with_suffix(".seldom.yaml")
        config.write_text(yaml.safe_dump(keys))
        nth = nth or self.rng.randrange(1, 40)
        self.history.append(f"{BETWEEN} × {nth}, a step a commit")
        run = ("run", "--config", config, "--out", self.setting.out)
        return self.account(*self.children.run(*run, point=BETWEEN, nth=nth, each_step=True))

    def killed_at(self, point: str, nth: int) -> bool:
        if point == BETWEEN:
            return self.killed_between_snapshots(nth)
        self.history.append(f"{point} × {nth}")
        if not point.startswith("recovery"):
            return self.account(*self.children.run(*self.setting.run, point=point, nth=nth))
        # A run with --out goes back to the day's opening, on the first day to the very beginning.
        code, said = self.children.run(*self.setting.run[:3], point=point, nth=nth)
        return self.account(code, said, files=False)

    def account(self, code: int, said: str, files: bool = True) -> bool:
        """Whether it was killed; if not, it has ended, and another run takes its place."""
        assert code in (KILLED, 0), f"{self}: exit code {code}: {said}"
        assert "Traceback" not in said, f"{self}: {said}"
        if code == KILLED:
            self.kills += 1
            return True
        found, expected = left(self.setting), self.expected
        if not files:
            in_store = [name for name in expected if "." not in name]
            found, expected = ({name: of[name] for name in in_store} for of in (found, expected))
        assert_same(found, expected, str(self))
        self.ends += 1
        self.setting, self.history = self._of(), []
        return False

    def finish(self) -> None:
        """Let the run go on unharmed, and compare."""
        self.history.append("unharmed")
        assert not self.account(*self.children.run(*self.setting.run))

    def __str__(self) -> str:
        return f"CRASH_SEED={SEED}, {', '.join(self.history)}"


@pytest.fixture
def chain(
    children: Nursery,
    minutes: Path,
    uninterrupted: dict[Path, Kept],
    store_kind: str,
    store_url: str,
    tmp_path: Path,
) -> Chain:
    def fresh() -> Setting:
        return setting(tmp_path, minutes, store_url, next(_names), **RULES)

    expected = expected_of(minutes, uninterrupted, children, tmp_path)
    return Chain(children, fresh, expected, f"{store_kind} {SEED}")


@pytest.mark.parametrize(
    "many", [5, pytest.param(len(POINTS), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_kills_at_every_point_lose_and_repeat_nothing(many: int, chain: Chain) -> None:
    for point in chain.rng.sample([*POINTS], many):
        # A recovery takes a kill before it, and not each one has steps to give again; a run that
        # is nearly over comes to little.
        for nth in (chain.rng.randrange(1, 5), *[1] * 9):
            if not chain.history:
                chain.killed_between_snapshots()
            if chain.killed_at(point, nth):
                break
        else:
            pytest.fail(f"{chain}: never came to {point}")
    chain.finish()

    assert chain.kills >= many
    assert len(POINTS) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_at_each_point_on_fresh_state_loses_and_repeats_nothing(
    point: str, chain: Chain
) -> None:
    if point.startswith("recovery"):
        chain.killed_between_snapshots()

    for nth in (1, chain.rng.randrange(2, 12), chain.rng.randrange(2, 40)):
        chain.killed_at(point, nth)
    chain.finish()

    assert chain.kills


@pytest.mark.parametrize("many", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_table_that_is_another_after_each_kill_gives_what_it_gave(
    many: int, chain: Chain, children: Nursery, minutes: Path
) -> None:
    points = [point for point in POINTS if not point.startswith("files")]

    for number, point in enumerate(["commit, unanswered", *chain.rng.sample(points, many)]):
        nth = chain.rng.randrange(1, 9) if number else 1
        chain.history.append(f"{point} × {nth}")
        bot = (TABLE_BOT, chain.setting.config, minutes)
        chain.account(*children.run(*bot, point=point, nth=nth), files=False)
    code, said = children.run(TABLE_BOT, chain.setting.config, minutes)

    assert chain.kills
    assert not chain.account(code, said, files=False)


def test_kills_at_random_instants_of_a_real_day_lose_and_repeat_nothing(
    request: pytest.FixtureRequest,
    children: Nursery,
    real_day: Path,
    uninterrupted: dict[Path, Kept],
    store_kind: str,
    store_url: str,
    tmp_path: Path,
) -> None:
    def fresh() -> Setting:
        return setting(tmp_path, real_day, store_url, next(_names), **RULES)

    expected = expected_of(real_day, uninterrupted, children, tmp_path)
    chain = Chain(children, fresh, expected, f"random {store_kind} {SEED}")
    began = time.monotonic()
    assert children.run(*setting(tmp_path, real_day, store_url, next(_names), **RULES).run)[0] == 0
    whole_seconds = time.monotonic() - began

    while chain.kills < CRASHES:
        child = children.start(*chain.setting.run)
        seconds = chain.rng.uniform(0, 0.8 * whole_seconds)
        chain.history.append(f"{seconds:.3f} s")
        time.sleep(seconds)
        if store_kind == "redis" and chain.rng.random() < 0.5:
            chain.history.append("the server first")
            server: RedisServer = request.getfixturevalue("redis_server")
            server.kill()
            time.sleep(chain.rng.uniform(0, 0.05))
            server.start()
            time.sleep(chain.rng.uniform(0, 0.2))
        children.send(child, signal.SIGKILL)
        code = children.ended(child)
        if code == 1 and "no answer" in child.err:
            chain.history.append("ended without a server")
            continue
        chain.account(code, child.err)
    chain.finish()
