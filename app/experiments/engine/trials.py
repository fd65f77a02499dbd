"""The engine's experiments, played by this program's own runner, and their runs' results in the engine's format."""

from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from app.agent.turn import Mind
from app.db.engine import Database
from app.experiments import planning, runner
from app.experiments.design import Experiment
from app.experiments.engine.result import EMPTY, result_of
from app.experiments.engine.variants import summed_up
from app.settings import Settings
from app.world import experiments, sessions, worlds
from app.world.experiments import Trial


async def planned(database: Database, settings: Settings, design: Experiment) -> str:
    """Keep an experiment with all its runs; its key. Nothing is begun.

    Raises:
        Invalid, NotFound, Misconfigured: it can't be run as it is.
    """
    told = await planning.check(database, settings, design)
    async with database.connection() as connection, connection.transaction():
        return await planning.plan(connection, design, told)


async def played(mind: Mind, settings: Settings, key: str, *, told: Callable[[], None] = lambda: None) -> str:
    """Run an experiment, or go on with it, to its end; its state.

    Raises:
        NotFound: there is none of this key.
        Conflict: nothing of it is left to be run.
    """
    await runner.begin(mind.database, key)
    return await runner.Runner(mind, settings, key, told=told).run()


async def results_of(database: Database, key: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment came to.

    Returns:
        `success` (it is completed, and so is every run), `experiment` {key, state, reason}, `variants` by name {runs,
        succeeded, metrics: means}, `results`: by variant, each run in the engine's format.

    Raises:
        NotFound: there is none of this key.
    """
    row = await experiments.found(database, key)
    results: dict[str, list[dict[str, Any]]] = {}
    for trial in await experiments.trials(database, row["id"]):
        results.setdefault(trial.variant, []).append(await _result(database, row, trial, config))
    told = {"key": key, "state": row["state"], "reason": row["reason"]}
    every = [one["success"] for runs in results.values() for one in runs]
    success = row["state"] in ("completed", "partial") and all(every)
    return {"success": success, "experiment": told, "variants": summed_up(results), "results": results}


async def _result(database: Database, row: asyncpg.Record, trial: Trial, config: Mapping[str, Any]) -> dict[str, Any]:
    where = {"variant": trial.variant, "replicate": trial.replicate + 1, "world": trial.world}
    if trial.world is None or trial.session is None:
        told = {"key": None, "run": None, "status": trial.state, "reason": trial.reason, "seed": trial.seed}
        return {**EMPTY, "config": dict(config), "session": {**told, "cost_usd": None, "lost": [], **where}}
    async with worlds.inside(database, trial.world) as inside:
        found = await result_of(inside, await sessions.found(inside, trial.session), config)
    found["session"] |= where
    return found
