"""Interventions over the API: planned all or none, listed by pages, cancelled; audited; for admins alone."""

from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.venues.feed import open_cycle
from tests.conftest import a_mind, settings_for
from tests.web.test_memories_api import a_persona

AT = "/interventions"


def post(cycle: int, body: str = "x", persona: str = "luna") -> dict[str, Any]:
    return {"kind": "post", "cycle": cycle, "persona": persona, "body": body}


async def test_plan_list_cancel_and_done(
    client: httpx2.AsyncClient, admin: dict[str, str], database: Database, url: str
) -> None:
    await a_persona(client, admin)
    wish = {
        "interventions": [
            post(1, "one"),
            post(2, "two"),
            {"kind": "message", "cycle": 1, "body": "Hear.", "from": "LUNA", "to": ["luna"]},
        ]
    }
    answer = await client.post(AT, json=wish, headers=admin)
    assert answer.status_code == 201, answer.text
    ids = answer.json()["ids"]
    page = (await client.get(AT, params={"limit": 2}, headers=admin)).json()
    assert [one["id"] for one in page["data"]] == ids[:0:-1]
    assert page["has_more"]
    rest = await client.get(AT, params={"limit": 2, "cursor": page["next_cursor"]}, headers=admin)
    assert [one["id"] for one in rest.json()["data"]] == ids[:1]
    assert rest.json()["next_cursor"] is None
    assert (await client.delete(f"{AT}/{ids[1]}", headers=admin)).status_code == 204
    assert (await client.delete(f"{AT}/{ids[1]}", headers=admin)).status_code == 409
    assert (await client.delete(f"{AT}/999", headers=admin)).status_code == 404
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, settings_for(url))
    done = (await client.get(AT, params={"state": "done"}, headers=admin)).json()["data"]
    assert {(one["id"], one["run_id"]) for one in done} == {(ids[0], run_id), (ids[2], run_id)}
    made = next(one for one in done if one["id"] == ids[0])
    assert (await client.get(f"/post/{made['outcome']['post_id']}")).json()["body"] == "one"
    audited = await database.fetch("SELECT action, subject FROM audit WHERE action LIKE 'intervention.%' ORDER BY id")
    assert [row["action"] for row in audited] == ["intervention.planned"] * 3 + ["intervention.cancelled"]
    over = await client.post(AT, json={"interventions": [post(1)]}, headers=admin)
    assert over.status_code == 422
    assert over.json()["errors"][0]["pointer"] == "/interventions/0/cycle"
    assert "the next cycle of this world is 2" in over.json()["detail"]
    relative = await client.post(AT, json={"interventions": [post(1)], "relative": True}, headers=admin)
    assert relative.status_code == 201
    assert (await client.get(AT, headers=admin)).json()["data"][0]["cycle"] == 2


async def test_all_or_none(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    await a_persona(client, admin)
    answer = await client.post(AT, json={"interventions": [post(1), post(1, persona="nobody")]}, headers=admin)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/interventions/1/persona"
    assert await database.fetchval("SELECT count(*) FROM interventions") == 0
    assert await database.fetchval("SELECT count(*) FROM audit WHERE action LIKE 'intervention.%'") == 0


async def test_only_admins_plan(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    for method, path in (("GET", AT), ("POST", AT), ("DELETE", f"{AT}/1")):
        assert (await client.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"interventions": []},
        {"interventions": [{}]},
        {"interventions": [5]},
        {"interventions": [{"kind": "dance"}]},
        {"interventions": [{**post(1), "run_id": 5}]},
        {"interventions": [{**post(1), "state": "done"}]},
        {"interventions": [{**post(1), "cycle": 2**40}]},
        {"interventions": [{**post(1), "cycle": 1.5}]},
        {"interventions": [{"kind": "post", "at": "0001-01-01T00:00:00+23:59", "persona": "luna", "body": "x"}]},
        {"interventions": [{"kind": "post", "at": 1e308, "persona": "luna", "body": "x"}]},
        {"interventions": [post(1, "\u0000")]},
        {"interventions": [post(1, "a" * 501)]},
        {"interventions": [{"kind": "pause", "cycle": 1, "to": {"leaning": "a", "tag": "b"}}]},
        {"interventions": [{"kind": "pause", "cycle": 1, "to": [[["x"]]]}]},
        {"interventions": [{"kind": "news", "cycle": 1, "title": "x", "url": "javascript:alert(1)"}]},
        {"interventions": [post(1)] * 501},
        {"interventions": [post(1)], "relative": "yes"},
    ],
    ids=str,
)
async def test_what_is_no_plan_is_refused(client: httpx2.AsyncClient, admin: dict[str, str], body: Any) -> None:
    answer = await client.post(AT, json=body, headers=admin)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"limit": 0}, {"limit": 101}, {"state": "open"}])
async def test_bad_queries(client: httpx2.AsyncClient, admin: dict[str, str], query: dict[str, Any]) -> None:
    assert (await client.get(AT, params=query, headers=admin)).status_code == 422


async def test_an_empty_world(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    assert (await client.get(AT, headers=admin)).json() == {"data": [], "next_cursor": None, "has_more": False}
