"""A run that is started again with another configuration: taken, refused, or the day begun anew."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from faults.crashing import (
    KILLED,
    Nursery,
    Setting,
    assert_same,
    left,
    setting,
    steps_of,
)

from openbell.adapters.stores import open_store
from openbell.runtime.record.codec import decode

FIRST, SECOND, THIRD = DAYS = ("2024-01-02", "2024-01-03", "2024-01-04")
NOON = "T12:30-05:00"

Keys = dict[str, Any]
Kept = dict[str, Any]


def session(name: str, start: str, end: str) -> dict[str, str]:
    return {"name": name, "start": start, "end": end}


SESSIONS = [
    session("Morning Opening", "09:30", "09:35"),
    session("Mid Morning", "10:30", "10:35"),
    session("Lunch Break", "11:50", "12:20"),
]

CHANGES: dict[str, tuple[Keys, str]] = {
    "a window moved": (
        {"sessions": [session("Morning Opening", "09:30", "09:40"), *SESSIONS[1:]]},
        'sessions[0].end was "09:35", is "09:40"',
    ),
    "another name, rule and bars": (
        {
            "sessions": [session("Opening", "09:30", "09:35"), *SESSIONS[1:]],
            "breakout": {"confirm": "touch"},
            "upkeep": {"derived_intervals": [10]},
        },
        'breakout.confirm was "close", is "touch"; ',
    ),
    "a session more": (
        {"sessions": [*SESSIONS, session("Tea", "14:00", "14:10")]},
        "sessions: Tea was added",
    ),
    "other hours": (
        {"calendar": {"early_closes": {SECOND: "13:00"}}},
        f'calendar.early_closes.{SECOND} was null, is "13:00"',
    ),
}


def changed(of: Setting, keys: Keys) -> None:
    """Write other keys into the configuration, and have it run as fast as it can."""
    now = yaml.safe_load(of.config.read_text())
    of.config.write_text(yaml.safe_dump({**now, "feed": {"type": "replay"}, **keys}))


def reached(of: Setting) -> tuple[str, int]:
    """The trading day that is under way, and how many signals it has given."""
    store = open_store(of.url, of.name)
    try:
        head = store.head()
        if not head.step:
            return "", 0
        last = next(store.steps(after=head.step - 1))
        given = store.signals(trading_date=last.trading_date)
        return str(last.trading_date), sum(1 for _ in given)
    finally:
        store.close()


def kill_within(day: str, children: Nursery, of: Setting) -> None:
    """It has given signals, and is not over."""
    child = children.start(*of.run, hold=day + NOON)
    children.wait_until_held(child)
    assert children.kill(child)
    assert reached(of) >= (day, 2)
    assert reached(of)[0] == day


def whole(children: Nursery, folder: Path, minutes: Path, keys: Keys) -> Kept:
    """What a run under these keys leaves that nobody disturbs."""
    of = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "bot", **keys)
    code, said = children.run(*of.run)
    assert code == 0, said
    return left(of)


def of_days(kept: Kept, *days: str) -> Kept:
    """What belongs to some days, without numbers of steps."""
    documents = [json.loads(body) for body in kept["sessions"]]
    signals = [json.loads(body) for body in kept["signals"]]
    found: Kept = {
        "documents": [d for d in documents if d["trading_date"] in days],
        "signals": [s for s in signals if s["trading_date"] in days],
    }
    for name in ("levels.parquet", "bars_5m.parquet", "bars_10m.parquet", "signals.parquet"):
        rows = kept.get(name, [])
        found[name] = [r for r in rows if str(r.get("trading_date") or r["ts"])[:10] in days]
    return found


def audited(of: Setting, what: str) -> list[dict[str, Any]]:
    store = open_store(of.url, of.name)
    try:
        entries = [json.loads(entry) for _, entry in store.audit()]
    finally:
        store.close()
    return [entry for entry in entries if entry["what"] == what]


def has_begun(of: Setting, day: str) -> bool:
    store = open_store(of.url, of.name)
    try:
        return bool(store.documents(trading_date=date.fromisoformat(day)))
    finally:
        store.close()


def replayed(children: Nursery, of: Setting, day: str) -> tuple[int, str]:
    return children.run("replay", "--config", of.config, "--date", day)


@pytest.fixture(scope="module")
def before(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What a whole run under the first configuration leaves."""
    return whole(children, tmp_path_factory.mktemp("before"), minutes, {})


@pytest.fixture(scope="module")
def killed(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was killed in its second day."""
    folder = tmp_path_factory.mktemp("killed")
    of = setting(folder, minutes, f"sqlite:///{folder}/state.db", "bot")
    kill_within(SECOND, children, of)
    return folder


@pytest.fixture
def of(killed: Path, minutes: Path, tmp_path: Path) -> Setting:
    """A copy of it."""
    shutil.copytree(killed, tmp_path / "own")
    return setting(tmp_path / "own", minutes, f"sqlite:///{tmp_path}/own/state.db", "bot")


def check_begun_anew(
    children: Nursery, of: Setting, keys: Keys, before: Kept, after: Kept, said: str
) -> None:
    reported = left(of)["signals"]
    old = of.config.read_text()
    changed(of, keys)
    code, refusal = children.run(*of.run)
    assert (code, len(refusal.splitlines())) == (2, 1)
    assert said in refusal
    assert "--fresh-day" in refusal

    code, told = children.run(*of.run, "--fresh-day")

    assert code == 0, told
    assert f"{SECOND} is begun anew: {said}" in told
    kept = left(of)
    assert kept["signals"][: len(reported)] == reported
    assert len(kept["ids"]) == len(set(kept["ids"]))
    first, second, third = (of_days(kept, day) for day in DAYS)
    assert first == of_days(before, FIRST)
    assert third == of_days(after, THIRD)
    # The log has what was reported first. Of the second day all else is as the new one gives it.
    expected = of_days(after, SECOND)
    assert {s["id"] for s in second["signals"]} >= {s["id"] for s in expected["signals"]}
    sessions = {document["session_name"] for document in expected["documents"]}
    gone = [d for d in second["documents"] if d["session_name"] not in sessions]
    assert [(d["status"], d["reason"]) for d in gone] == len(gone) * [
        ("SKIPPED", "the day was begun anew")
    ]
    second["documents"] = [d for d in second["documents"] if d not in gone]
    for name in expected.keys() - {"signals"}:
        assert second[name] == expected[name], name
    (entry,) = (e for e in audited(of, "day") if "begun anew" in e["why"])
    assert (entry["trading_date"], entry["from"], entry["to"]) == (SECOND, "ACTIVE", "NOT_STARTED")
    assert said in entry["why"]
    ended = [e for e in audited(of, "session") if e["why"] == "the day was begun anew"]
    assert {(e["trading_date"], e["to"]) for e in ended} == {(SECOND, "SKIPPED")}
    for day in (SECOND, THIRD):
        code, told = replayed(children, of, day)
        assert (code, "equal to what was committed" in told) == (0, True), told
    code, told = replayed(children, of, FIRST)
    assert (code, said in told) == (2, True), told
    of.config.write_text(old)
    code, told = replayed(children, of, FIRST)
    assert (code, "equal to what was committed" in told) == (0, True), told


@pytest.mark.parametrize(
    "kind",
    [
        "a window moved",
        pytest.param("another name, rule and bars", marks=pytest.mark.slow),
        pytest.param("a session more", marks=pytest.mark.slow),
        pytest.param("other hours", marks=pytest.mark.slow),
    ],
)
def test_a_changed_configuration_is_refused_or_the_day_begun_anew(
    kind: str, children: Nursery, of: Setting, minutes: Path, before: Kept, tmp_path: Path
) -> None:
    keys, said = CHANGES[kind]
    after = whole(children, tmp_path / "after", minutes, keys)

    check_begun_anew(children, of, keys, before, after, said)


@pytest.mark.slow
@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_day_is_begun_anew_on_redis_too(
    children: Nursery, store_url: str, minutes: Path, before: Kept, tmp_path: Path
) -> None:
    keys, said = CHANGES["a window moved"]
    after = whole(children, tmp_path / "after", minutes, keys)
    of = setting(tmp_path, minutes, store_url, "begun-anew")
    kill_within(SECOND, children, of)

    check_begun_anew(children, of, keys, before, after, said)


CRASHES = [
    ("commit, not ended", 1),  # that the day is to be begun anew
    ("recovery, states put back", 2),
    ("files, not renamed", 3),
    *(
        pytest.param(point, nth, marks=pytest.mark.slow)
        for point, nth in (
            ("commit, unanswered", 1),
            ("commit, before it is seen", 1),
            ("snapshot, written", 2),  # of the first steps of the day that was begun anew
            ("recovery, lease taken", 1),
            ("recovery, states read", 1),
            ("recovery, states read", 2),
            ("recovery, states put back", 1),
            ("recovery, said", 1),
            ("snapshot, before", 1),
            ("snapshot, before", 2),
            ("snapshot, written", 1),
            ("signal, before its commit", 1),
            ("signal, after its commit", 2),
            ("files, before a day", 1),
        )
    ),
]


@pytest.fixture(scope="module")
def undisturbed(
    children: Nursery, killed: Path, minutes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Kept:
    """What is left when the day was begun anew and nobody disturbed that."""
    folder = tmp_path_factory.mktemp("undisturbed") / "own"
    shutil.copytree(killed, folder)
    of = setting(folder, minutes, f"sqlite:///{folder}/state.db", "bot")
    changed(of, CHANGES["a window moved"][0])
    code, said = children.run(*of.run, "--fresh-day")
    assert code == 0, said
    return left(of)


@pytest.mark.parametrize(("point", "nth"), CRASHES)
def test_a_kill_while_a_day_is_begun_anew_changes_nothing(
    point: str, nth: int, children: Nursery, of: Setting, undisturbed: Kept
) -> None:
    changed(of, CHANGES["a window moved"][0])
    code, said = children.run(*of.run, "--fresh-day", point=point, nth=nth)
    assert code == KILLED, said

    code, said = children.run(*of.run)
    if code == 2:  # it was killed before anything had changed
        assert "--fresh-day" in said
        code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    assert_same(left(of), undisturbed, f"after a kill at {point}")
    assert len([e for e in audited(of, "day") if "begun anew" in e["why"]]) == 1


def test_given_always_it_begins_a_day_anew_once(
    children: Nursery, of: Setting, undisturbed: Kept
) -> None:
    changed(of, CHANGES["a window moved"][0])
    for nth in (1, 2, 3):
        code, said = children.run(
            *of.run, "--fresh-day", point="commit, before it is seen", nth=nth
        )
        assert code == KILLED, said

    assert children.run(*of.run, "--fresh-day")[0] == 0

    assert_same(left(of), undisturbed, "after three kills")


# Of the snapshots of what was given up only what earlier days brought is used.


def without_snapshots_since(of: Setting, step: int) -> int:
    """Flip a byte of every state of the snapshots since a step; how many there were."""
    store = open_store(of.url, of.name)
    try:
        epochs = [epoch.epoch for epoch in store.epochs() if epoch.step >= step]
    finally:
        store.close()
    with sqlite3.connect(of.url.removeprefix("sqlite:///")) as db:
        for epoch in epochs:
            db.execute("DELETE FROM blobs WHERE key LIKE ?", (f"{epoch}-%",))
    return len(epochs)


def newest_snapshot(of: Setting) -> int:
    """The step of it."""
    store = open_store(of.url, of.name)
    try:
        return store.epochs()[0].step
    finally:
        store.close()


@pytest.mark.parametrize(
    "too",
    [
        pytest.param(0, marks=pytest.mark.slow, id="later ones"),
        pytest.param(1, id="that it began with"),
    ],
)
def test_what_was_given_up_does_not_come_back_though_snapshots_are_damaged(
    too: int, children: Nursery, of: Setting, undisturbed: Kept
) -> None:
    changed(of, CHANGES["a window moved"][0])
    begins = steps_of(of) + 1
    # The first snapshot is the one that the day begins with.
    assert children.run(*of.run, "--fresh-day", point="snapshot, after", nth=2)[0] == KILLED
    assert without_snapshots_since(of, begins - too) > too

    code, said = children.run(*of.run)

    assert code == 0, said
    assert_same(left(of), undisturbed, "from a snapshot of what was given up")


@pytest.mark.parametrize("damaged", [pytest.param("newest", marks=pytest.mark.slow), "all"])
def test_a_day_is_begun_anew_though_snapshots_are_damaged(
    damaged: str, children: Nursery, of: Setting, undisturbed: Kept
) -> None:
    changed(of, CHANGES["a window moved"][0])
    assert without_snapshots_since(of, 0 if damaged == "all" else newest_snapshot(of))

    code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    assert_same(left(of), undisturbed, f"with {damaged} damaged")


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["newest", "all"])
def test_after_a_days_end_the_next_one_is_begun_with_the_change_though_snapshots_are_damaged(
    damaged: str, children: Nursery, minutes: Path, tmp_path: Path
) -> None:
    kept = {}
    for about in ("whole", damaged):
        folder = tmp_path / about
        url = f"sqlite:///{folder}/s.db"
        of = setting(folder, minutes, url, "bot", feed={"end": SECOND})
        assert children.run(*of.run)[0] == 0
        changed(of, CHANGES["a window moved"][0])
        if about != "whole":
            assert without_snapshots_since(of, 0 if about == "all" else newest_snapshot(of))

        code, said = children.run(*of.run, "--fresh-day")

        assert code == 0, said
        assert f"from {THIRD} on: " in said
        kept[about] = left(of)
    assert_same(kept[damaged], kept["whole"], f"with {damaged} damaged")


@pytest.mark.slow
def test_the_first_day_is_begun_anew_though_all_snapshots_are_damaged(
    children: Nursery, minutes: Path, tmp_path: Path
) -> None:
    of = setting(tmp_path, minutes, f"sqlite:///{tmp_path}/s.db", "bot")
    kill_within(FIRST, children, of)
    keys, _ = CHANGES["a window moved"]
    changed(of, keys)
    assert without_snapshots_since(of, 0)

    code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    found = of_days(left(of), *DAYS)
    expected = of_days(whole(children, tmp_path / "after", minutes, keys), *DAYS)
    # Of the signals the log has what was reported first.
    assert {s["id"] for s in found.pop("signals")} >= {s["id"] for s in expected.pop("signals")}
    assert found == expected


def test_what_earlier_days_brought_is_kept(children: Nursery, of: Setting) -> None:
    known = closes_known(of)
    changed(of, CHANGES["a window moved"][0])

    ran = children.run(*of.run, "--fresh-day", point="commit, before it is seen")

    assert ran[0] == KILLED
    assert closes_known(of) == known
    assert len(known) == 3


def closes_known(of: Setting) -> dict[str, float]:
    """Each symbol's last close of the days before, by the newest snapshot of the second day."""
    store = open_store(of.url, of.name)
    try:
        newest = next(epoch for epoch in store.epochs() if str(epoch.trading_date) == SECOND)
        return dict(decode(store.states(newest.epoch)["upkeep"]).closes)
    finally:
        store.close()


@pytest.mark.slow
def test_a_day_can_be_begun_anew_twice_and_back_again(
    children: Nursery, of: Setting, before: Kept
) -> None:
    old = yaml.safe_load(of.config.read_text())
    changed(of, CHANGES["another name, rule and bars"][0])
    assert children.run(*of.run, "--fresh-day", point="signal, before its commit")[0] == KILLED
    changed(of, {**old, **CHANGES["other hours"][0]})
    assert children.run(*of.run, "--fresh-day", point="commit, unanswered")[0] == KILLED
    of.config.write_text(yaml.safe_dump(old))
    assert children.run(*of.run)[0] == 2

    code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    kept = left(of)
    for day in DAYS:
        found, expected = of_days(kept, day), of_days(before, day)
        found["documents"] = [d for d in found["documents"] if d["session_name"] != "Opening"]
        found["signals"] = [s for s in found["signals"] if s["session"] != "Opening"]
        assert found == expected
    for day in DAYS:
        code, told = replayed(children, of, day)
        assert (code, "equal" in told) == (0, True), told


def test_a_day_that_is_none_any_more_is_given_up(
    children: Nursery, of: Setting, before: Kept
) -> None:
    changed(of, {"calendar": {"closures": [SECOND]}})

    code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    kept = left(of)
    assert of_days(kept, FIRST, THIRD) == of_days(before, FIRST, THIRD)
    assert {d["status"] for d in of_days(kept, SECOND)["documents"]} == {"SKIPPED"}
    code, told = replayed(children, of, SECOND)
    assert (code, len(told.splitlines())) == (2, 1)
    assert replayed(children, of, THIRD)[0] == 0


def test_after_a_days_end_the_next_one_is_begun_with_the_change(
    children: Nursery, minutes: Path, before: Kept, tmp_path: Path
) -> None:
    of = setting(tmp_path, minutes, f"sqlite:///{tmp_path}/s.db", "bot", feed={"end": SECOND})
    assert children.run(*of.run)[0] == 0
    old = of.config.read_text()
    keys, _ = CHANGES["a window moved"]
    changed(of, {**keys, "feed": {"end": SECOND}})
    code, told = children.run(*of.run, "--fresh-day")
    assert (code, len(told.splitlines())) == (2, 1)
    assert "no trading day" in told
    assert "feed.end" in told
    changed(of, CHANGES["another name, rule and bars"][0])
    assert children.run(*of.run, "--fresh-day", point="recovery, said")[0] == KILLED
    of.config.write_text(old)
    changed(of, keys)

    code, told = children.run(*of.run, "--fresh-day")

    assert code == 0, told
    assert f"from {THIRD} on: " in told
    assert "sessions[0].end" in told
    after = whole(children, tmp_path / "after", minutes, keys)
    kept = left(of)
    assert of_days(kept, FIRST, SECOND) == of_days(before, FIRST, SECOND)
    assert of_days(kept, THIRD) == of_days(after, THIRD)


@pytest.mark.slow
def test_a_day_that_had_ended_without_its_files_is_written_as_it_was_configured(
    children: Nursery, minutes: Path, before: Kept, tmp_path: Path
) -> None:
    of = setting(tmp_path, minutes, f"sqlite:///{tmp_path}/s.db", "bot")
    # Else the same commit might hold what the third day began with.
    child = children.start(*of.run, point="files, before a day", nth=2, hold=f"{THIRD}T00:00-05:00")
    assert children.ended(child) == KILLED, child.err
    assert not has_begun(of, THIRD)
    keys, _ = CHANGES["another name, rule and bars"]
    changed(of, keys)
    for point in ("files, before a day", "commit, before it is seen"):  # before and after a change
        code, said = children.run(*of.run, "--fresh-day", point=point)
        assert code == KILLED, said
        assert f"from {THIRD} on" in said or f"{THIRD} is begun anew" in said
    shutil.rmtree(of.out / ".days" / FIRST)

    code, said = children.run(*of.run)

    assert code == 0, said
    after = whole(children, tmp_path / "after", minutes, keys)
    kept = left(of)
    assert of_days(kept, FIRST, SECOND) == of_days(before, FIRST, SECOND)
    assert of_days(kept, THIRD) == of_days(after, THIRD)


def test_without_a_change_nothing_is_begun_anew(
    children: Nursery, of: Setting, before: Kept
) -> None:
    code, said = children.run(*of.run, "--fresh-day")

    assert code == 0, said
    kept = left(of)
    assert_same(kept, before, "after a restart")


# Symbols


@pytest.fixture(scope="module")
def symbols(minutes: Path) -> list[str]:
    return sorted(set(pq.read_table(minutes / f"{FIRST}.parquet")["symbol"].to_pylist()))


ON_EACH_STORE = pytest.mark.parametrize(
    "store_kind", ["sqlite", pytest.param("redis", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture
def of_two(
    children: Nursery, store_url: str, minutes: Path, symbols: list[str], tmp_path: Path
) -> Setting:
    """Killed in its second day, without the third symbol."""
    name = f"two-{tmp_path.name}"
    of = setting(tmp_path, minutes, store_url, name, symbols=symbols[:2])
    kill_within(SECOND, children, of)
    return of


def of_symbols(kept: Kept, names: list[str]) -> Kept:
    """Of some symbols only."""
    documents = [
        {**d, "symbols_data": {s: of for s, of in d["symbols_data"].items() if s in names}}
        for d in kept["documents"]
    ]
    rows = {
        name: [row for row in of if row["symbol"] in names]
        for name, of in kept.items()
        if name != "documents"
    }
    return {"documents": documents, **rows}


@ON_EACH_STORE
def test_a_symbol_that_is_added_counts_from_the_next_day_on(
    children: Nursery, of_two: Setting, symbols: list[str], before: Kept
) -> None:
    changed(of_two, {"symbols": symbols})

    code, said = children.run(*of_two.run, point="signal, after its commit")
    assert code == KILLED
    assert f"after {SECOND}: symbol {symbols[2]} was added" in said
    code, said = children.run(*of_two.run)

    assert (code, len(said.splitlines())) == (0, 1), said
    kept = left(of_two)
    two = of_symbols(of_days(before, FIRST, SECOND), symbols[:2])
    assert of_days(kept, FIRST, SECOND) == two
    assert of_days(kept, THIRD) == of_days(before, THIRD)
    assert [e["why"] for e in audited(of_two, "config")] == [
        f"after {SECOND}: symbol {symbols[2]} was added"
    ]
    for day in DAYS:
        code, told = replayed(children, of_two, day)
        assert (code, "equal" in told) == (0, True), told


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_symbol_that_is_added_counts_at_once_where_the_day_is_begun_anew(
    children: Nursery, of_two: Setting, symbols: list[str], before: Kept
) -> None:
    changed(of_two, {"symbols": "all"})

    code, said = children.run(*of_two.run, "--fresh-day")

    assert code == 0, said
    assert f"{SECOND} is begun anew: symbol {symbols[2]} was added" in said
    kept = left(of_two)
    assert of_days(kept, FIRST) == of_symbols(of_days(before, FIRST), symbols[:2])
    assert of_days(kept, THIRD) == of_days(before, THIRD)
    assert of_days(kept, SECOND)["levels.parquet"] == of_days(before, SECOND)["levels.parquet"]


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_symbol_that_is_taken_away_is_refused_unless_it_was_only_to_come(
    children: Nursery, of_two: Setting, symbols: list[str], before: Kept
) -> None:
    changed(of_two, {"symbols": symbols[:1]})
    code, said = children.run(*of_two.run)
    assert (code, len(said.splitlines())) == (2, 1)
    both = f"symbols was {json.dumps(symbols[:2])}, is {json.dumps(symbols[:1])}"
    assert both in said
    changed(of_two, {"symbols": symbols})
    assert children.run(*of_two.run, point="recovery, states read")[0] == KILLED
    changed(of_two, {"symbols": symbols[:2]})

    code, said = children.run(*of_two.run)

    assert code == 0, said
    assert of_days(left(of_two), *DAYS) == of_symbols(of_days(before, *DAYS), symbols[:2])


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_file_with_another_symbol_does_not_disturb_the_day_under_way(
    children: Nursery,
    store_url: str,
    minutes: Path,
    symbols: list[str],
    before: Kept,
    tmp_path: Path,
) -> None:
    """With `symbols: all` a file that is added may add symbols."""
    (tmp_path / "minutes").mkdir()
    for symbol in symbols[:2]:
        file_of(symbol, minutes, tmp_path / "minutes")
    of = setting(tmp_path, tmp_path / "minutes", store_url, "files")
    kill_within(SECOND, children, of)
    file_of(symbols[2], minutes, tmp_path / "minutes")
    changed(of, {})

    code, said = children.run(*of.run)

    assert code == 0, said
    kept = left(of)
    two = of_symbols(of_days(before, FIRST, SECOND), symbols[:2])
    assert of_days(kept, FIRST, SECOND) == two
    assert of_days(kept, THIRD) == of_days(before, THIRD)


def file_of(symbol: str, minutes: Path, folder: Path) -> None:
    rows = pa.concat_tables(pq.read_table(minutes / f"{day}.parquet") for day in DAYS)
    text = rows["symbol"].cast(pa.string())
    pq.write_table(rows.filter(pc.equal(text, symbol)), folder / f"{symbol}.parquet")


# Further days


@pytest.mark.parametrize(
    "point",
    [
        None,
        pytest.param("snapshot, after", marks=pytest.mark.slow),
        pytest.param("recovery, said", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_had_ended_goes_on_with_days_that_came_since(
    point: str | None, children: Nursery, minutes: Path, before: Kept, tmp_path: Path
) -> None:
    data = tmp_path / "minutes"
    data.mkdir()
    for day in (FIRST, SECOND):
        shutil.copy(minutes / f"{day}.parquet", data)
    of = setting(tmp_path, data, f"sqlite:///{tmp_path}/state.db", "bot")
    assert children.run(*of.run)[0] == 0
    assert "had ended before" in children.run(*of.run)[1]
    steps = steps_of(of)
    shutil.copy(minutes / f"{THIRD}.parquet", data)

    if point is not None:
        assert children.run(*of.run, point=point)[0] == KILLED
    code, said = children.run(*of.run)

    assert code == 0, said
    assert "The last day has ended" in said
    kept = left(of)
    assert of_days(kept, *DAYS) == of_days(before, *DAYS)
    assert steps_of(of) > steps
    for day in DAYS:
        code, told = replayed(children, of, day)
        assert (code, "equal" in told) == (0, True), told
    assert "had ended before" in children.run(*of.run)[1]


@pytest.mark.slow
def test_days_that_feed_start_leaves_out_by_now_are_kept(
    children: Nursery, minutes: Path, tmp_path: Path
) -> None:
    of = setting(tmp_path, minutes, f"sqlite:///{tmp_path}/s.db", "bot", feed={"end": SECOND})
    assert children.run(*of.run)[0] == 0
    changed(of, {"feed": {"start": THIRD}})
    assert children.run(*of.run)[0] == 0

    for day in DAYS:
        code, told = replayed(children, of, day)
        assert (code, "equal" in told) == (0, True), told
    at = ("--until", "10:42", "--show", "levels")
    code, told = children.run("replay", "--config", of.config, "--date", FIRST, *at)
    assert (code, "Morning Opening" in told) == (0, True), told


# What changes no answer


@pytest.mark.parametrize(
    "keys",
    [
        {
            "sinks_max_age": "5s",
            "snapshot": {"every": "1h", "keep": 2},
            "lease": {"ttl": "9s"},
            "supervision": {"restarts": 9, "within": "9s"},
            "store": {"backlog": "1KiB", "keep_days": 3},
            "prefetch": {"days": 3},
            "web": {"port": 0},
        },
        pytest.param({"feed": {"speed": 100_000}}, marks=pytest.mark.slow),
        {"feed": {"start": THIRD}},
        pytest.param({"feed": {"end": FIRST}}, marks=pytest.mark.slow),
    ],
    ids=["many", "speed", "a later start", "an earlier end"],
)
def test_what_changes_no_answer_is_taken_at_once(
    keys: Keys, children: Nursery, of: Setting, before: Kept
) -> None:
    if "store" in keys:
        keys = {"store": {"url": of.url, **keys["store"]}}
    changed(of, keys)

    code, said = children.run(*of.run, "--log-level", "error")

    assert code == 0, said
    kept = left(of)
    assert of_days(kept, *DAYS) == of_days(before, *DAYS)
    store = open_store(of.url, of.name)
    epochs = store.epochs()
    store.close()
    assert len({epoch.trading_date for epoch in epochs}) == 3
    if "snapshot" in keys:
        assert len([e for e in epochs if str(e.trading_date) == THIRD]) <= 3
