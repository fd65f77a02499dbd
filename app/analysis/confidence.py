"""How far an extracted value can be trusted, computed from evidence and from repetition; no model is asked for it.

Evidence: is the quote in the transcript, did the person in question say it, do the value's words (its number, its yes
or no) occur there. Repetition: the share of further extractions that found the same. The five are weighed by a
logistic formula whose weights were fitted to cases of known truth (`app.analysis.calibration`).
"""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from math import exp

from app.actions.asking import ExtractedField, Value
from app.analysis.intervals import Share, share
from app.analysis.quotes import Line, found
from app.analysis.words import words
from app.streams import stream
from app.world.memories import SAYS_NOTHING

NEAR = 0.01
"""Relative difference up to which two numbers are the same."""

ALIKE = 0.5
"""Share of words (Dice) or of things from which two texts or two lists are the same."""

BINS = 10
EXAMPLES_LEAST = 50
RIDGE = 1.0

_DENIALS = {"no", "not", "never", "neither", "nor", "none", "nothing", "hardly", "cannot", "without"}
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SPELT = {word: n for n, word in enumerate(_UNITS.split())} | {word: 10 * n for n, word in enumerate(_TENS.split(), 2)}
_TIMES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_CLAUSE = re.compile(r"[,.;:!?()]")
_DIGITS = re.compile(
    r"(?<![\w.,])[-−]?\d{1,3}(?:[,'’\u202f]\d{3}){1,4}(?:\.\d{1,15})?(?!\d)"
    r"|(?<![\w.])[-−]?\d{1,15}(?:[.,]\d{1,15})?(?!\d)"
)


@dataclass(frozen=True)
class Features:
    """What a confidence is computed from, each 0 to 1. `agreement` counts only where there was repetition."""

    found: float
    own: float
    overlap: float
    repeated: float
    agreement: float


@dataclass(frozen=True)
class Bin:
    """A row of a reliability table: values whose confidence lay from `low` to `high`, and how many were right."""

    low: float
    high: float
    confidence: float | None
    right: Share


@dataclass(frozen=True)
class Calibration:
    """Weights (the constant first) and how they did on examples they were not fitted to.

    `error` is the expected calibration error, Σ n_b / n |right_b - confidence_b| (Guo et al. 2017, "On calibration of
    modern neural networks", ICML, arXiv:1706.04599, equation 3); `brier` the mean of (confidence - right)² (Brier 1950,
    Monthly Weather Review 78(1)), `brier_by_rate` the same where each is given the overall share that is right.
    """

    weights: tuple[float, ...]
    n: int
    table: tuple[Bin, ...]
    error: float
    brier: float
    brier_by_rate: float


WEIGHTS = (-1.97, 1.5, 0.17, 3.75, -1.91, 2.83)
"""The constant, then found, own, overlap, repeated, agreement: what `calibrate` makes of `calibration.examples()`."""


def confidence(features: Features, weights: Sequence[float] = WEIGHTS) -> float:
    """1 / (1 + exp(-(w₀ + Σ wᵢ xᵢ))), with Platt 1999 in mind: the score that is squashed is one of evidence."""
    score = weights[0] + sum(w * x for w, x in zip(weights[1:], astuple(features), strict=True))
    return 1 / (1 + exp(-score))


def features(
    field: ExtractedField,
    value: Value,
    quote: str | None,
    lines: Sequence[Line],
    *,
    person: str | None = None,
    repetitions: Sequence[Value | None] = (),
) -> Features:
    """What speaks for a value. `person` None: anybody may have said it; `repetitions`: what further extractions gave.

    A value whose quote is not found is looked for in the person's best line.
    """
    at = found(quote, lines, speaker=person) if quote else None
    said = [line.text for line in lines if (line.number == at.line if at else person in (None, line.speaker))]
    return Features(
        float(at is not None),
        float(at is not None and person in (None, at.speaker)),
        max((supported(field, value, text) for text in said), default=0.0),
        float(bool(repetitions)),
        sum(same(field, value, other) for other in repetitions) / len(repetitions) if repetitions else 0.0,
    )


def supported(field: ExtractedField, value: Value, text: str) -> float:
    """How much of a value is in a text, 0 to 1: the number; a denial where it is false and none where it is true;
    else the share of its words, or of the things listed.
    """
    if isinstance(value, bool):
        denied = any(word in _DENIALS or word.endswith("n't") for word in words(text))
        return float(denied != value)
    if isinstance(value, int | float):
        return float(any(_near(value, number) for number in numbers(text)))
    heard = _told(text)
    if isinstance(value, str):
        told = _told(value)
        return len(told & heard) / len(told) if told else 0.0
    return sum(bool(told := _told(one)) and told <= heard for one in value) / len(value) if value else 0.0


def same(field: ExtractedField, one: Value | None, other: Value | None) -> bool:
    """Whether two extractions found the same: numbers by `NEAR`, texts and lists by `ALIKE`, others if equal."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return _near(one, other)
    if isinstance(one, str) and isinstance(other, str):
        if field.type == "category":
            return one == other
        return one == other or _dice(_told(one), _told(other)) >= ALIKE
    if isinstance(one, list) and isinstance(other, list):
        return one == other or _dice({" ".join(words(x)) for x in one}, {" ".join(words(x)) for x in other}) >= ALIKE
    return one == other


def numbers(text: str) -> set[float]:
    """The numbers of a text: in digits, with a point or comma, and in English words up to millions."""
    found = {float(_pointed(match)) for match in _DIGITS.findall(text)}
    spelt: list[str] = []
    for word in [word for part in _CLAUSE.split(text) for word in (*words(part), "")]:
        if word in _SPELT and spelt and not _goes_on(spelt[-1], word):
            found.add(_spelt(spelt))
            spelt = [word]
        elif word in _SPELT or (word in _TIMES and (spelt or word == "hundred")):
            spelt.append(word)
        elif spelt and word != "and":
            found.add(_spelt(spelt))
            spelt = []
    return found


def _goes_on(last: str, word: str) -> bool:
    """Whether a word of a number belongs to the one before: `twenty five`, `hundred twelve`, and not `five two`."""
    return last in _TIMES or (_SPELT[last] >= 20 and 0 < _SPELT[word] < 10)


def _spelt(spelt: Sequence[str]) -> float:
    total = current = 0
    for word in spelt:
        if word in _SPELT:
            current += _SPELT[word]
        elif word == "hundred":
            current = (current or 1) * 100
        else:
            total, current = total + (current or 1) * _TIMES[word], 0
    return float(total + current)


def _pointed(written: str) -> str:
    plain = written.replace("−", "-")
    if re.fullmatch(r"-?\d{1,3}(?:[,'’\u202f]\d{3})+(?:\.\d+)?", plain):
        return re.sub(r"[,'’\u202f]", "", plain)
    return plain.replace(",", ".")


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= NEAR * max(abs(one), abs(other))


def _told(text: str) -> set[str]:
    """The words of a text that say something, without an ending `s`; all of them where none does."""
    tokens = words(text)
    return {word.rstrip("s") or word for word in tokens if word not in SAYS_NOTHING} or set(tokens)


def _dice(one: set[str], other: set[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else 1.0


def calibrate(examples: Sequence[tuple[Features, bool]], *, seed: int = 0) -> Calibration:
    """Fit the weights to a half of the examples, drawn by the seed; tell by the other half how they do.

    The fit is logistic regression with a ridge of 1 on all weights but the constant, by Newton's method.

    Raises:
        ValueError: fewer than 50 examples, or none that is right, or none that is wrong.
    """
    if len(examples) < EXAMPLES_LEAST or len({right for _, right in examples}) < 2:
        raise ValueError(f"a calibration needs {EXAMPLES_LEAST} examples, and both right and wrong ones")
    mixed = list(examples)
    stream(seed, "calibration", "halves").shuffle(mixed)
    half = len(mixed) // 2
    weights = _fitted(mixed[:half])
    return _reliability(weights, [(confidence(one, weights), right) for one, right in mixed[half:]])


def _fitted(examples: Sequence[tuple[Features, bool]]) -> tuple[float, ...]:
    import numpy as np

    x = np.array([(1.0, *astuple(one)) for one, _ in examples])
    y = np.array([float(right) for _, right in examples])
    w = np.zeros(x.shape[1])
    ridge = RIDGE * np.diag([0.0, *[1.0] * (x.shape[1] - 1)])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        step = np.linalg.solve(x.T @ (x * (p * (1 - p) + 1e-9)[:, None]) + ridge, x.T @ (y - p) - ridge @ w)
        w = w + np.clip(step, -5, 5)
        if float(np.abs(step).max()) < 1e-10:
            break
    return tuple(round(float(one), 2) for one in w)


def _reliability(weights: tuple[float, ...], told: Sequence[tuple[float, bool]]) -> Calibration:
    n, rate = len(told), sum(right for _, right in told) / len(told)
    edges = [i / BINS for i in range(BINS + 1)]
    table = []
    for low, high in pairwise(edges):
        within = [(p, right) for p, right in told if low <= p < high or p == high == 1]
        mean = sum(p for p, _ in within) / len(within) if within else None
        right = share(f"{low:.1f}–{high:.1f}", sum(right for _, right in within), len(within))
        table.append(Bin(low, high, mean, right))
    off = sum(b.right.n / n * abs((b.right.share or 0) - b.confidence) for b in table if b.confidence is not None)
    brier = sum((p - right) ** 2 for p, right in told) / n
    return Calibration(weights, n, tuple(table), off, brier, rate * (1 - rate))
