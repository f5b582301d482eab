"""`openbell health`: whether the run of a configuration is in order, for health checks."""

from __future__ import annotations

from typing import Annotated

import typer

from openbell.errors import InputError, RunError
from openbell.runtime.cli.configured import stored_configuration
from openbell.runtime.cli.exits import EXIT_FAILURE
from openbell.runtime.cli.options import ConfigFile, Json

SECONDS = 5.0


def health(
    config: ConfigFile = None,
    alive: Annotated[
        bool, typer.Option("--alive", help="Only whether it gets on, ready or not.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask the run of a configuration how it is: exit code 0 if it is in order, 1 if not."""
    import orjson

    from openbell.adapters.web.asking import Unanswered, asked
    from openbell.runtime.cli.words import one_line

    made = stored_configuration(config)
    if not made.web.enabled:
        raise InputError("web.enabled is false; set it to true, so that the run can be asked")
    if not made.web.port:
        raise InputError("web.port is 0, any free one; write the port that the run is asked at")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(made.web.host, made.web.host)  # noqa: S104 asked, not listened at
    place = f"[{host}]:{made.web.port}" if ":" in host else f"{host}:{made.web.port}"
    url = f"http://{place}/readyz"
    try:
        answered = asked(url, token=made.web.token, seconds=SECONDS, directly=True)
        found = orjson.loads(answered.text) if answered.status in (200, 503) else None
    except Unanswered as error:
        raise RunError(f"{url}: nobody answers ({error}); is it running?") from None
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or "phase" not in found:
        raise RunError(
            f"{url}: answered with status {answered.status}; "
            + ("web.token is another one" if answered.status == 401 else "this is no openbell")
        )
    in_order = found["alive"] and (
        alive or found["ready"] or found["phase"] in ("standby", "stopping")
    )
    if json:
        print(one_line(found))
    else:
        words = "in order" if in_order else "not in order"
        print("; ".join([f"{words}: {found['phase']}", *found["reasons"]]))
    if not in_order:
        raise typer.Exit(EXIT_FAILURE)
