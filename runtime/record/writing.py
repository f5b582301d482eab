"""How stores keep what the market's record is made of: documents, signals, audit entries, instants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import groupby

import orjson

from openbell.adapters.stores import Document
from openbell.adapters.stores.columns import pack_document
from openbell.adapters.tables import joined_signals
from openbell.hosttime import utc_now
from openbell.market.results import SessionDocument, SignalBatch
from openbell.runtime.record.trail import Transition


def stored_documents(documents: Iterable[SessionDocument]) -> Iterator[Document]:
    """Session documents as stores keep them, without their signals, which are in the log."""
    for document in documents:
        yield Document(
            trading_date=document.trading_date,
            session=document.session_name,
            status=document.status,
            completed_ns=document.completed_at,
            body=pack_document(document),
        )


def joined_batches(batches: Iterable[SignalBatch]) -> Iterator[SignalBatch]:
    """The same signals in the same order in fewer batches: one takes as long as a large one."""
    for _, of_day in groupby(filter(len, batches), key=lambda batch: batch.trading_date):
        yield joined_signals(list(of_day))


def audit_entry(change: Transition, key: str) -> bytes:
    """What happened as a line of the audit trail; `key` is the event's id."""
    named = {} if change.session is None else {"session_name": change.session}
    told: dict[str, object] = {}
    if change.kind_told:
        told = {**change.facts, "kind": change.kind_told, "symbols": change.symbols}
    return orjson.dumps(
        {
            **told,
            "what": change.what,
            "id": key,
            "trading_date": change.trading_date,
            **named,
            "from": change.before,
            "to": change.after or None,
            "market_time": market_time(change.at_ns),
            "wall_time": wall_time(),
            "why": change.why,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def step_key(change: Transition, step: int, number: int) -> str:
    """The id of one of the things that a step brought: whenever the step is taken it is the same,
    and nothing else has it."""
    return f"{change.kind}:{change.trading_date}:{step}.{number}"


COMMITTED = "committed"
"""Of the store's meta: when the last commit with a step was made, wall time."""


def wall_time() -> str:
    """Now, as the audit trail has it."""
    return utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def market_time(ns: int) -> str:
    """An instant as outputs have it: UTC, a fraction only where there is one."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"
