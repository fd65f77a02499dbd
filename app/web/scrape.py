"""`/metrics` of a process that serves nothing else: as the server tells it, to the same readers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import uvicorn
from fastapi import FastAPI, Request, Response

from app.db.engine import Database
from app.errors import Misconfigured, Unavailable
from app.metrics import Metrics
from app.settings import Settings
from app.web import errors
from app.web.api.metrics import is_loopback, told
from app.web.edge import Edge
from app.web.server import options


class _Server(uvicorn.Server):
    """Leaves signals to the process it is a guest of."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def listener(settings: Settings, host: str, port: int) -> socket.socket:
    """A socket to tell metrics on; port 0 is any that is free.

    Raises:
        Misconfigured: other machines could ask there, and there is no METRICS_TOKEN to know who may.
        Unavailable: nobody can listen there.
    """
    token = settings.metrics_token
    if host != "localhost" and not is_loopback(host) and not (token is not None and token.get_secret_value()):
        raise Misconfigured(
            f"other machines could read the metrics at {host}: set METRICS_TOKEN, or leave out --metrics-host"
        )
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise Unavailable(f"can't listen on {host}:{port} ({error.strerror}): choose another --metrics-port") from None


@asynccontextmanager
async def telling(settings: Settings, database: Database, metrics: Metrics, on: socket.socket) -> AsyncIterator[None]:
    """Tell `metrics` on that socket until the end of the block."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.metrics = metrics

    @app.get("/metrics")
    async def read(request: Request) -> Response:
        return await told(request, settings, database)

    errors.install(app, lambda _request, _error, answer: answer)
    app.add_middleware(Edge, settings=settings)
    server = _Server(uvicorn.Config(app, lifespan="off", **options()))
    serving = asyncio.create_task(server.serve(sockets=[on]), name="metrics")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
