"""The store of a command: a configuration's, or the one that an option names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import stored_configuration
from openbell.runtime.cli.words import complain, listed

if TYPE_CHECKING:
    from openbell.adapters.stores import Store


@contextmanager
def reading(config: Path | None, url: str | None, name: str | None) -> Iterator[Store]:
    """A store to be read, with a word where there is nothing to read: a path is soon mistyped."""
    with opened_store(config, url, name) as opened:
        if not opened.head().commit:
            complain(nothing_run(name_of(config, url, name), opened))
        yield opened


def opened_store(config: Path | None, url: str | None, name: str | None) -> closing[Store]:
    from openbell.adapters.stores import open_store

    if url is None:
        if name is not None:
            raise InputError(f"--name {name}: goes with --store; a configuration has its own name:")
        # Not by runtime/lifetime, which imports all that a run needs.
        made = stored_configuration(config)
        return closing(open_store(made.store.url, made.name, replicas=made.store.replicas))
    if config is not None:
        raise InputError("--config and --store: pass one of them; a configuration names its store")
    return closing(open_store(url, name_of(config, url, name)))


def either(
    context: typer.Context, config: Path | None, url: str | None, name: str | None
) -> tuple[Path | None, str | None, str | None]:
    """Options of a command, or of the one above it: people write them at either."""
    above: tuple[Path | None, str | None, str | None] = context.obj
    return config or above[0], url if url is not None else above[1], name or above[2]


def nothing_run(name: str, opened: Store) -> str:
    return f'nothing was ever run as "{name}" in {opened.location}'


def name_of(config: Path | None, url: str | None, name: str | None) -> str:
    return stored_configuration(config).name if url is None else name or "default"


def refuse_unknown(opened: Store, *, symbol: str | None, session: str | None = None) -> None:
    """Whether state is of such a symbol and such a session; nothing is known of what was not run.

    Raises
    ------
    InputError
        If there never was one; the text names the nearest, or those that there are.
    """
    import orjson

    eras = orjson.loads(opened.head().meta.get("eras") or b"[]")
    if not eras:
        return
    symbols = [name for era in eras for name in era["symbols"]]
    # Sessions that were configured once have documents, even after the state of those days went.
    sessions = [of["name"] for era in eras for of in era["config"]["sessions"]]
    for option, what, asked, known in (
        ("--symbol", "symbol", symbol, symbols),
        ("--session", "session", session, sessions),
    ):
        if asked is None or asked in known:
            continue
        if what == "session" and opened.documents(session=asked):
            continue
        near = get_close_matches(asked, known, n=1)
        those = sorted(set(known))
        hint = f'did you mean "{near[0]}"?' if near else f"there are {listed(those)}"
        raise InputError(f'{option} is "{asked}"; this run has no such {what}; {hint}')


def day_state(opened: Store) -> tuple[str | None, str]:
    """The state that the trading day is in, and why: the last change that the audit trail tells."""
    import orjson

    if dead := opened.head().meta.get("error"):
        letter = orjson.loads(dead)
        about = f"{letter['actor']} failed at step {letter['step']} on {letter['message']}"
        return "ERROR", f"{about}, {letter['why']}: {letter['error']}"
    count = opened.usage().counts.get("audit", 0)
    for tail in (50, count):
        for _, entry in reversed(list(opened.audit(max(0, count - tail)))):
            fields = orjson.loads(entry)
            if fields["what"] == "day" and fields.get("from"):
                return fields["to"], fields["why"]
    return None, ""


def paused_by(opened: Store) -> list[str]:
    """Tokens that hold the run."""
    return [of["token"] for of in pauses(opened)]


def pauses(opened: Store) -> list[dict[str, str]]:
    """Tokens that hold the run, and since when, by what its process has noted since it began; what
    its heartbeat tells besides, as of the store, may be some seconds old."""
    import orjson

    from openbell.runtime.lifetime.vitals import kept_vitals

    count, fence = opened.usage().counts.get("audit", 0), opened.head().fence
    held: dict[str, str] = {}
    told: set[str] = set()
    for _, entry in opened.audit(max(0, count - 200)):
        fields = orjson.loads(entry)
        if fields["what"] == "pause" and fields["fence"] == fence:
            token = fields["to"] or fields["from"]
            told.add(token)
            if fields["to"]:
                held[token] = fields["wall_time"]
            else:
                held.pop(token, None)
    of_process = kept_vitals(opened) or {}
    for of in of_process.get("pauses", ()):
        if of["token"] not in told:
            held[of["token"]] = of["since"]
    return [{"token": token, "since": held[token]} for token in sorted(held)]


def feed_connection(opened: Store) -> dict[str, str] | None:
    """What the feed of the process at it said last of its connection; None: nothing."""
    import orjson

    count, fence = opened.usage().counts.get("audit", 0), opened.head().fence
    for _, entry in reversed(list(opened.audit(max(0, count - 200)))):
        fields = orjson.loads(entry)
        if fields["what"] == "feed" and fields.get("fence") == fence:
            return {"state": fields["to"], "since": fields["wall_time"], "why": fields["why"]}
    return None


def listening(opened: Store) -> dict[str, Any]:
    """Who is silent of a live feed, since when, and whose silence is explained; by the newest
    snapshot, which each change of it has."""
    from openbell.market.days import SECOND_NS
    from openbell.runtime.record.codec import Undecodable, decode
    from openbell.runtime.record.writing import market_time

    for epoch in opened.epochs():
        if epoch.problem is not None:
            continue
        try:
            of_day = decode(opened.states(epoch.epoch)["day"])
        except (KeyError, Undecodable):
            break
        heard = of_day.listening
        if heard is None or of_day.phase != "stream":
            break

        def to_the_second(at_ns: int) -> str | None:
            return market_time(at_ns - at_ns % SECOND_NS) if at_ns > 0 else None

        silent = heard.silent.nonzero()[0].tolist()
        since = heard.at_ns.tolist()
        return {
            "feed_silent_since": to_the_second(heard.begun_ns) if heard.feed_is_silent else None,
            "silent": {of_day.symbols[place]: to_the_second(since[place]) for place in silent},
            "halted": sorted(of_day.halted),
        }
    return {"feed_silent_since": None, "silent": {}, "halted": []}
