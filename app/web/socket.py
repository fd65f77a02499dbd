"""The WebSocket of a room's person: what they write goes in, what the room tells comes out.

A plain client gets what Simulacra's server sends. One that connects with `?extras=1` is also told positions, typing,
the time left, the end, and that its own messages have arrived; with `since=POSITION` it gets what came after that.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
import structlog
from fastapi import APIRouter, WebSocket
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from app import strict_json
from app.db.engine import TROUBLE
from app.errors import AppError
from app.venues.chatroom.goes import mentioned
from app.venues.chatroom.relay import Relay
from app.web.deps import House
from app.web.server import WIRE, Wire
from app.world import rooms
from app.world.rooms import PERSON, PERSON_NAME, POSITION_MOST, ROOMS
from app.world.text import ChatBody, Note, Quotation

router = APIRouter()
QUEUE_MESSAGES = 64
QUEUE_BYTES = 256 * 1024
RATE, BURST = 5.0, 10.0
"""Messages a second that a person may send, and how many at once."""

WARNINGS_MOST = 20
STAY_SECONDS = 10.0
NOTE_SECONDS = 0.5
"""How often it is kept up to where a person was told."""

AGAIN_SECONDS = 0.5
CLOSE_SECONDS = 5.0
REPLAY_MOST = 25
"""Missed events that are read at once: they fit into the queue however long they are."""

BUCKETS_MOST = 10_000
NORMAL, UNSUPPORTED, NOT_ALLOWED, TOO_SLOW, RESTARTING = 1000, 1003, 1008, 1013, 1012
ELSEWHERE = "you are connected elsewhere"
EXTRAS_ONLY = frozenset({"typing", "ended", "paused", "resumed", "extended"})
RESEARCHERS = "Research team"
"""Who a notice is from, for a client that knows messages alone."""

UNLIKED: dict[str, Any] = {"likes_count": 0, "liked_by": [], "reported": False}
"""What a message is told with; likes and reports follow as events."""

GONE = (WebSocketDisconnect, RuntimeError, OSError)
"""What a connection that is lost is told by."""

log = structlog.get_logger()

QUOTED = 200
"""Characters of what is answered that are kept: clients may send all of it."""

Key = Annotated[str, Field(strict=True, pattern=r"^[!-~]{1,100}$")]


class UserMessage(BaseModel):
    """What the person's client sends."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["user_message"]
    content: ChatBody
    reply_to: Key | None = None
    quoted_text: Annotated[Quotation, AfterValidator(lambda text: text[:QUOTED])] | None = None
    mentions: Annotated[list[Note], Field(max_length=50)] | None = None
    client_id: Key | None = None


@dataclass
class Bucket:
    """A token bucket: `RATE` a second, `BURST` at once."""

    tokens: float = BURST
    at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        now = time.monotonic()
        self.tokens = min(BURST, self.tokens + (now - self.at) * RATE)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Visits:
    """The connections to this process, the newest of each room; and how fast each room's person writes.

    `alias` is what clients called their persons where it may not be kept, as it is the token: by room, in memory alone.
    """

    newest: "dict[int, Visit]" = field(default_factory=dict)
    alias: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _buckets: OrderedDict[int, Bucket] = field(default_factory=OrderedDict)

    def bucket(self, room_id: int) -> Bucket:
        """The bucket of a room's person, whom connecting again gives no more."""
        found = self._buckets.setdefault(room_id, Bucket())
        self._buckets.move_to_end(room_id)
        if len(self._buckets) > BUCKETS_MOST:
            self._buckets.popitem(last=False)
        return found

    def called(self, key: str, name: str) -> None:
        """A room's client has called its person so."""
        self.alias[key] = name
        self.alias.move_to_end(key)
        if len(self.alias) > BUCKETS_MOST:
            self.alias.popitem(last=False)

    @contextmanager
    def attended(self, visit: "Visit") -> Iterator[None]:
        """While the block lasts, it is the room's newest visit, unless another comes; the one before is sent away."""
        room_id = visit.room["id"]
        before = self.newest.get(room_id, visit)
        if before.number > visit.number:
            visit.close(NOT_ALLOWED, ELSEWHERE)
        else:
            self.newest[room_id] = visit
            if before is not visit:
                before.close(NOT_ALLOWED, ELSEWHERE)
        try:
            yield
        finally:
            if self.newest.get(room_id) is visit:
                del self.newest[room_id]


def named(member: int, names: list[str], own: str | None) -> str:
    """What the person's client calls a member; `own` is what it calls the person."""
    return own or PERSON_NAME if member == PERSON else names[member]


def message_of(row: asyncpg.Record, names: list[str], own: str | None) -> dict[str, Any]:
    """A message as its person's client gets it, but for likes and reports."""

    def with_name(text: str) -> str:
        return text.replace(f"@{PERSON_NAME}", f"@{own}") if own else text

    return {
        "sender": named(row["member"], names, own),
        "content": with_name(row["body"]),
        "timestamp": row["at"].isoformat(),
        "message_id": row["key"],
        "reply_to": row["reply_key"],
        "quoted_text": with_name(row["quoted_text"] or "") or None,
        "mentions": [named(member, names, own) for member in row["mentions"]],
    }


@dataclass
class Visit:
    """One connection of a room's person. `position` is up to where the room's events have certainly reached them."""

    house: House
    relay: Relay
    socket: WebSocket
    room: asyncpg.Record
    names: list[str]
    number: int
    extras: bool
    blocked: dict[int, str]
    position: int
    visits: Visits
    bucket: Bucket
    grace_seconds: float
    line: Wire | None
    warnings: int = 0
    close_code: int | None = None
    close_reason: str = ""
    sent: int = 0
    """Up to where the room's events were handed to the connection."""

    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    _size: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _noted: int = 0

    def __post_init__(self) -> None:
        self.sent = self._noted = self.position

    def heard(self, events: list[asyncpg.Record]) -> None:
        """Put what the person is to be told behind what waits already."""
        for event in events:
            told = self.wire(event)
            self._put(event["position"], b"" if told is None else msgspec.json.encode(told))
            if event["kind"] == "ended":
                self.close(NORMAL, "the session has ended")

    def _put(self, position: int, sent: bytes) -> None:
        if self.close_code is not None:
            return
        self._empty.clear()
        self._waiting.append((position, sent))
        self._size += len(sent)
        if len(self._waiting) > QUEUE_MESSAGES or self._size > QUEUE_BYTES:
            self._waiting.clear()
            self.close(TOO_SLOW, "too slow: connect again")
        self._woken.set()

    def close(self, code: int, reason: str) -> None:
        """Close once all that waits is sent."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self.closing.set()
        self._woken.set()

    def wire(self, event: asyncpg.Record) -> dict[str, Any] | None:
        """An event as the person's client gets it; None when it is not for them."""
        kind, detail = event["kind"], msgspec.json.decode(event["detail"])
        if kind == "user_block":
            self.blocked[detail["blocked"]] = event["at"].isoformat()
        if kind in EXTRAS_ONLY and not self.extras:
            return None
        if kind in ("message", "typing") and event["member"] in self.blocked:
            return None
        if kind == "message" and event["member"] == PERSON and not self.extras:
            return None
        if kind == "notice" and not self.extras:
            return self._notice(event, detail.get("text", ""))
        told = self._message(event) if kind == "message" else self._event(event, kind, detail)
        if self.extras:
            told["position"] = event["position"]
        return told

    def _message(self, event: asyncpg.Record) -> dict[str, Any]:
        told = message_of(event, self.names, self.own) | UNLIKED
        if self.extras and event["member"] == PERSON:
            told |= {"own": True, "client_id": event["client_id"]}
        return told

    def _notice(self, event: asyncpg.Record, text: str) -> dict[str, Any]:
        return {
            "sender": RESEARCHERS,
            "content": text,
            "timestamp": event["at"].isoformat(),
            "message_id": f"notice-{event['position']}",
            "reply_to": None,
            "quoted_text": None,
            "mentions": [],
            **UNLIKED,
        }

    def _event(self, event: asyncpg.Record, kind: str, detail: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {
            "event_type": kind,
            "session_id": self.room["key"],
            "timestamp": event["at"].isoformat(),
            **({} if event["key"] is None else {"message_id": event["key"]}),
            **({} if event["member"] is None else {"user": self.name(event["member"])}),
        }
        match kind:
            case "message_like":
                liked_by = [self.name(member) for member in detail["liked_by"]]
                return told | {"action": detail["action"], "likes_count": len(liked_by), "liked_by": liked_by}
            case "message_report":
                reported = detail["action"] == "reported"
                return told | {"action": detail["action"], "reported": reported, "reason": detail["reason"]}
            case "user_block":
                return told | {"blocked": {self.name(member): at for member, at in self.blocked.items()}}
            case _:
                return told | detail

    @property
    def own(self) -> str | None:
        """What the person's client calls them: kept, or only heard from their client."""
        return self.room["username"] or self.visits.alias.get(self.room["key"])

    def name(self, member: int) -> str:
        """What the person's client calls a member: their own name is known here alone."""
        return named(member, self.names, self.own)

    async def follow(self) -> None:
        """Hear what the room tells: what was missed as fast as it is read, then what comes."""
        known, room_id = self.position, self.room["id"]
        while self.close_code is None:
            try:
                missed = await rooms.news(self.house.database, {room_id: known}, most=REPLAY_MOST)
            except TROUBLE:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if not missed:
                break
            self.heard(missed)
            known = missed[-1]["position"]
            await self._empty.wait()
        with self.relay.listening(room_id, known, self.heard):
            await asyncio.Event().wait()

    async def send_all(self) -> None:
        """Send what waits, as it comes, until the visit is to be closed."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                position, sent = self._waiting.popleft()
                self._size -= len(sent)
                if sent:
                    await self.socket.send_text(sent.decode())
                self.sent = max(self.sent, position)
            self._empty.set()
            if self.sent > self.position:
                self._ask()
            if self.close_code is not None:
                return

    def _ask(self) -> None:
        """Find out when all that was sent has reached the person."""
        sent = self.sent

        def arrived() -> None:
            self.position = max(self.position, sent)
            self._arrived.set()

        if self.line is None:
            arrived()
        else:
            self.line.arrived(arrived)

    async def note_all(self) -> None:
        """Keep up to where they were told, for a client that doesn't count."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self.note()
            await asyncio.sleep(NOTE_SECONDS)

    async def note(self) -> None:
        """Keep up to where they were told, if that is not known yet."""
        position = self.position
        if position > self._noted:
            with suppress(*TROUBLE):
                await self.house.database.fetch(ROOMS["told"], [self.room["id"]], [position])
                self._noted = position

    async def take_all(self) -> None:
        """Take what the person sends, until they are gone."""
        while self.close_code is None:
            frame = await self.socket.receive()
            if frame["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(frame.get("code") or NORMAL)
            text = frame.get("text")
            if text is None:
                self.close(UNSUPPORTED, "send text, not binary")
            elif not self.bucket.take():
                self._warn("too many messages: wait a little")
            else:
                await self._take(text)

    def _warn(self, words: str) -> None:
        self.warnings += 1
        if self.warnings > WARNINGS_MOST:
            self.close(NOT_ALLOWED, "too many messages")
        else:
            self._refuse(words)

    def _refuse(self, words: str, client_id: str | None = None) -> None:
        """Tell why something wasn't taken; a plain client knows no such event, and would show it as a message."""
        if self.extras:
            about = {} if client_id is None else {"client_id": client_id}
            self._tell({"event_type": "error", "detail": words, **about})

    def _tell(self, told: dict[str, Any]) -> None:
        self._put(self.position, msgspec.json.encode(told))

    async def _take(self, text: str) -> None:
        try:
            given = strict_json.loads(text)
        except ValueError:
            self.close(UNSUPPORTED, "send JSON")
            return
        try:
            message = UserMessage.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            self._warn(f"{'.'.join(map(str, first['loc']))[:60] or 'message'}: {first['msg']}")
            return
        try:
            await rooms.say(
                self.house.database,
                self.room["key"],
                message.content,
                reply_to=message.reply_to,
                quoted_text=message.quoted_text,
                mentions=self._mentions(message),
                client_id=message.client_id,
            )
        except AppError as refused:
            self._refuse(refused.detail, message.client_id)
        except TROUBLE:
            self._refuse("not stored: send it again", message.client_id)
        else:
            self.relay.tell()

    def _mentions(self, message: UserMessage) -> list[int]:
        ordinals = {name.lower(): ordinal for ordinal, name in enumerate(self.names) if ordinal != PERSON}
        named = [ordinals[n] for n in (m.removeprefix("@").lower() for m in message.mentions or []) if n in ordinals]
        return sorted({*named, *mentioned(message.content, self.names, but=PERSON)})

    async def stay(self) -> None:
        """Let it be known that the person is there; the newest of their connections counts."""
        while True:
            await asyncio.sleep(min(STAY_SECONDS, self.grace_seconds / 3))
            with suppress(*TROUBLE):
                rows = await self.house.database.fetch(ROOMS["stay"], [self.room["id"]], [self.number])
                if rows:
                    self.close(NOT_ALLOWED, ELSEWHERE)


def allowed_origin(socket: WebSocket, origins: list[str]) -> bool:
    """Whether a page of that origin may connect: our own, those the study names, and what is no browser."""
    origin = socket.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return True
    host = socket.headers.get("host", "")
    return origin.split("://", 1)[-1] == host


@router.websocket("/ws/{session_id}")
async def room_socket(socket: WebSocket, session_id: str) -> None:
    """The person's connection to their room."""
    house: House = socket.app.state.house
    await socket.accept()
    try:
        visit = await _enter(socket, house, session_id)
    except TROUBLE:
        await _close(socket, RESTARTING, "the database is away: connect again")
        return
    if visit is None:
        await _close(socket, NOT_ALLOWED, "no such session, or it has ended")
        return
    try:
        with socket.app.state.visits.attended(visit):
            await _attend(visit)
    finally:
        await _close(socket, visit.close_code or NORMAL, visit.close_reason)


async def _enter(socket: WebSocket, house: House, session_id: str) -> Visit | None:
    if not (session_id.isascii() and session_id.isprintable()):
        return None
    room = await rooms.by_key(house.database, session_id)
    if room is None or not allowed_origin(socket, room["origins"]):
        return None
    entered = await rooms.enter(house.database, session_id)
    if entered is None:
        return None
    extras = socket.query_params.get("extras") == "1"
    since = _position(socket.query_params.get("since"))
    names = await rooms.members(house.database, room["id"])
    visits: Visits = socket.app.state.visits
    known = visits.newest.get(room["id"])
    position = max(room["told_up_to"], 0 if known is None else known.position)
    if extras and since is not None:
        position = min(since, room["events_count"])
    blocked = await rooms.blocks(house.database, room["id"], position)
    if entered["fresh"]:
        socket.app.state.rooms.tell()
        room = await rooms.by_key(house.database, session_id) or room
    visit = Visit(
        house,
        socket.app.state.rooms,
        socket,
        room,
        names,
        number=entered["visits"],
        extras=extras,
        blocked=blocked,
        position=position,
        visits=visits,
        bucket=visits.bucket(room["id"]),
        grace_seconds=msgspec.json.decode(room["pace"])["grace_seconds"],
        line=socket.scope.get("extensions", {}).get(WIRE),
    )
    if extras:
        visit._tell(
            {
                "event_type": "hello",
                "you": visit.name(PERSON),
                "members": [visit.name(ordinal) for ordinal in range(len(names))],
                "seconds_left": max(0.0, room["seconds_left"] or 0.0),
                "paused": room["paused_at"] is not None,
                "position": room["events_count"],
            }
        )
    return visit


def _position(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 11):
        return None
    return min(int(text), POSITION_MOST)


async def _attend(visit: Visit) -> None:
    sending = asyncio.create_task(visit.send_all())
    work = (visit.follow(), visit.take_all(), visit.note_all(), visit.stay(), visit.closing.wait())
    others = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.wait([sending, *others], return_when=asyncio.FIRST_COMPLETED)
        if visit.close_code is not None:
            await asyncio.wait([sending], timeout=CLOSE_SECONDS)
    finally:
        for task in (sending, *others):
            task.cancel()
        for outcome in await asyncio.gather(sending, *others, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, GONE):
                log.error("a socket failed", error=type(outcome).__name__, exc_info=outcome)
        await visit.note()


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    if socket.application_state is WebSocketState.DISCONNECTED or socket.client_state is WebSocketState.DISCONNECTED:
        return
    with suppress(*GONE, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code, reason)
