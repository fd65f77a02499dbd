"""`simfeed doctor`: what is wrong, and how to mend it."""

import asyncio
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import typer

from app.auth import audit
from app.cli.common import EXIT_FAILED, Home, Json, err, go, settings_for, show_json, table
from app.db import migrate
from app.db.engine import Database, plain_url
from app.errors import AppError, Misconfigured
from app.ledger.budget import recount
from app.ledger.invariants import ELSEWHERE, EXAMPLES, SECONDS, Finding, check
from app.llm.gateway import Gateway, endpoint, ready
from app.llm.model import Request, encode_message
from app.llm.pricing import LOCAL, SCRIPTED, price
from app.settings import Settings

DISK_LEAST = 512 * 1024**2
SKEW_MOST = 5.0
POSTGRES_LEAST = 150000


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
) -> None:
    """\b
    Examples:
      simfeed doctor
      simfeed doctor --json
      simfeed doctor --invariants    nothing lost, doubled, left over or miscounted?

    Look at settings, database, migrations, model provider, clock and disk; say what is wrong and how to mend it.
    """
    if invariants:
        _tell(go(_invariants(home)), json=json)
        return
    checks = _settings_and_more(home)
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


def _settings_and_more(home: Home) -> list[Check]:
    try:
        settings = settings_for(home)
    except AppError as error:
        return [Check("settings", False, error.detail, "set the variable as it says")]
    checks = [Check("settings", True, f"model {settings.simfeed_model}"), _disk(settings)]
    try:
        with migrate.open_home_url(settings) as url:
            checks += go(_database(url))
    except AppError as error:
        checks.append(Check("database", False, error.detail, "is the server up, and DATABASE_URL right?"))
    if settings.embedding_model is not None:
        checks.append(_embedding(settings))
    return [*checks, go(_provider(settings))]


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


def _disk(settings: Settings) -> Check:
    place = settings.simfeed_home.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Check("disk", free >= DISK_LEAST, f"{free / 1024**3:.1f} GiB free at {place}", "free some space")


async def _database(url: str) -> list[Check]:
    try:
        connection = await asyncpg.connect(plain_url(url), timeout=10)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        return [Check("database", False, str(error), "is the server up, and DATABASE_URL right?")]
    try:
        version = await connection.fetchval("SHOW server_version_num")
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    finally:
        await connection.close()
    skew = abs((datetime.now(UTC) - now).total_seconds())
    return [
        Check(
            "database",
            int(version) >= POSTGRES_LEAST,
            f"PostgreSQL {int(version) // 10000}",
            "use PostgreSQL 15 or later",
        ),
        await _schema(url),
        Check("clock", skew <= SKEW_MOST, f"{skew:.1f} s from the database's", "set this machine's clock (NTP)"),
    ]


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
    priced = "" if price(model) is not None else "; its price is not known, costs will say so"
    mend = {"auth": "check the key", "quota": "check the account's balance", "config": "check the model's name and URL"}
    ok = answer.status in ("ok", "length")
    found = f"{model} at {where.base_url}: {answer.status} {answer.detail}{priced}"
    return Check("model", ok, found, mend.get(answer.status, "is the provider up?"))
