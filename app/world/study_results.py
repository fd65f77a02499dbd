"""A first look at a study's results: counts and quartiles by arm, and nothing that could tell who anybody is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import asyncpg

from app.db.engine import Database
from app.db.queries import load

RESULTS = load("study_results")
Stage = Literal["intake", "closing"]


@dataclass(frozen=True)
class Answered:
    """The answers of a stage. `chosen`: times by (question, arm, value as JSON); `spans`: least, quartiles, largest."""

    counts: dict[tuple[str, str], tuple[int, int]]
    chosen: dict[tuple[str, str, str], int]
    spans: dict[tuple[str, str], list[float]]


async def rooms(database: Database, study_id: int) -> list[asyncpg.Record]:
    """By arm: rooms that began, quartiles of their seconds and of messages of the person and of agents."""
    return await database.fetch(RESULTS["rooms"], study_id)


async def ends(database: Database, study_id: int) -> list[asyncpg.Record]:
    """By arm, why rooms ended; those that have not, as they stand."""
    return await database.fetch(RESULTS["ends"], study_id)


async def answers(
    database: Database, study_id: int, stage: Stage, *, choices: Sequence[str], numbers: Sequence[str]
) -> Answered:
    """How the questions of a stage were answered: of `choices` each value, of `numbers` where they lie."""
    counts = await database.fetch(RESULTS["answered"], study_id, stage)
    chosen = await database.fetch(RESULTS["chosen"], study_id, stage, list(choices))
    spans = await database.fetch(RESULTS["spans"], study_id, stage, list(numbers))
    return Answered(
        {(row["question"], row["arm"]): (row["answered"], row["left_out"]) for row in counts},
        {(row["question"], row["arm"], row["value"]): row["times"] for row in chosen},
        {(row["question"], row["arm"]): row["at"] for row in spans},
    )
