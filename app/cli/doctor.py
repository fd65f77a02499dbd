"""`simfeed doctor`: what is wrong, and how to mend it."""

import asyncio
import os
import shutil
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from app.agent.population.files import read_personas
from app.auth import audit
from app.cli.common import EXIT_FAILED, Home, Json, err, go, settings_for, show_json, table
from app.db import migrate
from app.db.engine import Database, plain_url
from app.db.queries import load
from app.errors import AppError, Misconfigured
from app.ledger.budget import recount
from app.ledger.invariants import ELSEWHERE, EXAMPLES, SECONDS, Finding, check
from app.llm import conformance
from app.llm.gateway import Gateway, endpoint, ready
from app.llm.model import Request, encode_message
from app.llm.pricing import LOCAL, SCRIPTED, doubts, own_prices
from app.settings import Settings

DISK_LEAST = 512 * 1024**2
SKEW_MOST = 5.0
POSTGRES_LEAST = 150000
FAULTS_SHOWN = 50
TRIPS = 9
SLOTS = load("instance")["slots"]


@dataclass(frozen=True)
class Check:
    """One thing looked at; `mend` says what to do when it is not ok."""

    what: str
    ok: bool
    found: str
    mend: str = ""


def doctor(
    home: Home = None,
    json: Json = False,
    invariants: Annotated[
        bool, typer.Option("--invariants", help="Look at what must always hold in the world's data, and nothing else.")
    ] = False,
    personas_file: Annotated[
        Path | None, typer.Option("--personas-file", metavar="FILE", help="Look at a file of personas, too.")
    ] = None,
    model: Annotated[
        bool, typer.Option("--model", help="Let the model call functions: two short calls, which cost what they cost.")
    ] = False,
) -> None:
    """\b
    Examples:
      simfeed doctor
      simfeed doctor --json
      simfeed doctor --personas-file people.csv --model
      simfeed doctor --invariants    nothing lost, doubled, left over or miscounted?

    Look at settings, database, migrations, model provider, clock and disk; say what is wrong and how to mend it.
    """
    if invariants:
        _tell(go(_invariants(home)), json=json)
        return
    checks = [*_settings_and_more(home, calls=model), *(_personas(personas_file) if personas_file is not None else ())]
    if json:
        show_json([asdict(check) for check in checks])
    else:
        rows: list[tuple[object, ...]] = [
            (c.what, "ok" if c.ok else "WRONG", c.found, "" if c.ok else c.mend) for c in checks
        ]
        table("", "what", "", "found", "how to mend it", rows=rows, empty="")
    if not all(check.ok for check in checks):
        raise typer.Exit(EXIT_FAILED)


async def _invariants(home: Home) -> list[Finding]:
    with migrate.open_home_url(settings_for(home)) as url:
        if (await migrate.status(url)).pending:
            raise Misconfigured("the database is not up to date: run `simfeed db migrate` first")
        database = await Database.open(url, size=2)
        try:
            async with database.connection() as connection:
                found = [*await check(connection), await _spent(connection)]
            found.append(await _unbroken(database))
        finally:
            await database.close()
    return sorted(found, key=lambda finding: finding.invariant)


async def _unbroken(database: Database) -> Finding:
    broken = (await audit.check(database)).broken
    shown = () if broken is None else (f"entry {broken}",)
    return Finding("audit", "each entry of the audit log is as it was hashed", len(shown), shown)


async def _spent(connection: asyncpg.Connection) -> Finding:
    async with connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
        rows = await recount(connection)
    shown = [f"{row['scope']} {row['key']} of {row['day']}" for row in rows[:EXAMPLES]]
    return Finding("I4", "a budget has spent what its calls took", len(rows), tuple(shown))


def _tell(findings: list[Finding], *, json: bool) -> None:
    if json:
        show_json([asdict(finding) for finding in findings])
    else:
        rows: list[tuple[object, ...]] = [
            (f.invariant, f.rule, f.violations or "none", "; ".join(f.examples)) for f in findings
        ]
        table("", "", "what must hold", "violations", "such as", rows=rows, empty="")
        err.print("No facts of the database, checked by the test suite:", highlight=False)
        for name, rule in ELSEWHERE.items():
            err.print(f"  {name}: {rule}", markup=False, highlight=False)
    if any(finding.violations for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def _personas(path: Path) -> list[Check]:
    """A line for each fault, or one for the file."""
    try:
        read = read_personas(path)
    except AppError as error:
        return [Check("personas", False, error.detail, "mend the file")]
    found = f"{path}: {len(read.personas):,} personas"
    if not read.problems:
        return [Check("personas", True, f"{found}{', ' if read.notes else ''}{'; '.join(read.notes[:3])}")]
    shown = [Check("personas", False, str(one), "mend the record") for one in read.problems[:FAULTS_SHOWN]]
    if left := len(read.problems) - len(shown):
        shown.append(Check("personas", False, f"{found} are right; {left:,} more faults", "mend those above first"))
    return shown


def _settings_and_more(home: Home, *, calls: bool) -> list[Check]:
    try:
        settings = settings_for(home)
    except AppError as error:
        return [Check("settings", False, error.detail, "set the variable as it says")]
    checks = [Check("settings", True, f"model {settings.simfeed_model}"), *_disk(settings)]
    try:
        with migrate.open_home_url(settings) as url:
            checks += go(_database(url, settings.database_pool_size))
    except AppError as error:
        checks.append(Check("database", False, error.detail, "is the server up, and DATABASE_URL right?"))
    if settings.embedding_model is not None:
        checks.append(_embedding(settings))
    provider = go(_provider(settings))
    checks += [provider, *_price(settings)]
    return [*checks, *go(_functions(settings))] if calls and provider.ok else checks


def _embedding(settings: Settings) -> Check:
    what, model = "embeddings", settings.embedding_model or ""

    async def vectors(url: str) -> bool:
        connection = await asyncpg.connect(plain_url(url), timeout=10)
        try:
            return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector')"))
        finally:
            await connection.close()

    try:
        endpoint(settings, model)
        with migrate.open_home_url(settings) as url:
            if go(vectors(url)):
                return Check(what, True, f"{model}, compared by pgvector")
    except AppError as error:
        return Check(what, False, error.detail, "do that, or unset EMBEDDING_MODEL")
    mend = "run `CREATE EXTENSION vector` in it as its owner, or unset EMBEDDING_MODEL"
    return Check(what, False, "the database has no extension `vector`: words decide what is relevant", mend)


def _disk(settings: Settings) -> list[Check]:
    """The home folder and those in it that fill up, which may lie on disks of their own."""
    home = settings.simfeed_home.absolute()
    database = [home / "pg"] if settings.database_url is None else []
    places: dict[Path, Path] = {}
    for place in (home, *(one.resolve() for one in database), home / "datasets"):
        places.setdefault(_there(place), place)
    return [_room(there, place) for there, place in places.items()]


def _there(place: Path) -> Path:
    """The folder itself, or the one in which it would be made."""
    while not place.exists():
        place = place.parent
    return place


def _room(there: Path, place: Path) -> Check:
    free = shutil.disk_usage(there).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("disk", False, f"{found}, which can't be written", f"let this user write to {there}")
    return Check("disk", free >= DISK_LEAST, found, "free some space")


async def _database(url: str, pool: int) -> list[Check]:
    try:
        connection = await asyncpg.connect(plain_url(url), timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        return [Check("database", False, str(error), "is the server up, and DATABASE_URL right?")]
    try:
        version = await connection.fetchval("SHOW server_version_num")
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        skew = abs((datetime.now(UTC) - now).total_seconds())
        slots = await connection.fetchrow(SLOTS)
        read_only = await connection.fetchval("SELECT pg_is_in_recovery()")
        latency = await _latency(connection)
    finally:
        await connection.close()
    free = slots["most"] - slots["taken"]
    writes = "is a read-only replica" if read_only else f"{latency:.1f} ms a round trip"
    return [
        Check(
            "database",
            int(version) >= POSTGRES_LEAST and not read_only,
            f"PostgreSQL {int(version) // 10000}, {writes}",
            "name the primary in DATABASE_URL" if read_only else "use PostgreSQL 15 or later",
        ),
        Check(
            "connections",
            free >= pool,
            f"{free} of {slots['most']} free, a process takes up to {pool}",
            "lower DATABASE_POOL_SIZE, or raise the server's max_connections",
        ),
        await _schema(url),
        Check("clock", skew <= SKEW_MOST, f"{skew:.1f} s from the database's", "set this machine's clock (NTP)"),
    ]


async def _latency(connection: asyncpg.Connection) -> float:
    """Milliseconds of the middle one of some round trips."""
    took = []
    for _ in range(TRIPS):
        begun = time.perf_counter()
        await connection.fetchval("SELECT 1")
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


async def _schema(url: str) -> Check:
    try:
        state = await migrate.status(url)
    except AppError as error:
        return Check("migrations", False, error.detail, "install the newer Sim-Feed")
    found = f"{len(state.pending)} pending" if state.pending else f"up to date ({state.head})"
    return Check("migrations", not state.pending, found, "run `simfeed db migrate`")


async def _provider(settings: Settings) -> Check:
    model = settings.simfeed_model
    if model == SCRIPTED:
        return Check("model", True, "offline model, no language model")
    try:
        if model == LOCAL:
            ready(settings, model)
            return Check("model", True, "local model (SmolLM2-135M-Instruct), installed")
        where = endpoint(settings, model)
    except AppError as error:
        return Check("model", False, error.detail, "do that, or choose another --model")
    gateway = Gateway(settings)
    try:
        asked = Request(model, (encode_message("user", "Say ok."),), max_tokens=16)
        answer = await asyncio.wait_for(gateway.complete(asked), settings.model_timeout * 4)
    finally:
        await gateway.aclose()
    mend = {"auth": "check the key", "quota": "check the account's balance", "config": "check the model's name and URL"}
    ok = answer.status in ("ok", "length")
    found = f"{model} at {where.base_url}: {answer.status} {answer.detail}"
    return Check("model", ok, found, mend.get(answer.status, "is the provider up?"))


def _price(settings: Settings) -> list[Check]:
    """Whether the price of the model is known, and lately looked up; costs are counted either way."""
    if settings.simfeed_model in (SCRIPTED, LOCAL):
        return []
    try:
        own = own_prices(settings.model_prices)
    except AppError as error:
        return [Check("price", False, error.detail, "set it as it says")]
    doubt = doubts(settings.simfeed_model, own)
    return [Check("price", True, doubt or f"of {settings.simfeed_model} is known")]


async def _functions(settings: Settings) -> list[Check]:
    """What the model does when it is offered functions."""
    gateway = Gateway(settings)
    try:
        found = await conformance.check(gateway, settings.simfeed_model)
    except TimeoutError:
        return [Check("functions", False, "no answer in time", "is the provider up?")]
    finally:
        await gateway.aclose()
    mend = "choose another --model, or play with TOOL_MODE=json"
    return [Check("functions", one["ok"], f"{one['check']}: {one['detail']}".rstrip(": "), mend) for one in found]
