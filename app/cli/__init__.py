"""The command line: the same rooms from the terminal."""

import signal
import sys

import typer
from typer.exceptions import TyperException

from app import logs
from app.cli import admin, bench, db, doctor, estimate, halt, models, personas, posts, runs, up, worker
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
app.add_typer(runs.app, name="runs")
app.command("trace")(runs.trace)
app.command("estimate")(estimate.estimate)
app.command("worker")(worker.worker)
app.command("halt")(halt.halt)
app.command("doctor")(doctor.doctor)
app.add_typer(db.app, name="db")
app.add_typer(personas.app, name="personas")
app.add_typer(posts.app, name="posts")
app.add_typer(admin.app, name="admin")
app.add_typer(models.app, name="models")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line and exit with its code. SIGTERM, too, ends what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure("warning")
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        err.print("stopped; nothing more was changed")
        sys.exit(130)
    except TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        message = getattr(error, "format_message", error.__str__)()
        err.print(f"simfeed: {' '.join(message.split())}{hint}", markup=False)
        sys.exit(EXIT_USAGE)
    except AppError as error:
        err.print(f"simfeed: {error.detail}", markup=False)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
