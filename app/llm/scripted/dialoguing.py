"""A dialogue's turn: somebody, perhaps a bare bot, goes on talking about a subject with others."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from app.llm.scripted.asked import Asked, Line
from app.llm.scripted.bearing import bearing
from app.llm.scripted.chance import stream
from app.llm.scripted.disposition import nature
from app.llm.scripted.fields import field_of
from app.llm.scripted.grammar import literals
from app.llm.scripted.phrasing import Phrasing, clip, plain
from app.llm.scripted.questioning import kind_of, request_in
from app.llm.scripted.room import Room
from app.llm.scripted.speaking import ODD
from app.llm.scripted.voices import load, strings
from app.llm.scripted.wording import Phrase, phrases, subject, tokens

_STRAYS = 3
"""After so many lines that don't name the subject somebody comes back to it."""

_ENDS = 16
"""Lines after which somebody whose prompt speaks of a goodbye may take leave."""

_SAID_MOST, _BRIEF_MOST = 420, 220
_PARTS = ("part", "actor", "step", "risk", "measure", "place")
_EXPERT = re.compile(
    r"\b(?:experts?|specialists?|professor|teacher|scholar|historian|researcher|lecturer|authority|fan|critic|lover)"
    r" (?:on|in|of|for) ([^.,;:!?\n]{3,80})|\b(?:discuss(?:ing)?|debat(?:e|ing)|talk(?:ing)? (?:about|on|of)"
    r"|conversation (?:about|on)|chat about|questions about|knows? (?:a lot |everything |much )?about"
    r"|the (?:topic|subject) (?:is|of)|interested in)\s+([^.,;:!?\n]{3,80})",
    re.IGNORECASE,
)
_BRIEFLY = re.compile(r"\b(?:briefly|brief|short|concise|one sentence|few words|terse|succinct)\b", re.IGNORECASE)
_SCEPTIC = re.compile(
    r"\b(?:sceptic\w*|skeptic\w*|critical|critic|disagree\w*|devil's advocate|contrarian|doubt\w*|challenge|blunt"
    r"|oppos\w*)\b",
    re.IGNORECASE,
)
_ASKER = re.compile(
    r"\b(?:ask(?:s|ing)? (?:\w+ )?questions?|interview\w*|curious|journalist|student|inquisitive|learner)\b",
    re.IGNORECASE,
)
_BYE = re.compile(
    r"\b(?:goodbye|say (?:good)?bye|farewell|end the conversation|closing words|take your leave)\b", re.IGNORECASE
)
_AFTER = re.compile(r"\bafter (?:about |some |at least )?(\d{1,4}) (?:turns|messages|lines|exchanges)\b", re.IGNORECASE)
_BYE_SAID = re.compile(r"\b(?:goodbye|good bye|bye|farewell|see you)\b[.!]?\s*$", re.IGNORECASE)


@cache
def _bank() -> dict[str, Any]:
    return load("dialogue")


@dataclass(frozen=True)
class Subject:
    """What is talked about: as a phrase, the field that it belongs to, and things of it."""

    phrase: str
    field: str
    things: tuple[str, ...]


@lru_cache(maxsize=2_048)
def subject_of(told: str, seeded: str, said: str, names: tuple[str, ...] = ()) -> Subject:
    """The subject by the first thing that was said, else by what is much spoken of, else by the prompt."""
    found = subject(seeded) or _spoken_of(said, names) or _told_subject(told) or subject(told)
    named = [*phrases(seeded), *phrases(told)]
    things = dict.fromkeys(one.named for one in named if found is None or one.text != found.text)
    text = f"{found.text if found else ''} {found.text if found else ''} {seeded} {told}"
    field = field_of(text) or "default"
    return Subject(found.named if found else "all this", field, tuple(things)[:8])


def _spoken_of(said: str, names: tuple[str, ...]) -> Phrase | None:
    """What several lines named that isn't out of our own banks; rather what tells a field."""
    own = _own_words() | {name.lower() for name in names}
    counts = Counter(phrase for phrase in phrases(said) if not own & set(phrase.text.lower().split()))
    counts.update({phrase: 3 for phrase in counts if field_of(phrase.text)})
    best = sorted(counts, key=lambda phrase: (-counts[phrase], -len(phrase.text)))[:1]
    return best[0] if best and counts[best[0]] > 1 else None


@cache
def _own_words() -> frozenset[str]:
    """The words of the things that our own sentences name, whatever the subject."""
    bank = _bank()
    lines = [line for use in ("claim", "ask", "start", "bye") for line in bank[use]["lines"]]
    lines += [line for use in ("react", "answer") for some in bank[use].values() for line in some]
    lines += [line for one in bank["fields"].values() for name in _PARTS for line in one[name]]
    texts = [piece for line in lines for piece in (*literals(line), line.replace("{", " ").replace("}", " "))]
    return frozenset(word for text in texts for phrase in phrases(text) for word in phrase.text.lower().split())


def _told_subject(told: str) -> Phrase | None:
    """What a prompt says that somebody knows of or talks about."""
    for found in _EXPERT.finditer(told):
        piece = found[1] or found[2]
        if one := subject(f"about {piece}"):
            return one
    return None


@dataclass(frozen=True)
class Manner:
    """How a prompt wants somebody to talk. `leaves` after so many lines, 0 for never, -1 at some time."""

    brief: bool
    objects: bool
    asks: bool
    leaves: int


@lru_cache(maxsize=2_048)
def _manner(told: str) -> Manner:
    named = _AFTER.search(told)
    leaves = (int(named[1]) if named else -1) if _BYE.search(told) else 0
    return Manner(bool(_BRIEFLY.search(told)), bool(_SCEPTIC.search(told)), bool(_ASKER.search(told)), leaves)


@cache
def _field(name: str) -> Mapping[str, tuple[str, ...]]:
    """What there is in a field, by the name of its slot."""
    return strings({part: lines for part, lines in _bank()["fields"][name].items() if part in _PARTS})


def turn(asked: Asked, seed: int, chance: random.Random) -> str:
    """What is said next: an answer to the last line, something new, perhaps a question; or a goodbye."""
    others = [line for line in asked.said if line.by != asked.me]
    last = others[-1] if others else None
    told = asked.persona.description
    seeded = _seeded(asked)
    names = tuple(sorted({asked.me, *asked.others, *(line.by for line in asked.said)}))
    about = subject_of(told[:1_500], seeded, "" if seeded else "\n".join(line.text for line in asked.said), names)
    talk = _phrasing(asked, seed, chance, about, last)
    a = last.by if last else (asked.others[0] if asked.others else "everybody")
    if _takes_leave(asked, last, told, chance):
        return talk.again("bye", _bank()["bye"]["lines"], a=a)
    brief = _manner(told).brief or "short" in bearing(Room(persona=asked.persona)).manners
    return talk.whole(lambda: _turn(asked, talk, last, brief=brief), _BRIEF_MOST if brief else _SAID_MOST) or clip(
        talk.again("claim", _bank()["claim"]["lines"]), _SAID_MOST
    )


def _takes_leave(asked: Asked, last: Line | None, told: str, chance: random.Random) -> bool:
    """Where the turn asks for it, where the other did, or where the prompt does and enough was said."""
    if _BYE.search(asked.frame + asked.instruction) or (last and _BYE_SAID.search(last.text) and len(asked.said) > 3):
        return True
    leaves = _manner(told).leaves
    return asked.last >= leaves if leaves > 0 else leaves < 0 and asked.last >= _ENDS and chance.random() < 0.3


def _seeded(asked: Asked) -> str:
    """What began the dialogue, as long as it can be seen, else its topic."""
    first = asked.said[0].text if asked.said and asked.said[0].n <= 1 else ""
    return (first or asked.text("topic") or asked.text("context"))[:1_500]


def _phrasing(asked: Asked, seed: int, chance: random.Random, about: Subject, last: Line | None) -> Phrasing:
    words = {"s": about.phrase, "n": _taken_up(about, last, chance), "a": last.by if last else "all of you"}
    heard = plain("\n".join(line.text for line in asked.said))
    names = "/".join(sorted({asked.me, *asked.others}))
    return Phrasing(f"{seed}/{names}/{about.field}", asked.last + 1, _field(about.field), words, chance, heard)


def _taken_up(about: Subject, last: Line | None, chance: random.Random) -> str:
    """Something that the last line named: of the field, if it can be, else another thing that it named."""
    if last is None or ODD.search(last.text):
        return about.phrase
    low = plain(last.text)
    known = [one for lines in _field(about.field).values() for one in lines if one.lower() in low]
    named = [one for one in phrases(last.text) if len(one.text) > 4 and one.text != last.by]
    pool = known or [one.named for one in named[:3]]
    return chance.choice(pool) if pool else about.phrase


def _turn(asked: Asked, talk: Phrasing, last: Line | None, *, brief: bool) -> Sequence[str]:
    bank = _bank()
    told = asked.persona.description
    if last is None:
        return [talk.line("start", bank["start"]["lines"]), _claim(talk), _ask(talk, 0.8)]
    question = request_in(last.text)
    tone = _tone(asked, talk, told)
    first = _answer(asked, talk, question) if question else _react(talk, tone)
    strays = not _speaks_of(talk.words["s"], asked.said[-_STRAYS:])
    whole = asked.said[0].n <= 1
    terse = brief and whole and question and not strays and talk.chance.random() < 0.4
    claim = "" if terse else _claim(talk, named=strays)
    eager = 0.6 if _manner(told).asks else 0.3
    return (
        [first, claim, _ask(talk, eager if claim else 0.6 * eager)]
        if first or claim
        else [_claim(talk), _ask(talk, 1.0)]
    )


def _speaks_of(phrase: str, lines: Sequence[Line]) -> bool:
    bare = plain(phrase.removeprefix("the "))
    return any(bare in plain(line.text) for line in lines)


def _claim(talk: Phrasing, *, named: bool = False) -> str:
    """Something new on the subject; `named`: by its name."""
    lines: list[str] = _bank()["claim"]["lines"]
    own = [line for line in lines if "{s}" in line] if named else []
    return talk.line("claim/named", own) or talk.line("claim", lines)


def _ask(talk: Phrasing, probability: float) -> str:
    return talk.line("ask", _bank()["ask"]["lines"]) if talk.chance.random() < probability else ""


def _tone(asked: Asked, talk: Phrasing, told: str) -> str:
    me = nature(asked.persona)
    objects = 0.6 if _manner(told).objects else 0.3 - 0.1 * (me.warmth > 0.2)
    roll = talk.chance.random()
    return "object" if roll < objects else "add" if roll < objects + 0.3 else "agree"


def _react(talk: Phrasing, tone: str) -> str:
    lines = _bank()["react"]
    return talk.line(f"react/{tone}", lines[tone]) or talk.line("react/add", lines["add"])


def _answer(asked: Asked, talk: Phrasing, question: str) -> str:
    bank = _bank()["answer"]
    kind = kind_of(question)
    if kind == "closed" and re.search(r"\bor\b", question):
        kind = "choice"
    elif kind == "closed":
        sure = stream(nature(asked.persona).key, "yes", " ".join(sorted(set(tokens(question)))))
        kind = "yes" if sure.random() < 0.55 else "no"
    kind = {
        "often": "when",
        "like": "what",
        "dislike": "what",
        "change": "what",
        "describe": "how",
        "opinion": "what",
    }.get(kind, kind)
    lines = bank.get(kind) or bank["what"]
    return (
        talk.line(f"answer/{kind}", lines)
        or talk.line("answer/what", bank["what"])
        or talk.again(f"answer/{kind}", lines)
    )
