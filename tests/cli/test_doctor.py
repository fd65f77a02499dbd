"""`simfeed doctor --invariants` on what budgets have spent, through changes of the caps, and on the audit log."""

import json
from typing import Any

import pytest

from app.auth.admins import record
from app.db.engine import Database
from app.ledger.budget import BUDGETS, recount
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind
from tests.cli.test_cli import simfeed
from tests.venues.test_cycle import people

MANY = 10**9
RULE = "a budget has spent what its calls took"
CAPS = {"budget_day_tokens": MANY, "budget_persona_day_tokens": MANY, "budget_run_tokens": MANY}
TAKEN = "SELECT sum(prompt_tokens + completion_tokens) FROM calls"
SPENT = "SELECT spent_tokens FROM budgets WHERE scope = 'instance'"


async def cycle(database: Database, **caps: int) -> None:
    settings = load_settings(**caps)
    async with open_mind(settings, database) as mind:
        run_id = await open_cycle(mind, settings)
        assert run_id is not None
        assert await play_cycle(mind, settings, run_id) == "completed"


def told(url: str) -> dict[str, Any]:
    done = simfeed(url, "doctor", "--invariants", "--json")
    found: dict[str, Any] = {f["rule"]: f for f in json.loads(done.stdout)}[RULE]
    assert done.returncode == (found["violations"] > 0)
    return found


async def test_caps_that_come_and_go_are_no_drift(database: Database, url: str) -> None:
    await people(database, 4)
    await cycle(database, **CAPS)
    capped = await database.fetchval(TAKEN)
    assert await database.fetchval(SPENT) == capped > 0
    await cycle(database)
    assert await database.fetchval(SPENT) == capped < await database.fetchval(TAKEN)
    assert told(url)["violations"] == 0
    await cycle(database, budget_run_tokens=MANY)
    assert await database.fetchval(SPENT) > capped
    assert await recount(database) == []
    await cycle(database, **CAPS)
    assert await database.fetchval(SPENT) == await database.fetchval(TAKEN)
    assert await recount(database) == []


async def test_control_compared_with_all_calls_it_would_drift(database: Database) -> None:
    await people(database, 4)
    await cycle(database, **CAPS)
    await cycle(database)
    capped = "WHERE t.held_day IS NOT NULL AND t.epoch = 1"
    assert capped in BUDGETS["budget_drift"]
    drift = await database.fetch(BUDGETS["budget_drift"].replace(capped, "WHERE true"))
    assert {row["scope"] for row in drift} == {"instance", "persona"}


@pytest.mark.parametrize("less", [1, -1_000_000])
async def test_what_was_not_charged_or_charged_twice_is_seen(database: Database, url: str, less: int) -> None:
    """Also where calls without caps came in between."""
    await people(database, 2)
    await cycle(database, **CAPS)
    await cycle(database)
    await database.fetch("UPDATE budgets SET spent_tokens = spent_tokens - $1 WHERE scope <> 'persona'", less)
    found = told(url)
    assert (found["invariant"], found["violations"]) == ("I4", 2)
    assert sorted(example.partition(" of ")[0] for example in found["examples"]) == ["instance 0", "run 1"]


async def test_an_audit_log_that_was_tampered_with_is_seen(database: Database, url: str) -> None:
    async with database.connection() as connection:
        for n in range(3):
            await record(connection, None, "tried", str(n))

    def chain() -> tuple[int, list[str]]:
        findings = json.loads(simfeed(url, "doctor", "--invariants", "--json").stdout)
        found = next(f for f in findings if f["invariant"] == "audit")
        return found["violations"], found["examples"]

    assert chain() == (0, [])
    await database.fetch("ALTER TABLE audit DISABLE TRIGGER ALL")
    await database.fetch("UPDATE audit SET subject = 'another' WHERE id = 2")
    assert chain() == (1, ["entry 2"])
