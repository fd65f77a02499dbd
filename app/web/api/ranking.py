"""Why a persona saw what it saw."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.errors import NotFound
from app.ledger import exposures
from app.web.api.schemas import problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Cursor, Limit, PathId, QueryId, read_cursor, sign_cursor
from app.world import personas

router = APIRouter(tags=["personas"])
COLUMNS = ("turn_id", "run_id", "step", "at", "kind", "item", "rank", "ranker", "version", "score", "reason", "chance")


class ImpressionOut(BaseModel):
    """An item as it was shown before a step of a turn, at `rank` from 1 on.

    `chance` is the probability that, given those above it, it stood there; null where chance had no part in it.
    """

    turn_id: int
    run_id: int
    step: int
    at: datetime
    kind: str
    item: int
    rank: int
    ranker: str
    version: int
    score: float | None
    reason: str | None
    chance: float | None


class ImpressionsPage(BaseModel):
    """The newest impressions first; a page may be short, even empty, and still have a next one."""

    data: list[ImpressionOut]
    next_cursor: str | None
    has_more: bool


@router.get(
    "/persona/{persona_id}/exposures",
    operation_id="list_exposures",
    response_model=ImpressionsPage,
    responses=problems(401, 404),
)
async def list_exposures(
    request: Request,
    house: TheHouse,
    _: TheAdmin,
    persona_id: PathId,
    post: Annotated[QueryId | None, Query(description="Only impressions of this post and its reposts.")] = None,
    limit: Limit = 50,
    cursor: Cursor | None = None,
) -> Response:
    """What a persona was shown, where, by which ranker and why; with `post`, why it saw that."""
    await personas.get(house.database, persona_id)
    scope = ("exposures", persona_id, post)
    after = exposures.Place(*read_cursor(house.secret, scope, cursor)) if cursor is not None else exposures.Place()
    found = await exposures.of_persona(house.database, persona_id, post_id=post, limit=limit, after=after)
    if found is None:
        raise NotFound(f"no post has the id {post}")
    last = found.following
    following = sign_cursor(house.secret, scope, (last.turn_id, last.step, last.ordinal, last.rank)) if last else None
    data = [ImpressionOut(**{column: row[column] for column in COLUMNS}) for row in found.rows]
    page = ImpressionsPage(data=data, next_cursor=following, has_more=following is not None)
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)
