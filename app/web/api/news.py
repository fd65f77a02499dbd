"""News and trends: what the world is told from outside it, and what its members begin to talk about."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.auth.admins import record
from app.web.api.schemas import problems
from app.web.cached import answer
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, Cursor, Limit, PathId
from app.web.negotiate import wants_page
from app.web.pages.news import further, news_page, position, trends_of
from app.world import news
from app.world.clock import world_now
from app.world.news import NewsItem

router = APIRouter(tags=["news"])
AT_ONCE = 100


class NewsOut(BaseModel):
    """An item, shown from `published_at` in the world's time on."""

    id: int
    title: str
    text: str
    source: str
    url: str | None
    published_at: datetime


class NewsPage(BaseModel):
    """A page of news; `next_cursor` leads to older ones."""

    data: list[NewsOut]
    next_cursor: str | None
    has_more: bool


class NewsGiven(Body):
    """One item or many, all of which are brought into the world, or none."""

    items: Annotated[list[NewsItem], Field(min_length=1, max_length=AT_ONCE)]


class NewsMade(BaseModel):
    """The id of each item, in order; null for one whose address or guid the world has already."""

    ids: list[int | None]
    published: int
    known: int


class NewsWithdrawn(BaseModel):
    id: int
    withdrawn: bool


class TrendOut(BaseModel):
    """A word or hashtag that rises: how many posts and writers of late, how many posts before, and by how much it rose.

    `score` is the log-likelihood ratio of Dunning (1993), `times` how many times as frequent it has become.
    """

    term: str
    posts: int
    authors: int
    posts_before: int
    score: float
    times: float | None


class TrendsOut(BaseModel):
    """What rises: the posts looked at of late (`posts`, since `since`) and of the time before (`posts_before`)."""

    data: list[TrendOut]
    since: datetime
    until: datetime
    posts: int
    posts_before: int


def news_out(row: news.Row) -> dict[str, Any]:
    return {column: row[column] for column in NewsOut.model_fields}


@router.get("/news", operation_id="list_news", response_model=NewsPage, responses=problems(304))
async def list_news(request: Request, house: TheHouse, limit: Limit = 20, cursor: Cursor | None = None) -> Response:
    """What the world has been told, newest first; what is of the world's future is not shown before its time."""
    if wants_page(request):
        return await news_page(request, house, cursor)
    after = position(house.secret, cursor)
    rows = await news.latest(house.database, now=await world_now(house.database), limit=limit + 1, after=after)
    following = further(house.secret, rows, limit)
    page = {
        "data": [news_out(row) for row in rows[:limit]],
        "next_cursor": following,
        "has_more": following is not None,
    }
    links = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return answer(request, page, headers=links)


@router.post("/news", operation_id="publish_news", status_code=201, responses=problems(401, body=True))
async def publish_news(house: TheHouse, admin: TheAdmin, given: NewsGiven) -> NewsMade:
    """Tell the world something; personas are offered to read it for seven days of the world's time."""
    now = await world_now(house.database)
    async with house.database.connection() as connection, connection.transaction():
        ids = await news.publish(connection, given.items, now=now, admin_id=admin.admin.id)
        for number, item in zip(ids, given.items, strict=True):
            if number is not None:
                await record(connection, admin.admin.id, "news.published", str(number), title=item.title)
    made = sum(number is not None for number in ids)
    return NewsMade(ids=ids, published=made, known=len(ids) - made)


@router.delete("/news/{news_id}", operation_id="withdraw_news", responses=problems(401, 404))
async def withdraw_news(house: TheHouse, admin: TheAdmin, news_id: PathId) -> NewsWithdrawn:
    """Take an item back: nobody is shown it any more; personas from the next cycle on."""
    async with house.database.connection() as connection, connection.transaction():
        if await news.withdraw(connection, news_id):
            await record(connection, admin.admin.id, "news.withdrawn", str(news_id))
    return NewsWithdrawn(id=news_id, withdrawn=True)


@router.get("/trends", operation_id="list_trends", response_model=TrendsOut, responses=problems(304))
async def list_trends(request: Request, house: TheHouse) -> Response:
    """Words and hashtags that rise: of the world's last 24 hours, beside the seven days before."""
    found = await trends_of(request, house)
    return answer(
        request,
        {
            "data": [
                {
                    "term": one.term,
                    "posts": one.posts,
                    "authors": one.authors,
                    "posts_before": one.before,
                    "score": round(one.score, 3),
                    "times": None if one.times is None else round(one.times, 2),
                }
                for one in found.rising
            ],
            "since": found.since,
            "until": found.until,
            "posts": found.posts,
            "posts_before": found.before,
        },
    )
