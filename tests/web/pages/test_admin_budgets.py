"""Budgets in a browser: what the bars say is what the caps count; the kill switch; providers asked again."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from app.ledger.budget import Caps
from app.ledger.spend import Used
from app.web.pages.admin.budgets import bars
from tests.conftest import PASSWORD, serving, settings_for, sign_up
from tests.web.test_page import BROWSER, HOSTILE

HERE = "/admin/budgets"


@asynccontextmanager
async def desk_with(url: str, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(settings_for(url, **settings)) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        yield client


@pytest.fixture
async def desk(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which an admin is signed in."""
    async with desk_with(url) as client:
        yield client


async def text(client: httpx2.AsyncClient) -> str:
    answer = await client.get(HERE)
    assert answer.status_code == 200, answer.text
    return answer.text


async def send(client: httpx2.AsyncClient, address: str, **fields: str) -> httpx2.Response:
    token = re.search(r'name="csrf" value="(\w+)"', await text(client))
    assert token is not None
    return await client.post(address, data={"csrf": token[1], **fields})


async def sql(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        return rows
    finally:
        await connection.close()


async def spend(url: str, cost: str = "0.5") -> None:
    """One persona, one run, one turn with two calls of 1,000 tokens each today and one of yesterday."""
    await sql(url, "INSERT INTO personas (username, description) VALUES ('ann', 'x')")
    await sql(url, "INSERT INTO runs (venue, slot, seed, state) VALUES ('feed', 's', 1, 'running')")
    await sql(url, "INSERT INTO turns (run_id, persona_id, ordinal, state, epoch) VALUES (1, 1, 1, 'running', 1)")
    await sql(
        url,
        f"""INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256,
                               request_sha256, reply, response, prompt_tokens, completion_tokens, cost_usd, created_at)
            SELECT 1, n, 'ok', 'm', 'm', '', '', '', '', '', '', 900, 100, {cost},
                   now() - make_interval(days => (n = 2)::int) FROM generate_series(0, 2) n""",
    )


async def test_only_admins_see_and_do(desk: httpx2.AsyncClient, url: str) -> None:
    token = re.search(r'name="csrf" value="(\w+)"', await text(desk))
    assert token is not None
    for address, given in (("/halt", {"halted": "on"}), ("/providers", {"provider": "openai"})):
        assert (await desk.post(HERE + address, data=given)).status_code == 403
        cross = {"Sec-Fetch-Site": "cross-site"}
        assert (await desk.post(HERE + address, data={**given, "csrf": token[1]}, headers=cross)).status_code == 403
    assert (await sql(url, "SELECT halted_at FROM instance"))[0]["halted_at"] is None
    desk.cookies.clear()
    assert (await desk.get(HERE)).status_code == 303


async def test_an_empty_world_has_a_page(desk: httpx2.AsyncClient) -> None:
    shown = await text(desk)
    assert "Models may be asked" in shown
    assert "no cap" in shown
    assert "Nobody would wake" in shown
    assert "No model has been asked anything" in shown


async def test_the_kill_switch_tells_who_threw_it(desk: httpx2.AsyncClient, url: str) -> None:
    assert (await send(desk, HERE + "/halt", halted="on")).headers["location"] == HERE + "?done=halted"
    shown = await text(desk)
    assert "Everything is halted" in shown
    assert "by <bdi>ada</bdi>" in shown
    assert (await send(desk, HERE + "/halt", halted="off")).status_code == 303
    assert "Models may be asked" in await text(desk)
    await sql(url, "UPDATE instance SET halted_at = now() - interval '1 hour'")
    assert "from the command line or the API" in await text(desk)
    for odd in ("", "yes", "on\x00"):
        assert (await send(desk, HERE + "/halt", halted=odd)).status_code == 422
    audit = [tuple(r) for r in await sql(url, "SELECT action, subject FROM audit ORDER BY id DESC LIMIT 2")]
    assert audit == [("scheduler.halt", "off"), ("scheduler.halt", "on")]


async def test_days_are_counted_from_the_calls(desk: httpx2.AsyncClient, url: str) -> None:
    await spend(url)
    shown = await text(desk)
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", shown, re.DOTALL)]
    days = [row for row in rows if row[0] in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")]
    total = [row[-3:] for row in days]
    assert sorted(total) in (
        [["$0.5000", "1,000", "1"], ["$1.00", "2,000", "2"]],
        [["$0.00", "0", "0"], ["$0.5000", "1,000", "1"], ["$1.00", "2,000", "2"]],  # midnight passed just now
    )
    assert shown.count("<rect") == 14


async def test_calls_without_a_price_are_said(desk: httpx2.AsyncClient, url: str) -> None:
    await spend(url, "NULL")
    assert "3 calls whose price is not known" in await text(desk)


async def test_bars_are_what_the_caps_count(url: str) -> None:
    caps = {
        "budget_day_usd": 2.0,
        "budget_day_tokens": 10_000,
        "budget_run_tokens": 1_000,
        "budget_persona_day_usd": 1.0,
    }
    async with desk_with(url, **caps) as desk:
        await spend(url)
        await sql(
            url,
            """INSERT INTO budgets (scope, key, day, spent_tokens, spent_usd, held_tokens, held_usd)
               SELECT s.*, 8500, 1.7, 500, 0.1 FROM (VALUES
                   ('instance', 0, (now() AT TIME ZONE 'UTC')::date), ('persona', 1, (now() AT TIME ZONE 'UTC')::date),
                   ('run', 1, DATE '1970-01-01')) s""",
        )
        shown = await text(desk)
    assert "This instance today: 85 % of the cap is spent, 5.0 % held" in shown
    assert "Run 1: 100 % of the cap is spent" in shown
    assert "@ann today: 100 % of the cap is spent" in shown
    assert "nothing left" in shown
    assert "BUDGET_DAY" in shown


def test_a_bars_parts() -> None:
    usd, tokens = bars(Caps(100, 1.0), Used(79, 0.2, 1, 0.1))
    assert (usd.share, usd.held_share, round(usd.left, 6), usd.level) == (20, 10, 0.7, "")
    assert (tokens.left, tokens.level) == (20, "near")
    (over,) = bars(Caps(100), Used(250, 0, 50, 0))
    assert (over.share, over.held_share, over.left, over.level) == (100, 0, 0, "full")


async def test_a_blocked_provider_is_asked_again(desk: httpx2.AsyncClient, url: str) -> None:
    await sql(url, "INSERT INTO providers (name, blocked, detail) VALUES ('openai', 'auth', $1)", HOSTILE)
    shown = await text(desk)
    assert "Try openai again" in shown
    assert "<img" not in shown.replace('<img class="face"', "")
    for odd in ("", "other", "x" * 5000, "a\x00b"):
        assert (await send(desk, HERE + "/providers", provider=odd)).status_code in (404, 422)
    assert (await send(desk, HERE + "/providers", provider="openai")).status_code == 303
    assert [r["blocked"] for r in await sql(url, "SELECT blocked FROM providers")] == [None]
    assert "Try openai again" not in await text(desk)
    assert [r["action"] for r in await sql(url, "SELECT action FROM audit ORDER BY id")][-1] == "provider.unblocked"


async def test_prices_known_and_unknown(url: str) -> None:
    async with desk_with(url, simfeed_model="my-model", openai_base_url="https://models.example.org/v1") as desk:
        await sql(
            url,
            "INSERT INTO personas (username, description, model) VALUES ('a', 'x', 'priced'), ('b', 'x', $1)",
            HOSTILE,
        )
        shown = await text(desk)
        assert "unknown: an address of your own" in shown
        assert shown.count("not known") >= 3
        assert "No price is known for" in shown
    async with desk_with_again(url, model_prices="priced=1/0.5/2") as desk:
        assert "MODEL_PRICES</td>" in await text(desk)


@asynccontextmanager
async def desk_with_again(url: str, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The same admin at a server with other settings."""
    async with serving(settings_for(url, **settings)) as client:
        client.headers.update(BROWSER)
        await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        yield client
