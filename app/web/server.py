"""How we serve: uvicorn, with limits on what comes before a body, which it doesn't have.

A protocol's methods are called by the event loop and by the parser, in their order; none of them waits.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.web.errors import problem

HEAD_MAX = 2 * 1024 * 1024
"""What is read of a head before anything is known of it; `edge` wants far less of the fields."""

HEAD_SECONDS = 15.0
"""From the first byte, or the connection, to the blank line."""

LINGER_SECONDS = 1.0
"""How long a refused connection is emptied: closed at once, it would be reset before the answer is read."""

LINE = "simfeed.line"
"""The extension of a request's scope that holds its `Line`."""


@dataclass
class Line:
    """What an answer without an end may ask of its connection: to be cut at once, and to be told of a shutdown."""

    cut: Callable[[], None] = lambda: None
    on_shutdown: set[Callable[[], None]] = field(default_factory=set)


def options() -> dict[str, Any]:
    """Options of `uvicorn.Config`: no software named in headers, no trust in them, no log beside our own."""
    return {
        "http": BoundedHead,
        "log_config": None,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": 5,
    }


class BoundedHead(HttpToolsProtocol):
    """Requests whose head is short and comes in time: 431 and 408 otherwise. What isn't HTTP gets 400."""

    _deadline: asyncio.TimerHandle | None = None
    _head: int | None = 0
    """Bytes of the head that is being read; None while a body or nothing is."""

    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._line = Line(transport.abort)
        self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > HEAD_MAX:
            self._refuse(431, f"the head of a request may have at most {HEAD_MAX:,} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = self._head or 0
        self._start_clock()

    def on_headers_complete(self) -> None:
        self._head = None
        self._stop_clock()
        self.scope["extensions"] = {LINE: self._line}  # type: ignore[dict-item]  # an object, within this process
        super().on_headers_complete()

    def shutdown(self) -> None:
        super().shutdown()
        for tell in list(self._line.on_shutdown):
            tell()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _start_clock(self) -> None:
        self._stop_clock()
        sentence = f"the head of the request did not arrive within {HEAD_SECONDS:.0f} s"
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, 408, sentence)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, detail: str) -> None:
        self._stop_clock()
        self._head = None
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        phrase = HTTPStatus(status).phrase
        answer = problem(status, phrase, detail, request_id=secrets.token_hex(8), headers={"Connection": "close"})
        lines = [f"HTTP/1.1 {status} {phrase}".encode(), *(name + b": " + value for name, value in answer.raw_headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
