"""The tone of texts, by a pinned offline scorer: the version of the package is part of the metrics' version.

What it can't hear stands beside the numbers (`catalogue.METRICS`, `limits`).
"""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from app.analysis.arrays import Floats, floats
from app.analysis.words import words

HARSH = -2.0
"""The valence (-4 to 4) from which on a word counts as harsh."""

YOU = frozenset({"you", "your", "you're", "youre", "yours", "yourself", "u", "ur"})
_SENTENCE = re.compile(r"[.!?\n]+")


@cache
def _scorer() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


def sentiments(texts: Sequence[str]) -> Floats:
    """VADER's compound score of each text, -1 to 1, shape (texts,): Hutto & Gilbert 2014, ICWSM 8(1), 216-225."""
    scorer = _scorer()
    return np.array([scorer.polarity_scores(text)["compound"] for text in texts], np.float64)


def sentiment_mean(scores: ArrayLike) -> float | None:
    """The mean of scores from -1 to 1; None for none."""
    x = floats("scores", scores, least=-1, most=1)
    return float(x.mean()) if x.size else None


def sentiment_spread(scores: ArrayLike) -> float | None:
    """√(Σ (s - s̄)² / n), 0 to 1; None for none."""
    x = floats("scores", scores, least=-1, most=1)
    return float(x.std()) if x.size else None


def toxic(text: str) -> bool:
    """Whether a sentence speaks to somebody and holds a word of valence `HARSH` or less."""
    valence: dict[str, float] = _scorer().lexicon
    for sentence in _SENTENCE.split(text):
        said = words(sentence)
        if not YOU.isdisjoint(said) and any(valence.get(word, 0.0) <= HARSH for word in said):
            return True
    return False


def toxicity_share(texts: Sequence[str]) -> float | None:
    """The share of texts that are `toxic`; None for none."""
    return sum(map(toxic, texts)) / len(texts) if texts else None
