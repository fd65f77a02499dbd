"""What is left of experiments: their worlds, which take space, and the rows."""

from contextlib import suppress

from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.world import worlds
from app.world.experiments import EXPERIMENTS, found


async def drop(home: Database, key: str, *, worlds_only: bool = False) -> int:
    """Delete an experiment and its worlds, or its worlds alone; how many worlds that were.

    Raises:
        NotFound: there is none of this key.
        Conflict: it runs.
    """
    row = await found(home, key)
    if row["state"] == "running":
        raise Conflict(f"the experiment {key} runs: stop it first")
    dropped = 0
    for kept in await home.fetch(EXPERIMENTS["worlds"], row["id"]):
        with suppress(NotFound):
            await worlds.drop(home, kept["world"])
            dropped += 1
        await home.fetchval(EXPERIMENTS["without_world"], row["id"], kept["number"])
    if not worlds_only:
        if row["start_world"] is not None:
            with suppress(NotFound):
                await worlds.drop(home, row["start_world"])
                dropped += 1
        await home.fetchval(EXPERIMENTS["drop"], row["id"])
    return dropped
