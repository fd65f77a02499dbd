"""What the model can know: one request, parsed with distrust into a scene."""

import re
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from app.llm.model import Request
from app.world.text import INT64_MAX

KEEP = 700
"""Characters kept of any text that others wrote: more than a post may have."""

MEMORIES_MAX = 60

_HANDLE = re.compile(r"@?([A-Za-z0-9](?:[A-Za-z0-9_.-]{0,38}[A-Za-z0-9])?)")
_WHO = re.compile(
    r"^You are @([A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)(?: \((.*?)\))?(?:, (.*?))?\.?$\n?", re.MULTILINE
)
_FACTS = re.compile(r"(?:^|(?<=\. ))(Traits|Goals|Style|Interests|Leaning|Bio): ", re.MULTILINE)
_WROTE = re.compile(r"wrote (\d{1,9}) posts? and (\d{1,9}) comments?")
_FOLLOWED = re.compile(r"(\d{1,9}) follows? you, you follow (\d{1,9})")
_CAP = re.compile(r"at most (\d{1,4}) action")
_MARK = re.compile(r"⟦[^⟦⟧\n]{1,40}⟧")
_MEMORIES = re.compile(r"^You remember: (⟦[^⟦⟧\n]{1,40}⟧)(.*)\1$", re.MULTILINE)
_MANUAL = re.compile(r"^([a-z]\w{0,40})\(", re.MULTILINE)
_TOOL_NAME = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")


@dataclass(frozen=True)
class Persona:
    username: str = "someone"
    role: str = ""
    description: str = ""
    facts: tuple[tuple[str, str], ...] = ()

    def fact(self, name: str) -> str:
        return next((value for key, value in self.facts if key == name), "")


@dataclass(frozen=True)
class Post:
    id: int
    by: str
    by_id: int
    text: str
    comments: int = 0


@dataclass(frozen=True)
class Remark:
    """A comment under a post; `reply_to` is the comment that it answers, 0 if none."""

    post_id: int
    by: str
    text: str
    id: int = 0
    reply_to: int = 0


@dataclass(frozen=True)
class News:
    """An item of the news, as it was shown."""

    title: str
    source: str = ""
    text: str = ""


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, object]


@dataclass
class Scene:
    """Everything one answer may depend on."""

    persona: Persona
    offered: frozenset[str] = frozenset()
    json_mode: bool = False
    written: int = 0
    commented: int = 0
    follows: int = 0
    cap: int = 10
    lately: str = ""
    replies: int = 0
    made: list[Call] = field(default_factory=list)
    posts: dict[int, Post] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    followed: dict[str, bool] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    memories: list[str] = field(default_factory=list)
    news: list[News] = field(default_factory=list)

    def times(self, name: str) -> int:
        return sum(call.name == name for call in self.made)

    def lately_did(self, verb: str) -> set[int]:
        """The numbers of what "Lately you" says it did `verb` to."""
        found = (re.match(rf"{verb}(?: on)? #(\d{{1,18}})", part.strip()) for part in self.lately.split(";"))
        return {int(one[1]) for one in found if one}


def decoded(data: bytes | str) -> object:
    """The JSON value of `data`, or None."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def read(request: Request) -> Scene:
    """The scene of a request; whatever can't be read is taken as absent."""
    messages = [message for message in map(decoded, request.messages) if isinstance(message, dict)]
    rules = content_of(messages[0]) if messages else ""
    scene = Scene(_persona(rules), json_mode=request.json_only)
    _read_tools(scene, request, rules)
    if len(messages) > 1:
        _read_situation(scene, content_of(messages[1]))
    for message in messages[2:]:
        _read_message(scene, message)
    return scene


def content_of(message: dict[object, object]) -> str:
    """The text of a message, "" where it has none."""
    content = message.get("content")
    return content if isinstance(content, str) else ""


@lru_cache(maxsize=512)
def _persona(rules: str) -> Persona:
    found = _WHO.search(rules)
    if not found:
        return Persona()
    return described(found[1][:40], found[3] or "", rules[found.end() :].split("\nAnswer with JSON")[0])


def described(name: str, role: str, text: str) -> Persona:
    """The persona of a prompt's lines about it."""
    first = _FACTS.search(text)
    return Persona(
        username=name,
        role=role.strip(),
        description=(text[: first.start()] if first else text).strip()[:2_000],
        facts=tuple(_facts(text[first.start() :])) if first else (),
    )


def _facts(text: str) -> list[tuple[str, str]]:
    pieces = _FACTS.split(text)
    return [(name, value.strip().rstrip(".")) for name, value in zip(pieces[1::2], pieces[2::2], strict=False)]


def _read_tools(scene: Scene, request: Request, rules: str) -> None:
    tools = decoded(request.tools) if request.tools else None
    names = _tool_names(tools) if isinstance(tools, list) else set()
    if not names:
        scene.json_mode = scene.json_mode or bool(re.search(r"^Answer with JSON", rules, re.MULTILINE))
        manual = rules.partition("\n\nYou are ")[0]
        names = {*_TOOL_NAME.findall(rules), *_MANUAL.findall(manual)} if scene.json_mode else set()
    scene.offered = frozenset(names)


def _tool_names(tools: list[object]) -> set[str]:
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return {name for name in names if isinstance(name, str)}


def _read_situation(scene: Scene, text: str) -> None:
    head, _, tail = text.partition("Lately you: ")
    if found := _WROTE.search(head):
        scene.written, scene.commented = int(found[1]), int(found[2])
    if found := _FOLLOWED.search(head):
        scene.follows = int(found[2])
    if caps := _CAP.findall(text):
        scene.cap = int(caps[-1])
    scene.lately = tail.partition("\n")[0][:4_000]
    scene.memories = _remembered(text)


def _remembered(text: str) -> list[str]:
    """What the persona remembers; nothing that others wrote can stand between its marks."""
    found = _MEMORIES.search(text)
    value = decoded(found[2]) if found else None
    lines = value.get("memories") if isinstance(value, dict) else None
    return [line for line in lines[:MEMORIES_MAX] if isinstance(line, str)] if isinstance(lines, list) else []


def _read_message(scene: Scene, message: dict[object, object]) -> None:
    if message.get("role") == "assistant":
        scene.replies += 1
        scene.made += _calls(message)
        return
    for value in _values(content_of(message)):
        _note(scene, value, 0)


def _calls(message: dict[object, object]) -> list[Call]:
    listed = message.get("tool_calls")
    if isinstance(listed, list):
        functions = [call.get("function") for call in listed if isinstance(call, dict)]
        return [_call(function) for function in functions if isinstance(function, dict)]
    spoken = decoded(content_of(message))
    actions = spoken.get("actions") if isinstance(spoken, dict) else None
    return [_call(action) for action in actions if isinstance(action, dict)] if isinstance(actions, list) else []


def _call(function: dict[object, object]) -> Call:
    arguments = function.get("arguments")
    value = decoded(arguments) if isinstance(arguments, str) else arguments
    return Call(str(function.get("name")), value if isinstance(value, dict) else {})


def _values(content: str) -> list[object]:
    """The JSON values of a result: the whole between its markers, else each piece between two."""
    whole = decoded(_unmarked(content.strip()))
    if isinstance(whole, dict | list):
        return [whole]
    return [value for piece in _MARK.split(content)[:64] if isinstance(value := decoded(piece.strip()), dict | list)]


def _unmarked(content: str) -> str:
    first = _MARK.match(content)
    mark = first[0] if first else ""
    return content.removeprefix(mark).removesuffix(mark) if mark else content


def _note(scene: Scene, value: object, depth: int) -> None:
    if isinstance(value, list) and depth < 3:
        for item in value[:100]:
            _note(scene, item, depth + 1)
    if not isinstance(value, dict):
        return
    _note_posts(scene, value)
    _note_people(scene, value)
    for row in _rows(value, "news"):
        if title := " ".join(_text(row.get("title")).split()):
            scene.news.append(News(title, " ".join(_text(row.get("source")).split())[:60], _text(row.get("text"))))
    for key in ("results", "result", "content"):
        if depth < 3 and isinstance(value.get(key), dict | list):
            _note(scene, value[key], depth + 1)


def _rows(value: dict[object, object], key: str) -> list[dict[object, object]]:
    rows = value.get(key)
    return [row for row in rows[:100] if isinstance(row, dict)] if isinstance(rows, list) else []


def _note_posts(scene: Scene, value: dict[object, object]) -> None:
    for row in _rows(value, "posts"):
        if (post := _post(row)) is not None:
            scene.posts[post.id] = post
            scene.ids[post.by] = post.by_id
    post_id = identifier(value.get("post_id"))
    for row in _rows(value, "comments"):
        by, text = _handle(row.get("by")), _text(row.get("text"))
        if post_id and by and text:
            scene.remarks.append(Remark(post_id, by, text, identifier(row.get("id")), identifier(row.get("reply_to"))))
            if by_id := identifier(row.get("by_id")):
                scene.ids[by] = by_id


def _note_people(scene: Scene, value: dict[object, object]) -> None:
    for row in _rows(value, "actions"):
        if by := _handle(row.get("by")):
            scene.followed[by] = True
        if row.get("did") in ("post", "quote") and (post := _post({**row, "id": row.get("post_id")})) is not None:
            scene.posts.setdefault(post.id, post)
    for row in [*_rows(value, "users"), value]:
        by, by_id = _handle(row.get("by")), identifier(row.get("by_id")) or identifier(row.get("id"))
        if by and by_id:
            scene.ids[by] = by_id
    by = _handle(value.get("by"))
    if by and isinstance(value.get("you_follow"), bool):
        scene.followed[by] = bool(value["you_follow"])


def _post(row: dict[object, object]) -> Post | None:
    post_id, by, by_id = identifier(row.get("id")), _handle(row.get("by")), identifier(row.get("by_id"))
    if not (post_id and by and by_id):
        return None
    text = f"{_text(row.get('title'))}\n{_text(row.get('text'))}".strip()
    return Post(post_id, by, by_id, text, identifier(row.get("comments")))


def identifier(value: object) -> int:
    """`value` if it can be an identifier, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= INT64_MAX else 0


def _handle(value: object) -> str:
    found = _HANDLE.fullmatch(value[:60]) if isinstance(value, str) else None
    return found[1] if found else ""


def _text(value: object) -> str:
    return value[:KEEP] if isinstance(value, str) else ""
