"""Server-sent events that end by themselves, and whose reader holds nobody by taking nothing."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.server import LINE, Line

HEARTBEAT_SECONDS = 15.0
BLOCKED_SECONDS = 30.0
"""How long a reader may take nothing."""

RETRY = b"retry: 2000\n\n"
STILL_HERE = b": still here\n\n"
END = b"event: end\ndata: {}\n\n"


class LiveStream(Response, ABC):
    """Sends what `events` gives until that is at its end, its reader leaves or is too slow, or the server ends."""

    media_type = "text/event-stream"

    def __init__(self) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    @abstractmethod
    def events(self, closed: asyncio.Event) -> AsyncIterator[bytes]:
        """What is sent; it ends soon once `closed` is set."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line: Line = scope.get("extensions", {}).get(LINE) or Line()
        closed = asyncio.Event()
        line.on_shutdown.add(closed.set)
        if scope.get("head"):
            closed.set()
        reader = asyncio.create_task(_left(receive, closed), name="live-reader")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for sent in self.events(closed):
                async with asyncio.timeout(BLOCKED_SECONDS):
                    await send({"type": "http.response.body", "body": sent, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            line.cut()
        finally:
            line.on_shutdown.discard(closed.set)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


async def _left(receive: Receive, closed: asyncio.Event) -> None:
    """Learn that the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    closed.set()
