"""Interventions: changes to the world that admins plan for a cycle, or a time in it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.auth.admins import record
from app.errors import FieldError, Invalid
from app.web.api.schemas import problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, Cursor, Limit, PathId, next_cursor, read_cursor
from app.world import interventions
from app.world.clock import stands_at
from app.world.interventions import Intervention, State
from app.world.plans import PLANS_MAX, AnyPlan
from app.world.text import INT64_MAX

router = APIRouter(prefix="/interventions", tags=["scheduler"])


class InterventionsWish(Body):
    """Interventions to plan, all or none; with `relative`, their cycles count from the world's next one on."""

    interventions: Annotated[
        list[AnyPlan],
        Field(
            min_length=1,
            max_length=PLANS_MAX,
            examples=[[{"kind": "news", "cycle": 5, "title": "The bridge is closed"}]],
        ),
    ]
    relative: bool = False


class InterventionOut(BaseModel):
    """An intervention. `detail` is what its kind needs, `outcome` what came of it in run `run_id`."""

    id: int
    kind: Literal["post", "message", "ranker", "pause", "resume", "news"]
    cycle: int | None
    at: datetime | None
    detail: dict[str, Any]
    note: str
    state: State
    run_id: int | None
    outcome: dict[str, Any]
    summary: str
    created_at: datetime
    done_at: datetime | None


class InterventionsPage(BaseModel):
    """The newest first."""

    data: list[InterventionOut]
    next_cursor: str | None
    has_more: bool


class InterventionsPlanned(BaseModel):
    """The numbers of what was planned, in the order given."""

    ids: list[int]


def intervention_out(one: Intervention) -> InterventionOut:
    return InterventionOut(**{name: getattr(one, name) for name in InterventionOut.model_fields})


@router.get("", operation_id="list_interventions", response_model=InterventionsPage, responses=problems(401))
async def list_interventions(
    request: Request,
    house: TheHouse,
    _: TheAdmin,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor | None = None,
) -> Response:
    """Interventions that are planned, done, failed or cancelled, the newest first."""
    scope = ("interventions", state)
    before = int(read_cursor(house.secret, scope, cursor)[0]) if cursor is not None else INT64_MAX
    found = await interventions.listed(house.database, limit=limit + 1, before=before, state=state)
    following = next_cursor(house.secret, scope, [vars(one) for one in found], limit)
    page = InterventionsPage(
        data=[intervention_out(one) for one in found[:limit]], next_cursor=following, has_more=following is not None
    )
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)


@router.post("", operation_id="plan_interventions", status_code=201, responses=problems(401, 409, body=True))
async def plan_interventions(house: TheHouse, admin: TheAdmin, wish: InterventionsWish) -> InterventionsPlanned:
    """Plan interventions, all or none: a persona or the outside says something, a ranker is switched, and so on."""
    now = await stands_at(house.database)
    try:
        async with house.database.connection() as connection, connection.transaction():
            ids = await interventions.plan(
                connection, wish.interventions, now=now, relative=wish.relative, by=admin.admin.id
            )
            for number, plan in zip(ids, wish.interventions, strict=True):
                await record(connection, admin.admin.id, "intervention.planned", str(number), kind=plan.kind)
    except Invalid as error:
        errors = [FieldError(f"/interventions{e.pointer}", e.code, e.message) for e in error.errors]
        raise Invalid(error.detail, errors=errors) from None
    return InterventionsPlanned(ids=ids)


@router.delete(
    "/{intervention_id}", operation_id="cancel_intervention", status_code=204, responses=problems(401, 404, 409)
)
async def cancel_intervention(house: TheHouse, admin: TheAdmin, intervention_id: PathId) -> None:
    """A planned intervention is not to be done."""
    async with house.database.connection() as connection, connection.transaction():
        await interventions.cancel(connection, intervention_id)
        await record(connection, admin.admin.id, "intervention.cancelled", str(intervention_id))
