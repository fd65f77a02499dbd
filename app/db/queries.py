"""Named SQL: each statement stands in `sql/` under a line `-- name: what_it_is`."""

import re
from pathlib import Path

SQL = Path(__file__).resolve().parents[2] / "sql"


def load(file: str) -> dict[str, str]:
    """The statements of `sql/FILE.sql`, by name.

    Raises:
        FileNotFoundError: no such file.
    """
    parts = re.split(r"^-- name: (\w+).*$", (SQL / f"{file}.sql").read_text(), flags=re.MULTILINE)
    return {name: body.strip().rstrip(";") for name, body in zip(parts[1::2], parts[2::2], strict=True)}
