"""Other worlds beside the home world, as admins make, compare and drop them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from app.analysis import state as states
from app.analysis.state import Part, Terms, Times
from app.auth.admins import record
from app.db import worlds as databases
from app.db.engine import TROUBLE, Database, patiently
from app.db.worlds import HOME, NAME, NAME_RULE, Via
from app.errors import Conflict, Misconfigured
from app.web.api.schemas import NOW, problems
from app.web.deps import House, TheAdmin, TheHouse
from app.web.inputs import Body, Limit
from app.world import worlds
from app.world.text import Note

router = APIRouter(prefix="/worlds", tags=["worlds"])

PATTERN = f"^{NAME.pattern}$"
WorldName = Annotated[str, Path(max_length=40, pattern=PATTERN, description=f"A world; `{HOME}` is the home world.")]
Name = Annotated[str, Field(strict=True, max_length=40, pattern=PATTERN, description=NAME_RULE)]
ThePart = Annotated[Part, Query(description="The network, the ledger of runs, or both.")]
TheTimes = Annotated[Times, Query(description="All times; those of the world; none.")]
Shown = Annotated[Limit, Query(description="Rows shown of each table, 1 to 100.")]


class WorldWish(Body):
    """A new world: a copy of `source`, a checkpoint of it that stays as it is, or (`made`) an empty one."""

    name: Annotated[Name, Field(examples=["try"])]
    kind: Literal["fork", "checkpoint", "made"] = "fork"
    source: Name = HOME
    via: Via = "auto"
    note: Note = ""


class WorldOut(BaseModel):
    """A world. `source` is the one it was copied from, `run_id` the newest run it held then."""

    name: str
    kind: Literal["home", "fork", "checkpoint", "made"]
    state: Literal["making", "ready", "dropping", "dropped"]
    source: str | None
    run_id: int | None
    note: str
    created_by: str | None
    created_at: datetime | None
    bytes: int | None

    model_config = {
        "json_schema_extra": {
            "example": {
                "name": "try",
                "kind": "fork",
                "state": "ready",
                "source": "home",
                "run_id": 12,
                "note": "",
                "created_by": "ada",
                "created_at": NOW,
                "bytes": 24_117_248,
            }
        }
    }


class WorldsOut(BaseModel):
    """All worlds, the home world first."""

    worlds: list[WorldOut]


class TableStateOut(BaseModel):
    """A table's part of the hash."""

    table: str
    rows: int
    sha256: str


class WorldStateOut(BaseModel):
    """The canonical hash of a world's state."""

    world: str
    sha256: str
    tables: list[TableStateOut]


class RowDiffOut(BaseModel):
    """A row that differs; `columns` holds its values in both worlds."""

    kind: Literal["only_a", "only_b", "changed"]
    key: dict[str, str]
    about: str
    columns: dict[str, tuple[str | None, str | None]]


class TableDiffOut(BaseModel):
    """What differs in one table, and the first of it."""

    table: str
    rows_a: int
    rows_b: int
    only_a: int
    only_b: int
    changed: int
    first: list[RowDiffOut]


class WorldDiffOut(BaseModel):
    """What differs between two worlds."""

    a: str
    b: str
    equal: bool
    tables: list[TableDiffOut]


@asynccontextmanager
async def home(house: House) -> AsyncIterator[Database]:
    """The home world; what only an operator can mend is a conflict to whoever asks over the API.

    Raises:
        Conflict: this server serves another world.
    """
    if house.world:
        raise Conflict(f"this server is in the world {house.world}: ask the home world's")
    try:
        yield house.database
    except Misconfigured as error:
        raise Conflict(error.detail) from error


def _out(world: worlds.World) -> WorldOut:
    return WorldOut.model_validate({name: getattr(world, name) for name in WorldOut.model_fields})


async def wrote(database: Database, admin: int, deed: str, name: str, **detail: object) -> None:
    """Put a deed into the audit log, even where a copy of the home world has just cut its connections."""

    async def work() -> None:
        async with database.connection() as connection:
            await record(connection, admin, deed, name, **detail)

    await patiently(work, TROUBLE, tries=5, wait=0.2)


@router.get("", operation_id="list_worlds", responses=problems(401, 409))
async def list_worlds(house: TheHouse, _: TheAdmin) -> WorldsOut:
    """All worlds, the home world first, and what is being made or dropped."""
    async with home(house) as database:
        return WorldsOut(worlds=[_out(world) for world in await worlds.everything(database)])


@router.post("", operation_id="make_world", status_code=201, responses=problems(401, 404, 409, body=True))
async def make_world(house: TheHouse, admin: TheAdmin, wish: WorldWish) -> WorldOut:
    """Copy a world (without credentials and participants), keep a checkpoint of it, or make an empty one."""
    async with home(house) as database:
        made = await worlds.make(
            database, wish.name, kind=wish.kind, source=wish.source, note=wish.note, by=admin.admin.id, via=wish.via
        )
        await wrote(database, admin.admin.id, "world.made", made.name, kind=made.kind, source=made.source)
    return _out(made)


@router.get("/{name}", operation_id="read_world", responses=problems(401, 404, 409))
async def read_world(house: TheHouse, _: TheAdmin, name: WorldName) -> WorldOut:
    """One world."""
    async with home(house) as database:
        return _out(await worlds.one(database, name))


@router.delete("/{name}", operation_id="drop_world", status_code=204, responses=problems(401, 404, 409))
async def drop_world(house: TheHouse, admin: TheAdmin, name: WorldName) -> None:
    """Delete a world and all that is in it, for ever; whoever works in it is cut off."""
    async with home(house) as database:
        await worlds.drop(database, name)
        await wrote(database, admin.admin.id, "world.dropped", name)


@router.get("/{name}/hash", operation_id="hash_world", responses=problems(401, 404, 409))
async def hash_world(
    house: TheHouse, _: TheAdmin, name: WorldName, part: ThePart = "all", times: TheTimes = "all"
) -> WorldStateOut:
    """The canonical hash of a world's state: equal worlds have equal hashes."""
    async with home(house) as database:
        found = await states.state_at(await databases.locate(database.url, name), Terms(part, times))
    return WorldStateOut(world=name, **asdict(found))


@router.get("/{name}/diff/{other}", operation_id="diff_worlds", responses=problems(401, 404, 409))
async def diff_worlds(
    house: TheHouse,
    _: TheAdmin,
    name: WorldName,
    other: WorldName,
    part: ThePart = "all",
    times: TheTimes = "all",
    limit: Shown = 10,
) -> WorldDiffOut:
    """What differs between two worlds: counted by table, and the first rows of each."""
    async with home(house) as database:
        left, right = [await databases.locate(database.url, one) for one in (name, other)]
        found = await states.diff_at(left, right, Terms(part, times), limit=limit)
    return WorldDiffOut(
        a=name, b=other, equal=found.equal, tables=[TableDiffOut(**asdict(one)) for one in found.tables]
    )
