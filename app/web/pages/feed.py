"""The feed as a page, readable without script."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import House, TheHouse
from app.web.inputs import QueryId, read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.graph import tiny
from app.web.pages.news import trends_of
from app.web.pages.query import checked
from app.web.pages.session import MaybeViewer, Viewer
from app.world import feed, glance, news, personas, search
from app.world.clock import world_now
from app.world.text import Line, Query, Username

router = APIRouter(include_in_schema=False)
NEWER_MAX = 50
TRENDS_SHOWN, NEWS_SHOWN = 6, 4
RAIL_SECONDS = 15.0
GRAPH_SECONDS = 120.0


class FeedQuery(BaseModel):
    """What the address of the feed may say; an empty field of a form counts as not given."""

    model_config = ConfigDict(extra="ignore")

    sort: feed.Sort = "latest"
    following: Username | None = None
    q: Query | None = None
    leaning: Line | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


@dataclass
class Rail:
    """What stands beside the feed: made at most every `RAIL_SECONDS`, its graph every `GRAPH_SECONDS`."""

    found: glance.Glance | None = None
    graph: Markup = field(default_factory=Markup)
    _glanced: float = 0.0
    _drawn: float = 0.0
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refresh(self, house: House) -> None:
        async with self._making:
            now = time.monotonic()
            if self.found is None or not self.found.hot or now - self._glanced > RAIL_SECONDS:
                self.found, self._glanced = await glance.glance(house.database), now
            if not self._drawn or now - self._drawn > GRAPH_SECONDS:
                self.graph, self._drawn = await tiny(house.database), now


def cursor_scope(
    sort: feed.Sort = "latest", follower: int | None = None, words: str | None = None, leaning: str = ""
) -> tuple[Any, ...]:
    """What a cursor of these pages belongs to: it opens no other list."""
    return ("page", sort, follower, words, leaning)


async def feed_page(request: Request, house: House, viewer: Viewer | None) -> Response:
    """A page of the feed: newest, hottest, of those whom somebody follows, with some words, or of one leaning."""
    query = checked(FeedQuery, request)
    head = request.app.state.relay.head
    follower = await personas.by_username(house.database, query.following) if query.following else None
    leaning = "" if follower or query.q else query.leaning or ""
    sort: feed.Sort = "latest" if follower or query.q or leaning else query.sort
    scope = cursor_scope(sort, follower and follower["id"], query.q, leaning)
    further: feed.Position | None = None
    after = feed.Position(*read_cursor(house.secret, scope, query.cursor)) if query.cursor else feed.Position()
    if follower:
        rows = await feed.following(house.database, follower["id"], limit=feed.PAGE_SIZE + 1, after=after)
    elif query.q:
        found = await search.posts(house.database, query.q, limit=feed.PAGE_SIZE + 1, after=after)
        rows, further = found.rows, found.further
    elif leaning:
        rows, further = await feed.of_leaning(house.database, leaning, limit=feed.PAGE_SIZE + 1, after=after)
    else:
        rows = await feed.posts(house.database, sort=sort, limit=feed.PAGE_SIZE + 1, after=after)
    shown = rows[: feed.PAGE_SIZE]
    older = ""
    last = feed.position(sort, shown[-1]) if len(rows) > len(shown) else further
    if last is not None:
        words = {"sort": sort if sort != "latest" else "", "following": query.following or "", "q": query.q or ""}
        words |= {"leaning": leaning}
        given = {name: value for name, value in words.items() if value}
        older = "/?" + urlencode({**given, "cursor": sign_cursor(house.secret, scope, (last.id, last.rank))})
    plain = not (follower or query.q or leaning)
    rail = await _rail(request, house)
    return render(
        request,
        "feed.html",
        viewer=viewer,
        posts=shown,
        leanings=await glance.leanings(house.database, [row["author_id"] for row in shown]),
        older=older,
        first=not query.cursor,
        sort=sort,
        query=query.q or "",
        leaning=leaning,
        looked=(search.WALKED if query.q else feed.LOOKED) if further else 0,
        follower=follower,
        live=plain and sort == "latest" and not query.cursor,
        head=head,
        rail=rail.found,
        trending=(await trends_of(request, house)).rising[:TRENDS_SHOWN],
        told=await news.latest(house.database, now=await world_now(house.database), limit=NEWS_SHOWN),
        graph=rail.graph,
    )


async def _rail(request: Request, house: House) -> Rail:
    state = request.app.state
    if not hasattr(state, "rail"):
        state.rail = Rail()
    found = state.rail
    assert isinstance(found, Rail)  # noqa: S101 - nobody else writes it
    await found.refresh(house)
    return found


@router.get("/fragments/posts")
async def newer(request: Request, house: TheHouse, viewer: MaybeViewer, newer: QueryId) -> Response:
    """The posts after post `newer`, newest first, as they stand in the feed; at most fifty."""
    rows = await feed.posts(house.database, limit=NEWER_MAX, after=feed.Position())
    shown = [row for row in rows if row["id"] > newer]
    leanings = await glance.leanings(house.database, [row["author_id"] for row in shown])
    return render(request, "cards.html", viewer=viewer, posts=shown, leanings=leanings)
