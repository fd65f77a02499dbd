"""Errors, as a browser shows them."""

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.web.negotiate import wants_page
from app.web.pages.frame import go_to, render
from app.web.pages.session import SignInFirst


def error_page(request: Request, error: Exception, answer: Response) -> Response:
    """The problem `answer` as a page where a browser asks; who is not signed in is led to the sign-in page."""
    if isinstance(error, SignInFirst) and wants_page(request):
        return go_to("/admin/login", next=error.address)
    if not wants_page(request):
        return answer
    told: dict[str, Any] = msgspec.json.decode(answer.body)
    page = render(
        request,
        "error.html",
        status=answer.status_code,
        title=told["title"] or HTTPStatus(answer.status_code).phrase,
        detail=told["detail"],
        errors=told.get("errors", []),
        request_id=told["instance"].rpartition(":")[2],
        code=answer.status_code,
    )
    for name, value in answer.headers.items():
        if name in ("retry-after", "allow", "www-authenticate"):
            page.headers[name] = value
    return page
