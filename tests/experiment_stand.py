"""Experiments for tests: a home world with people, small designs, runs to their end; and a worker that may be killed.

`python -m tests.experiment_stand URL KEY ASKED SECONDS`: drives an experiment; every request is written to the file
ASKED before it is answered, as a provider would have it on its bill. It gives up after so many seconds.
"""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from app.agent.turn import Limits, Mind
from app.db.engine import TROUBLE, Database, patiently
from app.experiments.design import checked
from app.experiments.planning import check, plan
from app.experiments.runner import Runner, begin
from app.ledger.commit import Committer
from app.settings import Settings, load_settings
from app.world import experiments, personas
from app.world.experiments import Trial
from app.world.personas import PersonaSpec
from tests.conftest import a_mind, run_sql, with_database
from tests.session_worker import Billed

PEOPLE = [
    PersonaSpec.model_validate(
        {
            "username": f"p{n}",
            "description": f"Loves {('trains', 'tea', 'chess')[n % 3]}, hates cars.",
            "leaning": ("left", "right")[n % 2],
        }
    )
    for n in range(6)
]
SMALL: dict[str, Any] = {
    "name": "latest against interest",
    "setting": {"cycles": 2},
    "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest"}},
    "runs": 2,
    "seed": 7,
    "outcomes": {"primary": ["attention_gini"], "exploratory": ["density", "calls"]},
}


@asynccontextmanager
async def a_home(url: str, people: Sequence[PersonaSpec] = PEOPLE) -> AsyncIterator[Database]:
    """A home world with people, whose other worlds are gone at the end."""
    found = await Database.open(url, size=6)
    async with found.connection() as connection:
        await personas.add(connection, people)
    try:
        yield found
    finally:
        left = partial(found.fetch, "SELECT database FROM worlds WHERE state <> 'dropped'")
        for row in await patiently(left, TROUBLE, tries=4, wait=0.1):  # a copy of the home world ends its connections
            await run_sql(with_database(url, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')
        await found.close()


def settings_at(url: str) -> Settings:
    return load_settings(database_url=url)


async def planned(home: Database, design: Any = SMALL, **more: Any) -> str:
    """An experiment of this design that nobody has begun; its key. `more` replaces parts."""
    made = checked({**design, **more})
    told = await check(home, settings_at(home.url), made)
    async with home.connection() as connection, connection.transaction():
        return await plan(connection, made, told)


async def ran(home: Database, key: str, model: Any = None, **how: Any) -> str:
    """Run it, or go on with it; its state."""
    await begin(home, key, failed=how.pop("failed", False))
    async with a_mind(home, model) as mind, asyncio.timeout(240):
        return await Runner(mind, settings_at(home.url), key, **how).run()


async def trials_of(home: Database, key: str) -> list[Trial]:
    return await experiments.trials(home, (await experiments.found(home, key))["id"])


def plain(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """What came of runs, without what wall clocks and keys decide."""
    return [(t.variant, t.replicate, t.seed, t.state, dict(t.outcomes), t.world_sha256, t.calls) for t in trials]


async def killed_again_and_again(home: Database, key: str, bill: Path) -> int:
    """Drive an experiment by processes of which all but the last are killed; how many were."""
    kills = 0
    for seconds in (1.5, 2.5, 3.0, 120.0):
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.experiment_stand", home.url, key, str(bill), "100"
        )
        try:
            async with asyncio.timeout(seconds + random.random()):
                await worker.wait()
        except TimeoutError:
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
            kills += 1
    return kills


async def main(url: str, key: str, asked: str, seconds: float) -> None:
    home = await Database.open(url, size=6)
    async with Committer(home, lease_seconds=1.0) as committer, asyncio.timeout(seconds):
        mind = Mind(home, committer, Billed(asked), Limits())
        await Runner(mind, settings_at(url), key, lease_seconds=2.0).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
