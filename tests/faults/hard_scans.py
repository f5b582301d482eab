"""Scans that no thread survives, or only with pains; processes of scans import them from here."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator

import numpy as np

from openbell.market.scans import Found, Lookback, ScanView, scanner


def at(view: ScanView) -> str:
    return "pre" if view.before_open else f"{view.at:%H:%M}"


def hangs(view: ScanView) -> list[Found]:
    """Holds the interpreter's lock, and hears nothing."""
    if at(view) == "10:00":
        re.fullmatch(r"(a|aa)+", "a" * 1000 + "b")
    return [Found(view.symbols[0], 1.0)]


class Unsendable(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


def fails(view: ScanView) -> list[Found]:
    """In one way after another."""
    match at(view):
        case "10:00":
            os._exit(3)
        case "11:00":
            os.kill(os.getpid(), signal.SIGKILL)
        case "12:00":
            bytearray(2**62)
        case "13:00":
            raise Unsendable
        case "14:00":
            sys.exit("enough")
    return [Found(view.symbols[0], 1.0)]


@scanner(lookback=Lookback("2d", rows=True), options={"side": 3})
def tells_all(view: ScanView) -> Iterator[Found]:
    """What a view has, so that two of them can be compared; prints, and tries to write."""
    print("what a scan prints is nobody's answer")
    tried = [view.bars.close, view.companions.bars.volume]
    tried += [of.high for of in view.levels.values()]
    tried += [of.rows.close for of in view.history.days if of.rows is not None]
    written = sum(of.flags.writeable for of in tried)
    past = [float(view.of_past(of.volume).sum()) for of in view.history.days]
    beside = view.of_companions(view.companions.last)
    facts = {
        "levels": {name: of.high.tolist() for name, of in view.levels.items()},
        "usual": [of.values.tolist() for of in view.indicators.values()],
        "past": past,
        "beside": beside.tolist(),
        "companions": dict(view.companion_of),
        "options": dict(view.options),
        "quality": (view.actual.tolist(), view.expected),
        "written": written,
    }
    for symbol, last in zip(view.symbols, view.last, strict=True):
        yield Found(symbol, float(np.nan_to_num(last)), repr(facts))
