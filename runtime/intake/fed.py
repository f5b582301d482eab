"""The days before, where a run's rows come from a feed: of the run itself, or of stored history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from openbell.adapters.sources import Source, SourceInfo
from openbell.market.arrivals import nothing_came, taken_in
from openbell.market.assembly import assemble, no_raw_rows
from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, Kind, RawRows, RowBatch, joined
from openbell.market.days import TradingDay
from openbell.market.rules import NO_RULES, RowRules
from openbell.market.widening import rows_on, rows_without
from openbell.runtime.record.recordings import RecordedHistory

Came = Callable[[date], Sequence[RowBatch]]
"""What came of a day in an earlier process, as far as it is kept."""


class RunRows:
    """A source of the days before today: what the run had of them, else what is stored.

    Parameters
    ----------
    stored : Source, optional
        History of before the run.
    keeps : bool
        Whether somebody looks back: then rows of the day under way are kept until the next.
    recorded : RecordedHistory, optional
        Days that were recorded, in this run or before it.
    """

    def __init__(
        self,
        stored: Source | None,
        *,
        symbols: tuple[str, ...],
        days: tuple[TradingDay, ...],
        interval_ns: int | None,
        keeps: bool,
        rules: RowRules = NO_RULES,
        earlier: Came = lambda day: (),
        recorded: RecordedHistory | None = None,
    ) -> None:
        self._stored = stored
        self._recorded = recorded
        self._symbols, self._interval_ns = symbols, interval_ns
        self.days = days
        """Those that a run may come to, oldest first."""
        self._keeps = keeps
        self._rules = rules
        self.earlier = earlier
        self._lock = threading.Lock()
        self._came: dict[date, list[RowBatch]] = {}
        self._before: tuple[date, Callable[[], Sequence[RowBatch]]] | None = None
        """Of the day that an earlier process has begun."""
        self._anew: frozenset[str] = frozenset()
        """Symbols of that day of which its rows do not count."""

    def info(self) -> SourceInfo:
        kind: Kind = "ticks" if self._interval_ns is None else "bars"
        return SourceInfo(kind, self._interval_ns, self._symbols, (), lasting=False)

    def dates(self, tz: str) -> dict[date, int]:
        return {} if self._stored is None else self._stored.dates(tz)

    def begin(self, day: date, rows: Callable[[], Sequence[RowBatch]]) -> None:
        """An earlier process has begun a day; `rows` gives what came of it before, if need be."""
        with self._lock:
            self._came = {day: []}
            self._before, self._anew = (day, rows), frozenset()

    def add(self, day: date, rows: RowBatch) -> None:
        """Rows that were acted on."""
        if self._keeps:
            with self._lock:
                if day not in self._came:
                    before = max(self._came, default=None)
                    self._came = {} if before is None else {before: self._came[before]}
                self._came.setdefault(day, []).append(rows)

    def add_anew(self, day: date, rows: RowBatch) -> None:
        """The rows of symbols that come into a day, in place of those that they had when they were
        there before."""
        with self._lock:
            if day in self._came:
                self._came[day] = [rows_without(of, rows.symbols) for of in self._came[day]]
            if self._before is not None and self._before[0] == day:
                self._anew |= {*rows.symbols}
        self.add(day, rows)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        names = self._symbols if symbols is None else tuple(symbols)
        day = next((d for d in self.days if start_ns <= d.open_ns < end_ns), None)
        if day is not None:
            with self._lock:
                rows = tuple(self._came.get(day.date, ()))
                begun, anew = self._before, self._anew
            if begun is not None and begun[0] == day.date:
                rows = (*(rows_without(of, anew) for of in begun[1]()), *rows)
            if rows := rows or tuple(self.earlier(day.date)):
                ours = {symbol for part in rows for symbol in part.symbols}
                came = raw_rows_of(names, self._acted_on(rows))
                others = tuple(name for name in names if name not in ours)
                if not others:
                    return came
                # Symbols that came to the run since: it had no rows of them then.
                return _both(came, _among(names, self._from_history(start_ns, end_ns, others)))
        return self._from_history(start_ns, end_ns, names)

    def _from_history(self, start_ns: int, end_ns: int, names: tuple[str, ...]) -> RawRows:
        """What is not of this run: recorded days, and stored ones."""
        if self._recorded is not None:
            found = self._recorded.between(start_ns, end_ns)
            if found is not None:
                return _among(names, self._ruled(*found))
        if self._stored is None:
            return no_raw_rows(names, self._interval_ns)
        held = set(self._stored.info().symbols)
        return _among(
            names, self._stored.read(start_ns, end_ns, tuple(n for n in names if n in held))
        )

    def _acted_on(self, parts: Sequence[RowBatch]) -> RowBatch:
        """Of all that came of a day what the rules leave, as of the sizes they make."""
        # Symbols may have come while the day was under way: earlier parts are on fewer.
        register = tuple(sorted({symbol for part in parts for symbol in part.symbols}))
        whole = joined([rows_on(part, register) for part in parts])
        nothing = nothing_came(whole.day, len(whole.symbols), whole.interval_ns)
        return taken_in(nothing, whole, self._rules)[1].standing

    def _ruled(self, day: TradingDay, recorded: RawRows) -> RawRows:
        """The same of a day that was recorded as it came."""
        if self._rules == NO_RULES:
            return recorded
        data = assemble(recorded, day, self._interval_ns, "arrival", self._rules)
        assert isinstance(data.rows, RowBatch)
        return raw_rows_of(recorded.symbols, data.rows.standing)

    def close(self) -> None:
        if self._stored is not None:
            self._stored.close()


def _both(one: RawRows, other: RawRows) -> RawRows:
    """Rows of two kinds of symbols, on the same names, in time order where they meet."""
    ts = np.concatenate([one.ts, other.ts])
    order = np.argsort(ts, kind="stable") if len(other.ts) else slice(None)
    return replace(
        one,
        code=np.concatenate([one.code, other.code])[order],
        ts=ts[order],
        columns={
            name: np.concatenate([column, other.columns[name]])[order]
            for name, column in one.columns.items()
            if name in other.columns
        },
        signed=other.signed,  # those of the run could all be used
    )


def _among(names: tuple[str, ...], raw: RawRows) -> RawRows:
    """The rows of some symbols, on them."""
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place.get(symbol, -1) for symbol in raw.symbols], np.int32)
    code = codes[raw.code] if len(codes) else raw.code
    kept = np.flatnonzero(code >= 0)
    return replace(
        raw,
        symbols=names,
        code=code[kept],
        ts=raw.ts[kept],
        columns={name: column[kept] for name, column in raw.columns.items()},
        locate=lambda row: raw.locate(int(kept[row])),
    )


def raw_rows_of(names: tuple[str, ...], of: RowBatch) -> RawRows:
    """Rows of some symbols, as a source has them."""
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place.get(symbol, -1) for symbol in of.symbols], np.int32)
    code = codes[of.code]
    kept = code >= 0
    ticks = of.interval_ns is None
    ours = ("close", "volume") if ticks else BAR_COLUMNS
    theirs = TICK_COLUMNS if ticks else BAR_COLUMNS
    return RawRows(
        kind="ticks" if ticks else "bars",
        symbols=names,
        code=code[kept],
        ts=of.ts[kept],
        columns={name: getattr(of, own)[kept] for name, own in zip(theirs, ours, strict=True)},
        locate=lambda position: ("", position),
        signed=True,  # what could not be used is not among them
    )
