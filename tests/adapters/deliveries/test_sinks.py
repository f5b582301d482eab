"""Files, commands, streams, chats and standard output: what comes out of each, and what fails."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from receivers import Answer, receiving
from redis_server import RedisServer
from store_places import server_binary

from openbell.adapters.deliveries import Failed, Message, Refused, Sink, SinkOptions, open_sink
from openbell.adapters.deliveries.templates import SAMPLE
from openbell.errors import ConfigError


def opened(of_type: str, seconds: float = 30.0, **given: Any) -> Sink:
    return open_sink(of_type, SinkOptions("bot", "it", seconds, given))


def signal(number: int) -> Message:
    key = f"XNYS:2024-07-01:Opening:TEST:HIGH_BREAK:{number}"
    return Message(key, orjson.dumps({**SAMPLE, "id": key}), f"{number}-0")


def event() -> Message:
    fields = {"id": "day.error:1", "kind": "day.error", "trading_date": "2024-07-01"}
    body: dict[str, Any] = {**fields, "session": None, "symbols": [], "why": "no rows"}
    return Message("day.error:1", orjson.dumps(body), "1-0", kind="event")


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


# Files.


def test_a_file_has_a_line_each_and_older_ones_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "made" / "signals.jsonl"
    size = len(signal(1).body) + 1
    with closing(opened("file", path=str(path), rotate=f"{2 * size}B", keep=2)) as sink:
        for number in range(1, 8):
            sink.deliver([signal(number)])

    names = ("signals.jsonl.2", "signals.jsonl.1", "signals.jsonl")
    found = [lines(path.with_name(name)) for name in names]
    bodies = [signal(number).body for number in range(3, 8)]
    assert found == [bodies[:2], bodies[2:4], bodies[4:]]
    assert len(list(path.parent.iterdir())) == 3


@pytest.mark.parametrize("left", [b"", b'{"a":1}\n', b'{"half', b'{"a":1}\n{"half', b"x" * 70_000])
def test_half_a_line_that_a_kill_left_is_cut_off(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "signals.jsonl"
    path.write_bytes(left)

    with closing(opened("file", path=str(path))) as sink:
        sink.deliver([signal(1)])

    assert lines(path) == [*left[: left.rfind(b"\n") + 1].splitlines(), signal(1).body]


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "signals.jsonl"
    with closing(opened("file", path=str(path))) as sink:
        sink.deliver([signal(1)])
        path.rename(tmp_path / "moved")
        sink.deliver([signal(2)])

    assert lines(path) == [signal(2).body]
    assert lines(tmp_path / "moved") == [signal(1).body]


def test_a_file_that_cannot_be_written_fails_and_can_be_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "here"
    path.mkdir()
    with closing(opened("file", path=str(path))) as sink:
        with pytest.raises(Failed, match="here"):
            sink.deliver([signal(1)])
        path.rmdir()
        sink.deliver([signal(1)])

    assert lines(path) == [signal(1).body]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_a_failure() -> None:
    with closing(opened("file", path="/dev/full")) as sink, pytest.raises(Failed, match="space"):
        sink.deliver([signal(1)])


# Commands.


def command(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "command.py"
    script.write_text(textwrap.dedent(text))
    return [sys.executable, str(script)]


def test_a_command_gets_the_lines_on_its_standard_input(tmp_path: Path) -> None:
    into = tmp_path / "got"
    given = command(
        tmp_path, f"import sys; open({str(into)!r}, 'ab').write(sys.stdin.buffer.read())"
    )

    with closing(opened("exec", command=given)) as sink:
        sink.deliver([signal(1), signal(2)])
        sink.deliver([signal(3)])

    assert lines(into) == [signal(number).body for number in (1, 2, 3)]


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    into = tmp_path / "a; touch b"
    with closing(opened("exec", command=f'touch "{into}"')) as sink:
        sink.deliver([signal(1)])

    assert [path.name for path in tmp_path.iterdir()] == ["a; touch b"]


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("import sys; print('a\\nno luck', file=sys.stderr); sys.exit(3)", Failed, "3: no luck"),
        ("import sys; sys.exit(65)", Refused, "exit code 65"),
        ("import os; os.kill(os.getpid(), 9)", Failed, "exit code -9"),
        ("import sys; sys.stderr.write('x' * 10**6); sys.exit(1)", Failed, "exit code 1"),
    ],
)
def test_a_command_that_fails_says_why(
    tmp_path: Path, text: str, kind: type[Failed], said: str
) -> None:
    sink = opened("exec", command=command(tmp_path, text))

    with closing(sink), pytest.raises(Failed) as raised:
        sink.deliver([signal(1)])

    assert type(raised.value) is kind
    assert said in str(raised.value)
    assert len(str(raised.value)) < 5_000


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    given = ["sh", "-c", f"sleep 600 & echo $! > {pid}; wait"]
    sink = opened("exec", 1.0, command=given)

    with closing(sink):
        while not (pid.exists() and pid.read_text()):  # a busy host may take longer to start it
            with pytest.raises(Failed, match="more than 1 s"):
                sink.deliver([signal(1)])

    started = int(pid.read_text())
    until = time.monotonic() + 120
    while is_alive(started) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(started)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_is_not_there_fails() -> None:
    sink = opened("exec", command=["/nowhere/at/all"])

    with closing(sink), pytest.raises(Failed, match="No such file"):
        sink.deliver([signal(1)])


# Standard output.


def test_standard_output_has_a_line_each_and_who_closed_it_is_a_failure(tmp_path: Path) -> None:
    program = """
        from openbell.adapters.deliveries import Failed, Message, SinkOptions, open_sink
        import os, sys
        sink = open_sink("stdout", SinkOptions("bot", "it"))
        print("before")
        sink.deliver([Message("1", b"{}"), Message("2", b"[]")])
        os.close(1)
        try:
            sink.deliver([Message("3", b"{}")])
        except Failed as error:
            print(error, file=sys.stderr)
        os._exit(0)
    """
    ran = subprocess.run(
        command(tmp_path, program), capture_output=True, check=True, env=dict(os.environ)
    )

    assert ran.stdout == b"before\n{}\n[]\n"
    assert b"standard output" in ran.stderr


# Another Redis.


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


def test_a_stream_on_another_server_has_the_fields_of_the_log(server: RedisServer) -> None:
    import redis

    with closing(opened("redis", url=server.url, stream="signals", maxlen=1000)) as sink:
        sink.deliver([signal(1), signal(2)])
        sink.deliver([event()])

    with redis.Redis.from_url(server.url) as client:
        entries = [fields for _, fields in client.xrange("signals")]
    assert [entry[b"body"] for entry in entries] == [
        of.body for of in (signal(1), signal(2), event())
    ]
    assert entries[0] == {
        b"id": signal(1).id.encode(),
        b"trading_date": b"2024-07-01",
        b"session": b"Opening",
        b"symbol": b"TEST",
        b"body": signal(1).body,
    }
    assert entries[2][b"event"] == b"day.error"


def test_what_is_published_reaches_who_listens(server: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(server.url) as client, client.pubsub() as listening:
        listening.subscribe("told")
        listening.get_message(timeout=30)
        with closing(opened("redis", url=server.url, channel="told")) as sink:
            sink.deliver([signal(1)])
        heard = listening.get_message(timeout=30)

    assert heard is not None
    assert heard["data"] == signal(1).body


def test_a_server_that_is_gone_fails_and_is_found_again() -> None:
    with RedisServer(server_binary()) as own:
        with closing(opened("redis", url=own.url, stream="signals")) as sink:
            sink.deliver([signal(1)])
            own.kill()
            with pytest.raises(Failed, match=str(own.port)):
                sink.deliver([signal(2)])
            own.start()
            sink.deliver([signal(2)])

        import redis

        with redis.Redis.from_url(own.url) as client:
            assert client.xlen("signals") == 2


# Chats.


@pytest.fixture
def _old_modules() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules that Apprise looks for
        yield


@pytest.mark.usefixtures("_old_modules")
def test_apprise_gets_a_line_for_each_signal_and_one_for_an_event() -> None:
    with receiving() as receiver:
        url = receiver.url.replace("http", "json")
        with closing(opened("apprise", url=url)) as sink:
            sink.deliver([signal(1), signal(2)])
            sink.deliver([event()])

    digest, told = (got.fields for got in receiver.got)
    assert digest["title"] == "openbell bot"
    assert (
        digest["message"].splitlines()
        == ["TEST 101.25 above 101, Opening, 2024-07-01T13:37:00Z"] * 2
    )
    assert told["message"] == "day.error 2024-07-01: no rows"


@pytest.mark.usefixtures("_old_modules")
@pytest.mark.parametrize(("status", "after"), [(500, None), (429, 30.0)])
def test_apprise_says_why_it_could_not_deliver(status: int, after: float | None) -> None:
    with receiving(lambda _: Answer(status)) as receiver:
        sink = opened("apprise", url=receiver.url.replace("http", "json"))
        with pytest.raises(Failed, match=str(status)) as raised:
            sink.deliver([signal(1)])

    assert raised.value.after_seconds == after


# What can't be used.


@pytest.mark.usefixtures("_old_modules")
@pytest.mark.parametrize(
    ("of_type", "given", "said"),
    [
        ("file", {}, "options.path is missing"),
        ("file", {"path": "a", "rotate": "big"}, "rotate: 64MiB"),
        ("file", {"path": "a", "keep": 0}, "1 or more"),
        ("exec", {}, "options.command is missing"),
        ("exec", {"command": 'a "b'}, "as a list"),
        ("exec", {"command": ["a", 1]}, "in quotes"),
        ("stdout", {"path": "a"}, "unknown"),
        ("redis", {"url": "redis://a"}, "either a stream or a channel"),
        ("redis", {"url": "redis://a", "stream": "a", "channel": "b"}, "either"),
        ("redis", {"url": "redis://a/x", "stream": "a"}, "options.url"),
        ("redis", {"url": "redis://a", "channel": "b", "maxlen": 5}, "maxlen"),
        ("apprise", {}, "options.url is missing"),
        ("apprise", {"url": "nonsense"}, "none that Apprise takes"),
        ("gull", {}, "not installed"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    of_type: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        opened(of_type, **given)

    assert said in str(raised.value)
