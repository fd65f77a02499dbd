"""What personas were shown and why: all of one persona's, or who was shown one post."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import asyncpg
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.ledger import exposures
from app.ledger.exposures import Impressions, Place
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.query import checked
from app.web.pages.session import TheViewer
from app.world import feed, moderation, personas
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin", include_in_schema=False)
PAGE = 50


class ShownQuery(BaseModel):
    """What the address may say."""

    model_config = ConfigDict(extra="ignore")

    post: Annotated[int, Field(ge=1, le=INT64_MAX)] | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


def _from(house: House, scope: tuple[Any, ...], query: ShownQuery) -> Place:
    return Place(*read_cursor(house.secret, scope, query.cursor)) if query.cursor else Place()


def _older(house: House, scope: tuple[Any, ...], found: Impressions, address: str, **given: int) -> str:
    if (last := found.following) is None:
        return ""
    cursor = sign_cursor(house.secret, scope, (last.turn_id, last.step, last.ordinal, last.rank))
    return f"{address}?{urlencode({**given, 'cursor': cursor})}"


async def _things(house: House, rows: Sequence[asyncpg.Record]) -> dict[tuple[str, int], asyncpg.Record]:
    return await exposures.things(house.database, {(row["kind"], row["item"]) for row in rows})


@router.get("/personas/{persona_id}/shown")
async def persona_shown(request: Request, house: TheHouse, viewer: TheViewer, persona_id: PathId) -> Response:
    """What a persona was shown, the newest first; with `post`, why it saw that one."""
    query = checked(ShownQuery, request)
    persona = await personas.get(house.database, persona_id)
    scope = ("shown to", persona_id, query.post)
    found = await exposures.of_persona(
        house.database, persona_id, post_id=query.post, limit=PAGE, after=_from(house, scope, query)
    )
    if found is None:
        raise NotFound(f"no post has the id {query.post}")
    here = f"/admin/personas/{persona_id}/shown"
    given = {"post": query.post} if query.post else {}
    return render(
        request,
        "admin/persona_shown.html",
        viewer=viewer,
        persona=persona,
        post=query.post,
        rows=found.rows,
        things=await _things(house, found.rows),
        first=not query.cursor,
        older=_older(house, scope, found, here, **given),
        here=here + (f"?{urlencode(given)}" if given else ""),
    )


@router.get("/traces/shown/{post_id}")
async def post_shown(request: Request, house: TheHouse, viewer: TheViewer, post_id: PathId) -> Response:
    """Who was shown a post or a share of it, the newest first, and why."""
    query = checked(ShownQuery, request)
    text = await moderation.post_text(house.database, post_id)
    scope = ("shown", post_id)
    found = await exposures.of_post(house.database, post_id, limit=PAGE, after=_from(house, scope, query))
    here = f"/admin/traces/shown/{post_id}"
    return render(
        request,
        "admin/post_shown.html",
        viewer=viewer,
        post_id=post_id,
        text=text,
        seen=await feed.post(house.database, post_id) is not None,
        rows=found.rows,
        first=not query.cursor,
        older=_older(house, scope, found, here),
        here=here,
    )
