"""What nobody is to see for now: the kill switch of a post, the guard against texts that spread, and how far they do.

A quarantine hides a post with its reposts, or a comment; nothing is deleted, and lifting shows it as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import asyncpg

from app.db.engine import Database
from app.db.queries import load
from app.errors import Conflict, NotFound
from app.world.text import INT64_MAX

MODERATION = load("moderation")
REPLAY = load("replay")
OWN_INSTRUCTIONS = "repeats its own instructions"
JUST_READ = "copies what it has just read"
PARTS = 8
ENOUGH = 6
"""A text copies another when so many of its eight equal parts occur in it."""

OTHERS = 2
"""Personas, other than who wrote it, whose copies make a text one that spreads: one may quote."""

AT_ONCE = 500
EARLIER_RUNS = 2
REASON = f"copied by {OTHERS} others or more: it spreads itself"
SPREADING_MAX = 20

Mode = Literal["mark", "quarantine"]
Kind = Literal["post", "comment", "bio"]
Hideable = Literal["post", "comment"]
Verdict = Literal["dismissed", "hidden"]
Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy"
Things: TypeAlias = Sequence[Row]
"""Rows of kind, id and the head (head_kind, head_id) because of which a thing is taken."""


@dataclass(frozen=True)
class By:
    """Who quarantines or lifts: an admin, whoever has the command line, or the guard."""

    who: Literal["admin", "operator", "guard"]
    admin_id: int | None = None


@dataclass(frozen=True)
class Changed:
    """How many posts (reposts included) and comments were hidden, or are seen again."""

    posts: int
    comments: int


@dataclass(frozen=True)
class Closed:
    """How many reports of a post were closed, and what that hid."""

    reports: int
    changed: Changed


@dataclass(frozen=True)
class Guarded:
    """What the guard found in a run, and took (rows as JSON), and when the run began and ended."""

    marks: str
    quarantines: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Generation:
    """What carries a text after `number` copies; how many of these were shown, to how many, and copied how often."""

    number: int
    carriers: int
    shown: int
    readers: int
    copies: int

    @property
    def r(self) -> float:
        """Copies for each carrier that anybody was shown."""
        return self.copies / self.shown if self.shown else 0.0


@dataclass(frozen=True)
class Infection:
    """How a text spreads, from its origin on."""

    kind: Kind
    id: int
    username: str
    text: str
    quarantined: bool
    generations: tuple[Generation, ...]

    @property
    def copies(self) -> int:
        return sum(g.copies for g in self.generations)

    @property
    def r0(self) -> float:
        """R₀ of the text: the mean number of copies that each carrier's exposure caused, over all generations."""
        shown = sum(g.shown for g in self.generations)
        return self.copies / shown if shown else 0.0


@dataclass(frozen=True)
class Safety:
    """All that an admin wants to know of texts that spread or leak."""

    flagged: list[Row] = field(default_factory=list)
    infections: list[Infection] = field(default_factory=list)
    quarantined: list[Row] = field(default_factory=list)


async def quarantine(
    connection: Connection, thing_id: int, *, by: By, reason: str, kind: Hideable = "post", cascade: bool = False
) -> Changed:
    """Hide a post, its reposts and every known near copy of it from everybody, in the caller's transaction.

    Args:
        kind: what has the id: a comment can be hidden too.
        cascade: take also what quotes the post, or answers the comment, and so on; else quotes stay, without its text.

    Raises:
        NotFound: there is no such thing.
    """
    await _found(connection, thing_id, kind)
    things = await connection.fetch(MODERATION["cascade"], kind, thing_id, cascade)
    return await _take(connection, things, by, reason)


async def lift(connection: Connection, thing_id: int, *, by: By, reason: str, kind: Hideable = "post") -> Changed:
    """Show it again, with all that was taken because of it. The guard leaves it alone from now on.

    Raises:
        NotFound: there is no such thing.
    """
    await _found(connection, thing_id, kind)
    return await _apply(connection, await connection.fetch(MODERATION["lift"], thing_id, by.admin_id, reason, kind))


async def _found(connection: Connection, thing_id: int, kind: Hideable) -> None:
    await connection.execute(MODERATION["turn"])
    if not await connection.fetchval(MODERATION["exists"], thing_id, kind):
        raise NotFound(f"no {kind} has the id {thing_id}")


async def close_reports(connection: Connection, post_id: int, verdict: Verdict, *, by: By, reason: str) -> Closed:
    """Close a post's open reports; with the verdict `hidden` it goes into quarantine with its whole cascade.

    Whoever gives the same verdict again changes nothing.

    Raises:
        NotFound: there is no such post, or nobody has reported it.
        Conflict: its reports were closed with the other verdict.
    """
    await _found(connection, post_id, "post")
    closed = await connection.fetch(MODERATION["close_reports"], post_id, verdict, by.admin_id)
    if closed:
        hides = verdict == "hidden"
        changed = Changed(0, 0)
        if hides:
            changed = await quarantine(connection, post_id, by=by, reason=reason or "reported", cascade=True)
        return Closed(len(closed), changed)
    before = await connection.fetchval(MODERATION["last_verdict"], post_id)
    if before is None:
        raise NotFound(f"nobody has reported post {post_id}")
    if before != verdict:
        raise Conflict(
            f"the reports of post {post_id} were closed before: {before}; its quarantine can still be set and lifted"
        )
    return Closed(0, Changed(0, 0))


async def open_reports(database: Database, limit: int, *, before: int = INT64_MAX) -> list[Row]:
    """Posts with open reports, the one reported last first; `last_id` is where the next page begins."""
    return await database.fetch(MODERATION["reports"], before, limit)


async def look_into(database: Database, run_ids: Sequence[int], mode: Mode) -> Changed:
    """Find out what the marked texts of these runs copy; in mode "quarantine" take those that spread.

    A text spreads when at least two others than who wrote it have near copies of it, or of copies of it: since when
    does not matter, so that one copy a cycle is no way around. Its origin and all copies are taken together. All is
    one transaction, one process after the other, and what was looked into is not looked into again: whoever does it
    twice, or again after a crash, changes nothing.
    """
    nothing = Changed(0, 0)
    if not run_ids:
        return nothing
    async with database.connection() as connection, connection.transaction():
        await connection.execute(MODERATION["turn"])
        origins: set[tuple[str, int]] = set()
        asked = (list(run_ids), JUST_READ, OWN_INSTRUCTIONS, ENOUGH / PARTS, AT_ONCE)
        while True:
            found = await connection.fetch(MODERATION["look_into"], *asked)
            origins |= {(row["origin_kind"], row["origin_id"]) for row in found if row["origin_id"] is not None}
            if len(found) < AT_ONCE:
                break
        if mode == "mark" or not origins:
            return nothing
        kinds, ids = zip(*sorted(origins), strict=True)
        things = await connection.fetch(MODERATION["spreading"], kinds, ids, OTHERS)
        return await _take(connection, things, By("guard"), REASON)


async def guard_as_was(database: Database, run_id: int, was: Guarded) -> None:
    """At the end of a replay: the marks and quarantines that the guard made then are there again; twice is as once."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute(MODERATION["turn"])
        await connection.execute(REPLAY["marks_as_were"], was.marks)
        await _apply(connection, await connection.fetch(REPLAY["taken_as_was"], was.quarantines))
        await connection.execute(REPLAY["times_as_were"], run_id, was.started_at, was.ended_at)


async def left_over(database: Database, venue: str, run_id: int) -> list[int]:
    """Earlier runs whose end may have been missed; none once somebody plays `run_id`, who looked into them before."""
    rows = await database.fetch(MODERATION["left_over"], run_id, venue, EARLIER_RUNS)
    return [row["id"] for row in rows]


async def _take(connection: Connection, things: Things, by: By, reason: str) -> Changed:
    heads = [t for t in things if (t["kind"], t["id"]) == (t["head_kind"], t["head_id"])]
    others = [t for t in things if (t["kind"], t["id"]) != (t["head_kind"], t["head_id"])]
    await connection.fetch(MODERATION["hold"], [t["id"] for t in things if t["kind"] == "post"])
    taken: list[Row] = []
    for group in (heads, others):
        columns = [[t[name] for t in group] for name in ("kind", "id", "head_kind", "head_id")]
        taken += await connection.fetch(MODERATION["take"], *columns, by.who, by.admin_id, reason)
    return await _apply(connection, taken)


async def _apply(connection: Connection, rows: Sequence[Row]) -> Changed:
    posts, comments = ([row[name] for row in rows if row[name]] for name in ("post_id", "comment_id"))
    await connection.fetch(MODERATION["hold"], posts)
    changed = await connection.fetchrow(MODERATION["apply"], posts, comments)
    return Changed(changed["posts"], changed["comments"])


async def safety(database: Database, limit: int) -> Safety:
    """The newest marks, the texts copied last with how they spread, and the newest quarantines in force."""
    spread = await database.fetch(MODERATION["spread_lately"], min(limit, SPREADING_MAX))
    return Safety(
        await flagged(database, limit),
        await infections(database, [(row["kind"], row["id"]) for row in spread]),
        await quarantined(database, limit),
    )


async def flagged(database: Database, limit: int) -> list[Row]:
    """The newest marks: near copies with what they copy, and own instructions that were told ("canary")."""
    return await database.fetch(MODERATION["flagged"], JUST_READ, OWN_INSTRUCTIONS, limit)


async def quarantined(database: Database, limit: int) -> list[Row]:
    """The newest quarantines in force, without what was taken because of another."""
    return await database.fetch(MODERATION["quarantined"], limit)


async def infections(database: Database, origins: Sequence[tuple[Kind, int]]) -> list[Infection]:
    """How each of these texts ((kind, id) of its origin) spreads.

    Prompt Infection (D. Lee & M. Tiwari 2024, "Prompt Infection: LLM-to-LLM Prompt Injection within Multi-Agent
    Systems", arXiv:2410.07283) is a text that makes who reads it repeat it. They show it to grow like an epidemic,
    along a logistic curve; the number for that is epidemiology's reproduction number (Diekmann, Heesterbeek & Metz
    1990). Here a case is a carrier, a post or comment that holds the text, and contagion is a near copy by whoever was
    shown a carrier:

        R_g = copies of carriers of generation g / carriers of generation g that anybody was shown
        R₀  = all copies / all carriers that anybody was shown

    Generation 0 is the origin, and a copy is one generation behind its source: of what its writer was shown before, the
    most alike, and of these the first written. A new bio can be a copy but carries nothing on, for it can be replaced.
    """
    if not origins:
        return []
    kinds, ids = zip(*origins, strict=True)
    async with database.connection() as connection, connection.transaction():
        await connection.execute(MODERATION["in_bulk"])
        rows = await connection.fetch(MODERATION["infection"], kinds, ids)
    found = []
    for place, (kind, number) in enumerate(origins, 1):
        text = await database.fetchrow(MODERATION["text_of"], kind, number)
        generations = tuple(
            Generation(r["generation"], r["carriers"], r["shown"], r["readers"], r["copies"])
            for r in rows
            if r["place"] == place
        )
        if text is not None:
            found.append(Infection(kind, number, text["username"], text["text"], text["quarantined"], generations))
    return found


async def post_text(database: Database, post_id: int) -> Row:
    """What a post says, whose it is, and whether it is hidden: for admins, who see what nobody else sees.

    Raises:
        NotFound: there is no such post.
    """
    if row := await database.fetchrow(MODERATION["text_of"], "post", post_id):
        return row
    raise NotFound(f"no post has the id {post_id}")
