"""`simfeed estimate`: what a run will take in tokens, money and time."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.llm.pricing import doubts, own_prices
from app.settings import Settings
from app.venues.estimate import CALLS_A_TURN, COMPLETION_TOKENS, PROMPT_TOKENS, Estimate, estimate_run


def estimate(
    model: Annotated[str | None, typer.Option(help="Model of personas that name none.")] = None,
    cycles: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many cycles.")] = 1,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed estimate
      simfeed estimate --model gpt-4o-mini --cycles 48
      simfeed estimate --json

    Tell tokens, money and time of cycles before they run. Nothing is asked of a model.
    """
    settings = settings_for(home, simfeed_model=model)
    found = go(_estimate(settings, cycles))
    if json:
        show_json(asdict(found))
    else:
        _show(found, cycles)
        own = own_prices(settings.model_prices)
        if (doubt := doubts(settings.simfeed_model, own)) and settings.simfeed_model not in found.unpriced:
            err.print(doubt, markup=False)


async def _estimate(settings: Settings, cycles: int) -> Estimate:
    async with opened(settings) as database:
        return await estimate_run(database, settings, settings.simfeed_model, cycles)


def _show(found: Estimate, cycles: int) -> None:
    if not found.turns:
        err.print("Nobody would wake: there is no active persona. `simfeed personas add` or `import` makes some.")
        return
    prompt = f"{found.prompt_tokens:,} prompt ({found.cached_tokens:,} cached)"
    rows: list[tuple[object, ...]] = [
        ("turns", f"{found.turns:,.0f}"),
        ("model calls", f"{found.calls:,.0f}"),
        ("tokens", f"{prompt}, {found.completion_tokens:,} written"),
        ("cost", "unknown" if found.usd is None else f"${found.usd:,.4f}"),
        ("time", _duration(found.seconds)),
    ]
    table(f"{cycles:,} cycle{'s' * (cycles > 1)}", "what", "about", rows=rows, empty="")
    if found.unpriced:
        names = ", ".join(found.unpriced)
        err.print(f"The price of {names} is not known: MODEL_PRICES can tell it.", markup=False)
    if found.based_on:
        err.print(f"Computed from the last {found.based_on:,} calls in this world.", markup=False)
    if found.assumed:
        err.print(
            f"This world has seen no turn of {', '.join(found.assumed)} yet: assumed are {CALLS_A_TURN:.0f} calls "
            f"a turn, {PROMPT_TOKENS:,.0f} prompt tokens and {COMPLETION_TOKENS:.0f} written a call.",
            markup=False,
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else "less than a second"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
