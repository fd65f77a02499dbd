"""What an experiment came to, as data: what reports, pages, exports and the command line tell.

The unit is the run. A run that failed, was left out or never ran is told with its reason; none is dropped in silence.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import asyncpg

from app.analysis import comparing
from app.analysis import power as powers
from app.analysis.measuring import LEDGER
from app.analysis.resampling import DRAWS
from app.db.engine import Database
from app.errors import FieldError, Invalid
from app.experiments import references
from app.experiments.compared import (
    alpha_of,
    arms_of,
    counts,
    families_of,
    outcomes_of,
    pilot_of,
    power_alpha,
    power_of,
    sensitivity_of,
    unit_of,
    value_of,
)
from app.experiments.design import Experiment
from app.experiments.deviations import deviations
from app.experiments.once import once
from app.experiments.runner import design_of
from app.world.experiments import Trial, changes, found, trials
from app.world.sessions import decoded

SERIES = LEDGER[:5]
"""What is told of each cycle beside the outcomes."""


async def results(home: Database, key: str) -> dict[str, Any]:
    """What an experiment came to so far, from the home world. Same rows, same result.

    Raises:
        NotFound: there is none of this key.
    """
    row, design, known = await _read(home, key)
    done = await changes(home, row["id"])
    people = await references.beside(home, row["id"], design, known)
    plain = {**dict(row), "frozen": decoded(row["frozen"])}
    return await asyncio.to_thread(once, told, plain, design, known, done, people)


async def _read(home: Database, key: str) -> tuple[asyncpg.Record, Experiment, list[Trial]]:
    """An experiment's row, its design with the variants in the order in which they were planned, and its runs."""
    row = await found(home, key)
    design, known = design_of(row), await trials(home, row["id"])
    order = dict.fromkeys([*(one.variant for one in known), *design.variants])
    variants = {name: design.variants[name] for name in order if name in design.variants}
    return row, design.model_copy(update={"variants": variants}), known


def told(
    row: Mapping[str, Any],
    design: Experiment,
    known: Sequence[Trial],
    done: Sequence[Mapping[str, Any]] = (),
    people: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What an experiment came to.

    Args:
        row: Its row, with `frozen` as data.
        design: As it is now.
        known: All its runs.
        done: What was done to it (`world.experiments.changes`).
        people: What people did beside it (`references.beside`).
    """
    frozen = row.get("frozen")
    families = families_of(design, frozen)
    primary = [name for name, family in families.items() if family == "primary"]
    provisional = row.get("ended_at") is None
    measured = outcomes_of(design, known, families)
    open_runs = sum(not one.over and one.state != "failed" for one in known) if provisional else 0
    if open_runs:
        measured = [{**one, "verdict": f"Provisional: {one['verdict']}"} for one in measured]
    whole = {
        "key": row["key"],
        "name": row["name"],
        "state": row["state"],
        "reason": row.get("reason"),
        "provisional": provisional,
        "venue": design.venue,
        "seed": design.seed,
        "source_world": row["source"],
        "start_world": row.get("start_world"),
        "n_planned": len(known),
        "n_done": sum(one.over for one in known),
        "n_failed": sum(one.state == "failed" for one in known),
        "n_excluded": sum(one.over and one.excluded is not None for one in known),
        "unit_of_analysis": "run",
        "hypotheses": list(design.hypotheses),
        "trials": [_trial(one, list(families)) for one in known],
        "variants": _variants(design, known),
        "setting": design.setting,
        "outcomes": measured,
        "series": _series(design, known, list(families)),
        "freeze": _freeze(row),
        "deviations": deviations(row, design, known, done),
        "stamp": stamp(design, primary, people, open_runs),
        "human": [dict(one) for one in people],
        "power": power_of(design, known, primary),
        "sensitivity": sensitivity_of(design, known, primary or list(families)),
        "cost": _cost(design, known),
        "missing": missing(known, list(families), over=not provisional),
        "methods": methods(design, measured, row.get("reason")),
    }
    listed: dict[str, Any] = _listed(whole)
    return listed


def _listed(value: Any) -> Any:
    """The same as JSON has it: no tuples, and None for what is no finite number."""
    if isinstance(value, Mapping):
        return {key: _listed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _trial(one: Trial, names: Sequence[str]) -> dict[str, Any]:
    every = dict.fromkeys([*names, *one.outcomes])
    return {
        "number": one.number,
        "variant": one.variant,
        "replicate": one.replicate,
        "seed": one.seed,
        "state": one.state,
        "counts": counts(one),
        "excluded": one.excluded,
        "reason": one.reason,
        "outcomes": {name: value_of(one, name) for name in every},
        "why": dict(one.why),
        "calls": one.calls,
        "tokens": one.prompt_tokens + one.completion_tokens,
        "usd": one.usd,
        "seconds": one.seconds,
        "cycles": one.cycles_done,
        "world": one.world,
        "world_hash": one.world_sha256.hex() if one.world_sha256 is not None else None,
        "session": one.session,
    }


def _variants(design: Experiment, known: Sequence[Trial]) -> list[dict[str, Any]]:
    return [
        {"name": name, "runs": sum(one.variant == name for one in known), "settings": own}
        for name, own in design.variants.items()
    ]


def _series(design: Experiment, known: Sequence[Trial], names: Sequence[str]) -> dict[str, dict[str, list[list[Any]]]]:
    """By metric and variant the values of each run that counts, by cycle; what no cycle has is left out."""
    runs = [one for one in known if counts(one) and one.series]
    found = {}
    for name in dict.fromkeys((*names, *SERIES)):
        if any(_finite(cycle.get(name)) is not None for one in runs for cycle in one.series):
            found[name] = {
                variant: [[_finite(cycle.get(name)) for cycle in one.series] for one in runs if one.variant == variant]
                for variant in design.variants
            }
    return found


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and isfinite(value) else None


def _freeze(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("frozen") is None:
        return None
    return {"sha256": row["frozen_sha256"].hex(), "at": row["frozen_at"].isoformat(), "document": row["frozen"]}


def _cost(design: Experiment, known: Sequence[Trial]) -> list[dict[str, Any]]:
    """What each variant took, runs that failed with it; `usd_a_run` over those that came to an end."""
    rows = []
    for variant in design.variants:
        own = [one for one in known if one.variant == variant]
        over = [one.usd for one in own if one.over]
        rows.append(
            {
                "variant": variant,
                "calls": sum(one.calls for one in own),
                "tokens": sum(one.prompt_tokens + one.completion_tokens for one in own),
                "usd": sum(one.usd for one in own),
                "seconds": sum(one.seconds or 0.0 for one in own),
                "usd_a_run": sum(over) / len(over) if over else None,
            }
        )
    return rows


def missing(known: Sequence[Trial], names: Sequence[str], *, over: bool) -> list[dict[str, Any]]:
    """Each run that is not compared, and each value that a run hasn't got, with why; `outcome` is None for a run."""
    rows = []
    for one in known:
        about = {key: getattr(one, key) for key in ("number", "variant", "replicate", "seed", "state")}
        if not counts(one):
            rows.append({**about, "outcome": None, "why": _why(one, over=over)})
            continue
        rows += [
            {**about, "outcome": name, "why": one.why.get(name) or "it was not measured, or is no finite number"}
            for name in names
            if value_of(one, name) is None
        ]
    return rows


def _why(one: Trial, *, over: bool) -> str:
    if one.state == "failed":
        return f"failed: {one.reason or 'it is not known why'}"
    if one.over:
        return f"excluded: {one.excluded}"
    words = "not run" if over else "not yet"
    return f"{words}: {one.state.replace('_', ' ')}" + (f", {one.reason}" if one.reason else "")


def stamp(
    design: Experiment, primary: Sequence[str], people: Sequence[Mapping[str, Any]], open_runs: int
) -> dict[str, Any]:
    """Calibrated where every arm of every primary outcome is (docs/statistics.md), and all runs are over."""
    reasons = [f"provisional: {open_runs} runs are not done yet"] if open_runs else []
    if not primary:
        reasons.append("no outcome is primary")
    if not people:
        reasons.append("no data of people were compared with it")
    for name in primary if people else ():
        for arm in design.variants:
            beside = [one for one in people if one["outcome"] == name and one["arm"] == arm]
            if not beside:
                reasons.append(f"{name}, {arm}: no data of people")
            elif not any(one["stamp"]["label"] == "calibrated" for one in beside):
                reasons += [f"{name}, {arm}, {one['name']}: {why}" for one in beside for why in one["stamp"]["reasons"]]
    return {"label": "exploratory" if reasons else "calibrated", "reasons": reasons}


def methods(design: Experiment, measured: Sequence[Mapping[str, Any]], reason: str | None = None) -> str:
    """What was done, in sentences, from what was really done."""
    rules = design.outcomes
    contrasts = [one for told_of in measured for one in told_of["comparison"]["contrasts"]]
    said = ["The unit is the run: n counts runs that came to an end and were not excluded."]
    if not contrasts:
        return f"{said[0]} Means have Student's t intervals, from 20 runs on bootstrap (BCa) ones (Efron 1987)."
    said.append(
        "Arms are paired by seed: two runs of the same seed make a difference; a run without its partner is dropped."
        if rules.paired
        else "Arms are compared as independent samples."
    )
    said.append(_intervals(contrasts, paired=rules.paired, level=rules.level))
    said.append(_tests(contrasts, paired=rules.paired))
    said += _corrections(measured)
    if any(one["comparison"]["overall"] for one in measured):
        said.append(f"Over all arms {DRAWS:,} drawn assignments were looked at (Edgington & Onghena 2007).")
    if by_precision(reason):
        said.append(
            f"Runs were looked at as they came, until a {reason}: intervals are a little narrower, and p a little"
            " smaller, than they should be (docs/statistics.md)."
        )
    if any(one["equivalence"] for one in measured):
        said.append(f"Equivalence: two one-sided t tests at {alpha_of(rules.level):.3g} (Schuirmann 1987).")
    if design.sensitivity:
        said.append(
            "Sensitivity: random effects (DerSimonian & Laird 1986), Q (Cochran 1954), I² (Higgins & Thompson 2002)."
        )
    said.append(
        "Effect sizes: Hedges' g (1981), Cliff's delta (1993)" + (", d_z (Cohen 1988)." if rules.paired else ".")
    )
    return " ".join(said)


def by_precision(reason: str | None) -> bool:
    """Whether an experiment ended because a difference was known well enough (`runner.stopped_by`)."""
    return (reason or "").startswith("stopping rule") and " is known to ±" in (reason or "")


def _intervals(contrasts: Iterable[Mapping[str, Any]], *, paired: bool, level: float) -> str:
    shown = {one["shown"] for one in contrasts}
    t = "Student's t" if paired else "Welch's t (1947)"
    ways = [way for name, way in (("t", t), ("bca", "bootstrap (BCa, Efron 1987)")) if name in shown]
    return f"Intervals of differences are {100 * level:g} % {' and, from 20 runs on, '.join(ways)}."


def _tests(contrasts: Iterable[Mapping[str, Any]], *, paired: bool) -> str:
    tests = [one["test"] for one in contrasts if one["test"]["p"] is not None]
    if not tests:
        return "No p could be computed: there were no runs to compare."
    what = "flips of the pairs' signs (Fisher 1935)" if paired else "assignments of runs to arms (Pitman 1937)"
    exact = sorted({one["draws"] for one in tests if one["exact"]})
    parts = [f"all {' or '.join(f'{n:,}' for n in exact)}"] if exact else []
    if any(not one["exact"] for one in tests):
        parts.append(f"{DRAWS:,} drawn (Phipson & Smyth 2010)")
    return f"p is two-sided, of a randomisation test over {' and '.join(parts)} {what}."


def _corrections(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    sizes = dict.fromkeys(("primary", "exploratory"), 0)
    for one in measured:
        sizes[one["family"]] += len(one["comparison"]["contrasts"])
    ways = {"primary": "Holm (1979)", "exploratory": "Benjamini & Hochberg (1995)"}
    told_of = [f"{ways[family]} ({size} {family})" for family, size in sizes.items() if size]
    return [f"Tests are corrected by {' and '.join(told_of)}, each family for itself."]


async def power(
    home: Database, key: str, outcome: str, effect: float | None = None, wanted: float = 0.8
) -> dict[str, Any]:
    """How many runs it would need, by the runs there are as a pilot.

    `effect` is the smallest difference that matters, in the outcome's unit; without it the outcome's margin counts,
    and without that the pilot's own difference, which is too noisy to plan with (`note` says so).

    Raises:
        NotFound: there is none of this key.
        Invalid: no such outcome, one variant alone, an effect or a power that can't be.
    """
    _, design, known = await _read(home, key)
    return await asyncio.to_thread(once, powered, design, known, outcome, effect, wanted)


def powered(
    design: Experiment, known: Sequence[Trial], outcome: str, effect: float | None = None, wanted: float = 0.8
) -> dict[str, Any]:
    """`power`, of runs: `contrasts` has for each arm what is needed, and what the design's own number of runs has."""
    alpha = alpha_of(design.outcomes.level)
    wrong = []
    if outcome not in design.outcomes.names():
        wrong.append(("outcome", f"is none of this experiment: {', '.join(design.outcomes.names()) or 'it has none'}"))
    if not arms_of(design):
        wrong.append(("variants", "there is one alone: nothing is compared"))
    if effect is not None and not (isfinite(effect) and 0 < abs(effect) <= comparing.LARGEST):
        wrong.append(("effect", f"must be a finite number other than 0, not {effect}"))
    if not alpha < wanted < 1:
        wrong.append(("wanted", f"must be above {alpha:.3g} and below 1, not {wanted}"))
    if wrong:
        errors = [FieldError(place, "invalid", words) for place, words in wrong]
        raise Invalid("; ".join(f"{place}: {words}" for place, words in wrong), errors=errors)
    chosen, source = effect, "given"
    if effect is None:
        chosen = design.outcomes.margins.get(outcome)
        source = "pilot" if chosen is None else "margin"
    contrasts = []
    for arm in arms_of(design):
        pilot = pilot_of(design, known, outcome, arm)
        needed = powers.needed(**pilot, effect=chosen, wanted=wanted)
        planned = powers.power(**pilot, effect=chosen, runs=min(powers.MOST_RUNS, max(2, design.runs)))
        contrasts.append({"arm": arm, "needed": comparing.data(needed), "planned": comparing.data(planned)})
    noisy = "the pilot's own difference is too noisy to plan with: say the smallest effect that matters"
    return {
        "outcome": outcome,
        "unit": unit_of(design.venue, outcome),
        "effect": chosen,
        "effect_from": source,
        "wanted": wanted,
        "alpha": power_alpha(design, outcome),
        "paired": design.outcomes.paired,
        "contrasts": contrasts,
        "note": noisy if source == "pilot" else "",
    }


async def sensitivity(home: Database, key: str) -> list[dict[str, Any]]:
    """How each outcome's effect varies over the levels of the design's `sensitivity`; none where it names none.

    Raises:
        NotFound: there is none of this key.
    """
    row, design, known = await _read(home, key)
    return await asyncio.to_thread(sensitivity_of, design, known, list(families_of(design, decoded(row["frozen"]))))
