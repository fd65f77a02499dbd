"""Dialogues: models talk to each other, and are watched while they do."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from app.analysis.tables import Column, Kind, Table, to_csv
from app.venues.session.design import Dialogue
from app.venues.session.exactly import EXACTLY
from app.venues.session.results import COLUMNS, analytics
from app.web.api.schemas import problems
from app.web.api.session_schemas import DIALOGUE, SessionOut
from app.web.api.session_verbs import DONE, ThePatience, TheSession, add_verbs, begun
from app.web.deps import TheAdmin, TheHouse

router = APIRouter(prefix="/dialogues", tags=["simulations"])
KINDS: dict[str, Kind] = {"Bot": "text", "Channel": "text", "AvgProcessingTime": "number"}
CSV: dict[int | str, dict[str, Any]] = {
    200: {"description": f"CSV: {', '.join(COLUMNS)}.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


@router.post(
    "",
    operation_id="run_dialogue",
    status_code=202,
    response_model=SessionOut,
    responses={**problems(401, body=True), **DONE},
)
async def run_dialogue(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    given: Annotated[Dialogue, EXACTLY, Body(examples=[DIALOGUE])],
) -> Response:
    """Let two or more personas or bare bots talk, from a seed message on: 202 at once, or 200 once it is at its end."""
    return await begun(house, admin, "dialogue", given, patience, name=given.name or given.channel)


add_verbs(router, "dialogue")


@router.get(
    "/{session_id}/analytics.csv",
    operation_id="read_dialogue_analytics",
    response_class=Response,
    responses={**problems(401, 404), **CSV},
)
async def read_dialogue_analytics(house: TheHouse, row: TheSession) -> Response:
    """A row for each bot: generations, turns, messages received and ignored, seconds a generation on average."""
    columns = tuple(Column(name, KINDS.get(name, "integer")) for name in COLUMNS)
    rows = tuple(tuple(one[name] for name in COLUMNS) for one in await analytics(house.database, row))
    content = await asyncio.to_thread(to_csv, Table(columns, rows))
    headers = {"Content-Disposition": f'attachment; filename="{row["key"]}-analytics.csv"'}
    return Response(content, 200, headers, "text/csv")
