"""From what the playing processes told to the figures of `bench turns`, and what the project promises of them."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.cli.bench.plan import Cycle, Done, Over, Plan
from app.cli.bench.report import Verdict, ratio

Kind = Literal["sized", "fresh", "growth", "flow", "thousand", "floor"]
FAULTS = (
    "open_turns", "failed_turns", "turns_whose_steps_differ", "wrong_post_counts", "posts_without_counts",
    "wrong_persona_counts",
)  # fmt: skip
USUAL = 1_000
"""Personas of the world whose cost is the project's promise."""

COST: dict[str, float] = {"http": 1.5, "raw": 0.6}
"""The most CPU-milliseconds a step of that world may take."""

FLAT = 1.1
MEMORY_MB = 300
FLOW = 500 / 128
"""Actions a second for each call in flight with a 200 ms model, which allows 5."""

THOUSAND_SECONDS = 60.0
"""For 1,000 personas with 10 actions each and a 100 ms model."""

LABELS: dict[str, str] = {
    "http": "through the vendor's client",
    "raw": "through the raw transport",
    "inprocess": "in process",
}


class Measured(msgspec.Struct):
    """One configuration's figures. CPU in milliseconds a step; tokens as sent; actions are those made or read."""

    name: str
    kind: Kind
    over: Over
    personas: int
    cycles: int
    turns: int
    steps: int
    actions: int
    seconds: float
    steps_per_second: float
    actions_per_second: float | None
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


def figures(name: str, kind: Kind, plan: Plan, done: Done) -> Measured:
    """A configuration's figures; actions a second only where all that the ledger holds was measured."""
    cycles = done.cycles
    steps = sum(c.steps for c in cycles) or 1
    seconds = sum(c.seconds for c in cycles)
    postgres = [c.postgres for c in cycles if c.postgres is not None]
    actions = done.sound.get("actions_made", 0) + done.sound.get("actions_read", 0)
    return Measured(
        name,
        kind,
        plan.over,
        plan.personas,
        len(cycles),
        sum(c.turns for c in cycles),
        sum(c.steps for c in cycles),
        actions,
        seconds,
        steps / (seconds or 1),
        None if plan.warm_up else actions / (seconds or 1),
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


def cheapest(rounds: Sequence[Measured]) -> Measured:
    """The round that others on the machine disturbed least: they only ever add to it."""
    return min(rounds, key=lambda row: row.ours_ms + (row.postgres_ms or 0))


def usual(sizes: Sequence[int]) -> int:
    """Of these numbers of personas the one that stands for all: 1,000, or what comes next to it."""
    return max((n for n in sizes if n <= USUAL), default=min(sizes))


def age(plan: Plan, cycles: list[Cycle]) -> dict[str, Any]:
    """How the last quarter of a world's life compares with its first."""
    quarter = max(1, len(cycles) // 4)
    first, last = cpu_ms(cycles[:quarter]), cpu_ms(cycles[-quarter:])
    return {
        "personas": plan.personas, "cycles": len(cycles), "over": plan.over, "first_quarter_cpu_ms": first,
        "last_quarter_cpu_ms": last, "ratio": ratio(last, first), "cpu_ms_by_cycle": [cpu_ms([c]) for c in cycles],
    }  # fmt: skip


def verdicts(rows: list[Measured], growth: dict[str, Any] | None, concurrency: int) -> list[Verdict]:
    """What the project promises itself, beside what was measured."""
    ways = dict.fromkeys(r.over for r in rows if r.kind == "sized")
    sized = {over: [r for r in rows if r.kind == "sized" and r.over == over] for over in ways}
    first = sized[next(iter(ways))]
    typical = next(r for r in first if r.personas == usual([r.personas for r in first]))
    fresh = next(r for r in rows if r.kind == "fresh")
    flow, thousand = (next((r for r in rows if r.kind == kind), None) for kind in ("flow", "thousand"))
    seconds = THOUSAND_SECONDS * thousand.personas / USUAL if thousand else THOUSAND_SECONDS
    return [
        *[verdict for over in ways if over in COST for verdict in _of_sizes(over, sized[over])],
        Verdict("CPU a step, last to first quarter of a world's life", growth["ratio"] if growth else None, FLAT),
        Verdict(
            f"actions a second, {flow.name}" if flow else "actions a second",
            flow.actions_per_second if flow else None,
            least=FLOW * concurrency,
        ),
        Verdict(thousand.name if thousand else "1,000 personas", thousand.seconds if thousand else None, seconds, "s"),
        Verdict("peak memory, at worst", max(r.peak_mb for r in rows), MEMORY_MB, "MB"),
        Verdict(f"prompt of the first call, {fresh.name}", fresh.first_call_tokens, 900, "tokens"),
        Verdict(f"prompt of a call on average, {typical.name}", typical.tokens_a_call, 1_800, "tokens"),
    ]


def _of_sizes(over: Over, rows: list[Measured]) -> list[Verdict]:
    label = f"CPU a step {LABELS[over]}"
    at = usual([r.personas for r in rows])
    cost = next(r.cpu_ms for r in rows if r.personas == at)
    found = [Verdict(f"{label}, with PostgreSQL, {at:,} personas", cost, COST[over], "ms")]
    few, many = rows[0], rows[-1]
    if few is not many:
        cheapest = min((r.cpu_ms for r in rows if r.cpu_ms is not None), default=None)
        to_few, to_cheapest = ratio(many.cpu_ms, few.cpu_ms), ratio(many.cpu_ms, cheapest)
        found += [
            Verdict(f"{label}, {many.personas:,} to {few.personas:,} personas", to_few, FLAT),
            Verdict(f"{label}, {many.personas:,} personas to the cheapest size", to_cheapest, FLAT),
        ]
    return found
