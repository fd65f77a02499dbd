"""A session's life: killed and gone on with, recovered, paused, out of budget, forked, asked once, many at once."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from app.agent.turn import Mind
from app.db.engine import Database
from app.db.worlds import COPIED
from app.errors import Conflict, NotFound
from app.settings import load_settings
from app.venues.run import open_mind, resume_run, settle_run, stop_run
from app.venues.session import results
from app.venues.session.stage import SessionStage, play
from app.world import sessions
from app.world.rewind import rewind
from tests.conftest import a_mind
from tests.session_stand import Watched, a_dialogue, a_group, began, plain, played, said
from tests.venues.test_cycle import people
from tests.venues.test_replay import lived

EXTRACT = {"fields": ["reason"], "summary": True}


def bill(asked: Path) -> list[str]:
    return asked.read_text().split() if asked.exists() else []


async def killed(url: str, number: int, asked: Path, chance: random.Random) -> int:
    """Play a session in processes that are killed behind some requests each, until its end; how many were."""
    for kills in range(200):
        most = len(bill(asked)) + chance.randint(5, 15)
        command = [sys.executable, "-m", "tests.session_worker", url, str(number), str(asked)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        while process.returncode is None and len(bill(asked)) < most:
            await asyncio.sleep(0.005)
        if process.returncode is not None:
            assert process.returncode == 0
            return kills
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    raise AssertionError("it never came to its end")


async def test_a_killed_session_goes_on_and_asks_nothing_twice(url: str, database: Database, tmp_path: Path) -> None:
    """R: what a run that was killed again and again says is what one that was not says; each answer was paid once,
    but for those under way at a kill."""
    design = a_group(10, rounds=3, extraction_config=EXTRACT)
    async with a_mind(database) as mind:
        whole, _ = await played(mind, design)
    number = await began(database, design)
    kills = await killed(url, number, tmp_path / "asked", random.Random(7))
    assert kills >= 3
    assert plain(await said(database, number)) == plain(await said(database, whole))
    assert (await sessions.by_id(database, number))["state"] == "completed"
    asked = Counter(bill(tmp_path / "asked"))
    calls = await database.fetchval(
        "SELECT count(*) FROM session_asks a JOIN calls c USING (turn_id) WHERE a.session_id = $1", number
    )
    assert len(asked) == calls == 41
    assert sum(asked.values()) - calls <= kills * 4


async def test_a_checkpoint_restores_all_of_the_state(mind: Mind) -> None:
    number, _ = await played(mind, a_group(6, rounds=3, extraction_config=EXTRACT))
    database = mind.database
    row = await sessions.by_id(database, number)
    points = await database.fetch(sessions.SESSIONS["checkpoints"], number)
    assert [point["name"] for point in points] == ["round-1", "round-2", "round-3"]
    for point in points:
        key = await results.recover(database, load_settings(), row, point["name"])
        made = await sessions.found(database, key)
        restored = await said(database, made["id"])
        assert sessions.state_sha256(restored) == point["sha256"]
        await play(mind, load_settings(), made["id"])
        assert plain(await said(database, made["id"])) == plain(await said(database, number))
    with pytest.raises(NotFound, match="round-1, round-2, round-3"):
        await results.recover(database, load_settings(), row, "round-9")


async def test_control_the_hash_sees_a_changed_word(mind: Mind) -> None:
    number, _ = await played(mind, a_group(2))
    before = sessions.state_sha256(await said(mind.database, number))
    await mind.database.fetchval(
        "UPDATE session_lines SET body = body || '.' WHERE session_id = $1 AND number = 3", number
    )
    assert sessions.state_sha256(await said(mind.database, number)) != before


async def test_a_dialogue_is_stepped_paused_and_cancelled(mind: Mind) -> None:
    database, settings = mind.database, load_settings()
    number = await began(database, a_dialogue(), waits=True)
    assert await play(mind, settings, number) == "paused"
    assert await said(database, number) == []
    for lines in (1, 2, 3):
        await sessions.go_on(database, number, steps=1)
        assert await play(mind, settings, number) == "paused"
        assert len(await said(database, number)) == lines
    await sessions.cancel(database, number)
    row = await sessions.by_id(database, number)
    assert results.status_of(row) == "cancelled"
    for deed in (sessions.cancel, sessions.pause, sessions.go_on):
        with pytest.raises(Conflict):
            await deed(database, number)
    whole, _ = await played(mind, a_dialogue())
    stepped = plain(await said(database, number))
    assert stepped == plain(await said(database, whole))[: len(stepped)]


async def test_a_session_out_of_budget_stands_still_and_goes_on(url: str, database: Database) -> None:
    settings = load_settings(database_url=url, max_concurrent_turns=1)
    async with open_mind(settings, database) as mind:
        design = a_group(6, "survey", terms={"seed": 7, "budget_tokens": 3_000})
        number = await began(database, design, settings)
        assert await play(mind, settings, number) == "budget_exhausted"
        asked = len(await said(database, number))
        assert 1 < asked < 7
        await database.fetchval(
            "UPDATE runs SET settings = settings || '{\"budget_tokens\": 100000}' FROM sessions s "
            "WHERE s.run_id = runs.id AND s.id = $1",
            number,
        )
        await sessions.go_on(database, number)
        assert await play(mind, settings, number) == "completed"
        whole, _ = await played(mind, a_group(6, "survey"), settings)
        assert plain(await said(database, number)) == plain(await said(database, whole))


async def test_twenty_at_once_don_t_touch_each_other(database: Database) -> None:
    model = Watched()
    settings = load_settings(max_concurrent_turns=16)
    topics = [f"The marvellous object number {n}x" for n in range(20)]
    async with a_mind(database, model) as mind:
        numbers = [
            await began(database, a_group(4, rounds=2, stimulus={"content": topic}, terms={"seed": n}))
            for n, topic in enumerate(topics)
        ]
        async with SessionStage(mind, settings):
            async with asyncio.timeout(120):
                while await database.fetchval("SELECT count(*) FROM sessions WHERE ended_at IS NULL"):
                    await asyncio.sleep(0.05)
    alone = Watched()
    async with a_mind(database, alone) as mind:
        again, _ = await played(mind, a_group(4, rounds=2, stimulus={"content": topics[3]}, terms={"seed": 3}))
    assert plain(await said(database, again)) == plain(await said(database, numbers[3]))
    for text in model.texts():
        assert sum(topic in text for topic in topics) == 1


async def test_the_same_is_asked_once_within_a_session_and_a_named_cache(url: str, database: Database) -> None:
    settings = load_settings(database_url=url)
    async with open_mind(settings, database) as mind:
        spent = []
        for cache in (None, None, "cups", "cups"):
            design = a_group(4, rounds=1, session_config={"cache_file": cache} if cache else {})
            number, _ = await played(mind, design, settings)
            spent.append(await database.fetchrow(sessions.SESSIONS["spent"], number))
    assert [row["reused"] for row in spent] == [0, 0, 0, 4]  # type: ignore[index]
    assert spent[3]["prompt_tokens"] == 0 < spent[2]["prompt_tokens"]  # type: ignore[index]


@pytest.mark.parametrize(("cache", "asked"), [(True, 1), (False, 5)])
async def test_one_request_of_a_session_is_answered_from_its_ledger(
    database: Database, cache: bool, asked: int
) -> None:
    """Five of the same name and nature ask the same: one answer does for all. Control: nothing is kept."""
    model = Watched()
    same = [{"name": f"Sam {n}", "description": "Likes tea."} for n in range(5)]
    terms = {"seed": 7, "cache": cache}
    async with a_mind(database, model) as mind:
        number = await began(
            database, a_group(kind="survey", participants={"mode": "custom", "specifications": same}, terms=terms)
        )
        await database.fetchval("UPDATE session_members SET name = 'Sam' WHERE session_id = $1 AND number > 0", number)
        await play(mind, load_settings(), number)
    spent = await database.fetchrow(sessions.SESSIONS["spent"], number)
    assert spent is not None
    assert (len(model.asked), spent["calls"], spent["reused"]) == (asked, 5, 5 - asked)


async def test_personas_of_the_world_remember_a_session_only_where_asked(mind: Mind) -> None:
    database = mind.database
    await people(database, 3)
    of_the_world = {"mode": "from_population", "specifications": {"world": True}}
    await played(mind, a_group(participants=of_the_world))
    assert await database.fetchval("SELECT count(*) FROM memories") == 0
    await played(mind, a_group(participants=of_the_world, terms={"remember": True}))
    rows = await database.fetch("SELECT body, turn_id, object_kind FROM memories")
    assert len(rows) == 3
    assert all("focus group" in row["body"] and row["turn_id"] and row["object_kind"] == "session" for row in rows)
    model = Watched()
    async with a_mind(database, model) as again:
        await played(again, a_group(participants=of_the_world, terms={"recall": True}))
    assert all("You took part in a focus group" in text for text in model.texts())


async def test_a_rewind_leaves_sessions_as_they_are(database: Database) -> None:
    await people(database, 4)
    runs = await lived(database, None, 2)
    async with a_mind(database) as mind:
        number, _ = await played(mind, a_group(3))
    before = plain(await said(database, number))
    async with database.connection() as connection:
        await rewind(connection, runs[-1])
    assert plain(await said(database, number)) == before


def test_all_of_a_session_travels_with_its_world() -> None:
    tables = {"sessions", "session_members", "session_asks", "session_lines", "session_checkpoints"}
    assert tables <= set(COPIED)
    order = list(COPIED)
    assert order.index("session_asks") < order.index("turns") < order.index("runs")


async def test_what_a_persona_may_spend_a_day_ends_its_part_and_not_the_session(url: str, database: Database) -> None:
    settings = load_settings(database_url=url, budget_persona_day_tokens=1_200)
    async with open_mind(settings, database) as mind:
        number, state = await played(mind, a_group(3, rounds=3), settings)
    assert state == "partial"
    assert {line.missing for line in await said(database, number)} == {None, "budget"}


async def test_a_session_s_run_is_neither_settled_nor_resumed_behind_its_back(mind: Mind) -> None:
    database = mind.database
    number = await began(database, a_dialogue(), steps=3)
    await play(mind, load_settings(), number)
    run_id = (await sessions.by_id(database, number))["run_id"]
    await database.fetchval("UPDATE runs SET state = 'running' WHERE id = $1", run_id)
    await settle_run(database, run_id)
    assert (await sessions.by_id(database, number))["state"] == "running"
    await stop_run(database, run_id)
    with pytest.raises(Conflict):
        await resume_run(database, run_id, terms={})
    await sessions.go_on(database, number)
    assert await play(mind, load_settings(), number) == "completed"
