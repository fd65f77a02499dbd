"""`simfeed bench`."""

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure.")


@app.command()
def turns() -> None:
    """Turns."""


@app.command()
def feed() -> None:
    """Feed."""
