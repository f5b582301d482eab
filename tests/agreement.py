"""A run of the actors against the reference's answer, part by part."""

from __future__ import annotations

from typing import Any, Literal

from runs import answer_of, drained, expected_session, is_auction, minutes_in, of_cases, register
from strategies import Case

from openbell.market.days import MINUTE_NS


def agree(days: list[Case], clock_step: Literal["boundary", "bar"] = "boundary") -> list[str]:
    """Run days, and hold each against its reference.

    Returns
    -------
    list of str
        What the days were like.
    """
    found = drained(of_cases(days, clock_step))
    seen: list[str] = []

    for case in map(register, days):
        expected: dict[str, Any] = {**case.answer()}
        if all(c["rows"] == c["outside_hours"] for c in expected["counts"].values()):
            seen.append("a day without data")
            assert case.day.date in found.without_data
            assert case.day.date not in [day.trading_date for day in found.days]
            continue
        seen.append(f"{min(len(expected['signals']), 3)} signals or more")
        got = answer_of(found, case)
        configured = expected.pop("sessions")
        assert got.pop("sessions") == [expected_session(case, s) for s in configured]
        for part, answered in expected.items():
            assert got[part] == answered, part
        documents = next(d for d in found.days if d.trading_date == case.day.date).documents
        for document, session in zip(documents, configured, strict=True):
            if document.status == "COMPLETED":
                minutes = minutes_in(case, session)
                if is_auction(case, session):
                    minutes = [session["start_ns"], session["end_ns"] - MINUTE_NS]
                assert document.started_at == minutes[0]
                assert document.completed_at == minutes[-1] + MINUTE_NS
                assert document.breakouts_checked
            else:
                assert document.reason
                assert document.levels is None
                assert (document.started_at, document.completed_at) == (None, None)
    return seen
