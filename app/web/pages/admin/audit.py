"""The audit log: what admins did, whether its chain holds, and the whole of it to check elsewhere."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlencode

import asyncpg
import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.auth import admins, audit
from app.db.engine import Database
from app.web.deps import House, TheHouse
from app.web.inputs import read_cursor, sign_cursor
from app.web.pages.frame import PRIVATE, render
from app.web.pages.query import checked
from app.web.pages.session import TheViewer
from app.web.pages.sheet import cell, sheet
from app.world.text import INT64_MAX, Line, Query

router = APIRouter(prefix="/admin", include_in_schema=False)
PAGE = 50
COLUMNS = ("id", "at", "admin_id", "admin", "action", "subject", "detail", "previous", "hash", "hashed")


def _whole(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 else value


class AuditQuery(BaseModel):
    """What the address of the log may say; `admin=0` is nobody: the command line."""

    model_config = ConfigDict(extra="ignore")

    admin: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=INT64_MAX)] | None = None
    action: Line | None = None
    q: Query | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None
    check: Literal["all"] | None = None


async def _found(request: Request, house: House, query: AuditQuery) -> tuple[audit.Found, dict[str, str], str]:
    """The entries asked for, the filters as an address says them, and the cursor of what is older."""
    scope = ("audit", query.admin, query.action, query.q)
    before = read_cursor(house.secret, scope, query.cursor)[0] if query.cursor else INT64_MAX
    found = await audit.page(
        house.database, before=before, admin=query.admin, action=query.action, words=query.q, limit=PAGE
    )
    given = (("admin", query.admin), ("action", query.action), ("q", query.q))
    older = sign_cursor(house.secret, scope, (found.older,)) if found.older is not None else ""
    return found, {name: str(value) for name, value in given if value is not None}, older


@router.get("/audit")
async def audit_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """A page of the log, and how its chain holds: the first ten thousand entries, or with `check=all` all of them."""
    query, database = checked(AuditQuery, request), house.database
    found, filters, cursor = await _found(request, house, query)
    here = {**filters, "cursor": query.cursor} if query.cursor else filters
    kinds = await audit.actions(database)
    return render(
        request,
        "admin/audit.html",
        viewer=viewer,
        entries=found.entries,
        older="/admin/audit?" + urlencode({**filters, "cursor": cursor}) if cursor else "",
        shown="/admin/audit/shown.csv" + ("?" + urlencode(here) if here else ""),
        first=not query.cursor,
        filtered=bool(filters),
        looked=audit.LOOKED,
        chain=await audit.check(database, most=None if query.check else audit.STRETCH),
        asked=query,
        admins=await admins.roll(database),
        actions=[*kinds, *([query.action] if query.action and query.action not in kinds else [])],
    )


def _plain(row: asyncpg.Record) -> dict[str, object]:
    at: datetime = row["at"]
    return {**dict(row), "at": at.astimezone(UTC).isoformat(), "detail": msgspec.Raw(row["detail"].encode())}


def _cell(value: object) -> object:
    return cell(bytes(value).decode() if isinstance(value, msgspec.Raw) else value)


async def _jsonl(database: Database) -> AsyncIterator[bytes]:
    async for rows in audit.lines(database):
        yield b"".join(msgspec.json.encode(_plain(row)) + b"\n" for row in rows)


async def _csv(database: Database) -> AsyncIterator[bytes]:
    head: list[tuple[object, ...]] = [COLUMNS]
    async for rows in audit.lines(database):
        text = io.StringIO()
        plain = (_plain(row) for row in rows)
        csv.writer(text).writerows([*head, *(tuple(_cell(row[name]) for name in COLUMNS) for row in plain)])
        head = []
        yield text.getvalue().encode()
    if head:
        yield ",".join(COLUMNS).encode() + b"\r\n"


def _download(body: AsyncIterator[bytes], kind: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": PRIVATE}
    return StreamingResponse(body, 200, headers, kind)


@router.get("/audit.jsonl")
async def audit_jsonl(house: TheHouse, viewer: TheViewer) -> Response:
    """The whole log, oldest first, a JSON object a line."""
    return _download(_jsonl(house.database), "application/jsonl", "audit.jsonl")


@router.get("/audit.csv")
async def audit_csv(house: TheHouse, viewer: TheViewer) -> Response:
    """The whole log, oldest first, as a table."""
    return _download(_csv(house.database), "text/csv; charset=utf-8", "audit.csv")


@router.get("/audit/shown.csv")
async def audit_shown(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The entries that the page of the same query shows."""
    found, _, _ = await _found(request, house, checked(AuditQuery, request))
    columns = ("id", "at", "admin_id", "username", "action", "subject", "detail")
    rows = [(*(row[name] for name in columns), row["hash"].hex()) for row in found.entries]
    return sheet("audit-shown", (*columns, "hash"), rows)
