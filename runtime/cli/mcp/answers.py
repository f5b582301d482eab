"""What a run's configuration and store have to tell: asked, and read anew, each time.

Stores are opened to be read, no lease is taken and nothing is written: whoever runs does not notice.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from openbell.adapters.stores import Store
from openbell.errors import ConfigError, InputError
from openbell.hosttime import today
from openbell.runtime.cli.calendar import calendar_lines
from openbell.runtime.cli.configured import configuration, naming, of_data, stored_configuration
from openbell.runtime.cli.data.quality import quality_lines
from openbell.runtime.cli.mcp.bounds import as_text, csv, rows, shortened
from openbell.runtime.cli.options import given_day
from openbell.runtime.cli.status import status as print_status
from openbell.runtime.cli.stored import nothing_run, opened_store, refuse_unknown

DAYS_MAX = 62
"""Of a calendar, in one answer."""

SESSION_COLUMNS = (
    "trading_date",
    "session_name",
    "status",
    "start_time",
    "end_time",
    "started_at",
    "completed_at",
    "symbols",
    "symbols_without_a_row",
    "signals",
    "reason",
)
TABLES = {
    "signals": (
        *("id", "ts", "known_at", "trading_date", "session", "symbol", "side", "price", "level"),
        "kind",
    ),
    "sessions": SESSION_COLUMNS,
    "levels": ("trading_date", "session", "symbol", "status", "high", "low"),
    "quality": ("trading_date", "symbol", "expected", "actual", "quality_pct", "missing"),
}
"""What there is as tables, with their columns."""


class Answers:
    """Answers about the run of one configuration; each raises `OpenbellError`s for people."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def status(self) -> str:
        with self._store(must_have_run=False) as opened:
            if not opened.head().commit:
                return as_text({"process": "none", "note": self._nothing(opened)})
        printed = io.StringIO()
        with redirect_stdout(printed):
            print_status(config=self._file, json=True)
        return as_text(orjson.loads(printed.getvalue()))

    def sessions(self, day: str | None, offset: int, limit: int) -> str:
        with self._store() as opened:
            of_day = _day_of(opened, day)
            found = _sessions(opened, of_day)
            return _page("sessions", found, offset, limit, trading_date=str(of_day))

    def levels(
        self, day: str | None, session: str | None, symbol: str | None, offset: int, limit: int
    ) -> str:
        with self._store() as opened:
            refuse_unknown(opened, symbol=symbol, session=session)
            of_day = _day_of(opened, day)
            found = _levels(opened, of_day, session, symbol)
            return _page("levels", found, offset, limit, trading_date=str(of_day))

    def signals(
        self,
        after: str | None,
        day: str | None,
        session: str | None,
        symbol: str | None,
        limit: int,
    ) -> str:
        of_day = given_day("date", day)
        with self._store() as opened:
            refuse_unknown(opened, symbol=symbol, session=session)
            asked: dict[str, Any] = {"trading_date": of_day, "symbol": symbol, "session": session}

            def found() -> Iterator[dict[str, Any]]:
                for cursor, signal in opened.signals(after, **asked):
                    yield {**orjson.loads(signal.body), "cursor": cursor}

            return _log("signals", found(), after, limit)

    def events(self, after: str | None, day: str | None, kinds: list[str], limit: int) -> str:
        from openbell.runtime.results.events import read, wanted

        of_day = given_day("date", day)
        try:
            is_wanted = wanted(kinds or None)
        except ValueError as error:
            raise InputError(f"kinds: {error}") from None
        with self._store() as opened:
            found = (
                event.as_dict()
                for event in read(opened, after)
                if is_wanted(event) and of_day in (None, event.trading_date)
            )
            return _log("events", found, after, limit)

    def why(self, symbol_or_id: str, day: str | None, session: str | None) -> str:
        from openbell.runtime.why import asked, from_store

        question = asked(symbol_or_id, day, session)
        with self._store() as opened:
            return shortened(str(from_store(self._configured(), opened, question)))

    def quality(self, day: str | None, symbol: str | None, offset: int, limit: int) -> str:
        of_day, origin, found = self._quality(day, symbol)
        return _page("quality", found, offset, limit, trading_date=str(of_day), origin=origin)

    def calendar(self, first: str | None, last: str | None) -> str:
        from openbell.runtime.intake.hours import calendar_for

        asked = given_day("first", first), given_day("last", last)
        begin = asked[0] or asked[1] or today()
        end = asked[1] or begin
        if end < begin:
            raise InputError(f"last is {end}; write a day that is not before first, {begin}")
        if (end - begin).days >= DAYS_MAX:
            raise InputError(f"{begin} to {end}: ask for {DAYS_MAX} days at most")
        config = self._configured()
        with naming(self._file):
            opened = calendar_for(config, begin, end, with_auctions=False)
            days = [orjson.loads(line) for line in calendar_lines(opened, begin, end)]
        return as_text({"exchange": config.exchange, "days": days})

    def config_check(self) -> str:
        from openbell.runtime.config.effects import accept, effects
        from openbell.runtime.config.idle import idle_notes
        from openbell.runtime.config.values import first_date
        from openbell.runtime.intake.checks import check_config, check_contracts, check_data
        from openbell.runtime.intake.feeding import check_options

        told: dict[str, Any] = {"file": str(self._file), "in_order": False}
        try:
            settings = configuration(self._file, {})
            told["keys"] = [of._asdict() for of in effects(settings)]
            told["sessions"] = [
                session.model_dump(mode="json", exclude_unset=True) for session in settings.sessions
            ]
            with naming(self._file):
                accept(settings, "run")
                if settings.feed.type != "replay":
                    check_options(settings)
                notes = [*idle_notes(settings)]
                refused = check_data(settings, notes)
                first = first_date(settings.backtest.start) or today()
                check_config(
                    settings,
                    first,
                    refuse=settings.data.path is None or refused is not None,
                )
                if notes := [*notes, *check_contracts(settings, first)]:
                    told["notes"] = notes
            if refused is not None:
                raise refused
        except InputError as error:
            return as_text({**told, "problems": str(error).splitlines()})
        return as_text({**told, "in_order": True})

    def table(self, what: str, day: str | None) -> str:
        """One of `TABLES`, of a day or of the newest, as CSV."""
        columns = TABLES[what]
        with self._store() as opened:
            of_day = _day_of(opened, day)
            match what:
                case "signals":
                    log = opened.signals(trading_date=of_day)
                    return csv(columns, (orjson.loads(of.body) for _, of in log))
                case "sessions":
                    return csv(columns, _sessions(opened, of_day))
                case "levels":
                    return csv(columns, _levels(opened, of_day))
        return csv(columns, self._quality(day, None)[2])

    def _quality(
        self, day: str | None, symbol: str | None
    ) -> tuple[date, str, Iterator[Mapping[str, Any]]]:
        """Of the newest day that was run, from its snapshot; of others, from stored rows.

        Returns
        -------
        The day, where this comes from, and a row a symbol, those that lack most first.
        """
        of_day = given_day("date", day)
        config = self._configured()
        with self._store(must_have_run=False) as opened:
            seen = _seen(opened)
            if seen is not None and of_day in (None, seen[0]):
                origin, found = f"the newest snapshot, as of {seen[1]}", seen[2]
                of_day = seen[0]
            elif config.data.path is None:
                known = f", {seen[0]}" if seen is not None else ""
                raise InputError(
                    f"no stored rows to look at: data.path is not set, and the store tells of the "
                    f"newest day alone{known}; ask the tool events for kinds feed and gap"
                )
            else:
                from openbell.runtime.results.checking import quality_map

                of_day = of_day or _day_of(opened, None)
                file, settings = of_data(
                    str(config.data.path), None, str(of_day), str(of_day), None, self._file
                )
                with naming(file):
                    days = quality_map(settings)
                origin = f"stored rows in {config.data.path}"
                found = [orjson.loads(line) for line in quality_lines(days)]
        if symbol is not None and symbol not in (names := [of["symbol"] for of in found]):
            raise InputError(f'no symbol "{symbol}" on {of_day}; there are {len(names)}')
        mine = [of for of in found if symbol in (None, of["symbol"])]
        return of_day, origin, iter(sorted(mine, key=lambda of: -of["missing"]))

    def _configured(self) -> Any:
        return stored_configuration(self._file)

    @contextmanager
    def _store(self, *, must_have_run: bool = True) -> Iterator[Store]:
        if not self._file.is_file():
            raise ConfigError(f"{self._file}: there is no such file")
        with opened_store(self._file, None, None) as opened:
            if must_have_run and not opened.head().commit:
                raise InputError(self._nothing(opened))
            yield opened

    def _nothing(self, opened: Store) -> str:
        name = self._configured().name
        return f"{nothing_run(name, opened)}; `openbell run --config {self._file}` begins it"


def _day_of(opened: Store, given: str | None) -> date:
    """A day that was asked for, or the newest that was run."""
    if (day := given_day("date", given)) is not None:
        return day
    step = opened.head().step
    for found in opened.steps(after=max(step - 1, 0)):
        return found.trading_date
    raise InputError("no day was run yet; name a date, e.g. 2024-07-01")


def _sessions(opened: Store, of_day: date) -> Iterator[dict[str, Any]]:
    counts = Counter(signal.session for _, signal in opened.signals(trading_date=of_day))
    for document in opened.documents(trading_date=of_day):
        fields = orjson.loads(document.body)
        levels = fields["symbols_data"]
        found = {
            **fields,
            "symbols": len(levels),
            "symbols_without_a_row": sum(of["high"] is None for of in levels.values()),
            "signals": counts[document.session],
        }
        yield {name: found.get(name) for name in SESSION_COLUMNS}


def _levels(
    opened: Store, of_day: date, session: str | None = None, symbol: str | None = None
) -> Iterator[dict[str, Any]]:
    for document in opened.documents(trading_date=of_day, session=session):
        for name, of in orjson.loads(document.body)["symbols_data"].items():
            if symbol in (None, name):
                yield {
                    "trading_date": str(document.trading_date),
                    "session": document.session,
                    "symbol": name,
                    "status": document.status,
                    "high": of["high"],
                    "low": of["low"],
                }


def _seen(opened: Store) -> tuple[date, str, list[dict[str, Any]]] | None:
    """The day of the newest snapshot, its market time, and what there is of each symbol's minutes."""
    from openbell.market.days import MINUTE_NS
    from openbell.runtime.record.codec import Undecodable, decode
    from openbell.runtime.record.writing import market_time

    epoch = next((of for of in opened.epochs() if of.problem is None), None)
    if epoch is None:
        return None
    try:
        today = decode(opened.states(epoch.epoch)["upkeep"]).today
    except (KeyError, Undecodable):
        return None
    if today is None:
        return None
    about = today.opened
    _, ends = about.day.grid(about.interval_ns or MINUTE_NS)
    over = ends <= epoch.market_ns
    expected = int(over.sum())
    actual = today.seen[over].sum(axis=0).tolist()
    counts = {} if today.counts is None else {"rows": today.counts.rows.tolist()}
    found = [
        {
            "trading_date": str(about.day.date),
            "symbol": name,
            "expected": expected,
            "actual": actual[i],
            "quality_pct": round(100 * actual[i] / expected, 2) if expected else None,
            "missing": expected - actual[i],
            **{key: values[i] for key, values in counts.items()},
        }
        for i, name in enumerate(about.symbols)
    ]
    return about.day.date, market_time(epoch.market_ns), found


def _page(
    what: str, found: Iterator[Mapping[str, Any]], offset: int, limit: int, **about: Any
) -> str:
    """Rows from one place on; `next_offset` goes on after them."""
    shown, more = rows(islice(found, offset, None), limit)
    told: dict[str, Any] = {**about, what: shown, "shown": len(shown), "more": more}
    if more:
        told["next_offset"] = offset + len(shown)
    return as_text(told)


def _log(what: str, found: Iterator[Mapping[str, Any]], after: str | None, limit: int) -> str:
    """Rows of a log; `cursor` goes on after them, and later finds what came meanwhile."""
    try:
        shown, more = rows(found, limit)
    except ValueError as error:
        raise InputError(f"after is {after}; {error}") from None
    cursor = shown[-1]["cursor"] if shown else after
    return as_text({what: shown, "shown": len(shown), "more": more, "cursor": cursor})
