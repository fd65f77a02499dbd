"""The API's documentation says all that the OpenAPI document says, and each of its links leads somewhere."""

import httpx2
import pytest

from app import errors
from app.web.pages.docs import FAILURES, code
from tests.web.pages.desk import Page, look
from tests.web.test_page import BROWSER


@pytest.fixture
async def page(client: httpx2.AsyncClient) -> Page:
    client.headers.update(BROWSER)
    return await look(client, "/docs")


async def test_every_operation_parameter_and_schema_is_there(client: httpx2.AsyncClient, page: Page) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["operationId"] in page.ids
            assert path in page.text
            for parameter in operation.get("parameters", []):
                assert parameter["name"] in page.text
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in page.ids
        for field in schema.get("properties", {}):
            assert field in page.text
    assert {f"tag-{tag['name']}" for tag in document["tags"]} <= page.ids


async def test_every_link_within_the_page_leads_somewhere(page: Page) -> None:
    within = [link[1:] for link in page.links if link.startswith("#")]
    assert len(within) > 100
    assert [target for target in within if target not in page.ids] == []


async def test_every_error_has_its_place(client: httpx2.AsyncClient, page: Page) -> None:
    kinds = [kind for kind in errors.AppError.__subclasses__() if kind.__module__ == errors.__name__]
    assert len(kinds) >= 8
    assert {f"error-{kind.__name__}" for kind in kinds} <= page.ids
    assert {f"error-{failure.status}" for failure in FAILURES} <= page.ids
    document = (await client.get("/openapi.json")).json()
    told = {s for m in document["paths"].values() for o in m.values() for s in o["responses"] if s >= "400"}
    assert {f"error-{status}" for status in told} <= page.ids


async def test_only_what_changes_nothing_can_be_tried(page: Page) -> None:
    tried = [a for a in page.all("form") if "data-try" in a]
    assert len(tried) >= 10
    assert all(a["method"] == "get" and "hidden" in a for a in tried)
    assert "/events" not in {a["data-try"] for a in tried}


async def test_a_forged_host_is_text(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/docs", headers={**BROWSER, "Host": "x'\"><script>alert(1)</script>"})
    assert answer.status_code < 500
    assert Page(answer.text).is_sound()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a `b` c", "a <code>b</code> c"),
        ("a ` b", "a  b"),
        ("`<b>` & <i>", "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"),
        ("", ""),
    ],
)
def test_words_between_backticks_are_code(text: str, shown: str) -> None:
    assert code(text) == shown
