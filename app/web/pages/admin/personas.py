"""The members, many at a time: the list, what is done to several at once, import and export."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Literal, cast
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.agent.population import PersonaFormat, ReadResult, parse_personas
from app.auth.admins import record
from app.errors import AppError, Conflict, Invalid
from app.ledger import spend
from app.web.deps import House, TheHouse
from app.web.edge import BODY_MAX
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import DONE, PRIVATE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer
from app.web.pages.sheet import sheet
from app.world import personas, roster
from app.world.feed import Row
from app.world.text import INT64_MAX, Query

router = APIRouter(include_in_schema=False)
HERE = "/admin/personas"
PAGE_SIZE = 50
EXPORT_BATCH = 1_000
SHOWN_MAX = 50
NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
DONE |= {
    "personas-paused": "They are paused and will not wake.",
    "personas-resumed": "They wake again from the next cycle on.",
    "personas-departed": "They have departed. What they made stays.",
    "personas-imported": "They have moved in and take part from the next cycle on.",
}
RANKED: tuple[spend.Rank, ...] = ("cost", "failures", "recent")


class ListQuery(BaseModel):
    """What the address of the list may say."""

    model_config = ConfigDict(extra="ignore")

    q: Query | None = None
    sort: Literal["newest", "oldest", "name", "posts", "cost", "failures", "recent"] = "newest"
    state: roster.Who = "here"
    cursor: Annotated[str, Field(max_length=400)] | None = None


async def _listed(house: House, query: ListQuery) -> tuple[list[Row], str]:
    """The rows of a page, and the cursor of the next one; empty on the last."""
    scope = ("personas", query.sort, query.state, query.q)
    after = roster.After(*read_cursor(house.secret, scope, query.cursor)) if query.cursor else None
    words, limit = query.q or "", PAGE_SIZE + 1
    if query.sort in RANKED:
        rows = await spend.ranked(house.database, by=query.sort, who=query.state, words=words, after=after, limit=limit)
    else:
        sort = cast(roster.Sort, query.sort)
        rows = await roster.page(house.database, sort=sort, who=query.state, words=words, after=after, limit=limit)
    shown = rows[:PAGE_SIZE]
    more = len(rows) > len(shown)
    return shown, sign_cursor(house.secret, scope, (shown[-1]["id"], shown[-1]["rank"])) if more else ""


def _address(query: ListQuery, base: str = HERE, **changed: str) -> str:
    kept = {"q": query.q or "", "sort": query.sort, "state": query.state, "cursor": query.cursor or "", **changed}
    defaults = {"sort": "newest", "state": "here"}
    given = {name: value for name, value in kept.items() if value and value != defaults.get(name)}
    return base + ("?" + urlencode(given) if given else "")


@router.get(HERE)
async def personas_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """All personas, fifty at a time."""
    query = checked(ListQuery, request)
    rows, more = await _listed(house, query)

    def sorted_by(sort: str) -> str:
        return _address(query, sort=sort, cursor="")

    def of_state(state: str) -> str:
        return _address(query, state=state, cursor="")

    return render(
        request,
        "admin/personas.html",
        viewer=viewer,
        personas=rows,
        spent=await spend.of_personas(house.database, [row["id"] for row in rows]),
        counts=await roster.counts(house.database),
        query=query,
        sorted_by=sorted_by,
        of_state=of_state,
        first_page=_address(query, cursor=""),
        older=_address(query, cursor=more) if more else "",
        csv=_address(query, HERE + ".csv"),
        back=_address(query),
        model=house.settings.simfeed_model,
        lately=spend.LATELY if query.sort in RANKED else 0,
    )


@router.get(HERE + ".csv")
async def personas_csv(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The rows that the page of the same query shows."""
    rows, _ = await _listed(house, checked(ListQuery, request))
    spent = await spend.of_personas(house.database, [row["id"] for row in rows])
    columns = ("id", "username", "display_name", "model", "status", "posts")
    cells = [
        (
            *(row[name] for name in ("id", "username", "display_name", "model", "status", "posts_count")),
            *(spent[row["id"]][name] for name in ("last_turn", "usd", "turns", "failed")),
        )
        for row in rows
    ]
    return sheet("personas", (*columns, "last_turn", "cost_usd_7d", "turns_7d", "failed_7d"), cells)


def _back(form: Form, fallback: str = HERE) -> str:
    """Where a form wants to return to, if that is among these pages."""
    address = form["back"]
    ours = address == HERE or address.startswith((HERE + "?", HERE + "/"))
    return address if ours and address.isascii() and address.isprintable() and len(address) < 1_000 else fallback


def _chosen(form: Form) -> list[int]:
    """The personas that are ticked.

    Raises:
        Invalid: none is, or what is no number.
    """
    given = form.all("persona")
    if not given:
        raise Invalid("choose at least one persona: tick the box before its name, then choose what to do")
    if any(not NUMBER.fullmatch(text) or int(text) > INT64_MAX for text in given):
        raise Invalid("the form names a persona that can't be")
    return sorted({int(text) for text in given})


@router.post(HERE + "/bulk")
async def bulk(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Pause, wake or remove several; who removes is first told what that means."""
    ids, wish = _chosen(form), form["do"]
    if wish == "remove" and form["sure"] != "yes":
        return await _ask(request, house, viewer, ids, _back(form))
    async with house.database.connection() as connection, connection.transaction():
        match wish:
            case "pause":
                changed, done = await roster.set_status(connection, ids, "paused"), "paused"
            case "resume":
                changed, done = await roster.set_status(connection, ids, "active"), "resumed"
            case "remove":
                changed, done = await roster.depart(connection, ids), "departed"
            case _:
                raise Invalid("choose what to do: pause, wake or remove")
        for row in changed:
            await record(connection, viewer.admin.id, f"persona.{done}", str(row["id"]), username=row["username"])
    return go_to(_back(form), done=f"personas-{done}")


async def _ask(request: Request, house: House, viewer: Viewer, ids: list[int], back: str) -> Response:
    rows = [row for row in await roster.some(house.database, ids) if row["status"] != "departed"]
    if not rows:
        raise Conflict("they have all departed already")
    return render(request, "admin/persona_remove.html", viewer=viewer, personas=rows, back=back)


@router.get(HERE + "/export")
async def export(house: TheHouse, viewer: TheViewer) -> Response:
    """All who are here, as `simfeed personas import` reads them."""

    async def written() -> AsyncIterator[bytes]:
        last, lead = 0, b"[\n"
        while rows := await personas.listed(house.database, after=last, limit=EXPORT_BATCH):
            specs = (personas.spec_of(row).model_dump(exclude_defaults=True) for row in rows)
            yield lead + b",\n".join(msgspec.json.encode(spec) for spec in specs)
            last, lead = rows[-1]["id"], b",\n"
        yield b"\n]\n" if last else b"[]\n"

    headers = {"Content-Disposition": 'attachment; filename="personas.json"', "Cache-Control": PRIVATE}
    return StreamingResponse(written(), 200, headers, "application/json")


@router.get(HERE + "/import")
async def import_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Paste a file, see what would be made, then make it."""
    return _show_import(request, viewer, Form({}))


@router.post(HERE + "/import")
async def import_personas(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Tell what would be made; or, told to, make all or none."""
    try:
        kind = PersonaFormat(form["format"]) if form["format"] else None
        found = parse_personas(form["text"].encode("utf-8", "surrogatepass"), _name(form), kind)
    except ValueError:
        return _show_import(request, viewer, form, problem="choose one of the formats", status=422)
    except AppError as error:
        return _show_import(request, viewer, form, problem=error.detail, status=error.status)
    async with house.database.connection() as connection:
        taken = await personas.taken(connection, [spec.username for spec in found.personas])
    right = not found.problems and not taken
    if form["do"] != "make" or not right:
        return _show_import(request, viewer, form, found, taken, status=200 if right else 422)
    try:
        async with house.database.connection() as connection, connection.transaction():
            made = await personas.add(connection, found.personas)
            names = [row["username"] for row in made[:SHOWN_MAX]]
            await record(connection, viewer.admin.id, "persona.imported", f"{len(made)} personas", usernames=names)
    except Conflict as error:
        return _show_import(request, viewer, form, problem=error.detail, status=409)
    return go_to(HERE, done="personas-imported")


def _name(form: Form) -> str:
    name = "".join(c for c in form["name"][:120] if c.isprintable()).strip()
    return name or "the text"


def _show_import(
    request: Request,
    viewer: Viewer,
    form: Form,
    found: ReadResult | None = None,
    taken: set[str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    return render(
        request,
        "admin/personas_import.html",
        viewer=viewer,
        status=status,
        given={name: form[name] for name in ("text", "format", "name")},
        formats=[("", "as the text tells"), *((kind.value, kind.value) for kind in PersonaFormat)],
        found=found,
        taken=sorted(taken or ()),
        problem=problem,
        shown=SHOWN_MAX,
        most=BODY_MAX,
    )
