"""Search over posts and people."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.web.api.feed import found_posts, links
from app.web.api.schemas import PostOut, problems
from app.web.cached import answer
from app.web.deps import TheHouse
from app.web.inputs import Cursor, Limit, SearchWords, read_cursor
from app.web.negotiate import wants_page
from app.web.pages.search import PEOPLE, search_page
from app.world import feed, search

router = APIRouter(tags=["feed"])


class PersonFound(BaseModel):
    persona_id: int
    username: str
    display_name: str | None
    bio: str
    leaning: str | None
    followers_count: int


class SearchOut(BaseModel):
    """People (with the first page), and posts that hold all the words, newest first.

    With words that are in very many posts a page can be short, or empty, though there are more: `next_cursor` leads on.
    """

    people: list[PersonFound]
    posts: list[PostOut]
    next_cursor: str | None
    has_more: bool


def person_out(row: feed.Row) -> dict[str, Any]:
    return {name: row["id" if name == "persona_id" else name] for name in PersonFound.model_fields}


@router.get("/search", operation_id="search", response_model=SearchOut, responses=problems(304))
async def read_search(
    request: Request,
    house: TheHouse,
    q: SearchWords | None = None,
    limit: Limit = feed.PAGE_SIZE,
    cursor: Cursor | None = None,
) -> Response:
    """People by handle, name or bio, and posts by their words; `"…"` is a phrase, and `or` and `-word` work."""
    if wants_page(request):
        return await search_page(request, house)
    if q is None:
        if cursor is not None:
            read_cursor(house.secret, ("search", q), cursor)  # no list without words gave one
        return answer(request, {"people": [], "posts": [], "next_cursor": None, "has_more": False})
    people = await search.people(house.database, q, limit=PEOPLE) if cursor is None else []
    posts, following = await found_posts(house, ("search", q), q, limit, cursor)
    found = {
        "people": [person_out(row) for row in people],
        "posts": posts,
        "next_cursor": following,
        "has_more": following is not None,
    }
    return answer(request, found, headers=links(request, following))
