"""Studies as researchers run them: the list, one study, its tokens, what it has brought."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from annotated_types import MaxLen
from fastapi import APIRouter
from fastapi import Path as PathParameter
from markupsafe import Markup
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.auth import participants
from app.auth.participants import TOKENS_MOST, NewToken
from app.errors import Conflict, Invalid
from app.llm.pricing import OFFLINE
from app.models.studies import PARTICIPANT_STATES, STAGES
from app.venues.chatroom import studies
from app.venues.chatroom.design import CONSENT_TEXT, Label, Question
from app.venues.chatroom.export import toml
from app.web.api import study_data
from app.web.api.sessions import SessionId
from app.web.deps import House, SignedIn, TheHouse
from app.web.inputs import Cursor, PathId, read_cursor, sign_cursor
from app.web.pages.admin.study_builder import HERE, WHOLE, seen_of
from app.web.pages.frame import DONE, PRIVATE, go_to, render
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer
from app.world import studies as rows
from app.world import study_results as results
from app.world.text import INT64_MAX

router = APIRouter(include_in_schema=False)
ONE = HERE + "/{study_id}"
PAGE_SIZE = 30
TOKENS_SHOWN = 100
ON_PAGE = 200
"""Tokens that are shown on a page; more go out as a file."""

WITH_QR = 40
QR_MOST = 1_000
LABELS: TypeAdapter[list[str]] = TypeAdapter(Annotated[list[Label], MaxLen(TOKENS_MOST)])
MADE: TypeAdapter[list[NewToken]] = TypeAdapter(Annotated[list[NewToken], MaxLen(ON_PAGE)])
As = Literal["page", "csv", "qr"]
DONE |= {
    "study-opened": "The study is open: whoever has a token can come in. Its design is fixed from now on.",
    "study-paused": "Paused: nobody new comes in. Rooms under way go on.",
    "study-resumed": "Open again.",
    "study-closed": "Closed for good. Rooms under way go on to their end.",
    "token-revoked": "The token is worth nothing now.",
}


@dataclass(frozen=True)
class Told:
    """A question's answers by arm: a row for each option, point or key figure, with a cell for each arm."""

    question: Question
    answered: list[tuple[int, int]]
    lines: list[tuple[str, list[tuple[int, float]]]]
    """What was chosen; for each arm how often, and of 100 of those who answered there."""

    spans: list[list[float] | None]


# The list


@router.get(HERE)
async def studies_page(request: Request, house: TheHouse, viewer: TheViewer, cursor: Cursor | None = None) -> Response:
    """All studies, newest first."""
    scope = ("studies page",)
    before = read_cursor(house.secret, scope, cursor)[0] if cursor else INT64_MAX
    found = await rows.page(house.database, before=before, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    more = sign_cursor(house.secret, scope, (shown[-1]["id"],)) if len(found) > len(shown) else ""
    return render(
        request, "admin/studies.html", viewer=viewer, studies=shown, older=more, cursor=cursor or "", here=HERE
    )


# One study


@router.get(ONE)
async def study_page(request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId) -> Response:
    """Where a study stands: its state, who is where, and its design."""
    return await _show_study(request, house, viewer, study_id)


async def _show_study(
    request: Request,
    house: House,
    viewer: Viewer,
    study_id: int,
    reasons: Sequence[str] = (),
    status: int = 200,
) -> Response:
    study = await studies.show(house.database, study_id)
    design = study.design
    return render(
        request,
        "admin/study.html",
        viewer=viewer,
        status=status,
        study=study,
        reasons=reasons,
        counts=_counts(study.people),
        people=_by_arm(study),
        stages=STAGES,
        stopped=[state for state in PARTICIPANT_STATES if state not in ("active", "finished")],
        tokens=_stock(study.tokens),
        checks=_checks(house, study) if study.state == "draft" else [],
        toml=toml(design),
        share={name: arm.weight / sum(one.weight for one in design.arms.values()) for name, arm in design.arms.items()},
    )


def _counts(people: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(PARTICIPANT_STATES, 0)
    for row in people:
        found[row["state"]] += row["count"]
    return {"all": sum(found.values()), **found}


def _by_arm(study: studies.Study) -> list[tuple[str, dict[str, int], int]]:
    """Each arm, how many stand at which stage (active) or are in which end state, and how many in all."""
    found: dict[str, dict[str, int]] = {name: {} for name in study.design.arms}
    for row in study.people:
        cell = row["stage"] if row["state"] == "active" else row["state"]
        arm = found.setdefault(row["arm"], {})
        arm[cell] = arm.get(cell, 0) + row["count"]
    return [(name, cells, sum(cells.values())) for name, cells in found.items()]


def _stock(tokens: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = {"open": 0, "used": 0, "revoked": 0}
    for row in tokens:
        found[row["state"]] += row["count"]
    return found


def _checks(house: House, study: studies.Study) -> list[tuple[bool, str]]:
    """What is worth a look before a study opens; none of it stands in the way."""
    design = study.design
    models = {house.settings.simfeed_model if design.model is None else design.model}
    models |= {one.model for one in design.cast if one.model}
    offline = models & set(OFFLINE)
    return [
        (bool(design.contact), "Participants know whom to ask" if design.contact else "No contact: whom can they ask?"),
        (
            design.consent == "external" or design.consent_text != CONSENT_TEXT,
            "Consent is obtained elsewhere"
            if design.consent == "external"
            else "The consent text is your own"
            if design.consent_text != CONSENT_TEXT
            else "The consent text is the usual one: does it say what your ethics board asks for?",
        ),
        (
            bool(design.ethics_reference),
            f"Ethics approval {design.ethics_reference}" if design.ethics_reference else "No ethics reference is noted",
        ),
        (
            not offline,
            "Agents are played by " + ", ".join(sorted(models))
            if not offline
            else f"Agents are played by {', '.join(sorted(offline))}, which is for trying out only",
        ),
        (
            _stock(study.tokens)["open"] > 0,
            "There are tokens" if _stock(study.tokens)["open"] else "No tokens yet: nobody could come in",
        ),
        (False, f"Tried it with bots? simfeed study test {study.name}"),
    ]


@router.post(ONE + "/open")
async def open_study(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId
) -> Response:
    """Let people in; a study that is not ready says all that is missing."""
    try:
        await studies.open_study(house.database, house.settings, study_id, by=viewer.admin.id)
    except Conflict as refused:
        reasons = [one.message for one in refused.errors] or [refused.detail]
        return await _show_study(request, house, viewer, study_id, reasons, 409)
    return go_to(f"{HERE}/{study_id}", done="study-opened")


@router.post(ONE + "/pause")
async def pause(house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId) -> Response:
    """Let nobody new in."""
    await studies.pause(house.database, study_id, by=viewer.admin.id)
    return go_to(f"{HERE}/{study_id}", done="study-paused")


@router.post(ONE + "/resume")
async def resume(house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId) -> Response:
    """Let people in again."""
    await studies.resume(house.database, study_id, by=viewer.admin.id)
    return go_to(f"{HERE}/{study_id}", done="study-resumed")


@router.post(ONE + "/close")
async def close(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId) -> Response:
    """End a study for good; who asks is first told what that means."""
    if form["sure"] != "yes":
        study = await studies.show(house.database, study_id)
        if study.state == "closed":
            raise Conflict(f"the study {study.name} is closed already")
        return confirm(
            request,
            viewer,
            title=f"Close {study.name}?",
            words=[
                "Nobody comes in any more, and it can't be opened again.",
                f"{_stock(study.tokens)['open']:,} tokens that have not been used are worth nothing from then on.",
                "Rooms under way go on to their end; what has been collected stays.",
                f"What is left of participants is due to be erased {study.design.retention_days:,} days later.",
            ],
            action=f"{HERE}/{study_id}/close",
            do="Close the study",
            back=f"{HERE}/{study_id}",
        )
    await studies.close(house.database, study_id, by=viewer.admin.id)
    return go_to(f"{HERE}/{study_id}", done="study-closed")


def confirm(request: Request, viewer: Viewer, **words: Any) -> Response:
    return render(request, "admin/study_sure.html", viewer=viewer, **words)


# Tokens


@router.get(ONE + "/tokens")
async def tokens_page(
    request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId, cursor: Cursor | None = None
) -> Response:
    """What became of a study's tokens, and a form to make more."""
    return await _show_tokens(request, house, viewer, study_id, cursor)


async def _show_tokens(
    request: Request,
    house: House,
    viewer: Viewer,
    study_id: int,
    cursor: str | None = None,
    given: Mapping[str, str] | None = None,
    wrong: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    study = await studies.show(house.database, study_id)
    scope = ("study tokens page", study_id)
    after = read_cursor(house.secret, scope, cursor)[0] if cursor else 0
    found = await participants.list_tokens(house.database, study_id, after=after, limit=TOKENS_SHOWN + 1)
    shown = found[:TOKENS_SHOWN]
    return render(
        request,
        "admin/study_tokens.html",
        viewer=viewer,
        status=status,
        study=study,
        counts=_counts(study.people),
        stock=_stock(study.tokens),
        tokens=shown,
        older=sign_cursor(house.secret, scope, (shown[-1]["id"],)) if len(found) > len(shown) else "",
        cursor=cursor or "",
        given={"count": "20", "arm": "", "labels": "", "as": "page", **(given or {})},
        wrong=wrong or {},
        most=TOKENS_MOST,
        on_page=ON_PAGE,
        qr_most=QR_MOST,
    )


@router.post(ONE + "/tokens")
async def make_tokens(
    request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId
) -> Response:
    """New tokens, told in this answer alone: on a page, as a link sheet, or as QR codes."""
    wrong: dict[str, str] = {}
    shape, count = form["as"], _count(form, wrong)
    labels = _labels(form, count, wrong)
    if shape not in ("page", "csv", "qr"):
        wrong["as"] = "choose one of these"
    most = {"page": ON_PAGE, "qr": QR_MOST}.get(shape, TOKENS_MOST)
    if not wrong and count > most:
        wrong["count"] = f"at most {most:,} at once so; as a link sheet, {TOKENS_MOST:,}"
    given = {name: form[name] for name in ("count", "arm", "labels", "as")}
    status = 422
    if not wrong:
        try:
            made = await studies.make_tokens(
                house.database, study_id, count, arm=form["arm"] or None, labels=labels, by=viewer.admin.id
            )
            return await _told_once(request, house, viewer, study_id, made, shape)
        except Invalid as refused:
            wrong = {one.pointer.removeprefix("/"): one.message for one in refused.errors}
        except Conflict as refused:
            wrong, status = {"count": refused.detail}, 409
    return await _show_tokens(request, house, viewer, study_id, None, given, wrong, status)


def _count(form: Form, wrong: dict[str, str]) -> int:
    text = form["count"].strip()
    if not WHOLE.fullmatch(text) or not 1 <= int(text) <= TOKENS_MOST:
        wrong["count"] = f"must be a whole number from 1 to {TOKENS_MOST:,}"
        return 0
    return int(text)


def _labels(form: Form, count: int, wrong: dict[str, str]) -> list[str]:
    lines = form.lines("labels")
    try:
        labels = LABELS.validate_python(lines)
    except ValidationError as error:
        first = error.errors()[0]
        wrong["labels"] = f"line {int(first['loc'][0]) + 1}: {first['msg']}" if first["loc"] else first["msg"]
        return []
    if count and len(labels) > count:
        wrong["labels"] = f"has {len(labels):,} lines for {count:,} tokens"
    return labels


async def _told_once(
    request: Request, house: House, viewer: Viewer, study_id: int, made: list[NewToken], shape: str
) -> Response:
    base = str(request.base_url)
    if shape == "csv":
        return _sheet(study_id, made, base)
    if shape == "qr":
        return _codes(study_id, made, base)
    study = await studies.show(house.database, study_id)
    links = [(one, studies.link(base, one.token)) for one in made]
    return render(
        request,
        "admin/study_links.html",
        viewer=viewer,
        study=study,
        links=[(one, link, _drawn(link) if len(made) <= WITH_QR else "") for one, link in links],
        packed=msgspec.json.encode(made).decode(),
        with_qr=len(made) <= WITH_QR,
    )


def _drawn(link: str) -> Markup:
    """A link's QR code, as part of a page."""
    drawing = studies.qr_svg(link).decode()
    svg = drawing[drawing.index("<svg") :]
    size = svg.partition('width="')[2].partition('"')[0]
    head = f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="QR code" '
    return Markup(svg.replace("<svg ", head, 1))  # noqa: S704 - drawn of squares, without any text


def _sheet(study_id: int, made: Sequence[NewToken], base: str) -> Response:
    return _file(studies.link_sheet(made, base).encode(), f"study-{study_id}-links.csv", "text/csv; charset=utf-8")


def _codes(study_id: int, made: Sequence[NewToken], base: str) -> Response:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in made:
            archive.writestr(studies.qr_name(one), studies.qr_svg(studies.link(base, one.token)))
        archive.writestr("links.csv", studies.link_sheet(made, base))
    return _file(packed.getvalue(), f"study-{study_id}-codes.zip", "application/zip")


def _file(body: bytes, name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": PRIVATE}
    return Response(body, 200, headers, kind)


@router.post(ONE + "/links")
async def links(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId) -> Response:
    """The tokens that a page of ours was told, as a file. Nothing of them is kept here, so the page sends them."""
    await rows.get(house.database, study_id)
    try:
        made = MADE.validate_json(form["made"])
    except ValidationError:
        raise Invalid("the form does not hold tokens: make new ones") from None
    base = str(request.base_url)
    return _codes(study_id, made, base) if form["as"] == "qr" else _sheet(study_id, made, base)


@router.post(ONE + "/tokens/{token_id}/revoke")
async def revoke(house: TheHouse, viewer: TheViewer, form: AdminForm, study_id: PathId, token_id: PathId) -> Response:
    """Take back a token that has not been used."""
    await studies.revoke_token(house.database, study_id, token_id, by=viewer.admin.id)
    return go_to(f"{HERE}/{study_id}/tokens", done="token-revoked")


# What it is, and what it has brought


@router.get(ONE + "/preview")
async def preview_page(request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId) -> Response:
    """How participants see the study, and what its agents are told."""
    study = await studies.show(house.database, study_id)
    seen = await seen_of(request, house, study.design, study.seed)
    return render(request, "admin/study_seen.html", viewer=viewer, study=study, seen=seen, wrong={})


@router.get(ONE + "/download/design.{kind}")
async def design_file(
    house: TheHouse, viewer: TheViewer, study_id: PathId, kind: Annotated[Literal["toml", "json"], PathParameter()]
) -> Response:
    """The design as `simfeed study create --file` takes it, or as the API does."""
    study = await studies.show(house.database, study_id)
    if kind == "toml":
        return _file(toml(study.design).encode(), f"study-{study_id}.toml", "application/toml")
    body = json.dumps(study.design.model_dump(mode="json"), ensure_ascii=False, indent=1)
    return _file(body.encode(), f"study-{study_id}.json", "application/json")


@router.get(ONE + "/export")
async def export(house: TheHouse, viewer: TheViewer, study_id: PathId, spreadsheet: bool = False) -> Response:
    """The package."""
    return await study_data.export_study(house, SignedIn(viewer.admin, viewer.jti), study_id, spreadsheet)


@router.get(ONE + "/log/{session_id}.jsonl")
async def session_log(house: TheHouse, viewer: TheViewer, study_id: PathId, session_id: SessionId) -> Response:
    """The log of one session."""
    return await study_data.read_session_log(house, SignedIn(viewer.admin, viewer.jti), study_id, session_id)


@router.get(ONE + "/results")
async def results_page(request: Request, house: TheHouse, viewer: TheViewer, study_id: PathId) -> Response:
    """A first look: counts and quartiles by arm."""
    study = await studies.show(house.database, study_id)
    arms = [name for name, _, _ in _by_arm(study) if name]
    told = {
        "intake": await _answers(house, study_id, "intake", study.design.intake, arms),
        "closing": await _answers(house, study_id, "closing", study.design.closing, arms),
    }
    ends: dict[str, dict[str, int]] = {}
    for row in await results.ends(house.database, study_id):
        ends.setdefault(row["reason"], {})[row["arm"]] = row["rooms"]
    return render(
        request,
        "admin/study_results.html",
        viewer=viewer,
        study=study,
        counts=_counts(study.people),
        people=_by_arm(study),
        stages=STAGES,
        states=PARTICIPANT_STATES,
        arms=arms,
        rooms={row["arm"]: row for row in await results.rooms(house.database, study_id)},
        ends=ends,
        told=told,
    )


async def _answers(
    house: House, study_id: int, stage: results.Stage, questions: Sequence[Question], arms: Sequence[str]
) -> list[Told]:
    if not questions:
        return []
    numbers = [one.id for one in questions if one.kind in ("likert", "number")]
    found = await results.answers(
        house.database,
        study_id,
        stage,
        choices=[one.id for one in questions if one.kind in ("single", "multiple", "likert")],
        numbers=numbers,
    )
    return [_told(question, arms, found) for question in questions]


def _told(question: Question, arms: Sequence[str], found: results.Answered) -> Told:
    answered = [found.counts.get((question.id, arm), (0, 0)) for arm in arms]
    lines = []
    for value, words in _values(question):
        times = [found.chosen.get((question.id, arm, value), 0) for arm in arms]
        shares = [round(100 * n / total, 1) if total else 0.0 for n, (total, _) in zip(times, answered, strict=True)]
        lines.append((words, list(zip(times, shares, strict=True))))
    return Told(question, answered, lines, [found.spans.get((question.id, arm)) for arm in arms])


POINTS_SHOWN = 11


def _values(question: Question) -> list[tuple[str, str]]:
    """What can be chosen, as JSON in the way of the database, and in words; nothing for scales too long for lines."""
    if question.kind in ("single", "multiple"):
        return [(json.dumps(option, ensure_ascii=False), option) for option in question.options]
    least, most = question.bounds()
    if question.kind != "likert" or most - least >= POINTS_SHOWN:
        return []
    ends = {least: question.low, most: question.high}
    return [
        (str(point), f"{point}{f' · {ends[point]}' if ends.get(point) else ''}")
        for point in range(int(least), int(most) + 1)
    ]
