"""The report of an experiment, from plain data: what was planned, what came of it, and how sure that is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.analysis import plots
from app.analysis.report.outcomes import Data, compared, counts, distribution, finding, listed
from app.analysis.report.page import Bullets, Code, Facts, Figure, Grid, Page, Part, Section, Text, plain

LIMITS = (
    "All texts are by machines: a language model, or its offline stand-in, plays every persona. An effect on personas "
    "is no evidence of an effect on people, unless people's data are attached and the stamp says calibrated.",
    "The unit is the run: n counts runs, never posts or personas, which share their run's chance.",
    "p > 0.05 does not say that there is no difference; only an equivalence test does.",
    "Results hold for this start, these prompts, models and settings; sensitivity tells how far they go beyond.",
)
METHODS = (
    "Arms are compared over runs, paired by seed unless the design says otherwise: runs of the same seed differ "
    "by the treatment alone. A run without a value is missing and counted, and with it goes its pair. Intervals "
    "are Student's t (pairs) or Welch's (Welch 1947) below 20 runs, from 20 on the BCa bootstrap over runs (Efron "
    "1987). p is of a randomisation test on the assignment of runs (Fisher 1935; Pitman 1937; Phipson & Smyth "
    "2010). Effect sizes: Hedges' g (Hedges 1981), Cliff's delta (Cliff 1993), d_z (Cohen 1988). Primary outcomes "
    "are corrected by Holm (1979), exploratory ones by Benjamini & Hochberg (1995), each over its whole family. "
    "Equivalence: two one-sided tests (Schuirmann 1987). docs/statistics.md tells all of it."
)


def experiment_page(data: Data) -> Page:
    """All of an experiment's report.

    Args:
        data: What `experiments.results` tells; keys that are not there leave out what hangs on them.

    Raises:
        ValueError: A value is no finite number; the message says which.
    """
    trials, outcomes = listed(data, "trials"), listed(data, "outcomes")
    stamp = data.get("stamp") or {}
    sections = [
        Section("Design", _design(data, trials)),
        Section("Freeze and deviations", _freeze(data)),
        Section("Runs that are missing, failed or excluded", _missing(trials)),
        Section("Outcomes", compared(outcomes)),
        Section("Every run", [Figure(distribution(one, trials)) for one in outcomes]),
        Section("Over time", _series(data, outcomes)),
        Section("Sensitivity", _sensitivity(data)),
        Section("Power", _power(data)),
        Section("Cost", _cost(data, trials)),
        Section("Beside people", _human(data)),
        Section("Limits", [Bullets([*LIMITS, *_limits(outcomes)])]),
        Section("Methods", [Text(METHODS), *([Text(str(data["methods"]))] if data.get("methods") else [])]),
        Section("How to make it again", _reproduce(data, trials)),
    ]
    label = str(stamp.get("label") or "exploratory")
    reasons = [str(one) for one in stamp.get("reasons") or ()]
    if not reasons and label != "calibrated":
        reasons = ["no data of people were compared with it"]
    title = str(data.get("name") or data.get("key") or "An experiment")
    return Page(title, _lead(data, trials, outcomes), [one for one in sections if one.parts], label, reasons)


def experiment_report(data: Data) -> str:
    """`experiment_page` as HTML, one file that needs nothing else.

    Raises:
        ValueError: as `experiment_page`.
    """
    return experiment_page(data).html()


def _variants(data: Data, trials: Sequence[Data]) -> list[str]:
    named = [str(one.get("name", "")) for one in listed(data, "variants")]
    return list(dict.fromkeys([*named, *(str(one.get("variant", "")) for one in trials)]))


def _lead(data: Data, trials: Sequence[Data], outcomes: Sequence[Data]) -> list[str]:
    arms = _variants(data, trials)
    by = [sum(counts(one) and str(one.get("variant")) == arm for one in trials) for arm in arms]
    planned = data.get("n_planned")
    each = ", ".join(f"{plain(arm)} {n}" for arm, n in zip(arms, by, strict=True))
    of = f" of {plain(planned)} planned" if planned is not None else ""
    told = [f"n = {sum(by)} runs count{of}, over {len(arms)} arms ({each}). State: {plain(data.get('state'))}."]
    for one in outcomes:
        if one.get("family") == "primary":
            told += [finding(one, contrast) for contrast in listed(one.get("comparison") or {}, "contrasts")]
    return told


def _design(data: Data, trials: Sequence[Data]) -> list[Part]:
    facts = [
        (name, data.get(key))
        for name, key in (
            ("Experiment", "key"),
            ("State", "state"),
            ("Venue", "venue"),
            ("Seed", "seed"),
            ("Started from", "source_world"),
            ("Runs planned", "n_planned"),
        )
    ]
    settings = {str(one.get("name", "")): one.get("settings") for one in listed(data, "variants")}
    rows = []
    for arm in _variants(data, trials):
        own = [one for one in trials if str(one.get("variant")) == arm]
        seeds = ", ".join(str(one.get("seed")) for one in own[:20]) + (" …" if len(own) > 20 else "")
        rows.append((arm, settings.get(arm) or "as the start", len(own), sum(map(counts, own)), seeds))
    return [
        Facts([(name, str(value) if name == "Seed" and value is not None else value) for name, value in facts]),
        Grid("Arms", ["arm", "settings", "runs", "of these count", "seeds"], rows),
    ]


def _freeze(data: Data) -> list[Part]:
    freeze, deviations = data.get("freeze"), listed(data, "deviations")
    parts: list[Part] = []
    if isinstance(freeze, Mapping):
        parts.append(Facts([("SHA-256", freeze.get("sha256")), ("Frozen at", freeze.get("at"))]))
    else:
        parts.append(Text("Nothing was frozen before the runs: all outcomes are to be read as exploratory.", "warn"))
    rows = [(one.get("what"), one.get("was"), one.get("is"), one.get("at")) for one in deviations]
    return [*parts, Grid("Deviations from what was frozen", ["what", "was", "is", "at"], rows)]


def _missing(trials: Sequence[Data]) -> list[Part]:
    rows = [
        (
            one.get("number"),
            one.get("variant"),
            one.get("replicate"),
            str(one.get("seed", "")),
            one.get("state"),
            one.get("reason"),
            one.get("excluded"),
        )
        for one in trials
        if not counts(one)
    ]
    if not rows:
        return [Text("All runs were completed and all count.", "good")]
    columns = ["run", "arm", "replicate", "seed", "state", "reason", "left out, why"]
    return [
        Text("They are kept and shown: a run is left out by a rule of the design, or by hand with a reason."),
        Grid("Runs that do not count", columns, rows),
    ]


def _series(data: Data, outcomes: Sequence[Data]) -> list[Part]:
    units = {one.get("name"): str(one.get("unit") or "") for one in outcomes}
    found = data.get("series") or {}
    return [Figure(plots.over_time(str(name), arms, units.get(name, ""))) for name, arms in found.items()]


def _each(found: Any) -> Iterable[Data]:
    """One mapping, or a list of them."""
    return [found] if isinstance(found, Mapping) else [one for one in found or () if isinstance(one, Mapping)]


def _sensitivity(data: Data) -> list[Part]:
    parts: list[Part] = []
    for one in _each(data.get("sensitivity")):
        levels: list[Data] = [
            {"name": level.get("name"), **(level.get("difference") or level)} for level in listed(one, "levels")
        ]
        levels = [{**level, "name": plain(level.get("name"))} for level in levels or ([one] if "value" in one else [])]
        spread = one.get("heterogeneity") or {}
        about = {"unit": str(one.get("unit") or ""), "of": str(one.get("outcome") or "")}
        parts.append(Figure(plots.sensitivity(levels, mean=spread.get("mean"), **about)))
        if spread:
            parts.append(Facts([(name, spread.get(name)) for name in ("k", "q", "p", "i2", "tau")]))
    return parts


def _power(data: Data) -> list[Part]:
    points = []
    for one in _each(data.get("power")):
        share = one.get("power")
        inside = (
            share if isinstance(share, Mapping) else {"share": share, "low": one.get("low"), "high": one.get("high")}
        )
        points.append(
            {
                "runs": one.get("runs"),
                "power": inside.get("share"),
                "low": inside.get("low"),
                "high": inside.get("high"),
                "normal": one.get("normal"),
            }
        )
    return [Figure(plots.power_curve(points))] if points else []


def _cost(data: Data, trials: Sequence[Data]) -> list[Part]:
    rows = list(_each(data.get("cost"))) or [_taken(arm, trials) for arm in _variants(data, trials)]
    each = [
        (
            one.get("number"),
            one.get("variant"),
            one.get("state"),
            one.get("calls"),
            one.get("tokens"),
            one.get("usd"),
            one.get("seconds"),
        )
        for one in trials
    ]
    columns = ["run", "arm", "state", "calls", "tokens", "USD", "seconds"]
    named = [{**one, "name": one.get("name", one.get("variant", ""))} for one in rows]
    return [Figure(plots.cost(named)), Grid("Each run", columns, each)]


def _taken(arm: str, trials: Sequence[Data]) -> dict[str, Any]:
    own = [one for one in trials if str(one.get("variant", "")) == arm]
    sums = {key: [one[key] for one in own if one.get(key) is not None] for key in ("calls", "tokens", "usd")}
    return {"name": arm, **{key: sum(found) if found else None for key, found in sums.items()}}


def _human(data: Data) -> list[Part]:
    parts: list[Part] = []
    for one in _each(data.get("human")):
        of = ", ".join(str(one[key]) for key in ("outcome", "arm", "name") if one.get(key))
        if one.get("simulated") and one.get("people"):
            unit = str(one.get("unit") or "")
            parts.append(Figure(plots.human_comparison(one["simulated"], one["people"], unit, of=of)))
        elif of:
            parts.append(Text(of))
        agreement = one.get("agreement") or one
        rows = [(d.get("name"), d.get("value"), d.get("chance")) for d in listed(agreement, "distances")]
        parts += (
            [Grid(f"Distances: {of}" if of else "Distances", ["distance", "value", "what chance alone comes to"], rows)]
            if rows
            else []
        )
        told = [
            (name.replace("_", " "), agreement[name])
            for name in ("runs", "n", "n_human", "missing", "mean_error", "variance_ratio", "worst_group", "held_out")
            if agreement.get(name) is not None
        ]
        parts += [Facts(told)] if told else []
    return parts


def _limits(outcomes: Sequence[Data]) -> list[str]:
    return [f"{plain(one.get('name'))}: {plain(one['limits'])}" for one in outcomes if one.get("limits")]


def _reproduce(data: Data, trials: Sequence[Data]) -> list[Part]:
    key = plain(data.get("key"))
    hashes = [
        (one.get("number"), one.get("variant"), str(one.get("seed", "")), one.get("world_hash")) for one in trials
    ]
    again = f"simfeed experiment run {key}\nsimfeed experiment export {key}" if data.get("key") else ""
    return [
        Text(
            "The design, its seed and the start give the same runs again; with a language model, as far as it repeats "
            "itself."
        ),
        *([Code(again)] if again else []),
        Grid("Worlds of the runs, SHA-256", ["run", "arm", "seed", "world"], hashes),
    ]
