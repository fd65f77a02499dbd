"""The page of the graph and its downloads."""

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from urllib.parse import unquote

import asyncpg
import httpx2
import networkx as nx
import pytest

from app.db.engine import Database
from app.web.pages.graph import tiny
from tests.analysis.test_graph_analysis import ago, fill
from tests.conftest import sign_up
from tests.web.test_page import BROWSER, HOSTILE

FILES = {
    "svg": "image/svg+xml",
    "png": "image/png",
    "graphml": "application/graphml+xml",
    "csv": "text/csv; charset=utf-8",
}


class Page(HTMLParser):
    """The tags of a page and what they say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, attribute: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if attribute in attrs]

    def the(self, attribute: str) -> dict[str, str | None]:
        (found,) = self.all(attribute)
        return found


async def page_of(client: httpx2.AsyncClient, query: str = "") -> Page:
    answer = await client.get(f"/graph{query}", headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert "style=" not in answer.text
    return Page(answer.text)


async def test_the_page_tells_and_draws_who_follows_whom(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    page = await page_of(client)
    dots = page.all("data-node")
    assert [dot["data-handle"] for dot in dots] == ["@ann", "@bob", "@cat", "@dan"]
    ann = dots[0]
    assert (ann["data-handle"], ann["href"], ann["data-got"], ann["data-followers"]) == ("@ann", "/@ann", "3", "3")
    assert ann["aria-label"] == "@ann, Ann, green: followed by 3, follows 1"
    assert next(dot for dot in dots if dot["data-handle"] == "@cat")["href"] == "/persona/3"
    assert "among all 4 personas who do or get it: 4 follows" in page.words
    assert "@ann (followed by 3)" in page.words
    assert "0.33" in page.words, "density 4 / 12"
    assert "0.50" in page.words, "2 of 4 are returned"


async def test_the_slider_stops_at_round_moments_and_the_page_shows_one(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    now = await page_of(client)
    slider = next(attrs for tag, attrs in now.tags if attrs.get("type") == "range")
    low, high, step = (int(slider[name] or 0) for name in ("min", "max", "step"))
    assert slider["value"] == str(high)
    assert (high - low) % step == 0
    then = await page_of(client, f"?until={ago(days=11).timestamp():.0f}")
    assert {dot["data-handle"] for dot in then.all("data-node")} <= {"@ann", "@bob", "@cat"}
    places = {dot["data-handle"]: (dot["data-x"], dot["data-y"]) for dot in now.all("data-node")}
    for dot in then.all("data-node"):
        assert places[dot["data-handle"]] == (dot["data-x"], dot["data-y"])
    same = await page_of(client, f"?until={high}")
    assert len(same.all("data-node")) == 4
    first = await page_of(client, f"?until={low}")
    assert "nothing of it by then" in first.words


async def test_toggles_are_links_and_a_form_that_keep_the_rest(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    page = await page_of(client, "?kind=likes&colour=leaning&n=25")
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert "/graph?kind=replies&colour=leaning&n=25" in links
    assert "/graph.svg?kind=likes&colour=leaning&n=25" in links
    assert [attrs["value"] for _, attrs in page.tags if "checked" in attrs] == ["leaning"]
    assert [attrs["value"] for _, attrs in page.tags if "selected" in attrs] == ["25"]
    assert (await client.get(next(link for link in links if link and link.startswith("/graph.svg")))).status_code == 200


async def test_a_world_in_which_nobody_has_met_says_so(client: httpx2.AsyncClient) -> None:
    for kind, words in (("follows", "Nobody follows anybody yet"), ("likes", "Nobody has liked anything yet")):
        page = await page_of(client, f"?kind={kind}")
        assert words in page.words
        assert page.all("data-node") == []
    for ending in FILES:
        assert (await client.get(f"/graph.{ending}")).status_code == 200


@pytest.mark.parametrize("ending", FILES)
async def test_a_download_has_a_name_a_kind_and_a_tag(client: httpx2.AsyncClient, url: str, ending: str) -> None:
    await fill(url)
    then = f"/graph.{ending}?until={ago(days=11):%Y-%m-%dT%H:%M:%SZ}"
    answer = await client.get(then)
    assert answer.headers["content-type"] == FILES[ending]
    named = f'attachment; filename="simfeed-follows-{ago(days=11):%Y%m%d}T000000.{ending}"'
    assert answer.headers["content-disposition"] == named
    tag = answer.headers["etag"]
    again = await client.get(then, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get(f"/graph.{ending}", headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert other.content != answer.content


async def test_the_picture_alone_brings_its_colours_and_a_white_ground(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    root = ElementTree.fromstring((await client.get("/graph.svg")).content)
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert not {"style", "script", "a", "foreignObject", "image"} & set(names)
    ground = root.find("{http://www.w3.org/2000/svg}rect")
    assert ground is not None
    assert ground.get("fill") == "#ffffff"
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("@ann, Ann, green") for title in titles)
    png = (await client.get("/graph.png")).content
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (2000, 1440)


async def test_graphml_and_csv_hold_the_ties(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    graph = nx.parse_graphml((await client.get("/graph.graphml")).text, node_type=int)
    assert set(graph.edges) == {(1, 2), (2, 1), (3, 1), (4, 1)}
    lines = (await client.get("/graph.csv?kind=likes")).text.splitlines()
    assert lines == [
        "source_id,source,source_name,target_id,target,target_name,weight",
        "2,bob,,1,ann,Ann,2",
        "4,dan,,1,ann,Ann,1",
    ]


@pytest.mark.parametrize(
    "query",
    ["kind=hates", "colour=red", "n=7", "n=-1", "n=1e3", "n=99999999999999999999", "n=１５０",
     "until=x", "until=NaN", "until=inf", "until=1e400", "until=-1e18", "until=0001-01-01T00:00%2B23:59",
     "until=9999-12-31T23:59Z",     "until=99999999999999999999",
     "until=%EF%BF%BF", "kind=%3Cscript%3Ealert(1)%3C/script%3E"],
)  # fmt: skip
async def test_what_is_no_graph_is_refused_kindly(client: httpx2.AsyncClient, query: str) -> None:
    for path in ("/graph", "/graph.svg", "/graph.csv"):
        page = await client.get(f"{path}?{query}", headers=BROWSER)
        assert page.status_code == 422, (path, query)
        assert page.headers["content-type"].startswith("text/html")
        assert "<script>alert" not in page.text
        assert (await client.get(f"{path}?{query}")).headers["content-type"] == "application/problem+json"


async def test_empty_fields_count_as_not_given(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    assert len((await page_of(client, "?kind=&colour=&n=&until=")).all("data-node")) == 4


async def test_names_are_never_markup(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    connection = await asyncpg.connect(url)
    odd = HOSTILE + "]]>\x01\x1b/../%2e?#"
    await connection.execute(
        """UPDATE personas SET username = $1 || id,
           profile = jsonb_build_object('display_name', $1::text, 'leaning', $1::text)""",
        odd,
    )
    await connection.close()
    for query in ("", "?colour=leaning"):
        answer = await client.get(f"/graph{query}", headers=BROWSER)
        page = Page(answer.text)
        assert not [tag for tag, attrs in page.tags if tag == "script" and "src" not in attrs]
        assert not [attrs for tag, attrs in page.tags if tag == "img" or any(name.startswith("on") for name in attrs)]
        assert "{{ 7*7 }}" in page.words
        for dot in page.all("data-node"):
            address = dot["href"] or ""
            assert address.startswith(("/@%3Cscript", "/persona/"))
            assert not set(address) & set("<>\"'?#")
            assert unquote(address).startswith(("/@<script", "/persona/"))
    svg = ElementTree.fromstring((await client.get("/graph.svg?colour=leaning")).content)
    assert not [element for element in svg.iter() if element.tag.endswith(("script", "img"))]
    graph = nx.parse_graphml((await client.get("/graph.graphml")).text)
    assert graph.nodes["1"]["name"].startswith(HOSTILE)


async def test_an_admin_sees_the_same_and_keeps_it(client: httpx2.AsyncClient, url: str) -> None:
    await fill(url)
    await sign_up(client)
    login = {"username": "ada", "password": "a long enough password"}
    await client.post("/admin/login", data=login)
    answer = await client.get("/graph", headers=BROWSER)
    assert answer.headers["cache-control"] == "private, no-store"
    assert len(Page(answer.text).all("data-node")) == 4


async def test_nothing_of_it_is_in_the_api_description(client: httpx2.AsyncClient) -> None:
    assert not [path for path in (await client.get("/openapi.json")).json()["paths"] if "graph" in path]


async def test_a_tiny_one_for_beside_the_feed(url: str, database: Database) -> None:
    assert await tiny(database) == ""
    await fill(url)
    drawn = await tiny(database)
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "4 well-connected personas and 4 follows among them."
    assert len([element for element in root.iter() if "node" in (element.get("class") or "")]) == 4
    assert "href" not in drawn
