"""An admin at a desk: a client that is signed in on the pages, and worlds whose turns can be looked at."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest

from app.db.engine import Database
from app.settings import Settings
from app.venues.estimate import keep_estimate
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind
from app.world import personas
from tests.conftest import PASSWORD, serving, settings_for, sign_up
from tests.web.test_page import BROWSER

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Page(HTMLParser):
    """A page's elements as (tag, attributes), and all its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and all(a.get(k.strip("_")) == v for k, v in wanted.items())]

    @property
    def links(self) -> list[str]:
        return [a["href"] for a in self.all("a") if "href" in a]

    @property
    def ids(self) -> set[str]:
        return {a["id"] for _, a in self.elements if "id" in a}

    def is_sound(self) -> bool:
        """No handler, no inline style, no script but ours, no id twice."""
        ids = [a["id"] for _, a in self.elements if "id" in a]
        inline = any(name.startswith("on") or name == "style" for _, a in self.elements for name in a)
        ours = all(a.get("src", "").startswith("/static/") for a in self.all("script"))
        return not inline and ours and len(ids) == len(set(ids)) and not any(t == "style" for t, _ in self.elements)


@asynccontextmanager
async def at_desk(url: str, **more: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that asks for pages, signed in as an admin."""
    async with serving(settings_for(url, **more)) as client:
        await sign_up(client)
        client.headers.update(BROWSER)
        answer = await client.post("/admin/login", data={"username": "ada", "password": PASSWORD})
        assert answer.status_code == 303
        yield client


async def look(client: httpx2.AsyncClient, address: str, status: int = 200) -> Page:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text[:2000]
    page = Page(answer.text)
    assert page.is_sound()
    return page


async def csrf(client: httpx2.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await client.get("/admin/traces")).text)
    assert found is not None
    return found[1]


async def played(database: Database, url: str, *, people: int = 3, cycles: int = 1, **more: Any) -> list[int]:
    """So many cycles of the offline model among as many personas; their runs."""
    settings = settings_for(url, **more)
    specs = [
        personas.PersonaSpec.model_validate({"username": f"person_{n}", "persona": f"Number {n}, who likes herring."})
        for n in range(1, people + 1)
    ]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    return [await _cycle(database, settings, seed) for seed in range(cycles)]


async def _cycle(database: Database, settings: Settings, seed: int) -> int:
    with pytest.MonkeyPatch.context() as patched:  # what the offline model does hangs on the minute
        patched.setattr("app.venues.feed.now", lambda: NOON)
        return await _play(database, settings, seed)


async def _play(database: Database, settings: Settings, seed: int) -> int:
    async with open_mind(settings, database) as mind:
        run_id = await open_cycle(mind, settings, seed=seed)
        assert run_id is not None
        await keep_estimate(database, settings, run_id, settings.simfeed_model)
        await play_cycle(mind, settings, run_id)
        return run_id
