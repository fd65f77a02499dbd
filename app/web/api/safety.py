"""What spreads or leaks, and the kill switch of a post."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.auth.admins import record
from app.web.api.schemas import FlagOut, GenerationOut, InfectionOut, QuarantinedOut, QuarantineSet, SafetyOut, problems
from app.web.deps import House, SignedIn, TheAdmin, TheHouse
from app.web.inputs import Body, Cursor, Limit, PathId, read_cursor, sign_cursor
from app.world import moderation
from app.world.moderation import By, Verdict
from app.world.text import INT64_MAX, Note

router = APIRouter(tags=["safety"])


class Quarantine(Body):
    """Whether nobody is to see it, and why; with `cascade`, quotes of a post or answers to a comment go with it."""

    quarantined: Annotated[bool, Field(strict=True, examples=[True])]
    reason: Annotated[Note, Field(examples=["it asks to be repeated"])] = ""
    cascade: Annotated[bool, Field(strict=True)] = False


class CommentQuarantineSet(BaseModel):
    """How it stands now, and how many posts and comments that changed."""

    comment_id: int
    quarantined: bool
    posts: int
    comments: int


class ReportedOut(BaseModel):
    """A post with open reports: how many, and the newest five reasons."""

    post_id: int
    reports: int
    reasons: list[str]
    text: str
    author_id: int
    author_username: str
    quarantined: bool
    first_at: datetime
    last_at: datetime


class ReportsPage(BaseModel):
    data: list[ReportedOut]
    next_cursor: str | None


class ReportVerdict(Body):
    """`dismissed`: it stays. `hidden`: it goes into quarantine with its reposts, quotes and known copies."""

    verdict: Verdict
    reason: Annotated[Note, Field(examples=["insults a neighbour"])] = ""


class ReportsClosed(BaseModel):
    """How many reports that closed, and how many posts and comments it hid."""

    post_id: int
    verdict: Verdict
    closed: int
    posts: int
    comments: int


@router.get("/safety", operation_id="read_safety", responses=problems(401))
async def read_safety(house: TheHouse, _: TheAdmin, limit: Limit = 50) -> SafetyOut:
    """The newest marked texts and what they copy, how the texts copied last spread, and what is in quarantine."""
    found = await moderation.safety(house.database, limit)
    return SafetyOut(
        copies=house.settings.copies,
        flagged=[FlagOut(**{name: row[name] for name in FlagOut.model_fields}) for row in found.flagged],
        infections=[infection_out(one) for one in found.infections],
        quarantined=[
            QuarantinedOut(**{name: row[name] for name in QuarantinedOut.model_fields}) for row in found.quarantined
        ],
    )


def infection_out(one: moderation.Infection) -> InfectionOut:
    generations = [
        GenerationOut(
            generation=g.number, carriers=g.carriers, shown=g.shown, readers=g.readers, copies=g.copies, r=round(g.r, 3)
        )
        for g in one.generations
    ]
    return InfectionOut(
        kind=one.kind,
        id=one.id,
        username=one.username,
        text=one.text,
        quarantined=one.quarantined,
        copies=one.copies,
        r0=round(one.r0, 3),
        generations=generations,
    )


@router.put("/posts/{post_id}/quarantine", operation_id="set_quarantine", responses=problems(401, 404, body=True))
async def set_quarantine(house: TheHouse, admin: TheAdmin, post_id: PathId, given: Quarantine) -> QuarantineSet:
    """The kill switch of a post: nobody sees it, its reposts and its known copies any more; or again, as they were."""
    changed = await _switch(house, admin, "post", post_id, given)
    return QuarantineSet(post_id=post_id, quarantined=given.quarantined, posts=changed.posts, comments=changed.comments)


@router.put(
    "/comments/{comment_id}/quarantine",
    operation_id="set_comment_quarantine",
    responses=problems(401, 404, body=True),
)
async def set_comment_quarantine(
    house: TheHouse, admin: TheAdmin, comment_id: PathId, given: Quarantine
) -> CommentQuarantineSet:
    """The same of a comment and its known copies."""
    changed = await _switch(house, admin, "comment", comment_id, given)
    return CommentQuarantineSet(
        comment_id=comment_id, quarantined=given.quarantined, posts=changed.posts, comments=changed.comments
    )


async def _switch(
    house: House, admin: SignedIn, kind: moderation.Hideable, number: int, given: Quarantine
) -> moderation.Changed:
    by = By("admin", admin.admin.id)
    async with house.database.connection() as connection, connection.transaction():
        if given.quarantined:
            changed = await moderation.quarantine(
                connection, number, by=by, reason=given.reason, kind=kind, cascade=given.cascade
            )
        else:
            changed = await moderation.lift(connection, number, by=by, reason=given.reason, kind=kind)
        more = {"cascade": True} if given.cascade else {}
        deed = f"{kind}.quarantined" if given.quarantined else f"{kind}.released"
        await record(connection, admin.admin.id, deed, str(number), reason=given.reason, **more)
    return changed


@router.get("/reports", operation_id="list_reports", responses=problems(401))
async def list_reports(house: TheHouse, _: TheAdmin, limit: Limit = 20, cursor: Cursor | None = None) -> ReportsPage:
    """Posts that members have reported and nobody has judged yet, the one reported last first."""
    scope = ("reports",)
    before = read_cursor(house.secret, scope, cursor)[0] if cursor is not None else INT64_MAX
    rows = await moderation.open_reports(house.database, limit + 1, before=before)
    following = sign_cursor(house.secret, scope, (rows[limit - 1]["last_id"],)) if len(rows) > limit else None
    return ReportsPage(data=[ReportedOut(**reported(row)) for row in rows[:limit]], next_cursor=following)


def reported(row: moderation.Row) -> dict[str, Any]:
    """A reported post as it is told."""
    found = {name: row[name] for name in ReportedOut.model_fields}
    return found | {"reasons": msgspec.json.decode(row["reasons"])}


@router.put("/reports/{post_id}", operation_id="close_reports", responses=problems(401, 404, 409, body=True))
async def close_reports(house: TheHouse, admin: TheAdmin, post_id: PathId, given: ReportVerdict) -> ReportsClosed:
    """Judge the open reports of a post: dismiss them, or hide the post with its reposts, quotes and known copies."""
    async with house.database.connection() as connection, connection.transaction():
        by = By("admin", admin.admin.id)
        closed = await moderation.close_reports(connection, post_id, given.verdict, by=by, reason=given.reason)
        if closed.reports:
            detail = {"verdict": given.verdict, "reason": given.reason, "reports": closed.reports}
            await record(connection, admin.admin.id, "reports.closed", str(post_id), **detail)
    return ReportsClosed(
        post_id=post_id,
        verdict=given.verdict,
        closed=closed.reports,
        posts=closed.changed.posts,
        comments=closed.changed.comments,
    )
