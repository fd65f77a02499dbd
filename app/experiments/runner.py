"""Runs experiments: takes runs that nobody plays, so many at once, keeps their leases, and ends what is over.

Any number of processes may drive the same experiment; one that is killed leaves its runs to the others within seconds.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import asyncpg
import structlog

from app.agent.turn import Mind
from app.analysis.comparing import compare, known_to
from app.db import worlds as databases
from app.db.engine import TROUBLE, Database, patiently
from app.errors import AppError, Conflict, NotFound
from app.experiments.design import Experiment
from app.experiments.trial import Arena, Halted, Lost, Playing, network_sha256
from app.settings import Settings
from app.streams import number
from app.venues.tending import tend
from app.world import personas, worlds
from app.world.experiments import EXPERIMENTS, Trial, found, trial_of, trials
from app.world.sessions import decoded

LEASE_SECONDS = 10.0
LOOK_SECONDS = 0.5
STAGE_SECONDS = 2.0
TRIES = 8
"""How often something is tried while the database is away: for half a minute in all."""

AT_ONCE = 2
"""Experiments that a server drives at once."""

log = structlog.get_logger()


def design_of(row: asyncpg.Record) -> Experiment:
    """The design of an experiment's row."""
    return Experiment.model_validate(decoded(row["design"]))


@dataclass
class Runner:
    """Drives one experiment until it is at an end or stands still.

    `told` hears, as often as something has changed; `parallel` are runs at once, if not as many as the design says.
    """

    mind: Mind
    settings: Settings
    key: str
    parallel: int | None = None
    told: Callable[[], None] = lambda: None
    lease_seconds: float = LEASE_SECONDS
    _held: dict[int, tuple[Playing, "asyncio.Task[None]"]] = field(default_factory=dict)
    _stopping: bool = False

    def stop(self) -> None:
        """Take nothing more, and leave the runs under way to be gone on with."""
        self._stopping = True
        for playing, _ in self._held.values():
            playing.lost = True

    async def run(self) -> str:
        """Drive it; the state in which it is left.

        Raises:
            NotFound: there is none of this key.
            AppError: the world in which it begins can't be made.
        """
        row = await found(self.mind.database, self.key)
        if row["state"] != "running":
            return str(row["state"])
        arena = await self._arena(row)
        keeping = asyncio.create_task(self._keep(arena))
        try:
            while not self._stopping:
                if await patiently(partial(self._step, arena), TROUBLE, tries=TRIES, wait=LOOK_SECONDS):
                    break
        finally:
            keeping.cancel()
            await self._leave(arena, keeping)
        return str((await found(self.mind.database, self.key))["state"])

    async def _arena(self, row: asyncpg.Record) -> Arena:
        design = design_of(row)
        start = row["start_world"] or await start_world(self.mind.database, self.key, design)
        gateway = self.mind.gateway or self.mind.model
        return Arena(self.mind.database, self.settings, gateway, row, design, start, self.told)

    async def _step(self, arena: Arena) -> bool:
        """Take what is free, wait for a moment, and see whether it is over."""
        home = self.mind.database
        row = await home.fetchrow(EXPERIMENTS["state"], arena.id)
        if row is None or row["state"] != "running":
            self.stop()
            return True
        if self.mind.pulse.halted:
            await home.fetchval(EXPERIMENTS["halt"], arena.id, "paused", "the kill switch is on")
            return False
        if (why := await stopped_by(home, arena.id, arena.design, row["age"])) is not None:
            await home.fetchval(EXPERIMENTS["end"], arena.id, *why)
            return False
        await self._take(arena)
        if not self._held and await settle(home, arena.id):
            return True
        tasks = {task for _, task in self._held.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(LOOK_SECONDS)
        self._held = {number: one for number, one in self._held.items() if not one[1].done()}
        self.told()
        return False

    async def _take(self, arena: Arena) -> None:
        most = self.parallel or arena.row["parallel"]
        while len(self._held) < most:
            row = await self.mind.database.fetchrow(
                EXPERIMENTS["claim"], arena.id, self.lease_seconds, list(self._held)
            )
            if row is None:
                return
            playing = Playing(arena, trial_of(row))
            task = asyncio.create_task(self._play(playing), name=f"trial-{self.key}-{row['number']}")
            self._held[row["number"]] = (playing, task)

    async def _play(self, playing: Playing) -> None:
        """Whatever goes wrong in one run ends that one as failed, and touches no other."""
        try:
            await playing.play()
        except Lost:
            await self._free(playing)
        except Halted as halted:
            if halted.state == "queued":
                await self._free(playing)
                await self.mind.database.fetchval(EXPERIMENTS["halt"], playing.arena.id, "paused", halted.reason)
            else:
                await self._give_up(playing, halted.state, halted.reason)
        except TROUBLE as error:
            log.warning("a run of an experiment is given back", run=playing.trial.number, error=type(error).__name__)
            await self._free(playing)
            await asyncio.sleep(LOOK_SECONDS)
        except AppError as error:
            await self._give_up(playing, "failed", error.detail)
        except Exception as error:
            log.exception("a run of an experiment failed", run=playing.trial.number)
            await self._give_up(playing, "failed", f"internal: {type(error).__name__}")

    async def _give_up(self, playing: Playing, state: str, reason: str) -> None:
        with suppress(*TROUBLE):
            await self.mind.database.fetchval(EXPERIMENTS["give_up"], *playing.place, state, reason)

    async def _free(self, playing: Playing) -> None:
        experiment, trial, epoch = playing.place
        with suppress(*TROUBLE):
            await self.mind.database.fetch(EXPERIMENTS["free"], experiment, [trial], [epoch])

    async def _keep(self, arena: Arena) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 4)
            ours = [playing for playing, task in self._held.values() if not task.done()]
            try:
                rows = await self.mind.database.fetch(
                    EXPERIMENTS["keep"],
                    arena.id,
                    [one.trial.number for one in ours],
                    [one.trial.epoch for one in ours],
                    self.lease_seconds,
                )
            except TROUBLE as error:
                log.debug("leases are not kept", error=type(error).__name__)
                continue
            kept = {row["number"] for row in rows}
            for one in ours:
                one.lost |= one.trial.number not in kept

    async def _leave(self, arena: Arena, keeping: "asyncio.Task[None]") -> None:
        self.stop()
        tasks = [task for _, task in self._held.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(keeping, *tasks, return_exceptions=True)
        for playing, _ in self._held.values():
            await self._free(playing)


async def start_world(home: Database, key: str, design: Experiment) -> str:
    """The world in which all runs begin: a checkpoint of the source, or a new one with the design's own personas.

    It is made once, by one process; others wait for it.
    """
    async with databases.desk(await databases.place_of(home.url)) as at:
        while True:
            async with databases.held(at, f"experiment {key}") as ours:
                row = await found(home, key)
                if row["start_world"] is not None:
                    return str(row["start_world"])
                if ours:
                    return await _make_start(home, row, design)
            await asyncio.sleep(LOOK_SECONDS)


async def _make_start(home: Database, row: asyncpg.Record, design: Experiment) -> str:
    name = f"x-{row['key']}-start"
    with suppress(NotFound):
        await worlds.drop(home, name)
    note = f"where the experiment {row['key']} begins"
    if design.personas is None:
        await worlds.make(home, name, kind="checkpoint", source=row["source"], note=note)
    else:
        await worlds.make(home, name, kind="made", note=note)
        async with worlds.inside(home, name) as database, database.connection() as connection:
            await personas.add(connection, design.personas)
    hashed = await network_sha256(await databases.locate(home.url, name))
    keep = partial(home.fetchval, EXPERIMENTS["start_world"], row["id"], name, hashed)
    await patiently(keep, TROUBLE, tries=TRIES, wait=0.1)  # a copy of the home world ends its connections
    return name


async def begin(home: Database, key: str, *, failed: bool = False) -> None:
    """Let an experiment run, or go on: runs that stood still wait again, with `failed` those that failed, too.

    Raises:
        NotFound: there is none of this key.
        Conflict: it is completed.
    """
    row = await found(home, key)
    await home.fetch(EXPERIMENTS["reopen"], row["id"], failed)
    left = await home.fetchrow(EXPERIMENTS["progress"], row["id"])
    if left is not None and not left["queued"] and not left["running"]:
        hint = ": `--failed` plays those that failed once more" if left["failed"] else ""
        raise Conflict(f"nothing is left to be run of the experiment {key}{hint}")
    if await home.fetchval(EXPERIMENTS["begin"], row["id"]) is None:
        raise Conflict(f"the experiment {key} is {row['state']} and can't be run")


async def stop(home: Database, key: str, reason: str = "stopped by hand") -> None:
    """Nobody begins another cycle of it; it can go on.

    Raises:
        NotFound: there is none of this key.
        Conflict: it does not run.
    """
    row = await found(home, key)
    if await home.fetchval(EXPERIMENTS["halt"], row["id"], "stopped", reason) is None:
        raise Conflict(f"the experiment {key} is {row['state']} and can't be stopped")


async def settle(home: Database, experiment_id: int) -> bool:
    """End an experiment none of whose runs is open; whether it is over."""
    row = await home.fetchrow(EXPERIMENTS["progress"], experiment_id)
    if row is None or row["queued"] or row["running"]:
        return False
    if row["starved"]:
        await home.fetchval(EXPERIMENTS["halt"], experiment_id, "budget_exhausted", "the budget is spent")
        return True
    state, reason = "completed", None
    if row["failed"] or row["partial"]:
        told = [f"{row[name]} {word}" for name, word in (("failed", "failed"), ("partial", "partial")) if row[name]]
        state, reason = ("partial" if row["done"] else "failed"), f"of {row['trials']} runs {', '.join(told)}"
    await home.fetchval(EXPERIMENTS["end"], experiment_id, state, reason)
    return True


async def stopped_by(home: Database, experiment_id: int, design: Experiment, age: float) -> tuple[str, str] | None:
    """Whether a stopping rule of the design says that it is over: the state, and which rule."""
    rules = design.stop
    if rules.seconds is not None and age > rules.seconds:
        return "stopped", f"stopping rule: {rules.seconds:g} s are over"
    if rules.failed is None and rules.precision is None:
        return None
    known = await trials(home, experiment_id)
    failed = sum(one.state == "failed" for one in known)
    if rules.failed is not None and failed >= rules.failed:
        return "stopped", f"stopping rule: {failed} runs failed"
    if rules.precision is not None and precise(design, known):
        return "completed", f"stopping rule: {rules.precision.outcome} is known to ±{rules.precision.half_width:g}"
    return None


def precise(design: Experiment, known: list[Trial]) -> bool:
    """Whether every difference in the outcome of the precision rule is known well enough, over whole replicates."""
    rule = design.stop.precision
    if rule is None or len(design.variants) < 2:
        return False
    done = {variant: {t.replicate: t for t in known if t.variant == variant and t.over} for variant in design.variants}
    both = sorted(set.intersection(*(set(runs) for runs in done.values())))
    if len(both) < rule.least:
        return False
    values = {
        variant: [None if runs[r].excluded else runs[r].outcomes.get(rule.outcome) for r in both]
        for variant, runs in done.items()
    }
    seeds = design.all_seeds()
    told = compare(
        values,
        seeds=[seeds[r] for r in both],
        seed=number(design.seed, "precision"),
        paired=design.outcomes.paired,
        level=design.outcomes.level,
        control=design.outcomes.control,
    )
    ranges = [one.t if one.shown == "t" else one.difference for one in told.contrasts]
    return all(known_to(one, rule.half_width) for one in ranges)


class ExperimentStage:
    """This server's experiments: drives those that run and nobody drives, until `stop`."""

    def __init__(self, mind: Mind, settings: Settings) -> None:
        self._mind = mind
        self._settings = settings
        self._runners: dict[str, tuple[Runner, asyncio.Task[str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> "ExperimentStage":
        looking = tend(self._look, self._stopping, seconds=STAGE_SECONDS, what="experiments")
        self._task = asyncio.create_task(looking, name="experiments")
        return self

    async def stop(self) -> None:
        """Take nothing more, and leave what is under way to others."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        for runner, task in self._runners.values():
            runner.stop()
            task.cancel()
        await asyncio.gather(*(task for _, task in self._runners.values()), return_exceptions=True)

    async def _look(self) -> None:
        for key, (_, task) in list(self._runners.items()):
            if task.done():
                if (error := task.exception()) is not None:
                    await self._failed(key, error)
                del self._runners[key]
        if self._mind.pulse.halted or len(self._runners) >= AT_ONCE:
            return
        for row in await self._mind.database.fetch(EXPERIMENTS["to_drive"], AT_ONCE):
            if row["key"] not in self._runners and len(self._runners) < AT_ONCE:
                runner = Runner(self._mind, self._settings, row["key"])
                self._runners[row["key"]] = (runner, asyncio.create_task(runner.run(), name=f"x-{row['key']}"))

    async def _failed(self, key: str, error: BaseException) -> None:
        if isinstance(error, TROUBLE):
            return
        log.error("an experiment can't be run", experiment=key, error=type(error).__name__)
        reason = error.detail if isinstance(error, AppError) else f"internal: {type(error).__name__}"
        row = await found(self._mind.database, key)
        await self._mind.database.fetchval(EXPERIMENTS["halt"], row["id"], "failed", reason)
