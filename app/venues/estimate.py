"""What a run will take before it starts, from what this world's last turns took."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.db.engine import Database
from app.db.queries import load
from app.llm.budget import pricing_of
from app.llm.model import Usage
from app.llm.pricing import OFFLINE
from app.settings import Settings

BUDGETS = load("budgets")
CALLS_A_TURN = 5.0
PROMPT_TOKENS = 1300.0
COMPLETION_TOKENS = 60.0
SECONDS_A_CALL = 1.0
OFFLINE_SECONDS_A_CALL = 0.005
"""What a turn takes in a world that has not seen one yet: calls and tokens as measured, seconds as guessed."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take. `usd` is None where a price is unknown; `based_on` counts the calls it was computed from.

    `turns` and `calls` are expectations: personas wake by chance. `unpriced` names the models without a price,
    `assumed` those for which this world has no history.
    """

    turns: float
    calls: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    usd: float | None
    seconds: float
    based_on: int
    unpriced: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Habit:
    """What a model's turns take on average; tokens are a call's."""

    calls: float = CALLS_A_TURN
    prompt: float = PROMPT_TOKENS
    cached: float = 0.0
    completion: float = COMPLETION_TOKENS
    turn_seconds: float = CALLS_A_TURN * SECONDS_A_CALL
    based_on: int = 0


async def estimate_run(database: Database, settings: Settings, model: str, cycles: int = 1) -> Estimate:
    """What `cycles` cycles of the feed will take when personas that name no model are played by `model`."""
    turns: dict[str, float] = {}
    for row in await database.fetch(BUDGETS["wakers"]):
        name = row["model"] or model
        turns[name] = turns.get(name, 0.0) + row["turns"] * cycles
    habits = {name: await _habit(database, name) for name in turns}
    calls = {name: turns[name] * habits[name].calls for name in turns}
    taken = {name: _usage(habit, calls[name]) for name, habit in habits.items()}
    pricing = pricing_of(settings)
    usd = {name: pricing(name, usage) for name, usage in taken.items()}
    unpriced = tuple(sorted(name for name, value in usd.items() if value is None))
    return Estimate(
        turns=round(sum(turns.values()), 1),
        calls=round(sum(calls.values()), 1),
        prompt_tokens=sum(usage.prompt for usage in taken.values()),
        cached_tokens=sum(usage.cached for usage in taken.values()),
        completion_tokens=sum(usage.completion for usage in taken.values()),
        usd=None if unpriced else sum(value or 0.0 for value in usd.values()),
        seconds=_seconds(turns, habits, settings.max_concurrent_turns, cycles),
        based_on=sum(habit.based_on for habit in habits.values()),
        unpriced=unpriced,
        assumed=tuple(sorted(name for name, habit in habits.items() if not habit.based_on)),
    )


async def estimate_turn(database: Database, settings: Settings, model: str) -> Estimate:
    """What one turn played by `model` will take."""
    habit = await _habit(database, model)
    usage = _usage(habit, habit.calls)
    usd = pricing_of(settings)(model, usage)
    return Estimate(
        turns=1,
        calls=round(habit.calls, 1),
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        usd=usd,
        seconds=round(habit.turn_seconds, 1),
        based_on=habit.based_on,
        unpriced=(model,) if usd is None else (),
        assumed=() if habit.based_on else (model,),
    )


async def keep_estimate(database: Database, settings: Settings, run_id: int, model: str) -> None:
    """Note beside a run what it was expected to take, so that its summary can tell how far off that was."""
    found = msgspec.json.encode(await estimate_run(database, settings, model)).decode()
    await database.fetchval(BUDGETS["keep_estimate"], run_id, found)


def compared(estimate: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, float | None]:
    """What a run used, as a multiple of what `estimate` (an Estimate's fields) said: 1 is as foretold.

    `used` holds calls, prompt_tokens, completion_tokens, cost_usd and unpriced, as a run's summary does. None where
    nothing was foretold or a price is unknown.
    """
    usd = None if used.get("unpriced") else used.get("cost_usd")
    return {
        "calls": _ratio(used["calls"], estimate.get("calls")),
        "tokens": _ratio(
            used["prompt_tokens"] + used["completion_tokens"],
            (estimate.get("prompt_tokens") or 0) + (estimate.get("completion_tokens") or 0),
        ),
        "usd": _ratio(usd, estimate.get("usd")),
    }


def _ratio(used: Any, foretold: Any) -> float | None:
    return round(float(used) / float(foretold), 3) if used is not None and foretold else None


async def _habit(database: Database, model: str) -> _Habit:
    row = await database.fetchrow(BUDGETS["usage_of"], model)
    if row is None or not row["calls"]:
        second = OFFLINE_SECONDS_A_CALL if model in OFFLINE else SECONDS_A_CALL
        return _Habit(turn_seconds=CALLS_A_TURN * second)
    return _Habit(
        calls=row["calls"] / row["turns"],
        prompt=row["prompt_tokens"],
        cached=row["cached_tokens"],
        completion=row["completion_tokens"],
        turn_seconds=row["turn_seconds"] or 0.0,
        based_on=row["calls"],
    )


def _usage(habit: _Habit, calls: float) -> Usage:
    return Usage(round(habit.prompt * calls), round(habit.completion * calls), round(habit.cached * calls))


def _seconds(turns: Mapping[str, float], habits: Mapping[str, _Habit], at_once: int, cycles: int) -> float:
    """A cycle takes as long as all its turns together, divided among as many as are under way at once."""
    cycle = sum(turns.values()) / cycles
    if not cycle:
        return 0.0
    mean = sum(turns[name] * habits[name].turn_seconds for name in turns) / sum(turns.values())
    return round(mean * max(1.0, math.ceil(cycle) / at_once) * cycles, 1)
