"""H16, H17, H19, H22 and I6–I8: what every request passes, over ASGI and over a real socket."""

import asyncio
import json
import logging
import re
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import httpx2
import pytest
import structlog
import uvicorn

from app.main import create_app
from app.settings import Settings
from app.web import edge, errors, server
from app.world import feed
from tests.conftest import PASSWORD, run_sql, serving, settings_for, sign_in, sign_up

PROBLEM = "application/problem+json"
PERSONA = {"username": "ann", "persona": "a"}


def assert_problem(answer: httpx2.Response, *statuses: int) -> None:
    assert answer.status_code in statuses, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["status"] == answer.status_code
    assert body["instance"] == f"urn:simfeed:request:{answer.headers['x-request-id']}"


class Server(uvicorn.Server):
    """A server on a thread, which handles no signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def loopback(settings: Settings) -> Iterator[str]:
    """The application behind uvicorn on a port of 127.0.0.1, set up as `bin/up` does."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(settings), **server.options())
    running = Server(config)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not running.started and thread.is_alive():
            thread.join(0.02)
        assert running.started
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(20)
        listener.close()


def raw(url: str, request: bytes, *, patience: float = 20) -> bytes:
    """What the server answers to these bytes, until the answer is whole or it closes or falls silent."""
    host, _, port = urlsplit(url).netloc.partition(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=patience) as connection:
        with suppress(OSError):  # it may refuse before all has been sent
            connection.sendall(request)
        with suppress(OSError):
            while not _whole(answer) and (part := connection.recv(65_536)):
                answer += part
    return answer


def _whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return bool(blank) and length is not None and len(body) >= int(length[1])


# Methods


async def test_h17_head_is_get_without_a_body(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    for path in ("/", "/posts", "/feed", "/posts/1", "/livez", "/openapi.json", "/personas", "/persona/9", "/nothing"):
        got = await client.get(path, headers=admin)
        head = await client.head(path, headers=admin)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        for name in ("content-type", "content-length", "etag"):
            if name != "content-length" or got.status_code == 200:
                assert head.headers.get(name) == got.headers.get(name), (path, name)
    assert (await client.head("/posts", headers={"If-None-Match": got.headers.get("etag", "")})).content == b""


def also_at(document: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """The operations of other paths that this one is an address of: /studies/validate is one of /studies/{study_id}."""
    return [
        operations
        for other, operations in document["paths"].items()
        if other != path and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", other), path)
    ]


async def test_h17_other_methods_are_refused_with_what_is_allowed(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        known = {method.upper() for method in operations}
        expected = known | ({"HEAD"} if "GET" in known else set())
        concrete = path.replace("{username}", "ann")
        for name in ("page", "post_id", "persona_id", "invitation_id"):
            concrete = concrete.replace("{" + name + "}", "1")
        for method in {
            "TRACE",
            "OPTIONS",
            "CONNECT",
            "BREW",
            "PROPFIND",
            "PUT",
            "DELETE",
            "POST",
            "PATCH",
        } - known:
            answer = await client.request(method, concrete)
            if answer.status_code == 404 and concrete == "/posts/1":
                continue
            if any(method.lower() in other for other in also_at(document, path)):
                continue
            assert_problem(answer, 405)
            assert set(answer.headers["allow"].split(", ")) >= expected, (method, concrete)


# Bodies


@pytest.mark.parametrize("size", [edge.BODY_MAX + 1, 20 * 1024**2])
async def test_h16_a_large_body_is_refused_whole(
    client: httpx2.AsyncClient, admin: dict[str, str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"username": "x", "persona": "' + b"a" * size + b'"}'
    headers = {**admin, "Content-Type": "application/json"}
    assert_problem(await client.post("/personas", content=body, headers=headers), 413)
    taken = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal taken
        for start in range(0, len(body), 4096):
            taken += 1
            yield body[start : start + 4096]

    assert_problem(await client.post("/personas", content=chunks(), headers=headers), 413)
    monkeypatch.setattr(edge, "BODY_MAX", 2**30)
    answer = await client.post("/personas", content=body, headers=headers)
    assert_problem(answer, 422)  # control: without the limit it is read, parsed and checked


async def test_h16_reading_ends_at_the_limit() -> None:
    """Of a body without length no more is taken than the limit and a chunk."""
    asked = 0

    async def endless() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    with pytest.raises(edge._Refused) as caught:
        await edge._collect(endless)
    assert caught.value.status == 413
    assert asked == edge.BODY_MAX // 65_536 + 1


async def test_h16_a_body_that_never_arrives(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.01)

    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    async with serving(settings_for(url)) as client:
        answer = await client.post("/auths/login", content=drip(), headers={"Content-Type": "application/json"})
        assert_problem(answer, 408)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/jsonp",
        "application/octet-stream",
        "json",
        "application/json\x00",
    ],
)
async def test_h17_only_json_is_json(client: httpx2.AsyncClient, admin: dict[str, str], kind: str | None) -> None:
    headers = {**admin} if kind is None else {**admin, "Content-Type": kind}
    body = json.dumps(PERSONA).encode()
    assert_problem(await client.post("/personas", content=body, headers=headers), 415)
    assert (await client.get("/personas", headers=admin)).json() == []
    good = await client.post(
        "/personas", content=body, headers={**admin, "Content-Type": "application/json; charset=utf-8"}
    )
    assert good.status_code == 201, "control: the same body as JSON"


async def test_h17_no_multipart_parser_is_reached(client: httpx2.AsyncClient) -> None:
    bomb = (
        b"".join(b'--x\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n1\r\n' % n for n in range(3_000)) + b"--x--"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(await client.post("/auths/login", content=bomb, headers=kind), 415)


async def test_h17_the_form_of_a_login(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    good = f"username=ada&password={PASSWORD.replace(' ', '+')}".encode()
    for kind in ("application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded; charset=utf-8"):
        assert (await client.post("/auths/login", content=good, headers={"Content-Type": kind})).status_code == 200
    kind = "application/x-www-form-urlencoded"
    for bad in (
        b"username=ada&password=a&password=b",
        b"username=ada&password=a&is_admin=1",
        b"username=%00&password=a",
        b"username=ada",
        b"=&=&=",
        b"\xff\xfe",
        b"username",
        b"&".join(b"a%d=1" % n for n in range(5_000)),
    ):
        assert_problem(await client.post("/auths/login", content=bad, headers={"Content-Type": kind}), 422)


# Targets and headers


async def test_h16_ten_thousand_parameters(client: httpx2.AsyncClient) -> None:
    many = "&".join("p=1" for _ in range(10_000))
    assert_problem(await client.get(f"/posts?{many}"), 414)
    assert (await client.get("/posts?" + "&".join(["limit=5"] * 1_000))).status_code == 200


@pytest.mark.parametrize("length", [b"\xb2", b"-1", b"1e3", b"0x10", b"", b"+5", b"9" * 5_000])
async def test_h16_odd_content_lengths(client: httpx2.AsyncClient, length: bytes) -> None:
    headers = [(b"content-length", length), (b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    assert_problem(await client.post("/auths/login", content=b"{}", headers=headers), 400, 413, 422)


@pytest.mark.parametrize("host", [b"[::1", b"a b", b"\xff", b"", b"a/b?c", b'x"><script>', b"x" * 5_000, b"a:99999"])
async def test_odd_hosts_do_not_reach_a_link(client: httpx2.AsyncClient, url: str, host: bytes) -> None:
    await run_sql(url, "INSERT INTO personas (username, description) VALUES ('ann', 'a')")
    await run_sql(url, "INSERT INTO posts (author_id, body) SELECT 1, 'p' FROM generate_series(1, 3)")
    await run_sql(url, "INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM posts")
    answer = await client.get("/posts?limit=1", headers=[(b"host", host)])
    assert answer.status_code == 200
    link = answer.headers["link"]
    assert link.count("<") == link.count(">") == 1
    assert (await client.get("/nothing", headers=[(b"host", host)])).status_code == 404


async def test_a_request_id_is_ours_unless_it_is_plain(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/posts", headers={"X-Request-Id": "abcdefgh-1"})).headers["x-request-id"] == "abcdefgh-1"
    for odd in ("short", "a" * 65, "with space", 'x"y<zzzzz', "ünïcödé-1"):
        answer = await client.get("/posts", headers=[(b"X-Request-Id", odd.encode())])
        assert answer.headers["x-request-id"] not in odd


def test_h16_over_a_real_socket(url: str) -> None:
    """Odd bytes are refused by the server or by us; it lives on."""
    with loopback(settings_for(url)) as address:
        lines = b"GET /posts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        for request in (
            lines + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
            lines + b"".join(b"X%d: a\r\n" % n for n in range(5_000)) + b"\r\n",
            b"GET /posts?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /posts?\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /posts\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /%zz/%00/%c0%80/%ed%a0%80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET http://evil.example/posts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET //evil.example/%2e%2e/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"BREW /posts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"TRACE /posts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST /auths/login HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
            b"POST /auths/login HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\n{}",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
            b"\r\n\r\n\r\n",
        ):
            answer = raw(address, request if request.endswith(b"\r\n\r\n") else request + b"\r\n\r\n", patience=0.3)
            status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1") else 400
            assert status < 500, (request[:80], answer[:300])
        assert b"HTTP/1.1 200" in raw(address, lines + b"\r\n")
        assert not raw(address, b"HEAD" + lines[3:] + b"\r\n", patience=1).partition(b"\r\n\r\n")[2]
        start = b"POST /auths/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        assert b" 413 " in raw(address, start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5)
        assert b" 413 " in raw(address, start + b"Content-Length: 1000000000\r\n\r\n")
        split = (
            b"GET /posts HTTP/1.1\r\nHost: x\r\nX-Request-Id: aaaaaaaa\r\nSet-Cookie: b\r\nConnection: close\r\n\r\n"
        )
        assert b"set-cookie" not in raw(address, split).lower()


# Headers of answers, other origins


SAFE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


async def test_h19_every_answer_carries_the_security_headers(client: httpx2.AsyncClient, admin: dict[str, str]) -> None:
    answers = [
        await client.get("/posts"),
        await client.get("/nothing"),
        await client.get("/personas"),
        await client.get("/personas", headers=admin),
        await client.post("/auths/login", content=b"{", headers={"Content-Type": "application/json"}),
        await client.put("/posts"),
        await client.get("/", headers={"Accept": "text/html"}),
        await client.post("/auths/login", json={"username": "ada", "password": PASSWORD}),
    ]
    for answer in answers:
        assert answer.headers.items() >= SAFE.items(), answer.url
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
        page = answer.headers["content-type"].startswith("text/html")
        assert answer.headers.get_list("referrer-policy") == ["same-origin" if page else "no-referrer"]
    assert [n for n, answer in enumerate(answers) if "set-cookie" in answer.headers] == [len(answers) - 1]
    for private in (answers[3], answers[7]):
        assert private.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost", "https://simfeed.test.evil.example"]
)
async def test_h19_other_origins_read_public_answers_only(
    client: httpx2.AsyncClient, admin: dict[str, str], origin: str
) -> None:
    from_there = {"Origin": origin}
    public = await client.get("/posts", headers=from_there)
    assert public.headers["access-control-allow-origin"] == "*"
    hidden = [
        await client.get("/personas", headers={**admin, **from_there}),
        await client.get("/posts", headers={"Cookie": "a=b", **from_there}),
        await client.post("/personas", json=PERSONA, headers={**admin, **from_there}),
        await client.post("/auths/login", json={"username": "ada", "password": PASSWORD}, headers=from_there),
        await client.delete("/personas/1", headers={**admin, **from_there}),
    ]
    for answer in (public, *hidden):
        assert "access-control-allow-credentials" not in answer.headers
    assert [answer for answer in hidden if "access-control-allow-origin" in answer.headers] == []


async def test_h19_no_preflight_lets_a_write_or_a_token_pass(client: httpx2.AsyncClient) -> None:
    """But for participants' clients: a study says from which pages they may come, and they show no token."""
    document = (await client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations:
            wish = {"Origin": "https://evil.example", "Access-Control-Request-Method": method.upper()}
            answer = await client.options(path, headers=wish)
            if method == "get" or path.startswith("/session/"):
                assert answer.status_code == 200, path
                with_token = await client.options(
                    path, headers={**wish, "Access-Control-Request-Headers": "authorization"}
                )
                assert_problem(with_token, 400)
            else:
                assert_problem(answer, 400)


async def test_h19_chosen_origins(url: str) -> None:
    async with serving(settings_for(url, cors_origins="https://ours.example")) as client:
        ours = await client.get("/posts", headers={"Origin": "https://ours.example"})
        assert ours.headers["access-control-allow-origin"] == "https://ours.example"
        assert "Origin" in ours.headers["vary"]
        theirs = await client.get("/posts", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in theirs.headers


# The rate limit


async def test_requests_of_one_address_are_bounded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "WINDOW", 10**9)
    async with serving(settings_for(url, rate_limit_per_minute=5)) as client:
        for left in (4, 3, 2, 1, 0):
            answer = await client.get("/posts" if left % 2 else "/nothing")
            assert answer.headers["ratelimit-limit"] == "5"
            assert answer.headers["ratelimit-remaining"] == str(left)
            assert int(answer.headers["ratelimit-reset"]) > 0
        for path in ("/posts", "/nothing", "/livez"):
            refused = await client.get(path, headers={"X-Forwarded-For": "192.0.2.1"})
            assert_problem(refused, 429)
            assert int(refused.headers["retry-after"]) > 0
            assert refused.headers["ratelimit-remaining"] == "0"
        # control: a trusted proxy's word is another address
    async with serving(settings_for(url, rate_limit_per_minute=1, trusted_proxies="127.0.0.1")) as client:
        for n in range(3):
            assert (await client.get("/posts", headers={"X-Forwarded-For": f"192.0.2.{n}"})).status_code == 200


def test_the_rate_limiters_memory_is_bounded() -> None:
    limiter = edge.RateLimiter(10)
    for number in range(edge.ADDRESSES_MAX + 5_000):
        limiter.take(f"address {number}")
    assert len(limiter._windows) == edge.ADDRESSES_MAX
    assert limiter.take(f"address {edge.ADDRESSES_MAX}")[0] in (8, 9)


@pytest.mark.parametrize(
    ("client", "trusted", "lines", "found"),
    [
        (("10.0.0.1", 1), (), ["1.1.1.1"], "10.0.0.1"),
        (("10.0.0.1", 1), ("10.0.0.1",), [], "10.0.0.1"),
        (("10.0.0.1", 1), ("10.0.0.1",), ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        (("10.0.0.1", 1), ("10.0.0.1",), ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        (("10.0.0.1", 1), ("10.0.0.1",), ["6.6.6.6, "], "10.0.0.1"),
        (("10.0.0.1", 1), ("10.0.0.1",), ["x" * 9_999], "x" * 64),
        (None, (), ["1.1.1.1"], "local"),
    ],
)
def test_whose_address_counts(client: Any, trusted: tuple[str, ...], lines: list[str], found: str) -> None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", line.encode()) for line in lines), (b"accept", b"*/*")]
    assert edge.client_address({"client": client, "headers": headers}, trusted) == found


# A database that goes away


class Wire:
    """A TCP path to PostgreSQL that can be cut and mended."""

    def __init__(self, upstream: str) -> None:
        self.parts = urlsplit(upstream)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        user, at, _ = self.parts.netloc.rpartition("@")
        return urlunsplit(self.parts._replace(netloc=f"{user}{at}127.0.0.1:{self.port}", query=""))

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self.parts.query).get("host", [""])[0]
        port = self.parts.port or int(parse_qs(self.parts.query).get("port", ["5432"])[0])
        if folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self.parts.hostname or folder, port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._dial()
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while part := await source.read(65_536):
                sink.write(part)
                await sink.drain()
        except OSError:
            pass
        sink.close()


@asynccontextmanager
async def wired(url: str, **more: Any) -> AsyncIterator[tuple[Wire, httpx2.AsyncClient]]:
    wire = Wire(url)
    await wire.mend()
    async with serving(settings_for(wire.url, **more)) as client:
        yield wire, client
    await wire.cut()


async def healed(client: httpx2.AsyncClient, path: str) -> int:
    """How many requests it took until one succeeded."""
    for number in range(1, 60):
        answer = await client.get(path)
        if answer.status_code == 200:
            return number
        assert_problem(answer, 503)
    raise AssertionError("it does not heal")


async def test_i6_i8_without_a_database(url: str) -> None:
    async with wired(url) as (wire, client):
        headers = await sign_up(client)
        for _ in range(2):
            await wire.cut()
            for method, path, body in (
                ("GET", "/posts", None),
                ("GET", "/post/1", None),
                ("GET", "/personas", None),
                ("GET", "/readyz", None),
                ("POST", "/personas", PERSONA),
                ("POST", "/auths/login", {"username": "ada", "password": PASSWORD}),
                ("PUT", "/scheduler/interval", {"interval": 7}),
            ):
                answer = await client.request(method, path, json=body, headers=headers)
                assert_problem(answer, 503)
                assert int(answer.headers["retry-after"]) > 0
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/openapi.json")).status_code == 200
            assert_problem(
                await client.post("/personas", content=b"{", headers=headers | {"Content-Type": "text/x"}), 415
            )
            await wire.mend()
            await healed(client, "/posts")
            await healed(client, "/readyz")
        assert (await client.get("/personas", headers=headers)).json() == []


async def test_d2_terminated_backends_are_replaced(url: str) -> None:
    killing = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    async with serving(settings_for(url)) as client:
        for _ in range(10):
            await asyncio.gather(*(client.get("/posts") for _ in range(8)))
            await run_sql(url, killing)
            answers = await asyncio.gather(*(client.get("/posts") for _ in range(8)))
            assert {answer.status_code for answer in answers} <= {200, 503}
            await healed(client, "/posts")


# Nothing leaks

CANARIES = {
    "database password": "canary-db-4f1c77a0",
    "secret key": "canary-key-93b2d5e8-0123456789-abcdefgh",
    "bootstrap token": "sf_boot_canary-55a1e0c2",
    "api key": "canary-api-7e21bb04",
    "admin password": "canary-admin-c0ffee11",
    "guess": "canary-guess-2b7d9f60",
}


@asynccontextmanager
async def with_canaries(url: str) -> AsyncIterator[Settings]:
    """Settings full of canaries; the database's role has one for its password."""
    connection = await asyncpg.connect(url)
    me = await connection.fetchval("SELECT current_user")
    role = "canary_" + (await connection.fetchval("SELECT current_database()"))
    await connection.execute(
        f"""CREATE ROLE "{role}" LOGIN IN ROLE "{me}" PASSWORD '{CANARIES["database password"]}'"""
    )
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    address = urlunsplit(parts._replace(netloc=f"{role}:{CANARIES['database password']}@{host}"))
    try:
        yield settings_for(
            address,
            secret_key=CANARIES["secret key"],
            bootstrap_token=CANARIES["bootstrap token"],
            openai_api_key=CANARIES["api key"],
            log_level="debug",
        )
    finally:
        await connection.execute(f"""SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'""")
        await connection.execute(f'DROP ROLE "{role}"')
        await connection.close()


async def provoke(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> list[httpx2.Response]:
    """Errors of every kind, each near a secret."""
    answers: list[httpx2.Response] = []
    password = CANARIES["admin password"]
    person = {"username": "ada", "email": "ada@example.org", "password": password}
    answers.append(
        await client.post("/auths/register", json={**person, "bootstrap_token": CANARIES["bootstrap token"]})
    )
    headers = await sign_in(client, password=password)
    guess = CANARIES["guess"]
    for name in ("ada", "nobody", "\0"):
        answers.append(await client.post("/auths/login", json={"username": name, "password": guess}))
        answers.append(await client.post("/auths/login", data={"username": name, "password": guess}))
    for field in ("password", "bootstrap_token", "invite_token"):
        odds = (guess * 100, "\0" + guess, [guess], {guess: 1})
        answers += [await client.post("/auths/register", json={**person, field: odd}) for odd in odds]
    answers.append(await client.post("/auths/login", json={"username": "ada", "password": [guess]}))
    answers.append(await client.post("/auths/login", content=b'{"password": "' + guess.encode()))
    answers.append(
        await client.put("/auths/password", json={"old_password": guess, "new_password": guess}, headers=headers)
    )
    answers.append(
        await client.put("/auths/password", json={"old_password": password, "new_password": 1}, headers=headers)
    )
    answers.append(await client.get("/personas", headers={"Authorization": f"Bearer {guess}"}))
    text = " ".join(CANARIES.values())
    for error in (
        RuntimeError(text),
        KeyError(text),
        ExceptionGroup(text, [ValueError(text)]),
        OSError(text),
        asyncpg.PostgresError(text),
        asyncpg.InvalidPasswordError(text),
        asyncpg.UniqueViolationError(text),
        asyncpg.InterfaceError(text),
        TimeoutError(text),
        RecursionError(text),
        AssertionError(text),
    ):

        async def fail(*_: object, error: Exception = error, **__: object) -> None:
            try:
                raise LookupError(text)
            except LookupError as cause:
                raise error from cause

        with monkeypatch.context() as broken:
            broken.setattr(feed, "post", fail)
            answer = await client.get("/post/1")
        assert_problem(answer, 409, 500, 503)
        answers.append(answer)
    return answers


async def leaks(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> tuple[list[str], list[str]]:
    """The canaries found in answers, and those in what was logged."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(edge, "log", structlog.get_logger("access"))
    monkeypatch.setattr(errors, "log", structlog.get_logger())
    async with with_canaries(url) as settings:
        assert settings.database_url is not None
        async with wired(settings.database_url.get_secret_value(), **_given(settings)) as (wire, client):
            answers = await provoke(client, monkeypatch)
            await wire.cut()
            answers += [await client.get(path) for path in ("/posts", "/readyz")]
    said = "\n".join(f"{answer.status_code} {answer.headers} {answer.text}" for answer in answers)
    captured = capsys.readouterr()
    logged = captured.err + captured.out + caplog.text
    assert '"event": "request"' in logged, "the log was read"
    assert '"event": "bug"' in logged, "and the bugs were logged"
    return ([name for name, secret in CANARIES.items() if secret in text] for text in (said, logged))  # type: ignore[return-value]


def _given(settings: Settings) -> dict[str, Any]:
    """`wired` makes settings of its own; these carry over."""
    return {
        "secret_key": settings.secret_key,
        "bootstrap_token": settings.bootstrap_token,
        "openai_api_key": settings.openai_api_key,
        "log_level": "debug",
    }


async def test_h22_no_secret_in_an_answer_or_in_the_log(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    told, logged = await leaks(url, monkeypatch, capsys, caplog)
    assert (told, logged) == ([], [])


async def test_h22_control_a_plain_traceback_tells_all(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(errors, "places", traceback.format_exception)
    told, logged = await leaks(url, monkeypatch, capsys, caplog)
    assert told == []
    assert len(logged) == len(CANARIES)


async def test_a_bug_is_a_500_and_says_where_in_the_log_only(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hush")

    monkeypatch.setattr(feed, "post", fail)
    monkeypatch.setattr(errors, "log", structlog.get_logger())
    async with serving(settings_for(url)) as client:
        answer = await client.get("/post/1")
    assert_problem(answer, 500)
    assert "ZeroDivision" not in answer.text
    line = next(line for line in capsys.readouterr().err.splitlines() if '"bug"' in line)
    entry = json.loads(line)
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert entry["at"][-1] == "builtins.ZeroDivisionError"
    assert "test_edge.py" in entry["at"][-2]


async def test_a_failure_after_the_answer_began_breaks_nothing() -> None:
    sent: list[Any] = []

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    outer = edge.Edge(half, settings_for("postgresql://nobody@127.0.0.1:1/x"))

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "client": None,
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await outer(scope, receive, send)
    assert sent == ["http.response.start"]


def raw_to_the_end(url: str, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def told(answer: bytes) -> tuple[int, bool]:
    """The status, and whether it is a problem that says so."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    return status, b"content-type: application/problem+json" in head and json.loads(body)["status"] == status


def test_h16_heads_are_bounded_in_size_and_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    fits = b"X: " + b"a" * 20_000 + b"\r\nConnection: close\r\n\r\n"
    with loopback(settings_for(url)) as address:
        assert told(raw(address, start + fits))[0] == 200
        assert told(raw(address, start + b"X: " + b"a" * 60_000 + b"\r\n\r\n")) == (431, True)
        assert told(raw(address, start + b"X: " + b"a" * 10_000_000)) == (431, True)
        assert told(raw(address, b"GET /" + b"a" * 10_000_000)) == (431, True)
        monkeypatch.setattr(server, "HEAD_SECONDS", 1.0)
        unfinished = (b"", b"G", start, start + b"X: a")
        with ThreadPoolExecutor(len(unfinished)) as at_once:
            late = list(at_once.map(lambda part: told(raw(address, part)), unfinished))
        assert late == [(408, True)] * len(unfinished)
        assert told(raw(address, b"\x16\x03\x01\x00\xa5\r\n\r\n")) == (400, True)
        first, _, second = raw_to_the_end(address, start + b"\r\n" + start + b"X: a").rpartition(b"HTTP/1.1 ")
        assert told(first)[0] == 200
        assert told(b"HTTP/1.1 " + second) == (408, True)
        assert told(raw(address, start + fits))[0] == 200


def test_h16_control_without_the_limit_a_large_head_is_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "HEADERS_MAX", 10**9)
    monkeypatch.setattr(server, "HEAD_MAX", 10**9)
    large = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 3_000_000 + b"\r\nConnection: close\r\n\r\n"
    with loopback(settings_for(url)) as address:
        assert told(raw(address, large))[0] == 200
