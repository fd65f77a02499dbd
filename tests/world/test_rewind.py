"""Taking runs back: the world is as it was, row for row, whatever was undone in them."""

from typing import Any

import pytest

from app.analysis.state import Terms, state
from app.db.engine import Database
from app.errors import NotFound
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.world.rewind import rewind
from tests.conftest import a_mind
from tests.ledger.test_commit import drifted
from tests.mischief import Mischief
from tests.venues.test_cycle import people

SETTINGS = load_settings(memory="off", reactions="all")
NEW = {"quote", "reply", "like_comment", "unlike_comment", "block", "react"}

NETWORK = Terms(part="network", times="all", without=frozenset({"personas.status"}))


async def hashed(database: Database) -> dict[str, str]:
    """The hash of each table."""
    async with database.connection() as connection:
        return {one.table: f"{one.rows} {one.sha256}" for one in (await state(connection, NETWORK)).tables}


async def cycles(database: Database, number: int, model: Any) -> dict[int, dict[str, str]]:
    """So many cycles; the state before each, by its number."""
    found: dict[int, dict[str, str]] = {}
    async with a_mind(database, model) as mind:
        for n in range(number):
            run_id = await open_cycle(mind, SETTINGS, seed=n)
            assert run_id is not None
            found[run_id] = await hashed(database)
            assert await play_cycle(mind, SETTINGS, run_id) == "completed"
    return found


async def back(database: Database, run_id: int) -> None:
    async with database.connection() as connection:
        await rewind(connection, run_id)


@pytest.mark.parametrize("model", [None, Mischief(0.01)], ids=["offline", "mischief"])
async def test_each_run_taken_back_leaves_the_world_before_it(database: Database, model: Any) -> None:
    await people(database, 12)
    states = await cycles(database, 12 if model is None else 24, model)
    undone = await database.fetchval("SELECT count(*) FROM actions WHERE outcome = 'made' AND effect LIKE 'un%'")
    assert model is None or undone >= 3
    did = {row[0] for row in await database.fetch("SELECT DISTINCT effect FROM actions WHERE outcome = 'made'")}
    assert model is None or did >= NEW
    replaced = await database.fetchval("SELECT count(*) FROM actions WHERE effect = 'react' AND before IS NOT NULL")
    assert model is None or replaced >= 3
    assert len({str(one) for one in states.values()}) == len(states)
    for run_id in sorted(states, reverse=True):
        await back(database, run_id)
        assert await hashed(database) == states[run_id], f"run {run_id}"
        assert await drifted(database) == {"post_counts": 0, "personas": 0}
        assert [
            row["state"] for row in await database.fetch("SELECT DISTINCT state FROM turns WHERE run_id = $1", run_id)
        ] == ["queued"]
    assert await database.fetchval("SELECT count(*) FROM calls") == 0


async def test_no_such_run(database: Database) -> None:
    with pytest.raises(NotFound):
        await back(database, 7)
