"""The configured file of instruments, and which product it says that each symbol is."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

from openbell.adapters.instruments import InstrumentsFile, layout_of, read_instruments
from openbell.errors import CalendarError, DataError
from openbell.market.calendar import timezone
from openbell.market.segments import ProductRule
from openbell.runtime.config import Config


def opened_instruments(config: Config) -> InstrumentsFile | None:
    """The configured file of instruments, read; None: there is none.

    Raises
    ------
    ConfigError, DataError
        If it can't be read, or nothing of it can be used.
    """
    given = config.instruments
    if given.file is None:
        return None
    columns = {ours: name for ours, name in given.columns if name is not None}
    layout = layout_of(
        given.layout,
        columns,
        given.filters,
        dict(given.segments),
        given.date_format,
        given.tick_scale,
        config.calendar.timezone or _zone(config),
    )
    return read_instruments(given.file, layout, futures=bool(config.futures))


def _zone(config: Config) -> str:
    try:
        return timezone(config.exchange)
    except CalendarError:  # said where its calendar is needed
        return "UTC"


def product_rules(config: Config) -> tuple[ProductRule, ...]:
    """Which product each symbol is: by the file of instruments, and by `calendar.segments` over it.

    Raises
    ------
    ConfigError, DataError
        If the file can't be read, or contradicts itself about a symbol that the configuration names.
    """
    file = config.instruments.file
    own = config.calendar.product_rules()
    if file is None:
        return own
    try:
        stat = file.stat()
    except OSError:
        opened_instruments(config)  # which says what is wrong with it
        raise
    said = _of_file(_Asked(config), (str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return (*said, *own)


_HOLDS_THE_FEED = frozenset({"push"})
"""Feeds that a program holds, which would be others where actors begin again."""


def follows_instruments(config: Config) -> bool:
    """Whether a run takes a newer file, and other contracts, between two days without a new start."""
    live = config.by_the_wall and config.feed.type not in _HOLDS_THE_FEED
    return live and config.instruments.file is not None


def stamp_of(config: Config) -> tuple[int, int, int] | None:
    """What tells a version of the file from another, without reading it; None: it is not there."""
    file = config.instruments.file
    assert file is not None, "asked where there is one"
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


class _Asked:
    """A configuration as far as it decides what is taken from the file."""

    def __init__(self, config: Config) -> None:
        self.config = config
        asked = config.model_dump_json(
            include={"instruments", "companions", "symbols", "segment", "calendar"}
        )
        self._key = asked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=2)
def _of_file(asked: _Asked, stamp: tuple[str, int, int, int]) -> tuple[ProductRule, ...]:
    """Of a file as it is on disk, which takes a second where it is a vendor's of all contracts."""
    config = asked.config
    file = opened_instruments(config)
    assert file is not None
    rows = file.instruments.rows
    underlyings = {future.underlying for future in config.futures.values()}
    named = set() if config.symbols == "all" else {*config.symbols, *config.paired.values()}
    named |= {row.symbol for row in rows if row.underlying in underlyings}
    # Whoever may come while a run goes on is no contract, or one that the configuration names.
    others = dict.fromkeys(
        row.symbol
        for row in rows
        if row.symbol not in named and (config.symbols == "all" or row.underlying is None)
    )
    said = [*file.instruments.products(sorted(named))]
    for symbol in others:
        with suppress(DataError):  # two exchanges' shares of one name, that nobody may ever ask for
            said += file.instruments.products((symbol,))
    if config.calendar.segments:
        return tuple(said)  # some may be named so that a pattern doesn't hold for them
    return tuple(rule for rule in said if rule.product != config.segment)
