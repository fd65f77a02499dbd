"""What the model can know of a chatroom: one request, parsed with distrust into a room."""

import re
from dataclasses import dataclass
from functools import lru_cache

from app.llm.model import Request
from app.llm.scripted.reading import KEEP, Persona, content_of, decoded, described, identifier

_WHO = re.compile(r"(?:\A|\n\n)You are ([^\n]+)(?:\n|\Z)")
_BRIEF = "\n\nWhat holds in this room: "
_WITH = re.compile(r"^In the room with you: (.*)\. About (\d{1,6}) min are left\.$", re.MULTILINE)
_MARKS = re.compile(r"^Quote marks now: (⟦[^⟦⟧\n]{1,40}⟧)$", re.MULTILINE)
_ADDRESSED = re.compile(r"^Message (\d{1,9}) speaks to you: answer it\.$", re.MULTILINE)
_FOR_ALL = re.compile(r"^Message (\d{1,9}) is for everybody: ", re.MULTILINE)
_BLOCKED = re.compile(r" has blocked you and doesn't see what you write\.$", re.MULTILINE)
_MOST = 200


@dataclass(frozen=True)
class Message:
    """One message of the room; `number` counts from 1 and has no gaps."""

    number: int
    by: str
    text: str
    reply_to: int = 0
    liked_by: tuple[str, ...] = ()
    reported: bool = False


@dataclass(frozen=True)
class Room:
    """Everything an answer in a room may depend on. `cause` is addressed, answer or background."""

    persona: Persona
    brief: str = ""
    others: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    cause: str = "background"
    answers: int = 0
    minutes_left: int = 60
    blocked: bool = False

    @property
    def me(self) -> str:
        return self.persona.username

    @property
    def person(self) -> str:
        """The human, who comes first among the others."""
        return self.others[0] if self.others else ""

    @property
    def last(self) -> int:
        """The number of the newest message, 0 in a new room."""
        return self.messages[-1].number if self.messages else 0

    @property
    def window(self) -> int:
        """How many messages can be seen; 0 as long as all can."""
        return len(self.messages) if self.last > len(self.messages) else 0


def read_room(request: Request) -> Room:
    """The room of a chat request; whatever can't be read is taken as absent."""
    messages = [message for message in map(decoded, request.messages[:2]) if isinstance(message, dict)]
    system, user = (content_of(message) for message in [*messages, {}, {}][:2])
    mark = _MARKS.findall(user)[-1:]
    pieces = user.split(mark[0]) if mark else [user]
    said = _messages(decoded(pieces[1])) if len(pieces) > 3 else ()
    frame = "\n".join([pieces[0], *pieces[2:]]) if said else user
    there = _WITH.search(pieces[0])
    others = tuple(name for name in there[1].split(", ") if name) if there else ()
    cause, answers = _cause(frame)
    who, _, brief = system.partition(_BRIEF)
    return Room(
        persona=_persona(who, tuple(sorted({message.by for message in said} - set(others)))),
        brief=brief.strip(),
        others=others,
        messages=said,
        cause=cause,
        answers=answers,
        minutes_left=int(there[2]) if there else 60,
        blocked=bool(_BLOCKED.search(frame)),
    )


def _cause(frame: str) -> tuple[str, int]:
    if found := _ADDRESSED.findall(frame):
        return "addressed", int(found[-1])
    if found := _FOR_ALL.findall(frame):
        return "answer", int(found[-1])
    return "background", 0


@lru_cache(maxsize=512)
def _persona(system: str, written: tuple[str, ...]) -> Persona:
    """Whom the prompt describes. A name may hold commas: one that has `written` in the room is known whole."""
    found = _WHO.search(system)
    if not found:
        return Persona()
    head = found[1].strip().removesuffix(".")
    known = [name for name in written if head == name or head.startswith((f"{name}, ", f"{name} ("))]
    name = max(known, key=len) if known else head.split(" (")[0].split(", ")[0]
    role = head[len(name) :].rpartition("), ")[2].removeprefix(", ").strip()
    return described(name[:40], "" if role.endswith(")") else role, system[found.end() :])


def _messages(value: object) -> tuple[Message, ...]:
    rows = value.get("messages") if isinstance(value, dict) else None
    found = [_message(row) for row in rows[-_MOST:] if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(message for message in found if message is not None)


def _message(row: dict[object, object]) -> Message | None:
    number, by, text = identifier(row.get("n")), row.get("by"), row.get("text")
    if not (number and isinstance(by, str) and by and isinstance(text, str)):
        return None
    liked = row.get("liked_by")
    return Message(
        number=number,
        by=by[:40],
        text=text[:KEEP],
        reply_to=identifier(row.get("reply_to")),
        liked_by=tuple(name for name in liked[:64] if isinstance(name, str)) if isinstance(liked, list) else (),
        reported="reported_by" in row,
    )
