"""Experiments over the API: planned, run, frozen, compared, told."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Body as JsonBody
from fastapi.responses import HTMLResponse, JSONResponse

from app.analysis.report.experiment import experiment_report
from app.analysis.tables import Column, Table, to_csv
from app.errors import NotFound
from app.experiments import freezing, planning
from app.experiments import results as comparing
from app.experiments.design import WHOLE, Experiment
from app.experiments.outcomes import unit_of
from app.experiments.said import said_in
from app.experiments.standing import Standing, standing, told
from app.venues.session.exactly import EXACTLY
from app.web import experiment_deeds as deeds
from app.web.api.experiment_schemas import (
    EXAMPLE,
    AmendWish,
    EstimateOut,
    ExcludeWish,
    ExperimentLineOut,
    ExperimentOut,
    ExperimentsPage,
    FreezeOut,
    ReferenceWish,
    ResultsOut,
    ResumeWish,
    SaidOut,
    TranscriptOut,
)
from app.web.api.schemas import problems
from app.web.deps import House, TheAdmin, TheHouse
from app.web.experiment_plots import Name, drawn
from app.web.inputs import Cursor, Limit, PathId, next_cursor, read_cursor
from app.world.experiments import EXPERIMENTS, found
from app.world.sessions import decoded
from app.world.text import INT64_MAX, Line

router = APIRouter(prefix="/experiments", tags=["experiments"])
Key = Annotated[str, Path(pattern=r"^[a-hjkmnp-z2-9]{12}$", description="The `key` of the answer.")]
Design = Annotated[Experiment, WHOLE, JsonBody(examples=[EXAMPLE])]
Begin = Annotated[bool, Query(description="Run it at once, and don't only plan it.")]
AnOutcome = Annotated[Line, Query(description="An outcome of the experiment.")]
CHANGED = problems(401, 404, 409)
WISHED = problems(401, 404, 409, body=True)
MEDIA = {"svg": "image/svg+xml", "png": "image/png"}


def file_answers(media: str, description: str, *more: str) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of a file."""
    content = {one: {"schema": {"type": "string"}} for one in (media, *more)}
    return {200: {"description": description, "content": content}}


async def _stands(house: House, key: str) -> ExperimentOut:
    async with deeds.at_home(house) as home:
        return ExperimentOut.model_validate(told(await standing(home, key)))


@router.post("", operation_id="plan_experiment", status_code=201, responses=WISHED)
async def plan_experiment(
    response: Response, house: TheHouse, admin: TheAdmin, given: Design, begin: Begin = False
) -> ExperimentOut:
    """Plan an experiment: its runs, and what they will take, are in the answer. Without `begin` nothing is run."""
    key = await deeds.plan(house, admin.admin.id, deeds.whole(given), run=begin)
    response.headers["Location"] = f"/experiments/{key}"
    return await _stands(house, key)


@router.post("/estimate", operation_id="estimate_experiment", responses=WISHED)
async def estimate_experiment(house: TheHouse, _: TheAdmin, given: Design) -> EstimateOut:
    """What an experiment will take. Nothing is kept."""
    design = deeds.whole(given)
    async with deeds.at_home(house) as home:
        return EstimateOut.model_validate((await planning.check(home, house.settings, design)).data())


@router.get("", operation_id="list_experiments", response_model=ExperimentsPage, responses=problems(401, 409))
async def list_experiments(
    request: Request, house: TheHouse, _: TheAdmin, limit: Limit = 20, cursor: Cursor | None = None
) -> Response:
    """Experiments, newest first."""
    scope = ("experiments",)
    before = int(read_cursor(house.secret, scope, cursor)[0]) if cursor is not None else INT64_MAX
    async with deeds.at_home(house) as home:
        rows = await home.fetch(EXPERIMENTS["listed"], before, limit + 1)
    following = next_cursor(house.secret, scope, rows, limit)
    data = [ExperimentLineOut.model_validate({**dict(row), "world": row["source"]}) for row in rows[:limit]]
    page = ExperimentsPage(data=data, next_cursor=following, has_more=following is not None)
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)


@router.get("/{key}", operation_id="read_experiment", responses=CHANGED)
async def read_experiment(house: TheHouse, _: TheAdmin, key: Key) -> ExperimentOut:
    """How an experiment stands, run by run."""
    return await _stands(house, key)


@router.patch("/{key}", operation_id="amend_experiment", responses=WISHED)
async def amend_experiment(
    house: TheHouse, admin: TheAdmin, key: Key, given: Annotated[AmendWish, EXACTLY]
) -> ExperimentOut:
    """Change a design and say why; what was frozen stays as it was, and the change is told with it."""
    await deeds.amend(house, admin.admin.id, key, given.design, given.note)
    return await _stands(house, key)


@router.delete("/{key}", operation_id="delete_experiment", status_code=204, responses=CHANGED)
async def delete_experiment(
    house: TheHouse,
    admin: TheAdmin,
    key: Key,
    worlds: Annotated[bool, Query(description="With the worlds of its runs.")] = False,
) -> None:
    """Delete an experiment and all that is known of it, for ever; one that keeps worlds only with `worlds`."""
    await deeds.remove(house, admin.admin.id, key, worlds=worlds)


@router.delete("/{key}/worlds", operation_id="delete_experiment_worlds", status_code=204, responses=CHANGED)
async def delete_experiment_worlds(house: TheHouse, admin: TheAdmin, key: Key) -> None:
    """Delete the worlds of an experiment's runs; what they came to stays."""
    await deeds.remove(house, admin.admin.id, key, worlds_only=True)


@router.post("/{key}/run", operation_id="run_experiment", responses=CHANGED)
async def run_experiment(house: TheHouse, admin: TheAdmin, key: Key) -> ExperimentOut:
    """Let an experiment run: the server drives it, or `simfeed experiment run`, or both."""
    await deeds.run(house, admin.admin.id, key)
    return await _stands(house, key)


@router.post("/{key}/stop", operation_id="stop_experiment", responses=CHANGED)
async def stop_experiment(house: TheHouse, admin: TheAdmin, key: Key) -> ExperimentOut:
    """Begin no further cycle; what is done stays, and it can go on."""
    await deeds.stop(house, admin.admin.id, key)
    return await _stands(house, key)


@router.post("/{key}/resume", operation_id="resume_experiment", responses=WISHED)
async def resume_experiment(
    house: TheHouse, admin: TheAdmin, key: Key, given: Annotated[ResumeWish, EXACTLY]
) -> ExperimentOut:
    """Go on with an experiment that stands still; `budget_tokens` and `budget_usd` are its caps from now on."""
    more = {"tokens": given.budget_tokens, "usd": given.budget_usd}
    await deeds.resume(house, admin.admin.id, key, failed=given.failed, **more)  # type: ignore[arg-type]
    return await _stands(house, key)


async def results_of(house: House, key: str) -> dict[str, Any]:
    """What an experiment has come to.

    Raises:
        NotFound: there is none of this key.
    """
    async with deeds.at_home(house) as home:
        return await comparing.results(home, key)


@router.get("/{key}/results", operation_id="read_experiment_results", response_model=ResultsOut, responses=CHANGED)
async def read_experiment_results(house: TheHouse, _: TheAdmin, key: Key) -> Response:
    """All that an experiment has come to so far: runs, comparisons over runs, sensitivity, cost, limits."""
    found = await results_of(house, key)
    return Response(await asyncio.to_thread(msgspec.json.encode, found), media_type="application/json")


@router.get(
    "/{key}/report",
    operation_id="read_experiment_report",
    response_class=Response,
    responses={**CHANGED, **file_answers("text/html", "The report.")},
)
async def read_experiment_report(house: TheHouse, _: TheAdmin, key: Key) -> Response:
    """The report as one page that needs nothing else."""
    return await report_of(house, key)


REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"


async def report_of(house: House, key: str) -> Response:
    """The report of an experiment as a page of its own; it holds its look, and no script."""
    found = await results_of(house, key)
    html = await asyncio.to_thread(experiment_report, found)
    return HTMLResponse(html, headers={"Content-Security-Policy": REPORT_CSP, "Cache-Control": "private, no-store"})


@router.get(
    "/{key}/plots/{name}.{form}",
    operation_id="read_experiment_plot",
    response_class=Response,
    responses={**CHANGED, **file_answers("image/svg+xml", "The plot.", "image/png")},
)
async def read_experiment_plot(
    house: TheHouse,
    _: TheAdmin,
    key: Key,
    name: Name,
    form: Literal["svg", "png"],
    outcome: AnOutcome | None = None,
) -> Response:
    """A plot; those of a single outcome (`distributions`, `over_time`, `people`) show `outcome`, or the first."""
    return await plot_of(house, key, name, form, outcome)


async def plot_of(house: House, key: str, name: Name, form: Literal["svg", "png"], outcome: str | None) -> Response:
    """A plot as a file.

    Raises:
        NotFound: there is no such plot.
    """
    plots = await asyncio.to_thread(drawn, await results_of(house, key))
    plot = next((one for kind, of, one in plots if kind == name and outcome in (None, of)), None)
    if plot is None:
        raise NotFound(f"there is no plot {name!r} of {outcome!r}" if outcome else f"there is no plot {name!r} yet")
    body = await asyncio.to_thread(plot.svg if form == "svg" else plot.png)
    headers = {"Content-Disposition": f'inline; filename="{key}-{name}.{form}"', "Cache-Control": "private, no-store"}
    return Response(body, 200, headers, MEDIA[form])


@router.get(
    "/{key}/outcomes.csv",
    operation_id="read_experiment_outcomes",
    response_class=Response,
    responses={**CHANGED, **file_answers("text/csv", "A row a run and outcome.")},
)
async def read_experiment_outcomes(house: TheHouse, _: TheAdmin, key: Key) -> Response:
    """A row for each run and outcome: its value and unit, or why it has none; runs that don't count, too."""
    async with deeds.at_home(house) as home:
        found = await standing(home, key)
    headers = {
        "Content-Disposition": f'attachment; filename="{key}-outcomes.csv"',
        "Cache-Control": "private, no-store",
    }
    return Response(await asyncio.to_thread(to_csv, outcome_table(found)), 200, headers, "text/csv")


COLUMNS = (
    Column("run", "integer"), Column("variant"), Column("replicate", "integer"), Column("seed", "integer"),
    Column("state"), Column("excluded"), Column("outcome"), Column("value", "number"), Column("unit"), Column("why"),
)  # fmt: skip


def outcome_table(found: Standing) -> Table:
    """Runs × outcomes, tidy."""
    wished = found.design.get("outcomes", {})
    named = [*wished.get("primary", ()), *wished.get("exploratory", ())]
    venue = found.row["venue"]
    rows = [
        (
            one.number, one.variant, one.replicate, one.seed, one.state, one.excluded,
            name, one.outcomes.get(name), unit_of(venue, name), one.why.get(name),
        )
        for one in found.trials
        for name in dict.fromkeys([*named, *one.outcomes])
    ]  # fmt: skip
    return Table(COLUMNS, tuple(rows))


@router.post("/{key}/freeze", operation_id="freeze_experiment", status_code=201, responses=CHANGED)
async def freeze_experiment(
    house: TheHouse,
    admin: TheAdmin,
    key: Key,
    late: Annotated[bool, Query(description="Even though runs have begun, which its report tells.")] = False,
) -> FreezeOut:
    """Promise the design: it is kept as it is now with all that its runs hang on, under its hash."""
    await deeds.freeze(house, admin.admin.id, key, late=late)
    return await frozen_of(house, key)


@router.get(
    "/{key}/freeze",
    operation_id="read_experiment_freeze",
    response_model=FreezeOut,
    responses={
        **CHANGED,
        200: {"description": "What was promised.", "content": {"text/markdown": {"schema": {"type": "string"}}}},
    },
)
async def read_experiment_freeze(
    house: TheHouse,
    _: TheAdmin,
    key: Key,
    format: Annotated[Literal["json", "md"], Query(description="`md`: text for a registration at OSF.")] = "json",  # noqa: A002 - its name in the address
) -> Response:
    """What was promised when the experiment was frozen."""
    frozen = await frozen_of(house, key)
    if format == "md":
        return Response(freezing.osf_text(frozen.document), media_type="text/markdown; charset=utf-8")
    return JSONResponse(frozen.model_dump(mode="json"))


async def frozen_of(house: House, key: str) -> FreezeOut:
    """What was promised.

    Raises:
        NotFound: nothing was.
    """
    async with deeds.at_home(house) as home:
        row = await found(home, key)
    if row["frozen_at"] is None:
        raise NotFound(f"the experiment {key} is not frozen")
    return FreezeOut(sha256=row["frozen_sha256"].hex(), at=row["frozen_at"], document=decoded(row["frozen"]))


@router.get("/{key}/trials/{number}/transcript", operation_id="read_trial_transcript", responses=CHANGED)
async def read_trial_transcript(house: TheHouse, _: TheAdmin, key: Key, number: PathId) -> TranscriptOut:
    """What was said in a run of a chatroom or a session, in order."""
    async with deeds.at_home(house) as home:
        lines = await said_in(home, key, number)
    return TranscriptOut(lines=[SaidOut.model_validate(line) for line in lines])


@router.post("/{key}/trials/{number}/exclude", operation_id="exclude_trial", responses=WISHED)
async def exclude_trial(
    house: TheHouse, admin: TheAdmin, key: Key, number: PathId, given: Annotated[ExcludeWish, EXACTLY]
) -> ExperimentOut:
    """Leave a run out of comparisons, and say why; or, with null, take it in again. It is shown all the same."""
    await deeds.exclude(house, admin.admin.id, key, number, given.reason)
    return await _stands(house, key)


@router.post("/{key}/references", operation_id="attach_reference", status_code=204, responses=WISHED)
async def attach_reference(
    house: TheHouse, admin: TheAdmin, key: Key, given: Annotated[ReferenceWish, EXACTLY]
) -> None:
    """What people did, to compare an outcome with; others of this name and outcome are replaced."""
    await deeds.attach(house, admin.admin.id, key, **given.model_dump(mode="json", exclude_unset=True))


@router.delete("/{key}/references", operation_id="detach_reference", status_code=204, responses=CHANGED)
async def detach_reference(
    house: TheHouse, admin: TheAdmin, key: Key, outcome: AnOutcome, name: Annotated[Line, Query()]
) -> None:
    """Take people's values away."""
    await deeds.detach(house, admin.admin.id, key, outcome=outcome, name=name)
