"""D1, D2, D5–D12: PostgreSQL goes away, fills up, says no, or says nothing. A real server, hit for real."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest
from asgi_lifespan import LifespanManager

from app.agent import turn as turn_module
from app.db import engine
from app.db.engine import Database, explain
from app.db.queries import load
from app.errors import Unavailable
from app.ledger import commit as commit_module
from app.ledger.commit import Committer, EffectOutcome
from app.llm.model import Completion, Request
from app.main import create_app
from app.venues import worker as worker_module
from app.venues.feed import open_cycle
from app.web import errors
from app.world import feed
from app.world.effects import Like, NewComment, NewPost
from tests.conftest import a_mind, run_sql, serving, settings_for, sign_up, with_database
from tests.fault_proxy import proxied
from tests.faults.own import (
    SETTINGS,
    OwnServer,
    Slow,
    broken,
    kills,
    opened,
    own_server,
    played,
    reads,
    small_disk,
    take_all,
    why_failed,
    within,
    write_until_it_panics,
)
from tests.ledger.test_commit import step, turns_for
from tests.pace import clock
from tests.venues.test_cycle import people

LONG = 20.0
READY = load("instance")["ready"]


async def is_ready(client: httpx2.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def not_ready(client: httpx2.AsyncClient) -> bool:
    return not await is_ready(client)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that don't wait for the database, and a worker that doesn't give them back."""
    for module in (turn_module, worker_module):
        monkeypatch.setattr(module, "AWAY", ())


def assert_says_later(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"


# Backends that are killed


async def test_d1_backends_die_while_a_cycle_plays(own_url: str) -> None:
    """Nothing is lost, doubled or miscounted, every turn ends well, and readers hear 200 or 503."""
    done = asyncio.Event()
    async with serving(settings_for(own_url)) as client, opened(own_url) as database:
        await people(database, 60)
        async with a_mind(database, Slow(0.05)) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            killing = asyncio.create_task(kills(own_url, every=0.15, how_many=1, done=done))
            reading = asyncio.create_task(reads(client, done))
            states = await played(mind, run_id)
            done.set()
            killed, statuses = await killing, await reading
        failed = await why_failed(database)
    assert killed >= 5
    assert failed == []
    assert states.keys() <= {"done", "limit"}
    assert sum(states.values()) == 60
    assert statuses.keys() <= {200, 404, 503}, statuses
    assert statuses.get(503, 0) <= 2 * killed + 0.005 * sum(statuses.values()), (statuses, killed)
    assert await broken(own_url) == {}


async def test_d1_control_without_patience_turns_fail(own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    done = asyncio.Event()
    async with opened(own_url, 3) as database:
        await people(database, 60)
        async with a_mind(database, Slow(0.05)) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            killing = asyncio.create_task(kills(own_url, every=0.15, how_many=1, done=done))
            await played(mind, run_id)
            done.set()
            await killing
        failed = await why_failed(database)
    assert {reason.partition(":")[0] for reason in failed} == {"internal"}
    assert await broken(own_url) == {}


async def killed_in_the_middle(url: str, write: Callable[[Committer], Coroutine[Any, Any, object]]) -> None:
    """Post 1's counters are locked; the backend that waits for them is killed, with what it has done so far."""
    async with opened(url) as database:
        await turns_for(database, 2)
        await database.fetch("UPDATE runs SET turns_total = 2")
        async with Committer(database, lease_seconds=20) as committer:
            await committer.commit(step(1, 0, NewPost(body="a")))
            other = await asyncpg.connect(url)
            try:
                async with other.transaction():
                    await other.execute("SELECT FROM post_counts WHERE post_id = 1 FOR UPDATE")
                    writing = asyncio.create_task(write(committer))
                    await within(5, lambda: other.fetchval(f"SELECT EXISTS ({WAITING})"))
                    assert not writing.done()
                    await other.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) w")
                    with pytest.raises(engine.AWAY):
                        await writing
            finally:
                await other.close()
            assert await database.fetchval("SELECT count(*) FROM calls") == 1
            await asyncio.gather(write(committer), return_exceptions=True)


WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
ANSWER = step(2, 0, NewComment(1, body="b"), Like(1))


async def test_d1_what_was_killed_in_the_middle_of_its_commit_is_there_once_when_tried_again(own_url: str) -> None:
    await killed_in_the_middle(own_url, lambda committer: committer.commit(ANSWER))
    async with opened(own_url) as database:
        made = await database.fetch("SELECT (SELECT count(*) FROM comments) AS c, (SELECT count(*) FROM likes) AS l")
    assert [tuple(row) for row in made] == [(1, 1)]
    assert await broken(own_url) == {}


async def test_d1_control_what_is_written_piece_by_piece_is_left_in_pieces(own_url: str) -> None:
    async def piece_by_piece(committer: Committer) -> None:
        await committer._database.fetch("INSERT INTO likes (post_id, persona_id) VALUES (1, 2)")
        await committer._database.fetch("UPDATE post_counts SET likes_count = likes_count + 1 WHERE post_id = 1")

    await killed_in_the_middle(own_url, piece_by_piece)
    assert "I3 a post's counters equal their recounts" in await broken(own_url)


async def test_d1_a_reading_whose_connection_is_lost_fails_no_turn(
    own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, asked = feed.for_persona, 0

    async def at_first_not(database: Database, *given: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await really(database, *given)

    monkeypatch.setattr(feed, "for_persona", at_first_not)
    async with opened(own_url) as database:
        await people(database, 4)
        async with a_mind(database) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            states = await played(mind, run_id)
    assert asked > 1
    assert states.keys() <= {"done", "limit"}
    assert await broken(own_url) == {}


async def test_d1_what_asyncpg_says_of_a_lost_connection_is_told_as_such(own_url: str) -> None:
    """It calls it an internal error of its own, which no caller takes for a database that is away."""
    async with opened(own_url) as database:
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            async with database.connection():
                raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        assert await database.fetchval("SELECT 1") == 1


async def test_d2_all_backends_die_twenty_times(own_url: str, hit: OwnServer) -> None:
    async with serving(settings_for(own_url)) as client:
        slowest = 0.0
        for round_ in range(20):
            await asyncio.gather(*(client.get(f"/persona/{n}") for n in range(1, 9)))
            every = asyncio.Event()
            killing = asyncio.create_task(kills(own_url, every=1, how_many=99, done=every, seed=round_))
            await asyncio.sleep(0)
            every.set()
            await killing
            slowest = max(slowest, await within(2, lambda: is_ready(client)))
    assert slowest <= 2


async def test_d2_control_a_connection_that_is_kept_never_heals(
    own_url: str, hit: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, turn = await asyncpg.connect(own_url), asyncio.Lock()

    @asynccontextmanager
    async def the_same(_: Database) -> AsyncIterator[asyncpg.Connection]:
        async with turn:
            yield kept

    monkeypatch.setattr(Database, "connection", the_same)
    async with serving(settings_for(own_url)) as client:
        assert await is_ready(client)
        await run_sql(hit.url(), f"SELECT pg_terminate_backend({kept.get_server_pid()})")
        with pytest.raises(AssertionError, match="not within"):
            await within(2, lambda: is_ready(client))


# No database


async def test_d5_down_and_up_again(capsys: pytest.CaptureFixture[str]) -> None:
    """503 with Retry-After, the process lives, readiness tells in 2 s, the log is quiet, it heals in 5."""
    with own_server() as server:
        async with world_of_url(server) as url:
            more = {"scheduler_enabled": True, "scheduler_job_interval": 0.05, "log_level": "warning"}
            async with serving(settings_for(url, **more)) as client:
                assert await is_ready(client)
                server.stop_at_once()
                capsys.readouterr()
                went = time.monotonic()
                await within(2, lambda: not_ready(client))
                for _ in range(10):
                    assert_says_later(await client.get("/posts?page=3"))
                    assert_says_later(await client.get("/readyz"))
                    assert (await client.get("/livez")).status_code == 200
                    await asyncio.sleep(0.25)
                server.start()
                await within(5, lambda: is_ready(client))
                lines = [line for line in capsys.readouterr().err.splitlines() if "database trouble" not in line]
                assert len(lines) <= 2 + 2 * (time.monotonic() - went), lines
                assert (await client.get("/posts")).status_code == 200


async def test_d5_control_a_readiness_that_does_not_ask_says_ready(
    own_url: str, hit: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings_for(own_url)) as client:
        row = await asks_once(own_url)
        monkeypatch.setattr(Database, "fetchrow", row)
        try:
            await asyncio.to_thread(hit.stop_at_once)
            with pytest.raises(AssertionError, match="not within"):
                await within(1, lambda: not_ready(client))
            monkeypatch.undo()
            await within(2, lambda: not_ready(client))
        finally:
            await asyncio.to_thread(hit.mend)


async def asks_once(url: str) -> Any:
    """What `fetchrow` says of readiness, and says for ever."""
    async with opened(url, 1) as database:
        row = await database.fetchrow(READY)

    async def remembered(*_: object) -> Any:
        return row

    return remembered


@asynccontextmanager
async def world_of_url(server: OwnServer) -> AsyncIterator[str]:
    """A migrated world that goes with its server."""
    from app.db import migrate

    await run_sql(server.url(), "CREATE DATABASE world")
    url = with_database(server.url(), "world")
    await migrate.upgrade(url)
    yield url


# No connection


@asynccontextmanager
async def all_taken(url: str, size: int = 3) -> AsyncIterator[tuple[httpx2.AsyncClient, list[asyncpg.Connection]]]:
    """A client of the application, all of whose pool's connections somebody holds."""
    app = create_app(settings_for(url, database_pool_size=size))
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as running:
        pool = app.state.house.database.pool
        held = [await pool.acquire() for _ in range(size)]
        transport = httpx2.ASGITransport(app=running.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://simfeed.test") as client:
            try:
                yield client, held
            finally:
                for connection in held:
                    await pool.release(connection)


async def test_d6_an_exhausted_pool_is_503_and_never_waited_for(own_url: str) -> None:
    async with all_taken(own_url) as (client, _):
        begin = clock()
        answers = await asyncio.gather(*(client.get(f"/persona/{n}") for n in range(1, 20)), client.get("/readyz"))
        took = clock() - begin
    for answer in answers:
        assert_says_later(answer)
    assert took <= 2.5 + 1
    async with serving(settings_for(own_url)) as client:
        assert await is_ready(client)


async def test_d6_control_without_the_bound_it_waits(own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "ACQUIRE_SECONDS", None)
    async with all_taken(own_url) as (client, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("/posts?page=2"), 3.5)


@asynccontextmanager
async def no_connection_left(url: str, hit: OwnServer) -> AsyncIterator[None]:
    """Others hold every connection that the server gives, also those that were ours."""
    taken: list[asyncpg.Connection] = []
    try:
        taken += await take_all(hit)
        kept = taken[0]
        name = url.partition("?")[0].rpartition("/")[2]
        ours = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        while not await kept.fetchval(f"SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '{name}'"):
            await kept.execute(ours)  # the application is back at once, unless what it left is taken first
            for _ in range(20):
                taken += await take_all(hit)
        yield
    finally:
        await asyncio.gather(*(connection.close() for connection in taken))


async def test_d7_no_connection_is_left_at_the_server(own_url: str, hit: OwnServer) -> None:
    async with serving(settings_for(own_url)) as client:
        async with no_connection_left(own_url, hit):
            assert_says_later(await client.get("/readyz"))
            assert_says_later(await client.get("/posts?page=3"))
            assert (await client.get("/livez")).status_code == 200
        await within(5, lambda: is_ready(client))


async def test_d7_control_if_nobody_knew_what_53300_says_it_would_be_our_bug(
    own_url: str, hit: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknowing(error: BaseException) -> Any:
        return None if isinstance(error, asyncpg.TooManyConnectionsError) else explain(error)

    monkeypatch.setattr(errors, "explain", unknowing)
    async with serving(settings_for(own_url)) as client, no_connection_left(own_url, hit):
        assert (await client.get("/posts?page=3")).status_code == 500


class Asked(Slow):
    """Counts its calls."""

    times = 0

    async def complete(self, request: Request) -> Completion:
        self.times += 1
        return await super().complete(request)


@pytest.mark.parametrize("patient", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_d7_turns_wait_for_a_connection_and_control_without_patience_they_ask_anew(
    own_url: str, hit: OwnServer, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """A reply waits with its turn; a turn that does not wait is played again when its lease is over, or has failed."""
    if not patient:
        impatient(monkeypatch)
    model = Asked(0.1)
    async with opened(own_url) as database:
        await people(database, 20)
        async with a_mind(database, model) as mind:
            run_id = await open_cycle(mind, SETTINGS)
            assert run_id is not None
            playing = asyncio.create_task(played(mind, run_id))
            await within(5, lambda: database.fetchval("SELECT count(*) > 5 FROM calls"))
            async with no_connection_left(own_url, hit):
                await asyncio.sleep(1)
            assert sum((await playing).values()) == 20
        lost = model.times - await database.fetchval("SELECT count(*) FROM calls")
    assert (lost == 0) is patient
    assert await broken(own_url) == {}


# No room


async def test_d8_a_full_disk_refuses_writes_and_serves_reads() -> None:
    """The data's disk fills up, the log's does not: 503 for what is to be written, until there is room, by itself."""
    with own_server(durable=False) as server, small_disk(64) as disk:
        owner = (server.home / "pg").resolve().stat()
        os.chown(disk, owner.st_uid, owner.st_gid)
        await run_sql(server.url(), f"CREATE TABLESPACE small LOCATION '{disk}'")
        async with world_of_url(server) as url:
            await run_sql(server.url(), "ALTER DATABASE world SET TABLESPACE small")
            async with serving(settings_for(url)) as client:
                admin = await sign_up(client)
                filler = disk / "filler"
                filler.write_bytes(bytes(shutil.disk_usage(disk).free - 16_384))
                made, refused = await add_until_refused(client, admin)
                assert_says_later(refused)
                assert "full" in refused.json()["detail"]
                for path in ("/posts", "/personas", "/readyz", "/"):
                    assert (await client.get(path, headers=admin)).status_code == 200, path
                filler.unlink()
                assert (await add(client, admin, made)).status_code == 201
                assert len((await client.get("/personas", headers=admin)).json()) == min(made + 1, 100)
            assert await broken(url) == {}


async def test_d9_a_full_disk_of_the_log_is_503_until_there_is_room() -> None:
    """PostgreSQL panics; the application lives, says so to readers and writers alike, and heals with it."""
    with small_disk(64) as disk, own_server() as server:
        server.move_log(disk)
        async with world_of_url(server) as url, serving(settings_for(url)) as client:
            admin = await sign_up(client)
            assert (await add(client, admin, 0)).status_code == 201
            filler = disk / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(disk).free))
            await write_until_it_panics(url)
            for _ in range(3):
                assert_says_later(await client.get("/posts?page=3"))
                assert_says_later(await add(client, admin, 1))
                assert_says_later(await client.get("/readyz"))
                assert (await client.get("/livez")).status_code == 200
                await asyncio.sleep(0.2)
            filler.unlink()
            await asyncio.to_thread(server.mend)
            await within(5, lambda: is_ready(client))
            assert (await client.get("/posts?page=3")).status_code == 200
            assert (await add(client, admin, 1)).status_code == 201
            named = {persona["username"] for persona in (await client.get("/personas", headers=admin)).json()}
        panics = [line for line in (server.home / "pg.log").read_text().splitlines() if "PANIC" in line]
        assert named == {"n0", "n1"}
        assert any("No space left on device" in line for line in panics), panics
        assert await broken(url) == {}


async def add(client: httpx2.AsyncClient, admin: dict[str, str], number: int) -> httpx2.Response:
    words = " ".join(str(hash((number, k))) for k in range(350))[:7_900]
    return await client.post("/personas", json={"username": f"n{number}", "persona": words}, headers=admin)


async def add_until_refused(client: httpx2.AsyncClient, admin: dict[str, str]) -> tuple[int, httpx2.Response]:
    for number in range(200):
        answer = await add(client, admin, number)
        if answer.status_code != 201:
            return number, answer
    raise AssertionError("the disk does not fill")


# Locks


async def test_d10_a_deadlock_is_tried_again(own_url: str) -> None:
    assert await through_a_deadlock(own_url) == "made"
    assert await broken(own_url) == {}


async def test_d10_control_tried_once_it_is_lost(own_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module, "DEADLOCK_TRIES", 1)
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await through_a_deadlock(own_url)


async def through_a_deadlock(url: str) -> str:
    """A committer's statement takes post 1 and waits for 2; another, who has 2, asks for 1 and is more patient."""
    async with opened(url) as database:
        await turns_for(database, 2)
        await database.fetch("UPDATE runs SET turns_total = 2")
        async with Committer(database, lease_seconds=20) as committer:
            await committer.commit(step(1, 0, NewPost(body="a"), NewPost(body="b")))
            other = await asyncpg.connect(url)
            try:
                await other.execute("SET deadlock_timeout = '10s'")
                async with other.transaction():
                    await other.execute("SELECT FROM post_counts WHERE post_id = 2 FOR UPDATE")
                    committing = asyncio.create_task(committer.commit(step(2, 0, Like(1), Like(2))))
                    waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
                    await within(5, lambda: database.fetchval(waiting))
                    await other.execute("SELECT FROM post_counts WHERE post_id = 1 FOR UPDATE")
                outcomes = await committing
            finally:
                await other.close()
    found = [outcomes[n] for n in (0, 1)]
    assert all(isinstance(outcome, EffectOutcome) and outcome.outcome == "made" for outcome in found)
    return str(found[0].outcome)


@pytest.mark.slow
async def test_d11_a_slow_query_and_a_lock_end_in_time(own_url: str) -> None:
    """`statement_timeout` after 5 s, `lock_timeout` after 2 s: both are 503 for the client."""

    async def slow(database: Database) -> float:
        begin = clock()
        with pytest.raises(asyncpg.QueryCanceledError) as caught:
            await database.fetchval("SELECT pg_sleep(30)")
        assert isinstance(explain(caught.value), Unavailable)
        return clock() - begin

    async def locked(client: httpx2.AsyncClient) -> float:
        other = await asyncpg.connect(own_url)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE posts, personas")
                begin = clock()
                assert_says_later(await client.get("/posts?page=2"))
                return clock() - begin
        finally:
            await other.close()

    async with serving(settings_for(own_url)) as client, opened(own_url) as database:
        asleep, waited = await asyncio.gather(slow(database), locked(client))
    assert 4.5 <= asleep <= 5.5 + 1
    assert 1.5 <= waited <= 2.5 + 1


async def over(work: Awaitable[object], seconds: float) -> bool:
    """Whether it ends in this time, in whatever way; it is given up then."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return bool(done)


@pytest.mark.parametrize(("setting", "bounded"), [("300ms", True), ("0", False)])
async def test_d11_control_without_the_timeouts_they_last(
    own_url: str, monkeypatch: pytest.MonkeyPatch, setting: str, bounded: bool
) -> None:
    """The bounds of the server, scaled down, and none."""
    monkeypatch.setitem(engine.WEB_TIMEOUTS, "statement_timeout", setting)
    async with opened(own_url) as database:
        assert await over(database.fetchval("SELECT pg_sleep(30)"), 20 if bounded else 1.5) is bounded
    monkeypatch.setitem(engine.WEB_TIMEOUTS, "statement_timeout", "0")
    monkeypatch.setitem(engine.WEB_TIMEOUTS, "lock_timeout", setting)
    other = await asyncpg.connect(own_url)
    try:
        async with opened(own_url) as database, other.transaction():
            await other.execute("LOCK TABLE posts")
            assert await over(database.fetchval("SELECT count(*) FROM posts"), 20 if bounded else 1.5) is bounded
    finally:
        await other.close()


# A line that is dead and does not say so


@pytest.mark.slow
async def test_d12_a_half_open_connection_is_noticed(own_url: str) -> None:
    async with proxied(own_url) as proxy, serving(settings_for(proxy.client_url)) as client:
        assert await is_ready(client)
        assert (await client.get("/posts?page=2")).status_code == 200
        await proxy.set("drop")
        begin = clock()
        answers = await asyncio.wait_for(
            asyncio.gather(*(client.get(f"/posts?page={page}") for page in range(3, 8)), client.get("/readyz")), LONG
        )
        took = clock() - begin
        assert (await client.get("/livez")).status_code == 200
        await proxy.set("pass")
        healed = await within(5, lambda: is_ready(client))
    for answer in answers:
        assert_says_later(answer)
    assert took <= 10, took
    assert healed <= 5


@pytest.mark.parametrize(("patience", "noticed"), [(0.3, True), (30.0, False)])
async def test_d12_control_without_the_bound_nobody_notices(
    own_url: str, monkeypatch: pytest.MonkeyPatch, patience: float, noticed: bool
) -> None:
    monkeypatch.setattr(engine, "COMMAND_SECONDS", patience)
    async with proxied(own_url) as proxy, opened(proxy.client_url, 1) as database:
        assert await database.fetchval("SELECT 1") == 1
        await proxy.set("drop")
        asking = asyncio.create_task(database.fetchval("SELECT 1"))
        done, _ = await asyncio.wait({asking}, timeout=20 if noticed else 2)
        assert bool(done) is noticed
        await proxy.set("reset")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
