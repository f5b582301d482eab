"""What is told of a symbol's day, against a walk through its rows with the plain reference."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import reference
from conditions import Conditions, admitted, has_volume, until_ns
from hypothesis import event, given, settings
from hypothesis import strategies as st
from reference import (
    Arrival,
    Row,
    Rules,
    Side,
    Used,
    Watch,
    Window,
    answer_as_arrived,
)
from runs import DAILY, MemorySource, plan_of, register
from strategies import Case, cases

from openbell.market.bars import Order
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.results.explaining import from_rows
from openbell.runtime.results.explanation import SessionExplained, SideExplained, SymbolData
from openbell.runtime.results.recording import Recorder
from openbell.runtime.results.signals import moment
from openbell.runtime.results.witness import Witness

Told = tuple[tuple[SessionExplained, ...], SymbolData]


def configured(case: Case) -> Config:
    rules = case.rules
    buffer = f"{rules.buffer}%" if rules.buffer_unit == "percent" else rules.buffer
    return config_from(
        {
            "exchange": "XNYS",
            "sessions": [w._asdict() for w in case.windows],
            "breakout": {
                "confirm": rules.confirm,
                "check": rules.check,
                "sides": rules.sides,
                "buffer": buffer,
                "rearm": {"inside_bars": rules.inside_bars, "max": rules.rearms_max}
                if rules.inside_bars
                else "never",
                **({"tick_size": rules.tick} if rules.tick else {}),
                **conditions_of(rules.conditions),
            },
            "history": {"indicators": {DAILY: {"type": "trailing_average", "period": "1d"}}},
            "companions": case.companions,
            "data": {"kind": case.kind},
        }
    )


def conditions_of(of: Conditions) -> dict[str, Any]:
    """The keys of `breakout`."""
    found: dict[str, Any] = {"on_incomplete": of.on_incomplete, "direction": of.direction}
    if of.volume_times is not None and (of.volume_of == "day" or not of.volume_companion):
        found["volume"] = {
            "times": of.volume_times,
            "of": of.volume_of,
            "symbol": "companion" if of.volume_companion else "own",
        }
    for key in ("min_range", "max_range"):
        match getattr(of, key):
            case "times", amount:
                found[key] = {"times": amount, "of": DAILY}
            case "percent", amount:
                found[key] = f"{amount}%"
            case "price", amount:
                found[key] = amount
    if isinstance(of.valid_until, int):
        found["valid_until"] = f"{of.valid_until}ns"
    return found


def told(case: Case, symbol: str, order: Order, lateness_ns: int) -> Told | None:
    """What is told of a symbol; None where no symbol has a row."""
    planned = plan_of([case])
    changed = replace(planned.settings, order=order, lateness_ns=lateness_ns)
    engine = Engine(replace(planned, settings=changed), MemorySource([case]), Recorder(()))
    witness = Witness(engine.cells, symbol)
    engine.run()
    if witness.opened is None:
        return None
    return from_rows(witness, configured(case), case.day.close_ns, witness.signals)


def rows_after(
    case: Case, symbol: str, order: Order, lateness_ns: int
) -> tuple[list[Any], list[Any], list[tuple[Used, int]]]:
    """The reference's sessions and signals, and the symbol's rows in their order, with when each
    was known."""
    day, interval_ns = case.day, case.interval_ns
    whole: Any
    if order == "time":
        whole = case.answer()
        cleaned = reference.clean(day, interval_ns, case.rows, case.symbols)
        rows = [(row, row.end) for row in cleaned.used[symbol]]
    else:
        whole = answer_as_arrived(
            day,
            interval_ns,
            case.rows,
            case.symbols,
            case.windows,
            case.rules,
            lateness_ns=lateness_ns,
            followed=case.followed,
        )
        came: list[Arrival] = reference.arrivals(day, interval_ns, case.rows, case.symbols)[0]
        rows = [(a.row, a.known) for a in came if a.symbol == symbol]
    return whole["sessions"], whole["signals"], rows


@settings(deadline=None)
@given(data=st.data())
def test_what_is_told_of_a_symbol_is_what_its_rows_did(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(("bars", "ticks")))
    case = register(data.draw(cases(kind, minutes_max=60, filtered=False)))  # type: ignore[arg-type]
    rearm = data.draw(st.sampled_from(REARMS))
    rules = case.rules._replace(inside_bars=rearm[0], rearms_max=rearm[1])
    order: Order = data.draw(st.sampled_from(("time", "arrival")))
    lateness_ns = data.draw(st.sampled_from((0, 90 * SECOND_NS))) if order == "arrival" else 0
    symbol = data.draw(st.sampled_from(case.symbols))
    for seen in agrees(replace(case, rules=rules), symbol, order, lateness_ns):
        event(seen)


REARMS = ((0, None), (1, None), (2, None), (3, 1))
SEEN = {
    *("sides", "symbols", "once", "strict", "buffer", "close", "reported", "rearm", "max"),
    *("volume", "min_range", "max_range", "valid_until", "on_incomplete"),
}


def test_each_rule_refuses_what_it_is_said_to_refuse() -> None:
    """Prices that go back and forth about the levels of a short session."""
    seen: set[str] = set()
    for seed in range(90):
        rng = Random(seed)
        order: Order = rng.choice(("time", "arrival"))
        seen |= agrees(busy(rng), "A", order, rng.choice((0, 90 * SECOND_NS)))

    assert seen == {*SEEN, "nearest", "late"}


def busy(rng: Random) -> Case:
    opened = local_instant(date(2024, 7, 1), time(9, 30), "America/New_York")
    day = TradingDay(
        date(2024, 7, 1), "America/New_York", (Segment(opened, opened + 50 * MINUTE_NS),)
    )
    inside_bars, rearms_max = rng.choice(REARMS)
    rules = Rules(
        confirm=rng.choice(("close", "touch")),
        check=rng.choice(("continuous",) * 5 + ("once",)),
        sides=rng.choice(("both",) * 5 + ("high", "low")),
        buffer=rng.choice((0.0, 0.0, 0.1)),
        inside_bars=inside_bars,
        rearms_max=rearms_max,
        conditions=Conditions(
            volume_times=rng.choice((None, None, 0.9, 1.2)),
            volume_of="day",
            min_range=rng.choice((None, None, None, ("price", 0.5))),
            max_range=rng.choice((None, None, None, ("percent", 0.5))),
            valid_until=rng.choice((None, None, 20 * MINUTE_NS)),
            on_incomplete=rng.choice(("flag", "flag", "block")),
        ),
    )
    kind = rng.choice(("bars", "ticks"))
    rows: list[Row] = []
    for minute in range(50):
        reach = 0.3 if minute < 5 else rng.choice((0.3, 0.5))
        open_, high, low, close = (
            round(100 + rng.choice((-1, -0.5, 0, 0.5, 1)) * reach, 2) for _ in range(4)
        )
        at = opened + minute * MINUTE_NS
        if rng.random() < 0.1:
            continue
        if kind == "bars":
            top, bottom = max(open_, high, low, close), min(open_, high, low, close)
            rows.append(("A", at, open_, top, bottom, close, rng.choice((1.0, 1.5))))
        else:
            rows += [
                ("A", at + i * SECOND_NS, price, rng.choice((1.0, 1.5)))
                for i, price in enumerate((open_, close))
            ]
    for _ in range(rng.choice((0, 4))):
        rows.insert(rng.randrange(len(rows)), rows.pop(rng.randrange(len(rows))))
    return Case(
        day=day,
        interval_ns=MINUTE_NS if kind == "bars" else None,
        rows=tuple(rows),
        symbols=("A", "B"),
        windows=(Window("Early", "09:30", "09:34"),),
        rules=rules,
        companions={"B": "A"},
        followed=rng.choice((None, None, None, None, ("B",))),
    )


def agrees(case: Case, symbol: str, order: Order, lateness_ns: int) -> set[str]:
    """What was seen, by the names of rules."""
    seen: set[str] = set()
    lateness_ns = lateness_ns if order == "arrival" else 0
    found = told(case, symbol, order, lateness_ns)

    if found is None:
        return seen
    sessions, signals, rows = rows_after(case, symbol, order, lateness_ns)
    explained, of_data = found
    assert of_data.actual == len({slot(case, row.ts) for row, _ in rows})
    for session, expected in zip(explained, sessions, strict=True):
        if session.status == "SKIPPED":
            assert session.high is None
            continue
        levels = expected["levels"][symbol]
        assert session.high is not None
        assert session.low is not None
        assert (session.high.level, session.low.level) == (levels["high"], levels["low"])
        assert session.rows == levels["count"]
        assert session.complete == levels["complete"] == (not session.missing)
        mine = [s for s in signals if s["symbol"] == symbol and s["session"] == expected["session"]]
        for side in (session.high, session.low):
            of_side = [s for s in mine if s["side"] == side.side]
            assert [(s.price, s.level, s.known_at) for s in side.signals] == [
                (s["price"], s["level"], moment(s["known_at"])) for s in of_side
            ]
            if side.level is not None:
                made(side, session, rows)
                seen |= watched_as_told(case, symbol, side, expected, rows, order)
        # What lies inside the window and is not among the rows used came when it was over.
        within = [row for row, _ in rows if is_inside(case, row, expected)]
        assert len(session.late) == len(within) - session.rows
        seen |= {"late"} if session.late else set()
    return seen


def is_inside(case: Case, row: Used, session: Any) -> bool:
    end = row.ts if case.interval_ns is None else row.end - 1
    return bool(session["start_ns"] <= row.ts and end < session["end_ns"])


def slot(case: Case, ts: int) -> int:
    starts, _ = case.day.grid(case.interval_ns or 60 * SECOND_NS)
    return int(starts.searchsorted(ts, side="right"))


def made(side: SideExplained, session: SessionExplained, rows: list[tuple[Used, int]]) -> None:
    """The level comes of a row of the window that has this price."""
    assert side.made is not None
    assert session.start is not None
    assert session.end is not None
    assert session.start <= side.made.ts < session.end
    prices = {
        row.high if side.side == "HIGH_BREAK" else row.low
        for row, _ in rows
        if moment(row.ts) == side.made.ts
    }
    assert side.level in prices


def watched_as_told(
    case: Case,
    symbol: str,
    side: SideExplained,
    session: Any,
    rows: list[tuple[Used, int]],
    order: Order,
) -> set[str]:
    rules, name = case.rules, side.side
    assert name in ("HIGH_BREAK", "LOW_BREAK")
    of_side: Side = name  # type: ignore[assignment]
    sign = reference.sign_of(of_side)
    followed = case.followed is None or symbol in case.followed
    levels = session["levels"][symbol]
    watch = Watch(levels["high"], levels["low"], rules)
    barred = None if levels["high"] is None else verdict(rules.conditions, levels)
    for of in watch.watched:
        watch.watched[of] &= barred is None
    level, threshold = watch.levels[of_side], watch.thresholds[of_side]
    assert (side.level, side.threshold) == (level, threshold)
    refused: dict[str, list[tuple[int, float]]] = {}
    inside: int | None = None
    near: list[tuple[Decimal, int]] = []
    broke = False
    after = [(row, known) for row, known in rows if row.ts >= session["end_ns"]]
    late = scant = False
    for place, (row, known) in enumerate(after):
        until = until_ns(rules.conditions, case.day, session["end_ns"])
        late = until is not None and known > until
        scant = lacks_volume(case, symbol, order, row, rows)
        extreme = row.high if sign == 1 else row.low
        before = watch.watched[of_side], watch.broken[of_side], watch.inside[of_side]
        found = [
            b
            for b in watch.breaks(row, allowed=not late and not scant)
            if b.side == of_side and followed
        ]
        broke |= bool(found)
        if place == 0 or rules.check != "once":
            confirming = extreme if rules.confirm == "touch" else row.close
            lacking = sign * (Decimal(repr(threshold)) - Decimal(repr(confirming)))
            near.append((lacking, known))
        if found or reference.beyond(extreme, level, -sign, rules):
            continue
        rule = why_refused(rules, of_side, followed, place, before, extreme, watch, barred)
        confirmed = watch.is_beyond(extreme if rules.confirm == "touch" else row.close, of_side)
        if rule in ("close", "buffer") and confirmed:
            rule = "valid_until" if late else "volume"
        refused.setdefault(rule, []).append((known, extreme))
        inside = before[2] if rule == "rearm" else inside
    assert {r.rule: r.touches for r in side.refused} == {r: len(t) for r, t in refused.items()}
    for refusal in side.refused:
        touches = refused[refusal.rule]
        furthest = max(touches, key=lambda touch: sign * touch[1])[1]
        assert refusal.first.known_at == moment(touches[0][0])
        assert refusal.last.known_at == moment(touches[-1][0])
        assert refusal.furthest.price == furthest
        assert refusal.rule != "rearm" or f"there were {inside} " in refusal.why
    watched = followed and barred is None
    watched &= rules.sides in ("both", of_side.split("_")[0].lower())
    if broke or not watched or not near or {"valid_until", "volume"} & refused.keys():
        assert side.nearest is None
        return set(refused)
    assert side.nearest is not None
    least, known = min(near, key=lambda of: of[0])
    assert side.nearest.distance == pytest.approx(max(0.0, float(least)), abs=1e-9)
    assert side.nearest.at.known_at == moment(known)
    return {"nearest", *refused}


def verdict(conditions: Conditions, levels: Any) -> str | None:
    """What of a session's levels bars all of their breaks."""
    high, low = levels["high"], levels["low"]
    for key in ("on_incomplete", "min_range", "max_range"):
        plain = {key: getattr(conditions, key)}
        sides = admitted(
            *(Conditions(**plain), None, None, high, low, levels["complete"], (), None)  # type: ignore[arg-type]
        )
        if not all(sides.values()):
            return key
    return None


def lacks_volume(
    case: Case, symbol: str, order: Order, row: Used, rows: list[tuple[Used, int]]
) -> bool:
    if case.rules.conditions.volume_times is None:
        return False
    if order == "time":
        came = [other for other, _ in rows if other.end <= row.end]
    else:
        at = next(n for n, (other, _) in enumerate(rows) if other is row)
        came = [other for other, _ in rows[: at + 1]]
    conditions, day, interval_ns = case.rules.conditions, case.day, case.interval_ns
    return not has_volume(conditions, day, interval_ns, row.ts, came, {}, symbol)


def why_refused(
    rules: Rules,
    side: Side,
    followed: bool,
    place: int,
    before: tuple[bool, int, int],
    extreme: float,
    watch: Watch,
    barred: str | None,
) -> str:
    watched, broken, _ = before
    sign = reference.sign_of(side)
    if rules.sides not in ("both", side.split("_")[0].lower()):
        return "sides"
    if barred is not None:
        return barred
    if not followed:
        return "symbols"
    if rules.check == "once" and place:
        return "once"
    if not watched:
        if not rules.inside_bars:
            return "reported"
        capped = rules.rearms_max is not None and broken > rules.rearms_max
        return "max" if capped else "rearm"
    if not reference.beyond(extreme, watch.levels[side], sign, rules):
        return "strict"
    return "close" if watch.is_beyond(extreme, side) else "buffer"
