"""W10: `GET /events` over sockets: order, resuming, filters, slow readers, the database away, the end of the server."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

import app.main
from app.db.engine import Database
from app.db.notify import Bell
from app.ledger.commit import Committer
from app.venues.run import TURNS
from app.web import events as relays
from app.web.events import Client, Relay
from app.world import events
from app.world.effects import FollowPersona, Like, NewComment, NewPost
from tests.conftest import BOOTSTRAP, SECRET, run_sql, settings_for
from tests.ledger.test_commit import commit, step, turns_for
from tests.web.test_edge import assert_problem, loopback

POST = "INSERT INTO events (kind, object_id) SELECT 'post', id FROM posts ORDER BY id LIMIT 1 RETURNING id"
PATIENCE = 15.0


@dataclass
class Heard:
    """One event as a browser would hand it on."""

    kind: str
    id: int
    data: Any


@dataclass
class Stream:
    """An open answer, and what came of it."""

    answer: httpx2.Response
    lines: AsyncIterator[str]
    last: int | None = None
    comments: int = 0
    retry: int | None = None
    heard: list[Heard] = field(default_factory=list)

    async def next(self) -> Heard:
        """The next event.

        Raises:
            StopAsyncIteration: the server has ended the stream.
        """
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if line == "":
                    self._dispatched(fields)
                    if "data" in fields:
                        return self.heard[-1]
                    if "id" in fields:
                        return Heard("", self.last or 0, None)
                    fields = {}
                elif name == "":
                    self.comments += 1
                else:
                    fields[name] = value
        raise StopAsyncIteration

    def _dispatched(self, fields: dict[str, str]) -> None:
        self.retry = int(fields.get("retry", self.retry or 0))
        if "id" in fields:
            self.last = int(fields["id"])
        if "data" in fields:
            assert self.last is not None
            self.heard.append(Heard(fields["event"], self.last, json.loads(fields["data"])))

    async def take(self, number: int) -> list[Heard]:
        """The next events, ids without event left out."""
        found: list[Heard] = []
        while len(found) < number:
            one = await self.next()
            found += [one] if one.kind else []
        return found


@asynccontextmanager
async def listening(url: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    """Listen, from the moment on at which the server has said from where; or from behind the id given."""
    async with httpx2.AsyncClient(timeout=PATIENCE) as client:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        async with client.stream("GET", f"{url}/events{query}", headers=given) as answer:
            assert answer.status_code == 200, await answer.aread()
            stream = Stream(answer, answer.aiter_lines())
            if "Last_Event_ID" not in headers and "last_event_id" not in query:
                assert (await stream.next()).kind == ""
            yield stream


@pytest.fixture
async def world(database: Database) -> Database:
    """Two personas with a turn each, and a post."""
    await turns_for(database, 2)
    await commit(database, [step(1, 0, NewPost(body="first"))])
    return database


@pytest.fixture
def server(url: str, world: Database) -> Iterator[str]:
    with loopback(settings_for(url)) as address:
        yield address


@contextmanager
def relay_with(monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> Iterator[list[Relay]]:
    """Servers that are started within have relays with these parameters; they are noted."""
    made: list[Relay] = []

    def make(database: Database, **given: Any) -> Relay:
        made.append(Relay(database, **given, **parameters))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(app.main, "Relay", make)
        yield made


async def insert(database: Database, number: int) -> list[int]:
    """So many events of the first post, each committed by itself."""
    return [await database.fetchval(POST) for _ in range(number)]


async def until(holds: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


# What is told


async def test_what_personas_do_is_told_as_the_feed_shows_it(server: str, world: Database) -> None:
    async with listening(server) as stream:
        assert stream.retry == 2_000
        await commit(world, [step(2, 0, Like(1), NewComment(1, body="oh"), FollowPersona(1), NewPost(body="mine"))])
        heard = {one.kind: one for one in await stream.take(4)}
        ids = [one.id for one in stream.heard]
        assert ids == sorted(set(ids))
        async with httpx2.AsyncClient(base_url=server) as client:
            feed = {post["id"]: post for post in (await client.get("/posts")).json()["posts_found"]}
            comment = (await client.get("/posts/1/comments")).json()[0]
        assert heard["post"].data == feed[heard["post"].data["id"]]
        assert heard["comment"].data == {**comment, "comments_count": 1}
        assert heard["like"].data == {"post_id": 1, "persona_id": 2, "username": "p2", "likes_count": 1}
        assert heard["follow"].data == {
            "follower": 2, "follower_username": "p2", "followed": 1, "followed_username": "p1"
        }  # fmt: skip


async def test_headers_are_those_of_a_stream_that_anybody_may_read(server: str) -> None:
    async with listening(server, Origin="https://elsewhere.example") as stream:
        headers = stream.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        assert headers["access-control-allow-origin"] == "*"
        assert "x-request-id" in headers
        assert "content-length" not in headers
    async with httpx2.AsyncClient(base_url=server) as client:
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
        asked["Access-Control-Request-Headers"] = "last-event-id"
        assert (await client.options("/events", headers=asked)).status_code == 200
        head = await client.head("/events")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")


async def test_only_the_kinds_asked_for(server: str, world: Database) -> None:
    async with listening(server, "?types=like,follow") as stream:
        await commit(world, [step(2, 0, Like(1), NewComment(1, body="oh"), FollowPersona(1), NewPost(body="mine"))])
        assert [one.kind for one in await stream.take(2)] == ["like", "follow"]
    async with listening(server, "?types=comment&last_event_id=0") as stream:
        assert [one.kind for one in await stream.take(1)] == ["comment"]


async def test_a_run_is_told(server: str, world: Database) -> None:
    async with listening(server, "?types=run") as stream:
        await run_sql(world.url, "UPDATE turns SET state = 'done', ended_at = now(), lease_until = NULL")
        await world.fetchval(TURNS["settle_run"], 1)
        (run,) = await stream.take(1)
        assert {name: run.data[name] for name in ("run_id", "state", "venue", "slot", "reason")} == {
            "run_id": 1, "state": "completed", "venue": "feed", "slot": "s", "reason": None
        }  # fmt: skip


async def test_what_is_hidden_is_not_told_live_nor_later(server: str, world: Database) -> None:
    async with listening(server) as stream:
        await run_sql(world.url, "UPDATE posts SET hidden = true")
        await commit(world, [step(2, 0, NewPost(body="seen"))])
        (first,) = await insert(world, 1)
        (one,) = await stream.take(1)
        assert one.data["body"] == "seen"
        await commit(world, [step(2, 1, NewPost(body="seen too"))])
        (two,) = await stream.take(1)
        assert (two.data["body"], two.id > first) == ("seen too", True)
    async with listening(server, Last_Event_ID="0") as again:
        assert [one.data["body"] for one in await again.take(2)] == ["seen", "seen too"]


WRONG = [
    "types=", "types=posts", "types=post,", "types=,post", "types=post%00", "types=post;like", "types=" + "post," * 8,
    "types=post, like", "types=POST", "types=' OR 1=1--", "types=post,like,post,like,post,like,post",
    *(f"last_event_id={n}" for n in ("-1", "00", "01", "+1", "1.0", "1e3", "x", "", str(2**63), "9" * 5_000, "１")),
]  # fmt: skip


@pytest.mark.parametrize("query", WRONG, ids=lambda query: str(query)[:30])
async def test_wrong_parameters_are_refused(client: httpx2.AsyncClient, query: str) -> None:
    assert_problem(await client.get(f"/events?{query}"), 422)


@pytest.mark.parametrize("last", ["-1", "01", "x", str(2**63), "1 or 1=1", "9" * 5_000])
async def test_wrong_ids_in_the_header_are_refused(client: httpx2.AsyncClient, last: str) -> None:
    assert_problem(await client.get("/events", headers={"Last-Event-ID": last}), 422)


# Coming back


async def test_who_comes_back_misses_nothing_and_gets_nothing_twice(server: str, world: Database) -> None:
    """Readers that leave and come back while events are written, on two servers of one world."""
    with loopback(settings_for(world.url)) as other:
        start = (await events.bounds(world)).newest
        written: list[int] = []
        done = asyncio.Event()

        async def write(number: int) -> None:
            connection = await asyncpg.connect(world.url)
            for turn in range(120):
                async with connection.transaction():
                    ids = [await connection.fetchval(POST) for _ in range(2)]
                    await asyncio.sleep(0.002 * ((turn + number) % 3))
                written.extend(ids)
            await connection.close()

        async def read(number: int) -> list[int]:
            told: list[int] = []
            last = start
            visits = 0
            while not done.is_set() or last < max(written):
                address = (server, other)[(visits + number) % 2]
                async with listening(address, Last_Event_ID=str(last)) as stream:
                    for one in await stream.take(min(20 + 7 * number, max(1, 480 - len(told)))):
                        told.append(one.id)
                        last = one.id
                visits += 1
            assert visits > 3
            return told

        async def writing() -> None:
            await asyncio.gather(*map(write, range(2)))
            done.set()

        _, *readers = await asyncio.gather(writing(), *map(read, range(4)))
        for told in readers:
            assert told == sorted(written)


async def test_pages_from_long_ago_join_what_happens_now(server: str, world: Database) -> None:
    many = 2 * events.PAGE + 50
    await run_sql(
        world.url, f"INSERT INTO events (kind, object_id) SELECT 'post', 1 FROM generate_series(1, {many}) ORDER BY 1"
    )
    async with listening(server, "?last_event_id=0") as stream:
        first = await stream.take(1)
        more = await insert(world, 30)
        rest = await stream.take(many + 30)
        ids = [one.id for one in first + rest]
        assert ids == list(range(1, more[-1] + 1))


async def test_the_header_is_stronger_than_the_address(server: str, world: Database) -> None:
    ids = await insert(world, 3)
    async with listening(server, "?last_event_id=0", Last_Event_ID=str(ids[1])) as stream:
        assert [one.id for one in await stream.take(1)] == [ids[2]]


async def test_an_id_that_is_not_kept_any_more_is_answered_by_reset(server: str, world: Database) -> None:
    ids = await insert(world, 6)
    await events.prune(world, keep=2, days=7)
    for last in (0, ids[2], ids[5] + 10_000, 2**63 - 1):
        async with listening(server, Last_Event_ID=str(last)) as stream:
            (one,) = await stream.take(1)
            assert (one.kind, one.data) == ("reset", {"head": one.id})
            (new,) = await insert(world, 1)
            while (then := await stream.next()).id != new:
                assert one.id < then.id < new
            assert then.kind == "post"
            await events.prune(world, keep=2, days=7)


async def test_who_was_told_more_elsewhere_is_told_nothing_twice(url: str, world: Database) -> None:
    """Its last id is beyond this process's head, which comes late."""
    async with Relay(world, listens=False, poll=30) as relay:
        await until(lambda: relay.head is not None)
        ids = await insert(world, 2)
        client = Client(events.KINDS)
        relay.join(client)
        sent = relay.sent_to(client, ids[0])
        assert await anext(sent) == b"retry: 2000\n\n"
        waiting = asyncio.ensure_future(anext(sent))
        await until(lambda: client.live)
        relay._rung.set()
        assert f"id: {ids[1]}\n".encode() in (told := await waiting)
        assert f"id: {ids[0]}\n".encode() not in told
        client.close()


async def test_a_reader_of_rare_kinds_learns_how_far_it_has_come(
    url: str, world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with relay_with(monkeypatch, heartbeat=0.2), loopback(settings_for(url)) as server:
        async with listening(server, "?types=run") as stream:
            ids = await insert(world, 3)
            async with asyncio.timeout(PATIENCE):
                while (stream.last or 0) < ids[-1]:
                    assert (await stream.next()).kind == ""
            assert stream.comments > 0


# Limits


async def test_a_slow_reader_is_let_go_and_others_are_not(
    url: str, world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is held for it, and its connection is cut; it comes back and has missed nothing."""
    monkeypatch.setattr(relays, "QUEUE_BYTES", 64 * 1024)
    await run_sql(url, "UPDATE posts SET body = repeat('x', 500)")
    with relay_with(monkeypatch) as made, loopback(settings_for(url)) as server:
        host, _, port = urlsplit(server).netloc.partition(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            slow.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: any(client.live for client in made[0].clients))
            start = (await events.bounds(world)).newest
            async with listening(server, Last_Event_ID=str(start)) as quick:
                written = []
                async with asyncio.timeout(60):
                    while made[0].dropped == 0:
                        written += await insert(world, 200)
                        told = await quick.take(200)
                        assert [one.id for one in told] == written[-200:]
                assert len(made[0].clients) == 1
            slow.settimeout(PATIENCE)
            got = b""
            with pytest.raises(ConnectionResetError):  # noqa: PT012 - what was on its way may come before
                while part := slow.recv(65_536):
                    got += part
                raise ConnectionResetError
            assert got.count(b"event: post") < len(written)
        async with listening(server, Last_Event_ID=str(start)) as again:
            assert [one.id for one in await again.take(len(written))] == written


async def test_control_without_the_bound_all_of_it_waits(
    url: str, world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(events.KINDS)
    monkeypatch.setattr(relays, "QUEUE_BYTES", 1_000)
    client.offer(b"x" * 900)
    client.offer(b"x" * 900)
    assert (client.closed, client.slow, client.taken()) == (True, True, b"")
    unbounded = Client(events.KINDS)
    monkeypatch.setattr(relays, "QUEUE_BYTES", 10**9)
    for _ in range(1_000):
        unbounded.offer(b"x" * 900)
    assert len(unbounded.taken()) == 900_000


async def test_who_takes_nothing_at_all_is_let_go(url: str, world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it is read pages, where nothing waits for it."""
    await run_sql(
        world.url,
        "UPDATE posts SET body = repeat('x', 500)",
        "INSERT INTO events (kind, object_id) SELECT 'post', 1 FROM generate_series(1, 20000)",
    )
    with relay_with(monkeypatch, blocked=0.5) as made, loopback(settings_for(url)) as server:
        host, _, port = urlsplit(server).netloc.partition(":")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((host, int(port)))
            slow.sendall(b"GET /events?last_event_id=0 HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: made[0].clients)
            await until(lambda: not made[0].clients)
            assert made[0].dropped == 1


async def test_heartbeats_keep_the_line_open(url: str, world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay_with(monkeypatch, heartbeat=0.1), loopback(settings_for(url)) as server:
        async with listening(server) as stream:
            while stream.comments < 3:
                assert (await stream.next()).kind == ""


async def test_so_many_may_listen_and_no_more(url: str, world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay_with(monkeypatch, most=2) as made, loopback(settings_for(url)) as server:
        async with listening(server), httpx2.AsyncClient(base_url=server) as client:
            async with listening(server):
                refused = await client.get("/events")
                assert_problem(refused, 503)
                assert int(refused.headers["retry-after"]) > 0
                assert (await client.head("/events")).status_code == 200
            await until(lambda: len(made[0].clients) == 1)
            async with listening(server):
                pass
    assert made[0].clients == set()


async def test_connecting_counts_against_the_rate_limit(url: str, world: Database) -> None:
    with loopback(settings_for(url, rate_limit_per_minute=2)) as server:
        async with listening(server), listening(server), httpx2.AsyncClient(base_url=server) as client:
            assert_problem(await client.get("/events"), 429)


async def test_a_stream_asked_for_often_is_not_held_back(server: str, world: Database) -> None:
    """`hot` makes what is asked for often once for all: a stream has no end to wait for."""
    async with listening(server) as one, ExitStackOf(server, 14) as others:
        await insert(world, 1)
        for stream in (one, *others):
            assert [heard.kind for heard in await stream.take(1)] == ["post"]


class ExitStackOf:
    """Many listeners at once."""

    def __init__(self, url: str, number: int) -> None:
        self.contexts = [listening(url) for _ in range(number)]

    async def __aenter__(self) -> list[Stream]:
        return [await context.__aenter__() for context in self.contexts]

    async def __aexit__(self, *_: object) -> None:
        for context in reversed(self.contexts):
            await context.__aexit__(None, None, None)


async def test_live_listeners_cost_the_database_nothing_more(
    url: str, world: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with relay_with(monkeypatch, listens=False) as made, loopback(settings_for(url)) as server:
        async with ExitStackOf(server, 30) as streams:
            found = made[0]._database
            kept = Database.fetch

            async def fetch(database: Database, query: str, *args: object) -> Any:
                if database is found:
                    asked.append(query)
                return await kept(database, query, *args)

            with monkeypatch.context() as patch:
                patch.setattr(Database, "fetch", fetch)
                await insert(world, 1)
                for stream in streams:
                    await stream.take(1)
    assert asked.count(events.EVENTS["posts"]) == 1


async def test_a_server_keeps_what_its_settings_say(url: str, world: Database) -> None:
    await world.fetch(
        "INSERT INTO events (kind, object_id, created_at)"
        " SELECT 'post', 1, now() - make_interval(days => n / 1000) FROM generate_series(2999, 0, -1) n"
    )

    async def left() -> Any:
        return await world.fetchval("SELECT count(*) FROM events")

    for given, least in (({"events_days": 2}, await left() - 1_000), ({"events_kept": 1_000}, 1_000)):
        with loopback(settings_for(url, **given)):
            async with asyncio.timeout(PATIENCE):
                while await left() > least:
                    await asyncio.sleep(0.02)
        assert await left() == least


# Waking up


async def test_the_bell_is_heard_long_before_the_poll(url: str, world: Database) -> None:
    """With a poll of ten minutes only the bell can tell."""
    async with (
        Relay(world, poll=600) as relay,
        Bell(world, events.CHANNEL) as bell,
        Committer(world, lease_seconds=20, bell=bell) as committer,
    ):
        client = Client(events.KINDS)
        relay.join(client)
        sent = relay.sent_to(client, None)
        assert await anext(sent) == b"retry: 2000\n\n"
        async with asyncio.timeout(PATIENCE):
            while b"id: " not in await anext(sent):
                pass
            assert relay._listener is not None
            await relay._listener.listening.wait()
            await asyncio.sleep(0.2)
            await committer.commit(step(2, 0, NewPost(body="rung")))
            assert b'"body":"rung"' in await anext(sent)
        client.close()


async def test_a_runs_new_state_rings_by_itself(world: Database) -> None:
    """Whoever changes it, and though nobody in this process has a bell."""
    async with Relay(world, poll=600) as relay:
        client = Client(frozenset({"run"}))
        relay.join(client)
        sent = relay.sent_to(client, None)
        async with asyncio.timeout(PATIENCE):
            while b"id: " not in await anext(sent):
                pass
            assert relay._listener is not None
            await relay._listener.listening.wait()
            await asyncio.sleep(0.2)
            await world.fetchval(TURNS["stop_run"], 1)
            assert b'"state":"stopped"' in await anext(sent)
        client.close()


async def test_without_a_listener_the_poll_finds_it(url: str, world: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with relay_with(monkeypatch, listens=False, poll=0.1), loopback(settings_for(url)) as server:
        async with listening(server) as stream:
            (number,) = await insert(world, 1)
            assert [one.id for one in await stream.take(1)] == [number]


# The database away


async def test_streams_go_on_when_the_database_is_back(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.faults.own import own_server, world_of

    with own_server() as own:
        async with world_of(own) as url:
            database = await Database.open(url, size=2)
            await turns_for(database, 2)
            await commit(database, [step(1, 0, NewPost(body="first"))])
            with relay_with(monkeypatch, heartbeat=0.3, poll=0.2) as made, loopback(settings_for(url)) as server:
                async with listening(server) as stream:
                    own.stop_at_once()
                    comments = stream.comments
                    while stream.comments < comments + 3:
                        assert (await stream.next()).kind == ""
                    own.start()
                    again = await Database.open(url, size=2)
                    ids = await insert(again, 3)
                    assert [one.id for one in await stream.take(3)] == ids
                    await until(lambda: made[0]._listener is None or made[0]._listener.listening.is_set())
                    async with listening(server, Last_Event_ID=str(ids[0])) as late:
                        assert [one.id for one in await late.take(2)] == ids[1:]
                    await again.close()
            await database.close()


async def test_the_listeners_connection_is_made_anew(url: str, world: Database) -> None:
    async with Relay(world, poll=600) as relay:
        assert relay._listener is not None
        await relay._listener.listening.wait()
        await until(lambda: relay.head is not None)
        await world.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
            f"simfeed {events.CHANNEL}",
        )
        await until(lambda: not relay._listener or not relay._listener.listening.is_set())
        (number,) = await insert(world, 1)
        await until(lambda: relay.head == number)
        await until(relay._listener.listening.is_set)


# The end


async def test_streams_end_with_the_application(url: str, world: Database) -> None:
    async with Relay(world) as relay:
        client = Client(events.KINDS)
        relay.join(client)
        sent = relay.sent_to(client, None)
        reading = asyncio.ensure_future(_all(sent))
        await until(lambda: client.live)
    async with asyncio.timeout(PATIENCE):
        assert b"retry" in b"".join(await reading)


async def _all(sent: AsyncIterator[bytes]) -> list[bytes]:
    return [one async for one in sent]


async def test_a_polite_kill_ends_streams_at_once(url: str, world: Database) -> None:
    """uvicorn waits for answers under way: five seconds, were they not told of the end."""
    environment = {
        "DATABASE_URL": url, "SECRET_KEY": SECRET, "BOOTSTRAP_TOKEN": BOOTSTRAP, "SCHEDULER_ENABLED": "false",
        "WORKER_ENABLED": "false", "LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli.bench.served",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert child.stdout is not None
    port = int(await child.stdout.readline())
    address = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=address) as client:
        for _ in range(200):
            try:
                await client.get("/livez")
                break
            except httpx2.HTTPError:
                await asyncio.sleep(0.05)
    async with ExitStackOf(address, 5) as streams:
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(StopAsyncIteration):
                await stream.take(1)
        _, errors = await asyncio.wait_for(child.communicate(), PATIENCE)
        assert time.monotonic() - began < 4.5, "the grace of five seconds has run out"
    assert child.returncode in (0, -signal.SIGTERM)
    assert errors == b""
