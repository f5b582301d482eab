"""`openbell` as if on another host: `on_another_host.py HOST run --config …`.

Nobody on this one can see then whether it lives, but by its lease.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from openbell.adapters.stores import this_process
from openbell.runtime.cli.app import main
from openbell.runtime.lifetime import lease

host, *arguments = sys.argv[1:]
_there = replace(this_process(), host=host, boot_id=f"boot of {host}")
setattr(lease, "this_process", lambda: _there)  # noqa: B010 mypy takes no assignment
sys.argv = ["openbell", *arguments]
main()
