"""A world to read, made set-based in batches: personas, posts, likes, comments, follows and counters that agree."""

from collections.abc import Iterator

import asyncpg
from rich.progress import Progress

from app.cli.bench.meter import BENCH

BATCH = 20_000
ROUNDS_WITHOUT = 20
"""Batches of likes that add nothing, after which there is no room for more."""


def people(posts: int) -> int:
    """How many personas a world of so many posts has."""
    return max(50, posts // 100)


def batches(number: int) -> Iterator[tuple[int, int]]:
    """1 to `number`, in ranges of at most a batch."""
    for begin in range(1, number + 1, BATCH):
        yield begin, min(number, begin + BATCH - 1)


def _affected(status: str) -> int:
    return int(status.rpartition(" ")[2])


async def make(url: str, posts: int, likes: int, bar: Progress, personas: int | None = None) -> dict[str, int]:
    """Fill a fresh world and return what it holds."""
    connection = await asyncpg.connect(url)
    try:
        return await _make(connection, posts, likes, people(posts) if personas is None else personas, bar)
    finally:
        await connection.close()


async def _make(connection: asyncpg.Connection, posts: int, likes: int, personas: int, bar: Progress) -> dict[str, int]:
    await connection.execute(BENCH["make_seed"])
    await connection.execute(BENCH["make_personas"], personas)
    task = bar.add_task("posts", total=posts)
    for begin, end in batches(posts):
        await connection.execute(BENCH["make_posts"], begin, end, posts, personas)
        bar.update(task, completed=end)
    task = bar.add_task("comments", total=posts)
    for begin, end in batches(posts):
        await connection.execute(BENCH["make_comments"], begin, end, posts, personas)
        bar.update(task, completed=end)
    made = await _make_likes(connection, likes, posts, personas, bar)
    task = bar.add_task("counters", total=posts)
    for begin, end in batches(posts):
        await connection.execute(BENCH["make_counts"], begin, end)
        bar.update(task, completed=end)
    follows = _affected(await connection.execute(BENCH["make_follows"], personas))
    await connection.execute(BENCH["make_persona_counts"])
    await connection.execute(BENCH["make_next_ids"])
    await connection.execute(BENCH["statistics"])
    return {"personas": personas, "posts": posts, "comments": posts, "likes": made, "follows": follows}


async def _make_likes(connection: asyncpg.Connection, likes: int, posts: int, personas: int, bar: Progress) -> int:
    task = bar.add_task("likes", total=likes)
    made = without = 0
    while made < likes and without < ROUNDS_WITHOUT:
        wanted = min(BATCH, likes - made)
        added = _affected(await connection.execute(BENCH["make_likes"], wanted, posts, personas))
        without = 0 if added else without + 1
        made += added
        bar.update(task, completed=made)
    return made
