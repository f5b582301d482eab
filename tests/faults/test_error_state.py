"""ERROR is durable: a paced run stays up in it, and goes on when `openbell recover` comes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults.crashing import (
    KILLED,
    Child,
    Nursery,
    Setting,
    assert_same,
    left,
    setting,
    wait_until,
)

SECOND = "2024-01-03"


@pytest.fixture(scope="module")
def expected(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    whole = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "whole")
    code, said = children.run(*whole.run)
    assert code == 0, said
    return left(whole)


def sqlite(folder: Path, minutes: Path) -> Setting:
    url = f"sqlite:///{folder}/state.db"
    return setting(folder, minutes, url, "error", feed={"type": "replay", "speed": 40_000})


@pytest.fixture(scope="module")
def killed(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was killed in ERROR, and is to recover."""
    folder = tmp_path_factory.mktemp("killed")
    of = sqlite(folder, minutes)
    children.kill(in_error(children, of))
    assert children.run("recover", "--config", of.config)[0] == 0
    return folder


@pytest.fixture
def of(minutes: Path, store_url: str, tmp_path: Path) -> Setting:
    return setting(
        tmp_path,
        minutes,
        store_url,
        f"error-{tmp_path.name}",
        feed={"type": "replay", "speed": 40_000},
        prefetch={"days": 0},
        lease={"ttl": "0.5s"},
    )


PROGRAM = """
import sys
from pathlib import Path

from openbell.runtime.intake import loading
from openbell.runtime.cli.app import main

tried, away, since = loading.tried_again, Path(sys.argv.pop(1)), sys.argv.pop(1)

def tried_if_there(read, day, **more):
    def read_if_there():
        if away.exists() and day >= since:
            raise RuntimeError("the disk is away")
        return read()

    return tried(read_if_there, day, **more)

loading.tried_again, loading.BACKOFF_SECONDS = tried_if_there, 0.01
main()
"""
"""`openbell` with a source that has no rows from some day on while a file exists."""


def in_error(children: Nursery, of: Setting) -> Child:
    """A run that came to a day whose rows can't be read, and waits; they can by now."""
    folder = of.config.parent
    program, away = folder / "program.py", folder / "away"
    program.write_text(PROGRAM)
    away.touch()
    child = children.start(program, away, SECOND, *of.run)
    wait_until(lambda: "waiting" in child.err)
    away.unlink()
    return child


def status(children: Nursery, of: Setting) -> dict[str, Any]:
    code, said = children.run("status", "--config", of.config, "--json")
    assert code == 0, said
    found: dict[str, Any] = json.loads(said)
    return found


def assert_as_whole(of: Setting, expected: Any, about: str) -> None:
    """But for the steps and transitions of what was tried in vain."""
    kept = left(of)
    for name in ("steps", "transitions", "events"):
        kept[name] = expected[name]
    assert_same(kept, expected, about)


def test_a_paced_run_waits_in_error_and_goes_on_when_recover_comes(
    children: Nursery, of: Setting, expected: Any
) -> None:
    child = in_error(children, of)
    (said,) = child.err.splitlines()
    assert said.startswith(f"openbell: {SECOND}: ")
    assert "`openbell recover`" in said
    assert status(children, of)["state"] == "ERROR"
    assert SECOND in json.loads((of.out / "summary.json").read_bytes())["error"]
    code, refusal = children.run(*of.run, "--no-standby")
    assert (code, f"process {child.pid}" in refusal) == (4, True), refusal

    code, told = children.run("recover", "--config", of.config)

    assert (code, "tries again" in told) == (0, True)
    assert children.ended(child) == 0, child.err
    assert_as_whole(of, expected, "after ERROR")
    assert status(children, of)["state"] == "ENDED"
    assert json.loads((of.out / "summary.json").read_bytes())["error"] is None


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_run_that_waits_in_error_can_be_stopped_and_waits_again_when_restarted(
    number: signal.Signals, code: int, children: Nursery, of: Setting, expected: Any
) -> None:
    child = in_error(children, of)

    children.send(child, number)

    assert children.ended(child, timeout=120) == code, child.err
    assert "Traceback" not in child.err
    again = children.start(*of.run)
    wait_until(lambda: "waiting" in again.err)
    assert len(again.err.splitlines()) == 1
    assert children.run("recover", "--config", of.config)[0] == 0
    assert children.ended(again) == 0, again.err
    assert_as_whole(of, expected, "after a restart into ERROR")


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_run_that_is_not_paced_ends_in_error(children: Nursery, of: Setting) -> None:
    children.kill(in_error(children, of))
    keys = yaml.safe_load(of.config.read_text())
    of.config.write_text(yaml.safe_dump({**keys, "feed": {"speed": 0}}))

    code, said = children.run(*of.run)

    assert (code, len(said.splitlines())) == (3, 1)
    assert "`openbell recover`" in said


@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_standby_takes_over_in_error_and_leaves_it(
    children: Nursery, of: Setting, expected: Any
) -> None:
    child = in_error(children, of)
    standby = children.start(*of.run)
    wait_until(lambda: "waiting" in standby.err)
    children.kill(child)

    wait_until(lambda: "openbell recover" in standby.err)
    assert children.run("recover", "--config", of.config)[0] == 0

    assert children.ended(standby) == 0, standby.err
    assert_as_whole(of, expected, "after a takeover in ERROR")


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("recover, before its command is taken", 1),
        ("recover, command taken", 1),
        pytest.param("snapshot, before", 1, marks=pytest.mark.slow),
        pytest.param("commit, unanswered", 1, marks=pytest.mark.slow),
        pytest.param("recovery, said", 1, marks=pytest.mark.slow),
        pytest.param("snapshot, written", 1, marks=pytest.mark.slow),
    ],
)
def test_a_kill_while_error_is_left_does_not_lose_the_command(
    point: str,
    nth: int,
    children: Nursery,
    killed: Path,
    minutes: Path,
    expected: Any,
    tmp_path: Path,
) -> None:
    shutil.copytree(killed, tmp_path / "own")
    of = sqlite(tmp_path / "own", minutes)

    code, said = children.run(*of.run, point=point, nth=nth)
    assert code == KILLED, said
    code, said = children.run(*of.run)

    assert code == 0, said
    assert_as_whole(of, expected, f"after a kill at {point}")
