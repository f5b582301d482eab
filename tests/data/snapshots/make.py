"""Makes `tests/data/snapshots/VERSION`: what this version leaves when it is killed inside a day.

The rows are a table's, so that the day under way is in the journal; version 1 had none, and was
made with `openbell run`. Versions up to 5 were made of fewer keys. Make another one when what stores keep or how states are spelled changes
(`SCHEMA_VERSION`, the codec's `SCHEMA`), and keep those before: they must stay readable.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parent

CONFIG = """\
name: kept
exchange: XNYS
symbols: [DICI, FUGA, MITO]
sessions:
  - {name: Morning Opening, start: "09:30", end: "09:35"}
  - {name: Lunch Break, start: "11:50", end: "12:20"}
breakout:
  confirm: touch
  rearm: inside
  closed_beyond: true
  retest: {within_bars: 8}
  volume: {times: 0.5, of: day}
history: {indicators: {usual_close: {type: trailing_average, field: close, period: 1d}}}
scanners:
  - {name: moving, type: movers, at: [open+5m], then: follow, options: {min_score: 0.01}}
  - {name: wide, type: range_width, at: ["10:30"], then: add, options: {top: 4}}
data: {path: minutes}
feed: {type: replay, speed: 0}
clock: {step: bar}
snapshot: {every: 1h}
store: {url: "sqlite:///state.db"}
"""

ELSEWHERE = b'{"host":"another-host","boot_id":"another boot","pid":4242,"started":"4242"}'
"""Who is said to hold the lease: no machine that the tests run on may be the one that made it."""

EMBEDDING = """\
import sys
import pyarrow.parquet
from openbell import Runtime
with Runtime.from_config(sys.argv[1], pyarrow.parquet.read_table(sys.argv[2]), durable=True) as rt:
    rt.run()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="of this openbell, e.g. v1")
    kept = HERE / parser.parse_args().version
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        openbell = [sys.executable, "-m", "openbell"]
        sample = ("--symbols", "4", "--days", "2", "--seed", "7", "--out", folder / "minutes")
        subprocess.run([*openbell, "data", "sample", *sample], check=True)
        (folder / "config.yaml").write_text(CONFIG)
        paced = folder / "paced.yaml"
        paced.write_text(CONFIG.replace("speed: 0", "speed: 7200"))
        run = subprocess.Popen([sys.executable, "-c", EMBEDDING, paced, folder / "minutes"])
        # On the second day, of 390 minutes like the first, between its two sessions.
        while steps(folder / "state.db") < 500:
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
        kept.mkdir(exist_ok=True)
        (kept / "state.db").unlink(missing_ok=True)
        with closing(sqlite3.connect(folder / "state.db")) as state:
            state.execute("VACUUM INTO ?", (str(kept / "state.db"),))
        with closing(sqlite3.connect(kept / "state.db")) as state, state:
            state.execute("UPDATE leases SET holder = ?", (ELSEWHERE,))
        shutil.copytree(folder / "minutes", kept / "minutes", dirs_exist_ok=True)
        shutil.copy(folder / "config.yaml", kept)


def steps(state: Path) -> int:
    if not state.exists():
        return 0
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        (last,) = db.execute("SELECT max(number) FROM steps").fetchone()
        return last or 0


if __name__ == "__main__":
    main()
