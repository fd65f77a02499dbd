"""Settings in a browser: every one with its source, no secret ever; the clock; a provider tested."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from app.cli.up import environment, with_secrets
from app.settings import Settings, from_file, load_settings, sources
from app.web.pages.admin.settings import shown
from tests.conftest import BOOTSTRAP, PASSWORD, SECRET, serving, settings_for, sign_up
from tests.web.test_page import BROWSER

HERE = "/admin/settings"
KEY = "sk-do-not-show-0123456789"


@pytest.fixture
async def desk(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which an admin is signed in."""
    more = {"openai_api_key": KEY, "openai_base_url": "https://user:hidden-word@models.example.org/v1"}
    async with serving(settings_for(url, **more)) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        yield client


async def text(client: httpx2.AsyncClient) -> str:
    answer = await client.get(HERE)
    assert answer.status_code == 200, answer.text
    return answer.text


async def send(client: httpx2.AsyncClient, address: str, **fields: str) -> httpx2.Response:
    token = re.search(r'name="csrf" value="(\w+)"', await text(client))
    assert token is not None
    return await client.post(address, data={"csrf": token[1], **fields})


async def value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_every_setting_is_there_and_no_secret(desk: httpx2.AsyncClient, url: str) -> None:
    found = await text(desk)
    for name in Settings.model_fields:
        assert f"<code>{name.upper()}</code>" in found
    for secret in (SECRET, BOOTSTRAP, KEY, url, "hidden-word"):
        assert secret not in found
        assert secret[-8:] not in found
    assert "…@models.example.org" in found


async def test_only_admins_see_and_do(desk: httpx2.AsyncClient, url: str) -> None:
    token = re.search(r'name="csrf" value="(\w+)"', await text(desk))
    assert token is not None
    for address, given in (("/interval", {"interval": "7"}), ("/check", {"model": "scripted"})):
        assert (await desk.post(HERE + address, data=given)).status_code == 403
        cross = {"Origin": "https://evil.test"}
        assert (await desk.post(HERE + address, data={**given, "csrf": token[1]}, headers=cross)).status_code == 403
    assert await value(url, "SELECT scheduler_interval_minutes FROM instance") is None
    desk.cookies.clear()
    assert (await desk.get(HERE)).status_code == 303


async def test_the_interval(desk: httpx2.AsyncClient, url: str) -> None:
    for odd in ("", "0", "0.01", "10081", "nan", "1e999", "x", "5 minutes", "-1", "\x00"):
        answer = await send(desk, HERE + "/interval", interval=odd)
        assert answer.status_code == 422, odd
        assert 'id="wrong-interval"' in answer.text
    answer = await send(desk, HERE + "/interval", interval=" 7.5 ")
    assert answer.headers["location"] == HERE + "?done=interval-set"
    assert await value(url, "SELECT scheduler_interval_minutes FROM instance") == 7.5
    assert "Set by an admin" in await text(desk)
    assert await value(url, "SELECT subject FROM audit ORDER BY id DESC LIMIT 1") == "7.5"


async def test_a_provider_is_tested(desk: httpx2.AsyncClient, url: str) -> None:
    answer = await send(desk, HERE + "/check", model="scripted")
    assert answer.status_code == 200
    assert "calls offered functions" in answer.text
    assert 'class="state state-ok"' in answer.text
    for odd, words in (
        ("", "must be the name"),
        ("x" * 300, "must be the name"),
        ("deepseek-chat", "DEEPSEEK_API_KEY"),
    ):
        answer = await send(desk, HERE + "/check", model=odd)
        assert answer.status_code == 422, odd
        assert words in answer.text
    actions = await value(url, "SELECT array_agg(action || ' ' || subject) FROM audit")
    assert "model.checked scripted" in actions


def test_where_a_value_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_ACTIONS", "12")
    monkeypatch.setenv("Result_Tokens", "500")
    settings = from_file(load_settings(simfeed_model="local"), {"secret_key": SecretStr(SECRET)})
    found = sources(settings)
    assert found["max_actions"] == found["result_tokens"] == "environment"
    assert found["simfeed_model"] == "command line"
    assert found["secret_key"] == "file"
    assert found["log_level"] == "default"


def test_the_server_knows_what_up_was_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOOL_MODE", "json")
    for name, given in environment(with_secrets(load_settings(simfeed_home=tmp_path))).items():
        monkeypatch.setenv(name, given)
    found = sources(load_settings())
    assert found["simfeed_home"] == "command line"
    assert found["tool_mode"] == "environment"
    assert found["simfeed_model"] == "default"
    assert found["secret_key"] == found["bootstrap_token"] == "file"


def test_values_are_shown_as_people_write_them() -> None:
    settings = load_settings(
        trusted_proxies=("10.0.0.1", "10.0.0.2"), database_url="postgresql://u:p@h/d", max_actions=12
    )
    told = {row.name: row.value for _, rows in shown(settings) for row in rows}
    assert told["TRUSTED_PROXIES"] == "10.0.0.1, 10.0.0.2"
    assert (told["DATABASE_URL"], told["OPENAI_API_KEY"]) == ("set", "not set")
    assert (told["MAX_ACTIONS"], told["WORKER_ENABLED"], told["SCHEDULER_JOB_INTERVAL"]) == ("12", "yes", "30")
