"""`openbell` as if on another host: `on_another_host.py HOST run --config …`.

Nobody on this one can see then whether it lives, but by its lease.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from openbell.runtime.cli.app import main
from openbell.runtime.lifetime import lease

host, *arguments = sys.argv[1:]
_here = lease.this_process()
_there = replace(_here, host=host, boot_id=f"boot of {host}")
lease.this_process = lambda: _there
sys.argv = ["openbell", *arguments]
main()
