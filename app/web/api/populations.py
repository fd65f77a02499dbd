"""People drawn from demographics or grounded in sources, texts written anew, documents written from transcripts."""

import asyncio
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.agent.population.sampling import plan
from app.auth.admins import record
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.venues.session import calls, results
from app.venues.session.design import Kind, Terms, Writing
from app.venues.session.exactly import EXACTLY
from app.venues.session.opening import begin, whole_demographics
from app.venues.session.scripts import design_of
from app.venues.session.written import grounded
from app.web.api.schemas import problems
from app.web.api.session_schemas import (
    DocumentWish,
    GroundWish,
    PopulationOut,
    PopulationWish,
    RewriteWish,
    WritingOut,
)
from app.web.api.session_verbs import Patience, ThePatience, TheSession
from app.web.deps import House, SignedIn, TheAdmin, TheHouse
from app.world import sessions

router = APIRouter(tags=["simulations"])
SOMEBODY = "Somebody"
"""What a grounded persona is called whose name nobody says."""


def _out(session_id: str | None, status: str, **found: object) -> PopulationOut:
    return PopulationOut.model_validate({"session_id": session_id, "status": status, "wrong": [], "notes": [], **found})


@router.post(
    "/populations",
    operation_id="generate_population",
    status_code=201,
    response_model=PopulationOut,
    responses={
        **problems(401, 409, body=True),
        202: {"model": PopulationOut, "description": "They are being written."},
    },
)
async def generate_population(house: TheHouse, admin: TheAdmin, given: Annotated[PopulationWish, EXACTLY]) -> Response:
    """People drawn from demographics, with the table of asked and got: composed at once, or by the model (202)."""
    try:
        if given.written:
            return await _written(house, admin, given)
        found = await calls.generate_population(
            given.demographics,
            size=given.size,
            seed=given.seed,
            method=given.method,
            into_world=house.database if given.into_world else None,
            by=admin.admin.id,
        )
    except Invalid as error:
        told = [FieldError(f"/demographics{_below(e.pointer)}", e.code, e.message) for e in error.errors]
        raise Invalid(
            error.detail, errors=told or [FieldError("/demographics", "demographics", error.detail)]
        ) from None
    return JSONResponse(_out(None, "completed", **found).model_dump(mode="json"), 201)


def _below(pointer: str) -> str:
    return pointer if pointer.startswith("/") else ""


async def _written(house: House, admin: SignedIn, given: PopulationWish) -> Response:
    if given.into_world:
        fault = "is for people who are composed; written ones move in by POST /populations/{session_id}/settle"
        raise Invalid(f"into_world: {fault}", errors=[FieldError("/into_world", "contradiction", fault)])
    sample = await asyncio.to_thread(plan, whole_demographics(given.demographics), given.size, given.seed, given.method)
    terms = given.terms or Terms(seed=given.seed)
    design = Writing(what="persona", sampled=tuple(dict(row) for row in sample.rows), terms=terms)
    key = await _begun(house, admin, "population", design, "")
    found = _out(key, "running", **calls.table_of(sample), personas=[])
    return JSONResponse(found.model_dump(mode="json"), 202, {"Location": f"/populations/{key}"})


async def _begun(house: House, admin: SignedIn, kind: Kind, design: Writing, name: str, of: int | None = None) -> str:
    key = await begin(house.database, house.settings, kind, design, name=name, by=admin.admin.id, of=of)
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, "session.begun", key, kind=kind, what=design.what)
    return key


def _of_kind(row: asyncpg.Record, kind: Kind) -> asyncpg.Record:
    if row["kind"] != kind:
        raise NotFound(f"the session {row['key']} is of the kind {row['kind']}, not {kind}")
    return row


@router.get("/populations/{session_id}", operation_id="read_population", responses=problems(401, 404))
async def read_population(house: TheHouse, row: TheSession) -> PopulationOut:
    """People whom the model writes, so far; the table of asked and got came with the answer that began it."""
    people, wrong = await results.persona_specs(house.database, _of_kind(row, "population"))
    return _out(row["key"], results.status_of(row), personas=[calls.plain(one) for one in people], wrong=wrong)


@router.post(
    "/populations/{session_id}/settle",
    operation_id="settle_population",
    status_code=201,
    responses=problems(401, 404, 409),
)
async def settle_population(house: TheHouse, admin: TheAdmin, row: TheSession) -> PopulationOut:
    """People whom the model has written move into the world, all or none."""
    people, wrong = await results.persona_specs(house.database, _of_kind(row, "population"))
    if row["ended_at"] is None or not people:
        raise Conflict(f"the session {row['key']} has no people yet" if not people else "it is not at its end yet")
    await calls.settle(house.database, people, by=admin.admin.id, session=row["key"])
    return _out(row["key"], results.status_of(row), personas=[calls.plain(one) for one in people], wrong=wrong)


async def _writing(house: House, key: str) -> WritingOut:
    row = _of_kind(await sessions.found(house.database, key), "writing")
    design = design_of(row)
    assert isinstance(design, Writing)  # noqa: S101 - no other design is of the kind
    line = next((one for one in await sessions.lines(house.database, row["id"]) if one.missing is None), None)
    who = await grounded(house.database, row, row["name"] or SOMEBODY) if design.what == "ground" else None
    found = {
        "session_id": row["key"],
        "status": results.status_of(row),
        "reason": row["reason"],
        "what": design.what,
        "document": await results.document(house.database, row) if design.what == "document" else None,
        "text": line.body if line is not None and design.what == "rewrite" else None,
        "traits": who.traits if who is not None else None,
        "persona": calls.plain(who.spec) if who is not None else None,
    }
    return WritingOut.model_validate(found)


async def _opened(
    house: House, admin: SignedIn, design: Writing, patience: Patience, of: int | None = None
) -> Response:
    key = await _begun(house, admin, "writing", design, design.name or design.title, of)
    row = await sessions.found(house.database, key)
    done = await patience.settled(house.database, row["id"])
    found = (await _writing(house, key)).model_dump(mode="json")
    return JSONResponse(found, 200 if done else 202, {"Location": f"/writings/{key}"})


JOB: dict[str, Any] = {
    "status_code": 202,
    "response_model": WritingOut,
    "responses": {
        **problems(401, body=True),
        200: {"model": WritingOut, "description": "It is at its end."},
    },
}


@router.post("/personas/ground", operation_id="ground_persona", **JOB)
async def ground_persona(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    given: Annotated[GroundWish, EXACTLY],
) -> Response:
    """Traits of a person out of passages of sources, each with the passage that it rests on."""
    design = Writing(what="ground", passages=given.passages, name=given.name, terms=given.terms)
    return await _opened(house, admin, design, patience)


@router.post("/rewrites", operation_id="rewrite_text", **JOB)
async def rewrite_text(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    given: Annotated[RewriteWish, EXACTLY],
) -> Response:
    """A text, enriched or restyled as wished."""
    design = Writing(what="rewrite", text=given.text, wish=given.wish, name=given.name, terms=given.terms)
    return await _opened(house, admin, design, patience)


@router.post("/documents", operation_id="write_document", **{**JOB, "responses": JOB["responses"] | problems(404)})
async def write_document(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    given: Annotated[DocumentWish, EXACTLY],
) -> Response:
    """A report, an article or minutes out of a session's transcript, each quotation looked up in it."""
    source = await sessions.found(house.database, given.of)
    design = Writing(
        what="document", of=source["key"], genre=given.genre, title=given.title, wish=given.wish, terms=given.terms
    )
    return await _opened(house, admin, design, patience, of=source["id"])


@router.get("/writings/{session_id}", operation_id="read_writing", responses=problems(401, 404))
async def read_writing(house: TheHouse, row: TheSession) -> WritingOut:
    """What was written: a document, a text anew, or grounded traits."""
    return await _writing(house, row["key"])
