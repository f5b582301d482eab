"""Where signals are sent as they become durable: by HTTP, to another server, to a command, …"""

from openbell.adapters.deliveries.base import (
    Failed,
    Message,
    Refused,
    Sink,
    SinkOptions,
)
from openbell.adapters.deliveries.registry import open_sink, sink_types

__all__ = ["Failed", "Message", "Refused", "Sink", "SinkOptions", "open_sink", "sink_types"]
