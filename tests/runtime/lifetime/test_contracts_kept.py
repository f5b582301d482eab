"""What a file of instruments said is kept with the days, and another one counts from the next on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.crashing import wait_until
from loguru import logger

from openbell.adapters.stores import open_store
from openbell.errors import ConfigError
from openbell.market.calendar import open_calendar
from openbell.market.days import local_instant
from openbell.runtime.api import Runtime
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.eras import eras_of
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.run import DurableRun

ZONE = "Asia/Kolkata"
DAYS = [day.date for day in open_calendar("XNSE", date(2025, 8, 25), date(2025, 9, 3)).days()]
ROLL = DAYS.index(date(2025, 8, 29))
"""The first day of the contract that follows."""
AUGUST, SEPTEMBER = "NIFTY,2025-08-28,F08,0.1\n", "NIFTY,2025-09-30,F09,0.1\n"


def file(*rows: str) -> str:
    return "underlying,expiry,symbol,tick_size\n" + "".join(rows)


def rows(days: Iterable[date], *symbols: str) -> pa.Table:
    found = [
        {
            "symbol": symbol,
            "ts": local_instant(day, time(9, minute), ZONE),
            **dict.fromkeys(("open", "high", "low", "close"), 100.0 * (place + 1) + minute),
            "volume": 1.0,
        }
        for day in days
        for place, symbol in enumerate(symbols)
        for minute in range(15, 30)
    ]
    made = pa.Table.from_pylist(found)
    return made.set_column(1, "ts", made["ts"].cast(pa.timestamp("ns", "UTC")))


def config(folder: Path, text: str, **more: Any) -> dict[str, Any]:
    (folder / "instruments.csv").write_text(text)
    return {
        "name": "bot",
        "exchange": "XNSE",
        "symbols": ["NIFTY"],
        "companions": {"NIFTY": {"future": "NIFTY"}},
        "instruments": str(folder / "instruments.csv"),
        "sessions": [{"name": "Open", "start": "09:15", "end": "09:16"}],
        "data": {"path": str(folder / "rows")},
        "store": {"url": f"sqlite:///{folder}/state.db"},
        **more,
    }


@contextmanager
def told(said: list[str]) -> Iterator[None]:
    logger.enable("openbell")
    sink = logger.add(lambda message: said.append(str(message)), level="WARNING")
    try:
        yield
    finally:
        logger.remove(sink)
        logger.disable("openbell")


def store_days(folder: Path, *days: date) -> None:
    for day in days:
        (folder / "rows").mkdir(exist_ok=True)
        pq.write_table(rows([day], "F08", "F09", "NIFTY"), folder / "rows" / f"{day}.parquet")


def run(keys: dict[str, Any], **given: Any) -> dict[date, str | None]:
    """By day, whose price went with the index's signals, of the whole log."""
    with Runtime.from_config(keys, durable=True, **given) as runtime:
        return paired(runtime.signals())


def paired(signals: Iterable[Any]) -> dict[date, str | None]:
    return {s.trading_date: s.companion and s.companion.symbol for s in signals}


def events(keys: dict[str, Any], kind: str) -> list[str]:
    with Runtime.from_config(keys, durable=True) as runtime:
        return [event.why for event in runtime.events(kinds=[kind])]


def replayed(keys: dict[str, Any], day: date) -> str | None:
    store = open_store(keys["store"]["url"], keys["name"])
    try:
        return replay_day(config_from(keys), store, day).differs
    finally:
        store.close()


def test_further_days_have_the_contracts_of_a_newer_file_and_earlier_ones_stay(
    tmp_path: Path,
) -> None:
    store_days(tmp_path, *DAYS[: ROLL + 1])
    first = run(config(tmp_path, file(AUGUST)))  # a dump that ends with August
    store_days(tmp_path, *DAYS[ROLL + 1 :])

    found = run(config(tmp_path, file(SEPTEMBER)))  # a dump of September: August has expired

    assert first == {**dict.fromkeys(DAYS[:ROLL], "F08"), DAYS[ROLL]: None}
    assert found == {**first, **dict.fromkeys(DAYS[ROLL + 1 :], "F09")}
    keys = config(tmp_path, file(SEPTEMBER))
    (tmp_path / "instruments.csv").unlink()
    assert [replayed(keys, day) for day in (DAYS[0], DAYS[ROLL], DAYS[-1])] == [None] * 3


def test_the_day_under_way_keeps_its_contract_and_the_next_has_the_newer_files(
    tmp_path: Path,
) -> None:
    store_days(tmp_path, *DAYS)
    keys = config(tmp_path, file(AUGUST, SEPTEMBER), feed={"end": str(DAYS[1])})
    run(keys)

    other = AUGUST.replace("2025-08-28", "2025-08-26")  # the expiry is moved to the third day
    found = run(config(tmp_path, file(other, SEPTEMBER)))

    assert found == {
        **dict.fromkeys(DAYS[:2], "F08"),
        **dict.fromkeys(DAYS[2:], "F09"),
    }
    assert any(f"from {DAYS[2]} on F09 goes with NIFTY" in of for of in events(
        config(tmp_path, file(other, SEPTEMBER)), "run.config"
    ))  # fmt: skip


def test_the_same_file_again_begins_nothing(tmp_path: Path) -> None:
    store_days(tmp_path, *DAYS[:2])
    keys = config(tmp_path, file(AUGUST, SEPTEMBER))
    run(keys)
    store_days(tmp_path, *DAYS[2:])

    run(keys)

    store = open_store(keys["store"]["url"], keys["name"])
    try:
        eras = eras_of(store.head(), ())
    finally:
        store.close()
    # Further days begin one, as ever.
    assert [era.since for era in eras] == [date.min, date(2025, 8, 27)]
    assert eras[-1].contracts.companions_on(DAYS[-1]) == (("NIFTY", "F09"),)
    again = events(keys, "run.config")
    run(keys)
    assert events(keys, "run.config") == again


def test_filters_that_are_others_are_another_configuration(tmp_path: Path) -> None:
    store_days(tmp_path, *DAYS[:2])
    keys = config(tmp_path, file(AUGUST, SEPTEMBER))
    run(keys)
    keys["instruments"] = {"file": keys["instruments"], "filters": {"underlying": "NIFTY"}}

    with pytest.raises(ConfigError, match=r"another configuration: instruments was null, is"):
        run(keys)


# Live


def fed(folder: Path, text: str, **feed: Any) -> dict[str, Any]:
    keys = config(folder, text, feed={"type": "push", "start": str(DAYS[0]), **feed})
    del keys["data"]
    return {**keys, "clock": {"time": "feed", "lateness": "0s"}}


def test_a_live_run_goes_on_inside_a_day_with_a_newer_file(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded"
    day, following = DAYS[ROLL - 1], DAYS[ROLL]
    days = {"start": str(day), "end": str(following)}
    keys = fed(tmp_path, file(AUGUST), **days, record=str(recorded))
    whole = rows([day], "F08", "F09", "NIFTY")
    half = len(whole) // 2
    by_time = whole.sort_by("ts")
    with Runtime.from_config(keys, durable=True) as runtime:
        position = runtime.push_bars(by_time.slice(0, half))
        wait_until(lambda: runtime.durable_position() >= position)

    keys = fed(tmp_path, file(SEPTEMBER), **days, record=str(recorded))
    with Runtime.from_config(keys, durable=True) as runtime:
        runtime.push_bars(by_time.slice(half))
        runtime.push_bars(rows([following], "F08", "F09", "NIFTY").sort_by("ts"))
        runtime.end_day(following)
        runtime.wait()
        found = paired(runtime.signals())

    assert found == {day: "F08", following: "F09"}
    assert [replayed(keys, of) for of in (day, following)] == [None, None]
    with Runtime.from_config({**keys, "feed": {}}, str(recorded), durable=False) as runtime:
        assert paired(runtime.signals()) == found


def test_hours_are_those_of_the_newest_file_that_can_be_read(tmp_path: Path) -> None:
    def text(segment: str) -> str:
        return f"symbol,underlying,expiry,segment\nF08,NIFTY,2026-08-25,{segment}\n"

    days = {"start": "2026-08-05", "end": "2026-08-31"}
    keys = fed(tmp_path, text("futures"), **days)
    path = tmp_path / "instruments.csv"
    said: list[str] = []
    with Runtime.from_config(keys, durable=True) as runtime, told(said):
        run = runtime._run
        assert isinstance(run, DurableRun)

        def products(day: int) -> list[str]:
            following = run._day_after(date(2026, 8, day))
            assert following is not None
            return sorted(of.product for of in following.products)

        assert products(5) == ["equity", "futures"]
        path.write_text(text("equity_fno"))
        assert products(6) == ["equity", "equity_fno"]
        path.unlink()
        assert products(7) == ["equity", "equity_fno"]
    assert any(
        "the instruments stay as they were: instruments.file: there is no" in of for of in said
    )
