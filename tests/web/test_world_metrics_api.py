"""Worlds in numbers over the API: admins and observers ask, hostile input is refused, another world is measured too."""

import asyncio
import contextlib

import httpx2
import pytest

from app.analysis.catalogue import METRICS
from app.db.engine import Database
from tests.analysis.test_measuring import WORLD
from tests.conftest import run_sql, with_database
from tests.web.test_edge import assert_problem

PATH = "/worlds/home/metrics"


async def test_a_world_in_numbers(client: httpx2.AsyncClient, url: str, admin: dict[str, str]) -> None:
    await run_sql(url, WORLD)
    found = (await client.get(PATH, headers=admin)).json()
    assert [one["name"] for one in found["metrics"]] == list(METRICS)
    assert found["counts"]["posts"] == 4
    toxic = next(one for one in found["metrics"] if one["name"] == "toxicity_share")
    assert toxic["limits"].startswith("Weak")
    two = (await client.get(f"{PATH}?names=density&names=cost_usd&since=1", headers=admin)).json()
    assert two["since"] == 1
    assert [(one["name"], one["value"], one["why"]) for one in two["metrics"]] == [
        ("density", 0.25, None), ("cost_usd", None, "needs a price for every model call"),
    ]  # fmt: skip


async def test_another_world_is_measured(
    client: httpx2.AsyncClient, url: str, admin: dict[str, str], database: Database
) -> None:
    assert (await client.post("/worlds", json={"name": "empty", "kind": "made"}, headers=admin)).status_code == 201
    await run_sql(url, WORLD)
    name = await database.fetchval("SELECT database FROM worlds WHERE name = 'empty'")
    try:
        found = (await client.get("/worlds/empty/metrics?names=density", headers=admin)).json()
        assert (found["world"], found["counts"]["personas"]) == ("empty", 0)
        assert found["metrics"][0]["why"] == "needs two personas"
    finally:
        with contextlib.suppress(Exception):
            await run_sql(with_database(url, "postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')
    assert_problem(await client.get("/worlds/nowhere/metrics", headers=admin), 404)


async def test_who_may(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    assert_problem(await client.get(PATH), 401)
    await database.fetchval("UPDATE admin SET role = 'observer'")
    assert (await client.get(PATH, headers=admin)).status_code == 200


@pytest.mark.parametrize(
    "query",
    ["names=densty", "names=", "names=%00", "names=' OR 1=1", "names=" + "x" * 61, "&".join(["names=density"] * 99),
     "since=-1", "since=x", "since=9223372036854775808", "since=1.5"],
)  # fmt: skip
async def test_hostile_queries(client: httpx2.AsyncClient, admin: dict[str, str], query: str) -> None:
    assert_problem(await client.get(f"{PATH}?{query}", headers=admin), 422)


async def test_one_at_a_time(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    answers = await asyncio.gather(*(client.get(PATH, headers=admin) for _ in range(4)))
    assert {one.status_code for one in answers} == {200, 429}
    assert all(one.headers.get("Retry-After") for one in answers if one.status_code == 429)
    assert (await client.get(PATH, headers=admin)).status_code == 200, "and the next is served"
