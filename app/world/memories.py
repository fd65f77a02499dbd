"""What personas remember, in rows: written once per run, recalled by recency, importance, relevance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg

from app.db.engine import Database, patiently
from app.db.queries import load
from app.errors import Conflict, NotFound
from app.world.text import INT64_MAX

MEMORIES = load("memories")
Kind = Literal["did", "done_to", "bond", "reflection", "given"]
NEW_MOST = 12
"""Memories of a kind that one run can add to a persona's: the most important ones."""

GIVEN_MOST = 40
"""Memories that can be put into one persona: they are never forgotten by themselves."""

PICKED = 24
"""Memories that are looked at for a place in the prompt."""

TOGETHER = 500
"""Personas whose memories are looked at by one statement: each takes about a millisecond of its time."""

DECAY = 0.995
"""Recency an hour later, of the world's clock: Park et al. 2023, section 4.1."""

WEIGHTS = (1.0, 1.0, 1.0)
"""What recency, importance and relevance weigh: alike, as there."""

REFLECT_MOST, REFLECT_LEAST, REFLECT_NOT = 40, 4, 8
"""Memories that one reflection may hold, those it is worth a call for, and the newest, which none holds."""

ECHOES_AMONG = 20_000
"""Turns that are looked through for echoes."""

LOOKED_BACK = 3
"""How many runs before this one may have been left without memories by a process that died."""

END = datetime(9999, 12, 31, tzinfo=UTC)
TRIES, WAIT = 5, 0.05
MET = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

_CONSENT = (
    "agree agreed agrees exactly right yes true thanks thank love lovely great wonderful brilliant wise beautiful bravo"
    " seconded gladly well welcome sorry glad kind hurray congratulations absolutely indeed"
)
CONSENT = tuple(_CONSENT.split())
_DISSENT = (
    "disagree disagreed wrong nonsense rubbish ridiculous absurd stupid idiot idiotic fool foolish liar lie lies lying"
    " hate hates shame shameful terrible awful worst bad dishonest hypocrite insult insulting coward garbage silly"
    " mistaken false never stop enough bullshit pathetic disgusting unacceptable"
)
DISSENT = tuple(_DISSENT.split())
"""Words that tell for or against the one who is answered: the sign of their difference is the tone of a text."""

_SAYS_NOTHING = (
    "you your yours they them their this that these those with from what when where which who whom will would could"
    " should have has had been being were was are the and but not for nor all any some more most much many very just"
    " than then there here about into over under again also only even still one two own same such how why can did does"
    " doing done its it's his her him she our ours out off too now up down no yes to in on at by of or if as is it be"
    " am do so we us me my mine i a an times turned posted post liked like answered shared wrote know began follow"
    " following stopped against disagreed quarrel"
)
SAYS_NOTHING = tuple(_SAYS_NOTHING.split())
"""Words by which nothing is recalled: those every text has, and those our own lines have."""


@dataclass(frozen=True)
class Memory:
    """One recalled memory with where it came from, and why it came to mind: each part, and the score, from 0 to 1."""

    id: int
    kind: Kind
    about: int | None
    body: str
    importance: float
    venue: str
    run_id: int | None
    turn_id: int | None
    object_kind: str | None
    object_id: int | None
    at: datetime
    recency: float
    relevance: float
    score: float


@dataclass(frozen=True)
class AtHand:
    """What recalls: `words`, or (None) the newest posts and each persona's interests.

    With `meanings`, one embedding for each persona asked about, memories are compared by them instead.
    """

    words: str | None = None
    meanings: Sequence[Sequence[float]] = ()


EVERYTHING = AtHand()


@dataclass(frozen=True)
class Kept:
    """What a run added: `made` memories to `whose`; `forgotten` made room for them."""

    made: int = 0
    whose: tuple[int, ...] = field(default=())
    forgotten: int = 0


Of = Literal["feed", "room", "session"]


async def remember(
    database: Database, run_id: int, *, now: datetime, most: int, own_bonds: bool = False, of: Of = "feed"
) -> Kept:
    """Turn what happened in a run since it was last remembered into memories, once, whoever asks and however often.

    Args:
        now: the world's time, for turns that have none of their own.
        most: memories a persona keeps.
        own_bonds: bonds are counted for this run alone.
        of: of a room no word is kept; of a session what each said last.
    """

    async def work() -> Kept:
        async with database.connection() as connection, connection.transaction():
            await connection.fetchval(MEMORIES["one_at_a_time"])
            if of != "feed":
                row = await connection.fetchrow(MEMORIES[f"remember_{of}"], run_id, now)
            else:
                await connection.execute(MEMORIES["touch"], run_id, now)
                row = await connection.fetchrow(
                    MEMORIES["remember"], run_id, now, own_bonds, NEW_MOST, CONSENT, DISSENT
                )
            assert row is not None  # noqa: S101 - an aggregate always gives a row
            forgotten = await connection.fetchval(MEMORIES["trim"], row["whose"], most) if row["whose"] else 0
        return Kept(row["made"], tuple(row["whose"]), forgotten)

    return await patiently(work, MET, tries=TRIES, wait=WAIT)


async def left_over(database: Database, venue: str, before: int, *, on: bool) -> list[int]:
    """The last runs of a venue before run `before` that nobody remembered; `on`: those whose terms say nothing, too."""
    rows = await database.fetch(MEMORIES["left_over"], venue, before, LOOKED_BACK, on)
    return [row["id"] for row in rows]


async def recall(
    database: Database,
    persona_ids: Sequence[int],
    *,
    now: datetime,
    run_id: int | None = None,
    at_hand: AtHand = EVERYTHING,
    most: int = PICKED,
) -> dict[int, list[Memory]]:
    """What each persona remembers that counts most now, best first, in one statement for all of them.

    With a `run_id`, only what happened in that run. What is hidden, or by somebody the persona has muted, is left out.
    """
    if len(persona_ids) > TOGETHER and not at_hand.meanings:
        first, rest = persona_ids[:TOGETHER], persona_ids[TOGETHER:]
        found = await recall(database, first, now=now, run_id=run_id, at_hand=at_hand, most=most)
        return found | await recall(database, rest, now=now, run_id=run_id, at_hand=at_hand, most=most)
    by = "relevance_by_meaning" if at_hand.meanings else "relevance_by_words"
    query = MEMORIES["recall"].replace("{relevance}", MEMORIES[by])
    vectors: list[Any] = []
    if at_hand.meanings:
        vectors = [[x for vector in at_hand.meanings for x in vector], len(at_hand.meanings[0])]
    rows = await database.fetch(
        query, list(persona_ids), now, most, run_id, at_hand.words, SAYS_NOTHING, *WEIGHTS, DECAY, *vectors
    )
    found = {}
    for row in rows:
        mine = found.setdefault(row["persona_id"], [])
        if len(mine) < most:
            mine.append(Memory(**{name: row[name] for name in Memory.__dataclass_fields__}))
    return found


async def has_vectors(database: Database) -> bool:
    """Whether this world's database can compare embeddings."""
    return bool(await database.fetchval(MEMORIES["has_vectors"]))


async def texts_at_hand(database: Database, persona_ids: Sequence[int]) -> dict[int, str]:
    """What is at hand for each persona, as a text."""
    return {row["persona_id"]: row["text"] for row in await database.fetch(MEMORIES["at_hand"], list(persona_ids))}


async def unembedded(database: Database, persona_ids: Sequence[int], most: int) -> dict[int, str]:
    """Memories of these personas that have no embedding, by id."""
    rows = await database.fetch(MEMORIES["unembedded"], list(persona_ids), most)
    return {row["id"]: row["body"] for row in rows}


async def keep_embeddings(database: Database, ids: Sequence[int], vectors: Sequence[Sequence[float]]) -> None:
    """Give memories their embeddings; all are of one length."""
    flat = [number for vector in vectors for number in vector]
    await database.fetch(MEMORIES["embed"], list(ids), flat, len(vectors[0]))


async def listed(
    database: Database, persona_id: int, *, limit: int, after: int | None = None, folded: bool = False
) -> list[asyncpg.Record]:
    """A persona's memories, newest first; `after` ends the page before, `folded`: those in reflections too.

    Raises:
        NotFound: it has no memory `after`.
    """
    at, number = END, INT64_MAX
    if after is not None:
        row = await database.fetchrow(MEMORIES["place"], persona_id, after)
        if row is None:
            raise NotFound(f"this persona has no memory {after}")
        at, number = row["at"], row["id"]
    return await database.fetch(MEMORIES["remembered"], persona_id, at, number, limit, folded)


async def echoes(
    database: Database, persona_id: int | None, *, cycles: int, limit: int, quarrels: bool = False
) -> list[asyncpg.Record]:
    """What was lately written to somebody of whom its writer had recalled what happened so many cycles before."""
    return await database.fetch(MEMORIES["echoes"], persona_id, cycles, ECHOES_AMONG, quarrels, limit)


async def give(
    connection: Database | asyncpg.pool.PoolConnectionProxy,
    persona_id: int,
    body: str,
    *,
    now: datetime,
    importance: float = 0.8,
    run_id: int | None = None,
) -> int:
    """Put a memory into a persona and return its id; with a `run_id`, it is recalled where only that run counts.

    Raises:
        Conflict: it has as many as can be given.
    """
    found = await connection.fetchval(MEMORIES["give"], persona_id, body, importance, now, run_id, GIVEN_MOST)
    if found is None:
        raise Conflict(f"a persona can be given {GIVEN_MOST} memories: forget one first")
    return int(found)


async def forget(
    connection: Database | asyncpg.pool.PoolConnectionProxy, persona_id: int, ids: Sequence[int] | None
) -> list[int]:
    """Forget memories of a persona (None: all), and with a reflection what it holds; the ids that were there."""
    return [row["id"] for row in await connection.fetch(MEMORIES["forget"], persona_id, ids)]


async def weighty(database: Database, run_id: int, least: float, only: int | None = None) -> list[tuple[int, float]]:
    """Who of a run has so much to think about: (persona, importance that came together), of the run `only` if given."""
    few = REFLECT_NOT + REFLECT_LEAST
    rows = await database.fetch(MEMORIES["weighty"], run_id, least, only, few)
    return [(row["persona_id"], row["weight"]) for row in rows]


async def to_reflect_on(
    database: Database, persona_ids: Sequence[int], *, only: int | None = None
) -> dict[int, list[Memory]]:
    """The oldest memories of each persona that it has not thought about, oldest first, but not the newest ones."""
    rows = await database.fetch(MEMORIES["to_reflect_on"], list(persona_ids), REFLECT_MOST, REFLECT_NOT, only)
    found: dict[int, list[Memory]] = {}
    for row in rows:
        given = {name: row[name] for name in Memory.__dataclass_fields__ if name in row}
        found.setdefault(row["persona_id"], []).append(Memory(**given, recency=0.0, relevance=0.0, score=0.0))
    return found


async def fold(
    database: Database, run_id: int, *, now: datetime, read: Callable[[str], str | None], only: int | None = None
) -> int:
    """Make memories of what a reflection's turns answered, once, and let each hold those it was drawn from.

    Args:
        read: finds the text in the arguments of an answer; None: there is none.
        only: the run under which they are kept, where that alone counts; else they are the reflection's own.
    """

    async def work() -> int:
        async with database.connection() as connection, connection.transaction():
            await connection.fetchval(MEMORIES["one_at_a_time"])
            rows = await connection.fetch(MEMORIES["thought"], run_id, now)
            thoughts = {row["turn_id"]: (row, text) for row in rows if (text := read(row["arguments"]))}
            if not thoughts:
                return 0
            told = [(row["turn_id"], row["persona_id"], text, row["at"]) for row, text in thoughts.values()]
            kept = run_id if only is None else only
            return int(await connection.fetchval(MEMORIES["fold"], kept, *map(list, zip(*told, strict=True))))

    return await patiently(work, MET, tries=TRIES, wait=WAIT)


async def unfolded(database: Database, before: int) -> list[asyncpg.Record]:
    """Reflections before run `before` whose answers never became memories, as their process died."""
    return await database.fetch(MEMORIES["unfolded"], before, 2 * LOOKED_BACK)
