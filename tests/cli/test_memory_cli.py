"""`simfeed memory` from the terminal."""

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.db.engine import Database
from tests.world.test_memories import people


@pytest.fixture
async def world(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    await people(database, "luna", "max")
    monkeypatch.setenv("DATABASE_URL", url)
    return url


def call(*words: str) -> Any:
    return CliRunner().invoke(app, ["memory", *words], catch_exceptions=True)


async def answers(*words: str) -> Any:
    found = await asyncio.to_thread(call, *words, "--json")
    assert found.exit_code == 0, (found.output, found.exception)
    return json.loads(found.stdout)


async def test_give_list_search_forget(world: str) -> None:
    first = (await answers("give", "luna", "You grew up by the sea."))["id"]
    second = (await answers("give", "@luna", "You owe @max a tram ticket.", "--importance", "0.8"))["id"]
    assert [row["id"] for row in await answers("list", "luna")] == [second, first]
    found = await answers("search", "1", "tram")
    assert found[0]["id"] == second
    assert found[0]["score"] > found[1]["score"]
    assert await answers("forget", "luna", str(first)) == {"forgotten": [first]}
    assert await answers("forget", "luna", "--all", "--yes") == {"forgotten": [second]}
    assert await answers("list", "luna") == []


@pytest.mark.parametrize(
    "words",
    [
        ("list", "nobody"),
        ("give", "luna", ""),
        ("give", "luna", "x" * 501),
        ("forget", "luna"),
        ("forget", "luna", "9"),
    ],
)
async def test_what_makes_no_sense_is_refused(world: str, words: tuple[str, ...]) -> None:
    found = await asyncio.to_thread(call, *words)
    assert found.exit_code != 0
    assert type(found.exception).__name__ in ("NotFound", "Invalid")
