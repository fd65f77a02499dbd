"""What can be done with sessions: `/simulations/{session_id}` takes those of every kind, `/dialogues/…` dialogues."""

import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from annotated_types import Le
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from app.analysis import tables
from app.analysis.extracted import answer_table, extraction_table
from app.analysis.tables import Table
from app.auth.admins import acting, record
from app.db.engine import Database
from app.errors import AppError, Conflict, NotFound
from app.venues.session import results
from app.venues.session.design import Kind, Part
from app.venues.session.exactly import EXACTLY
from app.venues.session.opening import begin
from app.web.api.schemas import problems
from app.web.api.session_schemas import (
    CheckpointOut,
    CheckpointsOut,
    CheckpointWish,
    ExtractionWish,
    LineOut,
    LinesPage,
    RecoverWish,
    SessionOut,
)
from app.web.deps import House, SignedIn, TheAdmin, TheHouse
from app.web.events import encode
from app.web.inputs import Cursor, Limit, QueryId, Wait, read_cursor, sign_cursor
from app.web.server import LINE
from app.web.server import Line as Connection
from app.web.session_relay import News, SessionRelay, SessionStream, session_relay_of
from app.world import sessions
from app.world.feed import INT32_MAX
from app.world.sessions import SESSIONS

Key = Annotated[str, Path(pattern=r"^[a-hjkmnp-z2-9]{12}$", description="The `session_id` of the answer.")]
Form = Annotated[Literal["csv", "json", "parquet"], Path()]
Prefer = Annotated[
    str | None, Header(description="`wait=10`: answer 200 if it is done within 10 s, at most 60 (RFC 7240).")
]
WAIT_MOST, PREFER_MOST = 60, 200
_WAIT = re.compile(r"""(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?\s*(?=$|[,;])""", re.IGNORECASE)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
PARQUET = "application/vnd.apache.parquet"
MEDIA = {"csv": "text/csv", "json": "application/json", "parquet": PARQUET}
ROWS = {"type": "array", "items": {"type": "object"}}
TABLE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The table.",
        "content": {
            "application/json": {"schema": ROWS},
            "text/csv": {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Lines, as they come.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    204: {"description": "It is at its end, and you have all of it: don't come back."},
}


def _event_number(value: object) -> object:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise PydanticCustomError("number", "must be the `id` of a line: a whole number in plain digits")
    return value


LastLine = Annotated[
    str | None, BeforeValidator(_event_number), Header(alias="Last-Event-ID", description="The last line you have.")
]
Steps = Annotated[QueryId, Le(10_000), Query(description="After how many lines it pauses again.")]


async def _row(request: Request, house: TheHouse, _: TheAdmin, session_id: Key) -> asyncpg.Record:
    row = await sessions.found(house.database, session_id)
    if request.scope["route"].path.startswith("/dialogues/") and row["kind"] != "dialogue":
        raise NotFound(f"the session {session_id} is no dialogue: ask for /simulations/{session_id}")
    return row


TheSession = Annotated[asyncpg.Record, Depends(_row)]


@dataclass(frozen=True)
class Patience:
    """How long a request waits for a session's end, in seconds; 0: not at all."""

    seconds: int
    relay: SessionRelay
    connection: Connection

    @property
    def applied(self) -> dict[str, str]:
        return {"Preference-Applied": f"wait={self.seconds}"} if self.seconds else {}

    async def settled(self, database: Database, session_id: int) -> bool:
        """Wait for a session's end as long as asked, or until the server ends; whether it is at its end.

        Raises:
            Unavailable: as many wait already as may.
        """
        if not self.seconds:
            return False
        closed = asyncio.Event()
        self.connection.on_shutdown.add(closed.set)
        coming = self.relay.follow(session_id, INT32_MAX, closed)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds), aclosing(coming):
                    async for _ in coming:
                        pass
        finally:
            self.connection.on_shutdown.discard(closed.set)
        return (await sessions.by_id(database, session_id))["ended_at"] is not None


async def _patience(request: Request, prefer: Prefer = None, wait: Wait | None = None) -> Patience:
    asked = _WAIT.search((prefer or "")[:PREFER_MOST])
    seconds = wait or (min(int(asked[1]), WAIT_MOST) if asked else 0)
    connection: Connection = request.scope.get("extensions", {}).get(LINE) or Connection()
    return Patience(seconds, session_relay_of(request), connection)


ThePatience = Annotated[Patience, Depends(_patience)]


async def begun(
    house: House, admin: SignedIn, kind: Kind, design: Part, patience: Patience, *, name: str, of: int | None = None
) -> Response:
    """Begin a session and answer its block: 200 if it is at its end as soon as asked for, else 202."""
    key = await begin(house.database, house.settings, kind, design, name=name, by=admin.admin.id, of=of)
    return await opened(house, admin, key, "session.begun", patience, kind=kind)


async def opened(house: House, admin: SignedIn, key: str, deed: str, patience: Patience, **detail: Any) -> Response:
    """The answer about a session that somebody has just opened; the deed is put into the audit log."""
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, deed, key, **detail)
    row = await sessions.found(house.database, key)
    done = await patience.settled(house.database, row["id"])
    at = "dialogues" if row["kind"] == "dialogue" else "simulations"
    return await block_of(house, key, 200 if done else 202, {"Location": f"/{at}/{key}", **patience.applied})


async def block_of(house: House, key: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A session's block, as it stands now."""
    found = await results.block(house.database, await sessions.found(house.database, key))
    content = await asyncio.to_thread(msgspec.json.encode, found)
    return Response(content, status, headers, "application/json")


async def _deed(house: House, admin: SignedIn, row: asyncpg.Record, deed: str, **detail: Any) -> Response:
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, f"session.{deed}", row["key"], **detail)
    return await block_of(house, row["key"])


async def read(house: TheHouse, row: TheSession, patience: ThePatience) -> Response:
    """How a session stands and what has come of it so far; with `wait`, as soon as it is at its end."""
    await patience.settled(house.database, row["id"])
    return await block_of(house, row["key"], 200, patience.applied)


async def cancel(house: TheHouse, admin: TheAdmin, row: TheSession) -> Response:
    """End a session for good; what was said stays."""
    await sessions.cancel(house.database, row["id"])
    return await _deed(house, admin, row, "cancelled")


async def pause(house: TheHouse, admin: TheAdmin, row: TheSession) -> Response:
    """Ask nobody anything further, until it is resumed; answers under way are taken."""
    await sessions.pause(house.database, row["id"])
    return await _deed(house, admin, row, "paused")


async def resume(house: TheHouse, admin: TheAdmin, row: TheSession) -> Response:
    """Go on with a session that stands still, where it stood."""
    await sessions.go_on(house.database, row["id"])
    return await _deed(house, admin, row, "resumed")


async def step(house: TheHouse, admin: TheAdmin, row: TheSession, lines: Steps = 1) -> Response:
    """Go on with a session that stands still, for a line, or so many; then it pauses again."""
    await sessions.go_on(house.database, row["id"], steps=lines)
    return await _deed(house, admin, row, "stepped", lines=lines)


async def transcript(
    request: Request, house: TheHouse, row: TheSession, limit: Limit = 100, cursor: Cursor | None = None
) -> Response:
    """What was said, in order, with who said it; the `Link` header leads on."""
    scope = ("transcript", row["key"])
    after = int(read_cursor(house.secret, scope, cursor)[0]) if cursor is not None else 0
    found = await sessions.lines(house.database, row["id"], after=after, most=limit + 1)
    members = await sessions.members(house.database, row["id"])
    following = sign_cursor(house.secret, scope, (found[limit - 1].number,)) if len(found) > limit else None
    page = LinesPage(
        data=[LineOut.model_validate(results.told(line, members)) for line in found[:limit]],
        next_cursor=following,
        has_more=following is not None,
    )
    link = {"Link": f'<{request.url.include_query_params(cursor=following)}>; rel="next"'} if following else {}
    return JSONResponse(page.model_dump(mode="json"), headers=link)


async def watch(
    request: Request,
    house: TheHouse,
    admin: TheAdmin,
    row: TheSession,
    after: QueryId | None = None,
    resume: LastLine = None,
) -> Response:
    """Server-sent events: a session's lines from the first, or behind `after`, as they come.

    `line` carries what the transcript has of one, its number as `id`; `state` {status, reason} how the session stands;
    `end` is the last. A comment line every 15 seconds keeps the connection open.
    """
    last = int(resume) if resume is not None else after or 0
    if last and row["ended_at"] is not None and last >= row["lines_count"]:
        return Response(status_code=204)
    relay = session_relay_of(request)
    relay.check_room()
    members = await sessions.members(house.database, row["id"])
    status = ""

    async def encoded(news: News) -> bytes:
        nonlocal last, status
        sent = [encode("line", line.number, results.told(line, members)) for line in news.lines]
        last = news.lines[-1].number if news.lines else last
        if status != (status := results.status_of(news.row)):
            sent.append(encode("state", last, {"status": status, "reason": news.row["reason"]}))
        return b"".join(sent)

    token = request.headers.get("authorization", "").partition(" ")[2]

    async def may() -> bool:
        try:
            return (await acting(house.database, house.secret, token))[0].id == admin.admin.id
        except AppError:
            return False

    return SessionStream(relay, row["id"], last, encoded, may)


async def answers(house: TheHouse, row: TheSession, form: Form) -> Response:
    """What was answered, a row a participant: each question's answer, or why there is none."""
    found = await results.answers(house.database, row)
    if not found.questions:
        raise NotFound(f"the session {row['key']} asks no questions")
    return await file_of(answer_table(found.questions, found.records), form, f"{row['key']}-answers")


async def extracted(house: TheHouse, row: TheSession, form: Form) -> Response:
    """What was extracted, a row a participant: each field's value, quote, line, confidence, or why it is missing."""
    found = await results.extracted(house.database, row)
    if not found.fields:
        raise NotFound(f"nothing is extracted in the session {row['key']}")
    return await file_of(extraction_table(found.fields, found.records), form, f"{row['key']}-extracted")


async def file_of(table: Table, form: Literal["csv", "json", "parquet"], name: str) -> Response:
    """A table as a file of that form."""
    write: Callable[[Table], bytes] = getattr(tables, f"to_{form}")
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return Response(await asyncio.to_thread(write, table), 200, headers, MEDIA[form])


async def list_checkpoints(house: TheHouse, row: TheSession) -> CheckpointsOut:
    """The points from which a session can go on anew."""
    points = await house.database.fetch(SESSIONS["checkpoints"], row["id"])
    return CheckpointsOut(
        checkpoints=[CheckpointOut(**{**dict(point), "sha256": point["sha256"].hex()}) for point in points]
    )


async def make_checkpoint(
    house: TheHouse, admin: TheAdmin, row: TheSession, given: Annotated[CheckpointWish, EXACTLY]
) -> CheckpointOut:
    """Mark where a session stands, to go on from there."""
    await results.mark(house.database, row, given.name)
    async with house.database.connection() as connection:
        await record(connection, admin.admin.id, "session.checkpoint", row["key"], name=given.name)
    made = (await list_checkpoints(house, row)).checkpoints
    return next(point for point in made if point.name == given.name)


async def recover(
    house: TheHouse,
    admin: TheAdmin,
    row: TheSession,
    given: Annotated[RecoverWish, EXACTLY],
    patience: ThePatience,
) -> Response:
    """A new session that goes on from a checkpoint of this one, with the same participants, design and seed."""
    key = await results.recover(house.database, house.settings, row, given.checkpoint, by=admin.admin.id)
    return await opened(house, admin, key, "session.recovered", patience, of=row["key"])


async def extract(
    house: TheHouse,
    patience: ThePatience,
    admin: TheAdmin,
    row: TheSession,
    given: Annotated[ExtractionWish, EXACTLY],
) -> Response:
    """Read a session's transcript again for fields: a session of its own, of the kind `extraction`."""
    if not given.extraction_config.extract_results:
        raise Conflict("extract_results is false: there is nothing to do")
    key = await results.extract(
        house.database, house.settings, row, given.extraction_config, terms=given.terms, by=admin.admin.id
    )
    return await opened(house, admin, key, "session.extracted", patience, of=row["key"])


BLOCK: dict[str, Any] = {"response_model": SessionOut}
DONE: dict[int | str, dict[str, Any]] = {200: {"model": SessionOut, "description": "It is at its end."}}
MADE: dict[str, Any] = {**BLOCK, "status_code": 202, "responses": {**problems(401, 404, 409, body=True), **DONE}}
CHANGED: dict[str, Any] = {**BLOCK, "responses": problems(401, 404, 409)}
FILE: dict[str, Any] = {"response_class": Response, "responses": {**problems(401, 404), **TABLE}}
VERBS: tuple[tuple[str, str, str, Callable[..., Any], dict[str, Any]], ...] = (
    ("read", "GET", "", read, {**BLOCK, "responses": problems(401, 404)}),
    ("cancel", "POST", "/cancel", cancel, CHANGED),
    ("pause", "POST", "/pause", pause, CHANGED),
    ("resume", "POST", "/resume", resume, CHANGED),
    ("step", "POST", "/step", step, CHANGED),
    ("watch", "GET", "/events", watch, {"response_class": Response, "responses": {**problems(401, 404), **STREAM}}),
    (
        "read_transcript",
        "GET",
        "/transcript",
        transcript,
        {"response_model": LinesPage, "responses": problems(401, 404)},
    ),
    ("list_checkpoints", "GET", "/checkpoints", list_checkpoints, {"responses": problems(401, 404)}),
    (
        "make_checkpoint",
        "POST",
        "/checkpoints",
        make_checkpoint,
        {"status_code": 201, "responses": problems(401, 404, 409, body=True)},
    ),
    ("recover", "POST", "/recover", recover, MADE),
    ("extract", "POST", "/extractions", extract, MADE),
)
FILES = (("answers", answers), ("extracted", extracted))


def add_verbs(router: APIRouter, noun: str) -> None:
    """Let a router have what can be done with any session; `noun` goes into the names of the operations."""
    for name, method, path, handler, more in VERBS:
        operation = f"{name}_{noun}" if "_" not in name else name.replace("_", f"_{noun}_", 1)
        router.add_api_route(f"/{{session_id}}{path}", handler, methods=[method], operation_id=operation, **more)


def add_files(router: APIRouter, noun: str) -> None:
    """Let a router have the tables of answers and of extracted values."""
    for name, handler in FILES:
        path, operation = f"/{{session_id}}/{name}.{{form}}", f"read_{noun}_{name}"
        router.add_api_route(path, handler, methods=["GET"], operation_id=operation, **FILE)
