"""The offline model lives with quotes, replies, likes of comments, reactions and blocks, and never repeats itself."""

import json
from collections import Counter
from pathlib import Path

import pytest

from app.db.engine import Database
from app.ledger.invariants import check
from app.llm.scripted.grammar import sentences
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.world import personas
from app.world.personas import PersonaSpec
from tests.conftest import a_mind

ROOT = Path(__file__).parents[2]
CYCLES = 14


async def live(database: Database, cycles: int, **settings: object) -> list[int]:
    """The twelve live so many cycles; the runs."""
    specs = [PersonaSpec.model_validate(p) for p in json.loads((ROOT / "sql/seed/personas.json").read_text())]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    given = load_settings(max_concurrent_turns=4, **settings)
    runs = []
    async with a_mind(database) as mind:
        for seed in range(cycles):
            run_id = await open_cycle(mind, given, seed=seed)
            assert run_id is not None
            assert await play_cycle(mind, given, run_id) == "completed"
            runs.append(run_id)
    return runs


@pytest.mark.parametrize("reactions", ["off", "dislike", "all"])
async def test_the_twelve_live_as_in_a_network(database: Database, reactions: str) -> None:
    await live(database, CYCLES, reactions=reactions)
    rows = await database.fetch("SELECT name, outcome, count(*) AS n FROM actions GROUP BY 1, 2")
    did = Counter({(row["name"], row["outcome"]): row["n"] for row in rows})
    assert all(did[name, "made"] for name in ("quote_post", "reply_to_comment", "like_comment"))
    assert bool(did["dislike_post", "made"]) == (reactions == "dislike")
    assert bool(did["react_to_post", "made"]) == (reactions == "all")
    assert not any(outcome == "refused" for _, outcome in did), did
    quotes = await database.fetch("SELECT body FROM posts WHERE quote_of IS NOT NULL")
    said = Counter(
        sentence
        for row in await database.fetch("SELECT body FROM posts WHERE body <> '' UNION ALL SELECT body FROM comments")
        for sentence in sentences(row["body"])
        if len(sentence.split()) > 4
    )
    assert sum(times > 1 for times in said.values()) <= 1 + len(said) // 200, [o for o, n in said.items() if n > 1]
    assert len({row["body"] for row in quotes}) == len(quotes)
    async with database.connection() as connection:
        assert not [found for found in await check(connection) if found.violations]
