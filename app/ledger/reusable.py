"""What requests were answered, kept in the home world for whoever asks the same again."""

from dataclasses import dataclass
from datetime import datetime

from app.db.engine import Database
from app.db.queries import load

REUSABLE = load("reusable")


@dataclass(frozen=True)
class Kept:
    """An answer as it was received: `reply` is the assistant's message, `response` the bytes it came from."""

    model: str
    reply: bytes
    response: bytes


@dataclass(frozen=True)
class Savings:
    """How many `answers` are kept in how many `bytes`, since when, and what their `uses` would have taken."""

    answers: int
    uses: int
    tokens: int
    usd: float
    bytes: int
    oldest: datetime | None


async def answer(database: Database, request_sha256: bytes) -> Kept | None:
    """What this request was answered, if it was; that counts as a use of it."""
    row = await database.fetchrow(REUSABLE["answer"], request_sha256)
    return None if row is None else Kept(row["model"], row["reply"], row["response"])


async def keep(
    database: Database, request_sha256: bytes, kept: Kept, *, prompt: int, completion: int, usd: float | None
) -> None:
    """Keep an answer, with the tokens and US dollars that it took; the first to a request stays."""
    given = (request_sha256, kept.model, kept.reply, kept.response, prompt, completion, usd)
    await database.fetchrow(REUSABLE["keep"], *given)


async def savings(database: Database) -> Savings:
    """What is kept, and what it has saved."""
    row = await database.fetchrow(REUSABLE["kept"])
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return Savings(row["answers"], row["uses"], row["tokens"], row["usd"], row["bytes"], row["oldest"])


async def clear(database: Database, before: datetime | None = None) -> int:
    """Forget what was kept before that moment, or everything, and return how many answers that was."""
    return int(await database.fetchval(REUSABLE["clear"], before))
