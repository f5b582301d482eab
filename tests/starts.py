"""Moments at which a run that follows the host's clock may be started."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from by_hand import at, config

HOURS: dict[str, tuple[str, str, tuple[str, str], tuple[str, str]]] = {
    "XNYS": ("XNYS", "America/New_York", ("09:30", "09:34"), ("12:00", "12:09")),
    "XNSE": ("XNSE", "Asia/Kolkata", ("09:15", "09:19"), ("12:00", "12:09")),
    "XHKG": ("XHKG", "Asia/Hong_Kong", ("09:30", "09:34"), ("13:30", "13:39")),
    "CMES": ("CMES", "America/Chicago", ("17:00", "17:04"), ("08:30", "08:34")),
    "24/7": ("24/7", "UTC", ("00:00", "00:04"), ("12:00", "12:09")),
    "24/7, New York": ("24/7", "America/New_York", ("01:15", "01:44"), ("12:00", "12:09")),
}
"""Exchange, its time zone, and two windows."""

STARTS: list[tuple[str, str, str, str, str, str]] = [
    # when, local; a minute later: the trading day, its state, the two sessions' statuses
    ("XNYS", "2024-07-01 03:00", "2024-07-01", "PRE_MARKET", "", ""),
    ("XNYS", "2024-07-01 09:29:59", "2024-07-01", "ACTIVE", "ACTIVE", "PENDING"),
    ("XNYS", "2024-07-01 09:30", "2024-07-01", "ACTIVE", "ACTIVE", "PENDING"),
    ("XNYS", "2024-07-01 09:32", "2024-07-01", "ACTIVE", "ACTIVE", "PENDING"),
    ("XNYS", "2024-07-01 09:35:30", "2024-07-01", "ACTIVE", "COMPLETED", "PENDING"),
    ("XNYS", "2024-07-01 12:05", "2024-07-01", "ACTIVE", "COMPLETED", "ACTIVE"),
    ("XNYS", "2024-07-01 15:59:30", "2024-07-01", "POST_MARKET", "COMPLETED", "COMPLETED"),
    ("XNYS", "2024-07-01 16:00", "2024-07-01", "ENDED", "", ""),
    ("XNYS", "2024-07-01 16:15", "2024-07-01", "ENDED", "", ""),
    ("XNYS", "2024-07-01 16:30", "2024-07-02", "PRE_MARKET", "", ""),
    ("XNYS", "2024-07-01 23:59:59", "2024-07-02", "PRE_MARKET", "", ""),
    ("XNYS", "2024-07-03 12:59", "2024-07-03", "ACTIVE", "COMPLETED", "COMPLETED"),
    ("XNYS", "2024-07-03 13:31", "2024-07-05", "PRE_MARKET", "", ""),  # after an early close
    ("XNYS", "2024-07-04 11:00", "2024-07-05", "PRE_MARKET", "", ""),  # a holiday
    ("XNYS", "2024-07-06 12:00", "2024-07-08", "PRE_MARKET", "", ""),  # a Saturday
    ("XNYS", "2024-03-10 02:30", "2024-03-11", "PRE_MARKET", "", ""),  # an hour that is skipped
    ("XNYS", "2024-11-03 01:30", "2024-11-04", "PRE_MARKET", "", ""),  # one that comes twice
    ("XNSE", "2024-07-01 09:00", "2024-07-01", "PRE_MARKET", "", ""),
    ("XNSE", "2024-07-01 09:17", "2024-07-01", "ACTIVE", "ACTIVE", "PENDING"),
    ("XNSE", "2024-07-01 15:29:59", "2024-07-01", "POST_MARKET", "COMPLETED", "COMPLETED"),
    ("XNSE", "2024-07-01 15:45", "2024-07-01", "ENDED", "", ""),
    ("XNSE", "2024-07-06 10:00", "2024-07-08", "PRE_MARKET", "", ""),
    ("XNSE", "2024-11-01 12:00", "2024-11-01", "PRE_MARKET", "", ""),  # a day with an evening only
    ("XNSE", "2024-11-01 18:10", "2024-11-01", "ACTIVE", "SKIPPED", "SKIPPED"),
    ("XHKG", "2024-07-01 10:00", "2024-07-02", "PRE_MARKET", "", ""),
    ("XHKG", "2024-07-02 09:31", "2024-07-02", "ACTIVE", "ACTIVE", "PENDING"),
    ("XHKG", "2024-07-02 12:30", "2024-07-02", "ACTIVE", "COMPLETED", "PENDING"),  # at lunch
    ("XHKG", "2024-07-02 13:00", "2024-07-02", "ACTIVE", "COMPLETED", "PENDING"),
    ("XHKG", "2024-07-02 16:05", "2024-07-02", "ENDED", "", ""),
    ("CMES", "2024-07-01 16:30", "2024-07-02", "PRE_MARKET", "", ""),
    ("CMES", "2024-07-01 16:57", "2024-07-02", "PRE_MARKET", "", ""),
    ("CMES", "2024-07-01 17:02", "2024-07-02", "ACTIVE", "ACTIVE", "PENDING"),  # the evening before
    ("CMES", "2024-07-01 20:00", "2024-07-02", "ACTIVE", "COMPLETED", "PENDING"),
    ("CMES", "2024-07-02 08:32", "2024-07-02", "ACTIVE", "COMPLETED", "ACTIVE"),
    ("CMES", "2024-07-07 16:00", "2024-07-08", "PRE_MARKET", "", ""),  # a Sunday
    ("CMES", "2024-07-07 17:30", "2024-07-08", "ACTIVE", "COMPLETED", "PENDING"),
    ("CMES", "2024-03-10 17:30", "2024-03-11", "ACTIVE", "COMPLETED", "PENDING"),
    ("24/7", "2024-07-01 00:00", "2024-07-01", "ACTIVE", "ACTIVE", "PENDING"),
    ("24/7", "2024-07-01 12:05", "2024-07-01", "ACTIVE", "COMPLETED", "ACTIVE"),
    ("24/7", "2024-07-01 23:59:30", "2024-07-02", "ACTIVE", "ACTIVE", "PENDING"),
    ("24/7", "2024-12-25 08:00", "2024-12-25", "ACTIVE", "COMPLETED", "PENDING"),
    ("24/7, New York", "2024-03-10 03:20", "2024-03-10", "ACTIVE", "COMPLETED", "PENDING"),
    ("24/7, New York", "2024-11-03 01:20", "2024-11-03", "ACTIVE", "ACTIVE", "PENDING"),
    ("24/7, New York", "2024-11-03 01:50", "2024-11-03", "ACTIVE", "COMPLETED", "PENDING"),
]


def started(of: str, when: str) -> tuple[dict[str, Any], float]:
    exchange, tz, morning, noon = HOURS[of]
    day, wall = when.split()
    until = date.fromisoformat(day) + timedelta(days=9)
    made = config(
        exchange=exchange,
        sessions=[
            {"name": "M", "start": morning[0], "end": morning[1]},
            {"name": "N", "start": noon[0], "end": noon[1]},
        ],
        day={"timeout_seconds": "2d"},
        feed={"end": str(until)},
        calendar={"timezone": tz},
    )
    return made, at(wall, day, tz)
