"""What is installed: the wheel, made by way of the sdist, and an editable installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import environment

from openbell import __version__

ROOT = Path(__file__).parents[1]
CODE = ("actors", "adapters", "market", "messages", "runtime")
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "*.egg-info", "__pycache__", "build", "dist", "demo", "state", "out"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as building leaves files behind; with links, as a clone has them."""
    folder = tmp_path_factory.mktemp("checkout") / "openbell"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=NOT_SOURCE)
    return folder


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """With neither --sdist nor --wheel, build makes the wheel from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


class Environment:
    """A fresh one that sees what openbell depends on where the tests have it, but not openbell."""

    def __init__(self, folder: Path) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.folder = folder
        paths = {"base": str(folder), "platbase": str(folder)}
        self.packages = Path(sysconfig.get_path("purelib", "venv", paths))
        # Of a folder named so, .pth files are not read: not the one of an editable openbell either.
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(self, *what: str | Path) -> None:
        pip = (sys.executable, "-m", "pip", "--python", self.folder / "bin/python", "install")
        offline = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")
        _run(*pip, *offline, *what, cwd=self.folder)

    def run(self, command: str, *arguments: str) -> str:
        return _run(self.folder / "bin" / command, *arguments, cwd=self.folder)


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment({"PYTHONPATH": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    made = Environment(tmp_path_factory.mktemp("wheel") / "env")
    made.install(built.wheel)
    return made


def test_the_wheel_holds_every_file_of_the_code_and_nothing_else(
    checkout: Path, built: Built
) -> None:
    source = {
        f"openbell/{path.relative_to(checkout)}"
        for folder in CODE
        for path in (checkout / folder).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    source |= {
        str(path.relative_to(checkout))
        for path in (checkout / "openbell").rglob("*")
        if path.is_file() and path.relative_to(checkout).parts[1] not in CODE
        if path.parent.name != "__pycache__"
    }

    with zipfile.ZipFile(built.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert held == source
    assert {"openbell/py.typed", "openbell/market/overlays/nse.yaml"} <= held


def test_the_sdist_holds_no_tests_in_part(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        folders = {name.split("/")[1] for name in sdist.getnames() if name.count("/") > 1}

    assert folders == {"openbell", "openbell.egg-info"}


def test_nothing_but_openbell_reaches_site_packages(installed: Environment) -> None:
    names = {path.name for path in installed.packages.iterdir()}

    assert names == {"openbell", f"openbell-{__version__}.dist-info", "dependencies.pth"}
    assert (installed.packages / f"openbell-{__version__}.dist-info/top_level.txt").read_text() == (
        "openbell\n"
    )


def test_an_installed_openbell_has_its_command_and_the_overlay(installed: Environment) -> None:
    assert installed.run("openbell", "--help").startswith("Usage: openbell")
    calendar = installed.run(
        "openbell", "calendar", "XNSE", "--from", "2024-11-01", "--to", "2024-11-01"
    )
    assert "18:00–19:00" in calendar
    assert "overlay nse.yaml" in calendar


def test_an_installed_openbell_runs_a_backtest(installed: Environment, checkout: Path) -> None:
    installed.run("openbell", "data", "sample", "--out", "minutes", "--days", "2", "--symbols", "2")

    ran = installed.run(
        *("openbell", "backtest", "--config", str(checkout / "examples/us.yaml")),
        *("--data", "minutes", "--out", "out"),
    )

    assert "Files are in out/" in ran


@pytest.mark.parametrize("package", ["openbell", *(f"openbell.{folder}" for folder in CODE)])
def test_each_package_is_imported_from_where_it_was_installed(
    package: str, installed: Environment
) -> None:
    where = installed.run(
        "python", "-c", f"import importlib; print(importlib.import_module('{package}').__file__)"
    )

    assert Path(where.strip()).is_relative_to(installed.packages)


@pytest.mark.parametrize("name", CODE)
def test_no_package_is_imported_by_its_folders_name(name: str, installed: Environment) -> None:
    found = installed.run(
        "python", "-c", f"import importlib.util; print(importlib.util.find_spec('{name}'))"
    )

    assert found == "None\n"


def test_an_editable_installation_is_the_checkout(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = Environment(tmp_path_factory.mktemp("editable") / "env")

    made.install("--editable", checkout)

    assert made.run("openbell", "--help").startswith("Usage: openbell")
    where = made.run("python", "-c", "import openbell.actors; print(openbell.actors.__file__)")
    assert Path(where.strip()).is_relative_to(checkout)
