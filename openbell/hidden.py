"""Texts that must not be shown: passwords, tokens, and what came from `${VAR}` or a `file:`.

They are known to the whole process, as anything in it may come to speak of one: a client's error
names the URL that it was given.
"""

from __future__ import annotations

import json
import threading
from urllib.parse import quote, unquote

LEAST = 4
"""A shorter text is none that could be kept secret, and would be found in any sentence."""

SHOWN = "***"

_lock = threading.Lock()
_hidden: tuple[str, ...] = ()
"""Longest first: one may hold another."""


def hide(text: str) -> None:
    """Have a text, and the ways in which it is spelled elsewhere, never shown."""
    global _hidden
    plain = {text, unquote(text), quote(text, safe="")}
    spelled = {of for each in plain for of in (each, _in_json(each), repr(each)[1:-1])}
    with _lock:
        known = {*_hidden, *(of for of in spelled if len(of) >= LEAST)}
        _hidden = tuple(sorted(known, key=lambda of: (-len(of), of)))


def conceal(text: str) -> str:
    """A text without what must not be shown."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, SHOWN)
    return text


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
