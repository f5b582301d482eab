"""Rows of the day under way that no feed brought: read from history while the day goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from loguru import logger

from openbell.actors.effects import Fill
from openbell.adapters.sources import Source
from openbell.errors import OpenbellError
from openbell.market.assembly import as_came, no_raw_rows
from openbell.market.bars import RawRows, RowBatch
from openbell.market.days import TradingDay
from openbell.market.prices import as_written
from openbell.messages.control import Backfilled, NotFilled
from openbell.runtime.intake.handover import QUANTITIES
from openbell.runtime.intake.loading import tried_again

History = Callable[[Sequence[str], int, int], RawRows]
"""A feed's own; see `adapters.feeds.HasHistory`."""

Say = Callable[[Backfilled | NotFilled | OpenbellError], None]


class Filler:
    """Reads what is lacking of a day, each piece on a thread of its own, and says when it is there.

    Parameters
    ----------
    stored : callable, optional
        Opens the stored history anew: files of today grow.
    history : callable, optional
        A feed's own, asked for what the stored one does not reach.
    timeout_seconds : float
        After so long it is said that the rows are not there yet.
    """

    def __init__(
        self,
        *,
        interval_ns: int | None,
        stored: Callable[[], Source] | None = None,
        history: History | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._interval_ns = interval_ns
        self._stored, self._history = stored, history
        self._timeout_seconds = timeout_seconds
        self._closed = threading.Event()
        self.begin: Callable[[Callable[[], None]], None] = _on_a_thread
        self.later: Callable[[float, Callable[[], None]], None] = _after

    def ask(
        self,
        day: TradingDay,
        symbols: tuple[str, ...],
        fill: Fill,
        say: Say,
        *,
        awaited: bool = True,
    ) -> None:
        """Have rows read; what becomes of them is said once, twice if they come late.

        Parameters
        ----------
        symbols : tuple of str
            The register.
        awaited : bool
            Whether the day does not go on before it is known; else it was said that they are lacking.
        """
        asked = _Asked(fill, say, self._closed, late=not awaited)
        if awaited:
            self.later(self._timeout_seconds, partial(asked.not_in_time, self._timeout_seconds))
        self.begin(partial(self._answer, day, symbols, asked))

    def close(self) -> None:
        """Say nothing more of what was asked so far; a read that is under way is left to itself."""
        self._closed.set()
        self._closed = threading.Event()

    def found(self, day: TradingDay, symbols: tuple[str, ...], fill: Fill) -> Backfilled:
        """What history has, read now.

        Raises
        ------
        OpenbellError, OSError, …
            What reading it came to.
        """
        rows = no_raw_rows(symbols, self._interval_ns)
        whose = symbols if fill.symbols is None else fill.symbols
        from_ns = int(fill.from_ns)
        if self._interval_ns is not None and fill.gap:
            from_ns -= self._interval_ns - 1  # a bar that ends in the gap began before it
        begins = from_ns
        if self._stored is not None:
            source = self._stored()
            try:
                held = set(source.info().symbols)
                wanted = tuple(symbol for symbol in whose if symbol in held)
                if wanted:
                    rows = _on(symbols, source.read(from_ns, fill.until_ns, wanted))
            finally:
                source.close()
            if len(rows):
                begins = int(rows.ts.max()) + (self._interval_ns or 1)
        if self._history is not None and begins < fill.until_ns:
            more = _decimals(_on(symbols, self._history(whose, begins, fill.until_ns)))
            rows = _followed(rows, more)
        return self._usable(rows, day, fill, from_ns)

    def _usable(self, raw: RawRows, day: TradingDay, fill: Fill, from_ns: int) -> Backfilled:
        inside = (raw.ts >= from_ns) & (raw.ts < fill.until_ns)
        if fill.symbols is not None:
            inside &= np.isin(raw.code, [raw.symbols.index(of) for of in fill.symbols])
        which = np.flatnonzero(inside)
        which = which[raw.ts[which].argsort(kind="stable")]
        data = as_came(_picked(raw, which), day, self._interval_ns)
        assert isinstance(data.rows, RowBatch)
        rows, counts = data.rows, data.counts
        if (early := rows.ends > fill.until_ns).any():  # bars that had not ended
            open_yet = np.bincount(rows.code[early], minlength=len(rows.symbols))
            counts = replace(counts, rows=counts.rows - open_yet)
            rows = rows.taken(~early)
        return Backfilled(
            date=day.date,
            rows=rows,
            counts=counts,
            bad=data.bad,
            from_ns=fill.from_ns,
            until_ns=fill.until_ns,
            gap=fill.gap,
            symbols=fill.symbols,
        )

    def _answer(self, day: TradingDay, symbols: tuple[str, ...], asked: _Asked) -> None:
        about = f"{day.date}: history of the day so far"
        try:
            read = partial(self.found, day, symbols, asked.fill)
            asked.there(tried_again(read, about, rest=asked.rest))
        except Exception as error:  # noqa: BLE001 a feed or a file may raise anything
            asked.failed(f"history can't be had: {error}")


def _on_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="openbell-backfill", daemon=True).start()


def _after(seconds: float, work: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


class _Asked:
    """One piece of history on its way."""

    def __init__(self, fill: Fill, say: Say, closed: threading.Event, *, late: bool) -> None:
        self.fill = fill
        self._say, self._closed = say, closed
        self._lock = threading.Lock()
        self._late, self._done = late, False

    def rest(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def there(self, filled: Backfilled) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self._done = True
            logger.info("{}: {} rows from history", filled.date, f"{len(filled.rows):,}")
            self._say(filled)

    def not_in_time(self, seconds: float) -> None:
        with self._lock:
            if not (self._done or self._closed.is_set()):
                self._late = True
                self._without(f"history has not come within {seconds:g} s", comes=True)

    def failed(self, why: str) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            self._done = True
            self._without(why, comes=False)

    def _without(self, why: str, *, comes: bool) -> None:
        fill = self.fill
        self._say(
            NotFilled(
                date=fill.date,
                from_ns=fill.from_ns,
                until_ns=fill.until_ns,
                gap=fill.gap,
                symbols=fill.symbols,
                why=why,
                comes=comes,
            )
        )


def _on(symbols: tuple[str, ...], rows: RawRows) -> RawRows:
    """Rows on the register's symbols, without those of others."""
    place = {symbol: code for code, symbol in enumerate(symbols)}
    codes = np.array([place.get(symbol, -1) for symbol in rows.symbols], np.int32)
    code = codes[rows.code] if len(codes) else rows.code
    which = np.flatnonzero(code >= 0)
    return replace(_picked(rows, which), symbols=symbols, code=code[which])


def _picked(rows: RawRows, which: np.ndarray[tuple[int], np.dtype[np.intp]]) -> RawRows:
    return replace(
        rows,
        code=rows.code[which],
        ts=rows.ts[which],
        columns={name: column[which] for name, column in rows.columns.items()},
        locate=lambda i: rows.locate(int(which[i])),
    )


def _decimals(rows: RawRows) -> RawRows:
    """Prices that were float32 once as what they were, as a feed's are taken."""
    columns = {
        name: column if name in QUANTITIES else as_written(column)
        for name, column in rows.columns.items()
    }
    return replace(rows, columns=columns)


def _followed(one: RawRows, other: RawRows) -> RawRows:
    if not len(one):
        return other
    n = len(one)
    return replace(
        one,
        code=np.concatenate([one.code, other.code]),
        ts=np.concatenate([one.ts, other.ts]),
        columns={
            name: np.concatenate([column, other.columns[name]])
            for name, column in one.columns.items()
        },
        locate=lambda i: one.locate(i) if i < n else other.locate(i - n),
        signed=one.signed or other.signed,
    )
