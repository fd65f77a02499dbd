"""Whether a world's texts become one text: how many are different, how alike they are, whether all agree.

Texts are lists of words (`words.words`), in the order they were written. The monitors of a run (`realism.py`) look at
the same with the same functions, and their levels judge what is found here.
"""

from collections.abc import Sequence

from app.analysis.adherence import Written
from app.analysis.arrays import Ints
from app.analysis.drift import Text
from app.analysis.realism import Value, balance
from app.analysis.words import cross_similarity, mean_similarity, vectors


def distinct_share(texts: Sequence[Text], bodies: Sequence[str]) -> float | None:
    """The share of texts that are different; 1: no two are the same. None for none.

    Texts are told apart by their words, and those without any (emoji) by their bodies.
    """
    different = {tuple(text) or body.strip() for text, body in zip(texts, bodies, strict=True)}
    return len(different) / len(texts) if texts else None


def text_similarity(texts: Sequence[Text]) -> float | None:
    """The mean cosine of all pairs of texts (`words.mean_similarity`), 0 to 1; None for less than two."""
    return mean_similarity(vectors(texts))


def self_similarity(texts: Sequence[Text], author: Ints) -> Value:
    """The mean, over writers of two texts or more, of the mean cosine of the later half of theirs with the earlier.

    `words.cross_similarity`, 0 to 1, and of how many writers; of an odd number the one in the middle is a later one.
    """
    own: dict[int, list[dict[str, float]]] = {}
    for unit, who in zip(vectors(texts), author.tolist(), strict=True):
        own.setdefault(who, []).append(unit)
    halves = [(mine[len(mine) // 2 :], mine[: len(mine) // 2]) for mine in own.values()]
    found = [x for now, then in halves if (x := cross_similarity(now, then)) is not None]
    return Value(sum(found) / len(found) if found else None, len(found))


def agreement(texts: Sequence[str]) -> Value:
    """(consent - dissent) / (consent + dissent) words, -1 to 1, and of how many such words (`realism.balance`)."""
    return balance([Written(0, "post", text) for text in texts])
