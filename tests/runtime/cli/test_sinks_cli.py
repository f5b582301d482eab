"""`openbell sinks`: what it shows of sinks, and what it has them do, with a run and without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command, started
from observed import eventually
from receivers import OK, Answer, Receiver, receiving

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import open_store
from openbell.runtime.delivery import courier, deliveries
from openbell.runtime.delivery.deliveries import Deliveries


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "minutes"
    write_sample(folder, symbols=3, days=2, seed=3, start=date(2024, 7, 1))
    return folder


@pytest.fixture
def openbell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOK_SECRET", "s3cret-that-is-not-shown")
    monkeypatch.setattr(courier, "RETRY_SECONDS", 0.001)
    return Command(monkeypatch, capsys)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs wait for half a second only for who fails, once each has failed."""
    drain = Deliveries.drain

    def drained(of: Deliveries, signals: int, given_up: Callable[[], bool]) -> list[str]:
        assert eventually(lambda: all(c.position.error or c.is_done(signals) for c in of.couriers))
        return drain(of, signals, given_up)

    monkeypatch.setattr(Deliveries, "drain", drained)
    monkeypatch.setattr(deliveries, "DRAIN_SECONDS", 0.5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def configured(minutes: Path, receiver: Receiver, feed: Any = None, **keys: Any) -> None:
    options = {"url": receiver.url, "allow_private": True, "secret": "${HOOK_SECRET}"}
    given = {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "data": {"path": str(minutes)},
        "feed": feed or {"speed": 0},
        "sinks": [{"type": "webhook", "name": "hook", "options": options, **keys}],
    }
    Path("config.yaml").write_text(yaml.safe_dump(given))


def logged() -> list[str]:
    with closing(open_store("sqlite:///state/openbell.db", "default")) as store:
        return [signal.id for _, signal in store.signals()]


def sent(receiver: Receiver) -> list[str]:
    return [got.fields["id"] for got in receiver.taken]


def test_a_run_without_sinks_says_so(openbell: Command, minutes: Path, receiver: Receiver) -> None:
    configured(minutes, receiver)
    given = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(yaml.safe_dump({**given, "sinks": []}))
    openbell("run")

    assert openbell("sinks").out == "No run has had sinks here\n"
    assert openbell("sinks", "retry", "hook").messages == [
        'no run had a sink called "hook" here; those it had: none'
    ]


def test_what_a_sink_could_not_deliver_is_shown_and_flushed_without_a_run(
    openbell: Command, minutes: Path, receiver: Receiver, impatient: None
) -> None:
    configured(minutes, receiver)
    receiver.plan = lambda _: Answer(500, body=b"no luck")
    ran = openbell("run")
    log = logged()

    shown, whole = openbell("sinks"), json.loads(openbell("sinks", "--json").out)
    status = openbell("status")
    refused = openbell("sinks", "flush", "hook")
    receiver.plan = lambda _: OK
    flushed = openbell("sinks", "flush", "hook")

    assert ran.code == 0, "the run itself was in order"
    assert shown.out.startswith(f"hook: failing, {len(log)} signals wait, 0 delivered, ")
    assert shown.out.endswith("answered 500: no luck\n")
    assert (whole["state"], whole["waits"]) == ("failing", len(log))
    assert "hook: failing" in status.out
    assert refused.code == 1
    assert (flushed.code, flushed.out) == (0, f"hook: up to date, {len(log)} delivered\n")
    assert sent(receiver) == log


def test_the_head_blocks_until_it_is_skipped_with_a_cause_that_is_kept(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver)
    receiver.plan = lambda n: Answer(409) if n < 1 else OK
    openbell("run")
    log = logged()

    inspected = openbell("sinks", "inspect", "hook")
    whole = json.loads(openbell("sinks", "inspect", "hook", "--json").out)
    without = openbell("sinks", "skip", "hook")
    skipped = openbell("sinks", "skip", "hook", "--cause", "it is there")
    openbell("run")

    assert inspected.out.splitlines()[0].startswith("hook: stopped, ")
    assert inspected.out.splitlines()[1] == f"waits  {log[0]}"
    assert [of["id"] for of in whole["waiting"]] == log[:10]
    assert without.code == 2
    assert skipped.out == f"hook: delivering, {len(log) - 1} signals wait, 0 delivered, 1 skipped\n"
    assert sent(receiver) == log[1:]
    events = [json.loads(line) for line in openbell("events", "--json").out.splitlines()]
    (told,) = [event for event in events if event["kind"] == "sink.skipped"]
    assert told["why"] == f"sink hook: skipped {log[0]}: it is there"


def test_dead_letters_are_shown_skipped_and_tried_again(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver, on_give_up="dead_letter")
    receiver.plan = lambda n: Answer(422) if n in (1, 3) else OK
    openbell("run")
    log = logged()

    inspected = openbell("sinks", "inspect", "hook")
    openbell("sinks", "skip", "hook", "--id", log[1], "--cause", "known")
    retried = openbell("sinks", "retry", "hook")

    assert [line for line in inspected.out.splitlines() if line.startswith("dead")] == [
        f"dead   {log[n]}: 127.0.0.1:{receiver.server.server_port}: answered 422" for n in (1, 3)
    ]
    assert retried.out == f"hook: up to date, {len(log) - 1} delivered, 1 skipped\n"
    assert sent(receiver) == [log[0], log[2], *log[4:], log[3]]


def test_a_test_goes_out_without_a_run_and_says_what_it_is(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver)

    taken = openbell("sinks", "test", "hook")
    receiver.plan = lambda _: Answer(401)
    refused = openbell("sinks", "test", "hook")
    unknown = openbell("sinks", "test", "phone")

    assert (taken.code, taken.messages) == (0, ["hook: the test was taken"])
    assert receiver.got[0].fields["test"] is True
    assert (refused.code, "answered 401" in refused.err) == (1, True)
    assert unknown.messages == ['no sink is called "phone"; there are hook']
    assert not Path("state").exists()


def test_a_run_that_is_up_does_what_it_is_asked(
    openbell: Command, minutes: Path, receiver: Receiver, tmp_path: Path
) -> None:
    configured(minutes, receiver, {"speed": 600}, give_up=1)
    receiver.plan = lambda _: Answer(500)
    with started("run", cwd=tmp_path) as process:
        assert eventually(lambda: "hook: stopped" in openbell("sinks").out)
        receiver.plan = lambda _: OK

        retried = openbell("sinks", "retry", "hook")

        assert retried.out.startswith("hook: ")
        assert eventually(lambda: openbell("sinks").out.startswith("hook: up to date, "))
        process.terminate()
        assert process.wait(120) == 0
    assert sent(receiver) == logged()


def test_no_secret_is_shown(
    openbell: Command, minutes: Path, receiver: Receiver, impatient: None
) -> None:
    configured(minutes, receiver)
    receiver.plan = lambda _: Answer(500)

    said = [
        openbell(*command.split())
        for command in ("run", "config check", "config check --json", "sinks --json", "events")
    ]

    assert all("s3cret-that" not in ran.out + ran.err for ran in said)
    with closing(open_store("sqlite:///state/openbell.db", "default")) as store:
        assert not any(b"s3cret-that" in body for body in store.kept("").values())


def test_a_sink_whose_secret_is_missing_is_refused_before_anything_runs(
    openbell: Command, minutes: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(minutes, receiver)
    monkeypatch.delenv("HOOK_SECRET")

    ran = openbell("run")

    assert (ran.code, ran.messages) == (
        2,
        ["config.yaml: sinks[0].options.secret: the environment has no HOOK_SECRET; set it"],
    )
    assert not Path("state").exists()


def test_kinds_of_events_that_there_are_not_are_refused(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver, events=["day.eror"])

    assert openbell("config", "check", "config.yaml").messages == [
        'config.yaml: sinks[0].events[0] is "day.eror", no kind of event; did you mean "day.error"?'
    ]


def test_a_run_says_what_its_sinks_had_not_taken_in_the_end(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver)
    receiver.plan = lambda _: Answer(409)

    ran = openbell("run")

    assert ran.code == 0
    assert (
        f"sink hook: {len(logged())} signals wait; `openbell sinks flush hook`, or the next run, "
        "delivers what waits"
    ) in ran.messages


def test_a_sink_that_was_taken_out_of_the_configuration_is_shown_so_and_goes_on_when_it_is_back(
    openbell: Command, minutes: Path, receiver: Receiver
) -> None:
    configured(minutes, receiver, {"speed": 0, "end": "2024-07-01"})
    openbell("run")
    before = len(logged())
    given = yaml.safe_load(Path("config.yaml").read_text())
    Path("config.yaml").write_text(yaml.safe_dump({**given, "feed": {"speed": 0}, "sinks": []}))
    openbell("run")

    shown = openbell("sinks").out
    Path("config.yaml").write_text(yaml.safe_dump({**given, "feed": {"speed": 0}}))
    openbell("run")

    left = len(logged()) - before
    assert left > 0
    assert shown == f"hook: left out, {left} signals wait, {before} delivered\n"
    assert sent(receiver) == logged()
