"""`simfeed costs`: what was spent, told apart five ways, adds up to the same each time."""

import csv
import io
import json
from datetime import date
from typing import Any, get_args

import pytest
import typer
from typer.testing import CliRunner

from app.cli.costs import COLUMNS, What, costs
from app.db.engine import Database
from app.ledger.costs import By
from app.ledger.costs import costs as read
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind
from tests.venues.test_cycle import people


@pytest.fixture
async def spent(database: Database) -> Database:
    """A cycle whose first call cost a dollar, whose second has no known price, and whose first day is another."""
    await people(database, 3)
    settings = load_settings()
    async with open_mind(settings, database) as mind:
        run_id = await open_cycle(mind, settings)
        assert run_id is not None
        await play_cycle(mind, settings, run_id)
    one = "WHERE (turn_id, step) = (SELECT turn_id, step FROM calls ORDER BY turn_id, step LIMIT 1 OFFSET $1)"
    dear = f"UPDATE calls SET cost_usd = 1, model = '=dear', created_at = '2026-01-02 23:59Z' {one}"
    await database.fetch(dear, 0)
    await database.fetch(f"UPDATE calls SET cost_usd = NULL {one}", 1)
    return database


async def found(database: Database, by: By, **days: date) -> list[Any]:
    async with database.connection() as connection:
        return await read(connection, by, **days)


async def test_each_way_adds_up_to_the_same(spent: Database) -> None:
    whole = await spent.fetchrow("SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM calls")
    assert whole is not None
    assert set(get_args(By)) == {one.value for one in What}
    for by in get_args(By):
        rows = await found(spent, by)
        assert sum(one.calls for one in rows) == whole[0] > 2
        assert sum(one.prompt_tokens for one in rows) == whole[1]
        assert sum(one.completion_tokens for one in rows) == whole[2]
        assert sum(one.usd for one in rows) == pytest.approx(1.0)
        assert sum(one.unpriced for one in rows) == 1
        assert rows[0].usd == 1.0


async def test_days_are_whole_and_both_included(spent: Database) -> None:
    day = date(2026, 1, 2)
    assert [(one.key, one.calls) for one in await found(spent, "day", since=day, until=day)] == [("2026-01-02", 1)]
    assert await found(spent, "day", until=date(2026, 1, 1)) == []
    assert sum(one.usd for one in await found(spent, "run", since=date(2026, 1, 3))) == 0


def asked(monkeypatch: pytest.MonkeyPatch, url: str, *args: str) -> Any:
    monkeypatch.setenv("DATABASE_URL", url)
    room = typer.Typer()
    room.command()(costs)
    return CliRunner().invoke(room, list(args))


async def test_forms(spent: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    def ask(*args: str) -> Any:
        return asyncio.to_thread(asked, monkeypatch, url, *args)

    told = json.loads((await ask("--by", "model", "--json")).stdout)
    assert told[0] == {**told[0], "model": "=dear", "calls": 1, "usd": 1.0}
    rows = list(csv.reader(io.StringIO((await ask("--by", "model", "--csv")).stdout)))
    assert rows[0] == ["model", *COLUMNS]
    assert rows[1][0] == "'=dear"
    assert "1 calls whose price nobody knows" in (await ask("--by", "venue")).stderr
    for wrong in (("--json", "--csv"), ("--since", "2026-01-02", "--until", "2026-01-01")):
        assert (await ask(*wrong)).exit_code != 0
