"""Which posts a persona is shown, in which order and why; and whom it might follow. Formulas: docs/ranking.md.

Every ranker is one statement of `sql/rankers.sql` for any number of viewers at once. None shows a viewer its own posts,
what is hidden, or anything by somebody it has muted. Equal scores are ordered by id: the newer post, the older persona
first. What "now" is, the caller says: it is the world's time.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from app.db.queries import load
from app.errors import Invalid, Misconfigured
from app.settings import Settings
from app.streams import number, stream

SIZE = 10
"""Items a viewer is ranked, unless the caller says otherwise."""

RANKERS = ("latest", "following", "hot", "top", "interest", "similar_people", "random", "mixed")
SUGGESTERS = ("common_neighbours", "adamic_adar", "preferential", "interest")
VERSION = 1
"""Of all rankers' formulas. One whose formula changes gets a version of its own; its former one stays in the docs."""

POOL = {"latest": 100, "hot": 100, "top": 100, "following": 200, "random": 200, "interest": 300, "similar_people": 20}
"""Posts that are looked at, for all viewers together; of `following`, how many of those followed last."""

FOLLOWS_SEEN = 500
HALF_LIFE, MEMORY = 24.0, 168.0
WEIGHTS = (("following", 0.3), ("interest", 0.5), ("random", 0.2))
BOUNDS = {"pool": (20.0, 500.0), "half_life": (0.1, 8_760.0), "memory": (0.1, 8_760.0)}
PARAMETERS = {
    **dict.fromkeys(("latest", "following", "hot", "top", "random"), ("pool",)),
    "interest": ("pool", "half_life", "memory"),
    "similar_people": ("half_life",),
    "mixed": tuple(name for name in RANKERS if name != "mixed"),
}
WEIGHT_MOST = 1_000.0


def _whole(sql: dict[str, str], name: str) -> str:
    """A statement with its parts in place."""
    text = sql[name]
    while "{" in text:
        text = re.sub(r"\{(\w+)\}", lambda part: sql[part[1]], text)
    return text


_SQL = load("rankers")
STATEMENTS = {name: _whole(_SQL, name) for name in RANKERS if name != "mixed"}
SUGGESTIONS = {name: _whole(_SQL, "fond" if name == "interest" else name) for name in SUGGESTERS}


class Reader(Protocol):
    """A database, or one connection to it."""

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        """The rows that a query gives."""
        ...


@dataclass(frozen=True)
class Ranking:
    """A ranker with its parameters: `pool` in posts, `half_life` and `memory` in hours; of `mixed` its weights."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()

    @property
    def version(self) -> int:
        return VERSION

    def __str__(self) -> str:
        given = ",".join(f"{name}={value:g}" for name, value in self.parameters)
        return f"{self.name}:{given}" if given else self.name

    @property
    def weights(self) -> tuple[tuple[str, float], ...]:
        """Of `mixed`: how much each of its rankers counts."""
        return tuple((name, weight) for name, weight in self.parameters or WEIGHTS if weight > 0)


LATEST = Ranking("latest")


@dataclass(frozen=True)
class Ranked:
    """One item at its place, from 1 on.

    `chance` is the probability that, given those above, it stands where it stands; None where chance has no part in it.
    """

    item: int
    rank: int
    score: float
    reason: str
    chance: float | None = None


def parse(text: str) -> Ranking:
    """The ranking that `NAME` or `NAME:PARAMETER=NUMBER,…` names, such as `hot` or `mixed:top=2,random=1`.

    Raises:
        Invalid: says what is wrong with it, and what is allowed.
    """
    name, colon, rest = text.strip().partition(":")
    if name not in RANKERS:
        raise Invalid(f"there is no ranker {name[:60]!r}; there are {', '.join(RANKERS)}")
    given: dict[str, float] = {}
    for part in rest.split(",") if colon else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in PARAMETERS[name]:
            raise Invalid(f"{name} has no parameter {key[:60]!r}; it has {', '.join(PARAMETERS[name])}")
        if key in given:
            raise Invalid(f"{name} is given {key} twice")
        given[key] = _number(name, key, value)
    if name == "mixed" and given and not any(given.values()):
        raise Invalid("mixed needs a ranker that weighs more than 0, e.g. mixed:interest=0.8,random=0.2")
    return Ranking(name, tuple(sorted(given.items())))


def _number(name: str, key: str, text: str) -> float:
    least, most = BOUNDS.get(key, (0.0, WEIGHT_MOST))
    found = float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) else -1.0
    if not least <= found <= most:
        raise Invalid(f"{name}: {key} must be a number from {least:g} to {most:g}, not {text[:60]!r}")
    return float(int(found)) if key == "pool" else found


def _named(text: str) -> str:
    try:
        return str(parse(text))
    except Invalid as error:
        raise PydanticCustomError("ranker", "{why}", {"why": error.detail}) from None


RankerName = Annotated[str, StringConstraints(strict=True, max_length=200), AfterValidator(_named)]
"""A ranking as `parse` reads it, in files and requests."""


def check(settings: Settings) -> None:
    """See that FEED_RANKER names a ranking.

    Raises:
        Misconfigured: it does not.
    """
    try:
        parse(settings.feed_ranker)
    except Invalid as error:
        raise Misconfigured(f"FEED_RANKER: {error.detail}") from None


def of_run(terms: Mapping[str, Any], default: str) -> Ranking | None:
    """The ranking of a run by its terms, else by the setting; None where nobody has chosen any but `latest`.

    Raises:
        Invalid: there is no such ranking.
    """
    if (given := terms.get("ranker")) is not None:
        return parse(str(given))
    found = parse(default)
    return None if found == LATEST else found


def of_persona(profile: Mapping[str, Any], otherwise: Ranking | None) -> Ranking | None:
    """A persona's own ranking, or else its run's."""
    try:
        return parse(str(profile["ranker"])) if profile.get("ranker") else otherwise
    except Invalid:  # it was checked when it was written, by a version of this program that knew it
        return otherwise


def suggester(text: str) -> str:
    """The name of a way to suggest people.

    Raises:
        Invalid: there is none of that name.
    """
    if text not in SUGGESTERS:
        raise Invalid(f"there is no way {text[:60]!r} to suggest people; there are {', '.join(SUGGESTERS)}")
    return text


async def rank(
    reader: Reader,
    ranking: Ranking,
    viewers: Sequence[int],
    *,
    now: datetime,
    size: int = SIZE,
    seed: int = 0,
    draw: object = 0,
) -> dict[int, list[Ranked]]:
    """Each viewer's feed, best first, by one statement.

    Args:
        seed: the run's; with `draw`, which names the occasion, it decides what chance decides.
    """
    asked = list(dict.fromkeys(viewers))
    found: dict[int, list[Ranked]] = {viewer: [] for viewer in asked}
    if ranking.name == "mixed":
        return await _mixed(reader, ranking, asked, now, size, seed, draw)
    for row in await reader.fetch(STATEMENTS[ranking.name], *_arguments(ranking, asked, now, size, seed, draw)):
        found[row["viewer"]].append(_ranked(row))
    return {viewer: sorted(items, key=lambda one: one.rank) for viewer, items in found.items()}


def _arguments(
    ranking: Ranking, viewers: list[int], now: datetime, size: int, seed: int, draw: object
) -> tuple[object, ...]:
    given = dict(ranking.parameters) if ranking.name != "mixed" else {}
    keys = [number(seed, "feed", viewer, draw, bits=63) for viewer in viewers]
    pool = int(given.get("pool", POOL.get(ranking.name, 0)))
    return viewers, now, size, keys, pool, given.get("half_life", HALF_LIFE), given.get("memory", MEMORY)


def _ranked(row: Any) -> Ranked:
    return Ranked(row["item"], row["rank"], row["score"], row["reason"], row["chance"])


async def suggest(
    reader: Reader, way: str, viewers: Sequence[int], *, now: datetime, size: int = SIZE
) -> dict[int, list[Ranked]]:
    """Whom each viewer might follow, best first, by one statement; never whom it follows, mutes or is muted by."""
    asked = list(dict.fromkeys(viewers))
    found: dict[int, list[Ranked]] = {viewer: [] for viewer in asked}
    keys = [0] * len(asked)
    for row in await reader.fetch(SUGGESTIONS[way], asked, now, size, keys, FOLLOWS_SEEN, HALF_LIFE, MEMORY):
        found[row["viewer"]].append(_ranked(row))
    return {viewer: sorted(items, key=lambda one: one.rank) for viewer, items in found.items()}


async def posts(reader: Reader, items: Sequence[int]) -> list[Any]:
    """Posts to show, in this order; one that was hidden meanwhile is left out."""
    return await reader.fetch(_SQL["posts"], list(items))


async def people(reader: Reader, items: Sequence[int]) -> list[Any]:
    """Personas to show, in this order."""
    return await reader.fetch(_SQL["people"], list(items))


# The mixture


def mixture(names: Sequence[str]) -> str:
    """One statement that gives the lists of several rankers, each with its own name; $5 is a list of their pools."""
    parts = []
    for n, name in enumerate(names, 1):
        statement = STATEMENTS[name].replace("$5", f"($5::int[])[{n}]")
        since = "" if name == "random" else ", NULL::bigint AS since"
        parts.append(f"SELECT '{name}' AS ranker, r.*{since} FROM ({statement}) r")  # noqa: S608 - our own statements
    return "\nUNION ALL\n".join(parts)


@dataclass(frozen=True)
class Urn:
    """What `random` draws from for one viewer: `among` posts, namely all that it may see from `since` on."""

    among: int = 0
    since: int = 0

    def left(self, shown: Sequence[int]) -> int:
        """How many of its posts are not shown yet."""
        return self.among - sum(item >= self.since for item in shown)


def interleave(
    lists: Mapping[str, Sequence[Ranked]],
    weights: Sequence[tuple[str, float]],
    chance: random.Random,
    size: int,
    urn: Urn = Urn(),
) -> list[Ranked]:
    """At each place a ranker is drawn by weight, among those that have something left, and gives its next item.

    An item's chance is the sum, over the rankers that would have given it there, of their share of the weights;
    `random` would have given any of its urn with the same probability. So the chances of all that could stand at a
    place sum to 1.
    """
    shown: list[Ranked] = []
    places = dict.fromkeys(lists, 0)
    while len(shown) < size:
        taken = [one.item for one in shown]
        heads: dict[str, Ranked] = {}
        for name, _ in weights:
            items = lists.get(name, ())
            while places.get(name, 0) < len(items) and items[places[name]].item in taken:
                places[name] += 1
            if places.get(name, 0) < len(items):
                heads[name] = items[places[name]]
        if not heads:
            break
        shares = _shares(weights, heads)
        drawn = chance.choices(list(shares), list(shares.values()))[0]
        head = heads[drawn]
        shown.append(
            replace(
                head,
                rank=len(shown) + 1,
                reason=f"{drawn}: {head.reason}",
                chance=chance_of(head.item, heads, shares, urn, taken),
            )
        )
    return shown


def _shares(weights: Sequence[tuple[str, float]], heads: Mapping[str, Ranked]) -> dict[str, float]:
    """What each ranker that has something left weighs, of 1."""
    total = sum(weight for name, weight in weights if name in heads)
    return {name: weight / total for name, weight in weights if name in heads}


def chance_of(
    item: int, heads: Mapping[str, Ranked], shares: Mapping[str, float], urn: Urn, taken: Sequence[int]
) -> float:
    """The probability that `item` comes next, below what is `taken`."""
    certain = sum(share for name, share in shares.items() if name != "random" and heads[name].item == item)
    by_lot = shares["random"] / urn.left(taken) if "random" in shares and item >= urn.since else 0.0
    return certain + by_lot


async def _mixed(
    reader: Reader, ranking: Ranking, viewers: list[int], now: datetime, size: int, seed: int, draw: object
) -> dict[int, list[Ranked]]:
    names = [name for name, _ in ranking.weights]
    given = list(_arguments(ranking, viewers, now, size, seed, draw))
    given[4] = [POOL[name] for name in names]
    lists: dict[int, dict[str, list[Ranked]]] = {viewer: {} for viewer in viewers}
    urns: dict[int, Urn] = {}
    for row in await reader.fetch(mixture(names), *given):
        one = _ranked(row)
        lists[row["viewer"]].setdefault(row["ranker"], []).append(one)
        if row["since"] is not None and one.rank == 1:
            urns[row["viewer"]] = Urn(round(1 / one.chance) if one.chance else 0, row["since"])
    for of_viewer in lists.values():
        for items in of_viewer.values():
            items.sort(key=lambda one: one.rank)
    return {
        viewer: interleave(
            lists[viewer], ranking.weights, stream(seed, "mixed", viewer, draw), size, urns.get(viewer, Urn())
        )
        for viewer in viewers
    }
