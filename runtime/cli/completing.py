"""What a shell completes: names that stand in the configuration. A mistake in it completes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer


def sessions(context: typer.Context, incomplete: str) -> list[str]:
    return _beginning(incomplete, (of.get("name") for of in _list(context, "sessions")))


def symbols(context: typer.Context, incomplete: str) -> list[str]:
    return _beginning(incomplete, _list(context, "symbols"))


def scans(context: typer.Context, incomplete: str) -> list[str]:
    return _beginning(incomplete, (of.get("name") for of in _list(context, "scanners")))


def sinks(context: typer.Context, incomplete: str) -> list[str]:
    named = (of.get("name") or of.get("type") for of in _list(context, "sinks"))
    return _beginning(incomplete, named)


def names(context: typer.Context, incomplete: str) -> list[str]:
    """Of the run that the configuration is of."""
    return _beginning(incomplete, [_written(context).get("name", "default")])


def kinds(incomplete: str) -> list[str]:
    """Of events, and the groups of them."""
    from openbell.messages.events import KINDS

    groups = {kind.partition(".")[0] for kind in KINDS}
    return _beginning(incomplete, sorted({*KINDS, *groups}))


def signal_kinds(incomplete: str) -> list[str]:
    from openbell.market.kinds import KINDS

    return _beginning(incomplete, KINDS)


def _beginning(incomplete: str, found: Any) -> list[str]:
    return [name for name in found if isinstance(name, str) and name.startswith(incomplete)]


def _list(context: typer.Context, key: str) -> Iterator[Any]:
    found = _written(context).get(key)
    entries = found if isinstance(found, list) else []
    return (of for of in entries if isinstance(of, str if key == "symbols" else dict))


def _written(context: typer.Context) -> dict[str, Any]:
    """The configuration as it is written, of --config or of this folder."""
    import yaml

    of: Any = context
    given = None
    while of is not None and given is None:
        given, of = of.params.get("config"), of.parent
    try:
        with Path(given or "config.yaml").open(encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
