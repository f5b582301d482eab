"""`openbell mcp`: what a run has to tell, for programs that speak the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import configuration_file, no_configuration


def mcp(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration's file.", metavar="FILE"),
    ] = None,
) -> None:
    """Serve the run of a configuration, read-only, over stdin and stdout to an MCP client."""
    file = configuration_file(config)
    if file is None:
        raise no_configuration()
    try:
        from openbell.runtime.cli.mcp.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise InputError(
            "openbell mcp needs the package mcp; run `pip install 'openbell[mcp]'`"
        ) from None
    # Whoever starts this may be anywhere by the time that it is asked.
    serve(file.absolute())
