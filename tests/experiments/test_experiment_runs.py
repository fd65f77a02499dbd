"""Experiments played: each run in a fork of one start, paired by seed, killed and gone on with, within its budget."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.actions.asking import ExtractedField
from app.analysis.answers import data, summarise_field
from app.db.engine import TROUBLE, Database
from app.errors import Conflict, Invalid, Misconfigured, NotFound
from app.experiments import keeping
from app.experiments.design import checked
from app.experiments.outcomes import of_block
from app.experiments.planning import check, raise_budget
from app.experiments.runner import begin, precise, stop
from app.llm.gateway import Gateway
from app.llm.model import Completion, Request
from app.settings import load_settings
from app.venues.session.results import transcript
from app.world import experiments, personas, sessions, worlds
from app.world.experiments import EXPERIMENTS
from tests.conftest import run_sql
from tests.experiment_stand import SMALL, a_home, killed_again_and_again, plain, planned, ran, settings_at, trials_of
from tests.session_stand import CUP, DEMOGRAPHICS


@pytest.fixture
async def home(url: str) -> AsyncIterator[Database]:
    async with a_home(url) as found:
        yield found


KIND = {"prompt": "Be kind to everybody."}


class Failing:
    """The offline model, which fails for some requests."""

    def __init__(self, fails: Any) -> None:
        self._inner = Gateway(load_settings())
        self._fails = fails
        self.asked = 0

    async def complete(self, request: Request) -> Completion:
        self.asked += 1
        if self._fails(self.asked, request):
            return Completion("auth", request.model, detail="no key", cost_usd=0.0)
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_runs_begin_alike_and_differ_by_their_treatment(home: Database) -> None:
    key = await planned(home, parallel=2, variants={"latest": {"ranker": "latest"}, "kind": KIND})
    assert await ran(home, key) == "completed"
    first = await trials_of(home, key)
    assert {t.state for t in first} == {"completed"}
    assert len({t.world_sha256 for t in first}) == 4
    assert all(t.outcomes["attention_gini"] is not None and len(t.series) == 2 and t.calls for t in first)
    again = await planned(home, variants={"latest": {"ranker": "latest"}, "same": {"ranker": "latest"}})
    assert await ran(home, again) == "completed"
    second = await trials_of(home, again)
    same = {(t.variant, t.replicate): t.world_sha256 for t in second}
    assert same[("latest", 0)] == same[("same", 0)] != same[("same", 1)]
    assert [t.world_sha256 for t in first if t.variant == "latest"] == [same[("latest", 0)], same[("latest", 1)]]
    assert await home.fetchval("SELECT count(*) FROM posts") == 0
    row = await experiments.found(home, key)
    assert {w.source for w in await worlds.everything(home) if w.name.startswith(f"x-{key}-") and w.kind == "fork"} == {
        row["start_world"]
    }


async def test_killed_again_and_again_it_comes_to_the_same(home: Database, tmp_path: Path) -> None:
    whole = await planned(home)
    assert await ran(home, whole) == "completed"
    key = await planned(home)
    await begin(home, key)
    bill = tmp_path / "asked"
    kills = await killed_again_and_again(home, key, bill)
    assert plain(await trials_of(home, key)) == plain(await trials_of(home, whole))
    assert (await experiments.found(home, key))["state"] == "completed"
    calls = sum(t.calls for t in await trials_of(home, key))
    asked = Counter(bill.read_text().split())
    assert calls <= sum(asked.values()) <= calls + kills * 64


async def test_two_processes_share_the_runs(home: Database) -> None:
    key = await planned(home, runs=3)
    await begin(home, key)
    states = await asyncio.gather(*(ran(home, key) for _ in range(2)))
    assert states == ["completed", "completed"]
    found = await trials_of(home, key)
    assert [t.attempts for t in found] == [1] * 6
    alone = await planned(home, runs=3)
    await ran(home, alone)
    assert plain(found) == plain(await trials_of(home, alone))


async def test_a_run_that_fails_is_kept_and_can_be_played_again(home: Database) -> None:
    key = await planned(home, setting={"cycles": 1})
    first = f"x-{key}-1"

    def fails(_: int, request: Request) -> bool:
        return request.model == "gpt-none"

    failing = checked({**SMALL, "variants": {"latest": {}, "none": {"model": "gpt-none"}}})
    with pytest.raises(Exception, match="gpt-none"):
        await check(home, settings_at(home.url), failing)
    model = Failing(lambda asked, _: asked <= 6)
    assert await ran(home, key, model) == "partial"
    found = await trials_of(home, key)
    assert [t.state for t in found] == ["failed", "completed", "completed", "completed"]
    assert found[0].excluded == "the run failed"
    assert "cycle 1 is failed" in str(found[0].reason)
    assert found[0].world == first
    assert await ran(home, key, failed=True) == "completed"
    assert (await trials_of(home, key))[0].attempts == 2
    assert (await trials_of(home, key))[0].excluded is None


async def test_a_budget_is_kept_and_can_be_raised(home: Database) -> None:
    with pytest.raises(Invalid, match=r"budget\.tokens: 10 can't hold") as told:
        await planned(home, budget={"tokens": 10})
    assert told.value.errors[0].pointer == "/budget/tokens"
    key = await planned(home)
    await raise_budget(home, key, tokens=60_000)
    assert await ran(home, key) == "budget_exhausted"
    used = sum(t.prompt_tokens + t.completion_tokens for t in await trials_of(home, key))
    assert 20_000 < used <= 60_000
    await raise_budget(home, key, tokens=100_000_000)
    assert await ran(home, key) == "completed"
    assert [c["what"] for c in await experiments.changes(home, (await experiments.found(home, key))["id"])] == [
        "budget_tokens",
        "budget_tokens",
    ]
    whole = await planned(home)
    await ran(home, whole)
    assert [p[:3] for p in plain(await trials_of(home, key))] == [p[:3] for p in plain(await trials_of(home, whole))]


async def test_stopping_rules(home: Database) -> None:
    key = await planned(home, setting={"cycles": 1}, stop={"failed": 1})
    model = Failing(lambda asked, _: asked <= 6)
    assert await ran(home, key, model) == "stopped"
    found = await trials_of(home, key)
    assert found[0].state == "failed"
    assert "queued" in {t.state for t in found}
    assert "1 runs failed" in (await experiments.found(home, key))["reason"]
    late = await planned(home, stop={"seconds": 0.001})
    assert await ran(home, late) == "stopped"


async def test_enough_is_known(home: Database) -> None:
    rule = {"outcome": "calls", "half_width": 500, "least": 3}
    key = await planned(
        home, setting={"cycles": 1}, runs=6, stop={"precision": rule}, variants={"plain": {}, "kind": KIND}
    )
    assert await ran(home, key) == "completed"
    found = await trials_of(home, key)
    assert {t.state for t in found} == {"completed", "queued"}
    row = await experiments.found(home, key)
    assert row["reason"] == "stopping rule: calls is known to ±500"
    same = {**SMALL, "runs": 6, "variants": {"plain": {}, "kind": KIND}}
    assert not precise(checked({**same, "stop": {"precision": {**rule, "half_width": 1e-9}}}), found)
    assert not precise(checked({**same, "stop": {"precision": {**rule, "least": 5}}}), found)
    assert precise(checked({**same, "stop": {"precision": rule}}), found)


async def test_stopped_by_hand_and_gone_on_with(home: Database) -> None:
    key = await planned(home)
    with pytest.raises(NotFound):
        await begin(home, "aaaaaaaaaaaa")
    running = asyncio.create_task(ran(home, key))
    begun = False
    while not begun:
        await asyncio.sleep(0.05)
        with suppress(*TROUBLE):  # a copy of the home world ends its connections
            begun = any(t.cycles_done for t in await trials_of(home, key))
    await stop(home, key)
    assert await running == "stopped"
    assert not all(t.over for t in await trials_of(home, key))
    with pytest.raises(Conflict):
        await stop(home, key)
    assert await ran(home, key) == "completed"
    with pytest.raises(Conflict, match="nothing is left"):
        await begin(home, key)


async def test_who_leaves_stops_it_unless_another_plays_it(home: Database) -> None:
    key = await planned(home)
    await begin(home, key)
    held = "UPDATE experiment_trials SET state = 'running', lease_until = now() + $1 WHERE number = 1 RETURNING 1"
    await home.fetchval(held, timedelta(seconds=60))
    assert await home.fetchval(EXPERIMENTS["left"], key, "stopped by hand") is None
    assert (await experiments.found(home, key))["state"] == "running"
    await home.fetchval(held, timedelta(seconds=-1))
    assert await home.fetchval(EXPERIMENTS["left"], key, "stopped by hand") is not None
    assert (await experiments.found(home, key))["state"] == "stopped"


async def test_what_variants_can_vary(home: Database) -> None:
    key = await planned(
        home,
        runs=1,
        variants={
            "plain": {},
            "few": {"cast": {"only": ["p0", "p1"], "change": {"p0": {"leaning": "centre"}}}},
            "told": {"prompt": "Be kind.", "cast": {"without": ["p5"]}},
            "more": {"cast": {"add": [{"username": "newcomer", "description": "New here."}]}},
            "news": {"interventions": [{"kind": "post", "cycle": 2, "persona": "p1", "body": "The tram is late."}]},
            "calm": {"temperature": 0.1, "memory": "off", "max_actions": 1, "reactions": "all", "trends": "on"},
        },
        keep_worlds=True,
    )
    assert await ran(home, key) == "completed"
    found = {t.variant: t for t in await trials_of(home, key)}

    async def asked(variant: str, statement: str) -> Any:
        async with worlds.inside(home, str(found[variant].world)) as database:
            return await database.fetchval(statement)

    acted = "SELECT count(DISTINCT persona_id) FROM turns"
    assert (await asked("plain", acted), await asked("few", acted), await asked("told", acted)) == (6, 2, 5)
    assert await asked("more", acted) == 7
    assert await asked("few", "SELECT profile ->> 'leaning' FROM personas WHERE username = 'p0'") == "centre"
    assert await asked("told", "SELECT count(*) FROM personas WHERE description LIKE '%\n\nBe kind.'") == 6
    assert await asked("news", "SELECT count(*) FROM posts WHERE body = 'The tram is late.'") == 1
    assert await asked("calm", "SELECT max(n) FROM (SELECT count(*) AS n FROM actions GROUP BY turn_id) a") <= 2
    assert await asked("calm", "SELECT count(*) FROM memories") == 0
    with pytest.raises(Invalid, match=r"variants\.few\.cast\.only: no persona has the username nobody"):
        await planned(home, variants={"few": {"cast": {"only": ["nobody"]}}})


async def test_sessions_are_varied_too(home: Database) -> None:
    design = {
        "venue": "survey",
        "runs": 2,
        "seed": 7,
        "setting": {
            "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": 5},
            "questions": [{"key": "use", "type": "likert", "text": "I would use this cup."}],
        },
        "variants": {"cup": {"stimulus": CUP}, "bag": {"stimulus": {**CUP, "content": "A paper bag that leaks."}}},
        "outcomes": {
            "primary": ["answer.use"],
            "exploratory": ["answer.use:3", "lines", "missing_share", "answer.use:9"],
        },
    }
    key = await planned(home, design)
    assert await ran(home, key) == "completed"
    found = await trials_of(home, key)
    assert all(1 <= (t.outcomes["answer.use"] or 0) <= 5 and t.outcomes["lines"] == 5 for t in found)
    assert all(t.outcomes["answer.use:9"] is None and t.why["answer.use:9"] for t in found)
    async with worlds.inside(home, str(found[0].world)) as database:
        row = await sessions.found(database, str(found[0].session))
        said = [line for line in await transcript(database, row) if line["kind"] == "answer"]
        assert row["seed"] == found[0].seed
    mean = sum(int(line["value"]["use"]) for line in said) / 5
    assert found[0].outcomes["answer.use"] == pytest.approx(mean)


async def test_people_of_its_own_and_no_worlds_kept(home: Database) -> None:
    own = [{"username": f"q{n}", "description": "Likes tea."} for n in range(3)]
    key = await planned(home, personas=own, runs=1, keep_worlds=False)
    assert await ran(home, key) == "completed"
    found = await trials_of(home, key)
    assert [t.world for t in found] == [None, None]
    assert all(t.outcomes["calls"] for t in found)
    assert {w.name for w in await worlds.everything(home)} == {"home", f"x-{key}-start"}
    async with worlds.inside(home, f"x-{key}-start") as start:
        assert [row["username"] for row in await personas.listed(start)] == ["q0", "q1", "q2"]


async def test_runs_left_out_by_rule_stay(home: Database) -> None:
    key = await planned(home, exclude=[{"outcome": "calls", "above": 0}])
    assert await ran(home, key) == "completed"
    found = await trials_of(home, key)
    assert all(str(t.excluded).startswith("calls is ") and t.outcomes["density"] is not None for t in found)
    control = await planned(home, exclude=[{"outcome": "calls", "above": 1e9}], runs=1)
    await ran(home, control)
    assert [t.excluded for t in await trials_of(home, control)] == [None, None]


async def test_what_is_left_can_be_dropped(home: Database) -> None:
    key = await planned(home, runs=1)
    await ran(home, key)
    assert await keeping.drop(home, key, worlds_only=True) == 2
    assert [t.world for t in await trials_of(home, key)] == [None, None]
    assert await keeping.drop(home, key) == 1
    assert [w.name for w in await worlds.everything(home)] == ["home"]
    with pytest.raises(NotFound):
        await experiments.found(home, key)


async def test_control_what_a_superseded_process_writes_does_not_count(home: Database) -> None:
    key = await planned(home, runs=1)
    await ran(home, key)
    row = await experiments.found(home, key)
    before = plain(await trials_of(home, key))
    await run_sql(home.url, "UPDATE experiment_trials SET state = 'running', epoch = epoch + 1")
    late = (row["id"], 1, 1, "completed", None, "{}", "{}", "[]", b"", None)
    assert await home.fetchval(experiments.EXPERIMENTS["finish"], *late) is None
    await run_sql(home.url, "UPDATE experiment_trials SET state = 'completed'")
    assert plain(await trials_of(home, key)) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"personas": [{"username": n, "description": "x"} for n in ("ann", "Ann", "bob")]},
            ["personas: ann is there twice"],
        ),
        ({"setting": {"cast": {"only": []}}}, ["setting.cast: leaves nobody who acts"]),
        (
            {"variants": {"a": {"cast": {"without": [f"p{n}" for n in range(6)]}}, "b": {}}},
            ["variants.a.cast: leaves nobody who acts"],
        ),
        (
            {"setting": {"cast": {"add": [{"username": n, "description": "x"} for n in ("P0", "eve", "Eve")]}}},
            ["setting.cast.add: there is a persona P0 already", "setting.cast.add: there is a persona eve already"],
        ),
        (
            {
                "setting": {
                    "cycles": 2,
                    "interventions": [
                        {"kind": "post", "cycle": 3, "persona": "nobody", "body": "x"},
                        {"kind": "message", "cycle": 1, "from": "p0", "to": ["p1", "stranger"], "body": "x"},
                    ],
                }
            },
            [
                "setting.interventions: entry 1: no persona has the username nobody",
                "setting.interventions: entry 1: cycle 3 never comes: a run has 2",
                "setting.interventions: entry 2: no persona has the username stranger",
            ],
        ),
        ({"weights": {"latest": 1, "interest": 0}}, ["weights.interest: comes to no run of 4"]),
        (
            {"variants": {"a": {"model": "nothing-known"}, "b": {"model": "neither-this"}}},
            ["variants.a.model: no provider is known", "variants.b.model: no provider is known"],
        ),
    ],
    ids=["twice", "nobody", "all away", "taken", "interventions", "no run", "models"],
)
async def test_what_would_fail_in_each_run_is_refused_before_any(
    home: Database, change: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises((Invalid, Misconfigured)) as error:
        await check(home, load_settings(), checked({**SMALL, **change}))
    for words in told:
        assert error.value.detail.count(words) == 1, error.value.detail


async def test_what_no_variant_asks_for_is_no_outcome(home: Database) -> None:
    design = {
        "venue": "survey",
        "setting": {
            "participants": {"mode": "from_population"},
            "questions": [
                {"key": "use", "type": "likert", "text": "I would use it."},
                {"key": "why", "type": "single", "text": "Why?", "options": ["money", "habit"]},
            ],
            "extraction_config": {"fields": ["reason"]},
        },
        "variants": {"a": {}, "b": {}},
    }
    right = ["answer.use", "answer.use:5", "answer.why:Money", "field.reason", "lines"]
    await check(home, load_settings(), checked({**design, "outcomes": {"primary": right}}))
    wrong = {
        "primary": ["answer.usage"],
        "exploratory": ["answer.why:fashion", "field.reasons"],
    }
    with pytest.raises(Invalid) as told:
        await check(home, load_settings(), checked({**design, "outcomes": wrong}))
    assert [one.pointer for one in told.value.errors] == [
        "/outcomes/primary/0",
        "/outcomes/exploratory/0",
        "/outcomes/exploratory/1",
    ]
    assert "nothing asks for answer.usage; of answers there are use, why" in told.value.detail
    assert "why has no option 'fashion': money, habit" in told.value.detail


def test_what_nobody_named_in_a_list_is_a_share_of_0() -> None:
    """No value would say that the run is missing, and leave out just those runs in which nobody thought of it."""
    asked = [["tea", "milk"], ["Tea"], []]
    field = ExtractedField(name="wants", type="list")
    summary = data(summarise_field(field, asked))
    block = {"extracted_results": {"aggregate_statistics": {"wants": summary}, "statistical_analysis": None}}
    found, why = of_block(block, ["field.wants:tea", "field.wants:milk", "field.wants:sugar"])
    assert found == {
        "field.wants:tea": pytest.approx(2 / 3),
        "field.wants:milk": pytest.approx(1 / 3),
        "field.wants:sugar": 0.0,
    }
    assert why == {}
    nobody = data(summarise_field(field, [None, None]))
    block["extracted_results"]["aggregate_statistics"] = {"wants": nobody}
    assert of_block(block, ["field.wants:tea"])[0] == {"field.wants:tea": None}
