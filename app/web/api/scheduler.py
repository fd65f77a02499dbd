"""When the personas wake."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.auth.admins import record
from app.ledger import pulse
from app.ledger.pulse import PULSE
from app.scheduler import stored_interval
from app.web.api.schemas import HaltOut, IntervalOut, RefusedOut, problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body

router = APIRouter(prefix="/scheduler", tags=["scheduler"])


class Interval(Body):
    """Minutes between cycles: from 3 seconds (0.05) to a week (10,080)."""

    interval: Annotated[float, Field(strict=True, ge=0.05, le=10_080, allow_inf_nan=False, examples=[30])]


class Halt(Body):
    """Whether the kill switch is on."""

    halted: Annotated[bool, Field(strict=True, examples=[True])]


@router.get("/halt", operation_id="read_halt", responses=problems(401))
async def read_halt(house: TheHouse, _: TheAdmin) -> HaltOut:
    """Whether everything is halted, and which providers are not asked and why."""
    rows = await house.database.fetch(PULSE["providers"])
    refused = [RefusedOut(provider=r["name"], status=r["blocked"], detail=r["detail"]) for r in rows if r["blocked"]]
    return HaltOut(halted=bool(await house.database.fetchval(PULSE["halted"])), refused_by=refused)


@router.put("/halt", operation_id="set_halt", status_code=204, responses=problems(401, body=True))
async def set_halt(house: TheHouse, admin: TheAdmin, given: Halt) -> None:
    """The kill switch: no model is asked anything any more, by any process, within two seconds; or again."""
    await pulse.halt(house.database, given.halted)
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, "scheduler.halt", "on" if given.halted else "off")


@router.get("/interval", operation_id="read_interval", responses=problems(401))
async def read_interval(house: TheHouse, _: TheAdmin) -> IntervalOut:
    """The interval, and when the next cycle begins."""
    minutes = await stored_interval(house.mind, house.settings)
    return IntervalOut(interval=minutes, next_tick=house.scheduler.next_tick, skipped=house.scheduler.skipped)


@router.put("/interval", operation_id="set_interval", status_code=204, responses=problems(401, body=True))
async def set_interval(house: TheHouse, admin: TheAdmin, given: Interval) -> None:
    """Set the interval: effective at once, and kept over a restart."""
    await house.scheduler.set_interval(given.interval)
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, "scheduler.interval", f"{given.interval:g}")
