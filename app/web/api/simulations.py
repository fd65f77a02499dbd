"""Focus groups, surveys and interviews as jobs, by the contract's request and answer; and the list of all sessions."""

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import JSONResponse

from app.venues.session.design import Kind, Simulation
from app.venues.session.exactly import EXACTLY
from app.venues.session.results import status_of
from app.web.api.schemas import problems
from app.web.api.session_schemas import EXAMPLE, SessionLineOut, SessionOut, SessionsPage
from app.web.api.session_verbs import DONE, ThePatience, add_files, add_verbs, begun
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Cursor, Limit, next_cursor, read_cursor
from app.world.sessions import SESSIONS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/simulations", tags=["simulations"])


@router.post(
    "",
    operation_id="run_simulation",
    status_code=202,
    response_model=SessionOut,
    responses={**problems(401, body=True), **DONE},
)
async def run_simulation(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    given: Annotated[Simulation, EXACTLY, Body(examples=[EXAMPLE])],
) -> Response:
    """Begin a focus group, survey or interview: 202 at once, or 200 with all that came of it, if it is done in time."""
    kind: Kind = given.simulation_config.environment_type
    name = given.session_config.session_name
    return await begun(house, admin, kind, given, patience, name=name)


@router.get("", operation_id="list_simulations", response_model=SessionsPage, responses=problems(401))
async def list_simulations(
    request: Request,
    house: TheHouse,
    _: TheAdmin,
    kind: Annotated[Kind | None, Query(description="Only those of this kind.")] = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> Response:
    """Sessions of every kind, newest first."""
    scope = ("simulations", kind)
    before = int(read_cursor(house.secret, scope, cursor)[0]) if cursor is not None else INT64_MAX
    found = await house.database.fetch(SESSIONS["listed"], before, kind, limit + 1)
    following = next_cursor(house.secret, scope, found, limit)
    page = SessionsPage(
        data=[
            SessionLineOut(
                session_id=row["key"],
                lines=row["lines_count"],
                asked=row["asks_count"],
                status=status_of(row),
                **{
                    name: row[name]
                    for name in ("kind", "name", "reason", "seed", "members", "answered", "created_at", "ended_at")
                },
            )
            for row in found[:limit]
        ],
        next_cursor=following,
        has_more=following is not None,
    )
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)


add_verbs(router, "simulation")
add_files(router, "simulation")
