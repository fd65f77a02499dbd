"""One run of a variant: in a fork of the starting world, from its first cycle to what it came to.

It can be left at any point and gone on with: cycles are runs of slots of their own, a session goes on from its rows.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import asyncpg

from app.agent.turn import Mind
from app.analysis import measuring, room, state
from app.db import worlds as databases
from app.db.engine import Database
from app.errors import NotFound
from app.experiments import outcomes
from app.experiments.design import Experiment, FeedSetting, Setting
from app.experiments.deviations import program
from app.experiments.furnishing import MONDAY, begins, furnish
from app.llm.model import Model
from app.settings import Settings
from app.streams import number
from app.venues.chatroom.setting import RoomSetting
from app.venues.chatroom.simulated import open_simulated, play_simulated
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind, resume_run
from app.venues.session import results
from app.venues.session.design import Dialogue, Simulation
from app.venues.session.opening import begin
from app.venues.session.stage import play
from app.world import rooms, sessions, worlds
from app.world.clock import stands_at
from app.world.experiments import EXPERIMENTS, Trial
from app.world.sessions import encoded

NETWORK = state.Terms("network", "world")
"""What the hash of a run's world covers: not what wall clocks wrote."""

GO_ON = ("stopped", "paused", "budget_exhausted", "failed", "partial")


class Lost(Exception):
    """Somebody else plays this run now, or it is to stop: what is under way is left as it is."""


class Halted(Exception):
    """A run stands still: it failed, or the experiment's budget is spent."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


@dataclass
class Arena:
    """What all runs of an experiment share. `told` hears that something has changed; it must not wait."""

    home: Database
    settings: Settings
    gateway: Model
    row: asyncpg.Record
    design: Experiment
    start_world: str
    told: Callable[[], None] = lambda: None

    @property
    def id(self) -> int:
        return int(self.row["id"])


@dataclass
class Playing:
    """A run that is ours, in its epoch, until `lost`."""

    arena: Arena
    trial: Trial
    lost: bool = False
    partial: bool = field(default=False, init=False)

    @property
    def place(self) -> tuple[int, int, int]:
        """What fences all that is written of it."""
        return self.arena.id, self.trial.number, self.trial.epoch

    async def write(self, statement: str, *more: object) -> None:
        """
        Raises:
            Lost: it is another's now.
        """
        if await self.arena.home.fetchval(EXPERIMENTS[statement], *self.place, *more) is None:
            raise Lost
        self.arena.told()

    async def play(self) -> None:
        """Play it to its end, and keep what it came to.

        Raises:
            Lost: it is another's now, or to stop.
            Halted: it can't go on.
        """
        setting = self.arena.design.setting_of(self.trial.variant)
        await self.write("played_by", encoded([program(self.arena.design)]))
        await self._enter(setting)
        settings = terms_of(self.arena.settings, setting).model_copy(update={"simfeed_world": self.trial.world})
        async with worlds.inside(self.arena.home, self._world) as database:
            async with open_mind(settings, database, gateway=self.arena.gateway) as mind:
                if isinstance(setting, FeedSetting):
                    await self._cycles(mind, settings, setting)
                elif isinstance(setting, RoomSetting):
                    await self._room(mind, settings, setting)
                else:
                    await self._session(mind, settings, setting)
            await self._finish(database)
        if not self.arena.design.keep_worlds:
            await worlds.drop(self.arena.home, self._world)
            await self.arena.home.fetchval(EXPERIMENTS["without_world"], *self.place[:2])

    # Entering

    @property
    def _world(self) -> str:
        return self.trial.world or f"x-{self.arena.row['key']}-{self.trial.number}"

    async def _enter(self, setting: Setting) -> None:
        """Into a fork of its own, which is made and furnished anew unless it was noted that it is ready."""
        if self.trial.world is not None:
            return
        home, name = self.arena.home, self._world
        with suppress(NotFound):
            await worlds.drop(home, name)
        note = f"{self.arena.row['key']}: {self.trial.variant}, run {self.trial.replicate + 1}"
        await worlds.make(home, name, source=self.arena.start_world, note=note)
        async with worlds.inside(self.arena.home, self._world) as database:
            since = await database.fetchval(databases.WORLDS["newest_run"])
            if isinstance(setting, FeedSetting):
                await furnish(database, setting, await begins(database, setting))
        await self.write("entered", name, since or 0)
        self.trial = replace(self.trial, world=name, since=since or 0)

    # The feed

    async def _cycles(self, mind: Mind, settings: Settings, setting: FeedSetting) -> None:
        lasts = setting.step()
        start = await self._started(mind.database, setting)
        for n in range(setting.cycles):
            if self.lost:
                raise Lost
            await self._cycle(mind, settings, setting, n, start + n * lasts)

    async def _started(self, database: Database, setting: FeedSetting) -> datetime:
        first = await database.fetchrow(EXPERIMENTS["run_of"], f"{self._slots}/0")
        return first["world_at"] if first is not None else await begins(database, setting)

    @property
    def _slots(self) -> str:
        return f"experiment/{self.arena.row['key']}/{self.trial.number}"

    async def _cycle(self, mind: Mind, settings: Settings, setting: FeedSetting, n: int, at: datetime) -> None:
        slot = f"{self._slots}/{n}"
        run = await mind.database.fetchrow(EXPERIMENTS["run_of"], slot)
        if run is not None and run["state"] in ("completed", "partial") and n < self.trial.cycles_done:
            self.partial |= run["state"] == "partial"
            return
        caps = await self._reserve()
        if run is None:
            shown = {"ranker": setting.ranker, "who_to_follow": setting.who_to_follow}
            run_id = await open_cycle(
                mind,
                settings,
                slot=slot,
                seed=number(self.trial.seed, "cycle", n, bits=62),
                terms={**caps, **{name: value for name, value in shown.items() if value is not None}},
                rounds=setting.rounds,
                at=at,
                lasts=setting.step(),
            )
            assert run_id is not None  # noqa: S101 - nobody else opens a slot in this world
        else:
            run_id = run["id"]
            if run["state"] in GO_ON:
                await resume_run(mind.database, run_id, terms=await self._again(mind.database, run_id, caps))
        found = await play_cycle(mind, settings, run_id)
        await self._spent(mind.database, n + 1)
        self._came_to(found, f"cycle {n + 1} is {found}: run {run_id} of the world {self._world} tells why")

    # Sessions

    async def _session(self, mind: Mind, settings: Settings, design: Dialogue | Simulation) -> None:
        caps = await self._reserve()
        if self.trial.session is not None:
            before = await sessions.found(mind.database, self.trial.session)
            if before["ended_at"] is not None and before["state"] == "failed":
                self.trial = replace(self.trial, session=None)
        if self.trial.session is None:
            given = design.terms.model_copy(update={"seed": self.trial.seed, **caps})
            seeded = design.model_copy(update={"terms": given})
            key = await begin(mind.database, settings, self.arena.row["venue"], seeded)
            await self.write("session", key)
            self.trial = replace(self.trial, session=key)
        row = await sessions.found(mind.database, self.trial.session or "")
        if row["ended_at"] is None and row["state"] != "running":
            caps = await self._again(mind.database, row["run_id"], caps)
            await mind.database.fetchval(sessions.SESSIONS["allow"], row["id"], encoded(caps))
            await sessions.go_on(mind.database, row["id"])
        found = await play(mind, settings, row["id"])
        await self._spent(mind.database, 1)
        self._came_to(found, f"the session {row['key']} in the world {self._world} is {found}")

    # Chatrooms

    async def _room(self, mind: Mind, settings: Settings, setting: RoomSetting) -> None:
        caps = await self._reserve()
        if self.trial.session is not None:
            before = await rooms.simulated(mind.database, self.trial.session)
            if before["run_state"] == "failed":
                self.trial = replace(self.trial, session=None)
        if self.trial.session is None:
            at = await stands_at(mind.database) or MONDAY
            key = await open_simulated(mind.database, settings, setting, seed=self.trial.seed, at=at, terms=caps)
            await self.write("session", key)
            self.trial = replace(self.trial, session=key)
        key = self.trial.session or ""
        run_id = (await rooms.simulated(mind.database, key))["run_id"]
        caps = await self._again(mind.database, run_id, caps)
        found = await play_simulated(mind, settings, setting, key, goes_on=lambda: not self.lost, terms=caps)
        if found == "running":
            raise Lost
        await self._spent(mind.database, 1)
        self._came_to(found, f"the room {key} in the world {self._world} is {found}")

    # Money, and the end

    def _came_to(self, found: str | None, told: str) -> None:
        """What a cycle, session or room came to.

        Raises:
            Halted: it can't go on; `told` says why.
        """
        self.partial |= found == "partial"
        if found == "budget_exhausted":
            raise Halted("budget_exhausted", "the experiment's budget is spent")
        if found in ("paused", "stopped"):
            raise Halted("queued", told)
        if found not in ("completed", "partial"):
            raise Halted("failed", told)

    async def _reserve(self) -> dict[str, Any]:
        """What the next cycle may take, of what the experiment has left.

        Raises:
            Halted: nothing is left.
        """
        row = await self.arena.home.fetchrow(EXPERIMENTS["reserve"], *self.place, self.arena.row["parallel"])
        if row is None:
            raise Lost
        caps = {"budget_tokens": row["tokens"], "budget_usd": row["usd"]}
        if any(value is not None and value <= 0 for value in caps.values()):
            raise Halted("budget_exhausted", "the experiment's budget is spent")
        return {name: value for name, value in caps.items() if value is not None}

    async def _again(self, database: Database, run_id: int, caps: dict[str, Any]) -> dict[str, Any]:
        """The caps of a run that goes on: what it may take, and what it has taken already."""
        taken = await database.fetchrow(EXPERIMENTS["taken"], run_id)
        assert taken is not None  # noqa: S101 - an aggregate always gives a row
        return {name: value + taken[name.removeprefix("budget_")] for name, value in caps.items()}

    async def _spent(self, database: Database, done: int) -> None:
        used = await database.fetchrow(EXPERIMENTS["usage"], self.trial.since)
        assert used is not None  # noqa: S101 - an aggregate always gives a row
        figures = (used["calls"], used["prompt_tokens"], used["completion_tokens"], used["usd"])
        await self.write("spent", done, *figures)

    async def _finish(self, database: Database) -> None:
        values, why, series = await self._measured(database)
        hashed = await self._hash(database)
        excluded = excluded_by(self.arena.design, values)
        found = "partial" if self.partial else "completed"
        reason = "some turns came to nothing" if self.partial else None
        await self.write("finish", found, reason, encoded(values), encoded(why), encoded(series), hashed, excluded)

    async def _hash(self, database: Database) -> bytes:
        """What names all that came of it: the world's network, or what was said."""
        venue, key = self.arena.design.venue, self.trial.session or ""
        if venue == "feed":
            return await network_sha256(database.url)
        if venue == "chatroom":
            return await rooms.transcript_sha256(database, key)
        row = await sessions.found(database, key)
        return sessions.state_sha256(await sessions.lines(database, row["id"]))

    async def _measured(self, database: Database) -> tuple[dict[str, float | None], dict[str, str], Any]:
        return await measured(database, self.arena.design, self.trial)


async def network_sha256(url: str) -> bytes:
    """The hash of a world's network, without what wall clocks wrote."""
    return bytes.fromhex((await state.state_at(url, NETWORK)).sha256)


async def measured(
    database: Database, design: Experiment, trial: Trial
) -> tuple[dict[str, float | None], dict[str, str], list[dict[str, Any]]]:
    """What a run came to: all that the design asks for, why it is None where it is, and by cycle."""
    names = wanted(design)
    if design.venue == "feed":
        found = await measuring.measure(database, names, since=trial.since, seed=trial.seed)
        return found.values, found.why, await measuring.series(database, names, since=trial.since)
    if design.venue == "chatroom":
        used = await database.fetchrow(EXPERIMENTS["usage"], trial.since)
        setting = design.setting_of(trial.variant)
        assert isinstance(setting, RoomSetting)  # noqa: S101 - the venue's own
        minutes = setting.pace.session_duration_minutes
        talk = await room.talk_of(database, trial.session or "", minutes=minutes, used=dict(used or {}))
        return *room.measure(talk, names), []
    block = await results.block(database, await sessions.found(database, trial.session or ""))
    return *outcomes.of_block(block, names), []


def wanted(design: Experiment) -> list[str]:
    """The outcomes that a design names anywhere."""
    precise = [design.stop.precision.outcome] if design.stop.precision is not None else []
    return list(dict.fromkeys([*design.outcomes.names(), *(one.outcome for one in design.exclude), *precise]))


def excluded_by(design: Experiment, values: Any) -> str | None:
    """Which rule leaves a run with these outcomes out."""
    return next((why for rule in design.exclude if (why := rule.told(values.get(rule.outcome))) is not None), None)


def terms_of(settings: Settings, setting: Any) -> Settings:
    """The settings under which a variant is played."""
    if not isinstance(setting, FeedSetting):
        return settings
    given = {
        "simfeed_model": setting.model,
        "model_temperature": setting.temperature,
        "tool_mode": setting.tool_mode,
        "max_actions": setting.max_actions,
        "model_max_tokens": setting.max_tokens,
        "memory": setting.memory,
        "memory_scope": setting.memory_scope,
        "memory_tokens": setting.memory_tokens,
        "reactions": setting.reactions,
        "trends": setting.trends,
        "copies": setting.copies,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if "max_actions" in chosen:
        chosen["max_calls_per_reply"] = min(settings.max_calls_per_reply, setting.max_actions or 1)
    return settings.model_copy(update=chosen)
