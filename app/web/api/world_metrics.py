"""Worlds in numbers, for admins: metrics by name, what they come to, and what they are."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.analysis.catalogue import METRICS, Family, chosen
from app.db import worlds as databases
from app.errors import TooMany
from app.web.api.schemas import problems
from app.web.api.worlds import WorldName, home
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import QueryId

router = APIRouter(prefix="/worlds", tags=["worlds"])

MetricName = Annotated[str, Query(min_length=1, max_length=60, pattern="^[a-z][a-z0-9_]*$")]
Names = Annotated[
    list[MetricName] | None, Query(max_length=len(METRICS), description="Metrics by name, each as `names=…`; all.")
]
After = Annotated[QueryId | None, Query(description="Only what runs after this one did counts.")]
_one_at_a_time = asyncio.Semaphore(1)


class MetricOut(BaseModel):
    """A metric. `value` is null where too little is known, and `why` says what is missing."""

    name: str
    family: Family
    unit: str
    version: int
    value: float | None
    why: str | None
    alarm: Literal["notice", "alarm"] | None
    formula: str
    source: str
    limits: str


class WorldMetricsOut(BaseModel):
    """A world in numbers; `counts` is what was measured."""

    world: str
    since: int | None
    counts: dict[str, int]
    metrics: list[MetricOut]

    model_config = {
        "json_schema_extra": {
            "example": {
                "world": "home",
                "since": None,
                "counts": {
                    "personas": 12, "posts": 96, "comments": 40, "likes": 130, "follows": 31, "exposures": 4800,
                    "runs": 8,
                },
                "metrics": [
                    {
                        "name": "density", "family": "network", "unit": "share", "version": 1, "value": 0.2348,
                        "why": None, "alarm": None, "formula": "m / (n (n - 1))",
                        "source": "Wasserman & Faust 1994, §4.3", "limits": "",
                    }
                ],
            }
        }
    }  # fmt: skip


@router.get("/{name}/metrics", operation_id="measure_world", responses=problems(401, 404, 409))
async def measure_world(
    house: TheHouse, _: TheAdmin, name: WorldName, names: Names = None, since: After = None
) -> WorldMetricsOut:
    """A world in numbers: metrics of the catalogue, each with its formula, source and limits."""
    from app.analysis.measuring import measure_at  # numpy takes its time, and most servers are never asked

    metrics = chosen(names)
    if _one_at_a_time.locked():
        raise TooMany("a world is being measured already: ask again once that is done", headers={"Retry-After": "5"})
    async with home(house) as database, _one_at_a_time:
        url = await databases.locate(database.url, name)
        found = await measure_at(url, [one.name for one in metrics], since=since)
    told = [
        MetricOut(
            value=found.values[one.name],
            why=found.why.get(one.name),
            alarm=found.alarms.get(one.name),
            **{
                field: getattr(one, field)
                for field in ("name", "family", "unit", "version", "formula", "source", "limits")
            },
        )
        for one in metrics
    ]
    return WorldMetricsOut(world=name, since=since, counts=found.counts, metrics=told)
