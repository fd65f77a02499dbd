"""What people say of themselves in plain words, and where two such sayings of one person contradict each other.

Heard are English sentences with “I” and a verb of a short list: to like, own, buy, use, believe, trust, want, know or
be something, and the same denied. Two contradict each other when verb and thing are the same and one is denied. Not
heard are irony, other words for the same thing, amounts, what follows from what, and all that is said without “I”.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.analysis.quotes import Line
from app.analysis.words import words

VERBS: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(("like", "love", "enjoy", "adore"), ("like", True)),
    **dict.fromkeys(("hate", "dislike", "detest", "loathe"), ("like", False)),
    **dict.fromkeys(("own", "have"), ("have", True)),
    **dict.fromkeys(("buy", "purchase"), ("buy", True)),
    **dict.fromkeys(("use", "drink", "eat", "drive", "wear", "watch", "read", "smoke"), ("", True)),
    **dict.fromkeys(("want", "need", "trust", "support", "know", "believe in"), ("", True)),
    "oppose": ("support", False),
    "distrust": ("trust", False),
    "am": ("be", True),
    "was": ("have been", True),
}
"""Verbs, each with the one it counts as (itself where empty), and whether it affirms that."""

CHANGED = re.compile(
    r"\b(?:changed? my mind|convinced me|persuaded me|won me over|second thoughts?|i used to|no longer|any ?more"
    r"|i was wrong|i take (?:that|it) back|i stand corrected)\b"
)
"""Who says so may think otherwise than before."""

_DENY = r"(?:do not|don't|did not|didn't|would not|wouldn't|will not|won't|cannot|can't|never|not|am not|haven't)"
_SMALL = r"(?:really|also|just|still|actually|truly|always|even|ever|absolutely|honestly|certainly|definitely|simply)"
_MODAL = r"(?:do|would|will|can|could|must|have)"
_CLAIM = re.compile(
    rf"\bi(?:'d|'ll|'ve)?(?: {_SMALL})*(?: (?P<deny>{_DENY}))?(?: {_MODAL})?(?: {_SMALL})*(?: (?P<deny2>never|not))?"
    rf" (?P<verb>{'|'.join(VERBS)})(?: (?P<deny3>not|no|never))? (?P<thing>[^.,;:!?()\n]+)"
)
_BREAK = re.compile(
    r"\b(?:and|but|or|because|when|if|unless|since|so|as|although|though|while|for|with|at|in|on|from|like|who)\b.*"
    r"|(?<=\w )that\b.*"
)
_EMPTY = {
    "a",
    "an",
    "the",
    "any",
    "one",
    "some",
    "this",
    "that",
    "it",
    "them",
    "my",
    "of",
    "to",
    "very",
    "much",
    "at",
    "all",
}
THING_MOST = 5


@dataclass(frozen=True)
class Claim:
    """What a speaker says of itself: `verb` of `thing` (its words), affirmed or denied."""

    line: Line
    verb: str
    thing: frozenset[str]
    affirmed: bool


def claims(line: Line) -> Iterator[Claim]:
    """The claims of a line that make one. A question and a sentence that begins with `if` claim nothing."""
    for sentence in re.split(r"(?<=[.!?])\s+", line.text.lower().replace("’", "'").replace("i'm ", "i am ")):
        if sentence.endswith("?") or re.match(r"\W*(?:if|when|suppose|imagine)\b", sentence):
            continue
        for match in _CLAIM.finditer(sentence):
            thing = words(_BREAK.sub("", match["thing"]))
            told = frozenset(word.rstrip("s") for word in thing if word not in _EMPTY)
            if not told or len(told) > THING_MOST:
                continue
            verb, affirms = VERBS[match["verb"]]
            denials = sum(match[name] is not None for name in ("deny", "deny2", "deny3"))
            denials += thing[:1] == ["no"]
            yield Claim(line, verb or match["verb"], told - {"no"}, affirms == (denials % 2 == 0))


def contradictions(lines: Sequence[Line]) -> list[tuple[Claim, Claim]]:
    """Pairs of claims of one speaker of which one denies the other, unless it says that it thinks otherwise now."""
    held: dict[tuple[str, str, frozenset[str]], Claim] = {}
    found = []
    for line in lines:
        changed = CHANGED.search(line.text.lower()) is not None
        for claim in claims(line):
            key = (line.speaker, claim.verb, claim.thing)
            before = held.setdefault(key, claim)
            if before.affirmed == claim.affirmed:
                continue
            held[key] = claim
            if not changed:
                found.append((before, claim))
    return found
