"""Many outcomes, few false findings: p values adjusted within the family that was planned.

Holm for primary outcomes (no false finding at all, with probability 1 - alpha), Benjamini-Hochberg for exploratory ones
(a share of alpha of the findings is false, in expectation). A test that has no p counts in its family as p = 1: a
family does not shrink by what is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TypeAlias

Method: TypeAlias = Literal["holm", "benjamini-hochberg"]
CALLED: Mapping[str, str] = {"holm": "Holm", "benjamini-hochberg": "Benjamini–Hochberg"}
"""What people call them."""


@dataclass(frozen=True)
class Adjusted:
    """An outcome's p, adjusted within its family of `of` tests, and whether it is at most alpha."""

    key: str
    family: str
    method: Method
    of: int
    p: float | None
    adjusted: float | None
    significant: bool | None


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """max over i ≤ k of min(1, (m - i + 1) p₍ᵢ₎), in the order given (Holm 1979, Scand. J. Stat. 6(2), 65-70).

    Raises:
        ValueError: a p that is not between 0 and 1.
    """
    order, m = _order(ps), len(ps)
    steps = accumulate((min(1.0, (m - i) * p) for i, (p, _) in enumerate(order)), max)
    return _placed(ps, order, list(steps))


def benjamini_hochberg(ps: Sequence[float | None]) -> list[float | None]:
    """min over i ≥ k of min(1, m p₍ᵢ₎ / i), in the order given.

    Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57(1), 289-300; it holds for tests that are independent or depend
    positively (Benjamini & Yekutieli 2001, Ann. Stat. 29(4), 1165-1188).

    Raises:
        ValueError: a p that is not between 0 and 1.
    """
    order, m = _order(ps), len(ps)
    steps = accumulate((min(1.0, m * order[i - 1][0] / i) for i in range(m, 0, -1)), min)
    return _placed(ps, order, list(steps)[::-1])


def adjust(
    primary: Mapping[str, float | None], exploratory: Mapping[str, float | None], *, alpha: float = 0.05
) -> tuple[Adjusted, ...]:
    """All tests of a report, each family for itself: primary ones by Holm, exploratory by Benjamini-Hochberg.

    Keys are what a test is of, as (outcome, arm) in one word; a key that stands in both families is refused.

    Raises:
        ValueError: a p that is not between 0 and 1, or a key in both families.
    """
    if both := sorted(primary.keys() & exploratory.keys()):
        raise ValueError(f"{both[0]}: is both primary and exploratory")
    return (
        *_family("primary", "holm", primary, holm(list(primary.values())), alpha),
        *_family(
            "exploratory", "benjamini-hochberg", exploratory, benjamini_hochberg(list(exploratory.values())), alpha
        ),
    )


def _family(
    family: str, method: Method, ps: Mapping[str, float | None], adjusted: Sequence[float | None], alpha: float
) -> list[Adjusted]:
    return [
        Adjusted(key, family, method, len(ps), p, q, None if q is None else q <= alpha)
        for (key, p), q in zip(ps.items(), adjusted, strict=True)
    ]


def _order(ps: Sequence[float | None]) -> list[tuple[float, int]]:
    for place, p in enumerate(ps, 1):
        if p is not None and not 0 <= p <= 1:
            raise ValueError(f"test {place}: p must be between 0 and 1, not {p}")
    return sorted((1.0 if p is None else p, place) for place, p in enumerate(ps))


def _placed(
    ps: Sequence[float | None], order: Sequence[tuple[float, int]], steps: Sequence[float]
) -> list[float | None]:
    by_place = {place: step for (_, place), step in zip(order, steps, strict=True)}
    return [None if p is None else by_place[place] for place, p in enumerate(ps)]
