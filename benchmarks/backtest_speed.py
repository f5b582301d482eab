"""How fast `openbell backtest` is, as ratios to other ways of doing the job, in one run.

Whole processes are timed, in turn (A B C A B C …), and compared by their medians, each less its own
median on 1 symbol × 1 day. README.md beside this file says what is compared and why.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / "examples" / "us.yaml"
EXCHANGE = "XNYS"
SEED = 7

P = ParamSpec("P")
T = TypeVar("T")
Command = Callable[[Path, Path], list[str]]
"""Arguments of a process that reads a data folder and writes an output folder."""


@dataclass(frozen=True, order=True)
class Size:
    symbols: int
    days: int
    gaps: bool = False
    """By symbol and with bars missing, as most files are; else by time, and complete."""

    def __str__(self) -> str:
        return f"{self.symbols} × {self.days}{' with gaps' if self.gaps else ''}"

    @property
    def folder(self) -> str:
        return f"{self.symbols}x{self.days}{'-gaps' if self.gaps else ''}"


START_UP = Size(1, 1)
QUICK = (Size(50, 5), Size(50, 5, gaps=True))
LARGEST = Size(500, 63)
FULL = (Size(200, 21), LARGEST, Size(500, 63, gaps=True))
RESULTS = (
    *("signals.jsonl", "sessions.jsonl", "quality.csv", "bad_rows.csv"),
    *("signals.parquet", "levels.parquet", "bars_5m.parquet", "bars_15m.parquet"),
)
"""What a backtest writes, but for its summary."""
MISSING = 0.005
"""Share of the bars that are missing where there are gaps."""
FEWER_DAYS = Size(500, 21)
"""Whose peak memory that of the largest size is compared with."""


@dataclass(frozen=True)
class Program:
    name: str
    command: Command
    repeats: int = 1
    """Runs a round: more for what is so short that noise would decide."""


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_seconds: float
    """Of all its threads: what is left to compare where other work shares the machine."""
    peak_mib: float


class CommandFailed(Exception):
    """A measured command ended with an error; the text holds its stderr."""


@dataclass
class Measurements:
    cpu: bool = False
    """Whether programs are compared by their CPU time instead of by wall time."""
    runs: dict[tuple[str, Size], list[Run]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, str] = field(default_factory=dict)
    """What a program said when it failed; it is not run again."""
    differences: dict[tuple[str, Size], str] = field(default_factory=dict)
    """How openbell's results differ from those of a program, empty where they don't."""

    def take(self, program: Program, size: Size, data: Path, out: Path) -> None:
        command = program.command(data / size.folder, out / program.name)
        for _ in range(program.repeats):
            if program.name in self.failed:
                return
            try:
                self.runs[program.name, size].append(measured(command))
            except CommandFailed as error:
                self.failed[program.name] = str(error)
                print(error, file=sys.stderr)

    def seconds(self, program: Program, size: Size) -> float | None:
        return self._median(program, size, "cpu_seconds" if self.cpu else "seconds")

    def peak_mib(self, program: Program, size: Size) -> float | None:
        return self._median(program, size, "peak_mib")

    def _median(self, program: Program, size: Size, of: str) -> float | None:
        runs = self.runs.get((program.name, size))
        return statistics.median(getattr(run, of) for run in runs) if runs else None

    def net(self, program: Program, size: Size) -> float | None:
        """Median seconds less those of the same program on one symbol's day."""
        whole, start_up = self.seconds(program, size), self.seconds(program, START_UP)
        return None if whole is None or start_up is None else whole - start_up


def python(script: str, *options: object) -> list[str]:
    return [sys.executable, str(HERE / "baselines" / script), *map(str, options)]


def openbell(data: Path, out: Path) -> list[str]:
    options = ("--config", CONFIG, "--data", data, "--exchange", EXCHANGE, "--out", out)
    return [sys.executable, "-m", "openbell", "backtest", *map(str, options), "--force"]


INLINE = Program("openbell", openbell)
THREADS = Program("openbell-threads", lambda *paths: [*openbell(*paths), "--dispatcher", "threads"])
READ_ONLY = Program("read-only", lambda data, _: python("read_only.py", data), repeats=3)
POLARS = Program(
    "polars-job",
    lambda data, out: python(
        *("polars_job.py", "--config", CONFIG, "--data", data),
        *("--exchange", EXCHANGE, "--out", out),
    ),
)
NUMPY = Program(
    "numpy-job",
    lambda data, out: python(
        *("numpy_job.py", "--config", CONFIG, "--data", data),
        *("--exchange", EXCHANGE, "--out", out),
    ),
)
HELP = Program(
    "openbell --help", lambda *_: [sys.executable, "-m", "openbell", "--help"], repeats=3
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK[0]} only, without memory")
    parser.add_argument("--data", type=Path, help="folder to keep generated data in, or reuse")
    parser.add_argument("--runs", type=int, default=5, help="rounds a size (default %(default)s)")
    parser.add_argument("--cpu", action="store_true", help="compare CPU time: on a busy machine")
    options = parser.parse_args(arguments)
    sizes = QUICK if options.quick else FULL

    with tempfile.TemporaryDirectory(prefix="openbell-bench-") as scratch:
        # Compiled once, as what is installed is, also where the host's environment forbids it.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(scratch) / "compiled")
        data = options.data or Path(scratch) / "data"
        for size in (START_UP, *sizes):
            generate(data, size)
        if not options.quick:
            link_first_days(data, LARGEST, FEWER_DAYS)
        taken = measure(data, Path(scratch) / "out", sizes, options.runs, cpu=options.cpu)

    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"medians of {options.runs} rounds\n")
    print("\n".join(times_table(taken, sizes)), end="\n\n")
    print("\n".join(targets_table(taken, sizes)))
    return 1 if taken.failed or any(taken.differences.values()) else 0


def measure(
    data: Path, out: Path, sizes: Sequence[Size], rounds: int, *, cpu: bool
) -> Measurements:
    taken = Measurements(cpu)
    for size in sizes:
        programs = [INLINE, READ_ONLY, POLARS, NUMPY]
        if size == sizes[0]:
            programs += [THREADS, HELP]
        for number in range(rounds):
            say(f"{size}: round {number + 1} of {rounds}")
            for program in programs:
                if program is not HELP:
                    taken.take(program, size, data, out)
            if size == LARGEST:
                taken.take(INLINE, FEWER_DAYS, data, out / "fewer")
            if not number:
                for other, compare in ((POLARS, difference), (NUMPY, differing_files)):
                    if not {INLINE.name, other.name} & taken.failed.keys():
                        folders = [out / p.name for p in (INLINE, other)]
                        taken.differences[other.name, size] = in_child(compare, *folders)
            for program in programs:
                taken.take(program, START_UP, data, out / "start-up")
    return taken


def measured(command: list[str]) -> Run:
    """Wall time and peak memory of a process and of the children it waited for."""
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            raise CommandFailed(f"{shlex.join(command)} ended with {process.returncode}:\n{said}")
    # Kibibytes on Linux, bytes on macOS.
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a process of its own.

    A child's peak memory, as the system reports it, is at least its parent's when it was started,
    so this process has to stay small.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *args, **kwargs).result()


def generate(data: Path, size: Size) -> None:
    folder = data / size.folder
    held = len(list(folder.glob("*.parquet")))
    if held == size.days:
        return
    say(f"{size}: generating")
    in_child(write_days, folder, size)


def write_days(folder: Path, size: Size) -> None:
    from openbell.adapters.sample import write_sample

    write_sample(
        folder, symbols=size.symbols, days=size.days, seed=SEED, exchange=EXCHANGE, force=True
    )
    if size.gaps:
        for number, file in enumerate(sorted(folder.glob("*.parquet"))):
            put_by_symbol(file, SEED + number)


def put_by_symbol(file: Path, seed: int) -> None:
    """Write a day again as a vendor would: one symbol after another, some bars missing."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(file).sort_by([("symbol", "ascending"), ("ts", "ascending")])
    there = np.random.default_rng(seed).random(len(table)) >= MISSING
    pq.write_table(table.filter(pa.array(there)), file)


def link_first_days(data: Path, size: Size, fewer: Size) -> None:
    """The same files under another folder: a shorter sample is the beginning of a longer one."""
    folder = data / fewer.folder
    folder.mkdir(exist_ok=True)
    for file in sorted((data / size.folder).glob("*.parquet"))[: fewer.days]:
        if not (folder / file.name).exists():
            (folder / file.name).hardlink_to(file)


def difference(one: Path, other: Path) -> str:
    """How the signals in two folders differ in what both programs say of one; empty if in nothing."""
    ours, theirs = facts(one / "signals.jsonl"), facts(other / "signals.jsonl")
    only_ours, only_theirs = ours - theirs, theirs - ours
    if not only_ours and not only_theirs:
        return ""
    example = min(only_ours | only_theirs)
    return (
        f"{len(only_ours)} signals of {one.name} and {len(only_theirs)} of "
        f"{other.name} differ, for example {example}"
    )


def differing_files(one: Path, other: Path) -> str:
    """Which results in two folders are not equal: texts byte by byte, tables value by value."""
    return ", ".join(name for name in RESULTS if content(one / name) != content(other / name))


def content(file: Path) -> object:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.exists():
        return None
    if file.suffix != ".parquet":
        return file.read_bytes()
    table = pq.read_table(file)
    plain = [
        field.with_type(field.type.value_type).with_nullable(True)
        if pa.types.is_dictionary(field.type)
        else field.with_nullable(True)
        for field in table.schema
    ]
    return table.cast(pa.schema(plain))


def facts(file: Path) -> set[tuple[object, ...]]:
    keys = ("id", "ts", "known_at", "price", "level", "gap", "complete")
    with file.open("rb") as lines:
        return {tuple(signal[key] for key in keys) for signal in map(json.loads, lines)}


def times_table(taken: Measurements, sizes: Sequence[Size]) -> Iterator[str]:
    columns = [START_UP, *sizes]
    yield f"{'CPU ' if taken.cpu else ''}seconds (less start-up) and peak MiB"
    yield " " * 18 + "".join(str(size).rjust(30) for size in columns)
    for program in (INLINE, THREADS, READ_ONLY, POLARS, NUMPY):
        cells = []
        for size in columns:
            whole, net = taken.seconds(program, size), taken.net(program, size)
            peak = taken.peak_mib(program, size)
            less = "" if net is None or size == START_UP else f" ({net:.3f})"
            known = whole is not None and peak is not None
            cells.append(f"{whole:.3f}{less} {peak:7.0f}" if known else "–")
        yield program.name.ljust(18) + "".join(cell.rjust(30) for cell in cells)


def targets_table(taken: Measurements, sizes: Sequence[Size]) -> Iterator[str]:
    first = sizes[0]
    rows: list[tuple[str, float | None, str, float]] = []
    for size in sizes:
        ours = taken.net(INLINE, size)
        rows.append(
            (f"openbell ÷ read-only (a), {size}", ratio(ours, taken.net(READ_ONLY, size)), "≤", 4.5)
        )
        rows.append(
            (f"openbell ÷ polars-job (b), {size}", ratio(ours, taken.net(POLARS, size)), "<", 1.0)
        )
        rows.append(
            (f"openbell ÷ numpy-job (c), {size}", ratio(ours, taken.net(NUMPY, size)), "<", 1.0)
        )
    threads = ratio(taken.net(THREADS, first), taken.net(INLINE, first))
    rows.append((f"threads ÷ inline, {first}", threads, "≤", 1.5))
    if LARGEST in sizes:
        peaks = [taken.peak_mib(INLINE, size) for size in (LARGEST, FEWER_DAYS)]
        rows.append((f"peak memory {LARGEST} ÷ {FEWER_DAYS}", ratio(*peaks), "≤", 1.1))
    rows.append(("start-up, seconds", taken.seconds(INLINE, START_UP), "≤", 0.5))
    rows.append(("openbell --help, seconds", taken.seconds(HELP, START_UP), "<", 0.3))

    yield f"{'':44}{'measured':>10}{'target':>9}"
    for what, value, sign, target in rows:
        reached = value is not None and (value <= target if sign == "≤" else value < target)
        shown = "–" if value is None else f"{value:.2f}"
        verdict = "not measured" if value is None else "reached" if reached else "MISSED"
        yield f"{what:44}{shown:>10}{f'{sign} {target:g}':>9}  {verdict}"
    for (name, size), found in taken.differences.items():
        what = "all files" if name == NUMPY.name else "signals"
        yield f"{what} of openbell and {name}, {size}: {found or 'equal'}"
    for name in taken.failed:
        yield f"{name} failed; its message stands above"


def ratio(above: float | None, below: float | None) -> float | None:
    """None where a time less its start-up is below the noise."""
    if above is None or below is None or above <= 0 or below <= 0:
        return None
    return above / below


def say(what: str) -> None:
    if sys.stderr.isatty():
        print(what, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
