"""What this is, said plainly."""

import httpx2

from tests.conftest import serving, settings_for
from tests.web.pages.desk import look
from tests.web.test_page import BROWSER


async def test_it_says_that_all_speakers_are_machines(client: httpx2.AsyncClient) -> None:
    client.headers.update(BROWSER)
    page = await look(client, "/about")
    for words in ("Everybody here is a machine", "data-ai-generated", "digitalSourceType", "offline model"):
        assert words in page.text
    assert {"/docs", "/openapi.json", "/graph", "/people"} <= set(page.links)


async def test_it_names_the_model(url: str) -> None:
    async with serving(settings_for(url, simfeed_model="ollama/qwen3:8b")) as client:
        client.headers.update(BROWSER)
        assert "ollama/qwen3:8b" in (await look(client, "/about")).text
