"""A run over real days on which its future is another one, killed and started again."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from faults.crashing import KILLED, Nursery, Setting, assert_same, left, setting

DAYS = ("2021-01-27", "2021-01-28", "2021-01-29")
EXPIRIES = {"NIFTY21JANFUT": "2021-01-28", "NIFTY21FEBFUT": "2021-02-25"}
FILE = "underlying,expiry,symbol,tick_size\n" + "".join(
    f"NIFTY,{expiry},{name},0.05\n" for name, expiry in EXPIRIES.items()
)


@pytest.fixture(scope="module")
def rows(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real minutes of an index, and of it those of two futures until each expires."""
    index = pd.read_parquet(shared_data / "nse_index_1m_2021.parquet")
    dates = index.ts.dt.tz_convert("Asia/Kolkata").dt.strftime("%Y-%m-%d")
    index = index[dates.isin(DAYS) & (index.symbol == "NIFTY")]
    dates = dates[index.index]
    parts = [index]
    for place, (name, expiry) in enumerate(EXPIRIES.items()):
        future = index[dates <= expiry].assign(symbol=name)
        prices = ["open", "high", "low", "close"]
        future[prices] = (future[prices] + 25.5 * (place + 1)).round(2)
        parts.append(future)
    folder = tmp_path_factory.mktemp("nse")
    pd.concat(parts).sort_values(["ts", "symbol"], kind="stable").to_parquet(
        folder / "rows.parquet"
    )
    return folder / "rows.parquet"


def of_index(folder: Path, rows: Path, file: str = FILE, **more: Any) -> Setting:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "instruments.csv").write_text(file)
    return setting(
        folder,
        rows,
        f"sqlite:///{folder}/state.db",
        "bot",
        exchange="XNSE",
        symbols=["NIFTY"],
        companions={"NIFTY": {"future": "NIFTY", "roll": "expiry"}},
        instruments=str(folder / "instruments.csv"),
        clock={"step": "boundary"},
        history={"indicators": {"range": {"type": "trailing_max", "period": "2d"}}},
        **more,
    )


@pytest.fixture(scope="module")
def undisturbed(
    children: Nursery, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    of = of_index(tmp_path_factory.mktemp("undisturbed"), rows)
    code, said = children.run(*of.run)
    assert code == 0, said
    kept = left(of)
    paired = {(row["trading_date"], row["companion"]["symbol"]) for row in kept["signals.parquet"]}
    assert paired == {
        (date.fromisoformat(day), "NIFTY21JANFUT" if day <= "2021-01-28" else "NIFTY21FEBFUT")
        for day in DAYS
    }
    return kept


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("files, before a day", 2),
        *(
            pytest.param(point, nth, marks=pytest.mark.slow)
            for point, nth in (
                ("files, before a day", 3),
                ("signal, before its commit", 1),
                ("signal, after its commit", 1),
                ("snapshot, written", 1),
            )
        ),
    ],
)
def test_a_kill_around_a_roll_changes_nothing(
    point: str,
    nth: int,
    children: Nursery,
    rows: Path,
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    of = of_index(tmp_path, rows)
    code, said = children.run(*of.run, point=point, nth=nth)
    assert code == KILLED, said

    code, said = children.run(*of.run)

    assert code == 0, said
    found = left(of)
    for kept in (found, undisturbed):
        kept.get("summary.json", {}).get("inputs", {}).get("instruments", {}).pop("path", None)
    assert_same(found, undisturbed, f"{point}, {nth}")
    (tmp_path / "instruments.csv").unlink()
    code, said = children.run("replay", "--config", of.config, "--date", DAYS[2])
    assert code == 0, said
    assert "equal to what was committed" in said
