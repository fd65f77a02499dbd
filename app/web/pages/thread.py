"""One post with all around it: who likes it, what was said to it, what came of it, and why it is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.ledger import origins
from app.web.deps import House
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import render
from app.web.pages.query import checked
from app.web.pages.session import viewer_of
from app.world import feed, glance, profiles
from app.world.effects import Kind
from app.world.interventions import behind_post

FACES_MAX = 30
COMMENTS_MAX = 100
READ_SHOWN = 3
"""Things last read that everybody is shown; admins are shown up to `READ_MAX`."""

READ_MAX = 60


QUOTES_MAX = 10


class ThreadQuery(BaseModel):
    """What the address of a post's page may say."""

    model_config = ConfigDict(extra="ignore")

    cursor: Annotated[str, Field(max_length=400)] | None = None


@dataclass(frozen=True)
class Why:
    """The step behind a post, and what had been read before it: all of it for admins, the last of it for others."""

    origin: origins.Origin
    counts: dict[str, int]
    read: list[feed.Row]
    more: int


def nested(comments: Sequence[feed.Row]) -> list[tuple[feed.Row, list[feed.Row]]]:
    """Comments with what answers them, one level deep: an answer to an answer stands beside it, below the first.

    One whose first comment is on another page stands alone.
    """
    first: dict[int, int] = {}
    found: dict[int, tuple[feed.Row, list[feed.Row]]] = {}
    for comment in comments:
        above = first.get(comment["parent_id"])
        if above is None:
            found[comment["id"]] = (comment, [])
        else:
            found[above][1].append(comment)
        first[comment["id"]] = above or comment["id"]
    return list(found.values())


async def why(house: House, post: feed.Row, *, whole: bool) -> Why | None:
    """What is known of a post's making; None where no turn made it."""
    database = house.database
    effect: Kind = "repost" if post["repost_of"] else "quote" if post["quote_of"] else "post"
    made_by = await origins.origin(database, effect, post["id"])
    if made_by is None:
        return None
    counts = await origins.read_counts(database, made_by.turn_id, made_by.step)
    limit = READ_MAX if whole else READ_SHOWN
    read = await origins.readings(database, made_by.turn_id, made_by.step, limit) if counts else []
    return Why(made_by, counts, read, max(0, sum(counts.values()) - len(read)))


async def thread_page(request: Request, house: House, post_id: int) -> Response:
    """The page of a post.

    Raises:
        NotFound: there is none, or it is in quarantine.
    """
    query = checked(ThreadQuery, request)
    viewer = await viewer_of(request, house)
    database = house.database
    scope = ("thread", post_id)
    after = read_cursor(house.secret, scope, query.cursor)[0] if query.cursor else 0
    post = await feed.post(database, post_id)
    if post is None:
        raise NotFound(f"no post has the id {post_id}")
    rows = await profiles.thread(database, post_id, after=after, limit=COMMENTS_MAX + 1)
    comments = rows[:COMMENTS_MAX]
    newer = ""
    if len(rows) > len(comments):
        following = sign_cursor(house.secret, scope, (comments[-1]["id"],))
        newer = f"/post/{post_id}?{urlencode({'cursor': following})}#comments"
    leanings = await glance.leanings(database, list({post["author_id"], *(c["author_id"] for c in comments)}))
    behind = await why(house, post, whole=viewer is not None)
    context: dict[str, Any] = {
        "post": post,
        "leanings": leanings,
        "comments": nested(comments),
        "quotes": await profiles.quotes(database, post_id, QUOTES_MAX) if post["quotes_count"] else [],
        "felt": await profiles.felt(database, post_id),
        "newer": newer,
        "first": not query.cursor,
        "likers": await profiles.likers(database, post_id, FACES_MAX),
        "cascade": await origins.cascade(database, post_id),
        "behind": behind,
        "injected": await behind_post(database, post_id) if behind is None else None,
    }
    return render(request, "thread.html", viewer=viewer, **context)
