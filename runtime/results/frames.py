"""What a run found, as Arrow tables and as data frames of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from openbell.adapters.scanruns import ScanRun, day_scans
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.tables import (
    BARS_SCHEMA,
    QUALITY_SCHEMA,
    bars_table,
    decoded,
    levels_table,
    quality_table,
    signals_table,
)
from openbell.errors import InputError
from openbell.market.days import MINUTE_NS
from openbell.market.indicators import IndicatorValues
from openbell.runtime.config.values import parse_duration


class Result:
    """What a backtest found, as Arrow tables.

    `to_pandas` and `to_polars` give the same attributes as data frames.
    """

    def __init__(self, days: list[DayResult], summary: Mapping[str, Any]) -> None:
        self._days = days
        self.summary = dict(summary)
        """The content of `summary.json`."""

    @property
    def signals(self) -> pa.Table:
        """One row a signal, ordered by (ts, symbol, session, side); as `signals.parquet`."""
        return decoded(signals_table([batch for day in self._days for batch in day.signals]))

    @property
    def levels(self) -> pa.Table:
        """One row a day, session and symbol; as `levels.parquet`."""
        parts = [levels_table(day.documents, day.symbols) for day in self._days]
        return decoded(_joined(parts, levels_table((), ()).schema))

    @property
    def quality(self) -> pa.Table:
        """One row a day and symbol; as `quality.csv`."""
        return decoded(_joined([quality_table(day.quality) for day in self._days], QUALITY_SCHEMA))

    @property
    def scans(self) -> list[ScanRun]:
        """What scans found, in the order in which they ran; as `scans.jsonl`."""
        return [run for day in self._days for run in day_scans(day.scans, day.signals)]

    def bars(self, interval: int | str) -> pa.Table:
        """Derived bars of one configured interval; as `bars_5m.parquet`.

        Parameters
        ----------
        interval : int or str
            Minutes, or a duration as a configuration writes it: `"5m"`.

        Raises
        ------
        InputError
            If that interval was not derived; the text names those that were.
        """
        minutes = _minutes(interval)
        if not any(minutes in day.bars for day in self._days) and self._days:
            known = sorted({interval for day in self._days for interval in day.bars})
            those = ", ".join(f"{of}m" for of in known) or "none"
            raise InputError(
                f"bars of {_spelled(interval)} were not derived; there are {those}: list it in "
                "upkeep.derived_intervals"
            )
        parts = [bars_table(day.bars[minutes]) for day in self._days if minutes in day.bars]
        return decoded(_joined(parts, BARS_SCHEMA))

    def to_pandas(self) -> Frames:
        """The tables as pandas data frames."""
        return Frames(self, lambda table: table.to_pandas())

    def to_polars(self) -> Frames:
        """The tables as polars data frames.

        Raises
        ------
        ModuleNotFoundError
            Without polars: `pip install 'openbell[polars]'`.
        """
        import polars

        return Frames(self, polars.from_arrow)

    def __repr__(self) -> str:
        days, signals = len(self._days), self.summary.get("signals", 0)
        return (
            f"Result({days} day{'' if days == 1 else 's'}, "
            f"{signals} signal{'' if signals == 1 else 's'})"
        )


class Frames:
    """A result's tables in another library's data frames."""

    def __init__(self, result: Result, convert: Callable[[pa.Table], Any]) -> None:
        self._result = result
        self._convert = convert

    @property
    def signals(self) -> Any:
        return self._convert(self._result.signals)

    @property
    def levels(self) -> Any:
        return self._convert(self._result.levels)

    @property
    def quality(self) -> Any:
        return self._convert(self._result.quality)

    def bars(self, interval: int | str) -> Any:
        return self._convert(self._result.bars(interval))


class DayView:
    """One trading day that has ended, as Arrow tables."""

    def __init__(self, day: DayResult, indicators: tuple[IndicatorValues, ...] = ()) -> None:
        self._day = day
        self._result = Result([day], {})
        self.indicators = {indicator.name: indicator for indicator in indicators}
        """By name: `values`, (s,) or one row a bar of the day, NaN where null, and `reasons`."""

    @property
    def date(self) -> date:
        return self._day.trading_date

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._day.symbols

    @property
    def signals(self) -> pa.Table:
        return self._result.signals

    @property
    def levels(self) -> pa.Table:
        return self._result.levels

    @property
    def quality(self) -> pa.Table:
        return self._result.quality

    def bars(self, interval: int | str) -> pa.Table:
        return self._result.bars(interval)


def _minutes(interval: int | str) -> int:
    """0 for what is no whole number of minutes, which no derived bar is."""
    if not isinstance(interval, str):
        return interval
    try:
        length = parse_duration(interval, bare="m", example="5m").ns
        return length // MINUTE_NS if length % MINUTE_NS == 0 else 0
    except ValueError as error:
        raise InputError(f'bars of "{interval}": {error}') from None


def _spelled(interval: int | str) -> str:
    return interval if isinstance(interval, str) else f"{interval}m"


def _joined(parts: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(parts, promote_options="default") if parts else schema.empty_table()
