"""What is refused, or told, of windows and data that don't go together, when a run is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

import numpy as np

from openbell.adapters.sources import Source
from openbell.errors import ConfigError, DataError
from openbell.market.auctions import AUCTIONS
from openbell.market.calendar import auctions_known
from openbell.market.days import (
    MINUTE_NS,
    SECOND_NS,
    Nanoseconds,
    TradingDay,
    among,
    distinct,
)
from openbell.market.products import fits
from openbell.market.scans import scan_times
from openbell.market.windows import NoWindow, hours_in_words, session_window
from openbell.runtime.config import Config
from openbell.runtime.config.values import Duration
from openbell.runtime.intake.labels import are_last_instants, seem_ends
from openbell.runtime.kernel.wiring import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LOOKED_AT = 3
"""Days, of which all have to look alike."""

_FEWEST = 6
"""Of fewer bars a day nobody can tell how long they are."""


def register(config: Config, source: Source) -> tuple[str, ...]:
    """The symbols that a run watches or needs, sorted.

    Raises
    ------
    DataError
        If the data has not all of them; the text names those that it has.
    """
    held = source.info().symbols
    asked = set(held) if config.symbols == "all" else set(config.symbols)
    named = asked | set(config.paired.values())
    if config.symbols == "all":
        named |= set(config.companions)
    if unknown := sorted(named - set(held)):
        whose = "" if unknown[0] in asked else ", which companions names"
        raise DataError(
            f"{where(config)} has no symbol {', '.join(map(repr, unknown[:5]))}{whose}"
            f"{_nearest(unknown[0], held)}; it has {len(held)}: {', '.join(held[:8])}"
            f"{', …' if len(held) > 8 else ''}"
        )
    return tuple(sorted(named))


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def where(config: Config) -> str:
    """The data, in a message."""
    return str(config.data.path) if config.data.path else "the data"


def nothing_inside(
    config: Config,
    dates: Mapping[date, int],
    start: date | None,
    end: date | None,
    num_symbols: int,
) -> str:
    """Why there is nothing to run."""
    daily = max(dates.values()) <= num_symbols
    of = "" if config.symbols == "all" else f" of {', '.join(config.symbols[:5])}"
    asked = " ".join(
        f"{word} {day}" for word, day in (("from", start), ("to", end)) if day is not None
    )
    return (
        f"{where(config)} has no row{of} inside the hours of {config.exchange}"
        f"{' ' + asked if asked else ''}; it has rows from {min(dates)} to {max(dates)}: check the "
        "dates, the exchange and data.timezone"
        + ("; one row a day, as it has, can't be run: name a file with minutes or ticks" * daily)
    )


def refuse_windows_outside(config: Config, made: Settings, days: tuple[TradingDay, ...]) -> None:
    """A session that is outside the hours of every day is a mistake, as 17:00 in New York is.

    Special days alone tell nothing: NSE's morning windows are rightly skipped on a Muhurat evening.
    """
    regular = next((day for day in days if day.kind == "regular"), None)
    if regular is None:
        return
    slot_ns = made.interval_ns or MINUTE_NS
    for place, session in enumerate(made.sessions):
        found = (session_window(day, session, slot_ns) for day in (regular, *days))
        reasons = []
        for window in found:
            if not isinstance(window, NoWindow):
                break
            reasons.append(window.reason)
        else:
            if session.auction is not None:
                _refuse_unknown_auction(config, place)
                continue  # a run may be about a time that had none
            raise ConfigError(
                f'sessions[{place}], "{session.name}": {reasons[0]}, and takes place on no day of '
                f"{config.exchange} from {days[0].date} to {days[-1].date}; correct its times, or "
                "leave it out"
            )
        _refuse_until_before(config, made, place, days)


def _refuse_unknown_auction(config: Config, place: int) -> None:
    session = config.sessions[place]
    assert session.auction is not None
    where = f'sessions[{place}], "{session.name}": auction is {session.auction}'
    instead = "write start and end in its place, and calendar.hours that hold them, "
    if AUCTIONS[session.auction] not in auctions_known(config.exchange):
        raise ConfigError(
            f'{where}, and of {config.exchange} none is known, as of XNSE; {instead}"09:00-16:10"'
        )
    if config.calendar.hours:
        raise ConfigError(
            f"{where}, and days with hours of your own, calendar.hours, have none; {instead}or leave "
            "calendar.hours out"
        )


def _refuse_until_before(
    config: Config, made: Settings, place: int, days: tuple[TradingDay, ...]
) -> None:
    """Breaks that have to be known before their session is over can't be."""
    session, until = made.sessions[place], made.rules[place].until
    if until is None:
        return
    slot_ns = made.interval_ns or MINUTE_NS
    windows = [(day, session_window(day, session, slot_ns)) for day in days]
    ends = [(day, of.end_ns) for day, of in windows if not isinstance(of, NoWindow)]
    if ends and all(until.on(day, end_ns) <= end_ns for day, end_ns in ends):
        raise ConfigError(
            f'sessions[{place}], "{session.name}": breakout.valid_until is '
            f"{config.breakout_for(config.sessions[place]).valid_until}, and the session ends later "
            f"on each day from {days[0].date} to {days[-1].date}; write a time after its end"
        )


def refuse_bars_across_closes(config: Config, made: Settings, days: tuple[TradingDay, ...]) -> None:
    """Bars of which some would end earlier than others of the same start, by their symbols' hours."""
    interval_ns = made.interval_ns
    if interval_ns is None:
        return
    for day in days:
        for product in day.products:
            alone = replace(day, segments=product.segments, products=(), named=())
            if not fits(product.segments, day, interval_ns):
                raise ConfigError(
                    f"data.interval is {config.data.interval}, and the hours of {product.product} on "
                    f"{day.date}, {hours_in_words(alone)}, cut other "
                    f"bars than those of the day, {hours_in_words(day)}; use shorter bars, such as 1m, "
                    "or run these symbols by themselves"
                )


def refuse_another_interval(
    config: Config, made: Settings, source: Source, day: TradingDay, symbols: tuple[str, ...]
) -> None:
    """Bars of another length, or with times inside the minute, fit the grid nowhere.

    Longer bars fit it, but leave gaps between them everywhere.
    """
    if made.interval_ns is None:
        return
    starts, _ = day.grid(made.interval_ns)
    ts = np.concatenate([source.read(s.open_ns, s.close_ns, symbols).ts for s in day.segments])
    apart = _spacing(day, ts)
    if apart is not None and apart != made.interval_ns:
        raise ConfigError(
            f"data.interval is {config.data.interval}, but the bars of {where(config)} on "
            f"{day.date} are {Duration(apart)} apart; write data.interval: {Duration(apart)}"
        )
    off = ts[~among(ts, starts)]
    if 2 * len(off) <= len(ts):
        return
    first = _EPOCH + timedelta(seconds=int(off[0]) // SECOND_NS)
    if config.data.bar_label == "start" and are_last_instants(off):
        raise DataError(
            f"{where(config)}: bars on {day.date} are stamped with their last instant, such as "
            f"{first:%H:%M:%S} UTC; write data.bar_label: end"
        )
    raise DataError(
        f"{where(config)}: {len(off):,} of {len(ts):,} bars on {day.date} are not at a multiple of "
        f"{config.data.interval} from the open, such as {first:%H:%M:%S} UTC; correct data.interval"
        " or data.bar_label"
    )


def _spacing(day: TradingDay, ts: Nanoseconds) -> int | None:
    """How far apart bars are (ns); None where that can't be told.

    It can where they begin with the segments and fill half of the places that it makes.
    """
    of_segments = [distinct(ts[(ts >= s.open_ns) & (ts < s.close_ns)]) for s in day.segments]
    held = sum(map(len, of_segments))
    if held < _FEWEST:
        return None
    apart = int(np.gcd.reduce(np.concatenate([np.diff(of) for of in of_segments])))
    starts = day.grid(apart)[0] if apart else np.empty(0, np.int64)
    fits = among(np.concatenate(of_segments), starts).all()
    return apart if fits and 2 * held >= len(starts) else None


def notes_on(
    config: Config,
    made: Settings,
    source: Source,
    known: tuple[TradingDay, ...],
    days: tuple[TradingDay, ...],
    symbols: tuple[str, ...],
) -> tuple[str, ...]:
    """What looks wrong, though it can be run."""
    return (
        *_of_scans(made, days),
        *_of_volumes(config, made, source, days, symbols),
        *_of_labels(config, made, source, known, days, symbols),
    )


def _of_volumes(
    config: Config,
    made: Settings,
    source: Source,
    days: tuple[TradingDay, ...],
    symbols: tuple[str, ...],
) -> tuple[str, ...]:
    """That breaks have to have volume of symbols that have none, as an index, where that is so."""
    wanted = [rules.volume for rules in made.rules if rules.volume is not None]
    if made.interval_ns is None or not wanted:
        return ()
    paired = config.companions if all(of.companion for of in wanted) else {}
    alone = tuple(symbol for symbol in symbols if symbol not in paired)
    spans = [span for day in days[:_LOOKED_AT] for span in day.segments]
    read = [source.read(span.open_ns, span.close_ns, alone) for span in spans] if alone else []
    volumes = [rows.columns["volume"] for rows in read if len(rows.ts)]
    if not volumes or any(np.nansum(of) > 0 for of in volumes):
        return ()
    note = (
        "breakout.volume asks for volume, and no row of the first days has any, so that no break is "
        "confirmed; write symbol: companion and companions that have volume, or leave the rule out"
    )
    return (note,)


def _of_scans(made: Settings, days: tuple[TradingDay, ...]) -> tuple[str, ...]:
    """That scans have times that no day's hours hold, where that is so."""
    notes = []
    for spec in made.scans:
        outside = [set(scan_times(day, spec)[1]) for day in days]
        for text in sorted(set.intersection(*outside)) if outside else ():
            notes.append(
                f"{spec.key} has {text} among its times, which is outside the hours of each day from "
                f"{days[0].date} to {days[-1].date}, so that it is skipped then; write a time after "
                "the open and before the close"
            )
    return tuple(notes)


def _of_labels(
    config: Config,
    made: Settings,
    source: Source,
    known: tuple[TradingDay, ...],
    days: tuple[TradingDay, ...],
    symbols: tuple[str, ...],
) -> tuple[str, ...]:
    """That bars seem to be stamped with their ends, where that is so."""
    interval_ns = made.interval_ns
    opens = {day.open_ns for day in known}
    looked_at = [day for day in days[:_LOOKED_AT] if day.close_ns not in opens]
    if interval_ns is None or config.data.bar_label == "end" or not looked_at:
        return ()
    if not all(seem_ends(source, day, symbols, interval_ns) for day in looked_at):
        return ()
    zone = ZoneInfo(looked_at[0].tz)
    opened, closed = (
        _EPOCH + timedelta(seconds=ns // SECOND_NS)
        for ns in (looked_at[0].open_ns, looked_at[0].close_ns)
    )
    note = (
        f"no bar is stamped {opened.astimezone(zone):%H:%M}, the open, but one is stamped "
        f"{closed.astimezone(zone):%H:%M}, the close; if bars are stamped with their end, write "
        "data.bar_label: end"
    )
    return (note,)
