"""Whether this server lives, and whether it can serve."""

import asyncio

from fastapi import APIRouter

from app.db.engine import TROUBLE
from app.db.queries import load
from app.errors import Unavailable
from app.web.api.schemas import Health, Ready, problems
from app.web.deps import TheHouse

router = APIRouter(tags=["health"])
INSTANCE = load("instance")


@router.get("/livez", operation_id="livez", responses=problems())
async def livez() -> Health:
    """The process answers. It says nothing of the database."""
    return Health(status="ok")


@router.get("/healthz", operation_id="healthz", responses=problems(), include_in_schema=False)
@router.get("/health", operation_id="health", responses=problems(), include_in_schema=False)
async def health() -> Health:
    return Health(status="ok")


@router.get("/readyz", operation_id="readyz", responses=problems())
async def readyz(house: TheHouse) -> Ready:
    """The database answers, can be written to, and has our schema."""
    try:
        async with asyncio.timeout(1.5):
            row = await house.database.fetchrow(INSTANCE["ready"])
    except TROUBLE as error:
        raise Unavailable(
            f"the database does not answer ({type(error).__name__})", headers={"Retry-After": "2"}
        ) from None
    if row is None or row["read_only"]:
        raise Unavailable("the database is read-only or without schema", headers={"Retry-After": "5"})
    return Ready(status="ready", checks={"database": "ok", "schema": row["version_num"]})
