"""Which feed a type names, and what opens it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from openbell.adapters.feeds.base import Feed, FeedOptions
from openbell.errors import ConfigError

GROUP = "openbell.feeds"

Opener = Callable[[FeedOptions], Feed]


def feed_types() -> tuple[str, ...]:
    """The types that are installed, sorted."""
    return tuple(sorted(_installed()))


def open_feed(of_type: str, options: FeedOptions) -> Feed:
    """The feed that a type names; it connects when it is run.

    A package adds one by an entry point of the group `openbell.feeds`, named like the type, that
    leads to a function `(options: FeedOptions) -> Feed`.

    Raises
    ------
    openbell.errors.ConfigError
        If the type is unknown, its plug-in does not load, or it refuses its options.
    """
    installed = _installed()
    if of_type not in installed:
        raise ConfigError(
            f'feed.type is "{of_type}", which is not installed; write one of '
            f"replay, push, {', '.join(sorted(installed))}"
        )
    point = installed[of_type]
    try:
        opener: Opener = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'feed.type: the plug-in for "{of_type}" ({point.value}) does not load ({error}); '
            "install what it needs"
        ) from None
    return opener(options)


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
