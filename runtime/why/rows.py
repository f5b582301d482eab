"""Why, from stored rows: a backtest of the one day, or a recorded day gone through once more."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import orjson

from openbell.errors import ConfigError, DataError, InputError
from openbell.runtime.config import Config
from openbell.runtime.config.conditions import asks_for_history
from openbell.runtime.inmemory import InMemoryRun
from openbell.runtime.lifetime.rerunning import RecordedRun, recording_of
from openbell.runtime.results.explanation import Explanation
from openbell.runtime.results.following import read_on
from openbell.runtime.results.recording import Recorder
from openbell.runtime.results.scans import runs_of
from openbell.runtime.results.signals import Signal, signal_of
from openbell.runtime.results.witness import Witness
from openbell.runtime.why.asking import Asked, check, settled, unknown, why_closed
from openbell.runtime.why.telling import explained, unreported_of


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
    if (closed := why_closed(config, day)) is not None:
        raise InputError(f"{day}: {closed}; ask for another day")
    written = None if out is None else _written(config, data, out, day)
    run, notes = _run_over(config, data, day)
    heard: list[Witness] = []
    try:
        if question.id is not None:
            # The symbol is part of the id, but may hold colons as well as a session's name.
            names = sorted(run.plan.symbols, key=len, reverse=True)
            symbol = next((s for s in names if f":{s}:" in question.id), "")
            question = Asked(symbol, day, None, question.id)
            if not symbol:
                raise unknown("the symbol of the id", question.id or "", run.plan.symbols)
        check(question, run.plan.symbols, [session.name for session in config.sessions])
        symbol = question.symbol
        if isinstance(run, RecordedRun):
            run.beside = lambda engine: heard.append(Witness(engine.cells, symbol))
        else:
            heard.append(Witness(run.engine.cells, symbol))
        run.run()
    finally:
        run.let_go()
    witness = heard[-1]
    signals = witness.signals if written is None else written
    question = settled(question, (signal.id for signal in signals), signals)
    mine = [signal for signal in signals if signal.symbol == question.symbol]
    events = list(read_on(run.events.page, None))
    notes += unreported_of(day, question.symbol, events, runs_of(events, ()))
    where = config.data.path if data is None else data
    named = os.fspath(where) if isinstance(where, str | os.PathLike) else "the table given"
    origin = f"a backtest of that day over {named}; nothing of it was sent"
    if isinstance(run, RecordedRun):
        origin = f"the live day as it is recorded in {named}, gone through once more"
    if written is not None:
        origin = f"the signals of {out}, with the rows of {named}"
        if {signal.id for signal in mine} != {signal.id for signal in witness.signals}:
            notes.append(f"the rows give other signals than {out} has: the data is another one")
    if witness.opened is None:
        raise DataError(f"{named} has no row of {day} inside the hours of {config.exchange}")
    made = run.plan.settings
    paired = made.contracts.companions_on(day) or made.companions
    return explained(
        config,
        question,
        witness,
        witness.watermark_ns,
        mine,
        notes=notes,
        origin=origin,
        companion=dict(paired).get(question.symbol),
    )


def _run_over(config: Config, data: Any, day: date) -> tuple[InMemoryRun | RecordedRun, list[str]]:
    """A run of the one day; of a recorded one with the grants under which it was lived."""
    recorder = Recorder(())
    where = config.data.path if data is None else data
    notes = []
    if isinstance(where, str | os.PathLike):
        days, why_not = recording_of(config, os.fspath(where), day, day, 0.0)
        if days and why_not is None:
            run = RecordedRun(config, days, recorder)
            return run, list(run.source.info().notes)
        if days:
            notes.append(f"{why_not}; its rows are taken in the order in which they came")
            arrived = config.data.model_copy(update={"order": "arrival"})
            config = config.model_copy(update={"data": arrived})
    if not asks_for_history(config):
        # What trailing days are read for decides no breakout.
        config = config.model_copy(update={"history": type(config.history)()})
    return InMemoryRun(
        config,
        data,
        recorder,
        start=day,
        end=day,
        speed=0.0,
        dispatcher="inline",
        indicators=None,
        days_at_once=False,
        pushed=False,
    ), notes


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
