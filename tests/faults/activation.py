"""What the seeds must come to at least once: a net that nothing swims into holds nothing.

Names are those of faults (`Faults`), of what is noted with `sometimes(condition, "name")` in the
simulation's text, and of the kinds of days, windows and states.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import orjson
from faults.drawn_faults import OF_THE_STORE, OWN, Faults
from faults.left import Left
from faults.markets import SHAPES, Scenario, planned

from openbell.market.breakouts import BreakRules
from openbell.market.conditions import CONDITIONS
from openbell.market.days import MINUTE_NS
from openbell.market.windows import NoWindow, session_window
from openbell.messages.session import DayState
from openbell.runtime.config import Config

NOT_YET = {"TIMEOUT"}
"""Day states that nothing enters."""

KINDS = frozenset(
    (
        *("no window at all", "twelve windows", "a window of one bar", "a window cut by the hours"),
        *("a window skipped", "a window over midnight", "a window across a break"),
        *("two windows of the same time", "a window of the whole day"),
        *("one symbol", "thirty symbols", "a companion that is not watched", "a buffer"),
        *("a day without a row", "a symbol without a row", "an unusable row", "a row twice"),
        *("five days", "ticks", "paced", "a scan"),
        *(f"a rule of {name}" for name in CONDITIONS),
        *("a rule of one session alone", "a volume of the companion", "a true range"),
    )
)


RARELY = OWN | {
    *("a scan was run", "a scan was skipped", "killed in a scan", "two waited for their symbols"),
    *("a symbol came", "a symbol went", "a symbol was refused", "symbols waited in a recovery"),
    "symbols were asked for in a scan",
}
"""What many seeds come to, and not surely those that are chosen of them."""


def expected_names() -> frozenset[str]:
    """All that the default seeds must come to."""
    return (
        frozenset(field.name for field in fields(Faults))
        | frozenset(f"{name} in a recovery" for name in OF_THE_STORE)
        | frozenset(f"day {state}" for state in get_args(DayState) if state not in NOT_YET)
        | frozenset(f"session {state}" for state in ("PENDING", "ACTIVE", "COMPLETED", "SKIPPED"))
        | frozenset(f"days: {shape}" for shape in SHAPES)
        | KINDS
        | noted()
    )


def noted() -> frozenset[str]:
    """Names that stand in calls of `sometimes` as they are."""
    text = Path(__file__).with_name("simulation.py").read_text()
    return frozenset(_names(ast.parse(text)))


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            last = node.args[1]
            if name in ("sometimes", "said") and isinstance(last, ast.Constant):
                yield str(last.value)


def states_in(left: Left) -> set[str]:
    """What days and sessions went through."""
    entries = [orjson.loads(entry) for entry in left.transitions]
    return {f"{entry['what']} {entry['to']}" for entry in entries if entry["what"] != "phase"}


def kinds_of(case: Scenario, config: Config) -> set[str]:
    """What a scenario is like."""
    found = {f"days: {case.shape}"} | ({"a scan"} if config.scanners else set())
    symbols, days = case.symbols, [of_day.day for of_day in case.cases]
    made = planned(case, config).settings
    rows = [row for of_day in case.cases for row in of_day.rows]
    with_rows = {row[0] for row in rows}
    slot_ns = made.interval_ns or MINUTE_NS
    windows = [[session_window(day, spec, slot_ns) for spec in made.sessions] for day in days]
    for day, of_day in zip(days, windows, strict=True):
        for window in of_day:
            if isinstance(window, NoWindow):
                found.add("a window skipped")
                continue
            if window.truncated:
                found.add("a window cut by the hours")
            if len(window.slots) == 1:
                found.add("a window of one bar")
            if len(window.slots) == len(day.grid(slot_ns)[0]):
                found.add("a window of the whole day")
            if window.start_ns < day.midnight_ns < window.end_ns:
                found.add("a window over midnight")
            if any(window.start_ns < s.close_ns < window.end_ns for s in day.segments[:-1]):
                found.add("a window across a break")
        times = [(w.start_ns, w.end_ns) for w in of_day if not isinstance(w, NoWindow)]
        if len(set(times)) < len(times):
            found.add("two windows of the same time")
    whether = {
        "no window at all": case.windowless,
        "twelve windows": len(made.sessions) == 12,
        "one symbol": len(symbols) == 1,
        "thirty symbols": len(symbols) >= 30,
        "a companion that is not watched": bool(made.followed),
        "a buffer": any(rules.buffer for rules in made.rules),
        "a day without a row": any(not of_day.rows for of_day in case.cases),
        "a symbol without a row": with_rows < set(symbols),
        "an unusable row": any(row[2] != row[2] for row in rows),
        "a row twice": len(set(rows)) < len(rows),
        "five days": len(days) == 5,
        "ticks": made.interval_ns is None,
        "paced": case.paced,
        **{f"a rule of {name}": any(asks(of, name) for of in made.rules) for name in CONDITIONS},
        "a rule of one session alone": len({repr(of) for of in made.rules}) > 1,
        "a volume of the companion": any(of.volume and of.volume.companion for of in made.rules),
        "a true range": any(
            bound and bound.unit == "times"
            for of in made.rules
            for bound in (of.min_range, of.max_range)
        ),
    }
    return found | {name for name, is_so in whether.items() if is_so}


def asks(rules: BreakRules, condition: str) -> bool:
    """Whether breakouts have a condition to pass."""
    passed = {
        "valid_until": rules.until is not None,
        "on_incomplete": rules.on_incomplete == "block",
        "direction": rules.direction == "first_bar",
    }
    return passed.get(condition, bool(getattr(rules, condition, None)))
