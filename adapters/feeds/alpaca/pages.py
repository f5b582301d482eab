"""Alpaca's history: bars and trades, page by page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from openbell.adapters.feeds.alpaca.messages import Messages
from openbell.adapters.feeds.entries import Gathered, Unusable
from openbell.errors import DataError
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import RawRows

SYMBOLS_AT_ONCE = 100
ROWS_A_PAGE = 10_000

Ask = Callable[[str, Mapping[str, str]], Any]
"""Gets `bars` or `trades`, and what is asked; gives the answer."""


def history(
    symbols: Sequence[str],
    theirs: Mapping[str, str],
    messages: Messages,
    from_ns: int,
    until_ns: int,
    ask: Ask,
) -> RawRows:
    """Rows with `from_ns <= ts < until_ns`.

    Parameters
    ----------
    theirs : mapping
        Our name of a symbol → the vendor's, where they differ.

    Raises
    ------
    DataError
        If an answer can't be used.
    """
    kind = messages.kind
    what = "bars" if kind == "bars" else "trades"
    gathered = Gathered(kind, "alpaca")
    for at in range(0, len(symbols), SYMBOLS_AT_ONCE):
        names = [theirs.get(symbol, symbol) for symbol in symbols[at : at + SYMBOLS_AT_ONCE]]
        wanted = {
            "symbols": ",".join(names),
            "start": _written(from_ns),
            "end": _written(until_ns - 1),
            "limit": str(ROWS_A_PAGE),
            "sort": "asc",
            **({"timeframe": "1Min", "adjustment": "raw"} if kind == "bars" else {}),
        }
        for number, page in enumerate(_pages(what, wanted, ask), 1):
            try:
                for symbol, rows in (page.get(what) or {}).items():
                    for n, row in enumerate(rows, 1):
                        found = messages.row({**row, "S": symbol})
                        if found is not None:
                            gathered.add(f"{what} of {symbol}, page {number}", n, *found)
            except (AttributeError, TypeError, Unusable) as error:
                raise DataError(f"alpaca: {what} can't be read: {error}") from None
    if not len(gathered):
        return no_raw_rows(tuple(symbols), 1 if kind == "bars" else None)
    rows = gathered.rows()
    return rows.taken(np.flatnonzero((rows.ts >= from_ns) & (rows.ts < until_ns)))


def _pages(what: str, wanted: Mapping[str, str], ask: Ask) -> Any:
    token: str | None = None
    while True:
        page = ask(what, {**wanted, **({} if token is None else {"page_token": token})})
        if not isinstance(page, dict):
            raise DataError(f"alpaca: {what} can't be read: {page!r:.200}")
        yield page
        before, token = token, page.get("next_page_token")
        if not token:
            return
        if token == before:
            raise DataError(f"alpaca: {what}: the page after {token!r:.50} is itself")


def _written(ns: int) -> str:
    second, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
