"""What the importers of other systems' files share: what has no field of ours is told in the description."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import PydanticCustomError

from app.world.text import PERSONA_MAX, USERNAME_MAX, clean

LINE_MAX = 200
ENTRIES_MAX = 32

_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)
_FOLDED = re.compile(r"[^A-Za-z0-9_.-]+")

Mapper = Callable[[dict[str, Any]], "Draft"]


@dataclass
class Draft:
    """A persona being put together from a foreign record."""

    handle: str
    fields: dict[str, Any] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    unique: dict[str, str] = field(default_factory=dict)

    def line(self, name: str, value: Any, label: str) -> None:
        """Keep `value` in the field `name` when it is one short text, else in the description."""
        if isinstance(value, str) and is_line(value):
            self.fields[name] = tidy(value)
        else:
            self.tell(label, value)

    def lines(self, name: str, value: Any, label: str) -> None:
        items = plain_list(value)
        kept: list[str] = self.fields.setdefault(name, [])
        rest = []
        for item in items:
            if isinstance(item, str) and is_line(item) and len(kept) < ENTRIES_MAX:
                kept.append(tidy(item))
            else:
                rest.append(item)
        self.tell(label, rest)

    def fact(self, name: str, value: Any) -> None:
        """Keep `value` among the demographics when it is short, else in the description."""
        known: dict[str, str | int] = self.fields.setdefault("demographics", {})
        fits = len(known) < ENTRIES_MAX and is_line(name)
        if fits and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 10**9:
            known[tidy(name)] = value
        elif fits and isinstance(value, str) and is_line(value):
            known[tidy(name)] = tidy(value)
        else:
            self.tell(labelled(name), value)

    def tell(self, label: str, value: Any) -> None:
        if not is_blank(value):
            self.parts.append(told(label, value))

    def rest(self, record: dict[str, Any], known: Iterable[str]) -> None:
        """Keep every entry of `record` that is not in `known`: facts first, then what needs telling."""
        others = {name: value for name, value in record.items() if name not in known and not is_blank(value)}
        for name, value in others.items():
            self.fact(name, value)


def tidy(value: str) -> str:
    return unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()


def is_line(value: str) -> bool:
    return 0 < len(tidy(value)) <= LINE_MAX


def is_blank(value: Any) -> bool:
    return value is None or value in ({}, []) or (isinstance(value, str) and not value.strip())


def plain_list(value: Any) -> list[Any]:
    """Return `value` as a list, each `{"trait": text}` of the older files as its text."""
    items = value if isinstance(value, list) else [value]
    plain = [next(iter(item.values())) if isinstance(item, dict) and len(item) == 1 else item for item in items]
    return [item for item in plain if not is_blank(item)]


def labelled(name: str) -> str:
    words = tidy(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def told(label: str, value: Any, indent: str = "") -> str:
    """Return `value` as text a person would read: one line, or a list below its label."""
    if isinstance(value, dict):
        items = [told(str(name), inner, indent + "  ") for name, inner in _named(value) if not is_blank(inner)]
    elif isinstance(value, list):
        items = [_item(inner, indent + "  ") for inner in plain_list(value)]
    else:
        return f"{label}: {_scalar(value)}"
    return "\n".join([f"{label}:", *(f"{indent}- {item}" for item in items)])


def _named(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name.replace("_", " "), inner) for name, inner in value.items()]


def _item(value: Any, indent: str) -> str:
    if isinstance(value, dict):
        head = next((name for name, inner in value.items() if isinstance(inner, str) and is_line(inner)), None)
        others = {name: inner for name, inner in value.items() if name != head}
        label = _scalar(value[head]) if head else "one"
        return told(label, others["description"] if list(others) == ["description"] else others, indent)
    return told("several", value, indent) if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split())


def slug(text: str) -> str:
    """Return `text` as the Username rule wants it, as near as Latin letters can come."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return _FOLDED.sub("_", plain).strip("_.-")[:USERNAME_MAX].rstrip("_.-") or "persona"


def _usernames(drafts: list[Draft]) -> list[str]:
    """Return a username for each draft; a later record with the same one gets the first free number."""
    slugs = [slug(draft.handle) for draft in drafts]
    reserved = {name.lower() for name in slugs}
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    names = []
    for name in slugs:
        names.append(_free(name, reserved, numbers) if name.lower() in taken else name)
        taken.add(names[-1].lower())
        reserved.add(names[-1].lower())
    return names


def _free(name: str, reserved: set[str], numbers: Counter[str]) -> str:
    while True:
        numbers[name.lower()] += 1
        suffix = f"_{numbers[name.lower()] + 1}"
        candidate = name[: USERNAME_MAX - len(suffix)].rstrip("_.-") + suffix
        if candidate.lower() not in reserved:
            return candidate


def assemble(drafts: list[Draft]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return each draft's fields for PersonaSpec, and the notes on what the file lost."""
    losses: Counter[str] = Counter()
    made = []
    for draft, username in zip(drafts, _usernames(drafts), strict=True):
        description, is_cut = shortened("\n".join(draft.parts), PERSONA_MAX)
        raw = draft.fields | {"username": username, "description": description}
        made.append(_readable(raw))
        losses.update(draft.losses)
        losses[f"description: cut to {PERSONA_MAX:,} characters"] += is_cut
        losses["username: changed to be valid and unique"] += username != draft.handle.removeprefix("@")
        losses["control characters: replaced by U+FFFD"] += made[-1] != raw
    return made, [f"{loss} ({count} record{'s'[: count != 1]})" for loss, count in losses.items() if count]


def _readable(value: Any) -> Any:
    """Return `value` with U+FFFD for each character the text rules refuse: generated files hold some."""
    if isinstance(value, dict):
        return {_readable(name): _readable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return value if not isinstance(value, str) or _is_clean(value) else "".join(map(_shown, value))


def _shown(char: str) -> str:
    return char if _is_clean(char) else "\ufffd"


def _is_clean(value: str) -> bool:
    try:
        clean(value)
    except PydanticCustomError:
        return False
    return True


def shortened(text: str, limit: int) -> tuple[str, bool]:
    """Return `text` in at most `limit` characters, cut between lines or words, and whether it was cut."""
    text = tidy(text)
    if len(text) <= limit:
        return text, False
    head = text[: limit - 1]
    end = max(head.rfind("\n"), head.rfind(" "))
    return head[: end if end > limit // 2 else None].rstrip() + "…", True
