"""The runbook has a line for each warning and error that the program can say, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from openbell.messages.events import KINDS

ROOT = Path(__file__).parents[1]
FOLDERS = ("actors", "adapters", "market", "messages", "runtime")
LEVELS = ("warning", "error", "exception", "critical")

PASSED_ON = {
    ("runtime/lifetime/embedded.py", "…"): "what a store says of its set-up",
    ("runtime/lifetime/run.py", "…"): "rows that came too late, and what sinks have not taken",
    ("runtime/lifetime/keeping.py", "…"): "why the recording was not written",
}
"""Lines that are made elsewhere; their texts stand in `MADE`."""

MADE = {
    "runtime/lifetime/keeping.py": ["the recording in … was not written: …"],
    "runtime/lifetime/changes.py": [
        "… had ended before the data got … more of its …, which are left out; to run the day with "
        + "them, give the configuration another name, or delete the state (openbell state delete)"
    ],
    "runtime/delivery/deliveries.py": ["sink …: … signal…; … delivers what waits"],
    "adapters/stores/redis.py": [
        "…: appendonly is no: what was acknowledged is lost when the server ends; "
        + "set appendonly yes",
        "…: appendfsync is …: a power cut loses what was acknowledged in the last second; "
        + "set appendfsync always (the end of the process alone loses nothing)",
        "…: maxmemory-policy is …: the server may drop state when its memory is full; "
        + "set maxmemory-policy noeviction",
        "…: the server is a …: it can be read but not written to",
    ],
}
"""By the file that makes them."""

BY_LEVEL = {"…: …": "`…: …` of level ERROR, with a traceback", "…: … → …, …": "`…: … → TIMEOUT, …`"}
"""Lines without a word of their own, and how the runbook has them."""


def plain(template: str) -> str:
    """With `…` for what differs."""
    return re.sub(r"\{[^{}]*\}", "…", template)


def said_in(path: Path) -> Iterator[str]:
    """What a file says to the log at WARNING and above, or at a level that is not written out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        of, name = ast.unparse(node.func.value), node.func.attr
        if not re.match(r"logger\b|told$|about$|_about\(", of) or name not in (*LEVELS, "log"):
            continue
        template = node.args[1 if name == "log" else 0]
        assert isinstance(template, ast.Constant), f"{path}: {ast.unparse(node)}: write it out"
        yield plain(str(template.value))


def files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def runbook() -> list[str]:
    """The first column of its tables."""
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8").split("\n## Runbook\n")[1]
    cells = re.findall(r"^\| (`.+?) \| ", text, re.MULTILINE)
    assert len(cells) == len(set(cells))
    return cells


def wanted() -> set[str]:
    """As the runbook's first column should be."""
    kinds = {f"`{name}: …`" for name, kind in KINDS.items() if kind.level in ("WARNING", "ERROR")}
    lines = {text for texts in MADE.values() for text in texts}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        lines |= {text for text in said_in(path) if (name, text) not in PASSED_ON}
    return kinds | {BY_LEVEL.get(text, f"`{text}`") for text in lines}


def test_each_line_that_the_log_may_have_stands_in_the_runbook() -> None:
    assert sorted(wanted() - {*runbook()}) == []


def test_the_runbook_has_no_line_that_is_never_said() -> None:
    assert sorted({*runbook()} - wanted()) == []


def test_lines_that_are_made_elsewhere_are_made_there() -> None:
    for name, texts in MADE.items():
        source = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        made = [written(node) for node in ast.walk(source)]
        for text in texts:
            pieces = [piece for piece in text.removeprefix("…: ").split("…") if piece.strip(" :;")]
            found = [of for of in made if all(piece in of for piece in pieces)]
            assert found, f"{name}: {text}"


def written(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(part) for part in node.values)
    return "…" if isinstance(node, ast.FormattedValue) else ""


def test_what_is_passed_on_is_still_said() -> None:
    said = {(path.relative_to(ROOT).as_posix(), text) for path in files() for text in said_in(path)}

    assert {*PASSED_ON} <= said
    assert {*BY_LEVEL} <= {text for _, text in said}
