"""The feed by leaning, and pages for addresses that lead nowhere."""

import httpx2
import pytest

from app.world import feed
from tests.conftest import run_sql
from tests.web.pages.desk import Page, look
from tests.web.test_page import BROWSER, HOSTILE

TOWN = """
INSERT INTO personas (username, description, profile) VALUES
    ('gull', 'x', '{"leaning": "green"}'), ('tern', 'x', '{"leaning": "far left"}'), ('stork', 'x', '{}');
INSERT INTO posts (author_id, body) SELECT 1 + n % 3, 'said ' || n FROM generate_series(1, 90) n;
INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM posts;
"""


@pytest.fixture
async def town(client: httpx2.AsyncClient, url: str) -> httpx2.AsyncClient:
    await run_sql(url, TOWN)
    client.headers.update(BROWSER)
    return client


async def test_the_feed_by_leaning_goes_back_to_its_beginning(town: httpx2.AsyncClient) -> None:
    page = await look(town, "/")
    assert {"/?leaning=green", "/?leaning=far%20left"} <= set(page.links)
    address: str | None = "/?leaning=green"
    seen: list[str] = []
    while address:
        page = await look(town, address)
        assert page.all("a", aria_current="page") or "Those who lean" in page.text
        seen += [card["data-post"] for card in page.all("article")]
        assert "@tern" not in "".join(page.links[10:-10])
        address = next((a["href"] for a in page.all("a", rel="next")), None)
    assert seen == [str(n) for n in range(90, 0, -1) if n % 3 == 0]


async def test_a_rare_leaning_is_looked_for_further_back(
    town: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOKED", 10)
    page = await look(town, "/?leaning=none+such")
    assert "there are older ones" in page.text
    looks = 0
    while older := next((a["href"] for a in page.all("a", rel="next")), None):
        page, looks = await look(town, older), looks + 1
    assert looks == 9
    assert "no older posts of that leaning" in page.text


@pytest.mark.parametrize("leaning", [HOSTILE, "'; DROP TABLE posts; --", "\u202eabc", "🦆", "x" * 200])
async def test_a_leaning_is_only_text(town: httpx2.AsyncClient, leaning: str) -> None:
    answer = await town.get("/", params={"leaning": leaning})
    assert answer.status_code in (200, 422)
    assert Page(answer.text).is_sound()


async def test_a_cursor_holds_for_its_leaning_only(town: httpx2.AsyncClient) -> None:
    page = await look(town, "/?leaning=green")
    older = next(a["href"] for a in page.all("a", rel="next"))
    await look(town, older.replace("leaning=green", "leaning=far+left"), 422)


async def test_an_address_that_leads_nowhere_says_where_to_go_on(town: httpx2.AsyncClient) -> None:
    assert "/people" in (await look(town, "/@nobody", 404)).links
    page = await look(town, "/people?sort=;drop", 422)
    assert "That can’t be asked" in page.text
    for given, meant in (("/people/", "/people"), ("/post/1/", "/post/1"), ("/admin/", "/admin")):
        answer = await town.get(given)
        assert (answer.status_code, answer.headers["location"]) == (303, meant)
    for odd in ("/%5Cevil.example/", "/a//b/", "/%0d%0ax/"):
        assert (await town.get(odd)).status_code == 404
    assert (await town.get("/people/", headers={"Accept": "application/json"})).status_code == 404


async def test_the_menu_says_where_one_is(town: httpx2.AsyncClient) -> None:
    for address, here in (("/@gull", "/people"), ("/persona/1", "/people"), ("/post/1", "/"), ("/graph", "/graph")):
        page = await look(town, address)
        current = {a["href"] for a in page.all("a") if "aria-current" in a}
        assert current & {"/", "/people", "/graph", "/about"} == {here}, address
