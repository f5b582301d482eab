"""The configuration of a command: a file, the environment, and the flags given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbell.errors import ConfigError, InputError
from openbell.runtime.cli.options import DataKind

if TYPE_CHECKING:
    from openbell.runtime.config import Config


def configuration_file(given: Path | None) -> Path | None:
    """The file that --config names, or the one in this folder, where there is one."""
    here = Path("config.yaml")
    return here if given is None and here.is_file() else given


def environment_configures() -> bool:
    return any(name in os.environ for name in ("OPENBELL_EXCHANGE", "OPENBELL_SESSIONS"))


def of_data(
    path: str,
    exchange: str | None,
    start: str | None,
    end: str | None,
    kind: DataKind | None,
    config: Path | None,
    symbols: str | None = None,
) -> tuple[Path | None, Config]:
    """The configuration's file, and what it comes to for a look at stored data."""
    file = configuration_file(config)
    if file is None and exchange is None and not environment_configures():
        raise InputError(
            "no exchange; pass --exchange NAME, e.g. XNYS or XNSE, or --config FILE to read the "
            "data as a configuration says"
        )
    settings = configuration(
        file,
        {
            "data.path": path,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "symbols": symbols,
            "backtest.start": start,
            "backtest.end": end,
            # The configuration's own have no bearing on what the data holds.
            "sessions": [{"name": "Day", "start": "open", "end": "close", "closed": "left"}],
        },
    )
    return file, settings


_set: dict[str, Any] = {}
"""What --set says, while a command runs."""


@contextmanager
def setting(given: Sequence[str]) -> Iterator[None]:
    """Have keys of configurations set, `KEY=VALUE` each, by whatever is read meanwhile.

    Raises
    ------
    InputError
        If one is not of that form.
    """
    from openbell.runtime.config.reading import written_value

    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise InputError(f'--set is "{one}"; write KEY=VALUE, e.g. --set breakout.sides=high')
        _set[key.strip()] = written_value(value.strip(), f"--set {key}")
    try:
        yield
    finally:
        _set.clear()


_FLAGS = {
    "data.path": "--data",
    "data.kind": "--kind",
    "exchange": "--exchange",
    "segment": "--segment",
    "symbols": "--symbols",
    "backtest.start": "--from",
    "backtest.end": "--to",
    "backtest.speed": "--speed",
    "feed.record": "--record",
}


def configuration(file: Path | None, given: dict[str, Any]) -> Config:
    """What a file, the environment and flags come to; what is wrong names its flag."""
    from openbell.runtime.config import load_config

    flags = {key: value for key, value in given.items() if value is not None}
    set_ = {f"{key}": f"--set {key}" for key in _set if key not in flags}
    try:
        return load_config(file, overrides={**_set, **flags})
    except ConfigError as error:
        by_flag = re.sub(
            r"^option: ([A-Za-z0-9_.]+)",
            lambda found: set_.get(found[1], _FLAGS.get(found[1], found[0])),
            str(error),
            flags=re.MULTILINE,
        )
        raise ConfigError(by_flag) from None


def stored_configuration(file: Path | None, given: dict[str, Any] | None = None) -> Config:
    """The configuration that says where state is: the file's, with no flag but what is given."""
    if file is None and not Path("config.yaml").is_file():
        raise no_configuration()
    return configuration(file or Path("config.yaml"), given or {})


def no_configuration() -> InputError:
    return InputError("no configuration; pass --config FILE, or --store URL where that will do")


@contextmanager
def naming(file: Path | None) -> Iterator[None]:
    """Say whose configuration it is that turns out not to fit."""
    try:
        yield
    except ConfigError as error:
        if file is None:
            raise
        by_name = f"{file}: "
        lines = (
            line if line.startswith(by_name) else f"{by_name}{line}"
            for line in str(error).splitlines()
        )
        raise ConfigError("\n".join(lines)) from None
