"""What admins do with experiments, over the API and on pages: each deed is put into the audit log."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.auth.admins import record
from app.db.engine import TROUBLE, Database, patiently
from app.errors import Conflict, Misconfigured
from app.experiments import freezing, keeping, planning, references
from app.experiments.design import Experiment, checked
from app.experiments.runner import begin
from app.experiments.runner import stop as stop_running
from app.web.deps import House
from app.world.experiments import EXPERIMENTS, change, found


@asynccontextmanager
async def at_home(house: House) -> AsyncIterator[Database]:
    """The home world, in which experiments and datasets are kept.

    Raises:
        Conflict: this server serves another world, or what only an operator can mend is in the way.
    """
    if house.world:
        raise Conflict(f"this server is in the world {house.world}; experiments are kept by the home world's server")
    try:
        yield house.database
    except Misconfigured as error:
        raise Conflict(error.detail) from error


async def noted(home: Database, by: int, deed: str, key: str, **detail: Any) -> None:
    """Put a deed into the audit log, even where a copy of the home world has just cut its connections."""

    async def work() -> None:
        async with home.connection() as connection:
            await record(connection, by, deed, key, **detail)

    await patiently(work, TROUBLE, tries=5, wait=0.2)


def whole(design: Experiment) -> Experiment:
    """A design that was read, its variants and rules checked too.

    Raises:
        Invalid: tells each fault with its place.
    """
    return checked(design.model_dump(mode="json", by_alias=True, exclude_unset=True))


async def plan(house: House, by: int, design: Experiment, *, run: bool = False) -> str:
    """Plan an experiment, and let it run; its key.

    Raises:
        NotFound: there is no such world.
        Invalid: it can't be run as it is; each fault with its place.
        Conflict: experiments are kept elsewhere, or a model can't be used.
    """
    async with at_home(house) as home:
        estimate = await planning.check(home, house.settings, design)
        async with home.connection() as connection, connection.transaction():
            key = await planning.plan(connection, design, estimate, by=by)
            await record(connection, by, "experiment.planned", key, name=design.name)
        if run:
            await begin(home, key)
            await noted(home, by, "experiment.run", key)
    return key


async def run(house: House, by: int, key: str) -> None:
    """Let an experiment run.

    Raises:
        NotFound, Conflict: there is none of this key; nothing of it is left to be run.
    """
    async with at_home(house) as home:
        await begin(home, key)
        await noted(home, by, "experiment.run", key)


async def stop(house: House, by: int, key: str) -> None:
    """Begin no further cycle of it.

    Raises:
        NotFound, Conflict: there is none of this key; it does not run.
    """
    async with at_home(house) as home:
        await stop_running(home, key)
        await change(home, (await found(home, key))["id"], "stopped by hand", by=by)
        await noted(home, by, "experiment.stopped", key)


async def resume(
    house: House, by: int, key: str, *, tokens: int | None = None, usd: float | None = None, failed: bool = False
) -> None:
    """Go on, with other caps where they are given, and with runs that failed once more.

    Raises:
        NotFound, Conflict: as `run`.
    """
    async with at_home(house) as home:
        await found(home, key)
        await planning.raise_budget(home, key, tokens=tokens, usd=usd, by=by)
        await begin(home, key, failed=failed)
        await noted(home, by, "experiment.resumed", key, tokens=tokens, usd=usd, failed=failed)


async def freeze(house: House, by: int, key: str, *, late: bool = False) -> None:
    """Promise the design as it is; `late`: even though runs have begun.

    Raises:
        NotFound, Conflict: there is none of this key; it is frozen already, or runs have begun.
    """
    async with at_home(house) as home:
        await freezing.freeze(home, house.settings, key, by=by, late=late)
        await noted(home, by, "experiment.frozen", key)


async def amend(house: House, by: int, key: str, over: Mapping[str, Any], note: str) -> None:
    """Change its design, and say why.

    Raises:
        NotFound, Conflict, Invalid: there is none of this key; too late; the new design can't be.
    """
    async with at_home(house) as home:
        await freezing.amend(home, house.settings, key, over, note=note, by=by)
        await noted(home, by, "experiment.amended", key, note=note)


async def exclude(house: House, by: int, key: str, number: int, reason: str | None) -> None:
    """Leave a run out of comparisons, or take it in again.

    Raises:
        NotFound: there is no such run.
    """
    async with at_home(house) as home:
        await freezing.exclude(home, key, number, reason, by=by)
        await noted(home, by, "experiment.excluded", key, run=number, reason=reason)


async def attach(
    house: House, by: int, key: str, *, outcome: str, name: str, values: Any, held_out: bool = False, note: str = ""
) -> None:
    """Attach what people did.

    Raises:
        NotFound, Invalid: there is none of this key; it has no such outcome, or values are none.
    """
    async with at_home(house) as home:
        await references.attach(home, key, outcome, name, values, held_out=held_out, note=note, by=by)
        await noted(home, by, "experiment.reference_attached", key, outcome=outcome, name=name)


async def detach(house: House, by: int, key: str, *, outcome: str, name: str) -> None:
    """Take people's values away.

    Raises:
        NotFound: there are none.
    """
    async with at_home(house) as home:
        await references.detach(home, key, outcome, name)
        await noted(home, by, "experiment.reference_detached", key, outcome=outcome, name=name)


async def remove(house: House, by: int, key: str, *, worlds: bool = False, worlds_only: bool = False) -> int:
    """Delete an experiment; how many worlds went with it.

    Raises:
        NotFound, Conflict: there is none of this key; it runs, or keeps worlds that are not to be deleted.
    """
    async with at_home(house) as home:
        row = await found(home, key)
        kept = len(await home.fetch(EXPERIMENTS["worlds"], row["id"])) + (row["start_world"] is not None)
        if kept and not worlds and not worlds_only:
            raise Conflict(f"the experiment {key} keeps {kept} worlds: worlds=true deletes them with it")
        dropped = await keeping.drop(home, key, worlds_only=worlds_only)
        await noted(home, by, "experiment.worlds_dropped" if worlds_only else "experiment.deleted", key, worlds=dropped)
    return dropped
