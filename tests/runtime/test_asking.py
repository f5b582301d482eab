"""What a program, or an operator, asks of a run's symbols while somebody holds the clock."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from commands import Command
from inserting import DAYS, bars, configuration

import openbell
from openbell.adapters.stores import open_store
from openbell.errors import InputError
from openbell.runtime.lifetime.asks import ask


def test_who_has_paused_the_run_is_told_at_once_that_it_would_wait_for_itself() -> None:
    with openbell.Runtime(configuration("AC"), data=bars(0)) as runtime:
        runtime.pause("bot")
        runtime.start()
        desk = runtime._desk
        assert desk is not None
        while not desk.is_open:
            time.sleep(0.01)

        told = r"pause of this caller \(bot\), .* nothing was asked"
        with pytest.raises(InputError, match=told):
            runtime.add_symbols("B")
        with pytest.raises(InputError, match=told):
            asyncio.run(runtime.aremove_symbols("C"))
        # Somebody else may have to wait only for a moment.
        with ThreadPoolExecutor(1) as pool:
            elsewhere = pool.submit(runtime.add_symbols, "B", timeout=0.01)
            assert isinstance(elsewhere.exception(), TimeoutError)
        runtime.resume("bot")
        runtime.wait()

        assert {"B", "C"} <= {signal.symbol for signal in runtime.signals()}


def test_what_waits_for_a_run_is_among_the_symbols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    openbell = Command(monkeypatch, capsys)
    bars(0).to_parquet(tmp_path / "rows.parquet")
    made = {
        "name": "bot",
        "exchange": "XNSE",
        "symbols": ["A", "C"],
        "companions": {"B": "F"},
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
        "data": {"path": str(tmp_path / "rows.parquet")},
        "feed": {"end": DAYS[0]},
        "store": {"url": f"sqlite:///{tmp_path}/state.db"},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(made))
    given = ["--config", str(tmp_path / "c.yaml")]
    store = open_store(f"sqlite:///{tmp_path}/state.db", "bot")
    ask(store, "one", "add", ("B",))

    said = openbell("symbols", *given).out.splitlines()
    assert said[0] == "Nothing was ever run here"
    assert said[1].startswith("B                    to be added, asked at 20")
    assert said[1].endswith(": no run is up, the next one does it")

    assert openbell("run", *given).code == 0
    ask(store, "two", "remove", ("A",))
    listed = list(map(json.loads, openbell("symbols", "list", "--json", *given).out.splitlines()))
    assert {of["symbol"]: of["how"] for of in listed[:3]} == {
        "A": "configured",
        "B": "added",
        "C": "configured",
    }
    assert [(of["symbol"], of["how"]) for of in listed[3:]] == [
        ("F", "companion"),
        ("A", "to be removed"),
    ]
    store.close()
