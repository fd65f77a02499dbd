"""Personas, as admins manage them."""

from typing import Any

import msgspec
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.auth.admins import record
from app.errors import Invalid
from app.web.api.schemas import PersonaAdmin, PersonaCreated, problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Handle, Limit, PathId, QueryId
from app.world import feed, personas, versions
from app.world.personas import PersonaSpec

router = APIRouter(prefix="/personas", tags=["personas"])


def public_persona(row: feed.Row) -> dict[str, Any]:
    """A persona's public fields."""
    profile = msgspec.json.decode(row["profile"])
    return {
        "persona_id": row["id"],
        "username": row["username"],
        "display_name": profile.get("display_name"),
        "bio": row["bio"],
        "role": profile.get("role"),
        "leaning": profile.get("leaning"),
        "status": row["status"],
        "posts_count": row["posts_count"],
        "comments_count": row["comments_count"],
        "followers_count": row["followers_count"],
        "following_count": row["following_count"],
        "created_at": row["created_at"],
    }


def admin_persona(row: feed.Row) -> PersonaAdmin:
    """All of a persona."""
    profile = msgspec.json.decode(row["profile"])
    return PersonaAdmin(
        **public_persona(row),
        description=row["description"],
        traits=profile.get("traits", []),
        goals=profile.get("goals", []),
        style=profile.get("style"),
        interests=profile.get("interests", []),
        demographics=profile.get("demographics", {}),
        fragments=profile.get("fragments", []),
        model=row["model"],
        temperature=row["temperature"],
        activity=row["activity"],
        ranker=profile.get("ranker"),
        hours=profile.get("hours", []),
    )


@router.post(
    "",
    operation_id="create_persona",
    status_code=201,
    response_model=PersonaCreated,
    responses=problems(401, 409, body=True),
)
async def create_persona(house: TheHouse, admin: TheAdmin, given: PersonaSpec) -> Response:
    """A new persona; it takes part from the next cycle on."""
    async with house.database.connection() as connection, connection.transaction():
        made = (await personas.add(connection, [given]))[0]
        await record(connection, admin.admin.id, "persona.created", made["username"])
    persona = admin_persona(await personas.get(house.database, made["id"]))
    body = PersonaCreated(
        message=f"persona @{made['username']} created",
        persona_id=made["id"],
        username=made["username"],
        persona=persona,
    )
    return JSONResponse(body.model_dump(mode="json"), 201, {"Location": f"/personas/{made['id']}"})


@router.get("", operation_id="list_personas", responses=problems(401))
async def list_personas(
    house: TheHouse, _: TheAdmin, limit: Limit = 100, after: QueryId | None = None
) -> list[PersonaAdmin]:
    """Personas that have not departed, oldest first; `after` is the last id of the page before."""
    return [admin_persona(row) for row in await personas.listed(house.database, after=after or 0, limit=limit)]


@router.get("/username/{username}", operation_id="read_persona_by_username", responses=problems(401, 404))
async def read_by_username(house: TheHouse, _: TheAdmin, username: Handle) -> PersonaAdmin:
    """One persona by its handle."""
    return admin_persona(await personas.by_username(house.database, username))


@router.get("/{persona_id}", operation_id="read_persona_as_admin", responses=problems(401, 404))
async def read_one(house: TheHouse, _: TheAdmin, persona_id: PathId) -> PersonaAdmin:
    """One persona with all its fields."""
    return admin_persona(await personas.present(house.database, persona_id))


@router.put("/{persona_id}", operation_id="replace_persona", responses=problems(401, 404, 409, body=True))
async def replace_persona(house: TheHouse, admin: TheAdmin, persona_id: PathId, given: PersonaSpec) -> PersonaAdmin:
    """Give a persona a new description; its history stays."""
    await personas.present(house.database, persona_id)
    async with house.database.connection() as connection, connection.transaction():
        await versions.replace(connection, persona_id, lambda _: given, by=admin.admin.id)
        await record(connection, admin.admin.id, "persona.replaced", str(persona_id))
    return admin_persona(await personas.present(house.database, persona_id))


@router.patch("/{persona_id}", operation_id="update_persona", responses=problems(401, 404, 409, body=True))
async def update_persona(
    house: TheHouse, admin: TheAdmin, persona_id: PathId, given: personas.PersonaChange
) -> PersonaAdmin:
    """Change some fields of a persona; what is left out stays."""
    await personas.present(house.database, persona_id)
    if not given.model_fields_set:
        raise Invalid("the body names nothing to change")
    async with house.database.connection() as connection, connection.transaction():
        await versions.replace(connection, persona_id, lambda spec: personas.changed(spec, given), by=admin.admin.id)
        await record(connection, admin.admin.id, "persona.updated", str(persona_id))
    return admin_persona(await personas.present(house.database, persona_id))


@router.post("/{persona_id}/pause", operation_id="pause_persona", status_code=204, responses=problems(401, 404))
async def pause(house: TheHouse, admin: TheAdmin, persona_id: PathId) -> None:
    """It no longer wakes."""
    async with house.database.connection() as connection, connection.transaction():
        await personas.set_status(connection, persona_id, "paused")
        await record(connection, admin.admin.id, "persona.paused", str(persona_id))


@router.post("/{persona_id}/resume", operation_id="resume_persona", status_code=204, responses=problems(401, 404))
async def resume(house: TheHouse, admin: TheAdmin, persona_id: PathId) -> None:
    """It wakes again."""
    async with house.database.connection() as connection, connection.transaction():
        await personas.set_status(connection, persona_id, "active")
        await record(connection, admin.admin.id, "persona.resumed", str(persona_id))


@router.delete("/{persona_id}", operation_id="delete_persona", status_code=204, responses=problems(401, 404))
async def delete_persona(house: TheHouse, admin: TheAdmin, persona_id: PathId) -> None:
    """It departs: it never wakes again; what it made stays readable, marked as departed."""
    async with house.database.connection() as connection, connection.transaction():
        await personas.depart(connection, persona_id)
        await record(connection, admin.admin.id, "persona.departed", str(persona_id))
