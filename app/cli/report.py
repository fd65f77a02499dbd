"""`simfeed report`: a world and its runs as one HTML file, and its plots as files."""

import re
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.analysis.plots import Plot
from app.analysis.report.page import Page
from app.cli.common import Home, Json, err, go, opened, settings_for, show_json
from app.cli.metrics import Runs, Since, numbers
from app.cli.writing import whole
from app.errors import Invalid
from app.settings import Settings

FORMS = ("svg", "png", "csv")
STDOUT = Path("-")
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="The page; - is stdout.")]
Plots = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Each plot as a file, too (of the same name, written over).")
]
Forms = Annotated[str, typer.Option("--format", metavar="LIST", help="Of the plots' files: svg, png, csv.")]


def report(
    out: Out = None,
    title: Annotated[str, typer.Option(help="What stands above it.")] = "",
    since: Since = None,
    runs: Runs = None,
    plots: Plots = None,
    form: Forms = "svg",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed report -o report.html
      simfeed report -o report.html --world try --since 12
      simfeed report --plots figures --format svg,png,csv
      simfeed report -o - --runs 3,5-8 > report.html

    A world and its runs as one page that needs nothing else: no request, no script. Settings, activity, metrics,
    networks, opinions, cost, what is missing, limits, and how to make it again; each plot has its words and numbers.
    """
    put(lambda: _page(settings_for(home), title, since, numbers(runs)), out, plots, form, json=json)


def put(
    made: Callable[[], Coroutine[Any, Any, Page]], out: Path | None, plots: Path | None, form: str, *, json: bool
) -> None:
    """Make a page, and write it and its plots where they are wanted.

    Raises:
        Invalid: nowhere, or in a form that there is not.
    """
    if out is None and plots is None:
        raise Invalid("say where to: -o report.html (or -o - for stdout), or --plots FOLDER")
    if json and out == STDOUT:
        raise Invalid("--json and -o - both want stdout: name a file")
    forms = _forms(form)
    page = go(made())
    written = _written(page, out, plots, forms)
    if json:
        show_json({"title": page.title, "plots": len(page.plots()), "files": written})
        return
    for one in written:
        err.print(f"{one['file']}: {one['bytes']:,} bytes", markup=False, highlight=False)


def _forms(text: str) -> list[str]:
    found = list(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    if wrong := [one for one in found if one not in FORMS]:
        raise Invalid(f"--format: {wrong[0][:40]!r} must be one of {', '.join(FORMS)}")
    return found


async def _page(settings: Settings, title: str, since: int | None, runs: list[int] | None) -> Page:
    from app.analysis.report.world import world_page

    world = settings.simfeed_world or ""
    named = title.strip() or (f"The world {world}" if world else "The home world")
    async with opened(settings) as database:
        return await world_page(database, title=named, world=world, since=since, runs=runs)


def _written(page: Page, out: Path | None, folder: Path | None, forms: list[str]) -> list[dict[str, Any]]:
    """Writes all, and tells what."""
    files = list(_files(page.plots(), folder, forms)) if folder else []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    written = []
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("Drawing", total=len(files) + (out is not None))
        if out is not None:
            body = page.html().encode()
            if out == STDOUT:
                typer.get_binary_stream("stdout").write(body)
            else:
                written.append(_put(out, body))
            bar.advance(task)
        for path, plot, form in files:
            written.append(
                _put(path, plot.png() if form == "png" else plot.csv() if form == "csv" else plot.svg().encode())
            )
            bar.advance(task)
    return written


def _files(plots: list[Plot], folder: Path, forms: list[str]) -> Iterable[tuple[Path, Plot, str]]:
    for n, plot in enumerate(plots, 1):
        slug = re.sub(r"[^a-z0-9]+", "-", plot.title.lower()).strip("-")[:60]
        for form in forms:
            yield folder / f"{n:02}-{slug or 'plot'}.{form}", plot, form


def _put(path: Path, data: bytes) -> dict[str, Any]:
    with whole(path, 0o644) as file:  # a report is there to be passed on, as a package is
        file.write(data)
    return {"file": str(path), "bytes": len(data)}
