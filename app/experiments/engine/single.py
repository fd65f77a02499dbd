"""The engine's single mode: one conversation of chosen personas about a seed text, as a dialogue session."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
from pydantic_core import PydanticCustomError

from app.agent.turn import Mind
from app.errors import Conflict, Invalid
from app.experiments.engine.config import Config
from app.experiments.engine.personas import Person
from app.llm.budget import pricing_of
from app.llm.model import Usage
from app.settings import Settings
from app.venues.session.design import Dialogue, checked
from app.venues.session.findings import told
from app.venues.session.forecast import forecast
from app.venues.session.stage import play
from app.world import sessions
from app.world.sessions import Line
from app.world.text import clean

SEED = "Moderator"
"""Whose words the seed text is in; where a persona has that name, a number stands behind it."""

SEED_MOST = 20_000
Heard = Callable[[Mapping[str, Any]], None]


def design_data(
    people: Sequence[Person | str],
    seed_text: str,
    config: Config,
    *,
    turns: int | None = None,
    seed: int = 0,
    budget_tokens: int | None = None,
    budget_usd: float | None = None,
) -> dict[str, Any]:
    """The dialogue as data. `people` are personas of a file, or handles of personas of the world.

    A model or temperature that a flag names is everybody's; else each persona's own stands.

    Raises:
        Invalid: there is no seed text, or it is too long.
    """
    text = _seed_text(seed_text)
    bots = [_bot(one, config) for one in people]
    stop: dict[str, Any] = {"turns": turns or config["max_turns"], "goodbye": False}
    if config["timeout_seconds"] is not None:
        stop["seconds"] = config["timeout_seconds"]
    terms = {"seed": seed, "model": config["model"], "max_tokens": config["max_tokens"]}
    terms |= {"budget_tokens": budget_tokens, "budget_usd": budget_usd}
    return {
        "bots": bots,
        "seed_message": {"from": _sender([bot["name"] for bot in bots]), "message": text},
        "initial_bot": bots[0]["name"] if bots else "random",
        "stop": stop,
        "terms": {name: value for name, value in terms.items() if value is not None},
    }


def _seed_text(given: str) -> str:
    try:
        text = clean(given)
    except PydanticCustomError as error:
        raise Invalid(f"--seed-text: {error.message()}") from None
    if not 0 < len(text) <= SEED_MOST:
        raise Invalid(f"--seed-text: must be a text of 1 to {SEED_MOST:,} characters")
    return text


def design_of(data: Mapping[str, Any]) -> Dialogue:
    """The design that `design_data` gives.

    Raises:
        Invalid: tells each wrong place.
    """
    design: Dialogue = checked(Dialogue, data)
    return design


def _bot(one: Person | str, config: Config) -> dict[str, Any]:
    handle = one.removeprefix("@") if isinstance(one, str) else ""
    bot: dict[str, Any] = {"name": handle, "persona": handle} if isinstance(one, str) else one.bot()
    if config.values["model"].source == "flag":
        bot["model"] = config["model"]
    if config.values["temperature"].source == "flag":
        bot["options"] = {"temperature": config["temperature"]}
    return bot


def _sender(names: Sequence[str]) -> str:
    taken = {name.casefold() for name in names}
    tried = [SEED, *(f"{SEED} {n}" for n in range(2, len(names) + 3))]
    return next(name for name in tried if name.casefold() not in taken)


async def play_out(
    mind: Mind, settings: Settings, row: asyncpg.Record, *, graceful: bool, heard: Heard = lambda _: None
) -> asyncpg.Record:
    """Play a conversation to its end, or until it stands still; its row then.

    Args:
        graceful: a turn that gives nothing is skipped; else the first one ends the conversation.
        heard: hears each line, as `findings.told` has it.
    """
    database = mind.database
    members = await sessions.members(database, row["id"])
    ending: list[asyncio.Task[None]] = []

    def hear(lines: Sequence[Line]) -> None:
        for line in lines:
            heard(told(line, members))
        if not graceful and not ending and any(line.missing for line in lines):
            ending.append(asyncio.create_task(sessions.cancel(database, row["id"])))

    await play(mind, settings, row["id"], told=hear)
    for task in ending:
        with suppress(Conflict):
            await task
    return await sessions.by_id(database, row["id"])


def estimated(settings: Settings, design: Dialogue) -> dict[str, Any]:
    """What a conversation will take: `calls`, `prompt_tokens`, `completion_tokens`, `usd`, `models`.

    Each persona's share of the turns is paid at its own model's price; `usd` is None where one is unknown.
    """
    asked = forecast(settings, design, len(design.bots))
    named = Counter(bot.model or design.terms.model or settings.simfeed_model for bot in design.bots)
    price = pricing_of(settings)
    costs = [
        price(
            model,
            Usage(
                round(asked.prompt_tokens * bots / len(design.bots)),
                round(asked.completion_tokens * bots / len(design.bots)),
            ),
        )
        for model, bots in named.items()
    ]
    return {
        "calls": asked.calls,
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": asked.completion_tokens,
        "usd": None if None in costs else sum(cost for cost in costs if cost is not None),
        "models": list(named),
    }
