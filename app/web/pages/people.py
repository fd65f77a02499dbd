"""Everybody in this world: searched, sorted, page by page."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.web.deps import House, TheHouse
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.query import checked
from app.web.pages.session import MaybeViewer
from app.world import profiles
from app.world.feed import Row
from app.world.text import Line, Query

router = APIRouter(include_in_schema=False)
PAGE = 48
LEANINGS_MAX = 30
KEPT_SECONDS = 15.0
ORDERS = {"newest": "Newest", "followers": "Most followed", "posts": "Most posts", "name": "Name"}


class PeopleQuery(BaseModel):
    """What the address of the page may say."""

    model_config = ConfigDict(extra="ignore")

    q: Query | None = None
    sort: profiles.Order = "newest"
    leaning: Line | None = None
    state: profiles.Here = ""
    cursor: Annotated[str, Field(max_length=400)] | None = None


@dataclass
class Kept:
    """What goes through all personas to be found, made at most every `KEPT_SECONDS`."""

    found: dict[str, tuple[float, Any]] = field(default_factory=dict)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def get(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        async with self.making:
            made, value = self.found.get(key, (0.0, None))
            if value is None or time.monotonic() - made > KEPT_SECONDS:
                value = await make()
                self.found[key] = (time.monotonic(), value)
            return value


def _kept(request: Request) -> Kept:
    state = request.app.state
    if not hasattr(state, "people"):
        state.people = Kept()
    found = state.people
    assert isinstance(found, Kept)  # noqa: S101 - nobody else writes it
    return found


@router.get("/people")
async def people_page(request: Request, house: TheHouse, viewer: MaybeViewer) -> Response:
    """A page of the personas."""
    query = checked(PeopleQuery, request)
    order: profiles.Order = "newest" if query.state == "departed" and query.sort == "name" else query.sort
    given = {"q": query.q or "", "sort": order if order != "newest" else "", "leaning": query.leaning or ""}
    given |= {"state": query.state}
    scope = ("people", order, query.q, query.leaning, query.state)
    rows = await _rows(request, house, query, order, scope)
    shown = rows[:PAGE]
    more = ""
    if len(rows) > len(shown):
        cursor = sign_cursor(house.secret, scope, profiles.place(order, shown[-1]))
        more = "/people?" + urlencode({**{name: value for name, value in given.items() if value}, "cursor": cursor})
    census: profiles.Census = await _kept(request).get("census", lambda: profiles.census(house.database))
    leanings = dict(list(census.leanings.items())[:LEANINGS_MAX])
    if query.leaning and query.leaning not in leanings:
        leanings[query.leaning] = census.leanings.get(query.leaning, 0)
    return render(
        request,
        "people.html",
        viewer=viewer,
        people=shown,
        more=more,
        first=not query.cursor,
        words=query.q or "",
        order=order,
        orders=ORDERS,
        leaning=query.leaning or "",
        leanings=leanings,
        state_asked=query.state,
        census=census,
        filtered=bool(query.q or query.leaning or query.state),
    )


async def _rows(
    request: Request, house: House, query: PeopleQuery, order: profiles.Order, scope: tuple[Any, ...]
) -> list[Row]:
    after = None
    if query.cursor:
        rank, last = read_cursor(house.secret, scope, query.cursor)
        after = (rank, last)

    async def read() -> list[Row]:
        return await profiles.people(
            house.database,
            order=order,
            state=query.state,
            leaning=query.leaning or "",
            words=query.q or "",
            after=after,
            limit=PAGE + 1,
        )

    plain = not (query.q or query.leaning or query.state or query.cursor)
    if plain and order in ("followers", "posts"):
        kept: list[Row] = await _kept(request).get(order, read)
        return kept
    return await read()
