"""What a persona can learn of the world around it: the news, and what others begin to talk about.

Each docstring is what the model reads.
"""

from datetime import datetime
from typing import Any

from app.actions.registry import ActionContext, Arguments, Reading, reads
from app.actions.showing import ago, cut, fit
from app.world import news, trends

ITEMS_MAX = 5
SHOWN_MAX = 280


class Nothing(Arguments):
    pass


def _moment(context: ActionContext) -> datetime:
    """When it is for who reads: under the real clock, when its cycle was opened, so that a replay finds the same."""
    return context.now if context.simulated else context.opened or context.now


@reads(Nothing)
async def view_news(context: ActionContext, _: Nothing) -> Reading:
    """Newest news"""
    now = _moment(context)

    def show(row: news.Row) -> dict[str, Any]:
        item = {"id": row["id"], "title": row["title"]}
        source = {"source": row["source"]} if row["source"] else {}
        text = {"text": cut(row["text"], SHOWN_MAX)} if row["text"] else {}
        return {**item, **source, "ago": ago(row["published_at"], now), **text}

    rows = await news.for_persona(context.database, now=now, known=context.opened, limit=ITEMS_MAX)
    shown = fit(rows, context.result_tokens, show)
    return Reading({"news": shown}, "news", "latest", tuple(row["id"] for row in rows[: len(shown)]))


@reads(Nothing)
async def view_trends(context: ActionContext, _: Nothing) -> Reading:
    """What others begin to talk about"""
    found = await trends.trends(context.database, now=_moment(context))
    rising = [{"word": one.term, "posts": one.posts, "by": one.authors} for one in found.rising]
    return Reading({"trends": rising})


EXTRAS = (view_news, view_trends)


def extras(*, fresh_news: bool, trending: bool) -> frozenset[str]:
    """What everybody in a world is offered besides: the news where there is any, trends where a run has them."""
    return frozenset((*((view_news.name,) if fresh_news else ()), *((view_trends.name,) if trending else ())))
