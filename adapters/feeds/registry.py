"""Which feed a type names, and what opens it."""

from __future__ import annotations

from collections.abc import Callable

from openbell.adapters.feeds.base import Feed, FeedOptions
from openbell.adapters.plugins import installed, loaded
from openbell.errors import ConfigError

GROUP = "openbell.feeds"

Opener = Callable[[FeedOptions], Feed]


def feed_types() -> tuple[str, ...]:
    """The types that are installed, sorted."""
    return tuple(sorted(installed(GROUP)))


def open_feed(of_type: str, options: FeedOptions) -> Feed:
    """The feed that a type names; it connects when it is run.

    A package adds one by an entry point of the group `openbell.feeds`, named like the type, that
    leads to a function `(options: FeedOptions) -> Feed`.

    Raises
    ------
    openbell.errors.ConfigError
        If the type is unknown, its plug-in does not load, or it refuses its options.
    """
    found = installed(GROUP)
    if of_type not in found:
        raise ConfigError(
            f'feed.type is "{of_type}", which is not installed; write one of '
            f"replay, push, {', '.join(sorted(found))}"
        )
    opener: Opener = loaded(found[of_type], "feed.type")
    return opener(options)
