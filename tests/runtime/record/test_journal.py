"""Sources that can't be asked again: what was used of them is in the journal, and comes from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import Command
from observed import walk
from redis_server import RedisServer
from runs import MemorySource, plain, plan_of, some_days
from store_places import server_binary

from openbell.adapters.stores import Corrupt, Store, open_store
from openbell.errors import ConfigError, InputError, StoreError
from openbell.market.assembly import assemble
from openbell.runtime.config import Config, config_from, load_config
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record import journal
from openbell.runtime.record.codec import Undecodable
from openbell.testing import HandClock, Killed, Rehearsal
from openbell.testing.inline import InlineRun

DAYS = [date(2024, 7, day) for day in (1, 2, 3)]
HOURS = "09:30-10:10"


def config(**keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:33"},
            {"name": "Later", "start": "09:50", "end": "09:54"},
        ],
        "calendar": {"special_sessions": {str(day): HOURS for day in DAYS}},
        **keys,
    }


INDICATORS = {"usual": {"type": "trailing_average", "field": "close", "period": "2d"}}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Minutes with something of everything: bars that are unusable, doubled and outside."""
    frame: pd.DataFrame = walk("XNYS", str(DAYS[0]), str(DAYS[-1]), symbols=("A", "B")).to_pandas()
    frame = frame[frame["ts"].dt.strftime("%H:%M") < "14:10"].reset_index(drop=True)
    frame.loc[[25, 90], "close"] = np.nan
    doubled = frame.iloc[[20, 130]].assign(close=lambda bars: bars["high"])
    outside = frame.iloc[[3]].assign(ts=lambda bars: bars["ts"] - pd.Timedelta("1h"))
    return pd.concat([frame, doubled, outside], ignore_index=True)


def changed(rows: pd.DataFrame, days: set[date]) -> pd.DataFrame:
    """The same rows, but for the prices of some days."""
    frame = rows.copy()
    of = frame["ts"].dt.date.isin(days)
    frame.loc[of, ["open", "high", "low", "close"]] *= 1.1
    return frame


def journaled(store: Store) -> set[date]:
    return {day for of in DAYS for day in journal.days(store.journal(of))}


def left(store: Store) -> dict[str, Any]:
    return {
        "signals": [signal for _, signal in store.signals()],
        "documents": list(store.documents()),
        "steps": list(store.steps()),
        "days": journaled(store),
    }


def run(keys: dict[str, Any], rows: pd.DataFrame) -> Rehearsal:
    rehearsal = Rehearsal(keys, rows)
    rehearsal.run()
    return rehearsal


# What is written


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_rows_from_the_journal_make_the_same_day(kind: str) -> None:
    cases = some_days(kind)
    plan, source = plan_of(cases), MemorySource(cases)
    for case in cases:
        raw = source.read(case.day.midnight_ns, case.day.next_midnight_ns)
        places: dict[int, tuple[str, int]] = {}
        data = assemble(journal.noted(raw, places), case.day, case.interval_ns)
        assert data.bad

        known = journal.read(journal.written(case.day, raw, places, None))

        assert plain(assemble(known.rows(), known.day, case.interval_ns)) == plain(data)
        assert plan.symbols == known.symbols
        assert np.array_equal(known.ts, raw.ts)


def test_what_is_no_entry_is_refused() -> None:
    case = some_days("bars")[0]
    raw = MemorySource([case]).read(case.day.midnight_ns, case.day.next_midnight_ns)
    body = journal.written(case.day, raw, {}, None)

    for broken in (b"", body[:8], body[:-1], body[8:], b"\xff" * 8 + body[8:], b"x" + body[1:]):
        with pytest.raises(Undecodable):
            journal.read(broken)


def test_rows_that_can_be_asked_for_again_are_not_journaled(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    rows.to_parquet(tmp_path / "bars.parquet")

    rehearsal = Rehearsal(config(), tmp_path / "bars.parquet")
    rehearsal.run()

    assert rehearsal.signals() == run(config(), rows).signals()
    assert journaled(rehearsal.store) == set()


# Restarts


def test_a_day_under_way_stays_as_it_was_when_the_table_has_changed(rows: pd.DataFrame) -> None:
    expected = left(run(config(), rows).store)

    def before(rehearsal: Rehearsal) -> None:
        if rehearsal.messages in range(60, 3000, 41):
            rehearsal.rows = changed(rows, journaled(rehearsal.store))
            rehearsal.restart()

    rehearsal = Rehearsal(config(), rows, seed=3)
    rehearsal.run(before)

    assert rehearsal.restarts > 10
    assert expected["signals"]
    assert expected["days"] == set(DAYS)
    assert left(rehearsal.store) == expected


def test_the_next_day_has_the_days_before_as_they_were(rows: pd.DataFrame) -> None:
    keys = config(history={"indicators": INDICATORS})
    expected = left(run(keys, rows).store)

    def before(rehearsal: Rehearsal) -> None:
        if f"{rehearsal.market_time:%H:%M}" == "13:50" and rehearsal.restarts < 2:
            day = rehearsal.market_time.date()
            if day == DAYS[rehearsal.restarts]:
                rehearsal.rows = changed(rows, set(DAYS[: rehearsal.restarts + 1]))
                rehearsal.restart()

    rehearsal = Rehearsal(keys, rows)
    rehearsal.run(before)

    assert rehearsal.restarts == 2
    assert left(rehearsal.store) == expected
    assert expected != left(run(keys, changed(rows, {DAYS[0]})).store)


@pytest.mark.parametrize("table", ["one more symbol", "other days only"])
def test_a_table_may_be_another_one_after_a_restart(rows: pd.DataFrame, table: str) -> None:
    expected = run(config(), rows)
    others = {
        "one more symbol": pd.concat([rows, rows[rows["symbol"] == "B"].assign(symbol="AA")]),
        "other days only": rows[rows["ts"].dt.date > DAYS[1]],
    }

    def before(rehearsal: Rehearsal) -> None:
        if f"{rehearsal.market_time:%d %H:%M}" == "02 13:50" and not rehearsal.restarts:
            rehearsal.rows = others[table]
            rehearsal.restart()

    rehearsal = Rehearsal(config(), rows)
    rehearsal.run(before)

    assert rehearsal.restarts == 1
    found = [signal for signal in rehearsal.signals() if signal.symbol != "AA"]
    assert found == expected.signals()
    added = {str(signal.trading_date) for signal in rehearsal.signals() if signal.symbol == "AA"}
    assert added == ({str(DAYS[2])} if table == "one more symbol" else set())


def test_a_day_whose_journal_is_lost_is_not_run_on_with_other_rows(rows: pd.DataFrame) -> None:
    def before(rehearsal: Rehearsal) -> None:
        if f"{rehearsal.market_time:%d %H:%M}" == "02 13:50":
            database = rehearsal.store._database.writing()  # type: ignore[attr-defined]
            database.execute("DELETE FROM journal")
            rehearsal.restart()

    with pytest.raises(Corrupt, match="0 journal entries, not the 2 committed"):
        Rehearsal(config(), rows).run(before)


def test_a_day_that_was_run_on_files_is_not_gone_on_with_from_a_table(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    rows.to_parquet(tmp_path / "bars.parquet")

    def before(rehearsal: Rehearsal) -> None:
        if f"{rehearsal.market_time:%d %H:%M}" == "02 13:50":
            rehearsal.rows = rows
            rehearsal.restart()

    with pytest.raises(StoreError, match=r"2024-07-02 was run, but .*not in the journal"):
        Rehearsal(config(), tmp_path / "bars.parquet").run(before)


def test_a_journaled_day_may_be_gone_on_with_from_files(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.to_parquet(tmp_path / "bars.parquet")

    def before(rehearsal: Rehearsal) -> None:
        if f"{rehearsal.market_time:%d %H:%M}" == "02 13:50" and not rehearsal.restarts:
            rehearsal.rows = tmp_path / "bars.parquet"
            rehearsal.restart()

    rehearsal = Rehearsal(config(), rows)
    rehearsal.run(before)

    assert rehearsal.signals() == run(config(), rows).signals()
    assert journaled(rehearsal.store) == set(DAYS[:2])


def test_a_day_that_is_begun_anew_is_read_anew(rows: pd.DataFrame) -> None:
    """A restart in the middle of it gives it as it was read then, and not as before."""
    second, third = changed(rows, {DAYS[1]}), changed(rows, set(DAYS))
    moved = config(breakout={"confirm": "touch"})
    store = open_store("memory://", "anew")
    stopped_at(store, config_from(config()), rows, "02 13:50")

    stopped_at(store, config_from(moved), second, "02 13:55", fresh_day=True)
    InlineRun(config_from(moved), store, HandClock(), data=third).run()

    whole = run(
        moved,
        pd.concat([second[second["ts"].dt.date < DAYS[2]], third[third["ts"].dt.date == DAYS[2]]]),
    )
    held = {signal.id: signal.body for _, signal in store.signals()}
    expected = {signal.id: signal.body for _, signal in whole.store.signals()}
    assert len(list(store.journal(DAYS[1]))) == 2
    assert [key for key in expected if str(DAYS[2]) in key and held[key] != expected[key]] == []
    levels = [document.body for document in store.documents() if document.trading_date > DAYS[0]]
    assert levels == [d.body for d in whole.store.documents() if d.trading_date > DAYS[0]]
    for day in DAYS[1:]:
        assert replay_day(config_from(moved), store, day).differs is None


def stopped_at(store: Store, config: Config, rows: pd.DataFrame, at: str, **options: Any) -> None:
    """A run that is killed at a market time."""

    class Stopped(InlineRun):
        def before_letter(self) -> None:
            super().before_letter()
            now_ns = self.engine.cells["clock"].state.now_ns
            if f"{pd.Timestamp(now_ns):%d %H:%M}" == at:
                raise Killed

    with pytest.raises(Killed):
        Stopped(config, store, HandClock(), data=rows, **options).run()


# Replays


class FirstDayLate(InlineRun):
    """Its rows come when nothing else is left to do: after its close."""

    def is_late(self, date: date) -> bool:
        return date == DAYS[0]

    def idle(self) -> None:
        assert self.commit_waiting() or self.wake() or self.deliver_late()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/openbell.db"
        return
    with RedisServer(server_binary()) as server:
        yield server.url


@pytest.fixture
def recorded(url: str, rows: pd.DataFrame, tmp_path: Path) -> Path:
    """The configuration of a run over a table, which is nowhere any more."""
    file = tmp_path / "config.yaml"
    keys = config(name="table", store={"url": url}, history={"indicators": INDICATORS})
    file.write_text(yaml.safe_dump(keys))
    made = load_config(file)
    with closing(open_store(url, "table")) as store:
        DurableRun(made, store, data=rows).run()
    return file


def test_a_day_is_replayed_where_the_table_is_not(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Command(monkeypatch, capsys)

    for day in DAYS:
        found = command("replay", "--config", recorded, "--date", str(day))
        assert (found.code, found.err) == (0, "")
        assert "equal to what was committed" in found.out
    levels = command(
        "replay",
        "--config",
        recorded,
        "--date",
        str(DAYS[1]),
        "--until",
        "09:50",
        "--show",
        "levels",
    )
    assert levels.code == 0
    assert "Opening" in levels.out
    state = command("state", "--config", recorded)
    assert "journal" in state.out


def test_a_replay_notices_a_journal_that_was_altered(recorded: Path, url: str) -> None:
    made = load_config(recorded)
    with closing(open_store(url, "table")) as store:
        (entry,) = store.journal(DAYS[1])
        known = journal.read(entry.body)
        other = {name: values * 1.1 for name, values in known.columns.items()}
        altered = {DAYS[1]: replace(known, columns=other)}
        days = journal.days
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "days", lambda *kept: {**days(*kept), **altered})
            found = replay_day(made, store, DAYS[1])

    assert found.differs is not None
    assert "comes to something else than was committed: " in found.differs


def test_a_day_that_opened_without_rows_is_replayed_from_the_journal_too(
    rows: pd.DataFrame,
) -> None:
    keys = config_from(config(feed={"type": "replay", "speed": 60}))
    store = open_store("memory://", "late")

    FirstDayLate(keys, store, HandClock(), data=rows).run()

    assert journaled(store) == set(DAYS)
    for day in DAYS:
        assert replay_day(keys, store, day).differs is None


def test_without_a_journal_the_data_is_needed(rows: pd.DataFrame, tmp_path: Path) -> None:
    rows.to_parquet(tmp_path / "bars.parquet")
    rehearsal = Rehearsal(config(), tmp_path / "bars.parquet")
    rehearsal.run()

    with pytest.raises(ConfigError, match=r"data\.path is missing"):
        replay_day(config_from(config()), rehearsal.store, DAYS[1])


# How much


def test_the_journal_is_dropped_with_its_day(rows: pd.DataFrame) -> None:
    rehearsal = run(config(store={"keep_days": 1}), rows)

    # The second day's last snapshot is what the third began with.
    assert journaled(rehearsal.store) == set(DAYS[1:])
    assert replay_day(rehearsal.config, rehearsal.store, DAYS[2]).differs is None
    with pytest.raises(InputError, match=r"dropped after store\.keep_days"):
        replay_day(rehearsal.config, rehearsal.store, DAYS[1])
