"""A study as it is written: the form, its rows, a file to begin from, and the preview."""

import re
import tomllib
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.errors import AppError, Conflict
from app.venues.chatroom import studies
from app.venues.chatroom.design import StudyDesign, StudyName
from app.venues.chatroom.export import toml
from app.venues.chatroom.files import problems
from app.web.deps import House, TheHouse
from app.web.edge import BODY_MAX
from app.web.inputs import PathId, QueryId
from app.web.pages.admin.persona import models_known
from app.web.pages.admin.persona_form import WrongFields
from app.web.pages.admin.study_form import FIELDS_MOST, MOST, Fields, blank, design_in, fields_in, fields_of, reshape
from app.web.pages.admin.study_preview import pages_of, prompts_of
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.participant import withdrawal_place
from app.web.pages.session import Form, TheViewer, Viewer, own_form, read_form
from app.world import studies as rows
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
HERE = "/admin/studies"
NAME: TypeAdapter[str] = TypeAdapter(StudyName)
WHOLE = re.compile(r"[0-9]{1,19}", re.ASCII)
PROBLEMS_SHOWN = 60
DONE |= {
    "study-made": "The draft is kept. Nobody can come in before you open it.",
    "study-saved": "Saved.",
}


async def designers_form(request: Request, house: TheHouse, viewer: TheViewer) -> Form:
    """A form of our pages with as many fields as a design may have."""
    return own_form(house.secret, viewer, await read_form(request, FIELDS_MOST))


DesignForm = Annotated[Form, Depends(designers_form)]


def _show(
    request: Request,
    viewer: Viewer,
    fields: Fields,
    *,
    study: Any = None,
    name: str = "",
    seed: str = "",
    mark: str = "",
    wrong: dict[str, str] | None = None,
    seen: dict[str, Any] | None = None,
    stale: bool = False,
    read: dict[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """The builder: with what is wrong at each field, and a preview where one was asked for."""
    return render(
        request,
        "admin/study_edit.html",
        viewer=viewer,
        status=status,
        fields=fields,
        study=study,
        name=name,
        seed=seed,
        mark=mark,
        wrong=wrong or {},
        seen=seen,
        stale=stale,
        read=read or {"text": "", "problems": [], "problem": ""},
        most=MOST,
        body_most=BODY_MAX,
        models=models_known(),
        model=request.app.state.house.settings.simfeed_model,
    )


async def seen_of(request: Request, house: House, design: StudyDesign, seed: int | None) -> dict[str, Any]:
    """What the preview shows of a design; without a seed, personas are made up as for the seed 0."""
    return {
        "pages": pages_of(design, withdrawal_place(request)),
        "prompts": await prompts_of(house, design, seed or 0),
        "toml": toml(design),
        "seeded": seed is not None,
        "block": design.block_size,
    }


@router.get(HERE + "/new")
async def new_page(request: Request, house: TheHouse, viewer: TheViewer, like: QueryId | None = None) -> Response:
    """An empty builder; or, with `like`, that of a copy."""
    if like is None:
        return _show(request, viewer, blank())
    row = await rows.get(house.database, like)
    fields = fields_of((await studies.show(house.database, like)).design)
    return _show(request, viewer, fields, name=f"{row['name'][:54]} copy")


@router.post(HERE + "/new")
async def create(request: Request, house: TheHouse, viewer: TheViewer, form: DesignForm) -> Response:
    """Keep a new draft; or change the form's rows, or show how it would be."""
    fields, name, seed = fields_in(form), form["name"], form["seed"]
    if reshape(fields, form["do"]):
        return _show(request, viewer, fields, name=name, seed=seed)
    wrong: dict[str, str] = {}
    design = _design(fields, wrong)
    number = _seed(seed, wrong)
    if form["do"] == "preview":
        return await _preview(request, house, viewer, form, fields, design, wrong, number, name=name, seed=seed)
    try:
        checked = NAME.validate_python(name)
    except ValidationError as error:
        wrong["name"] = error.errors()[0]["msg"]
    if wrong or design is None:
        return _show(request, viewer, fields, name=name, seed=seed, wrong=wrong, status=422)
    try:
        made = await studies.create(house.database, checked, design, seed=number, by=viewer.admin.id)
    except Conflict as error:
        return _show(request, viewer, fields, name=name, seed=seed, wrong={"name": error.detail}, status=409)
    return go_to(f"{HERE}/{made}", done="study-made")


def _design(fields: Fields, wrong: dict[str, str]) -> StudyDesign | None:
    try:
        return design_in(fields)
    except WrongFields as error:
        wrong |= error.wrong
        return None


def _seed(text: str, wrong: dict[str, str]) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not WHOLE.fullmatch(text) or int(text) > INT64_MAX:
        wrong["seed"] = f"must be a whole number from 0 to {INT64_MAX}, or empty"
        return None
    return int(text)


async def _preview(
    request: Request,
    house: House,
    viewer: Viewer,
    form: Form,
    fields: Fields,
    design: StudyDesign | None,
    wrong: dict[str, str],
    number: int | None,
    **more: Any,
) -> Response:
    """The builder with its preview; with `fragment`, the preview alone."""
    seen = await seen_of(request, house, design, number) if design is not None else None
    status = 200 if seen is not None else 422
    if form["fragment"]:
        return render(
            request, "admin/study_preview.html", viewer=viewer, status=status, seen=seen, wrong=wrong, whole=False
        )
    return _show(request, viewer, fields, wrong=wrong, seen=seen, status=status, **more)


@router.post(HERE + "/read")
async def read(request: Request, viewer: TheViewer, form: DesignForm) -> Response:
    """Fill the builder from a file of our own; nothing is kept yet."""
    text, name = form["toml"], form["name"]

    def refused(problem: str, found: list[tuple[str, str]]) -> Response:
        told = {"text": text, "problems": found[:PROBLEMS_SHOWN], "problem": problem}
        return _show(request, viewer, blank(), name=name, read=told, status=422)

    try:
        design = StudyDesign.model_validate(tomllib.loads(text.replace("\r\n", "\n")))
    except ValidationError as error:
        return refused("The file can't be taken as it is:", problems(error))
    except (ValueError, RecursionError) as error:
        return refused(f"This is not valid TOML: {str(error) or 'it is too deep'}", [])
    return _show(request, viewer, fields_of(design), name=name)


@router.get(HERE + "/{draft_id}/edit")
async def edit_page(request: Request, house: TheHouse, viewer: TheViewer, draft_id: PathId) -> Response:
    """The builder of a draft."""
    study = await _draft(house, draft_id)
    return _show(request, viewer, fields_of(study.design), study=study, mark=study.design_sha256)


async def _draft(house: House, study_id: int) -> studies.Study:
    study = await studies.show(house.database, study_id)
    if study.state != "draft":
        raise Conflict(
            f"the study {study.name} is {study.state}: its design is fixed. Make a copy of it to change something"
        )
    return study


@router.post(HERE + "/{draft_id}/edit")
async def edit(request: Request, house: TheHouse, viewer: TheViewer, form: DesignForm, draft_id: PathId) -> Response:
    """Give a draft another design; what somebody else saved meanwhile is not overwritten unasked."""
    study = await _draft(house, draft_id)
    fields, mark = fields_in(form), form["mark"][:64]
    kept: dict[str, Any] = {"study": study, "mark": mark}
    if reshape(fields, form["do"]):
        return _show(request, viewer, fields, **kept)
    wrong: dict[str, str] = {}
    design = _design(fields, wrong)
    if form["do"] == "preview":
        return await _preview(request, house, viewer, form, fields, design, wrong, study.seed, **kept)
    if wrong or design is None:
        return _show(request, viewer, fields, wrong=wrong, status=422, **kept)
    if mark != study.design_sha256:
        return _show(request, viewer, fields, study=study, mark=study.design_sha256, stale=True, status=409)
    try:
        await studies.edit(house.database, draft_id, design, by=viewer.admin.id)
    except AppError as error:
        return _show(request, viewer, fields, wrong={"title": error.detail}, status=error.status, **kept)
    return go_to(f"{HERE}/{draft_id}", done="study-saved")
