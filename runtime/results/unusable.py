"""Data of which most rows can't be used: nothing that comes of it would be worth reading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from openbell.errors import DataError
from openbell.market.bars import BadRow


class Unusable:
    """Why rows inside the hours could not be used, over all days."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._first: BadRow | None = None

    def add(self, bad: Iterable[BadRow]) -> None:
        for row in bad:
            self._first = self._first or row
            self._reasons[_kind(row.reason)] += 1

    def refuse(self, where: str, used: int) -> None:
        """Refuse data of which more rows were unusable than used.

        Raises
        ------
        DataError
            With the commonest reason, and what to do.
        """
        bad = self._reasons.total()
        if bad <= used or self._first is None:
            return
        reason, rows = self._reasons.most_common(1)[0]
        raise DataError(
            f"{where}: {bad:,} of {bad + used:,} rows inside the hours can't be used; in {rows:,} "
            f"{reason} (row {self._first.row} of {self._first.file}: {self._first.reason}); "
            f"{_ADVICE.get(reason, 'correct data.columns, or the file')}"
        )


_BELOW, _MISSING, _TURNED = "the price is not above 0", "a price is missing", "high is below low"
_ADVICE = {
    _BELOW: "if such prices are real, as of spreads, write data.allow_negative_prices: true",
    _TURNED: "name the columns of high and low with data.columns",
    "the time is off the grid": "correct data.interval or data.bar_label",
}


def _kind(reason: str) -> str:
    if re.search(r"not above 0", reason):
        return _BELOW
    if "missing" in reason or "infinite" in reason:
        return _MISSING
    if "below low" in reason:
        return _TURNED
    return "the time is off the grid"
