"""Drives one room: lets agents think, has them type one after the other, and ends the room in time.

All that must outlive this process is in rows; what is only kept here can be worked out anew from them and the room's
seed, so that another process goes on where this one stopped.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import msgspec
import structlog

from app.actions.chat import CHAT_ACTIONS
from app.agent import memory, prompt
from app.agent.memory import NOTHING, Remembering
from app.agent.turn import Mind, Seat, State, Turn
from app.db.engine import TROUBLE
from app.ledger import transcript
from app.settings import Settings
from app.venues.chatroom.goes import FIRST, Plan, Table, mentioned
from app.venues.chatroom.pace import STALE_SECONDS, WINDOW_SECONDS, Pace, Ticks
from app.venues.chatroom.relay import Relay
from app.venues.run import now, settle_run
from app.venues.worker import Claim, Play, TurnEnd, Worker
from app.world import memories, rooms
from app.world.memories import AtHand
from app.world.rooms import ROOMS, EndReason

LOOK_SECONDS = 1.0
"""A room is looked at this often, whatever happens."""

HEED_SECONDS = 120.0
"""An old message is answered only if it speaks to somebody."""

STANDS_STILL: dict[str, EndReason] = {"budget_exhausted": "budget", "stopped": "removed", "failed": "error"}
log = structlog.get_logger()


@dataclass
class Typing:
    """The draft whose author is seen typing, until when."""

    draft: int
    until: float


@dataclass
class Driver:
    """One room, for as long as its lease is ours."""

    mind: Mind
    settings: Settings
    worker: Worker
    relay: Relay
    room_id: int
    epoch: int
    slots: asyncio.Semaphore
    """How many of the study's agents may think at once in this process."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False
    _names: list[str] = field(default_factory=list)
    _ticks: Ticks | None = None
    _owed: int = 0
    """Answers that take the place of background talk to come."""

    _heard: int = 0
    _wanted: list[Plan] = field(default_factory=list)
    _typing: Typing | None = None
    _terms: dict[str, Any] = field(default_factory=dict)
    _pace: Pace = field(default_factory=lambda: Pace(1, 1, 1, 1))
    _key: str = ""
    _seed: int = 0
    _run_id: int = 0
    _over: bool = False
    _had: set[str] = field(default_factory=set)
    """Plans that came true before this driver: asked once, so that taking a room over takes no longer as it ages."""

    async def drive(self) -> None:
        """Drive the room until it is at an end, or another process's, or `stop`."""
        terms = await self.mind.database.fetchrow(ROOMS["terms"], self.room_id, self.epoch)
        if terms is None:
            return
        self._names = await rooms.members(self.mind.database, self.room_id)
        self._had = {row["plan"] for row in await self.mind.database.fetch(ROOMS["had"], self.room_id)}
        self._terms = msgspec.json.decode(terms["settings"])
        self._pace = msgspec.convert(msgspec.json.decode(terms["pace"]), Pace)
        self._key, self._seed, self._run_id = terms["key"], terms["seed"], terms["run_id"]
        self._ticks = Ticks(self._seed, self._pace.messages_per_minute)
        list(self._ticks.due((terms["age"] or 0.0) - LOOK_SECONDS))
        await transcript.keep_tools(self.mind.database, [(CHAT_ACTIONS.tools_sha256, CHAT_ACTIONS.tools)])
        with (
            self.worker.attending(self._run_id),
            self.relay.listening(self.room_id, terms["events_count"], lambda _: self.woken.set()),
        ):
            while not self.stopped:
                try:
                    wait = await self._step()
                except TROUBLE as error:
                    log.debug("the room waits for the database", room=self.room_id, error=type(error).__name__)
                    wait = LOOK_SECONDS
                if wait is None:
                    return
                try:
                    async with asyncio.timeout(max(0.0, min(wait, LOOK_SECONDS))):
                        await self.woken.wait()
                except TimeoutError:
                    pass
                self.woken.clear()

    def stop(self) -> None:
        self.stopped = True
        self.woken.set()

    async def _stand(self) -> asyncpg.Record | None:
        return await self.mind.database.fetchrow(ROOMS["stand"], self.room_id, self.epoch, self._heard)

    async def _step(self) -> float | None:
        """Do what is due, and return in how many seconds the next is; None when there is nothing left to do here."""
        stand = await self._stand()
        if stand is None or stand["state"] == "ended":
            return None
        if not stand["leased"]:
            return LOOK_SECONDS / 4  # nobody looked after the room for a while: the stage does so first
        if stand["state"] == "ending":
            return await self._close(stand)
        if (reason := _over(stand)) is not None:
            if await rooms.end(self.mind.database, self.room_id, reason):
                log.info("room ended", room=self._key, reason=reason)
                self.relay.tell()
            return 0.0
        if stand["state"] == "waiting" or stand["paused"] or stand["run_state"] != "running":
            return LOOK_SECONDS
        await self._plan(stand)
        await self._let_think(stand)
        wait = await self._speak() if stand["drafted"] else LOOK_SECONDS
        ticks = self._ticks
        return float(min(wait, stand["left"], ticks.at - stand["age"] if ticks else LOOK_SECONDS))

    async def _close(self, stand: asyncpg.Record) -> float | None:
        """Wait for the calls under way: what they cost is kept, what they say is not."""
        self._over = True
        database = self.mind.database
        if stand["open"]:
            await database.fetch(ROOMS["drop_goes"], self.room_id, self.epoch)
        elif self._how.on:
            await memories.remember(database, self._run_id, now=now(), most=self._how.most, of="room")
        if await database.fetchval(ROOMS["close_room"], self.room_id, self.epoch) is None:
            return LOOK_SECONDS / 4
        await settle_run(database, self._run_id)
        return None

    @property
    def _how(self) -> Remembering:
        """Agents remember other rooms and the feed only where the study says so: else no room touches another."""
        return Remembering.of(self.settings, {"memory": "off", **self._terms})

    async def _plan(self, stand: asyncpg.Record) -> None:
        if stand["spoken_to"]:
            blocked = set(stand["blocked"])
            while rows := await self.mind.database.fetch(ROOMS["heard"], self.room_id, self._heard):
                for row in rows:
                    self._wanted += [plan for plan in self._answers(row, blocked) if plan.name not in self._had]
                self._heard = rows[-1]["number"]
        else:
            self._heard = stand["messages_count"]
        if self._ticks is None:
            return
        due = list(self._ticks.due(stand["age"]))
        for number in due[-1:]:
            if self._owed:
                self._owed -= 1
            else:
                self._wanted.append(Plan(f"tick/{number}", None, "background"))

    def _answers(self, row: asyncpg.Record, blocked: set[int]) -> list[Plan]:
        heeded = row["age"] <= HEED_SECONDS
        probability = self._pace.user_response_probability if heeded else 0.0
        return self._table.answers_to(row["number"], row["addressed"], probability, blocked)

    async def _let_think(self, stand: asyncpg.Record) -> None:
        """Give turns to those who are wanted and free; begin whatever turn is open."""
        database = self.mind.database
        if self._wanted:
            busy = {row["member"] for row in await database.fetch(ROOMS["open_goes"], self._run_id)}
            busy |= {row["member"] for row in await database.fetch(ROOMS["typing"], self.room_id)}
            last = await database.fetchval(ROOMS["last_member"], self.room_id)
            left: list[Plan] = []
            for plan in self._wanted:
                whole = plan if plan.member is not None else self._table.anybody(plan, busy, last)
                if whole is None or whole.member is None:
                    continue
                if whole.member in busy:
                    left.append(whole)
                    continue
                go = await rooms.locked_by_id(
                    database, self.room_id, "let_go", self.epoch, whole.member, whole.cause, whole.number, whole.name
                )
                if go is not None:
                    busy.add(whole.member)
                    self._owed += whole.cause != "background"
            self._wanted = left
            await self.worker.take(self._run_id, self._prepare, self._ended)
        elif stand["open"]:
            await self.worker.take(self._run_id, self._prepare, self._ended)

    async def _speak(self) -> float:
        """Tell the draft whose author has typed long enough, and let the next one type; seconds until that is due."""
        drafts = await self.mind.database.fetch(ROOMS["typing"], self.room_id)
        drafts = [draft for draft in drafts if not await self._told_at_once(draft)]
        if self._typing and self._typing.draft not in {draft["id"] for draft in drafts}:
            self._typing = None
        if not drafts:
            return LOOK_SECONDS
        first = min(drafts, key=lambda draft: (FIRST[draft["cause"]], draft["id"]))
        if self._typing is None:
            await self._begin_typing(first)
        typing = self._typing
        if typing is None:
            return LOOK_SECONDS
        if (left := typing.until - time.monotonic()) > 0:
            return left
        draft = next(draft for draft in drafts if draft["id"] == typing.draft)
        if draft["cause"] != "addressed" and (room := await self._room_for_more()) > 0:
            if first["cause"] != "addressed":
                return room
            self._typing = None  # who was spoken to need not wait with them
            return 0.0
        await self._tell(draft)
        self._typing = None
        return 0.0

    async def _told_at_once(self, draft: asyncpg.Record) -> bool:
        """A like needs no typing; what nobody asked for is not told long after."""
        if draft["kind"] == "like_message":
            await self._tell(draft)
            return True
        if draft["cause"] == "background" and draft["age"] > STALE_SECONDS + self._pace.typing_seconds(draft["body"]):
            await self.mind.database.fetch(ROOMS["drop_draft"], self.room_id, draft["id"], "stale")
            return True
        return False

    async def _begin_typing(self, draft: asyncpg.Record) -> None:
        seconds = self._pace.typing_seconds(draft["body"])
        self._typing = Typing(draft["id"], time.monotonic() + seconds)
        if seconds:
            if (
                await rooms.locked_by_id(self.mind.database, self.room_id, "begin_typing", self.epoch, draft["member"])
                is None
            ):
                self._typing = None
                return
            self.relay.tell()

    async def _room_for_more(self) -> float:
        """Seconds until agents may write unasked: so many messages a minute and no more."""
        spoken = await self.mind.database.fetch(ROOMS["spoken"], self.room_id, WINDOW_SECONDS)
        most = self._pace.most_a_minute()
        return 0.0 if len(spoken) < most else WINDOW_SECONDS - spoken[most - 1]["age"] + 0.01

    async def _tell(self, draft: asyncpg.Record) -> None:
        mentions = [] if draft["kind"] == "like_message" else mentioned(draft["body"], self._names, but=draft["member"])
        told = await rooms.locked_by_id(
            self.mind.database, self.room_id, "tell_draft", self.epoch, draft["id"], rooms.new_key(), mentions, None
        )
        if told is not None:
            self.relay.tell()

    def _ended(self, _: TurnEnd) -> None:
        self.woken.set()

    async def _prepare(self, claims: list[Claim]) -> Play:
        rows = await self.mind.database.fetch(ROOMS["goes"], [claim.turn_id for claim in claims])
        goes = {row["turn_id"]: row for row in rows}

        async def play(claim: Claim) -> tuple[State, str | None]:
            async with self.slots:
                turn = await self._turn(claim, goes[claim.turn_id])
                return await turn.play(), turn.reason

        return play

    async def _turn(self, claim: Claim, go: asyncpg.Record) -> Turn:
        seat = self._seat(claim, go)
        if claim.next_step:
            return await Turn.resumed(self.mind, seat, await transcript.progress(self.mind.database, claim.turn_id))
        scene = await self._scene(go)
        words = "\n".join(str(item["text"]) for item in scene.lately)
        found = await memory.come_to_mind(
            self.mind.database, self._how, [go["persona_id"]], now=now(), run_id=self._run_id, at_hand=AtHand(words)
        )
        recalled = found.get(go["persona_id"], NOTHING)
        scene = replace(scene, memories=recalled.lines)
        opening = prompt.chat_opening(scene, CHAT_ACTIONS, marker=seat.marker, native=seat.native)
        return Turn.fresh(self.mind, seat, opening, recalled.shown)

    async def _scene(self, go: asyncpg.Record) -> prompt.Scene:
        stand = await self._stand()
        upto, left, blocked = (
            (0, 0.0, []) if stand is None else (stand["messages_count"], stand["left"], stand["blocked"])
        )
        lately = await self.mind.database.fetch(ROOMS["lately"], self.room_id, upto, self._pace.context_window_size)
        return self._table.scene(go, lately, seconds_left=left, blocked=blocked)

    def _seat(self, claim: Claim, go: asyncpg.Record) -> Seat:
        return self._table.seat(
            claim,
            go,
            seed=self._seed + claim.turn_id,
            marker=prompt.marker(self._seed, claim.turn_id),
            goes_on=lambda: claim.goes_on() and not self._over,
        )

    @property
    def _table(self) -> Table:
        return Table(self.settings, self._names, self._terms, self._run_id, self._seed)


def _over(stand: asyncpg.Record) -> EndReason | None:
    """Why the room must end now; None while it may go on."""
    if stand["left"] is not None and stand["left"] <= 0 and not stand["paused"]:
        return "time"
    if stand["grace"] is not None and stand["grace"] <= 0:
        return "dropped_out"
    return STANDS_STILL.get(stand["run_state"])
