"""What monitors found, where admins see it: the run's page, the overview, the API, the metrics."""

import re
from typing import Any

import pytest

from app.analysis import realism
from app.db.engine import Database
from app.settings import load_settings
from app.web.pages.admin.monitors import line
from tests.analysis.test_realism_worlds import lived, plain, varied
from tests.conftest import run_sql
from tests.web.pages.desk import at_desk, look
from tests.web.test_metrics import samples, value


def assistants(n: int, k: int) -> list[tuple[str, dict[str, Any]]]:
    return [("create_post", {"body": f"As an AI language model: {plain(n, k)}"})]


async def test_the_runs_page_shows_values_and_how_they_went(database: Database, url: str) -> None:
    await lived(database, varied, 7)
    async with at_desk(url) as client:
        page = await look(client, "/admin/runs/7")
        assert "Nothing is beyond its limit." in page.text
        assert "The reference is runs 1 to 5." in page.text
        assert "12 of 12 turns were looked at." in page.text
        lines = page.all("polyline")
        assert len(lines) >= 5
        assert all(re.fullmatch(r"[0-9., ]+", one["points"]) for one in lines)
        assert "lexical diversity" in page.text


async def test_alarms_are_said_with_what_to_do(database: Database, url: str) -> None:
    await lived(database, assistants)
    async with at_desk(url) as client:
        page = await look(client, "/admin/runs/1")
        assert "Texts in the voice of an AI assistant: 1.00 (at least 0.1 is worth an alarm)." in page.text
        assert "The model falls out of its part." in page.text
        assert "1 of 1 texts. Speaks as an AI assistant" in page.text
        assert "There is no reference yet" in page.text
        assert "/@p0" in page.links
        overview = await look(client, "/admin")
        assert "assistant speak is 1.00" in overview.text
        assert "/admin/runs/1#monitors" in overview.links
        answer = await client.get("/runs/1", headers={"Accept": "application/json"})
        assert answer.status_code == 401  # a page's session is no token
        assert value(await samples(client), "simfeed_realism_alarms", level="alarm") >= 1


async def test_a_run_nobody_has_looked_at_says_so(database: Database, url: str) -> None:
    await lived(database, varied)
    await run_sql(url, "UPDATE runs SET realism = NULL")
    async with at_desk(url) as client:
        page = await look(client, "/admin/runs/1")
        assert "simfeed runs realism 1" in page.text
        await run_sql(url, "UPDATE runs SET realism = '{\"version\": 0}'")  # another version's
        assert "simfeed runs realism 1" in (await look(client, "/admin/runs/1")).text
        await look(client, "/admin")
        await run_sql(url, "UPDATE runs SET realism = NULL, state = 'running'")
        assert "when the run is at an end" in (await look(client, "/admin/runs/1")).text
        await run_sql(url, "UPDATE runs SET venue = 'reflection'")
        assert "monitors-name" not in (await look(client, "/admin/runs/1")).ids


async def test_looking_again_after_a_limit_changed(database: Database, url: str) -> None:
    await lived(database, assistants)
    off = "assistant_speak=off,self_similarity=off,similarity=off,lexical_diversity=off"
    again = await realism.look(database, load_settings(alarms=off), 1)
    assert again is not None
    assert again.alarms == []
    async with at_desk(url) as client:
        assert "Nothing is beyond its limit." in (await look(client, "/admin/runs/1")).text


@pytest.mark.parametrize(
    ("values", "points"),
    [([], ""), ([1], ""), ([1, 1], "0.0,12.0 100.0,12.0"), ([0, 2, 1], "0.0,22.0 50.0,2.0 100.0,12.0")],
)
def test_a_line_goes_through_its_values(values: list[float], points: str) -> None:
    assert line(values) == points
