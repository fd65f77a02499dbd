"""The canonical hash of a world, and what differs between two: nothing that counts is overlooked."""

import hashlib
import struct
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ARRAY, Boolean, Date, DateTime, Float, Integer, LargeBinary, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB

from app.analysis import state as module
from app.analysis.state import (
    ALL,
    LEDGER,
    LEFT_OUT,
    MEASURED,
    NETWORK,
    NO_STATE,
    SHOWN,
    Terms,
    diff,
    diff_at,
    state,
    state_at,
)
from app.db.worlds import COPIED, CUT
from app.models import Base
from tests.conftest import copy_of
from tests.filled import fill

TABLES = sorted((*NETWORK, *LEDGER))
COLUMNS = [
    (table, column) for table in TABLES for column in Base.metadata.tables[table].columns if column.computed is None
]


@pytest.fixture(scope="module")
async def worlds(server_url: str, template: str) -> AsyncIterator[tuple[str, str]]:
    """Two worlds that are the same, with some rows in every table; their rules are gone, so that all may change."""
    async with copy_of(server_url, template) as a, copy_of(server_url, template) as b:
        for url in (a, b):
            connection = await asyncpg.connect(url)
            await connection.execute("DELETE FROM instance")
            for row in await connection.fetch(
                "SELECT conrelid::regclass::text AS of, quote_ident(conname) AS name FROM pg_constraint"
                " WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
            ):
                await connection.execute(f"ALTER TABLE {row['of']} DROP CONSTRAINT {row['name']}")
            for table in TABLES:
                await fill(connection, table, "a word", rows=1 if table == "instance" else 3)
            await connection.close()
        yield a, b


def other(column: Any) -> str:
    """An SQL expression of another value, as little different as can be."""
    name = f'"{column.name}"'
    match column.type:
        case Text():
            return f"coalesce({name}, '') || '.'"
        case LargeBinary():
            return rf"coalesce({name}, '') || '\x00'"
        case JSONB():
            return f"""coalesce({name}, '{{}}') || '{{"z": 0}}'"""
        case ARRAY():
            return f"coalesce({name}, '{{}}') || {name}"
        case Boolean():
            return f"NOT {name}"
        case DateTime():
            return f"{name} + '1 microsecond'"
        case Date():
            return f"{name} + 1"
        case Float():
            return f"{name} + 0.001"
        case Numeric():
            return f"{name} + 0.00000001"
        case Integer():
            return f"{name} + 10"
    raise AssertionError(column)


async def changed(connection: asyncpg.Connection, table: str, column: Any) -> asyncpg.Record:
    """Change one value of one row, and return the row as it was."""
    before = await connection.fetchrow(f'SELECT ctid, "{column.name}" AS was FROM "{table}" ORDER BY ctid DESC LIMIT 1')
    assert before is not None
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(
            f'UPDATE "{table}" SET "{column.name}" = {other(column)} WHERE ctid = $1', before["ctid"]
        )
    return before


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[f"{t}.{c.name}" for t, c in COLUMNS])
async def test_one_change_anywhere_is_found(worlds: tuple[str, str], table: str, column: Any) -> None:
    """And what does not count changes nothing: the negative control, column by column."""
    a, b = await asyncpg.connect(worlds[0]), await asyncpg.connect(worlds[1])
    try:
        before = await state(a)
        assert await state(b) == before
        await changed(b, table, column)
        after = await state(b)
        found = await diff(a, b)
        counts = column.name in ALL.columns(table)
        assert counts == (column.name not in (*LEFT_OUT.get(table, ()), *CUT.get(table, ())))
        if not counts:
            assert after == before
            assert found.equal
            return
        assert after.sha256 != before.sha256
        assert [one.table for one, was in zip(after.tables, before.tables, strict=True) if one != was] == [table]
        (differs,) = (one for one in found.tables if not one.equal)
        if column.primary_key:
            assert (differs.table, differs.only_a, differs.only_b, differs.changed) == (table, 1, 1, 0)
        else:
            assert (differs.table, differs.only_a, differs.only_b, differs.changed) == (table, 0, 0, 1)
            assert list(differs.first[0].columns) == [column.name]
        for times in ("world", "none"):
            terms = Terms(times=times)
            left = column.name not in terms.columns(table)
            assert left == (
                column.name in MEASURED.get(table, ()) or (times == "none" and isinstance(column.type, DateTime))
            )
            assert ((await state(a, terms)) == (await state(b, terms))) == left
        without = Terms(without=frozenset({f"{table}.{column.name}"}))
        if not column.primary_key:
            assert await state(a, without) == await state(b, without)
    finally:
        async with b.transaction():
            await b.execute("SET LOCAL session_replication_role = replica")
            await b.execute(f'DELETE FROM "{table}"')
            await fill(b, table, "a word", rows=1 if table == "instance" else 3)
        await a.close()
        await b.close()


def test_every_copied_table_counts_or_says_why_not() -> None:
    assert sorted([*TABLES, *NO_STATE]) == sorted(COPIED)
    for listed in (LEFT_OUT, MEASURED):
        for table, columns in listed.items():
            assert set(columns) <= set(Base.metadata.tables[table].columns.keys()), table


async def test_the_order_on_disk_does_not_count(worlds: tuple[str, str]) -> None:
    a, b = await asyncpg.connect(worlds[0]), await asyncpg.connect(worlds[1])
    try:
        order = [await c.fetchval("SELECT array_agg(id ORDER BY ctid) FROM posts") for c in (a, b)]
        async with b.transaction():
            await b.execute("SET LOCAL session_replication_role = replica")
            await b.execute("UPDATE posts SET body = body WHERE id = 1; UPDATE personas SET bio = bio WHERE id = 2")
        assert await b.fetchval("SELECT array_agg(id ORDER BY ctid) FROM posts") != order[0]
        assert await state(b) == await state(a)
    finally:
        await a.close()
        await b.close()


async def test_sessions_set_otherwise_give_the_same_hash(worlds: tuple[str, str]) -> None:
    plain = await state_at(worlds[0])
    odd = await asyncpg.connect(
        worlds[0],
        server_settings={
            "timezone": "Asia/Tokyo", "datestyle": "SQL, DMY", "extra_float_digits": "-5", "bytea_output": "escape",
            "intervalstyle": "iso_8601", "enable_indexscan": "off", "enable_indexonlyscan": "off",
        },
    )  # fmt: skip
    try:
        assert await state(odd) == plain
    finally:
        await odd.close()


async def test_the_hash_is_what_the_document_says(worlds: tuple[str, str]) -> None:
    """Made again from its definition, for a table with text, numbers, times, a flag and a null."""
    connection = await asyncpg.connect(worlds[0])
    rows = await connection.fetch("SELECT * FROM posts ORDER BY id")
    found = {one.table: one for one in (await state(connection)).tables}
    whole = (await state(connection)).sha256
    await connection.close()
    columns = ("author_id", "body", "created_at", "hidden", "id", "quote_of", "repost_of", "title")

    def sent(name: str, value: Any) -> bytes:
        data: bytes
        oid = {"body": 25, "created_at": 1184, "hidden": 16, "title": 25}.get(name, 20)
        if value is None:
            return struct.pack(">ii", oid, -1)
        match name:
            case "body" | "title":
                data = str(value).encode()
            case "created_at":
                data = struct.pack(">q", round((value.timestamp() - 946_684_800) * 1_000_000))
            case "hidden":
                data = struct.pack(">?", value)
            case _:
                data = struct.pack(">q", value)
        return struct.pack(">ii", oid, len(data)) + data

    digest = hashlib.sha256(f"posts({','.join(columns)})\n".encode())
    for row in rows:
        fields = b"".join(sent(name, row[name]) for name in columns)
        digest.update(hashlib.sha256(struct.pack(">i", len(columns)) + fields).digest())
    assert found["posts"] == module.TableState("posts", 3, digest.hexdigest())
    lines = "".join(f"{name} {found[name].sha256}\n" for name in sorted(found))
    assert whole == hashlib.sha256(lines.encode()).hexdigest()


async def test_many_rows_come_in_stretches_and_the_first_differences_are_shown(
    server_url: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with copy_of(server_url, template) as a, copy_of(server_url, template) as b:
        for url in (a, b):
            connection = await asyncpg.connect(url)
            await fill(connection, "personas", "somebody", rows=400)
            await fill(connection, "likes", "", rows=400)
            if url == b:
                await connection.execute("DELETE FROM likes WHERE id IN (1, 150, 400)")
                await fill(connection, "likes", "", first=500, rows=30)
                await connection.execute("UPDATE personas SET bio = repeat('x', 9000) WHERE id % 10 = 0")
            await connection.close()
        wide = [await state_at(url) for url in (a, b)]
        found = await diff_at(a, b, limit=5)
        monkeypatch.setattr(module, "FETCH", 7)
        assert [await state_at(url) for url in (a, b)] == wide
        assert await diff_at(a, b, limit=5) == found
        by = {one.table: one for one in found.tables}
        likes, people = by["likes"], by["personas"]
        assert (likes.rows_a, likes.rows_b, likes.only_a, likes.only_b, likes.changed) == (400, 427, 3, 30, 0)
        assert [(row.kind, row.key) for row in likes.first[:3]] == [
            ("only_a", {"id": "1"}), ("only_a", {"id": "150"}), ("only_a", {"id": "400"}),
        ]  # fmt: skip
        assert (people.changed, len(people.first)) == (40, 5)
        was, now = people.first[0].columns["bio"]
        assert (was, now) == ("somebody bio 10", "x" * SHOWN)
        assert people.first[0].about == "@somebody username 10"
        back = {one.table: one for one in (await diff_at(b, a)).tables}
        assert (back["likes"].only_a, back["likes"].only_b) == (30, 3)


OF_ROOMS = {
    "rooms": "id", "runs": "id", "turns": "id", "calls": "turn_id", "actions": "turn_id", "exposures": "turn_id",
    "memories": "id",
}  # fmt: skip


async def test_what_was_said_in_rooms_does_not_count(worlds: tuple[str, str]) -> None:
    connection = await asyncpg.connect(worlds[1])
    try:
        before = await state(connection)
        for table in OF_ROOMS:
            await fill(connection, table, "said in a room", first=70)
        await fill(connection, "memories", "made of it", first=71)
        await connection.execute("UPDATE memories SET run_id = NULL, turn_id = NULL, sources = '{70}' WHERE id = 71")
        assert await state(connection) == before
        await connection.execute("UPDATE memories SET sources = '{}' WHERE id = 71")
        assert await state(connection) != before  # the control: one that is not made of it counts
    finally:
        await connection.execute("SET session_replication_role = replica")
        for table, column in OF_ROOMS.items():
            await connection.execute(f"DELETE FROM {table} WHERE {column} >= 70")
        await connection.close()
