"""Demographics of either form: ours, and TinyTroupe's population files, of which shares are read, the rest is named."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from app.agent.population.demographics import (
    ATTRIBUTES_MAX,
    VALUES_MAX,
    Demographics,
    ages,
    checked,
)
from app.agent.population.objects import read_object

ADULT = 18
ROUNDED = 1.5
"""Percentage points by which rounded percentages may miss 100."""

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_AMOUNT = re.compile(r"(\d{1,3}(?:,\d{3}){0,4}|\d{1,15})(\.\d{1,6})?(?:\s+(thousand|million|billion))?", re.IGNORECASE)
_TIMES = {"": 1, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_OR_MORE = re.compile(r"\s+or\s+(?:higher|more|above)\b.*$", re.IGNORECASE)
_SUMMED = ("total",)
_HEADS = ("demographics",)
_NAMES = {
    "age distribution": "age",
    "gender distribution": "gender",
    "sex": "gender",
    "racial and ethnic composition": "ethnicity",
    "ethnic composition": "ethnicity",
    "educational attainment": "education",
    "geographic distribution": "area",
    "regions": "region",
    "political affiliation": "leaning",
    "occupations": "sector",
    "language spoken at home": "language",
}
"""What their sections are called here; the others keep their own name."""


def population_of(value: object, name: str = "demographics") -> tuple[Demographics, list[str]]:
    """The population that an object of either form describes, and notes on what was left out of it.

    Raises:
        Invalid: names each fault and its place.
    """
    if isinstance(value, dict) and isinstance(content := _content(value), dict):
        found, unused = _read(content)
        notes = unused
        if bins := found.get("age"):
            whole = sum(bins.values())
            young = sum(share for label, share in bins.items() if (ages(label) or (0, 0))[1] < ADULT)
            notes.append(f"age: only from {ADULT} on; of the bins, {young / whole:.1%} are wholly below")
        title = value.get("title")
        given = {"marginals": found, "least_age": ADULT if "age" in found else 0}
        if isinstance(title, str) and 0 < len(title) <= 200:
            given["title"] = title
        return checked(given, name), notes
    return checked(value, name), []


def read_demographics(path: Path) -> tuple[Demographics, list[str]]:
    """As `population_of`, from the JSON file at `path`."""
    return population_of(read_object(path), path.name)


def _content(value: Mapping[str, Any]) -> object:
    """The statistics within TinyTroupe's file; None if it is none."""
    if isinstance(inner := value.get("content"), dict):
        return inner
    return value if any(isinstance(value.get(key), dict) for key in value if key.lower() in _HEADS) else None


def _read(content: Mapping[str, Any]) -> tuple[dict[str, dict[str, float]], list[str]]:
    found: dict[str, dict[str, float]] = {}
    unused: dict[tuple[str, str], int] = {}
    for path, weights, why in _walk(content, ()):
        name = _attribute(path)
        if weights and len(found) < ATTRIBUTES_MAX and name not in found:
            found[name] = weights
        else:
            place = " > ".join(path[: 2 if path[0].lower() in _HEADS else 1])
            told = (place, why or "it was read from another section")
            unused[told] = unused.get(told, 0) + 1
    entries = [f"{count} entries" if count > 1 else "1 entry" for count in unused.values()]
    return found, [f"{place}: {many} not used: {why}" for (place, why), many in zip(unused, entries, strict=True)]


def _walk(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, float], str]]:
    """Yield each table below `node` as (place, weights, ""), and what is none as (place, {}, why)."""
    inner = {key: value for key, value in node.items() if isinstance(value, dict)}
    percents = {key: percent for key, value in node.items() if (percent := _percent(value)) is not None}
    if path and (weights := _own(percents, path)):
        yield path, weights, ""
    elif path and (weights := _shares(_groups(node)) or _shares(_counts(inner))):
        yield path, weights, ""
        inner = {}
    else:
        if percents and path:
            yield path, {}, "percentages of no whole"
        for key, value in node.items():
            if isinstance(value, str) and value.strip() and key.lower() == "country":
                yield (*path, "country"), {value.strip()[:200]: 1.0}, ""
            elif key not in inner and key not in percents:
                yield (*path, key), {}, "texts, lists and single numbers"
    for key, value in inner.items():
        yield from _walk(value, (*path, key))


def _own(percents: Mapping[str, float], path: Sequence[str]) -> dict[str, float]:
    """The distribution that a section's own percentages are; empty if none, or too far down to be about people."""
    is_age = path[-1].lower() == "age distribution"
    if (len(path) > 2 and path[0].lower() not in _HEADS) or (is_age and any(ages(key) is None for key in percents)):
        return {}
    return _shares(percents) or _shares(_at_least(percents))


def _shares(found: Mapping[str, float]) -> dict[str, float]:
    return dict(found) if 2 <= len(found) <= VALUES_MAX and _is_whole(found) else {}


def _is_whole(weights: Mapping[str, float]) -> bool:
    """Whether it is a distribution: percentages of sum 100, fractions of sum 1 (read as percentages), or counts."""
    total = sum(weights.values())
    return abs(total - 100) <= ROUNDED or (total > 1000 and all(value.is_integer() for value in weights.values()))


def _percent(value: object) -> float | None:
    """`18.6%` as 18.6; a plain number from 0 to 1 as a fraction of 100, any other up to 100 as it is."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        return float(found[1]) if found else None
    if isinstance(value, float) and 0 <= value <= 1:
        return 100.0 * value
    return float(value) if 0 <= value <= 100 else None


def _groups(node: Mapping[str, Any]) -> dict[str, float]:
    """The leaves of a section of groups (`Christian: {Total, Catholic, …}`) and single entries, without the totals."""
    if not any(isinstance(value, dict) for value in node.values()):
        return {}
    leaves: dict[str, float] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                percent = _percent(number)
                if percent is None:
                    return {}
                if inner.lower() not in _SUMMED:
                    leaf = inner if inner.lower() != "other" else f"{inner} ({key})"
                    if leaf in leaves:
                        return {}
                    leaves[leaf] = percent
        elif (percent := _percent(value)) is None:
            return {}
        else:
            leaves[key] = percent
    return leaves


def _at_least(weights: Mapping[str, float]) -> dict[str, float]:
    """Shares out of `High School or Higher: 90%, Bachelor's or Higher: 35%`, where each entry holds the later ones."""
    entries = list(weights.items())
    values = [value for _, value in entries]
    is_falling = all(a > b for a, b in pairwise(values)) and all(v <= 100 for v in values)
    if not entries or not is_falling or not all(_OR_MORE.search(key) for key, _ in entries):
        return {}
    names = [_OR_MORE.sub("", key) for key, _ in entries]
    rests = [value - after for value, after in zip(values, [*values[1:], 0.0], strict=True)]
    below = {f"less than {names[0]}": 100 - values[0]} if values[0] < 100 else {}
    return {**below, **dict(zip(names, rests, strict=True))}


def _counts(inner: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """People by the entry `Employment` of each subsection (`Legal: {Employment: "1.2 million", …}`)."""
    found = {key: _employed(value) for key, value in inner.items()}
    return {key: float(count) for key, count in found.items() if count} if all(found.values()) else {}


def _employed(value: Mapping[str, Any]) -> int:
    text = value.get("Employment")
    found = _AMOUNT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return 0
    return round(float(found[1].replace(",", "") + (found[2] or "")) * _TIMES[(found[3] or "").lower()])


def _attribute(path: tuple[str, ...]) -> str:
    """What the table at this place is about: its own name, or the one above where that is just `Distribution`."""
    own = path[-2] if path[-1].lower() == "distribution" and len(path) > 1 else path[-1]
    name = own.strip().lower()
    return _NAMES.get(name, re.sub(r"[^\w]+", "_", name.removesuffix(" distribution")).strip("_")[:60] or "other")
