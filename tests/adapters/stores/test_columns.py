"""Signals and documents as columns: what is read back is what JSON of them would have been."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_results import documents, signal_batches, some_signals
from hypothesis import given

from openbell.adapters.jsonlines import document_lines
from openbell.adapters.stores.columns import (
    UNREADABLE,
    document_text,
    pack_document,
    pack_signals,
    signal_rows,
    unpack_signals,
)
from openbell.adapters.tables import signals_at
from openbell.market.results import SessionDocument, SignalBatch


@given(signal_batches())
def test_signals_come_back_as_they_were(batch: SignalBatch) -> None:
    found = unpack_signals(pack_signals(batch))

    assert signal_rows(found) == signal_rows(batch)
    assert set(found.symbols) <= set(batch.symbols)
    assert pack_signals(found) == pack_signals(batch)


@given(documents())
def test_a_documents_text_is_its_line(document: SessionDocument) -> None:
    line = document_lines([document], {}).rstrip(b"\n")

    assert document_text(pack_document(document)) == line
    assert document_text(line) == line


def test_one_signal_of_many_symbols_takes_a_few_hundred_bytes() -> None:
    names = tuple(f"SYMBOL{number}" for number in range(2_000))
    batch = signals_at(some_signals(1), np.array([0]))

    packed = pack_signals(
        SignalBatch(**{**vars(batch), "symbols": names, "companion": np.array([7], np.int32)})
    )

    assert len(packed) < 300
    assert unpack_signals(packed).companion.tolist() == [1]


@pytest.mark.parametrize("keep", [1, 9, 40])
def test_columns_that_were_cut_off_are_refused(keep: int) -> None:
    packed = pack_signals(some_signals(30))

    with pytest.raises(UNREADABLE):
        unpack_signals(packed[:keep])
