"""One shape for every error: RFC 9457 problem details."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from app.db.engine import explain
from app.errors import AppError, FieldError
from app.logs import places

PROBLEM = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
KEY_SHOWN = 200
log = structlog.get_logger()


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    request_id: str,
    errors: tuple[FieldError, ...] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem answer. `instance` names this one occurrence, as it stands in the log."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:simfeed:request:{request_id}",
    }
    if errors:
        body["errors"] = [{"pointer": e.pointer, "code": e.code, "message": e.message} for e in errors]
    return Response(msgspec.json.encode(body), status, headers, PROBLEM)


def _id(request: Request) -> str:
    return str(request.scope.get("request_id", "-"))


def _of(request: Request, error: AppError) -> Response:
    return problem(
        error.status,
        error.title,
        error.detail,
        request_id=_id(request),
        errors=error.errors,
        headers=error.headers,
    )


def _pointer(error: dict[str, Any], body: Any) -> str:
    """Where in the body, or which parameter; what names no place in the body (a type's name) is left out."""
    where, *rest = error["loc"]
    if where != "body":
        return str(rest[0] if rest else where)
    pointer = ""
    for place, part in enumerate(rest, 1):
        known = part in body if isinstance(body, dict) else isinstance(body, list) and part in range(len(body))
        if not known and not (error["type"] == "missing" and place == len(rest)):
            continue
        pointer += "/" + str(part)[:KEY_SHOWN].replace("~", "~0").replace("/", "~1")
        body = body[part] if known else None
    return pointer


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is registered for nothing else
    errors = tuple(
        FieldError(_pointer(e, error.body), str(e["type"]), str(e["msg"]).removeprefix("Value error, "))
        for e in error.errors()[:20]
    )
    detail = "; ".join(f"{e.pointer.removeprefix('/') or 'body'}: {e.message}" for e in errors[:5])
    return problem(422, "Invalid input", detail, request_id=_id(request), errors=errors)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for nothing else
    title = HTTPStatus(error.status_code).phrase
    detail = {
        404: f"there is nothing at {request.url.path[:200]}",
        405: f"{request.method[:20]} is not possible here",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {}) | ({"Allow": _allowed(request)} if error.status_code == 405 else {})
    return problem(error.status_code, title, detail, request_id=_id(request), headers=headers)


def _allowed(request: Request) -> str:
    """The methods that all routes of this path take together; HEAD goes where GET goes."""

    def taken(method: str) -> bool:
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(filter(taken, METHODS))


def _app(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101 - the handler is registered for nothing else
    return _of(request, error)


def unexpected(error: Exception, request_id: str) -> Response:
    """What an exception nobody caught becomes: a database that is away is 503, all else is our bug and 500."""
    if (known := explain(error)) is not None:
        log.warning("database trouble", error=type(error).__name__, request_id=request_id)
        return problem(known.status, known.title, known.detail, request_id=request_id, headers=known.headers)
    log.error("bug", error=type(error).__name__, at=places(error), request_id=request_id)
    return problem(500, "Internal error", "something went wrong here; it has been logged", request_id=request_id)


Shown = Callable[[Request, Exception, Response], Response]
"""How an error's answer is shown to whoever asked."""


def install(app: FastAPI, shown: Shown) -> None:
    def by(handler: Callable[[Request, Exception], Response]) -> Callable[[Request, Exception], Response]:
        return lambda request, error: shown(request, error, handler(request, error))

    app.add_exception_handler(AppError, by(_app))
    app.add_exception_handler(RequestValidationError, by(_invalid))
    app.add_exception_handler(HTTPException, by(_http))
