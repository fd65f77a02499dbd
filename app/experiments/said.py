"""What was said in a run: of a chatroom or of a session, line by line."""

from collections.abc import AsyncIterator
from typing import Any

from app.db.engine import Database
from app.errors import Conflict, NotFound
from app.venues.session import results
from app.world import rooms, sessions, worlds
from app.world.experiments import Trial, found, trials

COLUMNS = ("number", "seconds", "speaker", "text", "reply_to", "answers", "likes", "missing")


async def said_in(home: Database, key: str, number: int) -> list[dict[str, Any]]:
    """The lines of one run, in order: `number`, `speaker`, `text`; of a room also `seconds` from its start by its own
    clock, `reply_to` and `answers` (numbers of messages), `likes`; else these are None. `missing` tells why a line came
    to nothing.

    Raises:
        NotFound: there is none of this key, no such run, or its world was deleted.
        Conflict: it is a run of the feed, or has not begun to say anything.
    """
    row = await found(home, key)
    known = await trials(home, row["id"])
    trial = next((one for one in known if one.number == number), None)
    if trial is None:
        raise NotFound(f"the experiment {key} has no run {number}: it has {len(known)}")
    if row["venue"] == "feed":
        raise Conflict(f"run {number} is a world of its own, {trial.world}: look at its posts there")
    if trial.session is None:
        raise Conflict(f"run {number} is {trial.state}: nothing was said in it yet")
    return await _lines(home, row["venue"], trial)


async def all_said(home: Database, key: str) -> AsyncIterator[dict[str, Any]]:
    """The lines of all runs whose worlds are kept, run by run; each tells `run`, `variant` and `replicate` too.

    Raises:
        NotFound: there is none of this key.
    """
    row = await found(home, key)
    for trial in await trials(home, row["id"]):
        if trial.session is None or trial.world is None:
            continue
        for line in await _lines(home, row["venue"], trial):
            yield {"run": trial.number, "variant": trial.variant, "replicate": trial.replicate, **line}


async def _lines(home: Database, venue: str, trial: Trial) -> list[dict[str, Any]]:
    if trial.world is None:
        raise NotFound(f"the world of run {trial.number} was deleted")
    async with worlds.inside(home, trial.world) as database:
        key = trial.session or ""
        if venue == "chatroom":
            told = [
                {**dict(line), "speaker": line["name"], "text": line["body"], "likes": len(line["liked_by"])}
                for line in await rooms.transcript(database, key)
            ]
        else:
            talk = await results.transcript(database, await sessions.found(database, key))
            told = [{**line, "speaker": line["by"] or ""} for line in talk]
    return [{name: line.get(name) for name in COLUMNS} for line in told]
