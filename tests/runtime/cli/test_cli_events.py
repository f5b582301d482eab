"""`openbell events`: what other processes see of what happened."""

from __future__ import annotations

import json
import re
import signal
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from commands import Command
from faults.crashing import Nursery, nursery, wait_until
from redis_server import RedisServer
from store_places import server_binary

import openbell
from openbell.adapters.sample import write_sample

WINDOW = {"name": "Opening", "start": "09:30", "end": "09:34"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    write_sample(folder / "minutes", symbols=2, days=2, seed=3, start=date(2024, 7, 1))
    keys = {
        "name": "bot",
        "exchange": "XNYS",
        "sessions": [WINDOW],
        "data": {"path": "minutes"},
        "store": {"url": "sqlite:///openbell.db"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(keys))
    with openbell.Runtime.from_config(folder / "config.yaml") as runtime:
        runtime.run()
    return folder


@pytest.fixture
def events(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(finished)
    return Command(monkeypatch, capsys)


def printed(events: Command, *options: str) -> list[dict[str, Any]]:
    ran = events("events", "--json", *options)
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_it_prints_what_a_runtime_yields(events: Command) -> None:
    with openbell.Runtime.from_config("config.yaml") as runtime:
        yielded = [event.as_dict() for event in runtime.events(follow=False)]

    assert printed(events) == yielded
    assert yielded[0]["kind"] == "run.started"


def test_kinds_days_and_cursors_choose_some(events: Command) -> None:
    everything = printed(events)

    days = printed(events, "--kind", "day.active", "--kind", "session", "--date", "2024-07-02")
    assert [event["kind"] for event in days] == [
        "day.active",
        "session.pending",
        "session.active",
        "session.completed",
    ]
    assert printed(events, "--after", everything[7]["cursor"]) == everything[8:]
    assert printed(events, "--after", everything[-1]["cursor"]) == []


def test_people_get_a_table_in_the_exchange_s_zone(events: Command) -> None:
    head, *lines = events("events", "--kind", "session").out.splitlines()

    assert head.split() == ["America/New_York", "kind", "day", "what"]
    assert [line.split() for line in lines[:2]] == [
        [
            "2024-07-01",
            "09:30:00",
            "session.pending",
            "2024-07-01",
            *["Opening:", "the", "day", "was", "opened"],
        ],
        ["2024-07-01", "09:30:00", "session.active", "2024-07-01", *["Opening:", "its", "start"]],
    ]
    assert re.search(
        r"^2024-07-01 13:30:00 +session\.active +2024-07-01 Opening: its start$",
        events("events", "--utc").out,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--after", "99-00000000"), "no cursor of this log"),
        (("--after", "x"), "is no cursor"),
        (("--kind", "day.eror"), 'did you mean "day.error"?'),
        (("--date", "2024-13-01"), "--date"),
    ],
)
def test_what_can_t_be_asked_for_is_refused(
    events: Command, options: tuple[str, ...], says: str
) -> None:
    ran = events("events", *options)

    assert ran.code == 2
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.slow
def test_another_process_follows_a_run_on_redis(
    finished: Path, tmp_path: Path, events: Command
) -> None:
    with RedisServer(server_binary()) as server, nursery(tmp_path) as children:
        keys = yaml.safe_load((finished / "config.yaml").read_text())
        keys |= {"store": {"url": server.url}, "data": {"path": str(finished / "minutes")}}
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump(keys))
        children_of: Nursery = children
        command = ("events", "--config", config, "--follow", "--json", "--kind", "day")
        follower = children_of.start(*command)
        wait_until(lambda: "nothing was ever run" in follower.err)

        with openbell.Runtime.from_config(config) as runtime:
            yielded = [event.as_dict() for event in runtime.events(kinds="day")]
        wait_until(lambda: follower.err.count("\n") > len(yielded))
        children_of.send(follower, signal.SIGINT)

        assert children_of.ended(follower) == 130
        followed = [orjson.loads(line) for line in follower.err.splitlines()[1:-1]]
        assert followed == yielded != []
