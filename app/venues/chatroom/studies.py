"""Studies from draft to close: who plays in them, who may come in, and how a session begins."""

import csv
import io
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app import streams
from app.agent.population.invented import handles, invented
from app.auth import participants
from app.auth.audit import record
from app.auth.participants import Entered, NewToken, Stage
from app.db.engine import Database
from app.errors import Conflict, FieldError, Forbidden, Invalid, Misconfigured, NotFound
from app.llm.gateway import ready
from app.settings import Settings
from app.venues.chatroom.answers import check_answers
from app.venues.chatroom.design import Member, StudyDesign, arm_of, stored
from app.world import personas, rooms, studies
from app.world.personas import PersonaSpec
from app.world.text import unreckoned

PROFILE = frozenset(Member.model_fields) - {"name", "persona"}


@dataclass(frozen=True)
class Study:
    """A study with its design and its figures. `people`: by arm, state, stage; `tokens`: by arm and state."""

    id: int
    name: str
    state: str
    consent: str
    design: StudyDesign
    design_sha256: str
    seed: int
    row: asyncpg.Record
    people: list[dict[str, Any]]
    tokens: list[dict[str, Any]]
    members: list[dict[str, Any]]

    def out(self) -> dict[str, Any]:
        """As data for the API and the command line."""
        times = {name: self.row[name] for name in ("created_by", "created_at", "opened_at", "closed_at")}
        return {
            "id": self.id,
            "name": self.name,
            "title": self.design.title,
            "state": self.state,
            "consent": self.consent,
            "seed": self.seed,
            "design_sha256": self.design_sha256,
            **times,
            "members": self.members,
            "participants": self.people,
            "tokens": self.tokens,
            "design": self.design.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Session:
    """A room that waits for its participant, by its key."""

    key: str
    participant: Entered


# Designing


async def create(
    database: Database,
    name: str,
    design: StudyDesign,
    *,
    own_tokens: Mapping[str, Sequence[str]] | None = None,
    seed: int | None = None,
    by: int | None,
) -> int:
    """A draft; `seed` decides the assignment, and is drawn if not given.

    Raises:
        Conflict: the name is taken, or a token of the study's own list lets somebody in elsewhere.
    """
    async with database.connection() as connection, connection.transaction():
        study_id = await studies.create(
            connection,
            name=name,
            **_columns(design),
            seed=secrets.randbits(31) if seed is None else seed,
            by=by,
        )
        given = await participants.add_own_tokens(connection, study_id, own_tokens) if own_tokens else 0
        await record(connection, by, "study.created", name, id=study_id, design=design.sha256().hex(), tokens=given)
    return study_id


async def edit(database: Database, study_id: int, design: StudyDesign, *, by: int | None) -> None:
    """Give a draft another design.

    Raises:
        NotFound: no such study.
        Conflict: it has been opened, and its design is fixed.
    """
    async with database.connection() as connection, connection.transaction():
        row = await studies.locked(connection, study_id)
        if not await studies.edit(connection, study_id, **_columns(design)):
            raise Conflict(f"the study {row['name']} is {row['state']}: its design can't be changed any more")
        await record(connection, by, "study.edited", row["name"], id=study_id, design=design.sha256().hex())


def _columns(design: StudyDesign) -> dict[str, Any]:
    return {"consent": design.consent, "design": design.canonical(), "design_sha256": design.sha256()}


async def show(database: Database, study_id: int) -> Study:
    """One study with its figures.

    Raises:
        NotFound: no such study.
    """
    row = await studies.get(database, study_id)
    return Study(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        consent=row["consent"],
        design=stored(row["design"]),
        design_sha256=row["design_sha256"].hex(),
        seed=row["seed"],
        row=row,
        people=[dict(one) for one in await studies.people(database, study_id)],
        tokens=[dict(one) for one in await studies.stock(database, study_id)],
        members=[dict(one) for one in await studies.members(database, study_id)],
    )


# From draft to close


async def open_study(database: Database, settings: Settings, study_id: int, *, by: int | None) -> None:
    """Fix the design, put its cast together, and let people in from now on.

    Raises:
        NotFound: no such study.
        Conflict: it is no draft, or not ready; tells all the reasons.
    """
    async with database.connection() as connection, connection.transaction():
        row = await studies.locked(connection, study_id)
        if row["state"] != "draft":
            raise Conflict(f"the study {row['name']} is {row['state']}: only a draft can be opened")
        design = stored(row["design"])
        wrong = _unready_models(settings, design) + [
            f"tokens lead to the arm {arm}, which the design does not have: revoke them or name the arm so"
            for arm in await studies.token_arms(connection, study_id)
            if arm not in design.arms
        ]
        existing = await existing_members(connection, design.cast)
        wrong += [
            f"cast: no persona has the username {member.persona}"
            for member in design.cast
            if member.persona is not None and member.name not in existing
        ]
        if wrong:
            reasons = [FieldError("", "not_ready", reason) for reason in wrong]
            raise Conflict(f"the study {row['name']} can't be opened yet: {'; '.join(wrong)}", errors=reasons)
        members = await seat(connection, design.cast, row["seed"], existing)
        await studies.set_cast(connection, study_id, members)
        await studies.move(connection, study_id, "open")
        await record(connection, by, "study.opened", row["name"], id=study_id, design=design.sha256().hex())


def _unready_models(settings: Settings, design: StudyDesign) -> list[str]:
    named = {model: f"cast: {member.name}" for member in design.cast if (model := member.model)}
    if design.model:
        named[design.model] = "model"
    wrong = []
    for model, place in named.items():
        try:
            ready(settings, model)
        except Misconfigured as error:
            wrong.append(f"{place}: {error.detail}")
    return wrong


async def existing_members(connection: asyncpg.pool.PoolConnectionProxy, cast: Sequence[Member]) -> dict[str, int]:
    """Those of a cast who are personas of the world already: name → id."""
    known = {}
    for member in cast:
        if member.persona is not None:
            found = await connection.fetchrow(personas.PEOPLE["by_username"], member.persona)
            if found is not None:
                known[member.name] = found["id"]
    return known


async def seat(
    connection: asyncpg.pool.PoolConnectionProxy, cast: Sequence[Member], seed: int, existing: Mapping[str, int]
) -> list[tuple[int, str]]:
    """A cast as personas of the world, who are made where they don't exist: (id, name), in order."""
    new = [spec for member, spec in zip(cast, new_personas(cast, seed), strict=True) if member.name not in existing]
    ids = iter(await personas.add_cast(connection, new) if new else [])
    return [(existing[one.name] if one.name in existing else next(ids), one.name) for one in cast]


def new_personas(cast: Sequence[Member], seed: int) -> list[PersonaSpec]:
    """Each agent as a persona of its own: described in the design, or else made up by the study's seed."""
    names = [member.name for member in cast]
    made_up = invented(names, streams.number(seed, "cast"))
    return [
        made
        if member.description is None
        else PersonaSpec(username=handle, display_name=member.name, **member.model_dump(include=set(PROFILE)))
        for member, made, handle in zip(cast, made_up, handles(names), strict=True)
    ]


async def pause(database: Database, study_id: int, *, by: int | None) -> None:
    """Let nobody new in; rooms under way go on.

    Raises:
        NotFound: no such study.
        Conflict: it is not open.
    """
    await _move(database, study_id, "pause", "study.paused", "only an open study can be paused", by)


async def resume(database: Database, study_id: int, *, by: int | None) -> None:
    """Let people in again.

    Raises:
        NotFound: no such study.
        Conflict: it is not paused.
    """
    await _move(database, study_id, "resume", "study.resumed", "only a paused study can go on", by)


async def _move(database: Database, study_id: int, to: studies.Move, deed: str, rule: str, by: int | None) -> None:
    async with database.connection() as connection, connection.transaction():
        row = await studies.locked(connection, study_id)
        if not await studies.move(connection, study_id, to):
            raise Conflict(f"the study {row['name']} is {row['state']}: {rule}")
        await record(connection, by, deed, row["name"], id=study_id)


async def close(database: Database, study_id: int, *, by: int | None) -> int:
    """End a study for good: nobody comes in any more, rooms under way go on to their end.

    Returns:
        How many tokens had not been used, and are worth nothing now.

    Raises:
        NotFound: no such study.
        Conflict: it is closed.
    """
    async with database.connection() as connection, connection.transaction():
        row = await studies.locked(connection, study_id)
        revoked = await studies.close(connection, study_id)
        if revoked is None:
            raise Conflict(f"the study {row['name']} is closed already")
        await record(connection, by, "study.closed", row["name"], id=study_id, tokens=revoked)
    return revoked


# Tokens


async def make_tokens(
    database: Database,
    study_id: int,
    count: int,
    *,
    arm: str | None = None,
    labels: Sequence[str] = (),
    by: int | None,
) -> list[NewToken]:
    """New tokens, told here once. Without `arm`, who comes with one is assigned.

    Raises:
        NotFound: no such study.
        Invalid: the study has no such arm, or there are more labels than tokens.
        Conflict: it is closed.
    """
    if not 1 <= count <= participants.TOKENS_MOST:
        raise _invalid("count", f"must be a whole number from 1 to {participants.TOKENS_MOST:,}")
    if len(labels) > count:
        raise _invalid("labels", f"has {len(labels)} entries for {count} tokens")
    async with database.connection() as connection, connection.transaction():
        row = await studies.locked(connection, study_id)
        if row["state"] == "closed":
            raise Conflict(f"the study {row['name']} is closed: its tokens would let nobody in")
        arms = stored(row["design"]).arms
        if arm is not None and arm not in arms:
            raise _invalid("arm", f"must be one of {', '.join(sorted(arms))}, or left out")
        made = await participants.make_tokens(connection, study_id, count, arm=arm, labels=labels)
        await record(connection, by, "study.tokens_made", row["name"], id=study_id, count=count, arm=arm)
    return made


async def revoke_token(database: Database, study_id: int, token_id: int, *, by: int | None) -> None:
    """Take back an unused token.

    Raises:
        NotFound: the study has no unused token with this id.
    """
    async with database.connection() as connection, connection.transaction():
        await participants.revoke_token(connection, study_id, token_id)
        await record(connection, by, "study.token_revoked", str(token_id), id=study_id)


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field}: {message}", errors=[FieldError(f"/{field}", "value", message)])


def link(base: str, token: str) -> str:
    """Where somebody with this token begins; `base` is the address of this server."""
    return f"{base.rstrip('/')}/s/{token}"


def link_sheet(made: Sequence[NewToken], base: str) -> str:
    """Tokens as CSV: label, token, url, arm. A cell that a spreadsheet would compute is quoted for it."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\r\n")
    writer.writerow(("label", "token", "url", "arm"))
    for one in made:
        writer.writerow(
            [unreckoned(cell) for cell in (one.label or str(one.id), one.token, link(base, one.token), one.arm or "")]
        )
    return sheet.getvalue()


def qr_svg(address: str) -> bytes:
    """An address as a QR code, an SVG document that scales to any size.

    Raises:
        Misconfigured: the package that draws them is missing.
    """
    try:
        import segno
    except ImportError:
        raise Misconfigured("QR codes need the package segno: `pip install segno`") from None
    drawn = io.BytesIO()
    segno.make(address, error="m", micro=False).save(drawn, kind="svg", scale=8, border=4, light="white", nl=False)
    return drawn.getvalue()


def qr_name(one: NewToken) -> str:
    """A file name for a token's QR code: its number, and its label as far as file systems take it."""
    label = re.sub(r"[^A-Za-z0-9_-]+", "_", one.label).strip("_")[:60]
    return f"{one.id}{'-' if label else ''}{label}.svg"


# Taking part


async def enter(
    database: Database,
    settings: Settings,
    token: str,
    *,
    address: str,
    consent_sha256: bytes | None,
    kept: str,
    params: Mapping[str, str] | None = None,
    secret: str = "",
) -> Entered:
    """Somebody consents on our page, or comes to it having consented elsewhere: only now are they anybody here.

    What follows is their stage.

    Args:
        consent_sha256: the hash of the text that they were shown; None where the study has consent from elsewhere.
        kept: what becomes of their data if they withdraw, of those that the study offers; the first of these, if
            they were not asked.
        params: those of their link; the study keeps some.
        secret: what their browser shows from now on; made if not given.

    Raises:
        Unauthorized: the token lets nobody in.
        TooMany: this address has tried too many that don't.
        Conflict: the consent text is not the one they were shown.
        Invalid: the study does not offer `kept`.
    """
    async with participants.guarded(database, address, settings.session_guesses_per_hour):
        found = await participants.look(database, token)
        design = stored(found["design"])
        external = found["consent"] == "external"
        if consent_sha256 != (None if external else design.consent_sha256):
            raise Conflict("the consent text has changed since it was shown: read it again")
        kept = design.withdrawal[0] if external and not kept else kept
        if kept not in design.withdrawal:
            raise _invalid("kept", f"must be one of {', '.join(design.withdrawal)}")
        async with database.connection() as connection, connection.transaction():
            return await participants.redeem(
                connection,
                token,
                stage="intake" if design.intake else "chat",
                arm_of=_arm_of(design, found["seed"]),
                kept=kept,
                consent_sha256=consent_sha256,
                params=design.kept_params(params or {}),
                secret=secret,
            )


async def start_session(
    database: Database,
    settings: Settings,
    token: str,
    *,
    address: str,
    username: str | None = None,
    params: Mapping[str, str] | None = None,
) -> Session:
    """Let somebody with a token into a room at once, as studies do whose consent was given elsewhere. They come by a
    client of their own, which has none of our pages: when the room ends they have finished.

    Raises:
        Unauthorized: the token lets nobody in.
        TooMany: this address has tried too many that don't.
        Forbidden: the study asks for consent on its own page.
        Conflict: they were let in again, and their room is at an end.
    """
    async with participants.guarded(database, address, settings.session_guesses_per_hour):
        found = await participants.look(database, token)
        if found["consent"] != "external":
            raise Forbidden("this study asks for consent first: open /s/TOKEN, with your token, in a browser")
        design = stored(found["design"])
        async with database.connection() as connection, connection.transaction():
            entered = await participants.redeem(
                connection,
                token,
                stage="chat",
                arm_of=_arm_of(design, found["seed"]),
                kept=design.withdrawal[0],
                username=username,
                params=design.kept_params(params or {}),
                secret=None,
            )
            key = await open_room_of(connection, settings, entered.id)
    return Session(key, entered)


def _arm_of(design: StudyDesign, seed: int) -> Any:
    """The arm of a place; None where a stratum must be known first."""
    return None if design.strata is not None else lambda place: arm_of(design, seed, "", place)


async def open_room_of(connection: asyncpg.pool.PoolConnectionProxy, settings: Settings, participant_id: int) -> str:
    """The key of a participant's room, which is opened if they have none. In the caller's transaction.

    Raises:
        Conflict: they are not at this stage, or their room is at an end.
    """
    person = await participants.locked(connection, participant_id)
    if person["stage"] != "chat" or person["state"] != "active" or not person["arm"]:
        raise Conflict("the room is not open to you: go on with the page that is")
    study = await studies.get(connection, person["study_id"])
    design = stored(study["design"])
    room = await studies.room_of(connection, participant_id)
    if room is not None:
        if room["state"] in ("waiting", "running"):
            return str(room["key"])
        if room["wrote"] or not design.token_reusable_before_first_message:
            raise Conflict("this session is at an end")
        await studies.leave_room(connection, room["id"])
    key = rooms.new_key()
    members = await studies.members(connection, person["study_id"])
    await rooms.open_room(
        connection,
        key=key,
        seed=streams.number(study["seed"], "room", person["pseudonym"]),
        study_id=person["study_id"],
        participant_id=participant_id,
        arm=person["arm"],
        pace=design.pace.model_dump(),
        settings=_terms(settings, design, study["name"], person["arm"]),
        members=[(one["persona_id"], one["name"]) for one in members],
    )
    return key


def _terms(settings: Settings, design: StudyDesign, name: str, arm: str) -> dict[str, Any]:
    """What a room's run keeps of its study, so that the run tells how it was played."""
    return {
        "study": name,
        "arm": arm,
        "prompt_template": design.arms[arm].prompt_template,
        "model": design.model,
        "temperature": design.temperature,
        "tool_mode": settings.tool_mode,
        "consent": design.consent,
        "disclosure": design.disclosure,
        "design_sha256": design.sha256().hex(),
    }


async def submit(database: Database, person: asyncpg.Record, stage: Stage, given: Mapping[str, object]) -> str:
    """Check and keep somebody's answers of a stage, assign their arm if it waited for them, and go on.

    Args:
        person: as `participants.by_secret` tells of them.

    Returns:
        The stage that follows.

    Raises:
        Invalid: tells of every wrong answer.
        Conflict: they are not in this stage any more.
    """
    design = stored(person["design"])
    answers = check_answers(design.intake if stage == "intake" else design.closing, given)
    async with database.connection() as connection, connection.transaction():
        await participants.answer(connection, person["id"], stage, answers)
        if stage == "intake" and design.strata is not None:
            stratum, seed = str(answers[design.strata]), person["seed"]
            await participants.assign(
                connection, person["id"], stratum, lambda place: arm_of(design, seed, stratum, place)
            )
        return await go_on(connection, design, person["id"], stage)


async def go_on(
    connection: asyncpg.pool.PoolConnectionProxy | Database, design: StudyDesign, participant_id: int, stage: Stage
) -> str:
    """Move somebody to the stage after `stage`; at the last they have finished, and have a completion code.

    Raises:
        Conflict: they are not in this stage.
    """
    following: Any = design.after(stage)
    if following == "done":
        moved = await participants.finish(connection, participant_id, stage, design.completion_code) is not None
    else:
        moved = await participants.advance(connection, participant_id, stage, following)
    if not moved:
        raise Conflict("this page is no longer the one that is open: go on with that")
    return str(following)


async def find(database: Database, who: str) -> asyncpg.Record:
    """A study by its name, or else its number.

    Raises:
        NotFound: there is none.
    """
    try:
        return await studies.by_name(database, who)
    except NotFound:
        if not (who.isascii() and who.isdigit() and len(who) <= 18):
            raise
    return await studies.get(database, int(who))
