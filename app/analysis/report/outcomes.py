"""The outcomes of an experiment as parts of its report: means, differences, every run."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from app.analysis import plots
from app.analysis.corrections import CALLED
from app.analysis.plots.plot import between
from app.analysis.report.page import Figure, Grid, Part, Text, plain

Data = Mapping[str, Any]


def listed(data: Data, name: str) -> list[Data]:
    """The mappings that stand there under a name."""
    return [one for one in data.get(name) or () if isinstance(one, Mapping)]


def counts(one: Data) -> bool:
    """Whether a run counts: it came to an end, whole or not, and no rule leaves it out."""
    return one.get("state") in ("completed", "partial") and not one.get("excluded")


_MEANS = ("outcome", "unit", "arm", "n", "missing", "mean", "interval", "sd", "median")
_CONTRAST = ("outcome", "family", "arm", "n", "dropped", "difference", "unit", "interval", "p", "corrected p", "by")
_SIZES = ("outcome", "arm", "Hedges' g", "Cliff's delta", "d_z")
FOREST = 18
"""Differences in one plot: more do not fit on a sheet of paper."""

WAYS = {"holm": "Holm", "benjamini-hochberg": "Benjamini–Hochberg"}
"""How corrections are called."""

_EQUAL = ("outcome", "arm", "margin", "difference", "interval", "p", "method", "equivalent")


def finding(outcome: Data, contrast: Data) -> str:
    """A primary outcome's contrast in a sentence."""
    shown, adjusted = _shown(contrast), _adjusted(outcome, contrast)
    inside = between(shown.get("low"), shown.get("high"))
    p = adjusted.get("p_adjusted")
    return (
        f"{plain(outcome.get('name'))}: {plain(contrast.get('arm'))} differs from {plain(contrast.get('control'))} by "
        f"{plain(shown.get('value'))} {outcome.get('unit') or ''}"
        + (f" ({inside})" if inside else "")
        + (f", corrected p {plain(p)}." if p is not None else ", without a p.")
    )


def _shown(contrast: Data) -> Data:
    """The difference with the interval that is to be shown."""
    found: Data = (
        contrast.get("difference" if contrast.get("shown") == "bca" else "t") or contrast.get("difference")
    ) or {}
    return found


def _adjusted(outcome: Data, contrast: Data) -> Data:
    found: Data = (outcome.get("adjusted") or {}).get(contrast.get("arm")) or {}
    return found


def compared(outcomes: Sequence[Data]) -> list[Part]:
    """Means by arm, differences to the control and equivalence, of all outcomes."""
    if not outcomes:
        return [Text("No outcome is named.", "warn")]
    contrasts = [(one, contrast) for one in outcomes for contrast in listed(one.get("comparison") or {}, "contrasts")]
    return [
        Grid("Means by arm, over runs", _MEANS, [row for one in outcomes for row in _means(one)]),
        Grid(f"Differences to the control{_control(contrasts)}", _CONTRAST, [_contrast(*pair) for pair in contrasts]),
        *_weak([contrast for _, contrast in contrasts]),
        *(_forests(effects(outcomes)) if contrasts else ()),
        Grid("Sizes of the effects", _SIZES, [_sizes(*pair) for pair in contrasts]),
        Grid(
            "Equivalence: is the difference within the margin?",
            _EQUAL,
            [row for one in outcomes for row in _equal(one)],
        ),
    ]


def effects(outcomes: Sequence[Data]) -> list[dict[str, Any]]:
    """Every difference to the control, as `plots.differences` takes them."""
    return [_effect(one, contrast) for one in outcomes for contrast in listed(one.get("comparison") or {}, "contrasts")]


def _forests(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The differences in plots of equal size, none longer than a page."""
    count = max(1, ceil(len(rows) / FOREST))
    each = ceil(len(rows) / count)
    parts = [f", {n} of {count}" if count > 1 else "" for n in range(1, count + 1)]
    return [Figure(plots.differences(rows[n * each : (n + 1) * each], part=part)) for n, part in enumerate(parts)]


def _means(outcome: Data) -> list[tuple[Any, ...]]:
    rows = []
    for arm in listed(outcome.get("comparison") or {}, "arms"):
        mean = arm.get("mean") or {}
        ends = between(mean.get("low"), mean.get("high"))
        counted = [arm.get(name) for name in ("name", "n", "missing")]
        rows.append(
            (
                outcome.get("name"),
                outcome.get("unit"),
                *counted,
                mean.get("value"),
                ends,
                arm.get("sd"),
                arm.get("median"),
            )
        )
    return rows


def _equal(outcome: Data) -> list[tuple[Any, ...]]:
    return [
        (
            outcome.get("name"),
            test.get("arm"),
            between(test.get("margin_low"), test.get("margin_high")),
            test.get("difference"),
            between(test.get("low"), test.get("high")),
            *(test.get(name) for name in ("p", "method", "equivalent")),
        )
        for test in listed(outcome, "equivalence")
    ]


def _effect(outcome: Data, contrast: Data) -> dict[str, Any]:
    """A row of the forest plot."""
    shown = {key: _shown(contrast).get(key) for key in ("value", "low", "high")}
    named = {"outcome": outcome.get("name"), "unit": outcome.get("unit") or "", **shown}
    named |= {key: contrast.get(key) for key in ("arm", "control")}
    return named | {"p": _adjusted(outcome, contrast).get("p_adjusted")}


def _contrast(outcome: Data, contrast: Data) -> tuple[Any, ...]:
    shown, adjusted = _shown(contrast), _adjusted(outcome, contrast)
    return (
        outcome.get("name"),
        outcome.get("family") or "exploratory",
        *(contrast.get(name) for name in ("arm", "n", "dropped")),
        shown.get("value"),
        outcome.get("unit"),
        between(shown.get("low"), shown.get("high")),
        adjusted.get("p", (contrast.get("test") or {}).get("p")),
        adjusted.get("p_adjusted"),
        CALLED.get(str(adjusted.get("method")), adjusted.get("method")),
    )


def _sizes(outcome: Data, contrast: Data) -> tuple[Any, ...]:
    return (outcome.get("name"), *(contrast.get(name) for name in ("arm", "hedges_g", "cliffs_delta", "d_z")))


def _control(contrasts: Sequence[tuple[Data, Data]]) -> str:
    names = dict.fromkeys(plain(contrast["control"]) for _, contrast in contrasts if contrast.get("control"))
    return f", {' or '.join(names)}" if names else ""


def _weak(contrasts: Sequence[Data], alpha: float = 0.05) -> list[Part]:
    """A warning where no result could have been significant."""
    tests = [contrast.get("test") or {} for contrast in contrasts]
    least = [test["least"] for test in tests if test.get("least") is not None]
    if not least or min(least) <= alpha:
        return []
    told = f"With so few runs no p can be below {plain(float(min(least)))}"
    return [Text(f"{told}: this design could not have been significant.", "warn")]


def distribution(outcome: Data, trials: Sequence[Data]) -> plots.Plot:
    name, comparison = str(outcome.get("name", "")), outcome.get("comparison") or {}
    arms = {str(arm.get("name", "")): arm for arm in listed(comparison, "arms")}
    names = list(dict.fromkeys([*arms, *(str(one.get("variant", "")) for one in trials)]))
    seeds = sorted({_seed(one) for one in trials})
    values: dict[str, list[float | None]] = {}
    paired = bool(comparison.get("paired"))
    for arm in names:
        own = {
            _seed(one): (one.get("outcomes") or {}).get(name) if counts(one) else None
            for one in trials
            if str(one.get("variant", "")) == arm
        }
        values[arm] = [own.get(seed) for seed in seeds if paired or seed in own]
    intervals = {
        arm: ((one.get("mean") or {}).get("low"), (one.get("mean") or {}).get("high")) for arm, one in arms.items()
    }
    level = float(comparison.get("level") or 0.95)
    return plots.distributions(name, values, str(outcome.get("unit") or ""), intervals, paired=paired, level=level)


def _seed(trial: Data) -> tuple[str, str]:
    return str(trial.get("replicate", "")).zfill(9), str(trial.get("seed", ""))
