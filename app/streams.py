"""The one source of chance: named streams of a run's seed, the same in every process."""

import hashlib
import random


def number(seed: int, *names: object, bits: int = 31) -> int:
    """A number of `bits` bits that depends on the seed and the names alone."""
    text = "\x1f".join(map(str, (seed, *names))).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> (64 - bits)


def stream(seed: int, *names: object) -> random.Random:
    """A random stream of its own for each name."""
    return random.Random(number(seed, *names, bits=63))  # noqa: S311 - reproducible chance, no secret
