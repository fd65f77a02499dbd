"""News as a page, what rises beside it, and where both are kept for a moment."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import House
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.session import viewer_of
from app.world import news, trends
from app.world.clock import world_now
from app.world.news import Position
from app.world.trends import Trends

PAGE = 20
KEPT_SECONDS = 15.0
SCOPE = ("news",)
MINUTE = timedelta(minutes=1)


@dataclass
class Kept:
    """What rises, counted at most every `KEPT_SECONDS` in this process; an empty answer is not kept."""

    found: Trends | None = None
    made: float = 0.0
    making: asyncio.Lock = field(default_factory=asyncio.Lock)


async def trends_of(request: Request, house: House) -> Trends:
    """What rises at the end of this minute of the world's time: asked again within it, the answer is the same."""
    state = request.app.state
    if not hasattr(state, "trends"):
        state.trends = Kept()
    kept = state.trends
    assert isinstance(kept, Kept)  # noqa: S101 - nobody else writes it
    async with kept.making:
        if kept.found is None or not kept.found.rising or time.monotonic() - kept.made > KEPT_SECONDS:
            now = await world_now(house.database)
            kept.found = await trends.trends(house.database, now=now.replace(second=0, microsecond=0) + MINUTE)
            kept.made = time.monotonic()
        return kept.found


def position(secret: str, cursor: str | None) -> Position:
    """Where a page of news begins."""
    if cursor is None:
        return Position()
    at, last = read_cursor(secret, SCOPE, cursor)
    return Position(datetime.fromisoformat(at), last)


def further(secret: str, rows: list[news.Row], limit: int) -> str | None:
    """The cursor behind the first `limit` rows; None where no more were found."""
    last = rows[limit - 1] if len(rows) > limit else None
    return sign_cursor(secret, SCOPE, (last["published_at"].isoformat(), last["id"])) if last is not None else None


async def news_page(request: Request, house: House, cursor: str | None) -> Response:
    """What the world has been told, newest first."""
    now = await world_now(house.database)
    rows = await news.latest(house.database, now=now, limit=PAGE + 1, after=position(house.secret, cursor))
    following = further(house.secret, rows, PAGE)
    return render(
        request,
        "news.html",
        viewer=await viewer_of(request, house),
        items=rows[:PAGE],
        older="/news?" + urlencode({"cursor": following}) if following else "",
        first=cursor is None,
        trending=(await trends_of(request, house)).rising,
    )
