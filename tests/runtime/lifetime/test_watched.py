"""Which symbols are watched: what the configuration says, and what was asked for beside it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from inserting import DAYS, bars, configuration

from openbell.adapters.stores import open_store
from openbell.errors import ConfigError
from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.config import Config
from openbell.runtime.lifetime.asks import Ask, ask, asked_of
from openbell.runtime.lifetime.eras import era_on, eras_of
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.lifetime.watched import Beside, watched_by


@pytest.mark.parametrize(
    ("beside", "named", "watched"),
    [
        (Beside(("A", "C"), ("B",), ()), ("A", "C"), ("A", "B", "C")),
        (Beside(("A", "C"), ("B",), ("C",)), ("A", "C"), ("A", "B")),
        (Beside(("A", "C"), ("B",), ("C",)), ("A", "C", "D"), ("A", "B", "D")),
        (Beside(("A",), (), ("C",)), ("A", "C"), ("A", "C")),  # named anew
        (Beside(None, (), ("C",)), ("A", "C", "D"), ("A", "D")),
    ],
)
def test_both_hold(beside: Beside, named: tuple[str, ...], watched: tuple[str, ...]) -> None:
    assert beside.symbols(named) == watched


def test_what_was_asked_holds_over_restarts_and_another_configuration(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    bars(0, "ABCDF").to_parquet(path)
    store = open_store(f"sqlite:///{tmp_path}/state.db", "bot")

    def config(symbols: str, end: str) -> Config:
        return configuration(symbols, name="bot", data={"path": str(path)}, feed={"end": end})

    run = DurableRun(config("AC", DAYS[0]), store, dispatcher="inline")
    run.pause("test")
    asked = run.symbols

    added = asked.ask(AddSymbols(symbols=("B",), request="one"))
    removed = asked.ask(RemoveSymbols(symbols=("C",), request="two"))
    run.resume("test")
    run.run()
    assert [added.result(0).done, removed.result(0).done] == [True, True]

    # The configuration names another one by now.
    again = DurableRun(config("ACD", DAYS[1]), store, dispatcher="inline")
    again.run()

    eras = eras_of(store.head(), ())
    assert era_on(eras, date.fromisoformat(DAYS[1])).followed == ("A", "B", "D")
    levels = [d for d in store.documents() if str(d.trading_date) == DAYS[1]]
    assert levels
    how = {of["symbol"]: of["how"] for of in watched_by(store)}
    assert how == {
        "A": "configured",
        "B": "added",
        "C": "removed",
        "D": "configured",
        "F": "companion",
    }
    # What was not removed can't be left out by the configuration alone.
    with pytest.raises(ConfigError, match="fresh"):
        DurableRun(config("CD", DAYS[1]), store, dispatcher="inline")
    store.close()


def test_what_is_asked_stays_until_somebody_answers(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/state.db", "bot")

    ask(store, "one", "add", ("B", "C"))

    (asked,) = asked_of(store).values()
    assert isinstance(asked, Ask)
    assert (asked.what, asked.symbols) == ("add", ("B", "C"))
    store.close()
