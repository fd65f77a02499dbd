"""How many runs an experiment needs, from pilot runs, by simulating the very test that will be reported.

Runs are drawn from the pilot's by a smoothed bootstrap; beside it stands the normal approximation. Say the smallest
effect that would matter: a pilot's own is too noisy to plan with (Albers & Lakens 2018, J. Exp. Soc. Psychol. 74).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, comb, isfinite, sqrt
from statistics import NormalDist, fmean, stdev
from typing import Any

from app.analysis.comparing import Outcome, Seeds, checked, samples
from app.analysis.intervals import Share, share
from app.streams import number

SIMULATIONS = 2_000
ASSIGNMENTS, EXACT = 999, 4_096
"""Drawn for a batch of simulated tests; all there are, where these are `EXACT` or fewer."""

BATCHES = 20
"""Batches that each have assignments of their own, so that no draw decides for all simulated tests."""

MOST_RUNS = 500
PILOT_LEAST = 2
AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Power:
    """The power with `runs` runs an arm (pairs where paired), to find `effect` in the outcome's unit, at alpha.

    `power` is the share of simulated experiments whose p is at most alpha, with Wilson's interval; `normal` the normal
    approximation; `sd` that of the pairs' differences, or pooled of the arms.
    """

    runs: int
    effect: float | None
    sd: float | None
    pilot: int
    power: Share
    normal: float | None


@dataclass(frozen=True)
class Needed:
    """The fewest runs an arm that reach the power `wanted`; None where `MOST_RUNS` don't, or nothing is to be found.

    `normal` is what the approximation says, but as many as the test needs to have a p of alpha at all; `cautious` the
    same with the upper 80 % limit of the pilot's variance (Browne 1995, Statistics in Medicine 14(17), 1933-1940):
    small pilots take the spread for smaller than it is.
    """

    wanted: float
    runs: int | None
    normal: int | None
    cautious: int | None
    at: Power | None


@dataclass(frozen=True)
class _Pilot:
    arms: tuple[Sequence[float], ...]
    """Runs of the treated and the control; or the pairs' differences alone."""

    effect: float | None
    sd: float | None

    @property
    def paired(self) -> bool:
        return len(self.arms) == 1


def power(
    pilot: Outcome,
    *,
    seeds: Seeds,
    runs: int,
    seed: int,
    effect: float | None = None,
    paired: bool = True,
    alpha: float = 0.05,
    simulations: int = SIMULATIONS,
) -> Power:
    """The power of the randomisation test with so many runs an arm; the pilot has two arms, the control first.

    Args:
        pilot: A value for each pilot run of each arm, None where it is missing.
        seeds: The runs' seeds, as `compare` has them.
        runs: Runs of each arm, 2 to 500.
        seed: What the simulation draws from.
        effect: The difference to find; without it the pilot's own.
        paired: Whether runs will be paired by seed.
        alpha: The level of the test, two-sided.
        simulations: How many experiments are simulated.

    Raises:
        ValueError: not two arms; runs, alpha or simulations out of range; what `compare` refuses.
    """
    _check(alpha, simulations)
    if not 2 <= runs <= MOST_RUNS:
        raise ValueError(f"runs: must be from 2 to {MOST_RUNS}, not {runs}")
    return _power(_pilot(pilot, seeds, effect, paired), runs, alpha, simulations, seed)


def needed(
    pilot: Outcome,
    *,
    seeds: Seeds,
    seed: int,
    wanted: float = 0.8,
    effect: float | None = None,
    paired: bool = True,
    alpha: float = 0.05,
    simulations: int = SIMULATIONS,
) -> Needed:
    """How many runs an arm reach a power; arguments and errors as `power` has them."""
    _check(alpha, simulations)
    if not alpha < wanted < 1:
        raise ValueError(f"wanted: must be between alpha and 1, not {wanted}")
    known = _pilot(pilot, seeds, effect, paired)
    normal = _normal_runs(known, wanted, alpha, known.sd)
    if normal is None:
        return Needed(wanted, None, None, None, None)
    cautious = _normal_runs(known, wanted, alpha, _upper_sd(known))
    low, high = 1, min(MOST_RUNS, max(4, 2 * normal))
    found = _power(known, high, alpha, simulations, seed)
    while (found.power.share or 0.0) < wanted:
        if high == MOST_RUNS:
            return Needed(wanted, None, normal, cautious, found)
        low, high = high, min(MOST_RUNS, 2 * high)
        found = _power(known, high, alpha, simulations, seed)
    while high - low > 1:
        middle = (low + high) // 2
        at = _power(known, middle, alpha, simulations, seed)
        if (at.power.share or 0.0) >= wanted:
            high, found = middle, at
        else:
            low = middle
    return Needed(wanted, high, normal, cautious, found)


def normal_power(effect: float, error: float, alpha: float = 0.05) -> float:
    """Φ(|δ| / SE - z) + Φ(-|δ| / SE - z) with z of 1 - alpha / 2 (Cohen 1988, Statistical Power Analysis, ch. 12)."""
    normal = NormalDist()
    z, away = normal.inv_cdf(1 - alpha / 2), abs(effect) / error
    return normal.cdf(away - z) + normal.cdf(-away - z)


def normal_runs(effect: float, variance: float, wanted: float, alpha: float = 0.05) -> int:
    """⌈(z of 1 - alpha / 2 + z of wanted)² σ² / δ²⌉; σ² of the pairs' differences, or the sum of both arms'."""
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(wanted)
    return max(2, ceil(z * z * variance / (effect * effect)))


def _check(alpha: float, simulations: int) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: must be between 0 and 1, not {alpha}")
    if not 1 <= simulations <= 100_000:
        raise ValueError(f"simulations: must be from 1 to 100,000, not {simulations}")


def _pilot(pilot: Outcome, seeds: Seeds, effect: float | None, paired: bool) -> _Pilot:
    if len(pilot) != 2:
        raise ValueError(f"pilot: must have two arms, the control and another, not {len(pilot)}")
    if effect is not None and not isfinite(effect):
        raise ValueError(f"effect: must be a finite number, not {effect}")
    table, control = checked(pilot, seeds, paired, None)
    arm = next(name for name in table if name != control)
    treated, other = samples(table, (arm, control), paired)
    arms = ([x - y for x, y in zip(treated, other, strict=True)],) if paired else (treated, other)
    if min(map(len, arms)) < PILOT_LEAST:
        return _Pilot(arms, effect, None)
    own = fmean(treated) - fmean(other)
    sd = sqrt(fmean([stdev(one) ** 2 for one in arms]))
    return _Pilot(arms, own if effect is None else effect, sd)


def _power(pilot: _Pilot, runs: int, alpha: float, simulations: int, seed: int) -> Power:
    n = min(map(len, pilot.arms))
    if not pilot.sd or pilot.effect is None:
        return Power(runs, pilot.effect, pilot.sd, n, share("power", 0, 0), None)
    found = _simulated(pilot, pilot.effect / pilot.sd, runs, alpha, simulations, seed)
    error = pilot.sd * sqrt(len(pilot.arms) / runs)
    normal = normal_power(pilot.effect, error, alpha)
    return Power(runs, pilot.effect, pilot.sd, n, share("power", found, simulations), normal)


def _simulated(pilot: _Pilot, effect: float, runs: int, alpha: float, simulations: int, seed: int) -> int:
    """How many of the simulated experiments find the effect, in standard deviations, at alpha."""
    import numpy as np

    rng = np.random.default_rng(number(seed, "power", runs, bits=63))
    step = max(1, min(-(-simulations // BATCHES), AT_ONCE // (EXACT + 2 * runs)))
    found = 0
    every = _every(pilot.paired, runs)
    for start in range(0, simulations, step):
        assignments = _some(pilot.paired, runs, rng) if every is None else every
        count = min(step, simulations - start)
        drawn = [_drawn(arm, pilot.sd or 1.0, (count, runs), rng) for arm in pilot.arms]
        drawn[0] = drawn[0] + effect
        values = np.hstack(drawn)
        if not pilot.paired:
            values = values - values.mean(axis=1, keepdims=True)
        observed = np.abs(values[:, :runs].sum(axis=1))
        by_chance = np.abs(values @ assignments.T)
        ties = 1e-9 * np.abs(values).sum(axis=1)
        extreme = (by_chance >= (observed - ties)[:, None]).sum(axis=1)
        p = (extreme + 1) / (len(assignments) + 1) if every is None else extreme / len(assignments)
        found += int((p <= alpha * (1 + 1e-9)).sum())
    return found


def _every(paired: bool, runs: int) -> Any:
    """Rows of ±1 for pairs; else of 1 where a run is treated and 0 where not. None where they are too many."""
    import numpy as np

    bits = runs if paired else 2 * runs
    if bits > 62 or (2**runs if paired else comb(bits, runs)) > EXACT:
        return None
    each = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
    return 1.0 - 2.0 * each if paired else each[each.sum(axis=1) == runs].astype(float)


def _some(paired: bool, runs: int, rng: Any) -> Any:
    """As many such rows, drawn."""
    if paired:
        return 1.0 - 2.0 * rng.integers(0, 2, (ASSIGNMENTS, runs))
    return (rng.random((ASSIGNMENTS, 2 * runs)).argsort(axis=1) < runs).astype(float)


def _drawn(arm: Sequence[float], sd: float, shape: tuple[int, int], rng: Any) -> Any:
    """Runs with mean 0 and the arm's variance, in units of `sd`: draws of the pilot's runs, smoothed.

    With the bandwidth h = (4 / 3n)^(1/5) and shrunk to keep the variance: Silverman & Young 1987, Biometrika 74(3).
    """
    import numpy as np

    n, own = len(arm), stdev(arm)
    if not own:
        return np.zeros(shape)
    middle = fmean(arm)
    apart = np.array([(value - middle) / own for value in arm]) * sqrt(n / (n - 1))
    h = (4 / (3 * n)) ** 0.2
    smooth = rng.choice(apart, shape) + h * rng.standard_normal(shape)
    return smooth * (own / sd / sqrt(1 + h * h))


def _normal_runs(pilot: _Pilot, wanted: float, alpha: float, sd: float | None) -> int | None:
    if not sd or not pilot.effect or not pilot.sd:
        return None
    apart = pilot.effect / sd
    if len(pilot.arms) / (apart * apart + 1e-300) > 1e12:
        return None
    return max(normal_runs(apart, len(pilot.arms), wanted, alpha), _possible(pilot.paired, alpha))


def _possible(paired: bool, alpha: float) -> int:
    """The fewest runs an arm with which the test can have a p of alpha at all."""
    return next(runs for runs in count(2) if 2 / (2**runs if paired else comb(2 * runs, runs)) <= alpha)


def _upper_sd(pilot: _Pilot) -> float | None:
    if not pilot.sd:
        return None
    from scipy.special import chdtri

    df = sum(len(arm) - 1 for arm in pilot.arms)
    return pilot.sd * sqrt(df / float(chdtri(df, 0.8)))
