"""What installed packages offer by entry points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from openbell.errors import ConfigError


def installed(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name."""
    return {point.name: point for point in entry_points(group=group)}


def loaded(point: EntryPoint, key: str) -> Any:
    """What an entry point leads to.

    Parameters
    ----------
    key : str
        Of the configuration, that names it.

    Raises
    ------
    openbell.errors.ConfigError
        If it does not load.
    """
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f'{key}: the plug-in for "{point.name}" ({point.value}) does not load ({error}); '
            "install what it needs"
        ) from None


def named(
    type_: str, key: str, group: str, points: Mapping[str, EntryPoint], others: Iterable[str]
) -> tuple[Any, str]:
    """What the entry point of a type leads to, and what it is called in a message.

    Parameters
    ----------
    key : str
        Of the configuration, that the type is of.
    points : mapping
        Those of the group, as `installed` gives them.
    others : iterable of str
        Types that need none.

    Raises
    ------
    openbell.errors.ConfigError
        If there is none of that name, or it does not load.
    """
    if type_ not in points:
        known = sorted({*others, *points})
        near = get_close_matches(type_, known, n=1)
        raise ConfigError(
            f'{key}.type is "{type_}", which is unknown'
            + (f', did you mean "{near[0]}"' if near else "")
            + f"; known are {', '.join(known)}; a package adds one by an entry point of the "
            f"group {group}, a program by passing a function"
        )
    point = points[type_]
    return loaded(point, f"{key}.type"), f'{key}.type: the plug-in for "{type_}" ({point.value})'
