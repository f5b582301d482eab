from __future__ import annotations

from typing import Any

from openbell.runtime.config import Config, config_from
from openbell.runtime.service.rereading import Take, changes

MINIMAL: dict[str, Any] = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
}


def made(**sections: Any) -> Config:
    return config_from({**MINIMAL, **sections})


def taking(*begins: str, why: str | None = None) -> tuple[list[tuple[str, Take]], list[Config]]:
    """Who takes changes of some keys, and what it was given."""
    given: list[Config] = []

    def take(config: Config) -> str | None:
        given.append(config)
        return why

    return [(begin, take) for begin in begins], given


def test_what_is_as_it_was_is_said_to_be() -> None:
    takes, given = taking("web.token")

    config, said = changes(made(), made(), takes)

    assert (config, said, given) == (made(), ["the configuration is as it was"], [])


def test_what_can_be_taken_is_and_the_rest_stays_and_is_named() -> None:
    takes, given = taking("web.token", "supervision.")
    again = made(
        web={"token": "new", "port": 9},
        supervision={"restarts": 9, "deadman": {"url": "https://here/x", "every": "5s"}},
    )

    config, said = changes(made(), again, takes)

    assert given == [again, again]
    assert config.web.token == "new"
    assert config.web.port == 8700
    assert config.supervision == again.supervision
    of_supervision = "supervision.deadman.every, supervision.deadman.url, supervision.restarts"
    assert said == [f"taken: web.token, {of_supervision}", "needs a restart: web.port"]


def test_who_can_not_take_it_says_why_and_it_stays() -> None:
    takes, _ = taking("sinks", why="sinks[0].type is unknown")
    again = made(sinks=[{"type": "pigeon"}], sinks_max_age="5s")

    config, said = changes(made(), again, takes)

    assert config == made()
    assert said == ["sinks, sinks_max_age: sinks[0].type is unknown"]


def test_days_of_the_calendar_hold_for_days_to_come_where_the_hosts_clock_rolls_them() -> None:
    live: dict[str, Any] = {"feed": {"type": "redis"}, "clock": {"time": "wall"}}

    _, said = changes(made(**live), made(**live, calendar={"closures": ["2030-01-02"]}), takes=())

    assert said == ["calendar.closures: holds for the days to come"]


def test_no_value_is_said() -> None:
    takes, _ = taking("web.token")

    _, said = changes(made(web={"token": "one-planted"}), made(web={"token": "two-planted"}), takes)

    assert "planted" not in " ".join(said)
