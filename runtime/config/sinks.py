"""The sinks of a configuration, opened with their secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openbell.adapters.deliveries import Sink, SinkOptions, open_sink
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.runtime.config import Config


def opened_sink(config: Config, place: int) -> Sink:
    """A sink of the configuration; it connects when it first delivers.

    Raises
    ------
    ConfigError
        Naming its key.
    """
    of = config.sinks[place]
    where = f"sinks[{place}]"
    try:
        given: Mapping[str, Any] = filled_in(dict(of.options), "options")
        options = SinkOptions(config.name, of.called, of.timeout_seconds.seconds, given)
        return open_sink(of.type, options)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
