"""Tables as CSV, with no cell that a spreadsheet would run."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from starlette.responses import Response

from app.world.text import unreckoned

PRIVATE = "private, no-store"


def cell(value: object) -> object:
    """A value as text that stays text; numbers stay numbers."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat()
        case str():
            return unreckoned(value)
        case _:
            return value


def sheet(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """A table to be kept as a file."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": PRIVATE}
    return Response(out.getvalue().encode(), 200, headers, "text/csv; charset=utf-8")
