"""Which sink a type names, and what opens it."""

from __future__ import annotations

from collections.abc import Callable

from openbell.adapters.deliveries.base import Sink, SinkOptions
from openbell.adapters.plugins import installed, loaded
from openbell.errors import ConfigError

GROUP = "openbell.sinks"

Opener = Callable[[SinkOptions], Sink]


def sink_types() -> tuple[str, ...]:
    """The types that are installed, sorted."""
    return tuple(sorted(installed(GROUP)))


def open_sink(of_type: str, options: SinkOptions) -> Sink:
    """The sink that a type names; it connects when it first delivers.

    A package adds one by an entry point of the group `openbell.sinks`, named like the type, that
    leads to a function `(options: SinkOptions) -> Sink`.

    Raises
    ------
    openbell.errors.ConfigError
        If the type is unknown, its plug-in does not load, or it refuses its options.
    """
    found = installed(GROUP)
    if of_type not in found:
        raise ConfigError(
            f'type is "{of_type}", which is not installed; write one of {", ".join(sorted(found))}'
        )
    opener: Opener = loaded(found[of_type], "type")
    return opener(options)
