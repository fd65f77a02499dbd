"""Cases of known truth, made by a seed: talks written by a grammar, and extractions with errors at known rates.

The talks are short and English and the errors are those that were thought of: another person's value, a misread one,
an invented one; a quote that was changed, is another's, or is missing; errors that come again and errors that do not.
A real model errs in its own way. Who has values checked by people fits weights to them with `confidence.calibrate`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from app.actions.asking import ExtractedField, Value
from app.analysis.confidence import Calibration, Features, calibrate, features, same
from app.analysis.quotes import Line
from app.streams import stream

SEED, TALKS = 7, 400
PEOPLE = ("Ana", "Bo", "Cleo", "Dan")
SKILLS = (0.95, 0.8, 0.55)
"""Shares of values that extractors of three kinds get right."""

SAID, REPEATED, STUBBORN = 0.85, 0.5, 0.4
"""Shares: of facts that are said; of extractions that are repeated; of errors that come again in every repetition."""

FURTHER = 4
"""Repetitions beside the first extraction."""

DRINKS = ("coffee", "tea", "juice", "water")
BRANDS = ("Alto", "Birch", "Corvo", "Delta", "Elm", "Fjord")
REASONS = (
    "the smell in the morning",
    "the price of refills",
    "how long the lid stays tight",
    "the weight in a backpack",
    "whether my children can open it",
    "the colour of the handle",
    "repairs that take no screwdriver",
    "the noise it makes in a meeting",
)
FIELDS = (
    ExtractedField(name="price", type="number", least=0, most=500),
    ExtractedField(name="buys", type="boolean"),
    ExtractedField(name="drink", type="category", options=DRINKS),
    ExtractedField(name="reason", type="text"),
    ExtractedField(name="brands", type="list"),
)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "price": (
        "I would pay {value:g} euros for it, and not a cent more.",
        "{value:g} euros is my limit; the {other:g} they ask is a joke.",
        "My neighbour paid {other:g} for his. For me it's {value:g} at the very most.",
    ),
    "yes": (
        "Yes, I would buy one tomorrow if the shop were open.",
        "Put me down for one, I have wanted this for years.",
        "I don't see a reason why I shouldn't get one of these.",
    ),
    "no": (
        "No, I would not buy one, my kitchen is full already.",
        "This is nothing for me, thank you, I will pass on it.",
        "I would sooner keep my old one until it falls apart.",
    ),
    "drink": (
        "For me it is {value} in the morning and {value} at night.",
        "I know everybody here loves {other}, but I only ever have {value}.",
        "{value} please, as always, since I was about twenty.",
    ),
    "reason": (
        "What matters most to me is {value}, honestly.",
        "You talk about {other}, and I only care about {value}.",
        "It all comes down to {value} in the end.",
    ),
    "brands": (
        "I have heard of {value}, and of no others.",
        "At home we had {value}, but never {other}.",
        "The names I know are {value}, from my sister.",
    ),
}
EVASIONS = (
    "I really could not say, ask me again next week.",
    "That depends on the day, doesn't it, like most things.",
    "Let somebody else go first, I am still thinking.",
)


@dataclass(frozen=True)
class _Fact:
    """What a person holds, whether it was said, and in which line; `other` is what that line holds beside it."""

    value: Value
    other: Value
    line: Line
    said: bool


_Talk = dict[tuple[str, str], _Fact]


def examples(seed: int = SEED, talks: int = TALKS) -> list[tuple[Features, bool]]:
    """Extracted values as the features of their confidence, and whether each is right."""
    return [one for n in range(talks) for one in _examples(stream(seed, "calibration", n))]


def shipped(seed: int = SEED, talks: int = TALKS) -> Calibration:
    """The calibration whose weights are `confidence.WEIGHTS`, with its reliability table."""
    return calibrate(examples(seed, talks), seed=seed)


def _examples(chance: Random) -> Iterator[tuple[Features, bool]]:
    facts = _talk(chance)
    lines = [fact.line for fact in facts.values()]
    skill = chance.choice(SKILLS)
    for (person, name), fact in facts.items():
        field = next(field for field in FIELDS if field.name == name)
        value, wrong = _extracted(chance, skill, facts, field, fact)
        if value is None:
            continue
        further: list[Value | None] = []
        if chance.random() < REPEATED:
            again = wrong and chance.random() < STUBBORN
            further = [value if again else _extracted(chance, skill, facts, field, fact)[0] for _ in range(FURTHER)]
        quote = _quoted(chance, lines, fact, wrong=wrong)
        given = features(field, value, quote, lines, person=person, repetitions=further)
        yield given, fact.said and same(field, value, fact.value)


def _talk(chance: Random) -> _Talk:
    facts: _Talk = {}
    for field in FIELDS:
        for person in chance.sample(PEOPLE, len(PEOPLE)):
            value, other = _held(chance, field), _held(chance, field)
            while same(field, value, other) and field.type != "boolean":
                other = _held(chance, field)
            said = chance.random() < SAID
            text = _told(chance, field, value, other) if said else chance.choice(EVASIONS)
            facts[person, field.name] = _Fact(value, other, Line(len(facts) + 1, person, text), said)
    return facts


def _held(chance: Random, field: ExtractedField) -> Value:
    match field.type:
        case "number":
            return float(chance.randint(3, 60))
        case "boolean":
            return chance.random() < 0.5
        case "category":
            return chance.choice(DRINKS)
        case "list":
            return chance.sample(BRANDS, chance.randint(1, 3))
    return chance.choice(REASONS)


def _told(chance: Random, field: ExtractedField, value: Value, other: Value) -> str:
    if isinstance(value, bool):
        return chance.choice(TEMPLATES["yes" if value else "no"])
    shown = [" and ".join(one) if isinstance(one, list) else one for one in (value, other)]
    return chance.choice(TEMPLATES[field.name]).format(value=shown[0], other=shown[1])


def _extracted(
    chance: Random, skill: float, facts: _Talk, field: ExtractedField, fact: _Fact
) -> tuple[Value | None, bool]:
    """What an extractor of this skill gives, and whether it erred; None where it says that nothing was said."""
    if chance.random() < skill:
        return (_worded(chance, fact.value) if fact.said else None), False
    match chance.choice(("another's", "misread", "invented", "overlooked")):
        case "another's":
            others = [one for key, one in facts.items() if key[1] == field.name and one is not fact]
            return chance.choice(others).value, True
        case "misread":
            return (not fact.value if field.type == "boolean" else fact.other), True
        case "invented":
            return _held(chance, field), True
    return None, True


def _worded(chance: Random, value: Value) -> Value:
    """A text is often put a little shorter than it was said."""
    if not isinstance(value, str) or value in DRINKS or chance.random() < 0.5:
        return value
    return " ".join(value.split()[1:])


def _quoted(chance: Random, lines: Sequence[Line], fact: _Fact, *, wrong: bool) -> str | None:
    """The quote that comes with a value: of the right line more often where the value is right."""
    kind = chance.choices(("line", "changed", "other", "none"), weights=(40, 20, 30, 10) if wrong else (80, 10, 5, 5))[
        0
    ]
    text = fact.line.text
    match kind:
        case "none":
            return None
        case "other":
            return chance.choice(lines).text
        case "changed":
            spoken = text.split()
            spoken[chance.randrange(len(spoken))] = "somehow"
            return " ".join(spoken)
    return text
