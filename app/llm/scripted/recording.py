"""What can be found in what was said: values of fields with the words they rest on, and traits in passages."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.llm.scripted.asked import Asked, Line, strings
from app.llm.scripted.grammar import sentences
from app.llm.scripted.surveying import worth
from app.llm.scripted.voices import words
from app.llm.scripted.wording import NUMBER, amounts, number, phrases, slant, stem, stems, tokens

QUOTE_MOST, TEXT_MOST, ITEMS_MOST = 300, 200, 8


def _stemmed(name: str) -> frozenset[str]:
    return frozenset(map(stem, words(name)))


_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS = {word: value for value, word in enumerate(_UNITS)} | {
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "hundred": 100,
    "once": 1,
    "twice": 2,
    "dozen": 12,
}
_MONEY = _stemmed("money")
_INTENT = _stemmed("intent")
_POSITIVE = _stemmed("positive")
_NEGATIVE = _stemmed("negative")
_REASON = _stemmed("reason")
_CHANGE = _stemmed("change")
_OVERALL = _stemmed("overall")
_SCALE = {
    "positive": 0.8, "negative": -0.8, "mixed": 0.0, "neutral": 0.0, "undecided": 0.0, "favourable": 0.8,
    "unfavourable": -0.8, "favorable": 0.8, "unfavorable": -0.8, "pro": 0.8, "contra": -0.8, "con": -0.8, "high": 0.8,
    "low": -0.8, "medium": 0.0, "unclear": 0.0, "enthusiastic": 1.0, "sceptical": -0.6, "skeptical": -0.6,
    "interested": 0.7, "not interested": -0.7, "accept": 0.8, "reject": -0.8, "approve": 0.8, "disapprove": -0.8,
}  # fmt: skip
_ABOUT = re.compile(r"\bsaid about ([^\n]+?): call record")
_BECAUSE = re.compile(r"\b(?:because|since|so that|that's why|the reason|therefore)\b", re.IGNORECASE)
_CHANGES = re.compile(
    r"\b(?:should|change|leave out|make|add|without|instead|have to|would help|i'd want|trial)\b", re.IGNORECASE
)
_LIMIT = re.compile(r"\b(?:i'd pay|i would pay|my limit|at most|worth|up to|beyond|above|max\w*)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a line, as it stands there."""

    text: str
    stems: frozenset[str]
    slant: int


@dataclass(frozen=True)
class Found:
    value: Any
    quote: str


@dataclass(frozen=True)
class Field:
    """What is looked for: the stems of its name and hint, and what its value must be like."""

    name: str
    kind: str
    stems: frozenset[str]
    options: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf

    def about(self, words: frozenset[str]) -> bool:
        return bool(self.stems & words)


def record(asked: Asked) -> dict[str, Any]:
    """The fields about which something was said, each with its value and a quote."""
    said = list(_sentences(_lines(asked)))
    found = {one.name: value for one in _fields(asked) if (value := _find(one, said)) is not None}
    return {name: {"value": one.value, "quote": one.quote} for name, one in found.items()}


def _lines(asked: Asked) -> Sequence[Line]:
    """Those of whom it is asked, if some are named; nobody's questions count as what somebody said."""
    about = _ABOUT.search(asked.instruction)
    named = {*asked.strings("names"), *([about[1]] if about else [])}
    own = [line for line in asked.said if line.by in named]
    return own or [line for line in asked.said if line.by.lower() not in ("moderator", "interviewer")]


def _sentences(lines: Sequence[Line]) -> Iterator[Sentence]:
    for line in lines:
        for text in sentences(line.text):
            if not text.endswith("?"):
                kept = text[:QUOTE_MOST]
                yield Sentence(kept, stems(kept), slant(kept))


def _fields(asked: Asked) -> Iterator[Field]:
    rows = {row["name"]: row for row in asked.rows("fields") if isinstance(row.get("name"), str)}
    names = [name for name in asked.tool.properties if name != "thought"] or list(rows)
    for name in names:
        row = rows.get(name, {})
        form = asked.tool.properties.get(name)
        inner = form.get("properties") if isinstance(form, dict) else None
        schema = inner.get("value") if isinstance(inner, dict) else None
        yield _field(name, row, schema if isinstance(schema, dict) else {})


def _field(name: str, row: Mapping[str, Any], schema: Mapping[str, Any]) -> Field:
    options = tuple(strings(schema.get("enum")) or strings(row.get("options")))
    kind = "category" if options else str(row.get("type") or "")
    if kind not in ("category", "text", "number", "integer", "boolean", "list"):
        kind = {"array": "list", "string": "text"}.get(str(schema.get("type")), str(schema.get("type") or "text"))
    hint = row["hint"] if isinstance(row.get("hint"), str) else ""
    bounds = [schema.get("minimum"), schema.get("maximum")]
    least, most = (float(one) if isinstance(one, int | float) else None for one in bounds)
    return Field(
        name, kind, stems(f"{name.replace('_', ' ')} {hint}"[:400]), options,
        -math.inf if least is None else least, math.inf if most is None else most,
    )  # fmt: skip


def _find(one: Field, said: Sequence[Sentence]) -> Found | None:
    if not said:
        return None
    match one.kind:
        case "category":
            return _category(one, said)
        case "boolean":
            return _boolean(one, said)
        case "number" | "integer":
            return _number(one, said)
        case "list":
            return _list(one, said)
        case _:
            best = _relevant(one, said)
            return Found(_short(best[0].text), best[0].text) if best else None


def _relevant(one: Field, said: Sequence[Sentence]) -> list[Sentence]:
    """The sentences that speak of what a field asks for, the most fitting first."""
    scored = [(_fit(one, sentence), -place, sentence) for place, sentence in enumerate(said)]
    return [sentence for fit, _, sentence in sorted(scored, key=lambda item: item[:2], reverse=True) if fit >= 1]


def _fit(one: Field, sentence: Sentence) -> float:
    shared = len(one.stems & sentence.stems)
    fit = float(shared)
    fit += (one.about(_POSITIVE) and sentence.slant > 0) * 1.2 + (one.about(_NEGATIVE) and sentence.slant < 0) * 1.2
    fit += (one.about(_REASON) and bool(_BECAUSE.search(sentence.text))) * 1.5
    fit += (one.about(_CHANGE) and bool(_CHANGES.search(sentence.text))) * 1.2
    fit += (one.about(_MONEY) and bool(amounts(sentence.text))) * 1.5
    fit += (one.about(_OVERALL) and sentence.slant != 0) * 1.1
    fit += (one.about(_REASON) and sentence.slant != 0) * 1.0
    return fit


def _category(one: Field, said: Sequence[Sentence]) -> Found | None:
    values = [_value(option) for option in one.options]
    if sum(value is not None for value in values) >= max(2, len(values) - 1):
        return _on_scale(one, values, said)
    best: tuple[float, int] = (0.0, 0)
    chosen: Found | None = None
    for option in one.options:
        wanted = stems(option) or frozenset(tokens(option))
        for place, sentence in enumerate(said):
            share = len(wanted & (sentence.stems or frozenset())) / len(wanted) if wanted else 0.0
            if share >= 0.5 and (share, place) > best:
                best, chosen = (share, place), Found(option, sentence.text)
    return chosen


def _value(option: str) -> float | None:
    found = _SCALE.get(" ".join(tokens(option)))
    return found if found is not None else worth(option)


def _on_scale(one: Field, values: Sequence[float | None], said: Sequence[Sentence]) -> Found | None:
    taken = _taken(one, said)
    if taken is None:
        return None
    side, proof = taken
    place = min(range(len(values)), key=lambda at: abs((values[at] if values[at] is not None else 9.0) - side))  # type: ignore[operator]
    return Found(one.options[place], proof.text)


def _taken(one: Field, said: Sequence[Sentence]) -> tuple[float, Sentence] | None:
    """The side that somebody takes, from -1 to 1, and the sentence that shows it most."""
    wide = one.about(_INTENT | _OVERALL | _MONEY)
    near = [sentence for sentence in said if one.stems & sentence.stems]
    heard = [sentence for sentence in near if sentence.slant] or (
        [sentence for sentence in said if sentence.slant] if wide or not near else []
    )
    if not heard:
        return None
    if not near and not wide:
        return None
    total = sum(max(-2, min(2, sentence.slant)) for sentence in heard)
    side = max(-1.0, min(1.0, 1.2 * total / len(heard)))
    proof = max(reversed(heard), key=lambda sentence: sentence.slant * (1 if side >= 0 else -1))
    return side, proof


def _boolean(one: Field, said: Sequence[Sentence]) -> Found | None:
    taken = _taken(one, said)
    return Found(taken[0] > 0, taken[1].text) if taken and taken[0] else None


def _number(one: Field, said: Sequence[Sentence]) -> Found | None:
    money = one.about(_MONEY)
    newest = list(reversed(said))
    newest.sort(key=lambda sentence: -_fit(one, sentence) - 2 * bool(_LIMIT.search(sentence.text)))
    for sentence in newest:
        if not (money or one.stems & sentence.stems):
            continue
        found = [value for value, _ in amounts(sentence.text)][-1:] if money else []
        for value in found or (_numbers(sentence.text) if not money or one.stems & sentence.stems else []):
            whole = one.kind == "integer"
            if one.least <= value <= one.most and (not whole or value == int(value)):
                return Found(int(value) if value == int(value) else value, sentence.text)
    return None


def _numbers(text: str) -> list[float]:
    found = [value for one in NUMBER.findall(text) if (value := number(one)) is not None]
    return found or [float(_WORDS[word]) for word in tokens(text) if word in _WORDS and word not in ("one", "once")]


def _list(one: Field, said: Sequence[Sentence]) -> Found | None:
    best = _relevant(one, said)
    items: list[str] = []
    for sentence in best[:4]:
        items += [phrase.text for phrase in phrases(sentence.text) if phrase.text not in items]
    return Found(items[:ITEMS_MOST], best[0].text) if items else None


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MOST else text[: TEXT_MOST - 1].rsplit(" ", 1)[0] + "…"


# Traits in passages

_TRAITS = frozenset(words("traits"))
_LIVES = re.compile(
    r"\b(?:works?|lives?|studies|studied|loves?|likes?|enjoys?|hates?|distrusts?|trusts?|believes?|prefers?|wants?|owns?|collects?|speaks?|plays?"
    r"|is|was|has|grew|moved|married|retired|born|buys?|spends?|thinks?|says?|feels?|votes?|supports?)\b",
    re.IGNORECASE,
)


def ground(asked: Asked, most: int = 8) -> dict[str, Any]:
    """Traits out of passages: the best sentence of each passage first, each with the passage's number."""
    ranked: list[tuple[int, int, dict[str, Any]]] = []
    for place, row in enumerate(asked.rows("passages")):
        text, n = row.get("text"), row.get("n")
        if not isinstance(text, str) or not isinstance(n, int) or isinstance(n, bool):
            continue
        telling = sorted(sentences(text[:4_000]), key=lambda one: -_telling(one))
        for nth, sentence in enumerate(telling[:3]):
            if _telling(sentence) > 1:
                ranked.append((nth, place, {"name": _trait(sentence), "text": _short(sentence), "passage": n}))
    traits: list[dict[str, Any]] = []
    for _, _, trait in sorted(ranked, key=lambda item: item[:2]):
        if trait["name"] not in {known["name"] for known in traits}:
            traits.append(trait)
    return {"traits": traits[:most]}


def _telling(sentence: str) -> float:
    words = tokens(sentence)
    return 2 * bool(_TRAITS & set(words)) + 1.5 * bool(_LIVES.search(sentence)) + min(len(words), 12) / 12


def _trait(sentence: str) -> str:
    """The name of a trait: its adjective, else what somebody does, in a few words."""
    known = [word for word in tokens(sentence) if word in _TRAITS]
    if known:
        return known[0]
    found = _LIVES.search(sentence)
    told = re.split(r"[,.;:!?]| and | but ", sentence[found.start() if found else 0 :])[0].split()[:6]
    while len(told) > 1 and told[-1].lower() in _HANGING:
        told.pop()
    return " ".join(told)[:60] or "trait"


_HANGING = frozenset(["a", "an", "the", "of", "in", "at", "on", "for", "to", "with", "as", "by", "her", "his", "their"])
