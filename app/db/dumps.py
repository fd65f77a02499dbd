"""A database as a file of PostgreSQL's own making: its programs found and run, and what they complain of in a line."""

import asyncio
import os
import re
import subprocess
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Literal
from urllib.parse import parse_qs, unquote

from app.db.embedded import binaries
from app.db.engine import plain_url
from app.errors import AppError, Misconfigured

Name = Literal["pg_dump", "pg_restore"]
BLOCK = 256 * 1024
LINES = 5
"""Lines of complaint that are kept: the last ones."""

OF_LIBPQ = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "database": "PGDATABASE",
    "dbname": "PGDATABASE", "passfile": "PGPASSFILE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslcrl": "PGSSLCRL",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip
"""What both asyncpg and libpq know; all else in a URL's query is for asyncpg alone."""


class DumpFailed(AppError):
    """One of PostgreSQL's programs gave up."""

    title = "Backup failed"


@dataclass(frozen=True)
class Program:
    """One of PostgreSQL's programs, and the major version it is of."""

    path: Path
    major: int


def program(name: Name, setting: Path | None, least: int) -> Program:
    """The oldest one there is that knows servers and dumps of the major version `least`.

    Raises:
        Misconfigured: there is none.
    """
    found = [one for one in _all(name, setting) if one is not None]
    if fit := [one for one in found if one.major >= least]:
        return min(fit, key=lambda one: one.major)
    there = ", ".join(f"{one.major} in {one.path.parent}" for one in found) or "none at all"
    raise Misconfigured(
        f"no {name} of PostgreSQL {least} or later was found ({there}): "
        f"set POSTGRES_BINARIES to the folder of PostgreSQL {least}'s programs"
    )


def _all(name: Name, setting: Path | None) -> Iterable[Program | None]:
    folders = [*binaries.folders(setting)]
    if setting is None and (path := which(name)):
        folders.append(Path(path).parent)
    return [_known(folder / name) for folder in dict.fromkeys(folders) if (folder / name).is_file()]


def _known(path: Path) -> Program | None:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)  # noqa: S603 - the operator's own
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return Program(path, int(found[1])) if found else None


def libpq(url: str) -> dict[str, str]:
    """What lets libpq connect as asyncpg does with `url`, as environment: nothing secret is on a command line."""
    head, _, query = plain_url(url).partition("://")[2].partition("?")
    place, _, database = head.partition("/")
    login, _, hosts = place.rpartition("@")
    user, _, password = login.partition(":")
    pairs = [re.fullmatch(r"(\[[^]]*\]|[^:]*):?(\d*)", one) for one in hosts.split(",")]
    given = {
        "user": unquote(user),
        "password": unquote(password),
        "database": unquote(database),
        "host": ",".join(unquote(pair[1].strip("[]")) for pair in pairs if pair),
        "port": ",".join(pair[2] for pair in pairs if pair) if any(pair and pair[2] for pair in pairs) else "",
    }
    given |= {name: values[-1] for name, values in parse_qs(query).items() if name in OF_LIBPQ}
    return {OF_LIBPQ[name]: value for name, value in given.items() if value.strip(",")}


async def dump(url: str, with_: Program, snapshot: str, sink: Callable[[bytes], object]) -> None:
    """Give `sink` a database in pg_dump's custom format, as another connection's exported `snapshot` has it.

    Raises:
        DumpFailed: pg_dump gave up; says why.
    """
    asked = ["--format=custom", "--no-owner", "--no-privileges", "--no-password", f"--snapshot={snapshot}"]
    async with _running(with_, asked, url) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while block := await process.stdout.read(BLOCK):
            sink(block)


async def restore(url: str, with_: Program, blocks: Iterable[bytes]) -> None:
    """Make all that a dump holds in an empty database, or nothing.

    Raises:
        DumpFailed: pg_restore gave up; says why.
    """
    known = libpq(url)
    name = (known.get("PGDATABASE") or known["PGUSER"]).replace("\\", r"\\").replace("'", r"\'")
    asked = ["--no-owner", "--no-privileges", "--no-password", "--single-transaction", "--exit-on-error"]
    async with _running(with_, [*asked, f"--dbname=dbname='{name}'"], url) as process:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError, ConnectionResetError):  # it tells better than the pipe why it went
            for block in blocks:
                process.stdin.write(block)
                await process.stdin.drain()
        process.stdin.close()


@asynccontextmanager
async def _running(with_: Program, asked: list[str], url: str) -> AsyncIterator[Process]:
    env = {**os.environ, **libpq(url), "PGAPPNAME": "simfeed backup", "PGCONNECT_TIMEOUT": "20", "LC_ALL": "C"}
    try:
        process = await asyncio.create_subprocess_exec(
            with_.path, *asked, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=env
        )
    except OSError as error:
        raise Misconfigured(f"{with_.path} can't be run: {error.strerror}") from None
    said: deque[str] = deque(maxlen=LINES)
    hearing = asyncio.create_task(_hear(process, said))
    try:
        yield process
        await hearing
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    if code:
        raise DumpFailed(f"{with_.path.name}: {_reason(said) or f'ended with code {code}'}")


async def _hear(process: Process, said: "deque[str]") -> None:
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    left = b""
    while block := await process.stderr.read(4096):
        *lines, left = (left + block).split(b"\n")
        said.extend(line.decode(errors="replace") for line in lines if line.strip())
        left = left[-4096:]
    if left.strip():
        said.append(left.decode(errors="replace"))


def _reason(said: Iterable[str]) -> str:
    lines = list(said)
    first = next((line for line in lines if "error:" in line), lines[0] if lines else "")
    return " ".join("".join(c if c.isprintable() else " " for c in first.rpartition("error:")[2]).split())[:300]
