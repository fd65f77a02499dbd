"""`simfeed bench turns`: what a step costs, from few personas to many and from a young world to an old one."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import place, report
from app.cli.bench.figures import Kind, Measured, age, cheapest, figures, usual, verdicts
from app.cli.bench.plan import CALLS_A_TURN, Done, Over, Plan, Said
from app.cli.common import err
from app.errors import AppError
from app.settings import Settings

FRESH = 12
LARGE = 10_000
"""From so many personas on one cycle is enough, and nothing need be warmed up; in process it would tell nothing new."""

FLOOR_STEPS = 3_000
SLOW_ACTIONS = 10
"""Actions of a turn with a slow model: as many as a turn may have, so that no call is spent on ending it."""


class Failed(AppError):
    """A measuring process ended without a result."""

    status = 500


class Wanted(msgspec.Struct):
    """What the command was asked for."""

    personas: list[int]
    cycles: int
    min_steps: int
    over: list[Over]
    latency_ms: float
    concurrency: int
    growth_cycles: int
    slow_personas: int
    profile: bool
    rounds: int = 1


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Measure everything and return the report."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    machine = report.machine()
    with (
        place.server(settings) as server,
        stub(wanted.latency_ms) as base_url,
        Progress(*columns, console=err, disable=not err.is_terminal) as bar,
    ):
        bench = Bench(server, base_url, bar, wanted)
        rows = bench.all()
    return {
        "machine": {**machine, "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        "configurations": [msgspec.to_builtins(row) for row in rows],
        "floors": [msgspec.to_builtins(row) for row in bench.floors],
        "growth": bench.growth,
        "profiles": bench.profiles,
        "sound": all(row.sound for row in rows) and not bench.unsound,
        "targets": [v.plain() for v in verdicts(rows, bench.growth, wanted.concurrency)],
    }


@contextmanager
def stub(latency_ms: float, actions: int = CALLS_A_TURN - 1) -> Iterator[str]:
    """The stand-in for a model's server; its address."""
    env = place.environment(BENCH_LATENCY_SECONDS=str(latency_ms / 1000), BENCH_ACTIONS=str(actions))
    with place.process("stub", env) as child:
        yield f"http://127.0.0.1:{place.first_line(child, 'the stub of a model server')}/v1"


class Bench:
    """Runs configurations one after the other, each in a process and a database of its own."""

    def __init__(self, server: place.Server, base_url: str, bar: Progress, wanted: Wanted) -> None:
        self.server = server
        self.base_url = base_url
        self.bar = bar
        self.wanted = wanted
        self.lean: Over = "raw" if "raw" in wanted.over else wanted.over[0]
        self.floors: list[Measured] = []
        self.growth: dict[str, Any] | None = None
        self.profiles: list[dict[str, Any]] = []
        self.unsound = 0

    def all(self) -> list[Measured]:
        wanted = self.wanted
        rounds = [
            [self._sized(over, n) for over in wanted.over for n in self._sizes(over)] for _ in range(wanted.rounds)
        ]
        rows = [cheapest(row) for row in zip(*rounds, strict=True)]
        fresh = self._plan(wanted.over[0], FRESH, cycles=1, warm_up=False)
        rows.append(self._run(f"fresh world of {FRESH}", "fresh", fresh))
        if wanted.growth_cycles:
            rows.append(self._grow(min(100, max(wanted.personas)), wanted.growth_cycles))
        if wanted.slow_personas and self.lean != "inprocess":
            rows += self._slow(wanted.slow_personas)
        if wanted.profile:
            over_wire = [over for over in wanted.over if over != "inprocess"]
            self.profiles = [self._profile(over, usual(self._sizes(over))) for over in over_wire or wanted.over]
        return rows

    def _sizes(self, over: Over) -> list[int]:
        sizes = self.wanted.personas
        small = [n for n in sizes if n < LARGE]
        return small if over == "inprocess" and small and len(self.wanted.over) > 1 else sizes

    def _plan(self, over: Over, personas: int, *, cycles: int, min_steps: int = 0, warm_up: bool = True) -> Plan:
        base_url = "" if over == "inprocess" else self.base_url
        concurrency = self.wanted.concurrency
        return Plan("", personas, cycles, min_steps, concurrency, over=over, base_url=base_url, warm_up=warm_up)

    def _usual_plan(self, over: Over, personas: int) -> Plan:
        if personas >= LARGE:
            return self._plan(over, personas, cycles=1, warm_up=False)
        return self._plan(over, personas, cycles=self.wanted.cycles, min_steps=self.wanted.min_steps)

    def _sized(self, over: Over, personas: int) -> Measured:
        plan = self._usual_plan(over, personas)
        with ExitStack() as stack:
            row = self._run(f"{personas:,} personas", "sized", plan, stack)
            if over != "inprocess" and personas == usual(self._sizes(over)) and row.sound:
                bare = self._plan(over, personas, cycles=0, min_steps=min(FLOOR_STEPS, row.steps), warm_up=False)
                bare.sample_url = plan.url
                self._floor(self._run("bare floor", "floor", bare))
        return row

    def _floor(self, found: Measured) -> None:
        earlier = [floor for floor in self.floors if floor.over == found.over]
        self.floors = [floor for floor in self.floors if floor.over != found.over] + [cheapest([*earlier, found])]

    def _grow(self, personas: int, cycles: int) -> Measured:
        name = f"{cycles} cycles of {personas}"
        plan = self._plan(self.lean, personas, cycles=cycles)
        done = self._done(name, plan)
        self.growth = age(plan, done.cycles)
        return figures(name, "growth", plan, done)

    def _slow(self, personas: int) -> list[Measured]:
        """As many calls in flight as a slow model allows, from the first call to the last."""
        flow = f"200 ms model, {self.wanted.concurrency} in flight"
        thousand = f"{personas:,} personas × {SLOW_ACTIONS} actions, 100 ms model"
        configurations: list[tuple[str, Kind, float]] = [(flow, "flow", 200), (thousand, "thousand", 100)]
        rows = []
        for name, kind, latency_ms in configurations:
            plan = self._plan(self.lean, personas, cycles=1, warm_up=False)
            plan.calls_a_turn, plan.counts = SLOW_ACTIONS, False
            with stub(latency_ms, SLOW_ACTIONS) as plan.base_url:
                rows.append(self._run(name, kind, plan))
        return rows

    def _profile(self, over: Over, personas: int) -> dict[str, Any]:
        """Where the CPU goes, in a run of its own, so that sampling is in no other figure."""
        name = f"profile of {personas:,} personas"
        plan = self._usual_plan(over, personas)
        plan.profile, plan.counts = True, False
        done = self._done(name, plan)
        row = figures(name, "sized", plan, done)
        return {
            "over": over,
            "personas": personas,
            "ours_ms": row.ours_ms,
            "postgres_ms": row.postgres_ms,
            **(msgspec.to_builtins(done.profile) if done.profile else {}),
        }

    def _run(self, name: str, kind: Kind, plan: Plan, stack: ExitStack | None = None) -> Measured:
        row = figures(name, kind, plan, self._done(name, plan, stack))
        self.unsound += not row.sound
        return row

    def _done(self, name: str, plan: Plan, stack: ExitStack | None = None) -> Done:
        """Play a plan in a fresh database, which is kept until `stack` closes, if one is given."""
        title = f"{plan.over}, {name}"
        if not err.is_terminal:
            err.print(f"measuring {title}", markup=False)
        with ExitStack() as own:
            child = own.enter_context(place.process("play"))  # gets ready while the database does
            plan.url = (stack or own).enter_context(self.server.database())
            return self._played(title, plan, child)

    def _played(self, title: str, plan: Plan, child: "subprocess.Popen[bytes]") -> Done:
        steps = max(plan.min_steps, plan.cycles * plan.personas * plan.calls_a_turn)
        turns = steps // plan.calls_a_turn + plan.personas * plan.warm_up
        task = self.bar.add_task(title, total=turns)
        for said in lines(child, plan):
            self.bar.update(task, completed=said.turns)
            if said.done is not None:
                self.bar.update(task, completed=turns, total=turns)
                return said.done
        raise Failed(f"{title}: the measuring process ended without a result; the lines above say why")


def lines(child: "subprocess.Popen[bytes]", plan: Plan) -> Iterator[Said]:
    assert child.stdin is not None  # noqa: S101 - pipes were asked for
    assert child.stdout is not None  # noqa: S101
    child.stdin.write(msgspec.json.encode(plan) + b"\n")
    child.stdin.flush()
    for line in child.stdout:
        yield msgspec.json.decode(line, type=Said)
