"""Turns are found by what happened in them, a bounded number at a time, and read back as they were."""

from datetime import UTC, datetime, timedelta

import pytest

from app.db.engine import Database
from app.ledger import figures, traces
from app.ledger.traces import Wanted
from app.world.text import INT64_MAX
from tests.conftest import run_sql

TURNS = 300
MANY = f"""
INSERT INTO personas (username, description) SELECT 'p' || n, 'x' FROM generate_series(1, 100) n;
INSERT INTO runs (venue, slot, seed, state, turns_total, started_at, ended_at)
    SELECT 'feed', 's' || n, n, 'completed', 100, now(), now() FROM generate_series(1, 3) n;
INSERT INTO turns (run_id, persona_id, ordinal, state, reason, started_at, ended_at)
    SELECT 1 + n / 100, 1 + n % 100, 1 + n % 100, CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'done' END,
           CASE WHEN n % 50 = 0 THEN 'timeout' ELSE 'end_turn' END, now(), now()
    FROM generate_series(0, {TURNS - 1}) n ORDER BY n;
INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256, reply,
                   response, prompt_tokens, completion_tokens, cost_usd)
    SELECT t.id, s, CASE WHEN t.state = 'failed' AND s = 1 THEN 'timeout' ELSE 'ok' END, 'm', 'm', '{{}}',
           convert_to('[{{"role":"user","content":"turn ' || t.id || ' says \\"hi\\""}}]', 'UTF8'), '\\x00', '\\x00',
           convert_to('{{"role":"assistant","content":"Ärger ' || t.id || '"}}', 'UTF8'), '\\xff', 10, 1,
           CASE WHEN t.id = 7 THEN NULL ELSE t.id / 1000.0 END
    FROM turns t, generate_series(0, 1) s;
INSERT INTO actions (turn_id, step, ordinal, call_id, name, arguments, outcome)
    SELECT id, 0, 0, 'c', CASE WHEN id % 10 = 0 THEN 'fly' ELSE 'walk' END, '{{}}', 'read' FROM turns;
ANALYZE;
"""


@pytest.fixture
async def world(database: Database, url: str) -> Database:
    await run_sql(url, MANY)
    return database


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), list(range(300, 260, -1))),
        (Wanted(run=1), list(range(100, 60, -1))),
        (Wanted(persona=7), [207, 107, 7]),
        (Wanted(run=2, persona=7), [107]),
        (Wanted(run=9), []),
        (Wanted(state="failed"), [251, 201, 151, 101, 51, 1]),
        (Wanted(status="timeout", run=1), [51, 1]),
        (Wanted(action="fly", persona=10), [210, 110, 10]),
        (Wanted(text="TURN 299 says"), [299]),
        (Wanted(text='says "hi"', persona=3), [203, 103, 3]),
        (Wanted(text="ärger 12"), [129, 128, 127, 126, 125, 124, 123, 122, 121, 120, 12]),
        (Wanted(cost=0.598), [300]),
    ],
)
async def test_what_is_wanted_is_found(world: Database, wanted: Wanted, expected: list[int]) -> None:
    found = await traces.search(world, wanted, limit=40)
    assert [row["id"] for row in found.rows] == expected
    assert (found.before is None) == (len(expected) < 40)


async def test_pages_show_every_turn_once(world: Database) -> None:
    seen: list[int] = []
    before = INT64_MAX
    while True:
        found = await traces.search(world, Wanted(), limit=70, before=before)
        seen += [row["id"] for row in found.rows]
        if found.before is None:
            break
        before = found.before
    assert seen == list(range(TURNS, 0, -1))
    assert found.rows[0]["done"]


async def test_a_search_looks_only_so_far(world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "FAR", 100)
    found = await traces.search(world, Wanted(text="turn 150 "), limit=40)
    assert (found.rows, found.before, found.looked_at) == ([], 201, 100)
    assert found.since is not None
    found = await traces.search(world, Wanted(text="turn 150 "), limit=40, before=201)
    assert [row["id"] for row in found.rows] == [150]


async def test_an_unknown_price_is_no_price(world: Database) -> None:
    (row,) = (await traces.search(world, Wanted(run=1, persona=7), limit=1)).rows
    assert (row["cost_usd"], row["unpriced"], row["tokens"], row["calls"]) == (0, 2, 22, 2)


async def test_a_turn_is_read_whole(world: Database) -> None:
    assert await traces.read(world, 999) is None
    found = await traces.read(world, 107)
    assert found is not None
    near = ("before_in_run", "after_in_run", "before_of_persona", "after_of_persona")
    assert [found.turn[name] for name in near] == [106, 108, 7, 207]
    assert [step.number for step in found.steps] == [0, 1]
    assert len(found.steps[1].messages) == 3
    assert (found.tokens, found.unpriced) == (22, 0)
    assert found.steps[0].response == "\ufffd"
    for turn, before, after in ((101, None, 102), (100, 99, None), (300, 299, None)):
        found = await traces.read(world, turn)
        assert found is not None
        assert (found.turn["before_in_run"], found.turn["after_in_run"]) == (before, after)


async def test_figures_of_runs_that_are_over_are_counted_once(world: Database, url: str) -> None:
    runs = await figures.runs(world, before=INT64_MAX, limit=10)
    kept = figures.Kept()
    first = await kept.of(world, runs)
    assert first[1].states == {"done": 98, "failed": 2}
    assert (first[1].lost, first[1].ended, first[1].open, first[1].calls, first[1].unpriced) == (2, 100, 0, 200, 2)
    await run_sql(url, "UPDATE turns SET state = 'done'")
    assert (await kept.of(world, runs))[1] == first[1]
    await run_sql(url, "UPDATE runs SET state = 'running', ended_at = NULL WHERE id = 1")
    again = await kept.of(world, await figures.runs(world, before=2, limit=1))
    assert again[1].states == {"done": 100}


async def test_a_list_counts_only_so_much(world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "COUNTED_MAX", 250)
    monkeypatch.setattr(figures, "SUMMED_MAX", 150)
    runs = await figures.runs(world, before=INT64_MAX, limit=10)
    found = await figures.Kept().of(world, runs)
    assert set(found) == {3, 2}
    assert found[3].tokens == 2200
    assert found[2].tokens is None
    whole, ended = await figures.now(world, 1)
    assert (whole.tokens, ended) == (2200, 100)


async def test_an_hour_that_is_over_is_summed_once(world: Database, url: str) -> None:
    now = datetime.now(UTC).replace(hour=12, minute=30)
    await run_sql(
        url,
        f"UPDATE calls SET created_at = '{(now - timedelta(hours=2)).isoformat()}'",
        f"UPDATE calls SET created_at = '{now.isoformat()}' WHERE turn_id <= 100",
        f"UPDATE calls SET created_at = '{(now - timedelta(days=1)).isoformat()}' WHERE turn_id > 200",
    )
    day = figures.Day()
    assert (await day.spent(world, now)).calls == 400
    await run_sql(url, "UPDATE calls SET prompt_tokens = 20")
    again = await day.spent(world, now)
    assert (again.calls, again.tokens, again.unpriced) == (400, 200 * 11 + 200 * 21, 2)
    assert (await day.spent(world, now + timedelta(days=1))).calls == 0
