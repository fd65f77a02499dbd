"""Plays a room in simulated time: the person is a persona too, and waiting takes none.

What happens follows from the room's seed, its setting and what models answer, in one order: agents' moments to speak,
who answers whom, typing at a pace, all as in a room with a person (`driver.py`), but one turn after the other, by a
clock that jumps. So a process that takes a room over goes through it from its beginning: what was answered is not asked
again, what was told is not told again, and it comes to the same end.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from app import streams
from app.actions.chat import CHAT_ACTIONS
from app.agent import prompt
from app.agent.turn import Mind, State, Turn
from app.db.engine import Database
from app.errors import FieldError, Invalid
from app.ledger import transcript
from app.settings import Settings
from app.streams import stream
from app.venues.chatroom.goes import FIRST, Plan, Table, mentioned
from app.venues.chatroom.pace import STALE_SECONDS, WINDOW_SECONDS, Pace, Ticks
from app.venues.chatroom.setting import RoomSetting
from app.venues.chatroom.studies import existing_members, seat
from app.venues.run import settle_run
from app.venues.worker import Claim, Play, TurnEnd, Worker
from app.world import rooms
from app.world.rooms import PERSON, ROOMS

LOOK_SECONDS = 0.5
OPEN = ("queued", "running")


class StandsStill(Exception):
    """The room's run is not running any more, or its turns are to be left."""


async def open_simulated(
    database: Database,
    settings: Settings,
    setting: RoomSetting,
    *,
    seed: int,
    at: datetime,
    terms: Mapping[str, Any],
) -> str:
    """Make a room that begins `at` that time of its world; its key. `terms` are kept by its run, as caps are.

    Raises:
        Invalid: a persona that it names is not there.
    """
    key = rooms.new_key()
    cast = [setting.participant, *setting.cast]
    async with database.connection() as connection, connection.transaction():
        existing = await existing_members(connection, cast)
        wrong = [one.persona for one in cast if one.persona is not None and one.name not in existing]
        if wrong:
            told = [f"no persona has the username {name}" for name in wrong]
            raise Invalid("; ".join(told), errors=[FieldError("/cast", "unknown_persona", words) for words in told])
        person = await seat(connection, cast[:1], streams.number(seed, "person"), existing)
        members = await seat(connection, setting.cast, seed, existing)
        room_id = await rooms.open_room(
            connection,
            key=key,
            seed=seed,
            study_id=None,
            participant_id=None,
            arm="",
            pace={**setting.pace.model_dump(), "simulated": True},
            settings={
                **setting.model_dump(mode="json", include={"model", "temperature", "disclosure"}),
                "prompt_template": setting.prompt_template or "",
                "tool_mode": settings.tool_mode,
                **terms,
            },
            members=members,
        )
        await connection.fetchval(ROOMS["seat_person"], room_id, person[0][0])
    await rooms.enter(database, key, at=at)
    return key


@dataclass
class Draft:
    """What a member has written, `ready` to be typed, but not before `after`; seconds of the room's time."""

    row: asyncpg.Record
    cause: str
    ready: float
    after: float
    typed: bool = False


@dataclass
class Mouth:
    """Agents type one after the other, and so does the person."""

    waiting: list[Draft] = field(default_factory=list)
    typing: Draft | None = None
    until: float = 0.0

    def next(self, now: float) -> float | None:
        """When this has something to do."""
        if self.typing is not None:
            return self.until
        return max(now, min(draft.after for draft in self.waiting)) if self.waiting else None

    @property
    def drafts(self) -> list[Draft]:
        return [*self.waiting, *([self.typing] if self.typing is not None else [])]


@dataclass
class SimulatedRoom:
    """One room, from its beginning to its end. `goes_on` is asked before each turn whether to take it."""

    mind: Mind
    settings: Settings
    worker: Worker
    setting: RoomSetting
    row: asyncpg.Record
    epoch: int
    goes_on: Callable[[], bool] = lambda: True
    now: float = 0.0
    _wanted: list[Plan] = field(default_factory=list)
    _agents: Mouth = field(default_factory=Mouth)
    _person: Mouth = field(default_factory=Mouth)
    _had: dict[str, tuple[int, str]] = field(default_factory=dict)
    _spoke: list[float] = field(default_factory=list)
    _numbers: int = 0
    _last: int | None = None
    _owed: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._pace = msgspec.convert(self.setting.pace.model_dump(), Pace)
        self._ends = 60 * self._pace.session_duration_minutes
        self._ticks = Ticks(self.row["seed"], self._pace.messages_per_minute)
        own = self.setting.participant.messages_per_minute
        self._own = Ticks(streams.number(self.row["seed"], "person"), own) if own else None
        self._script = sorted(enumerate(self.setting.participant.script), key=lambda one: (one[1].seconds, one[0]))
        self._said = 0
        names = ["participant", *(member.name for member in self.setting.cast)]
        terms = msgspec.json.decode(self.row["settings"])
        self._table = Table(self.settings, names, terms, self.row["run_id"], self.row["seed"])

    async def play(self) -> None:
        """Play it to its end.

        Raises:
            StandsStill: its run does, or it is not to go on here.
        """
        database, room_id = self.mind.database, self.row["id"]
        await transcript.keep_tools(database, [(CHAT_ACTIONS.tools_sha256, CHAT_ACTIONS.tools)])
        self._had = {
            row["plan"]: (row["turn_id"], row["state"]) for row in await database.fetch(ROOMS["gone"], room_id)
        }
        with self.worker.attending(self.row["run_id"]):
            while (at := self._next()) < self._ends:
                self.now = at
                await self._tell()
                await self._say()
                self._tick()
                await self._let_think()
                self._type()
        await rooms.end(database, room_id, "time", at=self._at(self._ends))
        if await database.fetchval(ROOMS["close_room"], room_id, self.epoch) is None:
            raise StandsStill
        await settle_run(database, self.row["run_id"])

    def _at(self, seconds: float) -> datetime:
        began: datetime = self.row["started_at"]
        return began + timedelta(seconds=round(seconds, 6))

    def _next(self) -> float:
        """When something happens next, in seconds from the start."""
        times = [self._ticks.at, *([self._own.at] if self._own else [])]
        times += [one.seconds for _, one in self._script[self._said : self._said + 1]]
        times += [at for mouth in (self._agents, self._person) if (at := mouth.next(self.now)) is not None]
        return min(times)

    # What is written

    async def _tell(self) -> None:
        """Tell what has been typed, and likes, which need no typing."""
        for mouth in (self._agents, self._person):
            draft = mouth.typing
            if draft is not None and mouth.until <= self.now:
                mouth.typing, draft.typed = None, True
                if mouth is self._agents and draft.cause != "addressed" and (more := self._until_more()) > 0:
                    draft.after = self.now + more  # whoever was spoken to need not wait behind it
                    mouth.waiting.append(draft)
                else:
                    await self._told(draft)

    def _until_more(self) -> float:
        """Seconds until agents may write unasked: so many messages a minute and no more."""
        lately = [at for at in self._spoke if at > self.now - WINDOW_SECONDS]
        most = self._pace.most_a_minute()
        return 0.0 if len(lately) < most else WINDOW_SECONDS - (self.now - lately[-most]) + 0.01

    async def _told(self, draft: Draft) -> None:
        row = draft.row
        database, member, body = self.mind.database, row["member"], row["body"]
        says = row["kind"] == "say"
        mentions = mentioned(body, self._table.names, but=member) if says else []
        if row["state"] == "typing":
            given = (self.row["id"], "tell_draft", self.epoch, row["id"], rooms.new_key(), mentions, self._at(self.now))
            if await rooms.locked_by_id(database, *given) is None:
                raise StandsStill
        if says:
            replied = None if row["reply_to"] is None else await self._author(row["reply_to"])
            self._heard(member, mentions if replied is None else [*mentions, replied])

    async def _author(self, number: int) -> int | None:
        found: int | None = await self.mind.database.fetchval(ROOMS["author"], self.row["id"], number)
        return found

    async def _say(self) -> None:
        while self._said < len(self._script) and self._script[self._said][1].seconds <= self.now:
            place, one = self._script[self._said]
            self._said += 1
            mentions = mentioned(one.text, self._table.names, but=PERSON)
            where = (self.mind.database, self.row["key"])
            await rooms.say(*where, one.text, mentions=mentions, client_id=f"script-{place}", at=self._at(self.now))
            self._heard(PERSON, mentions)

    def _heard(self, member: int, addressed: list[int]) -> None:
        """Somebody has written a message: who shall answer it?"""
        self._numbers += 1
        self._last = member
        number, person = self._numbers, self.setting.participant
        if member == PERSON:
            self._wanted += self._table.answers_to(number, addressed, self._pace.user_response_probability)
            return
        self._spoke.append(self.now)
        if PERSON in addressed and stream(self.row["seed"], "person", number).random() < person.answer_probability:
            self._wanted.append(Plan(f"person/{number}", PERSON, "addressed", number))

    # Who thinks and types

    def _tick(self) -> None:
        for number in self._ticks.due(self.now):
            if self._owed:
                self._owed -= 1
            else:
                self._wanted.append(Plan(f"tick/{number}", None, "background"))
        if self._own is not None:
            self._wanted += [Plan(f"own/{number}", PERSON, "background") for number in self._own.due(self.now)]

    async def _let_think(self) -> None:
        left: list[Plan] = []
        for plan in self._wanted:
            busy = {draft.row["member"] for mouth in (self._agents, self._person) for draft in mouth.drafts}
            whole = plan if plan.member is not None else self._table.anybody(plan, busy, self._last)
            if whole is None or whole.member is None:
                continue
            if whole.member in busy:
                if whole.cause != "background":
                    left.append(whole)
                continue
            self._owed += whole.cause != "background" and whole.member != PERSON
            ready = self.now + self.setting.thinking_seconds
            for row in await self._drafts(whole):
                mouth = self._person if row["member"] == PERSON else self._agents
                mouth.waiting.append(Draft(row, whole.cause, ready, after=ready))
        self._wanted = left

    def _type(self) -> None:
        """Whoever is first begins to type, if nobody types; what nobody asked for is not told long after."""
        for mouth in (self._agents, self._person):
            mouth.waiting = [draft for draft in mouth.waiting if not self._stale(draft)]
            ready = [draft for draft in mouth.waiting if draft.after <= self.now]
            if mouth.typing is None and ready:
                first = min(ready, key=lambda d: (d.row["kind"] == "say", FIRST[d.cause], d.row["id"]))
                mouth.waiting.remove(first)
                mouth.typing = first
                types = first.row["kind"] == "say" and not first.typed
                mouth.until = self.now + (self._pace.typing_seconds(first.row["body"]) if types else 0.0)

    def _stale(self, draft: Draft) -> bool:
        long = STALE_SECONDS + self._pace.typing_seconds(draft.row["body"])
        return draft.cause == "background" and self.now - draft.ready > long

    # Turns

    async def _drafts(self, plan: Plan) -> list[asyncpg.Record]:
        """What comes of a go, which is played unless it was."""
        turn_id, state = self._had.get(plan.name, (None, "queued"))
        if turn_id is None:
            given = (self.epoch, plan.member, plan.cause, plan.number, plan.name)
            go = await rooms.locked_by_id(self.mind.database, self.row["id"], "let_go", *given)
            if go is None:
                raise StandsStill
            turn_id = go["turn_id"]
        if state in OPEN:
            await self._played(turn_id)
        return await self.mind.database.fetch(ROOMS["drafts"], turn_id)

    async def _played(self, turn_id: int) -> None:
        while True:
            stand = await self.mind.database.fetchrow(ROOMS["turn_state"], turn_id)
            if stand is None or stand["state"] not in OPEN:
                return
            if stand["run_state"] != "running" or not self.goes_on() or self.mind.pulse.halted:
                raise StandsStill
            self._woken.clear()
            await self.worker.take(self.row["run_id"], self._prepare, self._ended)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _ended(self, _: TurnEnd) -> None:
        self._woken.set()

    async def _prepare(self, claims: list[Claim]) -> Play:
        rows = await self.mind.database.fetch(ROOMS["goes"], [claim.turn_id for claim in claims])
        goes = {row["turn_id"]: row for row in rows}

        async def play(claim: Claim) -> tuple[State, str | None]:
            turn = await self._turn(claim, goes[claim.turn_id])
            return await turn.play(), turn.reason

        return play

    async def _turn(self, claim: Claim, go: asyncpg.Record) -> Turn:
        own = streams.number(self.row["seed"], "go", go["plan"])
        seat = self._table.seat(
            claim,
            go,
            seed=own,
            marker=prompt.marker(own, 0),
            goes_on=lambda: claim.goes_on() and self.goes_on(),
        )
        if claim.next_step:
            return await Turn.resumed(self.mind, seat, await transcript.progress(self.mind.database, claim.turn_id))
        most = self._pace.context_window_size
        lately = await self.mind.database.fetch(ROOMS["lately"], self.row["id"], self._numbers, most)
        scene = self._table.scene(go, lately, seconds_left=self._ends - self.now)
        return Turn.fresh(
            self.mind, seat, prompt.chat_opening(scene, CHAT_ACTIONS, marker=seat.marker, native=seat.native)
        )


async def play_simulated(
    mind: Mind,
    settings: Settings,
    setting: RoomSetting,
    key: str,
    *,
    goes_on: Callable[[], bool] = lambda: True,
    terms: Mapping[str, Any] | None = None,
) -> str:
    """Play a room that `open_simulated` made to its end, or go on with it; the state in which its run is left.

    `terms` replace those that the run keeps, where it stood still.

    Raises:
        NotFound: there is no such room.
    """
    database = mind.database
    row = await rooms.simulated(database, key)
    if row["state"] != "ended":
        if row["run_state"] != "running":
            await database.fetchval(ROOMS["go_on"], row["run_id"], msgspec.json.encode(dict(terms or {})).decode())
            row = await rooms.simulated(database, key)
        epoch = await database.fetchval(ROOMS["take_room"], row["id"])
        async with Worker(mind, at_once=1) as worker:
            with suppress(StandsStill):
                await SimulatedRoom(mind, settings, worker, setting, row, epoch, goes_on).play()
    return str((await rooms.simulated(database, key))["run_state"])
