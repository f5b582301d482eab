"""Days whose rows come from a feed, piece by piece, into actors on one thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from runs import Found, Run, inline
from strategies import Case

from openbell.actors import clock
from openbell.actors.effects import Await, Commit, Effect, Fetch, Finish, Settled
from openbell.market.assembly import as_came, no_rows
from openbell.market.bars import RowBatch
from openbell.messages.control import Arrived, DayOver, Input, Loaded, Start
from openbell.runtime.kernel.cells import cells
from openbell.runtime.kernel.wiring import wiring


def arrived(case: Case, start: int, stop: int) -> Arrived:
    """The case's rows [start, stop) as a feed brings them."""
    raw = case.raw_rows()
    cut = slice(start, stop)
    piece = replace(
        raw,
        code=raw.code[cut],
        ts=raw.ts[cut],
        columns={name: column[cut] for name, column in raw.columns.items()},
        locate=lambda position: raw.locate(position + start),
    )
    data = as_came(piece, case.day, case.interval_ns)
    assert isinstance(data.rows, RowBatch)
    return Arrived(
        date=case.day.date, rows=data.rows, counts=data.counts, bad=data.bad, position=stop
    )


def pieces(case: Case, cuts: Sequence[int]) -> list[Input]:
    """All rows cut at these positions, and the mark at the end; what opens no day goes along."""
    edges = sorted({0, len(case.rows), *(cut for cut in cuts if 0 < cut < len(case.rows))})
    came: list[Input] = []
    start, outside = 0, 0
    for stop in edges[1:]:
        piece = arrived(case, start, stop)
        opens = bool(came) or bool((piece.counts.rows - piece.counts.outside_hours).any())
        if opens:
            came.append(piece)
            start = stop
    if not came:
        outside = len(case.rows)
    return [*came, DayOver(date=case.day.date, outside_hours=outside)]


def fed(run: Run, inputs: Iterable[Input]) -> Found:
    """Run to the end of the days; each input is told when the one before was taken."""
    found = Found()
    run = replace(run, settings=replace(run.settings, fed=True, order="arrival", days_ahead=0))
    found.cells = cells(run.actors, wiring(run.settings.sessions))
    coming = list(inputs)

    def carry_out(effect: Effect) -> None:
        match effect:
            case Fetch():
                pass
            case Await(date=day):
                data = no_rows(run.data[day].symbols, run.data[day].day, run.settings.interval_ns)
                loaded = Loaded(date=day, data=data, history=run.history.get(day))
                started.post(clock.NAME, loaded)
            case Commit():
                found.commits.append(effect)
                found.recorder.commit(effect)
            case Settled():
                states = {name: cell.state for name, cell in found.cells.items()}
                found.settled.append((effect, states))
                if coming and any(entered is coming[0] for entered in effect.grant.inputs):
                    coming.pop(0)
                    if coming:
                        started.post(clock.NAME, coming[0])
            case Finish():
                started.finish()
            case _:
                raise AssertionError(f"not to be carried out: {effect}")

    started = inline()(found.cells, carry_out)
    try:
        started.post(clock.NAME, Start(days=run.days))
        started.post(clock.NAME, coming[0])
        started.run()
    finally:
        started.close()
    return found
