"""Answers that stay short: who reads them pays by the word. What is cut says how much there was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

TEXT_MAX = 40_000
"""Characters of an answer."""

ROWS_MAX = 500
"""Rows of an answer, whatever is asked for."""

_ITEMS = (1_000, 300, 100, 30, 10, 3)
"""Of a list or a mapping inside an answer; the first of these with which it is short enough."""

_STRING_MAX = 4_000


def as_text(value: Any) -> str:
    """A value as JSON of at most `TEXT_MAX` characters."""
    text = _json(value)
    for most in _ITEMS:
        if len(text) <= TEXT_MAX:
            return text
        text = _json(_cut(value, most))
    return shortened(text)


def shortened(text: str, most: int = TEXT_MAX) -> str:
    """A text, or as much of it as may be and how long it is."""
    if len(text) <= most:
        return text
    note = f" … cut: these are the first of {len(text):,} characters"
    return text[: most - len(note)] + note


def rows(found: Iterable[Mapping[str, Any]], limit: int) -> tuple[list[Mapping[str, Any]], bool]:
    """As many rows as fit, and whether there are more."""
    kept: list[Mapping[str, Any]] = []
    room = TEXT_MAX - 1_000  # for what stands around them
    for row in found:
        size = len(_json(row)) + 1
        if len(kept) >= min(limit, ROWS_MAX) or (kept and size > room):
            return kept, True
        room -= size
        kept.append(row)
    return kept, False


def csv(header: Iterable[str], found: Iterable[Mapping[str, Any]]) -> str:
    """A table as CSV of at most `TEXT_MAX` characters; a last line says if more was left out."""
    import csv
    import io

    out = io.StringIO()
    names = list(header)
    table = csv.writer(out, lineterminator="\n")
    table.writerow(names)
    left, shown = 0, 0
    for row in found:
        if left:
            left += 1
            continue
        before = out.tell()
        table.writerow([row.get(name) for name in names])
        if out.tell() > TEXT_MAX - 200 or shown >= 10 * ROWS_MAX:
            out.truncate(before)
            out.seek(before)
            left = 1
        else:
            shown += 1
    if left:
        out.write(
            f"# cut: {shown:,} of {shown + left:,} rows; the tools page through all of them\n"
        )
    return out.getvalue()


def _cut(value: Any, most: int) -> Any:
    match value:
        case str():
            return shortened(value, _STRING_MAX)
        case dict():
            kept = {key: _cut(of, most) for key, of in list(value.items())[:most]}
            if more := len(value) - len(kept):
                kept["…"] = f"cut: {more:,} more of {len(value):,}"
            return kept
        case list():
            return list(_cut_items(value, most))
        case _:
            return value


def _cut_items(value: list[Any], most: int) -> Iterator[Any]:
    yield from (_cut(of, most) for of in value[:most])
    if len(value) > most:
        yield f"… cut: {len(value) - most:,} more of {len(value):,}"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
