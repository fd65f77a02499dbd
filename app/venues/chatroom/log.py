"""A session's log as Simulacra's users know it: JSON Lines of `timestamp, event_type, session_id, data`.

It is made from rows whenever it is asked for, in one snapshot, so there is no file that a crash could cut. The
participant is `participant` in it, whatever they call themselves.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any

import asyncpg
import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.errors import NotFound
from app.ledger import transcript
from app.venues.chatroom.design import stored
from app.world.rooms import PERSON

LOG = load("study_log")
BATCH = 50
HELD = frozenset({"notice", "paused", "resumed", "extended"})
"""What researchers do in a room that is under way."""

Event = tuple[datetime, str, dict[str, Any]]


class SessionLog:
    """One session, being read in the transaction of `connection`."""

    def __init__(self, connection: asyncpg.pool.PoolConnectionProxy, room: asyncpg.Record, names: list[str]) -> None:
        self._connection = connection
        self._room = room
        self._names = names
        self._erased = room["erased_at"] is not None
        self._conversations: dict[int, list[msgspec.Raw]] = {}

    async def lines(self) -> AsyncIterator[bytes]:
        """The log's lines in the order of time, each with its line end."""
        yield self._line(self._start())
        async for event in _in_time(self._told(), self._asked(), self._broken()):
            yield self._line(event)
        if self._room["ended_at"] is not None:
            yield self._line(self._end())

    def _line(self, event: Event) -> bytes:
        at, kind, data = event
        line = {"timestamp": at.isoformat(), "event_type": kind, "session_id": self._room["key"], "data": data}
        return msgspec.json.encode(line) + b"\n"

    def _start(self) -> Event:
        room, settings = self._room, msgspec.json.decode(self._room["settings"])
        pace = msgspec.json.decode(room["pace"])
        design = stored(room["design"]).model_dump(mode="json") if room["design"] else {}
        agents = self._names[1:]
        data = {
            "treatment_group": room["arm"],
            "treatment": {"prompt_template": settings.get("prompt_template", "")},
            "experimental_config": {"groups": design.get("arms", {})},
            "simulation_config": {"num_agents": len(agents), "agent_names": agents, **pace},
            "study": room["study"],
            "design_sha256": room["design_sha256"].hex() if room["design_sha256"] else None,
            "consent": room["consent"],
            "disclosure": design.get("disclosure"),
            "model": settings.get("model"),
            "temperature": settings.get("temperature"),
            "seed": room["seed"],
            "participant": room["pseudonym"],
            "started_at": room["started_at"],
            "erased": self._erased,
        }
        return room["created_at"], "session_start", data

    def _end(self) -> Event:
        room = self._room
        seconds = (room["ended_at"] - room["started_at"]).total_seconds() if room["started_at"] else 0.0
        data = {"reason": room["end_reason"], "duration_seconds": seconds, "messages": room["messages_count"]}
        return room["ended_at"], "session_end", data

    def _name(self, member: int | None) -> str | None:
        return None if member is None else self._names[member]

    async def _told(self) -> AsyncIterator[Event]:
        async for row in self._rows("told", self._room["id"]):
            yield row["at"], row["kind"], self._message(row) if row["kind"] == "message" else self._deed(row)

    def _message(self, row: asyncpg.Record) -> dict[str, Any]:
        return {
            "sender": self._name(row["member"]),
            "role": "participant" if row["member"] == PERSON else "agent",
            "content": row["body"] or "",
            "message_id": row["key"],
            "number": row["number"],
            "reply_to": row["reply_key"],
            "quoted_text": row["quoted_text"],
            "mentions": [self._name(member) for member in row["mentions"] or ()],
            **({"erased": True} if self._erased else {}),
        }

    def _deed(self, row: asyncpg.Record) -> dict[str, Any]:
        detail = msgspec.json.decode(row["detail"])
        if row["kind"] in HELD:
            return {**detail, **({"erased": True} if self._erased else {})}
        data: dict[str, Any] = {"user": self._name(row["member"]), "message_id": row["key"]}
        match row["kind"]:
            case "message_like":
                liked_by = [self._name(member) for member in detail.get("liked_by", ())]
                return data | {"action": detail.get("action"), "likes_count": len(liked_by), "liked_by": liked_by}
            case "message_report":
                action = detail.get("action")
                return data | {"action": action, "reported": action == "reported", "reason": detail.get("reason")}
            case _:
                return data | {"blocked": {str(self._name(detail.get("blocked"))): row["at"].isoformat()}}

    async def _asked(self) -> AsyncIterator[Event]:
        async for row in self._rows("asked", self._room["run_id"], self._erased):
            call = {
                "agent": self._name(row["member"]),
                "turn_id": row["turn_id"],
                "step": row["step"],
                "cause": row["cause"],
                "answers": row["number"],
                "status": row["status"],
                "detail": row["detail"],
                "model": row["model"],
                "model_returned": row["model_returned"],
                "options": msgspec.json.decode(row["options"]),
                "prompt_tokens": row["prompt_tokens"],
                "completion_tokens": row["completion_tokens"],
                "cached_tokens": row["cached_tokens"],
                "cost_usd": None if row["cost_usd"] is None else float(row["cost_usd"]),
                "latency_ms": row["latency_ms"],
                "request_sha256": row["request_sha256"].hex(),
            }
            prompt, reply = (None, None) if self._erased else self._words(row)
            yield row["at"], "llm_call", call | {"prompt": prompt, "reply": reply, "erased": self._erased}
            if row["status"] != "ok":
                about = {name: call[name] for name in ("agent", "turn_id", "step", "status", "detail", "model")}
                yield row["at"], "error", {"what": "model call", **about}

    def _words(self, row: asyncpg.Record) -> tuple[list[msgspec.Raw], msgspec.Raw | None]:
        """The request's messages as sent, and the reply."""
        before = self._conversations.pop(row["turn_id"], [])
        prompt = [*before, *map(msgspec.Raw, transcript.told(row))]
        reply = msgspec.Raw(row["reply"]) if row["reply"] else None
        if row["step"] + 1 < row["next_step"]:
            self._conversations[row["turn_id"]] = [*prompt, *([] if reply is None else [reply])]
        return prompt, reply

    async def _broken(self) -> AsyncIterator[Event]:
        for row in await self._connection.fetch(LOG["broken"], self._room["run_id"]):
            about = {"agent": self._name(row["member"]), "turn_id": row["turn_id"], "detail": row["reason"]}
            yield row["at"], "error", {"what": "turn", **about}

    async def _rows(self, statement: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        cursor = await self._connection.cursor(LOG[statement], *arguments)
        while rows := await cursor.fetch(BATCH):
            for row in rows:
                yield row


async def _in_time(*sources: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """Events of several sources, the earliest first; each source stays in its own order."""
    heads = [(source, event) for source in sources if (event := await anext(source, None)) is not None]
    while heads:
        place = min(range(len(heads)), key=lambda n: heads[n][1][0])
        source, event = heads[place]
        yield event
        following = await anext(source, None)
        if following is None:
            del heads[place]
        else:
            heads[place] = (source, following)


async def sessions(database: Database, study_id: int) -> list[str]:
    """The keys of a study's sessions, oldest first."""
    return [row["key"] for row in await database.fetch(LOG["sessions"], study_id)]


async def is_session(database: Database, key: str) -> bool:
    """Whether there is a session of this id."""
    return await database.fetchrow(LOG["session"], key) is not None


async def write_log(database: Database, key: str, file: IO[bytes], *, study_id: int | None = None) -> int:
    """Write a session's log to `file`, and return how many lines it has.

    Raises:
        NotFound: there is no such session, or none in this study.
    """
    count = 0
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        room = await connection.fetchrow(LOG["session"], key)
        if room is None or (study_id is not None and room["study_id"] != study_id):
            raise NotFound("there is no session of this id" + " in the study" * (study_id is not None))
        names = [row["name"] for row in await connection.fetch(LOG["names"], room["id"])]
        async for line in SessionLog(connection, room, names).lines():
            file.write(line)
            count += 1
    return count
