"""Packages of data as rows of the home world."""

from typing import Any

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.world.sessions import decoded

DATASETS = load("datasets")


async def found(home: Database, key: str) -> asyncpg.Record:
    """A package by its key.

    Raises:
        NotFound: there is none.
    """
    row = await home.fetchrow(DATASETS["dataset"], key)
    if row is None:
        raise NotFound(f"no dataset has the key {key[:40]!r}: it was deleted, or never built")
    return row


def told(row: asyncpg.Record) -> dict[str, Any]:
    """A package as JSON has it; times are datetimes."""
    plain = ("key", "kind", "about", "state", "reason", "words", "size", "rows", "doi", "created_at", "ended_at")
    return {
        **{name: row[name] for name in plain},
        "options": decoded(row["options"]),
        "sha256": row["sha256"].hex() if row["sha256"] else None,
        "created_by": row["by"],
    }
