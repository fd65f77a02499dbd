"""How an effect varies over prompts, models or any other levels: the effect of each, how they differ, all together.

Levels are weighed by the inverse of their variance and taken for a sample of those there could be (random effects).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import stdev

from app.analysis.comparing import LARGEST, Outcome, Seeds, checked, compare, samples
from app.analysis.intervals import Mean
from app.analysis.resampling import welch


@dataclass(frozen=True)
class Level:
    """The effect at a level, in the outcome's unit, with its bootstrap interval and standard error over `n` runs."""

    name: str
    n: int
    difference: Mean
    error: float | None


@dataclass(frozen=True)
class Heterogeneity:
    """How `k` effects differ: Cochran's `q` with its p, `i2` (0 to 1) the share of variance beyond chance, `tau`.

    `mean` is the effect over all levels with its interval, `further_low` to `further_high` where the effect of a
    further level lies (3 levels or more).
    """

    k: int
    q: float | None
    p: float | None
    i2: float | None
    tau: float | None
    mean: Mean
    further_low: float | None
    further_high: float | None


@dataclass(frozen=True)
class Sensitivity:
    """An effect by level: `lowest` to `highest`, the share of levels with the mean's sign, and how they differ.

    `left_out` are levels whose effect has no standard error: fewer than two runs, or runs that don't vary.
    """

    levels: tuple[Level, ...]
    left_out: tuple[str, ...]
    lowest: float | None
    highest: float | None
    same_sign: float | None
    heterogeneity: Heterogeneity


def sensitivity(
    outcomes: Mapping[str, Outcome],
    *,
    seeds: Seeds,
    arm: str,
    control: str,
    seed: int,
    paired: bool = True,
    level: float = 0.95,
) -> Sensitivity:
    """The effect of an arm at each level of a factor, `outcomes` by level with the same arms and seeds in each.

    Raises:
        ValueError: what `compare` refuses, with the level before it; an arm that a level hasn't got.
    """
    levels = [_level(name, outcome, seeds, arm, control, seed, paired, level) for name, outcome in outcomes.items()]
    effects = {
        one.name: (one.difference.value, one.error) for one in levels if one.difference.value is not None and one.error
    }
    found = [one.difference.value for one in levels if one.difference.value is not None]
    differ = heterogeneity(effects, level=level)
    mean = differ.mean.value
    return Sensitivity(
        tuple(levels),
        tuple(one.name for one in levels if one.name not in effects),
        min(found, default=None),
        max(found, default=None),
        sum(value * mean > 0 for value in found) / len(found) if found and mean else None,
        differ,
    )


def heterogeneity(effects: Mapping[str, tuple[float, float]], *, level: float = 0.95) -> Heterogeneity:
    """How effects differ, each with its standard error.

    Q = Σ w (θ - θ̄)² with w = 1 / SE² (Cochran 1954, Biometrics 10(1), 101-129); I² = max(0, (Q - df) / Q) (Higgins &
    Thompson 2002, Statistics in Medicine 21(11), 1539-1558); τ² = max(0, (Q - df) / (Σw - Σw² / Σw)) and the mean
    weighed by w* = 1 / (SE² + τ²) (DerSimonian & Laird 1986, Controlled Clinical Trials 7(3), 177-188); its interval
    by t(k - 1) √(s / Σw*), s = Σ w* (θ - θ̄)² / (k - 1) but at least 1 (Hartung & Knapp 2001, Statistics in Medicine
    20(24), 3875-3889; Röver, Knapp & Friede 2015, BMC Med. Res. Methodol. 15, 99), Gauss' for one level; a further one
    by t(k - 2) √(τ² + 1 / Σw*) (Higgins, Thompson & Spiegelhalter 2009, J. R. Stat. Soc. A 172(1), 137-159).

    Raises:
        ValueError: an effect or an error that is no finite number, or an error that is not above 0.
    """
    for name, (value, error) in effects.items():
        if not (isfinite(error) and error > 0 and abs(value / error) <= LARGEST):
            raise ValueError(f"{name}: needs a finite effect and a standard error above 0, not {value} and {error}")
    k = len(effects)
    if not k:
        return Heterogeneity(0, None, None, None, None, Mean(None, None, None, "random effects"), None, None)
    from scipy.special import chdtrc, ndtri, stdtrit

    smallest = min(error for _, error in effects.values())
    pairs = [(value / smallest, error / smallest) for value, error in effects.values()]
    weights = [1 / (error * error) for _, error in pairs]
    whole = sum(weights)
    fixed = _weighed(pairs, weights)
    q = sum(w * (value - fixed) ** 2 for w, (value, _) in zip(weights, pairs, strict=True))
    spare = whole - sum(w * w for w in weights) / whole
    tau2 = max(0.0, (q - (k - 1)) / spare) if k > 1 and spare else 0.0
    random = [1 / (error * error + tau2) for _, error in pairs]
    middle, error = _weighed(pairs, random), 1 / sqrt(sum(random))
    wide = (
        sum(w * (value - middle) ** 2 for w, (value, _) in zip(random, pairs, strict=True)) / (k - 1) if k > 1 else 1.0
    )
    half = float(stdtrit(k - 1, (1 + level) / 2) if k > 1 else ndtri((1 + level) / 2)) * error * sqrt(max(1.0, wide))
    further = float(stdtrit(k - 2, (1 + level) / 2)) * sqrt(tau2 + error * error) if k > 2 else None
    several = k > 1
    return Heterogeneity(
        k,
        q if several else None,
        float(chdtrc(k - 1, q)) if several else None,
        (max(0.0, (q - (k - 1)) / q) if q else 0.0) if several else None,
        sqrt(tau2) * smallest if several else None,
        Mean(middle * smallest, (middle - half) * smallest, (middle + half) * smallest, "random effects"),
        None if further is None else (middle - further) * smallest,
        None if further is None else (middle + further) * smallest,
    )


def _level(
    name: str, outcome: Outcome, seeds: Seeds, arm: str, control: str, seed: int, paired: bool, level: float
) -> Level:
    if arm == control or arm not in outcome or control not in outcome:
        raise ValueError(f"{name}: needs the arms {arm!r} and {control!r}, and two of them")
    both = {control: outcome[control], arm: outcome[arm]}
    try:
        [contrast] = compare(both, seeds=seeds, seed=seed, paired=paired, level=level).contrasts
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from fault
    table, _ = checked(both, seeds, paired, control)
    treated, other = samples(table, (arm, control), paired)
    if paired:
        apart = [x - y for x, y in zip(treated, other, strict=True)]
        error = stdev(apart) / sqrt(len(apart)) if len(apart) > 1 else None
    else:
        spread = welch(treated, other)
        error = spread[0] if spread else None
    return Level(name, contrast.n, contrast.difference, error or None)


def _weighed(pairs: list[tuple[float, float]], weights: list[float]) -> float:
    return sum(w * value for w, (value, _) in zip(weights, pairs, strict=True)) / sum(weights)
