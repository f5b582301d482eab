"""Secrets in options: named there, read from the environment or from files, and never told."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbell.errors import ConfigError
from openbell.hidden import hide

FILE = "file:"
"""Begins a text that stands for a file's as a whole."""

_NAMED = re.compile(r"\$\{(?:file:(?P<file>[^}]+)|(?P<variable>[A-Za-z_][A-Za-z0-9_]*))\}")
_BYTES_MAX = 64 * 1024


def filled_in(
    given: Any,
    key: str,
    env: Mapping[str, str] | None = None,
    *,
    used: set[str] | None = None,
) -> Any:
    """With `${NAME}` as the environment has it, `${file:PATH}` as the file does, in all texts; one
    that is `file:PATH` as a whole is the file's.

    Parameters
    ----------
    given : Any
        A text, or a tree of lists and mappings with texts in it.
    key : str
        Where it stands, for errors.
    used : set of str, optional
        Gets what was filled in, so that it can be kept out of what is told.

    Raises
    ------
    ConfigError
        If there is no such variable, or no such file; it names them, and no value.
    """
    variables = os.environ if env is None else env

    def one(found: re.Match[str]) -> str:
        value = looked_up(found)
        hide(value)
        if used is not None and value:
            used.add(value)
        return value

    def looked_up(found: re.Match[str]) -> str:
        if name := found["variable"]:
            if name not in variables:
                raise ConfigError(f"{key}: the environment has no {name}; set it")
            return variables[name]
        path = Path(found["file"]).expanduser()
        try:
            with path.open("rb") as file:
                return file.read(_BYTES_MAX).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"{key}: {path} can't be read: {why}") from None

    if isinstance(given, str):
        return _NAMED.sub(one, f"${{{given}}}" if given.startswith(FILE) else given)
    if isinstance(given, Mapping):
        return {
            name: filled_in(of, f"{key}.{name}", variables, used=used) for name, of in given.items()
        }
    if isinstance(given, list | tuple):
        return [filled_in(of, f"{key}[{n}]", variables, used=used) for n, of in enumerate(given)]
    return given


def has_secrets(given: Any) -> bool:
    """Whether something in it is filled in from elsewhere."""
    if isinstance(given, str):
        return given.startswith(FILE) or _NAMED.search(given) is not None
    if isinstance(given, Mapping):
        return any(has_secrets(of) for of in given.values())
    return isinstance(given, list | tuple) and any(has_secrets(of) for of in given)
