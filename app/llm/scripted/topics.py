"""What a text is about, and which of its words are worth quoting."""

import re
from functools import lru_cache

from app.llm.scripted.voices import lexicon

_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_CLAUSE = re.compile(r"[.,:](?!\\d)|[;!?()\[\]{}<>|/\\\n\"“”„«»…*#=⟦⟧•]+| [–—-] |—|–")
_QUOTABLE = re.compile(r"[\w'’%€£-]+(?: [\w'’%€£-]+)*")
_OPENERS = frozenset(
    [
        "the",
        "a",
        "an",
        "my",
        "your",
        "our",
        "their",
        "his",
        "her",
        "its",
        "this",
        "that",
        "these",
        "those",
        "no",
        "every",
        "any",
        "all",
    ]
)
_WEAK = frozenset(
    [
        "the",
        "a",
        "an",
        "and",
        "or",
        "but",
        "nor",
        "so",
        "of",
        "to",
        "in",
        "on",
        "at",
        "by",
        "for",
        "from",
        "with",
        "as",
        "than",
        "if",
        "that",
        "who",
        "which",
        "is",
        "are",
        "was",
        "were",
        "be",
        "been",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "will",
        "would",
        "can",
        "could",
        "should",
        "may",
        "might",
        "must",
        "i",
        "you",
        "he",
        "she",
        "you",
        "it",
        "we",
        "they",
        "me",
        "him",
        "us",
        "them",
        "my",
        "your",
        "our",
        "their",
        "his",
        "its",
        "not",
        "no",
        "this",
        "these",
        "those",
        "there",
        "then",
        "because",
        "while",
        "when",
        "into",
        "about",
        "over",
        "under",
        "after",
        "before",
    ]
)
_PLAIN = frozenset(
    [
        "i",
        "i’m",
        "i’ve",
        "i'm",
        "we",
        "it",
        "it’s",
        "he",
        "she",
        "you",
        "they",
        "there",
        "hi",
        "hello",
        "good",
        "on",
        "in",
        "that",
        "that’s",
        "is",
        "are",
        "was",
        "for",
        "by",
        "of",
        "to",
        "with",
        "at",
        "from",
        "before",
    ]
)
_VERBS = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
        "do",
        "does",
        "did",
        "be",
        "been",
        "will",
        "would",
        "can",
        "could",
    ]
)
_HANGING = frozenset(
    ["and", "or", "but", "nor", "so", "because", "while", "when", "which", "who", "that", "than", "if", "as"]
)


@lru_cache(maxsize=8_192)
def topics(text: str) -> tuple[tuple[str, str], ...]:
    """The topics of a text with the word that gave each away, the weightiest first."""
    known = lexicon()
    scores: dict[str, float] = {}
    words: dict[str, str] = {}
    for word in _WORD.findall(text.lower().replace("’", "'")):
        entry = known.get(word) or known.get(word.removesuffix("'s")) or known.get(word.removesuffix("s"))
        if entry:
            scores[entry[0]] = scores.get(entry[0], 0.0) + entry[1]
            words.setdefault(entry[0], word)
    ranked = sorted(scores, key=lambda topic: -scores[topic])
    return tuple((topic, words[topic]) for topic in ranked)


@lru_cache(maxsize=8_192)
def quotes(text: str) -> tuple[str, ...]:
    """Stretches of two to six words of a text that can stand between quotation marks, the roundest first."""
    clauses = [" ".join(clause.split()) for clause in _CLAUSE.split(text)]
    usable = [clause for clause in clauses if _QUOTABLE.fullmatch(clause) and not clause.isupper()]
    whole = [clause for clause in usable if _round(clause.split())]
    tails = [tail for clause in usable if (tail := _tail(clause.split()))]
    ranked = sorted(dict.fromkeys(whole + tails), key=_dullness)
    return tuple(quote for quote in ranked if _dullness(quote) <= _dullness(ranked[0]) + 0.9)


def _dullness(quote: str) -> float:
    """Low for what is a pleasure to have quoted back: things rather than greetings and half sentences."""
    words = quote.lower().split()
    strong = sum(word not in _WEAK for word in words)
    return (
        2.0 * (words[0].split("’")[0] in _PLAIN)
        - 0.5 * (words[0] in _OPENERS)
        - 0.4 * min(strong, 3)
        + 0.5 * (len(words) < 3)
    )


def _round(words: list[str]) -> bool:
    strong = [word for word in words if word.lower() not in _WEAK and len(word) > 2]
    fits = 2 <= len(words) <= 6 and sum(map(len, words)) <= 48
    return fits and len(strong) >= 1 + (len(words) > 3) and _clean_ends(words)


def _clean_ends(words: list[str]) -> bool:
    return words[0].lower() not in _HANGING | _VERBS and words[-1].lower() not in _WEAK


def _tail(words: list[str]) -> str:
    """The last words of a clause from an article or pronoun on."""
    for size in (4, 5, 3, 6):
        piece = words[-size:]
        if len(words) > size and piece[0].lower() in _OPENERS and _round(piece):
            return " ".join(piece)
    return ""
