"""Memories compared by meaning: embeddings from an endpoint, pgvector, and words where either is missing."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from app.agent import memory
from app.agent.memory import Remembering
from app.db.engine import Database
from app.llm.embedding import embed
from app.settings import Settings, load_settings
from app.world import memories
from tests.conftest import free_port
from tests.world.test_memories import people

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def vector(text: str) -> list[float]:
    """A toy: how much of trams and of birds there is in a text."""
    return [float("tram" in text or "rail" in text), float("heron" in text or "bird" in text), 0.1]


class Endpoint:
    """An embedding model on the loopback."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Any = None
        self.status = 200

    async def __aenter__(self) -> Settings:
        async def answer(request: web.Request) -> web.Response:
            self.asked += 1
            given = await request.json()
            data = [{"index": n, "embedding": vector(text)} for n, text in enumerate(given["input"])]
            return web.json_response(self.answer or {"data": data[::-1]}, status=self.status)

        app = web.Application()
        app.router.add_post("/v1/embeddings", answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        url = f"http://127.0.0.1:{port}/v1"
        return load_settings(openai_base_url=url, openai_api_key="k", embedding_model="openai/toy")

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def a_world(database: Database) -> None:
    await people(database, "ann", "bob")
    for body in ("You saw a heron", "You missed a tram", "You ate soup"):
        await memories.give(database, 1, body, now=NOW, importance=0.5)
    await database.fetch("INSERT INTO posts (author_id, body) VALUES (2, 'The rail strike goes on')")


async def first(database: Database, settings: Settings) -> str:
    found = await memory.come_to_mind(database, Remembering.of(settings, {}), [1], now=NOW, run_id=1)
    return found[1].lines[0].partition(": ")[2]


async def test_what_means_the_same_comes_to_mind_without_a_word_in_common(database: Database) -> None:
    try:
        await database.fetch("CREATE EXTENSION vector")
    except asyncpg.PostgresError:
        pytest.skip("this server has no pgvector")
    await a_world(database)
    async with Endpoint() as settings:
        assert await memory.embed_new(database, settings, [1]) == 3
        assert await memory.embed_new(database, settings, [1]) == 0
        assert await first(database, settings) == "You missed a tram"
    assert await first(database, load_settings()) != "You missed a tram"  # by words: the newest of what is alike


async def test_without_the_extension_words_decide(database: Database) -> None:
    await a_world(database)
    endpoint = Endpoint()
    async with endpoint as settings:
        assert await memory.embed_new(database, settings, [1]) == 0
        assert await first(database, settings) == await first(database, load_settings())
    assert endpoint.asked == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"error": "no"},
        {"data": "x"},
    ],
)
async def test_an_answer_that_does_not_fit_gives_nothing(answer: Any) -> None:
    endpoint = Endpoint()
    endpoint.answer = answer
    async with endpoint as settings:
        assert await embed(settings, ["a", "b"]) == []


async def test_an_endpoint_that_is_away_gives_nothing() -> None:
    endpoint = Endpoint()
    endpoint.status = 503
    async with endpoint as settings:
        assert await embed(settings, ["a"]) == []
    assert await embed(settings, ["a"]) == []
    assert await embed(load_settings(embedding_model="nowhere"), ["a"]) == []
