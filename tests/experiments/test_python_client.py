"""A world from Python: the lines of docs/python.md run as they stand, and nothing can be changed that way."""

import asyncio
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app
from app.db.queries import load
from app.errors import AppError, Invalid, Misconfigured, NotFound, Unavailable
from app.experiments import remote
from app.experiments.client import FRAMES, World, open_world
from app.experiments.remote import Client, Refused
from tests.cli.test_cli import SEED, simfeed
from tests.conftest import run_sql, with_database

DOC = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture(scope="module")
def url(server_url: str, template: str) -> Iterator[str]:
    """A world with a cycle played in it."""
    name = f"test_{uuid4().hex[:12]}"
    asyncio.run(run_sql(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    url = with_database(server_url, name)
    assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
    assert simfeed(url, "run", "--seed", "3", "--cycles", "4", "--clock", "simulated").returncode == 0
    yield url
    asyncio.run(run_sql(server_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def world(url: str) -> Iterator[World]:
    with open_world("home", database_url=url) as found:
        yield found


@pytest.fixture
def bare(server_url: str, template: str) -> Iterator[World]:
    with open_world("home", database_url=with_database(server_url, template)) as found:
        yield found


def count(url: str, table: str) -> int:
    async def work() -> int:
        connection = await asyncpg.connect(url)
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
        finally:
            await connection.close()

    return asyncio.run(work())


def test_the_three_lines_of_the_document(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line]) == 3
    monkeypatch.setenv("DATABASE_URL", url)
    names: dict[str, Any] = {}
    exec(EXAMPLES[0], names)
    assert names["posts"].height == count(url, "posts") > 0
    assert names["posts"].schema["created_at"] == pl.Datetime("us", "UTC")
    names["world"].close()


def test_the_longer_example_of_the_document(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    names: dict[str, Any] = {}
    exec(EXAMPLES[1], names)
    assert 0 < names["liked"].height <= names["frames"]["posts"].height
    assert names["dear"].columns == ["model", "usd"]
    assert names["shares"]["metric"].to_list() == ["attention_gini", "density"]


async def test_it_works_where_a_loop_runs_already(url: str) -> None:
    with app.open_world("home", database_url=url) as world:
        assert world.likes.height > 0


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_is_whole_documented_and_has_its_dtypes_when_empty(world: World, bare: World, name: str) -> None:
    frame, empty = getattr(world, name), getattr(bare, name)
    assert empty.height == 0
    assert empty.schema == frame.schema
    told = getattr(World, name).__doc__ or ""
    assert f"n {'posts ' * (name == 'posts')}× {frame.width}" in " ".join(told.split())
    assert [column for column in frame.columns if f"`{column}`" not in told] == []
    assert f"`{name}`" in DOC


def test_frames_hold_what_the_tables_hold(world: World, url: str) -> None:
    for name in ("posts", "comments", "likes", "follows", "personas", "runs", "turns", "calls", "actions"):
        assert getattr(world, name).height == count(url, name), name
    shown = world.exposures
    assert shown.height == world.sql("SELECT coalesce(sum(cardinality(items)), 0)::int8 AS n FROM exposures")["n"][0]
    assert shown["rank"].min() == 1
    assert (
        shown.filter(pl.col("rank") == 1)["item"].to_list()
        == world.sql(
            "SELECT items[1] AS i FROM exposures WHERE cardinality(items) > 0 ORDER BY turn_id, step, ordinal"
        )["i"].to_list()
    )


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM likes",
        "INSERT INTO news (title) VALUES ('x') RETURNING id",
        "UPDATE personas SET bio = ''",
        "SELECT nextval(pg_get_serial_sequence('posts', 'id'))",
        "SELECT 1; DELETE FROM likes",
        "COMMIT; DELETE FROM likes",
        "CREATE TABLE mine (id int)",
        "SET transaction_read_only = off",
        "SELECT FROM nowhere",
    ],
)
def test_a_statement_may_only_read(world: World, url: str, query: str) -> None:
    before = count(url, "likes")
    with pytest.raises(Invalid):
        world.sql(query)
    assert count(url, "likes") == before > 0


def test_control_the_same_role_could_change_it(url: str) -> None:
    asyncio.run(run_sql(url, "BEGIN; DELETE FROM likes; ROLLBACK"))


def test_types_and_names_of_columns(world: World) -> None:
    found = world.sql(
        "SELECT 1::int2 AS a, 1.5::numeric AS b, true AS c, '{\"k\": 1}'::jsonb AS d, ARRAY[1, 2]::int8[] AS e, "
        "'2026-01-02'::date AS f, NULL::float8 AS g, 1 AS a, '10.0.0.1'::inet AS h, $1::text AS i",
        "ü\n",
    )
    assert found.schema == {
        "a": pl.Int64, "b": pl.Float64, "c": pl.Boolean, "d": pl.String, "e": pl.List(pl.Int64), "f": pl.Date,
        "g": pl.Float64, "a_2": pl.Int64, "h": pl.String, "i": pl.String,
    }  # fmt: skip
    assert found.row(0)[1] == 1.5
    assert found.row(0)[-2:] == ("10.0.0.1", "ü\n")
    with pytest.raises(Invalid):
        world.sql("SELECT $1::int", "no number")


@settings(max_examples=25)
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_text_comes_as_it_is(world: World, text: str) -> None:
    assert world.sql("SELECT $1::text AS t", text)["t"].to_list() == [text]


def test_a_world_that_is_not_there_is_not_made(url: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no world in"):
        open_world("home", simfeed_home=tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="there is no world 'elsewhere'"):
        open_world("elsewhere", database_url=url)
    with pytest.raises(AppError):
        open_world("home", database_url="postgresql://nobody@127.0.0.1:9/none")
    with open_world("home", database_url=url) as world, pytest.raises(Invalid, match="there is no frame 'post'"):
        world.read("post")


def test_names_are_of_the_queries() -> None:
    assert set(load("frames")) == set(FRAMES)
    assert set(app.__all__) >= {"Client", "open_world"}


async def test_lists_are_read_page_by_page(
    client: httpx2.AsyncClient, admin: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real application; every other request is first refused for a moment."""
    loop, asked = asyncio.get_running_loop(), list[str]()

    def send(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers.get("Authorization", ""))
        if len(asked) % 2:
            return httpx2.Response(429 if len(asked) % 4 == 1 else 503, headers={"Retry-After": "0"})
        target = f"{request.url.path}?{request.url.query.decode()}"
        work = client.get(target, headers=dict(request.headers))
        answer = asyncio.run_coroutine_threadsafe(work, loop).result(20)
        return httpx2.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

    def reader(key: str | None = None) -> Client:
        found = Client("http://sim.example", key)
        found._http = httpx2.Client(
            base_url="http://sim.example", headers=found._http.headers, transport=httpx2.MockTransport(send)
        )
        return found

    monkeypatch.setattr(remote, "PAGE", 2)
    here = open_world("home", database_url=url)
    posts = await asyncio.to_thread(reader().posts)
    assert posts["id"].to_list() == here.posts["id"].to_list()[::-1]
    assert len(asked) >= posts.height // 2
    assert (await asyncio.to_thread(lambda: reader().posts(limit=3)))["id"].to_list() == posts["id"].to_list()[:3]
    post = here.comments["post_id"].mode()[0]
    comments = await asyncio.to_thread(reader().comments, post)
    assert comments.height == here.comments.filter(pl.col("post_id") == post).height > 0
    assert datetime.fromisoformat(posts["created_at"][0]).tzinfo is not None
    with pytest.raises(Refused, match=r"^401: "):
        await asyncio.to_thread(reader().sessions)
    key = admin["Authorization"].removeprefix("Bearer ")
    assert (await asyncio.to_thread(reader(key).sessions)).height == 0
    assert asked[-1] == f"Bearer {key}"
    assert asked[0] == ""


def test_a_server_that_stays_busy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def send(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(503, headers={"Retry-After": "0"}, json={"detail": "busy"})

    client = Client("http://sim.example")
    client._http = httpx2.Client(base_url="http://sim.example", transport=httpx2.MockTransport(send))
    with pytest.raises(Unavailable, match="503: busy"):
        client.posts()
    assert len(asked) == remote.TRIES
    with pytest.raises(Invalid, match="is no address"):
        Client("sim.example")


def test_a_statement_without_columns_is_refused_before_it_does_anything(world: World) -> None:
    """COPY to a program is allowed in a read-only transaction, and runs it."""
    for statement in ("COPY (SELECT 1) TO PROGRAM 'false'", "COPY posts TO '/nowhere/posts.csv'", "DO $$ BEGIN END $$"):
        with pytest.raises(Invalid, match="it gives no columns"):
            world.sql(statement)


def test_names_that_are_not_there_are_refused(url: str, world: World) -> None:
    with pytest.raises(Invalid, match="did you mean database_url"):
        open_world("home", databse_url=url)
    with pytest.raises(NotFound, match="no experiment in the world home has the key 'nosuch'"):
        world.outcomes("nosuch")
    with open_world("home", database_url=url) as closed:
        pass
    with pytest.raises(Invalid, match="was closed"):
        _ = closed.posts


def test_times_of_a_series_are_times(world: World) -> None:
    found = world.series()
    assert found.height == 4
    assert found.schema["at"] == pl.Datetime("us", "UTC")
    assert found["at"].is_sorted()
