"""The audit log as a page, and as a download that anybody can check."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import httpx2
import pytest

from app.auth import audit
from app.db.engine import Database
from tests.conftest import run_sql, serving, settings_for
from tests.web.pages.test_admin_access import send
from tests.web.test_page import BROWSER, HOSTILE

DOCS = Path(__file__).parents[3] / "docs" / "audit.md"
LOG = "/admin/audit"


async def fill(url: str, number: int = 60) -> None:
    database = await Database.open(url, size=1)
    async with database.connection() as connection:
        for n in range(number):
            await audit.record(connection, 1 if n % 2 else None, f"test.{n % 3}", f"=number {n}", note=HOSTILE, n=n)
    await database.close()


async def tamper(url: str, harm: str) -> None:
    await run_sql(
        url,
        "ALTER TABLE audit DISABLE TRIGGER audit_append_only",
        harm,
        "ALTER TABLE audit ENABLE TRIGGER audit_append_only",
    )


def ids(page: httpx2.Response) -> list[int]:
    return [int(found) for found in re.findall(r'<th scope="row" class="number">(\d+)</th>', page.text)]


def older(page: httpx2.Response) -> str | None:
    found = re.search(r'rel="next" href="([^"]+)"', page.text)
    return found[1].replace("&amp;", "&") if found else None


async def test_it_is_for_admins_only(url: str) -> None:
    async with serving(settings_for(url)) as client:
        for path in (LOG, LOG + ".csv", LOG + ".jsonl"):
            assert (await client.get(path, headers=BROWSER)).status_code == 303
            assert (await client.get(path)).status_code == 401


async def test_what_admins_do_stands_there(browser: httpx2.AsyncClient) -> None:
    await send(browser, "/invitations", email="bob@example.org")
    page = await browser.get(LOG)
    assert ids(page) == [2, 1]
    assert "admin.invited" in page.text
    assert "bob@example.org" in page.text
    assert "Unbroken, 2 entries." in page.text


async def test_older_entries_follow_and_each_stands_once(browser: httpx2.AsyncClient, url: str) -> None:
    await fill(url, 120)
    seen: list[int] = []
    address: str | None = LOG
    while address:
        page = await browser.get(address)
        seen, address = seen + ids(page), older(page)
    assert seen == list(range(121, 0, -1))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("admin=1", [n for n in range(61, 0, -1) if n % 2]),
        ("admin=0", list(range(60, 1, -2))),
        ("action=test.1", list(range(60, 2, -3))),
        ("q=NUMBER+59", [61]),
        ("q=n_mber", []),
        ("admin=&action=&q=++", list(range(61, 11, -1))),
        ("admin=99", []),
        ("action=no.such", []),
    ],
)
async def test_it_is_sifted(browser: httpx2.AsyncClient, url: str, query: str, expected: list[int]) -> None:
    await fill(url)
    page = await browser.get(f"{LOG}?{query}")
    assert page.status_code == 200
    assert ids(page) == expected
    assert ("Nothing like that" in page.text) == (not expected)


async def test_a_far_look_goes_on_by_hand(
    browser: httpx2.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED", 10)
    await fill(url, 25)
    page = await browser.get(f"{LOG}?q=number+3%22")
    pages = [ids(page)]
    while address := older(page):
        page = await browser.get(address)
        pages.append(ids(page))
    assert pages == [[], [], []]
    page = await browser.get(f"{LOG}?q=number+4")
    assert "Look further back" in page.text
    assert ids(await browser.get(older(page) or "")) == []


@pytest.mark.parametrize(
    "query", ["cursor=x", "admin=x", "admin=-1", "admin=" + "9" * 30, "q=" + "x" * 101, "q=a%01", "check=some"]
)
async def test_a_wrong_address_is_explained(browser: httpx2.AsyncClient, query: str) -> None:
    answer = await browser.get(f"{LOG}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_cursor_holds_only_for_its_filters(browser: httpx2.AsyncClient, url: str) -> None:
    await fill(url, 110)
    address = older(await browser.get(f"{LOG}?admin=1"))
    assert address is not None
    assert (await browser.get(address)).status_code == 200
    assert (await browser.get(address.replace("admin=1", "admin=0"))).status_code == 422


async def test_a_broken_chain_is_told(browser: httpx2.AsyncClient, url: str) -> None:
    await fill(url, 5)
    await tamper(url, "UPDATE audit SET subject = 'nothing happened' WHERE id = 3")
    assert "Broken at entry 3." in (await browser.get(LOG)).text


async def test_a_long_chain_is_checked_wholly_on_demand(
    browser: httpx2.AsyncClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STRETCH", 4)
    await fill(url, 9)
    page = (await browser.get(LOG)).text
    assert "Unbroken in the first 4 entries." in page
    assert "?check=all" in page
    assert "Unbroken, 10 entries." in (await browser.get(f"{LOG}?check=all")).text


async def test_what_is_written_is_text(browser: httpx2.AsyncClient, url: str) -> None:
    database = await Database.open(url, size=1)
    async with database.connection() as connection:
        await audit.record(connection, None, HOSTILE, HOSTILE, **{HOSTILE: HOSTILE})
    await database.close()
    page = await browser.get(LOG)
    assert "<script>" not in page.text
    assert "<img src=x" not in page.text
    assert page.text.count("{{ 7*7 }}") >= 4


def program(folder: Path) -> Path:
    """The program of docs/audit.md."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    path = folder / "check.py"
    path.write_text(found[1])
    return path


def checked(program: Path, log: Path) -> str:
    ran = subprocess.run([sys.executable, str(program), str(log)], capture_output=True, text=True, timeout=60)
    return ran.stdout.strip() or ran.stderr.strip()


async def test_the_download_is_checked_as_the_docs_say(
    browser: httpx2.AsyncClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LINES", 7)
    await fill(url, 30)
    answer = await browser.get(LOG + ".jsonl")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert answer.headers["cache-control"] == "private, no-store"
    log = tmp_path / "audit.jsonl"
    log.write_bytes(answer.content)
    connection = await asyncpg.connect(url)
    head = await connection.fetchval("SELECT encode(hash, 'hex') FROM audit ORDER BY id DESC LIMIT 1")
    await connection.close()
    ours = program(tmp_path)
    assert checked(ours, log) == f"unbroken, 31 entries, head hash {head}"

    lines = answer.text.splitlines()
    for at, changed in (
        (10, lines[:9] + lines[10:]),
        (9, [*lines[:8], lines[8].replace("=number 7", "=number 8", 1), *lines[9:]]),
        (9, [*lines[:8], lines[8].replace("=number 7", "=number 8"), *lines[9:]]),
        (9, [*lines[:8], re.sub(r'"at":"....', '"at":"1999', lines[8]), *lines[9:]]),
        (9, [*lines[:8], lines[8].replace('"n": 7', '"n": 8'), *lines[9:]]),
    ):
        log.write_text("\n".join(changed))
        assert checked(ours, log) == f"broken at entry {11 if at == 10 else at}"


async def test_the_table_holds_the_same_and_no_formula(browser: httpx2.AsyncClient, url: str) -> None:
    await fill(url, 5)
    answer = await browser.get(LOG + ".csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    entries = [json.loads(line) for line in (await browser.get(LOG + ".jsonl")).text.splitlines()]
    assert [row["hashed"] for row in rows] == [entry["hashed"] for entry in entries]
    assert [row["hash"] for row in rows] == [entry["hash"] for entry in entries]
    assert [json.loads(row["detail"]) for row in rows] == [entry["detail"] for entry in entries]
    assert rows[1]["subject"] == "'=number 0"
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


async def test_an_empty_log_is_a_log(browser: httpx2.AsyncClient, url: str) -> None:
    await tamper(url, "DELETE FROM audit")
    assert "Nothing was done yet" in (await browser.get(LOG)).text
    assert (await browser.get(LOG + ".jsonl")).content == b""
    assert (await browser.get(LOG + ".csv")).text.startswith("id,at,")
