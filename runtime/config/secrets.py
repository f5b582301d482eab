"""Values that come from the environment or from files, and which of them must not be shown.

`${NAME}` inside a value is the environment's, `file:PATH` as a whole value is what stands in that
file. What determines the answers is kept with the state, where no secret may be: there neither is
understood, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openbell.adapters.secrets import FILE, filled_in, has_secrets
from openbell.errors import ConfigError
from openbell.hidden import hide

Loc = tuple[str | int, ...]

FILLED_IN: tuple[tuple[str, ...], ...] = (("store",), ("supervision",), ("web",))
"""Sections whose values may be such."""

LEFT: tuple[tuple[str, ...], ...] = (("feed", "options"), ("sinks",))
"""What is filled in by who uses it, when it is used: a token that is renewed there is read anew."""

SECRET_KEYS: frozenset[Loc] = frozenset({("web", "token"), ("supervision", "deadman", "url")})
"""Keys whose values are secret however they are written."""

_SECRET_NAME = re.compile(
    r"(^|_|-)(pass(word|wd|phrase)?|secret|token|(api|access|private|secret)_?key|credentials?|"
    r"authorization|auth)$",
    re.IGNORECASE,
)

Refuse = Callable[[Loc, str], None]
"""Gets the place of a value that can't be used, and what is wrong with it."""


def resolve(
    tree: Any,
    env: Mapping[str, str],
    folder: Path,
    refuse: Refuse,
    stands: Callable[[Loc], bool] = lambda loc: False,
    loc: Loc = (),
) -> Any:
    """A tree of values with each `${NAME}` and `file:PATH` replaced, and what is secret hidden.

    Parameters
    ----------
    folder : Path
        What relative paths are relative to.
    stands : callable
        Whether a value in some place is meant as it stands.
    """
    if isinstance(tree, Mapping):
        return {
            key: resolve(value, env, folder, refuse, stands, (*loc, key))
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [
            resolve(value, env, folder, refuse, stands, (*loc, place))
            for place, value in enumerate(tree)
        ]
    if not isinstance(tree, str):
        return tree
    refers = has_secrets(tree)
    if refers and _within(loc, FILLED_IN) and not stands(loc):
        anchored = tree
        if tree.startswith(FILE):
            anchored = FILE + str(folder / Path(tree.removeprefix(FILE).strip()).expanduser())
        try:
            tree = filled_in(anchored, "", env)
        except ConfigError as error:
            refuse(loc, str(error).removeprefix(": "))
            return tree
    elif refers and not _within(loc, (*FILLED_IN, *LEFT)) and "${" in tree:
        need = "write it out, or set it by its OPENBELL_… variable: what decides answers is stored"
        refuse(loc, need)
        return tree
    if _within(loc, (*FILLED_IN, *LEFT)):
        for secret in _secrets(tree, loc):
            hide(secret)
    return tree


def _within(loc: Loc, places: tuple[tuple[str, ...], ...]) -> bool:
    return any(loc[: len(place)] == place for place in places)


def _secrets(text: str, loc: Loc) -> Iterator[str]:
    """What of a value must not be shown, as it is written."""
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    of_key = any(loc[: len(key)] == key for key in SECRET_KEYS)
    if of_key or (loc[0] in ("feed", "sinks") and _SECRET_NAME.search(name)):
        yield text
    if "://" in text:
        try:
            password = urlsplit(text).password
        except ValueError:
            return
        if password:
            yield password
