"""Public reads: posts, comments, personas."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from app.errors import FieldError, Invalid, NotFound
from app.web.api.personas import public_persona
from app.web.api.schemas import (
    CommentOut,
    FeedPage,
    FollowOut,
    PersonaPublic,
    PostDetail,
    PostOut,
    PostsFound,
    problems,
)
from app.web.cached import answer
from app.web.deps import House, TheHouse
from app.web.inputs import Cursor, Limit, PathId, QueryId, SearchWords, read_cursor, sign_cursor
from app.web.negotiate import wants_page
from app.web.pages.persona import persona_page
from app.web.pages.thread import thread_page
from app.world import feed, personas, search
from app.world.text import INT64_MAX

router = APIRouter(tags=["feed"])
SortBy = Annotated[feed.Sort, Query(description="Newest; liked, discussed and young; most liked; most discussed.")]
COLUMNS = {name: "author_id" if name == "author" else name for name in PostOut.model_fields if name != "quote"}
QUOTED = {
    "id": "quote_of",
    "title": "quote_title",
    "body": "quote_body",
    "author_id": "quote_author_id",
    "author_username": "quote_username",
}
COMMENT_COLUMNS = tuple(CommentOut.model_fields)


def post_out(row: feed.Row) -> dict[str, Any]:
    quote = {name: row[column] for name, column in QUOTED.items()} if row["quote_of"] is not None else None
    return {**{name: row[column] for name, column in COLUMNS.items()}, "quote": quote}


def comment_out(row: feed.Row) -> dict[str, Any]:
    return {column: row[column] for column in COMMENT_COLUMNS}


async def _page(
    house: House, scope: tuple[Any, ...], sort: feed.Sort, limit: int, cursor: str | None, source: Any
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a list, and the cursor of the next."""
    after = feed.Position(*read_cursor(house.secret, scope, cursor)) if cursor is not None else feed.Position()
    rows = await source(limit + 1, after)
    more = len(rows) > limit
    last = feed.position(sort, rows[limit - 1]) if more else None
    following = sign_cursor(house.secret, scope, (last.id, last.rank)) if last is not None else None
    return [post_out(row) for row in rows[:limit]], following


async def found_posts(
    house: House, scope: tuple[Any, ...], words: str, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the posts with some words, and the cursor of the next, before which it may be short."""
    after = feed.Position(*read_cursor(house.secret, scope, cursor)) if cursor is not None else feed.Position()
    found = await search.page(house.database, words, limit=limit, after=after)
    following = sign_cursor(house.secret, scope, (found.further.id, None)) if found.further is not None else None
    return [post_out(row) for row in found.rows], following


def links(request: Request, cursor: str | None) -> dict[str, str]:
    return {"Link": f'<{request.url.include_query_params(cursor=cursor)}>; rel="next"'} if cursor else {}


@router.get("/posts", operation_id="list_posts", response_model=PostsFound, responses=problems(304))
async def list_posts(
    request: Request,
    house: TheHouse,
    cursor: Cursor | None = None,
    limit: Limit = feed.PAGE_SIZE,
    sort: SortBy = "latest",
    author: QueryId | None = None,
) -> Response:
    """The most recent posts, or those most liked or hottest; `author` is a persona's id."""

    async def source(count: int, after: feed.Position) -> list[feed.Row]:
        return await feed.posts(house.database, sort=sort, limit=count, after=after, author=author)

    posts, following = await _page(house, ("posts", sort, author), sort, limit, cursor, source)
    found = {"status": "OK", "posts_found": posts, "next_cursor": following}
    return answer(request, found, headers=links(request, following))


@router.get("/feed", operation_id="read_feed", response_model=FeedPage, responses=problems(304, 404))
async def read_feed(
    request: Request,
    house: TheHouse,
    cursor: Cursor | None = None,
    limit: Limit = feed.PAGE_SIZE,
    sort: SortBy = "latest",
    author: QueryId | None = None,
    following: Annotated[QueryId | None, Query(description="Posts of those whom this persona follows.")] = None,
    q: SearchWords | None = None,
) -> Response:
    """A feed: of everybody, of one author, of those a persona follows, or of posts that hold some words."""
    if sum(given is not None for given in (author, following, q)) > 1 or (sort != "latest" and (following or q)):
        raise Invalid(
            "author, following and q exclude each other; following and q are sorted by latest only",
            errors=[FieldError("following" if following else "q", "exclusive", "can't be combined with the others")],
        )
    if following is not None:
        await personas.get(house.database, following)

    async def source(count: int, after: feed.Position) -> list[feed.Row]:
        if following is not None:
            return await feed.following(house.database, following, limit=count, after=after)
        return await feed.posts(house.database, sort=sort, limit=count, after=after, author=author)

    scope = ("feed", sort, author, following, q)
    if q is not None:
        posts, following_cursor = await found_posts(house, scope, q, limit, cursor)
    else:
        posts, following_cursor = await _page(house, scope, sort, limit, cursor, source)
    page = {"data": posts, "next_cursor": following_cursor, "has_more": following_cursor is not None}
    return answer(request, page, headers=links(request, following_cursor))


@router.get("/posts/{page}", operation_id="list_posts_page", response_model=list[PostOut], responses=problems(304))
async def list_posts_page(request: Request, house: TheHouse, page: PathId) -> Response:
    """Page `page`, from 1, of 20 posts, newest first. Deeper than page 100 only `GET /posts` with a cursor goes."""
    if page > feed.PAGES_MAX:
        sentence = f"must be from 1 to {feed.PAGES_MAX}; to go deeper follow `next_cursor` of GET /posts"
        raise Invalid(f"page: {sentence}", errors=[FieldError("page", "less_than_equal", sentence)])
    rows = await feed.page(house.database, page)
    return answer(request, [post_out(row) for row in rows])


@router.get("/post/{post_id}", operation_id="read_post", response_model=PostDetail, responses=problems(304, 404))
async def read_post(request: Request, house: TheHouse, post_id: PathId) -> Response:
    """One post with its 100 newest comments."""
    if wants_page(request):
        return await thread_page(request, house, post_id)
    row = await feed.post(house.database, post_id)
    if row is None:
        raise NotFound(f"no post has the id {post_id}")
    comments = await feed.comments(house.database, post_id, limit=100) or []
    return answer(request, {**post_out(row), "comments": [comment_out(comment) for comment in comments]})


@router.get(
    "/posts/{post_id}/comments",
    operation_id="list_comments",
    response_model=list[CommentOut],
    responses=problems(304, 404),
)
async def list_comments(
    request: Request, house: TheHouse, post_id: PathId, limit: Limit = 100, cursor: Cursor | None = None
) -> Response:
    """A post's comments, newest first; the `Link` header leads to older ones."""
    scope = ("comments", post_id)
    before = read_cursor(house.secret, scope, cursor)[0] if cursor is not None else INT64_MAX
    rows = await feed.comments(house.database, post_id, limit=limit + 1, before=before)
    if rows is None:
        raise NotFound(f"no post has the id {post_id}")
    older = sign_cursor(house.secret, scope, (rows[limit - 1]["id"],)) if len(rows) > limit else None
    return answer(request, [comment_out(row) for row in rows[:limit]], headers=links(request, older))


@router.get(
    "/persona/{persona_id}", operation_id="read_persona", response_model=PersonaPublic, responses=problems(304, 404)
)
async def read_persona(request: Request, house: TheHouse, persona_id: PathId) -> Response:
    """One persona, as everybody sees it."""
    if wants_page(request):
        return await persona_page(request, house, await personas.get(house.database, persona_id))
    return answer(request, public_persona(await personas.get(house.database, persona_id)))


@router.get(
    "/persona/{persona_id}/relations",
    operation_id="list_relations",
    response_model=list[FollowOut],
    responses=problems(304, 404),
)
async def list_relations(
    request: Request,
    house: TheHouse,
    persona_id: PathId,
    relation: Annotated[
        Literal["follower", "followed"],
        Query(description="`follower`: whom it follows; `followed`: who follows it."),
    ],
    limit: Limit = 100,
    cursor: Cursor | None = None,
) -> Response:
    """The follow rows in which this persona has that part, newest first."""
    await personas.get(house.database, persona_id)
    scope = ("relations", persona_id, relation)
    before = read_cursor(house.secret, scope, cursor)[0] if cursor is not None else INT64_MAX
    rows = await personas.follows(house.database, persona_id, relation, limit=limit + 1, before=before)
    older = sign_cursor(house.secret, scope, (rows[limit - 1]["id"],)) if len(rows) > limit else None
    return answer(request, [dict(row) for row in rows[:limit]], headers=links(request, older))
