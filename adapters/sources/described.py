"""What was found in text files, in words and as the keys that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openbell.adapters.sources.base import DataOptions
from openbell.adapters.sources.columns import Plan
from openbell.adapters.sources.csv import CsvFile, text_files
from openbell.adapters.sources.dialect import Dialect
from openbell.adapters.sources.registry import is_text
from openbell.adapters.sources.timetexts import looked_at
from openbell.errors import DataError

_PARTED = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}
_ZONE = "the zone of the times, which carry none, e.g. America/New_York, Asia/Kolkata or UTC"


@dataclass(frozen=True, slots=True)
class Description:
    """Files of one layout."""

    files: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    """What was found: about what, and what."""
    keys: Mapping[str, Any]
    """The keys of `data:` that say the same."""
    lacking: tuple[tuple[str, str], ...]
    """Keys that have to be written, and what they mean."""


def described(path: Path, options: DataOptions) -> list[Description]:
    """How the text files of a path are laid out; files that are alike in one description.

    Nothing is said of files in other formats.

    Raises
    ------
    openbell.errors.DataError
        If there is no file, or one can be read in more than one way.
    """
    if not path.exists() or not is_text(path, options):
        return []
    found: dict[str, list[CsvFile]] = {}
    for file in text_files(path, options):
        opened = CsvFile(file, options)
        dialect = opened.dialect
        alike = repr((dialect.delimiter, dialect.names, dialect.encoding, dialect.header))
        found.setdefault(alike, []).append(opened)
    whose = _whose([opened for alike in found.values() for opened in alike], options)
    return [_description(alike, whose, options) for alike in found.values()]


@dataclass(frozen=True, slots=True)
class _Whose:
    """What says the symbols of files without a column for it, of all files together."""

    told: str | None
    keys: Mapping[str, Any]


def _whose(files: Sequence[CsvFile], options: DataOptions) -> _Whose:
    """Never one file's symbol for all of several: that would merge them."""
    plans = [_planned(file) for file in files]
    symbols = sorted({plan.symbol for plan in plans if plan.symbol is not None})
    if any("symbol" in plan.names for plan in plans):
        return _Whose(", ".join(symbols[:4]) or None, {})
    layout = files[0].file.layout
    guessed = layout is not None and layout.has_guessed
    patterns = options.files or (layout.guessed_patterns() if layout is not None else ())
    keys: dict[str, Any] = {}
    if patterns:
        keys["files"] = patterns[0] if len(patterns) == 1 else list(patterns)
    if len(symbols) == 1 and not patterns and not guessed:
        keys["symbol"] = symbols[0]
    if options.symbol is not None:
        keys["symbol"] = options.symbol
    if len(symbols) < 2:
        return _Whose(f"{symbols[0]}, for all rows" if symbols else None, keys)
    more = f" and {len(symbols) - 4:,} more" if len(symbols) > 4 else ""
    return _Whose(f"{', '.join(symbols[:4])}{more}, each in files of its own", keys)


def _description(files: Sequence[CsvFile], whose: _Whose, options: DataOptions) -> Description:
    opened = files[0]
    dialect, plan = opened.dialect, _planned(opened)
    lines = [("text", _text(dialect)), ("times", _times(dialect, plan))]
    columns: dict[str, str] = {}
    for ours in ("symbol", *options.value_columns):
        theirs = plan.names.get(ours)
        if theirs is not None:
            columns[ours] = theirs
            lines.append((ours, f"{_quoted(theirs)}{_noted(ours, theirs, dialect)}"))
        elif ours == "symbol":
            lines.append((ours, (whose.told if plan.symbol else None) or "not told"))
        else:
            lines.append((ours, "no column, taken as 0"))
    used = {*columns.values(), *plan.parts, *plan.needed(["ts"])}
    if unread := [name for name in dialect.names if name and name not in used]:
        lines.append(("not read", ", ".join(map(_quoted, unread[:12]))))
    return Description(
        tuple(file.file.name for file in files),
        tuple(lines),
        _keys(dialect, plan, columns, options, whose.keys),
        _lacking(dialect, plan),
    )


def _planned(opened: CsvFile) -> Plan:
    """The file's plan; where a file of its own lacks only a symbol, one without it.

    In a folder a symbol for all rows may be the wrong answer, and the refusal says what else.
    """
    try:
        return opened.plan
    except DataError:
        if opened.file.layout is not None and not opened.options.files:
            raise
        whose = CsvFile(opened.file, replace(opened.options, symbol="?"))
        try:
            plan = whose.plan
        except DataError:
            pass
        else:
            return replace(plan, symbol=None)
        raise


def _text(dialect: Dialect) -> str:
    parts = [f"{dialect.encoding}, values parted by {_PARTED.get(dialect.delimiter, 'blanks')}"]
    if dialect.skip_rows:
        parts.append(
            f"{dialect.skip_rows} lines before the {'names' if dialect.header else 'rows'}"
        )
    lines = {0: "no header line", 1: "a header line"}
    parts.append(lines.get(dialect.header, f"{dialect.header} header lines"))
    if dialect.decimal != ".":
        parts.append(f"decimals with {dialect.decimal!r}")
    if dialect.thousands is not None:
        parts.append(f"thousands with {dialect.thousands!r}")
    if dialect.footer:
        parts.append("lines behind the rows that are none")
    return ", ".join(parts)


def _times(dialect: Dialect, plan: Plan) -> str:
    names = plan.needed(["ts"])
    example = " ".join(_example(dialect, name) for name in names).strip()
    told = f"{' and '.join(map(_quoted, names))}, e.g. {example}"
    content = dialect.content(names[0])
    if content == "epoch":
        return f"{told}: an epoch count in {_unit(example)}"
    if content == "zoned":
        return f"{told}: with its zone"
    if dialect.zone is not None and plan.options.timezone is None:
        return f"{told}: in {dialect.zone}, as the name says"
    if plan.zone is not None:
        return f"{told}: without a zone, read in {plan.zone}"
    return f"{told}: without a zone"


def _unit(example: str) -> str:
    digits = len(example.partition(".")[0].lstrip("-"))
    return {10: "s", 13: "ms", 16: "µs"}.get(digits, "ns")


def _example(dialect: Dialect, name: str) -> str:
    place = dialect.names.index(name)
    return dialect.first_row[place] if place < len(dialect.first_row) else ""


def _noted(ours: str, theirs: str, dialect: Dialect) -> str:
    if dialect.nanos and ours not in ("symbol", "volume", "size"):
        return ", whole numbers of 1e-9"
    if dialect.header == 0 and not dialect.named:
        return f", e.g. {_example(dialect, theirs)}"
    if ours == "volume" and "volume" in dict(dialect.roles):
        return ", as the other column of volumes is 0 throughout"
    return ""


def _quoted(name: str) -> str:
    return name if name.strip() else '"" (the column without a name)'


def _keys(
    dialect: Dialect,
    plan: Plan,
    columns: Mapping[str, str],
    options: DataOptions,
    whose: Mapping[str, Any],
) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if options.kind != "bars":
        keys["kind"] = options.kind
    if plan.zone is not None and _is_naive(dialect, plan):
        keys["timezone"] = plan.zone
    if options.bar_label != "start":
        keys["bar_label"] = options.bar_label
    keys |= whose
    csv: dict[str, Any] = {"delimiter": dialect.delimiter}
    names = {theirs: ours for ours, theirs in columns.items()}
    times = plan.needed(["ts"])
    if dialect.header == 0:
        named = [names.get(name, f"x{i + 1}") for i, name in enumerate(dialect.names)]
        for name, ours in zip(
            times, ("date", "time") if len(times) == 2 else ("ts",), strict=False
        ):
            named[dialect.names.index(name)] = ours
        csv |= {"header": "none", "names": named}
        if len(times) == 2:
            keys["columns"] = {"ts": "date time"}
    else:
        csv["header"] = dialect.header
        told = {"ts": " ".join(times), **columns}
        keys["columns"] = {ours: theirs for ours, theirs in told.items() if ours != theirs}
        if not keys["columns"]:
            del keys["columns"]
    if dialect.skip_rows:
        csv["skip_rows"] = dialect.skip_rows
    if dialect.decimal != ".":
        csv["decimal"] = dialect.decimal
    if dialect.thousands is not None:
        csv["thousands"] = dialect.thousands
    if dialect.encoding != "utf-8":
        csv["encoding"] = dialect.encoding
    if options.csv.date_order is not None:
        csv["date_order"] = options.csv.date_order
    if options.csv.time_format is not None:
        csv["time_format"] = options.csv.time_format
    return {**keys, "csv": csv}


def _is_naive(dialect: Dialect, plan: Plan) -> bool:
    name = plan.needed(["ts"])[0]
    if dialect.content(name) in ("epoch", "zoned"):
        return False
    of_day = looked_at(_example(dialect, plan.parts[1])) if plan.parts else None
    return of_day is None or not of_day.zoned


def _lacking(dialect: Dialect, plan: Plan) -> tuple[tuple[str, str], ...]:
    lacking = []
    if plan.zone is None and _is_naive(dialect, plan):
        lacking.append(("timezone", _ZONE))
    if plan.symbol is None and "symbol" not in plan.names:
        lacking.append(("symbol", "as no column tells the symbol"))
    return tuple(lacking)
