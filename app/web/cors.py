"""Which answers a page of another origin may read, asked for without credentials: public reads, and chat sessions.

A session is let in by what its body or address holds, not by a cookie. So any page may ask, as any program may; whether
its study lets that origin in is said by the route (`from_allowed`), before anything is done.
"""

from collections.abc import Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.web.errors import problem

SESSIONS = "/session/"


class PublicReads(CORSMiddleware):
    """Starlette's CORS, kept off writes other than those of sessions, and off whatever carries a token or a cookie."""

    def __init__(self, app: ASGIApp, /, **given: Any) -> None:
        super().__init__(app, **given)
        self._sessions = CORSMiddleware(
            app, allow_origins=["*"], allow_methods=["POST"], allow_headers=["Content-Type"], max_age=600
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        sessions = scope["path"].startswith(SESSIONS)
        if not sessions and not _is_public(scope):
            await self.app(scope, receive, send)
        elif (refused := self._refused(scope, self._sessions if sessions else self)) is not None:
            await refused(scope, receive, send)
        elif sessions:
            await self._sessions(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _refused(self, scope: Scope, cors: CORSMiddleware) -> Response | None:
        """The answer to a preflight that asks for more than is allowed."""
        headers = Headers(scope=scope)
        if scope["method"] != "OPTIONS" or not {"origin", "access-control-request-method"} <= set(headers):
            return None
        plain = cors.preflight_response(headers)
        if plain.status_code < 400:
            return None
        kept = {name: plain.headers[name] for name in plain.headers if not name.startswith("content-")}
        request_id = str(scope.get("request_id", "-"))
        return problem(
            plain.status_code,
            "Not allowed across origins",
            bytes(plain.body).decode(),
            request_id=request_id,
            headers=kept,
        )


def _is_public(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return scope["method"] in ("GET", "HEAD", "OPTIONS") and "authorization" not in headers and "cookie" not in headers


def from_allowed(connection: HTTPConnection, origins: Sequence[str]) -> bool:
    """Whether this comes from a page of our own or of one of `origins` (`*`: any), or from what is no browser."""
    origin = connection.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return True
    return origin.split("://", 1)[-1] == connection.headers.get("host", "")
