"""Versions of a persona: what each replacement replaced, what it changed, and the way back."""

import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import AppError, Conflict, NotFound
from app.world import personas
from app.world.personas import PEOPLE, PersonaSpec, spec_of

VERSIONS = load("versions")
WORDS = re.compile(r"\S+\s*|\s+")
Piece = tuple[Literal["same", "gone", "new"], str]


class Stale(AppError):
    """Somebody else has changed the persona since; `now` is what it is, and `mark` names that."""

    status, title = 409, "Changed meanwhile"

    def __init__(self, now: PersonaSpec, mark: str) -> None:
        super().__init__("somebody has changed this persona since you opened it; nothing was saved")
        self.now = now
        self.mark = mark


@dataclass(frozen=True)
class Version:
    """A former description, and the change that ended it."""

    number: int
    spec: PersonaSpec
    until: datetime
    admin: str | None
    changes: list["Change"]


@dataclass(frozen=True)
class Change:
    """What became of one field, in pieces."""

    field: str
    pieces: list[Piece]


def mark_of(spec: PersonaSpec) -> str:
    """Names what a persona is; a form carries the mark of what it was made from."""
    return hashlib.blake2b(spec.model_dump_json().encode(), digest_size=12).hexdigest()


async def replace(
    connection: asyncpg.pool.PoolConnectionProxy,
    persona_id: int,
    change: Callable[[PersonaSpec], PersonaSpec],
    *,
    by: int | None,
    mark: str | None = None,
) -> bool:
    """Give a persona the description that `change` makes of its own, and keep the former one; False if it is the same.

    Whoever replaces the same persona meanwhile waits, and then sees this. In the caller's transaction, if there is one.

    Raises:
        NotFound: it does not exist or has departed.
        Conflict: the username is taken.
        Stale: it is not any more what `mark` names.
    """
    async with connection.transaction():
        row = await connection.fetchrow(VERSIONS["lock"], persona_id)
        if row is None:
            raise NotFound(f"no persona has the id {persona_id}")
        former = spec_of(row)
        if mark is not None and mark != mark_of(former):
            raise Stale(former, mark_of(former))
        spec = change(former)
        if spec == former:
            return False
        await connection.execute(VERSIONS["keep"], persona_id, former.model_dump_json(exclude_defaults=True), by)
        try:
            await connection.execute(PEOPLE["update"], persona_id, *personas.columns(spec))
        except asyncpg.UniqueViolationError:
            raise Conflict(f"the username {spec.username} is taken") from None
        return True


async def number(database: Database, persona_id: int) -> int:
    """Which version a persona is at: 1 when nothing was ever replaced."""
    return int(await database.fetchval(VERSIONS["number"], persona_id))


async def history(database: Database, row: asyncpg.Record, *, before: int, limit: int) -> list[Version]:
    """Former versions of the persona `row` before a version, newest first, each with what was changed then."""
    rows = await database.fetch(VERSIONS["versions"], row["id"], before, limit)
    if not rows:
        return []
    last = await database.fetchrow(VERSIONS["version"], row["id"], rows[0]["version"] + 1)
    after = _read(last["spec"]) if last is not None else spec_of(row)
    found: list[Version] = []
    for entry in rows:
        spec = _read(entry["spec"])
        by = entry["admin"]
        found.append(Version(entry["version"], spec, entry["created_at"], by, changes(spec, after)))
        after = spec
    return found


async def version(database: Database, persona_id: int, number: int) -> PersonaSpec:
    """What a persona was.

    Raises:
        NotFound: it has no such former version.
    """
    row = await database.fetchrow(VERSIONS["version"], persona_id, number)
    if row is None:
        raise NotFound(f"persona {persona_id} has no former version {number}")
    return _read(row["spec"])


async def come_back(connection: asyncpg.pool.PoolConnectionProxy, persona_id: int) -> str:
    """Undo a departure: the persona is here again, paused, with all it made. Returns its username.

    Raises:
        NotFound: no departed persona has this id.
        Conflict: somebody else has its username now.
    """
    try:
        async with connection.transaction():
            username = await connection.fetchval(VERSIONS["come_back"], persona_id)
    except asyncpg.UniqueViolationError:
        raise Conflict("somebody else has this username now: rename them first, then it can come back") from None
    if username is None:
        raise NotFound(f"no departed persona has the id {persona_id}")
    return str(username)


def _read(spec: str) -> PersonaSpec:
    # model_construct: what was right once stays readable when the rules get stricter
    kept = msgspec.json.decode(spec)
    return PersonaSpec.model_construct(**kept)


def changes(before: PersonaSpec, after: PersonaSpec) -> list[Change]:
    """The fields that differ, in their order: texts word by word, lists entry by entry."""
    old, new = before.model_dump(), after.model_dump()
    return [Change(name, _pieces(old[name], new[name])) for name in PersonaSpec.model_fields if old[name] != new[name]]


def _pieces(old: Any, new: Any) -> list[Piece]:
    if isinstance(old, list | dict) or isinstance(new, list | dict):
        return _matched(_entries(old), _entries(new), "\n")
    texts = ["" if value is None else str(value) for value in (old, new)]
    return _matched(WORDS.findall(texts[0]), WORDS.findall(texts[1]), "")


def _entries(value: Any) -> list[str]:
    return [f"{key}: {fact}" for key, fact in value.items()] if isinstance(value, dict) else list(value or [])


def _matched(old: list[str], new: list[str], between: str) -> list[Piece]:
    pieces: list[Piece] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if kind == "equal":
            pieces.append(("same", between.join(old[i:j])))
            continue
        if j > i:
            pieces.append(("gone", between.join(old[i:j])))
        if m > k:
            pieces.append(("new", between.join(new[k:m])))
    return pieces
