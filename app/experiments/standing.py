"""How an experiment stands: its runs by variant and replicate, and what they have taken so far."""

from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from app.db.engine import Database
from app.world.experiments import EXPERIMENTS, Trial, found, trials
from app.world.sessions import decoded


@dataclass(frozen=True)
class Progress:
    """Runs by state; `tokens` and `usd` of all of them, `cycles` that are over. `done` ones count, partial or not."""

    trials: int
    queued: int
    running: int
    done: int
    partial: int
    failed: int
    starved: int
    cycles: int
    tokens: int
    usd: float


@dataclass(frozen=True)
class Standing:
    """An experiment's row, its design as data, and its runs in order."""

    row: asyncpg.Record
    design: dict[str, Any]
    estimate: dict[str, Any] | None
    progress: Progress
    trials: list[Trial]

    @property
    def cells(self) -> dict[str, list[Trial]]:
        """The runs of each variant, by replicate."""
        by: dict[str, list[Trial]] = {name: [] for name in self.design["variants"]}
        for trial in sorted(self.trials, key=lambda one: one.replicate):
            by.setdefault(trial.variant, []).append(trial)
        return by


async def standing(home: Database, key: str) -> Standing:
    """How an experiment stands.

    Raises:
        NotFound: there is none of this key.
    """
    row = await found(home, key)
    counted = await home.fetchrow(EXPERIMENTS["progress"], row["id"])
    assert counted is not None  # noqa: S101 - an aggregate always gives its row
    return Standing(
        row, decoded(row["design"]), decoded(row["estimate"]), Progress(**counted), await trials(home, row["id"])
    )


def told(one: Standing) -> dict[str, Any]:
    """The same as JSON has it; times are datetimes."""
    row = one.row
    plain = (
        "key",
        "name",
        "venue",
        "state",
        "reason",
        "seed",
        "start_world",
        "budget_tokens",
        "budget_usd",
        "parallel",
    )
    times = ("created_at", "started_at", "ended_at", "frozen_at")
    return {
        **{name: row[name] for name in (*plain, *times)},
        "world": row["source"],
        "frozen_sha256": row["frozen_sha256"].hex() if row["frozen_sha256"] else None,
        "design": one.design,
        "estimate": one.estimate,
        "progress": asdict(one.progress),
        "trials": [trial_told(trial) for trial in one.trials],
    }


def trial_told(trial: Trial) -> dict[str, Any]:
    """A run as JSON has it."""
    plain = (
        "number",
        "variant",
        "replicate",
        "seed",
        "state",
        "reason",
        "excluded",
        "attempts",
        "cycles_done",
        "calls",
    )
    more = ("usd", "seconds", "world", "session", "started_at", "ended_at")
    return {
        **{name: getattr(trial, name) for name in (*plain, *more)},
        "tokens": trial.prompt_tokens + trial.completion_tokens,
        "outcomes": dict(trial.outcomes),
        "why": dict(trial.why),
        "world_sha256": trial.world_sha256.hex() if trial.world_sha256 else None,
    }
