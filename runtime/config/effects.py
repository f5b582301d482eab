"""What this version does with the keys of a configuration: the word of `config check`, and of a run.

The configuration knows keys of what is still to come. One that would change what comes out is
refused by whoever runs it; one that would not is named by `config check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import BaseModel

from openbell.errors import ConfigError, way_out
from openbell.hidden import conceal
from openbell.runtime.config.model import ROW_RULES, Config

FEEDS = ("replay", "push")
"""Values of `feed.type` that are no plug-ins."""

WITHOUT_EFFECT = ("upkeep.check_interval_seconds",)
"""Keys that this version does not act on."""

Door = Literal["run", "backtest"]

_SIGNALS_ARE = ("in signals.jsonl of --out", "from the result's signals, or signals()")
"""Where they are read of what keeps no state, at the command line and in a program."""


class Effect(NamedTuple):
    """Of one key that a configuration sets."""

    key: str
    value: str
    does: str


def accept(
    config: Config, door: Door, *, data: object = None, keeps_state: bool | None = None
) -> None:
    """Refuse what this version can't do: it leaves nothing out silently that was asked for.

    Parameters
    ----------
    door : `run` keeps its state, and is what a `Runtime` over files does; `backtest` leaves none
    data : what comes instead of `data.path`, if anything does
    keeps_state : whether a sink can go on where it was; None: where it is `run`

    Raises
    ------
    ConfigError
        With one line a problem.
    """
    problems = []
    if door == "run" and config.feed.type not in FEEDS:
        from openbell.adapters.feeds import feed_types  # looks at what is installed

        known = (*FEEDS, *feed_types())
        if config.feed.type not in known:
            problems.append(
                f'feed.type is "{config.feed.type}"; installed are {", ".join(known)}: write one '
                "of them"
            )
    if (
        config.data.path is None
        and data is None
        and not (door == "run" and config.feed.type != "replay")
    ):
        problems.append("data.path is missing; name a file or folder with minutes or ticks")
    if door == "run" and keeps_state is not False:
        if config.feed.record is not None and config.feed.type == "replay":
            problems.append(
                "feed.record is set, and feed.type is replay: those rows are stored already; leave "
                "it out"
            )
        problems += _sinks_that_cannot_be_opened(config)
    else:
        for place, sink in enumerate(config.sinks):
            problems.append(
                f'sinks[{place}] is "{sink.type}"; what keeps no state sends signals nowhere: leave '
                f"it out{way_out(' (--set sinks=[])', '')}, and read them {way_out(*_SIGNALS_ARE)}"
            )
    if problems:
        raise ConfigError("\n".join(problems))


def _sinks_that_cannot_be_opened(config: Config) -> Iterator[str]:
    if not config.sinks:
        return
    from openbell.runtime.config.sinks import opened_sink  # looks at what is installed

    for place in range(len(config.sinks)):
        try:
            opened_sink(config, place).close()
        except ConfigError as error:
            yield str(error)


def effects(config: Config) -> Iterator[Effect]:
    """What each key that was set does; of `sessions`, nothing."""
    for key, value in _set(config.model_dump(mode="json", exclude_unset=True)):
        if key.startswith("sessions"):
            continue
        if any(f"{key}.".startswith(f"{of}.") for of in WITHOUT_EFFECT):
            does = "nothing in this version"
        else:
            does = _description(key)
            if key.startswith("backtest."):
                does = f"In a backtest. {does}"
            elif key.startswith("feed.") and key.removeprefix("feed.") not in ROW_RULES:
                does = f"In a run that keeps its state. {does}"
        yield Effect(key, _without_password(conceal(_spelled(value))), does)


def _without_password(text: str) -> str:
    return re.sub(r"(://[^/@\s]*:)[^/@\s]*@", r"\1***@", text)


def _set(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping) and value and _model_at(key) is not None:
            yield from _set(value, f"{key}.")
        else:
            yield key, value


def _spelled(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{len(value)} set" if value else "none"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _model_at(key: str) -> type[BaseModel] | None:
    model: type[BaseModel] = Config
    for name in key.split("."):
        field = model.model_fields.get(name)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        below = next(
            (of for of in kinds if isinstance(of, type) and issubclass(of, BaseModel)), None
        )
        if below is None:
            return None
        model = below
    return model


def _description(key: str) -> str:
    above, _, name = key.rpartition(".")
    model = _model_at(above) if above else Config
    field = model.model_fields.get(name) if model is not None else None
    return (field.description or "") if field is not None else ""
