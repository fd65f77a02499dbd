"""Every choice of the offline model: random streams and permutations named by what they are for."""

import hashlib
import random
from functools import lru_cache


def digest(*parts: object) -> str:
    """16 hex digits that name `parts`, the same in every process."""
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def stream(*parts: object) -> random.Random:
    """A random source of its own for `parts`."""
    return random.Random(int(digest(*parts), 16))  # noqa: S311  it picks jokes, not keys


@lru_cache(maxsize=16_384)
def order(key: str, size: int) -> tuple[int, ...]:
    """A permutation of range(size): walking along it repeats nothing before everything was had."""
    places = list(range(size))
    stream("order", key).shuffle(places)
    return tuple(places)


@lru_cache(maxsize=2_048)
def spread(key: str, labels: tuple[str, ...], apart: int = 3) -> tuple[int, ...]:
    """A permutation of range(len(labels)) in which equal labels stay `apart` places away where possible."""
    left = list(order(key, len(labels)))
    line: list[int] = []
    while left:
        recent = {labels[place] for place in line[-apart:]}
        following = next((place for place in left if labels[place] not in recent), left[0])
        left.remove(following)
        line.append(following)
    return tuple(line)
