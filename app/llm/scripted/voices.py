"""The voice banks: what each starter persona can say, read once from app/llm/voices."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_HOME = Path(__file__).parent.parent / "voices"
_SHARED = frozenset(["common", "anybody", "chat", "chat_topics", "session", "dialogue", "words", "writing"])


@dataclass(frozen=True, eq=False)
class Bank:
    """One persona's repertoire: templates by use, the lists that fill their slots, and whom it likes."""

    hellos: tuple[str, ...]
    posts: tuple[str, ...]
    forms: tuple[str, ...]
    callbacks: tuple[str, ...]
    agree: tuple[str, ...]
    needle: tuple[str, ...]
    muse: tuple[str, ...]
    stances: Mapping[str, tuple[str, ...]]
    bios: tuple[str, ...]
    reasons: tuple[str, ...]
    searches: tuple[str, ...]
    allies: frozenset[str] = frozenset()
    foils: frozenset[str] = frozenset()
    warm: frozenset[str] = frozenset()
    cold: frozenset[str] = frozenset()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@cache
def load(name: str) -> dict[str, Any]:
    """One data file of app/llm/voices."""
    return tomllib.loads((_HOME / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def words(name: str) -> tuple[str, ...]:
    """A list of app/llm/voices/words.toml, in its order."""
    return tuple(load("words")[name].split())


def strings(table: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A table of lists as a mapping of tuples."""
    return {str(name): tuple(map(str, values)) for name, values in table.items()}


@cache
def bank(username: str) -> Bank | None:
    """The bank of a starter persona, None for everybody else."""
    return _bank(load(username)) if username in starters() else None


@cache
def starters() -> frozenset[str]:
    """The usernames that have a bank of their own."""
    return frozenset(path.stem for path in _HOME.glob("*.toml")) - _SHARED


@cache
def lexicon() -> dict[str, tuple[str, float]]:
    """Word → (topic, weight)."""
    common = load("common")
    entries = {word: (topic, 1.0) for topic, words in common["topics"].items() for word in words}
    return entries | {word: (topic, 3.0) for topic, words in common["landmarks"].items() for word in words}


def labelled(templates: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Templates written "form| text", as (texts, forms)."""
    pairs = [template.partition("| ") for template in templates]
    return tuple(text for _, _, text in pairs), tuple(form for form, _, _ in pairs)


def _bank(data: dict[str, Any]) -> Bank:
    posts, forms = labelled(data["posts"])
    return Bank(
        hellos=tuple(data["hellos"]),
        posts=posts,
        forms=forms,
        callbacks=tuple(data["callbacks"]),
        agree=tuple(data["agree"]),
        needle=tuple(data["needle"]),
        muse=tuple(data["muse"]),
        stances=strings(data["stances"]),
        bios=tuple(data["bios"]),
        reasons=tuple(data["reasons"]),
        searches=tuple(data["searches"]),
        allies=frozenset(data["allies"]),
        foils=frozenset(data["foils"]),
        warm=frozenset(data["warm"]),
        cold=frozenset(data["cold"]),
        lists=strings(load("common")["lists"] | data["lists"]),
    )
