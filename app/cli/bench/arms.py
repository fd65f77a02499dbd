"""`simfeed bench experiment`: what it takes to compare two variants, forks, metrics and hashes included."""

import asyncio
from typing import Any

import msgspec

from app.cli.bench import meter, place, report
from app.cli.bench.play import move_in
from app.cli.bench.report import Verdict
from app.cli.common import go, opened, table
from app.cli.experiment_show import following
from app.experiments import keeping
from app.experiments.design import checked
from app.experiments.planning import check, plan
from app.experiments.runner import Runner, begin
from app.settings import Settings, load_settings
from app.venues.run import open_mind
from app.world.experiments import found, trials

SECONDS = 120.0
NORM = {"runs": 10, "personas": 20, "cycles": 10}


class Wanted(msgspec.Struct):
    """What the command was asked for: two variants with so many `runs` each, `parallel` at once."""

    runs: int
    personas: int
    cycles: int
    parallel: int


def measure(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    """Run the experiment in a fresh world, and return the report."""
    with place.server(settings) as server, server.database() as url:
        done = go(_run(url, wanted))
    name = f"2 variants × {wanted.runs} runs × {wanted.personas} personas × {wanted.cycles} cycles"
    norm = {key: getattr(wanted, key) for key in NORM} == NORM
    return {
        "machine": {**report.machine(), "server": server.label},
        "asked": msgspec.to_builtins(wanted),
        **done,
        "targets": [Verdict(name, done["seconds"], SECONDS if norm else None, "s").plain()],
    }


async def _run(url: str, wanted: Wanted) -> dict[str, Any]:
    settings = load_settings(database_url=url, simfeed_model="scripted")
    design = checked(
        {
            "setting": {"cycles": wanted.cycles},
            "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest"}},
            "runs": wanted.runs,
            "seed": 7,
            "parallel": wanted.parallel,
            "outcomes": {"primary": ["attention_gini"], "exploratory": ["density", "lexical_diversity"]},
        }
    )
    async with opened(settings) as home, open_mind(settings, home, works=True) as mind:
        await move_in(home, wanted.personas)
        async with home.connection() as connection:
            postgres = await meter.postmaster(connection)
        told = await check(home, settings, design)
        async with home.connection() as connection:
            key = await plan(connection, design, told)
        await begin(home, key)
        row = await found(home, key)
        before = meter.spent(postgres)
        driving = asyncio.create_task(Runner(mind, settings, key).run())
        await following(home, key, driving)
        spent = meter.spent(postgres).since(before)
        calls = sum(one.calls for one in await trials(home, row["id"]))
        await keeping.drop(home, key)
    return {
        "state": driving.result(),
        "calls": calls,
        "seconds": spent.wall,
        "ours": spent.ours,
        "postgres": spent.postgres,
    }


def show(done: dict[str, Any]) -> None:
    """The report for people."""
    n = report.number
    rows: list[tuple[object, ...]] = [
        (done["state"], f"{done['calls']:,}", n(done["seconds"]), n(done["ours"]), n(done["postgres"]))
    ]
    table("", "state", "calls", "seconds", "CPU ours, s", "CPU PostgreSQL, s", rows=rows, empty="")
    report.show_verdicts([Verdict(**{k: v for k, v in t.items() if k != "reached"}) for t in done["targets"]])
