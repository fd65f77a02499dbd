"""What an experiment's results tell of runs made by hand: each figure is known."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.analysis.catalogue import METRICS
from app.analysis.report.experiment import experiment_report
from app.errors import Invalid
from app.experiments.design import Experiment, checked
from app.experiments.deviations import program, sha256_of
from app.experiments.freezing import document_of
from app.experiments.once import once
from app.experiments.people import Person
from app.experiments.references import Persona, Reference, compared
from app.experiments.results import powered, told
from app.world.experiments import Trial

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
A, B = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (1.5, 2.6, 3.7, 4.4, 5.5, 6.6)
GINI = "attention_gini"


def designed(**more: Any) -> Experiment:
    given: dict[str, Any] = {
        "name": "rankers",
        "variants": {"latest": {}, "interest": {"ranker": "interest"}},
        "runs": 6,
        "seed": 7,
        "outcomes": {"primary": [GINI]},
    }
    return checked({**given, **more})


def row(**more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "key": "kx7m2pqrs4td", "name": "rankers", "state": "completed", "reason": None, "source": "home",
        "start_world": "x-start", "start_sha256": b"\x02" * 32, "started_at": START,
        "ended_at": START + timedelta(hours=1), "frozen": None, "frozen_at": None,
        "frozen_sha256": None, "budget_tokens": None, "budget_usd": None, "estimate": None,
    }  # fmt: skip
    return {**given, **more}


def trials(design: Experiment, values: Mapping[str, Sequence[Mapping[str, float | None]]]) -> list[Trial]:
    """Completed runs with these outcomes."""
    return [
        Trial(
            number=run.number, variant=run.variant, replicate=run.replicate, seed=run.seed, state="completed",
            reason=None, attempts=1, epoch=1, world=f"x-{run.number}", since=0, session=None, cycles_done=2, calls=10,
            prompt_tokens=100, completion_tokens=20, usd=0.5, outcomes=dict(values[run.variant][run.replicate]), why={},
            series=[{"run": 1, "posts": 3, GINI: 0.5}, {"run": 2, "posts": 4, GINI: None}], world_sha256=b"\x01" * 32,
            excluded=None, programs=[program(design)], started_at=START, ended_at=START + timedelta(seconds=30),
        )
        for run in design.plan()
    ]  # fmt: skip


def of(**arms: Sequence[float | None]) -> dict[str, list[dict[str, float | None]]]:
    return {arm: [{GINI: value} for value in values] for arm, values in arms.items()}


def frozen(design: Experiment, known: Sequence[Trial], **more: Any) -> dict[str, Any]:
    document = document_of(row(), design, known)
    return row(frozen=document, frozen_sha256=sha256_of(document), frozen_at=START - timedelta(hours=1), **more)


def same(found: Any) -> Any:
    """The results, once they are seen to be JSON, and without NaN."""
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


@pytest.fixture(scope="module")
def known() -> list[Trial]:
    return trials(designed(), of(latest=A, interest=B))


def test_arms_are_paired_by_seed_and_every_figure_is_known(known: list[Trial]) -> None:
    found = same(told(row(), designed(), known))
    (one,) = found["outcomes"]
    (contrast,) = one["comparison"]["contrasts"]
    apart = [b - a for a, b in zip(A, B, strict=True)]
    mean = sum(apart) / 6
    sd = sqrt(sum((d - mean) ** 2 for d in apart) / 5)
    assert contrast["n"] == 6
    assert contrast["shown"] == "t"
    assert contrast["t"]["value"] == pytest.approx(mean)
    assert contrast["t"]["high"] == pytest.approx(mean + 2.570581835636314 * sd / sqrt(6))
    assert contrast["test"] == {"p": 2 / 64, "exact": True, "draws": 64, "least": 2 / 64}
    assert one["adjusted"]["interest"] == {
        "p": 2 / 64, "p_adjusted": 2 / 64, "method": "holm", "of": 1, "significant": True, "least": 2 / 64,
            "least_adjusted": 2 / 64,
    }  # fmt: skip
    assert (one["formula"], one["version"]) == (METRICS[GINI].formula, METRICS[GINI].version)
    assert "interest less latest is 0.55 index over 6 pairs" in one["verdict"]
    assert "more than the chance of the assignment explains" in one["verdict"]
    assert (found["n_planned"], found["n_done"], found["n_failed"], found["n_excluded"]) == (12, 12, 0, 0)
    assert found["missing"] == found["deviations"] == []
    assert "all 64 flips of the pairs' signs" in found["methods"]
    assert "Student's t" in found["methods"]
    assert "<html" in experiment_report(found)


def test_cost_and_series_are_by_variant(known: list[Trial]) -> None:
    found = told(row(), designed(), known)
    assert found["cost"][0] == {
        "variant": "latest", "calls": 60, "tokens": 720, "usd": 3.0, "seconds": 180.0, "usd_a_run": 0.5,
    }  # fmt: skip
    assert found["series"]["posts"]["latest"] == [[3, 4]] * 6
    assert found["series"][GINI]["interest"] == [[0.5, None]] * 6
    assert "likes" not in found["series"]


def test_independent_arms_are_told_as_such(known: list[Trial]) -> None:
    design = designed(outcomes={"primary": [GINI], "paired": False})
    found = same(told(row(), design, known))
    (contrast,) = found["outcomes"][0]["comparison"]["contrasts"]
    assert (contrast["n"], contrast["n_control"], contrast["d_z"]) == (6, 6, None)
    assert "all 924 assignments of runs to arms" in found["methods"]
    assert "Welch" in found["methods"]
    assert "paired" not in found["methods"]
    assert "no difference was shown, which does not say that there is none" in found["outcomes"][0]["verdict"]


def test_a_failed_run_is_shown_missing_and_takes_its_pair_with_it(known: list[Trial]) -> None:
    broken = [
        replace(one, state="failed", reason="cycle 2 is failed", excluded="the run failed", outcomes={}, usd=0.25)
        if one.number == 4
        else one
        for one in known
    ]
    found = same(told(row(state="partial"), designed(), broken))
    (contrast,) = found["outcomes"][0]["comparison"]["contrasts"]
    assert (contrast["n"], contrast["dropped"]) == (5, 1)
    assert "cycle 2 is failed" in experiment_report(found)
    arms = {one["name"]: one for one in found["outcomes"][0]["comparison"]["arms"]}
    assert (arms["interest"]["planned"], arms["interest"]["missing"]) == (6, 1)
    assert (found["n_done"], found["n_failed"], found["n_excluded"]) == (11, 1, 0)
    assert [(one["number"], one["why"]) for one in found["missing"]] == [(4, "failed: cycle 2 is failed")]
    assert len(found["trials"]) == 12
    assert found["cost"][1]["usd"] == 2.75
    assert "so few runs could not have shown any difference" in found["outcomes"][0]["verdict"]


def test_an_excluded_run_is_listed_and_not_compared(known: list[Trial]) -> None:
    out = [replace(one, excluded="calls is 3, below 5") if one.number == 1 else one for one in known]
    found = same(told(row(), designed(), out))
    assert found["n_excluded"] == 1
    assert found["missing"][0] | {"why": ""} != found["missing"][0]
    assert found["missing"][0]["why"] == "excluded: calls is 3, below 5"
    assert found["trials"][0]["outcomes"] == {GINI: 1.0}
    assert not found["trials"][0]["counts"]
    assert found["outcomes"][0]["comparison"]["contrasts"][0]["n"] == 5


def test_a_run_that_came_to_its_end_partly_counts(known: list[Trial]) -> None:
    some = [replace(one, state="partial", reason="some turns came to nothing") for one in known]
    found = told(row(state="partial"), designed(), some)
    assert found["n_done"] == 12
    assert found["outcomes"][0]["comparison"]["contrasts"][0]["n"] == 6


def test_runs_under_way_make_it_provisional(known: list[Trial]) -> None:
    some = [replace(one, state="queued", outcomes={}) if one.number > 10 else one for one in known]
    found = same(told(row(state="running", ended_at=None), designed(), some))
    assert found["provisional"]
    assert found["outcomes"][0]["verdict"].startswith("Provisional: ")
    assert found["stamp"]["reasons"][0] == "provisional: 2 runs are not done yet"
    assert [one["why"] for one in found["missing"]] == ["not yet: queued"] * 2
    ended = told(row(state="stopped"), designed(), some)
    assert [one["why"] for one in ended["missing"]] == ["not run: queued"] * 2
    assert not ended["outcomes"][0]["verdict"].startswith("Provisional")


def test_values_that_are_missing_or_no_numbers_are_told(known: list[Trial]) -> None:
    odd = dict(zip((1, 3, 5, 7), (None, nan, inf, 1e300), strict=True))
    some = [
        replace(one, outcomes={GINI: odd[one.number]}, why={GINI: "needs a like"} if one.number == 1 else {})
        if one.number in odd
        else one
        for one in known
    ]
    found = same(told(row(), designed(), some))
    assert [(one["number"], one["outcome"]) for one in found["missing"]] == [(n, GINI) for n in odd]
    assert found["missing"][0]["why"] == "needs a like"
    assert "no finite number" in found["missing"][1]["why"]


def test_families_are_corrected_over_outcomes_and_arms() -> None:
    names = ["attention_gini", "participation_evenness"]
    more = ["top_share", "exposure_entropy"]
    design = designed(
        variants={"a": {}, "b": {"ranker": "interest"}, "c": {"ranker": "interest"}},
        outcomes={"primary": names, "exploratory": more},
    )
    values = {
        arm: [dict.fromkeys((*names, *more), x + shift * x) for x in A]
        for arm, shift in (("a", 0.0), ("b", 0.5), ("c", 0.0))
    }
    found = same(told(row(), design, trials(design, values)))
    by = {one["name"]: one for one in found["outcomes"]}
    assert by[names[0]]["adjusted"]["b"] == {
        "p": 2 / 64, "p_adjusted": 8 / 64, "method": "holm", "of": 4, "significant": False, "least": 2 / 64,
            "least_adjusted": 8 / 64,
    }  # fmt: skip
    assert "so few runs could not have shown any difference" in by[names[0]]["verdict"], "not four, with six pairs"
    assert by[more[0]]["adjusted"]["b"]["p_adjusted"] == 4 / 64
    assert by[more[0]]["adjusted"]["b"]["method"] == "benjamini-hochberg"
    assert by[names[0]]["adjusted"]["c"]["p_adjusted"] == 1.0
    assert by[names[0]]["comparison"]["overall"]["draws"] == 9_999
    assert "Holm (1979) (4 primary) and Benjamini & Hochberg (1995) (4 exploratory)" in found["methods"]


def test_a_test_without_a_p_counts_in_its_family() -> None:
    names = ["attention_gini", "participation_evenness"]
    design = designed(outcomes={"primary": names})
    values = {
        "latest": [{names[0]: a, names[1]: None} for a in A],
        "interest": [{names[0]: b, names[1]: None} for b in B],
    }
    first, second = same(told(row(), design, trials(design, values)))["outcomes"]
    assert (first["adjusted"]["interest"]["p_adjusted"], first["adjusted"]["interest"]["of"]) == (4 / 64, 2)
    assert second["adjusted"]["interest"]["p_adjusted"] is None
    assert "no pair of runs to compare" in second["verdict"]


def test_a_p_of_just_alpha_is_significant() -> None:
    design = designed(runs=3, outcomes={"primary": [GINI], "level": 0.9, "paired": False})
    known = trials(design, of(latest=A, interest=[x + 10 for x in A]))
    ps = told(row(), design, known)["outcomes"][0]["adjusted"]["interest"]
    assert (ps["p"], ps["significant"]) == (0.1, True)


def test_equivalence_is_said_only_by_its_own_test(known: list[Trial]) -> None:
    wide = designed(outcomes={"exploratory": [GINI], "margins": {GINI: 2.0}})
    alike = trials(
        wide, of(latest=A, interest=[a + d for a, d in zip(A, (0.1, -0.1, 0.1, -0.1, 0.1, -0.1), strict=True)])
    )
    (one,) = same(told(row(), wide, alike))["outcomes"]
    assert one["equivalence"][0]["equivalent"]
    assert "equivalent within the margin of ±2" in one["verdict"]
    (other,) = told(row(), wide, known)["outcomes"]
    assert "yet within the margin" in other["verdict"]
    assert "exploratory, to be tested in runs of its own" in other["verdict"]


def test_one_variant_has_means_and_no_comparison() -> None:
    design = designed(variants={"latest": {}})
    (one,) = same(told(row(), design, trials(design, of(latest=A))))["outcomes"]
    (arm,) = one["comparison"]["arms"]
    assert arm["mean"]["value"] == 3.5
    assert arm["mean"]["low"] == pytest.approx(3.5 - 2.570581835636314 * sqrt(3.5) / sqrt(6))
    assert one["comparison"]["contrasts"] == []
    assert "nothing to compare it with" in one["verdict"]


@pytest.mark.parametrize("runs", [1, 2])
def test_few_runs_never_crash(runs: int) -> None:
    design = designed(runs=runs, outcomes={"primary": [GINI], "margins": {GINI: 0.05}})
    found = same(told(row(), design, trials(design, of(latest=A, interest=B))))
    assert "could not have shown" in found["outcomes"][0]["verdict"]
    assert same(told(row(), design, trials(design, of(latest=[None] * 2, interest=[None] * 2))))["outcomes"]


@given(st.data())
@settings(max_examples=12)
def test_whatever_the_values_all_of_it_is_json(data: st.DataObject) -> None:
    value = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1e99, -1e99, 1e-300]))
    design = designed(runs=3, outcomes={"primary": [GINI], "margins": {GINI: 0.1}})
    values = {arm: [{GINI: data.draw(value)} for _ in range(3)] for arm in design.variants}
    states = st.sampled_from(["completed", "partial", "failed", "queued", "running", "stopped"])
    some = [replace(one, state=data.draw(states)) for one in trials(design, values)]
    found = told(row(), design, some)
    json.dumps(found, allow_nan=False)
    lost = {one["number"] for one in found["missing"]}
    assert lost == {t["number"] for t in found["trials"] if not t["counts"] or t["outcomes"][GINI] is None}


def test_nothing_frozen_deviates_from_nothing(known: list[Trial]) -> None:
    assert told(row(), designed(), known)["freeze"] is None


def test_what_was_frozen_stays_primary_and_what_came_later_is_exploratory(known: list[Trial]) -> None:
    late = designed(outcomes={"primary": ["top_share"]})
    found = same(told(frozen(designed(), known), late, known))
    families = {one["name"]: one["family"] for one in found["outcomes"]}
    assert families == {GINI: "primary", "top_share": "exploratory"}
    told_of = {one["what"]: (one["was"], one["is"]) for one in found["deviations"]}
    assert told_of == {
        "outcome: top_share": ("not an outcome", "primary"),
        f"outcome: {GINI}": ("primary", "not an outcome"),
    }
    assert found["freeze"]["sha256"] == sha256_of(found["freeze"]["document"]).hex()


def test_a_run_that_failed_or_never_ran_is_a_deviation(known: list[Trial]) -> None:
    assert told(frozen(designed(), known), designed(), known)["deviations"] == []
    some = [replace(known[0], state="failed", reason="no key"), replace(known[1], state="queued"), *known[2:]]
    found = told(frozen(designed(), known, state="partial"), designed(), some)["deviations"]
    assert [(one["what"].split(" (")[0], one["is"], one["note"]) for one in found] == [
        ("run 1", "failed", "no key"),
        ("run 2", "not run: queued", ""),
    ]
    by_rule = frozen(designed(), known, state="stopped", reason="stopping rule: 5 s are over")
    assert told(by_rule, designed(), [*known[:1], replace(known[1], state="queued"), *known[2:]])["deviations"] == []


def test_an_altered_document_is_a_deviation(known: list[Trial]) -> None:
    promised = frozen(designed(), known)
    promised["frozen"]["analysis"] = "another"
    what = [one["what"] for one in told(promised, designed(), known)["deviations"]]
    assert what == ["the frozen document was altered"]


def test_what_played_a_run_and_was_not_promised_is_told_with_the_run(known: list[Trial]) -> None:
    """By what each run was played counts, not by what the results are read with."""
    now = program(designed())
    older = {**now, "version": "0.0.1", "prompts_sha256": "0" * 64, "metrics": {GINI: 99}}
    some = [replace(known[0], programs=[older]), replace(known[1], programs=[now, older]), *known[2:]]
    found = told(frozen(designed(), known), designed(), some)["deviations"]
    assert [(one["what"], one["is"], one["note"]) for one in found] == [
        ("program: version", "0.0.1", "in runs 1, 2"),
        ("program: prompts", "0" * 64, "in runs 1, 2"),
        (f"metric: {GINI}", "version 99", "in runs 1, 2"),
    ]
    promised = frozen(designed(), [replace(one, programs=[older]) for one in known])
    promised["frozen"]["program"] = {key: older[key] for key in ("version", "prompts_sha256")}
    promised["frozen"]["outcomes"]["primary"][0]["version"] = 99
    promised["frozen_sha256"] = sha256_of(promised["frozen"])
    assert told(promised, designed(), [replace(one, programs=[older]) for one in known])["deviations"] == []


def test_another_world_to_begin_in_is_a_deviation(known: list[Trial]) -> None:
    promised = frozen(designed(), known)
    promised["frozen"]["start"] = {"world": "home", "sha256": "02" * 32}
    promised["frozen_sha256"] = sha256_of(promised["frozen"])
    assert told(promised, designed(), known)["deviations"] == []
    (one,) = told({**promised, "start_sha256": b"\x03" * 32}, designed(), known)["deviations"]
    assert (one["what"], one["was"], one["is"]) == ("the starting world", "02" * 32, "03" * 32)
    assert told({**promised, "start_sha256": None}, designed(), known)["deviations"] == []


def test_sensitivity_tells_the_effect_at_each_level() -> None:
    pairs = {"terse": ("a1", "b1"), "wordy": ("a2", "b2")}
    variants = {name: {"prompt": name} for pair in pairs.values() for name in pair}
    design = designed(variants=variants, sensitivity=pairs)
    known = trials(design, of(a1=A, b1=B, a2=A, b2=[b + 1 for b in B]))
    (one,) = same(told(row(), design, known))["sensitivity"]
    assert [level["name"] for level in one["levels"]] == ["terse", "wordy"]
    assert one["highest"] - one["lowest"] == pytest.approx(1)
    assert one["heterogeneity"]["k"] == 2
    with pytest.raises(Invalid, match=r"sensitivity\.x: needs two different variants"):
        designed(sensitivity={"x": ["latest", "nobody"]})


def test_power_is_for_the_margin_not_for_what_was_seen(known: list[Trial]) -> None:
    design = designed(outcomes={"primary": [GINI], "margins": {GINI: 0.4}})
    found = powered(design, known, GINI)
    assert (found["effect"], found["effect_from"], found["note"]) == (0.4, "margin", "")
    assert found["contrasts"][0]["planned"]["runs"] == 6
    assert [one["runs"] for one in told(row(), design, known)["power"]] == [5, 6, 10, 20, 40, 80]
    assert told(row(), designed(), known)["power"] == []
    own = powered(designed(), known, GINI)
    assert own["effect_from"] == "pilot"
    assert "too noisy" in own["note"]
    for wrong in ({"effect": 0.0}, {"effect": nan}, {"wanted": 1.0}, {"outcome": "top_share"}):
        with pytest.raises(Invalid):
            powered(designed(), known, **{"outcome": GINI, **wrong})  # type: ignore[arg-type]


def test_power_of_primary_outcomes_is_that_of_what_holm_leaves() -> None:
    names = [GINI, "top_share"]
    design = designed(
        variants={"a": {}, "b": {"ranker": "interest"}, "c": {"ranker": "interest"}},
        outcomes={"primary": names, "exploratory": ["density"], "margins": {GINI: 0.4}},
    )
    known = trials(design, {arm: [dict.fromkeys((*names, "density"), x) for x in A] for arm in "abc"})
    assert powered(design, known, GINI, 0.4)["alpha"] == pytest.approx(0.05 / 4)
    assert powered(design, known, "density", 0.4)["alpha"] == 0.05


def test_an_end_by_precision_is_told_where_the_methods_are(known: list[Trial]) -> None:
    reason = f"stopping rule: {GINI} is known to ±0.1"
    assert (
        f"until a {reason}: intervals are a little narrower" in told(row(reason=reason), designed(), known)["methods"]
    )
    assert "until a" not in told(row(reason="stopped by hand"), designed(), known)["methods"]


def test_the_stamp_needs_people_beside_every_arm() -> None:
    design = designed(runs=20)
    values = [n % 10 / 10 for n in range(200)]
    people = tuple(Person(values[n % 10]) for n in range(400))
    runs = [[Persona(value) for value in values] for _ in range(20)]
    town = Reference(GINI, "town", people, held_out=True)
    beside = [compared(design, town, arm, runs, 20) for arm in design.variants]
    known = trials(design, of(latest=[0.5] * 20, interest=[0.5] * 20))
    found = same(told(row(), design, known, people=beside))
    assert found["stamp"] == {"label": "calibrated", "reasons": []}
    one_arm = told(row(), design, known, people=beside[:1])["stamp"]
    assert one_arm == {"label": "exploratory", "reasons": [f"{GINI}, interest: no data of people"]}
    looked = [compared(design, Reference(GINI, "town", people), arm, runs, 20) for arm in design.variants]
    assert "held out" in told(row(), design, known, people=looked)["stamp"]["reasons"][0]
    assert told(row(), design, known)["stamp"]["reasons"] == ["no data of people were compared with it"]


def test_what_is_kept_is_what_would_be_reckoned_anew(known: list[Trial]) -> None:
    """Whatever it hangs on makes another one; equal rows, read again, do not."""
    design = designed(outcomes={"primary": [GINI], "margins": {GINI: 1.0}})
    reference = Reference(GINI, "people", (Person(2.0), Person(3.5)))
    simulated = [[Persona(value)] for value in A]
    people = [compared(design, reference, arm, simulated, 6) for arm in design.variants]
    left_out = [replace(known[0], excluded="by hand: a power cut"), *known[1:]]
    measured = [replace(known[0], outcomes={GINI: 9.0}), *known[1:]]
    failed = [replace(known[0], state="failed", reason="late"), *known[1:]]
    promised = frozen(design, known)
    amended = {"what": "amended", "was": 1, "now": 2, "note": "why", "at": START + timedelta(hours=3), "by": 1}
    for rows, changed, runs, done, beside in (
        (row(), design, known, [], []),
        (row(state="running", ended_at=None), design, known, [], []),
        (row(), designed(outcomes={"primary": [GINI], "paired": False}), known, [], []),
        (row(), design, left_out, [], []),
        (row(), design, measured, [], []),
        (row(), design, failed, [], []),
        (row(), design, known, [], people),
        (promised, design, known, [], []),
        (promised, design, known, [amended], []),
    ):
        given = (rows, changed, runs, done, beside)
        assert once(told, *given) == once(told, *deepcopy(given)) == told(*given)
    assert once(powered, design, known, GINI, 0.5) == powered(design, known, GINI, 0.5)
    assert once(powered, design, known, GINI, 0.6) == powered(design, known, GINI, 0.6)


def test_it_is_reckoned_once_and_each_caller_has_a_copy(known: list[Trial]) -> None:
    times: list[int] = []

    def reckon(*given: Any) -> dict[str, Any]:
        times.append(1)
        return told(*given)

    first = once(reckon, row(), designed(), known)
    first["outcomes"].clear()
    assert once(reckon, row(), designed(), deepcopy(known)) == told(row(), designed(), known)
    assert len(times) == 1
    with pytest.raises(Invalid):
        once(powered, designed(), known, "no such outcome")
