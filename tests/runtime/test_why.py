"""Why there is a signal or none: of what was run, on both stores, live days among them, and of rows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from commands import Command
from observed import eventually
from redis_server import RedisServer
from store_places import server_binary

import openbell
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import open_store
from openbell.errors import ConfigError, InputError

DAYS = (date(2024, 7, 1), date(2024, 7, 2), date(2024, 7, 3))


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
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "minutes"
    write_sample(folder, symbols=2, days=3, seed=3, start=DAYS[0])
    return folder


def config(minutes: Path, url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "asked",
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:34"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
            {"name": "Evening", "start": "14:00", "end": "14:10"},
        ],
        "data": {"path": str(minutes)},
        "store": {"url": url},
        **more,
    }


@pytest.fixture(scope="module")
def ran(minutes: Path, url: str) -> dict[str, Any]:
    """Three days, the last of which closes early."""
    keys = config(minutes, url)
    with openbell.Runtime.from_config(keys) as runtime:
        runtime.run()
    return keys


def symbols_of(keys: dict[str, Any]) -> list[str]:
    with openbell.Runtime.from_config(keys, durable=False) as runtime:
        return list(runtime.plan.symbols)


# What was run


def test_what_was_run_is_told_as_it_was_stored_and_nothing_is_written(
    ran: dict[str, Any], minutes: Path
) -> None:
    with closing(open_store(ran["store"]["url"], "asked")) as store:
        before = store.head(), store.usage().counts, store.lease()
        for day in DAYS:
            documents = {d.session: orjson.loads(d.body) for d in store.documents(trading_date=day)}
            for symbol in symbols_of(ran):
                log = [s.id for _, s in store.signals(trading_date=day, symbol=symbol)]

                told = openbell.why(ran, symbol, day)

                assert sorted(signal.id for signal in told.signals) == sorted(log)
                assert (told.notes, told.reached) == ((), None)
                for session in told.sessions:
                    document = documents[session.session]
                    assert session.status == document["status"]
                    if session.high is not None and session.low is not None:
                        of = document["symbols_data"][symbol]
                        assert (session.high.level, session.low.level) == (of["high"], of["low"])
                again = openbell.why(ran, symbol, day, data=minutes)
                assert (again.sessions, again.data) == (told.sessions, told.data)
        assert (store.head(), store.usage().counts, store.lease()) == before


def test_a_signal_is_told_by_its_id(ran: dict[str, Any]) -> None:
    with closing(open_store(ran["store"]["url"], "asked")) as store:
        _, signal = next(store.signals(trading_date=DAYS[1]))

    told = openbell.why(ran, signal.id)

    (session,) = told.sessions
    assert (told.symbol, session.session) == (signal.symbol, signal.session)
    assert signal.id in [found.id for found in told.signals]
    assert signal.id in str(told)


def test_a_day_is_told_with_the_configuration_that_it_was_run_with(ran: dict[str, Any]) -> None:
    symbol = symbols_of(ran)[0]
    now = {**ran, "breakout": {"confirm": "touch", "rearm": "inside"}}

    told = openbell.why(now, symbol, DAYS[0])

    assert told == openbell.why(ran, symbol, DAYS[0])
    assert {(s.confirm, s.rearm) for s in told.sessions} == {("close", "never")}


def test_a_day_whose_rows_are_gone_is_told_by_documents_and_signals(
    ran: dict[str, Any], tmp_path: Path
) -> None:
    symbol = symbols_of(ran)[0]
    whole = openbell.why(ran, symbol, DAYS[0])

    told = openbell.why({**ran, "data": {"path": str(tmp_path / "gone")}}, symbol, DAYS[0])

    assert told.signals == whole.signals
    assert told.data is None
    assert "gone" in told.notes[0]
    for session, known in zip(told.sessions, whole.sessions, strict=True):
        assert (session.status, session.rows) == (known.status, known.rows)
        assert session.high is not None
        assert known.high is not None
        assert (session.high.level, session.high.made) == (known.high.level, None)
    assert "can't be told" in str(told)


def test_what_is_not_known_is_an_error_that_names_the_nearest(
    ran: dict[str, Any], minutes: Path
) -> None:
    symbol = symbols_of(ran)[0]

    def refused(*asked: Any, **more: Any) -> str:
        with pytest.raises(InputError) as raised:
            openbell.why(ran, *asked, **more)
        return str(raised.value)

    for more in ({}, {"data": minutes}):
        assert f"the nearest: {symbol}; there are 2" in refused(symbol.lower(), DAYS[0], **more)
        nearest = refused(symbol, DAYS[0], "opening", **more)
        assert "the nearest: Opening, Evening; there are 3: Evening, Noon, Opening" in nearest
        wrong = f"XNYS:{DAYS[0]}:Opening:{symbol}:HIGH_BREAK:7"
        assert f"the nearest: XNYS:{DAYS[0]}" in refused(wrong, **more)
        assert "no trading day of XNYS (holiday" in refused(symbol, "2024-07-04", **more)
    assert f"the nearest days that were run: {DAYS[1]} and {DAYS[2]}" in refused(
        symbol, "2024-07-05"
    )
    assert "has rows from 2024-07-01 to 2024-07-03" in refused(symbol, "2024-07-05", data=minutes)
    for far in ("0001-01-01", "9999-12-31"):
        assert "nothing of it was run" in refused(symbol, far)
        assert "no calendar for" in refused(symbol, far, data=minutes)
    assert "is no id of a signal; write SYMBOL DATE" in refused(symbol)
    assert "write a date as YYYY-MM-DD" in refused(symbol, "1 July")
    nobody = {**ran, "name": "nobody"}
    with pytest.raises(InputError, match="nothing was ever run"):
        openbell.why(nobody, symbol, DAYS[0])


def test_a_session_that_was_skipped_says_why(ran: dict[str, Any]) -> None:
    told = openbell.why(ran, symbols_of(ran)[0], DAYS[2], "Evening")

    (session,) = told.sessions
    assert session.status == "SKIPPED"
    assert session.reason is not None
    assert "outside the hours" in session.reason
    assert session.reason in str(told)


def test_the_command_prints_what_the_library_says(
    ran: dict[str, Any], command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(orjson.dumps(ran))
    symbol = symbols_of(ran)[0]
    told = openbell.why(ran, symbol, DAYS[0], "Noon")

    said = command("why", symbol, str(DAYS[0]), "Noon", "--config", file)
    as_json = command("why", symbol, str(DAYS[0]), "Noon", "--config", file, "--json")
    in_utc = command("why", symbol, str(DAYS[0]), "Noon", "--config", file, "--utc")

    assert said.out == f"{told}\n"
    assert orjson.loads(as_json.out) == orjson.loads(orjson.dumps(told.as_dict()))
    assert "times of UTC" in in_utc.out
    assert "Noon  16:00 to 16:21" in in_utc.out
    nobody = command("why", "NOBODY", str(DAYS[0]), "--config", file)
    assert (nobody.code, nobody.out, len(nobody.messages)) == (2, "", 1)


def test_a_store_is_asked_without_a_configuration(ran: dict[str, Any], command: Command) -> None:
    symbol = symbols_of(ran)[0]
    at = ("--store", ran["store"]["url"], "--name", "asked")

    said = command("why", symbol, str(DAYS[0]), "Noon", *at)

    assert said.code == 0
    assert "data.path is missing" in said.out
    whole = openbell.why(ran, symbol, DAYS[0], "Noon")
    assert all(signal.id in said.out for signal in whole.signals)
    refused = command("why", symbol, str(DAYS[0]), *at, "--data", "minutes")
    assert refused.messages == ["--store: a store is asked without --data and --out"]


def test_a_day_without_a_row_says_so(ran: dict[str, Any], minutes: Path, tmp_path: Path) -> None:
    (tmp_path / "minutes").mkdir()
    for file in minutes.iterdir():
        if file.stem != str(DAYS[1]):
            (tmp_path / "minutes" / file.name).write_bytes(file.read_bytes())
    keys = config(tmp_path / "minutes", f"sqlite:///{tmp_path}/state.db")
    with openbell.Runtime.from_config(keys) as runtime:
        runtime.run()

    told = openbell.why(keys, symbols_of(ran)[0], DAYS[1])

    assert (told.sessions, told.signals) == ((), ())
    assert told.notes == ("the day has not opened, or no symbol had a row inside its hours",)


def test_results_are_told_as_they_were_written(minutes: Path, tmp_path: Path) -> None:
    keys = {**config(minutes, "memory://"), "breakout": {"buffer": 0.01}}
    openbell.backtest(keys, out=tmp_path / "out")
    symbol = symbols_of(keys)[0]

    told = openbell.why(keys, symbol, DAYS[0], out=tmp_path / "out")

    lines = map(orjson.loads, (tmp_path / "out" / "signals.jsonl").read_bytes().splitlines())
    written = [s["id"] for s in lines if (s["symbol"], s["trading_date"]) == (symbol, str(DAYS[0]))]
    assert sorted(signal.id for signal in told.signals) == sorted(written)
    assert told.notes == ()
    with pytest.raises(ConfigError, match="made with another configuration"):
        openbell.why({**keys, "breakout": {}}, symbol, DAYS[0], out=tmp_path / "out")
    with pytest.raises(InputError, match="there is no such file"):
        openbell.why(keys, symbol, DAYS[0], out=tmp_path / "nowhere")


def test_steps_that_were_dropped_leave_documents_and_signals(minutes: Path, tmp_path: Path) -> None:
    keys = config(minutes, f"sqlite:///{tmp_path}/state.db")
    keys["store"]["keep_days"] = 1
    for end in DAYS:
        with openbell.Runtime.from_config({**keys, "feed": {"end": str(end)}}) as runtime:
            runtime.run()
            symbol = runtime.plan.symbols[0]

    first, last = openbell.why(keys, symbol, DAYS[0]), openbell.why(keys, symbol, DAYS[2])

    assert "dropped after store.keep_days" in first.notes[0]
    assert first.sessions[0].high is not None
    assert (last.notes, last.data is None) == ((), False)


# Rows that a program pushes


def live(url: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "live",
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:31"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "data": {"kind": "ticks"},
        "clock": {"time": "feed", "lateness": 0},
        "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[0])},
        "store": {"url": url},
        **more,
    }


def tick(wall: str, price: float, symbol: str = "A") -> dict[str, Any]:
    ts = pd.Timestamp(f"{DAYS[0]} {wall}", tz="America/New_York")
    return {"symbol": symbol, "ts": ts, "price": price, "size": 1.0}


def push(runtime: openbell.Runtime, *rows: dict[str, Any]) -> None:
    runtime.push_ticks(pd.DataFrame(list(rows)))


def acted_on(runtime: openbell.Runtime, rows: int) -> openbell.Explanation:
    """What is told of A when so many of its rows have been acted on."""

    def told() -> openbell.Explanation | None:
        found = openbell.why(runtime.config, "A", DAYS[0]) if runtime.durable_position() else None
        opening = found.sessions[0] if found is not None and found.sessions else None
        if opening is None or opening.high is None:
            return None
        came = opening.rows + (opening.high.looked_at or 0) + len(opening.late)
        return found if came >= rows else None

    assert eventually(lambda: told() is not None)
    found = told()
    assert found is not None
    return found


MORNING = (
    tick("09:30:05", 10.0),
    tick("09:30:40", 11.0),
    tick("09:31:10", 10.5),
    tick("09:32:10", 10.9),
    tick("09:31:59", 12.0),  # late: the session is over
    tick("09:33:00", -1.0),
)


def test_a_live_day_is_told_while_it_is_under_way_and_across_a_restart(url: str) -> None:
    keys = live(url)
    with openbell.Runtime.from_config(keys) as runtime:
        push(runtime, *MORNING)
        beside = acted_on(runtime, len(MORNING) - 1)  # one of them can't be used
        before = runtime.why("A", DAYS[0])
    with openbell.Runtime.from_config(keys) as runtime:
        push(runtime, tick("09:40:00", 11.5), tick("09:41:00", 9.0))
        runtime.end_day(DAYS[0])
        runtime.wait()
        after = runtime.why("A", DAYS[0])

    assert before == beside
    assert before.reached is not None
    assert [session.status for session in before.sessions] == ["COMPLETED", "PENDING"]
    opening = before.sessions[0]
    assert opening.high is not None
    assert (opening.high.level, opening.rows, opening.complete) == (11.0, 3, True)
    assert opening.high.nearest is not None
    assert (opening.high.nearest.distance, opening.high.nearest.at.price) == (0.1, 10.9)
    (late,) = opening.late
    assert (late.high, late.known_at) == (12.0, opening.high.nearest.at.known_at)
    assert "it would have made the high 12.0" in str(before)
    assert before.data is not None
    assert before.data.bad_rows == 1
    assert [event.what for event in before.events if event.what == "restored"] == []
    assert after.reached is None
    assert [session.status for session in after.sessions] == ["COMPLETED", "COMPLETED"]
    assert [(s.side, s.price) for s in after.signals] == [("HIGH_BREAK", 11.5), ("LOW_BREAK", 9.0)]
    assert "restored" in [event.what for event in after.events]
    with closing(open_store(url, "live")) as store:
        assert len(list(store.signals())) == 2


def test_a_live_day_that_has_not_opened_says_so(url: str) -> None:
    keys = {**live(url), "name": "early"}
    with openbell.Runtime.from_config(keys) as runtime:
        runtime.start()
        with closing(open_store(url, "early")) as store:
            assert eventually(lambda: store.head().step > 0)
        told = openbell.why(keys, "A", DAYS[0])

    assert (told.sessions, told.signals) == ((), ())
    assert "has not opened" in told.notes[0]


@pytest.mark.slow
def test_a_live_day_is_told_again_and_again_while_rows_come(url: str) -> None:
    """The store is read while it is written, pruned and joined."""
    keys = {**live(url), "name": "busy", "snapshot": {"every": "1s", "keep": 1}}
    rows = [
        tick(f"{10 + i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}", 10 + i % 7) for i in range(150)
    ]
    with openbell.Runtime.from_config(keys) as runtime:
        push(runtime, *MORNING)
        acted_on(runtime, len(MORNING) - 1)

        def bring() -> None:
            for row in rows:
                push(runtime, row)

        bringing = threading.Thread(target=bring)
        bringing.start()
        told: list[openbell.Explanation] = []
        while bringing.is_alive() or not told:
            told.append(openbell.why(keys, "A", DAYS[0]))
        bringing.join()
        last = acted_on(runtime, len(MORNING) - 1 + len(rows))

    assert {note for explained in told for note in explained.notes} == set()
    assert last.data is not None
    assert last.data.actual == 6
    assert [signal.id for signal in last.signals] == [f"XNYS:{DAYS[0]}:Opening:A:HIGH_BREAK:1"]


def test_a_recorded_day_is_told_as_it_was_lived(url: str, tmp_path: Path) -> None:
    keys = {**live(url), "name": "recorded"}
    with openbell.Runtime.from_config(keys, record=tmp_path / "days") as runtime:
        push(runtime, *MORNING, tick("09:40:00", 11.5), tick("09:41:00", 5.0, "B"))
        runtime.end_day(DAYS[0])
        runtime.wait()
        lived = runtime.why("A", DAYS[0])

    told = openbell.why(keys, "A", DAYS[0], data=tmp_path / "days")
    other = {**keys, "breakout": {"buffer": 1.0}}
    otherwise = openbell.why(other, "A", DAYS[0], data=tmp_path / "days")

    assert told.sessions == lived.sessions
    assert len(told.sessions[0].late) == len(told.signals) == 1
    assert "recorded" in told.origin
    assert "another configuration" in otherwise.notes[0]
    assert otherwise.signals == ()


def test_rows_pushed_into_memory_are_not_kept_and_said_to_be_so() -> None:
    with (
        openbell.Runtime.from_config(live("memory://"), durable=False) as runtime,
        pytest.raises(ConfigError, match="durable=True"),
    ):
        runtime.why("A", DAYS[0])


def test_a_store_in_memory_is_asked_beside_its_run() -> None:
    with openbell.Runtime.from_config(live("memory://"), durable=True) as runtime:
        push(runtime, *MORNING, tick("09:40:00", 11.5))
        runtime.end_day(DAYS[0])
        runtime.wait()

        told = runtime.why("A", DAYS[0], "Opening")

    assert [signal.price for signal in told.signals] == [11.5]
    assert told.notes == ()


# Tables


def after_the_close(at: pd.DatetimeIndex) -> pd.DataFrame:
    """The only row of B, which does not count."""
    row = {"symbol": "B", "ts": at[0] + pd.Timedelta(hours=8), "close": 5.0, "volume": 1.0}
    return pd.DataFrame([{**row, "open": 5.0, "high": 5.0, "low": 5.0}])


def test_a_run_over_a_table_is_told_with_what_is_missing_and_bad() -> None:
    at = pd.date_range(f"{DAYS[0]} 09:30", periods=40, freq="1min", tz="America/New_York")
    frame = pd.DataFrame({"symbol": "A", "ts": at, "close": 10.0, "volume": 1.0})
    frame["open"] = frame["high"] = frame["low"] = frame["close"]
    frame.loc[8, ["high", "low"]] = [9.0, 10.0]
    frame = pd.concat([frame.drop(index=[2, 20, 21]), after_the_close(at)])
    keys = {
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
    }

    with openbell.Runtime.from_config(keys, frame) as runtime:
        told, nobody = runtime.why("A", DAYS[0]), runtime.why("B", DAYS[0])

    (session,) = told.sessions
    assert (session.complete, session.seen, session.expected) == (False, 4, 5)
    assert session.missing == (at[2].to_pydatetime(),)
    assert session.high is not None
    assert session.high.nearest is not None
    assert session.high.nearest.distance == 0
    assert [refused.rule for refused in session.high.refused] == ["strict"]
    assert told.data is not None
    assert told.data.missing[:2] == tuple(
        (at[a].to_pydatetime(), at[b].to_pydatetime()) for a, b in ((2, 3), (8, 9))
    )
    assert [bad.reason for bad in told.data.bad] == ["high 9.0 is below low 10.0"]
    assert "incomplete" in str(told)
    assert nobody.notes == ("B had no row inside the hours of that day",)
    assert nobody.sessions[0].high is not None
    assert nobody.sessions[0].high.level is None
    assert "no level" in str(nobody)
