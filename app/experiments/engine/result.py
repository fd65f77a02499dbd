"""The engine's result format, of a conversation that was played."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from app.db.engine import Database
from app.venues.dialogue import SAY
from app.venues.session.design import Dialogue
from app.venues.session.findings import Whole, whole
from app.venues.session.results import status_of
from app.world.sessions import SESSIONS, Line, Member

CUT_OFF = "seconds"
EMPTY: Mapping[str, Any] = {
    "success": False,
    "transcript": [],
    "agents": [],
    "metrics": {
        "duration": 0.0,
        "total_messages": 0,
        "total_tokens": 0,
        "api_calls": 0,
        "errors": 0,
        "average_response_time": 0.0,
    },
}
"""What a run came to that never began."""

WORD = re.compile(r"\w+(?:['’-]\w+)*")


async def result_of(database: Database, row: asyncpg.Record, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversation came to.

    Args:
        config: the options in effect; what the conversation's design says of itself is put beside them.

    Returns:
        `success`, `transcript` [{turn, speaker, role, text, timestamp}], `agents` [{name, role}], `metrics` {duration,
        total_messages, total_tokens, api_calls, errors, average_response_time}, `config`; and beside the contract's
        `session` {key, run, status, reason, seed, cost_usd, lost} and, with `auto_analysis`, `analysis`. Durations are
        in seconds; `errors` are turns that gave nothing; a turn's number counts those, too.
    """
    one = await whole(database, row)
    assert isinstance(one.design, Dialogue)  # noqa: S101 - who asks has found a dialogue
    spent = await database.fetchrow(SESSIONS["spent"], row["id"])
    assert spent is not None  # noqa: S101 - an aggregate always gives its row
    said = [line for line in one.lines if line.kind == SAY]
    roles = {member.number: _role(one.design, member) for member in one.people}
    transcript = [
        _entry(line, one.members[line.member].name, roles[line.member]) for line in said if line.missing is None
    ]
    lost = [
        {"turn": line.round, "speaker": one.members[line.member].name, "reason": line.missing}
        for line in said
        if line.missing is not None
    ]
    graceful = bool(config.get("graceful_degradation", True))
    status, reason = _status(one, lost, graceful=graceful)
    asked = spent["calls"] - spent["reused"]
    result = {
        "success": status == "completed" or (status == "partial" and graceful and bool(transcript)),
        "transcript": transcript,
        "agents": [{"name": member.name, "role": roles[member.number]} for member in one.people],
        "metrics": {
            "duration": _duration(one),
            "total_messages": len(transcript),
            "total_tokens": spent["prompt_tokens"] + spent["completion_tokens"],
            "api_calls": asked,
            "errors": len(lost),
            "average_response_time": round(float(spent["seconds"]) / asked, 3) if asked else 0.0,
        },
        "config": {**config, **_design(one.design)},
        "session": {
            "key": row["key"],
            "run": row["run_id"],
            "status": status,
            "reason": reason,
            "seed": row["seed"],
            "cost_usd": None if spent["unpriced"] else spent["usd"],
            "lost": lost,
        },
    }
    if config.get("auto_analysis", True):
        result["analysis"] = analysis(result)
    return result


def _entry(line: Line, speaker: str, role: str) -> dict[str, Any]:
    at = line.at.isoformat() if line.at else None
    return {"turn": line.round, "speaker": speaker, "role": role, "text": line.body, "timestamp": at}


def _role(design: Dialogue, member: Member) -> str:
    """What the role is of a persona that came from a file, or is of the world."""
    return design.bots[member.number - 1].role or str(msgspec.json.decode(member.row["profile"]).get("role") or "")


def _status(one: Whole, lost: Sequence[Mapping[str, Any]], *, graceful: bool) -> tuple[str, str | None]:
    """How it ended, and why not otherwise."""
    stored = msgspec.json.decode(one.row["result"]) if one.row["result"] else {}
    status = status_of(one.row)
    if lost and not graceful and one.row["ended_at"] is not None:
        first = lost[0]
        told = f"{first['speaker']} gave nothing in turn {first['turn']} ({first['reason']})"
        return "failed", f"{told}, and graceful_degradation is off"
    if stored.get("stopped_by") == CUT_OFF and status in ("completed", "partial"):
        return "timeout", f"timeout_seconds were over after {stored['turns']} turns"
    return status, one.row["reason"]


def _duration(one: Whole) -> float:
    """Seconds from the beginning to the end, or to the last line so far."""
    begun, ended = one.row["started_at"], one.row["ended_at"] or (one.lines[-1].at if one.lines else None)
    return round((ended - begun).total_seconds(), 3) if begun and ended else 0.0


def _design(design: Dialogue) -> dict[str, Any]:
    return {
        "seed_text": design.seed_message.message,
        "turns": design.stop.turns,
        "model": design.terms.model,
        "personas": [bot.name for bot in design.bots],
        "seed": design.terms.seed,
    }


def words_of(text: str) -> list[str]:
    """The words of a text, without case."""
    return WORD.findall(text.casefold())


def analysis(result: Mapping[str, Any]) -> dict[str, Any]:
    """Who said how much: messages, words and different words by speaker, of what a result's transcript holds.

    `share` is of all words; `type_token_ratio` different words by words, None where there are none.
    """
    spoken: dict[str, list[list[str]]] = {agent["name"]: [] for agent in result["agents"]}
    for entry in result["transcript"]:
        spoken[entry["speaker"]].append(words_of(entry["text"]))
    words = {name: [word for one in texts for word in one] for name, texts in spoken.items()}
    total = sum(map(len, words.values()))
    speakers = [
        {
            "speaker": name,
            "messages": len(texts),
            "words": len(words[name]),
            "share": round(len(words[name]) / total, 4) if total else None,
            "words_a_message": round(len(words[name]) / len(texts), 2) if texts else None,
            "type_token_ratio": round(len(set(words[name])) / len(words[name]), 4) if words[name] else None,
            "lost": sum(one["speaker"] == name for one in result["session"]["lost"]),
        }
        for name, texts in spoken.items()
    ]
    often = Counter(word for one in words.values() for word in one if len(word) > 3)
    frequent = sorted(often.items(), key=lambda item: (-item[1], item[0]))[:20]
    return {"words": total, "speakers": speakers, "frequent_words": [{"word": w, "times": n} for w, n in frequent]}
