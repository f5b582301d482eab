"""The sinks of a configuration, opened with their secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from openbell.adapters.deliveries import Sink, SinkOptions, open_sink
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.messages.events import KINDS
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
        _check_kinds(of.events)
        given: Mapping[str, Any] = filled_in(dict(of.options), "options")
        options = SinkOptions(config.name, of.called, of.timeout_seconds.seconds, given)
        return open_sink(of.type, options)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None


def _check_kinds(events: Sequence[str]) -> None:
    groups = {kind.partition(".")[0] for kind in KINDS}
    for at, name in enumerate(events):
        if name not in KINDS and name not in groups:
            near = get_close_matches(name, [*KINDS, *groups], n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(KINDS)}"
            raise ConfigError(f'events[{at}] is "{name}", no kind of event; {advice}')
