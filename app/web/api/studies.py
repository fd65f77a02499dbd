"""Studies, as admins run them."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import AwareDatetime, BaseModel, Field

from app.auth import participants
from app.auth.participants import TOKENS_MOST, NewToken
from app.venues.chatroom import studies
from app.venues.chatroom.design import ArmName, Label, StudyDesign, StudyName
from app.web.api.schemas import problems
from app.web.deps import House, TheAdmin, TheHouse
from app.web.inputs import Body, Cursor, Limit, PathId, next_cursor, read_cursor
from app.world import studies as rows
from app.world.text import INT64_MAX

router = APIRouter(prefix="/studies", tags=["studies"])
State = Literal["draft", "open", "paused", "closed"]
LEFT_OUT = "Without it, whoever comes is assigned."
EXAMPLE: dict[str, Any] = {
    "title": "How people talk about bicycles",
    "arms": {
        "civil": {"prompt_template": "You chat about bicycles in town. Be polite and constructive."},
        "uncivil": {"prompt_template": "You chat about bicycles in town. Be curt and sarcastic."},
    },
}


class StudyWish(Body):
    """A new study; `seed` decides who comes into which arm, and is drawn if left out."""

    name: Annotated[StudyName, Field(strict=True, examples=["bicycles"])]
    design: Annotated[StudyDesign, Field(examples=[EXAMPLE])]
    seed: Annotated[int, Field(strict=True), Ge(0), Le(INT64_MAX)] | None = None


class TokenWish(Body):
    """How many tokens, for which arm, and what they are called on the link sheet."""

    count: Annotated[int, Field(strict=True, examples=[20]), Ge(1), Le(TOKENS_MOST)]
    arm: Annotated[ArmName, Field(strict=True, description=LEFT_OUT)] | None = None
    labels: Annotated[list[Annotated[Label, Field(strict=True)]], MaxLen(TOKENS_MOST)] = Field(default_factory=list)


class PeopleOut(BaseModel):
    """How many participants of an arm are in a state, at a stage."""

    arm: str
    state: str
    stage: str
    count: int


class StockOut(BaseModel):
    """How many tokens for an arm (null: assigned) are in a state."""

    arm: str | None
    state: Literal["open", "used", "revoked"]
    count: int


class MemberOut(BaseModel):
    """Who plays in the rooms of a study that has been opened, and as whom."""

    ordinal: int
    persona_id: int
    name: str
    username: str
    description: str
    status: str


class StudyOut(BaseModel):
    """A study with its figures; `design` has all keys, also those left to their defaults."""

    id: int
    name: str
    title: str
    state: State
    consent: Literal["page", "external"]
    seed: int
    design_sha256: str
    created_by: str | None
    created_at: AwareDatetime
    opened_at: AwareDatetime | None
    closed_at: AwareDatetime | None
    members: list[MemberOut]
    participants: list[PeopleOut]
    tokens: list[StockOut]
    design: dict[str, Any]


class StudyLine(BaseModel):
    """A study in a list."""

    id: int
    name: str
    title: str
    state: State
    consent: Literal["page", "external"]
    participants: int
    active: int
    finished: int
    tokens: int
    tokens_open: int
    created_at: AwareDatetime
    opened_at: AwareDatetime | None
    closed_at: AwareDatetime | None


class StudiesFound(BaseModel):
    """A page of studies, newest first."""

    data: list[StudyLine]
    next_cursor: str | None
    has_more: bool


class TokenOut(BaseModel):
    """A token, which nobody can read any more. Whom it let in is not told: a label could say who that is."""

    id: int
    label: str
    arm: str | None
    own: bool
    state: Literal["open", "used", "revoked"]
    created_at: AwareDatetime
    redeemed_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class TokensFound(BaseModel):
    """A page of tokens, oldest first."""

    data: list[TokenOut]
    next_cursor: str | None
    has_more: bool


class TokenMade(BaseModel):
    """A token, told here once."""

    id: int
    label: str
    token: str
    url: str
    arm: str | None


class TokensMade(BaseModel):
    tokens: list[TokenMade]


class Valid(BaseModel):
    """A design that a study may have: all its keys, its stages, and the places of a block of the assignment."""

    valid: Literal[True]
    design_sha256: str
    stages: list[str]
    block_size: int
    design: dict[str, Any]


class Closed(BaseModel):
    """How many tokens had not been used."""

    tokens_revoked: int


class LinkSheet(PlainTextResponse):
    media_type = "text/csv"


SHEET: dict[int | str, dict[str, Any]] = {
    201: {"description": "The link sheet.", "content": {"text/csv": {"schema": {"type": "string"}}}}
}


async def _out(house: House, study_id: int) -> StudyOut:
    return StudyOut(**(await studies.show(house.database, study_id)).out())


@router.post(
    "",
    operation_id="create_study",
    status_code=201,
    response_model=StudyOut,
    responses=problems(401, 409, body=True),
)
async def create_study(house: TheHouse, admin: TheAdmin, given: StudyWish) -> Response:
    """A new study, as a draft: its design can be changed until it is opened."""
    made = await studies.create(house.database, given.name, given.design, seed=given.seed, by=admin.admin.id)
    body = await _out(house, made)
    return JSONResponse(body.model_dump(mode="json"), 201, {"Location": f"/studies/{made}"})


@router.post("/validate", operation_id="validate_study", responses=problems(401, body=True))
async def validate_study(_: TheAdmin, given: StudyDesign) -> Valid:
    """Check a design and change nothing; a wrong one is answered as it would be when a study is made of it."""
    return Valid(
        valid=True,
        design_sha256=given.sha256().hex(),
        stages=given.stages(),
        block_size=given.block_size,
        design=given.model_dump(mode="json"),
    )


@router.get("", operation_id="list_studies", responses=problems(401))
async def list_studies(house: TheHouse, _: TheAdmin, limit: Limit = 20, cursor: Cursor | None = None) -> StudiesFound:
    """Studies, newest first, with counts of participants and tokens."""
    scope = ("studies",)
    before = read_cursor(house.secret, scope, cursor)[0] if cursor else INT64_MAX
    found = await rows.page(house.database, before=before, limit=limit + 1)
    return StudiesFound(
        data=[StudyLine(**dict(row)) for row in found[:limit]],
        next_cursor=next_cursor(house.secret, scope, found, limit),
        has_more=len(found) > limit,
    )


@router.get("/{study_id}", operation_id="read_study", responses=problems(401, 404))
async def read_study(house: TheHouse, _: TheAdmin, study_id: PathId) -> StudyOut:
    """One study: its design, its cast, and how many are where."""
    return await _out(house, study_id)


@router.put("/{study_id}", operation_id="replace_study_design", responses=problems(401, 404, 409, body=True))
async def replace_study_design(house: TheHouse, admin: TheAdmin, study_id: PathId, given: StudyDesign) -> StudyOut:
    """Give a draft another design."""
    await studies.edit(house.database, study_id, given, by=admin.admin.id)
    return await _out(house, study_id)


@router.post("/{study_id}/open", operation_id="open_study", responses=problems(401, 404, 409))
async def open_study(house: TheHouse, admin: TheAdmin, study_id: PathId) -> StudyOut:
    """Fix the design, put the cast together and let people in; a study that is not ready says all that is missing."""
    await studies.open_study(house.database, house.settings, study_id, by=admin.admin.id)
    return await _out(house, study_id)


@router.post("/{study_id}/pause", operation_id="pause_study", status_code=204, responses=problems(401, 404, 409))
async def pause_study(house: TheHouse, admin: TheAdmin, study_id: PathId) -> None:
    """Let nobody new in; rooms under way go on."""
    await studies.pause(house.database, study_id, by=admin.admin.id)


@router.post("/{study_id}/resume", operation_id="resume_study", status_code=204, responses=problems(401, 404, 409))
async def resume_study(house: TheHouse, admin: TheAdmin, study_id: PathId) -> None:
    """Let people in again."""
    await studies.resume(house.database, study_id, by=admin.admin.id)


@router.post("/{study_id}/close", operation_id="close_study", responses=problems(401, 404, 409))
async def close_study(house: TheHouse, admin: TheAdmin, study_id: PathId) -> Closed:
    """End a study for good: its unused tokens are worth nothing, rooms under way go on to their end."""
    return Closed(tokens_revoked=await studies.close(house.database, study_id, by=admin.admin.id))


async def _made(house: House, admin_id: int, study_id: int, given: TokenWish) -> list[NewToken]:
    return await studies.make_tokens(
        house.database, study_id, given.count, arm=given.arm, labels=given.labels, by=admin_id
    )


@router.post(
    "/{study_id}/tokens",
    operation_id="make_study_tokens",
    status_code=201,
    responses=problems(401, 404, 409, body=True),
)
async def make_study_tokens(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, given: TokenWish
) -> TokensMade:
    """New single-use tokens. They are told here, once: only their hashes are kept."""
    base = str(request.base_url)
    made = await _made(house, admin.admin.id, study_id, given)
    return TokensMade(
        tokens=[
            TokenMade(id=one.id, label=one.label, token=one.token, url=studies.link(base, one.token), arm=one.arm)
            for one in made
        ]
    )


@router.post(
    "/{study_id}/links.csv",
    operation_id="make_study_link_sheet",
    status_code=201,
    response_class=LinkSheet,
    responses={**problems(401, 404, 409, body=True), **SHEET},
)
async def make_study_link_sheet(
    request: Request, house: TheHouse, admin: TheAdmin, study_id: PathId, given: TokenWish
) -> Response:
    """New single-use tokens as a link sheet (CSV: label, token, url, arm). They are told here, once."""
    made = await _made(house, admin.admin.id, study_id, given)
    sheet = studies.link_sheet(made, str(request.base_url))
    name = f'attachment; filename="study-{study_id}-links.csv"'
    return LinkSheet(sheet, 201, {"Content-Disposition": name})


@router.get("/{study_id}/tokens", operation_id="list_study_tokens", responses=problems(401, 404))
async def list_study_tokens(
    house: TheHouse, _: TheAdmin, study_id: PathId, limit: Limit = 100, cursor: Cursor | None = None
) -> TokensFound:
    """What became of a study's tokens, oldest first; not the tokens themselves, which nobody knows any more."""
    await rows.get(house.database, study_id)
    scope = ("study tokens", study_id)
    after = read_cursor(house.secret, scope, cursor)[0] if cursor else 0
    found = await participants.list_tokens(house.database, study_id, after=after, limit=limit + 1)
    return TokensFound(
        data=[TokenOut(**dict(row)) for row in found[:limit]],
        next_cursor=next_cursor(house.secret, scope, found, limit),
        has_more=len(found) > limit,
    )


@router.delete(
    "/{study_id}/tokens/{token_id}",
    operation_id="revoke_study_token",
    status_code=204,
    responses=problems(401, 404),
)
async def revoke_study_token(house: TheHouse, admin: TheAdmin, study_id: PathId, token_id: PathId) -> None:
    """Take back a token that has not been used."""
    await studies.revoke_token(house.database, study_id, token_id, by=admin.admin.id)
