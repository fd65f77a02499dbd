"""A golden transcript: one scripted cycle, one turn after the other, is the same to the letter.

After a wanted change: `GOLDEN=write bin/test tests/venues/test_golden.py`, and read the difference.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.actions import showing
from app.db.engine import Database
from app.settings import load_settings
from app.venues import feed as venue
from app.venues.feed import open_cycle, play_cycle
from app.world import personas
from app.world.personas import PersonaSpec
from tests.conftest import a_mind

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden_cycle.txt"
DID = """
SELECT p.username, a.name, a.arguments, a.outcome, a.object_id
FROM actions a JOIN turns t ON t.id = a.turn_id JOIN personas p ON p.id = t.persona_id
ORDER BY t.run_id, t.ordinal, a.step, a.ordinal
"""


async def transcript(database: Database, seed: int) -> str:
    specs = [PersonaSpec.model_validate(p) for p in json.loads((ROOT / "sql/seed/personas.json").read_text())]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    settings = load_settings(max_concurrent_turns=1)
    async with a_mind(database) as mind:
        run_id = await open_cycle(mind, settings, seed=seed)
        assert run_id is not None
        assert await play_cycle(mind, settings, run_id) == "completed"
    return "".join(
        f"@{row['username']} {row['name']} {row['arguments']} → {row['outcome']} {row['object_id'] or ''}".rstrip()
        + "\n"
        for row in await database.fetch(DID)
    )


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still."""
    monkeypatch.setattr(venue, "now", lambda: datetime(2026, 11, 21, 12, tzinfo=UTC))
    monkeypatch.setattr(showing, "ago", lambda _, __: "1m")


async def test_one_cycle_is_the_same_to_the_letter(database: Database) -> None:
    played = await transcript(database, seed=7)
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(played)
    assert played == GOLDEN.read_text()


async def test_another_seed_plays_another_cycle(database: Database) -> None:
    assert await transcript(database, seed=8) != GOLDEN.read_text()
