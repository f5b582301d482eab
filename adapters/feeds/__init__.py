"""What delivers rows as the day unfolds."""

from openbell.adapters.feeds.base import Door, Feed, Rewind

__all__ = ["Door", "Feed", "Rewind"]
