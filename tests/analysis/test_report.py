"""Reports: one file that asks nobody for anything, tells what is in the data, and takes no text for markup."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import pytest

from app.analysis.comparing import compare, equivalence
from app.analysis.comparing import data as builtins
from app.analysis.report.experiment import experiment_page, experiment_report
from app.analysis.report.page import ROWS_MOST, Figure, Grid, Page, Section, Text, plain
from app.analysis.report.world import world_page
from app.db.engine import Database
from app.errors import NotFound
from tests.conftest import copy_of
from tests.venues.test_cycle import people
from tests.venues.test_remembering import cycle

EVIL = '</title></style><script>alert(1)</script><img src="http://example.org/x" onerror=alert(1)>'
SEEDS = [11, 12, 13, 14, 15, 16]


class Seen(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())


def check_alone(text: str) -> Seen:
    """Nothing is loaded, nothing runs, and everybody can read it."""
    seen = Seen(text)
    for tag, attributes in seen.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "form", "base", "img")
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", text)
    policy = next(one["content"] for one in seen.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert seen.all("html")[0]["lang"] == "en"
    assert len(seen.all("h1")) == len(seen.all("main")) == 1
    ids = [one["id"] for _, one in seen.tags if "id" in one]
    assert len(ids) == len(set(ids))
    assert {(one["href"] or "")[1:] for one in seen.all("a")} <= set(ids)
    assert (
        len(seen.all("figure")) == len(seen.all("details")) == len([one for one in seen.all("svg") if one.get("role")])
    )
    assert all(one.get("scope") for one in seen.all("th"))
    return seen


def an_experiment(arm: str = "interest", **more: Any) -> dict[str, Any]:
    values: dict[str, list[float | None]] = {
        "latest": [0.30, 0.32, 0.31, 0.35, 0.33, 0.34],
        arm: [0.41, 0.45, None, 0.44, 0.46, 0.43],
    }
    trials = [
        {
            "number": 6 * place + n, "variant": one, "replicate": n, "seed": seed, "excluded": False, "calls": 10,
            "tokens": 1000, "usd": 0.25, "seconds": 2.5, "world_hash": f"hash{place}{n}", "outcomes": {"gini": value},
            "state": "completed" if value is not None else "failed",
            "reason": None if value is not None else "the provider was away",
        }
        for place, (one, found) in enumerate(values.items())
        for n, (seed, value) in enumerate(zip(SEEDS, found, strict=True), 1)
    ]  # fmt: skip
    outcome = {
        "name": "gini", "unit": "index", "family": "primary", "limits": "a limit of gini",
        "comparison": builtins(compare(values, seeds=SEEDS, seed=1)),
        "adjusted": {arm: {"p": 0.0625, "p_adjusted": 0.125, "method": "holm"}},
        "equivalence": [builtins(one) for one in equivalence(values, seeds=SEEDS, margin=0.2, seed=1)],
    }  # fmt: skip
    level = {"name": "p1", "difference": {"value": 0.1, "low": 0, "high": 0.2}}
    return {
        "key": "e1", "name": "Rankers", "state": "partial", "venue": "feed", "seed": 7, "source_world": "home",
        "n_planned": 12, "trials": trials, "outcomes": [outcome],
        "variants": [{"name": "latest", "settings": {"ranker": "latest"}}, {"name": arm, "settings": {"ranker": arm}}],
        "series": {"gini": {"latest": [[0.1, 0.2], [0.2, 0.3]], arm: [[0.1, 0.4], [0.2, 0.5]]}},
        "freeze": {"sha256": "f" * 64, "at": "2026-11-20T12:00:00Z"},
        "deviations": [{"what": "n_planned", "was": 20, "is": 12, "at": "2026-11-21"}],
        "stamp": {"label": "exploratory", "reasons": ["fewer than 10 runs"]},
        "human": [{"outcome": "age", "simulated": [1, 2, 3], "people": [1, 2, 2], "unit": "points"}],
        "power": [{"runs": 5, "power": {"share": 0.4, "low": 0.3, "high": 0.5}, "normal": 0.4}],
        "sensitivity": [{"outcome": "gini", "levels": [level]}],
    } | more  # fmt: skip


def test_an_experiments_report_tells_all_of_it() -> None:
    text = experiment_report(an_experiment())
    said = check_alone(text).text
    assert "n = 11 runs count of 12 planned, over 2 arms (latest 6, interest 5). State: partial." in said
    assert "gini: interest differs from latest by 0.11 index (" in said
    assert "corrected p 0.125" in said
    for what in ("fewer than 10 runs", "f" * 64, "n_planned", "the provider was away", "Holm", "a limit of gini",
                 "hash01", "Hedges 1981", "simfeed experiment run e1", "0.0625", "11, 12, 13, 14, 15, 16"):  # fmt: skip
        assert what in said, what
    assert "could not have been significant" in said
    assert text == experiment_report(an_experiment())
    titles = [one.title for one in experiment_page(an_experiment()).plots()]
    assert titles == ["Differences to the control", "gini by arm", "gini over time", "The effect by level: gini",
                      "Power by the number of runs", "What it cost", "Personas beside people: age"]  # fmt: skip


def test_what_is_not_there_is_left_out_or_said() -> None:
    said = check_alone(experiment_report({})).text
    assert "n = 0 runs count" in said
    assert "Nothing was frozen" in said
    assert "no data of people" in said
    calibrated = an_experiment(stamp={"label": "calibrated", "reasons": []})
    assert "stamp-good" in experiment_report(calibrated)
    assert 'class="stamp stamp-good"' not in experiment_report(an_experiment())


@pytest.mark.parametrize("key", sorted(an_experiment()))
def test_any_key_may_be_missing(key: str) -> None:
    data = an_experiment()
    assert experiment_page(data | {key: None}).sections
    del data[key]
    assert experiment_page(data).sections


def test_a_run_that_does_not_count_is_shown_and_never_counted() -> None:
    data = an_experiment()
    data["trials"][0] |= {"excluded": True, "reason": "rule 1: no posts"}
    said = check_alone(experiment_report(data)).text
    assert "n = 10 runs count" in said
    assert "rule 1: no posts" in said
    dots = next(one for one in experiment_page(data).plots() if one.title == "gini by arm")
    assert "latest: mean 0.33 index" in dots.alt
    assert "1 missing" in dots.alt


@pytest.mark.parametrize("evil", [EVIL, "x" * 10_000, "\u202eabc\ud800\x00"])
def test_no_text_becomes_markup(evil: str) -> None:
    data = an_experiment(evil, name=evil, methods=evil, key=evil, deviations=[{"what": evil, "was": evil}])
    data["outcomes"][0] |= {"name": evil, "unit": evil, "limits": evil}
    text = experiment_report(data | {"freeze": {evil: evil}, "stamp": {"label": "exploratory", "reasons": [evil]}})
    check_alone(text)
    text.encode()


def test_a_value_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        experiment_report(an_experiment(power=[{"runs": 5, "power": float("nan")}]))


def test_long_tables_say_how_long_they_are() -> None:
    page = Page("t", [], [Section("s", [Grid("g", ["a"], [(n,) for n in range(ROWS_MOST + 1)])])])
    assert f"The first {ROWS_MOST} of {ROWS_MOST + 1} rows" in check_alone(page.html()).text
    assert "g: none." in check_alone(Page("t", [], [Section("s", [Grid("g", ["a"], [])])]).html()).text


def test_the_check_itself_finds_what_is_not_alone() -> None:
    text = Page("t", [], [Section("s", [Text("x")])]).html()
    check_alone(text)
    for bad in ("<script></script>", '<img src="data:,">', '<p onclick="x">', '<a href="http://example.org">'):
        with pytest.raises(AssertionError):
            check_alone(text.replace("</main>", f"{bad}</main>"))


@pytest.mark.parametrize(
    ("value", "told"), [(None, "–"), (True, "yes"), (1234, "1,234"), (0.5, "0.5"), ({"a": [1, 2]}, "a: 1, 2")]
)
def test_cells_are_for_people(value: Any, told: str) -> None:
    assert plain(value) == told


@pytest.fixture(scope="module")
async def world(server_url: str, template: str) -> AsyncIterator[Database]:
    """A world that has lived three cycles, and all posts of which are markup."""
    async with copy_of(server_url, template) as url:
        found = await Database.open(url, size=4)
        try:
            await people(found, 6)
            for n in (1, 2, 3):
                await cycle(found, None, n=n, seed=n)
            await found.fetch("UPDATE posts SET body = $1", EVIL)
            yield found
        finally:
            await found.close()


async def test_a_worlds_report_tells_what_happened_and_takes_no_text_for_markup(world: Database) -> None:
    page = await world_page(world, title=EVIL, world="try")
    text = page.html()
    said = check_alone(text).text
    posts = await world.fetchval("SELECT count(*) FROM posts WHERE NOT hidden")
    calls = await world.fetchval("SELECT count(*) FROM calls")
    assert posts
    assert f"6 personas, 3 runs, 3 of them cycles of the feed: {posts} posts" in said
    assert "n = 1" in said
    assert EVIL in said
    assert f"{calls:,} calls" in next(one.alt for one in page.plots() if one.title == "What it cost")
    assert "attention_gini" in said
    assert "simfeed report -o report.html --world try" in said
    assert re.search(r"World, SHA-256 of all its rows \(simfeed world hash\) [0-9a-f]{64}", said)
    assert text == (await world_page(world, title=EVIL, world="try")).html()
    assert {"Who follows whom", "Opinions over time", "Activity over time"} <= {one.title for one in page.plots()}


async def test_only_the_runs_that_are_asked_for_count(world: Database) -> None:
    last = await world.fetchval("SELECT max(id) FROM runs")
    for page in (await world_page(world, title="t", since=last - 1), await world_page(world, title="t", runs=[last])):
        assert "1 runs, 1 of them" in page.lead[0]
        assert len(next(one for one in page.plots() if one.title == "Activity over time").table.rows) == 1
    with pytest.raises(NotFound, match="no run has the number 999"):
        await world_page(world, title="t", runs=[last, 999])


async def test_an_empty_world_has_a_report(database: Database) -> None:
    said = check_alone((await world_page(database, title="empty")).html()).text
    assert "No run was played." in said
    assert "0 personas" in said


async def test_turns_that_did_not_end_well_and_alarms_are_told(world: Database) -> None:
    last = await world.fetchval("SELECT max(id) FROM turns")
    await world.fetch("UPDATE turns SET state = 'failed', reason = 'provider_down' WHERE id = $1", last)
    page = await world_page(world, title="t")
    said = check_alone(page.html()).text
    assert "provider_down" in said
    figures = [part for section in page.sections for part in section.parts if isinstance(part, Figure)]
    assert len(figures) == len(page.plots())
