"""Whether the configuration can be run, and what the calendar has for the next days."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from openbell.errors import InputError
from openbell.market.calendar import coverage, timezone
from openbell.market.days import TradingDay
from openbell.market.windows import NoWindow, hours_in_words
from openbell.runtime.config import Config
from openbell.runtime.config.effects import accept
from openbell.runtime.config.idle import idle_keys
from openbell.runtime.doctor.findings import Finding, fail, of_error, ok, warn
from openbell.runtime.intake.checks import DayWindows, check_config, check_data
from openbell.runtime.intake.contracts import day_by_day
from openbell.runtime.intake.feeding import check_options
from openbell.runtime.intake.instrumentsfile import opened_instruments

DAYS_SHOWN = 3

DAYS_OF_FUTURES = timedelta(days=14)

REACH_WARN, REACH_FAIL = timedelta(days=45), timedelta(days=7)
"""What a calendar has to reach ahead: a day that is not in it can't be rolled to."""


def configuration(config: Config) -> Iterator[Finding]:
    """Whether a run takes it, with its feed and its data."""
    try:
        accept(config, "run")
        if config.feed.type != "replay":
            check_options(config)
        if (refused := check_data(config)) is not None:
            raise refused
    except InputError as error:
        yield of_error("configuration", error)
        return
    symbols = "all" if config.symbols == "all" else len(config.symbols)
    counts = f"symbols: {symbols}, sessions: {len(config.sessions)}, feed: {config.feed.type}"
    yield ok("configuration", f"{config.name} on {config.exchange}, {counts}")
    for key, why, todo in idle_keys(config):
        yield warn("configuration", f"{key} has no effect {why}", todo)
    unready, silent = config.supervision.unready_exit, config.day.timeout_seconds
    if unready is not None and unready.seconds <= silent.seconds:
        yield warn(
            "supervision",
            f"unready_exit is {unready}, and a feed may be silent for {silent} before the day is "
            "in TIMEOUT",
            "make supervision.unready_exit longer than your longest silence",
        )


def calendar(config: Config, today: date) -> Iterator[Finding]:
    """The hours of the next days, what is unusual of them, and how far the calendar reaches."""
    try:
        days = check_config(config, today, refuse=False)
        _, latest = coverage(config.exchange)
    except InputError as error:
        yield of_error("calendar", error)
        return
    if not days:
        yield fail(
            "calendar",
            f"{config.exchange} has no trading day from {today} to {latest}",
            "install newer exchange_calendars and pandas_market_calendars",
        )
    zone = config.calendar.timezone or timezone(config.exchange)
    for of in days[:DAYS_SHOWN]:
        day = of.day
        kind = "" if day.kind == "regular" else f", {day.kind}"
        yield ok("calendar", f"{day.date:%a %Y-%m-%d} {_hours(day)} {zone}{kind}")
    for of in days[DAYS_SHOWN:]:
        if of.day.kind != "regular":
            hours = f"{_hours(of.day)} {zone}, {of.day.kind}"
            yield ok("calendar", f"{of.day.date:%a %Y-%m-%d} {hours}")
    yield from _unusual(days)
    reach = latest - today
    said = f"reaches to {latest}, {reach.days} days ahead"
    mend = "install newer exchange_calendars and pandas_market_calendars"
    if reach < REACH_FAIL:
        yield fail("calendar", said, mend)
    elif reach < REACH_WARN:
        yield warn("calendar", said, mend)
    else:
        yield ok("calendar", said)


def instruments(config: Config, today: date) -> Iterator[Finding]:
    """Which futures go with what today and in the next days, and what of them is missing."""
    if config.instruments.file is None:
        return
    try:
        file = opened_instruments(config)
        assert file is not None, "it is configured"
        last = max(today, min(today + DAYS_OF_FUTURES, coverage(config.exchange)[1]))
        paired = day_by_day(config, file, today, last)
    except InputError as error:
        yield of_error("instruments", error)
        return
    for note in file.notes:
        yield warn("instruments", note, "correct the file, or leave those rows out by a filter")
    said = set[tuple[str, str]]()
    for of in paired:
        name = of.contract.symbol if of.contract is not None else ""
        if (of.symbol, name) in said:
            continue
        said.add((of.symbol, name))
        if of.contract is None:
            without = f"no future of {of.underlying} for {of.day} and after: no companion then"
            yield warn("instruments", without, f"put a newer file in place of {file.identity.path}")
        else:
            expires = f"{name}, which expires {of.contract.expiry}"
            yield ok("instruments", f"{of.day}: {of.symbol} goes with {expires}")
    if not paired:
        yield ok("instruments", f"{file.identity.path}: {len(file.instruments.rows):,} are read")


def _hours(day: TradingDay) -> str:
    return hours_in_words(day).replace("–00:00", "–24:00")


def _unusual(days: tuple[DayWindows, ...]) -> Iterator[Finding]:
    """Sessions that the hours of a day cut, or leave out."""
    for of in days:
        for name, window in of.windows.items():
            why = window.reason if isinstance(window, NoWindow) else window.truncated
            if why is not None:
                left_out = "is left out" if isinstance(window, NoWindow) else "is cut"
                yield warn(
                    "sessions",
                    f"{name} {left_out} on {of.day.date}: {why}",
                    "write its times from the open or the close, if that is not meant",
                )


def zones(config: Config) -> Iterator[Finding]:
    """Whether the zones that are named are known here."""
    try:
        named = {config.calendar.timezone or timezone(config.exchange)}
    except InputError as error:
        yield of_error("time zones", error)
        return
    named |= {of.timezone for of in config.sessions if of.timezone is not None}
    missing = []
    for name in sorted(named):
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            missing.append(name)
    if missing:
        yield fail(
            "time zones", f"{', '.join(missing)}: not known here", "pip install --upgrade tzdata"
        )
    else:
        yield ok("time zones", f"{', '.join(sorted(named))}: known")


def extras(config: Config) -> Iterator[Finding]:
    """Whether the packages are there that the configuration needs beside openbell's own."""
    needed = {
        "redis": ("redis", _uses_redis(config)),
        "websocket": ("websockets", config.feed.type == "websocket"),
        "kite": ("websockets", config.feed.type == "kite"),
        "alpaca": ("websockets", config.feed.type == "alpaca"),
        "webhook": ("urllib3", any(of.type == "webhook" for of in config.sinks)),
        "apprise": ("apprise", any(of.type == "apprise" for of in config.sinks)),
        "databento": ("databento", _uses_databento(config)),
        "openalgo": ("websockets", config.feed.type == "openalgo"),
        "ib": ("ib_async", config.feed.type == "ib"),
        "ccxt": ("ccxt", config.feed.type == "ccxt"),
        "metrics": ("prometheus_client", config.web.enabled),
    }
    used = sorted(extra for extra, (_, is_used) in needed.items() if is_used)
    lacking = [extra for extra in used if find_spec(needed[extra][0]) is None]
    for extra in lacking:
        missing = f"{needed[extra][0]} is not installed"
        mend = f"pip install 'openbell[{extra}]'"
        if extra == "metrics":
            yield warn("extras", f"{missing}: /metrics answers 501", mend)
        else:
            yield fail("extras", missing, mend)
    if not lacking:
        yield ok("extras", f"{', '.join(used)}: installed" if used else "none is needed")


def _uses_databento(config: Config) -> bool:
    path = str(config.data.path or "")
    in_data = config.data.format == "dbn" or path.endswith((".dbn", ".dbn.zst"))
    return in_data or config.feed.type == "databento"


def _uses_redis(config: Config) -> bool:
    schemes = urlsplit(config.store.url).scheme, config.feed.type
    in_store = schemes[0] in ("redis", "rediss", "unix")
    return in_store or schemes[1] == "redis" or any(of.type == "redis" for of in config.sinks)


def units(
    folders: tuple[str, ...] = ("/etc/systemd/system", "/usr/lib/systemd/system"),
) -> Iterator[Finding]:
    """What the unit of systemd says, where there is one."""
    for folder in folders:
        unit = Path(folder) / "openbell.service"
        try:
            text = unit.read_text(encoding="utf-8")
        except OSError:
            continue
        keys = _keys(text)
        if keys.get("Type") not in ("notify", "notify-reload"):
            yield warn("systemd", f"{unit}: Type is not notify", "write Type=notify")
        if "WatchdogSec" not in keys:
            yield warn(
                "systemd", f"{unit}: a run that hangs is not restarted", "write WatchdogSec=30"
            )
        if keys.get("Restart") in (None, "no"):
            yield warn(
                "systemd", f"{unit}: a run that fails stays down", "write Restart=on-failure"
            )
        yield ok("systemd", f"{unit} is read")
        return
    if os.path.isdir("/run/systemd/system"):
        yield ok("systemd", "no openbell.service is installed; packaging/openbell.service is one")


def _keys(text: str) -> Mapping[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}
