"""What an operator asks beside a run: `openbell status` and `openbell doctor`, of real servers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command, environment
from managing import live, running, wait_until
from redis_server import RedisServer
from store_places import server_binary

from openbell.runtime.cli.standing import FEW
from openbell.runtime.cli.status import _session
from openbell.runtime.cli.times import Times
from openbell.runtime.doctor import host, plans, stores

RUNNING = {"sessions": [{"name": "Whole Day", "start": "00:00", "end": "23:59"}]}


def write(server: RedisServer, config: Path, *entries: Mapping[str, Any]) -> None:
    import redis

    stream = yaml.safe_load(config.read_text())["feed"]["options"]["stream"]
    with closing(redis.Redis.from_url(server.url)) as client:
        for entry in entries:
            fields: dict[Any, Any] = {"ts": datetime.now(UTC).isoformat(), **entry}
            client.xadd(stream, fields)


def status_of(openbell: Command, config: Path) -> dict[str, Any]:
    ran = openbell("status", "--config", config, "--json")
    assert ran.code == 0, ran
    found: dict[str, Any] = json.loads(ran.out)
    return found


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.slow), "redis"])
def config(request: pytest.FixtureRequest, tmp_path: Path, server: RedisServer) -> Path:
    more = {"store": {"url": server.url}} if request.param == "redis" else {}
    snapshots = {"snapshot": {"every": "1s"}, "lease": {"ttl": "1s"}}
    record = str(tmp_path / "days")
    made = live(tmp_path, server, **RUNNING, **snapshots, **more)
    keys = yaml.safe_load(made.read_text())
    keys["feed"]["record"] = record
    made.write_text(yaml.safe_dump(keys))
    return made


def test_another_process_tells_of_a_live_run_all_that_an_operator_asks(
    config: Path, server: RedisServer, openbell: Command
) -> None:
    with running(config):
        wait_until(lambda: status_of(openbell, config)["process"] == "at work")
        write(server, config, {"symbol": "A", "price": 10}, {"symbol": "A", "price": 12})
        write(server, config, {"symbol": "A", "price": "?"}, {"symbol": "Z", "price": 12})

        def shows() -> bool:
            write(server, config, {"symbol": "A", "price": 11})  # a step, after which it is kept
            found = status_of(openbell, config)
            (session,) = found["sessions"] or [{"levels": {}}]
            return bool(session["levels"].get("A", {}).get("high")) and found["feed_rows"] > 2

        wait_until(shows)
        found = before = status_of(openbell, config)

        def is_older_and_all_is_written() -> bool:
            nonlocal found
            found = status_of(openbell, config)
            age: float = found["feed_age_seconds"]
            return bool(age > before["feed_age_seconds"] and found["backlog_bytes"] == 0)

        wait_until(is_older_and_all_is_written)
        shown = openbell("status", "--config", config).out
        utc = openbell("status", "--config", config, "--utc").out

    (session,) = found["sessions"]
    assert (session["name"], session["status"]) == ("Whole Day", "ACTIVE")
    assert session["levels"]["A"] == {"high": 12.0, "low": 10.0}
    assert session["levels"]["B"] == {"high": None, "low": None}
    assert "Whole Day ends" in found["next"]["what"] or found["next"]["what"] == "the close"
    assert 0 <= found["next"]["in_seconds"] <= 86400
    assert (found["backlog_bytes"], found["restarts"], found["store_outages"]) == (0, 0, 0)
    assert found["recording"]["problem"] is None
    unused = {reason: count for reason, count in found["feed_unused_rows"].items() if count}
    assert unused == {"unknown_symbol": 1, "no_row": 1}
    ((kind, refused),) = found["feed_refused"].items()
    assert refused["entries"] == 1
    assert (found["not_ready"], found["paused_by"]) == ([], [])
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80 or "/" in max(lines, key=len)  # a path is not cut
    keys = [line[:15].strip() for line in lines if not line.startswith(" ")]
    assert keys[0] == "process"
    for key in ("ready", "state", "next", "feed age", "session", "backlog", "recording"):
        assert key in keys, shown
    assert "A 12.0–10.0, B none" in shown
    assert "1 of symbols that are not watched, 1 that are no rows" in " ".join(shown.split())
    assert f"1 × {kind}, the first at {refused['first']}" in " ".join(shown.split())
    assert " UTC: " in utc
    assert "\x1b" not in shown


def test_of_a_window_whose_levels_no_snapshot_has_yet_none_are_shown() -> None:
    of = {
        "name": "Opening",
        "status": "ACTIVE",
        "started_at": "2024-07-01T13:30:00Z",
        "completed_at": None,
        "levels": {"A": {"high": None, "low": None}},
        "shown": "all",
    }

    assert _session(of, Times("UTC")) == "Opening ACTIVE 13:30"
    assert _session({**of, "status": "COMPLETED"}, Times("UTC")).endswith(": A none")


@pytest.mark.slow
def test_what_only_a_process_knows_is_not_shown_of_one_that_is_gone(
    config: Path, openbell: Command
) -> None:
    with running(config) as process:
        wait_until(lambda: status_of(openbell, config)["restarts"] == 0)
        process.kill()

        found = status_of(openbell, config)

    assert found["process"].startswith("dead")
    assert (found["next"], found["feed_age_seconds"], found["restarts"]) == (None, None, None)


@pytest.mark.slow
def test_many_symbols_are_told_by_their_number_and_the_extremes(
    tmp_path: Path, server: RedisServer, openbell: Command
) -> None:
    symbols = [f"S{number}" for number in range(FEW + 2)]
    config = live(tmp_path, server, **RUNNING, symbols=symbols, snapshot={"every": "1s"})
    ticks = [
        {"symbol": symbol, "price": 100 + more * place}
        for place, symbol in enumerate(symbols[:-1])
        for more in (0, 1)
    ]
    with running(config):
        wait_until(lambda: status_of(openbell, config)["process"] == "at work")
        write(server, config, *ticks)
        last = symbols[-2]
        wait_until(lambda: last in str(status_of(openbell, config)["sessions"]))
        (session,) = status_of(openbell, config)["sessions"]
        shown = openbell("status", "--config", config).out

    assert (session["symbols"], session["without_a_row"]) == (FEW + 2, 1)
    assert list(session["levels"]) == [last, "S0"]
    assert f"{FEW + 2} symbols, 1 without a row, widest {last}" in " ".join(shown.split())


@pytest.mark.slow
def test_status_is_shown_again_and_again_until_it_is_stopped(
    config: Path, openbell: Command
) -> None:
    with running(config):
        wait_until(lambda: status_of(openbell, config)["process"] == "at work")
        with subprocess.Popen(
            [sys.executable, "-m", "openbell", "status", "--config", str(config), "--watch"],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as watching:
            assert watching.stdout is not None
            seen = 0
            for line in watching.stdout:
                seen += line.startswith("process ")
                if seen == 3:
                    break
            watching.send_signal(signal.SIGINT)
            watching.stdout.read()
    assert watching.returncode == 130


# doctor


def found_by(openbell: Command, config: Path, *options: str) -> tuple[int, list[dict[str, str]]]:
    ran = openbell("doctor", "--config", config, "--json", *options)
    return ran.code, [json.loads(line) for line in ran.out.splitlines()]


def levels(found: list[dict[str, str]], about: str) -> set[str]:
    return {of["level"] for of in found if of["about"] == about}


def said(found: list[dict[str, str]], level: str) -> str:
    return "\n".join(
        f"{of['about']}: {of['said']} → {of['mend']}" for of in found if of["level"] == level
    )


def test_doctor_finds_all_in_order_and_changes_nothing(
    config: Path, server: RedisServer, openbell: Command, tmp_path: Path
) -> None:
    write(server, config, {"symbol": "A", "price": 10})
    import redis

    with closing(redis.Redis.from_url(server.url)) as client:
        keys = sorted(client.keys("*"))

        code, found = found_by(openbell, config)

        assert sorted(client.keys("*")) == keys
    assert code == 0, said(found, "fail")
    for about in ("configuration", "calendar", "store", "feed", "sinks", "http"):
        assert levels(found, about) <= {"ok"}, said(found, "warn")
    assert not (tmp_path / "state.db").exists()
    assert not (tmp_path / "days").exists()
    shown = openbell("doctor", "--config", config)
    assert shown.code == 0
    assert shown.out.splitlines()[-1].startswith("0 failures, ")


@pytest.mark.slow
def test_doctor_works_beside_a_run_and_leaves_its_feed_alone(
    config: Path, server: RedisServer, openbell: Command
) -> None:
    with running(config) as process:
        wait_until(lambda: process.ask("/readyz").status == 200)
        write(server, config, {"symbol": "A", "price": 10})
        wait_until(lambda: status_of(openbell, config)["feed_rows"] == 1)
        before = status_of(openbell, config)

        code, found = found_by(openbell, config)
        _, connected = found_by(openbell, config, "--connect")

        after = status_of(openbell, config)
    assert code == 0, said(found, "fail")
    assert levels(found, "feed") == {"skip"}
    assert levels(connected, "feed") == {"ok"}
    assert levels(found, "http") == {"ok"}
    assert "ready" in said(found, "ok")
    for key in ("holder", "feed_rows", "restarts", "signals"):
        assert after[key] == before[key]


def test_doctor_says_what_to_mend(tmp_path: Path, openbell: Command) -> None:
    with RedisServer(
        server_binary(), "--appendonly", "no", "--maxmemory-policy", "allkeys-lru"
    ) as s:
        sinks = [
            {
                "type": "redis",
                "name": "away",
                "options": {"url": "redis://127.0.0.1:1/0", "channel": "x"},
            },
            {
                "type": "exec",
                "name": "notify",
                "options": {"command": ["no-such-program-anywhere"]},
            },
            {
                "type": "webhook",
                "name": "hook",
                "options": {"url": "https://127.0.0.1:1/", "allow_private": True},
            },
            {"type": "file", "name": "lines", "options": {"path": str(tmp_path / "lines.jsonl")}},
        ]
        config = live(
            tmp_path,
            s,
            store={"url": s.url, "replicas": 1},
            sinks=sinks,
            supervision={"unready_exit": "10s"},
            sessions=[{"name": "Day", "start": "00:00", "end": "12:00", "timezone": "Asia/Tokyo"}],
        )
        keys = yaml.safe_load(config.read_text())
        keys["feed"]["options"]["url"] = "redis://127.0.0.1:1/0"
        config.write_text(yaml.safe_dump(keys))

        code, found = found_by(openbell, config)

    assert code == 1
    failures = said(found, "fail")
    assert "appendonly is no" in failures
    assert "→ set appendonly yes" in failures
    assert "maxmemory-policy is allkeys-lru" in failures
    assert "0 replicas are connected, and store.replicas is 1" in failures
    assert "feed: redis: can't be reached" in failures
    assert "away (redis)" in failures
    assert "there is no no-such-program-anywhere" in failures
    assert "hook (webhook)" in failures
    assert "unready_exit is 10s" in said(found, "warn")
    assert "lines (file)" in said(found, "ok")
    assert not (tmp_path / "lines.jsonl").exists()


@pytest.mark.slow
def test_doctor_finds_a_damaged_file_and_a_port_that_is_taken(
    tmp_path: Path, server: RedisServer, openbell: Command
) -> None:
    config = live(tmp_path, server)
    with running(config) as process:
        wait_until(lambda: status_of(openbell, config)["commits"] > 0)
        port = yaml.safe_load(config.read_text())["web"]["port"]
        process.send(signal.SIGTERM)
        assert process.ended() == 0
    file = tmp_path / "state.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with file.open("r+b") as raw:
        raw.seek(4096)
        raw.write(os.urandom(8 * 4096))
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()

        code, found = found_by(openbell, config)

    assert code == 1
    assert "damaged" in said(found, "fail")
    assert f"127.0.0.1:{port} can't be listened on" in said(found, "fail")


def test_doctor_names_each_key_that_is_wrong_and_a_secret_that_is_not_there(
    tmp_path: Path, server: RedisServer, openbell: Command
) -> None:
    config = live(
        tmp_path, server, web={"enabled": True, "token": "${NO_SUCH_TOKEN}"}, lease={"tll": 1}
    )

    code, found = found_by(openbell, config)

    assert code == 1
    assert "NO_SUCH_TOKEN" in said(found, "fail")
    assert "lease.tll" in said(found, "fail")
    assert levels(found, "the rest") == {"skip"}


def test_a_warning_is_a_failure_where_that_is_asked_for(
    tmp_path: Path, server: RedisServer, openbell: Command
) -> None:
    config = live(tmp_path, server, supervision={"unready_exit": "10s"})
    write(server, config, {"symbol": "A", "price": 10})

    assert found_by(openbell, config)[0] == 0
    assert found_by(openbell, config, "--strict")[0] == 1


def test_a_calendar_that_ends_soon_a_unit_and_a_network_disk_are_told(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openbell.market.calendar import coverage
    from openbell.runtime.config import load_config

    config = load_config(
        live(
            tmp_path,
            server,
            exchange="XNYS",
            sessions=[{"name": "Late", "start": "15:00", "end": "15:30"}],
        )
    )
    _, latest = coverage("XNYS")
    near = [*plans.calendar(config, latest.replace(day=28))]
    short = [*plans.calendar(config, date(2024, 11, 28))]
    assert {of.level for of in near if "reaches" in of.said} == {"fail"}
    assert any(of.level == "warn" and "Late is left out on 2024-11-29" in of.said for of in short)

    (tmp_path / "openbell.service").write_text("[Service]\nType=simple\nRestart=no\n")
    told = "\n".join(f"{of.said}; {of.mend}" for of in plans.units((str(tmp_path),)))
    assert all(word in told for word in ("Type=notify", "WatchdogSec=", "Restart=on-failure"))

    told_here = Path("/proc/self/mountinfo").exists()
    assert (stores.file_system(tmp_path) is not None) == told_here
    monkeypatch.setattr(stores, "file_system", lambda folder: "nfs4")
    networked = [*stores.store(load_config(live(tmp_path, server)))]
    assert any(of.level == "fail" and "nfs4" in of.said for of in networked)
    monkeypatch.setattr(host, "ROOM_FAIL", 1 << 80)
    assert {of.level for of in host.disks(config, tmp_path / "out")} == {"fail"}


# completion


COMPLETED = (
    ("sinks inspect ph", ["phone"]),
    ("sessions --config own.yaml --session Lu", ["Lunch"]),
    ("sessions --config own.yaml --symbol ", ["SPY", "QQQ"]),
    ("status --name ", ["bot"]),
    ("doctor --str", ["--strict"]),
    ("status --wa", ["--watch"]),
    ("events --kind sink.g", ["sink.gave_up"]),
    *((f"sessions --config wrong{n}.yaml --session ", list[str]()) for n in range(4)),
)
"""What is typed, and how it may go on."""

COMPLETES = """
import json, os, sys
from openbell.__main__ import main
for line in sys.stdin.read().splitlines():
    sys.argv[:] = ["openbell"]
    os.environ.update(COMP_WORDS=f"openbell {line}", COMP_CWORD=str(line.count(" ") + 1))
    print("$")
    try:
        main()
    except SystemExit:
        pass
"""


def test_names_of_the_configuration_are_completed_and_mistakes_complete_nothing(
    tmp_path: Path,
) -> None:
    sinks = [{"type": "stdout"}, {"type": "exec", "name": "phone"}]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "bot", "sinks": sinks}))
    own = {"sessions": [{"name": "Opening"}, {"name": "Lunch"}], "symbols": ["SPY", "QQQ"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    for number, text in enumerate(("", "sessions: [7, {}]", "a: [", "- a")):
        (tmp_path / f"wrong{number}.yaml").write_text(text)

    done = subprocess.run(
        [sys.executable, "-c", COMPLETES],
        cwd=tmp_path,
        env=environment({"_OPENBELL_COMPLETE": "complete_bash"}),
        input="\n".join(typed for typed, _ in COMPLETED),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    found = [answer.split() for answer in done.stdout.split("$\n")[1:]]
    assert found == [completed for _, completed in COMPLETED]
