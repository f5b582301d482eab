"""What is read of each trading day."""

from __future__ import annotations

from datetime import date

import pytest

from openbell.market.calendar import open_calendar
from openbell.runtime.intake.loading import day_windows


@pytest.mark.parametrize("exchange", ["CMES", "XNYS", "24/7"])
def test_a_days_rows_are_the_same_however_far_a_run_goes(exchange: str) -> None:
    days = open_calendar(exchange, date(2024, 2, 26), date(2024, 3, 15)).days()

    whole = day_windows(days)

    assert whole == {day.date: day_windows((day,))[day.date] for day in days}
