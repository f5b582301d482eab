"""What installed packages offer by entry points."""

from __future__ import annotations

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
