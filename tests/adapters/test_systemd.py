from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from loguru import logger

from openbell.adapters.systemd import Notifier
from openbell.hidden import hide


@pytest.fixture(params=["a file", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    # Not below tmp_path: the path of a socket may be no longer than some hundred bytes.
    with TemporaryDirectory(prefix="openbell-") as folder:
        address = f"{folder}/notify"
        if request.param == "abstract":
            address = f"@openbell-test-{os.getpid()}-{Path(folder).name}"
        yield from listening_at(address)


def listening_at(address: str) -> Iterator[tuple[str, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        listening.settimeout(10)
        yield address, listening


def test_what_is_told_arrives_as_lines_of_one_datagram(
    manager: tuple[str, socket.socket],
) -> None:
    address, listening = manager

    Notifier({"NOTIFY_SOCKET": address}).tell("READY=1", "STATUS=two\nlines")

    assert listening.recv(4096) == b"READY=1\nSTATUS=two lines"


def test_what_must_not_be_shown_is_told_to_no_manager(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    hide("planted-in-a-status")

    Notifier({"NOTIFY_SOCKET": address}).tell("STATUS=no planted-in-a-status here")

    assert listening.recv(4096) == b"STATUS=no *** here"


@pytest.mark.parametrize("address", ["", "relative/path", "vsock:2:1234"])
def test_without_a_socket_nothing_is_told(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})

    notifier.tell("READY=1")

    assert not notifier
    assert notifier.watchdog_seconds is None


def test_a_manager_that_is_gone_is_told_of_once(tmp_path: Path) -> None:
    said: list[str] = []
    logger.enable("openbell")
    handler = logger.add(lambda message: said.append(message), format="{message}")
    try:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
        notifier.tell("READY=1")
        notifier.tell("WATCHDOG=1")
    finally:
        logger.remove(handler)
        logger.disable("openbell")

    assert len(said) == 1
    assert "NOTIFY_SOCKET" in said[0]


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", "this process", 30.0),
        ("30000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_a_watchdog_counts_for_the_process_that_it_names(
    usec: str, pid: str, seconds: float | None, tmp_path: Path
) -> None:
    of = str(os.getpid()) if pid == "this process" else pid
    env = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": usec, "WATCHDOG_PID": of}

    assert Notifier(env).watchdog_seconds == seconds
