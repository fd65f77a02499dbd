"""Puts together what a member of a room says: pieces from the banks, none of them heard there before."""

import random
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from app.llm.scripted.bearing import Bearing
from app.llm.scripted.chance import digest
from app.llm.scripted.grammar import Fill, sentences, slots, write
from app.llm.scripted.hearing import heard, kin, plain, sign_of
from app.llm.scripted.room import Message, Room
from app.llm.scripted.topics import topics
from app.llm.scripted.voices import load, strings

_MANY = 7
"""Fillers that make a slot one that varies: a line with one of those differs from stretch to stretch of the room."""

_FREE = frozenset(
    [
        "greet",
        "greet_back",
        "bye",
        "thanks",
        "bot",
        "evade",
        "mood",
        "name",
        "where",
        "where_known",
        "job",
        "age",
        "ageless",
        "hobby",
        "choice",
        "orders",
        "hurt",
        "defiant",
        "back",
        "sorry",
        "grave",
        "crisis",
        "told",
        "should",
        "should_not",
        "so",
        "not_so",
    ]
)
"""Occasions that are too rare for what is said at them to be spread over the room."""

_EARLY = 12
"""Messages for which a room keeps to its subject."""

_LATE = 100
"""Messages after which a room that has a subject may come to what is near to it."""

_SHORT = 7
"""Words from which on a line is noticed when it comes again."""

_LONG, _VARIED, _BRIEF = 233, 73, 59
"""Messages after which a line may come again: one that would be the same, one with a slot that varies, a short one."""

_TIME = 20
"""For so many messages of each such cycle a line may be said."""

_SAID_MAX = 320
_FORM_MAX = 130
_I_AM = re.compile(r"(?:^|(?<=[.!?:] ))I am ")
_CORE = re.compile(r"\w+")
_PREFIX = re.compile(r"^@\S+ ")
_ARTICLE = re.compile(r"^(?:an?|the|my|more|new|proper|cheaper) ")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff⟦⟧{}]+")


Lists = Mapping[str, tuple[str, ...]]


@dataclass
class Talk:
    """One member about to speak. The same room, and the same place in it, find the same words."""

    room: Room
    bearing: Bearing
    chance: random.Random
    key: str
    eased: bool = False
    """Rather say what may have been said long ago than nothing."""

    told: list[str] = field(default_factory=list)
    firm: set[str] = field(default_factory=set)
    """Pieces that may stand alone: they will not come again."""

    @cached_property
    def said(self) -> str:
        """All that can be seen of the room, as it is compared."""
        return "\n".join(plain(message.text) for message in self.room.messages)

    @cached_property
    def lane(self) -> int:
        """The member's place among all, which keeps those who speak at once from the same words."""
        return sorted([*self.room.others, self.room.me]).index(self.room.me)

    @property
    def tone(self) -> dict[str, list[str]]:
        tones: dict[str, list[str]] = load("chat")[self.bearing.tone]
        return tones

    # Pieces

    def act(self, name: str, to: Message | None = None, *, strict: bool = False, either: str = "") -> str:
        """A line for an occasion; `either` is what was chosen of two."""
        lines = self.tone.get(name) or load("chat")["acts"][name]
        words = {"x": either} if either else {}
        return self.line(f"acts/{name}", lines, to, strict=strict, free=name in _FREE, words=words)

    def manner(self, name: str, to: Message | None, *, strict: bool = False) -> str:
        """A reaction in the tone the room has."""
        return self.line(f"{self.bearing.tone}/{name}", self.tone[name], to, strict=strict)

    def matter(self, topic: str, side: str, to: Message | None) -> str:
        """What somebody on that side says of a topic, or of one that is near to it."""
        if self.bearing.voice and (own := self._own(topic, to)):
            return own
        if to and to.by == self.room.person and (apt := self._apt(topic, side, to)):
            return apt
        sides = [side, "both"] if self.chance.random() < 0.7 else ["both", side]
        tries = [(one, which) for one in self._near(topic) for which in sides]
        found = (self._of(one, which, to, strict=True) for one, which in tries)
        return next(filter(None, found), "") or self._of(topic, side, to)

    def question(self, topic: str, to: Message | None) -> str:
        """A question about a topic, or about one that is near to it."""
        return next(filter(None, (self._of(one, "asks", to, strict=True) for one in self._near(topic))), "")

    def _near(self, topic: str) -> list[str]:
        """The topic first as a rule, then its neighbours, and what can be said of anything. From the brief's subject
        nobody strays until the room has heard most of what there is to say of it."""
        near = [*self._bank(topic).get("near", ()), "any"]
        self.chance.shuffle(near)
        if topic == self.bearing.subject:
            near.remove("any")
            return [topic, "any", *(near if self.room.last >= _LATE else ())]
        stays = self.room.last < _EARLY or self.chance.random() < 0.75
        return [topic, *near] if stays else [near[0], topic, *near[1:]]

    def _of(self, topic: str, what: str, to: Message | None, *, strict: bool = False) -> str:
        bank = self._bank(topic)
        lines = [one[0] for one in bank["asks"]] if what == "asks" else bank[what]
        return self.line(f"{topic}/{what}", lines, to, strict=strict, lists=strings(bank.get("lists", {})))

    def _apt(self, topic: str, side: str, to: Message) -> str:
        """A line about the very thing somebody named."""
        bank = self._bank(topic)
        lists = strings(bank.get("lists", {}))
        meant = _named(lists, to.text)
        named = {"t"} if heard(to.text).phrase and topic == "any" else meant.keys()
        lines = [line for line in (*bank[side], *bank["both"]) if named & set(slots(line))]
        return self.line(f"{topic}/{side}", lines, to, lists=lists, words=meant) if lines else ""

    def apt(self, topic: str, side: str, to: Message) -> str:
        """What somebody on that side says of the very thing that a message speaks of; "" where nobody wrote a line."""
        if self.bearing.voice and (own := self._own(topic, to)):
            return own
        if named := self._apt(topic, side, to):
            return named
        meant = kin(to.text)
        bank = self._bank(topic)
        shared = {line: len(meant & kin(line)) for line in (*bank[side], *bank["both"])}
        lines = [line for line, things in shared.items() if things and things == max(shared.values())]
        return self.line(f"{topic}/{side}", lines, to, lists=strings(bank.get("lists", {}))) if lines else ""

    def answer(self, asked: tuple[str, int], side: str, to: Message) -> str:
        """The answer to a question of our own banks."""
        topic, place = asked
        bank = self._bank(topic)
        template = bank["asks"][place][{"for": 1, "against": 2}.get(side, 3)]
        lines = [template, *(line for line in bank["asks"][place][1:] if line != template)]
        fresh = next((line for line in lines if not self._stale(line)), "")
        return (
            self._write(fresh, f"{topic}/answers", {**self._words(to)}, strings(bank.get("lists", {}))) if fresh else ""
        )

    def belief(self) -> str:
        """Something that its own text says of it."""
        fresh = [one for one in self.bearing.beliefs if plain(one).rstrip(".") not in self.said]
        fresh = [one for one in fresh if self.eased or self._due(one, {}, strict=True)]
        return self.chance.choice(fresh) if fresh else ""

    def tale(self) -> str:
        """A starter persona's short post, told to the room."""
        voice = self.bearing.voice
        posts = [line for line in voice.posts if "||" not in line and len(line) < _FORM_MAX] if voice else []
        return self.line("posts", posts, None, strict=True, lists=voice.lists) if voice and posts else ""

    def line(
        self,
        use: str,
        lines: Sequence[str],
        to: Message | None,
        *,
        strict: bool = False,
        free: bool = False,
        lists: Lists | None = None,
        words: Mapping[str, str] | None = None,
    ) -> str:
        """A line of a bank: one whose turn it is, that fits, and was not heard. "" where none is left.

        Each line has its times in the room, so that it doesn't come back once it is out of sight; where none is due,
        another is taken unless `strict`, and where it is `free` any. Who speaks next thinks of other lines.
        """
        known = self._words(to) | dict(words or {})
        has = {**self.bearing.lists, **(lists or {})}
        fit = [line for line in lines if all(slot in known or slot in has or slot[0] == "#" for slot in slots(line))]
        fresh = [line for line in fit if not self._stale(line)]
        due = [line for line in fresh if self._due(line, has, strict)]
        pool = due if due and not free else fresh if free or self.eased or not strict else []
        if not pool:
            return ""
        mine = [line for line in pool if self._turn(line) // 7 % 2 == self.lane % 2]
        chosen = self.chance.choice(mine or pool)
        text = self._write(chosen, use, known, lists or {})
        if self._due(chosen, has, strict=True):
            self.firm.add(text)
        return text

    def _turn(self, line: str) -> int:
        """A number of the line's own in this room."""
        return int(digest(self.key, line), 16)

    def _due(self, line: str, lists: Lists, strict: bool) -> bool:
        """Whether now is the line's time. It lasts no longer than what can be seen, so no use of it is forgotten."""
        cycle = _LONG
        if any(slot[0] == "#" or len(lists.get(slot, ())) >= _MANY for slot in slots(line)):
            cycle = _VARIED
        elif "w" in slots(line) or (not strict and len(line.split()) < _SHORT):
            cycle = _BRIEF
        return (self.room.last - self._turn(line)) % cycle < min(self.room.window or _TIME, _TIME)

    def _stale(self, template: str) -> bool:
        sign = sign_of(template, least=5)
        return bool(sign) and (sign in self.said or any(sign in plain(piece) for piece in self.told))

    def _write(self, template: str, use: str, words: dict[str, str], lists: Lists) -> str:
        turn = self._turn(template)
        due = (self.room.last - turn) % _VARIED < _TIME
        at = turn % 97 + ((self.room.last - turn % _VARIED) // _VARIED if due else self.room.last)
        filled = write(template, Fill({**self.bearing.lists, **lists}, words, f"{self.key}/{use}", at))
        text = _CONTROLS.sub(" ", filled).strip()
        self.told.append(text)
        return text

    def _words(self, to: Message | None) -> dict[str, str]:
        """What the slots of the occasion take: whom, which words of theirs, what about."""
        known = {"t": self.about(to)}
        if self.bearing.age:
            known["age"] = self.bearing.age
        if to is None:
            return known
        known["a"] = self.called(to.by)
        understood = heard(to.text)
        fresh = [word for word in understood.words if self.said.count(plain(word)) < 3]
        return known | {"w": fresh[self.room.last % len(fresh)]} if fresh else known

    def called(self, name: str) -> str:
        """How somebody is addressed; the person only as @NAME, which stands for what they call themselves."""
        return f"@{name}" if name == self.room.person or self.chance.random() < 0.55 else name

    def about(self, to: Message | None) -> str:
        """What is talked of, as a phrase."""
        named = load("chat_topics")
        if to and (phrase := heard(to.text).phrase):
            return phrase
        found = [topic for topic in (heard(to.text).topics if to else ()) if topic in named]
        if self.bearing.about and (not found or found[0] == self.bearing.subject):
            return self.bearing.about
        topic = found[0] if found else self.bearing.subject
        return str(named[topic]["name"]) if topic in named else "all that"

    def _bank(self, topic: str) -> dict[str, Any]:
        found: dict[str, Any] = load("chat_topics").get(topic) or load("chat")["any"]
        return found

    def _own(self, topic: str, to: Message | None) -> str:
        """A starter persona's own view, from its bank for the feed."""
        voice = self.bearing.voice
        if voice is None:
            return ""
        speaking_of = f"{to.text if to else ''} {self.bearing.about} {topic}"
        themes = [theme for theme, _ in topics(speaking_of)[:2] if theme in voice.stances]
        author = {"author": self.called(to.by)} if to else {}

        def told(strict: bool) -> Iterator[str]:
            for theme in [*themes, "any"]:
                yield self.line(
                    f"own/{theme}", voice.stances[theme], to, strict=strict, lists=voice.lists, words=author
                )

        return next(filter(None, told(True)), "") or self.tale() or next(filter(None, told(False)), "")

    def hook(self, side: str, to: Message) -> str:
        """A starter persona's own reaction to words of somebody's."""
        voice = self.bearing.voice
        words = self._words(to).get("w")
        if voice is None or not words:
            return ""
        lines = {"agree": voice.agree, "disagree": voice.needle}.get(side, voice.muse)
        return self.line(
            f"own/{side}", lines, None, lists=voice.lists, words={"author": self.called(to.by), "q": words}
        )

    # The whole

    def whole(self, pieces: Iterable[str], to: Message | None, *, address: float = 0.0, due: bool = False) -> str:
        """The pieces as one message, in the way its author types; "" where nothing of it is new.

        A piece that may come again doesn't stand alone, unless the occasion is there: `due`.
        """
        found = [piece for piece in pieces if piece]
        text = " ".join(found)
        if not text or text.endswith(":") or self._repeats(text):
            return ""
        if len(found) == 1 and not due and found[0] not in self.firm:
            return ""
        if to and to.by not in text and self.chance.random() < address:
            text = f"@{to.by} {text}"
        return self._typed(_cut(unicodedata.normalize("NFC", text)))

    def _repeats(self, text: str) -> bool:
        if any(_core(text) == _core(message.text) for message in self.room.messages):
            return True
        return any(len(one.split()) > 4 and plain(one).strip(" .!?") in self.said for one in sentences(text))

    def _typed(self, text: str) -> str:
        manners = self.bearing.manners
        text = _I_AM.sub("I'm ", text)
        text = text.replace("’", "'").replace("“", '"').replace("”", '"')
        if "hasty" in manners:
            for right, wrong in load("chat")["manners"]["faults"]:
                text = text.replace(right, wrong)
        if "low" in manners:
            text = "".join(part if part.startswith("@") else part.lower() for part in self._parted(text))
        smiles = 0.3 if "smiles" in manners else 0.04 if self.bearing.tone == "civil" else 0.015
        if self.chance.random() < smiles:
            return f"{text} {self.chance.choice(load('chat')['manners']['smile'])}"
        return text.removesuffix(".") if manners & {"loose", "low"} and not text.endswith("..") else text

    def _parted(self, text: str) -> list[str]:
        """The text with the members' names apart, as they are never respelled."""
        names = sorted((re.escape(f"@{name}") for name in self.room.others), key=len, reverse=True)
        return re.split(f"({'|'.join(names)})", text) if names else [text]


def _core(text: str) -> str:
    """What a message comes to, whomever it is for."""
    return " ".join(_CORE.findall(_PREFIX.sub("", plain(text))))


def _cut(text: str) -> str:
    """At most so many characters, in whole sentences."""
    kept = text
    while len(kept) > _SAID_MAX:
        parts = sentences(kept)
        if len(parts) < 2:
            return kept[: _SAID_MAX - 1].rstrip() + "…"
        kept = kept[: kept.rindex(parts[-1])].rstrip()
    return kept


def _named(lists: Lists, text: str) -> dict[str, str]:
    """The fillers that a text speaks of, by their slot."""
    known = plain(text)
    return {
        slot: filler
        for slot, fillers in lists.items()
        for filler in reversed(fillers)
        if (core := _ARTICLE.sub("", plain(filler))) and len(core) > 3 and re.search(rf"\b{re.escape(core)}", known)
    }
