"""Results of `simfeed simulate` as files in a folder, each whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.cli.writing import whole
from app.experiments.engine.charts import charts as plots
from app.experiments.engine.exports import FORMS, as_html

READABLE = 0o644


def write_results(
    result: Mapping[str, Any], folder: Path, forms: Sequence[str], *, charts: bool, name: str = ""
) -> list[Path]:
    """Write a result in these forms, and its charts; the files, in the order in which they were written.

    Raises:
        Misconfigured: a file can't be written.
        Conflict: somebody else is writing it.
    """
    front = name or f"simulation_{result['session']['key']}"
    drawn = {kind: plot.svg() for kind, plot in plots(result).items()} if charts else {}
    written = [_write(folder / f"{front}_{kind}.svg", svg.encode()) for kind, svg in drawn.items()]
    for form in forms:
        data = as_html(result, list(drawn.values())) if form == "html" else FORMS[form](result)
        written.append(_write(folder / f"{front}.{form}", data))
    return written


def write_whole(result: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write all that came of an experiment as one JSON file; as `write_results` otherwise."""
    return _write(folder / f"{name}.json", FORMS["json"](result))


def _write(path: Path, data: bytes) -> Path:
    with whole(path, READABLE) as file:
        file.write(data)
    return path
