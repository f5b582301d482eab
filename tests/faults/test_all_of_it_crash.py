"""A run that uses scans, rules and contracts at once, killed in the middle and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from all_of_it import INDICES, ZONE, Plain, fact, months, written
from faults.crashing import KILLED, Nursery, Setting, assert_same, left, setting

DAYS = ("2021-02-17", "2021-02-26")


@pytest.fixture(scope="module")
def config(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    index = pd.read_parquet(shared_data / "nse_index_1m_2021.parquet").astype({"symbol": str})
    dates = index.ts.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d")
    index = index[(dates >= DAYS[0]) & (dates <= DAYS[1])]
    made = written(tmp_path_factory.mktemp("all"), index)
    del made["name"]
    return {**made, "symbols": list(INDICES), "clock": {"step": "boundary"}}


def of_all(folder: Path, config: dict[str, Any]) -> Setting:
    data = Path(config["data"]["path"])
    more = {key: of for key, of in config.items() if key != "data"}
    return setting(folder, data, f"sqlite:///{folder}/state.db", "bot", **more)


@pytest.fixture(scope="module")
def undisturbed(
    children: Nursery, config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    of = of_all(tmp_path_factory.mktemp("undisturbed"), config)
    code, said = children.run(*of.run)
    assert code == 0, said
    return left(of)


@pytest.mark.slow
def test_the_run_gives_what_is_plainly_computed(
    config: dict[str, Any], undisturbed: dict[str, Any]
) -> None:
    rows = pd.read_parquet(config["data"]["path"])
    plain = Plain(rows, months(rows[rows.symbol.isin(INDICES)]))

    found = [(*fact(s["trading_date"], s), s["backfilled"]) for s in undisturbed["signals.parquet"]]

    assert sorted(found, key=str) == sorted(plain.signals(INDICES), key=str)


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("files, before a day", 4),
        *(
            pytest.param(point, nth, marks=pytest.mark.slow)
            # How many commits there are is for the host to say: at speed 0 one may have many days.
            for point, nth in (
                ("files, before a day", 2),
                ("files, before a day", 6),
                ("signal, before its commit", 1),
                ("signal, after its commit", 1),
                ("commit, not ended", 1),
                ("snapshot, written", 1),
            )
        ),
    ],
)
def test_a_kill_changes_nothing(
    point: str,
    nth: int,
    children: Nursery,
    config: dict[str, Any],
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    of = of_all(tmp_path, config)
    code, said = children.run(*of.run, point=point, nth=nth)
    assert code == KILLED, said

    code, said = children.run(*of.run)

    assert code == 0, said
    assert_same(left(of), undisturbed, f"{point}, {nth}")
    code, said = children.run("why", "NIFTY", "2021-02-17", "--config", of.config)
    assert code == 0, said
    assert "note: breakouts from 10:45 to the close were not reported" in said
    assert "NIFTY was not found by moving (scanners, then: follow)" in said
