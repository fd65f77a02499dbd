"""Rows for any table of the models, whatever its columns, each text of which holds a mark to look for."""

from typing import Any

import asyncpg
from sqlalchemy import ARRAY, Boolean, Date, DateTime, Float, Integer, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import JSON, JSONB, TSVECTOR

from app.models import Base

ALLOWED = {
    "admin.role": "admin",
    "admin_invitations.role": "admin",
    "answers.stage": "intake",
    "budgets.scope": "run",
    "datasets.kind": "world",
    "datasets.state": "completed",
    "experiment_trials.state": "completed",
    "experiments.state": "completed",
    "marks.kind": "post",
    "marks.mark": "copy",
    "memories.kind": "given",
    "participants.kept": "erase",
    "participants.stage": "done",
    "participants.state": "active",
    "personas.status": "active",
    "quarantines.taken_by": "admin",
    "room_drafts.kind": "say",
    "room_drafts.state": "sent",
    "room_goes.cause": "answer",
    "room_reactions.kind": "like",
    "rooms.state": "ended",
    "runs.pacing": "live",
    "runs.state": "completed",
    "studies.consent": "page",
    "studies.state": "open",
    "turns.state": "done",
    "actions.outcome": "read",
    "worlds.kind": "fork",
    "worlds.state": "ready",
}
"""What columns hold that take only certain texts."""


def value(table: str, column: Any, mark: str, n: int) -> str:
    """An SQL expression for the column's value in row `n`."""
    kind = column.type
    if allowed := ALLOWED.get(f"{table}.{column.name}"):
        return f"'{allowed}'"
    match kind:
        case Text():
            return f"'{mark} {column.name} {n}'"
        case LargeBinary():
            return f"convert_to('{mark} {column.name} {n}', 'UTF8')"
        case JSONB():
            return f"""'{{"a": "{mark} {column.name} {n}"}}'::jsonb"""
        case JSON():
            return f"""'{{"a": "{mark} {column.name} {n}"}}'::json"""
        case ARRAY():
            return f"ARRAY['{mark}']" if isinstance(kind.item_type, Text) else "ARRAY[1, 2]"
        case Boolean():
            return "true"
        case DateTime():
            return "'2026-11-20 12:00Z'"
        case Date():
            return "'2026-11-20'"
        case Float() | Numeric():
            return "0.5"
        case Integer():
            return str(n)
    raise AssertionError(f"{table}.{column.name}: {kind}")


async def fill(connection: asyncpg.Connection, table: str, mark: str, *, rows: int = 1, first: int = 1) -> None:
    """Insert rows that need no others: foreign keys and triggers are not asked. For superusers."""
    columns = [
        c for c in Base.metadata.tables[table].columns if c.computed is None and not isinstance(c.type, TSVECTOR)
    ]
    names = ", ".join(f'"{c.name}"' for c in columns)
    lines = ", ".join(f"({', '.join(value(table, c, mark, n) for c in columns)})" for n in range(first, first + rows))
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(f'INSERT INTO "{table}" ({names}) VALUES {lines}')
