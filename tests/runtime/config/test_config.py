"""Configurations: values as written, precedence, and what is said of a wrong one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from openbell.errors import ConfigError
from openbell.market.days import MINUTE_NS
from openbell.market.hours import Span
from openbell.runtime.config import (
    DIGEST_LEAVES_OUT,
    Buffer,
    Config,
    Duration,
    Rearm,
    SessionTime,
    Size,
    config_from,
    config_schema,
    load_config,
)
from openbell.runtime.config.conditions import KEYS
from openbell.runtime.config.values import parse_buffer, parse_duration, parse_size

ROOT = Path(__file__).parents[3]

MINIMAL = """\
exchange: XNYS
sessions: [{name: Opening, start: "09:30", end: "09:35"}]
"""

# The block of the design, every key of it.
DESIGN = """\
name: default                      # namespace of all state
exchange: XNSE
symbols: all                       # or [NIFTY, BANKNIFTY]
companions: {NIFTY: NIFTY30SEP25FUT}
sessions:
  - {name: Morning Opening, start: "09:30", end: "09:35"}
breakout: {confirm: close, check: continuous, rearm: never, buffer: 0, sides: both}
data: {path: minutes/, kind: bars, interval: 1m, bar_label: start}      # the source; kind: ticks
feed: {type: replay, speed: 0, start: null, end: null}
clock: {step: boundary, lateness: 2s, skew_max: 5s}
upkeep: {enabled: true, derived_intervals: [5, 15], check_interval_seconds: 2.0}
history: {data: [{trailing_days: 10, intervals: [1m], apply_to: all}], indicators: {}, enable_quality: true}
prefetch: {days: null, timeout_seconds: 30}
day: {auto_roll: true, timeout_seconds: 300, boundary_check_interval: 60, post_market_roll_delay: 30}
calendar: {timezone: null, hours: null, special_sessions: {}, closures: [], early_closes: {}}
scanners: []
sinks: []
backtest: {start: null, end: null, speed: 0}
store: {url: "sqlite:///state/openbell.db", keep_days: 30, backlog: 64MiB, replicas: 0}
snapshot: {every: 60s, keep: 5}
lease: {ttl: 5s}
supervision: {restarts: 3, within: 60s}
web: {host: 127.0.0.1, port: 8700}
"""

DEFAULTS = {
    "name": "default",
    "segment": "equity",
    "symbols": "all",
    "companions": {},
    "instruments": {
        "file": None,
        "layout": "plain",
        "columns": dict.fromkeys(
            ["symbol", "underlying", "expiry", "tick_size", "lot", "segment", "exchange", "since"]
        ),
        "filters": {},
        "segments": {},
        "date_format": None,
        "tick_scale": 1.0,
    },
    "breakout": {
        "confirm": "close",
        "check": "continuous",
        "rearm": "never",
        "buffer": 0.0,
        "sides": "both",
        "closed_beyond": False,
        "retest": "never",
        "tick_size": None,
        "volume": "none",
        "min_range": "none",
        "max_range": "none",
        "valid_until": "none",
        "on_incomplete": "flag",
        "direction": "any",
    },
    "data": {
        "path": None,
        "kind": "bars",
        "interval": "1m",
        "bar_label": "start",
        "order": "time",
        "timezone": None,
        "columns": dict.fromkeys(
            [
                "symbol",
                "ts",
                "open",
                "high",
                "low",
                "close",
                "volume",
                "price",
                "size",
                "trade_id",
                "partial",
            ]
        ),
        "symbol": None,
        "price_scale": 1.0,
        "allow_negative_prices": False,
        "time_shift": "0s",
        "csv": {
            "time_format": None,
            "date_order": None,
            "header": None,
            "names": [],
            "skip_rows": None,
            "skip_footer": None,
            "delimiter": None,
            "decimal": None,
            "thousands": None,
            "encoding": None,
        },
        "format": None,
        "files": [],
    },
    "feed": {
        "type": "replay",
        "speed": 0.0,
        "start": None,
        "end": None,
        "suspect_seconds": None,
        "symbol_suspect_seconds": "1m",
        "silent": "timeout",
        "renew": [],
        "token_expires": None,
        "refused": None,
        "record": None,
        "revisions": "freeze",
        "size_is": "trade",
        "dedupe": "none",
        "on_partial": "flag",
        "options": {},
    },
    "clock": {"step": "boundary", "time": None, "lateness": "2s", "skew_max": "5s"},
    "upkeep": {"enabled": True, "derived_intervals": ["5m", "15m"], "check_interval_seconds": "2s"},
    "history": {
        "data": [{"trailing_days": 10, "intervals": ["1m"], "apply_to": "all"}],
        "indicators": {},
        "enable_quality": True,
    },
    "prefetch": {"days": None, "timeout_seconds": "30s"},
    "day": {
        "auto_roll": True,
        "timeout_seconds": "5m",
        "boundary_check_interval": "1m",
        "post_market_roll_delay": "30m",
    },
    "calendar": {
        "timezone": None,
        "hours": None,
        "special_sessions": {},
        "closures": [],
        "early_closes": {},
        "segments": {},
    },
    "scanners": [],
    "sinks": [],
    "sinks_max_age": "1m",
    "backtest": {"start": None, "end": None, "speed": 0.0, "dispatcher": "inline"},
    "store": {
        "url": "sqlite:///state/openbell.db",
        "keep_days": 30,
        "backlog": "64MiB",
        "replicas": 0,
    },
    "snapshot": {"every": "1m", "keep": 5},
    "lease": {"ttl": "5s"},
    "supervision": {
        "restarts": 3,
        "within": "1m",
        "unready_exit": None,
        "deadman": {"url": None, "every": "1m"},
    },
    "web": {"enabled": False, "host": "127.0.0.1", "port": 8700, "token": None},
    "log": {"level": None},
}

SESSION = {"name": "Opening", "start": "09:30", "end": "09:35"}


def session(**keys: Any) -> dict[str, Any]:
    return {**SESSION, **keys}


def minimal(**keys: Any) -> dict[str, Any]:
    return {"exchange": "XNYS", "sessions": [SESSION], **keys}


def problems(source: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_from(source, **more)
    return str(caught.value).split("\n")


def refusals(key: str, value: Any) -> list[str]:
    try:
        config_from(minimal(), overrides={key: value})
    except ConfigError as error:
        return str(error).splitlines()
    return []


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# What is read


def test_all_keys_but_exchange_and_sessions_have_the_defaults_of_the_design() -> None:
    config = config_from(minimal())

    dumped = config.model_dump(mode="json")
    assert dumped.pop("exchange") == "XNYS"
    assert dumped.pop("sessions") == [
        session(
            auction=None,
            closed="both",
            timezone=None,
            breakout=dict.fromkeys(
                ["confirm", "check", "rearm", "buffer", "sides", "closed_beyond", "retest", *KEYS]
            ),
        )
    ]
    assert dumped == DEFAULTS


def test_the_block_of_the_design_loads_and_holds_the_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, DESIGN), env={})

    assert config.data.path == tmp_path / "minutes"
    assert config.companions == {"NIFTY": "NIFTY30SEP25FUT"}
    dumped = config.model_dump(mode="json")
    for section in sorted(DEFAULTS.keys() - {"companions", "data", "store"}):
        assert dumped[section] == DEFAULTS[section]


@pytest.mark.parametrize("name", ["config.yaml", "examples/us.yaml"])
def test_the_files_that_come_with_openbell_load(name: str) -> None:
    config = load_config(ROOT / name, env={})

    assert len(config.sessions) == 4
    assert config.data.path == (ROOT / name).parent / "minutes"


def test_the_windows_of_the_nse_morning_are_those_of_the_design() -> None:
    config = load_config(ROOT / "config.yaml", env={})

    assert config.exchange == "XNSE"
    assert [(s.name, str(s.start), str(s.end)) for s in config.sessions] == [
        ("Morning Opening", "09:30", "09:35"),
        ("Mid Morning", "09:45", "09:55"),
        ("Pre Lunch", "10:30", "10:45"),
        ("Lunch Break", "11:50", "12:20"),
    ]


def test_yaml_scalars_are_read_as_they_look(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
        exchange: XNYS
        sessions: [{name: 1230, start: 09:30, end: 10:00}]
        symbols: [NO, ON, Y, 1234, 000270, 005930]
        companions: {NO: ON, 1234: 000270}
        backtest: {start: 2024-06-24}
        calendar: {early_closes: {2024-07-03: 13:00}, special_sessions: {2024-11-01: 18:00-19:00}}
        """,
    )

    config = load_config(path, env={})

    assert config.sessions[0].name == "1230"
    assert config.sessions[0].start == SessionTime("clock", time(9, 30))
    assert config.symbols == ("NO", "ON", "Y", "1234", "000270", "005930")
    assert config.companions == {"NO": "ON", "1234": "000270"}
    assert config.backtest.start == date(2024, 6, 24)
    assert config.calendar.early_closes == {date(2024, 7, 3): time(13)}
    assert config.calendar.special_sessions == {date(2024, 11, 1): (Span(18 * 60, 19 * 60),)}


def test_json_says_the_same_as_yaml(tmp_path: Path) -> None:
    tree = yaml.safe_load(DESIGN)
    as_json = written(tmp_path, json.dumps(tree, indent="\t"), "config.json")
    as_yaml = written(tmp_path, DESIGN)

    assert load_config(as_json, env={}) == load_config(as_yaml, env={})


def test_anchors_and_merge_keys_of_yaml_work(tmp_path: Path) -> None:
    text = """\
exchange: XNYS
sessions:
  - &first {name: A, start: 09:30, end: 09:35}
  - {<<: *first, name: B}
"""

    config = load_config(written(tmp_path, text), env={})

    assert [s.name for s in config.sessions] == ["A", "B"]
    assert config.sessions[0].start == config.sessions[1].start


def test_a_key_without_a_value_has_its_default(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, MINIMAL + "feed:\nweb: {port: }\nsinks:\n"), env={})

    assert config.feed.type == "replay"
    assert config.web.port == 8700
    assert config.sinks == ()


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff" + MINIMAL)

    assert load_config(path, env={}).exchange == "XNYS"


# Small values


def test_session_times_are_written_as_they_were_given() -> None:
    config = config_from(
        minimal(
            sessions=[
                session(start="open", end="open+15m"),
                session(name="Last", start="close - 30m", end="close-1m"),
                session(name="Noon", start="02:00", end="close", closed="left"),
            ]
        )
    )

    assert [str(s.start) for s in config.sessions] == ["open", "close-30m", "02:00"]


@pytest.mark.parametrize(
    ("key", "number", "expected"),
    [
        ("prefetch.timeout_seconds", 300, "5m"),
        ("upkeep.check_interval_seconds", 2.5, "2500ms"),
        ("upkeep.check_interval_seconds", 0.1, "100ms"),
        ("day.timeout_seconds", "300", "5m"),
        ("day.boundary_check_interval", 60, "1m"),
        ("day.post_market_roll_delay", 30, "30m"),
        ("day.post_market_roll_delay", "1.5h", "90m"),
        ("clock.lateness", 0, "0s"),
    ],
)
def test_a_bare_number_has_the_unit_of_its_key(key: str, number: Any, expected: str) -> None:
    config = config_from(minimal(), overrides={key: number})

    section, name = key.split(".")
    assert str(getattr(getattr(config, section), name)) == expected


def test_derived_intervals_are_minutes() -> None:
    config = config_from(minimal(upkeep={"derived_intervals": [5, "15m", "1h"]}))

    minutes = [interval.ns // MINUTE_NS for interval in config.upkeep.derived_intervals]
    assert minutes == [5, 15, 60]


@given(ns=st.integers(0, 2**63 - 1))
def test_a_duration_reads_back_as_it_was_written(ns: int) -> None:
    assert parse_duration(str(Duration(ns)), example="1s") == Duration(ns)


@given(number=st.integers(0, 10**5), unit=st.sampled_from(["ns", "us", "ms", "s", "m", "h", "d"]))
def test_a_duration_is_its_number_of_units(number: int, unit: str) -> None:
    size = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
    size |= {"h": 60 * size["m"], "d": 24 * 60 * size["m"]}

    parsed = parse_duration(f" {number} {unit}", example="1s")

    assert parsed.ns == number * size[unit]
    assert parsed.seconds == pytest.approx(number * size[unit] / 1e9)


@given(size=st.integers(0, 2**50))
def test_a_size_reads_back_as_it_was_written(size: int) -> None:
    assert parse_size(str(Size(size))) == Size(size)


@given(
    amount=st.floats(0, 1e9, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-12),
    unit=st.sampled_from(["price", "percent", "ticks"]),
)
def test_a_buffer_reads_back_as_it_was_written(amount: float, unit: Any) -> None:
    assert parse_buffer(str(Buffer(amount, unit))) == Buffer(amount, unit)


@given(anything=st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.lists(st.text())))
def test_whatever_stands_for_a_value_is_read_or_refused_in_one_line(anything: Any) -> None:
    keys = ["clock.lateness", "store.backlog", "breakout.buffer", "breakout.rearm", "data.timezone"]
    keys += ["symbols", "backtest.start", "store.url", "data.path", "web.port", "name", "sinks"]
    for key in keys:
        for line in refusals(key, anything):
            assert re.fullmatch(rf"option: {key}(\[\d+\])? is .+; .+", line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (0.5, Buffer(0.5)),
        ("0.5", Buffer(0.5)),
        ("0.1%", Buffer(0.1, "percent")),
        ("2 ticks", Buffer(2.0, "ticks")),
        ("1 tick", Buffer(1.0, "ticks")),
    ],
)
def test_a_buffer_is_a_price_a_percentage_or_ticks(text: Any, expected: Buffer) -> None:
    config = config_from(minimal(breakout={"buffer": text, "tick_size": 0.05}))

    assert config.breakout.buffer == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("never", Rearm(inside_bars=0, max=0)),
        ("inside", Rearm(inside_bars=1, max=None)),
        ({"inside_bars": 3}, Rearm(inside_bars=3, max=None)),
        ({"inside_bars": 3, "max": 2}, Rearm(inside_bars=3, max=2)),
    ],
)
def test_rearming_is_never_inside_or_so_many_bars(text: Any, expected: Rearm) -> None:
    config = config_from(minimal(breakout={"rearm": text}))

    assert config.breakout.rearm == expected
    assert config.model_dump(mode="json")["breakout"]["rearm"] == text


def test_a_special_day_may_have_two_segments_and_end_at_midnight() -> None:
    special = {"2024-03-02": ["09:15-10:00", "11:30-12:30"], "2024-03-09": "18:00-00:00"}

    config = config_from(minimal(calendar={"special_sessions": special}))

    assert config.calendar.special_sessions == {
        date(2024, 3, 2): (Span(555, 600), Span(690, 750)),
        date(2024, 3, 9): (Span(18 * 60, 24 * 60),),
    }


def test_symbols_may_be_text_with_commas() -> None:
    assert config_from(minimal(symbols="AAPL, MSFT")).symbols == ("AAPL", "MSFT")
    assert config_from(minimal(symbols="ALL")).symbols == ("ALL",)  # a ticker of the NYSE
    assert config_from(minimal(symbols="all")).symbols == "all"


def test_columns_are_our_names_and_the_files() -> None:
    config = config_from(minimal(data={"columns": {"ts": "Date", "close": "last"}}))

    assert config.data.columns.given() == {"ts": "Date", "close": "last"}


def test_a_session_overrides_keys_of_breakout() -> None:
    config = config_from(
        minimal(
            breakout={"confirm": "touch", "buffer": 0.5},
            sessions=[SESSION, session(name="B", breakout={"buffer": "0.1%", "sides": "high"})],
        )
    )

    first, second = (config.breakout_for(s) for s in config.sessions)

    assert first == config.breakout
    assert (second.confirm, second.buffer, second.sides) == (
        "touch",
        Buffer(0.1, "percent"),
        "high",
    )


def test_a_configuration_is_immutable() -> None:
    config = config_from(minimal())

    with pytest.raises(ValidationError):
        config.name = "other"


# Where values come from


def test_an_option_beats_the_environment_the_file_and_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "breakout: {confirm: touch, sides: high, check: once}\n")
    env = {"OPENBELL_BREAKOUT__SIDES": "low", "OPENBELL_BREAKOUT__CHECK": "once"}
    overrides = {"breakout.check": "continuous", "backtest.start": None}

    breakout = load_config(path, overrides=overrides, env=env).breakout

    assert breakout.rearm == Rearm(0, 0)  # the default
    assert breakout.confirm == "touch"  # the file's
    assert breakout.sides == "low"  # the environment's
    assert breakout.check == "continuous"  # the option's


def test_the_environment_and_options_suffice_without_a_file() -> None:
    env = {
        "OPENBELL_EXCHANGE": "XNSE",
        "OPENBELL_SESSIONS": "[{name: A, start: 09:30, end: 09:35}]",
        "OPENBELL_SYMBOLS": "NIFTY,BANKNIFTY",
        "OPENBELL_WEB__PORT": "9000",
        "OPENBELL_UPKEEP__ENABLED": "false",
        "OPENBELL_LEASE__TTL": "",
    }

    config = load_config(None, env=env, overrides={"backtest.start": "2024-06-24"})

    assert config.exchange == "XNSE"
    assert config.symbols == ("NIFTY", "BANKNIFTY")
    assert config.web.port == 9000
    assert config.upkeep.enabled is False
    assert str(config.lease.ttl) == "5s"
    assert config.backtest.start == date(2024, 6, 24)


def test_a_variable_of_one_key_counts_more_than_that_of_its_section() -> None:
    env = {
        "OPENBELL_BREAKOUT": "{confirm: touch, check: once}",
        "OPENBELL_BREAKOUT__CHECK": "continuous",
    }

    breakout = load_config(ROOT / "config.yaml", env=env).breakout

    assert (breakout.confirm, breakout.check) == ("touch", "continuous")


def test_the_environment_of_the_process_counts_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBELL_NAME", "from-outside")

    assert load_config(ROOT / "config.yaml").name == "from-outside"
    assert config_from(ROOT / "config.yaml").name == "from-outside"
    assert config_from(minimal()).name == "default"


def test_variables_of_logging_and_of_kubernetes_are_left_alone() -> None:
    env = {
        "OPENBELL_LOG_LEVEL": "debug",
        "OPENBELL_SERVICE_HOST": "10.0.0.1",
        "OPENBELL_PORT": "tcp://10.0.0.1:8700",
        "OPENBELL_PORT_8700_TCP": "tcp://10.0.0.1:8700",
    }

    assert load_config(ROOT / "config.yaml", env=env) == load_config(ROOT / "config.yaml", env={})


def test_paths_in_a_file_are_relative_to_it_and_others_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    written(tmp_path / "etc", MINIMAL + "data: {path: minutes/}\n")

    from_file = load_config("etc/config.yaml", env={})
    from_option = load_config(
        "etc/config.yaml",
        env={"OPENBELL_STORE__URL": "sqlite:///here.db"},
        overrides={"data.path": "minutes"},
    )
    absolute = load_config(tmp_path / "etc/config.yaml", env={})

    assert from_file.data.path == Path("etc/minutes")
    assert from_file.store.url == "sqlite:///etc/state/openbell.db"
    assert from_option.data.path == Path("minutes")
    assert from_option.store.url == "sqlite:///here.db"
    assert absolute.data.path == tmp_path / "etc/minutes"
    assert absolute.store.url == f"sqlite:///{tmp_path}/etc/state/openbell.db"
    assert absolute.store.url.startswith("sqlite:////")


@pytest.mark.parametrize(
    "url", ["sqlite:////var/openbell.db", "redis://host:6379/0", "rediss://host", "memory://"]
)
def test_a_stores_absolute_url_stays_as_it_is(tmp_path: Path, url: str) -> None:
    path = written(tmp_path, MINIMAL + f'store: {{url: "{url}"}}\n')

    assert load_config(path, env={}).store.url == url


def test_a_configuration_can_be_overridden_and_is_otherwise_itself() -> None:
    config = config_from(minimal(clock={"lateness": "1500ms"}, breakout={"buffer": "0.1%"}))

    changed = config_from(config, overrides={"clock.step": "bar"})

    assert config_from(config) is config
    assert changed.clock.step == "bar"
    assert changed.model_copy(update={"clock": config.clock}) != changed
    assert config_from(changed, overrides={"clock.step": "boundary"}) == config


def test_a_dumped_configuration_reads_back_as_itself() -> None:
    config = config_from(
        minimal(
            breakout={"rearm": {"inside_bars": 2}, "buffer": "2 ticks", "tick_size": 0.05},
            calendar={
                "special_sessions": {"2024-11-01": "18:00-19:00"},
                "timezone": "Asia/Shanghai",
                "hours": [
                    "09:00-15:00",
                    {
                        "from": "2024-01-01",
                        "hours": "21:00-15:00",
                        "breaks": ["02:30-09:00", "11:30-13:30"],
                        "evening": "trading_day",
                    },
                ],
            },
            sessions=[session(start="open+5m", end="close-5m", timezone="Europe/London")],
            data={"path": "minutes"},
        )
    )

    assert config_from(config.model_dump(mode="json")) == config


def test_overriding_leaves_the_callers_mapping_as_it_was() -> None:
    given = minimal(clock={"step": "boundary"})

    config_from(given, overrides={"clock.step": "bar", "web.port": 1})

    assert given == minimal(clock={"step": "boundary"})


# What is refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty; write at least exchange and sessions"),
        ("# nothing\n", "the file is empty; write at least exchange and sessions"),
        ("- a\n- b\n", 'holds ["a", "b"]; write keys and values, e.g. exchange: XNYS'),
        (
            "exchange: XNYS\nsessions: [a\n",
            (
                "line 3, column 1: expected ',' or ']', but got '<stream end>'; "
                "check quotes, colons and indentation there"
            ),
        ),
        (
            "data:\n\tpath: x\n",
            (
                "line 2, column 1: found character '\\t' that cannot start any token; "
                "indent with spaces"
            ),
        ),
        (
            "name: a\nexchange: XNYS\nname: b\n",
            'line 3, column 1: the key "name" stands twice; leave one out',
        ),
        (
            "? [a]\n: b\n",
            "line 1, column 3: a key has to be text; check quotes, colons and indentation there",
        ),
        ("[" * 2000, "nested too deeply; a configuration is flat"),
        ("name: \x07\n", "position 6: a character YAML does not allow; remove it"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = written(tmp_path, text)

    assert problems(path, env={}) == [f"{path}: {expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": }', "line 1, column 10: Expecting value; correct the JSON there"),
        ('{"name": "a", "name": "b"}', 'the key "name" stands twice; leave one out'),
        ("", "the file is empty; write at least exchange and sessions"),
    ],
)
def test_json_that_can_not_be_read_is_refused_in_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = written(tmp_path, text, "config.json")

    assert problems(path, env={}) == [f"{path}: {expected}"]


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"name: caf\xe9")

    assert problems(missing) == [f"{missing}: no such file; check the path, or write one there"]
    assert problems(tmp_path) == [f"{tmp_path}: a folder; name the file in it, e.g. config.yaml"]
    assert problems(latin) == [f"{latin}: byte 9 is not UTF-8; save it as UTF-8"]


def test_all_problems_are_named_at_once_with_their_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
        exchang: XNYS
        sessions: [{name: Opening, start: 9:30, end: "09:35"}]
        breakout: {confrim: close, buffer: -1}
        """,
    )

    assert problems(path, env={}) == [
        f'{path}: sessions[0].start is "9:30"; write two digits for the hour, "09:30"',
        (
            f"{path}: breakout.buffer is -1; "
            "write 0 or more; a buffer lies beyond the level on either side"
        ),
        f"{path}: breakout.confrim is not a key; did you mean breakout.confirm?",
        f"{path}: exchang is not a key; did you mean exchange?",
    ]


REFUSED = r"""
{"exchange": null}
    exchange is missing; write e.g. exchange: "XNYS"
{"exchange": " "}
    exchange is " "; write at least one character
{"exchange": "A:B"}
    exchange is "A:B"; leave out the ":"; ids of signals are made with it
{"sessions": null}
    sessions is missing; write e.g. sessions: [{name: Opening, start: "09:30", end: "09:35"}]
{"sessions": []}
    sessions is []; list at least one, e.g. [{name: Opening, start: "09:30", end: "09:35"}]
{"sessions": "x"}
    sessions is "x"; write a list, e.g. [{name: Opening, start: "09:30", end: "09:35"}]
{"sessions": ["x"]}
    sessions[0] is "x"; write keys and values, e.g. {key: value}
{"sessions": [{"start": "09:30", "end": "09:35"}]}
    sessions[0].name is missing; write e.g. name: "Morning Opening"
{"sessions": [{"name": "", "start": "09:30", "end": "09:35"}]}
    sessions[0].name is ""; write at least one character
{"sessions": [{"name": "A:B", "start": "09:30", "end": "09:35"}]}
    sessions[0].name is "A:B"; leave out the ":"; ids of signals are made with it
{"sessions": [{"name": "A\nB", "start": "09:30", "end": "09:35"}]}
    sessions[0].name is "A\nB"; write it on one line, without control characters
{"sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}, {"name": "Opening", "start": "10:00", "end": "10:05"}]}
    sessions[1].name is "Opening"; sessions[0] has that name; write another
{"sessions": [{"name": "Opening", "start": "open+30m", "end": "open+30m", "closed": "left"}]}
    sessions[0].end is "open+30m"; write a time after the start, "open+30m", or closed: both
{"sessions": [{"name": "Opening", "start": "open+30m", "end": "open+15m"}]}
    sessions[0].end is "open+15m"; write a time after the start, "open+30m"; a session ends on its day
{"sessions": [{"name": "Opening", "start": "close-5m", "end": "close"}]}
    sessions[0].end is "close"; the minute from the close on has no rows; write "close-1m"
{"sessions": [{"name": "Opening", "start": "open-5m", "end": "09:35"}]}
    sessions[0].start is "open-5m"; nothing trades before the open; write e.g. "open+15m"
{"sessions": [{"name": "Opening", "start": "09:30", "end": "close+5m"}]}
    sessions[0].end is "close+5m"; nothing trades after the close; write e.g. "close-30m"
{"sessions": [{"name": "Opening", "start": "open+15", "end": "09:35"}]}
    sessions[0].start is "open+15"; write e.g. "open+15m" or "close-30m"
{"sessions": [{"name": "Opening", "start": "open+30s", "end": "09:35"}]}
    sessions[0].start is "open+30s"; write whole minutes, e.g. "15m"
{"sessions": [{"name": "Opening", "start": 570, "end": "09:35"}]}
    sessions[0].start is 570; write the time as text, HH:MM, e.g. "09:30"
{"sessions": [{"name": "Opening", "start": "0930", "end": "09:35"}]}
    sessions[0].start is "0930"; write the time as text, HH:MM, e.g. "09:30"
{"sessions": [{"name": "Opening", "start": "9:30 AM", "end": "09:35"}]}
    sessions[0].start is "9:30 AM"; write the time in 24 hours without am or pm, e.g. "14:30"
{"sessions": [{"name": "Opening", "start": "09:30:00", "end": "09:35"}]}
    sessions[0].start is "09:30:00"; leave out the seconds, "09:30"
{"sessions": [{"name": "Opening", "start": "09:30", "end": "24:00"}]}
    sessions[0].end is "24:00"; write a time of day, "00:00" to "23:59"
{"sessions": [{"name": "Opening", "start": "09:30", "end": "09:35", "confirm": "touch"}]}
    sessions[0].confirm is not a key; did you mean sessions[0].breakout.confirm?
{"confirm": "touch"}
    confirm is not a key; did you mean breakout.confirm?
{"lease": {"color": 1}}
    lease.color is not a key; the keys there are ttl
{"name": "a b"}
    name is "a b"; use letters, digits, dots, dashes and underscores; keys are made with it
{"symbols": []}
    symbols is []; write all, or a list of at least one symbol, e.g. ["AAPL", "MSFT"]
{"symbols": ["A", false]}
    symbols is ["A", false]; put false in quotes; as it stands it is not text
{"symbols": ["A", "A"]}
    symbols is ["A", "A"]; "A" is listed twice; leave one out
{"symbols": ["A", " "]}
    symbols is ["A", " "]; write a symbol, e.g. "AAPL"
{"companions": {"A": "A"}}
    companions.A is "A"; name another symbol; it is its own companion
{"companions": {"A": true}}
    companions.A is true; put true in quotes; as it stands it is not text
{"segment": "options"}
    segment is "options"; write equity, equity_fno, index or futures
{"breakout": {"confirm": "closed"}}
    breakout.confirm is "closed"; write close or touch
{"breakout": {"buffer": "0.1 %%"}}
    breakout.buffer is "0.1 %%"; write a price, a percentage or ticks, e.g. 0.5, "0.1%" or "2 ticks"
{"breakout": {"buffer": "-1%"}}
    breakout.buffer is "-1%"; write 0 or more; a buffer lies beyond the level on either side
{"breakout": {"buffer": "2 ticks"}}
    breakout.buffer is "2 ticks"; set breakout.tick_size too, e.g. 0.05, or instruments.file
{"sessions": [{"name": "Opening", "start": "09:30", "end": "09:35", "breakout": {"buffer": "2 ticks"}}]}
    sessions[0].breakout.buffer is "2 ticks"; set breakout.tick_size too, e.g. 0.05, or instruments.file
{"breakout": {"rearm": "always"}}
    breakout.rearm is "always"; write never, inside or e.g. {inside_bars: 3, max: 2}
{"breakout": {"rearm": {"inside_bars": 0}}}
    breakout.rearm is {"inside_bars": 0}; write whole numbers of 1 or more, e.g. {inside_bars: 3, max: 2}
{"breakout": {"rearm": {"inside_bars": 1, "mx": 1}}}
    breakout.rearm is {"inside_bars": 1, "mx": 1}; mx is not a key of it; write never, inside or e.g. {inside_bars: 3, max: 2}
{"breakout": {"tick_size": 0}}
    breakout.tick_size is 0; write a number above 0
{"data": {"path": ""}}
    data.path is ""; write the path of a file or folder, e.g. minutes/
{"data": {"timezone": "IST"}}
    data.timezone is "IST"; write an IANA time zone, e.g. "Asia/Kolkata" or "UTC"
{"data": {"interval": 1}}
    data.interval is 1; add the unit (ms, s, m, h or d), e.g. "1m"
{"data": {"columns": {"opn": "o"}}}
    data.columns.opn is not a key; did you mean data.columns.open?
{"feed": 3}
    feed is 3; write keys and values, e.g. {key: value}
{"feed": {"speed": -1}}
    feed.speed is -1; write 0 or more
{"feed": {"speed": "fast"}}
    feed.speed is "fast"; write a number, e.g. 0.5
{"clock": {"skew_max": "2 weeks"}}
    clock.skew_max is "2 weeks"; write a number and a unit (ms, s, m, h or d), e.g. "2s"
{"clock": {"lateness": "-2s"}}
    clock.lateness is "-2s"; write 0 or more
{"upkeep": {"enabled": "perhaps"}}
    upkeep.enabled is "perhaps"; write true or false
{"upkeep": {"derived_intervals": ["90s"]}}
    upkeep.derived_intervals[0] is "90s"; write whole minutes, e.g. "15m"
{"upkeep": {"derived_intervals": [5, "5m"]}}
    upkeep.derived_intervals[1] is "5m"; it is listed twice; leave one out
{"history": {"indicators": {"avg": {"type": "trailing_max", "period": "10"}}}}
    history.indicators.avg.period is "10"; write days or weeks, e.g. "10d" or "52w"
{"prefetch": {"days": true}}
    prefetch.days is true; write a number
{"prefetch": {"days": 1.5}}
    prefetch.days is 1.5; write a whole number, e.g. 3
{"calendar": {"closures": ["2024-02-30"]}}
    calendar.closures[0] is "2024-02-30"; there is no such day; write a date, e.g. 2024-06-24
{"calendar": {"closures": ["2024-07-03"], "early_closes": {"2024-07-03": "13:00"}}}
    calendar.closures[0] is "2024-07-03"; that day has hours above; keep one of the two
{"calendar": {"hours": "9-17"}}
    calendar.hours is "9-17"; write e.g. "04:00-20:00", "18:00-17:00" for a day that opens on the evening before, or [{from: 2024-01-01, hours: "09:00-15:30", breaks: ["12:00-13:00"]}]
{"calendar": {"hours": [{"hours": "09:00-15:30", "breaks": ["16:00-17:00"]}]}}
    calendar.hours is [{"hours": "09:00-15:30", "breaks": ["16:00-17:00"]}]; breaks is ["16:00-17:00"]; write spans inside 09:00-15:30, in time order, e.g. ["12:00-13:00"]
{"calendar": {"segments": {"*FUT": "future"}}}
    calendar.segments.*FUT is "future"; write one of equity, equity_fno, index, futures, or from which date on it is one, e.g. {2026-08-03: equity_fno}
{"calendar": {"segments": {"TCS": {}}}}
    calendar.segments.TCS is {}; write one of equity, equity_fno, index, futures, or from which date on it is one, e.g. {2026-08-03: equity_fno}
{"calendar": {"hours": {"hours": "09:00-15:30", "segment": "future"}}}
    calendar.hours is {"hours": "09:00-15:30", "segment": "future"}; segment is "future"; write one of equity, equity_fno, index, futures
{"calendar": {"hours": ["09:00-15:30", "09:00-17:00"]}}
    calendar.hours is ["09:00-15:30", "09:00-17:00"]; write each entry's from after the one before
{"calendar": {"hours": {"hours": "21:00-15:00", "evening": "trading_day"}}}
    calendar.hours is {"hours": "21:00-15:00", "evening": "trading_day"}; evening: trading_day needs a break between the evening and the morning, e.g. {hours: "21:00-15:00", breaks: ["02:30-09:00"], evening: trading_day}
{"calendar": {"hours": {"hours": "09:00-15:30", "until": "2024-01-01"}}}
    calendar.hours is {"hours": "09:00-15:30", "until": "2024-01-01"}; until is not a key of it; use from, hours, breaks, evening, segment
{"calendar": {"special_sessions": {"2024-11-01": ["10:00-11:00", "09:00-09:30"]}}}
    calendar.special_sessions.2024-11-01 is ["10:00-11:00", "09:00-09:30"]; write each span's open before its close, spans in time order
{"calendar": {"early_closes": {"3 July": "13:00"}}}
    calendar.early_closes.3 July is "13:00"; write a date as YYYY-MM-DD, e.g. 2024-06-24
{"backtest": {"start": "2024-02-01", "end": "2024-01-31"}}
    backtest.end is "2024-01-31"; write a day that is not before the start, 2024-02-01
{"store": {"backlog": 64}}
    store.backlog is 64; write a number and a unit (B, KiB, MiB or GiB), e.g. "64MiB"
{"store": {"url": "sqlite://a.db"}}
    store.url is "sqlite://a.db"; write three slashes before a relative path, four before an absolute one, e.g. "sqlite:///state/openbell.db"
{"store": {"url": "mysql://me:secret@host"}}
    store.url is "mysql://me:***@host"; write sqlite:///FILE, redis://… or memory, e.g. "redis://localhost:6379/0"
{"snapshot": {"every": "0s"}}
    snapshot.every is "0s"; write more than 0, "60s"
{"snapshot": {"keep": 0}}
    snapshot.keep is 0; write 1 or more
{"scanners": [{"name": "a", "type": "gap", "at": ["every 90s"]}]}
    scanners[0].at[0] is "every 90s"; write whole minutes, 1 or more, e.g. "every 15m"
{"scanners": [{"name": "a", "type": "range_width", "options": {"session": "Nope"}}]}
    scanners[0].options.session is "Nope"; no session is called so; write one of Opening
{"breakout": {"max_range": 0}}
    breakout.max_range is 0; write more than 0, or none for no limit; no window is as narrow
{"instruments": {"layout": "kite"}}
    instruments.file is not set; name the file that the other keys are about
{"web": {"port": 70000}}
    web.port is 70000; write 65535 or less
""".strip().splitlines()
"""Keys beside the minimal ones, as JSON, and the line that they are refused with."""


@pytest.mark.parametrize(("keys", "expected"), [*zip(REFUSED[::2], REFUSED[1::2], strict=True)])
def test_a_value_that_can_not_be_used_is_named_with_what_to_write(keys: str, expected: str) -> None:
    assert problems(minimal(**json.loads(keys))) == [f"configuration: {expected.strip()}"]


def test_a_key_that_is_no_text_is_refused() -> None:
    assert problems(minimal(lease={1: 2})) == ["configuration: lease[1] is 2; write keys as text"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BREAKOUT__CONFIRM", "closed", 'breakout.confirm is "closed"; write close or touch'),
        (
            "BREAKOUT__CONFRIM",
            "x",
            ("breakout.confrim is not a key; did you mean OPENBELL_BREAKOUT__CONFIRM?"),
        ),
        ("BREAKUOT__CONFIRM", "x", "breakuot is not a key; did you mean OPENBELL_BREAKOUT?"),
        (
            "COMPANIONS__A",
            "B",
            ("companions.a can't be set by itself; set OPENBELL_COMPANIONS as a whole"),
        ),
    ],
)
def test_a_variable_that_can_not_be_used_is_named(variable: str, value: str, expected: str) -> None:
    env = {f"OPENBELL_{variable}": value}

    assert problems(ROOT / "config.yaml", env=env) == [f"OPENBELL_{variable}: {expected}"]


def test_a_variable_that_is_no_yaml_is_named() -> None:
    env = {"OPENBELL_SYMBOLS": "[A"}

    assert problems(ROOT / "config.yaml", env=env) == [
        'OPENBELL_SYMBOLS is "[A"; write it as YAML on one line, e.g. "[a, b]" or "{a: b}"'
    ]


def test_an_option_that_can_not_be_used_is_named() -> None:
    overrides = {"backtest.strat": "x", "backtest.end": "soon", "companions.A": "B"}

    assert problems(minimal(), overrides=overrides) == [
        "option: backtest.strat is not a key; did you mean backtest.start?",
        "option: companions.A can't be set by itself; set companions as a whole",
        'option: backtest.end is "soon"; write a date as YYYY-MM-DD, e.g. 2024-06-24',
    ]


def test_a_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL + "symbols: &a [*a]\n")

    assert problems(path, env={}) == [
        f'{path}: symbols is [[...]]; write a symbol, e.g. "AAPL"',
    ]


def test_a_key_with_a_line_break_is_still_refused_in_one_line() -> None:
    assert problems(minimal(lease={"a\nb": 1})) == [
        "configuration: lease.a\\u000ab is not a key; the keys there are ttl"
    ]


def test_something_else_than_a_configuration_is_refused() -> None:
    assert problems(3) == ["configuration is 3; give a Config, mapping or path"]


# The digest


def test_the_digest_is_of_the_meaning_and_not_of_how_it_is_written() -> None:
    plain = config_from(minimal())
    spelt = config_from(
        minimal(
            breakout={"buffer": "0", "rearm": "never"},
            sessions=[session(breakout={"confirm": "close"})],
            clock={"lateness": "2000ms"},
        )
    )

    assert re.fullmatch("[0-9a-f]{64}", plain.digest())
    assert plain.digest() == spelt.digest()


@pytest.mark.parametrize(
    "override",
    [
        {"exchange": "XNAS"},
        {"segment": "index"},
        {"symbols": ["A"]},
        {"companions": {"A": "B"}},
        {"companions": {"A": {"future": "A"}}, "instruments.file": "i.csv"},
        {"instruments": {"file": "i.csv", "filters": {"exchange": "NFO"}}},
        {"sessions": [session(closed="left")]},
        {"sessions": [session(breakout={"confirm": "touch"})]},
        {"breakout.buffer": 0.5},
        {"data.bar_label": "end"},
        {"clock.step": "bar"},
        {"calendar.closures": ["2024-07-03"]},
        {"upkeep.derived_intervals": [5]},
    ],
)
def test_the_digest_changes_with_what_determines_the_answers(override: dict[str, Any]) -> None:
    assert config_from(minimal(), overrides=override).digest() != config_from(minimal()).digest()


def test_the_digest_does_not_change_with_how_a_run_is_operated() -> None:
    overrides = {
        "name": "other",
        "instruments.file": "other.csv",
        "data.path": "elsewhere",
        "upkeep.check_interval_seconds": 9,
        "feed.speed": 60,
        "prefetch.days": 3,
        "day.auto_roll": False,
        "sinks": [{"type": "stdout"}],
        "sinks_max_age": "5s",
        "backtest.speed": 60,
        "store.url": "memory",
        "snapshot.keep": 9,
        "lease.ttl": "9s",
        "supervision.restarts": 9,
        "web.port": 9,
        "log.level": "debug",
    }
    assert {key.split(".")[0] for key in overrides} == set(DIGEST_LEAVES_OUT)

    changed = config_from(minimal(), overrides=overrides)

    assert changed.digest() == config_from(minimal()).digest()


# The schema and the documents


def schema_rows(
    model: type[BaseModel], defs: Mapping[str, Any], own: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Each key of the schema with its default and its meaning, as docs/configuration.md has them."""
    for name, field in model.model_fields.items():
        of, annotation = own["properties"][name], field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from schema_rows(annotation, defs, defs[annotation.__name__], f"{prefix}{name}.")
            continue
        required = name in own.get("required", [])
        default = "required" if required else f"`{json.dumps(of['default'], ensure_ascii=False)}`"
        yield prefix + name, default, of["description"]
        for item in get_args(annotation):
            if isinstance(item, type) and issubclass(item, BaseModel):
                many = "[]" if get_origin(annotation) is tuple else ".NAME"
                yield from schema_rows(item, defs, defs[item.__name__], f"{prefix}{name}{many}.")


def test_the_document_and_the_schema_name_the_same_keys_defaults_and_meanings() -> None:
    schema = config_schema()
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    table = text.split("## Keys")[1].split("\n## ")[0]
    documented = [
        (key, default, meaning)
        for key, _, default, meaning in re.findall(
            r"^\| `(.+?)` \| (.+?) \| (.+?) \| (.+) \|$", table, re.MULTILINE
        )
    ]

    assert documented == list(schema_rows(Config, schema["$defs"], schema))


@pytest.mark.parametrize(
    "override",
    [
        {"feed.options": {"bar_label": "end"}},
        {"feed.options": {"fields": {"price": "x"}}},
        {"feed.options": {"where": {"T": "t"}}},
        {"feed.size_is": "day_total"},
        {"day.timeout_seconds": 5},
        {"prefetch.timeout_seconds": 5},
        {"clock.lateness": "3s"},
    ],
)
def test_what_decides_answers_of_live_days_is_part_of_the_digest_where_the_feed_is_live(
    override: dict[str, Any],
) -> None:
    live = config_from(minimal(), overrides={"feed.type": "redis"})

    changed = config_from(live, overrides=override)

    assert changed.digest() != live.digest()
    assert live.with_determining(changed.determining()).digest() == changed.digest()


def test_how_a_live_feed_is_reached_is_no_part_of_the_digest() -> None:
    there, elsewhere = (
        config_from(minimal(), overrides={"feed": {"type": "redis", "options": {"url": url}}})
        for url in ("redis://one", "redis://two")
    )

    assert there.digest() == elsewhere.digest()


def test_the_document_names_what_the_digest_leaves_out() -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").split("## The digest")[1]
    named = set(re.findall(r"`([a-z_.]+)`", text.split("left out:")[1]))

    left_out = {
        key if below is None else f"{key}.{name}"
        for key, below in DIGEST_LEAVES_OUT.items()
        for name in below or {""}
    }
    assert named == left_out


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = config_schema()

    assert json.loads(json.dumps(schema)) == schema
    for owner in (schema, *schema["$defs"].values()):
        assert owner["description"]
        assert owner["additionalProperties"] is False
        for key in owner["properties"].values():
            described = schema["$defs"][key["$ref"].split("/")[-1]] if "$ref" in key else key
            assert described["description"]


def test_the_configuration_of_the_document_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.+?)```", text, re.DOTALL)[0]

    assert load_config(written(tmp_path, example), env={}).sessions[0].name == "Opening Range"


def test_the_import_brings_in_no_numpy_pandas_or_pyarrow() -> None:
    code = (
        "import sys, openbell.runtime.config\n"
        "print(*sorted({'numpy', 'pandas', 'pyarrow', 'pykka'} & sys.modules.keys()))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == ""


# What moves time


@pytest.mark.parametrize(
    ("feed", "clock", "moves"),
    [
        ({"type": "push"}, {}, "wall"),
        ({"type": "push", "end": "2124-07-01"}, {}, "wall"),
        ({"type": "push", "end": "2024-07-01"}, {}, "feed"),
        ({"type": "push", "end": "2024-07-01"}, {"time": "wall"}, "wall"),
        ({"type": "push", "end": "2124-07-01"}, {"time": "feed"}, "feed"),
    ],
)
def test_days_that_are_past_are_moved_by_their_rows_unless_it_is_said(
    feed: dict[str, str], clock: dict[str, str], moves: str
) -> None:
    found = config_from(minimal(symbols=["A"], feed=feed, clock=clock))

    assert found.clock.time == moves
