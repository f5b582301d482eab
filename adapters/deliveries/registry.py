"""Which sink a type names, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from openbell.adapters.deliveries.base import Sink, SinkOptions
from openbell.errors import ConfigError

GROUP = "openbell.sinks"

Opener = Callable[[SinkOptions], Sink]


def sink_types() -> tuple[str, ...]:
    """The types that are installed, sorted."""
    return tuple(sorted(_installed()))


def open_sink(of_type: str, options: SinkOptions) -> Sink:
    """The sink that a type names; it connects when it first delivers.

    A package adds one by an entry point of the group `openbell.sinks`, named like the type, that
    leads to a function `(options: SinkOptions) -> Sink`.

    Raises
    ------
    openbell.errors.ConfigError
        If the type is unknown, its plug-in does not load, or it refuses its options.
    """
    installed = _installed()
    if of_type not in installed:
        raise ConfigError(
            f'type is "{of_type}", which is not installed; write one of '
            f"{', '.join(sorted(installed))}"
        )
    point = installed[of_type]
    try:
        opener: Opener = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'type: the plug-in for "{of_type}" ({point.value}) does not load ({error}); '
            "install what it needs"
        ) from None
    return opener(options)


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
