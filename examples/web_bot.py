"""A web service with the runtime in its lifespan: `pip install fastapi uvicorn`, then

    OPENBELL_DATA=minutes uvicorn --app-dir examples web_bot:app

`GET /signals` lists what was found, `/status` says where the run is, `/stream` sends signals as they
come. The runtime starts and ends with the service, and leaves signals and logging to it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from openbell import Runtime

CONFIG = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
    "store": {"url": "sqlite:///web-state.db"},
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Runtime.from_config(CONFIG, os.environ["OPENBELL_DATA"]) as runtime:
        runtime.start()
        app.state.runtime = runtime
        app.state.found = []
        runtime.on_signal(app.state.found.append)
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/status")
def status(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = request.app.state.runtime.status()
    return found


@app.get("/signals")
def signals(request: Request, limit: int = 100) -> list[dict[str, Any]]:
    return [asdict(signal) for signal in islice(request.app.state.found, limit)]


@app.get("/stream")
async def stream(request: Request, after: str | None = None) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for signal in request.app.state.runtime.asignals(after):
            yield f"{signal.id}\n"

    return StreamingResponse(lines(), media_type="text/plain")
