"""`openbell status`: how far the run has come, on one screen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import StoreError
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl
from openbell.runtime.cli.sinks import in_a_line
from openbell.runtime.cli.stored import name_of, opened_store
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import counted, one_line

if TYPE_CHECKING:
    from openbell.adapters.stores import Store

SILENT_SHOWN_MAX = 20
"""So many symbols are named for people; `--json` has all."""

WATCH_SECONDS = 1.0

WIDTH = 80
_KEY = 15


def status(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again each second, until Ctrl-C.")
    ] = False,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Say how far the run has come, and whether a process is at it."""
    from openbell.runtime.cli.standing import standing

    whose = name_of(config, store, name)
    with opened_store(config, store, name) as opened:
        if json:
            print(one_line(standing(opened, whose)), flush=True)
            while watch:
                time.sleep(WATCH_SECONDS)
                print(one_line(standing(opened, whose)), flush=True)
        elif watch:
            _watch(opened, whose, utc=utc)
        else:
            print(_screen(opened, whose, utc=utc))


def _watch(opened: Store, name: str, *, utc: bool) -> None:
    """The screen again and again; where there is no terminal, one below the other."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def shown(before: str) -> str:
        try:
            return _screen(opened, name, utc=utc)
        except StoreError as error:  # it may answer again
            return f"{before.partition(_AWAY)[0]}{_AWAY}{error}"

    text = shown("")
    console = Console()
    if not console.is_terminal:
        while True:
            print(f"{text}\n", flush=True)
            time.sleep(WATCH_SECONDS)
            text = shown(text)
    with Live(Text(text), console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(Text(text), refresh=True)
            time.sleep(WATCH_SECONDS)
            text = shown(text)


_AWAY = "\nas of then; the store can't be read: "


def _screen(opened: Store, name: str, *, utc: bool) -> str:
    """All of it, as lines of a key and what it has; longer ones are folded."""
    from openbell.runtime.cli.standing import standing

    found = standing(opened, name)
    if not found["commits"]:
        return f"Nothing was ever run here: {found['location']}"
    lines = [
        line
        for key, text in _lines(found, times_of(opened, utc=utc))
        if text
        for line in _folded(key, text)
    ]
    if found["error"] is not None:
        lines.append(f"ERROR: {found['error']}; `openbell recover` has the next run try again")
    if found["dead_letter"] is not None:
        lines.append(found["dead_letter"]["traceback"])
    return "\n".join(lines)


def _folded(key: str, text: str) -> Iterator[str]:
    import textwrap

    begin = f"{key:<{_KEY}}" if len(key) < _KEY else f"{key} "
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=begin,
        subsequent_indent=" " * _KEY,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _lines(found: Mapping[str, Any], times: Times) -> Iterator[tuple[str, str]]:
    """Keys and what each has; nothing for what is not known, or as it should be."""

    def at(instant: str | None) -> str:
        return f"{times.of(instant)} {times.zone}" if instant else ""

    heartbeat, restarts = found["heartbeat_seconds"], found["restarts"]
    yield "process", found["process"]
    yield "holder", found["holder"] or ""
    yield "heartbeat", "" if heartbeat is None else f"{heartbeat:.1f} s ago"
    if found["not_ready"] is not None:
        yield "ready", "; ".join(["no", *found["not_ready"]]) if found["not_ready"] else "yes"
    held = [f"{of['token']} since {times.wall(of['since'])}" for of in found["pauses"]]
    yield "paused by", ", ".join(held)
    yield "trading date", found["trading_date"] or ""
    yield "state", found["state"] or ""
    paired = (f"{of} with {name}" for of, name in found["companions"].items())
    yield "companions", ", ".join(paired)
    yield "market time", at(found["market_time"])
    if (coming := found["next"]) is not None:
        left = coming["in_seconds"]
        when = f"in {_countdown(left)}" if left > 0 else "due"
        yield "next", f"{at(coming['at'])}: {coming['what']}, {when}"
    yield from _of_feed(found, times)
    yield "signals", f"{found['signals']:,}"
    for sink in found["sinks"]:
        yield "sink", in_a_line(sink)
    yield "steps", f"{found['steps']:,} in {counted(found['commits'], 'commit')}"
    yield "committed at", at(found["committed_at"])
    yield "backlog", _backlog(found)
    if (recording := found["recording"]) is not None:
        yield "recording", recording["problem"] or f"written to {recording['folder']}"
    yield "restarts", "" if restarts is None else f"{restarts} of actors in this process"
    yield "location", found["location"]
    for session in found["sessions"]:  # last, as there may be more than a screen has room for
        yield "session", _session(session, times)


def _of_feed(found: Mapping[str, Any], times: Times) -> Iterator[tuple[str, str]]:
    if (said := found["feed"]) is not None:
        since = f"since {times.of(said['since'])} {times.zone}"
        yield "feed", f"{said['state']} {since}: {said['why']}"
    if (age := found["feed_age_seconds"]) is not None:
        waits = f"{counted(found['feed_rows'], 'row')}, {found['feed_waiting_rows']:,} waiting"
        yield "feed age", f"{_countdown(age)} since rows last came; {waits}"
    elif found["feed_rows"] == 0:
        yield "feed age", "no rows came to this process yet"
    unused = found["feed_unused_rows"] or {}
    told = [f"{count:,} {_UNUSED[reason]}" for reason, count in unused.items() if count]
    yield "not used", ", ".join(told)
    for kind, of in (found["feed_refused"] or {}).items():
        yield "refused", f"{of['entries']:,} × {kind}, the first at {of['first']}"
    if (silent := found["feed_silent_since"]) is not None:
        yield "feed silent", f"since {times.of(silent)} {times.zone}"
    yield "silent", _silent(found["silent"], times)
    yield "halted", ", ".join(found["halted"])


_UNUSED = {
    "again": "that came before",
    "bad": "with values that can't be used",
    "unknown_symbol": "of symbols that are not watched",
    "no_trading_day": "of no trading day",
    "day_over": "of a day that was over",
    "no_row": "that are no rows",
}
"""Reasons why something that came is not used, in words."""


def _session(of: Mapping[str, Any], times: Times) -> str:
    hours = "–".join(times.wall(of[key]) for key in ("started_at", "completed_at")).strip("–")
    rows = [
        f"{name} {levels['high']}–{levels['low']}" if levels["high"] is not None else f"{name} none"
        for name, levels in of["levels"].items()
    ]
    if of["shown"] != "all":
        without = f", {of['without_a_row']} without a row" if of["without_a_row"] else ""
        labels = ("widest", "narrowest")
        named = [f"{label} {row}" for label, row in zip(labels, rows, strict=False)]
        rows = [f"{counted(of['symbols'], 'symbol')}{without}", *named]
    known = any(levels["high"] is not None for levels in of["levels"].values())
    if of["status"] != "COMPLETED" and not known:
        rows = []  # what a window under way has is seen from the next snapshot on
    levels = f": {', '.join(rows)}" if rows else ""
    return " ".join(filter(None, [of["name"], of["status"], hours])) + levels


def _backlog(found: Mapping[str, Any]) -> str:
    if found["backlog_bytes"] is None:
        return ""
    of = f"{found['backlog_bytes'] / 1024:,.0f} of {found['backlog_limit_bytes'] / 1024:,.0f} KiB"
    outages = found["store_outages"]
    away = f"; the store was away {counted(outages, 'time')}" if outages else ""
    return f"{of} wait for the store{away}"


def _countdown(seconds: float) -> str:
    """As people count: 4.2 s, 3 min 12 s, 2 h 05 min, 3 d 2 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest:02} s"
    if hours < 48:
        return f"{hours} h {minutes_left:02} min"
    return f"{hours // 24} d {hours % 24} h"


def _silent(symbols: Mapping[str, str | None], times: Times) -> str:
    """Symbols, with when each was heard last; those that are silent for longest first."""
    ordered = sorted(symbols.items(), key=lambda of: (of[1] or "", of[0]))
    named = [
        f"{symbol} since {times.wall(at)}" if at else f"{symbol} all day"
        for symbol, at in ordered[:SILENT_SHOWN_MAX]
    ]
    if more := len(ordered) - len(named):
        named.append(f"and {more} more")
    return ", ".join(named)
