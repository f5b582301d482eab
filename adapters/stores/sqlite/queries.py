"""The statements of queries.sql, by name.

Each begins with a line `-- name: what it is for.`, and ends where the next begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_BEGINNING = re.compile(r"^-- (?P<name>\w+): .+\n", re.MULTILINE)


def query(name: str, **filled: str) -> str:
    """A statement; `{words}` in it, such as a table, are filled in.

    Raises
    ------
    KeyError
        If there is none of that name.
    """
    text = statements("queries")[name]
    return text.format(**filled) if filled else text


@cache
def statements(file: str) -> Mapping[str, str]:
    """All statements of a file, in its order.

    Raises
    ------
    ValueError
        If two have the same name.
    """
    text = (Path(__file__).parent / f"{file}.sql").read_text(encoding="utf-8")
    begin = [*_BEGINNING.finditer(text)]
    ends = [*(found.start() for found in begin[1:]), len(text)]
    bodies = [text[found.end() : end].strip() for found, end in zip(begin, ends, strict=True)]
    named = {found["name"]: body for found, body in zip(begin, bodies, strict=True)}
    if len(named) != len(begin):
        raise ValueError(f"{file}.sql: two statements have the same name")
    return named
