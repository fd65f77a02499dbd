"""Outcomes of an experiment compared over its runs: what `results` tells of each, from trials alone."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, TypeAlias

from app.analysis import comparing, sensitivity
from app.analysis import power as powers
from app.analysis.catalogue import METRICS
from app.analysis.comparing import LARGEST
from app.analysis.corrections import CALLED, Adjusted, adjust
from app.experiments import outcomes
from app.experiments.design import Experiment
from app.streams import number
from app.world.experiments import Trial

Family: TypeAlias = Literal["primary", "exploratory"]
Values: TypeAlias = dict[str, list[float | None]]

POWER_RUNS = (5, 10, 20, 40, 80)
POWER_SIMULATIONS = 1_000


def alpha_of(level: float) -> float:
    """1 - level, without what binary fractions add to it: a p of just that is significant."""
    return round(1 - level, 12)


def counts(trial: Trial) -> bool:
    """Whether a run is compared: it came to an end, and no rule and nobody left it out."""
    return trial.over and trial.excluded is None


def value_of(trial: Trial, name: str) -> float | None:
    """A run's outcome; None where it has none, or one that can't be reckoned with."""
    value = trial.outcomes.get(name)
    return value if value is not None and isfinite(value) and abs(value) <= LARGEST else None


def values_of(design: Experiment, trials: Sequence[Trial], name: str) -> Values:
    """An outcome of all planned runs of each variant, in their order; None where a run does not count or has none."""
    return {
        variant: [value_of(one, name) if counts(one) else None for one in _of(trials, variant)]
        for variant in design.variants
    }


def seeds_of(design: Experiment, trials: Sequence[Trial]) -> dict[str, list[int]]:
    """The seeds of all planned runs of each variant, in their order."""
    return {variant: [one.seed for one in _of(trials, variant)] for variant in design.variants}


def _of(trials: Sequence[Trial], variant: str) -> list[Trial]:
    return sorted((one for one in trials if one.variant == variant), key=lambda one: one.replicate)


def families_of(design: Experiment, frozen: Mapping[str, Any] | None) -> dict[str, Family]:
    """Each outcome that is told, with its family, primary ones first.

    Once there is a freeze, primary is what was frozen as primary and nothing else, and what was frozen is told.
    """
    promised = (frozen or {}).get("outcomes") or {}
    primary = [one["name"] for one in promised.get("primary", ())] if frozen else design.outcomes.primary
    others = [*design.outcomes.names(), *(one["name"] for one in promised.get("exploratory", ()))]
    found: dict[str, Family] = dict.fromkeys(primary, "primary")
    for name in others:
        found.setdefault(name, "exploratory")
    return found


def outcomes_of(design: Experiment, trials: Sequence[Trial], families: Mapping[str, Family]) -> list[dict[str, Any]]:
    """What each outcome comes to: comparison, adjusted p by arm, equivalence, and a sentence."""
    compared = {name: _comparison(design, trials, name) for name in families}
    alpha = alpha_of(design.outcomes.level)
    adjusted, least = (_adjusted(compared, families, alpha, figure) for figure in ("p", "least"))
    return [_told(design, trials, name, families[name], compared[name], adjusted, least) for name in families]


def _seed(design: Experiment, name: str) -> int:
    return number(design.seed, "results", name, bits=62)


def _comparison(design: Experiment, trials: Sequence[Trial], name: str) -> dict[str, Any]:
    rules, values, seed = design.outcomes, values_of(design, trials, name), _seed(design, name)
    if len(values) > 1:
        return comparing.data(
            comparing.compare(
                values,
                seeds=seeds_of(design, trials),
                seed=seed,
                paired=rules.paired,
                level=rules.level,
                control=rules.control,
            )
        )
    arms = tuple(comparing.arm_of(arm, runs, rules.level, seed) for arm, runs in values.items())
    return comparing.data(comparing.Comparison(rules.paired, rules.level, design.control, arms, (), None))


def _adjusted(
    compared: Mapping[str, Mapping[str, Any]], families: Mapping[str, Family], alpha: float, figure: str
) -> dict[tuple[str, str], Adjusted]:
    """By outcome and arm each `p`, or the `least` there can be; every contrast of an outcome counts in its family."""
    tests = {(name, one["arm"]): one["test"][figure] for name, found in compared.items() for one in found["contrasts"]}
    keys = {"\x1f".join(place): place for place in tests}
    ps: dict[Family, dict[str, float | None]] = {"primary": {}, "exploratory": {}}
    for key, place in keys.items():
        ps[families[place[0]]][key] = tests[place]
    return {keys[one.key]: one for one in adjust(ps["primary"], ps["exploratory"], alpha=alpha)}


def _told(
    design: Experiment,
    trials: Sequence[Trial],
    name: str,
    family: Family,
    comparison: dict[str, Any],
    adjusted: Mapping[tuple[str, str], Adjusted],
    least: Mapping[tuple[str, str], Adjusted],
) -> dict[str, Any]:
    ps = {
        one["arm"]: {
            "p": adjusted[name, one["arm"]].p,
            "p_adjusted": adjusted[name, one["arm"]].adjusted,
            "method": adjusted[name, one["arm"]].method,
            "of": adjusted[name, one["arm"]].of,
            "significant": adjusted[name, one["arm"]].significant,
            "least": one["test"]["least"],
            "least_adjusted": least[name, one["arm"]].adjusted,
        }
        for one in comparison["contrasts"]
    }
    unit = unit_of(design.venue, name)
    found: dict[str, Any] = {
        "name": name,
        "unit": unit,
        "family": family,
        **_catalogued(design.venue, name),
        "comparison": comparison,
        "adjusted": ps,
        "equivalence": _equivalence(design, trials, name),
        "limits": outcomes.limits_of(design.venue, name),
    }
    return {**found, "verdict": verdict(found)}


def unit_of(venue: str, name: str) -> str:
    """The unit of an outcome; none of a metric that this version has not got."""
    return "" if venue == "feed" and name not in METRICS else outcomes.unit_of(venue, name)


def _catalogued(venue: str, name: str) -> dict[str, Any]:
    if venue == "feed" and name in METRICS:
        one = METRICS[name]
        return {"formula": one.formula, "source": one.source, "version": one.version}
    return {"formula": outcomes.FIGURES[name]} if name in outcomes.FIGURES else {}


def _equivalence(design: Experiment, trials: Sequence[Trial], name: str) -> list[dict[str, Any]]:
    margin = design.outcomes.margins.get(name)
    if margin is None or len(design.variants) < 2:
        return []
    found = comparing.equivalence(
        values_of(design, trials, name),
        seeds=seeds_of(design, trials),
        margin=margin,
        seed=_seed(design, name),
        paired=design.outcomes.paired,
        alpha=alpha_of(design.outcomes.level),
        control=design.outcomes.control,
    )
    return [comparing.data(one) for one in found]


def verdict(told: Mapping[str, Any]) -> str:
    """A sentence that says of an outcome what its figures bear, and no more."""
    comparison = told["comparison"]
    if not comparison["contrasts"]:
        (arm,) = comparison["arms"]
        if arm["mean"]["value"] is None:
            return f"{told['name']}: no run of {arm['name']} has a value."
        inside = _inside(arm["mean"], comparison["level"])
        words = f"{told['name']}: {arm['name']} has a mean of {_sized(arm['mean']['value'], told['unit'])} over"
        return f"{words} {arm['n']} runs{inside}; with one variant there is nothing to compare it with."
    equal = {one["arm"]: one for one in told["equivalence"]}
    parts = [_judged(told, one, equal.get(one["arm"])) for one in comparison["contrasts"]]
    return f"{told['name']}: {'; '.join(parts)}."


def _judged(told: Mapping[str, Any], contrast: Mapping[str, Any], equal: Mapping[str, Any] | None) -> str:
    level, paired, arm = told["comparison"]["level"], told["comparison"]["paired"], contrast["arm"]
    shown = contrast["t"] if contrast["shown"] == "t" else contrast["difference"]
    if shown["value"] is None:
        return f"no {'pair of runs' if paired else 'runs'} to compare {arm} with {contrast['control']}"
    n = f"{contrast['n']} pairs" if paired else f"{contrast['n']} and {contrast['n_control']} runs"
    head = f"{arm} less {contrast['control']} is {_sized(shown['value'], told['unit'])} over {n}"
    p = told["adjusted"][arm]
    return f"{head}{_inside(shown, level)}: {_weighed(told['family'], p, equal, alpha_of(level))}"


def _weighed(family: str, p: Mapping[str, Any], equal: Mapping[str, Any] | None, alpha: float) -> str:
    corrected = (
        f"p = {p['p_adjusted']:.3g}, {CALLED[p['method']]} over {p['of']}" if p["p_adjusted"] is not None else "no p"
    )
    same = equal is not None and equal["equivalent"]
    within = f"within the margin of ±{equal['margin_high']:.4g}" if same and equal is not None else ""
    if p["significant"]:
        found = f"more than the chance of the assignment explains ({corrected})"
        found += f", yet {within}" if same else ""
        return found if family == "primary" else f"{found}; exploratory, to be tested in runs of its own"
    if same:
        return f"equivalent {within}, by two one-sided tests{_shown(equal, alpha)} ({corrected} for a difference)"
    if p["least_adjusted"] is None or p["least_adjusted"] > alpha * (1 + 1e-9):
        return f"so few runs could not have shown any difference ({corrected})"
    return f"no difference was shown, which does not say that there is none ({corrected})"


def _shown(equal: Mapping[str, Any] | None, alpha: float) -> str:
    """The interval that the tests of equivalence look at, which is narrower than that of the difference."""
    if equal is None or equal["low"] is None:
        return ""
    return f", whose {100 * (1 - 2 * alpha):g} % interval is {equal['low']:.4g} to {equal['high']:.4g}"


def _sized(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()


def _inside(interval: Mapping[str, Any], level: float) -> str:
    if interval["low"] is None or interval["high"] is None:
        return " (no interval)"
    return f" ({100 * level:g} % interval {interval['low']:.4g} to {interval['high']:.4g})"


# How far it goes beyond these prompts and models, and how many runs it needs


def sensitivity_of(design: Experiment, trials: Sequence[Trial], names: Sequence[str]) -> list[dict[str, Any]]:
    """How each outcome's effect varies over the levels that the design names; runs are paired within a level."""
    if not design.sensitivity:
        return []
    found = []
    for name in names:
        levels = {
            level: {"control": _by_replicate(design, trials, control, name), "treated": runs}
            for level, (control, treated) in design.sensitivity.items()
            for runs in (_by_replicate(design, trials, treated, name),)
        }
        told = sensitivity.sensitivity(
            levels,
            seeds=design.all_seeds(),
            arm="treated",
            control="control",
            seed=_seed(design, name),
            paired=design.outcomes.paired,
            level=design.outcomes.level,
        )
        found.append({"outcome": name, "unit": unit_of(design.venue, name), **comparing.data(told)})
    return found


def _by_replicate(design: Experiment, trials: Sequence[Trial], variant: str, name: str) -> list[float | None]:
    """A value for each replicate, also those that the variant hasn't got."""
    there = {one.replicate: value_of(one, name) for one in trials if one.variant == variant and counts(one)}
    return [there.get(replicate) for replicate in range(len(design.all_seeds()))]


def power_alpha(design: Experiment, name: str) -> float:
    """The alpha that power is told for: of primary outcomes what Holm leaves to the first of all their contrasts."""
    tests = len(design.outcomes.primary) * len(arms_of(design)) if name in design.outcomes.primary else 1
    return alpha_of(design.outcomes.level) / max(1, tests)


def pilot_of(design: Experiment, trials: Sequence[Trial], name: str, arm: str) -> dict[str, Any]:
    """The control's and an arm's runs, as `analysis.power` takes them."""
    control = design.control
    values, seeds = values_of(design, trials, name), seeds_of(design, trials)
    return {
        "pilot": {control: values[control], arm: values[arm]},
        "seeds": {control: seeds[control], arm: seeds[arm]},
        "paired": design.outcomes.paired,
        "alpha": power_alpha(design, name),
        "seed": number(design.seed, "power", name, arm, bits=62),
    }


def arms_of(design: Experiment) -> list[str]:
    """The variants that are compared with the control."""
    return [variant for variant in design.variants if variant != design.control]


def power_of(design: Experiment, trials: Sequence[Trial], names: Sequence[str]) -> list[dict[str, Any]]:
    """The power by runs to find the margin of the first of these outcomes that has one, in the first arm."""
    name = next((one for one in names if one in design.outcomes.margins), None)
    if name is None or not (arms := arms_of(design)):
        return []
    known = pilot_of(design, trials, name, arms[0])
    margin = design.outcomes.margins[name]
    about = {"outcome": name, "arm": arms[0], "control": design.control}
    found = [
        powers.power(**known, runs=runs, effect=margin, simulations=POWER_SIMULATIONS)
        for runs in sorted({*POWER_RUNS, min(powers.MOST_RUNS, max(2, design.runs))})
    ]
    return [{**about, **comparing.data(one)} for one in found if one.power.share is not None]
