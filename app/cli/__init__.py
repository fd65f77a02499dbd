"""The command line: the same rooms from the terminal. What a command needs is imported when it is called."""

import errno
import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from app.errors import AppError

SERVING = (["up"], ["worker"])
"""Commands that are done when they are told to end; any other is cut off."""

TERMINATED = 143

COMMANDS = {
    "up": ("up:up", "Start Sim-Feed"),
    "run": ("runs:run", "Play one cycle now"),
    "runs": ("runs:app", "The newest runs; and how to stop one, and go on with it"),
    "trace": ("trace:trace", "Read what personas were told, thought and did"),
    "why": ("why:why", "Why a persona saw a post"),
    "intervene": ("intervene:app", "Planned changes"),
    "replay": ("replay:replay", "Play a recorded cycle again in a fork, with what models answered then"),
    "estimate": ("estimate:estimate", "Tell tokens, money and time of cycles before they run"),
    "worker": ("worker:worker", "Play turns until Ctrl-C or SIGTERM"),
    "halt": ("halt:halt", "The kill switch: stops all new model calls at once"),
    "doctor": ("doctor:doctor", "say what is wrong and how to mend it"),
    "costs": ("costs:costs", "what the calls of a world have cost, by day, model, venue"),
    "personas": ("personas:app", "Who lives here"),
    "population": ("population:app", "People drawn from demographics, and whether they are as expected"),
    "posts": ("posts:app", "What spreads, leaks or was reported, and the kill switch of a post"),
    "news": ("news:app", "What the world is told from outside it"),
    "memory": ("memory:app", "What a persona remembers, and where each memory came from"),
    "models": ("models:app", "Which models there are, and whether one calls tools as asked"),
    "reuse": ("reuse:reuse", "What is kept to be answered again at no cost"),
    "dialogue": ("dialogue:app", "Models talk to each other"),
    "group": ("group:group", "People talk about something, in rounds"),
    "survey": ("group:survey", "People answer questions, each for itself"),
    "interview": ("group:interview", "People are interviewed, one by one"),
    "session": ("session:app", "Dialogues, focus groups, surveys, interviews: what came of them"),
    "write": ("write:app", "Documents from transcripts, texts anew, personas out of sources"),
    "experiment": ("experiment:app", "Arms compared: runs of the same start that differ by their treatment"),
    "simulate": ("simulate:simulate", "One conversation, an experiment, or a look over a file of personas"),
    "metrics": ("metrics:metrics", "What a world comes to, in numbers"),
    "report": ("report:report", "A world and its runs as one page that needs nothing else"),
    "dataset": ("dataset:app", "A world as files that others can open, and a world from such files"),
    "backup": ("backup:app", "Copies of personas and worlds, and whether they can be restored"),
    "study": ("study:app", "Studies with people in chatrooms"),
    "world": ("world:app", "Copies of the world to try things in, and what tells worlds apart"),
    "admin": ("admin:app", "Who may manage this instance"),
    "db": ("db:app", "The database and its schema"),
    "calibration": ("calibration:calibration", "How far the confidence of extracted values can be believed"),
    "bench": ("bench:app", "Measure on this machine, in databases of its own"),
}
"""Where in this package each command is, and what the list of commands says of it, in words of its own help."""

OF_ANY_WORLD = frozenset(
    {"up", "run", "runs", "trace", "estimate", "worker", "halt", "doctor", "personas", "posts", "news"}
    | {"db", "why", "intervene", "population", "dialogue", "group", "survey", "interview", "session", "write"}
    | {"costs", "metrics", "report", "simulate"}
)
"""Commands that work in another world than the home world with `--world NAME`, as with SIMFEED_WORLD."""


class Rooms(TyperGroup):
    """Lists its commands without knowing more of them than their names; the one that is called is imported."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and found(command.name or ""), rest


def found(name: str) -> Any:
    """The command of that name, or the group of commands, with all that it imports."""
    from app import logs

    logs.configure("warning")
    module, _, inside = COMMANDS[name][0].partition(":")
    what = getattr(import_module(f"app.cli.{module}"), inside)
    room = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(what, typer.Typer):
        room.add_typer(what, name=name)
    else:
        room.command(name)(what)
    command = typer.main.get_group(room).commands[name]
    if name in OF_ANY_WORLD:
        _take_world(command)
    _sum_up(command)
    return command


def _world(
    simfeed_world: Annotated[
        str | None,
        typer.Option("--world", metavar="NAME", help="The world to work in (SIMFEED_WORLD, default the home world)."),
    ] = None,
) -> None:
    """Has the option that all commands of any world share."""


def _take_world(command: Any) -> None:
    """Let a command, or each of a group, take `--world`."""
    for child in getattr(command, "commands", {}).values():
        _take_world(child)
    if any("--world" in parameter.opts for parameter in command.params):
        return
    room = typer.Typer(add_completion=False, rich_markup_mode=None)
    room.command()(_world)
    (option,) = (one for one in typer.main.get_command(room).params if "--world" in one.opts)
    option.expose_value = False
    option.callback = _chosen
    command.params.append(option)


def _chosen(_: Any, __: Any, name: str | None) -> None:
    if name is not None:
        os.environ["SIMFEED_WORLD"] = name


def _sum_up(group: Any) -> None:
    """Let a group's list say what its commands do: the first sentence behind their examples."""
    for command in getattr(group, "commands", {}).values():
        _, _, told = (command.help or "").partition("\n\n")
        command.short_help = command.short_help or " ".join(told.split()).partition(". ")[0].removesuffix(".")
        _sum_up(command)


def _not_imported() -> None:
    """Stands in the list for a command that was not called."""


app = typer.Typer(
    name="simfeed",
    cls=Rooms,
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
for _name, (_, _said) in COMMANDS.items():
    app.command(_name, short_help=_said[0].upper() + _said[1:])(_not_imported)


def main() -> None:
    """Run the command line and exit with its code. SIGTERM, too, ends what was started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0 if sys.argv[1:2] in SERVING else TERMINATED))
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        _say("stopped; nothing more was changed")
        sys.exit(130)
    except TyperException as error:
        from app.cli.common import EXIT_USAGE

        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        message = getattr(error, "format_message", error.__str__)()
        if context is not None and message == context.get_help():  # nothing was asked for
            typer.echo(message, err=True)
        else:
            _say(f"simfeed: {' '.join(message.split())}{hint}")
        sys.exit(EXIT_USAGE)
    except AppError as error:
        from app.cli.common import exit_code

        _say(f"simfeed: {error.detail}")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        from app.cli.common import EXIT_CONFIG

        if error.filename is None and error.errno != errno.ENOSPC:  # no file's fault
            raise
        _say(f"simfeed: {error.filename2 or error.filename or 'the disk'} can't be used: {error.strerror}")
        sys.exit(EXIT_CONFIG)


def _say(words: str) -> None:
    from app.cli.common import err

    err.print(words, markup=False)
