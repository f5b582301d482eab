"""What delivers rows as the day unfolds."""

from openbell.adapters.feeds.base import Door, Feed, FeedOptions, Rewind
from openbell.adapters.feeds.registry import feed_types, open_feed

__all__ = ["Door", "Feed", "FeedOptions", "Rewind", "feed_types", "open_feed"]
