from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.web.asking import Unanswered, asked
from openbell.adapters.web.server import ASKED_AT_ONCE, Answer, Server
from openbell.errors import RunError
from openbell.hidden import hide

TOKEN = "a token that nobody guesses"


def made(token: str | None = None, host: str = "127.0.0.1") -> Server:
    def fails() -> Answer:
        raise OSError("the disk is gone")

    return Server(
        host,
        0,
        lambda: token,
        {
            "/here": lambda: Answer(200, "text/plain", "it is planted-in-an-answer here\n"),
            "/fails": fails,
        },
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = made()
    yield started
    started.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    started = made(TOKEN)
    yield started
    started.close()


def ask(server: Server, path: str, token: str | None = None) -> tuple[int, str]:
    return asked(f"http://127.0.0.1:{server.port}{path}", token=token, seconds=120, directly=True)


def raw(server: Server, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while some := connection.recv(65536):
            got += some
        return got


def test_a_path_is_answered_without_what_must_not_be_shown(server: Server) -> None:
    hide("planted-in-an-answer")

    assert ask(server, "/here") == (200, "it is *** here\n")
    assert ask(server, "/here?more=1")[0] == 200


def test_a_path_that_is_none_names_those_there_are(server: Server) -> None:
    assert ask(server, "/elsewhere") == (404, "there are /fails, /here\n")


def test_an_answer_that_fails_is_told_and_the_next_is_given(server: Server) -> None:
    assert ask(server, "/fails")[0] == 500
    assert ask(server, "/here")[0] == 200


def test_head_has_no_body_and_other_methods_are_refused(server: Server) -> None:
    head = raw(server, b"HEAD /here HTTP/1.0\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 200")
    assert head.endswith(b"\r\n\r\n")
    assert raw(server, b"POST /here HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 501")


@pytest.mark.parametrize("shown", [None, "", "another", TOKEN[:-1], f"{TOKEN} "])
def test_who_shows_another_token_learns_nothing(guarded: Server, shown: str | None) -> None:
    for path in ("/here", "/elsewhere", "/fails"):
        status, text = ask(guarded, path, shown.strip() if shown == f"{TOKEN} " else shown)
        if shown == f"{TOKEN} ":
            continue  # HTTP itself leaves out spaces at the end
        assert status == 401
        assert "here" not in text.replace("there", "")


def test_who_shows_the_token_is_answered(guarded: Server) -> None:
    assert ask(guarded, "/here", TOKEN)[0] == 200


def test_a_token_in_no_encoding_is_refused(guarded: Server) -> None:
    sent = b"GET /here HTTP/1.0\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"

    assert raw(guarded, sent).startswith(b"HTTP/1.0 401")


@given(sent=st.binary(max_size=400))
def test_whatever_is_sent_the_next_is_answered(server: Server, sent: bytes) -> None:
    try:
        raw(server, sent)
    except ConnectionError:
        pass

    assert ask(server, "/here")[0] == 200


def test_a_port_that_is_taken_is_refused_in_one_line(server: Server) -> None:
    with pytest.raises(RunError, match=r"web\.port") as refused:
        Server("127.0.0.1", server.port, lambda: None, {})

    assert "\n" not in str(refused.value)


def test_many_at_once_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbell.adapters.web.server.SECONDS", 120.0)
    go_on = threading.Event()

    def waits() -> Answer:
        go_on.wait(120)
        return Answer(200, "text/plain", "")

    server = Server("127.0.0.1", 0, lambda: None, {"/": waits})
    statuses: list[int] = []

    def one() -> None:
        try:
            statuses.append(ask(server, "/")[0])
        except Unanswered:  # it was told so before it had asked
            statuses.append(503)

    threads = [threading.Thread(target=one) for _ in range(2 * ASKED_AT_ONCE)]
    for thread in threads:
        thread.start()
    while len(statuses) < ASKED_AT_ONCE:
        go_on.wait(0.01)
    go_on.set()
    for thread in threads:
        thread.join()
    server.close()

    assert statuses.count(503) == ASKED_AT_ONCE == statuses.count(200)


@pytest.mark.slow
def test_who_asks_too_slowly_is_not_waited_for(server: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    with connection, suppress(OSError):
        for _ in range(60):
            connection.sendall(b"G")
            time.sleep(0.5)
        pytest.fail("it is still waited for")

    assert ask(server, "/here")[0] == 200


def test_nobody_there_is_said() -> None:
    server = made()
    port = server.port
    server.close()

    with pytest.raises(Unanswered, match=r"refused$"):
        asked(f"http://127.0.0.1:{port}/", seconds=5, directly=True)


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://127.0.0.1/x", "nonsense"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(Unanswered):
        asked(url, seconds=5)
