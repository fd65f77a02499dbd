"""One member: its editor with the prompt it becomes, a turn that writes nothing, its former versions."""

from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.agent.dry_run import Booth, Opening, Trial, preview
from app.auth.admins import record
from app.errors import Conflict, Invalid, Misconfigured
from app.ledger import spend
from app.llm.gateway import ready
from app.llm.pricing import OFFLINE, SCRIPTED, providers
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, QueryId
from app.web.pages.admin.estimates import estimates
from app.web.pages.admin.persona_form import RANKERS, WrongFields, fields_in, fields_of, spec_in
from app.web.pages.admin.personas import HERE, NUMBER
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.world import personas, versions
from app.world.personas import PersonaSpec
from app.world.text import INT64_MAX, USERNAME_MAX, Line

router = APIRouter(include_in_schema=False)
ONE = HERE + "/{persona_id}"
VERSIONS_SHOWN = 10
NEWEST = 2**31 - 1
BLANK = PersonaSpec.model_construct(username="", description="")
MODEL: TypeAdapter[str] = TypeAdapter(Line)
DONE |= {
    "persona-made": "Moved in. It takes part from the next cycle on.",
    "persona-saved": "Saved. What it was before is in its history.",
    "persona-same": "Nothing was changed.",
    "persona-back": "It is back, with all it made. It is paused: wake it when you like.",
    "persona-restored": "It is as it was then; what it was until now is in its history.",
}


def models_known() -> list[str]:
    """Names to choose from; any other may be typed."""
    priced = (f"{name}/{model}" for name, provider in providers().items() for model in provider.prices)
    return [SCRIPTED, *sorted(priced)]


def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    fields: dict[str, str],
    *,
    row: Any = None,
    number: int = 1,
    mark: str = "",
    wrong: dict[str, str] | None = None,
    conflict: list[versions.Change] | None = None,
    seen: Opening | None = None,
    status: int = 200,
) -> Response:
    return render(
        request,
        "admin/persona.html",
        viewer=viewer,
        status=status,
        fields=fields,
        persona=row,
        number=number,
        mark=mark,
        wrong=wrong or {},
        conflict=conflict or [],
        seen=seen,
        models=models_known(),
        default_model=house.settings.simfeed_model,
        rankers=tuple(RANKERS.items()),
        default_ranker=house.settings.feed_ranker,
        default_temperature=house.settings.model_temperature,
    )


async def _seen(house: House, spec: PersonaSpec, persona_id: int | None) -> Opening:
    return await preview(house.database, house.settings, spec, persona_id)


@router.get(HERE + "/new")
async def new_page(request: Request, house: TheHouse, viewer: TheViewer, like: QueryId | None = None) -> Response:
    """The empty editor; or, with `like`, that of a copy."""
    if like is None:
        return _show(request, house, viewer, fields_of(BLANK))
    spec = personas.spec_of(await personas.present(house.database, like))
    copy = spec.model_copy(update={"username": f"{spec.username[: USERNAME_MAX - 2]}_2"})
    return _show(request, house, viewer, fields_of(copy), seen=await _seen(house, copy, None))


@router.post(HERE + "/new")
async def create(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """A new persona."""
    try:
        spec = spec_in(form)
        async with house.database.connection() as connection, connection.transaction():
            made = (await personas.add(connection, [spec]))[0]
            await record(connection, viewer.admin.id, "persona.created", made["username"])
    except WrongFields as error:
        return _show(request, house, viewer, fields_in(form), wrong=error.wrong, status=422)
    except Conflict as error:
        return _show(request, house, viewer, fields_in(form), wrong={"username": error.detail}, status=409)
    return go_to(f"{HERE}/{made['id']}", done="persona-made")


@router.post(HERE + "/preview")
async def preview_prompt(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """What the model would be told; with `fragment`, that part of the page alone."""
    persona_id = int(form["persona"]) if NUMBER.fullmatch(form["persona"]) else None
    if persona_id is not None and persona_id > INT64_MAX:
        raise Invalid("the form names a persona that can't be")
    wrong: dict[str, str] = {}
    seen = None
    try:
        seen = await _seen(house, spec_in(form), persona_id)
    except WrongFields as error:
        wrong = error.wrong
    status = 422 if wrong else 200
    if form["fragment"]:
        return render(request, "admin/persona_preview.html", viewer=viewer, status=status, seen=seen, wrong=wrong)
    row = await personas.present(house.database, persona_id) if persona_id is not None else None
    number = await versions.number(house.database, persona_id) if persona_id is not None else 1
    return _show(
        request,
        house,
        viewer,
        fields_in(form),
        row=row,
        number=number,
        mark=form["mark"][:64],
        wrong=wrong,
        seen=seen,
        status=status,
    )


@router.get(ONE)
async def persona_page(request: Request, house: TheHouse, viewer: TheViewer, persona_id: PathId) -> Response:
    """The editor; of one who has departed, what stays and the way back."""
    row = await personas.get(house.database, persona_id)
    if row["status"] == "departed":
        return render(request, "admin/persona_departed.html", viewer=viewer, persona=row)
    spec = personas.spec_of(row)
    return _show(
        request,
        house,
        viewer,
        fields_of(spec),
        row=row,
        number=await versions.number(house.database, persona_id),
        mark=versions.mark_of(spec),
        seen=await _seen(house, spec, persona_id),
    )


@router.post(ONE)
async def save(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, persona_id: PathId) -> Response:
    """Replace what the persona was when this form was opened; what somebody else did meanwhile is not lost."""
    row = await personas.present(house.database, persona_id)
    number = await versions.number(house.database, persona_id)
    fields, mark = fields_in(form), form["mark"][:64]
    try:
        spec = spec_in(form).model_copy(update={"original": personas.spec_of(row).original})
        changed = await _replace(house, viewer, persona_id, spec, mark)
    except WrongFields as error:
        return _show(request, house, viewer, fields, row=row, number=number, mark=mark, wrong=error.wrong, status=422)
    except versions.Stale as stale:
        both = versions.changes(stale.now, spec)
        return _show(request, house, viewer, fields, row=row, number=number, mark=stale.mark, conflict=both, status=409)
    except Conflict as error:
        wrong = {"username": error.detail}
        return _show(request, house, viewer, fields, row=row, number=number, mark=mark, wrong=wrong, status=409)
    return go_to(f"{HERE}/{persona_id}", done="persona-saved" if changed else "persona-same")


async def _replace(house: House, viewer: Viewer, persona_id: int, spec: PersonaSpec, mark: str) -> bool:
    async with house.database.connection() as connection, connection.transaction():
        changed = await versions.replace(connection, persona_id, lambda _: spec, by=viewer.admin.id, mark=mark)
        if changed:
            await record(connection, viewer.admin.id, "persona.replaced", str(persona_id))
    return changed


@router.post(ONE + "/return")
async def come_back(house: TheHouse, viewer: TheViewer, form: AdminForm, persona_id: PathId) -> Response:
    """Undo a departure."""
    async with house.database.connection() as connection, connection.transaction():
        username = await versions.come_back(connection, persona_id)
        await record(connection, viewer.admin.id, "persona.returned", str(persona_id), username=username)
    return go_to(f"{HERE}/{persona_id}", done="persona-back")


@router.get(ONE + "/history")
async def history_page(
    request: Request, house: TheHouse, viewer: TheViewer, persona_id: PathId, before: QueryId = NEWEST
) -> Response:
    """What the persona was, newest first, and what each change changed."""
    before = min(before, NEWEST)
    row = await personas.get(house.database, persona_id)
    found = await versions.history(house.database, row, before=before, limit=VERSIONS_SHOWN + 1)
    shown = found[:VERSIONS_SHOWN]
    return render(
        request,
        "admin/persona_history.html",
        viewer=viewer,
        persona=row,
        versions=shown,
        number=await versions.number(house.database, persona_id),
        older=shown[-1].number if len(found) > len(shown) else 0,
        first=before == NEWEST,
    )


@router.post(ONE + "/restore")
async def restore(house: TheHouse, viewer: TheViewer, form: AdminForm, persona_id: PathId) -> Response:
    """Make the persona what it was in a former version; whether it is paused stays as it is."""
    if not NUMBER.fullmatch(form["version"]) or int(form["version"]) > NEWEST:
        raise Invalid("the form names a version that can't be")
    kept = await versions.version(house.database, persona_id, int(form["version"]))
    try:
        spec = PersonaSpec.model_validate(kept.model_dump())
    except ValidationError:
        raise Invalid("this version does not meet today's rules: copy what you want of it into the editor") from None
    async with house.database.connection() as connection, connection.transaction():
        changed = await versions.replace(
            connection, persona_id, lambda now: spec.model_copy(update={"status": now.status}), by=viewer.admin.id
        )
        if changed:
            about = {"version": int(form["version"])}
            await record(connection, viewer.admin.id, "persona.restored", str(persona_id), **about)
    return go_to(f"{HERE}/{persona_id}", done="persona-restored" if changed else "persona-same")


@router.get(ONE + "/try")
async def try_page(request: Request, house: TheHouse, viewer: TheViewer, persona_id: PathId) -> Response:
    """What trying a turn would take."""
    model, wrong = _model(house, request.query_params.get("model", ""))
    return await _show_try(request, house, viewer, persona_id, model, wrong=wrong, status=422 if wrong else 200)


@router.post(ONE + "/try")
async def try_turn(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, persona_id: PathId
) -> Response:
    """Play a turn that writes nothing."""
    await personas.present(house.database, persona_id)
    model, wrong = _model(house, form["model"])
    if wrong:
        return await _show_try(request, house, viewer, persona_id, model, wrong=wrong, status=422)
    trial = await _booth(request).play(house.mind, house.settings, persona_id, model)
    return await _show_try(request, house, viewer, persona_id, model, trial=trial)


def _model(house: House, given: str) -> tuple[str, str]:
    """The model that is asked for, and what is wrong with it."""
    if not given.strip():
        return "", ""
    try:
        model = MODEL.validate_python(given)
        ready(house.settings, model)
    except ValidationError:
        return given[:200], "is no model's name: at most 200 characters, in one line"
    except Misconfigured as error:
        return given[:200], error.detail
    return model, ""


def _booth(request: Request) -> Booth:
    state = request.app.state
    if not hasattr(state, "booth"):
        state.booth = Booth()
    found = state.booth
    assert isinstance(found, Booth)  # noqa: S101 - nobody else writes it
    return found


async def _show_try(
    request: Request,
    house: House,
    viewer: Viewer,
    persona_id: int,
    model: str,
    *,
    wrong: str = "",
    trial: Trial | None = None,
    status: int = 200,
) -> Response:
    row = await personas.present(house.database, persona_id)
    chosen = model or row["model"] or house.settings.simfeed_model
    return render(
        request,
        "admin/persona_try.html",
        viewer=viewer,
        status=status,
        persona=row,
        model=model,
        chosen=chosen,
        offline=chosen in OFFLINE,
        models=models_known(),
        wrong=wrong,
        estimate=await estimates(request).turn(house, chosen) if not wrong else None,
        left=await spend.left_for_turn(house.database, house.settings, persona_id),
        halted=house.mind.pulse.halted,
        trial=trial,
    )
