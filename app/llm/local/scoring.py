"""Which draft is fit to be posted: hard rules first, then a simple score."""

import re

from app.llm.local.prompting import Task

FEWEST_WORDS = 4
"""What the model must add to the opener."""

MOST_SENTENCES = 2
"""Kept of what it adds: later ones wander off."""

_END = re.compile(r"[.!?…][”\"’)]*(?=\s|$)")
_WORD = re.compile(r"[^\W_]+(?:[’'][^\W_]+)*")
_MENTION = re.compile(r"@([A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)")
_MARKUP = re.compile(r"<\||\|>|https?:|www\.|[#*`{}\[\]<>\\⟦⟧|_~]|^\s*[-•]|\uFFFD")
_OUT_OF_CHARACTER = re.compile(
    r"\b(?:as an? (?:ai|assistant|language model)|language model|ai assistant|chatbot|assistant:|user:|"
    r"i['’]?m sorry,? (?:but|for any)|(?:i can(?:no|['’])t|happy to|here to) (?:help|assist)|not hesitate|"
    r"how are you today|write a (?:short )?post|what do you answer|smollm)\b",
    re.I,
)
_PRESENTS = re.compile(r"\b(?:i am|i['’]m|my name is|it['’]s me,|call me)\s+([^\W_]{3,})", re.I)
_COPIED_WORDS = 6
_COMMON = frozenset(
    [
        "a",
        "about",
        "all",
        "am",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "because",
        "been",
        "but",
        "by",
        "can",
        "do",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "it’s",
        "i’m",
        "its",
        "just",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "one",
        "or",
        "our",
        "out",
        "she",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "they",
        "this",
        "to",
        "too",
        "up",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


def words(text: str) -> list[str]:
    return [word.lower().replace("'", "’") for word in _WORD.findall(text)]


def cut(text: str, *, whole: bool = False, start: int = 0) -> str:
    """`text` with the first whole sentences that end behind `start`; "" if none does. `whole` may lack a full stop."""
    text = text.rstrip()
    if whole and text[start:] and text[-1].isalnum():
        text += "."
    ends = [found.end() for found in _END.finditer(text) if found.end() > start]
    return text[: ends[:MOST_SENTENCES][-1]] if ends else ""


def verdict(task: Task, written: str, *, whole: bool = True) -> tuple[str, str]:
    """The finished text and "", or "" and why what was written behind the opener won't do."""
    if written[:1].isalnum():
        return "", "goes on in the middle of a word"
    text = cut(task.opener + written, whole=whole, start=len(task.opener)).strip()
    if not text:
        return "", "no whole sentence"
    reason = _fault(task, text, text[len(task.opener) :])
    return ("", reason) if reason else (text, "")


def _fault(task: Task, text: str, added: str) -> str:
    if len(words(added)) < FEWEST_WORDS:
        return "too short"
    if len(text) > task.limit:
        return "too long"
    if _MARKUP.search(_MENTION.sub("", added)) or _unbalanced(text):
        return "markup"
    if _OUT_OF_CHARACTER.search(added):
        return "out of character"
    if _confuses(task, added):
        return "confuses names"
    if _repeats(words(text)):
        return "repeats itself"
    return "copies" if any(_copies(added, text, known) for known in task.known) else ""


def _unbalanced(text: str) -> bool:
    pairs = (("“", "”"), ("(", ")"))
    return text.count('"') % 2 == 1 or any(text.count(left) != text.count(right) for left, right in pairs)


def _confuses(task: Task, added: str) -> bool:
    """Whether it names somebody it has nothing to do with, or takes one for another."""
    if set(_MENTION.findall(added)) - task.names:
        return True
    theirs = {part for name in task.names for part in words(name.replace("_", " "))}
    if any(name.lower() in theirs for name in _PRESENTS.findall(added)):
        return True
    me = [part for part in words(task.me.replace("_", " ")) if len(part) > 2]
    said = f" {' '.join(words(added))} "
    return bool(me) and f" {' '.join(me)} " in said


def _repeats(said: list[str]) -> bool:
    """Whether three words in a row come again, or too few of the words are different."""
    triples = list(zip(said, said[1:], said[2:], strict=False))
    return len(set(triples)) < len(triples) or len(set(said)) < 0.62 * len(said)


def _copies(added: str, text: str, known: str) -> bool:
    """Whether `added` has six words in a row from `known`, or the whole is nearly all of it."""
    new, old = words(added), words(known)
    run = min(_COPIED_WORDS, max(len(new), 1))
    there = f" {' '.join(old)} "
    if any(f" {' '.join(new[n : n + run])} " in there for n in range(len(new) - run + 1)):
        return True
    mine, theirs = set(words(text)), set(old)
    return bool(theirs) and len(mine & theirs) > 0.8 * len(mine | theirs)


def score(task: Task, text: str) -> float:
    """How good a text that passed is: about its subject, varied, and neither a stub nor a sermon."""
    said = words(text[len(task.opener) :])
    own = [word for word in said if word not in _COMMON]
    subject = set(words(task.about)) - _COMMON
    on_subject = len({word for word in own if word in subject})
    length = len(words(text))
    size = 1.0 if 9 <= length <= 32 else 0.4
    return size + 0.5 * min(on_subject, 4) + len(set(said)) / len(said) + len(own) / len(said)
