"""Makes docs/api.md from docstrings: `python tests/api_reference.py`."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import openbell
import openbell.errors

PAGE = Path(__file__).parents[1] / "docs" / "api.md"

HEAD = """# API reference

Made from the docstrings by `tests/api_reference.py`. What it is for, and examples, are in
[embedding.md](embedding.md); `openbell.testing` is in [testing.md](testing.md), feeds of one's own in
[feeds.md](feeds.md). Nothing else is public: other names may change with any version.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in openbell.__all__:
        value = getattr(openbell, name)
        parts.append(_entry(f"openbell.{name}", value, "##"))
        if inspect.isclass(value) and name != "Config":  # its keys are in configuration.md
            parts += [_entry(of, member, "###") for of, member in _members(value)]
    parts.append("## Errors\n")
    for name, value in vars(openbell.errors).items():
        if inspect.isclass(value) and issubclass(value, Exception):
            base = value.__mro__[1].__name__
            parts.append(f"- `openbell.errors.{name}` ({base}): {_first(value)}")
    return "\n".join(parts).rstrip() + "\n"


def _members(of: type) -> list[tuple[str, Any]]:
    return [
        (name, member)
        for name, member in vars(of).items()
        if not name.startswith("_")
        and isinstance(member, classmethod | property | type(_members))
        and inspect.getdoc(member.__func__ if isinstance(member, classmethod) else member)
    ]


def _entry(name: str, value: Any, level: str) -> str:
    of = value.__func__ if isinstance(value, classmethod) else value
    shown = _signature(of)
    call = f"```python\n{name.rpartition('.')[2]}{shown}\n```\n\n" if shown else ""
    return f"{level} `{name}`\n\n{call}{_text(inspect.getdoc(of) or '')}\n{_fields(of)}"


def _fields(of: Any) -> str:
    if not (inspect.isclass(of) and is_dataclass(of)):
        return ""
    return "\n" + "\n".join(f"- `{field.name}`: {field.type}" for field in fields(of)) + "\n"


def _signature(of: Any) -> str:
    if isinstance(of, property) or (inspect.isclass(of) and of is not openbell.Runtime):
        return ""
    signature = inspect.signature(of)
    kept = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    # Annotations are kept as texts; they read better as what they are.
    return re.sub(r"(: |-> )(['\"])(.*?)\2", r"\1\3", str(signature.replace(parameters=kept)))


def _first(of: Any) -> str:
    return " ".join((inspect.getdoc(of) or "").split("\n\n")[0].split())


def _text(doc: str) -> str:
    """numpydoc as Markdown: sections in bold, their entries as a list, code as code."""
    doc = re.sub(r"(?m)^(\w[\w ]*)\n-{3,}\n", r"\n**\1**\n\n", doc)
    found, in_list, in_code = [], False, False
    for line in doc.split("\n"):
        if line.startswith("**"):
            in_list = True
        elif in_list and line and not line.startswith(" "):
            line = f"- {_code(line)}"
        elif in_list and line:
            line = f"  {line.strip()}"
        elif not in_list and (line.startswith("    ") != in_code) and (line or not in_code):
            found.append("```python" if not in_code else "```\n")
            in_code = not in_code
        found.append(line[4:] if in_code else line)
    if in_code:
        found.append("```")
    text = re.sub(r"\n+```\n", "\n```\n", "\n".join(found))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _code(line: str) -> str:
    name, colon, kind = line.partition(" : ")
    return f"`{name}`: {kind}" if colon else line


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name}: {len(page().splitlines())} lines", file=sys.stderr)


if __name__ == "__main__":
    main()
