"""The configured file of instruments, and which product it says that each symbol is."""

from __future__ import annotations

from functools import lru_cache

from openbell.adapters.instruments import InstrumentsFile, layout_of, read_instruments
from openbell.errors import ConfigError, DataError
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
        given.layout, columns, given.filters, dict(given.segments), given.date_format
    )
    return read_instruments(given.file, layout, futures=bool(config.futures))


def product_rules(config: Config) -> tuple[ProductRule, ...]:
    """Which product each symbol is: by the file of instruments, and by `calendar.segments` over it.

    A file that can't be read says nothing here: a run that needs it refuses to begin.
    """
    file = config.instruments.file
    own = config.calendar.product_rules()
    if file is None:
        return own
    try:
        stat = file.stat()
        said = _of_file(_Asked(config), (str(file), stat.st_mtime_ns, stat.st_size))
    except (OSError, ConfigError, DataError):
        return own
    return (*said, *own)


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
def _of_file(asked: _Asked, stamp: tuple[str, int, int]) -> tuple[ProductRule, ...]:
    """Of a file as it is on disk, which takes a second where it is a vendor's of all contracts."""
    config = asked.config
    file = opened_instruments(config)
    assert file is not None
    underlyings = {future.underlying for future in config.futures.values()}
    named = set() if config.symbols == "all" else {*config.symbols, *config.paired.values()}
    # Whoever may come while a run goes on is no contract, or one that the configuration names.
    symbols = dict.fromkeys(
        row.symbol
        for row in file.instruments.rows
        if config.symbols == "all"
        or row.underlying is None
        or row.underlying in underlyings
        or row.symbol in named
    )
    said = file.instruments.products(symbols)
    if config.calendar.segments:
        return said  # some may be named so that a pattern doesn't hold for them
    return tuple(rule for rule in said if rule.product != config.segment)
