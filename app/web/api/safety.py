"""What spreads or leaks, and the kill switch of a post."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.auth.admins import record
from app.web.api.schemas import FlagOut, GenerationOut, InfectionOut, QuarantinedOut, QuarantineSet, SafetyOut, problems
from app.web.deps import TheAdmin, TheHouse
from app.web.inputs import Body, Limit, PathId
from app.world import moderation
from app.world.moderation import By
from app.world.text import Note

router = APIRouter(tags=["safety"])


class Quarantine(Body):
    """Whether nobody is to see the post, and why."""

    quarantined: Annotated[bool, Field(strict=True, examples=[True])]
    reason: Annotated[Note, Field(examples=["it asks to be repeated"])] = ""


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
    by = By("admin", admin.admin.id)
    change = moderation.quarantine if given.quarantined else moderation.lift
    async with house.database.connection() as connection, connection.transaction():
        changed = await change(connection, post_id, by=by, reason=given.reason)
        deed = "post.quarantined" if given.quarantined else "post.released"
        await record(connection, admin.admin.id, deed, str(post_id), reason=given.reason)
    return QuarantineSet(post_id=post_id, quarantined=given.quarantined, posts=changed.posts, comments=changed.comments)
