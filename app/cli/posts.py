"""`simfeed posts`: the kill switch of a post, and what was flagged."""

from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from app.auth.admins import record
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.errors import Invalid
from app.world import moderation
from app.world.moderation import By
from app.world.text import INT64_MAX, Note

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed posts flagged\n  simfeed posts quarantine 7 --reason 'asks to be repeated'\n"
    "  simfeed posts quarantine 7 --lift\n\nWhat spreads or leaks, and the kill switch of a post.",
)


@app.command()
def quarantine(
    post: Annotated[int, typer.Argument(metavar="ID", min=1, max=INT64_MAX, help="The post.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the quarantine.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="Show it again.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed posts quarantine 7 --reason "asks to be repeated"
      simfeed posts quarantine 7 --lift

    Hide a post, its reposts and its known copies from everybody; or show them again, as they were.
    """
    try:
        why = TypeAdapter(Note).validate_python(reason)
    except ValidationError as error:
        raise Invalid(f"--reason {error.errors()[0]['msg']}") from None

    async def work() -> moderation.Changed:
        change = moderation.lift if lift else moderation.quarantine
        async with opened(settings_for(home)) as database, database.connection() as connection:
            async with connection.transaction():
                changed = await change(connection, post, by=By("operator"), reason=why)
                await record(connection, None, "post.released" if lift else "post.quarantined", str(post), reason=why)
            return changed

    changed = go(work())
    if json:
        show_json({"post_id": post, "quarantined": not lift, "posts": changed.posts, "comments": changed.comments})
        return
    what = f"{changed.posts} posts and {changed.comments} comments"
    state = "are seen again" if lift else f"are hidden; `simfeed posts quarantine {post} --lift` shows them again"
    err.print(f"{what} {state}." if changed.posts or changed.comments else "It was so already.", markup=False)


@app.command()
def flagged(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed posts flagged
      simfeed posts flagged --limit 100 --json

    The newest marked texts: near copies of what their writer had just read, and own instructions that were told.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await moderation.flagged(database, limit)]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (
            r["mark"],
            f"{r['kind']} {r['object_id']}",
            f"@{r['username']}",
            _of(r["source_kind"], r["source_id"]),
            r["similarity"],
            _of(r["origin_kind"], r["origin_id"]),
            r["generation"],
            "hidden" if r["quarantined"] else "seen",
            r["created_at"],
        )
        for r in rows
    ]
    columns = ("mark", "what", "by", "copies", "similarity", "origin", "generation", "now", "at")
    table("", *columns, rows=cells, empty="Nothing was flagged.")


def _of(kind: str | None, number: int | None) -> str:
    return "" if kind is None else f"{kind} {number}"
