"""Which answers a page of another origin may read: those of public reads, asked for without credentials."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.errors import problem


class PublicReads(CORSMiddleware):
    """Starlette's CORS, kept off writes and off whatever carries a token or a cookie."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_public(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and (refused := self._refused(scope)) is not None:
            await refused(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _refused(self, scope: Scope) -> Response | None:
        """The answer to a preflight that asks for more than we allow."""
        headers = Headers(scope=scope)
        if scope["method"] != "OPTIONS" or not {"origin", "access-control-request-method"} <= set(headers):
            return None
        plain = self.preflight_response(headers)
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
