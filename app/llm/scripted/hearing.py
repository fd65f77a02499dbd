"""What a message in a chat is: a greeting, a question, an insult; what it is about; which words to take up."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from app.llm.scripted.grammar import literals, sentences
from app.llm.scripted.topics import quotes
from app.llm.scripted.voices import load

_ASKED = re.compile(
    r"^(?:@\S+ )?(?:and |so |but |well,? )?"
    r"(?:do|does|did|are|is|was|were|have|has|had|can|could|will|would|should|shall|may|isn't|aren't|don't|doesn't|won't"
    r"|ever|anybody|anyone|you)\b",
    re.IGNORECASE,
)
_OPEN = re.compile(r"\b(?:what|who|where|when|how|which|whose)\b", re.IGNORECASE)
_CHOICE = re.compile(
    r"(?:^|[,:;] |\b(?:prefer|rather|like|choose|team) )(?:an? )?(\w[\w'’ -]{1,25}?)"
    r" or (?:an? )?(\w[\w'’-]{1,25}(?: \w[\w'’-]{1,15})?)\s*\?"
)
_MENTION = re.compile(r"@\S+")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_FAVOUR = re.compile(
    r"\b(?:great|good|love|loves|support|need|needs|important|agree|helps?|better|favou?r|best|essential|necessary|finally"
    r"|right|should|must)\b"
)
_AGAINST = re.compile(
    r"\b(?:bad|hate|hates|against|stop|waste|wrong|useless|expensive|nonsense|harm|harms|dangerous|worse|worst|terrible"
    r"|ban|too much|too many|overrated|scam|not|don't|doesn't|never|isn't|shouldn't)\b"
)
_OF_WHAT = re.compile(
    r"\b(?:think|feel|say|opinions?|thoughts?|views?|take|care|know|hear|heard) (?:about|of|on) ([^?.!,;:\n]{3,40})",
    re.IGNORECASE,
)
_QUOTABLE = re.compile(r"[\w'’%€£&-]+(?: [\w'’%€£&-]+)*")
_NO_THING = re.compile(r"(?:it|this|that|them|him|her|me|us|you|all|my|what|how|why|whether|if)\b", re.IGNORECASE)
_NO_QUOTE = re.compile(r"(?:i|you|he|she|we|they|it|there|that|this|who|what)(?:['’]\w+)?\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:the|a|an|my|your|our|their|no|more|about|of|against|for) ([^\W\d_]{5,20})"
    r"(?=[.,;:!?]|$| (?:is|are|was|were|and|or|but|in|on|at|for|from|to|with|of|that|which)\b)"
)
_DULL = frozenset(
    [
        "thing", "things", "people", "those", "these", "there", "everything", "anything", "nothing", "something",
        "somebody", "anybody", "everybody", "which", "where", "other", "others", "moment", "trouble", "answer",
        "sentence", "question", "point", "person", "third", "problem", "course", "least", "matter",
    ]
)  # fmt: skip
_LITTLE = 3
_TELL = re.compile(
    r"^(?:please |now |so |and )?(?:tell (?:me|us)|describe|explain|any (?:\w+ )?(?:tips?|ideas?|advice|suggestions?"
    r"|recommendations?))\b",
    re.IGNORECASE,
)
_SHOULD = re.compile(
    r"\b(?:should|ought to|compulsory|mandatory|banned|forbidden|allowed|abolished|legal|illegal)\b", re.IGNORECASE
)
_OF_YOU = re.compile(
    r"\b(?:you|u|your|yours|ya|y'all|anybody|anyone|everybody|everyone|somebody|anybody's)\b", re.IGNORECASE
)
_OF_ME = re.compile(r"\b(?:i|i'm|i've|i'd|my|me|we|our|us)\b", re.IGNORECASE)
_VIEW = re.compile(
    r"\b(?:think|believe|feel|agree|disagree|guess|suppose|prefer|hate|love|support|oppose|in my opinion"
    r"|if you ask me)\b",
    re.IGNORECASE,
)
_MISHAP = re.compile(
    r"\b(?:stolen|robbed|burgled|broke|broken|lost|sick|hurt|injured|accident|crash(?:ed)?|hit by|fell|fired|laid off"
    r"|cheated|afraid|scared|tired|exhausted|can't afford|cancelled|failed"
    r"|(?:awful|bad|long|terrible) day|thr(?:ow|own|ew) (?:me |us )?out|kicked out|evict(?:ed|ion))\b",
    re.IGNORECASE,
)
_GRAVE = re.compile(
    r"\b(?:died|dead|dying|death|funeral|passed away|cancer|ill|(?:in|into|to) hospital|depressed|lonely|divorced?"
    r"|abused?|raped?|assaulted|miscarriage|bullied)\b",
    re.IGNORECASE,
)
_CRISIS = re.compile(
    r"\b(?:suicidal|suicide|(?:kill|hurt|harm|cut) myself|end my life|want to die|don't want to live"
    r"|no reason to live)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Heard:
    """A message understood: its kind, its topics, the side it takes, and words of it fit to be quoted.

    `asked` names the question of our own banks that it puts, as (topic, place), `either` the two things to choose
    from, `phrase` what it asks an opinion of.
    """

    kind: str
    topics: tuple[str, ...]
    side: str = ""
    words: tuple[str, ...] = ()
    asked: tuple[str, int] | None = None
    either: tuple[str, ...] = ()
    phrase: str = ""


def plain(text: str) -> str:
    """A text as it is compared: whoever typed it, and however."""
    text = " ".join(text.lower().replace("’", "'").replace("“", '"').replace("”", '"').split())
    for right, wrong in load("chat")["manners"]["faults"]:
        text = text.replace(right.lower(), wrong)
    return text


@lru_cache(maxsize=4_096)
def heard(text: str) -> Heard:
    """What a message is."""
    bare = " ".join(_MENTION.sub(" ", text).split())
    known = plain(bare)
    about = topics_of(bare)
    asked = _known(known, _questions())
    told = _known(known, _statements())
    kind = "asked" if asked else "statement" if told else _kind(text.replace("’", "'"), bare)
    found = asked or told
    about = tuple(dict.fromkeys([found[0], *about])) if found and found[0] != "any" else about
    return Heard(
        kind=kind,
        topics=about,
        side=str(told[1]) if told else _side(known) if about else "",
        words=() if kind in ("hostile", "orders") else _words(_own(bare)),
        asked=(asked[0], int(asked[1])) if asked else None,
        either=_either(bare) if kind == "choice" else (),
        phrase=_phrase(bare) if kind in ("opinion", "question", "yesno") else "",
    )


def _kind(text: str, bare: str) -> str:
    """The kind of a message that is none of our own lines."""
    short = bare[:400].strip()
    for kind, pattern in _patterns():
        if pattern.search(short if kind not in ("why", "greeting") else text[:400]) and _fits(kind, short):
            return kind
    if _TELL.match(short):
        return "question"
    if "?" in short or (_OPEN.match(short) and len(short.split()) < 12):
        last = short.rpartition("?")[0].rpartition(". ")[2] or short
        if _CHOICE.search(short):
            return "choice"
        return "question" if _OPEN.search(last) else "yesno" if _ASKED.search(last) or "?" in short else "question"
    return "chatter" if len(_WORD.findall(short)) <= _LITTLE else "statement"


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """What tells each kind, in the order in which they are tried."""
    table = dict(load("chat")["hears"])
    you, made = table.pop("YOU"), table.pop("MADE")
    texts = {kind: "|".join(patterns).replace("YOU", you).replace("MADE", made) for kind, patterns in table.items()}
    return tuple((kind, re.compile(text, re.IGNORECASE)) for kind, text in texts.items())


def _fits(kind: str, text: str) -> bool:
    """Politeness is one only where nothing more is said."""
    limit = {"greeting": 7, "thanks": 9, "bye": 14}.get(kind)
    return limit is None or len(text.split()) <= limit


def _either(text: str) -> tuple[str, ...]:
    found = _CHOICE.search(text)
    return tuple(" ".join(part.split()) for part in found.groups()) if found else ()


@cache
def lexicon() -> dict[str, str]:
    """Word → what chats are about."""
    return {word: name for name, topic in load("chat_topics").items() for word in topic["words"]}


@cache
def _kin() -> dict[str, str]:
    return {word: name for name, words in load("chat")["kin"].items() for word in words}


@lru_cache(maxsize=8_192)
def kin(text: str) -> frozenset[str]:
    """The things that a text speaks of, however it calls them."""
    known = _kin()
    words = (word.removesuffix("'s") for word in _WORD.findall(text.lower().replace("’", "'")))
    return frozenset(name for word in words if (name := known.get(word) or known.get(word.removesuffix("s"))))


@lru_cache(maxsize=4_096)
def topics_of(text: str) -> tuple[str, ...]:
    """What a text is about, the weightiest first."""
    known, counts = lexicon(), Counter[str]()
    for word in _WORD.findall(text.lower().replace("’", "'")):
        stem = word.removesuffix("'s")
        topic = known.get(stem) or known.get(stem.removesuffix("s")) or known.get(stem.removesuffix("es"))
        if topic:
            counts[topic] += 1
    return tuple(topic for topic, _ in counts.most_common())


def _side(text: str) -> str:
    """Which side a text seems to take; "" where that can't be told."""
    against, favour = len(_AGAINST.findall(text)), len(_FAVOUR.findall(text))
    return "against" if against > favour else "for" if favour > against else ""


def _phrase(text: str) -> str:
    """What somebody asks an opinion of, as a phrase; "" for pronouns and whole clauses."""
    found = _OF_WHAT.search(text)
    piece = found[1].strip() if found else ""
    return piece if _QUOTABLE.fullmatch(piece) and not _NO_THING.match(piece) and len(piece.split()) < 6 else ""


def _own(text: str) -> str:
    """The text without the sentences that anybody says."""
    return " ".join(one for one in sentences(text) if not any(sign in plain(one) for sign in _phrases()))


@cache
def _phrases() -> frozenset[str]:
    chat = load("chat")
    banks = [*(chat[tone] for tone in ("plain", "civil", "uncivil")), chat["acts"]]
    return frozenset(sign for bank in banks for lines in bank.values() for line in lines if (sign := sign_of(line, 8)))


def _words(text: str) -> tuple[str, ...]:
    """Up to four words of a text that can be quoted, the best first: what is in its clauses, else what it is about."""
    short = [quote for quote in quotes(text) if len(quote.split()) <= 4 and len(quote) <= 32]
    short = [quote for quote in short if not _NO_QUOTE.match(quote)]
    things = [found[1] for found in _THING.finditer(text) if found[1].lower() not in _DULL]
    return tuple(dict.fromkeys([*short[:3], *things[:2]]))


def of_norms(text: str) -> bool:
    """Whether a question is what should be, and not what is."""
    return bool(_SHOULD.search(text))


def of_us(text: str) -> bool:
    """Whether a question is about who is asked, and not about the world."""
    return bool(_OF_YOU.search(_MENTION.sub(" ", text)))


def of_oneself(text: str) -> str:
    """What somebody tells of their own life: a "crisis", something "grave", "sorry" for a mishap, or just "told"; ""
    where it is a view."""
    bare = _MENTION.sub(" ", text).replace("’", "'")
    if not _OF_ME.search(bare):
        return ""
    if _CRISIS.search(bare):
        return "crisis"
    if _VIEW.search(bare):
        return ""
    if _GRAVE.search(bare):
        return "grave"
    return "sorry" if _MISHAP.search(bare) else "told"


Line = tuple[str, str, str | int]
"""(what a line is known by, its topic, its side or, of a question, its place)"""


@cache
def _statements() -> tuple[Line, ...]:
    return tuple(
        (sign, topic, side)
        for topic, bank in _banks()
        for side in ("for", "against", "both")
        for line in bank[side]
        if (sign := sign_of(line))
    )


@cache
def _questions() -> tuple[Line, ...]:
    return tuple(
        (sign, topic, place)
        for topic, bank in _banks()
        for place, lines in enumerate(bank["asks"])
        if (sign := sign_of(lines[0]))
    )


def _banks() -> list[tuple[str, dict[str, Any]]]:
    return [*load("chat_topics").items(), ("any", load("chat")["any"])]


@lru_cache(maxsize=8_192)
def sign_of(template: str, least: int = 12) -> str:
    """The piece of a template by which its texts are known again; "" where it has less than `least` characters."""
    longest = max((plain(piece).strip(" .,;:!?\"'") for piece in literals(template)), key=len, default="")
    return longest if len(longest) >= least else ""


def _known(text: str, lines: tuple[Line, ...]) -> tuple[str, str | int] | None:
    return next(((topic, what) for sign, topic, what in lines if sign in text), None)
