"""Patterns of paths, as `data.files` has them: which files are read, and where their symbol stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from openbell.errors import DataError

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
OF_DAY = r"(?:T?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?|T(?:[01]\d|2[0-3])(?:[-_.][0-5]\d){1,2})Z?"
"""A time behind a date; behind a blank or the like it might be a strike."""
_DAY = (
    rf"(?:\d{{4}}[-_.]?\d\d[-_.]?\d\d{OF_DAY}"
    r"|\d{4}[-_.]?\d\d[-_.]?\d\d|\d\d[-_.]?\d\d[-_.]?\d{4}|\d{6}"
    rf"|\d\d?[-_ ]?{_MONTH}[-_ ]?\d{{4}}|\d{{4}}[-_]?W\d\d|\d{{4}}[-_]?Q\d|Q\d[-_]?\d{{4}}"
    rf"|\d{{4}}[-_. ]?{_MONTH}|{_MONTH}[-_. ]?\d{{4}}|\d{{4}}[-_.]\d\d|\d\d[-_.]\d\d|\d{{4}})"
)
_PLACES = {
    "date": rf"(?i:{_DAY}(?:[\s_.-]*(?:to)?[\s_.-]*{_DAY})?)",
    "year": r"\d{4}",
    "month": rf"(?i:\d\d?|{_MONTH})",
    "day": r"\d\d?",
}
_TOKENS = re.compile(r"\{([^{}]*)\}|(\*\*/?)|(\*)|(\?)|([^*?{]+|\{)")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A path below `data.path` with `{symbol}`, dates and wildcards in it."""

    text: str
    expression: re.Pattern[str]
    unquotes: bool
    """Whether the symbol is a hive value, whose odd letters writers spell as %2F."""

    def match(self, path: str) -> bool:
        return self.expression.fullmatch(path) is not None

    def symbol(self, path: str) -> str | None:
        """The symbol of a path that matches; None where the pattern names none."""
        found = self.expression.fullmatch(path)
        if found is None or "symbol" not in self.expression.groupindex:
            return None
        return unquote(found["symbol"]) if self.unquotes else found["symbol"]


def path_pattern(text: str) -> PathPattern:
    """A pattern as a user writes it.

    `{symbol}` is one or more characters of a name and, where it stands twice, the same twice;
    `{date}`, `{year}`, `{month}` and `{day}` are dates as names spell them; `*` and `?` are
    letters of one name, `**` also of folders.

    Raises
    ------
    openbell.errors.DataError
        If it has a name in braces that means nothing here.
    """
    text = text.removeprefix("./")
    expression, named = "", False
    for found in _TOKENS.finditer(text):
        name, deep, star, one, literal = found.groups()
        if name == "symbol":
            expression += "(?P=symbol)" if named else r"(?P<symbol>[^/]+?)"
            named = True
        elif name is not None:
            if name not in _PLACES:
                raise DataError(
                    f'data.files has "{{{name}}}" in "{text}"; write {{symbol}}, {{date}}, '
                    "{year}, {month} or {day}, and * for what may be anything"
                )
            expression += _PLACES[name]
        elif deep is not None:
            expression += "(?:.*/)?" if deep.endswith("/") else ".*"
        else:
            expression += "[^/]*" if star else "[^/]" if one else re.escape(literal)
    return PathPattern(text, re.compile(expression), "={symbol}" in text)


def matching(patterns: Sequence[PathPattern], paths: Sequence[str]) -> dict[str, PathPattern]:
    """The paths that a pattern matches, with the first one that does."""
    return {
        path: pattern
        for path in paths
        if (pattern := next((p for p in patterns if p.match(path)), None)) is not None
    }
