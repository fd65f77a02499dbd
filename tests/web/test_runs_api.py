"""One run over the API, with what monitors found in it."""

import httpx2
import pytest

from app.db.engine import Database
from tests.analysis.test_realism_worlds import lived, varied
from tests.web.pages.test_admin_monitors import assistants
from tests.web.test_edge import assert_problem


async def test_a_run_and_its_monitors(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    await lived(database, assistants)
    found = (await client.get("/runs/1", headers=admin)).json()
    assert (found["id"], found["venue"], found["state"], found["turns_total"]) == (1, "feed", "completed", 12)
    assert found["realism"]["values"]["assistant_speak"] == {"value": 1.0, "n": 12.0}
    (alarm,) = [one for one in found["realism"]["alarms"] if one["monitor"] == "assistant_speak"]
    assert (alarm["level"], alarm["limit"]) == ("alarm", 0.1)
    assert "another" in alarm["text"]


async def test_a_run_without(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    await lived(database, varied)
    await database.fetch("UPDATE runs SET realism = NULL")
    assert (await client.get("/runs/1", headers=admin)).json()["realism"] is None


@pytest.mark.parametrize("number", ["0", "2", "x", str(2**70), "-1"])
async def test_what_is_not_there(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database, number: str
) -> None:
    answer = await client.get(f"/runs/{number}", headers=admin)
    assert 400 <= answer.status_code < 500


async def test_only_admins(client: httpx2.AsyncClient) -> None:
    assert_problem(await client.get("/runs/1"), 401)
