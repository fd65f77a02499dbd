"""The fields that subjects belong to: minerals, health, the city, told by their words."""

from collections import Counter
from functools import cache, lru_cache
from typing import Any

from app.llm.scripted.voices import load
from app.llm.scripted.wording import tokens


@cache
def field_words() -> dict[str, str]:
    """Word → the field that it tells."""
    fields: dict[str, Any] = load("dialogue")["fields"]
    return {word: name for name, one in fields.items() for word in one["words"]}


@lru_cache(maxsize=4_096)
def field_of(text: str, least: int = 1) -> str:
    """The field that most words of a text tell, "" where fewer than `least` do."""
    known = field_words()
    counts = Counter(field for word in tokens(text[:4_000]) if (field := known.get(word)))
    best = counts.most_common(1)
    return best[0][0] if best and best[0][1] >= least else ""
