"""What kinds of events there are: all that happens in a run beside its signals."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

NoticeKind = Literal[
    "backfill.failed",
    "backfill.late",
    "calendar.changed",
    "clock.back",
    "clock.forward",
    "clock.stopped",
    "feed.auth",
    "feed.back",
    "feed.connected",
    "feed.reconnecting",
    "feed.renewed",
    "feed.silent",
    "gap",
    "halt",
    "halt.over",
    "record.failed",
    "revision.late",
    "rows.end_stamped",
    "rows.partial",
    "run.config",
    "run.ended",
    "run.failed",
    "run.paused",
    "run.recovered",
    "run.restarted",
    "run.restored",
    "run.resumed",
    "run.started",
    "run.stopped",
    "run.takeover",
    "scan.done",
    "scan.skipped",
    "scan.slow",
    "sink.back",
    "sink.failed",
    "sink.failing",
    "sink.gave_up",
    "sink.retried",
    "sink.skipped",
    "skew",
    "store.outage",
    "symbol.added",
    "symbol.back",
    "symbol.refused",
    "symbol.removed",
    "symbol.silent",
]
"""Of what is no change of a day, a phase or a session: told by an actor (`Noticed`), or by the
process."""


class Kind(NamedTuple):
    """One kind of event."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]
    """Of its line in the log."""
    meaning: str
    """A sentence for people."""


KINDS: dict[str, Kind] = {
    "day.not_started": Kind("DEBUG", "A trading day is next, or is begun anew."),
    "day.pre_market": Kind("DEBUG", "The day is prepared; its open is awaited."),
    "day.active": Kind("INFO", "The day is open."),
    "day.timeout": Kind("WARNING", "The feed has been silent for `day.timeout_seconds`."),
    "day.post_market": Kind("DEBUG", "The close was reached."),
    "day.ended": Kind("DEBUG", "The day's results are complete."),
    "day.error": Kind("ERROR", "The run can't go on with the day until somebody says to recover."),
    "phase.clear": Kind("DEBUG", "What is kept of the day before is dropped."),
    "phase.initialise": Kind("DEBUG", "The day is being prepared."),
    "phase.history": Kind("DEBUG", "The days before are read."),
    "phase.load": Kind("DEBUG", "The day's rows are read."),
    "phase.activate": Kind("DEBUG", "The day's rows are there."),
    "phase.stream": Kind("DEBUG", "The day is gone through."),
    "phase.end": Kind("DEBUG", "The day is being put together."),
    "session.pending": Kind("DEBUG", "A session stands for the day."),
    "session.active": Kind("INFO", "A session's window has begun."),
    "session.completed": Kind("INFO", "A session's window is over, and its levels hold."),
    "session.skipped": Kind("INFO", "The day has no such window, or was begun anew."),
    "run.started": Kind("INFO", "A process has begun a run that had no state."),
    "run.restored": Kind("INFO", "A process has gone on where an earlier one came to."),
    "run.takeover": Kind("WARNING", "A standby has the lease, which another process had."),
    "run.restarted": Kind("WARNING", "An actor failed; all begin again from the last snapshot."),
    "run.recovered": Kind("INFO", "Somebody said to recover: ERROR is left."),
    "run.config": Kind("INFO", "The configuration is another one from some day on."),
    "run.paused": Kind("INFO", "Somebody holds the clock."),
    "run.resumed": Kind("INFO", "A pause was given back."),
    "run.ended": Kind("INFO", "The last day has ended, or none can follow."),
    "run.stopped": Kind("INFO", "The process was stopped before the run's end."),
    "run.failed": Kind("ERROR", "The process could not go on with the run."),
    "clock.forward": Kind("WARNING", "The host's clock was set forward."),
    "clock.back": Kind("WARNING", "The host's clock was set back."),
    "clock.stopped": Kind("WARNING", "The process, or its host, stood still."),
    "skew": Kind("WARNING", "The host's clock and the feed's differ by more than may be."),
    "store.outage": Kind("WARNING", "The store answers again; it did not for some time."),
    "feed.connected": Kind("INFO", "The feed is connected."),
    "feed.reconnecting": Kind("WARNING", "The feed is not connected; it is tried again."),
    "feed.auth": Kind("ERROR", "The feed refuses who asks; it is not tried again by itself."),
    "feed.renewed": Kind("INFO", "The feed's login was renewed; it connects anew."),
    "feed.silent": Kind("WARNING", "No row has come from the feed for longer than is usual."),
    "feed.back": Kind("INFO", "Rows come again from a feed that was silent."),
    "symbol.silent": Kind("WARNING", "No row has come of a symbol for longer than is usual."),
    "symbol.back": Kind("INFO", "Rows come again of a symbol that was silent."),
    "symbol.added": Kind("INFO", "A symbol is watched from here on, as somebody asked."),
    "symbol.removed": Kind("INFO", "A symbol is not watched any more, as somebody asked."),
    "symbol.refused": Kind(
        "WARNING",
        "The feed's vendor does not deliver a symbol; or one that was asked for can't be had.",
    ),
    "halt": Kind("INFO", "Trading is halted; it explains silence."),
    "halt.over": Kind("INFO", "Trading goes on."),
    "gap": Kind("WARNING", "Rows of some time are lacking."),
    "rows.end_stamped": Kind("WARNING", "Bars seem to carry the time of their end."),
    "rows.partial": Kind("INFO", "A bar holds a part of its interval only."),
    "revision.late": Kind(
        "INFO", "A bar was revised when something that it belongs to was over, which stands."
    ),
    "backfill.late": Kind("WARNING", "What was missed was not there in time; it goes on without."),
    "backfill.failed": Kind("WARNING", "What was missed can't be had."),
    "calendar.changed": Kind("WARNING", "The calendar says something else of the day under way."),
    "record.failed": Kind("WARNING", "The recording lacks something."),
    "scan.done": Kind("INFO", "A scan has run; what it found is among the facts."),
    "scan.skipped": Kind("WARNING", "A scan failed or was too late; the day goes on without it."),
    "scan.slow": Kind("WARNING", "A backtest waits for a scan that takes longer than it should."),
    "sink.failing": Kind("WARNING", "A sink does not take what it is given; it is tried again."),
    "sink.back": Kind("WARNING", "A sink takes what it is given again."),
    "sink.gave_up": Kind("ERROR", "A sink has not taken something, and is not given it again."),
    "sink.retried": Kind("INFO", "Somebody has a sink tried again that had given up."),
    "sink.skipped": Kind("INFO", "Somebody has a sink go on without something."),
    "sink.failed": Kind("ERROR", "A sink gets nothing any more until the next start."),
}
"""All of them, by name: what it is about, a dot, what happened."""

FoundRow = tuple[str, float, str, str]
"""What a scan found: symbol, score, reason, and what became of it."""

Fact = str | int | float | bool | tuple[FoundRow, ...]
"""A value among what else is known of an event."""

NOTICE_KINDS: frozenset[str] = frozenset(get_args(NoticeKind))

OWN_FIELDS: frozenset[str] = frozenset(
    {
        "what",
        "kind",
        "id",
        "fence",
        "trading_date",
        "session_name",
        "symbols",
        "from",
        "to",
        "market_time",
        "wall_time",
        "why",
    }
)
"""Names in an entry of the audit trail that no fact may have."""
