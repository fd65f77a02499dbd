"""One configuration of `bench turns`, in a process of its own: `python -m app.cli.bench.play`.

The plan comes as a line of JSON on standard input; lines with the number of turns played, then one with the result,
go to standard output.
"""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import asyncpg
import msgspec
import uvloop

from app import logs
from app.agent.turn import Mind
from app.cli.bench import meter, tokens
from app.cli.bench.meter import BENCH, Spent
from app.cli.bench.plan import CALLS_A_TURN, Cycle, Done, Plan, Said
from app.cli.bench.profile import Profile, sampled
from app.cli.common import opened
from app.cli.up import STARTERS
from app.db.engine import Database
from app.llm.model import read_reply
from app.metrics import Metrics
from app.settings import Settings, load_settings
from app.venues.feed import open_cycle, play_cycle
from app.venues.run import open_mind
from app.venues.worker import TurnEnd
from app.world import personas

BATCH = 500
EVERY = 50
MODEL = "bench-stub"
Ask = Callable[[int], Awaitable[bytes]]
"""Sends one of the sampled requests and returns the reply."""


def tell(said: Said) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.buffer.flush()


def settings_of(plan: Plan) -> Settings:
    return load_settings(
        database_url=plan.url,
        simfeed_model=MODEL if plan.base_url else "scripted",
        model_transport="raw" if plan.over == "raw" else "sdk",
        openai_base_url=plan.base_url or None,
        max_concurrent_turns=plan.concurrency,
    )


async def move_in(database: Database, number: int) -> None:
    """The starters of the seed, then the same again and again under numbered names; all always awake."""
    entries = msgspec.json.decode(STARTERS.read_bytes())

    def spec(n: int) -> personas.PersonaSpec:
        entry = entries[n % len(entries)]
        name = entry["username"] if n < len(entries) else f"{entry['username'][:30]}_{n}"
        return personas.PersonaSpec.model_validate({**entry, "username": name, "activity": 1.0})

    async with database.connection() as connection:
        for begin in range(0, number, BATCH):
            await personas.add(connection, [spec(n) for n in range(begin, min(number, begin + BATCH))])


async def play(plan: Plan) -> Done:
    settings = settings_of(plan)
    async with opened(settings) as database, open_mind(settings, database, metrics=Metrics()) as mind:
        await move_in(database, plan.personas)
        async with database.connection() as connection:
            postgres = await meter.postmaster(connection)
            with suppress(asyncpg.InsufficientPrivilegeError):
                await connection.execute(BENCH["checkpoint"])
        cycles, seen = await _cycles(plan, mind, settings, postgres)
        peak = meter.peak_mb()
        prompts = await tokens.count(database) if plan.counts else tokens.Prompts("not counted")
        return Done(cycles, peak, await sound(database), prompts, seen)


async def _cycles(
    plan: Plan, mind: Mind, settings: Settings, postgres: int | None
) -> tuple[list[Cycle], Profile | None]:
    played = 0

    def on_end(_: TurnEnd) -> None:
        nonlocal played
        played += 1
        if played % EVERY == 0:
            tell(Said(turns=played))

    if plan.warm_up:
        await cycle(mind, settings, 0, on_end, postgres)
    cycles: list[Cycle] = []
    with sampled(on=plan.profile) as seen:
        while len(cycles) < plan.cycles or sum(c.steps for c in cycles) < plan.min_steps:
            cycles.append(await cycle(mind, settings, len(cycles) + 1, on_end, postgres))
            if not cycles[-1].steps:
                break
    return cycles, seen[0] if seen else None


async def cycle(
    mind: Mind, settings: Settings, number: int, on_end: Callable[[TurnEnd], None], postgres: int | None
) -> Cycle:
    """Open and play one cycle of the feed venue, as the scheduler does."""
    turns, steps, before = 0, mind.committer.steps, meter.spent(postgres)

    def count(end: TurnEnd) -> None:
        nonlocal turns
        turns += 1
        on_end(end)

    run_id = await open_cycle(mind, settings, slot=f"bench/{number}", seed=number)
    if run_id is not None:
        await play_cycle(mind, settings, run_id, on_end=count)
    return measured(turns, mind.committer.steps - steps, meter.spent(postgres).since(before))


def measured(turns: int, steps: int, spent: Spent) -> Cycle:
    return Cycle(turns, steps, spent.wall, spent.ours, spent.postgres)


async def sound(database: Database) -> dict[str, int]:
    """What a world that is in order has to show."""
    row = await database.fetchrow(BENCH["sound"])
    outcomes = await database.fetch(BENCH["outcomes"])
    return {**dict(row or {}), **{f"actions_{o['outcome']}": o["times"] for o in outcomes}}


async def floor(plan: Plan) -> Done:
    """The least it takes: the same requests through a bare client, and one insert a step."""
    sample_from = await Database.open(plan.sample_url, size=2)
    bodies = [r.body() for turn in await tokens.turns(sample_from, tokens.SAMPLE) for r in turn]
    lasts = [b"{" + body.rpartition(b',{"role"')[2] for body in bodies]
    await sample_from.close()
    pool = await asyncpg.create_pool(plan.url, min_size=10, max_size=10)
    await pool.execute(BENCH["floor_table"])
    left = iter(range(plan.min_steps))
    async with (_bare_aiohttp if plan.over == "raw" else _bare_sdk)(plan, bodies) as ask:

        async def work() -> None:
            for n in left:
                await pool.execute(BENCH["floor_step"], lasts[n % len(lasts)], await ask(n % len(bodies)))
                if n % (EVERY * CALLS_A_TURN) == 0:
                    tell(Said(turns=n // CALLS_A_TURN))

        async with pool.acquire() as connection:
            postgres = await meter.postmaster(connection)
        before = meter.spent(postgres)
        await asyncio.gather(*(work() for _ in range(plan.concurrency)))
        spent = meter.spent(postgres).since(before)
    peak = meter.peak_mb()
    await pool.close()
    turns = plan.min_steps // CALLS_A_TURN
    return Done([measured(turns, plan.min_steps, spent)], peak, {}, tokens.Prompts("the same requests"))


@asynccontextmanager
async def _bare_aiohttp(plan: Plan, bodies: list[bytes]) -> AsyncIterator[Ask]:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    connector = aiohttp.TCPConnector(limit=plan.concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as client:

        async def ask(n: int) -> bytes:
            async with client.post(f"{plan.base_url}/chat/completions", data=bodies[n]) as answer:
                raw = await answer.read()
            choice: Any = msgspec.json.decode(raw)["choices"][0]
            read_reply("ok", msgspec.json.encode(choice["message"]))
            return raw

        yield ask


@asynccontextmanager
async def _bare_sdk(plan: Plan, bodies: list[bytes]) -> AsyncIterator[Ask]:
    """The vendor's client as its manual shows it, over the same HTTP library as ours."""
    openai: Any = importlib.import_module("openai")  # half a second that no other configuration need wait for
    http_client = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(base_url=plan.base_url, api_key="none", http_client=http_client) as client:
        asked: list[dict[str, Any]] = [msgspec.json.decode(body) for body in bodies]

        async def ask(n: int) -> bytes:
            reply: Any = await client.chat.completions.create(**asked[n])
            return bytes(reply.model_dump_json().encode())

        yield ask


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)
    logs.configure("warning")
    tell(Said(done=uvloop.run(floor(plan) if plan.sample_url else play(plan))))


if __name__ == "__main__":
    main()
