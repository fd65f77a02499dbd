"""The command line: the same rooms from the terminal."""

import sys

import click
import typer

from app.cli import admin, bench, db, doctor, models, personas, runs, up
from app.cli.common import EXIT_USAGE, err, exit_code
from app.errors import AppError

app = typer.Typer(
    name="simfeed",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""\b
Examples:
  simfeed up                          everything, with the offline model
  simfeed run                         one cycle now
  simfeed trace 1                     what the personas of run 1 thought and did
  simfeed personas import people.csv  more personas
  simfeed doctor                      what is wrong, and how to mend it

A social network whose members are personas played by a language model.""",
)
app.command("up")(up.up)
app.command("run")(runs.run)
app.command("runs")(runs.runs)
app.command("trace")(runs.trace)
app.command("doctor")(doctor.doctor)
app.add_typer(db.app, name="db")
app.add_typer(personas.app, name="personas")
app.add_typer(admin.app, name="admin")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app(standalone_mode=False)
    except click.exceptions.Abort:
        err.print("stopped; nothing more was changed")
        sys.exit(130)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, click.UsageError) and error.ctx else ""
        err.print(f"simfeed: {error.format_message()}{hint}", markup=False)
        sys.exit(EXIT_USAGE)
    except AppError as error:
        err.print(f"simfeed: {error.detail}", markup=False)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
