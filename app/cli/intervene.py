"""`simfeed intervene`: changes to the world that are planned for a cycle or a time in it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.auth.admins import record
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.world import interventions
from app.world.clock import stands_at
from app.world.interventions import STATES, Intervention
from app.world.plans import CYCLE_MAX, Plan, checked, read_plans
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed intervene plan treatment.toml --relative\n"
    "  simfeed intervene add post --cycle 5 --persona luna_unfurls --body 'The tram is late.'\n"
    "  simfeed intervene list\n  simfeed intervene cancel 3\n\n"
    "Planned changes: a persona or the outside says something, a ranker is switched, personas are paused, news.",
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be planned, and plan nothing.")]
Relative = Annotated[bool, typer.Option("--relative", help="Cycles count from the next one of this world on.")]


@app.command("plan")
def plan_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML with [[intervention]], or a JSON array.")],
    relative: Relative = False,
    dry_run: DryRun = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed intervene plan treatment.toml
      simfeed intervene plan treatment.toml --relative --dry-run

    Plan what a file says, all of it or nothing. Its cycles count from the world's first, unless --relative.
    """
    plans = read_plans(file)
    _keep(settings_for(home), plans, file.name, relative=relative, dry_run=dry_run, json=json)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="post, message, ranker, pause, resume or news.")],
    cycle: Annotated[int | None, typer.Option(min=1, max=CYCLE_MAX, help="The cycle; 1 is the world's first.")] = None,
    at: Annotated[str | None, typer.Option(help="Or the time in the world, e.g. 2026-03-02T08:00 (UTC).")] = None,
    persona: Annotated[str | None, typer.Option(help="Who says the post.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="For whom: a username, or more of them, or all.")] = None,
    leaning: Annotated[str | None, typer.Option(help="For all of this leaning.")] = None,
    tag: Annotated[str | None, typer.Option(help="For all with this interest, trait or role.")] = None,
    title: Annotated[str | None, typer.Option(help="Of a post, or of news.")] = None,
    body: Annotated[str | None, typer.Option(help="What is said.")] = None,
    by: Annotated[str | None, typer.Option("--from", help="The persona that a message is from.")] = None,
    sender: Annotated[str | None, typer.Option(help="Or who outside it is from.")] = None,
    ranker: Annotated[str | None, typer.Option(help="From then on, e.g. hot; `own`: as without it.")] = None,
    who_to_follow: Annotated[str | None, typer.Option(help="From then on; `off`, or `own`: as without it.")] = None,
    source: Annotated[str | None, typer.Option(help="Who brings the news.")] = None,
    url: Annotated[str | None, typer.Option(help="The address of the news.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, for people.")] = None,
    relative: Relative = False,
    dry_run: DryRun = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed intervene add post --cycle 5 --persona luna_unfurls --body "The tram is late."
      simfeed intervene add message --cycle 6 --to luna_unfurls --sender "The council" --body "Please be kind."
      simfeed intervene add ranker --cycle 8 --ranker interest --leaning green
      simfeed intervene add pause --at 2026-03-02T08:00 --to max_vantage

    Plan one intervention.
    """
    given: dict[str, Any] = {
        "kind": kind, "cycle": cycle, "at": at, "persona": persona, "title": title, "body": body, "from": by,
        "sender": sender, "ranker": ranker, "who_to_follow": who_to_follow, "source": source, "url": url, "note": note,
    }  # fmt: skip
    if (to is not None) + (leaning is not None) + (tag is not None) > 1:
        raise Invalid("say one of --to, --leaning and --tag")
    if to is not None:
        given["to"] = "all" if to == ["all"] else to
    elif leaning is not None or tag is not None:
        given["to"] = {"leaning": leaning} if leaning is not None else {"tag": tag}
    plans = checked([{key: value for key, value in given.items() if value is not None}])
    _keep(settings_for(home), plans, "", relative=relative, dry_run=dry_run, json=json)


def _keep(settings: Settings, plans: list[Plan], name: str, *, relative: bool, dry_run: bool, json: bool) -> None:
    async def work() -> list[dict[str, Any]]:
        async with opened(settings) as database:
            return await plan_in(database, plans, name, relative=relative, dry_run=dry_run)

    found = go(work())
    if json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = [(one["id"], one["kind"], one["when"], one["what"]) for one in found]
    table("", "id", "kind", "when", "what", rows=rows, empty="")
    err.print("Nothing was planned: this was a dry run." if dry_run else f"{len(found)} planned.", markup=False)


async def plan_in(
    database: Database,
    plans: list[Plan],
    name: str,
    *,
    relative: bool,
    dry_run: bool = False,
    now: Any = None,
) -> list[dict[str, Any]]:
    """Plan what the file `name` says, and tell what is planned; `now` is the time in the world, if not its clock's.

    Raises:
        Invalid: names the file, the entry and the key.
    """
    now = now or await stands_at(database)
    try:
        async with database.connection() as connection, connection.transaction():
            drafted = await interventions.draft(connection, plans, now=now, relative=relative)
            ids: list[int | None] = [None] * len(plans)
            if not dry_run:
                ids = [*await interventions.plan(connection, plans, now=now, relative=relative)]
                for number, one in zip(ids, plans, strict=True):
                    await record(connection, None, "intervention.planned", str(number), kind=one.kind)
    except Invalid as error:
        raise Invalid(f"{name}: {error.detail}" if name else error.detail, errors=error.errors) from None
    return [
        {
            "id": number,
            "kind": kind,
            "cycle": cycle,
            "at": at,
            "when": when(cycle, at),
            "what": interventions.summary(kind, detail),
        }
        for number, (kind, cycle, at, detail, _) in zip(ids, drafted.told(), strict=True)
    ]


def when(cycle: int | None, at: Any) -> str:
    """A cycle or a time, in words."""
    return f"cycle {cycle}" if cycle is not None else f"{at:%Y-%m-%d %H:%M}"


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="planned, done, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed intervene list
      simfeed intervene list --state planned --json

    The newest interventions, and what came of them.
    """
    wanted = next((one for one in STATES if one == state), None)
    if state is not None and wanted is None:
        raise Invalid(f"--state must be one of {', '.join(STATES)}, not {state[:60]!r}")

    async def read() -> list[Intervention]:
        async with opened(settings_for(home)) as database:
            return await interventions.listed(database, limit=limit, state=wanted)

    show(go(read()), json=json, empty="None yet: `simfeed intervene plan FILE` or `add`.")


def show(found: list[Intervention], *, json: bool = False, empty: str = "", title: str = "") -> None:
    """Interventions as a table, or as data."""
    if json:
        show_json(data(found))
        return
    rows: list[tuple[object, ...]] = [
        (one.id, one.state, when(one.cycle, one.at), one.summary, one.run_id, one.came_of_it, one.note) for one in found
    ]
    table(title, "id", "state", "when", "what", "run", "came of it", "note", rows=rows, empty=empty)


def data(found: list[Intervention]) -> list[dict[str, Any]]:
    """Interventions for programs."""
    return [{**vars(one), "summary": one.summary} for one in found]


@app.command()
def cancel(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, max=INT64_MAX, help="A planned one's number.")],
    home: Home = None,
) -> None:
    """\b
    Examples:
      simfeed intervene cancel 3

    A planned intervention is not to be done.
    """

    async def work() -> None:
        async with (
            opened(settings_for(home)) as database,
            database.connection() as connection,
            connection.transaction(),
        ):
            await interventions.cancel(connection, number)
            await record(connection, None, "intervention.cancelled", str(number))

    go(work())
    err.print(f"Intervention {number} is cancelled.", markup=False)


def of_file(file: Path, cycles: int) -> list[Plan]:
    """What a file says for the next `cycles` cycles.

    Raises:
        Invalid: it says something of a later one, or else as `read_plans`.
    """
    plans = read_plans(file)
    late = [(n, plan.cycle) for n, plan in enumerate(plans, 1) if plan.cycle is not None and plan.cycle > cycles]
    if late:
        (n, cycle), *_ = late
        raise Invalid(f"{file.name}: entry {n}, `cycle`: {cycle} is behind the {cycles} of this command (--cycles)")
    return plans
