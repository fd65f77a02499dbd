"""Passwords: argon2id through passlib's interface, never on the event loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from passlib.hash import argon2

MIN, MAX = 12, 256

_HASHER = argon2.using(type="ID", memory_cost=19_456, time_cost=2, parallelism=1)
"""OWASP's minimum for argon2id: 19 MiB, two passes, one lane."""

_HASHER.set_backend()  # else two threads may load it at once, and both fail

_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="passwords")


@cache
def _nobodys_hash() -> str:
    return str(_HASHER.hash("a password nobody has"))


def _verify(password: str, stored: str | None) -> bool:
    return bool(_HASHER.verify(password, stored or _nobodys_hash())) and stored is not None


async def hashed(password: str) -> str:
    """The password's hash, made on a thread of its own."""
    return str(await asyncio.get_running_loop().run_in_executor(_THREADS, _HASHER.hash, password))


async def verified(password: str, stored: str | None) -> bool:
    """Whether it is the password; without a stored hash it takes as long and is False."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _verify, password, stored)


def outdated(stored: str) -> bool:
    """Whether a hash should be made anew under today's parameters."""
    return bool(_HASHER.needs_update(stored))
