"""`GET /metrics`: true numbers, few labels, not for strangers; and the dashboard and the alerts ask for what exists."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped]
from asgi_lifespan import LifespanManager
from prometheus_client.parser import text_string_to_metric_families

from app.db.engine import Database
from app.errors import Misconfigured
from app.main import create_app
from app.metrics import OTHER, Metrics
from app.settings import load_settings
from app.venues.feed import open_cycle, play_cycle
from tests.conftest import a_mind, serving, settings_for
from tests.ledger.test_commit import turns_for
from tests.web.test_contract import populate
from tests.web.test_edge import assert_problem, loopback
from tests.web.test_events import listening, world

DOCS = Path(__file__).parents[2] / "docs"
TOKEN = "metrics-0123456789-abcdef"
HERE = {"Host": "127.0.0.1:8000"}
NAME = re.compile(r"\b(?:simfeed|process)_[a-z_]+")
__all__ = ["world"]

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def samples(client: httpx2.AsyncClient) -> Samples:
    answer = await client.get("/metrics", headers=HERE)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["cache-control"] == "no-store"
    return read(answer.text)


def value(found: Samples, sample: str, /, **labels: str) -> float:
    return found.get((sample, tuple(sorted(labels.items()))), 0.0)


@pytest.fixture(scope="module")
def families() -> dict[str, str]:
    """Every sample's name that `/metrics` gives, labels seen once, and the family it is of."""
    metrics = Metrics(["create_post"])
    metrics.turn("done")
    metrics.action("create_post", "made")
    metrics.call("ok", prompt=1, completion=1, cached=1, usd=1.0, seconds=1.0)
    metrics.request("GET", "/", 200, 0.1)
    metrics.watch_pool(lambda: 1, lambda: 1)
    return {
        sample.name: family.name
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


# Who may read


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "simfeed.test"}, {"Host": "127.0.0.1.evil.example"}, {**HERE, "X-Forwarded-For": "127.0.0.1"},
        {**HERE, "Forwarded": "for=127.0.0.1"}, {**HERE, "Via": "1.1 proxy"}, {**HERE, "X-Real-IP": "127.0.0.1"},
        {**HERE, "Origin": "https://elsewhere.example"}, {"Host": "[::1"}, {"Host": "localhost@evil.example"},
    ],
    ids=str,
)  # fmt: skip
async def test_without_a_token_only_this_machine_may(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert_problem(await client.get("/metrics", headers=headers), 403)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"])
async def test_this_machine_may(client: httpx2.AsyncClient, host: str) -> None:
    assert (await client.get("/metrics", headers={"Host": host})).status_code == 200


async def test_another_machine_may_not(url: str) -> None:
    app = create_app(settings_for(url))
    async with LifespanManager(app, startup_timeout=60, shutdown_timeout=60) as running:
        for address in ("10.0.0.7", "192.0.2.1", "::ffff:10.0.0.7", "2001:db8::1"):
            transport = httpx2.ASGITransport(app=running.app, client=(address, 5))
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                assert_problem(await client.get("/metrics"), 403)


async def test_with_a_token_only_who_sends_it_may(url: str) -> None:
    async with serving(settings_for(url, metrics_token=TOKEN)) as client:
        for given in ({}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": TOKEN}):
            refused = await client.get("/metrics", headers={**HERE, **given})
            assert_problem(refused, 401)
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "simfeed_" not in refused.text
        answer = await client.get(
            "/metrics", headers={"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "9.9.9.9"}
        )
        assert answer.status_code == 200
        assert TOKEN not in answer.text


def test_a_short_token_is_refused() -> None:
    with pytest.raises(Misconfigured, match="METRICS_TOKEN"):
        load_settings(metrics_token="short")


# What is counted


async def test_requests_are_counted_by_template_and_class(url: str) -> None:
    await populate(url)
    async with serving(settings_for(url)) as client:
        for path in (
            "/post/1",
            "/post/2",
            "/post/99999",
            "/post/x",
            "/posts",
            "/nothing/1",
            "/nothing/2",
            "/auths/login",
        ):
            await client.get(path)
        await client.head("/posts")
        await client.request("BREW", "/posts")
        for _ in range(30):
            await client.get("/posts/1")
        found = await samples(client)
    name = "simfeed_http_request_duration_seconds_count"
    counts = {
        (dict(labels)["method"], dict(labels)["route"], dict(labels)["status"]): int(number)
        for (sample, labels), number in found.items()
        if sample == name
    }
    assert counts == {
        ("GET", "/post/{post_id}", "2xx"): 2,
        ("GET", "/post/{post_id}", "4xx"): 2,
        ("GET", "/posts", "2xx"): 1,
        ("HEAD", "/posts", "2xx"): 1,
        (OTHER, "/posts", "4xx"): 1,
        ("GET", "/posts/{page}", "2xx"): 30,
        ("GET", "unmatched", "4xx"): 2,
        ("GET", "/auths/login", "4xx"): 1,
    }


async def test_a_cycle_is_counted_as_the_ledger_has_it(database: Database) -> None:
    """The sums over a run equal a recount of its rows."""
    await turns_for(database, 6)
    await database.fetch("DELETE FROM turns")
    await database.fetch("DELETE FROM runs")
    metrics = Metrics()
    async with a_mind(database) as mind:
        mind.committer.metrics = metrics
        settings = load_settings(max_concurrent_turns=4)
        run = await open_cycle(mind, settings, seed=3)
        assert run is not None
        await play_cycle(mind, settings, run)
    found = read(metrics.text().decode())
    calls = await database.fetchrow("SELECT count(*) AS n, sum(prompt_tokens) AS prompt FROM calls")
    assert calls is not None
    assert value(found, "simfeed_llm_calls_total", status="ok") == calls["n"] > 0
    assert value(found, "simfeed_llm_call_duration_seconds_count") == calls["n"]
    assert value(found, "simfeed_llm_tokens_total", direction="prompt") == calls["prompt"]
    for row in await database.fetch("SELECT state, count(*) AS n FROM turns GROUP BY 1"):
        assert value(found, "simfeed_turns_total", status=row["state"]) == row["n"]
    for row in await database.fetch("SELECT outcome, count(*) AS n FROM actions GROUP BY 1"):
        assert value(found, "simfeed_actions_total", name=OTHER, outcome=row["outcome"]) == row["n"]


def test_names_that_no_action_has_are_one_label() -> None:
    metrics = Metrics(["create_post"])
    for n in range(1_000):
        metrics.action(f"made_up_{n}", "refused")
        metrics.request(f"BREW{n}", "unmatched", 405, 0.1)
    metrics.action("create_post", "made")
    found = read(metrics.text().decode())
    assert value(found, "simfeed_actions_total", name=OTHER, outcome="refused") == 1_000
    assert value(found, "simfeed_actions_total", name="create_post", outcome="made") == 1
    assert len(found) < 100


async def test_listeners_pool_loop_and_build_are_told(url: str, world: Database) -> None:
    with loopback(settings_for(url, worker_enabled=True)) as server:
        async with httpx2.AsyncClient(base_url=server) as client, listening(server):
            found = await samples(client)
            while not value(found, "simfeed_event_loop_lag_seconds_count"):
                found = await samples(client)
        assert value(found, "simfeed_sse_clients") == 1
        pool = [value(found, "simfeed_db_pool_connections", state=state) for state in ("idle", "in_use")]
        assert sum(pool) >= 1
        assert value(found, "simfeed_queue_depth") == 0
        assert value(found, "simfeed_turns_in_flight") == 0
        assert any(name == "simfeed_build_info" and number == 1 for (name, _), number in found.items())
        assert value(found, "process_resident_memory_bytes") > 1e6


async def test_two_applications_count_apart(url: str) -> None:
    async with serving(settings_for(url)) as one, serving(settings_for(url)) as other:
        await one.get("/posts")
        labels = {"method": "GET", "route": "/posts", "status": "2xx"}
        name = "simfeed_http_request_duration_seconds_count"
        assert value(await samples(one), name, **labels) == 1
        assert value(await samples(other), name, **labels) == 0


# What is said of it


def names_in(value: Any) -> set[str]:
    """The metrics that the expressions of a dashboard or of rules ask for."""
    if isinstance(value, dict):
        found = [names_in(part) for part in value.values()]
        return set().union(
            *found, *[set(NAME.findall(v)) for k, v in value.items() if k in ("expr", "query") and v == str(v)]
        )
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "alerts.yml"])
def test_every_metric_asked_for_exists(file: str, families: dict[str, str]) -> None:
    content = yaml.safe_load((DOCS / file).read_text())
    asked = names_in(content)
    assert len(asked) >= 8
    assert asked <= families.keys()


def test_every_metric_is_documented_and_nothing_else(families: dict[str, str]) -> None:
    rows = [line for line in (DOCS / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    suffixes = re.compile(r"_(bucket|count|sum)$")
    assert documented == {suffixes.sub("", name) for name in families}
    for row in rows:
        labels = set(re.findall(r"`([a-z]+)`", row.split("|")[3]))
        assert not labels & {"persona", "post", "run", "turn", "path", "address"}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.count("(") == expression.count(")")
            assert set(re.findall(r"\$([a-z]+)", expression)) <= variables


def test_the_alerts_are_rules() -> None:
    rules = [rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 8
    for rule in rules:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["annotations"]["summary"].endswith((".", "?", ";"))
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_control_a_name_that_is_not_there_is_found_out(families: dict[str, str]) -> None:
    assert names_in({"expr": "rate(simfeed_posts_total[5m])"}) - families.keys() == {"simfeed_posts_total"}
