"""The store of a command: a configuration's, or the one that an option names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import stored_configuration
from openbell.runtime.cli.words import complain

if TYPE_CHECKING:
    from openbell.adapters.stores import Store


@contextmanager
def reading(config: Path | None, url: str | None, name: str | None) -> Iterator[Store]:
    """A store to be read, with a word where there is nothing to read: a path is soon mistyped."""
    with opened_store(config, url, name) as opened:
        if not opened.head().commit:
            complain(nothing_run(name_of(config, url, name), opened))
        yield opened


def opened_store(config: Path | None, url: str | None, name: str | None) -> closing[Store]:
    from openbell.adapters.stores import open_store

    if url is None:
        if name is not None:
            raise InputError(f"--name {name}: goes with --store; a configuration has its own name:")
        # Not by runtime/lifetime, which imports all that a run needs.
        made = stored_configuration(config)
        return closing(open_store(made.store.url, made.name, replicas=made.store.replicas))
    if config is not None:
        raise InputError("--config and --store: pass one of them; a configuration names its store")
    return closing(open_store(url, name_of(config, url, name)))


def either(
    context: typer.Context, config: Path | None, url: str | None, name: str | None
) -> tuple[Path | None, str | None, str | None]:
    """Options of a command, or of the one above it: people write them at either."""
    above: tuple[Path | None, str | None, str | None] = context.obj
    return config or above[0], url if url is not None else above[1], name or above[2]


def nothing_run(name: str, opened: Store) -> str:
    return f'nothing was ever run as "{name}" in {opened.location}'


def name_of(config: Path | None, url: str | None, name: str | None) -> str:
    return stored_configuration(config).name if url is None else name or "default"


def day_state(opened: Store) -> tuple[str | None, str]:
    """The state that the trading day is in, and why: the last change that the audit trail tells."""
    import orjson

    if dead := opened.head().meta.get("error"):
        letter = orjson.loads(dead)
        about = f"{letter['actor']} failed at step {letter['step']} on {letter['message']}"
        return "ERROR", f"{about}, {letter['why']}: {letter['error']}"
    count = opened.usage().counts.get("audit", 0)
    for tail in (50, count):
        for _, entry in reversed(list(opened.audit(max(0, count - tail)))):
            fields = orjson.loads(entry)
            if fields["what"] == "day" and fields.get("from"):
                return fields["to"], fields["why"]
    return None, ""
