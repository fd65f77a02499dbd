"""All personas of a world as one file that loses nothing, and back: what is missing or has changed, and no more."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app import strict_json
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, Invalid
from app.world import personas, versions
from app.world.personas import PersonaSpec, spec_of

BACKUPS = load("persona_backups")
BYTES_MOST = 1024**3
PRESENT = ("active", "paused")
What = Literal["same", "changed", "back", "made"]
"""What becomes of a persona: nothing; its old description again; here again after it had departed; made anew."""

Number = Annotated[int, Field(strict=True, ge=1, le=10**12)]


class FormerSpec(BaseModel):
    """What a persona was, until `created_at`."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
    spec: dict[str, Any]
    created_at: AwareDatetime


class PersonaEntry(BaseModel):
    """One persona. `spec` has no status of its own."""

    model_config = ConfigDict(extra="forbid")

    id: Number
    status: Literal["active", "paused", "departed"]
    created_at: AwareDatetime
    departed_at: AwareDatetime | None
    spec: PersonaSpec
    versions: list[FormerSpec]

    @model_validator(mode="after")
    def _departed(self) -> "PersonaEntry":
        if (self.status == "departed") != (self.departed_at is not None):
            raise ValueError("departed_at must be there if the status is departed, and only then")
        return self

    @property
    def now(self) -> PersonaSpec:
        """The description, with the status it had."""
        return self.spec.model_copy(update={"status": self.status})


class PersonaBackup(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["simfeed personas"] = "simfeed personas"
    version: Literal[1] = 1
    personas: list[PersonaEntry]

    @model_validator(mode="after")
    def _one_each(self) -> "PersonaBackup":
        present = (one.spec.username.lower() for one in self.personas if one.status in PRESENT)
        for what, values in (("username", present), ("id", (one.id for one in self.personas))):
            twice = [value for value, times in Counter[object](values).items() if times > 1]
            if twice:
                raise ValueError(f"the {what} {twice[0]} is there twice")
        return self


@dataclass(frozen=True)
class Restored:
    """What became of a persona of a backup; `fields` are those that differed."""

    username: str
    what: What
    fields: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Here:
    """Who is here, by number and (those present) by name."""

    by_id: dict[int, asyncpg.Record]
    by_name: dict[str, asyncpg.Record]

    def same(self, entry: PersonaEntry) -> asyncpg.Record | None:
        """Who the persona is here: by number and time of birth, or else by name."""
        one = self.by_id.get(entry.id)
        if one is not None and one["created_at"] == entry.created_at and one["status"] != "cast":
            return one
        return self.by_name.get(entry.spec.username.lower()) if entry.status in PRESENT else None


async def write(database: Database) -> bytes:
    """All personas but those that only play in rooms, as JSON."""
    entries = [_entry(row) for row in await database.fetch(BACKUPS["all"])]
    return PersonaBackup(personas=entries).model_dump_json(indent=1).encode() + b"\n"


def _entry(row: asyncpg.Record) -> PersonaEntry:
    spec = spec_of({**row, "status": "active"})
    return PersonaEntry(
        id=row["id"],
        status=row["status"],
        created_at=row["created_at"],
        departed_at=row["departed_at"],
        spec=spec,
        versions=[FormerSpec.model_validate(one) for one in msgspec.json.decode(row["versions"])],
    )


def read(path: Path) -> PersonaBackup:
    """The backup in a file.

    Raises:
        Invalid: it can't be read, is too large, or is none; names the places.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MOST + 1)
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror or error}") from None
    if len(data) > BYTES_MOST:
        raise Invalid(f"{path}: is larger than {BYTES_MOST // 1024**2} MiB")
    return parse(data, path.name)


def parse(data: bytes, name: str) -> PersonaBackup:
    """The backup in the bytes of the file `name`, as `read`."""
    try:
        value = strict_json.loads(data, allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"{name}: is not JSON, or was cut short: {error}") from None
    if not isinstance(value, dict) or value.get("format") != "simfeed personas":
        raise Invalid(f"{name}: is no backup of personas (`simfeed personas import` reads files of personas)")
    try:
        return PersonaBackup.model_validate(value)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise Invalid(f"{name}: {'; '.join(faults[:10])}{more}; nothing was restored") from None


async def restore(database: Database, backup: PersonaBackup, *, keep: bool) -> list[Restored]:
    """Bring back what is missing or has changed, all or none; without `keep`, find out and undo it.

    A persona is the one of its number and time of birth, or else the present one of its name. Nobody departs by this.

    Raises:
        Conflict: a username is taken by somebody else.
    """
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(BACKUPS["hold"])
            rows = await connection.fetch(BACKUPS["here"])
            present = {row["username"].lower(): row for row in rows if row["status"] in PRESENT}
            here = _Here({row["id"]: row for row in rows}, present)
            if any(here.same(entry) is None for entry in backup.personas):
                await connection.fetchval(BACKUPS["number_on"], max(entry.id for entry in backup.personas))
            found = [await _restored(connection, here, entry) for entry in backup.personas]
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.commit() if keep else transaction.rollback())
    return found


async def _restored(connection: asyncpg.pool.PoolConnectionProxy, here: _Here, entry: PersonaEntry) -> Restored:
    name, mine = entry.spec.username, here.same(entry)
    if mine is None:
        await _insert(connection, entry, free=entry.id not in here.by_id)
        return Restored(name, "made")
    if entry.status == "departed":
        return Restored(name, "same")
    back = mine["status"] == "departed"
    if back:
        await versions.come_back(connection, mine["id"])
    fields: list[str] = []

    def as_it_was(former: PersonaSpec) -> PersonaSpec:
        old, new = former.model_dump(), entry.now.model_dump()
        fields.extend(one for one in new if old[one] != new[one])
        return entry.now

    await versions.replace(connection, mine["id"], as_it_was, by=None)
    return Restored(name, "back" if back else "changed" if fields else "same", fields)


async def _insert(connection: asyncpg.pool.PoolConnectionProxy, entry: PersonaEntry, *, free: bool) -> None:
    own = entry.id if free else None
    values = personas.columns(entry.spec)[:-1]
    try:
        async with connection.transaction():
            number = await connection.fetchval(
                BACKUPS["insert"], own, *values, entry.status, entry.created_at, entry.departed_at
            )
    except asyncpg.UniqueViolationError:
        raise Conflict(f"the username {entry.spec.username} is taken; nothing was restored") from None
    former = entry.versions
    await connection.execute(
        BACKUPS["insert_versions"],
        number,
        [one.version for one in former],
        [json.dumps(one.spec, ensure_ascii=False) for one in former],
        [one.created_at for one in former],
    )


def counted(data: bytes) -> tuple[int, int]:
    """How many personas a backup that we have written holds, and how many former versions."""
    held = msgspec.json.decode(data)["personas"]
    return len(held), sum(len(one["versions"]) for one in held)
