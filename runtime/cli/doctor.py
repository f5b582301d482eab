"""`openbell doctor`: whether all is there that a run needs, and what to mend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import ConfigError, StoreError
from openbell.runtime.cli.configured import stored_configuration
from openbell.runtime.cli.exits import EXIT_FAILURE
from openbell.runtime.cli.options import ConfigFile, Json
from openbell.runtime.cli.words import counted, one_line

if TYPE_CHECKING:
    from openbell.runtime.config import Config
    from openbell.runtime.doctor.findings import Finding

WIDTH = 80


def doctor(
    config: ConfigFile = None,
    out: Annotated[
        str | None,
        typer.Option(help="Where results go, as of `openbell run --out`.", metavar="DIR"),
    ] = None,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Connect to the feed although a run is at it; some vendors cut that."
        ),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 at a warning too.")] = False,
    json: Json = False,
) -> None:
    """Look whether all is in order for a run, and say what to mend; it changes nothing."""
    levels: list[str] = []
    for finding in _findings(config, Path(out) if out else None, connect=connect):
        levels.append(finding.level)
        if json:
            print(one_line(asdict(finding)), flush=True)
        else:
            _show(finding)
    failed, warned = levels.count("fail"), levels.count("warn")
    if not json:
        skipped = levels.count("skip")
        said = f"{counted(failed, 'failure')}, {counted(warned, 'warning')}"
        print(f"{said}, {skipped} not looked at" if skipped else said)
    if failed or (strict and warned):
        raise typer.Exit(EXIT_FAILURE)


def _findings(file: Path | None, out: Path | None, *, connect: bool) -> Iterator[Finding]:
    from openbell.hosttime import today
    from openbell.runtime.doctor import host, outside, plans, stores
    from openbell.runtime.doctor.findings import Finding, fail

    try:
        made = stored_configuration(file)
    except ConfigError as error:
        for line in str(error).splitlines():
            said, _, mend = line.partition("; ")
            yield fail("configuration", said, mend or "write what it says")
        yield Finding("skip", "the rest", "needs a configuration that can be read")
        return
    runs = _is_run(made)
    yield from plans.configuration(made)
    yield from plans.extras(made)
    yield from plans.zones(made)
    yield from plans.calendar(made, today())
    yield from plans.instruments(made, today())
    yield from stores.store(made)
    yield from host.clock()
    yield from host.disks(made, out)
    if runs and made.feed.type not in ("replay", "push") and not connect:
        yield Finding(
            "skip",
            "feed",
            "a run is at it, whose connection a second one might cut",
            "openbell status shows how it is; --connect tries all the same",
        )
    else:
        yield from outside.feed(made)
    yield from outside.sinks(made)
    yield from host.web(made, is_run=runs)
    yield from plans.units()


def _is_run(made: Config) -> bool:
    """Whether a process is at the run, as far as its store can say."""
    from openbell.runtime.cli.standing import process_of
    from openbell.runtime.lifetime.opening import open_configured_store

    try:
        opened = open_configured_store(made)
    except (StoreError, ConfigError):
        return False
    try:
        return process_of(opened.lease()) == "at work"
    except StoreError:
        return False
    finally:
        opened.close()


def _show(finding: Finding) -> None:
    import textwrap

    for text, begin in (
        (finding.said, f"{finding.level:<5}{finding.about:<14} "),
        (finding.mend, ""),
    ):
        indent = " " * 20
        arrow = f"{indent}→ "
        if text:
            for line in textwrap.wrap(
                text,
                WIDTH,
                initial_indent=begin or arrow,
                subsequent_indent=indent if begin else f"{indent}  ",
                break_long_words=False,
                break_on_hyphens=False,
            ):
                print(line, flush=True)
