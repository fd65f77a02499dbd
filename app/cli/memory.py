"""`simfeed memory`: what a persona remembers, how it would come to mind, and how to change it."""

from typing import Annotated, Any

import asyncpg
import typer
from pydantic import TypeAdapter, ValidationError

from app.auth.admins import record
from app.cli.common import Home, Json, confirm, err, go, opened, out, settings_for, show_json, table
from app.db.engine import Database
from app.errors import Invalid, NotFound
from app.world import memories, personas
from app.world.clock import world_now
from app.world.memories import AtHand
from app.world.text import INT64_MAX, PostBody

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed memory list luna\n  simfeed memory search luna 'the tram quarrel'\n"
    "  simfeed memory give luna 'You grew up by the sea.'\n  simfeed memory forget luna 7\n\n"
    "What a persona remembers, and where each memory came from.",
)
Who = Annotated[str, typer.Argument(metavar="PERSONA", help="A username or an id.")]


async def _find(database: Database, who: str) -> asyncpg.Record:
    if who.isascii() and who.isdigit() and 0 < int(who[:20]) <= INT64_MAX:
        return await personas.present(database, int(who))
    return await personas.by_username(database, who.removeprefix("@"))


@app.command("list")
def list_(
    who: Who,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 30,
    folded: Annotated[bool, typer.Option("--folded", help="Those that a reflection holds, too.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed memory list luna
      simfeed memory list luna --folded --json

    A persona's memories, newest first.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            persona = await _find(database, who)
            return [dict(row) for row in await memories.listed(database, persona["id"], limit=limit, folded=folded)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["kind"], round(r["importance"], 2), r["body"], _source(r), r["recalls"], r["at"]) for r in rows
    ]
    columns = ("id", "kind", "importance", "what", "from", "recalled", "at")
    table("", *columns, rows=cells, empty=f"{who} remembers nothing yet.")


@app.command()
def search(
    who: Who,
    words: Annotated[str, typer.Argument(help="What is at hand; without it, the newest posts and its interests.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=24, help="How many.")] = 10,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed memory search luna
      simfeed memory search luna "the tram quarrel"

    What would come to a persona's mind now, best first, with what it scored.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            persona = await _find(database, who)
            at_hand = AtHand(words[:1_000] or None)
            now = await world_now(database)
            found = await memories.recall(database, [persona["id"]], now=now, at_hand=at_hand, most=limit)
            return [
                {name: getattr(m, name) for name in memories.Memory.__dataclass_fields__}
                for m in found.get(persona["id"], [])
            ]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (
            r["id"],
            f"{r['score']:.3f}",
            f"{r['recency']:.2f}",
            f"{r['importance']:.2f}",
            f"{r['relevance']:.2f}",
            r["body"],
            _source(r),
        )
        for r in rows
    ]
    columns = ("id", "score", "recency", "importance", "relevance", "what", "from")
    table("", *columns, rows=cells, empty=f"Nothing comes to {who}'s mind.")


@app.command()
def give(
    who: Who,
    text: Annotated[str, typer.Argument(help='What it shall remember, as told to it: "You …".')],
    importance: Annotated[float, typer.Option(min=0, max=1, help="From 0 to 1.")] = 0.8,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed memory give luna "You grew up by the sea."
      simfeed memory give luna "You owe @max money." --importance 1

    Put a memory into a persona.
    """
    try:
        body = TypeAdapter(PostBody).validate_python(text)
    except ValidationError as error:
        raise Invalid(f"the text {error.errors()[0]['msg']}") from None

    async def work() -> int:
        async with opened(settings_for(home)) as database:
            persona, now = await _find(database, who), await world_now(database)
            async with database.connection() as connection, connection.transaction():
                made = await memories.give(connection, persona["id"], body, now=now, importance=importance)
                await record(connection, None, "memory.given", str(persona["id"]), reason=str(made))
            return made

    made = go(work())
    if json:
        show_json({"id": made})
    else:
        err.print(f"{who} remembers it now, as memory {made}.", markup=False)


@app.command()
def forget(
    who: Who,
    memory: Annotated[int | None, typer.Argument(metavar="[ID]", min=1, max=INT64_MAX, help="The memory.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that it remembers.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed memory forget luna 7
      simfeed memory forget luna --all --yes

    Take a memory out of a persona, or all; with a reflection goes what it holds. What happened stays in the ledger.
    """
    if (memory is None) != everything:
        raise Invalid("say which memory, or --all")
    if everything:
        confirm(f"{who} forgets all that it remembers.", yes=yes)

    async def work() -> list[int]:
        async with opened(settings_for(home)) as database:
            persona = await _find(database, who)
            async with database.connection() as connection, connection.transaction():
                gone = await memories.forget(connection, persona["id"], None if memory is None else [memory])
                if gone:
                    which = "all" if memory is None else str(memory)
                    await record(connection, None, "memory.forgotten", str(persona["id"]), reason=which)
            return gone

    gone = go(work())
    if memory is not None and not gone:
        raise NotFound(f"{who} has no memory {memory}: `simfeed memory list {who}` lists them")
    if json:
        show_json({"forgotten": gone})
    else:
        err.print(f"{who} has forgotten {len(gone)} memories.", markup=False)


def _source(row: Any) -> str:
    """Where a memory came from, in a few words."""
    place = [f"run {row['run_id']}"] if row["run_id"] else []
    place += [f"turn {row['turn_id']}"] if row["turn_id"] else []
    place += [f"{row['object_kind']} {row['object_id']}"] if row["object_kind"] else []
    return ", ".join([row["venue"], *place])


@app.command("echoes")
def echoes(
    who: Annotated[
        str | None, typer.Argument(metavar="[PERSONA]", help="A username or an id; without, anybody.")
    ] = None,
    cycles: Annotated[int, typer.Option(min=0, max=1_000_000, help="So many cycles ago, or more.")] = 10,
    quarrels: Annotated[bool, typer.Option("--quarrels", help="Only of disagreements.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 10,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed memory echoes --quarrels
      simfeed memory echoes luna --cycles 24 --json

    What was written to somebody of whom its writer had just recalled what happened long before: turn and memory.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            persona = None if who is None else (await _find(database, who))["id"]
            found = await memories.echoes(database, persona, cycles=cycles, limit=limit, quarrels=quarrels)
            return [dict(row) for row in found]

    rows = go(read())
    if json:
        show_json(rows)
        return
    for row in rows:
        where = f"run {row['run_id']}, turn {row['turn_id']}, {row['effect']} {row['object_id']}"
        whence = f"run {row['from_run']}, memory {row['memory_id']}, score {row['score']:.3f}"
        out.print(f"@{row['username']} to @{row['about']}, {row['cycles']} cycles later ({where}):", markup=False)
        out.print(f"    {row['said']}\n  remembered ({whence}):\n    {row['memory']}", markup=False, highlight=False)
    if rows:
        err.print(f"simfeed trace --turn {rows[0]['turn_id']} reads the first.", markup=False)
    else:
        err.print(f"Nobody has written of what it remembered from {cycles} cycles ago.", markup=False)
