"""Files of any bytes are read or refused in one line: never a traceback, never a warning.

A failure prints its seed; `FUZZ_SEED=N` begins with that one.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from openbell.adapters.sources import DataOptions, open_source
from openbell.errors import InputError
from openbell.runtime.config import load_config

OPEN = 1_719_840_600
HEADER = "symbol,ts,open,high,low,close,volume"


def rows(form: Callable[[int], str]) -> str:
    lines = [f"A,{form(i)},1.5,2.5,0.5,1.75,{i * 10}" for i in range(40)]
    return "\n".join([HEADER, *lines]) + "\n"


def parquet(**options: object) -> bytes:
    sink = io.BytesIO()
    table = pa.table(
        {
            "symbol": pa.array(["A", "B"] * 20),
            "ts": pa.array([(OPEN + 60 * i) * 10**6 for i in range(40)], pa.timestamp("us", "UTC")),
            **{n: [1.5 + i for i in range(40)] for n in ("open", "high", "low", "close")},
            "volume": pa.array(range(40), pa.int64()),
        }
    )
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def zipped(text: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("inner.csv", text)
    return sink.getvalue()


EPOCHS = rows(lambda i: str(OPEN + 60 * i))
LOCAL = rows(lambda i: f"2024-07-01 09:{i:02}")
SEMICOLONS = rows(lambda i: f"07/01/2024 9:{i:02} AM").replace(",", ";").replace(".", ",")
CONFIG = {
    "exchange": "XNYS",
    "symbols": ["A", "B"],
    "sessions": [
        {"name": "OR", "start": "09:30", "end": "09:44", "breakout": {"buffer": "2 ticks"}}
    ],
    "breakout": {"confirm": "touch", "tick_size": 0.01, "rearm": {"inside_bars": 2, "max": 3}},
    "data": {"path": "x.csv", "columns": {"ts": "Date Time"}, "files": "{symbol}/{date}.csv"},
    "calendar": {"closures": ["2024-07-05"], "special_sessions": {"2024-11-02": "10:00-11:00"}},
    "store": {"url": "sqlite:///a.db"},
}


def in_dbn() -> dict[str, tuple[str, bytes]]:
    """Databento's files; none without its package."""
    try:
        from dbn_files import bar, mapping, metadata, system, trade
    except pytest.skip.Exception:
        return {}
    bars = [bar(7 + i % 2, (OPEN + 60 * i) * 10**9, (1.5, 2.5, 0.5, 1.75)) for i in range(40)]
    named = {"A": [("2024-07-01", "2024-07-02", 7)], "B": [("2024-07-01", "2024-07-02", 8)]}
    told = [mapping(7, "A", "7"), system("acknowledged"), trade(7, OPEN * 10**9, 1.5, 3)]
    return {
        "dbn": ("a.dbn", metadata("ohlcv-1m", named) + b"".join(bars)),
        "dbn of a live session": ("a.dbn", metadata(None) + b"".join([*told, *bars])),
    }


FILES: dict[str, tuple[str, bytes]] = {
    **in_dbn(),
    "csv with epochs": ("a.csv", EPOCHS.encode()),
    "csv with local times": ("a.csv", LOCAL.encode()),
    "csv with semicolons": ("a.csv", SEMICOLONS.encode()),
    "csv without a header": ("a.csv", LOCAL.partition("\n")[2].encode()),
    "csv, gzipped": ("a.csv.gz", gzip.compress(LOCAL.encode(), mtime=0)),
    "csv, zipped": ("a.zip", zipped(EPOCHS)),
    "parquet": ("a.parquet", parquet()),
    "parquet, plain": ("a.parquet", parquet(compression="none", use_dictionary=False)),
    "yaml": ("a.yaml", yaml.safe_dump(CONFIG).encode()),
}
TOKENS = [
    *(
        b"",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\n",
        b"\r",
        b'"',
        b",",
        b";",
        b"\t",
        b"-",
        b"'",
        b"=",
    ),
    *(b"nan", b"inf", b"1e308", b"-1", b"99999999999999999999", b"0", b"2024-02-30", b"24:00"),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b"&a",
        b"*a",
        b"!!python/object:x",
        b"? ",
        b": ",
        b"<<: ",
        b"|",
        b"%",
    ),
    *("\u00e9".encode(), "\u2028".encode(), b"\x80\x81"),
]


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Some bytes of a file made others: flipped, cut, doubled, moved, or put in."""
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(made) + 1)
        end = min(len(made), at + draw.choice((1, 2, 8, 64, 1024)))
        match draw.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << draw.randrange(8)
            case 1:
                del made[at:end]
            case 2:
                made[at:at] = made[at:end]
            case 3:
                made[at:at] = draw.choice(TOKENS)
            case 4:
                made[at:end] = draw.choice(TOKENS)
            case 5:
                made[at:end] = draw.randbytes(end - at)
            case _ if draw.random() < 0.2:
                del made[at:]
    return bytes(made)


def tried(seed: int, folder: Path) -> str | None:
    """What goes wrong with the file of a seed; None: it is read, or refused in one line."""
    draw = random.Random(seed)
    kind = draw.choice(list(FILES))
    name, content = FILES[kind]
    path = folder / name
    path.write_bytes(mutated(content, draw))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            if kind == "yaml":
                load_config(path)
            else:
                source = open_source(path, DataOptions(timezone="America/New_York"))
                dates = source.dates("UTC")
                read = source.read(-(2**62), 2**62)
                assert sum(dates.values()) >= len(read)
    except InputError as error:
        lines = str(error).splitlines()
        many = kind == "yaml"  # one line a mistake
        return None if lines and (many or len(lines) == 1) else f"seed {seed}, {kind}: {error!r}"
    except Exception as error:  # noqa: BLE001 the point of it
        return f"seed {seed}, {kind}: {type(error).__name__}: {error}"
    return None


def failures(count: int, folder: Path) -> list[str]:
    first = int(os.environ.get("FUZZ_SEED", "0"))
    print(f"seeds {first} to {first + count - 1}")
    return [wrong for seed in range(first, first + count) if (wrong := tried(seed, folder))]


def test_files_of_mutated_bytes_are_read_or_refused(tmp_path: Path) -> None:
    assert failures(300, tmp_path) == []


@pytest.mark.slow
def test_ten_thousand_files_of_mutated_bytes_are_read_or_refused(tmp_path: Path) -> None:
    assert failures(10_000, tmp_path) == []
