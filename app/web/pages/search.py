"""Search as a page: people, and posts by their words."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import House
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.query import checked
from app.web.pages.session import viewer_of
from app.world import feed, glance, search
from app.world.text import Query

PEOPLE = 6


class SearchQuery(BaseModel):
    """What the address of the page may say."""

    model_config = ConfigDict(extra="ignore")

    q: Query | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


async def search_page(request: Request, house: House) -> Response:
    """What was found for some words."""
    query = checked(SearchQuery, request)
    people: list[feed.Row] = []
    found = search.Found([], None)
    scope = ("page", "search", query.q)
    after = feed.Position(*read_cursor(house.secret, scope, query.cursor)) if query.cursor else feed.Position()
    if query.q:
        if not query.cursor:
            people = await search.people(house.database, query.q, limit=PEOPLE)
        found = await search.page(house.database, query.q, limit=feed.PAGE_SIZE, after=after)
    older = ""
    if query.q and found.further is not None:
        older = "/search?" + urlencode({"q": query.q, "cursor": sign_cursor(house.secret, scope, (found.further.id,))})
    return render(
        request,
        "search.html",
        viewer=await viewer_of(request, house),
        words=query.q or "",
        people=people,
        posts=found.rows,
        leanings=await glance.leanings(house.database, [row["author_id"] for row in found.rows]),
        older=older,
        first=not query.cursor,
        walked=search.WALKED,
    )
