"""A recorded day, run again: equal, or what differs; and what was known at an instant of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from commands import Command
from faults.crashing import Setting, setting
from redis_server import RedisServer
from store_places import server_binary

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import open_store
from openbell.errors import InputError
from openbell.market.days import local_instant
from openbell.runtime.config import load_config
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.run import DurableRun
from openbell.testing import Rehearsal

DAY = date(2024, 1, 3)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('state')}/openbell.db"
        return
    with RedisServer(server_binary()) as server:
        yield server.url


@pytest.fixture(scope="module")
def recorded(url: str, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Three days that were run; tests that change anything work on a copy of data and keys."""
    folder = tmp_path_factory.mktemp("recorded")
    write_sample(folder / "minutes", symbols=3, days=3, seed=7)
    of = setting(folder, folder / "minutes", url, "recorded")
    run(of)
    return of


def run(of: Setting) -> None:
    config = load_config(of.config)
    store = open_configured_store(config)
    try:
        DurableRun(config, store).run()
    finally:
        store.close()


def with_keys(of: Setting, folder: Path, **changed: Any) -> Path:
    keys = yaml.safe_load(of.config.read_text())
    for name, value in changed.items():
        keys[name] = {**keys[name], **value} if isinstance(value, dict) else value
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(keys))
    return file


def with_other_data(of: Setting, folder: Path, factor: float) -> Path:
    """The same minutes, but for one price of DAY, early in its lunch break."""
    keys = yaml.safe_load(of.config.read_text())
    (folder / "minutes").mkdir()
    for file in Path(keys["data"]["path"]).iterdir():
        rows = pq.read_table(file)
        if file.stem == str(DAY):
            frame = rows.to_pandas()
            at = local_instant(DAY, time(11, 52), "America/New_York")
            place = frame.index[frame["ts"].astype("int64") == at][0]
            frame.loc[place, "high"] *= factor
            rows = rows.from_pandas(frame, schema=rows.schema, preserve_index=False)
        pq.write_table(rows, folder / "minutes" / file.name)
    return with_keys(of, folder, data={"path": str(folder / "minutes")})


def replayed(config: Path, day: date = DAY, until: str | None = None) -> Any:
    made = load_config(config)
    store = open_configured_store(made)
    try:
        return replay_day(made, store, day, until)
    finally:
        store.close()


@pytest.mark.parametrize("day", [date(2024, 1, 2), DAY, date(2024, 1, 4)])
def test_a_recorded_day_comes_to_what_was_committed(recorded: Setting, day: date) -> None:
    found = replayed(recorded.config, day)

    assert found.differs is None
    assert found.verdict.startswith(f"{day}: ")
    assert found.verdict.endswith("equal to what was committed")
    assert found.steps >= 390


def test_a_replay_writes_nothing(recorded: Setting) -> None:
    store = open_store(recorded.url, recorded.name)
    before = (store.head(), store.usage().counts)

    replayed(recorded.config)

    assert (store.head(), store.usage().counts) == before
    store.close()


def test_other_data_is_named_by_the_first_step_and_what_differs_in_it(
    recorded: Setting, tmp_path: Path
) -> None:
    config = with_other_data(recorded, tmp_path, 1.5)

    differs = replayed(config).differs

    assert differs is not None
    assert differs.startswith("step 539 (2024-01-03 16:55:00Z)")  # the end of the five minutes
    assert "upkeep: 5-minute bars: high;" in differs


def test_other_data_is_a_failure_of_replay(
    recorded: Setting, tmp_path: Path, command: Command
) -> None:
    config = with_other_data(recorded, tmp_path, 1.5)

    found = command("replay", "--config", config, "--date", str(DAY))

    assert found.code == 1
    assert "Traceback" not in found.err


def test_a_changed_session_is_named_with_both_values(
    recorded: Setting, tmp_path: Path, command: Command
) -> None:
    sessions = yaml.safe_load(recorded.config.read_text())["sessions"]
    sessions[1]["end"] = "10:40"
    config = with_keys(recorded, tmp_path, sessions=sessions)

    for verb in (("run",), ("replay", "--date", str(DAY))):
        found = command(verb[0], "--config", config, *verb[1:])

        assert found.code == 2, found
        assert len(found.messages) == 1
        assert '"10:35"' in found.err
        assert '"10:40"' in found.err


@pytest.mark.parametrize(
    "changed", [{"snapshot": {"every": "5s", "keep": 9}}, {"lease": {"ttl": "7s"}}, {"web": {}}]
)
def test_what_decides_no_answer_may_change(
    changed: dict[str, Any], recorded: Setting, tmp_path: Path, command: Command
) -> None:
    keys = yaml.safe_load(recorded.config.read_text())
    config = tmp_path / "changed.yaml"
    config.write_text(yaml.safe_dump({**keys, **changed}))

    assert command("run", "--config", config).code == 0
    assert command("replay", "--config", config, "--date", str(DAY)).code == 0


@pytest.mark.parametrize("until", ["09:35", "09:36", "10:42", "12:20", "12:21", "16:00"])
def test_levels_at_an_instant_are_those_of_the_rows_until_then(
    until: str, recorded: Setting
) -> None:
    found = replayed(recorded.config, until=until)

    lines = list(found.show("levels"))
    assert lines[1:] == levels_by_hand(recorded, until)


def levels_by_hand(of: Setting, until: str) -> list[str]:
    keys = yaml.safe_load(of.config.read_text())
    frame = pq.read_table(f"{keys['data']['path']}/{DAY}.parquet").to_pandas()
    local = frame["ts"].dt.tz_convert("America/New_York").dt.strftime("%H:%M")
    lines = []
    for session in keys["sessions"]:
        if session["end"] >= until:
            continue
        inside = (local >= session["start"]) & (local <= session["end"])
        after = (local > session["end"]) & (local < until)
        for symbol in sorted(frame["symbol"].unique()):
            mine = frame["symbol"] == symbol
            high = np.float64(frame["high"][mine & inside].max())
            low = np.float64(frame["low"][mine & inside].min())
            closes = frame["close"][mine & after]
            up, down = int((closes > high).any()), int((closes < low).any())
            lines.append(
                f"{session['name']:<20} {symbol:<12} high {high!s:>12} low {low!s:>12} "
                f"broken {up} up, {down} down"
            )
    return lines


def test_an_actor_is_shown_in_words(recorded: Setting, command: Command) -> None:
    options = ("--config", recorded.config, "--date", str(DAY), "--until", "10:42")

    found = command("replay", *options, "--show", "day")

    assert found.code == 0
    assert "2024-01-03" in found.out
    unknown = command("replay", *options, "--show", "nobody")
    assert unknown.code == 2
    assert "nobody" in unknown.err


@pytest.mark.parametrize("until", ["noon", "25:00"])
def test_an_instant_that_is_none_is_refused_in_one_line(
    until: str, recorded: Setting, command: Command
) -> None:
    found = command("replay", "--config", recorded.config, "--date", str(DAY), "--until", until)

    assert found.code in (1, 2)
    assert len(found.messages) == 1


@pytest.mark.parametrize("day", ["2024-01-06", "2023-12-29", "yesterday"])
def test_a_day_that_was_not_run_is_refused_in_one_line(
    day: str, recorded: Setting, command: Command
) -> None:
    found = command("replay", "--config", recorded.config, "--date", day)

    assert found.code == 2
    assert len(found.messages) == 1
    assert day in found.err


def test_the_days_that_are_kept_can_be_replayed_and_earlier_ones_say_so(
    url: str, tmp_path: Path
) -> None:
    write_sample(tmp_path / "minutes", symbols=2, days=4, seed=7)
    keys = {"store": {"url": url, "keep_days": 2}, "clock": {"step": "boundary"}}
    of = setting(tmp_path, tmp_path / "minutes", url, "kept", **keys)
    with closing(open_store(url, of.name)) as store:
        Rehearsal(of.config, tmp_path / "minutes", store=store).run()

    for day in (date(2024, 1, 4), date(2024, 1, 5)):
        assert replayed(of.config, day).verdict.endswith("equal to what was committed")
    with pytest.raises(InputError, match=r"dropped after store.keep_days; kept: 2024-01-0"):
        replayed(of.config, date(2024, 1, 2))
