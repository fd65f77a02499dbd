"""What all pages share: the frame around them, who looks at them, their headers and static files."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi import Path as PathParameter
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.actions.showing import ago
from app.analysis import plots
from app.errors import NotFound
from app.web.cached import CACHE
from app.web.pages import parts
from app.web.pages.avatar import avatar
from app.web.pages.session import Viewer, cookie_name, csrf_token

router = APIRouter(include_in_schema=False)
STATIC = Path(__file__).parent / "static"
PLOTS = Path(plots.__file__).parent / "plots.css"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"
CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
PRIVATE = "private, no-store"
DONE: dict[str, str] = {"signed-out": "You are signed out."}
"""What `?done=KEY` says on the next page; each page that has forms adds its own sentences."""


@dataclass(frozen=True)
class Asset:
    """A static file, read once; its address changes with what is in it."""

    body: bytes
    kind: str
    version: str


def _read(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, KINDS[path.suffix], hashlib.blake2b(body, digest_size=6).hexdigest())


ASSETS = {path.name: _read(path) for path in (*sorted(STATIC.iterdir()), PLOTS) if path.suffix in KINDS}
_ALL = hashlib.blake2b("".join(a.version for a in ASSETS.values()).encode(), digest_size=6).hexdigest()


def asset(name: str) -> str:
    """The address of a static file. Modules import each other by name, so all change address together."""
    if name not in ASSETS:
        raise KeyError(name)
    return f"/static/{_ALL}/{name}"


def money(usd: Any) -> str:
    """US dollars, with as many digits as a small sum needs."""
    value = float(usd or 0)
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:.4f}" if value >= 0.0001 else f"${value:.6f}"


def _ago(value: datetime) -> str:
    return ago(value, datetime.now(UTC))


templates = Environment(
    loader=PackageLoader("app.web.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.filters.update(ago=_ago, compact=parts.compact, money=money, moment=parts.moment)
templates.globals |= {"asset": asset, "drawn": parts}


def render(
    request: Request,
    template: str,
    *,
    viewer: Viewer | None = None,
    status: int = 200,
    private: bool = False,
    **context: Any,
) -> Response:
    """A page. What a signed-in admin gets, or is `private`, is nobody else's; the rest may be kept and revalidated.

    With the policy `no-referrer` a browser would call the origin of our own forms `null`.
    """
    house = request.app.state.house
    parts.WORLD_AT.set(house.watch.at)
    frame = {
        "path": request.url.path,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "viewer": viewer,
        "known": cookie_name(request) in request.cookies,
        "csrf": csrf_token(house.secret, viewer.jti) if viewer else "",
        "next_tick": house.scheduler.next_tick,
        "world": house.world,
        "world_at": house.watch.at,
        "version": request.app.version,
        "notice": DONE.get(request.query_params.get("done", "")),
    }
    body = templates.get_template(template).render({**frame, **context}).encode()
    headers = {"Content-Security-Policy": CSP, "Vary": "Accept, Cookie", "Referrer-Policy": "same-origin"}
    if private or viewer is not None or status != 200 or request.method != "GET":
        return HTMLResponse(body, status, headers | {"Cache-Control": PRIVATE})
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers |= {"ETag": tag, "Cache-Control": CACHE}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, status, headers)


def go_to(address: str, **query: str) -> RedirectResponse:
    """After a form has done its work: on to a page, by GET. `done=KEY` shows a sentence of `DONE` there."""
    joined = address + (("&" if "?" in address else "?") + urlencode(query) if query else "")
    return RedirectResponse(joined, 303, {"Cache-Control": "no-store"})


@router.get("/static/{version}/{name}")
async def static(version: str, name: str) -> Response:
    """A static file; under an address of an older version, the newest, to be asked for again."""
    found = ASSETS.get(name)
    if found is None:
        raise NotFound(f"there is no file {name[:80]}")
    cache = FOREVER if version == _ALL else "public, max-age=60"
    headers = {"Cache-Control": cache, "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(found.body, 200, headers if found.kind == "image/svg+xml" else {"Cache-Control": cache}, found.kind)


@router.get("/avatar/{handle}.svg")
async def avatar_image(handle: Annotated[str, PathParameter(max_length=200)]) -> Response:
    """The picture of a handle, always the same."""
    return Response(avatar(handle), 200, {"Cache-Control": FOREVER}, "image/svg+xml")
