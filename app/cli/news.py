"""`simfeed news`: what the world is told from outside it. Nothing is fetched: files and words come from here."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.auth.admins import record
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json, table
from app.errors import Invalid
from app.world import news
from app.world.clock import aware, world_now
from app.world.news import NewsItem
from app.world.news_files import Problem, read_news
from app.world.text import INT64_MAX

PROBLEMS_SHOWN = 3
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed news add --title 'The bridge is closed until spring'\n"
    "  simfeed news import feed.xml\n  simfeed news list\n  simfeed news withdraw 3\n\n"
    "What the world is told from outside it.",
)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return aware(datetime.fromisoformat(text))
    except ValueError:
        raise Invalid(
            f"--at must be a time such as 2026-11-20T12:00 (UTC unless it says otherwise), not {text!r}"
        ) from None


@app.command()
def add(
    title: Annotated[str, typer.Option(help="The headline, up to 200 characters.")],
    text: Annotated[str, typer.Option(help="What happened, up to 2,000 characters.")] = "",
    source: Annotated[str, typer.Option(help="Who says so, up to 100 characters.")] = "",
    url: Annotated[str | None, typer.Option(help="Where it stands, for people; nothing is fetched.")] = None,
    at: Annotated[str | None, typer.Option(help="From when it is shown, in the world's time; else at once.")] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed news add --title "The bridge is closed until spring" --source "The Daily Gull"
      simfeed news add --title "Rain" --text "Until Monday." --at 2026-11-21T07:00

    Tell the world something. Personas are offered to read it for seven days of the world's time.
    """
    given = {"title": title, "text": text, "source": source, "url": url, "published_at": _moment(at)}
    try:
        item = NewsItem.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = {"published_at": "at"}.get(str(first["loc"][0]), first["loc"][0])
        raise Invalid(f"--{name}: {first['msg']}") from None
    (number,) = _publish(home, [item])
    if json:
        show_json({"id": number, "published": number is not None})
    elif number is None:
        err.print("The world has an item of that address already; nothing was changed.", markup=False)
    else:
        err.print(f"Item {number} is in the world; `simfeed news withdraw {number}` takes it back.", markup=False)


def _publish(home: Path | None, items: list[NewsItem]) -> list[int | None]:
    async def work() -> list[int | None]:
        async with opened(settings_for(home)) as database:
            now = await world_now(database)
            async with database.connection() as connection, connection.transaction():
                ids = await news.publish(connection, items, now=now)
                for number, item in zip(ids, items, strict=True):
                    if number is not None:
                        await record(connection, None, "news.published", str(number), title=item.title)
                return ids

    return go(work())


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="RSS 2.0, Atom, JSON Feed, or JSON Lines.")],
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Take what is right, tell of the rest.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed news import feed.xml
      simfeed news import items.jsonl --skip-invalid

    Bring the items of a feed file into the world: all of them or, if one is wrong, none. Those whose address or guid
    the world has are left out, and told of. HTML becomes plain text; nothing that the file names is fetched.
    """
    found = read_news(file)
    if found.problems and not skip_invalid:
        raise Invalid(f"{file.name}: {_told(found.problems)}; nothing was changed (--skip-invalid takes the others)")
    ids = _publish(home, found.items) if found.items else []
    known = sum(number is None for number in ids)
    if json:
        wrong = [{"item": p.item, "field": p.field, "message": p.message} for p in found.problems]
        show_json({"ids": ids, "published": len(ids) - known, "known": known, "problems": wrong})
        return
    also = f", {known} known already" * bool(known)
    err.print(f"{len(ids) - known} of {len(ids) + len(found.problems)} items are in the world{also}.", markup=False)
    if found.problems:
        err.print(f"Left out: {_told(found.problems)}", markup=False)


def _told(problems: list[Problem]) -> str:
    more = len(problems) - PROBLEMS_SHOWN
    shown = "; ".join(map(str, problems[:PROBLEMS_SHOWN]))
    return shown + (f"; and {more} more" if more > 0 else "")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed news list
      simfeed news list --limit 100 --json

    The news, newest first; those whose time is to come and those withdrawn, too.
    """

    async def read() -> tuple[list[dict[str, Any]], datetime]:
        async with opened(settings_for(home)) as database:
            return [dict(row) for row in await news.every(database, limit)], await world_now(database)

    rows, now = go(read())
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["published_at"], _state(r, now), r["source"], r["title"], r["admin"] or "the command line")
        for r in rows
    ]
    empty = "There is no news. `simfeed news add --title …` tells the world something."
    table("", "id", "at", "now", "source", "title", "by", rows=cells, empty=empty)


def _state(row: dict[str, Any], now: datetime) -> str:
    if row["withdrawn_at"] is not None:
        return "withdrawn"
    return "shown" if row["published_at"] <= now else "to come"


@app.command()
def withdraw(
    item: Annotated[int, typer.Argument(metavar="ID", min=1, max=INT64_MAX, help="The item.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed news withdraw 3

    Take an item back: nobody is shown it any more; personas from the next cycle on.
    """

    async def work() -> bool:
        async with opened(settings_for(home)) as database, database.connection() as connection:
            async with connection.transaction():
                changed = await news.withdraw(connection, item)
                if changed:
                    await record(connection, None, "news.withdrawn", str(item))
            return changed

    changed = go(work())
    if json:
        show_json({"id": item, "withdrawn": True, "changed": changed})
    else:
        err.print(f"Item {item} is withdrawn." if changed else "It was withdrawn already.", markup=False)
