"""Sessions as Python calls: the same as over HTTP, without a server."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

import app
from app.agent.turn import Mind
from app.db.engine import Database
from app.errors import Conflict, Invalid, NotFound
from app.settings import load_settings
from app.venues.session import calls
from tests.session_stand import CUP, DEMOGRAPHICS

REQUEST: dict[str, Any] = {
    "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": 3},
    "simulation_config": {"environment_type": "focus_group", "rounds": 2},
    "stimulus": CUP,
    "terms": {"seed": 7},
}
TALK: dict[str, Any] = {
    "bots": [{"name": "Geo"}, {"name": "Mara"}],
    "seed_message": {"from": "Host", "message": "Rare earths?"},
    "stop": {"turns": 4},
}


def said(block: dict[str, Any]) -> list[tuple[str, str]]:
    return [(line["by"], line["text"]) for line in block["simulation_results"]["interactions"]]


async def test_a_session_from_its_beginning_to_its_end(mind: Mind, database: Database) -> None:
    settings = load_settings()
    told: list[int] = []
    block = await calls.simulate(mind, settings, REQUEST, told=lambda lines: told.extend(line.number for line in lines))
    assert (block["status"], block["participants"]["successful"], len(said(block))) == ("completed", 3, 6)
    assert told == list(range(1, len(told) + 1))
    key = block["session_id"]
    await calls.checkpoint(database, key, "mine")
    with pytest.raises(Conflict):
        await calls.checkpoint(database, key, "mine")
    with pytest.raises(NotFound):
        await calls.recover(database, settings, key, "no such")
    again = await calls.recover(database, settings, key, block["metadata"]["checkpoints"][0])
    assert said(await calls.go_on(mind, settings, again)) == said(block)
    found = await calls.extract(mind, settings, key, {"fields": ["opinion"]}, terms={"seed": 1})
    assert len(found["extracted_results"]["individual_results"]) == 3
    with pytest.raises(Invalid):
        await calls.extract(mind, settings, key, {"fields": []})


async def test_a_session_that_waits_is_gone_on_with_or_ended(mind: Mind, database: Database) -> None:
    settings = load_settings()
    first, other = [await calls.begin_session(database, settings, REQUEST, waits=True) for _ in range(2)]
    assert (await calls.go_on(mind, settings, first))["status"] == "completed"
    assert (await calls.end_session(database, other))["status"] == "cancelled"
    assert (await calls.end_session(database, first))["status"] == "completed"
    with pytest.raises(NotFound):
        await calls.end_session(database, "aaaaaaaaaaaa")


async def test_a_dialogue_tells_its_analytics(mind: Mind) -> None:
    block = await calls.dialogue(mind, load_settings(), TALK)
    assert [row["Bot"] for row in block["analytics"]] == ["Geo", "Mara"]
    assert sum(row["Turns"] for row in block["analytics"]) == len(said(block)) == 4


async def test_faults_are_pointed_at(mind: Mind) -> None:
    with pytest.raises(Invalid) as caught:
        await calls.simulate(mind, load_settings(), {**REQUEST, "stimulus": None})
    assert [error.pointer for error in caught.value.errors] == ["/stimulus"]


async def test_people_move_into_the_world_all_or_none(database: Database) -> None:
    alone = await calls.generate_population(DEMOGRAPHICS, size=5, seed=1)
    assert alone == await calls.generate_population(DEMOGRAPHICS, size=5, seed=1)
    assert len(alone["personas"]) == 5
    moved = await calls.generate_population(DEMOGRAPHICS, size=5, seed=1, into_world=database)
    assert moved == alone
    others = await calls.generate_population(DEMOGRAPHICS, size=5, seed=1, into_world=database)
    names = [one["username"] for one in [*moved["personas"], *others["personas"]]]
    assert len(set(names)) == 10
    assert await database.fetchval("SELECT count(*) FROM personas") == 10


def test_three_lines_of_python(url: str) -> None:
    block = app.simulate(REQUEST, database_url=url)
    assert (block["status"], len(said(block))) == ("completed", 6)
    assert app.dialogue(TALK, database_url=url)["status"] == "completed"
    assert len(app.generate_population(DEMOGRAPHICS, size=4, seed=2)["personas"]) == 4


async def test_three_lines_in_a_notebook(url: str) -> None:
    """Where a loop runs already."""
    assert asyncio.get_running_loop().is_running()
    assert app.simulate(REQUEST, database_url=url)["status"] == "completed"


def test_who_does_not_call_does_not_wait() -> None:
    """Nothing is loaded before a call is asked for; and there are no others."""
    found = subprocess.run(
        [sys.executable, "-c", "import app, sys; print([m for m in sys.modules if m.startswith('app.')]); app.simulate;"
         " print('app.venues.session.offhand' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.splitlines() == ["[]", "True"]
    with pytest.raises(AttributeError):
        _ = app.no_such_call
