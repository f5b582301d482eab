"""Print breakouts as they are found: `python examples/embed.py examples/us.yaml minutes`."""

import sys

from openbell import Runtime

config, data = sys.argv[1:]
with Runtime.from_config(config, data) as runtime:
    for signal in runtime.signals():
        print(signal.known_at, signal.symbol, signal.session, signal.side, signal.price)
