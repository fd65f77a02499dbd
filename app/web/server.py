"""How we serve: uvicorn, with limits on what comes before a body, which it doesn't have.

A protocol's methods are called by the event loop and by the parser, in their order; none of them waits.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from app.web.errors import problem

HEAD_MAX = 2 * 1024 * 1024
"""What is read of a head before anything is known of it; `edge` wants far less of the fields."""

HEAD_SECONDS = 15.0
"""From the first byte, or the connection, to the blank line."""

FRAME_MAX = 8 * 1024
"""Bytes of a message on a WebSocket."""

FRAGMENTS_MAX = 64
"""Frames that a message on a WebSocket may come in: empty ones cost nothing but our memory."""

ASKED_MAX = 64
"""Pings of ours that a peer may leave unanswered before it gets no more."""

CUT_SECONDS = 2.0
"""How long the peer of a WebSocket that is closed may take to read what is left and to answer."""

LINGER_SECONDS = 1.0
"""How long a refused connection is emptied: closed at once, it would be reset before the answer is read."""

LINE = "simfeed.line"
"""The extension of a request's scope that holds its `Line`."""

WIRE = "simfeed.wire"
"""The extension of a WebSocket's scope that holds its `Wire`."""


@dataclass
class Line:
    """What an answer without an end may ask of its connection: to be cut at once, and to be told of a shutdown."""

    cut: Callable[[], None] = lambda: None
    on_shutdown: set[Callable[[], None]] = field(default_factory=set)


@dataclass(frozen=True)
class Wire:
    """What a WebSocket's application may ask of it: `arrived` calls back once the peer has got all that was sent."""

    arrived: Callable[[Callable[[], None]], None]


def options() -> dict[str, Any]:
    """Options of `uvicorn.Config`: no software named in headers, no trust in them, no log beside our own."""
    return {
        "http": BoundedHead,
        "ws": BoundedSocket,
        "ws_max_size": FRAME_MAX,
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


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket whose peer makes us hold no more than its buffers, and those for `CUT_SECONDS` once it is closed."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._asked: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._count = 0
        self._failed = False

    def data_received(self, data: bytes) -> None:
        if not self._failed:
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        """Tell why, and read on for a while: closed at once, the connection would be reset before that is read."""
        close = self.conn.close_sent
        assert close is not None  # noqa: S101 - the parser has failed the connection
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._failed = self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CUT_SECONDS, self._cut)

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = {**(self.scope["extensions"] or {}), WIRE: Wire(self._ask)}
        self.scope["extensions"] = extensions
        await super().run_asgi()
        self._cut_soon()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.writable.set()  # nothing comes after it, so it need not wait for what isn't read
        await super().send(message)

    def shutdown(self) -> None:
        try:
            super().shutdown()
        except InvalidState:  # the peer has just closed it
            self.transport.close()
        self._cut_soon()

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_soon()

    def handle_ping(self) -> None:
        super().handle_ping()
        if not self.writable.is_set():
            self.transport.abort()  # it asks and asks, and reads no answer

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < FRAGMENTS_MAX:
            super().handle_cont(event)
        elif not self.close_sent:
            self._fail(1009, f"at most {FRAGMENTS_MAX} frames a message")

    def send_receive_event_to_app(self) -> None:
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            if not self.close_sent:
                self._fail(1007, "not UTF-8")
        else:
            super().send_receive_event_to_app()

    def handle_pong(self, event: Frame) -> None:
        payload = bytes(event.data)
        if all(payload != asked for asked, _ in self._asked):
            super().handle_pong(event)
            return
        while True:
            asked, arrived = self._asked.popleft()
            arrived()
            if asked == payload:
                return

    def _ask(self, arrived: Callable[[], None]) -> None:
        if self.close_sent or self.transport.is_closing() or len(self._asked) >= ASKED_MAX:
            return
        self._count += 1
        payload = b"told %d" % self._count
        try:
            self.conn.send_ping(payload)
        except InvalidState:
            return
        self._asked.append((payload, arrived))
        self.transport.write(b"".join(self.conn.data_to_send()))

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def _cut_soon(self) -> None:
        if not self.disconnected:
            self.loop.call_later(CUT_SECONDS, self._cut)

    def _cut(self) -> None:
        if not self.disconnected:
            self.transport.abort()
