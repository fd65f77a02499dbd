"""Traces: turns found by what happened in them, and each read as a conversation with its calls, actions and effects."""

import asyncio
import difflib
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

import asyncpg
import msgspec
from fastapi import APIRouter
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.actions import feed
from app.agent import prompt
from app.db.engine import Database
from app.errors import NotFound
from app.ledger import origins, traces
from app.ledger.traces import Step, Trace, Wanted
from app.llm import model
from app.llm.pricing import providers, split
from app.models.ledger import TURN_STATES
from app.settings import Settings
from app.web.deps import House, TheHouse
from app.web.inputs import PathId, QueryId, read_cursor, sign_cursor
from app.web.pages.frame import ASSETS, PRIVATE, go_to, render, templates
from app.web.pages.query import checked
from app.web.pages.session import TheViewer
from app.web.pages.sheet import sheet
from app.world import personas
from app.world.effects import Kind
from app.world.text import INT64_MAX, Line, Query, Username

router = APIRouter(prefix="/admin/traces", include_in_schema=False)
PAGE = 40
REMEMBER = "You remember: "
RAW_MAX = 64 * 1024
"""Bytes of a request or reply that stand in the page as they are; longer ones are in the download."""

RAW_ALL = 512 * 1024
DIFF_LINES = 3_000
DIFF_WIDTH = 2_000
STATUSES: tuple[str, ...] = get_args(model.Status)
ACTIONS = sorted(feed.ACTIONS)
Id = Annotated[int, Field(ge=1, le=INT64_MAX)]
LISTS = ("posts", "comments", "users", "actions")


class TraceQuery(BaseModel):
    """What the address of the list may say; an empty field of the form counts as not given."""

    model_config = ConfigDict(extra="ignore")

    q: Query | None = None
    run: Id | None = None
    persona: Username | None = None
    persona_id: Id | None = None
    state: Literal["queued", "running", "done", "limit", "refused", "failed", "deferred"] | None = None
    status: model.Status | None = None
    action: Line | None = None
    cost: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None
    cursor: Annotated[str, Field(max_length=400)] | None = None


@router.get("")
async def traces_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """Turns, newest first, as the filters say."""
    query = checked(TraceQuery, request)
    found, cursor = await _found(house, query)
    given = query.model_dump(exclude={"cursor"}, exclude_none=True)
    here = query.model_dump(exclude_none=True)
    return render(
        request,
        "admin/traces.html",
        viewer=viewer,
        given={name: given.get(name, "") for name in TraceQuery.model_fields},
        filtered=bool(given),
        first=not query.cursor,
        found=found,
        older="/admin/traces?" + urlencode({**given, "cursor": cursor}) if cursor else "",
        csv="/admin/traces.csv" + ("?" + urlencode(here) if here else ""),
        states=TURN_STATES,
        statuses=STATUSES,
        actions=ACTIONS,
    )


async def _found(house: House, query: TraceQuery) -> tuple[traces.Found, str]:
    """The turns asked for, and the cursor of older ones."""
    person = await personas.by_username(house.database, query.persona) if query.persona else None
    wanted = Wanted(
        query.run,
        person["id"] if person else query.persona_id,
        query.state,
        query.status,
        query.action,
        query.q,
        query.cost,
    )
    scope = ("traces", *map(str, astuple(wanted)))
    before = int(read_cursor(house.secret, scope, query.cursor)[0]) if query.cursor else INT64_MAX
    found = await traces.search(house.database, wanted, limit=PAGE, before=before)
    return found, sign_cursor(house.secret, scope, (found.before,)) if found.before is not None else ""


@router.get(".csv")
async def traces_csv(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The turns that the page of the same query shows."""
    found, _ = await _found(house, checked(TraceQuery, request))
    columns = ("id", "run_id", "username", "state", "reason", "started_at", "calls", "tokens", "cost_usd", "unpriced")
    rows = [
        (*(row[name] for name in columns), "; ".join(f"{name} {outcome} x{n}" for name, outcome, n in row["done"]))
        for row in found.rows
    ]
    return sheet("traces", (*columns, "actions"), rows)


@router.get("/of/{effect}/{object_id}")
async def trace_of(house: TheHouse, viewer: TheViewer, effect: Kind, object_id: PathId) -> Response:
    """On to the step that made something."""
    kinds: tuple[Kind, ...] = (effect,)
    if effect == "post":
        kinds = ("post", "repost", "quote")
    elif effect == "comment":
        kinds = ("comment", "reply")
    for kind in kinds:
        if (found := await origins.origin(house.database, kind, object_id)) is not None:
            return go_to(found.trace)
    raise NotFound(f"no turn of this world made {effect} {object_id}: it was imported, or its record is gone")


@dataclass(frozen=True)
class Item:
    """One thing that a reading showed, as its reader saw it."""

    by: str
    what: str
    text: str
    title: str
    facts: tuple[str, ...]
    link: str


@dataclass(frozen=True)
class Part:
    """A stretch of a message; `quoted` is what others wrote. `items` is it in readable form, if it has one."""

    text: str
    quoted: bool = False
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Message:
    """Something the persona was told. `about` names the action whose result it is, `anchor` leads there."""

    role: str
    name: str
    parts: tuple[Part, ...]
    about: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Shown:
    """A step as the page shows it. Each action has `arguments` as JSON and, where they are that simple, as `fields`."""

    step: Step
    messages: tuple[Message, ...]
    thought: str
    arguments: tuple[str, ...]
    fields: tuple[tuple[tuple[str, str], ...], ...]
    links: tuple[str, ...]
    exact: bool
    request: str
    response: str
    curl: str
    remembered: tuple[str, ...]


@router.get("/{turn_id}.json")
async def trace_json(house: TheHouse, viewer: TheViewer, turn_id: PathId) -> Response:
    """A turn with all its requests, replies, actions and exposures, as data."""
    trace = await _read(house.database, turn_id)
    steps = [
        {
            **_plain(step.call, without=("told", "reply", "response", "options")),
            "request": msgspec.Raw(_request(step).body()),
            "request_is_exact": _exact(step),
            "response": step.response,
            "actions": [_plain(action) for action in step.actions],
            "exposures": [_plain(shown) for shown in step.exposures],
        }
        for step in trace.steps
    ]
    body = msgspec.json.format(msgspec.json.encode({**_plain(trace.turn), "steps": steps}), indent=1)
    return _download(body, "application/json", f"turn-{turn_id}.json")


@router.get("/{turn_id}.html")
async def trace_html(request: Request, house: TheHouse, viewer: TheViewer, turn_id: PathId) -> Response:
    """A turn as one file that needs no server."""
    trace = await _read(house.database, turn_id)
    body = templates.get_template("admin/trace_export.html").render(
        trace=trace,
        turn=trace.turn,
        steps=show(trace, house.settings),
        style=Markup("\n".join(ASSETS[name].body.decode() for name in ("style.css", "trace.css"))),  # noqa: S704 - ours
        version=request.app.version,
    )
    return _download(body.encode(), "text/html; charset=utf-8", f"turn-{turn_id}.html")


def _download(body: bytes, kind: str, name: str) -> Response:
    return Response(
        body,
        headers={
            "Content-Type": kind,
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            "Cache-Control": PRIVATE,
        },
    )


def _plain(record: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    found = {name: value for name, value in record.items() if name not in without}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in found.items()}


@router.get("/{turn_id}")
async def trace_page(request: Request, house: TheHouse, viewer: TheViewer, turn_id: PathId) -> Response:
    """A turn, step by step."""
    trace = await _read(house.database, turn_id)
    return render(
        request,
        "admin/trace.html",
        viewer=viewer,
        trace=trace,
        turn=trace.turn,
        steps=show(trace, house.settings),
    )


@router.get("/{turn_id}/diff")
async def choose_diff(viewer: TheViewer, turn_id: PathId, other: QueryId) -> Response:
    """From the form to the address of the comparison."""
    return go_to(f"/admin/traces/{turn_id}/diff/{other}")


@router.get("/{a}/diff/{b}")
async def diff_page(request: Request, house: TheHouse, viewer: TheViewer, a: PathId, b: PathId) -> Response:
    """Two turns beside each other: what they share, and where they part."""
    left, right = await _read(house.database, a), await _read(house.database, b)
    hunks = await asyncio.to_thread(compare, _lines(left), _lines(right))
    return render(request, "admin/trace_diff.html", viewer=viewer, left=left, right=right, hunks=hunks)


async def _read(database: Database, turn_id: int) -> Trace:
    trace = await traces.read(database, turn_id)
    if trace is None:
        raise NotFound(f"no turn has the number {turn_id}")
    return trace


def _request(step: Step, name: str = "") -> model.Request:
    """The request of a step as it was sent; with `name`, to the model of that name."""
    options = msgspec.json.decode(step.call["options"])
    return model.Request(
        name or step.call["model"],
        step.messages,
        b"" if options.get("json_only") else step.tools,
        options.get("temperature"),
        options.get("max_tokens"),
        options.get("seed"),
        bool(options.get("json_only")),
        top_p=options.get("top_p"),
        stop=tuple(options.get("stop", ())),
    )


def _exact(step: Step) -> bool:
    return hashlib.sha256(_request(step).body()).digest() == bytes(step.call["request_sha256"])


def curl(settings: Settings, step: Step) -> str:
    """A command that asks the provider the same again; the key is a variable of the shell."""
    provider, name = split(step.call["model"])
    preset = providers().get(provider)
    base, key = "https://api.openai.com/v1", "OPENAI_API_KEY"
    if settings.openai_base_url and (preset is None or provider == "openai"):
        base = settings.openai_base_url
    elif preset is not None:
        base, key = preset.base_url, preset.key
    lines = [
        f"curl -sS {shlex.quote(base.rstrip('/') + '/chat/completions')}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${key}"'] if key else []),
        f"--data-raw {shlex.quote(_request(step, name).body().decode())}",
    ]
    return " \\\n  ".join(lines)


def show(trace: Trace, settings: Settings) -> list[Shown]:
    """The steps as the page shows them."""
    marker = prompt.marker(trace.turn["seed"], trace.turn["persona_id"])
    calls = {
        action["call_id"]: (action["name"], f"#action-{step.number}-{action['ordinal']}")
        for step in trace.steps
        for action in step.actions
    }
    shown, left = [], RAW_ALL
    for step in trace.steps:
        body, response = _request(step).body(), step.response
        raw = len(body) <= RAW_MAX and 2 * len(body) + len(response) <= left
        left -= 2 * len(body) + len(response) if raw else 0
        shown.append(
            Shown(
                step,
                tuple(_message(told, step.number, marker, calls) for told in step.told),
                pretty(str(step.reply.get("content") or "")),
                tuple(pretty(action["arguments"]) for action in step.actions),
                tuple(_fields(action["arguments"]) for action in step.actions),
                tuple(object_link(a, trace.turn["persona_id"]) for a in step.actions),
                _exact(step),
                pretty(body.decode("utf-8", "replace")) if raw else "",
                pretty(response) if raw and len(response) <= RAW_MAX else "",
                curl(settings, step) if raw else "",
                _remembered(step, marker),
            )
        )
    return shown


def _remembered(step: Step, marker: str) -> tuple[str, ...]:
    """The memories that a step was told, as often as there were any, padded to what its exposure names."""
    told: list[str] = []
    for content in (str(message.get("content") or "") for message in step.told):
        for line in content.split("\n"):
            if line.startswith(REMEMBER + marker) and line.endswith(marker):
                with suppress(ValueError, AttributeError, TypeError):
                    told += map(str, msgspec.json.decode(line[len(REMEMBER + marker) : -len(marker)])["memories"])
    most = max((len(shown["shown"]) for shown in step.exposures), default=0)
    return (*told, *[""] * max(0, most - len(told)))


def object_link(action: Mapping[str, Any], persona_id: int) -> str:
    """Where what an action made, or was aimed at, is shown; empty where nothing is."""
    if action["outcome"] != "made":
        return ""
    match action["effect"]:
        case "post" | "repost" | "quote":
            return f"/post/{action['object_id']}"
        case "comment":
            return f"/post/{action['target_id']}#comment-{action['object_id']}"
        case "like" | "unlike" | "report" | "react":
            return f"/post/{action['target_id']}"
        case "follow" | "unfollow" | "mute" | "block":
            return f"/persona/{action['target_id']}"
        case "bio":
            return f"/persona/{persona_id}"
    return ""


def pretty(text: str) -> str:
    """JSON indented; anything else as it is."""
    try:
        return msgspec.json.format(text, indent=2) if text[:1] in ("{", "[") else text
    except (ValueError, RecursionError):
        return text


def _fields(arguments: str) -> tuple[tuple[str, str], ...]:
    """Arguments as names and values, where each is a text or a number."""
    try:
        found = msgspec.json.decode(arguments or "{}")
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, dict) or not all(isinstance(value, str | int | float) for value in found.values()):
        return ()
    return tuple((name, str(value)) for name, value in found.items())


def _message(told: Mapping[str, Any], step: int, marker: str, calls: Mapping[str, tuple[str, str]]) -> Message:
    role, content = str(told["role"]), str(told.get("content") or "")
    about, anchor = calls.get(str(told.get("tool_call_id", "")), ("", ""))
    name = {"system": "Instructions", "tool": "Result"}.get(role) or ("Situation" if step == 0 else "Results")
    untrusted = role == "tool" or step > 0
    parts = tuple(_parts(content, marker)) if untrusted else (Part(content),)
    return Message(role, name, parts, about, anchor)


def _parts(content: str, marker: str) -> Iterator[Part]:
    """What stands between a pair of the turn's marks was written by others."""
    pieces = content.split(marker)
    for n, piece in enumerate(pieces):
        quoted = n % 2 == 1 and n < len(pieces) - 1
        if quoted:
            yield Part(pretty(piece), True, _items(piece))
        elif piece.strip():
            yield Part(piece.strip())


def _items(text: str) -> tuple[Item, ...]:
    """A reading's JSON as a list of what it showed; empty where it is of another form."""
    try:
        result = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(result, dict):
        return ()
    listed = next((result[name] for name in LISTS if isinstance(result.get(name), list)), None)
    rows = [result] if listed is None and "by" in result else listed or []
    kind = next((name for name in LISTS if name in result), "author")
    return tuple(_item(row, kind, result) for row in rows if isinstance(row, dict))


def _item(row: Mapping[str, Any], kind: str, result: Mapping[str, Any]) -> Item:
    number = row.get("id", row.get("post_id"))
    post = number if kind == "posts" else row.get("post_id", result.get("post_id"))
    link = f"/persona/{row.get('id', row.get('by_id'))}" if kind in ("users", "author") else f"/post/{post}"
    if kind == "comments":
        link += f"#comment-{number}"
    facts = [f"{name.replace('_', ' ')} {row[name]}" for name in ("likes", "comments", "followers") if name in row]
    facts += [f"{name.replace('_', ' ')} {row[name]}" for name in ("did", "written_by") if name in row]
    if "ago" in row:
        facts.append(f"{row['ago']} ago")
    text = str(row.get("text") or row.get("bio") or "")
    what = f"{kind.removesuffix('s')} #{number}"
    return Item(str(row.get("by", "")), what, text, str(row.get("title") or ""), tuple(facts), link)


@dataclass(frozen=True)
class Row:
    """A line of a comparison: `how` is same, changed, only-left or only-right; None where a side has no line."""

    how: str
    left: str | None
    right: str | None


def _lines(trace: Trace) -> list[str]:
    """A turn as lines of text, without what differs anyway: numbers, times, hashes."""
    lines: list[str] = []
    for step in trace.steps:
        lines.append(f"— step {step.number}: {step.call['model_returned']}, {step.call['status']}")
        for told in step.told:
            lines.append(f"[{told['role']}]")
            lines += str(told.get("content") or "").splitlines()
        lines.append(f"[@{trace.turn['username']}]")
        lines += str(step.reply.get("content") or "").splitlines()
        lines += [_told(action) for action in step.actions]
    lines.append(f"— {trace.turn['state']}" + (f" ({trace.turn['reason']})" if trace.turn["reason"] else ""))
    return [line[:DIFF_WIDTH] for line in lines[:DIFF_LINES]]


def _told(action: asyncpg.Record) -> str:
    why = f": {action['detail']}" if action["detail"] else ""
    return f"{action['name']} {action['arguments']} → {action['outcome']}{why}"


def compare(left: list[str], right: list[str]) -> list[list[Row]]:
    """Where two texts differ, with three lines around; empty when they don't."""
    hunks = []
    for group in difflib.SequenceMatcher(None, left, right).get_grouped_opcodes(3):
        rows: list[Row] = []
        for tag, a, b, c, d in group:
            pairs = max(b - a, d - c)
            for n in range(pairs):
                one = left[a + n] if a + n < b else None
                other = right[c + n] if c + n < d else None
                how = "same" if tag == "equal" else "changed"
                rows.append(Row("only-left" if other is None else "only-right" if one is None else how, one, other))
        hunks.append(rows)
    return hunks
