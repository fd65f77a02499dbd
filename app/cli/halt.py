"""`simfeed halt`: the kill switch."""

from typing import Annotated

import typer

from app.cli.common import Home, Json, err, go, opened, settings_for, show_json
from app.ledger.pulse import halt as set_halt


def halt(
    off: Annotated[bool, typer.Option("--off", help="Let models be asked again.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed halt          no model is asked anything any more, by any process, within two seconds
      simfeed halt --off    what stood still goes on

    The kill switch: stops all new model calls at once. Nothing is lost.
    """

    async def switch() -> bool:
        async with opened(settings_for(home)) as database:
            return await set_halt(database, not off)

    halted = go(switch())
    if json:
        show_json({"halted": halted})
    else:
        err.print("Halted: no model is asked. `simfeed halt --off` goes on." if halted else "Going on.", markup=False)
