"""What every request passes first: request id, rate limit, size and form of the body, security headers, log."""

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import strict_json
from app.metrics import Metrics
from app.settings import Settings
from app.web.errors import problem, unexpected

BODY_MAX = 256 * 1024
LARGE_MAX = 4_000_000
LARGE_PATHS = frozenset(
    {"/simulations", "/dialogues", "/populations", "/personas/ground", "/rewrites"}
    | {"/experiments", "/experiments/estimate"}
)
LARGE_ENDS = re.compile(r"/experiments/[a-z0-9]{12}/references")
"""Where a body may have `LARGE_MAX` bytes: lists of personas, sources, texts, what people did."""

BODY_SECONDS = 15.0
QUERY_MAX = 8 * 1024
HEADERS_MAX = 32 * 1024
ADDRESSES_MAX = 50_000
WINDOW = 60
FORM_PATHS = ("/auths/login", "/admin/", "/withdraw", "/s/")
"""Where bodies may be forms; below `/admin/` they must be."""

FREE_PATHS = ("/static/", "/avatar/")
"""Answers that cost nothing and are asked for by the dozen count for no rate limit."""
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
DEFAULTS = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]
"""Headers of answers that don't say otherwise."""

REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")
STREAM = b"text/event-stream"
SECRET_PATHS = ("/s/", "/session/")
"""Addresses that hold what lets somebody in: the log has their routes instead."""

QUIET = frozenset({"/livez", "/readyz", "/healthz", "/health"})
log = structlog.get_logger("access")


@dataclass
class RateLimiter:
    """Requests of each address in the running minute, in this process. 0 means no limit."""

    most: int
    _windows: OrderedDict[str, tuple[int, int]] = field(default_factory=OrderedDict)

    def take(self, address: str) -> tuple[int, int]:
        """How many requests are left (negative: one too many) and in how many seconds the minute ends."""
        now = int(time.monotonic())
        start = now - now % WINDOW
        began, count = self._windows.pop(address, (start, 0))
        count = count + 1 if began == start else 1
        self._windows[address] = (start, count)
        if len(self._windows) > ADDRESSES_MAX:
            self._windows.popitem(last=False)
        return self.most - count, start + WINDOW - now


def client_address(scope: Scope, trusted: tuple[str, ...]) -> str:
    """The caller's address; X-Forwarded-For counts only from a trusted proxy, and only its very last entry."""
    client = scope.get("client")
    address = client[0] if client else "local"
    if address in trusted:
        for name, value in reversed(scope["headers"]):
            if name == b"x-forwarded-for":
                return str(value.decode("latin-1").rsplit(",", 1)[-1].strip()[:64]) or address
    return str(address)


def seen_scheme(scope: Scope, trusted: tuple[str, ...]) -> str:
    """The scheme the caller used; X-Forwarded-Proto counts only from a trusted proxy, and only its very last entry."""
    client = scope.get("client")
    said = _header(scope, b"x-forwarded-proto") if client and client[0] in trusted else ""
    return "https" if said.rsplit(",", 1)[-1].strip().lower() == "https" else str(scope.get("scheme", "http"))


class _Refused(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


class Edge:
    """ASGI middleware; outside it there is only the server."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.trusted = settings.trusted_proxies
        self.limiter = RateLimiter(settings.rate_limit_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["scheme"] = seen_scheme(scope, self.trusted)
        exchange = _Exchange(scope, send, client_address(scope, self.trusted), _request_id(scope))
        limited = bool(self.limiter.most) and not scope["path"].startswith(FREE_PATHS)
        left, reset = self.limiter.take(exchange.address) if limited else (0, 0)
        if limited:
            exchange.limits = [
                (b"ratelimit-limit", str(self.limiter.most).encode()),
                (b"ratelimit-remaining", str(max(0, left)).encode()),
                (b"ratelimit-reset", str(reset).encode()),
            ]
        if left < 0:
            detail = f"at most {self.limiter.most} requests a minute; try again in {reset} s"
            headers = {"Retry-After": str(reset)}
            response = problem(429, "Too many requests", detail, request_id=exchange.id, headers=headers)
            await response(scope, receive, exchange.send)
        else:
            await self._pass(exchange, receive)
        exchange.log()
        exchange.observe()

    async def _pass(self, exchange: "_Exchange", receive: Receive) -> None:
        scope = exchange.scope
        if exchange.head:
            exchange.inner = {**scope, "method": "GET", "head": True}
        try:
            body = await _read_body(scope, receive)
            await self.app(exchange.inner, _replay(body, receive), exchange.send)
        except _Refused as bad:
            response = problem(bad.status, bad.title, bad.detail, request_id=exchange.id)
            await response(scope, receive, exchange.send)
        except Exception as error:
            response = unexpected(error, exchange.id)
            if not exchange.status:
                await response(scope, receive, exchange.send)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


@dataclass
class _Exchange:
    scope: Scope
    raw_send: Send
    address: str
    id: str
    status: int = 0
    endless: bool = False
    inner: Scope = field(init=False)
    """The request as the application is given it; it notes the route there."""

    limits: list[tuple[bytes, bytes]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def head(self) -> bool:
        """HEAD is answered as GET is, but for the body."""
        return bool(self.scope["method"] == "HEAD")

    def __post_init__(self) -> None:
        self.inner = self.scope
        self.scope["request_id"] = self.id
        self.scope["client_address"] = self.address

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", []), *SECURITY, *self.limits, (b"x-request-id", self.id.encode())]
            said = {name.lower() for name, _ in headers}
            self.endless = any(header[0] == b"content-type" and header[1].startswith(STREAM) for header in headers)
            headers += [header for header in DEFAULTS if header[0] not in said]
            message = {**message, "headers": headers}
        elif self.head:
            message = {**message, "body": b""}
        await self.raw_send(message)

    def observe(self) -> None:
        """Count it by its route's template; an answer without an end has no duration that tells anything."""
        app = self.scope.get("app")
        if app is None or self.endless:
            return
        metrics: Metrics = app.state.metrics
        route = getattr(self.inner.get("route"), "path", "unmatched")
        metrics.request(self.scope["method"], route, self.status, time.perf_counter() - self.started)

    def log(self) -> None:
        path = self.scope["path"]
        if path in QUIET:
            return
        if path.startswith(SECRET_PATHS):
            path = getattr(self.inner.get("route"), "path", path.split("/")[1])
        ms = round((time.perf_counter() - self.started) * 1000, 1)
        log.info("request", method=self.scope["method"], path=path[:200], status=self.status, ms=ms, request_id=self.id)


def _header(scope: Scope, wanted: bytes) -> str:
    for name, value in scope["headers"]:
        if name == wanted:
            return str(value.decode("latin-1"))
    return ""


def _check_head(scope: Scope) -> None:
    """A token may be of any length that the server reads: a wrong one is answered by 401."""
    if sum(len(name) + len(value) + 4 for name, value in scope["headers"] if name != b"authorization") > HEADERS_MAX:
        raise _Refused(431, "Header fields too large", f"all header fields may have at most {HEADERS_MAX:,} bytes")
    query = scope.get("query_string", b"")
    if len(query) > QUERY_MAX:
        raise _Refused(414, "URI too long", f"the query string may have at most {QUERY_MAX:,} bytes")
    if b"\x00" in unquote(query.decode("latin-1"), "latin-1").encode("latin-1") or "\x00" in scope["path"]:
        raise _Refused(422, "Invalid input", "the address holds a NUL character")


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body, within its limits, and of a form that its route takes."""
    _check_head(scope)
    large = scope["path"] in LARGE_PATHS or LARGE_ENDS.fullmatch(scope["path"])
    most = max(BODY_MAX, LARGE_MAX) if large else BODY_MAX
    length = _header(scope, b"content-length")
    if length.isdecimal() and int(length[:15]) > most:
        raise _Refused(413, "Too large", f"a body may have at most {most:,} bytes")
    if not length and not _header(scope, b"transfer-encoding"):
        return b""
    body = await _collect(receive, most)
    if body:
        _check_form(scope, body)
    return body


async def _collect(receive: Receive, most: int | None = None) -> bytes:
    chunks, size, most = [], 0, BODY_MAX if most is None else most
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return b""
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > most:
                    raise _Refused(413, "Too large", f"a body may have at most {most:,} bytes")
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        raise _Refused(408, "Too slow", f"the body did not arrive within {BODY_SECONDS:.0f} s") from None


def _check_form(scope: Scope, body: bytes) -> None:
    kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded" and scope["path"].startswith(FORM_PATHS):
        return
    if kind != "application/json" and not kind.endswith("+json"):
        raise _Refused(415, "Unsupported media type", "send the body as application/json")
    try:
        strict_json.loads(body)
    except ValueError as error:
        raise _Refused(400, "Not valid JSON", f"the body is not valid JSON: {error}") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
