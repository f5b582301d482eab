"""What the day's actor does about silence: who is told, and what is asked of the feed.

The day owns the state, so that the alarm for the next look is its own, and a replay rings it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from openbell.actors.clock import SILENCE
from openbell.actors.effects import AskFeed, Effect, Publish
from openbell.market.bars import RowBatch
from openbell.market.days import SECOND_NS, MarketTime, TradingDay
from openbell.market.products import own_hours
from openbell.market.results import NO_TIME
from openbell.market.silence import (
    UNLOOKED_NS,
    Listening,
    SilenceRules,
    Verdict,
    halted,
    heard,
    judged,
    soon,
)
from openbell.messages.control import Rang
from openbell.messages.session import Noticed
from openbell.messages.time import Alarm

NAMED_MAX = 5
"""So many symbols are named in a sentence; the event has all."""


def with_rows(
    rules: SilenceRules,
    listening: Listening,
    rows: RowBatch,
    host_ns: MarketTime,
    *,
    timed_out: bool,
) -> tuple[Listening, bool, list[Effect]]:
    """Further rows; whether they end a silence of the feed, and what is told of it.

    Parameters
    ----------
    timed_out : bool
        Whether the day is in TIMEOUT: it is until something newer comes, though where nobody looked
        meanwhile silence has begun anew.
    """
    day, newest = rows.day, listening.newest[-1]
    own = own_hours(day, rows.symbols)
    since = listening.begun_ns or max(int(listening.at_ns[-1]), day.open_ns)
    listening, back, feed_is_back = heard(listening, rules, day, rows.code, rows.ts, host_ns, own)
    feed_is_back |= timed_out and bool(listening.newest[-1] > newest)
    said: list[Effect] = []
    if feed_is_back:
        why = f"rows come again after {_long(host_ns - since)}"
        said.append(_notice("feed.back", day, host_ns, why))
    if len(back):
        names = [rows.symbols[code] for code in back.tolist()]
        why = f"rows come again of {_listed(names)}"
        said.append(_notice("symbol.back", day, host_ns, why, names))
    listening, alarms = _look_soon(rules, listening, host_ns)
    return listening, feed_is_back, [*said, *alarms]


def looked(
    rules: SilenceRules,
    listening: Listening,
    day: TradingDay,
    symbols: Sequence[str],
    step: int,
    rang: Rang,
) -> tuple[Listening, bool, list[Effect]]:
    """A look; whether the day is in TIMEOUT by now, what is told, and what the feed is asked for."""
    before = listening
    # It holds from when it was due, unless nobody looked then.
    now_ns = rang.at_ns if rang.host_ns <= rang.at_ns + UNLOOKED_NS else rang.host_ns
    own = own_hours(day, tuple(symbols))
    listening, verdict = judged(listening, rules, day, now_ns, own)
    said = [
        *_of_feed(verdict, before, day, step, now_ns),
        *_of_symbols(verdict, listening, day, symbols, step, now_ns),
        Publish(Alarm(name=SILENCE, at_ns=listening.look_ns)),
    ]
    return listening, "timeout" in verdict.stages, said


def explained(
    rules: SilenceRules,
    listening: Listening,
    day: TradingDay,
    symbols: Sequence[str],
    which: Sequence[str],
    now_ns: MarketTime,
    *,
    on: bool,
    why: str,
) -> tuple[Listening, list[Effect]]:
    """Trading in symbols is halted, or goes on: who was not known to is told."""
    place = {symbol: n for n, symbol in enumerate(symbols)}
    new = [name for name in which if name in place and listening.halted[place[name]] != on]
    if not new:
        return listening, []
    listening = halted(listening, np.array([place[name] for name in new]), now_ns, on=on)
    kind = "halt" if on else "halt.over"
    default = f"trading in {_listed(new)} " + ("is halted" if on else "goes on")
    listening, alarms = _look_soon(rules, listening, now_ns)
    return listening, [_notice(kind, day, now_ns, why or default, new), *alarms]


def _look_soon(
    rules: SilenceRules, listening: Listening, now_ns: MarketTime
) -> tuple[Listening, list[Effect]]:
    at_ns = soon(listening, rules, now_ns)
    if at_ns is None:
        return listening, []
    return replace(listening, look_ns=at_ns), [Publish(Alarm(name=SILENCE, at_ns=at_ns))]


def _of_feed(
    verdict: Verdict, before: Listening, day: TradingDay, step: int, now_ns: MarketTime
) -> list[Effect]:
    said: list[Effect] = []
    lasts = _long(now_ns - verdict.silent_since_ns)
    never = before.at_ns[-1] == NO_TIME
    what = f"no row has come for {lasts}" + (", nor any before today" if never else "")
    for stage in verdict.stages:
        if stage == "suspect":
            why = f"{what}, longer than is usual"
            said.append(AskFeed(step, "resubscribe", (), why))
        elif stage == "reconnect":
            why = f"{what}; it is asked to connect anew"
            said.append(AskFeed(step, "reconnect", (), why))
        else:
            if stage == "give up":
                said.append(AskFeed(step, "give up", (), what))
            continue
        facts = {"stage": stage, "seconds": (now_ns - verdict.silent_since_ns) / SECOND_NS}
        said.append(_notice("feed.silent", day, now_ns, why, facts=facts))
    return said


def _of_symbols(
    verdict: Verdict,
    listening: Listening,
    day: TradingDay,
    symbols: Sequence[str],
    step: int,
    now_ns: MarketTime,
) -> list[Effect]:
    if not len(verdict.symbols):
        return []
    names = [symbols[code] for code in verdict.symbols.tolist()]
    last = listening.at_ns[verdict.symbols]
    lasts = "today" if (last == NO_TIME).all() else f"for {_long(now_ns - int(last.max()))}"
    why = f"no row has come of {_listed(names)} {lasts}, though others come"
    return [
        AskFeed(step, "resubscribe", tuple(names), why),
        _notice("symbol.silent", day, now_ns, why, names),
    ]


def _notice(
    kind: str,
    day: TradingDay,
    at_ns: MarketTime,
    why: str,
    symbols: Sequence[str] = (),
    facts: Mapping[str, str | float] = {},
) -> Publish:
    return Publish(
        Noticed.model_validate(
            {
                "kind": kind,
                "at_ns": at_ns,
                "why": why,
                "date": day.date,
                "symbols": tuple(symbols),
                "facts": facts,
            }
        )
    )


def _long(ns: int) -> str:
    """A length of time for people."""
    seconds = round(ns / SECOND_NS)
    if seconds < 120:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    named = ", ".join(names[:NAMED_MAX])
    return f"{named} and {more} more" if more > 0 else named
