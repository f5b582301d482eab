"""Which number Kite has for a symbol, by the list of instruments that it publishes each morning."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from openbell.adapters.feeds.socket_options import KEY
from openbell.errors import ConfigError

_COLUMNS = ("instrument_token", "tradingsymbol", "exchange")
_TOLD = 5


class Instruments:
    """Looks numbers up.

    Parameters
    ----------
    path : Path, optional
        Kite's instruments as CSV; None: all numbers are in `names`.
    exchange : str, optional
        Where symbols without an exchange are looked for; None: in all.
    names : mapping
        Our symbol → Kite's, `INFY`, `NSE:INFY` or its number, where they differ.
    """

    def __init__(
        self, path: Path | None, exchange: str | None, names: Mapping[str, str | int]
    ) -> None:
        self._path = None if path is None else path.expanduser()
        self._exchange, self._names = exchange, names
        self._known: dict[str, int] = {}
        if self._path is not None:
            self._read(frozenset())  # now, not at the open, it is said that it is no such file

    def tokens(self, symbols: Sequence[str]) -> list[int]:
        """The numbers of symbols, in their order.

        Raises
        ------
        ConfigError
            If one is not among the instruments, or several are called so.
        """
        asked = [symbol for symbol in symbols if symbol not in self._known]
        wanted: dict[str, str] = {}
        for symbol in asked:
            name = self._names.get(symbol, symbol)
            if isinstance(name, int) or name.isdigit():
                self._known[symbol] = int(name)
            else:
                wanted[symbol] = name
        if wanted:
            self._look_up(wanted)
        return [self._known[symbol] for symbol in symbols]

    def _look_up(self, wanted: Mapping[str, str]) -> None:
        if self._path is None:
            raise ConfigError(
                f"{KEY}.instruments is missing; name the CSV of https://api.kite.trade/instruments, "
                f"or the number of each symbol: symbols: {{{next(iter(wanted))}: 408065}}"
            )
        found = self._read(frozenset(name.rpartition(":")[2] for name in wanted.values()))
        missing, several = [], []
        for symbol, name in wanted.items():
            exchange, _, plain = name.rpartition(":")
            exchange = exchange or self._exchange or ""
            of = [
                (at, token) for at, token in found.get(plain, ()) if not exchange or at == exchange
            ]
            if not of:
                missing.append(name if not exchange or ":" in name else f"{exchange}:{name}")
            elif len(of) > 1:
                several.append(f"{symbol} is at {', '.join(sorted(at for at, _ in of))}")
            else:
                self._known[symbol] = of[0][1]
        if missing:
            raise ConfigError(
                f"{KEY}.instruments: {self._path} has no {_some(missing)}; write Kite's name of a "
                f'symbol: symbols: {{{next(iter(wanted))}: "NSE:INFY"}}'
            )
        if several:
            raise ConfigError(f"{KEY}.exchange is missing: {_some(several)}; write e.g. NSE")

    def _read(self, names: frozenset[str]) -> dict[str, list[tuple[str, int]]]:
        """Exchange and number of the instruments that are called so."""
        assert self._path is not None
        found: dict[str, list[tuple[str, int]]] = {}
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                rows = csv.DictReader(file)
                lacking = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
                if lacking:
                    raise ConfigError(
                        f"{KEY}.instruments: {self._path} has no column {', '.join(lacking)}; name "
                        "the CSV of https://api.kite.trade/instruments"
                    )
                if not names:
                    return found
                for row in rows:
                    if (name := row["tradingsymbol"]) in names:
                        token = int(row["instrument_token"])
                        found.setdefault(name, []).append((row["exchange"], token))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no CSV"
            raise ConfigError(f"{KEY}.instruments: {self._path} can't be read: {why}") from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{KEY}.instruments: {self._path}: {error}") from None
        return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
