"""Memory over a long life: under its cap after 500 cycles, old quarrels that come back, looking back by itself."""

import asyncio
import json
import re
import time
from datetime import timedelta
from typing import Any

import pytest

from app.actions.showing import tokens
from app.agent.memory import LINE_TOKENS, LOOK_BACK_TOKENS
from app.db.engine import Database
from app.llm.scripted import ScriptedModel
from app.settings import load_settings
from app.venues import reflection
from app.venues.run import TURNS
from app.world import memories
from tests.cli.test_cli import data, simfeed
from tests.conftest import serving, settings_for
from tests.venues.test_cycle import people
from tests.venues.test_remembering import FIRST, Playing, cycle, remembered

CYCLES, CAP, MOST = 500, 120, 40
THINGS = ("trams", "roses", "herring", "kettles", "sonnets", "glaciers", "violins", "cheese", "comets", "quilts")


class Living(Playing):
    """p0 posts, p1 quarrels with the newest post, p2 likes it: each cycle about something else."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.told = 0

    def lives(self, n: int, post: int | None) -> None:
        thing = f"{THINGS[n % 10]} and {THINGS[(n // 10) % 10]}"
        self.moves = {"p0": [("create_post", {"body": f"Day {n}: I like {thing} more than anything else here."})]}
        if post is not None:
            wrong = {"post_id": post, "body": f"@p0 nonsense, you are wrong about {thing}, again, for the {n}th time."}
            self.moves |= {"p1": [("comment_on_post", wrong)], "p2": [("like_post", {"post_id": post})]}

    def count(self) -> None:
        for prompt in self.asked:
            lines = remembered(prompt)
            took = sum(tokens(line) + LINE_TOKENS for line in lines)
            if "Your turn:" in prompt:
                self.told += len(lines)
                self.largest = max(self.largest, took)
            else:
                assert took <= LOOK_BACK_TOKENS  # looking back has a cap of its own
        self.asked.clear()


async def _recall_cpu(database: Database) -> float:
    """Milliseconds that the server's statement takes, the least of some."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await memories.recall(database, [1, 2, 3], now=FIRST + timedelta(days=30))
        took.append(1_000 * (time.perf_counter() - began))
    return min(took)


@pytest.mark.slow
async def test_memory_stays_under_its_caps_after_500_cycles(database: Database) -> None:
    settings = load_settings(memory_tokens=CAP, memory_most=MOST, memory_reflect=6.0, alarms="off")
    await people(database, 3)
    model, early = Living(), 0.0
    for n in range(CYCLES):
        model.lives(n, await database.fetchval("SELECT max(id) FROM posts"))
        await cycle(database, model, n=n, seed=n, settings=settings)
        model.count()
        if n == 40:
            early = await _recall_cpu(database)
        if n % 50 == 49:
            kept = await database.fetch(
                "SELECT count(*) AS n FROM memories WHERE folded_into IS NULL GROUP BY persona_id"
            )
            assert max(row["n"] for row in kept) <= MOST
    late = await _recall_cpu(database)
    print(f"recall of 3 personas: {early:.2f} ms after 40 cycles, {late:.2f} ms after {CYCLES}")  # noqa: T201 - told, not asserted
    assert await database.fetchval("SELECT count(*) FROM runs WHERE venue = 'feed'") == CYCLES
    assert CAP / 2 < model.largest <= CAP  # it is used, and never more of it
    assert model.told > CYCLES
    all_kept = await database.fetchval("SELECT count(*) FROM memories")
    assert all_kept <= 3 * MOST * 3  # what reflections hold goes with them


async def test_an_echo_names_the_turn_the_memory_and_how_long_ago(database: Database) -> None:
    await people(database, 3)
    model = Living()
    for n in range(13):
        model.lives(n if n < 2 else 0, await database.fetchval("SELECT max(id) FROM posts") if n == 1 else None)
        if n > 1:
            model.moves = {}
        await cycle(database, model, n=n, seed=n)
    model.moves = {"p0": [("create_post", {"body": "@p1, you and roses: I have not forgotten."})]}
    await cycle(database, model, n=13, seed=13)
    (found,) = await memories.echoes(database, 1, cycles=10, limit=5, quarrels=True)
    assert (found["username"], found["about"], found["cycles"]) == ("p0", "p1", 12)
    assert found["said"] == "@p1, you and roses: I have not forgotten."
    assert found["memory"].startswith("@p1 disagreed with you about your post")
    shown = await database.fetchval(
        "SELECT items FROM exposures WHERE turn_id = $1 AND kind = 'memory'", found["turn_id"]
    )
    assert found["memory_id"] in shown
    assert await memories.echoes(database, None, cycles=13, limit=5, quarrels=True) == []  # not so long ago
    assert await memories.echoes(database, 3, cycles=0, limit=5) == []


@pytest.mark.slow
async def test_the_show_of_the_docs_has_an_old_quarrel_come_back(url: str) -> None:
    """docs/memory.md, by its own commands."""
    env = {"MEMORY_REFLECT": "0", "MEMORY_TOKENS": "400"}
    assert data(simfeed(url, "personas", "import", "sql/seed/personas.json", "--json"))["imported"] == 12
    words = "run --seed 7 --cycles 48 --clock simulated --start 2026-11-20T08:00 --rounds --json"
    data(simfeed(url, *words.split(), **env))
    found = data(simfeed(url, "memory", "echoes", "--quarrels", "--cycles", "10", "--json"))
    assert found
    best = found[0]
    assert best["cycles"] >= 10
    assert re.search("I have not forgotten|over again|had this out|: I remember", best["said"])
    (step, *_) = data(simfeed(url, "trace", "--turn", str(best["turn_id"]), "--json"))["steps"]
    (shown,) = [one for one in step["exposures"] if one["kind"] == "memory"]
    assert best["memory_id"] in shown["shown"]
    assert "remembered by recall v1, best first" in simfeed(url, "trace", "--turn", str(best["turn_id"])).stdout


async def _until(database: Database, query: str) -> None:
    async with asyncio.timeout(60):
        while not await database.fetchval(query):
            await asyncio.sleep(0.1)


async def test_the_servers_cycles_are_looked_back_on(database: Database, url: str) -> None:
    """The scheduler begins cycles, the server's crew plays them and the reflections behind them."""
    await people(database, 4)
    for n in range(4):
        await cycle(database, ScriptedModel(), n=n, seed=n, settings=load_settings(memory_reflect=0.0))
    settings = settings_for(
        url, scheduler_enabled=True, worker_enabled=True, scheduler_job_interval=0.05, memory_reflect=1.0
    )
    async with serving(settings):
        await _until(database, "SELECT count(*) > 0 FROM memories WHERE kind = 'reflection'")
    slots = await database.fetch("SELECT slot, settings FROM runs WHERE venue = 'reflection'")
    behind = await database.fetchval("SELECT slot FROM runs WHERE id = $1", json.loads(slots[0]["settings"])["of"])
    assert behind.startswith("feed/")
    assert "by-hand" not in behind


async def test_a_reflection_that_its_process_left_open_is_played_behind_the_next_cycle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(memory_reflect=1.0)
    await people(database, 4)

    async def nothing(*_: Any) -> None:
        pass

    with monkeypatch.context() as broken:
        broken.setattr(reflection, "play_behind", nothing)
        n = 0
        while not await database.fetchval("SELECT count(*) FROM runs WHERE venue = 'reflection'"):
            await cycle(database, ScriptedModel(), n=n, seed=n, settings=settings)
            n += 1
    left = await database.fetchval("SELECT id FROM runs WHERE venue = 'reflection'")
    assert await database.fetchval(TURNS["run_state"], left) == "running"
    await cycle(database, ScriptedModel(), n=n, seed=n, settings=load_settings(memory_reflect=0.0))
    assert await database.fetchval(TURNS["run_state"], left) == "completed"
    assert await database.fetchval("SELECT count(*) FROM memories WHERE kind = 'reflection'") > 0


async def test_who_was_not_asked_to_look_back_as_the_process_died_is_asked_behind_the_next_cycle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(memory_reflect=1.0)
    await people(database, 4)

    async def dies(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(reflection, "open_after", dies)
        for n in range(4):
            await cycle(database, ScriptedModel(), n=n, seed=n, settings=settings)
    assert await database.fetchval("SELECT count(*) FROM memories") > 0
    assert await database.fetchval("SELECT count(*) FROM runs WHERE venue = 'reflection'") == 0
    await cycle(database, ScriptedModel(), n=4, seed=4, settings=settings)
    assert await database.fetchval("SELECT count(*) FROM memories WHERE kind = 'reflection'") > 0
