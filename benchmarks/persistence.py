"""What it costs to keep a backtest's state: `openbell backtest` with `--store` by one without.

Whole processes are timed in turn and compared by their medians, each less its own median on
1 symbol × 1 day. README.md beside this file says what is compared and why.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import backtest_speed
import yaml
from backtest_speed import CONFIG, EXCHANGE, START_UP, Program, Size, in_child, ratio, say

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from redis_server import RedisServer, find_server

if TYPE_CHECKING:
    from openbell.actors.effects import Commit, Settled

QUICK, FULL = Size(50, 5), Size(200, 21)
LARGE_SYMBOLS, LARGE_SESSIONS = 2_000, 20


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} only")
    parser.add_argument("--data", type=Path, help="folder to keep generated data in, or reuse")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default %(default)s)")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL

    with tempfile.TemporaryDirectory(prefix="openbell-bench-") as folder:
        scratch = Path(folder)
        data = options.data or scratch / "data"
        for each in (START_UP, size, Size(LARGE_SYMBOLS, 1)):
            backtest_speed.generate(data, each)
        server = find_server()
        if server is None:
            print("no Redis or Valkey server: Redis is left out", file=sys.stderr)
        urls = {"sqlite": f"sqlite:///{scratch}/state.db"}
        redis = RedisServer(server) if server else None
        try:
            if redis:
                redis.start()
                urls["redis"] = redis.url
            lines = [*ratios(scratch, data, size, options.runs, urls)]
            large = data / Size(LARGE_SYMBOLS, 1).folder
            lines += ["", *snapshots(scratch, large, urls, options.runs)]
        finally:
            if redis:
                redis.stop()

    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"medians of {options.runs} rounds\n")
    print("\n".join(lines))
    return 0


def ratios(
    scratch: Path, data: Path, size: Size, rounds: int, urls: dict[str, str]
) -> Iterator[str]:
    taken = backtest_speed.Measurements()
    number = 0

    def fresh(what: str, out: bool, url: str | None, program: Sequence[str]) -> Program:
        """Each has a name, and so a state, and a folder of its own."""

        def command(data: Path, _: Path) -> list[str]:
            nonlocal number
            number += 1
            config = written(scratch, f"run-{number}", data, url or "memory://")
            options = ["--out", str(scratch / f"out-{number}")] if out else []
            if url and "backtest" in program:
                options += ["--store", url]
            return [sys.executable, *program, "--config", str(config), *options]

        return Program(f"{what}, {'all files' if out else 'no files'}", command)

    openbell, daily = ["-m", "openbell"], [str(HERE / "baselines" / "snapshot_a_day.py")]
    bases: list[Program] = []
    compared: list[list[tuple[Program, float | None]]] = []
    for out in (True, False):
        bases.append(fresh("backtest", out, None, [*openbell, "backtest"]))
        compared.append(
            [
                (fresh(f"{what}, {kind}", out, url, program), target)
                for what, program, target in (
                    ("snapshot at each boundary", [*openbell, "backtest"], 1.25),
                    ("snapshot a day", [*daily, "backtest"], 1.05),
                    ("openbell run", [*openbell, "run"], None),
                )
                for kind, url in urls.items()
            ]
        )
    programs = [*bases, *(program for group in compared for program, _ in group)]
    for round_number in range(rounds):
        say(f"{size}: round {round_number + 1} of {rounds}")
        for each in (size, START_UP):
            for program in programs:
                taken.take(program, each, data, scratch)
    yield f"{f'{size}, less start-up':48}{'seconds':>10}{'ratio':>8}{'whole':>8}{'target':>9}"
    for base, group in zip(bases, compared, strict=True):
        net = taken.net(base, size)
        yield f"{base.name:48}{shown(net)}"
        for program, target in group:
            mine = taken.net(program, size)
            whole = ratio(taken.seconds(program, size), taken.seconds(base, size))
            yield f"{program.name:48}{shown(mine)}" + judged(ratio(mine, net), whole, target)
    for name, said in taken.failed.items():
        yield f"{name} failed: {said}"


def shown(value: float | None) -> str:
    return f"{'–' if value is None else f'{value:.3f}':>10}"


def judged(value: float | None, whole: float | None, target: float | None) -> str:
    measured = value is not None and value > 0  # else it is below start-up's own noise
    said = f"{value:8.2f}" if measured else f"{'–':>8}"
    said += f"{'–':>8}" if whole is None else f"{whole:8.2f}"
    if target is None:
        return said
    verdict = "not measured"
    if value is not None and measured:
        verdict = "reached" if value <= target else "MISSED"
    return f"{said}{f'≤ {target:g}':>9}  {verdict}"


def written(folder: Path, name: str, data: Path, url: str, sessions: object = None) -> Path:
    keys = yaml.safe_load(CONFIG.read_text())
    keys["name"] = name
    keys["exchange"] = EXCHANGE
    keys["data"]["path"] = str(data.resolve())
    keys["store"] = {"url": url}
    keys["feed"] = {"type": "replay", "speed": 0}
    # Times as text: YAML takes 10:30 for a number.
    keys["sessions"] = sessions or yaml.load(CONFIG.read_text(), yaml.BaseLoader)["sessions"]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(keys))
    return file


def snapshots(scratch: Path, data: Path, urls: dict[str, str], rounds: int) -> Iterator[str]:
    sessions = [
        {
            "name": f"Session {number}",
            "start": f"{10 + number // 4}:{15 * (number % 4):02}",
            "end": f"{10 + number // 4}:{15 * (number % 4) + 9:02}",
        }
        for number in range(LARGE_SESSIONS)
    ]
    yield (
        f"{LARGE_SYMBOLS} symbols × {LARGE_SESSIONS} sessions{'':11}"
        f"{'size':>10}{'encode':>10}{'commit':>10}{'restore':>10}"
    )
    for kind, url in urls.items():
        config = written(scratch, f"large-{kind}", data, url, sessions)
        say(f"snapshots on {kind}")
        size, encoding, commit, restoring = in_child(large_snapshot, config, rounds)
        restored = f"{restoring:8.3f} s"
        yield (
            f"{kind:40}{size / 2**20:6.1f} MiB{1e3 * encoding:7.1f} ms{1e3 * commit:7.1f} ms"
            f"{restored}  {'reached' if restoring < 0.5 else 'MISSED'} (< 0.5 s)"
        )


def large_snapshot(config: Path, rounds: int) -> tuple[int, float, float, float]:
    """Bytes of a whole snapshot; seconds to encode it, to commit it, and to recover from it.

    Recovery: states read, verified and put back into actors, and the day's rows read again.
    """
    from openbell.adapters.stores import CommitRecord, Snapshot, this_process
    from openbell.runtime.config import load_config
    from openbell.runtime.lifetime.opening import open_configured_store
    from openbell.runtime.lifetime.recovery import restore, restored
    from openbell.runtime.lifetime.run import DurableRun
    from openbell.runtime.record.codec import encode
    from openbell.runtime.record.ledger import Ledger

    class BeforeTheClose(Ledger):
        """Its newest snapshot is inside the day. A commit holds one: with the close's, it may be
        the only one of a fast day."""

        def _states(self, settled: Settled, commit: Commit | None) -> Mapping[str, Any] | None:
            if commit is None or commit.closed is not None:
                return None
            return super()._states(settled, commit)

    class Run(DurableRun):
        ledger_kind = BeforeTheClose

    made = load_config(config)
    store = open_configured_store(made)
    Run(made, store).run()
    head = store.head()
    before_close = store.epochs()[0]

    restoring = []
    for _ in range(rounds):
        run = DurableRun(made, store)
        began = time.perf_counter()
        found = restored(store, before_close.step, before_close.step)
        restore(run.engine, run.plan, found)
        restoring.append(time.perf_counter() - began)
        run.engine.close()
        store.release(run.fence)

    fence = store.acquire(this_process(), made.lease.ttl.ns)
    encoding, commits = [], []
    (last,) = store.steps(after=head.step - 1)
    for number in range(rounds):
        began = time.perf_counter()
        states = {name: encode(state, compressed=True) for name, state in found.states.items()}
        encoding.append(time.perf_counter() - began)
        snapshot = Snapshot(found.market_ns, last.trading_date, states, tuple(states))
        record = CommitRecord(head.commit + 1 + number, b"%016d" % number, snapshot=snapshot)
        began = time.perf_counter()
        store.commit(fence, record)
        commits.append(time.perf_counter() - began)
    store.release(fence)
    store.close()
    medians = [statistics.median(taken) for taken in (encoding, commits, restoring)]
    return sum(map(len, states.values())), medians[0], medians[1], medians[2]


if __name__ == "__main__":
    sys.exit(main())
