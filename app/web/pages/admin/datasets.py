"""Packages of data: what goes into one, its codebook, and those that were built."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.analysis import state as states
from app.analysis.dataset import codebook
from app.analysis.dataset.options import FORMATS
from app.analysis.dataset.schema import shapes
from app.db import worlds as databases
from app.db.worlds import HOME
from app.errors import AppError, Conflict, NotFound
from app.web import experiment_deeds as deeds
from app.web.api.datasets import package_file, packing_of, with_doi
from app.web.api.experiment_schemas import DatasetWish, DoiWish
from app.web.deps import House, TheHouse
from app.web.inputs import next_cursor, read_cursor
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world import datasets, worlds
from app.world.datasets import DATASETS
from app.world.experiments import EXPERIMENTS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/datasets", include_in_schema=False)
HERE = router.prefix
PAGE, EXPERIMENTS_SHOWN = 20, 50
DatasetKey = Annotated[str, Path(pattern=r"^[a-z0-9]{12}$")]
PSEUDONYMS = (
    ("none", "names as they are"),
    ("names", "other names where names stand"),
    ("all", "other names, also in what anybody wrote"),
)
TABLES_FIRST = ("personas", "posts", "comments", "likes", "follows", "runs", "turns", "calls", "actions", "exposures")
NONE_CHOSEN = "none is chosen: choose at least one"
DONE |= {
    "dataset-begun": "The package is being built.",
    "dataset-deleted": "The package is deleted.",
    "dataset-published": "The DOI is kept.",
}


class DatasetsQuery(BaseModel):
    """Where the list goes on, and what the form begins with."""

    model_config = ConfigDict(extra="ignore")

    cursor: Annotated[str, Field(max_length=400)] | None = None
    world: Annotated[str, Field(max_length=40)] | None = None
    experiment: Annotated[str, Field(max_length=12)] | None = None


@router.get("")
async def datasets_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The form that builds a package, and the packages there are."""
    query = checked(DatasetsQuery, request)
    source = f"experiment:{query.experiment}" if query.experiment else f"world:{query.world or HOME}"
    return await _show(request, house, viewer, {"source": source, "pseudonyms": "none", "title": "", "licence": ""})


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    given: Mapping[str, Any],
    *,
    problem: str = "",
    wrong: Mapping[str, str] | None = None,
    counted: Mapping[str, int] | None = None,
    status: int = 200,
) -> Response:
    if house.world:
        raise Conflict(f"this server is in the world {house.world}; packages are built by the home world's server")
    query = checked(DatasetsQuery, request)
    scope = ("datasets page",)
    before = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else INT64_MAX
    rows = await house.database.fetch(DATASETS["listed"], before, PAGE + 1)
    following = next_cursor(house.secret, scope, rows, PAGE)
    ready = [one.name for one in await worlds.everything(house.database) if one.state == "ready"]
    runs = await house.database.fetch(EXPERIMENTS["listed"], INT64_MAX, EXPERIMENTS_SHOWN)
    names = list(shapes())
    return render(
        request,
        "admin/datasets.html",
        viewer=viewer,
        status=status,
        given={"tables": names, "formats": list(FORMATS), "safe": "", **given},
        problem=problem,
        wrong=wrong or {},
        counted=counted,
        sources=[(f"world:{name}", f"the world {name}") for name in (ready or [HOME])]
        + [(f"experiment:{one['key']}", f"the experiment {one['name'] or one['key']}") for one in runs],
        tables=[(name, codebook.table_meaning(name)) for name in sorted(names, key=_place)],
        formats=FORMATS,
        pseudonyms=PSEUDONYMS,
        rows=[datasets.told(row) for row in rows[:PAGE]],
        moves=any(row["state"] == "running" for row in rows[:PAGE]),
        older=f"{HERE}?" + urlencode({"cursor": following}) if following else "",
    )


def _place(name: str) -> tuple[int, str]:
    return (TABLES_FIRST.index(name) if name in TABLES_FIRST else len(TABLES_FIRST)), name


@router.post("")
async def build(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Build a package, or only count what would be in it."""
    kind, _, about = form["source"].partition(":")
    given = {
        "source": form["source"][:100],
        "pseudonyms": form["pseudonyms"],
        "title": form["title"][:200],
        "licence": form["licence"][:200],
        "tables": [name for name in form.all("tables") if name in shapes()],
        "formats": [name for name in form.all("formats") if name in FORMATS],
        "safe": form["safe"],
    }
    try:
        wish = DatasetWish.model_validate(
            {
                "kind": kind,
                "about": about,
                "spreadsheet_safe": given["safe"] == "yes",
                **{name: given[name] for name in ("tables", "formats", "pseudonyms", "title", "licence")},
            }
        )
    except ValidationError as error:
        wrong = _faults(error)
        said = "; ".join(f"{place}: {words}" for place, words in wrong.items())
        return await _show(request, house, viewer, given, problem=said, wrong=wrong, status=422)
    try:
        async with deeds.at_home(house) as home:
            if form["do"] == "preview":
                counted = await _counted(house, wish)
                return await _show(request, house, viewer, given, counted=counted)
            asked = wish.model_dump(exclude={"kind", "about"})
            key = await packing_of(request).begin(wish.kind, wish.about, asked, by=viewer.admin.id)
            await deeds.noted(home, viewer.admin.id, "dataset.begun", key, of=f"{wish.kind} {wish.about}")
    except AppError as error:
        return await _show(request, house, viewer, given, problem=error.detail, status=error.status)
    return go_to(HERE, done="dataset-begun")


def _faults(error: ValidationError) -> dict[str, str]:
    """What is wrong with a wish, by field, in words for people."""
    found: dict[str, str] = {}
    for one in error.errors():
        short = one["type"] == "too_short"
        found.setdefault(str(one["loc"][0]), NONE_CHOSEN if short else one["msg"].removeprefix("Value error, "))
    return found


async def _counted(house: House, wish: DatasetWish) -> dict[str, int]:
    """Rows by table; of an experiment, of the world in which its runs begin.

    Raises:
        NotFound: there is no such world.
    """
    name = wish.about
    if wish.kind == "experiment":
        row = await house.database.fetchrow(EXPERIMENTS["experiment"], wish.about)
        if row is None or row["start_world"] is None:
            raise NotFound(f"the experiment {wish.about} has no worlds: it never ran, or they were deleted")
        name = row["start_world"]
    found = await states.state_at(await databases.locate(house.database.url, name), states.Terms("all", "all"))
    wanted = set(wish.tables or shapes())
    return {one.table: one.rows for one in found.tables if one.table in wanted}


@router.get("/codebook")
async def codebook_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """What each column of each table is."""
    found: dict[str, list[codebook.Entry]] = {}
    for one in codebook.entries(list(shapes().values())):
        found.setdefault(one.table, []).append(one)
    meanings = {name: codebook.table_meaning(name) for name in found}
    ordered = dict(sorted(found.items(), key=lambda item: _place(item[0])))
    return render(request, "admin/dataset_codebook.html", viewer=viewer, tables=ordered, meanings=meanings)


@router.get("/{dataset_key}/download")
async def download(request: Request, house: TheHouse, viewer: TheViewer, dataset_key: DatasetKey) -> Response:
    """A package's file."""
    async with deeds.at_home(house) as home:
        return await package_file(request, await datasets.found(home, dataset_key))


@router.post("/{dataset_key}")
async def change(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, dataset_key: DatasetKey
) -> Response:
    """Keep its DOI, or delete it."""
    given = {"source": f"world:{HOME}", "pseudonyms": "none", "title": "", "licence": ""}
    if form["do"] == "delete":
        async with deeds.at_home(house) as home:
            await packing_of(request).drop(dataset_key)
            await deeds.noted(home, viewer.admin.id, "dataset.deleted", dataset_key)
        return go_to(HERE, done="dataset-deleted")
    try:
        wish = DoiWish.model_validate({"doi": form["doi"].strip().removeprefix("https://doi.org/")})
    except ValidationError:
        said = "A DOI looks like 10.5281/zenodo.1234567; nothing was kept."
        return await _show(request, house, viewer, given, problem=said, status=422)
    await with_doi(house, viewer.admin.id, dataset_key, wish.doi)
    return go_to(HERE, done="dataset-published")
