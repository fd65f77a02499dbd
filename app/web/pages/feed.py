"""The feed as a page, readable without script."""

from pathlib import Path

from fastapi import APIRouter, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import FileResponse, HTMLResponse, Response

from app.actions.feed import ago
from app.web.deps import House
from app.world import feed

router = APIRouter(include_in_schema=False)
STATIC = Path(__file__).parent / "static"
CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE = 50

_templates = Environment(
    loader=PackageLoader("app.web.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.filters["ago"] = ago


def wants_page(request: Request) -> bool:
    """Whether a browser asks: it names text/html, and before JSON."""
    accept = request.headers.get("accept", "")
    html, json = accept.find("text/html"), accept.find("application/json")
    return html >= 0 and (json < 0 or html < json)


async def feed_page(house: House) -> Response:
    """The newest posts."""
    rows = await feed.posts(house.database, limit=PAGE, after=feed.Position())
    html = _templates.get_template("feed.html").render(posts=rows)
    return HTMLResponse(html, headers={"Content-Security-Policy": CSP, "Vary": "Accept", "Cache-Control": "no-cache"})


@router.get("/static/style.css")
async def style() -> Response:
    return FileResponse(STATIC / "style.css", media_type="text/css", headers={"Cache-Control": "public, max-age=300"})
