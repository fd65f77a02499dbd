"""Answers to the questions of a survey: the same persona always answers alike, and others differ from it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.llm.scripted.asked import strings
from app.llm.scripted.chance import stream
from app.llm.scripted.disposition import Nature, drawn, leaning, steady
from app.llm.scripted.wording import NUMBER, amounts, number, stems, tokens, turns

_WAVERS = 0.05
"""The share of answers on a scale that come out one point away when asked again."""

_YES = {
    "yes": 1.0, "definitely": 1.0, "certainly": 1.0, "always": 1.0, "agree": 0.6, "strongly agree": 1.0, "for": 0.9,
    "in favour": 0.9, "support": 0.8, "likely": 0.6, "very likely": 1.0, "extremely likely": 1.0, "often": 0.6,
    "very often": 0.9, "daily": 0.9, "every day": 0.9, "weekly": 0.4, "sometimes": 0.0, "maybe": 0.0, "perhaps": 0.0,
    "neutral": 0.0, "undecided": 0.0, "unsure": 0.0, "not sure": 0.0, "don't know": 0.0, "no opinion": 0.0,
    "it depends": 0.0, "neither": 0.0, "monthly": -0.2, "occasionally": -0.2, "probably": 0.5, "probably not": -0.5,
    "rarely": -0.6, "seldom": -0.6, "yearly": -0.6, "unlikely": -0.6, "very unlikely": -1.0, "disagree": -0.6,
    "strongly disagree": -1.0, "oppose": -0.8, "against": -0.9, "no": -1.0, "never": -1.0, "definitely not": -1.0,
    "not at all": -1.0, "good": 0.5, "very good": 0.9, "excellent": 1.0, "fair": 0.0, "poor": -0.6, "bad": -0.6,
    "very bad": -1.0, "very poor": -1.0, "satisfied": 0.5, "very satisfied": 1.0, "dissatisfied": -0.5,
    "very dissatisfied": -1.0, "somewhat": 0.2, "very much": 0.9, "a lot": 0.8, "a little": -0.2, "better": 0.7,
    "worse": -0.7, "the same": 0.0, "about the same": 0.0, "somewhat likely": 0.4, "somewhat unlikely": -0.4,
    "not likely": -0.7, "would buy": 0.8, "would not buy": -0.8, "true": 0.8, "false": -0.8,
}  # fmt: skip
_PRICE = re.compile(
    r"\b(?:pay|price|cost|costs|spend|worth|budget|fee|deposit|fare|wage|salary|rent|donate)\b", re.IGNORECASE
)
_MONEY_UNIT = re.compile(r"[€$£¥]|\b(?:eur|euros?|usd|dollars?|pounds?|gbp|chf|francs?|cents?)\b", re.IGNORECASE)
_OWN_AGE = re.compile(r"\bhow old are you\b|\byour age\b|^age\b", re.IGNORECASE)
_SHARE = re.compile(r"%|\bper ?cent|\bprobabilit|\bchance\b|\bhow likely\b|\bshare\b", re.IGNORECASE)
_NICE = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_LEAST_MONEY, _MONEY = 0.01, 20.0
_USUAL = {
    "hour": 3, "minute": 20, "day": 3, "week": 2, "month": 4, "time": 3, "people": 3, "person": 3, "child": 1,
    "year": 5, "kilomet": 8, "mile": 5, "book": 5, "cup": 3, "friend": 5, "point": 5, "trip": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A question as it was put; what its schema says goes before what its text says."""

    key: str
    text: str
    kind: str
    options: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    whole: bool = False
    fewest: int = 0
    many: int = 0
    rows: tuple[str, ...] = ()
    unit: str = ""
    about: str = ""


def question(key: str, row: Mapping[str, Any], schema: Mapping[str, Any], about: str) -> Question:
    """Of a question as it is listed and the schema of its answer, either of which may be missing."""
    text = row.get("text")
    text = text if isinstance(text, str) and text.strip() else key.replace("_", " ")
    unit = row["unit"] if isinstance(row.get("unit"), str) else ""
    kind, made = _of_schema(schema) if schema.get("type") else _of_row(row)
    return Question(key, text[:2_000], kind, unit=unit[:40], about=about, **made)


def _of_schema(schema: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    kind = schema.get("type")
    if kind == "string":
        options = strings(schema.get("enum"))
        return ("single", {"options": tuple(options)}) if options else ("open", {})
    if kind == "array":
        items = schema.get("items")
        options = strings(items.get("enum")) if isinstance(items, dict) else []
        fewest, many = _count(schema.get("minItems"), 0), _count(schema.get("maxItems"), len(options))
        ranked = options and fewest == many == len(options)
        return "ranking" if ranked else "multiple", {"options": tuple(options), "fewest": fewest, "many": many}
    if kind == "object":
        cells = schema.get("properties")
        cells = cells if isinstance(cells, dict) else {}
        cell = next((one for one in cells.values() if isinstance(one, dict)), {})
        return "matrix", {
            "rows": tuple(map(str, cells)),
            "least": _limit(cell, "minimum", 1),
            "most": _limit(cell, "maximum", 5),
        }
    if kind in ("integer", "number"):
        bounds = {"least": _limit(schema, "minimum", -math.inf), "most": _limit(schema, "maximum", math.inf)}
        scale = kind == "integer" and bounds["least"] == 1 and bounds["most"] <= 11
        return "likert" if scale else "number", {**bounds, "whole": kind == "integer"}
    return ("boolean", {}) if kind == "boolean" else ("open", {})


def _of_row(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    kind = row.get("type")
    options = tuple(strings(row.get("options")))
    points = float(_count(row.get("points"), 5))
    if kind in ("single", "ranking") and options:
        return str(kind), {"options": options}
    if kind == "multiple" and options:
        many = _count(row.get("most"), len(options))
        return "multiple", {"options": options, "fewest": _count(row.get("least"), 0), "many": many}
    if kind == "likert":
        return "likert", {"least": 1.0, "most": points, "whole": True}
    if kind == "matrix":
        return "matrix", {"rows": tuple(strings(row.get("rows"))), "least": 1.0, "most": points}
    if kind == "number":
        whole = row.get("whole") is True
        return "number", {"least": _limit(row, "least", 0), "most": _limit(row, "most", math.inf), "whole": whole}
    return "open", {}


def _count(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _limit(schema: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = schema.get(name)
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if right and value is not None else otherwise


@dataclass(frozen=True)
class Respondent:
    """A persona that answers; `again` names the occasion, which now and then moves an answer by a point."""

    nature: Nature
    again: str

    def answer(self, asked: Question) -> Any:
        """A valid answer to a question of options, a scale, or a number."""
        match asked.kind:
            case "single":
                return max(asked.options, key=lambda option: self.liking(asked, option))
            case "ranking":
                return sorted(asked.options, key=lambda option: -self.liking(asked, option))
            case "multiple":
                return self._several(asked)
            case "likert":
                return self._scale(asked, asked.text, int(asked.least), int(asked.most))
            case "matrix":
                return {
                    row: self._scale(asked, f"{row} {asked.text}", int(asked.least), int(asked.most))
                    for row in asked.rows
                }
            case "boolean":
                return self.for_it(asked.text) > 0
            case _:
                return self._number(asked)

    def for_it(self, text: str) -> float:
        """How much it is for a text, from -1 to 1."""
        return math.tanh(0.95 * leaning(self.nature, text))

    def _scale(self, asked: Question, text: str, least: int, most: int) -> int:
        place = least + (most - least) * (self.for_it(text) + 1) / 2
        chance = stream(self.again, "wavers", asked.key, text)
        other = 1 if steady(self.nature.key, "wavers", text) > 0 else -1
        moved = other if chance.random() < _WAVERS else 0
        return max(least, min(most, round(place) + moved))

    def liking(self, asked: Question, option: str) -> float:
        """How much it takes to an option. The constant is the option's, so that a choice and a ranking agree."""
        value = worth(option)
        noise = 0.85 * steady(self.nature.key, option) + 0.2 * steady(self.nature.key, option, asked.text)
        if value is not None:
            shy = 0.8 * (value == 0.0 and len(asked.options) < 5)
            return -3 * (value - math.tanh(1.7 * leaning(self.nature, asked.text))) ** 2 + 0.1 * noise - shy
        own = fact = 0.0
        if (fits := _of_age(option, self.nature.age)) is not None and _OWN_AGE.search(asked.text):
            fact = 6.0 * fits
        elif found := NUMBER.findall(option):
            wanted = self.wanted(asked)
            middle = sum(filter(None, map(number, found))) / len(found)
            fact = -2.5 * abs(math.log(max(middle, 0.1) / max(wanted, 0.1))) - noise * 0.8
        said = stems(option)
        if said & self.nature.stems:
            own = 1.0 + 0.6 * len(said & self.nature.stems) / len(said)
        if said & self.nature.averse:
            own = -1.6
        pull = own or drawn(self.nature, option)
        turned = turns(asked.text) and not value
        return fact + noise + 1.3 * (-pull if turned else pull)

    def _several(self, asked: Question) -> list[str]:
        likings = {option: self.liking(asked, option) for option in asked.options}
        ranked = sorted(asked.options, key=lambda option: -likings[option])
        count = sum(liking > 0.25 for liking in likings.values())
        count = max(asked.fewest, min(asked.many, max(count, 1)))
        taken = set(ranked[:count])
        return [option for option in asked.options if option in taken]

    def _number(self, asked: Question) -> int | float:
        if _OWN_AGE.search(asked.text) and self.nature.age:
            return _within(asked, float(self.nature.age))
        return _within(asked, self.wanted(asked))

    def wanted(self, asked: Question) -> float:
        """The number that it would name: a round one."""
        text = f"{asked.text} {asked.unit}"
        if _MONEY_UNIT.search(text) or _PRICE.search(text):
            return self.price(asked)
        least, most = asked.least, asked.most
        if (_SHARE.search(text) and most <= 1_000) or (least >= 0 and most <= 20):
            low, high = max(least, 0.0), min(most, 100.0)
            exact = low + (high - low) * (self.for_it(asked.text) + 1) / 2
            return exact if high - low < 30 else 5 * round(exact / 5)
        usual = self._usual(asked)
        return _nice(
            usual * math.exp(0.55 * steady(self.nature.key, asked.text) + 0.3 * drawn(self.nature, asked.text))
        )

    def _usual(self, asked: Question) -> float:
        words = tokens(f"{asked.unit} {asked.text}")
        named = next((float(usual) for word in words for sign, usual in _USUAL.items() if word.startswith(sign)), 0.0)
        if named and asked.least <= named <= asked.most:
            return named
        if math.isfinite(asked.most) and asked.most < 1e9:
            low = max(asked.least, 0.0)
            return low + (asked.most - low) * 0.4 if asked.most > low else low
        return max(10.0, asked.least if asked.least > -1e9 else 0.0)

    def price(self, asked: Question) -> float:
        """What it would pay: around the sum spoken of, else within the bounds, by how much it wants the thing."""
        sums = [value for value, _ in amounts(f"{asked.text} {asked.about}") if value > 0]
        if sums:
            anchor = sums[0]
        elif math.isfinite(asked.most) and asked.most < 1e9:
            anchor = math.sqrt(max(asked.least, asked.most / 25, 0.5) * max(asked.most, 0.5))
        else:
            anchor = max(_MONEY, 2 * asked.least if asked.least > 0 else 0)
        sides = 0.3 * self.for_it(asked.about or asked.text) - 0.22 * self.nature.thrift - 0.18
        own = 0.3 * steady(self.nature.key, "price", asked.about or asked.text)
        return _nice(anchor * math.exp(max(-1.2, min(0.1 if sums else 0.42, sides + own))))


@lru_cache(maxsize=8_192)
def worth(option: str) -> float | None:
    """What an option says on a scale from no (-1) to yes (1); None where it says neither."""
    plain = " ".join(tokens(option))
    found = _YES.get(plain)
    if found is not None:
        return found
    first = plain.split(" ", 1)[0] if plain else ""
    return {"yes": 0.8, "no": -0.8}.get(first) if re.match(r"\s*(?:yes|no)\s*[,;:–-]", option, re.IGNORECASE) else None


def _of_age(option: str, age: int) -> float | None:
    """Whether an age falls among those that an option names, as 1 or 0; None where it names none."""
    found = [int(one) for one in re.findall(r"\d{1,3}", option)]
    if not age or not found or not re.fullmatch(r"\D{0,14}\d{1,3}\D{0,6}(?:\d{1,3}\D{0,12})?", option):
        return None
    if len(found) == 2:
        return float(found[0] <= age <= found[1])
    if re.search(r"under|below|younger|less|<", option, re.IGNORECASE):
        return float(age < found[0])
    return (
        float(age >= found[0])
        if re.search(r"over|above|older|\+|more|>", option, re.IGNORECASE)
        else float(age == found[0])
    )


def _nice(value: float) -> float:
    """The round number next to a value: people say 25 and not 24.73."""
    if abs(value) < _LEAST_MONEY:
        return 0.0
    size = 10.0 ** math.floor(math.log10(abs(value)))
    best = min((*_NICE, 10.0), key=lambda step: abs(abs(value) / size - step))
    return math.copysign(round(best * size, 4), value)


def _within(asked: Question, value: float) -> int | float:
    kept = min(max(value, asked.least), asked.most)
    if asked.whole:
        low = math.ceil(asked.least) if math.isfinite(asked.least) else round(kept)
        high = math.floor(asked.most) if math.isfinite(asked.most) else round(kept)
        return max(low, min(high, round(kept)))
    return int(kept) if kept == int(kept) else round(kept, 2) if asked.least <= round(kept, 2) <= asked.most else kept


def yes_or_no(respondent: Respondent, text: str) -> str:
    """How a closed question is answered: yes, no or maybe."""
    side = respondent.for_it(text)
    return "yes" if side > 0.18 else "no" if side < -0.18 else "maybe"
