"""Measures of texts and of counts, each by its formula and source. What too little is there for is None."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, log2, sqrt

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
WINDOW = 50
_T = (
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921,
    2.898, 2.878,
)  # fmt: skip
"""Student's t at 99.5 % for 1 to 18 degrees of freedom."""

RUNS_MOST = len(_T) + 2
"""Runs over which a slope is taken, at most."""


def words(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, apostrophes within."""
    return WORD.findall(text.lower().replace("’", "'"))


def mattr(tokens: Sequence[str], window: int = WINDOW) -> float | None:
    """Moving-average type-token ratio: the mean, over all stretches of `window` words, of different words / `window`.

    It does not fall with the length of what is measured (Covington & McFall 2010, "Cutting the Gordian Knot", J. Quant.
    Linguistics 17(2), 94-100). None for less than one window.
    """
    if len(tokens) < window:
        return None
    seen = Counter(tokens[:window])
    total, places = len(seen), len(tokens) - window + 1
    for n in range(window, len(tokens)):
        gone = tokens[n - window]
        seen[gone] -= 1
        if not seen[gone]:
            del seen[gone]
        seen[tokens[n]] += 1
        total += len(seen)
    return total / (window * places)


def vectors(texts: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """Each text as a unit vector of tf · idf, with idf = ln((1 + n) / (1 + df)) + 1.

    Salton & Buckley 1988, "Term-weighting approaches", Inf. Proc. & Management 24(5); the ones keep words that all
    texts have, so that equal texts are alike. A text without words is the zero vector.
    """
    n = len(texts)
    found = Counter(word for text in texts for word in set(text))
    weight = {word: log((1 + n) / (1 + df)) + 1 for word, df in found.items()}
    made = []
    for text in texts:
        raw = {word: times * weight[word] for word, times in Counter(text).items()}
        size = sqrt(sum(x * x for x in raw.values()))
        made.append({word: x / size for word, x in raw.items()} if size else {})
    return made


def mean_similarity(units: Sequence[Mapping[str, float]]) -> float | None:
    """The mean cosine of all pairs of different texts, without looking at pairs: (|Σ v|² - Σ |v|²) / (n (n - 1))."""
    n = len(units)
    if n < 2:
        return None
    total: dict[str, float] = {}
    for unit in units:
        for word, x in unit.items():
            total[word] = total.get(word, 0.0) + x
    own = sum(bool(unit) for unit in units)
    return max(0.0, (sum(x * x for x in total.values()) - own) / (n * (n - 1)))


def cross_similarity(one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]) -> float | None:
    """The mean cosine of each text of `one` with each of `other`."""
    if not one or not other:
        return None
    total: dict[str, float] = {}
    for unit in other:
        for word, x in unit.items():
            total[word] = total.get(word, 0.0) + x
    return sum(x * total.get(word, 0.0) for unit in one for word, x in unit.items()) / (len(one) * len(other))


@dataclass(frozen=True)
class Slope:
    """A change from one value to the next, with its 99 % interval; of `n` values."""

    per_run: float
    low: float
    high: float
    n: int


def slope(values: Sequence[tuple[float, float]]) -> Slope | None:
    """Weighted least squares over equal steps, of (value, weight): b = Σ w (i - ī)(y - ȳ) / S with S = Σ w (i - ī)².

    The means are weighted too; b ± t(n - 2) s / √S with s² = Σ w (y - ŷ)² / (n - 2) (Draper & Smith 1998, Applied
    Regression Analysis, §9.2). None for less than 3 values; of more than `RUNS_MOST` the last count.
    """
    last = values[-RUNS_MOST:]
    n, whole = len(last), sum(weight for _, weight in last)
    if n < 3 or not whole:
        return None
    middle = sum(i * weight for i, (_, weight) in enumerate(last)) / whole
    mean = sum(y * weight for y, weight in last) / whole
    spread = sum(weight * (i - middle) ** 2 for i, (_, weight) in enumerate(last))
    if not spread:
        return None
    b = sum(weight * (i - middle) * (y - mean) for i, (y, weight) in enumerate(last)) / spread
    rest = sum(weight * (y - mean - b * (i - middle)) ** 2 for i, (y, weight) in enumerate(last))
    half = _T[n - 3] * sqrt(rest / (n - 2) / spread)
    return Slope(b, b - half, b + half, n)


def divergence(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """The Jensen-Shannon divergence of two mixes in bits, 0 (the same) to 1 (nothing in common).

    H((p + q) / 2) - (H(p) + H(q)) / 2 with Shannon's H (Lin 1991, IEEE Trans. Inf. Theory 37(1), 145-151).
    """
    a, b = sum(one.values()), sum(other.values())
    if not a or not b:
        return None
    total = 0.0
    for name in sorted({*one, *other}):
        p, q = one.get(name, 0) / a, other.get(name, 0) / b
        m = (p + q) / 2
        total += sum(x * log2(x / m) for x in (p, q) if x) / 2
    return min(1.0, max(0.0, total))


def chance_divergence(kinds: int, n: float, m: float) -> float:
    """What the divergence of two samples of one mix comes to by chance: (kinds - 1) (1/n + 1/m) / (8 ln 2) bits.

    From the χ² of a table of two rows, of which it is the first term (as Grosse et al. 2002, Phys. Rev. E 65, 041905).
    """
    return (kinds - 1) * (1 / n + 1 / m) / (8 * log(2)) if kinds > 1 and n and m else 0.0
