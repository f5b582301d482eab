"""Keys that have no effect beside others are told, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from openbell.runtime.config import config_from, load_config
from openbell.runtime.config.idle import idle_keys, idle_notes

EXAMPLES = Path(__file__).parents[3] / "examples"

SESSIONS = """
- {name: A, start: "09:30", end: "09:35"}
- {name: B, start: "10:30", end: "10:35", breakout: {check: continuous, confirm: touch}}
"""

LIVE = "feed: {type: redis, options: {}}"


def made(written: str) -> Any:
    given = {"exchange": "XNYS", "sessions": yaml.safe_load(SESSIONS)}
    return config_from({**given, **yaml.safe_load(written)})


def alone(breakout: str) -> str:
    return f'sessions: [{{name: A, start: "09:30", end: "09:35", breakout: {breakout}}}]'


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        (alone("{check: once, rearm: inside}"), ["sessions[0].breakout.rearm"]),
        (alone("{check: once}") + "\nbreakout: {rearm: inside}", ["breakout.rearm"]),
        ("breakout: {check: once, rearm: inside}", []),  # of B it has
        ("breakout: {rearm: inside}", []),
        (alone("{check: once, retest: {within_bars: 8}}"), []),
        (alone("{closed_beyond: true}"), ["sessions[0].breakout.closed_beyond"]),
        (
            alone("{confirm: close}") + "\nbreakout: {closed_beyond: true}",
            ["breakout.closed_beyond"],
        ),
        ("breakout: {closed_beyond: true}", []),  # of B it has
        (
            "data: {kind: ticks}\nbreakout: {confirm: touch, closed_beyond: true}",
            ["breakout.closed_beyond"],
        ),
        (
            "data: {kind: ticks, interval: 5m, bar_label: end}",
            ["data.interval", "data.bar_label"],
        ),
        ('data: {path: a.parquet, csv: {delimiter: ";"}}', ["data.csv.delimiter"]),
        ("data: {path: a, format: dbn, csv: {skip_rows: 2}}", ["data.csv.skip_rows"]),
        ('data: {path: a, csv: {delimiter: ";"}}', []),
        (
            "upkeep: {enabled: false, derived_intervals: [5]}",
            ["upkeep.derived_intervals"],
        ),
        (
            "history: {indicators: {atr: {type: average_true_range, period: 5d, field: high}}}",
            ["history.indicators.atr.field"],
        ),
        (
            "feed: {silent: exit, refused: no.jsonl, token_expires: '06:00', options: {a: 1}}",
            ["feed.silent", "feed.token_expires", "feed.refused", "feed.options"],
        ),
        ("clock: {time: wall}", ["clock.time"]),
        (f"{LIVE[:-1]}, speed: 60}}", ["feed.speed"]),
        (f"{LIVE[:-1]}, silent: exit}}", []),
        (f"{LIVE[:-1]}, silent: exit}}\nclock: {{time: feed}}", ["feed.silent"]),
        ("day: {auto_roll: false}", ["day.auto_roll"]),
        (f"{LIVE}\nday: {{auto_roll: false}}", []),
        (
            "scanners: [{name: a, type: movers, then: add}, {name: b, type: own, then: add}]",
            ["scanners[0].then: add"],
        ),
        (
            "sinks: [{type: stdout, signals: false}, {type: file, digest: {max: 5}}]",
            ["sinks[0]", "sinks[1].digest.max"],
        ),
        (
            "sinks: [{type: stdout, signals: false, events: [day], kinds: [retest]}]",
            ["sinks[0].kinds"],
        ),
        ("store: {replicas: 1}", ["store.replicas"]),
        ("store: {replicas: 1, url: 'redis://localhost'}", []),
        (
            "supervision: {restarts: 0, within: 5m, deadman: {every: 5m}}",
            ["supervision.deadman.every", "supervision.within"],
        ),
        ("web: {port: 9000}", ["web.port"]),
        ("web: {port: 9000, enabled: true}", []),
    ],
)
def test_a_key_that_has_no_effect_is_named(written: str, keys: list[str]) -> None:
    assert [of.key for of in idle_keys(made(written))] == keys


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_the_examples_hold_no_such_key(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)

    assert idle_notes(load_config(Path(example), env={})) == ()


def test_what_a_run_keeps_of_its_configuration_holds_no_such_key_more() -> None:
    given = made("breakout: {confirm: touch, closed_beyond: true}")

    assert idle_notes(given.with_determining(given.determining())) == ()
