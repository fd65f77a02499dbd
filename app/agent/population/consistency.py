"""Whether somebody answers as who they are: questions about what a persona was told of itself, and how answers fit.

Only facts that the persona's prompt holds are asked for. Options that are wrong come from the composer's lists.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.actions.asking import Multiple, Number, Open, Question, Single, Value
from app.agent.population.compose import phrases
from app.streams import stream
from app.world.personas import PersonaSpec

WRONG = 3
"""Wrong options beside a single right one."""

MOST = 4
"""Right options of a question with several."""

AGE_SLACK = 1
"""Years by which an age may be off: somebody may have had a birthday."""

_STEM = 5
_WORD = re.compile(r"[^\W_]+")
_SMALL = frozenset(
    {"a", "an", "and", "as", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "with"}
    | {"am", "i", "it", "me", "my", "work", "works"}
)
_LISTS = {
    "traits": ("Which of these words describe you?", ("bright", "dark", "mind")),
    "interests": ("Which of these do you care about?", ("interests",)),
}
_NAMES = {"gender": "What is your gender?", "region": "Where do you live?", "education": "What is your education?"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was expected of one question, what was answered, and how far they agree, 0 to 1; None: no answer."""

    key: str
    expected: Value
    got: Value | None
    score: float | None
    why: str


@dataclass(frozen=True, slots=True)
class Consistency:
    """The mean score of the questions that were answered, 0 to 1 (None if none was), and each question's verdict."""

    score: float | None
    asked: int
    answered: int
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    question: Question
    right: Value


def interview_questions(spec: PersonaSpec) -> list[Question]:
    """Questions about this persona's own facts, always the same ones; empty if it has none that can be asked."""
    return [asked.question for asked in _asked(spec)]


def consistency(spec: PersonaSpec, answers: Mapping[str, Value]) -> Consistency:
    """How far the answers to `interview_questions(spec)`, by key, agree with who the persona is.

    A number counts 1 within a year, one option 1 if it is right, several F1 (2 right / (right given + expected)), open
    text the share of the fact's words that it has. An answer that is invalid counts 0.
    """
    verdicts = tuple(_verdict(asked, answers.get(asked.question.key)) for asked in _asked(spec))
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return Consistency(sum(scores) / len(scores) if scores else None, len(verdicts), len(scores), verdicts)


def _asked(spec: PersonaSpec) -> list[_Asked]:
    found = []
    if spec.display_name:
        found.append(_Asked(Open(key="name", text="What is your name?"), spec.display_name))
    if spec.role:
        found.append(_Asked(Open(key="role", text="What do you do?"), spec.role))
    for name in _LISTS:
        found += _several(spec, name)
    if spec.leaning:
        found.append(_single(spec, "leaning", "What is your political leaning?", spec.leaning, phrases()["leanings"]))
    told = f"{spec.description} {spec.bio}".lower()
    for place, (name, value) in enumerate(spec.demographics.items()):
        if name not in ("leaning", *_LISTS) and _is_told(told, name, value):
            found.append(_fact(name, value, place))
    return found


def _is_told(told: str, name: str, value: str | int) -> bool:
    """Whether a text holds the fact: its value, and of a number, which may be there by chance, its name too."""
    if isinstance(value, int) and name != "age" and name.replace("_", " ").lower() not in told:
        return False
    return re.search(rf"(?<!\w){re.escape(str(value).lower())}(?!\w)", told) is not None


def _fact(name: str, value: str | int, place: int) -> _Asked:
    key = f"fact{place}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}"[:40]
    if name == "age" and isinstance(value, int):
        return _Asked(Number(key=key, text="How old are you?", least=0, most=130, whole=True, unit="years"), value)
    if isinstance(value, int):
        return _Asked(Number(key=key, text=f"Of yourself: {name.replace('_', ' ')}? A number.", whole=True), value)
    return _Asked(Open(key=key, text=_NAMES.get(name, f"Of yourself: {name.replace('_', ' ')}?")), value)


def _several(spec: PersonaSpec, name: str) -> list[_Asked]:
    text, lists = _LISTS[name]
    right = [one for one in dict.fromkeys(getattr(spec, name)) if len(one) <= 200][:MOST]
    if not right:
        return []
    pool = [one for group in lists for one in phrases()[group]]
    own = " ".join(getattr(spec, name)).lower() + spec.description.lower()
    wrong = _wrong(spec, name, [one for one in pool if one.lower() not in own], max(2, len(right)))
    return [_Asked(Multiple(key=name, text=text, options=(*right, *wrong)), right)]


def _single(spec: PersonaSpec, name: str, text: str, right: str, pool: Sequence[str]) -> _Asked:
    words = _stems(right)
    options = (right, *_wrong(spec, name, [one for one in pool if not words & _stems(one)], WRONG))
    return _Asked(Single(key=name, text=text, options=options), right)


def _wrong(spec: PersonaSpec, name: str, pool: Sequence[str], count: int) -> list[str]:
    chance = stream(0, "interview", spec.username, name)
    return chance.sample(list(pool), min(count, len(pool)))


def _verdict(asked: _Asked, got: Value | None) -> Verdict:
    question, right = asked.question, asked.right
    if got is None:
        return Verdict(question.key, right, None, None, "no answer")
    if fault := question.fault(got):
        return Verdict(question.key, right, got, 0.0, fault)
    score = _score(asked, got)
    why = "agrees" if score == 1 else "contradicts" if score == 0 else "agrees in part"
    return Verdict(question.key, right, got, score, why)


def _score(asked: _Asked, got: Value) -> float:
    right = asked.right
    if isinstance(right, list) and isinstance(got, list):
        both = len(set(right) & set(got))
        return 2 * both / (len(right) + len(got))
    if isinstance(right, int) and isinstance(got, int | float):
        slack = AGE_SLACK if asked.question.key.endswith("_age") else 0
        return float(abs(got - right) <= slack)
    if isinstance(asked.question, Single):
        return float(got == right)
    expected = _stems(str(right))
    return len(expected & _stems(str(got))) / len(expected) if expected else float(str(right) in str(got))


def _stems(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {word[:_STEM].rstrip("s") or word for word in words if word not in _SMALL} or set(words)
