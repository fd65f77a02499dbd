"""Errors, as a browser shows them."""

import re
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from app.web.negotiate import wants_page
from app.web.pages.frame import go_to, render
from app.web.pages.session import SignInFirst

TITLES = {
    404: "Nobody here",
    405: "That can’t be done here",
    409: "That has changed meanwhile",
    422: "That can’t be asked",
    429: "A little slower, please",
    500: "That was our mistake",
    503: "Back in a moment",
}
PLACES = (
    ("/admin/", "/admin", "To the overview"),
    ("/@", "/people", "All people"),
    ("/persona/", "/people", "All people"),
    ("/people", "/people", "All people"),
    ("/graph", "/graph", "The whole graph"),
)
"""Where to go on from an address that begins so."""

SLASHED = re.compile(r"/[\w@.-]+(/[\w@.-]+)*/", re.ASCII)


def error_page(request: Request, error: Exception, answer: Response) -> Response:
    """The problem `answer` as a page where a browser asks; who is not signed in is led to the sign-in page."""
    if isinstance(error, SignInFirst) and wants_page(request):
        return go_to("/admin/login", next=error.address)
    if not wants_page(request):
        return answer
    path: str = request.scope["path"]
    if answer.status_code == 404 and request.method == "GET" and SLASHED.fullmatch(path):
        return go_to(path.rstrip("/"))
    told: dict[str, Any] = msgspec.json.decode(answer.body)
    errors = told.get("errors", [])
    onward = next(((to, words) for start, to, words in PLACES if path.startswith(start)), ("/", "To the feed"))
    page = render(
        request,
        "error.html",
        status=answer.status_code,
        title=TITLES.get(answer.status_code) or told["title"] or HTTPStatus(answer.status_code).phrase,
        detail=told["detail"],
        errors=errors if len(errors) > 1 else [],
        onward=onward,
        request_id=told["instance"].rpartition(":")[2],
        code=answer.status_code,
    )
    for name, value in answer.headers.items():
        if name in ("retry-after", "allow", "www-authenticate"):
            page.headers[name] = value
    return page
