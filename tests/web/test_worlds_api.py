"""Worlds over the API: admins make, compare and drop them; observers look; nobody else."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from app.db.engine import Database
from tests.conftest import run_sql, serving, settings_for, sign_up, with_database
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem


@pytest.fixture(autouse=True)
async def swept(database: Database, url: str) -> AsyncIterator[None]:
    yield
    for row in await database.fetch("SELECT database FROM worlds WHERE state <> 'dropped'"):
        await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')


async def test_a_worlds_life(client: httpx2.AsyncClient, url: str, admin: dict[str, str], database: Database) -> None:
    await populate(url)
    answer = await client.post("/worlds", json={"name": "try", "note": "why not"}, headers=admin)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert {n: made[n] for n in ("name", "kind", "state", "source", "note", "created_by")} == {
        "name": "try", "kind": "fork", "state": "ready", "source": "home", "note": "why not", "created_by": "ada",
    }  # fmt: skip
    assert "database" not in made
    listed = (await client.get("/worlds", headers=admin)).json()["worlds"]
    assert [world["name"] for world in listed] == ["home", "try"]
    assert (await client.get("/worlds/TRY", headers=admin)).json() == listed[1]
    hashes = [(await client.get(f"/worlds/{name}/hash", headers=admin)).json() for name in ("home", "try")]
    assert hashes[0]["sha256"] == hashes[1]["sha256"]
    row = await database.fetchrow("SELECT database FROM worlds")
    assert row is not None
    await run_sql(with_database(url, row["database"]), "UPDATE personas SET bio = 'other' WHERE id = 1")
    found = (await client.get("/worlds/home/diff/try?limit=1&part=network&times=none", headers=admin)).json()
    (differs,) = (one for one in found["tables"] if one["changed"] or one["only_a"] or one["only_b"])
    assert (found["equal"], differs["table"], differs["changed"]) == (False, "personas", 1)
    assert list(differs["first"][0]["columns"]) == ["bio"]
    kept = await client.post("/worlds", json={"name": "kept", "kind": "checkpoint", "source": "try"}, headers=admin)
    assert kept.json()["source"] == "try"
    assert (await client.post("/worlds", json={"name": "new", "kind": "made"}, headers=admin)).status_code == 201
    assert_problem(await client.post("/worlds", json={"name": "TRY"}, headers=admin), 409)
    assert_problem(await client.post("/worlds", json={"name": "b", "source": "nobody"}, headers=admin), 404)
    assert (await client.delete("/worlds/try", headers=admin)).status_code == 204
    assert_problem(await client.delete("/worlds/try", headers=admin), 404)
    deeds = await database.fetch("SELECT action, subject FROM audit WHERE action LIKE 'world.%' ORDER BY id")
    assert [tuple(deed) for deed in deeds] == [
        ("world.made", "try"), ("world.made", "kept"), ("world.made", "new"), ("world.dropped", "try"),
    ]  # fmt: skip


ROUTES = (
    ("GET", "/worlds"), ("POST", "/worlds"), ("GET", "/worlds/home"), ("DELETE", "/worlds/x"),
    ("GET", "/worlds/home/hash"), ("GET", "/worlds/home/diff/home"),
)  # fmt: skip


async def test_who_may(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    for method, path in ROUTES:
        body = {"json": {"name": "a"}} if method == "POST" else {}
        assert_problem(await client.request(method, path, **body), 401)  # type: ignore[arg-type]
    await database.fetchval("UPDATE admin SET role = 'observer'")
    for method, path in ROUTES:
        body = {"json": {"name": "a"}} if method == "POST" else {}
        answer = await client.request(method, path, headers=admin, **body)  # type: ignore[arg-type]
        assert answer.status_code == (200 if method == "GET" else 403), (method, path)


HOSTILE = (
    "",
    "home",
    "a b",
    "a/b",
    "../x",
    'a"; DROP DATABASE postgres; --',
    "a\x00b",
    "x" * 41,
    "ä",
    "%00",
    "\ud800",
    7,
    None,
)


async def test_hostile_names(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    for name in HOSTILE:
        body = {"name": name} if name != "\ud800" else None
        raw = None if body is not None else b'{"name": "\\ud800"}'
        kind = {"Content-Type": "application/json"} if raw else {}
        answer = await client.post("/worlds", json=body, content=raw, headers=admin | kind)
        assert answer.status_code in (400, 422), (name, answer.text)
        answer = await client.post("/worlds", json={"name": "ok", "source": name if body else 1}, headers=admin)
        assert answer.status_code in (201, 400, 422), (name, answer.text)
        await client.delete("/worlds/ok", headers=admin)
    for path in (
        "/worlds/a%20b",
        "/worlds/%00",
        "/worlds/%22%3B--",
        "/worlds/home/diff/%27",
        f"/worlds/{'x' * 41}/hash",
    ):
        assert (await client.get(path, headers=admin)).status_code == 422, path
        assert (await client.delete(path, headers=admin)).status_code in (405, 422), path
    for query in ("part=nothing", "times=%00", "limit=-1", "limit=101", "limit=x"):
        assert (await client.get(f"/worlds/home/diff/home?{query}", headers=admin)).status_code == 422, query
    assert await database.fetchval("SELECT count(*) FROM worlds WHERE name <> 'ok'") == 0


async def test_a_server_in_another_world(client: httpx2.AsyncClient, url: str, admin: dict[str, str]) -> None:
    await populate(url)
    assert (await client.post("/worlds", json={"name": "try"}, headers=admin)).status_code == 201
    async with serving(settings_for(url, simfeed_world="try")) as other:
        assert (await other.get("/posts")).json() == (await client.get("/posts")).json()
        own = await sign_up(other)  # it has no admins from home
        made = await other.post("/personas", json={"username": "only_here", "persona": "x"}, headers=own)
        assert made.status_code == 201
        assert_problem(await other.get("/worlds", headers=own), 409)
        assert_problem(await other.get("/worlds", headers=admin), 401)
    assert (await client.get("/personas/username/only_here", headers=admin)).status_code == 404
