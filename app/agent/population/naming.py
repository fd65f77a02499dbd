"""Names that fit a person's gender and region, no two alike: from the lists of names.toml."""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

from app.agent.population.foreign import slug
from app.world.text import USERNAME_MAX

INITIALS = "ABCDEFGHJKLMNPRSTVWZ"
TRIES = 24
_WOMEN = {
    "f",
    "w",
    "female",
    "females",
    "woman",
    "women",
    "girl",
    "mujer",
    "mulher",
    "femme",
    "frau",
    "donna",
    "kvinne",
}
_MEN = {"m", "male", "males", "man", "men", "boy", "hombre", "homem", "homme", "mann", "uomo"}
_TOLD_BY = (
    *("nationality", "country", "country_of_residence", "residence"),
    *("region", "ethnicity", "language", "religion"),
)
_ASIDE = re.compile(r"\([^)]*\)|\bnon-\w+")


@dataclass(frozen=True, slots=True)
class Group:
    """Names that are common in the same places."""

    places: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    surnames: tuple[str, ...]

    def given(self, gender: str) -> Sequence[str]:
        return {"woman": self.women, "man": self.men}.get(gender, (*self.women, *self.men))


@cache
def groups() -> dict[str, Group]:
    """All groups by name; `anybody` has names of no gender."""
    read = tomllib.loads(files("app.agent.population").joinpath("names.toml").read_text("utf-8"))
    return {
        name: Group(tuple(told["places"]), *(tuple(told[key].split()) for key in ("women", "men", "surnames")))
        for name, told in read.items()
    }


def gender_of(value: object) -> str:
    """`woman`, `man`, `other` for what else is said, and `` for nothing."""
    words = set(re.findall(r"[^\W_]+", str(value or "").lower()))
    if not words:
        return ""
    is_woman, is_man = bool(words & _WOMEN), bool(words & _MEN)
    return "other" if is_woman == is_man else "woman" if is_woman else "man"


def group_of(row: Mapping[str, object], chance: Random) -> Group:
    """The group whose places the row names, else any. Where English names are common, an ethnicity says more."""
    fitting: list[str] = []
    for attribute in _TOLD_BY:
        if not fitting or fitting == ["english"]:
            fitting = _fitting(str(row.get(attribute) or "")) or fitting
    known = groups()
    return known[chance.choice(fitting or [name for name, group in known.items() if group.places])]


def _fitting(told: str) -> list[str]:
    """The groups with the longest place that is in a text."""
    text = " " + _ASIDE.sub("", told.lower()).replace("-", " ")
    found = {
        name: max((len(place) for place in group.places if f" {place}" in text), default=0)
        for name, group in groups().items()
    }
    longest = max(found.values())
    return [name for name, length in found.items() if length == longest] if longest else []


class Names:
    """Hands out names and handles that nobody has yet."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._names = {name.casefold() for name in taken}
        self._handles = set(self._names)

    def name(self, row: Mapping[str, object], chance: Random) -> str:
        """A display name that fits the row's gender and region."""
        group, gender = group_of(row, chance), gender_of(row.get("gender"))
        pool = groups()["anybody"].women if gender == "other" else group.given(gender)
        for attempt in range(10_000):
            middle = f" {chance.choice(INITIALS)}." * (attempt >= TRIES) + f" {chance.choice(INITIALS)}." * (
                attempt >= 20 * TRIES
            )
            name = f"{chance.choice(pool)}{middle} {chance.choice(group.surnames)}"
            if name.casefold() not in self._names:
                self._names.add(name.casefold())
                return name
        raise AssertionError("there are more people than names")

    def handle(self, name: str, chance: Random) -> str:
        """A username like the name."""
        first, *_, last = slug(name).lower().replace(".", "").split("_")
        forms = [f"{first}.{last}", f"{first}_{last}", f"{first[0]}{last}", f"{last}.{first}", f"{first}{last[:3]}"]
        chance.shuffle(forms)
        numbered = (f"{forms[0][: USERNAME_MAX - 6]}{n}" for n in iter(lambda: chance.randrange(2, 99_999), None))
        for handle in (*forms, *(next(numbered) for _ in range(200))):
            if handle not in self._handles:
                self._handles.add(handle)
                return handle
        raise AssertionError("there are more people than usernames")
