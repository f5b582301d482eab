"""Why a symbol has the signals of a day, or none: from a store, or from stored rows.

The day is run again in memory, by the steps that were recorded or as a backtest of that day, and
listened to. The store is only read, so that whoever runs on it does not notice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from openbell.adapters.stores import Document, Store
from openbell.errors import (
    CalendarError,
    ConfigError,
    DataError,
    InputError,
    OpenbellError,
    ReplayError,
    StoreError,
    way_out,
)
from openbell.market.calendar import timezone
from openbell.runtime.config import Config
from openbell.runtime.config.values import parse_date
from openbell.runtime.engine import Engine
from openbell.runtime.inmemory import InMemoryRun
from openbell.runtime.intake.hours import calendar_for
from openbell.runtime.lifetime.eras import counted, era_on, eras_of
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.record.recorded import stretches
from openbell.runtime.results.explaining import from_rows, rules_in_words, skipped
from openbell.runtime.results.explanation import (
    Event,
    Explanation,
    SessionExplained,
    SideExplained,
)
from openbell.runtime.results.recording import Recorder
from openbell.runtime.results.signals import Signal, moment, signal_of
from openbell.runtime.results.witness import Witness

_ID = re.compile(r"[^:]+:(\d{4}-\d{2}-\d{2}):.+:(?:HIGH|LOW)_BREAK:\d+")

ATTEMPTS = 4
"""To read a store that somebody may be writing."""


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


# From a store


def from_store(config: Config, store: Store, question: Asked) -> Explanation:
    """Why, from what a run has stored.

    Raises
    ------
    InputError
        If nothing was run of such a symbol, day, session or id; the text names the nearest.
    StoreError
        If the store can't be read.
    """
    head = store.head()
    if not head.commit:
        raise InputError(
            f'nothing was ever run as "{config.name}" in {store.location}; run it first, or '
            f"{way_out('pass --data PATH to ask stored rows', 'pass data= to ask stored rows')}"
        )
    eras = eras_of(head, ())
    day = question.trading_date
    documents = store.documents(trading_date=day)
    recorded = [of.trading_date for of in counted(stretches(store), eras)]
    if not documents and day not in recorded:
        known = sorted({*recorded, *(of.trading_date for of in store.documents())})
        raise _unknown_day(config, day, known)
    era = era_on(eras, day)
    config = config.with_determining(era.config)
    log = [signal_of(found, at) for at, found in store.signals(trading_date=day)]
    question = _settled(question, (signal.id for signal in log), log)
    names = [*(session.name for session in config.sessions), *(of.session for of in documents)]
    _check(question, era.symbols, names)
    before = {signal.id for signal in log}
    again = _run_again(config, store, question)
    log = [
        signal_of(found, at)
        for at, found in store.signals(trading_date=day, symbol=question.symbol)
    ]
    events = tuple(_events(store, day))
    if isinstance(again, OpenbellError):
        return Explanation(
            exchange=config.exchange,
            symbol=question.symbol,
            trading_date=day,
            zone=_zone(config),
            origin=f"from documents and signals in {store.location}",
            reached=None,
            interval=_interval(config),
            sessions=_from_documents(config, documents, question, log),
            data=None,
            events=events,
            notes=(f"the day can't be run again, so that single rows are not known: {again}",),
        )
    witness, reached_ns = again
    found = {signal.id for signal in witness.signals}
    # While a run is live, more may have been sent by now than this has gone through.
    log = [signal for signal in log if signal.id in found or signal.id in before]
    notes = []
    if strange := [signal.id for signal in log if signal.id not in found]:
        notes.append(
            f"the log also has {', '.join(strange)}, which the recorded steps do not give: the day "
            "was begun anew since"
        )
    return _explained(
        config,
        question,
        witness,
        reached_ns,
        log,
        events=events,
        notes=notes,
        origin=f"recorded in {store.location}, and run again from there",
    )


def _run_again(
    config: Config, store: Store, question: Asked
) -> tuple[Witness, int] | OpenbellError:
    """What the day brought, and how far it has come; or why it can't be run again."""
    heard: list[Witness] = []

    def listen(engine: Engine) -> None:
        heard.append(Witness(engine.cells, question.symbol))

    for attempt in range(ATTEMPTS):
        try:
            replayed = replay_day(config, store, question.trading_date, beside=listen)
            break
        except InputError as error:
            return error
        except StoreError as error:
            # Whoever runs may have joined or dropped what was about to be read.
            if attempt + 1 == ATTEMPTS:
                return error
    if replayed.differs is not None:
        return ReplayError(replayed.differs)
    return heard[-1], replayed.reached_ns


def _events(store: Store, day: date) -> Iterable[Event]:
    """What the audit trail has of the day, and of the process while it lasted."""
    entries = [orjson.loads(entry) for _, entry in store.audit()]
    of_day = [at for at, entry in enumerate(entries) if entry.get("trading_date") == str(day)]
    if not of_day:
        return
    later = (
        at
        for at, entry in enumerate(entries)
        if at > of_day[-1] and entry.get("trading_date") is not None
    )
    # What came behind its last entry was no part of a day that had ended.
    over = any(entries[at].get("to") == "ENDED" for at in of_day)
    end = of_day[-1] + 1 if over else next(later, len(entries))
    for entry in entries[of_day[0] : end]:
        of = entry.get("trading_date")
        if entry["what"] in ("phase", "session") or of not in (None, str(day)):
            continue
        yield Event(
            entry["wall_time"], entry.get("market_time"), entry["what"], _event_in_words(entry)
        )


def _event_in_words(entry: dict[str, Any]) -> str:
    change = f"{entry.get('from') or ''} → {entry.get('to') or ''}".strip(" →")
    why = entry.get("why") or ""
    if entry["what"] == "restored":
        steps = entry["steps"]
        why = f"{why}, {steps} steps given again"
    if (seconds := entry.get("seconds")) is not None:
        why = f"{why} ({seconds} s)".strip()
    return f"{change}, {why}" if change and why else change or why


def _from_documents(
    config: Config, documents: Sequence[Document], question: Asked, log: Sequence[Signal]
) -> tuple[SessionExplained, ...]:
    """What documents and signals alone tell."""
    places = {session.name: place for place, session in enumerate(config.sessions)}
    found = []
    for document in documents:
        if question.session not in (None, document.session) or document.session not in places:
            continue
        fields = orjson.loads(document.body)
        ruled = rules_in_words(config, places[document.session])
        if document.status == "SKIPPED":
            found.append(skipped(document.session, fields["reason"], ruled))
            continue
        of = fields["symbols_data"].get(question.symbol)
        mine = [signal for signal in log if signal.session == document.session]
        completed = document.status == "COMPLETED"
        levels = of or {"high": None, "low": None, "tick_count": 0}

        def side(
            name: str, level: float | None, mine: Sequence[Signal] = tuple(mine)
        ) -> SideExplained:
            of_side = tuple(signal for signal in mine if signal.side == name)
            return SideExplained(name, level, None, None, of_side, None, (), None)

        found.append(
            SessionExplained(
                session=document.session,
                status=document.status,
                reason=fields["reason"],
                start=_instant(fields["started_at"]),
                end=_instant(fields["completed_at"]),
                rows=levels["tick_count"],
                seen=None,
                expected=None,
                missing=(),
                complete=mine[0].complete if mine else None,
                late=(),
                **ruled,
                high=side("HIGH_BREAK", levels["high"]) if completed else None,
                low=side("LOW_BREAK", levels["low"]) if completed else None,
            )
        )
    return tuple(found)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# From stored rows


def from_stored_rows(
    config: Config, data: Any, question: Asked, out: Path | None = None
) -> Explanation:
    """Why, from a backtest of the one day.

    Parameters
    ----------
    data : path or table, optional
        Instead of the configuration's `data.path`.
    out : path, optional
        Folder with the results of a backtest, whose signals are the ones that are explained.

    Raises
    ------
    InputError
        If there is no such symbol, day, session or id; the text names the nearest.
    """
    day = question.trading_date
    if (closed := _closed(config, day)) is not None:
        raise InputError(f"{day}: {closed}; ask for another day")
    written = None if out is None else _written(config, data, out, day)
    # What trailing days are read for decides no breakout.
    alone = config.model_copy(update={"history": type(config.history)()})
    run = InMemoryRun(
        alone,
        data,
        Recorder((), keep_signals=False),
        start=day,
        end=day,
        speed=0.0,
        dispatcher="inline",
        indicators=None,
        days_at_once=False,
        pushed=False,
    )
    try:
        if question.id is not None:
            # The symbol is part of the id, but may hold colons as well as a session's name.
            names = sorted(run.plan.symbols, key=len, reverse=True)
            symbol = next((s for s in names if f":{s}:" in question.id), "")
            question = Asked(symbol, day, None, question.id)
            if not symbol:
                raise _unknown("the symbol of the id", question.id or "", run.plan.symbols)
        _check(question, run.plan.symbols, [session.name for session in config.sessions])
        witness = Witness(run.engine.cells, question.symbol)
        run.run()
    finally:
        run.let_go()
    signals = witness.signals if written is None else written
    question = _settled(question, (signal.id for signal in signals), signals)
    mine = [signal for signal in signals if signal.symbol == question.symbol]
    where = config.data.path if data is None else data
    named = os.fspath(where) if isinstance(where, str | os.PathLike) else "the table given"
    origin = f"a backtest of that day over {named}; nothing of it was sent"
    notes = []
    if written is not None:
        origin = f"the signals of {out}, with the rows of {named}"
        if {signal.id for signal in mine} != {signal.id for signal in witness.signals}:
            notes.append(f"the rows give other signals than {out} has: the data is another one")
    if witness.opened is None:
        raise DataError(f"{named} has no row of {day} inside the hours of {config.exchange}")
    reached_ns = witness.watermark_ns
    return _explained(config, question, witness, reached_ns, mine, notes=notes, origin=origin)


def _written(config: Config, data: Any, out: Path, day: date) -> list[Signal]:
    """The signals of a day in the results of a backtest."""
    try:
        account = orjson.loads((out / "summary.json").read_bytes())
        lines = (out / "signals.jsonl").read_bytes().splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: there is no such file; name a folder that `openbell backtest --out` "
            "or `openbell run --out` has written"
        ) from None
    if isinstance(data, str | os.PathLike):
        config = config.model_copy(update={"data": config.data.model_copy(update={"path": data})})
    if account["inputs"]["config"] != config.digest():
        raise ConfigError(f"{out} was made with another configuration; pass that one")
    found = []
    for line in lines:
        fields = orjson.loads(line)
        if fields["trading_date"] == str(day):
            found.append(_read_signal(fields))
    days = [account["first_day"], account["last_day"]]
    if days[0] is None or not days[0] <= str(day) <= days[1]:
        raise InputError(f"{day} is not among the results in {out}: {days[0]} to {days[1]}")
    return found


def _read_signal(fields: dict[str, Any]) -> Signal:
    from openbell.adapters.stores import StoredSignal

    day = date.fromisoformat(fields["trading_date"])
    body = orjson.dumps(fields)
    stored = StoredSignal(fields["id"], day, fields["session"], fields["symbol"], body)
    return signal_of(stored, "")


# Both


def _explained(
    config: Config,
    question: Asked,
    witness: Witness,
    reached_ns: int,
    signals: Sequence[Signal],
    *,
    origin: str,
    events: tuple[Event, ...] = (),
    notes: Sequence[str] = (),
) -> Explanation:
    sessions: tuple[SessionExplained, ...] = ()
    data = None
    notes = list(notes)
    under_way = False
    if witness.opened is None:
        notes.append("the day was not opened: no symbol had a row inside its hours")
    elif not witness.knows:
        names = ", ".join(witness.opened.symbols)
        notes.append(f"{question.symbol} was not among the symbols of that day: {names}")
    else:
        sessions, data = from_rows(witness, config, reached_ns, signals, question.session)
        under_way = reached_ns < witness.opened.day.close_ns
        if not data.actual:
            notes.append(f"{question.symbol} had no row inside the hours of that day")
    return Explanation(
        exchange=config.exchange,
        symbol=question.symbol,
        trading_date=question.trading_date,
        zone=_zone(config),
        origin=origin,
        reached=moment(reached_ns) if under_way else None,
        interval=_interval(config),
        sessions=sessions,
        data=data,
        events=events,
        notes=tuple(notes),
    )


def _zone(config: Config) -> str:
    return config.calendar.timezone or timezone(config.exchange)


def _interval(config: Config) -> str | None:
    return str(config.data.interval) if config.data.kind == "bars" else None


def _settled(question: Asked, ids: Iterable[str], signals: Sequence[Signal]) -> Asked:
    """The question with the symbol and session of the signal that it names."""
    if question.id is None:
        return question
    for signal in signals:
        if signal.id == question.id:
            return Asked(signal.symbol, question.trading_date, signal.session, question.id)
    raise _unknown(f"signal of {question.trading_date} with the id", question.id, list(ids))


def _check(question: Asked, symbols: Sequence[str], sessions: Sequence[str]) -> None:
    if question.symbol not in symbols:
        raise _unknown("symbol", question.symbol, symbols)
    if question.session is not None and question.session not in sessions:
        raise _unknown("session", question.session, sessions)


def _unknown(what: str, given: str, known: Iterable[str]) -> InputError:
    names = sorted(set(known))
    by_case = {name.casefold(): name for name in names}
    near = get_close_matches(given.casefold(), list(by_case), n=3)
    hint = f"the nearest: {', '.join(by_case[name] for name in near)}; " if near else ""
    shown = ", ".join(names[:8]) + (f", … {names[-1]}" if len(names) > 8 else "")
    there = f"there are {len(names)}: {shown}" if names else "there is none"
    return InputError(f'no {what} "{given}"; {hint}{there}')


def _unknown_day(config: Config, day: date, known: Sequence[date]) -> InputError:
    near = sorted(sorted(known, key=lambda of: abs((of - day).days))[:2])
    those = " and ".join(str(of) for of in near)
    closed = _closed(config, day)
    return InputError(
        f"{day}: {closed or 'nothing of it was run'}; the nearest days that were: {those}; there "
        f"are {len(known)}, {known[0]} to {known[-1]}"
    )


def _closed(config: Config, day: date) -> str | None:
    """That a date is no trading day, and why; None: it is one, or no calendar reaches it."""
    try:
        found = calendar_for(config, day, day).explain(day)
    except CalendarError:
        return None
    if found.day is not None:
        return None
    return f"no trading day of {config.exchange} ({found.reason})"
