"""What the documents say is so: commands run, examples run, links lead somewhere, names exist.

Markers in the documents, which readers don't see, say what the block below them is:
`<!-- file: NAME -->` a file that the commands need, `<!-- prints -->` what the commands above print,
`<!-- same as: PATH -->` a copy of a file of the repository.
"""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import yaml
from loguru import logger

import openbell
from openbell.actors import effects
from openbell.adapters.sample import write_dirty_sample, write_sample
from openbell.market.windows import SessionSpec
from openbell.messages import control, data, insertion, scan, session, signal, time
from openbell.messages.base import Message
from openbell.messages.events import KINDS
from openbell.runtime.api import Runtime
from openbell.runtime.cli.app import main
from openbell.runtime.config import config_from, config_schema
from openbell.runtime.config.effects import WITHOUT_EFFECT
from openbell.runtime.intake.settings import settings
from openbell.runtime.kernel.wiring import actors, edges, wiring

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
OWN = [
    ROOT / "README.md",
    *(
        ROOT / f"docs/{n}.md"
        for n in (
            "contracts",
            "data",
            "embedding",
            "live",
            "outputs",
            "persistence",
            "sinks",
            "why",
        )
    ),
]
"""Documents with commands and programs for users."""

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>.+?) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    kind: str
    """What stands behind the backticks: sh, yaml, python, …"""
    text: str
    mark: str
    """The marker above it, or empty."""


def blocks(document: Path) -> list[Block]:
    found = FENCE.finditer(document.read_text(encoding="utf-8"))
    return [Block(f["kind"], f["text"], f["mark"] or "") for f in found]


def marked(document: str, mark: str) -> str:
    return next(b.text for b in blocks(ROOT / document) if b.mark == mark)


def section(document: str, heading: str) -> str:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], flags=re.MULTILINE)[0]


def table(text: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table in a text, by the names of its columns."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(names, row, strict=True)) for row in rows]


def names(text: str) -> list[str]:
    """All that stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what a user's commands find in a checkout, which is the working folder."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("OPENBELL_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    logger.disable("openbell")


def run(command: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command of the documents, `openbell` and Python programs in this process."""
    program, *arguments = command
    match program:
        case "openbell":
            monkeypatch.setattr(sys, "argv", command)
            try:
                main()
            except SystemExit as ended:
                return int(ended.code or 0)
            return 0
        case "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
            return 0
        case "make":
            steps = recipe(arguments[0])
            if arguments[0] != "demo":
                return 0  # `make test` is what runs this
            return max(run(step, monkeypatch) for step in steps)
        case "pip":
            assert arguments in (["install", "."], ["install", ".[polars]"])
            return 0
        case "head" | "rm" | "ls":
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            return 0
    raise AssertionError(f"{command}: the test does not know how to run this")


def recipe(target: str) -> list[list[str]]:
    """The commands of a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)
    assert found is not None, f"the Makefile has no target {target}"
    lines = found[1].replace("$(BIN)/", "").splitlines()
    return [shlex.split(line) for line in lines]


def squeezed(text: str) -> list[str]:
    """Lines with something in them, without what only pleases the eye."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("document", OWN, ids=shown)
def test_commands_and_programs_of_a_document_run(
    document: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space: dict[str, Any] = {}
    printed = ""
    for block in blocks(document):
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
        elif block.mark.startswith("same as: "):
            copied = ROOT / block.mark.removeprefix("same as: ")
            assert block.text == copied.read_text(encoding="utf-8")
        elif block.mark == "prints":
            wanted = [line.split(" …")[0].removesuffix(",") for line in squeezed(block.text)]
            lines = squeezed(printed)
            for line in wanted:
                assert line == "…" or any(got.startswith(line) for got in lines), line
        elif block.kind == "sh":
            for line in block.text.splitlines():
                if command := shlex.split(line, comments=True):
                    assert run(command, monkeypatch) == 0, line
            printed = capsys.readouterr().out
        elif block.kind == "python":
            program = checkout / "block.py"
            program.write_text(block.text, encoding="utf-8")
            space = runpy.run_path(str(program), init_globals=space)


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (document.parent / file).resolve() if file else document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
            }
            assert anchor in anchors, target


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_configurations_in_documents_can_be_used(document: Path) -> None:
    base = {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening Range", "start": "09:30", "end": "09:44"}],
    }
    for block in blocks(document):
        if block.kind == "yaml":
            # Read as a file is: 09:30 is no number there.
            parsed = yaml.load(block.text, Loader=yaml.BaseLoader)
            env = dict(of.split("=") for of in re.findall(r"[A-Z_]+=\S+", block.mark))
            config_from({**base, **parsed}, env=env)


def schema_keys() -> set[str]:
    """All keys of the configuration, with a dot between levels and [] behind lists."""
    schema = config_schema()

    def below(of: dict[str, Any], prefix: str) -> Iterator[str]:
        for name, value in of.get("properties", {}).items():
            yield prefix + name
            for reference in re.findall(r"#/\$defs/(\w+)", str(value)):
                inner = schema["$defs"][reference]
                yield from below(inner, f"{prefix}{name}.")
                yield from below(inner, f"{prefix}{name}[].")

    return set(below(schema, ""))


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_keys_named_in_documents_exist(document: Path) -> None:
    known = schema_keys()
    tops = {key for key in known if "." not in key}
    files = ("jsonl", "json", "parquet", "csv", "yaml", "md", "py")
    prose = FENCE.sub("", document.read_text(encoding="utf-8"))

    named = {
        name
        for name in names(prose)
        if re.fullmatch(r"[a-z_]+(\[\])?(\.[a-z_]+)+", name)
        and re.split(r"[.\[]", name)[0] in tops
        and name.rpartition(".")[2] not in files
    }

    assert named - known - set(KINDS) == set()  # of events some are named alike


def test_keys_without_effect_are_keys() -> None:
    listed = names(section("docs/architecture.md", "Keys without effect"))

    assert set(WITHOUT_EFFECT) <= set(listed)
    assert set(listed) - schema_keys() == set()


def test_the_architecture_names_every_room_and_every_module_of_the_folders_at_the_top() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    prose = re.sub(r"(?ms)^```.*?^```$", "", page)
    named = set(re.findall(r"[\w/]+", " ".join(re.findall(r"`([^`\n]+)`", prose))))
    rooms, modules = set(), set()
    for top in ("actors", "adapters", "market", "messages", "runtime"):
        rooms |= {path.parent.relative_to(ROOT) for path in (ROOT / top).rglob("__init__.py")}
        modules |= {path.stem for path in (ROOT / top).glob("*.py")} - {"__init__"}

    # A room is named with the folder at the top, or, in that one's table, without it.
    lacking = [
        str(room) for room in sorted(rooms) if not {f"{room}/", f"{Path(*room.parts[1:])}/"} & named
    ]
    assert lacking == []
    assert modules - {part for name in named for part in name.split("/")} == set()


def test_every_command_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    from openbell.runtime.cli.app import app

    documented = {names(row["command"])[0] for row in table(section("README.md", "Commands"))}
    commands = {f"openbell {c.name or c.callback.__name__}" for c in app.registered_commands}  # type: ignore[union-attr]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        commands |= {
            f"openbell {group.name} {c.name}" for c in group.typer_instance.registered_commands
        }

    assert documented == commands


ONE_SESSION = (SessionSpec("A", "09:30", "09:44"),)


def plain(actor: str) -> str:
    return actor.partition(":")[0]


def test_the_picture_of_the_wiring_is_the_wiring() -> None:
    drawn = re.findall(r"(\w+) (-->|-\.->) (\w+)", marked("docs/architecture.md", "the wiring"))
    wires = wiring(ONE_SESSION, scans=True)

    connected = {(plain(sender), plain(receiver)) for sender, receiver in edges(wires)}
    back = {(plain(s), plain(r)) for s, receivers in wires.back.items() for r in receivers}
    assert {(sender, receiver) for sender, _, receiver in drawn} == connected
    assert {(sender, receiver) for sender, arrow, receiver in drawn if arrow == "-.->"} == back


def test_the_table_of_actors_names_what_they_hear() -> None:
    documented = {
        row["actor"].split()[0]: set(names(row["hears"]))
        for row in table(section("docs/architecture.md", "Actors"))
    }
    config = {
        "exchange": "XNYS",
        "sessions": [{"name": "A", "start": "09:30", "end": "09:44"}],
        "scanners": [{"name": "up", "type": "movers"}],
    }

    made = actors(settings(config_from(config)))

    hears = {plain(a.name): {kind.__name__ for kind in a.hears} for a in made}
    assert documented == hears


def test_the_table_of_actors_says_messages_and_effects_that_exist() -> None:
    said = {
        name
        for row in table(section("docs/architecture.md", "Actors"))
        for name in names(row["says"])
    }

    known = {
        name
        for module in (control, data, insertion, scan, session, signal, time)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Message)
    }
    assert said - known - set(vars(effects)) == set()


def test_the_picture_of_the_day_states_shows_the_changes_of_a_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = re.findall(
        r"^ +([A-Z_]+) --> ([A-Z_]+)",
        marked("docs/architecture.md", "the day states"),
        re.MULTILINE,
    )
    files = write_sample(Path("minutes"), symbols=1, days=3, seed=7, start=date(2024, 1, 2))
    files[1].unlink()

    command = "openbell backtest --config examples/us.yaml --data minutes --log-level debug"
    assert run(command.split(), monkeypatch) == 0

    logged = re.findall(r"([A-Z_]+) → ([A-Z_]+)", capsys.readouterr().err)
    assert set(logged) == set(drawn)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a backtest of data with faults, and with a companion, writes."""
    import openbell

    folder = tmp_path_factory.mktemp("outputs")
    write_dirty_sample(folder / "minutes", symbols=2, days=2, seed=7)
    symbols = openbell.backtest(str(ROOT / "examples/us.yaml"), folder / "minutes").quality
    first, second, *_ = symbols["symbol"].to_pylist()
    config = {
        "exchange": "XNYS",
        "companions": {first: second},
        "sessions": [{"name": "Opening Range", "start": "09:30", "end": "09:44"}],
        "scanners": [{"name": "up", "type": "movers"}],
    }
    openbell.backtest(config, folder / "minutes", out=folder / "out")
    return folder / "out"


def documented_fields(file: str) -> list[dict[str, str]]:
    return table(section("docs/outputs.md", f"`{file}`"))


def test_every_file_of_a_backtest_has_a_section(outputs: Path) -> None:
    headings = re.findall(
        r"^## `(.+)`$", (ROOT / "docs/outputs.md").read_text("utf-8"), re.MULTILINE
    )
    written = {path.name for path in outputs.iterdir()} - {"bars_15m.parquet"}

    assert set(headings) == written


@pytest.mark.parametrize("name", ["signals.jsonl", "sessions.jsonl", "scans.jsonl", "summary.json"])
def test_fields_of_json_are_documented(outputs: Path, name: str) -> None:
    text = (outputs / name).read_bytes()
    fields = list(orjson.loads(text.splitlines()[0] if name.endswith("l") else text))
    rows = documented_fields(name)

    documented = [field for row in rows for field in names(next(iter(row.values())))]
    seldom = {"rules"} - set(fields)  # only where a rule was asked
    assert [field for field in documented if field not in seldom] == fields


@pytest.mark.parametrize("name", ["signals.parquet", "levels.parquet", "bars_5m.parquet"])
def test_columns_of_parquet_files_are_documented_with_their_types(outputs: Path, name: str) -> None:
    schema = pq.read_schema(outputs / name)
    rows = documented_fields("signals.jsonl" if name == "signals.parquet" else name)

    documented = [(names(row["field"])[0], names(row["Parquet"])[0]) for row in rows]
    assert documented == [(f.name, str(f.type).partition("<")[0]) for f in schema]


@pytest.mark.parametrize("name", ["quality.csv", "bad_rows.csv"])
def test_columns_of_csv_files_are_documented(outputs: Path, name: str) -> None:
    header = (outputs / name).read_text(encoding="utf-8").splitlines()[0]

    assert [names(row["column"])[0] for row in documented_fields(name)] == header.split(",")


def test_the_sum_of_rows_is_as_documented(outputs: Path) -> None:
    rows = orjson.loads((outputs / "summary.json").read_bytes())["rows"]
    whole, *parts = names(
        next(
            line
            for line in section("docs/outputs.md", "`summary.json`").splitlines()
            if line.startswith("`rows` = ")
        ).split(". ")[0]
    )

    assert rows[whole] == sum(rows[part] for part in parts)
    assert all(rows[name] for name in ("bad_rows", "duplicates", "outside_hours"))


def test_every_error_is_documented() -> None:
    from openbell import errors

    documented = [names(row["class"])[0] for row in table(section("docs/embedding.md", "Errors"))]

    assert set(documented) == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }


ENTRY_POINTS = (
    "openbell.feeds",
    "openbell.indicators",
    "openbell.scanners",
    "openbell.sinks",
    "openbell.sources",
)
"""Groups under which packages offer what is theirs."""


def test_each_name_that_the_documentation_promises_exists() -> None:
    promised = {
        name.rstrip(".")
        for document in DOCUMENTS
        for name in re.findall(
            r"`openbell((?:\.[A-Za-z_]+)+)", document.read_text(encoding="utf-8")
        )
        if name.rpartition(".")[2] not in ("db", "yaml", "log")
        and f"openbell{name}" not in ENTRY_POINTS
    }
    imported = {
        f".{name.strip()}"
        for document in DOCUMENTS
        for names in re.findall(
            r"(?m)^from openbell import ([A-Za-z_, ]+)$", document.read_text(encoding="utf-8")
        )
        for name in names.split(",")
    }

    assert len(promised) > 3
    for name in sorted(promised | imported):
        found: Any = openbell
        module = "openbell"
        for part in name.lstrip(".").split("."):
            module = f"{module}.{part}"
            if not hasattr(found, part):
                importlib.import_module(module)
            found = getattr(found, part)


def test_each_thing_that_a_runtime_is_said_to_have_is_there() -> None:
    methods = section("docs/embedding.md", "`Runtime`").partition("| method |")[2]
    promised = [
        name
        for line in methods.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z_]+)", line.split("|")[1])
    ]

    assert len(promised) > 8
    assert [name for name in promised if not hasattr(Runtime, name)] == []
