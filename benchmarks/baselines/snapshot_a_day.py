"""openbell with one snapshot a day, at its close: what steps and signals alone cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openbell.actors.effects import Commit, Settled
from openbell.runtime.cli.app import main
from openbell.runtime.lifetime import run
from openbell.runtime.record.ledger import Ledger


class Daily(Ledger):
    def _states(self, settled: Settled, commit: Commit | None) -> Mapping[str, Any] | None:
        if commit is None or commit.closed is None:
            return None
        return super()._states(settled, commit)


run.DurableRun.ledger_kind = Daily
main()
