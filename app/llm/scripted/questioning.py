"""What a question asks for."""

import re
from functools import lru_cache

from app.llm.scripted.grammar import sentences

_LED = r"^(?:\W|and |but |so |well )*"
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile("|".join(patterns), re.IGNORECASE))
    for kind, patterns in (
        ("name", [r"\b(?:your name|who are you|introduce yourself)\b"]),
        ("age", [r"\bhow old are you\b", r"\byour age\b"]),
        ("job", [r"\bfor a living\b", r"\b(?:your|what) (?:job|work|profession|occupation)\b", r"\bdo you work\b"]),
        ("home", [r"\bwhere (?:are you from|do you live|do you come from)\b"]),
        ("hobby", [r"\b(?:hobb(?:y|ies)|free time|spare time|for fun)\b"]),
        ("who", [_LED + r"who\b"]),
        ("pay", [r"\bhow much (?!time|of\b|do you (?:like|trust|agree))"]),
        ("pay", [r"\b(?:pay|price|willing to spend|cost you|worth to you)\b"]),
        ("opinion", [_LED + r"(?:what do you (?:think|make)|how do you feel)"]),
        ("opinion", [_LED + r"what(?:'s| is) your (?:opinion|view|impression|take)"]),
        ("why", [_LED + r"why\b", r"\bwhy\b[^.!]*\?", r"\breasons?\b"]),
        ("dislike", [r"\b(?:dislike|least|worr(?:y|ies)|concerns?|drawbacks?|problems?|against it|annoys?)\b"]),
        ("dislike", [r"\b(?:bothers?|negative|weak)\b"]),
        ("change", [r"\b(?:change|improve|improvements?|differently|missing|better|wish for|add to|suggestions?)\b"]),
        ("like", [r"\b(?:like (?:most|best|about)|best (?:thing|part)|appeals?|advantages?|favou?rite|positive)\b"]),
        ("often", [r"\bhow (?:often|frequently|many times)\b"]),
        ("describe", [r"\b(?:describe|walk me through|tell (?:me|us)|typical)\b"]),
        ("closed", [_LED + r"(?:would|do|does|did|is|are|was|were|can|could|should|will|have|has|had|may)\b"]),
        ("who", [r"\bwho\b"]),
        ("when", [r"\bwhen\b"]),
        ("where", [r"\bwhere\b"]),
        ("opinion", [r"\b(?:think|feel|opinion|view|impression|thoughts|react)\b"]),
        ("how", [r"\bhow\b"]),
        ("what", [r"\b(?:what|which)\b"]),
    )
)


@lru_cache(maxsize=4_096)
def kind_of(question: str) -> str:
    """What a question asks for."""
    return next((kind for kind, pattern in _KINDS if pattern.search(question)), "opinion")


@lru_cache(maxsize=4_096)
def question_in(text: str) -> str:
    """The last question of a text, "" where it ends with none."""
    last = (sentences(text[-1_200:]) or [""])[-1]
    return last if last.rstrip("\"'”’)] ").endswith("?") else ""


_TELL = re.compile(
    r"^(?:please |so |and |now |then )*(?:tell (?:me|us)|explain|describe|give me|introduce yourself)\b", re.IGNORECASE
)


@lru_cache(maxsize=4_096)
def request_in(text: str) -> str:
    """The question that a text ends with, or else the last thing that it asks to be told; "" where it asks nothing."""
    told = [one for one in sentences(text[-1_200:]) if _TELL.match(one)]
    return question_in(text) or (told[-1] if told else "")
