"""Personas without a model: each person of a sample gets a name, a life and a voice that nobody else has."""

import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from random import Random
from typing import Any

from app.agent.population.foreign import LINE_MAX, shortened
from app.agent.population.naming import Names
from app.agent.population.resemblance import Near
from app.agent.population.sampling import Row, Sample
from app.streams import stream
from app.world.personas import PersonaSpec
from app.world.text import PERSONA_MAX

ALIKE = 0.3
"""Resemblance with any earlier description at which another one is made."""

GIVEN_MAX = 24
"""Traits, or interests, that a sample can give a person."""

TRIES = 12
RETIRED = 67
_SLOT = re.compile(r"\{(\w+)\}")
_LEVELS = (
    ("degree", re.compile(r"bachelor|master|degree|universit|college|tertiary|doctor|ph\.?d|graduate school|academic")),
    ("any", re.compile(r"\bless\b|\bno\b|none|primary|elementary|compulsory|basic")),
)
_NOT_ENOUGH = re.compile(r"\bless|\bno\b|\bsome\b|without")
_STATES = {"retired": "retired", "unemployed": "out of work", "homemaker": "keeps a house", "student": "a student"}
_BIG_FIVE = {
    "openness_to_experience": ("imaginative", "down-to-earth"),
    "conscientiousness": ("orderly", "chaotic"),
    "extraversion": ("sociable", "reserved"),
    "agreeableness": ("obliging", "contrary"),
    "neuroticism": ("anxious", "even-tempered"),
}
"""A trait for the high and one for the low end of each of the five factors, where a sample has them."""

TOLD_ELSEWHERE = (
    frozenset(
        {
            "age",
            "region",
            "country",
            "occupation",
            "job",
            "sector",
            "leaning",
            "traits",
            "trait",
            "interests",
            "interest",
        }
    )
    | _BIG_FIVE.keys()
)


@cache
def phrases() -> dict[str, Any]:
    """The lists of phrases.toml: by name, and `jobs` by what they need."""
    read: dict[str, Any] = tomllib.loads(files("app.agent.population").joinpath("phrases.toml").read_text("utf-8"))
    return read


@dataclass
class Decks:
    """Each list in an order of its own, dealt to the end before anything comes again."""

    seed: int
    _left: dict[str, list[str]] = field(default_factory=dict)
    _rounds: dict[str, int] = field(default_factory=dict)

    def deal(self, name: str, cards: Sequence[str]) -> str:
        if not self._left.get(name):
            turn = self._rounds[name] = self._rounds.get(name, 0) + 1
            deck = list(cards)
            stream(self.seed, "compose", name, turn).shuffle(deck)
            self._left[name] = deck
        return self._left[name].pop()

    def several(self, name: str, cards: Sequence[str], count: int) -> list[str]:
        """As many different ones."""
        found: list[str] = []
        while len(found) < count:
            if (card := self.deal(name, cards)) not in found:
                found.append(card)
        return found


def compose(sample: Sample | Sequence[Row], seed: int, *, taken: Collection[str] = ()) -> list[PersonaSpec]:
    """A persona for each person of the sample; the same sample and seed give the same ones.

    What was sampled is in `demographics` under its own name, and is told in the description. `taken`: usernames and
    display names that somebody has already.
    """
    return list(composed(sample, seed, taken=taken))


def composed(sample: Sample | Sequence[Row], seed: int, *, taken: Collection[str] = ()) -> Iterator[PersonaSpec]:
    """As `compose`, one after the other."""
    rows = sample.rows if isinstance(sample, Sample) else tuple(sample)
    names, decks, near, bios = Names(taken), Decks(seed), Near(), set[str]()
    for place, row in enumerate(rows):
        chance = stream(seed, "compose", "person", place)
        name = names.name(row, chance)
        person = _person(row, name, decks, chance)
        life = _new(partial(_life, person, decks), lambda text: bool(near.closest(text, ALIKE)))
        near.add(life)
        bio = _new(partial(_filled, "bios", person, decks), bios.__contains__)
        bios.add(bio)
        yield _spec(person, names.handle(name, chance), life, bio, decks)


def _new(make: Callable[[], str], is_known: Callable[[str], bool]) -> str:
    text = make()
    for _ in range(TRIES):
        if not is_known(text):
            break
        text = make()
    return text


@dataclass
class _Person:
    row: Row
    name: str
    role: str
    traits: list[str]
    interests: list[str]
    leaning: str
    known: dict[str, str] = field(default_factory=dict)


def _person(row: Row, name: str, decks: Decks, chance: Random) -> _Person:
    lists = phrases()
    role, doing = _work(row, decks)
    traits = _given(row, "traits") + [end for key in _BIG_FIVE if (end := _end(key, row))]
    dealt = [decks.deal(kind, lists[kind]) for kind in ("bright", "dark", "mind")]
    traits += [one for one in dealt if one not in traits][: max(0, 3 - len(traits))]
    interests = _given(row, "interests")
    interests += [one for one in decks.several("interests", lists["interests"], 5) if one not in interests]
    interests = interests[: chance.choice((3, 4, 4, 5))]
    leaning = str(row.get("leaning") or decks.deal("leanings", lists["leanings"]))
    person = _Person(row, name, role, traits, interests, leaning)
    age = row.get("age")
    person.known = {
        "name": name,
        "age_told": f"{age}, " if age is not None else "",
        "doing": doing,
        "interest": interests[0],
        "interest2": interests[1],
        "dislike": decks.deal("dislikes", lists["dislikes"]),
        "trait": person.traits[0],
        "trait2": person.traits[1],
    }
    homes = [str(row[name]) for name in ("region", "country") if name in row]
    person.known |= {"home": ", ".join(homes)} if homes else {"where": decks.deal("places", lists["places"])}
    return person


def _end(factor: str, row: Row) -> str:
    level = str(row.get(factor, "")).strip().lower()
    return {"high": _BIG_FIVE[factor][0], "low": _BIG_FIVE[factor][1]}.get(level, "")


def _given(row: Mapping[str, object], attribute: str) -> list[str]:
    """What was sampled of a kind of which a person has several: `traits`, or one `trait`; a semicolon separates."""
    value = row.get(attribute, row.get(attribute.removesuffix("s")))
    items = [one.strip() for one in str(value).split(";") if one.strip()] if value is not None else []
    return list(dict.fromkeys(items))[:GIVEN_MAX]


def _work(row: Row, decks: Decks) -> tuple[str, str]:
    """The role, and what is said of it."""
    age = row.get("age")
    age = age if isinstance(age, int) else 40
    if occupation := str(row.get("occupation", row.get("job", ""))).strip():
        return occupation, _STATES.get(occupation.lower(), occupation)
    if sector := str(row.get("sector", "")).strip():
        worked = f"{'worked' if age >= RETIRED else 'works'} in {sector}"
        return worked, worked
    jobs = phrases()["jobs"]
    if age < 18:
        level = "pupil"
    elif age < 23 and decks.deal("is a student", ("yes", "no", "yes")) == "yes":
        level = "student"
    else:
        level = _level(str(row.get("education", "")).lower(), decks)
    role, _, doing = (part.strip() for part in decks.deal(f"jobs {level}", jobs[level]).partition("|"))
    return (f"retired {role}", f"a retired {role}") if age >= RETIRED else (role, doing)


def _level(education: str, decks: Decks) -> str:
    if not education:
        return decks.deal("level", ("any", "trained", "trained", "degree"))
    for level, pattern in _LEVELS:
        if pattern.search(education) and not (level == "degree" and _NOT_ENOUGH.search(education)):
            return level
    return "trained"


def _told(template: str, known: Mapping[str, str], decks: Decks) -> str:
    """`template` with what is known, or a phrase of its list, in each slot; `{Slot}` begins with a capital letter."""

    def filled(found: re.Match[str]) -> str:
        slot = found[1]
        own = slot[:1].lower() + slot[1:] if slot not in phrases() else slot
        own = "age_told" if slot == "age_Told" else own
        text = known[own] if own in known else _SLOT.sub(filled, decks.deal(own, phrases()[own]))
        return text[:1].upper() + text[1:] if own != slot else text

    text = _SLOT.sub(filled, template)
    return text[:1].upper() + text[1:]


def _filled(name: str, person: _Person, decks: Decks) -> str:
    return _told(decks.deal(name, phrases()[name]), person.known, decks)


def _life(person: _Person, decks: Decks) -> str:
    """What is told of a person beside the facts that were sampled."""
    intro = _filled("intros_home" if "home" in person.known else "intros", person, decks)
    temper = f"{' and '.join(person.traits[:2])}; {decks.deal('views', phrases()['views'])}."
    stories = decks.several("stories", phrases()["stories"], 2)
    told = [_told(story, person.known, decks) for story in stories]
    last = [_filled(name, person, decks) for name in ("likings", "online")]
    return " ".join([intro, temper[:1].upper() + temper[1:], *told, *last])


def _facts(row: Row) -> str:
    """The attributes that the rest does not tell, each by its name."""
    told = [f"{name.replace('_', ' ')}: {value}" for name, value in row.items() if name not in TOLD_ELSEWHERE]
    text = "; ".join(told)
    return f" {text[:1].upper()}{text[1:]}." if text else ""


def _spec(person: _Person, handle: str, life: str, bio: str, decks: Decks) -> PersonaSpec:
    lists = phrases()
    style = f"{decks.deal('manners', lists['manners'])}; {decks.deal('quirks', lists['quirks'])}"
    wishes = [_told(goal, person.known, decks) for goal in decks.several("goals", lists["goals"], 2)]
    facts = {name: value if isinstance(value, int) else str(value) for name, value in person.row.items()}
    return PersonaSpec(
        username=handle,
        display_name=person.name,
        description=shortened(life + _facts(person.row), PERSONA_MAX)[0],
        bio=bio,
        role=person.role[:LINE_MAX],
        traits=person.traits,
        goals=[wish[:1].lower() + wish[1:] for wish in wishes],
        style=style,
        interests=person.interests,
        leaning=person.leaning,
        demographics={name: value for name, value in facts.items() if isinstance(value, int) or len(value) <= LINE_MAX},
    )
