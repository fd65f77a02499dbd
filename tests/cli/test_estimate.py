"""The estimate before a run: from this world's own turns, or from defaults that say so."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli.estimate import estimate as command
from app.db.engine import Database
from app.settings import Settings, load_settings
from app.venues.estimate import compared, estimate_run

app = typer.Typer()
app.command()(command)


@pytest.fixture
def settings() -> Settings:
    return load_settings()


async def people(database: Database, *activity: float, model: str | None = None) -> None:
    await database.fetchval(
        "INSERT INTO personas (username, description, activity, model)"
        " SELECT 'p' || n || coalesce($2, ''), 'x', a, $2 FROM unnest($1::float8[]) WITH ORDINALITY AS p (a, n)",
        list(activity),
        model,
    )


async def history(database: Database, model: str, *, runs: int = 1, calls: int = 4, prompt: int = 2000) -> None:
    """Runs of one turn with so many calls each, in which half of the prompt came from the cache."""
    await database.fetchval(
        "INSERT INTO runs (venue, slot, seed, state, ended_at)"
        " SELECT 'feed', gen_random_uuid()::text, 1, 'completed', now() FROM generate_series(1, $1::int)",
        runs,
    )
    await database.fetchval(
        "INSERT INTO turns (run_id, persona_id, ordinal, state, started_at, ended_at)"
        " SELECT r.id, 1, 0, 'done', now() - interval '8 seconds', now() FROM runs r"
        " WHERE NOT EXISTS (SELECT FROM turns t WHERE t.run_id = r.id)"
    )
    await database.fetchval(
        "INSERT INTO calls (turn_id, step, status, model, model_returned, options, told, tools_sha256, request_sha256,"
        " reply, response, prompt_tokens, completion_tokens, cached_tokens)"
        " SELECT t.id, s, 'ok', $1, $1, '', '', '', '', '', '', $3, 100, $3 / 2"
        " FROM turns t, generate_series(0, $2::int - 1) s"
        " WHERE NOT EXISTS (SELECT FROM calls c WHERE c.turn_id = t.id)",
        model,
        calls,
        prompt,
    )


async def test_a_new_world_is_estimated_from_defaults(database: Database, settings: Settings) -> None:
    await people(database, 1.0, 0.5, 0.5)
    found = await estimate_run(database, settings, "gpt-4o-mini", 3)
    assert (found.turns, found.calls, found.based_on) == (6.0, 30.0, 0)
    assert (found.prompt_tokens, found.completion_tokens) == (39_000, 1800)
    assert found.usd == pytest.approx((39_000 * 0.15 + 1800 * 0.60) / 1e6)
    assert found.assumed == ("gpt-4o-mini",)
    assert found.seconds == 15.0


async def test_a_world_with_a_past_is_estimated_from_it(database: Database, settings: Settings) -> None:
    await people(database, 1.0, 1.0)
    await history(database, "gpt-4o-mini", runs=5, calls=9, prompt=1)
    await history(database, "gpt-4o-mini", runs=10)
    await history(database, "other", runs=3, calls=50, prompt=9)
    assert (await estimate_run(database, settings, "other", 1)).based_on == 150
    found = await estimate_run(database, settings, "gpt-4o-mini", 1)
    assert (found.turns, found.calls, found.based_on, found.assumed) == (2.0, 8.0, 40, ())
    assert (found.prompt_tokens, found.cached_tokens, found.completion_tokens) == (16_000, 8000, 800)
    assert found.usd == pytest.approx((8000 * 0.15 + 8000 * 0.075 + 800 * 0.60) / 1e6)
    assert found.seconds == 8.0


async def test_only_so_many_calls_are_looked_at(database: Database, settings: Settings) -> None:
    await people(database, 1.0)
    await history(database, "m", runs=3, calls=900)
    assert (await estimate_run(database, settings, "m", 1)).based_on == 300, "a turn has at most 100 calls"
    await history(database, "m", runs=9, calls=90)
    assert (await estimate_run(database, settings, "m", 1)).based_on == 910


async def test_an_unknown_price_is_never_zero(database: Database, settings: Settings) -> None:
    await people(database, 1.0)
    await people(database, 1.0, model="nobody/knows")
    found = await estimate_run(database, settings, "gpt-4o-mini", 1)
    assert (found.usd, found.unpriced) == (None, ("nobody/knows",))
    assert (await estimate_run(database, settings, "scripted", 1)).unpriced == ("nobody/knows",)
    told = load_settings(model_prices="nobody/knows=1/1/2")
    free_and_told = await estimate_run(database, told, "scripted", 1)
    assert free_and_told.usd == pytest.approx((5 * 1300 * 1 + 5 * 60 * 2) / 1e6)


async def test_more_turns_than_places_take_longer(database: Database) -> None:
    await people(database, *[1.0] * 40)
    alone = await estimate_run(database, load_settings(max_concurrent_turns=10), "gpt-4o-mini", 1)
    wide = await estimate_run(database, load_settings(max_concurrent_turns=100), "gpt-4o-mini", 1)
    assert (alone.seconds, wide.seconds) == (20.0, 5.0)


async def test_an_estimate_and_what_came_of_it(database: Database, settings: Settings) -> None:
    await people(database, 1.0)
    foretold = asdict(await estimate_run(database, settings, "gpt-4o-mini", 1))
    used: dict[str, Any] = {"calls": 10, "prompt_tokens": 3000, "completion_tokens": 400, "unpriced": 0}
    assert compared(foretold, {**used, "cost_usd": foretold["usd"]}) == {"calls": 2.0, "tokens": 0.5, "usd": 1.0}
    assert compared(foretold, {**used, "cost_usd": 0, "unpriced": 3})["usd"] is None
    assert compared({}, {**used, "cost_usd": 1}) == {"calls": None, "tokens": None, "usd": None}


def asked(url: str, monkeypatch: pytest.MonkeyPatch, *args: str) -> Any:
    monkeypatch.setenv("DATABASE_URL", url)
    return CliRunner().invoke(app, args, catch_exceptions=False)


def test_the_command_says_what_it_assumes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = asked(url, monkeypatch)
    assert (nobody.exit_code, nobody.stdout) == (0, "")
    as_json = asked(url, monkeypatch, "--json", "--model", "gpt-4o-mini")
    assert json.loads(as_json.stdout)["turns"] == 0
    assert "simfeed estimate --model" in asked(url, monkeypatch, "--help").stdout
    assert asked(url, monkeypatch, "--cycles", "0").exit_code == 2


@pytest.fixture
async def url_with_people(url: str, database: Database) -> str:
    await people(database, 1.0, 1.0)
    return url


def test_the_table(url_with_people: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asked(url_with_people, monkeypatch, "--model", "unheard-of", "--cycles", "2")
    assert "13,000" not in done.stdout
    assert "26,000 prompt" in done.stdout
    assert "unknown" in done.stdout
    assert "MODEL_PRICES" in done.stderr
    assert "no turn of unheard-of yet" in done.stderr
