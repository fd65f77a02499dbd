"""What is promised before an experiment runs, and what is told once it is otherwise."""

import hashlib
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from app.analysis.catalogue import METRICS
from app.db.engine import TROUBLE, Database, patiently
from app.errors import Conflict, Invalid, NotFound
from app.experiments.deviations import canonical
from app.experiments.freezing import amend, exclude, freeze, measure_again, osf_text
from app.experiments.planning import raise_budget
from app.experiments.results import power, results, sensitivity
from app.experiments.runner import begin
from app.world import worlds
from app.world.experiments import EXPERIMENTS, found
from tests.conftest import copy_of
from tests.experiment_stand import a_home, planned, ran, settings_at, trials_of

PROMISED = {"hypotheses": ["More of the same for few."], "exclude": [{"outcome": "calls", "below": 1}]}
ONE_CYCLE: dict[str, Any] = {"setting": {"cycles": 1}, "outcomes": {"primary": ["attention_gini"]}}


@pytest.fixture(scope="module")
async def home(server_url: str, template: str) -> AsyncIterator[Database]:
    async with copy_of(server_url, template) as url, a_home(url) as database:
        yield database


@pytest.fixture(scope="module")
async def done(home: Database) -> str:
    """An experiment that was frozen and run to its end."""
    key = await planned(home, **ONE_CYCLE)
    await freeze(home, settings_at(home.url), key)
    assert await ran(home, key) == "completed"
    return key


async def deviating(home: Database, key: str) -> dict[str, tuple[Any, Any]]:
    return {one["what"]: (one["was"], one["is"]) for one in (await results(home, key))["deviations"]}


async def test_what_is_promised_is_kept_with_its_hash(home: Database) -> None:
    key = await planned(home, **PROMISED, seed=2**61 + 1, stop={"seconds": 1e7})
    promised = await freeze(home, settings_at(home.url), key)
    assert promised["sha256"] == hashlib.sha256(canonical(promised["document"])).hexdigest()
    assert not promised["late"]
    told = await results(home, key)
    kept = told["freeze"]
    assert hashlib.sha256(canonical(kept["document"])).hexdigest() == kept["sha256"] == promised["sha256"]
    document = kept["document"]
    assert document["hypotheses"] == PROMISED["hypotheses"]
    assert document["outcomes"]["primary"][0]["version"] == METRICS["attention_gini"].version
    assert [run["seed"] for run in document["runs"]] == [one.seed for one in await trials_of(home, key)]
    assert document["runs_begun"] == 0
    assert told["deviations"] == []
    with pytest.raises(Conflict, match="done once"):
        await freeze(home, settings_at(home.url), key)
    with pytest.raises(NotFound):
        await freeze(home, settings_at(home.url), "nosuchkey123")


async def test_the_world_in_which_it_begins_is_promised(home: Database) -> None:
    key, other = await planned(home, **ONE_CYCLE), await planned(home, **ONE_CYCLE)
    promised = await freeze(home, settings_at(home.url), key)
    assert promised["document"]["start"]["world"] == "home"
    assert promised["document"]["start"]["sha256"] in osf_text(promised["document"])
    assert await ran(home, key) == "completed"
    assert await deviating(home, key) == {}
    await freeze(home, settings_at(home.url), other)
    later = partial(home.fetchval, "UPDATE personas SET bio = 'Changed.' WHERE username = 'p1' RETURNING id")
    await patiently(later, TROUBLE, tries=4, wait=0.1)  # a copy of the home world has ended its connections
    assert await ran(home, other) == "completed"
    assert list(await deviating(home, other)) == ["the starting world"]
    own = await planned(home, **ONE_CYCLE, personas=[{"username": "own", "description": "Likes tea."}])
    assert (await freeze(home, settings_at(home.url), own))["document"]["start"] is None


async def test_a_document_that_was_altered_is_told(home: Database) -> None:
    key = await planned(home)
    await freeze(home, settings_at(home.url), key)
    sql = (
        "UPDATE experiments SET frozen = jsonb_set(frozen, '{hypotheses}', '[\"another\"]') WHERE key = $1 RETURNING id"
    )
    await home.fetchval(sql, key)
    assert "the frozen document was altered" in await deviating(home, key)


async def test_a_run_that_has_begun_can_be_frozen_late_alone(home: Database) -> None:
    key = await planned(home, **ONE_CYCLE, runs=1)
    assert await ran(home, key) == "completed"
    with pytest.raises(Conflict, match="--late"):
        await freeze(home, settings_at(home.url), key)
    assert (await freeze(home, settings_at(home.url), key, late=True))["late"]
    found_so = await deviating(home, key)
    assert found_so == {"frozen after the first run began": ("before any run", "2 of 2 runs had begun")}


async def test_a_design_that_is_not_begun_can_become_another(home: Database) -> None:
    key = await planned(home, **PROMISED)
    await freeze(home, settings_at(home.url), key)
    patch = {"runs": 3, "seed": 9, "variants": {"interest": None, "kind": {"prompt": "Be kind."}}, "exclude": []}
    changed = await amend(home, settings_at(home.url), key, patch, note="two were\ntoo few")
    assert {one["what"] for one in changed} == {
        "runs", "seed", "variants.interest", "variants.kind", "exclude",
    }  # fmt: skip
    known = await trials_of(home, key)
    assert [one.variant for one in known] == ["latest", "kind"] * 3
    assert (await found(home, key))["seed"] == 9
    told = await results(home, key)
    by = {one["what"]: one for one in told["deviations"]}
    assert (by["design: runs"]["was"], by["design: runs"]["is"], by["design: runs"]["note"]) == (
        2,
        3,
        "two were too few",
    )
    assert by["design: runs"]["at"] is not None
    assert sum(one["is"] == "not planned" for one in told["deviations"]) == 4
    for wrong in ({"rums": 1}, {"runs": 3}, {"variants": {"kind": {"ranker": "nobody"}}}, {"world": "nowhere"}):
        with pytest.raises((Invalid, NotFound)):
            await amend(home, settings_at(home.url), key, wrong)
    assert len(await trials_of(home, key)) == 6


async def test_what_was_run_can_t_become_another(home: Database, done: str) -> None:
    for patch in ({"runs": 5}, {"seed": 1}, {"setting": {"cycles": 2}}, {"variants": {"latest": {"prompt": "x"}}}):
        with pytest.raises(Conflict, match=r"runs of .* have begun"):
            await amend(home, settings_at(home.url), done, patch)
    assert await deviating(home, done) == {}


async def test_an_outcome_after_the_freeze_is_measured_exploratory_and_told(home: Database, done: str) -> None:
    before = (await trials_of(home, done))[0]
    assert "density" not in before.outcomes
    await worlds.drop(home, before.world or "")
    patch = {"outcomes": {"primary": ["attention_gini", "density"], "margins": {"density": 0.1}}}
    await amend(home, settings_at(home.url), done, patch, note="a reviewer asked")
    known = await trials_of(home, done)
    assert known[0].outcomes["density"] is None
    assert "dropped" in known[0].why["density"]
    assert all(one.outcomes["density"] is not None for one in known[1:])
    assert known[0].outcomes["attention_gini"] == before.outcomes["attention_gini"]
    told = await results(home, done)
    assert {one["name"]: one["family"] for one in told["outcomes"]} == {
        "attention_gini": "primary", "density": "exploratory",
    }  # fmt: skip
    by = {one["what"]: one for one in told["deviations"]}
    assert (by["outcome: density"]["is"], by["outcome: density"]["note"]) == ("primary", "a reviewer asked")
    assert "design: outcomes.margins.density" in by
    assert ("density", 1) in [(one["outcome"], one["number"]) for one in told["missing"]]
    assert await measure_again(home, done) == 0
    found_so = await power(home, done, "density")
    assert (found_so["effect"], found_so["effect_from"]) == (0.1, "margin")
    assert await sensitivity(home, done) == []


async def test_a_rule_made_later_is_applied_and_told(home: Database) -> None:
    key = await planned(home, **ONE_CYCLE, runs=1)
    await freeze(home, settings_at(home.url), key)
    assert await ran(home, key) == "completed"
    await amend(home, settings_at(home.url), key, {"exclude": [{"outcome": "calls", "above": 0}]})
    told = await results(home, key)
    assert (told["n_done"], told["n_excluded"]) == (2, 2)
    assert all("calls is" in one["why"] for one in told["missing"])
    assert "design: exclude" in await deviating(home, key)


async def test_the_control_is_the_first_variant_however_it_is_called(home: Database) -> None:
    key = await planned(home, variants={"plain-one": {}, "b": {"prompt": "Be kind."}})
    told = await results(home, key)
    assert [one["name"] for one in told["variants"]] == ["plain-one", "b"]
    assert told["outcomes"][0]["comparison"]["control"] == "plain-one"
    promised = await freeze(home, settings_at(home.url), key)
    assert promised["document"]["outcomes"]["control"] == "plain-one"


async def test_a_run_left_out_by_hand_is_told(home: Database) -> None:
    key = await planned(home, **ONE_CYCLE, runs=1)
    with pytest.raises(Conflict, match="queued"):
        await exclude(home, key, 1, "bad")
    await freeze(home, settings_at(home.url), key)
    assert await ran(home, key) == "completed"
    with pytest.raises(NotFound):
        await exclude(home, key, 9, "bad")
    with pytest.raises(Invalid):
        await exclude(home, key, 1, "  ")
    await exclude(home, key, 1, "a power cut")
    told = await results(home, key)
    assert (told["n_excluded"], told["missing"][0]["why"]) == (1, "excluded: by hand: a power cut")
    assert await deviating(home, key) == {"run 1 left out by hand": (None, "by hand: a power cut")}
    await amend(home, settings_at(home.url), key, {"analysis": "As before."})
    assert (await trials_of(home, key))[0].excluded == "by hand: a power cut"
    await exclude(home, key, 1, None)
    assert (await results(home, key))["n_excluded"] == 0


async def test_a_budget_that_is_raised_and_a_stop_are_told(home: Database) -> None:
    key = await planned(home, budget={"tokens": 10**9})
    await freeze(home, settings_at(home.url), key)
    await begin(home, key)
    await raise_budget(home, key, tokens=10**10)
    await home.fetchval(EXPERIMENTS["halt"], (await found(home, key))["id"], "stopped", "stopped by hand")
    found_so = await deviating(home, key)
    assert found_so["budget_tokens"] == (10**9, 10**10)
    assert found_so["stopped before all its runs were done"] == ("completed", "stopped")
    assert (await results(home, key))["provisional"]


async def test_a_preregistration_can_be_pasted(home: Database) -> None:
    key = await planned(
        home,
        hypotheses=["Few get *all* of it <b>soon</b>."],
        analysis="```\n# not a heading",
        exclude=[{"outcome": "calls", "below": 5, "missing": True}],
        stop={"precision": {"outcome": "density", "half_width": 0.1}},
    )
    promised = await freeze(home, settings_at(home.url), key)
    text = osf_text(promised["document"])
    assert promised["sha256"] in text
    assert r"Few get \*all\* of it \<b\>soon\</b\>." in text
    assert "calls: below 5 or missing" in text
    assert "density known to ±0.1, from 10 runs a variant on" in text
    fence = text.split("json\n")[0].rsplit("\n", 1)[1]
    assert len(fence) == 4
    assert json.loads(text.split("json\n")[1].split(f"\n{fence}")[0]) == promised["document"]["design"]
    assert "\n# not a heading" not in text.split(f"{fence}json")[0]
