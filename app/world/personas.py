"""Personas: the members of a world."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from app import strict_json
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.world.ranking import RankerName
from app.world.text import Bio, Line, Note, PersonaText, Username


def _a_day(hours: list[float]) -> list[float]:
    if hours and len(hours) != 24:
        raise ValueError(f"must be 24 numbers, one for each hour of the day, not {len(hours)}")
    return hours


ORIGINAL_MOST = 65_536


def _json_object(text: str) -> str:
    try:
        value = strict_json.loads(text) if text else {}
    except strict_json.JSONError as error:
        raise ValueError(f"must be an object in JSON: {error}") from None
    if not isinstance(value, dict) or not text.isascii():
        raise ValueError("must be an object in JSON, in ASCII")
    return text


Original = Annotated[
    str, StringConstraints(strict=True, max_length=ORIGINAL_MOST, pattern=r"^[ -~]*$"), AfterValidator(_json_object)
]
Lines = Annotated[list[Line], Field(max_length=32)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Hours = Annotated[list[Share], AfterValidator(_a_day)]
Demographic = Note | Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)]


class PersonaSpec(BaseModel):
    """A persona as people, files and clients describe it.

    `description` is the text the model plays (also accepted as `persona`); `activity` the chance, 0 to 1, that it
    wakes in a cycle, and `hours` by what that is multiplied in each hour of the world's day (24 numbers from 0 to 1,
    UTC; empty: always 1). `ranker` ranks its feed, whatever its run says. `original` is the record of another system
    that it came from, as JSON under that system's name, to be written again as it was.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    username: Username
    description: PersonaText = Field(validation_alias=AliasChoices("description", "persona"))
    bio: Bio = ""
    display_name: Line | None = None
    role: Line | None = None
    traits: Lines = []
    goals: Lines = []
    style: Line | None = None
    interests: Lines = []
    leaning: Line | None = None
    demographics: Annotated[dict[Line, Demographic], Field(max_length=32)] = {}
    fragments: Lines = []
    model: Line | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)] | None = None
    activity: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 1.0
    hours: Hours = []
    ranker: RankerName | None = None
    status: Literal["active", "paused"] = "active"
    original: Original = ""


PEOPLE = load("people")
ROSTER = load("roster")
PROFILE = (
    "display_name",
    "role",
    "traits",
    "goals",
    "style",
    "interests",
    "leaning",
    "demographics",
    "fragments",
    "hours",
    "ranker",
    "original",
)


def _profile(spec: PersonaSpec) -> str:
    return spec.model_dump_json(include=set(PROFILE), exclude_defaults=True)


def columns(spec: PersonaSpec) -> tuple[object, ...]:
    """The values of `add` and `update`, in their order."""
    return (
        spec.username,
        spec.description,
        spec.bio,
        _profile(spec),
        spec.model,
        spec.temperature,
        spec.activity,
        spec.status,
    )


def spec_of(row: Mapping[str, Any]) -> PersonaSpec:
    """The description a stored persona came from."""
    return PersonaSpec(
        username=row["username"],
        description=row["description"],
        bio=row["bio"],
        model=row["model"],
        temperature=row["temperature"],
        activity=row["activity"],
        status=row["status"],
        **msgspec.json.decode(row["profile"]),
    )


async def add(connection: asyncpg.pool.PoolConnectionProxy, specs: Sequence[PersonaSpec]) -> list[asyncpg.Record]:
    """Insert personas, all or none, and return (id, username) in the order given.

    Raises:
        Conflict: names the usernames that are taken.
    """
    async with connection.transaction():
        rows = await connection.fetch(PEOPLE["add"], *map(list, zip(*map(columns, specs), strict=True)))
        made = {row["username"]: row for row in rows}
        if taken := [spec.username for spec in specs if spec.username not in made]:
            raise Conflict(
                f"the username {', '.join(taken[:10])} is taken" + (" (and more)" if len(taken) > 10 else "")
            )
    return [made[spec.username] for spec in specs]


async def add_cast(connection: asyncpg.pool.PoolConnectionProxy, specs: Sequence[PersonaSpec]) -> list[int]:
    """Insert personas that only play in rooms: they never wake in the feed, and need no handle of their own.

    The usernames of `specs` must differ. Returns their ids in the order given.
    """
    rows = await connection.fetch(
        PEOPLE["add"], *map(list, zip(*((*columns(spec)[:-1], "cast") for spec in specs), strict=True))
    )
    made = {row["username"]: int(row["id"]) for row in rows}
    return [made[spec.username] for spec in specs]


async def get(database: Database, persona_id: int) -> asyncpg.Record:
    """One persona, departed or not.

    Raises:
        NotFound: there is none with this id.
    """
    if row := await database.fetchrow(PEOPLE["persona"], persona_id):
        return row
    raise NotFound(f"no persona has the id {persona_id}")


async def present(database: Database, persona_id: int) -> asyncpg.Record:
    """One persona that has not departed.

    Raises:
        NotFound: there is none with this id, or it has departed.
    """
    row = await get(database, persona_id)
    if row["status"] == "departed":
        raise NotFound(f"the persona {persona_id} (@{row['username']}) has departed")
    return row


async def by_username(database: Database, username: str) -> asyncpg.Record:
    """One persona by its handle, with or without @.

    Raises:
        NotFound: there is none.
    """
    if row := await database.fetchrow(PEOPLE["by_username"], username.removeprefix("@")):
        return row
    raise NotFound(f"no persona has the username {username}")


async def listed(database: Database, *, after: int = 0, limit: int = 100) -> list[asyncpg.Record]:
    return await database.fetch(PEOPLE["personas"], after, limit)


async def set_status(
    database: Database | asyncpg.pool.PoolConnectionProxy, persona_id: int, status: Literal["active", "paused"]
) -> None:
    """Pause or wake a persona; in the caller's transaction, if there is one.

    Raises:
        NotFound: it does not exist or has departed.
    """
    if await database.fetchval(PEOPLE["set_status"], persona_id, status) is None:
        raise NotFound(f"no persona has the id {persona_id}")


async def depart(database: Database | asyncpg.pool.PoolConnectionProxy, persona_id: int) -> None:
    """Take a persona out of the world; its history stays, and its open turns end. As `set_status` otherwise.

    Raises:
        NotFound: it does not exist or has already departed.
    """
    if not await database.fetch(ROSTER["depart"], [persona_id]):
        raise NotFound(f"no persona has the id {persona_id}")


async def follows(
    database: Database, persona_id: int, relation: Literal["follower", "followed"], *, limit: int, before: int
) -> list[asyncpg.Record]:
    """The follow rows in which the persona has this part, newest first."""
    return await database.fetch(PEOPLE[f"{relation}_rows"], persona_id, before, limit)


class PersonaChange(BaseModel):
    """Some fields of a persona to change; null takes a value away where there may be none."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    username: Username | None = None
    description: PersonaText | None = Field(default=None, validation_alias=AliasChoices("description", "persona"))
    bio: Bio | None = None
    display_name: Line | None = None
    role: Line | None = None
    traits: Lines | None = None
    goals: Lines | None = None
    style: Line | None = None
    interests: Lines | None = None
    leaning: Line | None = None
    demographics: Annotated[dict[Line, Demographic], Field(max_length=32)] | None = None
    fragments: Lines | None = None
    model: Line | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)] | None = None
    activity: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = None
    ranker: RankerName | None = None
    status: Literal["active", "paused"] | None = None


def changed(spec: PersonaSpec, change: PersonaChange) -> PersonaSpec:
    """`spec` with the fields that `change` names.

    Raises:
        Invalid: a field that must have a value was given null.
    """
    given = change.model_dump(exclude_unset=True)
    for name, value in given.items():
        if value is None and PersonaSpec.model_fields[name].get_default(call_default_factory=True) is not None:
            raise Invalid(f"{name} can't be null", errors=[FieldError(f"/{name}", "null", "must have a value")])
    return PersonaSpec.model_validate({**spec.model_dump(), **given})


async def any_personas(database: Database) -> bool:
    """Whether anybody was ever here."""
    return bool(await database.fetchval(PEOPLE["any_personas"]))


async def any_posts(database: Database) -> bool:
    """Whether anything was ever said."""
    return bool(await database.fetchval(PEOPLE["any_posts"]))


async def taken(connection: asyncpg.pool.PoolConnectionProxy, usernames: Sequence[str]) -> set[str]:
    """Which of these usernames somebody has, in lower case."""
    rows = await connection.fetch(PEOPLE["taken"], [name.lower() for name in usernames])
    return {row["username"] for row in rows}
