"""How a world's language moves: what it speaks of, how much of it was said before, how many words it has.

Texts are lists of words (`words.words`), in the order they were written; `window` says for each in which stretch of
time it was, by numbers from 0 on. What too little is there for is None.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.analysis.arrays import Floats, Ints, alike, floats, ints
from app.analysis.talk import REPEATS_FROM, SHINGLE
from app.analysis.words import WINDOW, chance_divergence, divergence, mattr
from app.world.memories import SAYS_NOTHING

Text = Sequence[str]
Codes = NDArray[np.int32]
LETTERS_LEAST = 3
WINDOWS_MOST = 100_000
COMMON = 5
"""How often a word must come in two windows together to count between them: Cochran 1954, Biometrics 10(4), 417."""


def topics(texts: Sequence[Text], window: ArrayLike) -> list[Counter[str]]:
    """By window, how often each word comes that says something: three letters or more, and none of `SAYS_NOTHING`.

    Raises:
        ValueError: there is not one window for each text.
    """
    at = _windows(texts, window)
    found = [Counter[str]() for _ in range(int(at.max(initial=-1)) + 1)]
    for text, number in zip(texts, at.tolist(), strict=True):
        found[number].update(text)
    return [_telling(words) for words in found]


def _telling(words: Mapping[str, int]) -> Counter[str]:
    return Counter({w: n for w, n in words.items() if len(w) >= LETTERS_LEAST and w not in SAYS_NOTHING})


def topic_drift(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """The Jensen-Shannon divergence of the words of two windows in bits: H((p + q) / 2) - (H(p) + H(q)) / 2.

    Lin 1991, IEEE Trans. Inf. Theory 37(1), 145-151; over words that come `COMMON` times or more in both together.

    Args:
        one, other: how often each word comes (`topics`).

    Returns:
        0 (the same) to 1 (nothing in common). None where no word is that common, or one window has none of them. Small
        windows differ by chance alone: see `topic_drift_excess`.
    """
    return divergence(*_common(one, other))


def topic_drift_excess(one: Mapping[str, int], other: Mapping[str, int]) -> float | None:
    """`topic_drift` less what chance makes of two samples of one mix, (k - 1)(1/n + 1/m) / (8 ln 2) bits; at least 0.

    n and m words of k kinds (Grosse et al. 2002, Phys. Rev. E 65, 041905).
    """
    a, b = _common(one, other)
    found = divergence(a, b)
    if found is None:
        return None
    return max(0.0, found - chance_divergence(len({*a, *b}), sum(a.values()), sum(b.values())))


def _common(one: Mapping[str, int], other: Mapping[str, int]) -> tuple[dict[str, float], dict[str, float]]:
    often = [word for word in {**one, **other} if one.get(word, 0) + other.get(word, 0) >= COMMON]
    a, b = ({word: float(of[word]) for word in often if of.get(word)} for of in (one, other))
    return a, b


def drifts(windows: Sequence[Mapping[str, int]]) -> list[float | None]:
    """`topic_drift_excess` from each window to the next: one less than there are windows."""
    return [topic_drift_excess(one, other) for one, other in pairwise(windows)]


def said_before(texts: Sequence[Text]) -> Floats:
    """The share of each text's different stretches of `SHINGLE` words that an earlier text has, shape (texts,).

    Containment of Broder 1997, "On the resemblance and containment of documents", SEQUENCES; as `talk.py` has it for
    the lines of a talk. NaN for a text of fewer words.
    """
    sizes = np.array([len(text) for text in texts], np.int64)
    number: dict[str, int] = {}
    words = (number.setdefault(word, len(number)) for text in texts for word in text)
    codes = np.fromiter(words, np.int32, int(sizes.sum()))
    of = np.repeat(np.arange(len(texts), dtype=np.int32), sizes)
    for step in _steps(SHINGLE):
        codes = _joined(codes, step)
    fits = of[: len(codes)] == of[SHINGLE - 1 :] if len(of) >= SHINGLE else np.zeros(0, bool)
    if not fits.any():
        return np.full(len(texts), np.nan)
    kinds = int(codes.max()) + 1
    writer, kind = np.divmod(np.unique(of[: len(codes)][fits] * np.int64(kinds) + codes[fits]), kinds)
    first = np.full(kinds, len(texts))
    np.minimum.at(first, kind, writer)
    different = np.bincount(writer, minlength=len(texts)).astype(np.float64)
    earlier = np.bincount(writer, first[kind] < writer, len(texts))
    share = np.full(len(texts), np.nan)
    np.divide(earlier, different, out=share, where=different > 0)
    return share


def _steps(size: int) -> list[int]:
    """By how much to shift and join codes of one word to have codes of `size`: for 4, by 1 and by 2."""
    steps, have = [], 1
    while have < size:
        steps.append(min(have, size - have))
        have += steps[-1]
    return steps


def _joined(codes: Codes, step: int) -> Codes:
    """A number for each pair of a code and the one `step` after it: equal pairs have equal numbers."""
    if len(codes) <= step:
        return codes[:0]
    pairs = codes[:-step] * (np.int64(codes.max()) + 1) + codes[step:]
    order = np.argsort(pairs)
    pairs = pairs[order]
    joined = np.zeros(len(pairs), np.int32)
    joined[order[1:]] = np.cumsum(pairs[1:] != pairs[:-1], dtype=np.int32)
    return joined


def near_copy_rates(shares: ArrayLike, window: ArrayLike) -> list[float | None]:
    """By window, the share of texts of which `REPEATS_FROM` or more was said before.

    Args:
        shares: shape (texts,), from `said_before`; NaN for texts that are too short, which don't count.
        window: shape (texts,).

    Raises:
        ValueError: a share is not from 0 to 1, or there is not one window for each.
    """
    share, at = np.asarray(shares, np.float64), ints("window", window, below=WINDOWS_MOST)
    alike(shares=share, window=at)
    told = ~np.isnan(share)
    known, at_known = floats("shares", share[told], least=0, most=1), at[told]
    windows = int(at.max(initial=-1)) + 1
    of, copies = np.bincount(at_known, minlength=windows), np.bincount(at_known[known >= REPEATS_FROM], None, windows)
    return [c / n if n else None for c, n in zip(copies.tolist(), of.tolist(), strict=True)]


def near_copy_rate(texts: Sequence[Text]) -> float | None:
    """The share of all texts, `SHINGLE` words or longer, of which `REPEATS_FROM` or more was said before; 0 to 1."""
    return next(iter(near_copy_rates(said_before(texts), np.zeros(len(texts), np.int64))), None)


def lexical_diversity(texts: Sequence[Text], window: ArrayLike, size: int = WINDOW) -> list[float | None]:
    """By window, the moving-average type-token ratio of its texts one after the other (`words.mattr`), 0 to 1.

    Covington & McFall 2010, J. Quant. Linguistics 17(2), 94-100. None for a window of fewer than `size` words.

    Raises:
        ValueError: there is not one window for each text.
    """
    at = _windows(texts, window)
    flat: list[list[str]] = [[] for _ in range(int(at.max(initial=-1)) + 1)]
    for text, number in zip(texts, at.tolist(), strict=True):
        flat[number].extend(text)
    return [mattr(tokens, size) for tokens in flat]


def text_length(texts: Sequence[Text]) -> float | None:
    """The mean number of words of a text; None for none."""
    return sum(map(len, texts)) / len(texts) if texts else None


def _windows(texts: Sequence[Text], window: ArrayLike) -> Ints:
    at = ints("window", window, below=WINDOWS_MOST)
    if len(at) != len(texts):
        raise ValueError(f"window: must be one for each of {len(texts)} texts, not {len(at)}")
    return at
