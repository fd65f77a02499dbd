"""The audit trail: nothing is changed or taken away unseen, and entries made at once stand in one chain."""

import asyncio

import asyncpg
import pytest

from app.auth import audit
from app.db.engine import Database

ODD = 'x"\\\n\t/é\U0001f600\u2028=1+1'


async def append(database: Database, *subjects: str) -> None:
    async with database.connection() as connection:
        for subject in subjects:
            await audit.record(connection, None, "test.done", subject, é=1.50, z=[None, True, {"b": ODD}], aa="")


@pytest.mark.parametrize("harm", ["UPDATE audit SET subject = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_entries_are_only_ever_appended(database: Database, harm: str) -> None:
    await append(database, "one", "two")
    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await database.fetch(harm)
    assert await database.fetchval("SELECT count(*) FROM audit") == 2


async def test_an_untouched_trail_is_unbroken(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = await audit.check(database)
    assert (empty.entries, empty.head, empty.broken, empty.whole) == (0, b"", None, True)
    await append(database, *"abcdefg", ODD)
    monkeypatch.setattr(audit, "STRETCH", 3)
    chain = await audit.check(database)
    newest = await database.fetchrow("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")
    assert newest is not None
    assert chain == audit.Chain(8, newest["id"], newest["hash"], None, True)
    assert (await audit.check(database, most=7)).whole is False
    assert (await audit.check(database, most=8)).whole is True


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        ("UPDATE audit SET subject = 'z' WHERE id = 4", 4),
        ("UPDATE audit SET detail = detail || '{\"x\": 1}' WHERE id = 4", 4),
        ("UPDATE audit SET at = at + interval '1 microsecond' WHERE id = 4", 4),
        ("UPDATE audit SET previous = hash WHERE id = 4", 4),
        ("DELETE FROM audit WHERE id = 4", 5),
        ("DELETE FROM audit WHERE id < 4", 4),
        ("UPDATE audit SET id = id + 100 WHERE id = 4", 5),
        ("UPDATE audit SET subject = 'z', hash = sha256('z') WHERE id = 8", 8),
        (
            """UPDATE audit SET subject = 'z', hash = sha256(previous || convert_to(jsonb_build_array(
               id, extract(epoch FROM at), admin_id, action, 'z', detail)::text, 'UTF8')) WHERE id = 4""",
            5,
        ),
    ],
)
@pytest.mark.parametrize("stretch", [3, 4, 10_000])
async def test_tampering_behind_the_trigger_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, harm: str, found: int, stretch: int
) -> None:
    monkeypatch.setattr(audit, "STRETCH", stretch)
    await append(database, *"abcdefgh")
    assert await audit.broken_audit(database) is None
    async with database.connection() as connection, connection.transaction():
        await connection.execute("ALTER TABLE audit DISABLE TRIGGER audit_append_only")
        await connection.execute(harm)
        await connection.execute("ALTER TABLE audit ENABLE TRIGGER audit_append_only")
    assert await audit.broken_audit(database) == found


async def test_entries_made_at_once_stand_in_one_chain(database: Database) -> None:
    async def work(number: int) -> None:
        async with database.connection() as connection, connection.transaction():
            await audit.record(connection, None, "test.done", str(number))
            if number % 5 == 0:
                raise asyncpg.RaiseError("this one is undone")

    ended = await asyncio.gather(*(work(number) for number in range(40)), return_exceptions=True)
    assert sum(isinstance(one, asyncpg.RaiseError) for one in ended) == 8
    chain = await audit.check(database)
    assert (chain.entries, chain.broken) == (32, None)
    forks = await database.fetchval("SELECT count(*) - count(DISTINCT previous) FROM audit")
    assert forks == 0


async def test_a_page_of_the_trail_can_be_sifted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await append(database, *(f"number {n} 100%" for n in range(20)))
    async with database.connection() as connection:
        await audit.record(connection, None, "other.done", "x")

    async def ids(before: int = 2**63 - 1, **more: str | int | None) -> tuple[list[int], int | None]:
        wish: dict[str, str | int | None] = {"admin": None, "action": None, "words": None, **more}
        found = await audit.page(database, before=before, limit=8, **wish)  # type: ignore[arg-type]
        return [row["id"] for row in found.entries], found.older

    assert await ids() == (list(range(21, 13, -1)), 14)
    assert await ids(14) == (list(range(13, 5, -1)), 6)
    assert await ids(6) == ([5, 4, 3, 2, 1], None)
    assert await ids(action="other.done") == ([21], None)
    assert await ids(words="NUMBER 1 ") == ([2], None)
    assert await ids(words="1_0%") == ([], None)
    assert await ids(admin=7) == ([], None)
    monkeypatch.setattr(audit, "LOOKED", 10)
    assert await ids(words="number 1 ") == ([], 12)
    assert await ids(12, words="number 1 ") == ([2], 2)
    assert await ids(2, words="number 1 ") == ([], None)
