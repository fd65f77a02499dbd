"""`simfeed bench turns`: what a step costs, from few personas to many and from a young world to an old one."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.cli.bench import place, report
from app.cli.bench.plan import Cycle, Done, Plan, Said
from app.cli.bench.report import Verdict, ratio
from app.cli.common import err, out, table
from app.errors import AppError
from app.settings import Settings

Over = Literal["http", "inprocess"]
FRESH = 12
CALLS_A_TURN = 6
FAULTS = (
    "open_turns", "failed_turns", "turns_whose_steps_differ", "wrong_post_counts", "posts_without_counts",
    "wrong_persona_counts",
)  # fmt: skip


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


class Measured(msgspec.Struct):
    """One configuration's figures. CPU in milliseconds a step; tokens as sent."""

    name: str
    over: str
    personas: int
    cycles: int
    turns: int
    steps: int
    steps_per_second: float
    ours_ms: float
    postgres_ms: float | None
    cpu_ms: float | None
    peak_mb: float
    first_call_tokens: float | None
    tokens_a_call: float | None
    tokens_an_action: float | None
    tokens_counted: str
    requests_counted: int
    requests_rebuilt_exactly: int
    sound: bool
    checks: dict[str, int]


def cpu_ms(cycles: list[Cycle]) -> float | None:
    """CPU a step, of ours and PostgreSQL's together."""
    steps = sum(c.steps for c in cycles)
    spent = [None if c.postgres is None else c.ours + c.postgres for c in cycles]
    if not steps or None in spent:
        return None
    return sum(s for s in spent if s is not None) / steps * 1000


def figures(name: str, over: str, plan: Plan, done: Done) -> Measured:
    cycles = done.cycles
    steps = sum(c.steps for c in cycles) or 1
    postgres = [c.postgres for c in cycles if c.postgres is not None]
    return Measured(
        name,
        over,
        plan.personas,
        len(cycles),
        sum(c.turns for c in cycles),
        sum(c.steps for c in cycles),
        steps / (sum(c.seconds for c in cycles) or 1),
        sum(c.ours for c in cycles) / steps * 1000,
        sum(postgres) / steps * 1000 if len(postgres) == len(cycles) else None,
        cpu_ms(cycles),
        done.peak_mb,
        done.prompts.first_call,
        done.prompts.a_call,
        done.prompts.an_action,
        done.prompts.how,
        done.prompts.calls,
        done.prompts.rebuilt_exactly,
        not any(done.sound.get(fault, 0) for fault in FAULTS),
        done.sound,
    )


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
        "floor": msgspec.to_builtins(bench.floor) if bench.floor else None,
        "growth": bench.growth,
        "sound": all(row.sound for row in rows),
        "targets": [v.plain() for v in verdicts(rows, bench.growth)],
    }


@contextmanager
def stub(latency_ms: float) -> Iterator[str]:
    """The stand-in for a model's server; its address."""
    with place.process("stub", place.environment(BENCH_LATENCY_SECONDS=str(latency_ms / 1000))) as child:
        yield f"http://127.0.0.1:{place.first_line(child, 'the stub of a model server')}/v1"


class Bench:
    """Runs configurations one after the other, each in a process and a database of its own."""

    def __init__(self, server: place.Server, base_url: str, bar: Progress, wanted: Wanted) -> None:
        self.server = server
        self.base_url = base_url
        self.bar = bar
        self.wanted = wanted
        self.floor: Measured | None = None
        self.growth: dict[str, Any] | None = None

    def all(self) -> list[Measured]:
        wanted = self.wanted
        rows = []
        for over in wanted.over:
            rows += [self._sized(over, n, with_floor=n == max(wanted.personas)) for n in sorted(wanted.personas)]
        first = wanted.over[0]
        rows.append(
            self._run(f"fresh world of {FRESH}", first, Plan("", FRESH, 1, 0, wanted.concurrency, warm_up=False))
        )
        if wanted.growth_cycles:
            rows.append(self._grow(first, min(100, max(wanted.personas)), wanted.growth_cycles))
        return rows

    def _sized(self, over: Over, personas: int, *, with_floor: bool) -> Measured:
        wanted = self.wanted
        plan = Plan("", personas, wanted.cycles, wanted.min_steps, wanted.concurrency)
        with ExitStack() as stack:
            row = self._run(f"{personas:,} personas", over, plan, stack)
            if over == "http" and with_floor and row.sound:
                bare = Plan("", personas, 0, row.steps, wanted.concurrency, sample_url=plan.url)
                self.floor = self._run("bare floor", "http", bare)
        return row

    def _grow(self, over: Over, personas: int, cycles: int) -> Measured:
        name = f"{cycles} cycles of {personas}"
        plan = Plan("", personas, cycles, 0, self.wanted.concurrency)
        done = self._done(name, over, plan)
        quarter = max(1, len(done.cycles) // 4)
        first, last = cpu_ms(done.cycles[:quarter]), cpu_ms(done.cycles[-quarter:])
        each = [cpu_ms([c]) for c in done.cycles]
        self.growth = {
            "personas": personas, "cycles": len(done.cycles), "over": over, "first_quarter_cpu_ms": first,
            "last_quarter_cpu_ms": last, "ratio": ratio(last, first), "cpu_ms_by_cycle": each,
        }  # fmt: skip
        return figures(name, over, plan, done)

    def _run(self, name: str, over: Over, plan: Plan, stack: ExitStack | None = None) -> Measured:
        return figures(name, over, plan, self._done(name, over, plan, stack))

    def _done(self, name: str, over: Over, plan: Plan, stack: ExitStack | None = None) -> Done:
        """Play a plan in a fresh database, which is kept until `stack` closes, if one is given."""
        with ExitStack() as own:
            plan.url = (stack or own).enter_context(self.server.database())
            plan.base_url = self.base_url if over == "http" else ""
            return self._play(f"{over}, {name}", plan)

    def _play(self, title: str, plan: Plan) -> Done:
        if not err.is_terminal:
            err.print(f"measuring {title}", markup=False)
        steps = max(plan.min_steps, plan.cycles * plan.personas * CALLS_A_TURN)
        turns = steps // CALLS_A_TURN + plan.personas * plan.warm_up * (not plan.sample_url)
        task = self.bar.add_task(title, total=turns)
        with place.process("play") as child:
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


def verdicts(rows: list[Measured], growth: dict[str, Any] | None) -> list[Verdict]:
    """What the project promises itself, beside what was measured."""
    over = rows[0].over
    sized = sorted((r for r in rows if r.over == over and r.name.endswith("personas")), key=lambda r: r.personas)
    costs = [r.cpu_ms for r in sized if r.cpu_ms is not None]
    fresh = next(r for r in rows if r.name.startswith("fresh"))
    label = "over HTTP" if over == "http" else "in process"
    few, many = sized[0], sized[-1]
    return [
        Verdict(f"CPU a step {label}, with PostgreSQL, at worst", max(costs, default=None), 4, "ms"),
        Verdict(f"CPU a step, {many.personas:,} to {few.personas:,} personas", ratio(many.cpu_ms, few.cpu_ms), 1.3),
        Verdict("CPU a step, last to first quarter of a world's life", growth["ratio"] if growth else None, 1.3),
        Verdict("peak memory, at worst", max(r.peak_mb for r in rows), 250, "MB"),
        Verdict(f"prompt of the first call, fresh world of {FRESH}", fresh.first_call_tokens, 900, "tokens"),
        Verdict(f"prompt of a call on average, {many.personas:,} personas", many.tokens_a_call, 1_800, "tokens"),
    ]


def show(found: dict[str, Any]) -> None:
    n = report.number
    every = [*found["configurations"], *([found["floor"]] if found["floor"] else [])]
    costs: list[tuple[object, ...]] = [
        (
            f"{r['over']}: {r['name']}", f"{r['turns']:,}", f"{r['steps']:,}", n(r["steps_per_second"], 0),
            n(r["ours_ms"]), n(r["postgres_ms"]), n(r["cpu_ms"]), n(r["peak_mb"], 0),
        )
        for r in every
    ]  # fmt: skip
    prompts: list[tuple[object, ...]] = [
        (
            f"{r['over']}: {r['name']}",
            n(r["first_call_tokens"], 0),
            n(r["tokens_a_call"], 0),
            n(r["tokens_an_action"], 0),
        )
        for r in found["configurations"]
    ]
    table(
        "A step is one model call with its actions, committed. CPU-ms a step", "what", "turns", "steps", "steps/s",
        "ours", "database", "both", "MB", rows=costs, empty="",
    )  # fmt: skip
    first = found["configurations"][0]
    exact = f"{first['requests_rebuilt_exactly']} of {first['requests_counted']} rebuilt to the byte"
    table(
        f"Prompt tokens ({first['tokens_counted']}; {exact})",
        "what",
        "first call",
        "a call",
        "an action",
        rows=prompts,
        empty="",
    )
    _show_floor(found)
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in found["targets"]])
    out.print(
        "Every turn came to its end and every counter equals its recount."
        if found["sound"]
        else "NOT SOUND: turns are open or failed, or counters differ from a recount; --json says which.",
        markup=False,
    )


def _show_floor(found: dict[str, Any]) -> None:
    floor = found["floor"]
    if not floor:
        return
    most = max((r for r in found["configurations"] if r["over"] == "http"), key=lambda r: r["personas"])
    times = ratio(most["cpu_ms"], floor["cpu_ms"])
    sentence = "a bare aiohttp client and one asyncpg insert a step, the same requests, the same stub"
    out.print(f"Floor: {sentence}; ours takes {report.number(times)} times its CPU.", markup=False)
