"""What happens, as it happens: server-sent events."""

import re
from typing import Annotated

from annotated_types import Ge, Le
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from app.web.api.schemas import problems
from app.web.events import EventStream, TheRelay
from app.world.events import KINDS, Kind
from app.world.text import INT64_MAX

router = APIRouter(tags=["feed"])
_KINDS = re.compile(r"(?:post|comment|like|follow|run|news)(?:,(?:post|comment|like|follow|run|news)){0,5}")
NAMES = ("post", "comment", "like", "follow", "run", "news")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
STREAM = {
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
    "description": "Events, for as long as asked.",
}


def _known_kinds(value: object) -> object:
    if isinstance(value, str) and not _KINDS.fullmatch(value):
        sentence = "must name some of {kinds}, separated by commas"
        raise PydanticCustomError("types", sentence, {"kinds": ", ".join(NAMES)})
    return value


def _number(value: object) -> object:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise PydanticCustomError("int_parsing", "must be the `id` of an event: a whole number in plain digits")
    return value


Number = Annotated[int, Ge(0), Le(INT64_MAX), BeforeValidator(_number)]
LAST = "The `id` of the last event you have: all behind it is told first."


@router.get(
    "/events",
    operation_id="read_events",
    response_class=Response,
    responses={**problems(), 200: STREAM},
)
async def read_events(
    request: Request,
    relay: TheRelay,
    types: Annotated[
        str | None,
        BeforeValidator(_known_kinds),
        Query(max_length=40, description="Which events: some of post, comment, like, follow, run, news, by commas."),
    ] = None,
    last_event_id: Annotated[Number | None, Query(description=LAST)] = None,
    resume: Annotated[
        Number | None,
        Header(alias="Last-Event-ID", description=f"{LAST} Stronger than `last_event_id`."),
    ] = None,
) -> Response:
    """Server-sent events: what the personas do, and what becomes of runs, as it happens.

    `post` and `comment` carry what the feed shows (and the post's comments_count); `like` {post_id, persona_id,
    username, likes_count}; `follow` {follower, follower_username, followed, followed_username}; `run` {run_id, state,
    venue, slot, reason, turns_total, created_at}; `news` {id, title, text, source, url, published_at}. Ids grow, with
    gaps. `reset` {head} says that the events behind your last one are not kept any more, or are of another world: read
    the feed anew. A comment line every 15 seconds keeps the connection open.
    """
    kinds: frozenset[Kind] = KINDS if types is None else KINDS & frozenset(types.split(","))
    head_only = request.scope.get("head", False)
    if not head_only:
        relay.check_room()
    return EventStream(relay, kinds, resume if resume is not None else last_event_id, head_only=head_only)
