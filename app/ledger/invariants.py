"""What must hold in every world at every moment, looked at in one snapshot."""

from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg

from app.db.queries import load

INVARIANTS = load("invariants")
EXAMPLES = 5
SECONDS = 60
"""The longest that one of the statements may take."""

RULES: dict[str, tuple[str, str]] = {
    "made_is_there": ("I1", "what an action made is there, and its persona's"),
    "made_once": ("I1", "no two actions made the same"),
    "made_by_an_action": ("I1", "what a persona made during a turn, an action made"),
    "actions_ended": ("I2", "every action came to one end, and to an effect only if it succeeded"),
    "steps_whole": ("I2", "a turn's steps have no gap"),
    "turn_states": ("I2", "a turn's state, end and lease agree"),
    "run_states": ("I2", "a run's state, end and turns agree"),
    "orphans": ("I3", "no row points nowhere"),
    "exposures_of_steps": ("I3", "what was shown belongs to a step"),
    "post_counts": ("I3", "a post's counters equal their recounts"),
    "comment_counts": ("I3", "a comment's likes equal their recount"),
    "replies_beneath": ("I3", "a reply stands under the post of what it answers"),
    "blocked_apart": ("I3", "where one blocked the other, neither follows"),
    "persona_counts": ("I3", "a persona's counters equal their recounts"),
    "interventions_done": ("I2", "an intervention is done once, in a run, and none is passed over"),
    "told_once": ("I1", "nobody was told a message twice"),
    "budgets_held": ("I4", "a budget holds what its turns hold"),
    "turns_held": ("I4", "only running turns hold something"),
    "admins_invited": ("I5", "no more admins than accepted invitations and the first"),
    "invitations_used_in_time": ("I5", "an invitation was accepted while it was open"),
}
"""Statement: the invariant it belongs to, and what it says."""

ELSEWHERE: dict[str, str] = {
    "I6": "hostile input gets no 5xx",
    "I7": "secrets appear nowhere",
    "I8": "/livez and /readyz tell the truth in time",
    "I9": "memory and open files do not grow",
    "I10": "the event loop is never blocked for long",
}
"""What is no fact of the database: the test suite checks it."""


@dataclass(frozen=True)
class Finding:
    """How often a rule is broken, and by what."""

    invariant: str
    rule: str
    violations: int
    examples: tuple[str, ...]


async def check(connection: asyncpg.Connection) -> list[Finding]:
    """Look at every rule in one read-only snapshot; what goes on meanwhile disturbs nothing and is not disturbed."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
        await connection.execute("SET LOCAL work_mem = '64MB'")
        orphans = "\nUNION ALL\n".join(_orphans(await connection.fetch(INVARIANTS["references"])))
        return [
            await _look(connection, name, orphans if name == "orphans" else INVARIANTS[name], SECONDS) for name in RULES
        ]


async def _look(connection: asyncpg.Connection, name: str, statement: str, seconds: float) -> Finding:
    row = await connection.fetchrow(
        f"WITH broken AS MATERIALIZED ({statement})"  # noqa: S608 - our own statements, and names out of the catalogue
        f" SELECT (SELECT count(*) FROM broken), ARRAY(SELECT id FROM broken LIMIT {EXAMPLES})",
        timeout=seconds + 5,
    )
    return Finding(*RULES[name], row[0], tuple(row[1]))


def _orphans(references: list[asyncpg.Record]) -> Iterator[str]:
    """For each foreign key, the rows that point nowhere: a restored or patched database may hold some."""
    for _, child, parent, columns, keys in references:
        pairs = " AND ".join(f"p.{key} = c.{column}" for key, column in zip(keys, columns, strict=True))
        given = " AND ".join(f"c.{column} IS NOT NULL" for column in columns)
        shown = " || ', ' || ".join(f"c.{column}" for column in columns)
        yield (
            f"SELECT '{child} → {parent} ' || {shown} AS id FROM {child} c"  # noqa: S608 - names out of the catalogue
            f" WHERE {given} AND NOT EXISTS (SELECT FROM {parent} p WHERE {pairs})"
        )
