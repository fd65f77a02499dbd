"""A turn in a chatroom: whom to answer, how, and whether to say anything at all."""

import random
import re
from dataclasses import dataclass
from functools import cached_property

from app.llm.scripted.bearing import Bearing, bearing
from app.llm.scripted.chance import digest
from app.llm.scripted.hearing import Heard, heard, of_norms, of_oneself, of_us
from app.llm.scripted.reading import Call, Scene
from app.llm.scripted.room import Message, Room
from app.llm.scripted.talking import Talk
from app.llm.scripted.voices import load

_NEAR = 6
"""Messages within which somebody takes up what was said when nobody waits for an answer."""

_NEW = 12
"""Messages within which a room is new, so that one says hello."""

_TIRED = 7
"""Of the last twelve messages, so many on one topic are enough where the brief names none."""

_PERSONAL = {"mood": "mood", "name": "name", "job": "job", "hobby": "hobby"}
_POLITE = frozenset(["greeting", "thanks", "bye"])
_OCCASIONS = _POLITE | frozenset(["bot", "orders", "where", "age", "choice"])
_OPEN = frozenset(["asked", "statement", "opinion", "hostile"])
_TOLD = re.compile(r"\b(?:played by a|computer|a) model\b")
_BRIEF = 24
"""Characters below which an answer is too curt to stand alone."""

_TRIES = 10


@dataclass
class Chatter:
    """One member about to act."""

    scene: Scene
    room: Room
    seed: int
    chance: random.Random
    takes_up: bool = True
    """Whether what is said answers the message, or begins something else."""

    def calls(self) -> list[Call]:
        """The calls of one answer: something to say, perhaps a like, or the end of the turn."""
        if self.scene.replies:
            return []
        target = self._target()
        likes = self._likes(target)
        if self._keeps_silent(target, bool(likes)):
            return [*likes, Call("end_turn", {})]
        said = self._say(target)
        return [*likes, said] if said else [*likes, Call("end_turn", {})]

    # Whom

    @cached_property
    def bearing(self) -> Bearing:
        return bearing(self.room)

    @cached_property
    def _mine(self) -> list[Message]:
        return [message for message in self.room.messages if message.by == self.room.me]

    @cached_property
    def _theirs(self) -> list[Message]:
        """What others wrote; not what the person wrote who doesn't see the answer."""
        hidden = self.room.person if self.room.blocked else ""
        return [message for message in self.room.messages if message.by not in (self.room.me, hidden)]

    def _target(self) -> Message | None:
        """The message to answer: the one the turn is for, else a recent one by somebody else."""
        if self.room.cause != "background":
            wanted = [message for message in self._theirs if message.number == self.room.answers]
            return wanted[0] if wanted else self._theirs[-1] if self._theirs else None
        near = [m for m in self._theirs if m.number > self.room.last - _NEAR and self._is_open(m)]
        answered = {message.reply_to for message in self.room.messages}
        weights = [
            (1.0 + place**3)
            * (0.3 if message.number in answered else 1.0)
            * (2.0 if message.by == self.room.person else 1.0)
            * (2.5 if self._names_me(message) else 1.0)
            for place, message in enumerate(near)
        ]
        return self.chance.choices(near, weights)[0] if near else None

    def _names_me(self, message: Message) -> bool:
        return f"@{self.room.me}".lower() in message.text.lower()

    def _keeps_silent(self, target: Message | None, liked: bool) -> bool:
        if self.room.cause != "background":
            return liked and self.room.cause == "answer" and self.chance.random() < 0.25
        if self.room.messages and not self._theirs:
            return True
        recent = sum(message.by == self.room.me for message in self.room.messages[-4:])
        return self.chance.random() < 0.06 + 0.25 * (recent > 1) + 0.4 * liked

    def _likes(self, target: Message | None) -> list[Call]:
        """Now and then a like for something recent that was meant well."""
        if "like_message" not in self.scene.offered:
            return []
        tone = self.bearing.tone
        near = [m for m in self._theirs[-_NEAR:] if self.room.me not in m.liked_by and heard(m.text).kind != "hostile"]
        if not near or self.chance.random() > {"civil": 0.2, "uncivil": 0.05}.get(tone, 0.11):
            return []
        liked = target if target in near and self.chance.random() < 0.7 else self.chance.choice(near)
        return [Call("like_message", {"message": liked.number})] if liked else []

    # What

    def _say(self, target: Message | None) -> Call | None:
        key = digest(self.seed, self.room.brief, *sorted([*self.room.others, self.room.me]))
        for attempt in range(_TRIES):
            talk = Talk(self.room, self.bearing, self.chance, key, eased=attempt > _TRIES // 2)
            text = self._text(talk, target)
            if text:
                return Call("say", {"text": text} | self._reply_to(target))
        if target is None or self.room.cause != "background":
            return None
        return self._say(None)  # nobody has a word to that: something else, or the room would be silent for good

    def _reply_to(self, target: Message | None) -> dict[str, object]:
        if target is None or not self.takes_up:
            return {}
        often = 0.5 if self.room.cause == "addressed" else 0.3
        often += 0.3 if target.number != self.room.last else 0.0
        return {"reply_to": target.number} if self.chance.random() < often else {}

    def _text(self, talk: Talk, target: Message | None) -> str:
        self.takes_up = True
        if excuse := self._reported(talk):
            return excuse
        if target is None:
            self.takes_up = False
            return self._new_subject(talk) if self.room.messages else self._begins(talk)
        understood = heard(target.text)
        kind = understood.kind
        if target.by == self.room.person and of_oneself(target.text) == "crisis":
            return talk.whole([talk.act("crisis", target)], target, due=True)
        if kind == "statement" and self.room.cause == "background" and self._strays(understood):
            self.takes_up = False
            return self._new_subject(talk)
        if kind == "statement" and self.room.minutes_left <= 1 and self.chance.random() < 0.4:
            return talk.whole([talk.act("last", target, strict=True)], target)
        return self._answer(talk, target, understood, kind)

    def _reported(self, talk: Talk) -> str:
        """A word about an own message that the person reported, if none was said since."""
        reported = [message for message in self._mine if message.reported]
        if not reported or reported[-1] is not self._mine[-1] or self.chance.random() < 0.3:
            return ""
        self.takes_up = False
        return talk.whole([talk.act("defiant" if self.bearing.tone == "uncivil" else "hurt")], None, due=True)

    def _is_open(self, message: Message) -> bool:
        """Whether something that nobody waits for an answer to is worth one."""
        kind = heard(message.text).kind
        if kind in _OPEN:
            return not _TOLD.search(message.text)
        since = [later for later in self.room.messages if later.number > message.number]
        if kind in _POLITE:
            mine = self._mine if kind == "greeting" else [one for one in since if one.by == self.room.me]
            return message.by == self.room.person and kind != "thanks" and not mine
        to_others = any(f"@{name}".lower() in message.text.lower() for name in self.room.others)
        taken = any(one.reply_to == message.number or f"@{message.by}" in one.text for one in since)
        return not taken and (self._names_me(message) or not to_others)

    def _strays(self, understood: Heard) -> bool:
        """Whether it is time for something else than the last word."""
        if self.bearing.subject or self.bearing.about:
            return self.chance.random() < 0.16
        topics = [heard(message.text).topics[:1] for message in self.room.messages[-12:]]
        tired = bool(understood.topics) and topics.count(understood.topics[:1]) >= _TIRED
        return self.chance.random() < (0.6 if tired else 0.2)

    def _begins(self, talk: Talk) -> str:
        """The first words in a room."""
        hello = talk.act("greet", strict=False)
        if self.chance.random() < 0.45:
            return talk.whole([hello, talk.question(self._subject(None), None)], None, due=True)
        return talk.whole([hello], None, due=True)

    def _new_subject(self, talk: Talk) -> str:
        roll = self.chance.random()
        led = bool(self.bearing.subject or self.bearing.about)
        if not self._mine and self.room.last < _NEW and roll < 0.7:
            return talk.whole([talk.act("greet"), talk.question(self._subject(None), None) if roll < 0.2 else ""], None)
        if roll < (0.6 if led else 0.35):
            topic = self._subject(None) if led else self._other_topic()
            return talk.whole([talk.question(topic, None)], None)
        if roll < 0.8 and (tale := talk.tale()):
            return talk.whole([tale], None)
        if roll < 0.8:
            topic = self._subject(None) if led else self._other_topic()
            return talk.whole([talk.matter(topic, "both", None)], None)
        return talk.whole([talk.act("drift", None, strict=True)], None)

    def _other_topic(self) -> str:
        """Something that wasn't talked of lately."""
        recent = {topic for message in self.room.messages[-12:] for topic in heard(message.text).topics}
        fresh = [topic for topic in load("chat_topics") if topic not in recent]
        return self.chance.choice(fresh or ["leisure"])

    def _subject(self, target: Message | None) -> str:
        """The topic to speak of: the brief's, unless the person leads away; else the message's or the room's."""
        mine = self.bearing.subject or ("any" if self.bearing.about else "")
        found = heard(target.text).topics if target else ()
        if target and not found and heard(target.text).phrase:
            return "any"
        led = target is not None and target.by == self.room.person and self.chance.random() < 0.35
        if found and (not mine or mine in found or led):
            return mine if mine in found else found[0]
        if mine:
            return mine
        for message in reversed(self.room.messages[-8:]):
            if topics := heard(message.text).topics:
                return topics[0]
        return "leisure" if target is None or self.chance.random() < 0.5 else "any"

    def _of(self, talk: Talk, topic: str, side: str, to: Message) -> str:
        """Something to the matter: for the person only what is about the very thing they wrote of."""
        return talk.apt(topic, side, to) if to.by == self.room.person else talk.matter(topic, side, to)

    def _answer(self, talk: Talk, to: Message, understood: Heard, kind: str) -> str:
        """The message that answers one of that kind."""
        near = 0.5 if self.room.cause == "addressed" or to.number != self.room.last else 0.15
        if kind in _PERSONAL:
            return talk.whole([talk.act(_PERSONAL[kind], to)], to, address=near, due=True)
        topic = self._subject(to)
        side = self.bearing.side(topic)
        pieces: list[str]
        match kind:
            case "bot":
                pieces = [talk.act("evade" if self.bearing.secret else "bot", to) or talk.act("evade", to)]
            case "orders" | "thanks" | "bye":
                pieces = [talk.act(kind, to)]
            case "greeting":
                hello = talk.act("greet_back", to)
                asks = self.room.last < 4 and self.chance.random() < 0.25
                pieces = [hello, talk.question(topic, to) if asks else ""]
            case "where":
                pieces = [talk.act("where_known" if self.bearing.known_place else "where", to)]
            case "age":
                pieces = [talk.act("age" if self.bearing.age else "ageless", to)]
            case "why":
                pieces = [talk.act("why", to), self._of(talk, topic, side, to) if self.chance.random() < 0.4 else ""]
            case "asked" if understood.asked:
                told = talk.answer(understood.asked, self.bearing.side(understood.asked[0]), to)
                more = self.chance.random() < 0.25
                pieces = [told or talk.act("opinion", to), "" if told and not more else self._of(talk, topic, side, to)]
            case "opinion":
                pieces = [talk.act("opinion", to) if self.chance.random() < 0.6 else "", talk.matter(topic, side, to)]
            case "choice" if understood.either:
                one = self.chance.choice(understood.either)
                pieces = [talk.act("choice", to, either=one[:1].upper() + one[1:])]
            case "yesno":
                says = talk.act(self._yes_or_no(to, understood, side), to)
                if to.by == self.room.person and not understood.topics and not understood.phrase:
                    return talk.whole([says, talk.act("back")], to, address=near, due=True)
                more = len(says) < _BRIEF or self.chance.random() < 0.5
                pieces = [says, self._of(talk, topic, side, to) if more else ""]
                if to.by == self.room.person and not pieces[1] and self.chance.random() < 0.5:
                    pieces.append(talk.act("back"))
            case "question" | "choice":
                told = self._of(talk, topic, side, to) if understood.topics else ""
                often = 0.1 if to.by == self.room.person else 0.3
                pieces = [talk.act("unsure", to) if not told or self.chance.random() < often else "", told]
            case "hostile":
                return self._hostile(talk, to, topic, side)
            case "chatter":
                if self.chance.random() < 0.5:
                    pieces = [talk.act("chatter", to, strict=True)]
                else:
                    pieces = [
                        talk.question(topic, to) if self.chance.random() < 0.5 else talk.act("story", to, strict=True)
                    ]
            case _:
                return self._statement(talk, to, understood, topic, side, near)
        if self.bearing.tone == "uncivil" and kind not in ("bot", "greeting", "bye") and self.chance.random() < 0.45:
            pieces.append(talk.manner("close", to))
        due = kind in _OCCASIONS or to.by == self.room.person or self.room.cause == "addressed"
        return talk.whole(pieces, to, address=near, due=due)

    def _yes_or_no(self, to: Message, understood: Heard, side: str) -> str:
        """The occasion on which one says yes or no to a question: of oneself, of what should be, of what is."""
        yes = side == "for" if understood.topics and side != "both" else self.chance.random() < 0.55
        if to.by == self.room.person and of_norms(to.text):
            return "should" if yes else "should_not"
        if to.by == self.room.person and not of_us(to.text):
            return "so" if yes else "not_so"
        return "yes" if yes else "no"

    def _hostile(self, talk: Talk, to: Message, topic: str, side: str) -> str:
        by_person = to.by == self.room.person
        if self.chance.random() < (0.8 if by_person else 0.4):
            more = talk.matter(topic, side, to) if self.chance.random() < 0.35 else ""
            return talk.whole([talk.manner("retort", to, strict=not more), more], to, address=0.4)
        return talk.whole([talk.manner("disagree", to), talk.matter(topic, side, to)], to, address=0.3)

    def _statement(self, talk: Talk, to: Message, understood: Heard, topic: str, side: str, near: float) -> str:
        stand, side = self._stand(to, understood, side)
        if to.by == self.room.person:
            return self._to_the_person(talk, to, stand, topic, side, near)
        manners = self.bearing.manners
        shapes = {
            "full": 34.0,
            "line": 20.0,
            "ask": 16.0 + 14.0 * ("asks" in manners),
            "story": 9.0,
            "short": 8.0 + 16.0 * ("short" in manners),
            "belief": 5.0 if self.bearing.beliefs else 0.0,
            "question": 6.0,
        }
        if self.bearing.voice:
            shapes |= {"short": 5.0, "question": 4.0}
        shape = self.chance.choices(list(shapes), list(shapes.values()))[0]
        opener = talk.hook(stand, to) if self.bearing.voice and self.chance.random() < 0.4 else ""
        opener = opener or (talk.manner(stand, to, strict=shape == "short") if shape != "line" else "")
        match shape:
            case "full":
                often = {"uncivil": 0.4, "civil": 0.25}.get(self.bearing.tone, 0.16)
                brief = "short" in manners or len(opener) > 90
                close = talk.manner("close", to) if not brief and self.chance.random() < often else ""
                pieces = [opener, talk.matter(topic, self._shade(side), to), close]
            case "line":
                pieces = [talk.matter(topic, self._shade(side), to)]
            case "ask":
                pieces = [opener if self.chance.random() < 0.3 else "", talk.manner("ask", to, strict=True)]
            case "story":
                pieces = [opener if self.chance.random() < 0.4 else "", talk.act("story", to, strict=True)]
            case "short":
                pieces = [opener]
            case "belief":
                pieces = [opener, talk.belief()]
            case _:
                pieces = [opener if self.chance.random() < 0.4 else "", talk.question(topic, to)]
        return talk.whole(pieces, to, address=near)

    def _to_the_person(self, talk: Talk, to: Message, stand: str, topic: str, side: str, near: float) -> str:
        """What they tell of themselves is asked after, what they think is met, and nothing is beside the point."""
        of_them = of_oneself(to.text)
        if of_them and (of_them != "told" or self.chance.random() < 0.65):
            return talk.whole([talk.act(of_them, to)], to, address=near, due=True)
        opener = talk.hook(stand, to) if self.bearing.voice and self.chance.random() < 0.4 else ""
        opener = opener or talk.manner(stand, to)
        told = talk.apt(topic, self._shade(side), to)
        asks = talk.manner("ask", to) if self.chance.random() < (0.3 if told else 0.6) else ""
        pieces = [opener, told if not asks or self.chance.random() < 0.5 else "", asks]
        return talk.whole(pieces, to, address=near, due=True)

    def _shade(self, side: str) -> str:
        """Now and then what either side can tell."""
        return "both" if self.chance.random() < 0.3 else side

    def _stand(self, to: Message, understood: Heard, side: str) -> tuple[str, str]:
        """How to take it (agree, disagree, muse), and which side that means."""
        meant = self.bearing.person if to.by == self.room.person else self.bearing.others
        told = understood.side
        if meant == "with":
            return "agree", told if told in ("for", "against") else side
        if meant == "against":
            return "disagree", {"for": "against", "against": "for"}.get(told, side)
        if told in ("for", "against") and side in ("for", "against"):
            agrees = told == side
            rate = {"civil": 0.55, "uncivil": 0.8}.get(self.bearing.tone, 0.75)
            return ("agree" if agrees else "disagree") if self.chance.random() < rate else "muse", side
        weights = {"civil": (50, 18, 32), "uncivil": (18, 58, 24)}.get(self.bearing.tone, (40, 28, 32))
        return self.chance.choices(("agree", "disagree", "muse"), weights)[0], side
