"""An admin's browser."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.web.pages.desk import at_desk


@pytest.fixture
async def browser(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that asks for pages, signed in as the first admin."""
    async with at_desk(url) as found:
        yield found
