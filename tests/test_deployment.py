"""The unit, the image and the compose file: valid, and true to the program that they run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command, environment
from managing import managed, running, wait_until
from ports import free_port
from redis_server import RedisServer
from store_places import server_binary

from openbell.runtime.config import load_config

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "packaging/openbell.service"


def needed(program: str, package: str) -> str:
    """Skips, and says so, where there is no such program."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program}, so that this is not checked: apt-get install {package}")
    return found


# systemd


def test_the_unit_is_valid() -> None:
    analyze = needed("systemd-analyze", "systemd")

    done = subprocess.run(
        [analyze, "verify", str(UNIT)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_is_as_closed_as_it_says() -> None:
    analyze = needed("systemd-analyze", "systemd")
    said = re.search(r"exposure ([0-9.]+) OK", UNIT.read_text())
    assert said is not None

    done = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )

    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip(f"an older systemd: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= float(said[1]) + 0.3  # a newer systemd looks for more


def test_the_unit_runs_a_command_that_there_is() -> None:
    (line,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)
    *_, verb, option, file = line.split()

    assert line.startswith("/usr/bin/env --block-signal=TERM --block-signal=HUP /opt/openbell/bin/")
    assert (verb, option, file) == ("run", "--config", "/etc/openbell/config.yaml")


def test_the_unit_never_starts_again_what_a_person_has_to_mend() -> None:
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.+)$", UNIT.read_text(), re.MULTILINE)
    table = (ROOT / "docs/operations.md").read_text().split("## Exit codes")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| .+? \| (.+?) \|$", table, re.MULTILINE)

    assert {code for code, again in rows if re.match(r"no: mend|after", again)} == set(
        codes.split()
    )


# Compose


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def test_the_compose_file_keeps_to_the_specification(compose: dict[str, Any]) -> None:
    if not sys.platform.startswith("linux"):
        pytest.importorskip("compose_spec", reason="compose-spec has no wheel here")
    from compose_spec import PyCompose

    # Merge keys are YAML's, and gone by then.
    names = PyCompose.from_yaml(yaml.safe_dump(compose)).service_names()

    assert set(names) == set(compose["services"])
    with pytest.raises(ValueError, match="restrat"):
        PyCompose.from_yaml("services: {a: {image: b, restrat: always}}")


def test_what_services_of_the_compose_file_name_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (ROOT / source).exists() if source[0] == "." else source in compose["volumes"]
            assert there, f"{name}: {source}"


def test_only_this_machine_reaches_what_the_compose_file_publishes(
    compose: dict[str, Any],
) -> None:
    ports = [port for of in compose["services"].values() for port in of.get("ports", ())]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_redis_of_the_compose_file_loses_nothing(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]

    assert "--appendonly yes --appendfsync always" in " ".join(redis["command"])
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]
    waits = compose["services"]["openbell"]["depends_on"]["redis"]["condition"]
    assert waits == "service_healthy"


def test_prometheus_and_grafana_are_there_when_asked_for(compose: dict[str, Any]) -> None:
    always = {name for name, of in compose["services"].items() if not of.get("profiles")}

    assert always == {"openbell", "redis"}
    assert compose["services"]["prometheus"]["profiles"] == ["prometheus", "grafana"]
    assert compose["services"]["grafana"]["profiles"] == ["grafana"]


def metrics_named(text: str) -> set[str]:
    return {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bopenbell_[a-z_]+\b", text)
    }


def test_alerts_and_panels_ask_for_metrics_that_there_are() -> None:
    table = (ROOT / "docs/operations.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    known = set(re.findall(r"^\| `(openbell_[a-z_]+)` ", table, re.MULTILINE))
    alerts = yaml.safe_load((ROOT / "packaging/prometheus/alerts.yml").read_text())
    board = json.loads((ROOT / "packaging/grafana/dashboards/openbell.json").read_text())

    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    assert 'up{job="openbell"} == 0' in asked
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]

    assert metrics_named(" ".join(asked)) <= known
    assert len(board["panels"]) > 8


def test_prometheus_asks_openbell_where_it_listens(compose: dict[str, Any]) -> None:
    config = load_config(
        ROOT / "packaging/compose/config.yaml", env={}, overrides={"web.token": "x"}
    )
    scraped = yaml.safe_load((ROOT / "packaging/prometheus/prometheus.yml").read_text())
    first = scraped["scrape_configs"][0]

    assert first["static_configs"] == [{"targets": [f"openbell:{config.web.port}"]}]
    secret = Path(first["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in compose["services"]["prometheus"]["secrets"]
    written = (ROOT / "packaging/compose/config.yaml").read_text()
    assert f'token: "file:{secret}"' in written


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary(), "--appendonly", "yes") as started:
        yield started


@pytest.mark.slow
def test_the_run_of_the_compose_file_gets_ready(tmp_path: Path, server: RedisServer) -> None:
    (tmp_path / "secret").write_text("the token\n")
    text = (ROOT / "packaging/compose/config.yaml").read_text()
    for there, here, times in (
        ("redis://redis:6379/0", server.url, 2),
        ("file:/run/secrets/openbell_token", "file:secret", 1),
        ("web: {", f"web: {{port: {free_port()}, ", 1),
    ):
        assert text.count(there) == times
        text = text.replace(there, here)
    config = tmp_path / "config.yaml"
    config.write_text(text)

    with managed(tmp_path) as manager, running(config, manager=manager) as process:
        manager.wait_for("READY=1")
        wait_until(lambda: process.ask("/readyz", "the token").status == 200)
        process.send(signal.SIGTERM)
        assert process.ended() == 0, process.told


# The image


def steps(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, each on one line."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", text, re.MULTILINE)


def test_the_image_runs_as_nobody_in_particular() -> None:
    (user,) = steps("USER")

    assert user.isdecimal()
    assert int(user) > 0
    assert f"--uid {user} " in " ".join(steps("RUN"))


def test_the_image_runs_and_checks_commands_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (health,), (entry,), (runs,) = steps("HEALTHCHECK"), steps("ENTRYPOINT"), steps("CMD")
    check = json.loads(health.partition("CMD ")[2])
    whole = [*json.loads(entry), *json.loads(runs)]

    assert whole[-4:] == ["openbell", "run", "--config", "/etc/openbell/config.yaml"]
    assert check == ["openbell", "health", "--config", "/etc/openbell/config.yaml"]
    for command in (check, whole[-4:]):
        ran = Command(monkeypatch, capsys)(command[1], "--help")
        assert ran.code == 0, ran.err


def test_the_image_gets_all_that_is_packaged_and_nothing_else() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    links = {path.name for path in (ROOT / "openbell").iterdir() if path.is_symlink()}

    assert links | {"openbell", "pyproject.toml", "README.md", "LICENSE"} <= let_in
    assert not let_in & {"tests", "docs", ".git", ".venv"}


@pytest.mark.slow
def test_the_steps_of_the_image_run_as_they_stand(tmp_path: Path) -> None:
    let_in = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    source, home = tmp_path / "src", tmp_path / "opt"
    listed = subprocess.run(
        ["git", "ls-files", *let_in], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in listed:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, source / file, follow_symlinks=False)
    env = {**environment(), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    here = [step for step in steps("RUN") if not step.startswith("useradd")]
    assert len(here) >= 2

    for step in here:
        # `python` is the image's; where only `python3` is there, it is that.
        command = step.replace("/opt/openbell", str(home)).replace("/src", str(source))
        command = re.sub(r"^python ", f"{sys.executable} ", command)
        done = subprocess.run(
            ["sh", "-c", command], env=env, cwd=source, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    installed = home / "bin/openbell"
    for arguments in (("--version",), ("health", "--help"), ("run", "--help")):
        subprocess.run([installed, *arguments], env=env, check=True, capture_output=True)
    for module in ("redis", "prometheus_client", "websockets"):
        subprocess.run([home / "bin/python", "-c", f"import {module}"], env=env, check=True)
