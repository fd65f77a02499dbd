"""What the offline model makes of the memories in a prompt: grudges now and then, and a look back."""

import random
import re
from collections import Counter
from dataclasses import dataclass

from app.llm.scripted.reading import Call
from app.llm.scripted.topics import quotes

FORCE = 0.45
"""How often a grudge is spoken of, when there is one."""

_HANDLE = r"@([A-Za-z0-9](?:[A-Za-z0-9_.-]{0,38}[A-Za-z0-9])?)"
_AGE = re.compile(r"^(\d{1,6})([smhd]) ago: ")
_CROSS = re.compile(
    rf"You (?:disagreed with|reported what) {_HANDLE}[^\"]{{0,40}}\"(.{{1,200}}?)\"|"
    rf"{_HANDLE} disagreed with you about your (?:post|comment) \"(.{{1,200}}?)\"|"
    rf"{_HANDLE} wrote to you, and disagreed: \"(.{{1,200}}?)\"|"
    rf"{_HANDLE} quoted your post \"(.{{1,200}}?)\", and disagreed:"
)
_BOND = re.compile(rf"You (?:quarrel|are at odds) with {_HANDLE}:")
_WARM = re.compile(rf"You (?:like|get on with) {_HANDLE}:")
_AGES = {"s": "a moment", "m": "minutes", "h": "hours", "d": "days"}
_RECALLS = (
    "I have not forgotten “{q}”, @{by}.",
    "We had this out {when} ago over “{q}”, @{by}, and I still say no.",
    "@{by}, you and “{q}” {when} ago: I remember.",
    "This is “{q}” all over again, @{by}.",
)
_NAMED = ("We have been here before, @{by}.", "Still at it, @{by}, and so am I.", "I remember our last round, @{by}.")


@dataclass(frozen=True)
class Grudge:
    """Whom a persona is cross with, over which words (may be empty), and about how long ago."""

    by: str
    over: str
    when: str


def grudges(lines: list[str]) -> dict[str, Grudge]:
    """By handle, what is remembered against somebody; a line with words before one without."""
    found: dict[str, Grudge] = {}
    for line in lines:
        age = _AGE.match(line)
        when = _AGES[age[2]] if age else "some time"
        rest = line[age.end() :] if age else line
        if cross := _CROSS.match(rest):
            by, over = next((cross[n], cross[n + 1]) for n in (1, 3, 5, 7) if cross[n])
            if by not in found or not found[by].over:
                found[by] = Grudge(by, _short(over), when)
        elif bond := _BOND.match(rest):
            found.setdefault(bond[1], Grudge(bond[1], "", when))
    return found


def _short(words: str) -> str:
    kept = quotes(words)
    return kept[0] if kept else " ".join(words.split()[:6])[:60].strip(" .,;:!?“”'")


def spoken(grudge: Grudge, chance: random.Random) -> str:
    """A sentence that refers to it."""
    lines = _RECALLS if grudge.over else _NAMED
    return chance.choice(lines).format(by=grudge.by, q=grudge.over, when=grudge.when)


def look_back(lines: list[str], chance: random.Random) -> Call:
    """A reflection: with whom it quarrels and over what, whom it likes, and whom it has to do with."""
    cross = list(grudges(lines).values())[:2]
    warm = list(dict.fromkeys(found[1] for line in lines if (found := _WARM.search(line))))[:2]
    met = Counter(handle for line in lines for handle in re.findall(_HANDLE, line.split('"')[0]))
    parts = [f"You do not let @{g.by} off" + (f" over “{g.over}”" if g.over else "") + "." for g in cross]
    parts += [f"You are glad of @{by}." for by in warm]
    others = [by for by, _ in met.most_common(4) if by not in {*(g.by for g in cross), *warm}]
    if others:
        parts.append(f"You keep running into {' and '.join('@' + by for by in others[:2])}.")
    ends = ("You mean to go on as before.", "You will look before you answer.", "You will write less and mean more.")
    return Call("reflect", {"text": " ".join([*parts, chance.choice(ends)])[:480]})
