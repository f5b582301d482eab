"""The phases of trading days: their order, what is left after a run, and days unlike others."""

from __future__ import annotations

import gc
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from loguru import logger
from observed import Observed, local, observe, walk

from openbell import Runtime
from openbell.market.bars import BarBlock
from openbell.market.days import MINUTE_NS
from openbell.runtime.config import config_from

DAY = ["initialise", "history", "load", "activate", "stream", "end"]
STATES = ["PRE_MARKET", "ACTIVE", "POST_MARKET", "ENDED"]
NSE, NEW_YORK = "Asia/Kolkata", "America/New_York"


def us(**keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:44"}],
        **keys,
    }


def nse(**keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNSE",
        "sessions": [{"name": "Opening", "start": "open", "end": "open+14m"}],
        **keys,
    }


@pytest.fixture(scope="module")
def holiday_week() -> pa.Table:
    """2024-07-01 to 07-08: an early close on the 3rd, a holiday on the 4th, a weekend."""
    return walk("XNYS", "2024-07-01", "2024-07-08")


@pytest.fixture(scope="module")
def week(holiday_week: pa.Table) -> Observed:
    return observe(us(), holiday_week)


# Order


def test_the_first_day_has_nothing_to_clear(week: Observed) -> None:
    assert week.phases("2024-07-01") == DAY
    assert [state for state, _ in week.states("2024-07-01")] == STATES


@pytest.mark.parametrize("day", ["2024-07-02", "2024-07-03", "2024-07-08"])
def test_every_later_day_is_cleared_first_and_the_last_one_stays(week: Observed, day: str) -> None:
    assert week.phases(day) == ["clear", *DAY]
    assert [state for state, _ in week.states(day)] == ["NOT_STARTED", *STATES]


def test_clearing_moves_the_clock_to_the_days_open(week: Observed) -> None:
    states = dict(week.states("2024-07-05"))

    assert {state: local(at, NEW_YORK)[-5:] for state, at in states.items()} == {
        "NOT_STARTED": "09:30",
        "PRE_MARKET": "09:30",
        "ACTIVE": "09:30",
        "POST_MARKET": "16:00",
        "ENDED": "16:00",
    }


def test_holidays_and_weekends_are_skipped(week: Observed) -> None:
    assert week.dates == ["2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05", "2024-07-08"]


def test_a_day_without_rows_ends_before_it_is_active(holiday_week: pa.Table) -> None:
    cut = date(2024, 7, 2)
    days = holiday_week["ts"].cast(pa.timestamp("ns")).cast(pa.date32()).to_pylist()

    found = observe(us(), holiday_week.filter(pa.array([d != cut for d in days])))

    assert found.phases("2024-07-02") == ["clear", "initialise", "history", "load"]
    assert [s for s, _ in found.states("2024-07-02")] == ["NOT_STARTED", "PRE_MARKET", "ENDED"]
    assert "2024-07-02" not in found.dates
    assert found.phases("2024-07-03") == ["clear", *DAY]


def test_the_log_names_phases_and_states(holiday_week: pa.Table) -> None:
    lines: list[str] = []
    logger.enable("openbell")
    number = logger.add(lambda message: lines.append(message.record["message"]), level="DEBUG")
    try:
        observe(us(), holiday_week, start=date(2024, 7, 1), end=date(2024, 7, 2))
    finally:
        logger.remove(number)
        logger.disable("openbell")

    for day, phases in (("2024-07-01", DAY), ("2024-07-02", ["clear", *DAY])):
        said = [line for line in lines if line.startswith(f"{day}: phase")]
        assert said == [f"{day}: phase {phase}" for phase in phases]
    assert "2024-07-02: ENDED → NOT_STARTED, the next trading day" in lines


# What is left


def test_after_a_run_the_last_day_is_there_and_no_earlier_one(holiday_week: pa.Table) -> None:
    keys = us(history={"indicators": {"mean": {"type": "trailing_average", "period": "2d"}}})
    alone = {}
    for start in (date(2024, 7, 1), date(2024, 7, 8)):
        with Runtime(config_from(keys), holiday_week, start=start, dispatcher="inline") as runtime:
            runtime.run()
            day = runtime.day
            assert day is not None
            alone[start] = day
    whole, single = alone.values()

    assert whole.date == single.date == date(2024, 7, 8)
    for name in ("signals", "levels", "quality"):
        assert getattr(whole, name).equals(getattr(single, name))
    assert whole.bars(5).equals(single.bars(5))
    assert len(whole.bars(5)) == 78 * 2
    means = [day.indicators["mean"].values for day in (whole, single)]
    assert means[0].tobytes() == means[1].tobytes()
    assert set(whole.levels["trading_date"].to_pylist()) == {date(2024, 7, 8)}


def test_while_a_day_runs_the_one_before_is_the_last(holiday_week: pa.Table) -> None:
    seen: list[tuple[date, date | None]] = []

    def over(day: date, *_: int) -> None:
        assert runtime.day is not None
        seen.append((day, runtime.day.date))

    with Runtime(config_from(us()), holiday_week, dispatcher="inline", on_day=over) as runtime:
        assert runtime.day is None
        runtime.run()

    assert [day for day, _ in seen] == [last for _, last in seen]
    assert len(seen) == 5


def test_no_rows_of_earlier_days_are_kept() -> None:
    rows = walk("XNYS", "2024-07-01", "2024-07-12", symbols=("ONLY", "HERE"))

    found = observe(us(), rows)

    assert found.dates[-1] == "2024-07-12"
    for _ in range(200):  # a thread that has just ended may hold its last day a moment longer
        gc.collect()
        objects = gc.get_objects()
        blocks = [o for o in objects if type(o) is BarBlock and o.symbols == ("HERE", "ONLY")]
        days = {block.day.date for block in blocks}
        if days == {date(2024, 7, 12)}:
            break
        del objects, blocks
        time.sleep(0.1)
    assert days == {date(2024, 7, 12)}


# The close


def test_the_clock_never_passes_an_early_close(shared_data: Path) -> None:
    found = observe(
        us(),
        shared_data / "us_spy_1m_2024.parquet",
        start=date(2024, 11, 27),
        end=date(2024, 11, 29),
    )

    close = dict(found.states("2024-11-29"))["POST_MARKET"]
    assert found.dates == ["2024-11-27", "2024-11-29"]  # the 28th is Thanksgiving
    assert local(close, NEW_YORK) == "2024-11-29 13:00"
    assert found.engine.cells["clock"].state.now_ns == close
    last = found.kept.days[-1]
    assert last.quality.expected.tolist() == [210]
    assert last.quality.actual.tolist() == [210]
    # The file goes on with bars to 16:00 and a closing auction, of most minutes.
    assert last.quality.outside_hours.tolist() == [135]
    assert max(int(b.known_at.max()) for b in last.signals) <= close


def test_rows_that_end_early_move_the_clock_to_the_close(holiday_week: pa.Table) -> None:
    ten = pa.scalar(np.datetime64("2024-07-08T14:00:00", "ns").astype(int), pa.int64())
    before = pa.compute.less(holiday_week["ts"].cast(pa.int64()), ten)

    found = observe(us(), holiday_week.filter(before))

    close = dict(found.states("2024-07-08"))["POST_MARKET"]
    assert local(close, NEW_YORK) == "2024-07-08 16:00"
    assert found.engine.cells["clock"].state.now_ns == close
    assert found.kept.days[-1].quality.actual.tolist() == [30, 30]


# Days unlike others


def test_a_saturday_of_two_parts_stands_between_its_neighbours() -> None:
    found = observe(nse(), walk("XNSE", "2024-03-01", "2024-03-04"))

    assert found.dates == ["2024-03-01", "2024-03-02", "2024-03-04"]
    assert [int(d.quality.expected[0]) for d in found.kept.days] == [375, 105, 375]
    assert [len(d.documents) for d in found.kept.days] == [1, 1, 1]
    ends = dict(found.states("2024-03-02"))
    assert local(ends["ACTIVE"], NSE) == "2024-03-02 09:15"
    assert local(ends["POST_MARKET"], NSE) == "2024-03-02 12:30"


def test_the_year_with_an_outage_and_an_evening_of_muhurat(shared_data: Path) -> None:
    found = {
        name: observe(
            nse(),
            shared_data / "nse_index_1m_2021.parquet",
            start=date.fromisoformat(start),
            end=date.fromisoformat(end),
        )
        for name, start, end in (
            ("outage", "2021-02-23", "2021-02-25"),
            ("muhurat", "2021-11-03", "2021-11-08"),
        )
    }

    outage = found["outage"]
    assert outage.dates == ["2021-02-23", "2021-02-24", "2021-02-25"]
    assert local(dict(outage.states("2021-02-24"))["POST_MARKET"], NSE) == "2021-02-24 17:00"
    quality = outage.kept.days[1].quality
    assert quality.expected.tolist() == [465, 465]
    assert (quality.missing >= 310).all()
    assert (quality.gaps >= 1).all()
    muhurat = found["muhurat"]
    assert muhurat.dates == ["2021-11-03", "2021-11-04", "2021-11-08"]
    hours = [local(at, NSE)[-5:] for _, at in muhurat.states("2021-11-04")]
    assert (hours[0], hours[-1]) == ("18:15", "19:15")
    assert muhurat.kept.days[1].documents[0].levels is not None
    assert muhurat.kept.days[1].documents[0].levels.count.tolist() == [15, 15]


def test_hours_keep_their_wall_time_over_a_clock_change(shared_data: Path) -> None:
    found = observe(
        us(),
        shared_data / "us_spy_1m_2024.parquet",
        start=date(2024, 11, 1),
        end=date(2024, 11, 4),
    )

    opens = [dict(found.states(day))["ACTIVE"] for day in found.dates]
    assert [local(at, NEW_YORK)[-5:] for at in opens] == ["09:30", "09:30"]
    assert opens[1] - opens[0] == (3 * 24 + 1) * 60 * MINUTE_NS


def test_sessions_relative_to_the_close_follow_early_closes_and_special_days() -> None:
    relative = [
        {"name": "First", "start": "open+15m", "end": "open+29m"},
        {"name": "Last", "start": "close-30m", "end": "close-1m"},
    ]
    us_days = observe(us(sessions=relative), walk("XNYS", "2024-11-27", "2024-11-29"))
    nse_days = observe(nse(sessions=relative), walk("XNSE", "2024-03-01", "2024-03-02"))

    def windows(found: Observed, tz: str) -> dict[str, list[str]]:
        return {
            str(day.trading_date): [
                f"{local(d.started_at or 0, tz)[-5:]}–{local(d.completed_at or 0, tz)[-5:]}"
                for d in day.documents
            ]
            for day in found.kept.days
        }

    assert windows(us_days, NEW_YORK) == {
        "2024-11-27": ["09:45–10:00", "15:30–16:00"],
        "2024-11-29": ["09:45–10:00", "12:30–13:00"],
    }
    assert windows(nse_days, NSE) == {
        "2024-03-01": ["09:30–09:45", "15:00–15:30"],
        "2024-03-02": ["09:30–09:45", "12:00–12:30"],
    }
    counts = [
        d.levels.count.tolist() for day in us_days.kept.days for d in day.documents if d.levels
    ]
    assert counts == [[15, 15], [30, 30], [15, 15], [30, 30]]


# Rules of single sessions


def test_a_sessions_own_rules_go_over_the_common_ones() -> None:
    sessions = [
        {"name": "Common", "start": "09:30", "end": "09:44"},
        {"name": "Highs", "start": "09:30", "end": "09:44", "breakout": {"sides": "high"}},
        {"name": "Again", "start": "09:30", "end": "09:44", "breakout": {"rearm": "inside"}},
        {"name": "Far", "start": "09:30", "end": "09:44", "breakout": {"buffer": "1%"}},
        {"name": "Half", "start": "09:30", "end": "09:44", "closed": "left"},
    ]
    found = observe(us(sessions=sessions), walk("XNYS", "2024-07-01", "2024-07-08"))

    def of(name: str) -> list[tuple[str, int, int]]:
        return sorted(
            (b.symbols[b.symbol[i]], int(b.side[i]), int(b.ts[i]))
            for b in found.kept.log.batches()
            for i in range(len(b))
            if b.sessions[b.session[i]] == name
        )

    common = of("Common")
    assert of("Highs") == [row for row in common if row[1] == 0]
    assert set(common) < set(of("Again"))
    assert len(of("Far")) < len(common)
    counts = {d.session_name: d.levels.count[0] for d in found.kept.days[0].documents if d.levels}
    assert (counts["Common"], counts["Half"]) == (15, 14)
