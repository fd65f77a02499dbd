"""News: brought into the world once, shown from its time on, read from feed files that may be hostile."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.engine import Database
from app.errors import Invalid, NotFound
from app.world import news
from app.world.news import NewsItem, Position
from app.world.news_files import BYTES_MAX, parse_news, plain, read_news

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUNDLE = "https://gull.example/"


def item(title: str, **more: Any) -> NewsItem:
    return NewsItem.model_validate({"title": title, **more})


async def publish(database: Database, *items: NewsItem, now: datetime = NOW) -> list[int | None]:
    async with database.connection() as connection, connection.transaction():
        return await news.publish(connection, items, now=now)


async def withdraw(database: Database, number: int) -> bool:
    async with database.connection() as connection, connection.transaction():
        return await news.withdraw(connection, number)


async def titles(database: Database, now: datetime = NOW, **more: Any) -> list[str]:
    return [row["title"] for row in await news.latest(database, now=now, limit=50, **more)]


async def test_an_item_is_shown_from_its_time_on_and_told_once(database: Database) -> None:
    later = NOW + timedelta(hours=2)
    assert await publish(database, item("Now"), item("Later", published_at=later)) == [1, 2]
    assert await titles(database) == ["Now"]
    assert await titles(database, later) == ["Later", "Now"]
    told = await database.fetch("SELECT kind, object_id FROM events ORDER BY id")
    assert [tuple(row) for row in told] == [("news", 1)]


async def test_what_the_world_has_is_left_out(database: Database) -> None:
    first = item("A", url=BUNDLE + "1", guid="g1")
    assert await publish(database, first, item("B", url=BUNDLE + "1"), item("C", guid="g1"), item("D")) == [
        1,
        None,
        None,
        4,
    ]
    assert await publish(database, first, item("D")) == [None, 5]
    assert await withdraw(database, 1)
    assert await publish(database, first) == [None]


async def test_withdrawn_is_shown_to_nobody_and_only_once_withdrawn(database: Database) -> None:
    await publish(database, item("A"), item("B"))
    assert await withdraw(database, 1)
    assert not await withdraw(database, 1)
    assert await titles(database) == ["B"]
    with pytest.raises(NotFound, match="no news item has the id 9"):
        await withdraw(database, 9)


async def test_pages_go_on_where_the_last_one_ended(database: Database) -> None:
    same = [item(str(n), published_at=NOW - timedelta(hours=n // 3)) for n in range(10)]
    await publish(database, *same)
    found: list[str] = []
    after = Position()
    while rows := await news.latest(database, now=NOW, limit=3, after=after):
        found += [row["title"] for row in rows]
        after = Position(rows[-1]["published_at"], rows[-1]["id"])
    assert found == await titles(database)
    assert len(found) == 10


async def test_a_persona_reads_what_was_there_when_its_cycle_was_opened(database: Database) -> None:
    await publish(database, item("Old", published_at=NOW - timedelta(days=8)), item("Fresh"))
    opened = await database.fetchval("SELECT clock_timestamp()")
    await publish(database, item("Meanwhile"))
    await withdraw(database, 2)

    async def read(known: datetime | None) -> list[str]:
        return [row["title"] for row in await news.for_persona(database, now=NOW, known=known, limit=5)]

    assert await read(opened) == ["Fresh"]
    assert await read(None) == ["Meanwhile"]
    assert await news.any_fresh(database, now=NOW, known=None)
    assert not await news.any_fresh(database, now=NOW + timedelta(days=8), known=None)


# Files

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>The Daily Gull</title><link>https://gull.example/</link><description>x</description>
<item><title>The &amp;bridge&lt;/title> is closed</title><link>https://gull.example/bridge</link>
<description>&lt;p&gt;Until &lt;b&gt;spring&lt;/b&gt;.&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</description>
<guid isPermaLink="false">bridge-1</guid><pubDate>Fri, 20 Nov 2026 10:00:00 +0100</pubDate></item>
<item><description>No headline, only words.</description><guid>https://gull.example/2</guid></item>
</channel></rss>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom"><title>Gull</title>
<entry><title type="html">Rent &lt;i>rises&lt;/i></title><id>tag:gull,1</id><updated>2026-11-20T09:00:00Z</updated>
<link rel="self" href="https://gull.example/self"/><link href="https://gull.example/rent"/>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>By ten.<script>evil()</script></p></div>
</content></entry></feed>"""
JSON_FEED = {
    "version": "https://jsonfeed.org/version/1.1",
    "title": "Gull",
    "items": [
        {"id": 7, "url": BUNDLE + "7", "content_html": "<p>Chips &amp; gulls</p>", "date_published": "2026-11-20"}
    ],
}


def test_rss_is_read_and_its_markup_becomes_text() -> None:
    first, second = parse_news(RSS.encode(), "f.xml").items
    assert (first.text, first.source, first.url, first.guid) == (
        "Until spring.", "The Daily Gull", "https://gull.example/bridge", "bridge-1",
    )  # fmt: skip
    assert first.published_at == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert (second.title, second.url) == ("No headline, only words.", "https://gull.example/2")


def test_atom_is_read_without_its_scripts() -> None:
    (found,) = parse_news(ATOM.encode(), "f.xml").items
    assert (found.title, found.text, found.url) == ("Rent rises", "By ten.", "https://gull.example/rent")
    assert found.published_at == datetime(2026, 11, 20, 9, tzinfo=UTC)


def test_json_feed_and_lines_are_read() -> None:
    (found,) = parse_news(json.dumps(JSON_FEED).encode(), "f.json").items
    assert (found.title, found.guid, found.published_at) == ("Chips & gulls", "7", datetime(2026, 11, 20, tzinfo=UTC))
    lines = '{"title": "A"}\n\n{"title": "B", "published_at": "2026-11-20T07:00", "url": "https://x.example/b"}\n'
    a, b = parse_news(lines.encode(), "f.jsonl").items
    assert (a.title, b.published_at) == ("A", datetime(2026, 11, 20, 7, tzinfo=UTC))
    assert parse_news("\ufeff".encode() + RSS.encode(), "f.xml").items[0].guid == "bridge-1"
    assert parse_news(RSS.replace("UTF-8", "UTF-16").encode("utf-16"), "f.xml").items[0].guid == "bridge-1"


BOMB = '<!DOCTYPE rss [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE rss [<!ENTITY f SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((BOMB + RSS.partition("?>")[2]).encode(), "DTD"),
        ((OUTSIDE + RSS.partition("?>")[2].replace("bridge", "&f;")).encode(), "DTD"),
        (b'<!DOCTYPE rss SYSTEM "http://127.0.0.1/x.dtd"><rss/>', "DTD"),
        (b"<rss><channel>", "not well-formed"),
        (RSS.replace("UTF-8", "no-such").encode(), "not well-formed"),
        (RSS.replace("Daily", "D\xe4ily").encode("latin-1"), "not well-formed"),
        (RSS.replace("Daily", "Da\0ily").encode(), "not well-formed"),
        (b"<html/>", "begins with <html>"),
        (b"<rss/>", "without a <channel>"),
        (b"<rss><channel/></rss>", "holds no items"),
        (b"   ", "is empty"),
        (b"hello", "must be an RSS 2.0"),
        (b'{"version": "https://jsonfeed.org/version/9", "items": []}', "version must be"),
        (b'{"version": "https://jsonfeed.org/version/1.1", "items": {}}', "must be a list"),
        (b"[1]", "must be an RSS 2.0"),
        (b'{"title": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "f: "),
        (b"<a>" * 100_000, "not well-formed"),
        (b'{"title": "A"}\n' * 1_001, "1,001 items"),
        (b"x" * (BYTES_MAX + 1), "larger than 5 MiB"),
    ],
)
def test_a_file_that_can_not_be_read_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    with pytest.raises(Invalid) as wrong:
        parse_news(data, "f")
    assert said in wrong.value.detail
    assert "\n" not in wrong.value.detail
    assert len(wrong.value.detail) < 500


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    large = tmp_path / "large.xml"
    with large.open("wb") as file:
        file.truncate(50 * 1024**2)
    with pytest.raises(Invalid, match="larger than 5 MiB"):
        read_news(large)
    with pytest.raises(Invalid, match="cannot be read"):
        read_news(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ({"title": ""}, "item 2, title: "),
        ({}, "item 2, title: "),
        ({"title": "A", "url": "javascript:alert(1)"}, "item 2, url: must be an address that begins with http"),
        ({"title": "A", "url": "https://a:b@x.example/"}, "item 2, url: "),
        ({"title": "A", "url": "https://[x/"}, "item 2, url: "),
        ({"title": "A", "url": "https://x.example/" + "ä" * 1_500}, "item 2, url: must be 1 to 2000 bytes"),
        ({"title": "A\0"}, "item 2, title: holds U+0000"),
        ({"title": "A", "published_at": "tomorrow"}, "item 2, published_at: must be a time such as"),
        ({"title": "A", "published_at": "0001-01-01T00:00:00+14:00"}, "item 2, published_at: "),
        ({"title": "A", "text": "x" * 2_001}, "item 2, text: "),
        ({"title": "A", "admin": True}, "item 2, admin: "),
        (["A"], "item 2: must be an object"),
    ],
)
def test_what_is_wrong_with_an_item_is_said(line: Any, where: str) -> None:
    found = parse_news(('{"title": "Fine"}\n' + json.dumps(line)).encode(), "f.jsonl")
    assert [one.title for one in found.items] == ["Fine"]
    assert str(found.problems[0]).startswith(where)


def test_feeds_with_wrong_items_say_which() -> None:
    bad = RSS.replace("https://gull.example/bridge", "javascript:alert(1)")
    assert str(parse_news(bad.encode(), "f").problems[0]).startswith("item 1, url: ")
    bad = RSS.replace("Fri, 20 Nov 2026 10:00:00 +0100", "soon")
    assert str(parse_news(bad.encode(), "f").problems[0]).startswith("item 1, pubDate: must be a time")
    bad = ATOM.replace("2026-11-20T09:00:00Z", "2026-99-20")
    assert str(parse_news(bad.encode(), "f").problems[0]).startswith("item 1, updated: must be a time")


def test_long_descriptions_are_cut() -> None:
    (found, _) = parse_news(RSS.replace("Until", "word " * 5_000).encode(), "f").items
    assert len(found.text) <= 2_000
    assert found.text.endswith("word…")


@given(st.text(max_size=300))
def test_plain_text_has_no_markup_left_to_run(text: str) -> None:
    found = plain(f"<script>{text}</script><p onclick='x'>word</p>")
    assert "onclick" not in found or "onclick" in text


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Invalid):
        parse_news(data, "f")
