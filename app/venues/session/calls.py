"""Sessions as Python calls: what `POST /simulations` and its neighbours do, with the same requests and answers.

Each takes an open mind (`app.venues.run.open_mind`) or database; those of `app.venues.session.offhand` open one.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from app.agent.population.compose import compose
from app.agent.population.sampling import Method, Sample, plan
from app.agent.turn import Mind
from app.auth.admins import record
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.venues.session import results
from app.venues.session.design import Dialogue, ExtractionConfig, Simulation, Terms, checked
from app.venues.session.driver import Told
from app.venues.session.opening import begin, whole_demographics
from app.venues.session.stage import play
from app.world import personas, sessions

NAMES_AT_ONCE = 1_000


def _unheard(_: Any) -> None:
    pass


async def simulate(
    mind: Mind, settings: Settings, request: Mapping[str, Any], *, told: Told = _unheard
) -> dict[str, Any]:
    """Run a focus group, survey or interview to its end, and return the whole answer block.

    Args:
        request: the blocks of `POST /simulations`: `participants` at least, and a `stimulus` or `questions`.
        told: hears new lines of the transcript as they come; it must not wait.

    Returns:
        `operation_id`, `session_id`, `status` (completed, partial or failed; budget_exhausted or paused where it stands
        still), `participants` {total, successful, failed, failures}, `simulation_results`, `extracted_results`,
        `metadata` (`execution_time` in seconds, `quality_score` from 0 to 1).

    Raises:
        Invalid: the request has faults; its `errors` point at each.
    """
    return await _played(mind, settings, await begin_session(mind.database, settings, request), told)


async def dialogue(
    mind: Mind, settings: Settings, request: Mapping[str, Any], *, told: Told = _unheard
) -> dict[str, Any]:
    """Let two or more personas or bare bots talk until they stop, and return the block, with `analytics` by bot.

    Args:
        request: the body of `POST /dialogues`: `bots` and a `seed_message` at least.
        told: as for `simulate`.

    Raises:
        Invalid: the request has faults; its `errors` point at each.
    """
    design: Dialogue = checked(Dialogue, request)
    key = await begin(mind.database, settings, "dialogue", design, name=design.name or design.channel)
    block = await _played(mind, settings, key, told)
    row = await sessions.found(mind.database, key)
    return {**block, "analytics": await results.analytics(mind.database, row)}


async def begin_session(
    database: Database, settings: Settings, request: Mapping[str, Any], *, waits: bool = False
) -> str:
    """Begin a focus group, survey or interview, and return its key; a server's stage, or `play`, goes on with it.

    Args:
        waits: nothing is asked until `go_on`.

    Raises:
        Invalid: the request has faults; its `errors` point at each.
    """
    design: Simulation = checked(Simulation, request)
    kind, name = design.simulation_config.environment_type, design.session_config.session_name
    return await begin(database, settings, kind, design, name=name, waits=waits)


async def go_on(mind: Mind, settings: Settings, key: str, *, told: Told = _unheard) -> dict[str, Any]:
    """Play a session that is under way or stands still to its end, where it stood, and return its block.

    Raises:
        NotFound: there is no such session.
    """
    row = await sessions.found(mind.database, key)
    if row["ended_at"] is None and row["state"] != "running":
        await sessions.go_on(mind.database, row["id"])
    return await _played(mind, settings, key, told)


async def checkpoint(database: Database, key: str, name: str) -> None:
    """Mark where a session stands, to go on from there.

    Raises:
        NotFound: there is no such session.
        Conflict: it has a checkpoint of that name.
    """
    await results.mark(database, await sessions.found(database, key), name)


async def recover(database: Database, settings: Settings, key: str, checkpoint: str) -> str:
    """A new session that goes on from a checkpoint of this one, with the same participants and seed; its key.

    Raises:
        NotFound: there is no such session, or it has no such checkpoint.
    """
    return await results.recover(database, settings, await sessions.found(database, key), checkpoint)


async def end_session(database: Database, key: str) -> dict[str, Any]:
    """End a session for good, if it is not at its end, and return its block; what was said stays.

    Raises:
        NotFound: there is no such session.
    """
    row = await sessions.found(database, key)
    if row["ended_at"] is None:
        await sessions.cancel(database, row["id"])
    return await results.block(database, await sessions.found(database, key))


async def extract(
    mind: Mind, settings: Settings, key: str, config: Mapping[str, Any], *, terms: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Read a session's transcript again for fields, and return the block of that extraction.

    Args:
        config: `fields` at least; `extraction_objective`, `fields_hints`, `per`, `repetitions`, …

    Raises:
        Invalid: `config` or `terms` has faults.
        NotFound: there is no such session.
        Conflict: nobody said anything there.
    """
    wish: ExtractionConfig = checked(ExtractionConfig, config)
    chosen: Terms | None = None if terms is None else checked(Terms, terms)
    row = await sessions.found(mind.database, key)
    made = await results.extract(mind.database, settings, row, wish, terms=chosen)
    return await _played(mind, settings, made, _unheard)


async def generate_population(
    demographics: Mapping[str, Any],
    *,
    size: int,
    seed: int = 0,
    method: Method = "quota",
    into_world: Database | None = None,
    by: int | None = None,
) -> dict[str, Any]:
    """Draw people from demographics and make each a persona, without a model; the same input gives the same people.

    Args:
        size: how many, 1 to 10,000.
        into_world: the world into which they move, all or none, under names that nobody there has.
        by: the admin who does it.

    Returns:
        `table`: for each value {attribute, value, asked, got, mean} in persons; `personas` as files have them; `notes`.

    Raises:
        Invalid: the demographics have faults, or `size` or `method` is none.
    """
    sample = await asyncio.to_thread(plan, whole_demographics(demographics), size, seed, method)
    taken = await _names(into_world) if into_world is not None else []
    people = await asyncio.to_thread(compose, sample, sample.seed, taken=taken)
    if into_world is not None:
        await settle(into_world, people, by=by, seed=seed, method=method)
    return {**table_of(sample), "personas": [plain(one) for one in people]}


def table_of(sample: Sample) -> dict[str, Any]:
    """What was asked for and got, and what else is to be said of a sample."""
    return {"table": [asdict(share) for share in sample.table()], "notes": list(sample.notes)}


def plain(spec: personas.PersonaSpec) -> dict[str, Any]:
    """A persona as JSON has it, without what is as usual."""
    return spec.model_dump(mode="json", exclude_defaults=True)


async def settle(
    world: Database, people: Iterable[personas.PersonaSpec], *, by: int | None = None, **detail: Any
) -> None:
    """Move people into a world, all or none.

    Raises:
        Conflict: a username is taken.
        Invalid: there is nobody.
    """
    moved = list(people)
    if not moved:
        raise Invalid("there is nobody who could move in")
    async with world.connection() as connection, connection.transaction():
        await personas.add(connection, moved)
        await record(connection, by, "population.generated", str(len(moved)), **detail)


async def _names(world: Database) -> list[str]:
    names: list[str] = []
    after = 0
    while rows := await personas.listed(world, after=after, limit=NAMES_AT_ONCE):
        names += [row["username"] for row in rows]
        names += [name for row in rows if (name := msgspec.json.decode(row["profile"]).get("display_name"))]
        after = rows[-1]["id"]
    return names


async def _played(mind: Mind, settings: Settings, key: str, told: Told) -> dict[str, Any]:
    row = await sessions.found(mind.database, key)
    if row["ended_at"] is None:
        await play(mind, settings, row["id"], told=told)
    return await results.block(mind.database, await sessions.found(mind.database, key))
