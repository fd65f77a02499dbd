"""`simfeed reuse`: the answers that are kept for requests that come again."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.cli.common import Home, Json, err, go, opened, settings_for, show_json
from app.ledger import reusable
from app.ledger.reusable import Savings


def reuse(
    clear: Annotated[bool, typer.Option("--clear", help="Forget what is kept.")] = False,
    days: Annotated[
        float | None, typer.Option(min=0, max=36_500, help="With --clear: only what is older than so many days.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      REUSE=true simfeed run --seed 7     requests that were answered before cost nothing
      simfeed reuse                       what is kept, and what it has saved
      simfeed reuse --clear --days 30     forget what is older than a month

    What is kept to be answered again at no cost: in the home world, answers to requests of the feed, for whoever asks
    the same, in any run of any world. What people in rooms say is never kept.
    """
    before = datetime.now(UTC) - timedelta(days=days) if days is not None else None

    async def look() -> tuple[int, Savings]:
        async with opened(settings_for(home).model_copy(update={"simfeed_world": None})) as database:
            gone = await reusable.clear(database, before) if clear else 0
            return gone, await reusable.savings(database)

    if days is not None and not clear:
        raise typer.BadParameter("--days goes with --clear")
    gone, kept = go(look())
    if json:
        show_json({"cleared": gone, **asdict(kept)})
        return
    if clear:
        err.print(f"Forgotten: {gone:,} answers.", markup=False)
    if not kept.answers:
        err.print("Nothing is kept. With REUSE=true answers are kept from now on.", markup=False)
        return
    typer.echo(f"{kept.answers:,} answers since {kept.oldest:%Y-%m-%d %H:%M} UTC, {kept.bytes / 1e6:.1f} MB")
    typer.echo(f"used again {kept.uses:,} times: {kept.tokens:,} tokens and ${kept.usd:.4f} not paid twice")
