"""Secrets are in nothing that a run shows or keeps, wherever they are written."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Command
from managing import Manager, live, running, wait_until
from ports import free_port
from redis_server import RedisServer

from openbell.errors import ConfigError
from openbell.hidden import conceal, hide
from openbell.runtime.config import Config, config_from, load_config

PLANTED = re.compile(r"[Pp]lanted.?[a-z]*.?secret")

MINIMAL: dict[str, Any] = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
}


def planted(folder: Path, server: RedisServer) -> tuple[Path, dict[str, str]]:
    """A run with a secret in every place that may hold one, by environment, by file, and written."""
    (folder / "token").write_text("planted-token-secret\n")
    place = f"127.0.0.1:{server.port}/0"
    config = live(
        folder,
        server,
        store={"url": f"redis://default:${{STORE_PASSWORD}}@{place}"},
        feed={
            "type": "redis",
            "options": {"url": f"redis://default:planted-feed-secret@{place}", "stream": "ticks"},
        },
        web={"enabled": True, "port": free_port(), "token": "file:token"},
        supervision={"deadman": {"url": "${DEADMAN}", "every": "0.2s"}},
    )
    env = {
        "STORE_PASSWORD": "planted-store-secret",
        "DEADMAN": f"http://127.0.0.1:{free_port()}/planted-deadman-secret",
    }
    return config, env


def test_a_run_shows_and_keeps_no_secret(
    tmp_path: Path,
    server: RedisServer,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
    openbell: Command,
) -> None:
    config, env = planted(tmp_path, server)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    shown: dict[str, str] = {}

    with running(config, "--log-level", "debug", env=env, manager=manager) as process:
        manager.wait_for("READY=1")
        token = "planted-token-secret"
        wait_until(lambda: process.ask("/readyz", token).status == 200)
        wait_until(lambda: "supervision.deadman.url is not answered" in process.told)
        for path in ("/healthz", "/readyz", "/metrics", "/nothing"):
            shown[path] = process.ask(path, token).text
        assert process.ask("/readyz", "planted-other-secret").status == 401
        again = yaml.safe_load(config.read_text())
        again["store"]["url"] = again["store"]["url"].replace("STORE_PASSWORD", "NO_SUCH")
        config.write_text(yaml.safe_dump(again))
        process.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP" in process.told)
        again["store"]["url"] = again["store"]["url"].replace("NO_SUCH", "STORE_PASSWORD")
        again["web"]["token"] = "planted-new-secret"
        config.write_text(yaml.safe_dump(again))
        process.send(signal.SIGHUP)
        wait_until(lambda: "taken: web.token" in process.told)
        assert process.ask("/readyz", "planted-new-secret").status == 200
        for command in (
            ("config", "check", config),
            ("config", "check", "--json", config),
            ("status", "--config", config),
            ("status", "--json", "--config", config),
            ("state", "--config", config),
            ("health", "--config", config),
            ("audit", "--json", "--config", config),
            ("snapshots", "--config", config),
        ):
            ran = openbell(*command)
            shown[" ".join(map(str, command))] = ran.out + ran.err
        process.send(signal.SIGTERM)
        assert process.ended() == 0, process.told
        shown["told"] = process.told
    shown["manager"] = "\n".join(manager.heard)
    import redis  # who has no server need not have it either

    client = redis.Redis(port=server.port)
    for key in client.scan_iter("openbell:*"):
        shown[key.decode()] = repr(client.dump(key))

    assert "the environment has no NO_SUCH" in shown["told"]
    assert len(shown) > 15
    assert {where: text for where, text in shown.items() if PLANTED.search(text)} == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("store.url", "rediss://user:planted-a-secret@[nonsense"),
        ("store.url", "nothing://user:planted-b-secret@here"),
        ("web.token", ["planted-c-secret"]),
        ("web.port", "${PLANTED}"),
        ("web.host", "${PLANTED"),
        ("supervision.deadman.url", "ftp://planted-d-secret"),
        ("supervision.unready_exit", "${PLANTED}"),
        ("supervision.restarts", "${PLANTED}"),
        ("feed.options", {"password": "planted-e-secret", "url": 3}),
        ("feed.options", {"url": "redis://:planted-f-secret@127.0.0.1", "nothing": 1}),
    ],
)
def test_an_error_shows_no_secret(
    key: str,
    value: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    openbell: Command,
) -> None:
    monkeypatch.setenv("PLANTED", "planted-" + "x" * 100 + "-secret")
    tree: dict[str, Any] = json.loads(json.dumps(MINIMAL))
    at = tree
    *above, last = key.split(".")
    for name in above:
        at = at.setdefault(name, {})
    at[last] = value
    if key.startswith("feed"):
        tree["feed"]["type"] = "redis"
    if key.startswith("web"):
        tree["web"]["enabled"] = True
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(tree))

    ran = openbell("run", "--config", path)

    assert ran.code in (1, 2), ran
    assert "Traceback" not in ran.err
    assert not re.search(r"planted-[a-z]-secret|xxxx", ran.err), ran.err


def test_values_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  of the file \n")
    path = tmp_path / "config.yaml"
    more = {
        "store": {"url": "redis://:${PASSWORD}@${HOST}/0"},
        "web": {"token": "file:token"},
        "sinks": [{"type": "webhook", "options": {"url": "${LATER}"}}],
    }
    path.write_text(yaml.safe_dump({**MINIMAL, **more}))

    config = load_config(path, env={"PASSWORD": "p@ss", "HOST": "here:1"})

    assert config.store.url == "redis://:p@ss@here:1/0"
    assert config.web.token == "of the file"
    assert config.sinks[0].options == {"url": "${LATER}"}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"web": {"token": "${NO_SUCH}"}}, "the environment has no NO_SUCH; set it"),
        ({"web": {"token": "file:nowhere"}}, "nowhere can't be read: No such file"),
        ({"symbols": ["${SYMBOL}"]}, "what decides answers is stored"),
        ({"name": "${NAME}"}, "what decides answers is stored"),
    ],
)
def test_what_can_not_be_filled_in_is_named(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_from({**MINIMAL, **section}, env={})

    assert said in str(refused.value)
    assert f"{next(iter(section))}" in str(refused.value)


def test_what_a_configuration_holds_is_not_filled_in_again() -> None:
    made = config_from({**MINIMAL, "web": {"token": "${A_TOKEN}"}}, env={"A_TOKEN": "${literal}"})

    again = config_from(made, overrides={"name": "other"}, env={"literal": "no"})

    assert isinstance(again, Config)
    assert again.web.token == "${literal}"


def test_a_secret_is_found_however_it_is_spelled() -> None:
    hide('pla/nted "quoted"')

    assert conceal('the pla/nted "quoted" text') == "the *** text"
    assert conceal(json.dumps({"x": 'pla/nted "quoted"'})) == '{"x": "***"}'
    assert conceal("http://a/pla%2Fnted%20%22quoted%22/b") == "http://a/***/b"


def test_what_is_short_is_left_as_it_is() -> None:
    hide("is")

    assert conceal("this is it") == "this is it"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_a_token_only_this_machine_is_answered(host: str) -> None:
    with pytest.raises(ConfigError, match=r"web\.token"):
        config_from({**MINIMAL, "web": {"enabled": True, "host": host}})

    config_from({**MINIMAL, "web": {"enabled": True, "host": host, "token": "a long one"}})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    config_from({**MINIMAL, "web": {"enabled": True, "host": host}})
