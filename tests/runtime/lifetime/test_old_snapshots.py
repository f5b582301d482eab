"""State that earlier versions left, kept as files: this version goes on from it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from openbell.adapters.stores import SCHEMA_VERSION, Store, StoredSignal
from openbell.errors import StoreError
from openbell.runtime.config import load_config
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.results.events import read

KEPT = Path(__file__).parents[2] / "data" / "snapshots"
VERSIONS = sorted(folder.name for folder in KEPT.iterdir() if (folder / "config.yaml").is_file())


def left(store: Store) -> dict[str, Any]:
    return {
        "signals": [as_of_before(signal) for _, signal in store.signals()],
        # By name: those of older versions have no place in their day.
        "documents": sorted(store.documents(), key=lambda of: (of.trading_date, of.session)),
        "steps": [(step.number, step.market_ns) for step in store.steps()],
    }


def as_of_before(signal: StoredSignal) -> dict[str, Any]:
    """Without what older versions did not find out about signals."""
    fields = {"kind": "breakout", "of": None, **orjson.loads(signal.body)}
    for name in ("touched_at", "touch_excess", "closed_beyond_at"):
        fields.pop(name, None)
    return fields


def test_this_versions_state_is_kept() -> None:
    assert f"v{SCHEMA_VERSION}" in VERSIONS


def test_the_kept_state_has_what_only_this_version_can_read() -> None:
    config = load_config(KEPT / f"v{SCHEMA_VERSION}" / "config.yaml")
    with closing(open_configured_store(config)) as store:
        kinds = {orjson.loads(signal.body)["kind"] for _, signal in store.signals()}

        assert kinds == {"breakout", "closed_beyond", "retest"}
        assert "scan.done" in {event.kind for event in read(store)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_kept_run_goes_on_to_what_a_whole_one_gives(version: str, tmp_path: Path) -> None:
    shutil.copytree(KEPT / version, tmp_path / "kept")
    shutil.copytree(KEPT / version, tmp_path / "whole", ignore=lambda *_: ["state.db"])
    kept = load_config(tmp_path / "kept" / "config.yaml", overrides={"lease": {"ttl": "200ms"}})
    in_memory = {"store.url": "memory"}
    whole = load_config(tmp_path / "whole" / "config.yaml", overrides=in_memory)
    store, expected = open_configured_store(kept), open_configured_store(whole)
    before, begun = store.head(), left(store)
    (newest, *_) = store.epochs()
    assert newest.problem is None
    assert 0 < newest.step < before.step

    DurableRun(kept, store).run()
    DurableRun(whole, expected).run()

    assert begun["signals"]
    assert store.head().step > before.step
    assert (before.schema, store.head().schema) == (int(version[1:]), SCHEMA_VERSION)
    assert left(store) == left(expected)
    store.close()
    expected.close()


def test_state_of_a_newer_version_is_refused_and_both_are_named(tmp_path: Path) -> None:
    shutil.copytree(KEPT / VERSIONS[-1], tmp_path / "kept")
    newer = SCHEMA_VERSION + 1
    with closing(sqlite3.connect(tmp_path / "kept" / "state.db")) as db:
        db.execute(f"PRAGMA user_version = {newer}")

    with pytest.raises(StoreError, match=rf"version {newer}, .* up to version {SCHEMA_VERSION}"):
        open_configured_store(load_config(tmp_path / "kept" / "config.yaml"))
