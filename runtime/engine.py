"""Puts a run together: actors on a dispatcher, rows in, commits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, assert_never

from openbell.actors import clock
from openbell.actors.effects import Await, Commit, Effect, Fetch, Finish, Publish
from openbell.adapters.sources import Source
from openbell.messages.control import Pause, Resume, Start
from openbell.runtime.cells import cells
from openbell.runtime.dispatchers import Dispatcher, Inline, Threads
from openbell.runtime.loading import Loader, day_windows
from openbell.runtime.planning import Plan
from openbell.runtime.recording import Recorder
from openbell.runtime.wiring import actors, wiring

Observer = Callable[[Commit], None]


class Engine:
    """One run over a plan; `run` may be called once, from any thread."""

    def __init__(
        self,
        plan: Plan,
        source: Source,
        recorder: Recorder,
        *,
        dispatcher: Literal["inline", "threads"] = "inline",
        seed: int | None = None,
        delayed: tuple[str, str] | None = None,
    ) -> None:
        self.cells = cells(actors(plan.settings), wiring(plan.settings.sessions))
        self._plan = plan
        self._recorder = recorder
        self.dispatcher: Dispatcher = (
            Threads(self.cells, self._carry_out)
            if dispatcher == "threads"
            else Inline(self.cells, self._carry_out, seed=seed, delayed=delayed)
        )
        self._loader = Loader(
            source,
            symbols=plan.symbols,
            windows=day_windows(plan.days),
            deliver=lambda loaded: self.dispatcher.post(clock.NAME, loaded),
            fail=self.dispatcher.fail,
        )

    def run(self) -> None:
        """Run to the end of the plan.

        Raises
        ------
        ActorFailed, OpenbellError
        """
        try:
            self.dispatcher.post(clock.NAME, Start(days=self._plan.days))
            self.dispatcher.run()
        finally:
            self.close()

    def close(self) -> None:
        """Let go of threads; what was committed stays."""
        self.dispatcher.close()
        self._loader.close()
        self._recorder.log.close()

    def stop(self) -> None:
        """Make `run` return; the step under way is not waited for."""
        self.dispatcher.finish()

    def pause(self, token: str) -> None:
        self.dispatcher.post(clock.NAME, Pause(token=token))

    def resume(self, token: str) -> None:
        self.dispatcher.post(clock.NAME, Resume(token=token))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Fetch(day=day):
                self._loader.fetch(day)
            case Await(date=date):
                self._loader.wait_for(date)
            case Commit():
                self._recorder.commit(effect)
            case Finish():
                self.dispatcher.finish()
            case Publish():
                raise AssertionError("the cell publishes")
            case _:
                assert_never(effect)
