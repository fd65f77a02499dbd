"""What a persona says in a focus group or an interview, and in its own words in a survey."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from app.llm.scripted.asked import Asked, Line
from app.llm.scripted.bearing import Bearing, bearing
from app.llm.scripted.chance import digest, order
from app.llm.scripted.disposition import Nature, leaning, nature
from app.llm.scripted.fields import field_of
from app.llm.scripted.phrasing import Phrasing, mark_of, plain
from app.llm.scripted.questioning import kind_of, question_in, request_in
from app.llm.scripted.room import Room
from app.llm.scripted.surveying import Question, Respondent, yes_or_no
from app.llm.scripted.voice import Voice
from app.llm.scripted.voices import load, strings, words
from app.llm.scripted.wording import amounts, phrases, proposal, slant, stems, subject, tokens

SAID_MOST = 420
"""Characters of what is said at once."""

_PRODUCT = frozenset(words("product"))
_POLICY = frozenset(words("policy"))
ODD = re.compile(r"[{}\[\]<>]")
"""What is in texts that weren't written to be read."""

_ANSWERS = {"for": "yes", "against": "no", "both": "maybe"}
_THANKS = re.compile(r"\b(?:thanks|thank you)\b", re.IGNORECASE)
_SIDES = {1: "for", -1: "against", 0: "both"}


@cache
def session_bank() -> dict[str, Any]:
    return load("session")


@dataclass
class Speaker:
    """Somebody who is about to speak on a subject."""

    asked: Asked
    seed: int
    chance: random.Random
    about: str
    nature: Nature
    bearing: Bearing
    phrasing: Phrasing
    it: str

    @property
    def side(self) -> str:
        """For, against, or both, with regard to the subject."""
        value = leaning(self.nature, self.about)
        return _SIDES[(value > 0.22) - (value < -0.22)]

    @cached_property
    def kind(self) -> str:
        """What sort of thing is talked about: a product, a policy, or any."""
        return kind_of_thing(self.about)

    def said(self) -> str:
        """What is said aloud next."""
        return self.phrasing.whole(self._parts, SAID_MOST)

    def open_answer(self, question: str) -> str:
        """An answer to a question in a survey."""
        return self.phrasing.whole(lambda: self.answered(question), SAID_MOST)

    def thought(self) -> str:
        """What is thought and not said."""
        bank = session_bank()["thought"]
        mood = {"for": "agrees", "against": "differs"}.get(self.side, "wavers")
        return self.phrasing.line("thought", bank[mood]) or self.phrasing.again("thought", bank[mood])

    def _parts(self) -> list[str]:
        others = [line for line in self.asked.said if line.by != self.asked.me]
        if question := self._put_to_me():
            return self.answered(question)
        if question := self._put_to_all():
            target = self._target([line for line in others if not _led(line)])
            reply = [self._reply(target)] if target and self.chance.random() < 0.5 else []
            return [*reply, *self.answered(question)]
        if not others and (question := question_in(self.about)) and "interview" in self.asked.frame[:60].lower():
            return self.answered(question)
        last = self.asked.said[-1] if self.asked.said else None
        if last and _led(last) and _THANKS.search(last.text):
            return [self.phrasing.again("thanks", session_bank()["asked"]["thanks"])]
        now, most = self.asked.round
        target = self._target(others)
        ends = most > 1 and now == most
        parts = [self._reply(target)] if target else []
        if ends:
            parts += [self._close(), self._pay() if self.chance.random() < 0.6 else ""]
        else:
            parts += self._view(first=now < 2 and not target)
        if self.chance.random() < (0.1 if ends else 0.3):
            parts.append(self._ask(target))
        return parts

    def _put_to_me(self) -> str:
        """A question in the last line, unless it is somebody else's to answer."""
        last = self.asked.said[-1] if self.asked.said else None
        question = request_in(last.text) if last and last.by != self.asked.me else ""
        others = {line.by for line in self.asked.said} | set(self.asked.others)
        return "" if any(_names(question, name) for name in others - {self.asked.me}) else question

    def _put_to_all(self) -> str:
        """What who leads the talk asked last, as long as one hasn't spoken since."""
        for line in reversed(self.asked.said):
            if line.by == self.asked.me:
                return ""
            if _led(line):
                return request_in(line.text)
        return ""

    def _view(self, *, first: bool) -> list[str]:
        """An opinion, and what it rests on."""
        point, why, detail, own = self.point(), self._of("why"), self._of("detail"), self._own()
        rest = [why, detail] if first else [detail if self.chance.random() < 0.6 else why]
        lead = [point] if first or self.chance.random() < 0.5 else []
        extra = own if self.chance.random() < 0.4 else self._pay() if self.chance.random() < 0.3 else ""
        parts = [*lead, *rest[: 1 if "short" in self.bearing.manners else 2], extra]
        return parts if any(parts) else [point or self.phrasing.again("any", session_bank()["any"][self.side])]

    def point(self) -> str:
        """Where it stands, in a sentence."""
        bank, side = session_bank(), self.side
        if self.bearing.voice and self.chance.random() < 0.5:
            return Voice(self.bearing.voice, self.nature.key).opinion(self.about, self.phrasing.at).replace("@", "")
        return self.phrasing.line(self.kind, bank[self.kind][side]) or self.phrasing.line("any", bank["any"][side])

    def _of(self, use: str, side: str = "") -> str:
        """What speaks for a side, the own one as a rule: a reason, or something that the subject's text names."""
        return self.phrasing.line(f"{use}/{self.kind}", session_bank()[use][self.kind][side or self.side])

    def _own(self) -> str:
        beliefs = self.bearing.beliefs
        if beliefs and self.chance.random() < 0.35:
            belief = beliefs[self.phrasing.at % len(beliefs)]
            return "" if plain(belief).strip(".") in self.phrasing.heard else belief
        kind = "product" if self.kind == "product" else "other"
        return self.phrasing.line(f"own/{kind}", session_bank()["own"][kind]["lines"])

    def _close(self) -> str:
        lines = session_bank()["close"][self.side]
        return self.phrasing.line("close", lines) or self.phrasing.again("close", session_bank()["close"][self.side])

    def _pay(self) -> str:
        """What it would pay, where the subject is something that has a price."""
        if "mine" not in self.phrasing.words:
            return ""
        bank = session_bank()["pay"]
        if "amount" in self.phrasing.words and (self.side == "against" or self.chance.random() < 0.6):
            side = "dear" if self.phrasing.words["mine_below"] else "fair"
            if self.side == "against" and side == "fair":
                return ""
            if found := self.phrasing.line(f"pay/{side}", bank[side]):
                return found
        return self.phrasing.line("pay", bank["lines"])

    def _target(self, others: Sequence[Line]) -> Line | None:
        """Whom it takes up: who spoke to it, else rather somebody who just spoke."""
        recent = [line for line in others[-10:] if not _led(line)]
        to_me = [line for line in recent[-4:] if self.asked.me and self.asked.me in line.text]
        if to_me:
            return to_me[-1]
        if not recent or self.chance.random() < 0.12:
            return None
        weights = [place + 1 for place in range(len(recent))]
        return self.chance.choices(recent, weights)[0]

    def _reply(self, target: Line) -> str:
        mine = {"for": 1, "against": -1, "both": 0}[self.side]
        agrees = 0.5 + 0.45 * side_of(target.text) * mine
        roll = self.chance.random()
        tone = "add" if roll < 0.22 else "agree" if roll < 0.22 + 0.78 * agrees else "disagree"
        bank = session_bank()["reply"]
        named = self._named_by(target)
        words = {"a": target.by, "n": named} if named else {"a": target.by}
        return self.phrasing.line(f"reply/{tone}", bank[tone], **words) or self.phrasing.line(
            "reply/add", bank["add"], **words
        )

    def _named_by(self, target: Line) -> str:
        """Something that the other spoke of, rather of the subject; of what is no sentence nothing."""
        if ODD.search(target.text):
            return ""
        about = stems(self.about)
        named = [
            one for one in phrases(target.text) if len(one.text) > 3 and one.text not in (target.by, self.asked.me)
        ]
        near = [one for one in named if stems(one.text) & about] or [
            one for one in named if one.before in ("the", "of")
        ]
        found = [one.named for one in near if one.named != self.it] or [one.named for one in near]
        return found[self.phrasing.at % len(found)] if found else ""

    def _ask(self, target: Line | None) -> str:
        kind = "product" if self.kind == "product" else "other"
        bank = session_bank()["asks"][kind]
        if target:
            return self.phrasing.line("asks", bank["lines"], a=target.by)
        return self.phrasing.line("asks/alone", bank["alone"])

    def answered(self, question: str) -> list[str]:
        """The answer to a question, with something it rests on."""
        kind, bank = kind_of(question), session_bank()["asked"]
        respondent = Respondent(self.nature, "")
        if kind == "pay":
            first = self._pay() or self.phrasing.line("pay/what", bank["what"])
        elif kind == "closed":
            own = stems(question) & self.nature.stems
            sure = yes_or_no(respondent, question) if own else _ANSWERS[self.side]
            first = self.phrasing.again("yes", bank[sure])
        elif kind == "opinion":
            first = self.point()
        else:
            first = self.phrasing.line(kind, bank[kind]) or self.phrasing.again(kind, bank[kind])
        if kind == "name":
            return [first, self.phrasing.again("job", bank["job"]), self.phrasing.again("hobby", bank["hobby"])]
        if kind in ("age", "job", "home", "hobby"):
            return [first or self.phrasing.again("what", bank["what"])]
        return [first, self._behind(kind), self._own() if self.chance.random() < 0.25 else ""]

    def _behind(self, kind: str) -> str:
        """What an answer rests on."""
        if kind in ("often", "when", "where", "who", "describe"):
            return self._own() if self.chance.random() < 0.5 else ""
        if kind in ("like", "dislike"):
            return self._of("why", "for" if kind == "like" else "against") if self.chance.random() < 0.7 else ""
        return self._of("why" if kind in ("closed", "opinion", "pay") else "detail")


def _names(text: str, name: str) -> bool:
    return name in text and bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))


@cache
def _known_sides() -> tuple[tuple[str, int], ...]:
    """What our own lines are known by, and the side that each takes."""
    bank = session_bank()
    kinds = ("product", "policy", "any")
    banks = [
        bank["close"],
        *(bank[kind] for kind in kinds),
        *(bank[use][kind] for use in ("why", "detail") for kind in kinds),
    ]
    return tuple(
        (mark, side)
        for lines in banks
        for name, side in (("for", 1), ("against", -1), ("both", 0))
        for line in lines[name]
        if (mark := mark_of(line))
    )


@lru_cache(maxsize=8_192)
def side_of(text: str) -> int:
    """The side that a text takes: 1, -1 or 0."""
    low = plain(text)
    known = [side for mark, side in _known_sides() if mark in low]
    total = sum(known) if known else slant(text)
    return (total > 0) - (total < 0)


def _led(line: Line) -> bool:
    """Whether somebody who leads the talk wrote it."""
    return line.by.lower() in ("moderator", "facilitator", "interviewer", "host")


def speaker(asked: Asked, seed: int, chance: random.Random, about: str, at: int | None = None) -> Speaker:
    """Whoever is asked, as a speaker on `about`."""
    me = nature(asked.persona)
    known = bearing(Room(persona=asked.persona))
    thing = subject(about)
    it = proposal(about) or (thing.named if thing else "that")
    crowd = len(asked.others) + 1 if asked.others else 0
    place = sum(name < asked.me for name in asked.others)
    start = asked.last + 1 + place + asked.round[0] * (0 if asked.said else crowd or 7)
    named = _details(about, it)
    bank = session_bank()
    lists = {
        **strings(bank["lists"]),
        "d": named,
        "love": known.lists["love"],
        "job": known.lists["job"],
        "place": known.lists["place"],
        "crit": (_looks(me),),
    }
    words = {"it": it, "me": asked.me, "t": it, **_prices(asked, me, about)}
    if known.age:
        words["age"] = known.age
    heard = plain("\n".join(line.text for line in asked.said))
    if plain(it) in heard and chance.random() < 0.55:
        words["it"] = _shorter(it)
    key = f"{seed}/{digest(about)}" if crowd > 2 else f"{seed}/{me.key}"
    lists["p"] = _rotated(lists["p"], me.key, 5)
    lists["when"] = _rotated(lists["when"], me.key, 4)
    phrasing = Phrasing(key, start if at is None else at, lists, words, chance, heard)
    return Speaker(asked, seed, chance, about, me, known, phrasing, it)


def _shorter(it: str) -> str:
    """What has been named before, named shorter."""
    if it.split()[0].endswith("ing") and " " in it:
        return "that"
    return f"the {it.split()[-1]}" if it.startswith("the ") else it


@lru_cache(maxsize=1_024)
def kind_of_thing(about: str) -> str:
    """Whether a text is about a product, a policy, or any other thing."""
    words = set(tokens(about))
    product, policy = len(words & _PRODUCT), len(words & _POLICY)
    return "product" if product > policy else "policy" if policy else "any"


@lru_cache(maxsize=1_024)
def _details(about: str, it: str) -> tuple[str, ...]:
    """What a subject's text names besides the subject; where that is little, pieces of the field that it belongs to."""
    weak = frozenset(words("weak_things"))
    found = [one.named for one in phrases(about) if one.named != it and not set(tokens(one.text)) <= weak]
    found = [one for one in dict.fromkeys(found) if one not in it]
    if len(found) < 3:
        kind, field = kind_of_thing(about), field_of(about)
        parts = load("dialogue")["fields"][field]["part"] if field and kind != "product" else ()
        found += parts or session_bank()["aspects"][kind]
    return tuple(found)


def _rotated(fillers: tuple[str, ...], key: str, count: int) -> tuple[str, ...]:
    """Some of the fillers: a persona's own."""
    return tuple(fillers[place] for place in order(f"own/{key}", len(fillers))[:count])


def _looks(me: Nature) -> str:
    """What a persona looks at first."""
    bank = session_bank()
    signs: Mapping[str, list[str]] = bank["looks"]
    fit = [crit for crit, words in signs.items() if me.words & set(words)]
    if fit:
        return fit[int(me.key, 16) % len(fit)]
    crits: list[str] = bank["lists"]["crit"]
    return crits[int(me.key, 16) % len(crits)]


def _prices(asked: Asked, me: Nature, about: str) -> dict[str, str]:
    """The sum that the subject names, and what the persona would pay, written alike."""
    found = amounts(about) or amounts(asked.text("context"))
    if not found:
        return {}
    value, written = found[0]
    mine = Respondent(me, "").price(Question("pay", "pay", "number", about=asked.text("topic") or about))
    told = f"{mine:g}" if mine == int(mine) or mine < 1 else f"{mine:.2f}"
    own = re.sub(r"\d[\d.,]*", told, written, count=1)
    return {"amount": written, "mine": own, "mine_below": "yes" if mine < 0.92 * value else ""}
