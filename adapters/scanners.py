"""Which function runs a scan: a built-in one, the program's own, or a plug-in's."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

from openbell.adapters.plugins import installed, named
from openbell.errors import ConfigError
from openbell.market.history import Need
from openbell.market.scanners import BUILT_IN
from openbell.market.scans import ScanFunction, ScanSpec, lookbacks_of, options_of

GROUP = "openbell.scanners"


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan that can be run."""

    spec: ScanSpec
    """With all options, as the function gets them."""
    function: ScanFunction
    needs: tuple[Need, ...]
    """The days before that it looks at."""


def scans_of(specs: Iterable[ScanSpec], own: Mapping[str, ScanFunction] = {}) -> tuple[Scan, ...]:
    """Each scan with its function.

    A type is one of `BUILT_IN`, a name in `own` (functions that an embedding program passes), or the
    name of an entry point of the group `openbell.scanners` that leads to a function
    `(view: ScanView) -> list[Found]`.

    Raises
    ------
    openbell.errors.ConfigError
        If a type is unknown, its plug-in does not load, or its options or function can't be used.
    """
    for name, function in own.items():
        if name in BUILT_IN:
            raise ConfigError(f'scanner type "{name}" is built in; pass yours by another name')
        _check(function, f'scanner type "{name}"')
    plugins: dict[str, EntryPoint] | None = None
    found: list[Scan] = []
    for spec in specs:
        if (known := BUILT_IN.get(spec.type) or own.get(spec.type)) is None:
            # Installed packages are looked through only when something else is asked for.
            plugins = installed(GROUP) if plugins is None else plugins
            known = _plugin(spec, own, plugins)
        found.append(_ready(spec, known))
    return tuple(found)


def _ready(spec: ScanSpec, function: ScanFunction) -> Scan:
    if spec.worker == "process" and (why := _unsendable(function)) is not None:
        raise ConfigError(
            f"{spec.key}.worker is process, and no other process finds its function: {why}; define it "
            "at the top of a module that can be imported, or write worker: thread"
        )
    try:
        whole = replace(spec, options=options_of(function, spec.options))
        lookbacks = lookbacks_of(function, whole)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{spec.key}.options.{error}") from None
    return Scan(whole, function, tuple(of.need(spec.key) for of in lookbacks))


def _unsendable(function: Any) -> str | None:
    """Why another process would not find a function; None: it would."""
    if getattr(function, "__module__", None) == "__main__":
        return "it stands in the program itself that is run"
    try:
        pickle.dumps(function)
    except Exception as error:  # noqa: BLE001 an object may raise anything
        return " ".join(str(error).split())
    return None


def _plugin(
    spec: ScanSpec, own: Mapping[str, ScanFunction], plugins: Mapping[str, EntryPoint]
) -> ScanFunction:
    function: ScanFunction
    function, what = named(spec.type, spec.key, GROUP, plugins, (*BUILT_IN, *own))
    _check(function, what)
    return function


def _check(function: Any, what: str) -> None:
    if not callable(function):
        raise ConfigError(
            f"{what} is a {type(function).__name__}; give a function that takes a ScanView"
        )
