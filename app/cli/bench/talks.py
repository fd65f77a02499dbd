"""`simfeed bench sessions`: what focus groups, surveys, extractions, populations take beside the model's own time."""

import asyncio
import statistics
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.agent.population.compose import compose
from app.agent.population.sampling import plan
from app.agent.turn import Mind
from app.cli.bench import meter, place, report, tokens
from app.cli.bench.report import Verdict
from app.cli.common import err, go, out, table
from app.db.engine import Database
from app.settings import Settings, load_settings
from app.venues.run import open_mind
from app.venues.session import results
from app.venues.session.design import ExtractionConfig, Simulation, checked
from app.venues.session.opening import begin
from app.venues.session.stage import SessionStage, play
from app.world import personas, sessions

DEMOGRAPHICS = {
    "marginals": {
        "age": {"18-29": 20, "30-49": 35, "50-64": 25, "65-80": 20},
        "gender": {"female": 51, "male": 49},
        "region": {"north": 30, "south": 40, "east": 15, "west": 15},
        "leaning": {"left": 40, "centre": 30, "right": 30},
    }
}
STIMULUS = {
    "type": "product",
    "content": "A reusable coffee cup with a deposit of two euros, taken in every café in town.",
}
FIELDS = ["reason", {"name": "would_use", "type": "boolean", "hint": "would use the cup"}]
TARGETS = {
    "persons generated": 3.0, "rounds": 5.0, "extraction": 3.0, "checkpoint": 1.0, "large round": 60.0,
    "cpu": 3.0, "tokens": 1_500.0, "memory": 400.0,
}  # fmt: skip
SAMPLE = 150


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    participants: int
    rounds: int
    at_once: int
    large: int
    persons: int


class Phase(msgspec.Struct):
    """What something took: seconds, CPU-seconds of ours and of PostgreSQL's, and how many units it had."""

    name: str
    units: int
    seconds: float
    ours: float
    postgres: float | None

    @property
    def a_unit(self) -> float:
        """CPU-ms of both for one unit."""
        return (self.ours + (self.postgres or 0.0)) * 1000 / self.units


def simulation(count: int, rounds: int, kind: str = "focus_group", seed: int = 7) -> Simulation:
    design: Simulation = checked(
        Simulation,
        {
            "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": count},
            "simulation_config": {"environment_type": kind, "rounds": rounds},
            "stimulus": STIMULUS,
            "terms": {"seed": seed},
        },
    )
    return design


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure all of it in a fresh world, and return the report."""
    machine = report.machine()
    with place.server(settings) as server, server.database() as url:
        found = go(_measured(url, wanted))
    return {"machine": {**machine, "server": server.label}, "asked": msgspec.to_builtins(wanted), **found}


async def _measured(url: str, wanted: Wanted) -> dict[str, Any]:
    settings = load_settings(database_url=url, simfeed_model="scripted")
    database = await Database.open(url, size=settings.database_pool_size)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        async with open_mind(settings, database) as mind, database.connection() as connection:
            postgres = await meter.postmaster(connection)
            bench = Bench(settings, mind, postgres, [])
            with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
                task = bar.add_task("sessions", total=6)
                return await bench.all(wanted, lambda: bar.update(task, advance=1))
    finally:
        await database.close()


class Bench(msgspec.Struct):
    """Measures one thing after the other."""

    settings: Settings
    mind: Mind
    postgres: int | None
    phases: list[Phase]

    async def all(self, wanted: Wanted, done: Any) -> dict[str, Any]:
        database = self.mind.database
        async with database.connection() as connection:
            before = meter.spent(self.postgres)
            specs = await asyncio.to_thread(lambda: compose(plan(DEMOGRAPHICS, wanted.persons, 7), 7))
            await personas.add(connection, specs)
            self._took("persons generated", wanted.persons, before)
        done()
        await self._played(simulation(2, 1))
        group = await self._timed(
            f"{wanted.participants} participants × {wanted.rounds} rounds",
            wanted.participants * wanted.rounds,
            simulation(wanted.participants, wanted.rounds),
        )
        prompt = await self._tokens(group)
        done()
        row = await sessions.found(database, group)
        before = meter.spent(self.postgres)
        config = ExtractionConfig.model_validate({"fields": FIELDS, "summary": False})
        await self._played_key(await results.extract(database, self.settings, row, config))
        self._took(f"extraction of {wanted.participants}", wanted.participants, before)
        done()
        before = meter.spent(self.postgres)
        await results.mark(database, row, "bench")
        self._took("checkpoint", 1, before)
        recovered = await results.recover(database, self.settings, row, "bench")
        await self._played_key(recovered)
        equal = await self._hash(group) == await self._hash(recovered)
        done()
        together = await self._together(wanted.at_once)
        done()
        await self._timed(
            f"{wanted.large:,} participants × 1 round", wanted.large, simulation(wanted.large, 1, "survey")
        )
        done()
        return self._report(wanted, prompt, sound=equal and together)

    def _took(self, name: str, units: int, before: meter.Spent) -> None:
        spent = meter.spent(self.postgres).since(before)
        self.phases.append(Phase(name, units, spent.wall, spent.ours, spent.postgres))

    async def _played(self, design: Simulation) -> str:
        kind = design.simulation_config.environment_type
        return await self._played_key(await begin(self.mind.database, self.settings, kind, design))

    async def _played_key(self, key: str) -> str:
        row = await sessions.found(self.mind.database, key)
        await play(self.mind, self.settings, row["id"])
        return key

    async def _timed(self, name: str, units: int, design: Simulation) -> str:
        before = meter.spent(self.postgres)
        key = await self._played(design)
        self._took(name, units, before)
        return key

    async def _together(self, count: int) -> bool:
        """So many sessions at once, each of 12 participants and two rounds; whether all were completed."""
        database = self.mind.database
        before = meter.spent(self.postgres)
        keys = [await begin(database, self.settings, "focus_group", simulation(12, 2, seed=n)) for n in range(count)]
        async with SessionStage(self.mind, self.settings):
            while True:
                rows = [await sessions.found(database, key) for key in keys]
                if all(row["ended_at"] is not None for row in rows):
                    break
                await asyncio.sleep(0.1)
        self._took(f"{count} sessions at once, 12 participants × 2 rounds", count * 24, before)
        return all(row["state"] == "completed" for row in rows)

    async def _hash(self, key: str) -> bytes:
        row = await sessions.found(self.mind.database, key)
        return sessions.state_sha256(await sessions.lines(self.mind.database, row["id"]))

    async def _tokens(self, key: str) -> float | None:
        """Prompt tokens of a participant-round, on average, tools included, as sent."""
        counted = tokens.counter()
        if counted is None:
            return None
        row = await sessions.found(self.mind.database, key)
        said = [line.turn_id for line in await sessions.lines(self.mind.database, row["id"]) if line.turn_id]
        sizes = []
        for turn in said[:: max(1, len(said) // SAMPLE)]:
            requests = await tokens.requests(self.mind.database, turn)
            sizes.append(sum(counted[1](tokens.sent(request)) for request in requests))
        return statistics.fmean(sizes)

    def _report(self, wanted: Wanted, prompt: float | None, *, sound: bool) -> dict[str, Any]:
        generated, group, extraction, checkpoint, _, large = self.phases
        peak = meter.peak_mb()
        verdicts = (
            Verdict(f"{wanted.persons} persons generated", generated.seconds, TARGETS["persons generated"], "s"),
            Verdict(group.name, group.seconds, TARGETS["rounds"], "s"),
            Verdict("CPU a participant-round, with PostgreSQL", group.a_unit, TARGETS["cpu"], "ms"),
            Verdict("prompt of a participant-round", prompt, TARGETS["tokens"], "tokens"),
            Verdict(extraction.name, extraction.seconds, TARGETS["extraction"], "s"),
            Verdict("checkpoint", checkpoint.seconds, TARGETS["checkpoint"], "s"),
            Verdict(large.name, large.seconds, TARGETS["large round"], "s"),
            Verdict("most memory", peak, TARGETS["memory"], "MB"),
        )
        return {
            "phases": [{**msgspec.to_builtins(one), "cpu_ms_a_unit": one.a_unit} for one in self.phases],
            "prompt_tokens": prompt,
            "peak_mb": peak,
            "targets": [verdict.plain() for verdict in verdicts],
            "sound": sound,
        }


def show(found: dict[str, Any]) -> None:
    """The report for people."""
    n = report.number
    rows: list[tuple[object, ...]] = [
        (p["name"], f"{p['units']:,}", n(p["seconds"]), n(p["ours"]), n(p["postgres"]), n(p["cpu_ms_a_unit"]))
        for p in found["phases"]
    ]
    table("", "what", "units", "seconds", "CPU ours, s", "CPU PostgreSQL, s", "CPU-ms a unit", rows=rows, empty="")
    out.print(f"Most memory: {n(found['peak_mb'], 0)} MB. The offline model's own CPU counts in.", markup=False)
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
