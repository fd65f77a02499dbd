"""One run, as admins see it: how it stands, and what monitors found in it."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.analysis import realism
from app.analysis.alarms import Level
from app.errors import NotFound
from app.venues.run import TURNS
from app.web.api.schemas import problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import PathId

router = APIRouter(prefix="/runs", tags=["scheduler"])


class ValueOut(BaseModel):
    """A monitor's value, and of how many it is known; null where that was too little."""

    model_config = ConfigDict(from_attributes=True)
    value: float | None
    n: float


class DriftOut(BaseModel):
    """By how much agreement changes from run to run, with its 99 % interval."""

    model_config = ConfigDict(from_attributes=True)
    per_run: float
    low: float
    high: float
    runs: int
    words: int


class WorstOut(BaseModel):
    """A persona that broke a rule in so many of so many texts."""

    model_config = ConfigDict(from_attributes=True)
    persona_id: int
    rule: str
    broken: int
    of: int


class AlarmOut(BaseModel):
    """A monitor beyond a limit; `text` says what to do."""

    model_config = ConfigDict(from_attributes=True)
    monitor: str
    level: Level
    value: float
    limit: float
    text: str


class RealismOut(BaseModel):
    """What monitors found: `turns` of `total` were looked at; formulas are in docs/monitors.md."""

    model_config = ConfigDict(from_attributes=True)
    version: int
    turns: int
    total: int
    values: dict[str, ValueOut]
    actions: dict[str, int]
    reference: dict[str, float]
    reference_is: str
    errors: dict[str, int]
    drift: DriftOut | None
    worst: list[WorstOut]
    alarms: list[AlarmOut]


class RunOut(BaseModel):
    """A run. `realism` is null until its monitors have looked: at the end of a cycle of the feed."""

    id: int
    venue: str
    state: str
    reason: str | None
    pacing: str
    turns_total: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    world_at: datetime | None
    realism: RealismOut | None


@router.get("/{run_id}", operation_id="get_run", responses=problems(401, 404))
async def get_run(house: TheHouse, _: TheAdmin, run_id: PathId) -> RunOut:
    """One run, and what monitors found in it."""
    run = await house.database.fetchrow(TURNS["run"], run_id)
    if run is None:
        raise NotFound(f"no run has the number {run_id}")
    found = await realism.of_run(house.database, run_id)
    told = None if found is None else RealismOut.model_validate(found)
    given: dict[str, Any] = {name: run[name] for name in RunOut.model_fields if name != "realism"}
    return RunOut(**given, realism=told)
