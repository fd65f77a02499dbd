"""What admins do to personas over the API stands with its entry in the audit trail, or not at all."""

import httpx2
import pytest

from app.db.engine import Database
from tests.conftest import sign_up
from tests.venues.test_cycle import people
from tests.web.test_edge import assert_problem

CHANGES = [
    ("POST", "/personas/1/pause", "paused"),
    ("POST", "/personas/2/resume", "resumed"),
    ("DELETE", "/personas/1", "departed"),
]
STATES = "SELECT array_agg(status ORDER BY id) FROM personas"


@pytest.fixture
async def world(database: Database) -> Database:
    """Persona 1 is active, 2 is paused; both have a turn that waits."""
    await people(database, 2)
    await database.fetch("UPDATE personas SET status = 'paused' WHERE id = 2")
    await database.fetch("INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 's', 1, 'running')")
    await database.fetch("INSERT INTO turns (run_id, persona_id, ordinal) SELECT 1, id, id FROM personas")
    return database


@pytest.mark.parametrize(("method", "path", "done"), CHANGES)
async def test_a_change_is_audited_once(
    client: httpx2.AsyncClient, world: Database, method: str, path: str, done: str
) -> None:
    headers = await sign_up(client)
    assert (await client.request(method, path, headers=headers)).status_code == 204
    entries = await world.fetch("SELECT action, subject FROM audit WHERE action LIKE 'persona.%'")
    assert [tuple(row) for row in entries] == [(f"persona.{done}", path.split("/")[2])]
    now = {"paused": ["paused", "paused"], "resumed": ["active", "active"], "departed": ["departed", "paused"]}
    assert await world.fetchval(STATES) == now[done]
    turn = await world.fetchrow("SELECT state, reason FROM turns WHERE persona_id = 1")
    assert tuple(turn or ()) == (("failed", "departed") if done == "departed" else ("queued", None))


@pytest.mark.parametrize(("method", "path", "done"), CHANGES)
async def test_what_can_not_be_audited_does_not_happen(
    client: httpx2.AsyncClient, world: Database, method: str, path: str, done: str
) -> None:
    headers = await sign_up(client)
    await world.fetch("ALTER TABLE audit ADD CHECK (action NOT LIKE 'persona.%')")
    assert_problem(await client.request(method, path, headers=headers), 500)
    assert await world.fetchval(STATES) == ["active", "paused"], done
    assert await world.fetchval("SELECT count(*) FROM turns WHERE state = 'queued'") == 2


@pytest.mark.parametrize(("method", "path", "done"), CHANGES)
async def test_who_is_not_there_is_not_audited(
    client: httpx2.AsyncClient, world: Database, method: str, path: str, done: str
) -> None:
    headers = await sign_up(client)
    nobody = path.replace("/1", "/99").replace("/2", "/99")
    assert_problem(await client.request(method, nobody, headers=headers), 404)
    await client.delete("/personas/1", headers=headers)
    await client.delete("/personas/2", headers=headers)
    assert_problem(await client.request(method, path, headers=headers), 404)
    actions = await world.fetch("SELECT action FROM audit WHERE action LIKE 'persona.%'")
    assert [row["action"] for row in actions] == ["persona.departed"] * 2, done
