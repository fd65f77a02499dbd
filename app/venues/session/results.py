"""What came of sessions, as it is told: transcripts, answer blocks, analytics; and sessions made of sessions."""

import asyncio
from typing import Any

import asyncpg
import msgspec

from app.agent.population import parse_personas
from app.agent.population.invented import handles
from app.analysis import answers as statistics
from app.analysis import talk
from app.analysis.extracted import Record
from app.analysis.quotes import Line as Spoken
from app.analysis.quotes import found
from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.settings import Settings
from app.venues.session.design import Dialogue, Extraction, ExtractionConfig, Terms, Writing
from app.venues.session.findings import (
    Answers,
    Findings,
    Whole,
    answers,
    answers_of,
    extracted,
    extracted_of,
    extraction_config,
    judged,
    quality,
    quality_of,
    told,
    transcript,
    whole,
)
from app.venues.session.opening import Cast, begin, open_in
from app.venues.session.reading import ANSWER, SAY, speaker
from app.venues.session.scripts import design_of
from app.world import sessions
from app.world.personas import PersonaSpec
from app.world.sessions import SESSIONS

__all__ = [
    "COLUMNS", "Answers", "Findings", "analytics", "answers", "block", "document", "extract", "extracted", "mark",
    "persona_specs", "quality", "recover", "status_of", "told", "transcript",
]  # fmt: skip

# The answer block


STATUS = {"queued": "running", "stopped": "stopped"}


async def block(database: Database, row: asyncpg.Record) -> dict[str, Any]:
    """A session's answer, as `POST /simulations` and `GET /simulations/{id}` give it.

    `status` is completed, failed or partial at its end; running, paused, budget_exhausted or stopped before it, and
    cancelled where somebody ended it. `execution_time` is in seconds.
    """
    one = await whole(database, row)
    source = one
    if row["of"] is not None and isinstance(one.design, Extraction):
        source = await whole(database, await sessions.by_id(database, row["of"]))
    spent = await database.fetchrow(SESSIONS["spent"], row["id"])
    progress = await database.fetchrow(SESSIONS["progress"], row["id"])
    points = await database.fetch(SESSIONS["checkpoints"], row["id"])
    assert spent is not None  # noqa: S101 - an aggregate always gives its row
    assert progress is not None  # noqa: S101 - the session is there
    told_of = await asyncio.to_thread(_computed, one, source)
    return {
        "operation_id": row["key"],
        "session_id": row["key"],
        "status": status_of(row),
        "reason": row["reason"],
        "progress": {
            k: progress[name] for k, name in (("asked", "asks_count"), ("answered", "answered"), ("round", "round"))
        },
        **told_of,
        "metadata": {
            "execution_time": _seconds(row),
            "cache_file": row["scope"] if row["scope"] != row["key"] else None,
            "checkpoints": [point["name"] for point in points],
            "quality_score": told_of.pop("quality_score"),
            "seed": row["seed"],
            "run": row["run_id"],
            "calls": spent["calls"],
            "reused": spent["reused"],
            "prompt_tokens": spent["prompt_tokens"],
            "completion_tokens": spent["completion_tokens"],
            "cost_usd": spent["usd"],
        },
    }


def status_of(row: asyncpg.Record) -> str:
    """How a session stands, in the contract's words where it has them."""
    if row["ended_at"] is not None and row["state"] == "stopped":
        return "cancelled"
    return STATUS.get(row["state"], str(row["state"]))


def _seconds(row: asyncpg.Record) -> float | None:
    if row["started_at"] is None or row["ended_at"] is None:
        return None
    seconds: float = (row["ended_at"] - row["started_at"]).total_seconds()
    return round(seconds, 3)


def _computed(one: Whole, source: Whole) -> dict[str, Any]:
    config = extraction_config(one.design)
    found_of, given, checks = extracted_of(one, source), answers_of(one), quality_of(one)
    analysis = None
    if given.questions or config is None or config.statistical_analysis:
        analysis = {
            "level": 0.95,
            "answers": {key: statistics.data(summary) for key, summary in given.summaries.items()},
        }
    return {
        "participants": _participants(one),
        "simulation_results": _results(one),
        "extracted_results": {
            "individual_results": [_individual(record) for record in found_of.records],
            "aggregate_statistics": {key: statistics.data(summary) for key, summary in found_of.summaries.items()},
            "statistical_analysis": analysis,
            "summary": found_of.summary,
        },
        "quality": None if checks is None else {**talk.data(checks), "judged": judged(one)},
        "quality_score": _score(one, checks),
    }


def _individual(record: Record) -> dict[str, Any]:
    told_of = {
        name: {"missing": one.missing}
        if one.missing
        else {"value": one.value, "quote": one.quote, "line": one.line, "confidence": one.confidence}
        for name, one in record.fields.items()
    }
    return {"participant": record.participant, "name": record.name, "fields": told_of}


def _participants(one: Whole) -> dict[str, Any]:
    reasons: dict[int, str] = {}
    for line in one.lines:
        if line.missing is not None and line.member:
            reasons.setdefault(line.member, line.missing)
    failures = [{"name": m.name, "reason": reasons[m.number]} for m in one.people if m.number in reasons]
    total = len(one.people)
    return {"total": total, "successful": total - len(failures), "failed": len(failures), "failures": failures}


def _results(one: Whole) -> dict[str, Any]:
    interactions = [told(line, one.members) for line in one.lines if line.kind in (SAY, ANSWER)]
    rounds = [line.round for line in one.lines if line.kind in (SAY, ANSWER)]
    stored = msgspec.json.decode(one.row["result"]) if one.row["result"] else {}
    return {
        "interactions": interactions,
        "rounds_completed": stored.get("rounds_completed", max(max(rounds, default=0) - 1, 0)),
        "total_interactions": len(interactions),
        **{k: v for k, v in stored.items() if k != "rounds_completed"},
    }


def _score(one: Whole, checks: talk.Quality | None) -> float | None:
    """The share of what was asked that came to something, times the score of the talk where it is checked."""
    asked = [line for line in one.lines if line.turn_id is not None]
    if not asked:
        return None
    share: float = sum(line.missing is None for line in asked) / len(asked)
    of_talk: float = 1.0 if checks is None or checks.score is None else checks.score
    return round(share * of_talk, 4)


# Dialogues


COLUMNS = ("Bot", "Channel", "Generations", "Turns", "MessagesReceived", "MessagesIgnored", "AvgProcessingTime")


async def analytics(database: Database, row: asyncpg.Record) -> list[dict[str, Any]]:
    """A row for each bot.

    Generations: calls of its model; Turns: those that yielded a message; MessagesReceived: what others said in the
    channel; MessagesIgnored: of that, what it did not answer next; AvgProcessingTime: seconds a call.
    """
    one = await whole(database, row)
    counts = {r["member"]: r for r in await database.fetch(SESSIONS["bots"], row["id"])}
    said = [line for line in one.lines if line.kind in ("seed", SAY) and line.missing is None]
    channel = one.design.channel if isinstance(one.design, Dialogue) else ""
    rows = []
    for member in one.people:
        others = [n for n, line in enumerate(said) if line.member != member.number]
        answered = sum(n + 1 < len(said) and said[n + 1].member == member.number for n in others)
        of = counts.get(member.number)
        calls = of["calls"] if of else 0
        rows.append(
            {
                "Bot": member.name,
                "Channel": channel or row["name"] or row["key"],
                "Generations": calls,
                "Turns": sum(line.kind == SAY and line.member == member.number for line in said),
                "MessagesReceived": len(others),
                "MessagesIgnored": len(others) - answered,
                "AvgProcessingTime": round(float(of["seconds"]) / calls, 3) if of and calls else 0.0,
            }
        )
    return rows


# Sessions of sessions


async def recover(
    database: Database, settings: Settings, row: asyncpg.Record, checkpoint: str, *, by: int | None = None
) -> str:
    """A new session that goes on from a checkpoint of another, with the same members, design and seed; its key.

    Raises:
        NotFound: it has no such checkpoint.
    """
    points = {point["name"]: point for point in await database.fetch(SESSIONS["checkpoints"], row["id"])}
    if checkpoint not in points:
        known = ", ".join(points) or "it has none"
        raise NotFound(f"the session {row['key']} has no checkpoint {checkpoint[:60]!r}: {known}")
    design, members = design_of(row), await sessions.members(database, row["id"])
    cast = [(m.persona_id, Cast(m.name, id=m.persona_id, detail=m.detail)) for m in members]
    of = row["of"] if isinstance(design, Extraction | Writing) else row["id"]
    async with database.connection() as connection, connection.transaction():
        key, made = await open_in(
            connection, settings, row["kind"], design, cast, name=row["name"], by=by, of=of, waits=False
        )
        await connection.fetchval(SESSIONS["copy"], made, row["id"], points[checkpoint]["lines"])
    return key


async def extract(
    database: Database,
    settings: Settings,
    row: asyncpg.Record,
    config: ExtractionConfig,
    *,
    terms: Terms | None = None,
    by: int | None = None,
) -> str:
    """Begin another extraction of a session's transcript; its key.

    Raises:
        Conflict: it has no participants' words to read.
    """
    if row["kind"] in ("extraction", "population", "writing"):
        raise Conflict(f"the session {row['key']} is of the kind {row['kind']}: nobody said anything there")
    design = Extraction(of=row["key"], extraction_config=config, terms=terms or Terms(seed=row["seed"]))
    return await begin(database, settings, "extraction", design, name=row["name"], by=by, of=row["id"])


async def mark(database: Database, row: asyncpg.Record, name: str) -> None:
    """Mark where a session stands, to go on from there.

    Raises:
        Conflict: there is a checkpoint of that name.
    """
    lines = await sessions.lines(database, row["id"])
    if not await sessions.checkpoint(database, row["id"], name, lines, row["asks_count"]):
        raise Conflict(f"the session {row['key']} has a checkpoint of the name {name!r}")


# Writing


async def persona_specs(database: Database, row: asyncpg.Record) -> tuple[list[PersonaSpec], list[str]]:
    """The persons that a population session wrote, and what is wrong with others."""
    lines = await sessions.lines(database, row["id"])
    design = design_of(row)
    sampled = design.sampled if isinstance(design, Writing) else ()
    records, wrong = [], []
    for line in lines:
        if line.value is None:
            wrong.append(f"person {line.round}: {line.missing}")
            continue
        facts = {k: v for k, v in sampled[line.round - 1].items() if isinstance(v, str | int | float)}
        records.append({**line.value, "demographics": facts})
    for record, handle in zip(records, handles([str(r["display_name"]) for r in records]), strict=True):
        record["username"] = handle
    read = parse_personas(msgspec.json.encode(records), "persons") if records else None
    if read is None:
        return [], wrong
    return list(read.personas), [*wrong, *map(str, read.problems)]


async def document(database: Database, row: asyncpg.Record) -> dict[str, Any] | None:
    """The document that a writing session wrote: title, sections, and quotes, each checked to be in the transcript."""
    one = await whole(database, row)
    line = next((line for line in one.lines if line.kind == "document" and line.value), None)
    if line is None or line.value is None:
        return None
    source = await whole(database, await sessions.by_id(database, row["of"])) if row["of"] is not None else one
    spoken = [Spoken(said.number, speaker(said, source.members), said.body) for said in source.lines if said.body]
    quotes = []
    for quoted in line.value.get("quotes", []):
        at = found(quoted["quote"], spoken)
        right = at is not None and at.line == quoted["n"]
        quotes.append({**quoted, "found": at is not None, "line": at.line if at else None, "as_cited": right})
    return {"title": line.value["title"], "sections": line.value["sections"], "quotes": quotes}
