"""A turn read back in order: what was said, done and shown, and how to go on from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.ledger.commit import EffectOutcome, StepRecord

TURNS = load("turns")


@dataclass(frozen=True)
class Progress:
    """Where a turn stands: the conversation up to its last reply, every reply as (status, message), what came of the
    last one's effects, the tools it was offered (JSON; empty where they were not kept), what its calls were charged."""

    messages: tuple[bytes, ...]
    replies: tuple[tuple[str, bytes], ...]
    outcomes: dict[int, EffectOutcome]
    next_step: int
    tools: bytes
    tokens: int = 0
    usd: float = 0.0


def told(call: asyncpg.Record) -> list[bytes]:
    """The messages that were added before a call."""
    return [bytes(message) for message in msgspec.json.decode(call["told"], type=list[msgspec.Raw])]


def messages(calls: Sequence[asyncpg.Record], *, upto: int) -> list[bytes]:
    """The messages of the request of step `upto`, exactly as sent."""
    sent: list[bytes] = []
    for call in calls[: upto + 1]:
        sent += told(call)
        if call["step"] < upto and call["reply"]:
            sent.append(call["reply"])
    return sent


async def keep_tools(database: Database, tools: Sequence[tuple[bytes, bytes]]) -> None:
    """Keep tool schemas, (SHA-256, JSON) each, once: without them no request could be rebuilt."""
    async with database.connection() as connection:
        await connection.executemany(TURNS["keep_text"], tools)


async def kept_tools(database: Database, sha256: bytes) -> bytes:
    """Tool schemas by their SHA-256; b"" where they were not kept."""
    return await database.fetchval(TURNS["kept_text"], sha256) or b""


async def progress(database: Database, turn_id: int) -> Progress:
    """What is stored of a turn, to go on from."""
    calls = await database.fetch(TURNS["turn_calls"], turn_id)
    last = len(calls) - 1
    outcomes = _outcomes(await database.fetch(TURNS["turn_actions"], turn_id), last)
    conversation = messages(calls, upto=last)
    if calls and calls[last]["reply"]:
        conversation.append(calls[last]["reply"])
    return Progress(
        tuple(conversation),
        tuple((c["status"], c["reply"]) for c in calls),
        outcomes,
        len(calls),
        await kept_tools(database, calls[0]["tools_sha256"]) if calls else b"",
        sum(c["prompt_tokens"] + c["completion_tokens"] for c in calls),
        float(sum(c["cost_usd"] or 0 for c in calls)),
    )


def _outcomes(actions: Sequence[asyncpg.Record], step: int) -> dict[int, EffectOutcome]:
    return {
        a["ordinal"]: EffectOutcome(a["outcome"], a["object_id"])
        for a in actions
        if a["step"] == step and a["effect"] is not None
    }


async def committed(database: Database, record: StepRecord) -> dict[int, EffectOutcome] | None:
    """The outcomes of a step whose commit's answer was lost, if it is this record that stands; else None."""
    stands = await database.fetchval(
        TURNS["step_stands"], record.turn_id, record.epoch, record.step, record.request_sha256
    )
    if not stands:
        return None
    return _outcomes(await database.fetch(TURNS["turn_actions"], record.turn_id), record.step)
