"""How somebody behaves in a room: the tone and side its brief asks for, and what its own text says of its life."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from app.llm.scripted.anybody import hated, loved, phrases
from app.llm.scripted.chance import order, stream
from app.llm.scripted.grammar import article
from app.llm.scripted.hearing import topics_of
from app.llm.scripted.reading import Persona
from app.llm.scripted.room import Room
from app.llm.scripted.voices import Bank, bank, load, strings

_SENTENCE = re.compile(r"(?<=[.!?;\n])\s*")
_NOT = frozenset(
    ["not", "never", "no", "don't", "without", "avoid", "avoids", "nor", "neither", "isn't", "stop", "refrain", "than"]
)
_IF_OTHERS = re.compile(
    r"\b(?:even )?(?:if|when|though) (?:the )?(?:others?|somebody|someone|participants?|users?|they|it)\b[^.,;]*", re.I
)
_OTHER_SENSE = frozenset([("kind", "of"), ("kind", "to"), ("respect", "to"), ("nice", "to")])
_WORD = re.compile(r"[\w'-]+")
_TOPIC = re.compile(
    r"\b(?:discuss(?:es|ed|ing)?|discussions? (?:of|about|on|around)|debat(?:e|es|ing)(?: about| on| over)?"
    r"|(?:talk(?:s|ed|ing)?|chat(?:s|ting)?|conversations?|argu(?:e|es|ing)) (?:about|on|over)"
    r"|(?:the )?topics?(?: of (?:the|this|your) \w+)?(?: is| are|:| of)|topic|(?:opinions?|views?) (?:on|about)"
    r"|conversation is about|deals with|concerning|in favou?r of|arguments? (?:for|against|about))"
    r"\s+(?:the (?:topic|issue|question|subject) of\s+)?([^.,;:!?\n]{3,80})",
    re.I,
)
_TAIL = re.compile(
    r"\s+(?:with|and (?:be|try|always|never|do|act|keep|stay|respond|write|disagree|agree|argue)|while|in an?"
    r"|in the (?:room|chat|group)|using|where|who|as if|among|on an? |politely|respectfully|civilly|rudely)\b.*$",
    re.I,
)
_CLAUSE = re.compile(
    r"^(?:whether|how|why|if|what|who|when|that|each|other|with|to|it|this|them|anything|everything)\b", re.I
)
_PRO = re.compile(
    r"\b(?:in favou?r of|pro-\w+|defends?|advocates?|are for|is for"
    r"|supports? (?!the participant|participants|the user|each|one another))",
    re.I,
)
_ANTI = re.compile(
    r"\b(?:against|anti-\w+|sceptical|skeptical|sceptics?|skeptics?|critical of|den(?:y|ies|iers?)|opposed to"
    r"|opponents?)\b(?! the (?:participant|user))",
    re.I,
)
_SECRET = re.compile(
    r"\b(?:never|not|n't|without|avoid)\s+(?:\w+\s+){0,5}?(?:reveal|revealing|admit|admitting|disclose|disclosing"
    r"|mention|mentioning|say|saying|tell|telling|break|breaking)\b"
    r"[^.!?\n]{0,60}\b(?:ai|bots?|artificial|models?|machines?|computers?|robots?|agents?|character)\b",
    re.I,
)
_PERSON = re.compile(r"\b(?:participants?|users?|human|person)\b", re.I)

_LIVES = re.compile(r"\bis \d{1,2} and (?:also )?([a-z][^.;]{3,70})")
_WORKS = re.compile(r"\b[Ww]ork(?:s|ing)? ((?:as|at|in|for|on|with) [^.;,!?\n]{3,50})")
_AGE = re.compile(
    r"\b(?:is|aged?|am|are|turned|,) ?(\d\d)\b(?! ?(?:percent|%|minutes|hours|km))|\b(\d\d)[- ]years?[- ]old\b", re.I
)
_FROM = re.compile(r"\b(?:from|[Ll]ives? in|[Ll]iving in|[Bb]ased in) ((?:[A-Z][\w'’-]+)(?: [A-Z][\w'’-]+){0,2})")
_BELIEF = re.compile(r"^[A-Za-z][\w ,'’-]{8,100}$")
_META = re.compile(
    r"\b(?:participant|agent|chat|messages?|respond|reply|replies|persona|users?|bots?|ai|prompt|study|character|@\w+)\b",
    re.I,
)
_WHOSE = (
    ("their", "my"), ("his", "my"), ("her", "my"), ("your", "my"), ("they have", "I have"), ("you have", "I have"),
    ("they are", "I am"), ("they", "I"), ("you are", "I am"), ("them", "me"), ("themselves", "myself"),
)  # fmt: skip


@dataclass(frozen=True)
class Bearing:
    """What stays the same of a member as long as the room and its brief do.

    `voice` is the bank of a starter persona. `about` is the brief's subject as a phrase, `subject` the topic it is of.
    `person` and `others` say whether to side "with" or "against" the human and the rest.
    """

    tone: str
    voice: Bank | None
    about: str
    subject: str
    stance: str
    person: str
    others: str
    secret: bool
    manners: frozenset[str]
    lists: Mapping[str, tuple[str, ...]]
    age: str
    known_place: bool
    beliefs: tuple[str, ...]
    leaning: str
    name: str

    def side(self, topic: str) -> str:
        """What the member is for or against, and keeps being."""
        if self.stance and topic in (self.subject, "any"):
            return self.stance
        words = load("chat")["leanings"]
        if self.leaning and topic in words["left_for"] + words["right_for"]:
            left = (topic in words["left_for"]) == (self.leaning == "left")
            return "for" if left else "against"
        return stream("side", self.name, topic).choices(("for", "against", "both"), (42, 42, 16))[0]


def bearing(room: Room) -> Bearing:
    return _bearing(room.persona, room.brief, tuple(sorted(room.others)), room.person)


@lru_cache(maxsize=1_024)
def _bearing(persona: Persona, brief: str, others: tuple[str, ...], person: str) -> Bearing:
    told = _told_to(persona.username, brief, tuple(name for name in others if name != person))
    about, subject = _subject(brief)
    with_person, with_others = _sides(told)
    return Bearing(
        tone=_tone(persona.username, told),
        voice=_starter(persona),
        about=about,
        subject=subject,
        stance=_stance(persona.username, told) if subject or about else "",
        person=with_person,
        others=with_others,
        secret=bool(_SECRET.search(brief)),
        manners=_manners(persona),
        lists=_lists(persona),
        age=_age(persona),
        known_place=bool(_FROM.search(persona.description)),
        beliefs=tuple(_beliefs(persona))[:6],
        leaning=_leaning(persona),
        name=persona.username,
    )


def _starter(persona: Persona) -> Bank | None:
    """The bank of the starter persona that this one is, by its handle or by words of its description."""
    by_name = bank(persona.username.lower().removeprefix("@").replace(" ", "_"))
    signs: dict[str, str] = load("chat")["starters"]
    return by_name or next((bank(handle) for handle, sign in signs.items() if sign in persona.description), None)


def _told_to(name: str, brief: str, others: tuple[str, ...]) -> tuple[str, ...]:
    """The sentences of a brief that concern a member: those that name it, else those that name nobody else."""
    parts = [part for part in _SENTENCE.split(_IF_OTHERS.sub(" ", brief)) if part.strip()]

    def names(part: str, who: str) -> bool:
        return bool(re.search(rf"(?<!\w){re.escape(who)}(?!\w)", part))

    own = [part for part in parts if names(part, name)]
    common = [part for part in parts if not any(names(part, other) for other in others) and part not in own]
    return (*own, "", *common)


def _tone(name: str, told: tuple[str, ...]) -> str:
    """uncivil, civil or plain: by what the own sentences ask for, else by the common ones; of both, one by chance."""
    own, common = told[: told.index("")], told[told.index("") :]
    for parts in (own, common):
        uncivil, civil = _signs(" . ".join(parts))
        if uncivil and civil:
            return "uncivil" if stream("tone", name).random() < uncivil / (uncivil + civil) else "civil"
        if uncivil or civil:
            return "uncivil" if uncivil else "civil"
    return "plain"


def _signs(text: str) -> tuple[int, int]:
    """How many words ask to be uncivil and civil, those behind a negation counted for the other side."""
    tones = {word: tone for tone, words in load("chat")["tones"].items() for word in words}
    counts = {"uncivil": 0, "civil": 0}
    words = _WORD.findall(text.lower().replace("’", "'"))
    for place, word in enumerate(words):
        tone = tones.get(word)
        if tone is None or (word, words[place + 1] if place + 1 < len(words) else "") in _OTHER_SENSE:
            continue
        turned = any(before in _NOT for before in words[max(0, place - 4) : place])
        counts[{"uncivil": "civil", "civil": "uncivil"}[tone] if turned else tone] += 1
    return counts["uncivil"], counts["civil"]


def _sides(told: tuple[str, ...]) -> tuple[str, str]:
    """Whether to side with or against the person, and the others; "" where nothing is asked for."""
    words = load("chat")["sides"]
    person = others = ""
    for part in told:
        low = part.lower().replace("’", "'")
        against = any(re.search(rf"(?<!\w){re.escape(sign)}(?!\w)", low) for sign in words["against"])
        found = "against" if against else "with" if any(sign in low for sign in words["with"]) else ""
        if found:
            person = person or found
            if not _PERSON.search(low):
                others = others or found
    return person, others


def _subject(brief: str) -> tuple[str, str]:
    """The brief's subject as a phrase that can stand in a sentence, and the topic that it belongs to."""
    for found in _TOPIC.finditer(brief):
        piece = _TAIL.sub("", found[1]).strip(" \"'“”’")
        topic = next(iter(topics_of(piece)), "")
        clean = next(iter(phrases([piece])), "")
        if _CLAUSE.match(piece) or not clean or len(clean.split()) > 6:
            if topic:
                return "", topic
            continue
        return (clean if clean.isupper() or not clean[0].isupper() else _lowered(clean)), topic
    return "", next(iter(topics_of(brief)), "")


def _lowered(phrase: str) -> str:
    """A phrase as it stands within a sentence; names keep their capitals as far as that can be told."""
    words = phrase.split()
    return phrase if len(words) > 1 and words[1][0].isupper() else phrase[0].lower() + phrase[1:]


def _stance(name: str, told: tuple[str, ...]) -> str:
    own, common = told[: told.index("")], told[told.index("") :]
    for parts in (own, common):
        text = " ".join(parts)
        favour, against = bool(_PRO.search(text)), bool(_ANTI.search(text))
        if favour or against:
            return stream("stance", name).choice([side for side, is_ in (("for", favour), ("against", against)) if is_])
    return ""


def _manners(persona: Persona) -> frozenset[str]:
    """How somebody types: by its style and traits, and a little by chance, for nobody types like anybody else."""
    told = f"{persona.fact('Style')} {persona.fact('Traits')} {persona.role}".lower()
    signs = {name: words for name, words in load("chat")["manners"].items() if isinstance(words[0], str)}
    found = {
        name
        for name, words in signs.items()
        if name != "smile" and any(re.search(rf"\b{re.escape(word)}\b", told) for word in words)
    }
    chance = stream("manners", persona.username)
    if not found & {"full", "low"}:
        found |= {"low"} if chance.random() < 0.2 else set()
    if "full" not in found and chance.random() < 0.6:
        found.add("loose")
    if "typos" in told:
        found |= {"hasty"}
    return frozenset(found)


def _leaning(persona: Persona) -> str:
    words = set(_WORD.findall(f"{persona.fact('Leaning')} {persona.role} {persona.description[:400]}".lower()))
    signs = load("chat")["leanings"]
    left, right = len(words & set(signs["left"])), len(words & set(signs["right"]))
    return "left" if left > right else "right" if right > left else ""


def _lists(persona: Persona) -> Mapping[str, tuple[str, ...]]:
    common = strings(load("chat")["lists"])
    own = order(f"chat/{persona.username}", len(common["love"]))
    loves = loved(persona) or tuple(common["love"][place] for place in own[:4])
    place = _FROM.search(persona.description)
    return common | {
        "love": tuple(love for love in loves if len(love) <= 30) or loves[:1],
        "hate": tuple(dict.fromkeys([*hated(persona), *(common["hate"][place] for place in own[:4])])),
        "job": (_job(persona) or common["job"][own[0]],),
        "me": (persona.username,),
        "place": (place[1],) if place else common["place"],
    }


def _job(persona: Persona) -> str:
    """What somebody does, as it goes behind "I"; "" where its text doesn't say."""
    text = persona.description
    if found := _LIVES.search(text):
        return _mine(found[1])
    if found := _WORKS.search(text):
        return _mine(f"work {found[1]}")
    if persona.role:
        return f"am {article(persona.role[:60])}"
    trades = "|".join(load("chat")["work"]["trades"])
    found = re.search(
        rf"\b((?:retired|former|night|primary school|school|bus|taxi|truck|train|software|freelance) )?({trades})\b",
        text,
        re.I,
    )
    return f"am {article(found[0].lower())}" if found else ""


def _mine(phrase: str) -> str:
    """What is told of somebody ("keeps their books"), as they would tell it ("keep my books")."""
    first, _, rest = phrase.strip(" .").partition(" ")
    told = f"{_base(first)} {rest}" if rest else _base(first)
    told = re.sub(
        r"\band (\w+s)\b", lambda found: f"and {_base(found[1])}" if _base(found[1]) in _verbs() else found[0], told
    )
    for theirs, mine in _WHOSE:
        told = re.sub(rf"\b{theirs}\b", mine, told)
    return told


def _base(verb: str) -> str:
    """A verb without the ending of the third person."""
    if verb in ("is", "are"):
        return "am"
    if verb == "has":
        return "have"
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    if verb.endswith(("ches", "shes", "sses", "xes", "zes", "goes", "does")):
        return verb[:-2]
    return verb[:-1] if verb.endswith("s") and not verb.endswith("ss") else verb


@cache
def _verbs() -> frozenset[str]:
    return frozenset(load("chat")["work"]["verbs"])


def _age(persona: Persona) -> str:
    found = _AGE.search(persona.description[:300])
    age = (found[1] or found[2]) if found else ""
    return age if age and int(age) > 12 else ""


def _beliefs(persona: Persona) -> Iterator[str]:
    """Sentences of its text that it can say of itself."""
    for clause in re.split(r"[.;\n]", persona.description):
        words = clause.strip().split()
        if words and words[0].lower() in ("he", "she", "they", "you", "who", "i", persona.username.split()[0].lower()):
            words = words[1:]
        said = " ".join(words)
        if len(words) < 4 or _META.search(said) or not _BELIEF.match(said):
            continue
        if _base(words[0].lower()) in _verbs():
            yield f"I {_mine(said[0].lower() + said[1:])}."
