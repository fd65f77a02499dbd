"""One experiment: its design, its runs as they stand, what was promised, and the forms that steer it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.db.engine import Database
from app.errors import AppError, Conflict, Invalid, NotFound
from app.experiments import freezing
from app.experiments.deviations import deviations
from app.experiments.runner import design_of
from app.experiments.said import said_in
from app.experiments.standing import Standing, standing
from app.ledger.pulse import PULSE
from app.web import experiment_deeds as deeds
from app.web.api.experiments import frozen_of, report_of
from app.web.deps import House, TheHouse
from app.web.inputs import PathId
from app.web.pages.admin.experiment_fields import WrongFieldsError, as_text, table_of
from app.web.pages.admin.runs import duration, workers_alive
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.parts import compact
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.web.pages.sheet import PRIVATE
from app.world import experiments
from app.world.sessions import decoded

router = APIRouter(prefix="/admin/experiments", include_in_schema=False)
HERE = router.prefix
ExperimentKey = Annotated[str, Path(pattern=r"^[a-z0-9]{12}$")]
Deed = Literal["run", "stop", "freeze", "freeze-late"]
STANDING = ("paused", "stopped", "budget_exhausted", "failed", "partial")
"""States from which an experiment can go on."""

LINES = 300
"""Lines of a run that a page shows."""

DONE |= {
    "experiment-stop": "It stops: no further cycle is begun. What is done stays.",
    "experiment-freeze": "The design is frozen. What is changed from now on is told beside it.",
    "experiment-resumed": "The experiment goes on.",
    "experiment-excluded": "The run is left out of comparisons; it is shown all the same.",
    "experiment-included": "The run counts again, unless a rule leaves it out.",
    "experiment-amended": "The design is changed, and the change is noted.",
    "experiment-worlds-dropped": "The worlds of its runs are deleted. What they came to stays.",
    "experiment-deleted": "The experiment is deleted.",
}


class Caps(BaseModel):
    """A budget as a form has it: the new whole; empty leaves it as it is."""

    model_config = ConfigDict(extra="ignore")

    tokens: Annotated[int, Ge(1), Le(10**15)] | None = None
    usd: Annotated[float, Gt(0), Le(10**9)] | None = None


CAPS: TypeAdapter[Caps] = TypeAdapter(Caps)


@router.get("/{experiment_key}")
async def experiment_page(
    request: Request, house: TheHouse, viewer: TheViewer, experiment_key: ExperimentKey
) -> Response:
    """An experiment as it stands."""
    return await _show(request, house, viewer, experiment_key)


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    key: str,
    *,
    wrong: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    async with deeds.at_home(house) as home:
        one = await standing(home, key)
        changed = await _changed(home, one)
        halted = bool(await home.fetchval(PULSE["halted"]))
        workers = await workers_alive(home)
    row = one.row
    return render(
        request,
        "admin/experiment.html",
        viewer=viewer,
        status=status,
        wrong=wrong or {},
        given={"tokens": "", "usd": "", "design": "", "note": "", **(given or {})},
        one=one,
        row=row,
        title=row["name"] or f"Experiment {key}",
        here=f"{HERE}/{key}",
        moves=row["state"] == "running",
        standing=row["state"] in STANDING,
        over=row["state"] in ("completed", "partial"),
        begun=row["started_at"] is not None,
        percent=round(100 * (one.progress.done + one.progress.failed) / one.progress.trials)
        if one.progress.trials
        else 0,
        replicates=sorted({trial.replicate for trial in one.trials}),
        seeds={trial.replicate: trial.seed for trial in one.trials},
        failed=[
            trial for trial in one.trials if trial.state in ("failed", "budget_exhausted", "partial") or trial.excluded
        ],
        settings={name: as_text(own) if own else "" for name, own in one.design["variants"].items()},
        design_text=as_text(one.design),
        deviations=changed,
        sha256=row["frozen_sha256"].hex() if row["frozen_sha256"] else "",
        kept=sum(trial.world is not None for trial in one.trials) + (row["start_world"] is not None),
        compact=compact,
        duration=duration,
        halted=halted,
        workers=workers,
    )


async def _changed(home: Database, one: Standing) -> list[dict[str, Any]]:
    """What is otherwise than what was promised, or what was done by hand."""
    done = await experiments.changes(home, one.row["id"])
    plain = {**dict(one.row), "frozen": decoded(one.row["frozen"])}
    return list(deviations(plain, design_of(one.row), one.trials, done))


async def _deed(
    request: Request, house: House, viewer: Viewer, key: str, error: AppError, field: str = "form", **given: str
) -> Response:
    """The page again, with what was wrong."""
    return await _show(request, house, viewer, key, wrong={field: error.detail}, given=given, status=error.status)


@router.post("/{experiment_key}/do/{deed}")
async def do(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, experiment_key: ExperimentKey, deed: Deed
) -> Response:
    """Run it, stop it, or freeze it."""
    by = viewer.admin.id
    try:
        match deed:
            case "run":
                await deeds.run(house, by, experiment_key)
            case "stop":
                await deeds.stop(house, by, experiment_key)
            case _:
                await deeds.freeze(house, by, experiment_key, late=deed == "freeze-late")
    except (Conflict, Invalid) as error:
        return await _deed(request, house, viewer, experiment_key, error)
    return go_to(f"{HERE}/{experiment_key}", done=f"experiment-{deed.removesuffix('-late')}")


@router.post("/{experiment_key}/resume")
async def resume(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, experiment_key: ExperimentKey
) -> Response:
    """Go on, with more budget and with failed runs once more where that is asked for."""
    typed = {name: form[name].strip()[:40] for name in ("tokens", "usd")}
    try:
        caps = CAPS.validate_python({name: text for name, text in typed.items() if text})
    except ValidationError as error:
        wrong = {str(one["loc"][0]): "must be a number above 0" for one in error.errors()}
        return await _show(request, house, viewer, experiment_key, wrong=wrong, given=typed, status=422)
    try:
        failed = form["failed"] == "yes"
        await deeds.resume(house, viewer.admin.id, experiment_key, tokens=caps.tokens, usd=caps.usd, failed=failed)
    except (Conflict, Invalid) as error:
        return await _deed(request, house, viewer, experiment_key, error, **typed)
    return go_to(f"{HERE}/{experiment_key}", done="experiment-resumed")


@router.post("/{experiment_key}/amend")
async def amend(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, experiment_key: ExperimentKey
) -> Response:
    """Change the design, and say why."""
    typed = {"design": form["design"].replace("\r\n", "\n")[:200_000], "note": form["note"][:2_000]}
    try:
        over = table_of("design", typed["design"], whole=True)
        await deeds.amend(house, viewer.admin.id, experiment_key, over, typed["note"])
    except WrongFieldsError as error:
        return await _show(request, house, viewer, experiment_key, wrong=error.wrong, given=typed, status=422)
    except (Conflict, Invalid) as error:
        return await _deed(request, house, viewer, experiment_key, error, "design", **typed)
    return go_to(f"{HERE}/{experiment_key}", done="experiment-amended")


@router.get("/{experiment_key}/runs/{number}")
async def run_page(
    request: Request,
    house: TheHouse,
    viewer: TheViewer,
    experiment_key: ExperimentKey,
    number: PathId,
    after: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """A run: what it came to, and what was said in it, from behind line `after` on."""
    lines: list[dict[str, Any]] = []
    why = ""
    async with deeds.at_home(house) as home:
        one = await standing(home, experiment_key)
        trial = next((trial for trial in one.trials if trial.number == number), None)
        if trial is None:
            raise NotFound(f"the experiment {experiment_key} has no run {number}")
        try:
            lines = await said_in(home, experiment_key, number)
        except (Conflict, NotFound) as error:
            why = error.detail
    return render(
        request,
        "admin/experiment_run.html",
        viewer=viewer,
        trial=trial,
        title=one.row["name"] or f"Experiment {experiment_key}",
        here=f"{HERE}/{experiment_key}",
        lines=lines[after : after + LINES],
        why=why,
        earlier=max(0, after - LINES) if after else None,
        later=after + LINES if len(lines) > after + LINES else None,
    )


@router.post("/{experiment_key}/runs/{number}")
async def exclude(
    request: Request,
    house: TheHouse,
    viewer: TheViewer,
    form: AdminForm,
    experiment_key: ExperimentKey,
    number: PathId,
) -> Response:
    """Leave a run out of comparisons for a reason, or take it in again."""
    taken = form["do"] == "include"
    try:
        await deeds.exclude(house, viewer.admin.id, experiment_key, number, None if taken else form["reason"].strip())
    except (Conflict, Invalid) as error:
        return await _deed(request, house, viewer, experiment_key, error, "exclude")
    return go_to(f"{HERE}/{experiment_key}", done="experiment-included" if taken else "experiment-excluded")


@router.post("/{experiment_key}/delete")
async def delete(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, experiment_key: ExperimentKey
) -> Response:
    """Delete it with its worlds, or its worlds alone."""
    only = form["what"] == "worlds"
    try:
        await deeds.remove(house, viewer.admin.id, experiment_key, worlds=True, worlds_only=only)
    except (Conflict, Invalid) as error:
        return await _deed(request, house, viewer, experiment_key, error)
    if only:
        return go_to(f"{HERE}/{experiment_key}", done="experiment-worlds-dropped")
    return go_to(HERE, done="experiment-deleted")


@router.get("/{experiment_key}/export/report.html")
async def report(house: TheHouse, viewer: TheViewer, experiment_key: ExperimentKey) -> Response:
    """The report, one page that needs nothing else."""
    return await report_of(house, experiment_key)


@router.get("/{experiment_key}/export/freeze.{form}")
async def frozen(
    house: TheHouse, viewer: TheViewer, experiment_key: ExperimentKey, form: Literal["json", "md"]
) -> Response:
    """What was promised, as a document or as text for a registration."""
    found = await frozen_of(house, experiment_key)
    name = f'attachment; filename="{experiment_key}-freeze.{form}"'
    headers = {"Content-Disposition": name, "Cache-Control": PRIVATE}
    if form == "md":
        return Response(freezing.osf_text(found.document), 200, headers, "text/markdown; charset=utf-8")
    return Response(found.model_dump_json(indent=1), 200, headers, "application/json")
