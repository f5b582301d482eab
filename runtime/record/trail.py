"""Which transitions a step brought, of the day, its phases and its sessions, and what was noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from openbell.actors.effects import Commit
from openbell.market.days import MarketTime
from openbell.market.results import SessionDocument, SessionStatus
from openbell.messages.events import Fact
from openbell.messages.session import Noticed, Phase, PhaseEntered

ORDER: tuple[SessionStatus | None, ...] = (None, "PENDING", "ACTIVE", "COMPLETED")
"""Of a session's statuses; SKIPPED follows None alone."""

PHASES: dict[Phase, str] = {
    "clear": "the next trading day follows",
    "initialise": "the day is being prepared",
    "history": "what came before the day is needed",
    "load": "the day's rows are needed",
    "activate": "the day's rows are there",
    "stream": "the open",
    "end": "the close",
}
"""Why each is entered."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One entry of the audit trail, but for the wall time."""

    what: str
    """`day`, `phase` or `session`; `notice` for what is no change of state."""
    trading_date: date | None
    before: str | None
    after: str
    """Empty for a notice."""
    at_ns: MarketTime
    """Market time, ns UTC."""
    why: str
    session: str | None = None

    kind_told: str = ""
    """Of what is no change of state: the kind that it was told as."""
    symbols: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of the event."""
        return self.kind_told or f"{self.what}.{self.after.lower()}"


def _notice(said: Noticed) -> Transition:
    return Transition(
        "notice",
        said.date,
        None,
        "",
        said.at_ns,
        said.why,
        said.session,
        said.kind,
        said.symbols,
        said.facts,
    )


class Trail:
    """Tells what happened from commits, each of which has to pass through here, in order.

    Parameters
    ----------
    phase : str or None
        The one that the day is in.
    documents : tuple of SessionDocument
        The day's, as they are now.
    """

    def __init__(self, phase: Phase | None, documents: tuple[SessionDocument, ...]) -> None:
        self._phase = phase
        self._date: date | None = None
        self._statuses: dict[str, SessionStatus] = {}
        for document in documents:
            self._became(document)

    def of(self, commit: Commit, market_ns: MarketTime) -> list[Transition]:
        """What a step brought; it had come to `market_ns`."""
        sessions = [change for document in commit.documents for change in self._session(document)]
        days: list[Transition] = []
        for said in commit.transitions:
            if isinstance(said, PhaseEntered):
                why = PHASES[said.phase]
                phase = Transition("phase", said.date, self._phase, said.phase, market_ns, why)
                self._phase = said.phase
                days.append(phase)
            else:
                days.append(
                    Transition("day", said.date, said.before, said.after, said.at_ns, said.why)
                )
        # A day's last window ends before the day does, its first begins after it has begun.
        noticed = map(_notice, commit.noticed)
        return [*sessions, *noticed, *days] if commit.closed else [*days, *sessions, *noticed]

    def _session(self, document: SessionDocument) -> Iterator[Transition]:
        """A step may bring several of a session: its start and its end."""
        day, name = document.trading_date, document.session_name
        before = self._statuses.get(name) if day == self._date else None
        self._became(document)
        if document.status == before:
            return
        for after, at_ns, why in _way(before, document):
            yield Transition("session", day, before, after, at_ns, why, name)
            before = after

    def _became(self, document: SessionDocument) -> None:
        if document.trading_date != self._date:
            self._date, self._statuses = document.trading_date, {}
        self._statuses[document.session_name] = document.status


def _way(
    before: SessionStatus | None, document: SessionDocument
) -> Iterator[tuple[SessionStatus, MarketTime, str]]:
    reason, status = document.reason, document.status
    if status == "SKIPPED":
        yield status, document.updated_at, reason or "the day has no such window"
        return
    reached: dict[SessionStatus, tuple[MarketTime | None, str]] = {
        "PENDING": (document.created_at, reason or "the day was opened"),
        "ACTIVE": (document.started_at, "its start"),
        "COMPLETED": (document.completed_at, f"its end; {reason}" if reason else "its end"),
    }
    last = ORDER.index(status)
    # A day whose rows came late begins once more.
    first = 0 if before is None or before == "SKIPPED" else min(ORDER.index(before), last - 1)
    for after in ORDER[first + 1 : last + 1]:
        assert after is not None
        at_ns, why = reached[after]
        yield after, document.updated_at if at_ns is None else at_ns, why
