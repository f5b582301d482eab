"""Whether what a run talks to can be reached: its feed and its sinks. Nothing is sent that counts."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openbell.adapters.deliveries import Failed
from openbell.adapters.deliveries.addresses import address_of
from openbell.adapters.feeds import FeedOptions, open_feed
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError, OpenbellError, StoreError
from openbell.hosttime import monotonic
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime
from openbell.runtime.config import Config
from openbell.runtime.config.sinks import opened_sink
from openbell.runtime.doctor.findings import Finding, fail, of_error, ok, skip, warn
from openbell.runtime.doctor.stores import nearest

FEED_SECONDS = 5.0
"""How long a feed is waited for: to connect, and then for rows."""

SINK_SECONDS = 5.0


class _Ajar:
    """A door through which nothing goes: it only notes that something came."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.rows = 0
        self.state: str | None = None
        self.why = ""
        self.refused: str | None = None

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        self.rows += len(rows)
        self.came.set()
        return (position or 0) + len(rows)

    def end_day(self, day: date, position: int | None = None, mark: str = "") -> int:
        self.came.set()
        return (position or 0) + 1

    def caught_up(self) -> None:
        self.state = self.state or "connected"

    def refuse(self, kind: str, where: str, why: str) -> None:
        self.refused = f"{where}: {why}"

    def said(self, state: str, why: str) -> None:
        self.state, self.why = state, why
        if state == "auth":
            self.came.set()

    def gap(
        self, from_ns: MarketTime, until_ns: MarketTime, symbols: tuple[str, ...] | None, why: str
    ) -> None:
        pass

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        pass


def feed(config: Config, *, seconds: float = FEED_SECONDS) -> Iterator[Finding]:
    """Whether it connects and takes what subscribes; it is read from its beginning, and left."""
    if config.feed.type == "replay":
        yield ok("feed", f"replay of {config.data.path}")
        return
    if config.feed.type == "push":
        yield skip("feed", "push: rows come from a program of your own")
        return
    companions = tuple(config.paired.values())
    symbols = () if config.symbols == "all" else (*config.symbols, *companions)
    data = config.data
    options = FeedOptions(
        name=f"{config.name}-doctor",
        kind=data.kind,
        interval_ns=data.interval.ns if data.kind == "bars" else None,
        bar_label=data.bar_label,
        given=dict(config.feed.options),
        symbols=symbols,
        size_is=config.feed.size_is,
    )
    about, ajar = "feed", _Ajar()
    raised: list[BaseException] = []
    try:
        opened = open_feed(config.feed.type, options)
    except ConfigError as error:
        yield of_error(about, error)
        return

    def run() -> None:
        try:
            opened.run(ajar, 0, "")
        except Exception as error:  # noqa: BLE001 whatever a feed raises is what is to be told
            raised.append(error)
        ajar.came.set()

    thread = threading.Thread(target=run, name="openbell-doctor-feed", daemon=True)
    thread.start()
    ajar.came.wait(seconds)
    away = bool(getattr(opened, "away", False))
    opened.close()
    thread.join(timeout=seconds)
    yield _of_feed(config.feed.type, ajar, raised, away=away, seconds=seconds)
    if ajar.refused is not None:
        yield warn(
            about, f"brought what is no row: {ajar.refused}", "see feed.options, docs/feeds.md"
        )


def _of_feed(
    of_type: str, ajar: _Ajar, raised: list[BaseException], *, away: bool, seconds: float
) -> Finding:
    if raised and isinstance(raised[0], OpenbellError):
        return of_error("feed", raised[0])
    if raised:
        return fail("feed", f"{of_type}: fails: {raised[0]!r}", "see feed.options, docs/feeds.md")
    if ajar.rows:
        return ok("feed", f"{of_type}: brings rows")
    if ajar.state == "auth":
        return fail("feed", f"{of_type}: refuses the login: {ajar.why}", "renew the secret of it")
    if away or ajar.state == "reconnecting":
        why = f": {ajar.why}" if ajar.why else ""
        return fail(
            "feed", f"{of_type}: can't be reached{why}", "see to its address, and to the network"
        )
    if ajar.state is None:
        return warn(
            "feed",
            f"{of_type}: neither rows nor a word within {seconds:g} s",
            "see whether that is usual of it at this time",
        )
    return ok("feed", f"{of_type}: connected; no rows within {seconds:g} s")


def sinks(config: Config) -> Iterator[Finding]:
    """Whether each can be reached; nothing is delivered."""
    if not config.sinks:
        yield ok("sinks", "there are none")
    for place, of in enumerate(config.sinks):
        about = f"{of.called} ({of.type})"
        try:
            opened_sink(config, place).close()
            given = filled_in(dict(of.options), f"sinks[{place}].options")
            yield _reached(of.type, about, given)
        except (OpenbellError, StoreError) as error:
            yield of_error("sinks", type(error)(f"{about}: {error}"))
        except Failed as error:
            yield fail("sinks", f"{about}: {error}", "see to its address, and to the network")


def _reached(of_type: str, about: str, given: dict[str, Any]) -> Finding:
    match of_type:
        case "webhook":
            return _connected(about, given)
        case "redis":
            return _answering(about, given["url"])
        case "file":
            path = Path(given["path"]).expanduser()
            folder = nearest(path.parent)
            place = path if path.exists() else folder
            if not os.access(place, os.W_OK):
                return fail("sinks", f"{about}: {place} can't be written", "change its owner")
            return ok("sinks", f"{about}: {path} can be written")
        case "exec":
            command = given["command"]
            program = command.split()[0] if isinstance(command, str) else command[0]
            if shutil.which(program) is None:
                return fail("sinks", f"{about}: there is no {program}", "install it, or name it")
            return ok("sinks", f"{about}: {program} is there")
        case "stdout":
            return ok("sinks", f"{about}: always there")
    return skip(
        "sinks", f"{about}: is set up; to try it sends a message", "openbell sinks test NAME"
    )


def _connected(about: str, given: dict[str, Any]) -> Finding:
    parts = urlsplit(given["url"])
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = address_of(host, port, allow_private=bool(given.get("allow_private", False)))
    began = monotonic()
    try:
        socket.create_connection((address, port), timeout=SINK_SECONDS).close()
    except OSError as error:
        raise Failed(f"{host}:{port}: {error}") from error
    took = 1e3 * (monotonic() - began)
    return ok("sinks", f"{about}: {host}:{port} can be connected to, in {took:.0f} ms")


def _answering(about: str, url: str) -> Finding:
    from redis.exceptions import RedisError

    from openbell.adapters.stores.redis import connect, location

    client = connect(url, "doctor", key="options.url")
    try:
        client.ping()
    except RedisError as error:
        raise Failed(f"{location(url)}: {error}") from error
    finally:
        client.close()
    return ok("sinks", f"{about}: {location(url)} answers")
