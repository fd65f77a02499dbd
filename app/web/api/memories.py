"""What a persona remembers, as admins see and change it."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.auth.admins import record
from app.errors import NotFound
from app.web.api.schemas import problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, Limit, PathId, QueryId, SearchWords
from app.world import memories, personas
from app.world.clock import world_now
from app.world.memories import AtHand
from app.world.text import PostBody

router = APIRouter(prefix="/personas/{persona_id}/memories", tags=["personas"])
Kind = Literal["did", "done_to", "bond", "reflection", "given"]


class MemoryOut(BaseModel):
    """One memory with where it came from. `counts` is of a bond: own acts, the other's, for, against."""

    id: int
    kind: Kind
    about: int | None
    body: str
    importance: float
    venue: str
    run_id: int | None
    turn_id: int | None
    object_kind: str | None
    object_id: int | None
    at: datetime


class KeptOut(MemoryOut):
    """A memory as it is kept; `folded_into` is the reflection that holds it, `sources` what a reflection holds."""

    about_username: str | None
    sources: list[int]
    counts: list[int]
    folded_into: int | None
    recalled_at: datetime | None
    recalls: int


class RecalledOut(MemoryOut):
    """A memory as it would come to mind: its score, and the parts of it, from 0 to 1."""

    recency: float
    relevance: float
    score: float


class MemoryIn(Body):
    """What a persona shall remember, as told to it: "You …"."""

    body: Annotated[PostBody, Field(examples=["You grew up by the sea."])]
    importance: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0.8


class GivenOut(BaseModel):
    id: int


@router.get("", operation_id="list_memories", responses=problems(401, 404))
async def list_memories(
    house: TheHouse,
    _: TheAdmin,
    persona_id: PathId,
    limit: Limit = 50,
    after: QueryId | None = None,
    folded: bool = False,
) -> list[KeptOut]:
    """A persona's memories, newest first; `after` ends the page before, `folded`: those in reflections too."""
    await personas.present(house.database, persona_id)
    rows = await memories.listed(house.database, persona_id, limit=limit, after=after, folded=folded)
    return [KeptOut(**dict(row)) for row in rows]


@router.get("/search", operation_id="search_memories", responses=problems(401, 404))
async def search_memories(
    house: TheHouse, _: TheAdmin, persona_id: PathId, q: SearchWords | None = None
) -> list[RecalledOut]:
    """What would come to a persona's mind now, best first; `q` is at hand, else the newest posts and its interests."""
    await personas.present(house.database, persona_id)
    now = await world_now(house.database)
    found = await memories.recall(house.database, [persona_id], now=now, at_hand=AtHand(q))
    return [
        RecalledOut(**{name: getattr(m, name) for name in RecalledOut.model_fields}) for m in found.get(persona_id, [])
    ]


@router.post("", operation_id="give_memory", status_code=201, responses=problems(401, 404, 409, body=True))
async def give_memory(house: TheHouse, admin: TheAdmin, persona_id: PathId, given: MemoryIn) -> GivenOut:
    """Put a memory into a persona."""
    await personas.present(house.database, persona_id)
    now = await world_now(house.database)
    async with house.database.connection() as connection, connection.transaction():
        made = await memories.give(connection, persona_id, given.body, now=now, importance=given.importance)
        await record(connection, admin.admin.id, "memory.given", str(persona_id), reason=str(made))
    return GivenOut(id=made)


@router.delete("/{memory_id}", operation_id="forget_memory", status_code=204, responses=problems(401, 404))
async def forget_memory(house: TheHouse, admin: TheAdmin, persona_id: PathId, memory_id: PathId) -> None:
    """Take a memory out of a persona; with a reflection goes what it holds."""
    async with house.database.connection() as connection, connection.transaction():
        if not await memories.forget(connection, persona_id, [memory_id]):
            raise NotFound(f"persona {persona_id} has no memory {memory_id}")
        await record(connection, admin.admin.id, "memory.forgotten", str(persona_id), reason=str(memory_id))
