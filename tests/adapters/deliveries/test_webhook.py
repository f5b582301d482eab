"""A webhook: what a request holds, which answers mean what, and where it may go."""

from __future__ import annotations

import hashlib
import hmac
import runpy
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from receivers import Answer, Receiver, receiving

from openbell.adapters.deliveries import (
    Failed,
    Message,
    Refused,
    Sink,
    SinkOptions,
    addresses,
    open_sink,
)
from openbell.adapters.deliveries.addresses import is_public
from openbell.adapters.deliveries.templates import SAMPLE
from openbell.errors import ConfigError

RECEIVER = Path(__file__).parents[3] / "examples" / "webhook_receiver.py"


def opened(url: str, *, seconds: float = 5.0, **given: Any) -> Sink:
    return open_sink("webhook", SinkOptions("bot", "hook", seconds, {"url": url, **given}))


def signal(number: int = 1, **more: Any) -> Message:
    key = f"XNYS:2024-07-01:Séance 1:TEST:HIGH_BREAK:{number}"
    return Message(key, orjson.dumps({**SAMPLE, "id": key, **more}), f"{number}-0")


def delivered(receiver: Receiver, *messages: Message, **given: Any) -> None:
    with closing(opened(receiver.url, allow_private=True, **given)) as sink:
        sink.deliver(messages or [signal()])


# What is sent.


def test_a_request_is_signed_and_carries_its_key_and_the_bytes_of_the_log() -> None:
    with receiving() as receiver:
        delivered(receiver, secret="s3cret", headers={"Authorization": "Bearer x"})

    (got,) = receiver.got
    fields = dict(part.split("=") for part in got.headers["X-Openbell-Signature"].split(","))
    expected = hmac.new(b"s3cret", fields["t"].encode() + b"." + got.body, hashlib.sha256)
    assert fields["v1"] == expected.hexdigest()
    assert abs(int(fields["t"]) - time.time()) < 60
    assert got.body == signal().body
    assert got.key == "XNYS:2024-07-01:S%C3%A9ance%201:TEST:HIGH_BREAK:1"
    assert got.path == "/hook"
    assert got.headers["Authorization"] == "Bearer x"


def test_a_signature_of_another_secret_or_of_long_ago_is_not_taken() -> None:
    is_signed = runpy.run_path(str(RECEIVER))["is_signed"]
    with receiving() as receiver:
        delivered(receiver, secret="s3cret")
    (got,) = receiver.got
    header, now = got.headers["X-Openbell-Signature"], time.time()

    assert is_signed(b"s3cret", header, got.body, now)
    assert not is_signed(b"another", header, got.body, now)
    assert not is_signed(b"s3cret", header, got.body + b" ", now)
    assert not is_signed(b"s3cret", header, got.body, now + 3600)
    assert not is_signed(b"s3cret", "", got.body, now)
    assert not is_signed(b"s3cret", "t=x,v1=y", got.body, now)


@pytest.mark.parametrize(
    ("template", "body"),
    [
        (
            {"ticker": "{{ticker}}", "price": "{{close}}", "n": [1, "{{symbol}} {{level}}"]},
            b'{"ticker":"TEST","price":101.25,"n":[1,"TEST 101.0"]}',
        ),
        (
            '{"ticker": "{{ticker}}", "action": "{{action}}", "price": {{ close }}}',
            b'{"ticker":"TEST","action":"buy","price":101.25}',
        ),
        ({"c": "{{companion.price}}", "gap": "{{gap}}"}, b'{"c":null,"gap":false}'),
    ],
)
def test_a_template_gives_the_body(template: Any, body: bytes) -> None:
    with receiving() as receiver:
        delivered(receiver, body=template)

    assert receiver.got[0].body == body


def test_a_name_with_quotes_in_it_breaks_no_template() -> None:
    with receiving() as receiver:
        for template in ({"s": "{{session}}"}, '{"s": "{{session}}"}'):
            delivered(receiver, signal(session='a "b" \\ {{id}}'), body=template)

    assert [got.fields for got in receiver.got] == [{"s": 'a "b" \\ {{id}}'}] * 2


def test_a_digest_has_all_signals_and_the_same_key_whenever_it_is_sent() -> None:
    with receiving() as receiver:
        for _ in range(2):
            delivered(receiver, signal(1), signal(2))
        delivered(receiver, signal(1), signal(3))

    first, again, other = receiver.got
    assert [of["id"] for of in first.fields["signals"]] == [signal(1).id, signal(2).id]
    assert (first.key, first.body) == (again.key, again.body)
    assert other.key != first.key


# Answers.


@pytest.mark.parametrize(
    ("answer", "kind", "after"),
    [
        (Answer(500, body=b"no \x00 luck\nat all"), Failed, None),
        (Answer(302, {"Location": "http://127.0.0.1:1/"}), Failed, None),
        (Answer(401), Failed, None),
        (Answer(409), Refused, None),
        (Answer(422), Refused, None),
        (Answer(429, {"Retry-After": "7"}), Failed, 7.0),
        (Answer(429, body=b'{"retry_after": 0.25}'), Failed, 0.25),
        (Answer(429, body=b'{"ok":false,"parameters":{"retry_after":35}}'), Failed, 35.0),
        (Answer(503, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}), Failed, 0.0),
        (Answer(503, {"Retry-After": "999999999"}), Failed, 3600.0),
        (Answer(503, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 -0000"}), Failed, None),
        (Answer(503, {"Retry-After": "-1"}), Failed, None),
        (Answer(429, body=b'{"retry_after": 1e999}' + b"[" * 5000), Failed, None),
        (Answer(429, {"Retry-After": "soon"}, b"[1]"), Failed, None),
        (Answer(closes=True), Failed, None),
    ],
)
def test_what_an_answer_means(answer: Answer, kind: type[Failed], after: float | None) -> None:
    with receiving(lambda _: answer) as receiver, pytest.raises(Failed) as raised:
        delivered(receiver)

    assert type(raised.value) is kind
    assert raised.value.after_seconds == after
    assert str(raised.value).isprintable()
    assert len(receiver.got) == 1, "a redirect is not followed"


def test_who_hangs_is_given_up_after_the_time_it_may_take() -> None:
    with receiving(lambda _: Answer(hangs=True)) as receiver:
        sink = opened(receiver.url, seconds=0.2, allow_private=True)
        with closing(sink), pytest.raises(Failed, match="no answer"):
            sink.deliver([signal()])


def test_a_delivery_under_way_is_broken_off_when_its_sink_is_closed() -> None:
    with receiving(lambda _: Answer(hangs=True)) as receiver:
        sink = opened(receiver.url, seconds=600.0, allow_private=True)
        failed: list[BaseException] = []

        def deliver() -> None:
            try:
                sink.deliver([signal()])
            except Failed as error:
                failed.append(error)

        thread = threading.Thread(target=deliver)
        thread.start()
        receiver.wait(lambda: len(receiver.got) == 1)
        sink.close()
        thread.join(120)

        assert not thread.is_alive()
        assert len(failed) == 1


def test_who_answers_a_byte_at_a_time_is_given_up_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                try:
                    while not over.wait(0.02):
                        connection.sendall(b"X")
                except OSError:
                    pass

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        began = time.monotonic()
        sink = opened(url, seconds=0.3, allow_private=True)
        with closing(sink), pytest.raises(Failed):
            sink.deliver([signal()])
        over.set()
        thread.join()

    assert time.monotonic() - began < 60


def test_a_connection_serves_many_and_one_that_was_closed_is_made_anew() -> None:
    with (
        receiving(lambda n: Answer(closes=n == 1)) as receiver,
        closing(opened(receiver.url, allow_private=True)) as sink,
    ):
        sink.deliver([signal(1)])
        with pytest.raises(Failed):
            sink.deliver([signal(2)])
        sink.deliver([signal(2)])

    assert len(receiver.got) == 3


# Where it may go.


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "fe80::1", "fc00::1", "::"),
        *("::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "ff02::1", "::ffff:10.0.0.1"),
    ],
)
def test_addresses_of_private_ranges_are_no_public_ones(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_a_private_target_is_refused_and_gets_nothing() -> None:
    with receiving() as receiver:
        url = receiver.url.replace("http://127.0.0.1", "https://localhost")
        with closing(opened(url)) as sink, pytest.raises(Refused, match="allow_private"):
            sink.deliver([signal()])

    assert receiver.got == []


def test_a_name_that_has_another_address_a_moment_later_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    connected: list[Any] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebinds.example":
            return real(host, port, *args, **kwargs)
        asked.append(host)
        address = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return real(address, port, *args, **kwargs)

    def refusing(self: socket.socket, address: Any) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError("not in tests")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket.socket, "connect", refusing)
    with closing(opened("https://rebinds.example/")) as sink:
        for _ in range(2):
            with pytest.raises(Failed):
                sink.deliver([signal()])

    assert connected == ["8.8.8.8"], "the second time it is refused before it connects"
    assert len(asked) == 2


def test_one_public_address_among_private_ones_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (of, 443)) for of in ("10.0.0.1", "8.8.8.8")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)

    assert addresses.address_of("two.example", 443, allow_private=False) == "8.8.8.8"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Receiver]:
    with receiving() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        # Each connection's own thread shakes hands, so that one that fails holds up nobody.
        receiver.server.socket = context.wrap_socket(
            receiver.server.socket, server_side=True, do_handshake_on_connect=False
        )
        yield receiver


def test_tls_goes_by_the_name_though_the_address_is_connected_to(
    secure: Receiver, authority: trustme.CA, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    url = secure.url.replace("http://127.0.0.1", "https://localhost")

    with closing(opened(url, allow_private=True, ca=str(ca))) as sink:
        sink.deliver([signal()])
    by_address = opened(url.replace("localhost", "127.0.0.1"), allow_private=True, ca=str(ca))
    for other in (by_address, opened(url, allow_private=True)):
        with closing(other), pytest.raises(Failed):
            other.deliver([signal()])

    assert len(secure.got) == 1


# What can't be used.


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "options.url is missing"),
        ({"url": "ftp://a"}, "no URL"),
        ({"url": "https://exämple.com"}, "no URL"),
        ({"url": "https://example.com/a b"}, "no URL"),
        ({"url": "http://example.com"}, "allow_private"),
        ({"url": "https://u:p@example.com"}, "Authorization"),
        ({"url": "https://a:99999/"}, "no URL"),
        ({"url": "https://a", "urll": 1}, 'did you mean "url"'),
        ({"url": "https://a", "allow_private": "yes"}, "true or false"),
        ({"url": "https://a", "headers": {"Host": "b"}}, "set by openbell"),
        ({"url": "https://a", "headers": {"A b": "c"}}, "no name"),
        ({"url": "https://a", "headers": {"A": "c\r\nB: d"}}, "printable"),
        ({"url": "https://a", "body": {"a": "{{simbol}}"}}, "did you mean {{symbol}}"),
        ({"url": "https://a", "body": '{"a": {{symbol}}}'}, "gives no JSON"),
        ({"url": "https://a", "body": 5}, "no template"),
        ({"url": "https://a", "secret": ""}, "options.secret"),
    ],
)
def test_options_that_cannot_be_used_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        open_sink("webhook", SinkOptions("bot", "hook", 5.0, given))

    assert said in str(raised.value)
