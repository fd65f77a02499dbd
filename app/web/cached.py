"""Public answers: encoded once, revalidated by ETag."""

import hashlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

CACHE = "public, max-age=0, must-revalidate"


def answer(request: Request, content: Any, *, headers: dict[str, str] | None = None) -> Response:
    """`content` as JSON with an ETag; 304 without body when the caller has it already."""
    body = msgspec.json.encode(content)
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    known = {**(headers or {}), "ETag": tag, "Cache-Control": CACHE, "Vary": "Accept"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=known)
    return Response(body, 200, known, "application/json")
