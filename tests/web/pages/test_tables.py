"""What is seen can be taken along: CSV of the same query as the page, with no cell that a spreadsheet runs."""

import csv
import io

import httpx2
import pytest

from app.db.engine import Database
from app.web.pages.sheet import cell
from tests.conftest import run_sql
from tests.web.pages.desk import at_desk, look, played


async def table(client: httpx2.AsyncClient, address: str) -> list[dict[str, str]]:
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_each_list_leads_to_a_csv_of_what_it_shows(database: Database, url: str) -> None:
    first, second = await played(database, url, cycles=2)
    async with at_desk(url) as client:
        for page, rows in (
            ("/admin/runs", [second, first]),
            ("/admin/runs?state=completed", [second, first]),
            (f"/admin/runs/{first}", None),
            (f"/admin/traces?run={first}", None),
            ("/admin/audit?action=admin.registered", [1]),
        ):
            shown = await look(client, page)
            address = next(a["href"] for a in shown.all("a") if a.get("aria-label", "").startswith("CSV of the"))
            found = await table(client, address)
            assert len(found) == (len(rows) if rows else 3), page
            assert rows is None or [int(row["id"]) for row in found] == rows
        assert await table(client, "/admin/runs.csv?state=failed") == []
        turns = await table(client, f"/admin/runs/{first}/turns.csv")
        assert {row["username"] for row in turns} == {"person_1", "person_2", "person_3"}


async def test_a_formula_stays_text(database: Database, url: str) -> None:
    await played(database, url)
    await run_sql(url, "UPDATE runs SET state = 'failed', reason = '=HYPERLINK(\"http://evil.example\")'")
    async with at_desk(url) as client:
        (run,) = await table(client, "/admin/runs.csv")
    assert run["reason"].startswith("'=")
    assert (cell(-3), cell(None), cell("-3"), cell("fine")) == (-3, "", "'-3", "fine")


@pytest.mark.parametrize("address", ["/admin/runs.csv", "/admin/runs/1/turns.csv", "/admin/traces.csv"])
async def test_tables_are_for_admins(client: httpx2.AsyncClient, address: str) -> None:
    assert (await client.get(address)).status_code == 401


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/admin/runs.csv?state=x", 422),
        ("/admin/runs.csv?cursor=x", 422),
        ("/admin/runs/9/turns.csv", 404),
        ("/admin/runs/x/turns.csv", 422),
        ("/admin/traces.csv?cost=nan", 422),
        ("/admin/audit/shown.csv?admin=x", 422),
    ],
)
async def test_what_cannot_be_asked_of_a_table(url: str, address: str, status: int) -> None:
    async with at_desk(url) as client:
        await look(client, address, status)
