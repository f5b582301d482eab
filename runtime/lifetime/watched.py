"""Which symbols a run watches that outlives its process: what the configuration says, and what was
asked for beside it.

Additions and removals are kept with the state, and hold until they are undone: a restart with the
same configuration has the same symbols. Where the configuration names others by then, both hold: what
was added is watched beside those that it names, and what was removed is not; but a name that it did
not have and has now is watched, though it was removed before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openbell.adapters.stores import Head, Store
from openbell.messages.control import SymbolsChanged
from openbell.runtime.config import Config
from openbell.runtime.lifetime.eras import KEY as ERAS
from openbell.runtime.lifetime.eras import Era, eras_of, written

KEY = "symbols"
"""Of the store's meta."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What was asked for beside the configuration."""

    configured: tuple[str, ...] | None
    """The symbols that it named then; None: all."""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def symbols(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those that are watched, of those that the configuration names by now, sorted."""
        named = set(names)
        anew = set() if self.configured is None else named - set(self.configured)
        return tuple(sorted((named | set(self.added)) - (set(self.removed) - anew)))


def beside(meta: Mapping[str, bytes]) -> Beside | None:
    """What is kept of it; None: nothing was ever asked for."""
    if KEY not in meta:
        return None
    kept = json.loads(meta[KEY])
    configured = kept["configured"]
    return Beside(
        None if configured is None else tuple(configured),
        tuple(kept["added"]),
        tuple(kept["removed"]),
    )


def effective(config: Config, head: Head, held: Iterable[str]) -> Config:
    """The configuration with the symbols that are watched.

    Parameters
    ----------
    held : iterable of str
        All symbols that the data has.
    """
    known = beside(head.meta)
    if known is None or not (known.added or known.removed):
        return config
    named = held if config.symbols == "all" else config.symbols
    if config.symbols == "all" and not known.removed and set(known.added) <= set(named):
        return config
    return config.model_copy(update={"symbols": list(known.symbols(named))})


def changed(
    configured: Config, held: Iterable[str], eras: Sequence[Era], change: SymbolsChanged
) -> tuple[tuple[Era, ...], dict[str, bytes]]:
    """The eras when other symbols are watched, and what of it is kept.

    Parameters
    ----------
    configured : Config
        As it is written.
    held : iterable of str
        All symbols that the data has.
    """
    symbols = configured.symbols
    named = set(held) if symbols == "all" else set(symbols)
    now = set(change.followed)
    kept: dict[str, Any] = {
        "configured": None if symbols == "all" else sorted(named),
        "added": sorted(now - named),
        "removed": sorted(named - now),
    }
    last = eras[-1]
    config = {**last.config, "symbols": sorted(now)}
    if symbols == "all" and not kept["removed"] and not kept["added"]:
        config["symbols"] = "all"
    other = Era(change.since, config, change.later, contracts=last.contracts)
    if last.since == change.since:  # begun anew maybe, and its first step is known
        other = replace(other, step=last.step, base=last.base)
    made = (*(era for era in eras if era.since < change.since), other)
    return made, {ERAS: written(made), KEY: json.dumps(kept, sort_keys=True).encode()}


def watched_by(store: Store) -> list[dict[str, Any]]:
    """Which symbols a run watches, and how each came to be, or went, for people and programs."""
    head = store.head()
    eras = eras_of(head, ())
    if not eras:
        return []
    known, last = beside(head.meta), eras[-1]
    added = set() if known is None else set(known.added)
    removed = () if known is None else known.removed
    step = next(iter(store.steps(after=head.step - 1)), None)
    begins = last.since if step is not None and last.since > step.trading_date else None
    before = set(eras[-2].symbols) if begins is not None and len(eras) > 1 else set(last.symbols)
    followed = set(last.followed)
    found: list[dict[str, Any]] = []
    for symbol in last.symbols:
        how = "added" if symbol in added else "configured"
        how = how if symbol in followed else "companion"
        since = str(begins) if symbol not in before and symbol not in added else None
        found.append({"symbol": symbol, "how": how, "since": since})
    found += [{"symbol": symbol, "how": "removed", "since": None} for symbol in removed]
    return sorted(found, key=lambda of: of["symbol"])
