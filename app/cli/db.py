"""`simfeed db`: the database and its schema."""

from typing import Annotated

import typer

from app.cli.common import Home, Json, confirm, err, go, settings_for, show_json
from app.db import embedded, migrate
from app.db.engine import plain_url

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help='\b\nExamples:\n  simfeed db migrate\n  simfeed db status\n  psql "$(simfeed db url)"\n\n'
    "The database and its schema.",
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


@app.command("migrate")
def migrate_(home: Home = None, dry_run: DryRun = False) -> None:
    """\b
    Examples:
      simfeed db migrate
      simfeed db migrate --dry-run

    Bring the schema up to date. Two at once are safe: one waits for the other.
    """
    with migrate.open_home_url(settings_for(home)) as url:
        before = go(migrate.status(url) if dry_run else migrate.upgrade(url))
    if not before.pending:
        err.print(f"the schema is up to date ({before.head})", markup=False)
    else:
        verb = "would be applied" if dry_run else "applied"
        err.print(f"{verb}: {', '.join(before.pending)}", markup=False)


@app.command()
def status(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed db status
      simfeed db status --json

    How far the schema is, and whether the embedded server runs.
    """
    settings = settings_for(home)
    server = embedded.status(settings.simfeed_home) if settings.database_url is None else None
    running = server.running if server is not None else None
    with migrate.open_home_url(settings) as url:
        state = go(migrate.status(url))
    found = {
        "current": state.current,
        "head": state.head,
        "pending": list(state.pending),
        "embedded_was_running": running,
    }
    if json:
        show_json(found)
    else:
        typer.echo(f"schema {state.current or 'none'}, this program's {state.head}, pending {len(state.pending)}")


@app.command()
def url(home: Home = None) -> None:
    """\b
    Examples:
      psql "$(simfeed db url)"

    The database's address. The embedded server answers while something uses it.
    """
    settings = settings_for(home)
    with migrate.open_home_url(settings) as found:
        typer.echo(plain_url(found))


@app.command()
def reset(
    home: Home = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
) -> None:
    """\b
    Examples:
      simfeed db reset --dry-run
      simfeed db reset --yes

    Delete the whole world: personas, posts, ledger, admins. Then make the empty schema anew.
    """
    with migrate.open_home_url(settings_for(home)) as found:
        counted = go(migrate.table_count(found))
        what = f"{counted} tables in {plain_url(found).rsplit('@', 1)[-1]}"
        if dry_run:
            err.print(f"would delete {what}", markup=False)
            return
        confirm(f"This deletes {what}, for ever.", yes=yes)
        go(migrate.reset(found))
    err.print("the world is empty; `simfeed up` fills it again", markup=False)
