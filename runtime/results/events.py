"""Events as an embedding program gets them, and the logs that they come from."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from difflib import get_close_matches
from itertools import islice
from typing import Any, Protocol
from zlib import crc32

import orjson

from openbell.actors.effects import Commit
from openbell.adapters.stores import Corrupt, Store, Unavailable
from openbell.messages.events import KINDS, OWN_FIELDS
from openbell.messages.time import Grant
from openbell.runtime.record.news import News
from openbell.runtime.record.telling import Telling
from openbell.runtime.record.trail import Trail
from openbell.runtime.record.writing import audit_entry, step_key

PAGE = 1_000
"""Events read from a log at a time."""

RETRY_SECONDS = 0.2
"""Pause before a store that did not answer is asked again."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run beside its signals; instants are UTC."""

    id: str
    """The same wherever this event is read, and of no other one."""
    kind: str
    """What it is about, a dot, what happened: one of docs/outputs.md, such as `day.error`."""
    trading_date: date | None
    market_time: datetime | None
    """When, as the market's time goes; None: it happened to the process."""
    wall_time: datetime
    """When, by the host's clock."""
    session: str | None
    symbols: tuple[str, ...]
    """Those that it is about; none: it is not about symbols."""
    before: str | None
    """The state that was left, where one was."""
    after: str | None
    why: str
    """A sentence for people."""
    facts: Mapping[str, Any] = field(compare=False)
    """What else is known: numbers and words of this kind."""
    cursor: str = field(compare=False)
    """Where to go on after this event: an opaque position of the log."""

    def as_dict(self) -> dict[str, Any]:
        """Its fields as JSON has them, as `openbell events --json` prints them."""
        return {
            "cursor": self.cursor,
            "id": self.id,
            "kind": self.kind,
            "trading_date": str(self.trading_date) if self.trading_date else None,
            "market_time": _text(self.market_time),
            "wall_time": _text(self.wall_time),
            "session": self.session,
            "symbols": list(self.symbols),
            "before": self.before,
            "after": self.after,
            "why": self.why,
            "facts": dict(self.facts),
        }


class EventLog(Protocol):
    """Events in the order in which they came to be durable; any thread may read it."""

    news: News

    def page(self, after: str | None, limit: int = PAGE) -> list[Event]:
        """The next events after a cursor, or the first; none: there are no more for now.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's; the text names the oldest.
        """
        ...

    def close(self) -> None: ...


class StoredEvents:
    """The events of a name in its store, those of earlier processes too.

    Parameters
    ----------
    store : Store
        To read from; may be closed between two pages.
    news : News
        Tells when more has become durable, and when no more will come.
    """

    def __init__(self, store: Store, news: News | None = None) -> None:
        self._store = store
        self.news = News() if news is None else news  # one that is empty is false
        self._closed = False

    def page(self, after: str | None, limit: int = PAGE) -> list[Event]:
        while True:
            try:
                return list(read(self._store, after, limit))
            except Unavailable:
                # The run waits for its store, and so does who reads what it writes.
                if self.news.over:
                    raise
                time.sleep(RETRY_SECONDS)
            finally:
                if self._closed:
                    self._store.close()

    def close(self) -> None:
        self._closed = True
        self._store.close()


def read(store: Store, after: str | None = None, limit: int | None = None) -> Iterator[Event]:
    """Events of a store, oldest first, from its audit trail.

    Raises
    ------
    ValueError
        If the cursor is not one of this store's events; the text names the oldest.
    """
    position, mark = _parsed(after)
    # What the cursor names is read too: another store has another entry there, or none.
    entries = iter(store.audit(max(position - 1, 0)))
    if after is not None:
        named = next(entries, None)
        if named is None or named[0] != position or _mark(named[1]) != mark:
            raise _unknown(after, next(iter(store.audit()), None))
    for place, entry in islice(entries, limit):
        yield event_of(entry, place)


class MemoryEvents:
    """The events of one run, as long as its process lasts.

    Parameters
    ----------
    telling : Telling
        Whose news these are, and which counts them.
    keep : bool
        Whether anybody will read them; if not, they are counted only.
    """

    def __init__(self, telling: Telling, *, keep: bool = True) -> None:
        self.news = telling.news
        self._telling = telling
        self._keep = keep
        self._kept: list[bytes] = []
        self._trail = Trail(None, ())
        telling.woken = lambda: telling.bring(self._append)

    def settled(self, commit: Commit, grant: Grant) -> None:
        """A step is over, and brought something."""
        changes = self._trail.of(commit, grant.until_ns)
        self._telling.stepped(changes)
        for number, of in enumerate(changes if self._keep else ()):
            self._append(audit_entry(of, step_key(of, grant.step, number)))
        self.news.came(len(changes))

    def page(self, after: str | None, limit: int = PAGE) -> list[Event]:
        position, mark = _parsed(after)
        if after is not None:
            named = self._kept[position - 1 : position]
            if not named or _mark(named[0]) != mark:
                raise _unknown(after, (1, self._kept[0]) if self._kept else None)
        entries = self._kept[position : position + limit]
        return [event_of(entry, place) for place, entry in enumerate(entries, position + 1)]

    def close(self) -> None:
        pass

    def _append(self, entry: bytes) -> None:
        if self._keep:
            self._kept.append(entry)


def event_of(entry: bytes, place: int) -> Event:
    """An event from an entry of an audit trail, of any version, and its place there.

    Raises
    ------
    Corrupt
        If it is none.
    """
    try:
        return _event(orjson.loads(entry), entry, place)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise Corrupt(f"entry {place} of the audit trail can't be read: {error!r}") from error


def _event(fields: dict[str, Any], entry: bytes, place: int) -> Event:
    kind, at = _kind(fields), fields.get("market_time")
    day, wall_time = fields.get("trading_date"), fields["wall_time"]
    return Event(
        id=fields.get("id") or f"{kind}:{wall_time}:{place}",
        kind=kind,
        trading_date=date.fromisoformat(day) if day else None,
        market_time=_instant(at) if at else None,
        wall_time=_instant(wall_time),
        session=fields.get("session_name"),
        symbols=tuple(fields.get("symbols") or ()),
        before=fields.get("from"),
        after=fields.get("to"),
        why=fields.get("why") or "",
        facts={name: value for name, value in fields.items() if name not in OWN_FIELDS},
        cursor=f"{place}-{_mark(entry)}",
    )


def _kind(fields: Mapping[str, Any]) -> str:
    """Entries of before there were events don't name it."""
    what, after = fields["what"], fields.get("to")
    if kind := fields.get("kind"):
        return str(kind)
    if what == "pause":
        return "run.paused" if after else "run.resumed"
    if what == "clock":
        return "clock.forward" if fields["seconds"] > 0 else "clock.back"
    return _KINDS.get(what) or f"{what}.{str(after).lower()}"


_KINDS = {
    "config": "run.config",
    "outage": "store.outage",
    "recover": "run.recovered",
    "restart": "run.restarted",
    "restored": "run.restored",
}
"""Of entries that have none, by what they call themselves."""


def wanted(kinds: Iterable[str] | None) -> Callable[[Event], bool]:
    """Whether an event is of some kinds; what stands before a dot means all that begin so.

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    if kinds is None:
        return lambda event: True
    if isinstance(kinds, str):
        kinds = (kinds,)
    asked = frozenset(kinds)
    groups = dict.fromkeys(kind.partition(".")[0] for kind in KINDS)
    for name in sorted(asked):
        if name not in KINDS and name not in groups:
            near = get_close_matches(name, [*KINDS, *groups], n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"they begin with {', '.join(groups)}"
            raise ValueError(f'"{name}" is no kind of event; {hint}')
    return lambda event: event.kind in asked or event.kind.partition(".")[0] in asked


def _mark(entry: bytes) -> str:
    """By which a cursor tells its log from others."""
    return f"{crc32(entry):08x}"


_CURSOR = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{8})")


def _parsed(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return 0, ""
    if (found := _CURSOR.fullmatch(cursor)) is None:
        raise ValueError(f"{cursor!r} is no cursor; pass one that an event of this log carries")
    return int(found[1]), found[2]


def _unknown(cursor: str, oldest: tuple[int, bytes] | None) -> ValueError:
    if oldest is None:
        return ValueError(f"{cursor!r} is no cursor of this log, which has no events")
    first = event_of(oldest[1], oldest[0])
    return ValueError(
        f"{cursor!r} is no cursor of this log: its state was deleted or begun anew, or it is "
        f"another run's; the oldest event here is {first.cursor}, {first.kind} of "
        f"{_text(first.wall_time)}"
    )


def _instant(text: str) -> datetime:
    """What lies below a microsecond is cut off."""
    return datetime.fromisoformat(text)


def _text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    text = instant.isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"  # as outputs have instants
