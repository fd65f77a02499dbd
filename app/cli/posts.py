"""`simfeed posts`: the kill switch of a post, and what was flagged."""

from typing import Annotated, Any

import msgspec
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
    "  simfeed posts quarantine 7 --lift\n  simfeed posts reports\n  simfeed posts close 7 --verdict hidden\n\n"
    "What spreads, leaks or was reported, and the kill switch of a post.",
)


@app.command()
def quarantine(
    post: Annotated[int, typer.Argument(metavar="ID", min=1, max=INT64_MAX, help="The post.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the quarantine.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="Show it again.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="Hide what quotes it, too.")] = False,
    comment: Annotated[bool, typer.Option("--comment", help="ID is a comment's.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed posts quarantine 7 --reason "asks to be repeated"
      simfeed posts quarantine 7 --cascade
      simfeed posts quarantine 7 --lift
      simfeed posts quarantine 31 --comment

    Hide a post, its reposts and its known copies from everybody; or show them again, as they were. With --cascade what
    quotes it (or answers the comment) goes with it; --lift shows all that was hidden with it.
    """
    if lift and cascade:
        raise Invalid("--lift shows all that was hidden with it: leave --cascade out")
    why, kind = _why(reason), _kind(comment)

    async def work() -> moderation.Changed:
        async with opened(settings_for(home)) as database, database.connection() as connection:
            async with connection.transaction():
                by = By("operator")
                if lift:
                    changed = await moderation.lift(connection, post, by=by, reason=why, kind=kind)
                else:
                    changed = await moderation.quarantine(
                        connection, post, by=by, reason=why, kind=kind, cascade=cascade
                    )
                deed = f"{kind}.released" if lift else f"{kind}.quarantined"
                await record(connection, None, deed, str(post), reason=why)
            return changed

    changed = go(work())
    if json:
        show_json({f"{kind}_id": post, "quarantined": not lift, "posts": changed.posts, "comments": changed.comments})
        return
    what = f"{changed.posts} posts and {changed.comments} comments"
    state = (
        "are seen again"
        if lift
        else f"are hidden; `simfeed posts quarantine {post}{' --comment' * comment} --lift` shows them again"
    )
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


def _why(reason: str) -> str:
    try:
        return TypeAdapter(Note).validate_python(reason)
    except ValidationError as error:
        raise Invalid(f"--reason {error.errors()[0]['msg']}") from None


def _kind(comment: bool) -> moderation.Hideable:
    return "comment" if comment else "post"


@app.command()
def reports(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many posts.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed posts reports
      simfeed posts reports --limit 100 --json

    Posts that members have reported and nobody has judged yet, the one reported last first.
    """

    async def read() -> list[dict[str, Any]]:
        async with opened(settings_for(home)) as database:
            rows = await moderation.open_reports(database, limit)
        return [{**row, "reasons": msgspec.json.decode(row["reasons"])} for row in rows]

    rows = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["post_id"], f"@{r['author_username']}", r["reports"], "; ".join(r["reasons"]), r["text"], r["last_at"])
        for r in rows
    ]
    table("", "post", "by", "reports", "reasons", "text", "last", rows=cells, empty="No report is open.")


@app.command()
def close(
    post: Annotated[int, typer.Argument(metavar="ID", min=1, max=INT64_MAX, help="The reported post.")],
    verdict: Annotated[moderation.Verdict, typer.Option(help="It stays, or it is hidden with its cascade.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed posts close 7 --verdict dismissed
      simfeed posts close 7 --verdict hidden --reason "insults a neighbour"

    Judge the open reports of a post. Hidden are the post, its reposts, what quotes it, and its known copies.
    """
    why = _why(reason)

    async def work() -> moderation.Closed:
        async with opened(settings_for(home)) as database, database.connection() as connection:
            async with connection.transaction():
                closed = await moderation.close_reports(connection, post, verdict, by=By("operator"), reason=why)
                if closed.reports:
                    detail = {"verdict": verdict, "reason": why, "reports": closed.reports}
                    await record(connection, None, "reports.closed", str(post), **detail)
            return closed

    closed = go(work())
    if json:
        hidden = {"posts": closed.changed.posts, "comments": closed.changed.comments}
        show_json({"post_id": post, "verdict": verdict, "closed": closed.reports, **hidden})
        return
    if not closed.reports:
        err.print("They were closed so already.", markup=False)
        return
    hidden_now = f"; {closed.changed.posts} posts and {closed.changed.comments} comments are hidden"
    err.print(f"{closed.reports} reports are closed{hidden_now if verdict == 'hidden' else ''}.", markup=False)


def _of(kind: str | None, number: int | None) -> str:
    return "" if kind is None else f"{kind} {number}"
