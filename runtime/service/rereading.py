"""What becomes of a configuration that is read again while its run is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from openbell.runtime.config import Config
from openbell.runtime.config.model import READ_AGAIN

Take = Callable[[Config], str | None]
"""Takes what it needs of a configuration that was read again, or says why it doesn't."""


def changes(
    config: Config, again: Config, takes: Iterable[tuple[str, Take]]
) -> tuple[Config, list[str]]:
    """Take what can be taken of a configuration that was read again.

    Parameters
    ----------
    takes : iterable
        The beginning of keys' names, and who takes a change of them; it may say why it doesn't.

    Returns
    -------
    config : Config
        The one that holds from here on.
    said : list of str
        What was taken, and what was not.
    """
    before, after = (
        dict(_leaves(config.model_dump(mode="json"))),
        dict(_leaves(again.model_dump(mode="json"))),
    )
    changed = sorted(
        key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    )
    if not changed:
        return config, ["the configuration is as it was"]
    taken: list[str] = []
    said: list[str] = []
    left: list[str] = []
    sections: dict[str, Any] = {}
    for begins, take in takes:
        keys = [key for key in changed if key.startswith(begins)]
        if not keys:
            continue
        if (why := take(again)) is not None:
            said.append(f"{', '.join(keys)}: {why}")
        else:
            taken += keys
            for key in keys:
                section, _, rest = key.partition(".")
                now = sections.get(section, getattr(config, section))
                then = getattr(again, section)
                if name := rest.partition(".")[0]:
                    then = now.model_copy(update={name: getattr(then, name)})
                sections[section] = then
        changed = [key for key in changed if key not in keys]
    for key in changed:
        of_days = key.startswith("calendar.") and key.split(".")[1] in READ_AGAIN
        if of_days and config.by_the_wall:
            said.append(f"{key}: holds for the days to come")
        else:
            left.append(key)
    if taken:
        said.insert(0, f"taken: {', '.join(taken)}")
    if left:
        said.append(f"needs a restart: {', '.join(left)}")
    return config.model_copy(update=sections), said


def _leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping) and key != "feed.options":
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value
