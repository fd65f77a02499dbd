"""API keys: what a program shows instead of an access token. They may do what their admin may, and end with them."""

import re
from typing import Any

import asyncpg

from app.auth import tokens
from app.auth.audit import record
from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound, Unauthorized

KEYS = load("keys")
PREFIX = "sf_key"
DAYS, DAYS_MAX = 90, 365
LIVE_MAX = 50
"""Keys that an admin may have at once."""

_KEY = re.compile(rf"{PREFIX}_[A-Za-z0-9_-]{{43}}")


def is_key(token: str) -> bool:
    """Whether a bearer token means to be a key."""
    return token.startswith(f"{PREFIX}_")


async def create(
    database: Database, admin_id: int, *, name: str, days: int, by: int | None
) -> tuple[str, asyncpg.Record]:
    """A new key; it is returned once and kept only as its hash.

    Raises:
        NotFound: no such admin, or a disabled one.
        Conflict: they have as many as they may.
    """
    key = tokens.new_token(PREFIX)
    async with database.connection() as connection, connection.transaction():
        owner = await connection.fetchval(KEYS["hold_owner"], admin_id)
        if owner is None:
            raise NotFound(f"no enabled admin has the id {admin_id}")
        row = await connection.fetchrow(KEYS["add"], admin_id, name, tokens.digest(key), days, LIVE_MAX)
        if row is None:
            raise Conflict(f"one can have at most {LIVE_MAX} keys at once: revoke some")
        await record(connection, by, "admin.key_made", owner, key=row["id"], name=name, days=days)
    return key, row


async def holder(database: Database, key: str) -> dict[str, Any]:
    """Id, username, e-mail and role of the admin who acts by this key.

    Raises:
        Unauthorized: it is unknown, revoked or expired, or its admin is disabled.
    """
    row = await database.fetchrow(KEYS["holder"], tokens.digest(key)) if _KEY.fullmatch(key) else None
    if row is None:
        raise Unauthorized("this API key is unknown, revoked or expired")
    return dict(row)


async def listed(database: Database) -> list[asyncpg.Record]:
    """The newest 200 keys of everybody, those that live first."""
    return await database.fetch(KEYS["keys"])


async def revoke(database: Database, key_id: int, *, by: int | None, own: bool = False) -> None:
    """End a key at once; with `own`, only one of `by`.

    Raises:
        NotFound: there is no such live key.
    """
    async with database.connection() as connection, connection.transaction():
        name = await connection.fetchval(KEYS["revoke"], key_id, by if own else None)
        if name is None:
            raise NotFound(f"no live key{' of yours' if own else ''} has the id {key_id}")
        await record(connection, by, "admin.key_revoked", str(key_id), name=name)
