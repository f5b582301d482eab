"""Logins that are refused: renewed by who can, and never asked for in a loop."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from openbell.errors import ConfigError
from openbell.market.days import SECOND_NS
from openbell.runtime.intake import renewal
from openbell.runtime.intake.renewal import Renewal, by_command

PATIENCE_SECONDS = 120.0


class Vendor:
    """Accepts a login once it was renewed so many times."""

    def __init__(self, renew: Any, *, accepts_after: int = 1) -> None:
        self.auth, self.left = True, accepts_after
        self.told: list[str] = []
        self.connects = 0
        self.over = threading.Event()
        self.renewal = Renewal(renew, self.connect, lambda: self.auth, self.tell, "ws")

    def tell(self, kind: str, why: str, **facts: Any) -> None:
        self.told.append(kind)

    def connect(self) -> None:
        self.connects += 1
        self.left -= 1
        if self.left <= 0:
            self.auth = False
            self.renewal.accepted()
            self.over.set()

    def refuse(self) -> None:
        self.renewal.refused("403 Forbidden")
        assert self.over.wait(PATIENCE_SECONDS)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "PAUSE_SECONDS", 0.01)


def test_a_login_is_renewed_once_and_the_feed_connects_anew() -> None:
    asked: list[str] = []

    def renew(why: str) -> None:
        asked.append(why)

    vendor = Vendor(renew)
    vendor.refuse()

    assert asked == ["403 Forbidden"]
    assert (vendor.connects, vendor.told) == (1, ["feed.renewed"])


def test_what_could_not_be_renewed_is_told_and_tried_again_without_connecting() -> None:
    fails = 3

    def renew(why: str) -> None:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise OSError("no network")

    vendor = Vendor(renew)
    vendor.refuse()

    assert vendor.connects == 1
    assert vendor.told == ["feed.auth"] * 3 + ["feed.renewed"]


def test_a_login_that_is_refused_again_is_renewed_again() -> None:
    vendor = Vendor(lambda why: None, accepts_after=3)
    vendor.refuse()

    assert vendor.connects == 3


def test_a_command_renews_gets_the_reason_and_says_until_when(tmp_path: Path) -> None:
    token = tmp_path / "token"
    script = (
        "import os, pathlib, sys;"
        "pathlib.Path(sys.argv[1]).write_text(os.environ['OPENBELL_REASON']);"
        "print('a line'); print('2024-07-02T06:00:00+05:30')"
    )
    vendor = Vendor(by_command([sys.executable, "-c", script, str(token)]))

    vendor.refuse()

    assert token.read_text() == "403 Forbidden"
    until = datetime(2024, 7, 2, 0, 30, tzinfo=UTC)
    assert vendor.renewal.expires_ns == until.timestamp() * SECOND_NS


def test_a_command_that_fails_is_told_by_what_it_says() -> None:
    renew = by_command([sys.executable, "-c", "import sys; sys.exit('the key is gone')"])

    with pytest.raises(RuntimeError, match="ended with code 1: the key is gone"):
        renew("403")


def test_a_command_that_is_not_there_is_named_before_it_is_needed() -> None:
    with pytest.raises(ConfigError, match=r'feed\.renew: there is no "\./nowhere\.sh" that .*path'):
        by_command(["./nowhere.sh"])
