"""Packages of data over the API: built, downloaded, published, deleted; what a killed server leaves."""

import asyncio
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.analysis.dataset import checking, package
from app.db.engine import Database
from app.world import datasets
from app.world.datasets import DATASETS
from tests.conftest import serving, settings_for, sign_up
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem

WISH: dict[str, Any] = {"kind": "world", "about": "home", "tables": ["personas", "posts"], "formats": ["csv"]}


async def built(client: httpx2.AsyncClient, admin: dict[str, str], **change: Any) -> dict[str, Any]:
    """A package, as it is when nothing moves any more."""
    answer = await client.post("/datasets", json={**WISH, **change}, headers=admin)
    assert answer.status_code == 202, answer.text
    address = answer.headers["location"]
    for _ in range(200):
        found: dict[str, Any] = (await client.get(address, headers=admin)).json()
        if found["state"] != "running":
            break
        await asyncio.sleep(0.05)
    return found


async def test_a_packages_life(url: str, database: Database, tmp_path: Path) -> None:
    await populate(url)
    async with serving(settings_for(url, simfeed_home=tmp_path)) as client:
        admin = await sign_up(client)
        one = await built(client, admin, pseudonyms="names", title="A town")
        assert (one["state"], one["created_by"]) == ("completed", "ada"), one["reason"]
        file = await client.get(f"/datasets/{one['key']}/download", headers=admin)
        assert file.headers["content-type"] == "application/zip"
        assert (len(file.content), hashlib.sha256(file.content).hexdigest()) == (one["size"], one["sha256"])
        kept = tmp_path / "town.zip"
        kept.write_bytes(file.content)
        assert not checking.check(kept).faults
        with zipfile.ZipFile(kept) as packed:
            assert {"data/personas.csv", "data/posts.csv"} <= set(packed.namelist())
            assert b"member_1" in packed.read("data/personas.csv")
        said = await client.patch(f"/datasets/{one['key']}", json={"doi": "10.5281/zenodo.1"}, headers=admin)
        assert said.json()["doi"] == "10.5281/zenodo.1"
        for doi in ("10.1/x", "https://doi.org/10.5281/x", "10.5281/a b", "x" * 300):
            assert_problem(await client.patch(f"/datasets/{one['key']}", json={"doi": doi}, headers=admin), 422)
        listed = (await client.get("/datasets", headers=admin)).json()["data"]
        assert [row["key"] for row in listed] == [one["key"]]
        (tmp_path / "datasets" / f"{one['key']}.zip").rename(tmp_path / "elsewhere")
        assert_problem(await client.get(f"/datasets/{one['key']}/download", headers=admin), 409)
        assert (await client.delete(f"/datasets/{one['key']}", headers=admin)).status_code == 204
        assert_problem(await client.get(f"/datasets/{one['key']}", headers=admin), 404)
        deeds = await database.fetch("SELECT action FROM audit WHERE action LIKE 'dataset.%' ORDER BY id")
        assert [row["action"] for row in deeds] == ["dataset.begun", "dataset.published", "dataset.deleted"]


async def test_what_goes_wrong_is_told(
    url: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings_for(url, simfeed_home=tmp_path)) as client:
        admin = await sign_up(client)
        for wish, status in (
            ({**WISH, "about": "nowhere"}, 404),
            ({**WISH, "kind": "experiment", "about": "k3v9mq2xw7ab"}, 404),
            ({**WISH, "tables": ["admin"]}, 422),
            ({**WISH, "formats": ["graphml"]}, 422),
            ({**WISH, "pseudonyms": "some"}, 422),
        ):
            assert_problem(await client.post("/datasets", json=wish, headers=admin), status)
        assert await database.fetchval("SELECT count(*) FROM datasets") == 0

        async def breaks(*_: Any, **__: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(package, "build", breaks)
        one = await built(client, admin)
        assert (one["state"], one["reason"]) == ("failed", "something went wrong here; it has been logged")
        assert_problem(await client.get(f"/datasets/{one['key']}/download", headers=admin), 409)


async def test_what_a_killed_server_left_is_shown_as_failed(url: str, database: Database, tmp_path: Path) -> None:
    await database.fetchval(DATASETS["add"], "k3v9mq2xw7ab", "world", "home", "{}", None)
    assert (await datasets.found(database, "k3v9mq2xw7ab"))["state"] == "running"
    async with serving(settings_for(url, simfeed_home=tmp_path)):
        row = await datasets.found(database, "k3v9mq2xw7ab")
        assert (row["state"], row["reason"]) == ("failed", "the server ended while it was built")


async def test_one_at_a_time_and_what_ends_with_the_server(
    url: str, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def waits(*_: Any, **__: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(package, "build", waits)
    async with serving(settings_for(url, simfeed_home=tmp_path)) as client:
        admin = await sign_up(client)
        first = await client.post("/datasets", json=WISH, headers=admin)
        await begun.wait()
        assert_problem(await client.post("/datasets", json=WISH, headers=admin), 429)
    row = await datasets.found(database, first.json()["key"])
    assert row["state"] == "failed"


async def test_who_may(client: httpx2.AsyncClient, admin: dict[str, str], database: Database) -> None:
    key = "/datasets/k3v9mq2xw7ab"
    routes = (("GET", "/datasets"), ("POST", "/datasets"), ("GET", key), ("PATCH", key), ("DELETE", key))
    await database.fetchval("UPDATE admin SET role = 'observer'")
    for method, path in (*routes, ("GET", f"{key}/download")):
        assert_problem(await client.request(method, path, json={}), 401)
        answer = await client.request(method, path, headers=admin, json={})
        assert answer.status_code == ((200 if path == "/datasets" else 404) if method == "GET" else 403), (method, path)
