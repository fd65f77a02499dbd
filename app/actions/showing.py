"""How what an action found is shown to a persona: short, and within the tokens that a reading may take."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from app.world.feed import Row

ITEM_TOKENS = 18
"""About what an item's names and numbers take."""

WRITTEN = ("title", "text", "bio")
QUOTED_MAX = 120
"""Characters that are shown of a post that another one quotes."""

NO_WORD = re.compile(r"[^\w\s]|[\d_\U00010000-\U0010ffff]")


def ago(then: datetime, now: datetime) -> str:
    """How long before now, in the largest unit: 40s, 3m, 2h, 5d."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def tokens(text: str) -> int:
    """About how many tokens a text takes: one for four bytes of UTF-8, as OpenAI's rule of thumb has it.

    What is no word (signs, emoji, rare scripts) takes up to a token a byte, and hostile text is full of it.
    """
    return max(len(text.encode()) // 4, len("".join(NO_WORD.findall(text)).encode())) + 1


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, ending on a word."""
    return text if len(text) <= limit else text[: limit - 1].rsplit(" ", 1)[0] + "…"


def fit(rows: list[Row], budget: int, show: Callable[[Row], dict[str, Any]]) -> list[dict[str, Any]]:
    """As many rows as the token budget holds, the first of them always, if need be cut."""
    shown: list[dict[str, Any]] = []
    for row in rows:
        item = show(row)
        takes = ITEM_TOKENS + _written(item)
        if takes > budget and shown:
            break
        shown.append(_shortened(item, budget / takes))
        budget -= takes
    return shown


def _written(item: dict[str, Any]) -> int:
    """Tokens of what members wrote in an item, and in what it quotes."""
    own = sum(tokens(item[part]) for part in WRITTEN if part in item)
    return own + (ITEM_TOKENS // 2 + _written(item["quotes"]) if "quotes" in item else 0)


def _shortened(item: dict[str, Any], share: float) -> dict[str, Any]:
    """An item with what members wrote cut to this share of its length."""
    if share >= 1:
        return item
    short = {part: cut(item[part], max(1, int(len(item[part]) * share))) for part in WRITTEN if part in item}
    quoted = {"quotes": _shortened(item["quotes"], share)} if "quotes" in item else {}
    return item | short | quoted


def post(row: Row, now: datetime) -> dict[str, Any]:
    """A post, or the post that another one shared."""
    item = {"id": row["root_id"], "by": "@" + row["author_username"], "by_id": row["author_id"]}
    if row["repost_of"] is not None:
        item |= {"repost_of": row["root_id"], "written_by": f"@{row['repost_of_username']}"}
    if row["title"]:
        item["title"] = cut(row["title"], 80)
    counts = {"likes": row["likes_count"], "comments": row["comments_count"]}
    item |= {"ago": ago(row["created_at"], now), **counts, "text": cut(row["body"], 280)}
    if row["quote_of"] is not None and row["quote_body"] is not None:
        quoted = {"id": row["quote_of"], "by": f"@{row['quote_username']}", "text": cut(row["quote_body"], QUOTED_MAX)}
        item["quotes"] = quoted
    return item


def comment(row: Row, now: datetime) -> dict[str, Any]:
    """A comment, which may answer another one."""
    item = {"id": row["id"], "by": "@" + row["author_username"], "by_id": row["author_id"]}
    if row["parent_id"] is not None:
        item["reply_to"] = row["parent_id"]
    if row["likes_count"]:
        item["likes"] = row["likes_count"]
    return {**item, "ago": ago(row["created_at"], now), "text": cut(row["body"], 280)}
