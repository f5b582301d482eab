"""Why, from what a run has stored: the store is only read, so that whoever runs does not notice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson

from openbell.adapters.stores import Document, Store
from openbell.errors import InputError, OpenbellError, ReplayError, RunError, StoreError, way_out
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.lifetime.eras import counted, era_on, eras_of
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.record.recorded import stretches
from openbell.runtime.results.events import read
from openbell.runtime.results.explaining import rules_in_words, skipped
from openbell.runtime.results.explanation import Event, Explanation, SessionExplained, SideExplained
from openbell.runtime.results.scans import stored_runs
from openbell.runtime.results.signals import Signal, signal_of
from openbell.runtime.results.witness import Witness
from openbell.runtime.why.asking import Asked, check, settled, unknown_day
from openbell.runtime.why.telling import explained, interval_of, unreported_of, zone_of

ATTEMPTS = 4
"""To read a store that somebody may be writing."""


def from_store(config: Config | None, store: Store, question: Asked) -> Explanation:
    """Why, from what a run has stored.

    Parameters
    ----------
    config : Config, optional
        Says where data is; None: nobody can tell, and days that need it are told without rows.

    Raises
    ------
    InputError
        If nothing was run of such a symbol, day, session or id; the text names the nearest.
    StoreError
        If the store can't be read.
    """
    head = store.head()
    if not head.commit:
        named = "nothing was ever run" + ("" if config is None else f' as "{config.name}"')
        raise InputError(
            f"{named} in {store.location}; run it first, or "
            f"{way_out('pass --data PATH to ask stored rows', 'pass data= to ask stored rows')}"
        )
    eras = eras_of(head, ())
    day = question.trading_date
    documents = store.documents(trading_date=day)
    recorded = [of.trading_date for of in counted(stretches(store), eras)]
    if not documents and day not in recorded:
        known = sorted({*recorded, *(of.trading_date for of in store.documents())})
        raise unknown_day(config or _as_run(eras[-1].config), day, known)
    era = era_on(eras, day)
    config = (config or _as_run(era.config)).with_determining(era.config)
    log = [signal_of(found, at) for at, found in store.signals(trading_date=day)]
    question = settled(question, (signal.id for signal in log), log)
    names = [*(session.name for session in config.sessions), *(of.session for of in documents)]
    check(question, era.symbols, names)
    before = {signal.id for signal in log}
    again = _run_again(config, store, question)
    log = [
        signal_of(found, at)
        for at, found in store.signals(trading_date=day, symbol=question.symbol)
    ]
    events = tuple(_events(store, day, question.symbol))
    unreported = unreported_of(day, question.symbol, read(store), stored_runs(store, day=day))
    if isinstance(again, OpenbellError):
        note = f"the day can't be run again, so that single rows are not known: {again}"
        if config.feed.type != "replay" and not documents:
            note = "the day has not opened: no row of it has come, and nothing was decided"
        return Explanation(
            exchange=config.exchange,
            symbol=question.symbol,
            trading_date=day,
            zone=zone_of(config),
            origin=f"from documents and signals in {store.location}",
            reached=None,
            interval=interval_of(config),
            sessions=_from_documents(config, documents, question, log),
            data=None,
            events=events,
            notes=(note, *unreported),
            companion=era.companions_on(day).get(question.symbol),
        )
    witness, reached_ns = again
    found = {signal.id for signal in witness.signals}
    # While a run is live, more may have been sent by now than this has gone through.
    log = [signal for signal in log if signal.id in found or signal.id in before]
    notes = list(unreported)
    if strange := [signal.id for signal in log if signal.id not in found]:
        notes.append(
            f"the log also has {', '.join(strange)}, which the recorded steps do not give: the day "
            "was begun anew since"
        )
    return explained(
        config,
        question,
        witness,
        reached_ns,
        log,
        events=events,
        notes=notes,
        companion=era.companions_on(day).get(question.symbol),
        origin=f"recorded in {store.location}, and run again from there",
    )


def _as_run(kept: Mapping[str, Any]) -> Config:
    """A configuration with the keys of a run that determine its answers, and no other."""
    sessions = [{key: of[key] for key in ("name", "start", "end")} for of in kept["sessions"]]
    least = {"exchange": kept["exchange"], "sessions": sessions}
    return config_from(least).with_determining(kept)


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
        except (InputError, RunError) as error:
            return error
        except StoreError as error:
            # Whoever runs may have joined or dropped what was about to be read.
            if attempt + 1 == ATTEMPTS:
                return error
    if replayed.differs is not None:
        return ReplayError(replayed.differs)
    return heard[-1], replayed.reached_ns


def _events(store: Store, day: date, symbol: str) -> Iterable[Event]:
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
        if symbol not in entry.get("symbols", (symbol,)):
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
            return SideExplained(name, level, None, None, None, of_side, None, (), None)

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
