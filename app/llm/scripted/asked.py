"""What a session asks: one request, parsed with distrust."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from app.llm.model import Request
from app.llm.scripted.reading import MEMORIES_MAX, Persona, content_of, decoded, described, identifier

ASKS = frozenset(
    [
        "speak", "answer", "choose_speaker", "raise_hand", "record", "summarise", "judge", "write_persona", "rewrite",
        "write_document", "ground",
    ]
)  # fmt: skip
"""The tools by which sessions ask."""

TEXT_MOST, LINES_MOST = 8_000, 1_000
"""Characters of one text, and lines of a list, that are looked at."""

_MARKS = re.compile(r"^Quote marks now: (⟦[^⟦⟧\n]{1,40}⟧)$", re.MULTILINE)
_MANUAL = re.compile(r"^([a-z]\w{0,40})\(([^)\n]*)\)", re.MULTILINE)
_YOU = re.compile(r"(?:^|\. )You are ([^\n]{1,80}?)\. (?:It is your turn|Call )", re.MULTILINE)
_WRITE = re.compile(r"\bwrite what you say next\b")
_ROUND = re.compile(r"\bround (\d{1,6}) of (\d{1,6})\b", re.IGNORECASE)
_WITH = re.compile(r"\bWith you: ([^\n]*?)\.?$", re.MULTILINE)
_HEAD = re.compile(r"(?:\A|\n\n)You are ([^\n]+)(?=\n|\Z)")
_OF_ONE = re.compile(r"^You are ([^\n]+)$", re.MULTILINE)
_GENERAL = re.compile(r"\AYou take part in a conversation[^\n]*(?:\n\n|\Z)")
"""What all dialogues are told, before the prompt that is somebody's own."""

_JSON_MODE = re.compile(r"^Answer with JSON", re.MULTILINE)


class Line(msgspec.Struct, frozen=True):
    """Something that was said."""

    n: int
    by: str
    text: str


@dataclass(frozen=True)
class Tool:
    """What may be called, with the schema of each argument."""

    name: str
    properties: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, argument: str) -> bool:
        return argument in self.properties


@dataclass(frozen=True)
class Asked:
    """Everything an answer to a session may depend on. `system` is all of the system message; a persona that is nobody
    has no description."""

    tool: Tool
    persona: Persona
    me: str
    system: str
    frame: str = ""
    instruction: str = ""
    others: tuple[str, ...] = ()
    said: tuple[Line, ...] = ()
    memories: tuple[str, ...] = ()
    json_mode: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """A text of the material, "" where there is none."""
        value = self.given.get(key)
        return value[:TEXT_MOST] if isinstance(value, str) else ""

    def rows(self, key: str) -> list[dict[str, Any]]:
        return [row for row in _list(self.given.get(key)) if isinstance(row, dict)]

    def strings(self, key: str) -> list[str]:
        return strings(self.given.get(key))

    @property
    def round(self) -> tuple[int, int]:
        """Which round of how many, (0, 0) where none is told."""
        found = _ROUND.search(self.frame)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def last(self) -> int:
        return self.said[-1].n if self.said else 0


def strings(value: object) -> list[str]:
    """The texts of what should be a list of texts."""
    return [one[:TEXT_MOST] for one in _list(value) if isinstance(one, str)]


def _list(value: object) -> Sequence[Any]:
    return value[:LINES_MOST] if isinstance(value, list) else ()


def read_asked(request: Request) -> Asked | None:
    """What a session asks with `request`; None where it is no session that asks."""
    tools = _tools(request.tools) if request.tools else ()
    tool = next((tool for tool in tools if tool.name in ASKS), None)
    if tools and tool is None:
        return None
    messages = [message for message in map(decoded, request.messages[:2]) if isinstance(message, dict)]
    system, user = (content_of(message) for message in [*messages, {}, {}][:2])
    json_mode = request.json_only or (tool is None and bool(_JSON_MODE.search(system)))
    if tool is None:
        tool = _in_manual(system) if json_mode else Tool("") if _WRITE.search(user[-300:]) else None
    return _asked(tool, system, user, json_mode) if tool else None


def _asked(tool: Tool, system: str, user: str, json_mode: bool) -> Asked:
    frame, given, memories, instruction = _parted(user)
    said = _said(given.get("said"))
    there = _WITH.search(frame)
    others = tuple(name for name in there[1].split(", ") if name) if there else ()
    you = _YOU.search(instruction)
    persona = _persona(system, you[1] if you else "", tuple(sorted({line.by for line in said})))
    return Asked(
        tool=tool,
        persona=persona,
        me=you[1] if you else persona.username,
        system=system,
        frame=frame,
        instruction=instruction,
        others=others,
        said=said,
        memories=memories,
        json_mode=json_mode,
        given=given,
    )


@lru_cache(maxsize=512)
def _tools(tools: bytes) -> tuple[Tool, ...]:
    value = decoded(tools)
    functions = [tool.get("function") for tool in _list(value) if isinstance(tool, dict)]
    return tuple(
        Tool(one["name"], _properties(one.get("parameters")))
        for one in functions
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    )


def _properties(parameters: object) -> Mapping[str, Any]:
    found = parameters.get("properties") if isinstance(parameters, dict) else None
    return found if isinstance(found, dict) else {}


@lru_cache(maxsize=512)
def _in_manual(system: str) -> Tool | None:
    """The tool that a manual in the system message describes; its arguments' schemas aren't told there."""
    manual = system.partition("\n\nYou are ")[0]
    found = next((one for one in _MANUAL.finditer(manual) if one[1] in ASKS), None)
    if found is None:
        return None
    names = [name.strip(" ?") for name in found[2].split(",")]
    return Tool(found[1], {name: {} for name in names if name})


def _parted(user: str) -> tuple[str, Mapping[str, Any], tuple[str, ...], str]:
    """Frame, material, memories and instruction of a user message. Only what stands between the marks is quoted, and
    nothing quoted can hold them."""
    marked = list(_MARKS.finditer(user))[-1:]
    body, ends = (user[: marked[0].start()], user[marked[0].end() :]) if marked else ("", user)
    pieces = body.split(marked[0][1]) if marked else [""]
    given: Mapping[str, Any] = {}
    memories: tuple[str, ...] = ()
    frames = pieces[::2]
    for before, quoted in zip(frames, pieces[1::2], strict=False):
        value = decoded(quoted)
        if not isinstance(value, dict):
            continue
        if before.endswith("You remember: "):
            memories = tuple(strings(value.get("memories"))[:MEMORIES_MAX])
        elif not given:
            given = value
    return frames[0], given, memories, ends.strip().rpartition("\n")[2]


def _said(value: object) -> tuple[Line, ...]:
    found = []
    for row in _list(value)[-LINES_MOST:]:
        by, text = (row.get("by"), row.get("text")) if isinstance(row, dict) else (None, None)
        if isinstance(by, str) and by and isinstance(text, str) and text.strip():
            found.append(Line(identifier(row.get("n")), by[:60], text[:TEXT_MOST]))
    return tuple(found)


@lru_cache(maxsize=2_048)
def _persona(system: str, me: str, written: tuple[str, ...]) -> Persona:
    """Whom the prompt describes. Of several introductions the last one that fits counts: prompts may begin with one."""
    heads = list(_HEAD.finditer(system))
    own = [found for found in _OF_ONE.finditer(system) if _begins(found[1], me)] if me else []
    if me and not own:
        return Persona(username=me, description=_GENERAL.sub("", system)[:2_000])
    if not heads:
        return Persona()
    found = (own or heads)[-1] if own or heads[-1].start() > 0 or len(heads) > 1 else heads[0]
    head = found[1].strip().removesuffix(".")
    known = [name for name in (*written, me) if name and _begins(head, name)]
    name = max(known, key=len) if known else head.split(" (")[0].split(", ")[0].split(". ")[0]
    role = head[len(name) :].rpartition("), ")[2].removeprefix(", ").strip()
    return described(name[:40], "" if role.endswith(")") else role, system[found.end() :])


def _begins(head: str, name: str) -> bool:
    return head.rstrip(".") == name or head.startswith((f"{name}, ", f"{name} (", f"{name}. "))
