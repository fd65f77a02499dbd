"""What a persona remembers: the list with where each came from, and the forms that give and take memories."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth.admins import record
from app.errors import Conflict, Invalid, NotFound
from app.web.api.memories import MemoryIn
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, read_cursor, sign_cursor
from app.web.pages.admin.personas import HERE, NUMBER
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer
from app.world import memories, personas
from app.world.clock import world_now
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
ONE = HERE + "/{persona_id}/memory"
PAGE = 30
KINDS = {
    "did": "what it did",
    "done_to": "what others did to it",
    "bond": "how it stands with somebody",
    "reflection": "what it made of older memories",
    "given": "given",
}
DONE |= {
    "memory-given": "It remembers that from its next turn on.",
    "memory-forgotten": "Forgotten. What was done stays in the ledger.",
}


class MemoryQuery(BaseModel):
    """What the address of the list may say."""

    model_config = ConfigDict(extra="ignore")

    folded: bool = False
    cursor: Annotated[str, Field(max_length=400)] | None = None


@router.get(ONE)
async def memory_page(request: Request, house: TheHouse, viewer: TheViewer, persona_id: PathId) -> Response:
    """What a persona remembers, newest first."""
    return await _show(request, house, viewer, persona_id)


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    persona_id: int,
    *,
    form: Form | None = None,
    wrong: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    persona = await personas.get(house.database, persona_id)
    query = checked(MemoryQuery, request)
    scope = ("memories", persona_id, query.folded)
    after = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else None
    rows = await memories.listed(house.database, persona_id, limit=PAGE + 1, after=after, folded=query.folded)
    given = form or Form({})
    return render(
        request,
        "admin/persona_memory.html",
        viewer=viewer,
        status=status,
        persona=persona,
        kinds=KINDS,
        rows=[{**dict(row), "link": _link(row["object_kind"], row["object_id"])} for row in rows[:PAGE]],
        folded=query.folded,
        first=not query.cursor,
        older=sign_cursor(house.secret, scope, (rows[PAGE - 1]["id"],)) if len(rows) > PAGE else "",
        most=house.settings.memory_most,
        on=house.settings.memory == "on",
        wrong=wrong or {},
        given={"body": given["body"][:1000], "importance": given["importance"][:20] or "0.8"},
    )


def _link(kind: str | None, number: int | None) -> str:
    """The page of what a memory is about; empty where there is none."""
    if number is None:
        return ""
    match kind:
        case "post" | "like" | "repost" | "report" | "quote" | "react":
            return f"/post/{number}"
        case "follow" | "unfollow" | "mute" | "persona":
            return f"/persona/{number}"
        case _:
            return ""


@router.post(ONE)
async def give(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, persona_id: PathId) -> Response:
    """Put a memory into a persona, or take one out."""
    if form["forget"]:
        return await _forget(house, viewer, persona_id, form["forget"])
    await personas.present(house.database, persona_id)
    try:
        importance = float(form["importance"] or "0.8")
    except ValueError:
        importance = -1.0
    try:
        given = MemoryIn.model_validate({"body": form["body"], "importance": importance})
    except ValidationError as error:
        wrong = {str(e["loc"][0]): _said(str(e["loc"][0])) for e in error.errors()}
        return await _show(request, house, viewer, persona_id, form=form, wrong=wrong, status=422)
    try:
        now = await world_now(house.database)
        async with house.database.connection() as connection, connection.transaction():
            made = await memories.give(connection, persona_id, given.body, now=now, importance=given.importance)
            await record(connection, viewer.admin.id, "memory.given", str(persona_id), reason=str(made))
    except Conflict as error:
        return await _show(request, house, viewer, persona_id, form=form, wrong={"body": error.detail}, status=409)
    return go_to(ONE.format(persona_id=persona_id), done="memory-given")


def _said(name: str) -> str:
    return "is a number from 0 to 1" if name == "importance" else "is a sentence of up to 500 characters"


async def _forget(house: House, viewer: Viewer, persona_id: int, given: str) -> Response:
    if not NUMBER.fullmatch(given) or int(given) > INT64_MAX:
        raise Invalid("the form names a memory that can't be")
    async with house.database.connection() as connection, connection.transaction():
        if not await memories.forget(connection, persona_id, [int(given)]):
            raise NotFound(f"persona {persona_id} has no memory {given}")
        await record(connection, viewer.admin.id, "memory.forgotten", str(persona_id), reason=given)
    return go_to(ONE.format(persona_id=persona_id), done="memory-forgotten")
