"""What delivers rows as the day unfolds."""

from openbell.adapters.feeds.base import (
    ConnectionState,
    Door,
    Feed,
    FeedInfo,
    FeedOptions,
    HasHistory,
    LooksUp,
    Reconnects,
    Resubscribes,
    Rewind,
    Watches,
)
from openbell.adapters.feeds.registry import feed_types, open_feed

__all__ = [
    "ConnectionState",
    "Door",
    "Feed",
    "FeedInfo",
    "FeedOptions",
    "HasHistory",
    "LooksUp",
    "Reconnects",
    "Resubscribes",
    "Rewind",
    "Watches",
    "feed_types",
    "open_feed",
]
