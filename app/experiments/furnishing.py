"""What a world of the feed begins with in a run: when, and whom a variant has in it."""

from datetime import UTC, datetime, timedelta
from functools import partial

from app.db.engine import Database
from app.errors import NotFound
from app.experiments.design import FeedSetting
from app.world import interventions, personas, versions
from app.world.clock import stands_at
from app.world.experiments import EXPERIMENTS
from app.world.personas import PersonaChange, PersonaSpec, spec_of

MONDAY = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""When a world begins in which nothing was ever said."""


async def begins(database: Database, setting: FeedSetting) -> datetime:
    """When the first cycle begins in the world: as the setting says, where its clock stands, or after what is there."""
    if setting.start is not None:
        return setting.start
    if (stands := await stands_at(database)) is not None:
        return stands
    newest = await database.fetchval(EXPERIMENTS["newest_post"])
    if not isinstance(newest, datetime):
        return MONDAY
    return newest.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


async def furnish(database: Database, setting: FeedSetting, at: datetime) -> None:
    """Make a fork what a variant begins with: its cast, its prompt, what is planned in it. All or nothing."""
    cast = setting.cast
    async with database.connection() as connection, connection.transaction():
        if cast.add:
            await personas.add(connection, cast.add)
        rows = await connection.fetch(personas.PEOPLE["personas"], 0, 1_000_000)
        known = {row["username"].lower(): row for row in rows}
        for name in (*(cast.only or ()), *cast.without, *cast.change):
            if name.lower() not in known:
                raise NotFound(f"cast: no persona has the username {name}")
        only = (
            None if cast.only is None else {name.lower() for name in (*cast.only, *(one.username for one in cast.add))}
        )
        away = {name.lower() for name in cast.without} | (set(known) - only if only is not None else set())
        changes = {name.lower(): change for name, change in cast.change.items()}
        for name, row in known.items():
            spec = _as_cast(spec_of(row), cast.everybody, changes.get(name), setting.prompt, paused=name in away)
            if spec != spec_of(row):
                await versions.replace(connection, row["id"], partial(_instead, spec), by=None)
        if setting.interventions:
            await interventions.plan(connection, setting.planned(), now=at, relative=True)


def _instead(spec: PersonaSpec, _: PersonaSpec) -> PersonaSpec:
    return spec


def _as_cast(
    spec: PersonaSpec, everybody: PersonaChange | None, own: PersonaChange | None, prompt: str, *, paused: bool
) -> PersonaSpec:
    for change in (everybody, own):
        if change is not None:
            spec = personas.changed(spec, change)
    more = {"description": f"{spec.description}\n\n{prompt}"} if prompt else {}
    if paused:
        more["status"] = "paused"
    return PersonaSpec.model_validate({**spec.model_dump(), **more}) if more else spec
