"""Feeds that look up often, so that tests do not wait for them."""

from __future__ import annotations

import pytest

from openbell.adapters.feeds import connected


@pytest.fixture(autouse=True)
def _looks_up_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(connected, "PAUSE_SECONDS", 0.05)
