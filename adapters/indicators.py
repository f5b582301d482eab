"""Which function computes an indicator: a built-in one, the program's own, or a plug-in's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint

from openbell.adapters.plugins import installed, named
from openbell.errors import ConfigError
from openbell.market.indicators import BUILT_IN, Indicator, IndicatorSpec

GROUP = "openbell.indicators"


def indicator_functions(
    specs: Iterable[IndicatorSpec], own: Mapping[str, Indicator] = {}
) -> dict[str, Indicator]:
    """The function of each indicator, by the indicator's name.

    A type is one of `BUILT_IN`, a name in `own` (functions that an embedding program passes), or
    the name of an entry point of the group `openbell.indicators` that leads to a function
    `(trailing: Trailing) -> values`; the first that knows it counts.

    Raises
    ------
    openbell.errors.ConfigError
        If a type is unknown, its plug-in does not load, or a function can't be used.
    """
    for name, function in own.items():
        if name in BUILT_IN:
            raise ConfigError(f'indicator type "{name}" is built in; pass yours by another name')
        if not callable(function):
            raise ConfigError(
                f'indicator type "{name}" is a {type(function).__name__}; '
                "pass a function that takes a Trailing"
            )
    plugins: dict[str, EntryPoint] | None = None
    found: dict[str, Indicator] = {}
    for spec in specs:
        if (built_in := BUILT_IN.get(spec.type)) is not None:
            if spec.options:
                raise ConfigError(
                    f"{spec.key}.options has {', '.join(map(str, spec.options))}, but "
                    f"{spec.type} takes no options; leave them out"
                )
            found[spec.name] = built_in
        elif spec.type in own:
            found[spec.name] = own[spec.type]
        else:
            # Installed packages are looked through only when something else is asked for.
            if plugins is None:
                plugins = installed(GROUP)
            found[spec.name] = _plugin(spec, own, plugins)
    return found


def _plugin(
    spec: IndicatorSpec, own: Mapping[str, Indicator], plugins: Mapping[str, EntryPoint]
) -> Indicator:
    function: Indicator
    function, what = named(spec.type, spec.key, GROUP, plugins, (*BUILT_IN, *own))
    if not callable(function):
        raise ConfigError(
            f"{what} is a {type(function).__name__}; let it lead to a function that takes a Trailing"
        )
    return function
