"""What is asked, and whether there is such a thing; if not, what is nearest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

from openbell.errors import CalendarError, InputError
from openbell.runtime.config import Config
from openbell.runtime.config.values import parse_date
from openbell.runtime.intake.hours import calendar_for
from openbell.runtime.results.signals import Signal

_ID = re.compile(r"[^:]+:(\d{4}-\d{2}-\d{2}):.+:(?:HIGH|LOW)_BREAK:\d+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to know."""

    symbol: str
    trading_date: date
    session: str | None = None
    id: str | None = None
    """Of the one signal that is asked for; the symbol is not known then."""


def asked(what: str, day: date | str | None = None, session: str | None = None) -> Asked:
    """A symbol on a day, perhaps of one session; or a signal, by its id alone.

    Raises
    ------
    InputError
        If it is neither.
    """
    if day is None:
        found = _ID.fullmatch(what)
        if found is None:
            raise InputError(
                f'"{what}" is no id of a signal; write SYMBOL DATE, e.g. {what or "SPY"} '
                "2024-07-01, or an id as `openbell signals --json` prints it, "
                "EXCHANGE:DATE:SESSION:SYMBOL:SIDE:NUMBER"
            )
        return Asked("", _date(found[1]), None, what)
    return Asked(what, _date(day) if isinstance(day, str) else day, session)


def _date(text: str) -> date:
    try:
        return parse_date(text)
    except ValueError as error:
        raise InputError(f'the day is "{text}"; {error}') from None


def settled(question: Asked, ids: Iterable[str], signals: Sequence[Signal]) -> Asked:
    """The question with the symbol and session of the signal that it names."""
    if question.id is None:
        return question
    for signal in signals:
        if signal.id == question.id:
            return Asked(signal.symbol, question.trading_date, signal.session, question.id)
    raise unknown(f"signal of {question.trading_date} with the id", question.id, list(ids))


def check(question: Asked, symbols: Sequence[str], sessions: Sequence[str]) -> None:
    if question.symbol not in symbols:
        raise unknown("symbol", question.symbol, symbols)
    if question.session is not None and question.session not in sessions:
        raise unknown("session", question.session, sessions)


def unknown(what: str, given: str, known: Iterable[str]) -> InputError:
    names = sorted(set(known))
    by_case = {name.casefold(): name for name in names}
    near = get_close_matches(given.casefold(), list(by_case), n=3)
    hint = f"the nearest: {', '.join(by_case[name] for name in near)}; " if near else ""
    shown = ", ".join(names[:8]) + (f", … {names[-1]}" if len(names) > 8 else "")
    there = f"there are {len(names)}: {shown}" if names else "there is none"
    return InputError(f'no {what} "{given}"; {hint}{there}')


def unknown_day(config: Config, day: date, known: Sequence[date]) -> InputError:
    if not known:
        return InputError(f"{day}: nothing of it was run, nor of any other day so far")
    near = sorted(sorted(known, key=lambda of: abs((of - day).days))[:2])
    those = " and ".join(str(of) for of in near)
    closed = why_closed(config, day)
    return InputError(
        f"{day}: {closed or 'nothing of it was run'}; the nearest days that were run: {those}; there "
        f"are {len(known)}, {known[0]} to {known[-1]}"
    )


def why_closed(config: Config, day: date) -> str | None:
    """That a date is no trading day, and why; None: it is one, or no calendar reaches it."""
    try:
        found = calendar_for(config, day, day).explain(day)
    except CalendarError:
        return None
    if found.day is not None:
        return None
    return f"no trading day of {config.exchange} ({found.reason})"
