"""Personas made up from fragments: the same name, seed and place always give the same one, and a cast's differ."""

import re
import unicodedata
from collections.abc import Sequence

from app.streams import number, stream
from app.world.personas import PersonaSpec
from app.world.text import USERNAME_MAX

WORK = (
    "drives a night bus", "teaches year four", "repairs lifts", "runs a small bakery", "is a retired midwife",
    "studies geography", "keeps the books of a garage", "nurses on a children's ward", "fits kitchens",
    "works at a call centre", "breeds sheep on a hillside", "sells second-hand records", "inspects bridges",
    "cooks in a school canteen", "writes software from a spare bedroom", "sorts parcels on the early shift",
    "restores old clocks", "coaches a girls' football team", "is between jobs after a factory closed",
    "drives an ambulance", "tends a municipal garden", "translates manuals", "cuts hair in a shopping street",
    "guides tourists through a castle", "audits charities", "delivers groceries by bicycle", "tunes pianos",
    "looks after a parent at home", "welds boats", "photographs weddings",
)  # fmt: skip
TEMPER = (
    ("patient", "curious"), ("dry", "loyal"), ("blunt", "fair"), ("warm", "chatty"), ("sceptical", "careful"),
    ("cheerful", "restless"), ("shy", "thoughtful"), ("stubborn", "generous"), ("wry", "tired"),
    ("earnest", "optimistic"), ("impatient", "honest"), ("gentle", "forgetful"), ("competitive", "funny"),
    ("pragmatic", "calm"), ("worried", "kind"),
)  # fmt: skip
STYLE = (
    "short sentences, few capital letters", "asks back before answering", "tells small stories from work",
    "says outright when unsure", "teases, never unkindly", "writes as fast as it comes, typos and all",
    "sums up what others said, then disagrees", "one thought a message", "an emoji now and then, no more",
    "plain words and a concrete example", "understatement", "starts in the middle of a thought",
    "full sentences, politely",
)  # fmt: skip
LIKES = (
    "allotments", "crosswords", "five-a-side football", "old radios", "wild swimming", "baking bread", "chess",
    "bird calls", "flea markets", "choir practice", "cycling uphill", "horror films", "jigsaws", "hiking", "karaoke",
    "model railways", "mushrooms", "pub quizzes", "quilting",
)  # fmt: skip
VIEWS = (
    "trusts what they have seen more than what they have read", "changes their mind when somebody gives a good reason",
    "thinks most rows are about money in the end", "is tired of being told what to think",
    "wants to know who pays for it", "believes people are mostly decent", "says yes first and doubts later",
    "looks for what both sides want", "thinks things used to be simpler, and knows that this is not quite true",
    "hates waste of any kind", "suspects that nobody really knows",
)  # fmt: skip


def invented(names: Sequence[str], seed: int) -> list[PersonaSpec]:
    """A persona for each name, all of them different in work, temper and manner of speaking."""
    return [
        _one(name, handle, seed, place) for place, (name, handle) in enumerate(zip(names, handles(names), strict=True))
    ]


def _one(name: str, handle: str, seed: int, place: int) -> PersonaSpec:
    def pick(kind: str, choices: Sequence[object]) -> object:
        order = list(range(len(choices)))
        stream(seed, "invented", kind).shuffle(order)
        return choices[order[place % len(order)]]

    age = 19 + number(seed, "invented", "age", name, place) % 58
    temper, style, likes = pick("temper", TEMPER), str(pick("style", STYLE)), str(pick("likes", LIKES))
    assert isinstance(temper, tuple)  # noqa: S101 - as TEMPER has them
    return PersonaSpec(
        username=handle,
        description=f"{name} is {age} and {pick('work', WORK)}. {' and '.join(temper).capitalize()}; "
        f"{pick('views', VIEWS)}. Likes {likes}.",
        display_name=name,
        traits=[str(trait) for trait in temper],
        style=style,
        interests=[likes],
        demographics={"age": age},
    )


def handles(names: Sequence[str]) -> list[str]:
    """A username like each name, all of them different."""
    made: list[str] = []
    for place, name in enumerate(names, 1):
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("_.-")[: USERNAME_MAX - 4].rstrip("_.-")
        stem = stem or f"member_{place}"
        taken = {one.lower() for one in made}
        made.append(next(one for one in (stem, *(f"{stem}_{n}" for n in range(2, 999))) if one.lower() not in taken))
    return made
