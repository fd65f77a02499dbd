"""What answers and extracted values come to, by type of question or field: shares, means, ranks and words.

Every summary says how many values it rests on (`n`) and why others are missing; shares have Wilson intervals, means
Student's or bootstrapped ones. What there is too little for is None, so that each is JSON as it is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from statistics import fmean, median, quantiles, stdev
from typing import Any, TypeAlias

import msgspec

from app.actions.asking import ExtractedField, Likert, Matrix, Multiple, Question, Ranking, Single, Value
from app.analysis.intervals import Mean, Share, bootstrap_mean, share, t_mean
from app.analysis.words import mattr, words
from app.world.memories import SAYS_NOTHING

NO_ANSWER = "no answer"
"""The reason of a missing value that has none."""

YES, NO = "yes", "no"
LISTED_MOST, WORDS_MOST, BARS_MOST = 50, 25, 12
TOP_TWO_FROM = 4
"""Points from which the two highest of a scale count as its top; below it is the highest alone."""


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: shares from 0 to 1."""

    label: str
    count: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class _Summary:
    key: str
    type: str
    n: int
    missing: dict[str, int]
    level: float


@dataclass(frozen=True)
class Shares(_Summary):
    """single, category, boolean: shares of all who answered. multiple, list: of those who named each (`of_many`)."""

    shares: tuple[Share, ...]
    of_many: bool


@dataclass(frozen=True)
class Scale(_Summary):
    """likert: 1 to `points`. `top` is the share of the two highest points; `consensus` 0 (halves at the ends) to 1."""

    points: int
    shares: tuple[Share, ...]
    mean: Mean
    sd: float | None
    median: float | None
    top: Share
    consensus: float | None


@dataclass(frozen=True)
class Grid(_Summary):
    """matrix: each row as a scale of its own, with the row as its key."""

    rows: tuple[Scale, ...]


@dataclass(frozen=True)
class Numbers(_Summary):
    """number, integer: quartiles by linear interpolation; `bins` are equally wide, the last with its upper end."""

    unit: str
    mean: Mean
    sd: float | None
    median: float | None
    q1: float | None
    q3: float | None
    least: float | None
    most: float | None
    bins: tuple[Share, ...]


@dataclass(frozen=True)
class Rank:
    """An option among ranks. `borda`: Σ (options - rank), higher is better."""

    label: str
    mean_rank: float | None
    borda: int
    first: Share


@dataclass(frozen=True)
class Ranks(_Summary):
    """ranking: options best first. `w` is Kendall's coefficient of concordance, `p` its chance where all are alike."""

    ranks: tuple[Rank, ...]
    w: float | None
    p: float | None


@dataclass(frozen=True)
class Texts(_Summary):
    """open, text: words in all, of a text on average, different ones, MATTR of 50; `frequent`: shares of the texts."""

    words: int
    mean_words: Mean
    different: int
    diversity: float | None
    frequent: tuple[Share, ...]


Summary: TypeAlias = Shares | Scale | Grid | Numbers | Ranks | Texts


def data(summary: Summary) -> dict[str, Any]:
    """A summary as JSON has it."""
    plain: dict[str, Any] = msgspec.to_builtins(summary)
    return plain


def summarise_question(
    question: Question,
    values: Sequence[Value | None],
    *,
    level: float = 0.95,
    seed: int = 0,
    reasons: Sequence[str | None] = (),
) -> Summary:
    """What the answers to a question come to; `reasons` why those that are None are missing, at the same places.

    An answer that is not valid counts as missing, with what is wrong with it. `level` is that of all intervals.
    """
    given, missing = _given(values, reasons, question.fault)
    top = (question.key, question.type, len(given), missing, level)
    match question:
        case Single():
            return Shares(*top, _counted(question.options, given, level), False)
        case Multiple():
            named = [one for value in given for one in value]
            return Shares(*top, _counted(question.options, named, level, len(given)), True)
        case Likert():
            return _scale(top, question.points, given)
        case Matrix():
            columns = ((row, [value[row] for value in given]) for row in question.rows)
            rows = (_scale((row, "likert", len(given), missing, level), question.points, of) for row, of in columns)
            return Grid(*top, tuple(rows))
        case Ranking():
            return _ranks(top, question.options, given)
        case _ if question.type == "number":
            return _numbers(top, question.unit, given, seed)
    return _texts(top, given)


def summarise_field(
    field: ExtractedField,
    values: Sequence[Value | None],
    *,
    level: float = 0.95,
    seed: int = 0,
    reasons: Sequence[str | None] = (),
) -> Summary:
    """What the values of an extracted field come to, as `summarise_question` has it."""
    given, missing = _given(values, reasons, field.fault)
    top = (field.name, field.type, len(given), missing, level)
    match field.type:
        case "category":
            return Shares(*top, _counted(field.options, given, level), False)
        case "boolean":
            return Shares(*top, _counted((YES, NO), [YES if value else NO for value in given], level), False)
        case "list":
            return Shares(*top, _listed(given, level), True)
        case "number" | "integer":
            return _numbers(top, "", given, seed)
    return _texts(top, given)


def bars(summary: Summary) -> list[Bar]:
    """What a chart shows of it: the shares; of a matrix the top of each row, of a ranking the first places."""
    match summary:
        case Grid():
            shown = [(row.key, row.top) for row in summary.rows]
        case Ranks():
            shown = [(rank.label, rank.first) for rank in summary.ranks]
        case Numbers():
            shown = [(one.label, one) for one in summary.bins]
        case Texts():
            shown = [(one.label, one) for one in summary.frequent]
        case _:
            shown = [(one.label, one) for one in summary.shares]
    return [Bar(label, one.count, one.share, one.low, one.high) for label, one in shown]


def consensus(counts: Sequence[int]) -> float | None:
    """How far answers on a scale agree: 1 + Σ pᵢ log₂(1 - |xᵢ - μ| / d), d the width of the scale; 1 is all the same.

    0 is one half at each end (Tastle & Wierman 2007, "Consensus and dissention", Int. J. Approximate Reasoning 45(3),
    531-545). `counts` are those of the points, from the lowest on.
    """
    n, width = sum(counts), len(counts) - 1
    if not n:
        return None
    middle = sum(i * count for i, count in enumerate(counts)) / n
    total = sum(count / n * log2(1 - abs(i - middle) / width) for i, count in enumerate(counts) if count)
    return min(1.0, max(0.0, 1 + total))


def concordance(rankings: Sequence[Sequence[str]]) -> tuple[float | None, float | None]:
    """Kendall's W of m complete rankings of k options, and its p by χ² = m (k - 1) W with k - 1 degrees of freedom.

    W = 12 Σ (Rᵢ - R̄)² / (m² (k³ - k)) (Kendall & Babington Smith 1939, Ann. Math. Statist. 10(3), 275-287). The p is
    rough for fewer than 8 rankings. (None, None) for fewer than 2 rankings.
    """
    m, k = len(rankings), len(rankings[0]) if rankings else 0
    if m < 2 or k < 2:
        return None, None
    sums = Counter[str]()
    for ranking in rankings:
        sums.update({option: place for place, option in enumerate(ranking, 1)})
    middle = m * (k + 1) / 2
    w = 12 * sum((total - middle) ** 2 for total in sums.values()) / (m * m * (k**3 - k))
    from scipy.special import chdtrc

    return w, float(chdtrc(k - 1, m * (k - 1) * w))


_Top: TypeAlias = tuple[str, str, int, dict[str, int], float]


def _given(
    values: Sequence[Value | None], reasons: Sequence[str | None], fault: Callable[[Any], str | None]
) -> tuple[list[Any], dict[str, int]]:
    given: list[Any] = []
    missing = Counter[str]()
    for place, value in enumerate(values):
        if value is None:
            missing[(reasons[place] if place < len(reasons) else None) or NO_ANSWER] += 1
        elif (wrong := fault(value)) is not None:
            missing[f"not valid: {wrong}"] += 1
        else:
            given.append(value)
    return given, dict(missing)


def _counted(labels: Iterable[str], given: Sequence[str], level: float, n: int | None = None) -> tuple[Share, ...]:
    counts = Counter(given)
    whole = len(given) if n is None else n
    return tuple(share(label, counts[label], whole, level) for label in labels)


def _listed(given: Sequence[list[str]], level: float) -> tuple[Share, ...]:
    """Each thing counts once a person, whatever its case and spaces; it is written as most wrote it."""
    spellings: dict[str, Counter[str]] = {}
    named = Counter[str]()
    for listed in given:
        plain = {" ".join(one.casefold().split()): " ".join(one.split()) for one in listed}
        named.update(plain.keys())
        for key, written in plain.items():
            spellings.setdefault(key, Counter())[written] += 1
    most = sorted(named.items(), key=lambda one: (-one[1], one[0]))[:LISTED_MOST]
    return tuple(share(spellings[key].most_common(1)[0][0], times, len(given), level) for key, times in most)


def _scale(top: _Top, points: int, given: Sequence[int]) -> Scale:
    level = top[4]
    shares = _counted([str(point) for point in range(1, points + 1)], [str(one) for one in given], level)
    least = points - 1 if points >= TOP_TWO_FROM else points
    high = sum(one >= least for one in given)
    return Scale(
        *top,
        points,
        shares,
        t_mean(given, level),
        stdev(given) if len(given) > 1 else None,
        float(median(given)) if given else None,
        share(f"{least}–{points}" if least < points else str(points), high, len(given), level),
        consensus([one.count for one in shares]),
    )


def _numbers(top: _Top, unit: str, given: Sequence[float], seed: int) -> Numbers:
    level = top[4]
    q1, q2, q3 = _quartiles(given)
    return Numbers(
        *top,
        unit,
        bootstrap_mean(given, level, seed),
        stdev(given) if len(given) > 1 else None,
        _float(q2),
        _float(q1),
        _float(q3),
        _float(min(given, default=None)),
        _float(max(given, default=None)),
        _bins(given, level),
    )


def _quartiles(given: Sequence[float]) -> Sequence[float | None]:
    if len(given) > 1:
        return quantiles(given, method="inclusive")
    return (given[0],) * 3 if given else (None,) * 3


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _bins(given: Sequence[float], level: float) -> tuple[Share, ...]:
    """Each value for itself where they are few; else as many equally wide ones as Sturges 1926 has it, ⌈log₂ n⌉ + 1."""
    if len(set(given)) <= BARS_MOST:
        counts = Counter(given)
        return tuple(share(f"{value:.15g}", counts[value], len(given), level) for value in sorted(counts))
    least, n = min(given), min(BARS_MOST, ceil(log2(len(given))) + 1)
    wide = (max(given) - least) / n
    places = Counter(min(n - 1, int((value - least) / wide)) for value in given)
    labels = (f"{least + i * wide:.6g} to {least + (i + 1) * wide:.6g}" for i in range(n))
    return tuple(share(label, places[i], len(given), level) for i, label in enumerate(labels))


def _ranks(top: _Top, options: Sequence[str], given: Sequence[list[str]]) -> Ranks:
    places = {option: [ranking.index(option) + 1 for ranking in given] for option in options}
    ranks = [
        Rank(
            option,
            fmean(at) if at else None,
            sum(len(options) - place for place in at),
            share(option, at.count(1), len(at), top[4]),
        )
        for option, at in places.items()
    ]
    return Ranks(*top, tuple(sorted(ranks, key=lambda rank: -rank.borda)), *concordance(given))


def _texts(top: _Top, given: Sequence[str]) -> Texts:
    spoken = [words(text) for text in given]
    tokens = [word for text in spoken for word in text]
    said = Counter(word for text in spoken for word in set(text) if len(word) > 2 and word not in SAYS_NOTHING)
    most = sorted(said.items(), key=lambda one: (-one[1], one[0]))[:WORDS_MOST]
    return Texts(
        *top,
        len(tokens),
        t_mean([len(text) for text in spoken], top[4]),
        len(set(tokens)),
        mattr(tokens),
        tuple(share(word, times, len(given), top[4]) for word, times in most),
    )
