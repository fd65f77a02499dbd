"""Versions: nothing that was replaced is lost, whoever replaces at once; and a departed persona can come back."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.world import personas, versions
from app.world.personas import PersonaSpec

ANN = PersonaSpec(
    username="ann",
    description="Repairs trams and laughs at her own jokes.",
    bio="Trams.",
    traits=["calm", "curious"],
    demographics={"age": 41},
)
LATEST = 2**31 - 1


async def settle(database: Database, *specs: PersonaSpec) -> list[int]:
    async with database.connection() as connection:
        return [row["id"] for row in await personas.add(connection, specs)]


async def replace(database: Database, persona_id: int, spec: PersonaSpec, mark: str | None = None) -> bool:
    async with database.connection() as connection:
        return await versions.replace(connection, persona_id, lambda _: spec, by=None, mark=mark)


async def test_a_replacement_keeps_what_it_replaced(database: Database) -> None:
    (ann,) = await settle(database, ANN)
    second = ANN.model_copy(update={"bio": "Trams and trains.", "traits": ["calm", "stubborn"]})
    third = second.model_copy(update={"username": "anna", "demographics": {"age": 42, "city": "Graz"}})
    assert await replace(database, ann, second)
    assert await replace(database, ann, third)
    assert await versions.number(database, ann) == 3
    found = await versions.history(database, await personas.get(database, ann), before=LATEST, limit=10)
    assert [version.spec for version in found] == [second, ANN]
    assert [c.field for c in found[1].changes] == ["bio", "traits"]
    assert found[1].changes[1].pieces == [("same", "calm"), ("gone", "curious"), ("new", "stubborn")]
    assert found[0].changes[1].pieces == [("gone", "age: 41"), ("new", "age: 42\ncity: Graz")]
    page = await versions.history(database, await personas.get(database, ann), before=2, limit=10)
    assert [(v.number, [c.field for c in v.changes]) for v in page] == [(1, ["bio", "traits"])]
    assert await versions.version(database, ann, 1) == ANN
    with pytest.raises(NotFound):
        await versions.version(database, ann, 3)


async def test_the_same_again_is_no_version(database: Database) -> None:
    (ann,) = await settle(database, ANN)
    assert not await replace(database, ann, ANN)
    assert await versions.number(database, ann) == 1


async def test_those_who_change_at_once_lose_nothing(database: Database) -> None:
    (ann,) = await settle(database, ANN)

    def adding(n: int) -> Callable[[PersonaSpec], PersonaSpec]:
        return lambda spec: spec.model_copy(update={"goals": [*spec.goals, f"goal {n}"]})

    async def add(n: int) -> None:
        async with database.connection() as connection:
            await versions.replace(connection, ann, adding(n), by=None)

    await asyncio.gather(*(add(n) for n in range(20)))
    now = personas.spec_of(await personas.get(database, ann))
    assert sorted(now.goals) == sorted(f"goal {n}" for n in range(20))
    kept = [await versions.version(database, ann, n) for n in range(1, 21)]
    assert [len(spec.goals) for spec in kept] == list(range(20))


async def test_of_two_who_saw_the_same_only_one_replaces_it(database: Database) -> None:
    (ann,) = await settle(database, ANN)
    mark = versions.mark_of(ANN)
    wishes = [ANN.model_copy(update={"bio": f"bio {n}"}) for n in range(8)]
    results = await asyncio.gather(*(replace(database, ann, w, mark) for w in wishes), return_exceptions=True)
    stale = [r for r in results if isinstance(r, versions.Stale)]
    assert (results.count(True), len(stale)) == (1, 7)
    now = personas.spec_of(await personas.get(database, ann))
    assert all((s.now, s.mark) == (now, versions.mark_of(now)) for s in stale)
    assert await versions.number(database, ann) == 2


async def test_what_a_persona_did_to_its_own_bio_counts_as_a_change(database: Database) -> None:
    (ann,) = await settle(database, ANN)
    await database.fetchval("UPDATE personas SET bio = 'by myself' WHERE id = $1", ann)
    with pytest.raises(versions.Stale):
        await replace(database, ann, ANN, versions.mark_of(ANN))


async def test_a_taken_name_leaves_no_version(database: Database) -> None:
    ann, bob = await settle(database, ANN, PersonaSpec(username="bob", description="b"))
    with pytest.raises(Conflict, match="taken"):
        await replace(database, ann, ANN.model_copy(update={"username": "BOB"}))
    assert await versions.number(database, ann) == 1
    await personas.depart(database, bob)
    for gone in (bob, 999):
        with pytest.raises(NotFound):
            await replace(database, gone, ANN.model_copy(update={"username": "bib"}))


async def test_who_departed_comes_back_paused_unless_the_name_is_taken(database: Database) -> None:
    (ann,) = await settle(database, ANN)
    async with database.connection() as connection:
        with pytest.raises(NotFound):
            await versions.come_back(connection, ann)
        await personas.depart(database, ann)
        assert await versions.come_back(connection, ann) == "ann"
        row = await personas.get(database, ann)
        assert (row["status"], row["departed_at"]) == ("paused", None)
        await personas.depart(database, ann)
        await personas.add(connection, [PersonaSpec(username="Ann", description="another")])
        with pytest.raises(Conflict, match="username"):
            await versions.come_back(connection, ann)


async def test_versions_belong_to_the_transaction(database: Database) -> None:
    (ann,) = await settle(database, ANN)

    async def fail_behind_it() -> None:
        async with database.connection() as connection, connection.transaction():
            changed = ANN.model_copy(update={"bio": "x"})
            assert await versions.replace(connection, ann, lambda _: changed, by=None)
            await connection.execute("SELECT 1 / 0")

    with pytest.raises(asyncpg.DivisionByZeroError):
        await fail_behind_it()
    assert await versions.number(database, ann) == 1
    assert personas.spec_of(await personas.get(database, ann)) == ANN


@given(st.text(" ab\ncé", max_size=60), st.text(" ab\ncé", max_size=60))
def test_the_pieces_of_a_change_make_both_texts(old: str, new: str) -> None:
    before = PersonaSpec.model_construct(username="a", description=old)
    after = PersonaSpec.model_construct(username="a", description=new)
    pieces = [piece for change in versions.changes(before, after) for piece in change.pieces]
    if old != new:
        assert "".join(text for kind, text in pieces if kind != "new") == old
        assert "".join(text for kind, text in pieces if kind != "gone") == new
