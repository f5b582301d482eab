"""Signals to people: Telegram, Discord, Slack, e-mail and a hundred others, by Apprise."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from openbell.adapters.deliveries.base import Failed, Message, SinkOptions
from openbell.errors import ConfigError
from openbell.hidden import hide

BUSY_SECONDS = 30.0
"""How long a service is left alone that says "too many": Apprise does not tell how long it wants."""

SIDES = {"HIGH_BREAK": "above", "LOW_BREAK": "below"}
WORDS = {"closed_beyond": "closed {}", "retest": "back at the level, from {},"}


def open_apprise(options: SinkOptions) -> AppriseSink:
    """`url`: where to, as Apprise writes it; `title`: above the lines."""
    try:
        import apprise
    except ImportError:
        raise ConfigError(
            "type: apprise needs the package apprise; run `pip install 'openbell[apprise]'`"
        ) from None
    options.only("url", "title")
    url = options.text("url", example="${TELEGRAM_URL}")
    title = options.text("title", f"openbell {options.run}")
    hide(url)  # most of these are a token as a whole
    # Nothing is loaded from files that a URL names, and nothing is kept on this host's disk.
    asset = apprise.AppriseAsset(secure_logging=True, storage_mode="memory")
    to = apprise.Apprise(asset=asset)
    if not to.add(url):
        raise ConfigError(
            "options.url is none that Apprise takes; see https://github.com/caronc/apprise/wiki"
        )
    return AppriseSink(to, title)


class AppriseSink:
    """One notification a call."""

    at_once = 1

    def __init__(self, to: Any, title: str) -> None:
        self._to = to
        self._title = title

    def deliver(self, messages: Sequence[Message]) -> None:
        import apprise

        captured: Any = apprise.LogCapture
        text = "\n".join(map(in_words, messages))
        with captured(level=logging.WARNING) as said:
            taken = self._to.notify(body=text, title=self._title, body_format="text")
            lines = said.getvalue().strip().splitlines()
        if not taken:
            why = lines[-1][:300] if lines else "Apprise could not deliver it"
            busy = re.search(r"\b429\b|too many requests", why, re.IGNORECASE)
            raise Failed(why, after_seconds=BUSY_SECONDS if busy else None)

    def close(self) -> None:
        """Does nothing: Apprise connects for each notification."""


def in_words(message: Message) -> str:
    """A signal or event in one line."""
    of = message.fields
    if message.kind == "event":
        about = [of["trading_date"], of["session"], *of["symbols"]]
        return f"{' '.join([of['kind'], *filter(None, about)])}: {of['why']}"
    word = SIDES.get(of["side"], of["side"])
    word = WORDS.get(of.get("kind", ""), "{}").format(word)
    marks = [mark for mark in ("gap", "ambiguous", "backfilled") if of.get(mark)]
    more = f" ({', '.join(marks)})" if marks else ""
    return (
        f"{of['symbol']} {of['price']:g} {word} {of['level']:g}, {of['session']}, "
        f"{of['known_at']}{more}"
    )
