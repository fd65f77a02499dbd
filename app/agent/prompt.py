"""Persona and situation as messages: the part that never changes first, so that providers' prompt caches hit."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from app.actions.registry import ActionSet
from app.agent.population.fragments import text_of
from app.llm.model import encode_message
from app.streams import number

PROMPTS = Path(__file__).parent / "prompts"
DESCRIPTION_MAX = 2_000


@cache
def text(name: str) -> str:
    """A prompt's text, from `prompts/NAME.md`."""
    return (PROMPTS / f"{name}.md").read_text(encoding="utf-8").strip()


def texts_sha256() -> str:
    """Names the prompts in force; kept with each run."""
    return hashlib.sha256("\n".join(text(p.stem) for p in sorted(PROMPTS.glob("*.md"))).encode()).hexdigest()


@dataclass(frozen=True)
class Situation:
    """What a persona's turn starts from.

    `lately`: (what it did, id, text), newest first; `memories`: lines; `told`: (who says it, what) to it alone.
    """

    username: str
    description: str
    bio: str
    profile: Mapping[str, Any]
    posts: int
    comments: int
    followers: int
    following: int
    lately: Sequence[tuple[str, int, str]]
    now: datetime
    memories: Sequence[str] = ()
    told: Sequence[tuple[str, str]] = ()


def persona_text(situation: Situation) -> str:
    """Who the persona is, in a few lines."""
    s = situation
    return character(f"@{s.username}", s.description, s.bio, s.profile)


def character(name: str, description: str, bio: str, profile: Mapping[str, Any]) -> str:
    """Who somebody of that name is, in a few lines."""
    known_as = f" ({profile['display_name']})" if profile.get("display_name") else ""
    role = f", {profile['role']}" if profile.get("role") else ""
    facts = [
        f"{label}: {'; '.join(value) if isinstance(value, list) else value}."
        for label, value in (
            ("Traits", profile.get("traits")),
            ("Goals", profile.get("goals")),
            ("Style", profile.get("style")),
            ("Interests", profile.get("interests")),
            ("Leaning", profile.get("leaning")),
        )
        if value
    ]
    facts += [text_of(fragment) for fragment in profile.get("fragments", [])]
    lines = [f"You are {name}{known_as}{role}.", description[:DESCRIPTION_MAX]]
    if bio:
        lines.append(f"Bio: {_one_line(bio)}")
    return unmarked("\n".join([*lines, " ".join(facts)] if facts else lines))


def unmarked(text: str) -> str:
    """`text` without look-alikes of quote marks."""
    return text.replace("⟦", "[").replace("⟧", "]")


def _one_line(text: str) -> str:
    """What a persona once wrote: others may have talked it into writing what looks like the lines of a prompt."""
    return " ".join(unmarked(text).split())


def _did(kind: str, object_id: int, said: str) -> str:
    if kind == "followed":
        return f"followed @{said}"
    return f"{kind} #{object_id}" + (f' "{_one_line(said)}"' if said else "")


def situation_text(situation: Situation, marker: str, max_actions: int) -> str:
    """Where and when the persona wakes, and what it did lately."""
    s = situation
    lines = [
        f"It is {s.now:%A} {s.now.day} {s.now:%B %Y, %H:%M} UTC. So far you wrote {s.posts} posts and {s.comments} "
        f"comments; {s.followers} follow you, you follow {s.following}."
    ]
    if s.lately:
        lines.append(f"Lately you: {'; '.join(_did(*did) for did in s.lately)}.")
    lines += [
        *_remembered(s.memories, marker),
        *_told(s.told, marker),
        f"Quote marks now: {marker}",
        f"Your turn: at most {max_actions} actions.",
    ]
    return "\n".join(lines)


def _remembered(memories: Sequence[str], marker: str) -> list[str]:
    """What the persona remembers: others wrote parts of it, so it stands between the turn's marks."""
    return [f"You remember: {quote({'memories': memories}, marker)}"] if memories else []


def _told(told: Sequence[tuple[str, str]], marker: str) -> list[str]:
    """What was said to the persona alone, as quoted data."""
    messages = [{"from": by, "text": words} for by, words in told]
    return [f"Messages to you: {quote({'messages': messages}, marker)}"] if messages else []


def opening(
    situation: Situation, actions: ActionSet, *, marker: str, max_actions: int, native: bool
) -> tuple[bytes, ...]:
    """The messages a turn begins with."""
    system = text("feed")
    if not native:
        system += "\n" + text("json_mode").format(manual=actions.manual())
    return (
        encode_message("system", f"{system}\n\n{persona_text(situation)}"),
        encode_message("user", situation_text(situation, marker, max_actions)),
    )


@dataclass(frozen=True)
class Scene:
    """What a turn in a chatroom starts from.

    `lately` holds the newest messages, oldest first; `brief` is what the study tells all agents of this arm;
    `minutes_left` are of the session; `disclosed`: the person has been told that machines take part.
    """

    name: str
    character: str
    brief: str
    members: Sequence[str]
    lately: Sequence[Mapping[str, Any]]
    cause: str
    answers: int | None
    minutes_left: int
    blocked: bool
    memories: Sequence[str] = ()
    disclosed: bool = True


def chat_opening(scene: Scene, actions: ActionSet, *, marker: str, native: bool) -> tuple[bytes, ...]:
    """The messages a turn in a chatroom begins with."""
    system = text("chatroom") + (f" {text('chatroom_disclosed')}" if scene.disclosed else "")
    if not native:
        system += "\n" + text("json_mode").format(manual=actions.manual())
    parts = [system, scene.character, *([f"What holds in this room: {scene.brief}"] if scene.brief else [])]
    return (
        encode_message("system", unmarked("\n\n".join(parts))),
        encode_message("user", chat_text(scene, marker)),
    )


def chat_text(scene: Scene, marker: str) -> str:
    """Who is there, what was written lately, and why the agent's turn comes now."""
    s = scene
    others = [name for name in s.members if name != s.name]
    said = quote({"messages": s.lately}, marker) if s.lately else "Nobody has written anything yet."
    why = {
        "addressed": f"Message {s.answers} speaks to you: answer it.",
        "answer": f"Message {s.answers} is for everybody: answer it if you have something to say.",
        "background": "Nobody waits for you: go on with the conversation, begin one, or end your turn.",
    }[s.cause]
    lines = [f"In the room with you: {', '.join(others)}. About {s.minutes_left} min are left.", said]
    lines += _remembered(s.memories, marker)
    if s.blocked:
        lines.append(f"{s.members[0]} has blocked you and doesn't see what you write.")
    return "\n".join([*lines, f"Quote marks now: {marker}", why])


def reflection_opening(situation: Situation, actions: ActionSet, *, marker: str, native: bool) -> tuple[bytes, ...]:
    """The messages with which a persona looks back on its memories, oldest first."""
    system = text("reflection")
    if not native:
        system += "\n" + text("json_mode").format(manual=actions.manual())
    return (
        encode_message("system", f"{system}\n\n{persona_text(situation)}"),
        encode_message("user", "\n".join([*_remembered(situation.memories, marker), f"Quote marks now: {marker}"])),
    )


def marker(seed: int, persona_id: int) -> str:
    """The turn's quote marks: others can't know them."""
    return f"⟦{number(seed, 'marker', persona_id, bits=16):04x}⟧"


def quote(result: Mapping[str, Any], marks: str) -> str:
    """What others wrote, as JSON between the turn's marks; look-alikes of the marks inside are taken out."""
    return f"{marks}{unmarked(msgspec.json.encode(result).decode())}{marks}"
