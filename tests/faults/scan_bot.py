"""A program whose scan notes that it was asked, waits while it is told to, and never answers twice
alike; killed by its test."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from openbell import Runtime
from openbell.market.scans import Found, ScanView


def main(config: str, folder: str) -> None:
    asked, waits = Path(folder, "asked"), Path(folder, "waits")

    def mine(view: ScanView) -> list[Found]:
        about = f"{view.day.date} {'pre' if view.before_open else f'{view.at:%H:%M}'}"
        with asked.open("a") as file:
            file.write(f"{about}\n")
        while waits.exists() and waits.read_text() == about:
            time.sleep(0.01)
        number = len(asked.read_text().splitlines())
        return [Found(view.symbols[number % len(view.symbols)], float(number))]

    with Runtime.from_config(config, scanners={"mine": mine}) as runtime:
        runtime.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
