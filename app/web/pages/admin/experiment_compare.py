"""What an experiment came to: outcomes by variant, differences with their intervals, how many runs it needs, people."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path as File
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, Lt
from fastapi import APIRouter
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app import strict_json
from app.analysis.corrections import CALLED
from app.analysis.plots import Plot
from app.analysis.plots.plot import between, number
from app.errors import AppError, Conflict, Invalid
from app.experiments.results import power
from app.web import experiment_deeds as deeds
from app.web.api.experiments import plot_of, results_of
from app.web.deps import House, TheHouse
from app.web.experiment_plots import Name, drawn
from app.web.pages.admin.experiment_page import HERE, ExperimentKey
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.query import checked
from app.web.pages.session import AdminForm, TheViewer, Viewer
from app.web.pages.sheet import sheet

router = APIRouter(prefix="/admin/experiments", include_in_schema=False)
SHOWN_MOST, ROWS_MOST = 4, 200
"""Outcomes of which plots are drawn at once, and rows of a plot's numbers."""

COLUMNS = (
    "outcome", "unit", "family", "arm", "n", "missing", "mean", "mean_low", "mean_high", "control", "difference",
    "low", "high", "hedges_g", "p", "p_corrected", "correction",
)  # fmt: skip
DONE |= {
    "reference-attached": "People’s data are attached.",
    "reference-detached": "People’s data are taken away.",
}


class CompareQuery(BaseModel):
    """Which outcome's plots are shown, and what the power helper is asked."""

    model_config = ConfigDict(extra="ignore")

    outcome: Annotated[str, Field(max_length=300)] | None = None
    power_outcome: Annotated[str, Field(max_length=300)] | None = None
    effect: Annotated[float, Field(allow_inf_nan=False), Le(1e12)] | None = None
    wanted: Annotated[float, Gt(0), Lt(1)] = 0.8


@router.get("/{experiment_key}/compare")
async def compare_page(request: Request, house: TheHouse, viewer: TheViewer, experiment_key: ExperimentKey) -> Response:
    """The comparison, as far as runs are over."""
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
    query = checked(CompareQuery, request)
    told = await results_of(house, key)
    names = [str(one["name"]) for one in told["outcomes"]]
    chosen = [name for name in names if name == query.outcome] or names[:SHOWN_MOST]
    plots = await asyncio.to_thread(_pictures, told, chosen)
    needed, trouble = await _power(house, key, query, names)
    return render(
        request,
        "admin/experiment_compare.html",
        viewer=viewer,
        status=status,
        wrong=wrong or {},
        given={"outcome": "", "name": "", "note": "", "values": "", "held_out": "", **(given or {})},
        told=told,
        title=told["name"] or f"Experiment {key}",
        here=f"{HERE}/{key}",
        n=sum(one["counts"] for one in told["trials"]),
        rows=[dict(zip(COLUMNS, row, strict=True)) for row in table(told)],
        names=names,
        chosen=chosen,
        plots=plots,
        query=query,
        needed=needed,
        called=CALLED,
        trouble=trouble,
        limits=[(one["name"], one["limits"]) for one in told["outcomes"] if one["limits"]],
        number=lambda value: "–" if value is None else number(value),
        between=lambda low, high: between(low, high) or "–",
    )


def table(told: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """A row for each outcome and variant: its mean over runs, and its difference to the control."""
    rows = []
    for one in told["outcomes"]:
        contrasts = {each["arm"]: each for each in one["comparison"]["contrasts"]}
        for arm in one["comparison"]["arms"]:
            mean, contrast = arm["mean"], contrasts.get(arm["name"])
            head = (one["name"], one["unit"], one["family"], arm["name"], arm["n"], arm["missing"])
            row = (*head, mean["value"], mean["low"], mean["high"])
            if contrast is None:
                rows.append((*row, None, None, None, None, None, None, None, None))
                continue
            shown = contrast["t"] if contrast["shown"] == "t" else contrast["difference"]
            p = one["adjusted"][arm["name"]]
            rows.append(
                (
                    *row, contrast["control"], shown["value"], shown["low"], shown["high"], contrast["hedges_g"],
                    p["p"], p["p_adjusted"], p["method"],
                )
            )  # fmt: skip
    return rows


def _pictures(told: Mapping[str, Any], chosen: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The plots of a page by what they are of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, outcome, plot in drawn(told):
        if not outcome or outcome in chosen or name == "people":
            found.setdefault(name, []).append(_picture(plot))
    return found


def _picture(plot: Plot) -> dict[str, Any]:
    return {
        "title": plot.title,
        "alt": plot.alt,
        "svg": Markup(plot.svg()),  # noqa: S704 - built as XML of known tags and attributes alone
        "columns": [column.name for column in plot.table.columns],
        "rows": plot.table.rows[:ROWS_MOST],
    }


async def _power(house: House, key: str, query: CompareQuery, names: list[str]) -> tuple[dict[str, Any] | None, str]:
    """What the power helper says, or what is wrong with what it was asked."""
    if query.power_outcome not in names:
        return None, ""
    try:
        async with deeds.at_home(house) as home:
            return await power(home, key, query.power_outcome, query.effect, query.wanted), ""
    except Invalid as error:
        return None, error.detail


@router.get("/{experiment_key}/export/compare.csv")
async def compare_csv(house: TheHouse, viewer: TheViewer, experiment_key: ExperimentKey) -> Response:
    """The table of the comparison."""
    return sheet(f"{experiment_key}-compare", COLUMNS, table(await results_of(house, experiment_key)))


@router.get("/{experiment_key}/export/{name}.{form}")
async def plot_file(
    house: TheHouse,
    viewer: TheViewer,
    experiment_key: ExperimentKey,
    name: Name,
    form: Literal["svg", "png"],
    outcome: str | None = None,
) -> Response:
    """A plot as a file."""
    return await plot_of(house, experiment_key, name, form, outcome)


@router.post("/{experiment_key}/people")
async def people(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, experiment_key: ExperimentKey
) -> Response:
    """Attach what people did, or take it away."""
    typed = {name: form[name][:200_000] for name in ("outcome", "name", "note", "values", "held_out")}
    by, here = viewer.admin.id, f"{HERE}/{experiment_key}/compare"
    try:
        if form["do"] == "detach":
            await deeds.detach(house, by, experiment_key, outcome=typed["outcome"], name=typed["name"])
            return go_to(here, done="reference-detached")
        await _attach(house, by, experiment_key, typed)
    except (Conflict, Invalid) as error:
        return await _refused(request, house, viewer, experiment_key, error, typed)
    return go_to(here, done="reference-attached")


async def _refused(
    request: Request, house: House, viewer: Viewer, key: str, error: AppError, typed: Mapping[str, str]
) -> Response:
    place, _, said = error.detail.partition(": ")
    field = place if said and place in ("outcome", "name", "note") else "values"
    wrong = {field: said if field != "values" else error.detail}
    return await _show(request, house, viewer, key, wrong=wrong, given=typed, status=error.status)


async def _attach(house: House, by: int, key: str, typed: Mapping[str, str]) -> None:
    more = {name: typed[name].strip() for name in ("outcome", "name", "note")}
    with tempfile.TemporaryDirectory() as room:
        values = read_values(typed["values"].replace("\r\n", "\n"), File(room))
        await deeds.attach(house, by, key, values=values, held_out=typed["held_out"] == "yes", **more)


def read_values(text: str, room: File) -> Any:
    """People's values as they were typed: JSON, CSV with a head, or a number a line.

    Raises:
        Invalid: they are none.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise Invalid("paste values: a number a line, CSV with the column value, or JSON")
    if text.lstrip().startswith(("[", "{")):
        try:
            return strict_json.loads(text.encode("utf-8", "replace"))
        except strict_json.JSONError as error:
            raise Invalid(f"is not JSON: {error}") from None
    if "value" not in lines[0].lower():
        lines.insert(0, "value")
    file = room / "values.csv"
    file.write_bytes("\n".join(lines).encode("utf-8", "replace"))
    return file
