"""Experiments: the list, and the builder that plans one."""

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.db.worlds import HOME
from app.errors import AppError, Conflict, Invalid
from app.experiments import planning
from app.experiments.examples import EXAMPLES
from app.experiments.outcomes import known as known_outcomes
from app.experiments.planning import Estimate
from app.web import experiment_deeds as deeds
from app.web.deps import House, TheHouse
from app.web.inputs import next_cursor, read_cursor
from app.web.pages.admin.experiment_fields import (
    BLANK,
    CARDS,
    WrongFieldsError,
    as_text,
    cards,
    data_of,
    design_of,
    families,
    located,
    typed,
)
from app.web.pages.admin.runs import duration, workers_alive
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world import worlds
from app.world.experiments import EXPERIMENTS
from app.world.ranking import RANKERS, SUGGESTERS
from app.world.text import INT64_MAX

router = APIRouter(prefix="/admin/experiments", include_in_schema=False)
HERE = router.prefix
PAGE = 20
VENUES = (
    ("feed", "the feed: cycles of turns"),
    ("chatroom", "a chatroom, its participant played too"),
    ("dialogue", "a dialogue"),
    ("focus_group", "a focus group"),
    ("survey", "a survey"),
    ("interview", "interviews"),
)
EXAMPLE_WORDS: Mapping[str, str] = {
    "rankers": "Two ways to rank the feed, and whether one concentrates attention.",
    "cups": "The same people in a focus group, asked about a cup with and without a deposit.",
    "prompt": "One sentence in everybody’s prompt, or a piece of news, and what it does to the tone.",
    "room": "A chatroom whose agents are told to be kind, or nothing; its participant is played too.",
}
DONE |= {
    "experiment-planned": "The experiment is planned. Nothing of it has run yet.",
    "experiment-run": "The experiment runs.",
}


class ListQuery(BaseModel):
    """What the address of the list may say."""

    model_config = ConfigDict(extra="ignore")

    cursor: Annotated[str, Field(max_length=400)] | None = None


class NewQuery(BaseModel):
    """How the builder begins: as a form or as text, with an example."""

    model_config = ConfigDict(extra="ignore")

    mode: Literal["form", "text"] = "form"
    example: Annotated[str, Field(max_length=40)] | None = None


@router.get("")
async def experiments_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The newest experiments."""
    query = checked(ListQuery, request)
    scope = ("experiments page",)
    before = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else INT64_MAX
    rows = [] if house.world else await house.database.fetch(EXPERIMENTS["listed"], before, PAGE + 1)
    following = next_cursor(house.secret, scope, rows, PAGE)
    return render(
        request,
        "admin/experiments.html",
        viewer=viewer,
        rows=rows[:PAGE],
        first=not query.cursor,
        examples=EXAMPLE_WORDS,
        older=f"{HERE}?" + urlencode({"cursor": following}) if following else "",
    )


@router.get("/new")
async def new_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The builder, blank or with an example."""
    query = checked(NewQuery, request)
    texts = {**BLANK, "mode": query.mode}
    if query.example in EXAMPLES:
        texts |= {"mode": "text", "text": EXAMPLES[query.example]}
    return await _form(request, house, viewer, texts, {"primary": ["attention_gini"], "exploratory": []})


@router.post("/new")
async def build(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Check a design and tell what it takes; show it as text; plan it; plan it and run it."""
    texts, ticked = typed(form)
    try:
        if form["do"] == "text":
            return await _form(
                request, house, viewer, {**texts, "text": as_text(data_of(texts, ticked)), "mode": "text"}, ticked
            )
        design = design_of(texts, ticked)
        if form["do"] in ("plan", "run"):
            key = await deeds.plan(house, viewer.admin.id, design, run=form["do"] == "run")
            return go_to(f"{HERE}/{key}", done=f"experiment-{'run' if form['do'] == 'run' else 'planned'}")
        async with deeds.at_home(house) as home:
            told = await planning.check(home, house.settings, design)
    except WrongFieldsError as error:
        return await _form(request, house, viewer, texts, ticked, wrong=error.wrong, status=422)
    except Invalid as error:
        return await _form(request, house, viewer, texts, ticked, wrong=located(texts, error), status=422)
    except AppError as error:
        return await _form(request, house, viewer, texts, ticked, wrong={"form": error.detail}, status=error.status)
    return await _form(request, house, viewer, texts, ticked, foretold=told)


async def _form(
    request: Request,
    house: House,
    viewer: Viewer,
    texts: Mapping[str, str],
    ticked: Mapping[str, list[str]],
    *,
    wrong: Mapping[str, str] | None = None,
    foretold: Estimate | None = None,
    status: int = 200,
) -> Response:
    if house.world:
        raise Conflict(f"this server is in the world {house.world}; experiments are kept by the home world's server")
    known = [one.name for one in await worlds.everything(house.database) if one.state == "ready"]
    filled = cards(texts)
    return render(
        request,
        "admin/experiment_new.html",
        viewer=viewer,
        status=status,
        given=texts,
        ticked=ticked,
        wrong=wrong or {},
        foretold=foretold,
        cards=[(n, n <= max(2, len(filled)) or n in filled) for n in CARDS],
        venues=VENUES,
        worlds=[(name, name) for name in (known or [HOME])],
        families=families(),
        figures=known_outcomes("dialogue"),
        room_figures=known_outcomes("chatroom"),
        rankers=[("", "as the server has it"), *((name, name) for name in RANKERS)],
        suggesters=[("", "as the server has it"), ("off", "off"), *((name, name) for name in SUGGESTERS)],
        examples=EXAMPLE_WORDS,
        model=house.settings.simfeed_model,
        workers=await workers_alive(house.database),
        duration=duration,
    )
