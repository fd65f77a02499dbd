"""Drives one session: makes the script's moves, has turns played, and reads their answers into the transcript in order.

All that must outlive this process is in rows. What comes next follows from them, so that another process goes on where
this one stopped, and nobody is asked twice.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import msgspec
import structlog

from app.agent import memory, prompt
from app.agent.memory import NOTHING, Recollection, Remembering
from app.agent.turn import Asked, Mind, Seat, State, Turn
from app.db.engine import TROUBLE
from app.ledger import transcript
from app.ledger.budget import charge_lost_of_run
from app.settings import Settings
from app.streams import number
from app.venues.run import account, now
from app.venues.session.cache import OnceEach
from app.venues.session.script import UNUSABLE, Move, Opening, Script, Stand, read
from app.venues.worker import Claim, Play, TurnEnd, Worker
from app.world import memories, sessions
from app.world.memories import AtHand
from app.world.sessions import SESSIONS, Ask, Ended, Line

LOOK_SECONDS = 0.5
GATHER_SECONDS = 0.03
"""Answers that come within this time are read together."""

READ_MOST = 200
Told = Callable[[list[Line]], None]
log = structlog.get_logger()


@dataclass
class Driver:
    """One session, for as long as its lease is ours. `told` hears new lines."""

    mind: Mind
    settings: Settings
    worker: Worker
    script: Script
    row: asyncpg.Record
    epoch: int
    told: Told = field(default=lambda _: None)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False
    lines: list[Line] = field(default_factory=list)
    _terms: dict[str, Any] = field(default_factory=dict)
    _asks: dict[int, Ask] = field(default_factory=dict)
    _kept: set[bytes] = field(default_factory=set)
    _open: bool = True

    @property
    def id(self) -> int:
        return int(self.row["id"])

    async def drive(self) -> None:
        """Drive the session until it is at an end, or stands still, or is another process's, or `stop`."""
        self._terms = msgspec.json.decode(self.row["settings"])
        if self._terms.get("cache", True) and not self._shared:
            once = OnceEach(self.mind.model)
            if self.row["asks_count"]:
                await once.load(self.mind.database, self.id)
            self.mind = replace(self.mind, model=once)
        with self.worker.attending(self.row["run_id"]):
            while not self.stopped:
                try:
                    goes_on = await self._step()
                except TROUBLE as error:
                    log.debug("a session waits for the database", session=self.id, error=type(error).__name__)
                    goes_on = True
                    await asyncio.sleep(LOOK_SECONDS)
                if not goes_on:
                    return

    def stop(self) -> None:
        self.stopped = True
        self.woken.set()

    async def _step(self) -> bool:
        """Read what was answered, and make the next move if nothing is open; whether there is more to do here."""
        database = self.mind.database
        await self._read()
        stand = await database.fetchrow(SESSIONS["stand"], self.id, self.epoch)
        if stand is None or stand["state"] != "running" or not stand["leased"]:
            return False
        if self._open:
            await self._wait()
            return True
        if stand["pause_at"] is not None and len(self.lines) >= stand["pause_at"]:
            await database.fetchrow(SESSIONS["pause"], self.id, "a step was made")
            return False
        spent = await database.fetchrow(SESSIONS["spent"], self.id) if self._counts_tokens else None
        tokens = 0 if spent is None else spent["prompt_tokens"] + spent["completion_tokens"]
        move = self.script.move(Stand(self.lines, stand["age"] or 0.0, tokens))
        if move.over:
            await self._end()
            return False
        await self._make(move, stand["asks_count"])
        return True

    @property
    def _shared(self) -> bool:
        """Whether answers are shared with other sessions: with those of the same cache."""
        return bool(self.row["scope"] != self.row["key"])

    @property
    def _counts_tokens(self) -> bool:
        return bool(self._terms.get("counts_tokens"))

    async def _make(self, move: Move, asked: int) -> None:
        database = self.mind.database
        if move.checkpoint:
            await sessions.checkpoint(database, self.id, move.checkpoint, self.lines, asked)
        if move.say:
            await sessions.say(database, self.id, self.epoch, move.say)
            await self._hear()
        if move.ask:
            upto = len(self.lines)
            await sessions.ask(database, self.id, self.epoch, [replace(ask, upto=upto) for ask in move.ask])
            self._open = True

    async def _hear(self) -> None:
        new = await sessions.lines(self.mind.database, self.id, after=len(self.lines))
        if new:
            self.lines += new
            self.told(new)

    async def _read(self) -> None:
        """Lines for what is answered: in the order asked, so that whose model was faster leaves no trace."""
        database = self.mind.database
        await self._hear()
        answered = sum(line.turn_id is not None for line in self.lines)
        waiting = await sessions.unanswered(database, self.id, answered, READ_MOST)
        ready: list[Ended] = []
        for ended in waiting:
            if not ended.over:
                break
            ready.append(ended)
        if ready:
            await sessions.answer(database, self.id, self.epoch, [read(ended) for ended in ready])
            await self._hear()
        self._open = len(waiting) > len(ready) or len(waiting) == READ_MOST

    async def _wait(self) -> None:
        """Have turns played until one has ended."""
        self.woken.clear()
        taken = await self.worker.take(self.row["run_id"], self._prepare, self._ended)
        if not self.woken.is_set() or not taken:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.woken.wait()
            except TimeoutError:
                return
        await asyncio.sleep(GATHER_SECONDS)

    def _ended(self, _: TurnEnd) -> None:
        self.woken.set()

    async def _end(self) -> None:
        """The session's end: what came of it, and how many were lost."""
        database, run_id = self.mind.database, self.row["run_id"]
        lost = sum(line.missing is not None for line in self.lines)
        asked = sum(line.turn_id is not None for line in self.lines)
        replied = lost < asked or any(line.missing in UNUSABLE for line in self.lines)
        state = "completed" if not lost else "partial" if replied else "failed"
        reasons = sorted({line.missing for line in self.lines if line.missing})
        reason = f"{lost} of {asked} gave nothing: {', '.join(reasons[:5])}"[:500] if lost else None
        await charge_lost_of_run(database, run_id)
        if self._terms.get("remember"):
            how = self._how
            await memories.remember(database, run_id, now=now(), most=how.most, of="session")
        result = msgspec.json.encode(self.script.result(self.lines)).decode()
        await database.fetchrow(SESSIONS["end"], self.id, self.epoch, result, state, reason)
        log.info("session ended", session=self.row["key"], state=state)

    @property
    def _how(self) -> Remembering:
        """Participants remember it, and remember other things in it, only where the design says so."""
        return Remembering.of(self.settings, {"memory": "off", **self._terms})

    async def _prepare(self, claims: list[Claim]) -> Play:
        self._asks |= await sessions.asks(self.mind.database, [claim.turn_id for claim in claims])
        recalled = await self._recalled([self._asks[claim.turn_id] for claim in claims])
        turns = {claim.turn_id: self._opened(claim, recalled) for claim in claims}
        await self._keep([opening for _, opening in turns.values()])

        async def play(claim: Claim) -> tuple[State, str | None]:
            turn = await self._turn(claim, *turns[claim.turn_id], recalled)
            return await turn.play(), turn.reason

        return play

    async def _recalled(self, asked: list[Ask]) -> Mapping[int, Recollection]:
        """What comes to the members' minds, where they remember more than this session."""
        whose = sorted({self.script.members[ask.member].persona_id for ask in asked})
        words = "\n".join(line.body for line in self.lines[-8:])
        return await memory.come_to_mind(
            self.mind.database, self._how, whose, now=now(), run_id=self.row["run_id"], at_hand=AtHand(words)
        )

    def _opened(self, claim: Claim, recalled: Mapping[int, Recollection]) -> tuple[Seat, Opening]:
        ask = self._asks[claim.turn_id]
        member = self.script.members[ask.member]
        marks = prompt.marker(self.row["seed"], 0)
        native = self._terms.get("tool_mode", "native") == "native"
        minds = recalled.get(member.persona_id, NOTHING)
        opening = self.script.opening(ask, self.lines[: ask.upto], marks, native=native, recalled=minds)
        terms, run_id = self._terms, self.row["run_id"]
        cached = bool(terms.get("cache", True))
        reuse, scope = cached and self._shared, self.row["scope"]
        seed = number(self.row["seed"], "model", opening.again if cached else ask.key)
        seat = Seat(
            turn_id=claim.turn_id,
            persona_id=claim.persona_id,
            epoch=claim.epoch,
            seed=self.row["seed"],
            model=opening.model or str(terms.get("model", self.settings.simfeed_model)),
            temperature=opening.temperature if opening.temperature is not None else self.settings.model_temperature,
            native=native or not opening.actions.tools,
            actions=opening.actions,
            marker=marks,
            account=account(
                self.settings,
                terms,
                run_id=run_id,
                persona_id=claim.persona_id,
                turn_id=claim.turn_id,
                epoch=claim.epoch,
            ),
            reuse=reuse,
            asked=Asked(seed, opening.max_tokens, opening.tries, opening.top_p, opening.stop, scope),
            goes_on=claim.goes_on,
        )
        return seat, opening

    async def _keep(self, openings: list[Opening]) -> None:
        new = {o.actions.tools_sha256: o.actions.tools for o in openings if o.actions.tools_sha256 not in self._kept}
        if new:
            await transcript.keep_tools(self.mind.database, sorted(new.items()))
            self._kept |= set(new)

    async def _turn(self, claim: Claim, seat: Seat, opening: Opening, recalled: Mapping[int, Recollection]) -> Turn:
        if claim.next_step:
            return await Turn.resumed(self.mind, seat, await transcript.progress(self.mind.database, claim.turn_id))
        return Turn.fresh(
            self.mind, seat, opening.messages, recalled.get(claim.persona_id, NOTHING).shown if recalled else ()
        )
