"""`simfeed why` and `simfeed runs exposures`: who was shown what, by which ranker, and why."""

from typing import Annotated, Any

import typer

from app.cli.common import Home, Json, err, go, opened, out, settings_for, show_json, table
from app.errors import NotFound
from app.ledger import exposures
from app.settings import Settings
from app.venues.run import TURNS
from app.world import personas
from app.world.text import INT64_MAX

PAGES = 50
"""Pages of turns that are looked through before it is said that there is nothing."""


def why(
    persona: Annotated[str, typer.Argument(help="A persona's number or handle.")],
    post: Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A post's number.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the newest impressions.")] = 20,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed why @max_vantage 17
      simfeed why 3 17 --json

    Why a persona saw a post: each time it was shown, by which ranker, where, with which score and reason.
    """
    found = go(_why(settings_for(home), persona, post, limit))
    if json:
        show_json(found)
        return
    if not found["impressions"]:
        err.print(f"@{found['username']} was never shown post {post}.", markup=False)
        return
    for one in found["impressions"]:
        out.print(_told(one), markup=False, highlight=False)
    err.print("docs/ranking.md has the rankers' formulas; `simfeed trace --turn TURN` the whole reading.", markup=False)


def _told(one: dict[str, Any]) -> str:
    """An impression in a line."""
    numbers = [f"{name} {one[name]:.4g}" for name in ("score", "chance") if one[name] is not None]
    why = [*([one["reason"]] if one["reason"] else []), *numbers]
    where = f"turn {one['turn_id']} of run {one['run_id']}, before step {one['step']}"
    place = f"place {one['rank']} by {one['ranker']} v{one['version']}"
    return f"{one['at']:%Y-%m-%d %H:%M:%S}  {where}: {place}" + (f" ({'; '.join(why)})" if why else "")


async def _why(settings: Settings, persona: str, post: int, limit: int) -> dict[str, Any]:
    async with opened(settings) as database:
        number = persona.isascii() and persona.isdigit() and 0 < int(persona[:20]) <= INT64_MAX
        who = await (personas.get(database, int(persona)) if number else personas.by_username(database, persona))
        rows: list[dict[str, Any]] = []
        after: exposures.Place | None = exposures.Place()
        for _ in range(PAGES):
            if after is None or len(rows) >= limit:
                break
            page = await exposures.of_persona(database, who["id"], post_id=post, limit=limit - len(rows), after=after)
            if page is None:
                raise NotFound(f"no post has the number {post}")
            rows += [dict(row) for row in page.rows]
            after = page.following
        return {"persona_id": who["id"], "username": who["username"], "post_id": post, "impressions": rows}


def of_run(
    number: Annotated[int, typer.Argument(min=1, max=INT64_MAX, help="A run's number.")],
    through: Annotated[
        int | None, typer.Option(min=1, max=INT64_MAX, help="All runs from that to this one, together.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed runs exposures 7
      simfeed runs exposures 7 --through 30
      simfeed runs exposures 7 --json

    What each ranker showed in a run: impressions, different items, how evenly, and how much across leanings.
    """
    last = max(number, through or number)
    rows = go(_of_runs(settings_for(home), number, last))
    if json:
        show_json(rows)
        return
    cells: list[tuple[object, ...]] = [
        (
            f"{r['ranker']} v{r['version']}", r["kind"], f"{r['impressions']:,}", r["viewers"], f"{r['items']:,}",
            f"{r['top_share']:.1%}", f"{r['gini']:.2f}",
            "–" if r["cross_leaning"] is None else f"{r['cross_leaning']:.0%}",
        )
        for r in rows
    ]  # fmt: skip
    head = ("ranker", "what", "impressions", "viewers", "different", "top one's", "Gini", "across leanings")
    which = f"Run {number}" if last == number else f"Runs {number} to {last}"
    table(f"{which}: what was shown", *head, rows=cells, empty="Nobody was shown anything.")
    if cells:
        out.print("The measures: docs/ranking.md.", markup=False)


async def _of_runs(settings: Settings, number: int, last: int) -> list[dict[str, Any]]:
    async with opened(settings) as database:
        if await database.fetchval(TURNS["run_state"], number) is None:
            raise NotFound(f"no run has the number {number}: `simfeed runs` lists them")
        return [dict(row) for row in await exposures.of_runs(database, number, last)]
