"""A server's lists as DataFrames, over HTTP: pages are followed to the end, and a busy server is waited for."""

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import polars as pl

from app.errors import AppError, Invalid, TooMany, Unavailable

PAGE = 100
TRIES = 6
LONGEST_WAIT = 60.0
BUSY = (429, 503)
LISTS = ("data", "posts_found")
"""Where the answers of list routes have their rows."""


class Refused(AppError):
    """The server said no; the detail is its own."""

    title = "Refused"


class Client:
    """What a Sim-Feed server at `url` says of its world.

        from app import Client
        posts = Client("https://feed.example").posts(limit=1000)

    `key` is an API key (`POST /auths/keys`) or an access token; the public routes need none. A request that the server
    is too busy for (429, 503) is made again, at most `TRIES` times, after as long as its `Retry-After` says.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 30.0) -> None:
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise Invalid(f"{url!r} is no address of a server, as https://feed.example")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=timeout, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def posts(self, *, limit: int | None = None, sort: str = "latest", author: int | None = None) -> pl.DataFrame:
        """Posts, newest first, all or `limit` of them; columns as `GET /posts` has fields. Public."""
        given = {"sort": sort} | ({"author": author} if author is not None else {})
        return self.rows("/posts", limit=limit, **given)

    def comments(self, post_id: int, *, limit: int | None = None) -> pl.DataFrame:
        """A post's comments, newest first. Public."""
        return self.rows(f"/posts/{quote(str(post_id), safe='')}/comments", limit=limit)

    def news(self, *, limit: int | None = None) -> pl.DataFrame:
        """What the world has been told, newest first. Public."""
        return self.rows("/news", limit=limit)

    def sessions(self, *, limit: int | None = None) -> pl.DataFrame:
        """Dialogues, focus groups, surveys and interviews, newest first. Needs a key."""
        return self.rows("/simulations", limit=limit)

    def rows(self, path: str, *, limit: int | None = None, **query: Any) -> pl.DataFrame:
        """The rows of any list route that pages by cursor (docs/reference.md), all or `limit` of them.

        Times stay text (ISO 8601, UTC), as the server sends them; a list or an object is a List or Struct.

        Raises:
            Refused: the server said no (wrong key, no such thing, wrong parameter).
            TooMany, Unavailable: it was busy or away, each time.
        """
        found: list[dict[str, Any]] = []
        for page in self._pages(path, {**query, "limit": PAGE if limit is None else max(1, min(PAGE, limit))}):
            found += page
            if limit is not None and len(found) >= limit:
                break
        return pl.DataFrame(found[:limit], infer_schema_length=None)

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
        cursor: str | None = None
        while True:
            answer = self._asked(path, {**query, **({"cursor": cursor} if cursor else {})})
            rows, following = _read(answer, path)
            yield rows
            if not following or following == cursor:
                return
            cursor = following

    def _asked(self, path: str, query: Mapping[str, Any]) -> httpx2.Response:
        for left in range(TRIES - 1, -1, -1):
            try:
                answer = self._http.get(path, params=dict(query))
            except httpx2.TransportError as error:
                if not left:
                    raise Unavailable(f"the server can't be reached: {type(error).__name__} {error}") from None
                time.sleep(1)
                continue
            if answer.status_code in BUSY and left:
                time.sleep(_patience(answer))
                continue
            return _good(answer)
        raise AssertionError("unreachable")


def _patience(answer: httpx2.Response) -> float:
    """Seconds that the server asks for."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(answer.headers.get("Retry-After", "1"))))
    except ValueError:
        return 1.0


def _good(answer: httpx2.Response) -> httpx2.Response:
    if answer.status_code == 200:
        return answer
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    kind = {429: TooMany, 503: Unavailable}.get(answer.status_code, Refused)
    raise kind(f"{answer.status_code}: {detail[:500]}")


def _read(answer: httpx2.Response, path: str) -> tuple[list[dict[str, Any]], str | None]:
    """The rows of a page, and the cursor of the next: as told, or of its `Link`, whose address is not followed."""
    try:
        body = answer.json()
    except ValueError:
        raise Refused(f"{path} did not answer with JSON") from None
    if isinstance(body, list):
        query = parse_qs(urlsplit(answer.links.get("next", {}).get("url", "")).query)
        return body, query["cursor"][-1] if "cursor" in query else None
    rows = next((body[name] for name in LISTS if isinstance(body.get(name), list)), None)
    if rows is None:
        raise Refused(f"{path} is no list")
    return rows, body.get("next_cursor")
