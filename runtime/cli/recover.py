"""`openbell recover`: out of ERROR."""

from __future__ import annotations

from openbell.runtime.cli.options import ConfigFile, Name, StoreUrl
from openbell.runtime.cli.stored import day_state, reading


def recover(config: ConfigFile = None, store: StoreUrl = None, name: Name = None) -> None:
    """Leave ERROR: a run that waits for it, or the next one, tries again."""
    from openbell.runtime.lifetime.supervision import RECOVER

    with reading(config, store, name) as opened:
        if day_state(opened)[0] != "ERROR":
            print("Not in ERROR: there is nothing to leave")
            return
        opened.send_command(RECOVER)
    print("A run that waits for this, or the next `openbell run`, tries again")
