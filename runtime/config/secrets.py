"""Values that come from the environment or from files, and which of them must not be shown.

`${NAME}` inside a value is the environment's, `file:PATH` as a whole value is what stands in that
file, without the line break at its end. Both are understood where a value is kept with no state:
what determines the answers is stored, and a secret must not be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openbell.hidden import hide

Loc = tuple[str | int, ...]

UNDERSTOOD: tuple[tuple[str, ...], ...] = (
    ("store",),
    ("feed", "options"),
    ("sinks",),
    ("supervision",),
    ("web",),
)
"""Sections whose values may be such."""

SECRET_KEYS: frozenset[Loc] = frozenset({("web", "token"), ("supervision", "deadman", "url")})
"""Keys whose values are secret however they are written."""

BYTES_MAX = 65_536

_REFERENCE = re.compile(r"\$(\$?)\{([^{}]*)\}")
_SECRET_NAME = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|key|credentials?|authorization|auth)$", re.IGNORECASE
)
_FILE = re.compile(r"file:(?!//)")

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
    if not isinstance(tree, str) or stands(loc):
        return tree
    refers = any(not found[1] for found in _REFERENCE.finditer(tree)) or _FILE.match(tree)
    if not _understood(loc):
        if refers:
            refuse(
                loc,
                "a value that is kept with the state can't come from elsewhere; write it out, or "
                "set it by its OPENBELL_… variable",
            )
        return tree
    if not refers:
        text = _REFERENCE.sub(lambda found: found[0][1:], tree)
        for secret in _secrets(text, loc):
            hide(secret)
        return text
    try:
        text = _from_file(tree, folder) if _FILE.match(tree) else _from_env(tree, env)
    except ValueError as error:
        refuse(loc, str(error))
        return tree
    for secret in _secrets(text, loc):
        hide(secret)
    return text


def _understood(loc: Loc) -> bool:
    return any(loc[: len(place)] == place for place in UNDERSTOOD)


def _secrets(text: str, loc: Loc) -> Iterator[str]:
    """What of a value must not be shown, as it is written."""
    name = next((part for part in reversed(loc) if isinstance(part, str)), "")
    if loc in SECRET_KEYS or (loc[:1] != ("store",) and _SECRET_NAME.search(name)):
        yield text
    if "://" in text:
        try:
            password = urlsplit(text).password
        except ValueError:
            return
        if password:
            yield password


def _from_env(text: str, env: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        name = found[2]
        if not env.get(name):
            raise ValueError(f"the environment has no {name or 'name there'}; set it")
        hide(env[name])
        return env[name]

    return _REFERENCE.sub(value, text)


def _from_file(text: str, folder: Path) -> str:
    path = folder / Path(text.removeprefix("file:").strip()).expanduser()
    try:
        with path.open("rb") as file:
            found = file.read(BYTES_MAX + 1)
        secret = found.decode()
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}; check the file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8; save it as UTF-8") from None
    if len(found) > BYTES_MAX:
        raise ValueError(f"{path} has more than {BYTES_MAX:,} bytes; name the right file")
    secret = secret.rstrip("\r\n")
    if not secret.strip():
        raise ValueError(f"{path} is empty; write the secret there")
    hide(secret)
    return secret
