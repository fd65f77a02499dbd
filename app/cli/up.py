"""`simfeed up`: everything, from an empty folder to a living feed."""

import errno
import os
import secrets
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import msgspec
import typer
import uvicorn
from pydantic import SecretStr

from app.auth import admins
from app.cli.common import Home, err, go, settings_for
from app.cli.progress import play
from app.db import embedded, migrate
from app.db.engine import Database
from app.db.queries import SQL
from app.errors import Unavailable
from app.llm.gateway import ready
from app.llm.pricing import SCRIPTED
from app.settings import HANDED_ON, LOOPBACK, Settings, from_file, sources
from app.venues.feed import open_cycle
from app.venues.run import open_mind
from app.web.server import options
from app.world import personas

STARTERS = SQL / "seed" / "personas.json"
FIRST_CYCLES = 3
"""An empty world holds nothing to answer; the offline model is free, so it plays three, two turns at a time."""


def up(
    model: Annotated[str | None, typer.Option(help="Model of the personas, as NAME or PRESET/NAME.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    home: Home = None,
    tool_mode: Annotated[str | None, typer.Option(help="native (function calls) or json (for models without).")] = None,
    cycle: Annotated[bool, typer.Option(help="Play a first cycle in an empty world before serving.")] = True,
) -> None:
    """\b
    Examples:
      bin/up                                             offline model: no key, no network
      bin/up --model local                               a tiny language model in this process: says what to install
      OPENAI_API_KEY=… bin/up --model gpt-4o-mini
      DEEPSEEK_API_KEY=… bin/up --model deepseek-chat
      GEMINI_API_KEY=… bin/up --model gemini-2.5-flash
      bin/up --model ollama/qwen3:8b                     a model on this machine
      OPENAI_BASE_URL=http://127.0.0.1:8080/v1 bin/up --model any-name
      DATABASE_URL=postgresql://user:password@host/simfeed bin/up
      bin/up --port 9000 --home /var/lib/simfeed

    Start Sim-Feed: database, migrations, a starter world of twelve personas, a first cycle, then the server and its
    scheduler. Ctrl-C ends everything it started.
    """
    settings = settings_for(home, simfeed_model=model, tool_mode=tool_mode)
    ready(settings, settings.simfeed_model)
    _check_port(host, port)
    settings = with_secrets(settings)
    if settings.database_url is not None:
        url = migrate.url_of_world(settings, settings.database_url.get_secret_value())
        _serve(settings, url, host, port, cycle=cycle)
        return
    err.print(f"PostgreSQL   starting under {settings.simfeed_home}/", markup=False)
    with embedded.start(settings.simfeed_home, binaries=settings.postgres_binaries) as server:
        err.print(f"PostgreSQL   {server.version}, data in {server.data_dir}", markup=False)
        _serve(settings, migrate.url_of_world(settings, server.url()), host, port, cycle=cycle)


def _serve(settings: Settings, url: str, host: str, port: int, *, cycle: bool) -> None:
    fresh = go(prepare(settings, url, cycle=cycle))
    shown = f"[{host}]" if ":" in host else host
    _greet(settings, f"http://{shown}:{port}", fresh=fresh)
    os.environ.update(environment(settings))
    uvicorn.run("app.main:create_app", factory=True, host=host, port=port, **options())


def environment(settings: Settings) -> dict[str, str]:
    """What flags and the home folder have decided, as the server process reads it."""
    decided = {
        "SIMFEED_HOME": str(settings.simfeed_home),
        "SIMFEED_MODEL": settings.simfeed_model,
        "TOOL_MODE": settings.tool_mode,
        "SECRET_KEY": settings.secret_key.get_secret_value(),
        "BOOTSTRAP_TOKEN": settings.bootstrap_token.get_secret_value(),
    }
    origins = sources(settings)
    return {**decided, HANDED_ON: ",".join(f"{name.lower()}={origins[name.lower()]}" for name in decided)}


async def prepare(settings: Settings, url: str, *, cycle: bool) -> bool:
    """Migrate, seed and play a first cycle where they are missing; True when no admin has registered yet."""
    before = await migrate.upgrade(url)
    if before.pending:
        err.print(f"Schema       {len(before.pending)} migration(s) applied", markup=False)
    database = await Database.open(url, size=settings.database_pool_size)
    try:
        await _seed(database)
        if cycle and not await personas.any_posts(database):
            await _first_cycle(settings, database)
        return not await admins.bootstrapped(database)
    finally:
        await database.close()


async def _seed(database: Database) -> None:
    if await personas.any_personas(database):
        return
    specs = [personas.PersonaSpec.model_validate(entry) for entry in msgspec.json.decode(STARTERS.read_bytes())]
    async with database.connection() as connection:
        await personas.add(connection, specs)
    err.print(f"World        {len(specs)} personas moved in", markup=False)


async def _first_cycle(settings: Settings, database: Database) -> None:
    label = "offline model, no language model" if settings.simfeed_model == SCRIPTED else settings.simfeed_model
    cycles = 1
    if settings.simfeed_model == SCRIPTED:
        cycles, settings = FIRST_CYCLES, settings.model_copy(update={"max_concurrent_turns": 2})
    async with open_mind(settings, database) as mind:
        for n in range(1, cycles + 1):
            run_id = await open_cycle(mind, settings, slot=f"feed/first/{n}")
            if run_id is not None:
                await play(mind, settings, run_id, title=f"Cycle {n} of {cycles} ({label})")


def _greet(settings: Settings, address: str, *, fresh: bool) -> None:
    err.print(f"\nSim-Feed is at {address}/ (Ctrl-C ends it)", markup=False)
    if settings.simfeed_model == SCRIPTED:
        err.print("Personas are played by the offline model; `bin/up --help` shows how to use a real one.")
    if not fresh:
        return
    token = settings.bootstrap_token.get_secret_value()
    body = (
        '{"username": "admin", "email": "admin@example.org", "password": "at least 12 characters", '
        f'"bootstrap_token": "{token}"}}'
    )
    err.print("\nBecome the first admin (the token works once) in the browser, or over the API:", markup=False)
    err.print(f"  {address}/admin/register?{urlencode({'token': token})}", markup=False, soft_wrap=True)
    err.print(
        f"  curl -X POST {address}/auths/register -H 'Content-Type: application/json' \\\n    -d '{body}'\n",
        markup=False,
    )


def _no_address(host: str) -> Unavailable:
    return Unavailable(
        f"can't listen on {host}: it is no address of this machine. --host 127.0.0.1 is for this machine alone, "
        "--host 0.0.0.0 for all its addresses"
    )


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (socket.gaierror, UnicodeError):
            raise _no_address(host) from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise _no_address(host) from None
            guess = ": is Sim-Feed running already?" if error.errno == errno.EADDRINUSE else "."
            raise Unavailable(
                f"can't listen on {host}:{port} ({error.strerror}){guess} Another port: bin/up --port 8001"
            ) from None
    if host not in LOOPBACK:
        err.print(f"listening on {host}: everybody who reaches this machine can read the feed", markup=False)


def with_secrets(settings: Settings) -> Settings:
    """The settings with secrets from the environment, or else from the home folder, made once (mode 0600)."""
    missing = [n for n in ("secret_key", "bootstrap_token") if not getattr(settings, n).get_secret_value()]
    if not missing:
        return settings
    kept = _kept_secrets(settings.simfeed_home)
    return from_file(settings, {name: SecretStr(kept[name]) for name in missing})


def _secret_key() -> str:
    return secrets.token_urlsafe(48)


def _bootstrap_token() -> str:
    return f"sf_boot_{secrets.token_urlsafe(24)}"


def _kept_secrets(home: Path) -> dict[str, str]:
    path = home / "secrets.json"
    home.mkdir(parents=True, exist_ok=True)
    fresh = msgspec.json.encode({"secret_key": _secret_key(), "bootstrap_token": _bootstrap_token()})
    draft = home / f".secrets.{os.getpid()}.{secrets.token_hex(4)}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(fresh)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        path.chmod(0o600)
    finally:
        draft.unlink()
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
