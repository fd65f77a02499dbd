"""What answers look like, for the OpenAPI document and its clients."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NOW = "2026-11-21T04:12:00Z"


class QuotedOut(BaseModel):
    """The post that another one quotes."""

    id: int
    title: str | None
    body: str
    author_id: int
    author_username: str


class PostOut(BaseModel):
    """A post. `repost_of` names the post that this one shares; `body` is then the shared text.

    `quote` is the post that this one quotes; null, too, while that is in quarantine.
    `author` and `author_id` are the same.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 7,
                "title": None,
                "body": "I have formed a working group on working groups.",
                "author": 3,
                "author_id": 3,
                "author_username": "max_vantage",
                "author_display_name": "Max Vantage",
                "author_departed": False,
                "likes_count": 2,
                "comments_count": 1,
                "reposts_count": 0,
                "created_at": NOW,
                "repost_of": None,
                "repost_of_username": None,
                "quotes_count": 0,
                "dislikes_count": 0,
                "quote": None,
            }
        }
    )

    id: int
    title: str | None
    body: str
    author: int
    author_id: int
    author_username: str
    author_display_name: str | None
    author_departed: bool
    likes_count: int
    comments_count: int
    reposts_count: int
    created_at: datetime
    repost_of: int | None
    repost_of_username: str | None
    quotes_count: int
    dislikes_count: int
    quote: QuotedOut | None


class PostsFound(BaseModel):
    """A page of posts; `next_cursor` leads to the next one, and is null on the last."""

    status: Literal["OK"]
    posts_found: list[PostOut]
    next_cursor: str | None


class FeedPage(BaseModel):
    """A page of a feed."""

    data: list[PostOut]
    next_cursor: str | None
    has_more: bool


class CommentOut(BaseModel):
    """A comment; `parent_id` is the comment that it answers."""

    id: int
    post_id: int
    body: str
    author_id: int
    author_username: str
    created_at: datetime
    parent_id: int | None
    likes_count: int


class PostDetail(PostOut):
    """A post with its newest comments."""

    comments: list[CommentOut]


class PersonaPublic(BaseModel):
    """A persona as everybody sees it. A departed one keeps its history."""

    persona_id: int
    username: str
    display_name: str | None
    bio: str
    role: str | None
    leaning: str | None
    status: Literal["active", "paused", "departed"]
    posts_count: int
    comments_count: int
    followers_count: int
    following_count: int
    created_at: datetime


class PersonaAdmin(PersonaPublic):
    """A persona with all that its admins may know."""

    description: str
    traits: list[str]
    goals: list[str]
    style: str | None
    interests: list[str]
    demographics: dict[str, Any]
    fragments: list[str]
    model: str | None
    temperature: float | None
    activity: float
    ranker: str | None
    hours: list[float]


class PersonaCreated(BaseModel):
    message: str
    persona_id: int
    username: str
    persona: PersonaAdmin


class FollowOut(BaseModel):
    """`follower` follows `followed`."""

    id: int
    follower: int
    followed: int
    created_at: datetime


class AdminInfoOut(BaseModel):
    id: int
    username: str
    email: str
    role: Literal["admin", "observer"]
    created_at: datetime


class AdminOut(AdminInfoOut):
    """An admin or observer; `disabled_at` is set while they are shut out."""

    disabled_at: datetime | None


class KeyMade(BaseModel):
    """The key is shown here, once."""

    id: int
    name: str
    key: str
    expires_at: datetime


class KeyOut(BaseModel):
    """An API key; `last_used_at` is right to the minute."""

    id: int
    owner: str
    name: str
    state: Literal["live", "revoked", "expired"]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


class Registered(BaseModel):
    message: str
    admin_info: AdminInfoOut


class AccessToken(BaseModel):
    access_token: str
    token_type: Literal["bearer"]
    expires_at: datetime


class InvitationMade(BaseModel):
    """The token is shown here, once."""

    id: int
    email: str
    role: Literal["admin", "observer"]
    invite_token: str
    expires_at: datetime


class InvitationOut(BaseModel):
    id: int
    email: str
    role: Literal["admin", "observer"]
    invited_by: str | None
    state: Literal["open", "accepted", "revoked", "expired"]
    created_at: datetime
    expires_at: datetime


class IntervalOut(BaseModel):
    """Minutes between cycles, and when the next begins."""

    interval: float
    next_tick: datetime | None
    skipped: int


class RefusedOut(BaseModel):
    """A provider that is not asked any more: `status` is `auth`, `quota` or `config`."""

    provider: str
    status: str
    detail: str


class HaltOut(BaseModel):
    """The kill switch, and the providers that refuse us."""

    halted: bool
    refused_by: list[RefusedOut]


Kind = Literal["post", "comment", "bio"]


class FlagOut(BaseModel):
    """A text that was marked: a near copy (of `source`, at the end of a chain from `origin`), or own instructions.

    `source` is null for a canary, until the end of the cycle, and where it was not found; a bio's id is its persona's.
    """

    mark: Literal["copy", "canary"]
    kind: Kind
    object_id: int
    persona_id: int
    username: str
    run_id: int
    turn_id: int
    text: str | None
    source_kind: Kind | None
    source_id: int | None
    similarity: float | None = Field(description="Which share of the copy's eighths stands in the source: 0.75 to 1.")
    origin_kind: Kind | None
    origin_id: int | None
    generation: int | None
    quarantined: bool
    created_at: datetime


class GenerationOut(BaseModel):
    """What carries a text after so many copies; `r` is copies for each carrier that anybody was shown."""

    generation: int
    carriers: int
    shown: int
    readers: int
    copies: int
    r: float


class InfectionOut(BaseModel):
    """How a text spreads: `r0` is the mean number of copies that each carrier's exposure caused."""

    kind: Kind
    id: int
    username: str
    text: str
    quarantined: bool
    copies: int
    r0: float
    generations: list[GenerationOut]


class QuarantinedOut(BaseModel):
    """A post (with its reposts) or comment that nobody sees; `taken_along` counts what was taken because of it."""

    post_id: int | None
    comment_id: int | None
    author_id: int
    author_username: str
    text: str
    taken_by: Literal["admin", "operator", "guard"]
    admin: str | None
    reason: str
    created_at: datetime
    taken_along: int


class SafetyOut(BaseModel):
    """Texts that spread or leak, the newest of each."""

    copies: Literal["mark", "quarantine"]
    flagged: list[FlagOut]
    infections: list[InfectionOut]
    quarantined: list[QuarantinedOut]


class QuarantineSet(BaseModel):
    """How it stands now, and how many posts and comments that changed."""

    post_id: int
    quarantined: bool
    posts: int
    comments: int


class Root(BaseModel):
    message: str
    status: Literal["OK"]
    version: str
    endpoints: dict[str, str]


class Health(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    status: Literal["ready"]
    checks: dict[str, str]


class FieldProblem(BaseModel):
    pointer: str
    code: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str = Field(examples=["no persona has the id 99"])
    instance: str
    errors: list[FieldProblem] = []


_TITLES = {
    304: "It is what the `ETag` in `If-None-Match` names: nothing has changed.",
    400: "The body is not valid JSON.",
    401: "Not signed in.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "It exists already.",
    413: "The body is larger than 256 KB (or than 4 MB, where lists of personas are taken).",
    414: "The query string is too long.",
    415: "The body is not JSON.",
    408: "The body came too slowly.",
    422: "The input is wrong; `errors` says where.",
    429: "Too many requests; see `Retry-After`.",
    503: "The database is away; see `Retry-After`.",
}


def problems(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """What a route can answer with but success, for its OpenAPI entry; `body` adds the errors of a request body."""
    all_of = {*statuses, 414, 422, 429, 503, *((400, 408, 413, 415) if body else ())}
    content = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {status: {"description": _TITLES[status], **(content if status >= 400 else {})} for status in sorted(all_of)}
