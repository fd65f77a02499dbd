"""The engine's experiment mode: variants × runs of one conversation, as the design of an experiment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from app.agent.population.checking import shown, unknown
from app.agent.population.engine import plain
from app.agent.population.foreign import slug
from app.errors import FieldError, Invalid
from app.experiments.engine.config import OPTIONS, Option
from app.experiments.engine.personas import PROMPT_MOST, Person, chosen
from app.experiments.engine.single import SEED_MOST
from app.venues.session.files import read_value

VARIANTS_MOST = 50
TEXTS = ("name", "description", "seed_text", "prompt")
READ: Mapping[str, Option] = {
    "model": OPTIONS["model"],
    "temperature": OPTIONS["temperature"],
    "max_tokens": OPTIONS["max_tokens"],
    "turns": OPTIONS["max_turns"],
}
BUDGETS = {"tokens": "budget_tokens", "usd": "budget_usd"}
"""What all runs together may take, and what a conversation's terms call that."""

KNOWN = (*TEXTS, *READ, "personas")
Variant = Mapping[str, Any]


def read_variants(path: Path) -> dict[str, Variant]:
    """The variants in a file by their names: a list, an object that holds one as `variants`, or one by names.

    Raises:
        NotFound: there is no such file.
        Invalid: tells each fault with its place.
    """
    return variants_of(read_value(path), path.name)


def variants_of(value: object, name: str) -> dict[str, Variant]:
    """The same, of the value that a file holds."""
    if isinstance(value, dict) and set(value) == {"variants"}:
        value = value["variants"]
    if isinstance(value, dict):
        value = [{"name": key, **one} if isinstance(one, dict) else one for key, one in value.items()]
    if not isinstance(value, list) or not value:
        raise Invalid(f"{name}: must hold a list of variants")
    if len(value) > VARIANTS_MOST:
        raise Invalid(f"{name}: holds {len(value)} variants, at most {VARIANTS_MOST} are compared")
    wrong: list[tuple[str, str]] = []
    found: dict[str, Variant] = {}
    for number, one in enumerate(value, 1):
        place = f"item {number}"
        if not isinstance(one, dict):
            wrong.append((place, f"must be an object, not {shown(one)}"))
            continue
        wrong += [(f"{place}: {key}", message) for key, message in _faults(one)]
        key = slug(one["name"]) if isinstance(one.get("name"), str) else ""
        if key.casefold() in map(str.casefold, found):
            wrong.append((f"{place}: name", f"{shown(one['name'])} is the name of a variant before it"))
        found[key] = one
    if wrong:
        errors = [FieldError(place, "variant", message) for place, message in wrong]
        told = "; ".join(plain(f"{place}: {message}") for place, message in wrong[:50])
        raise Invalid(f"{name}: {told}", errors=errors[:50])
    return found


def _faults(one: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(plain(key[:60]), unknown(plain(key[:60]), "key", KNOWN)) for key in one if key not in KNOWN]
    for key in TEXTS:
        value = one.get(key, "" if key != "name" else None)
        if not isinstance(value, str) or (key == "name" and not value.strip()):
            found.append((key, f"must be a text, not {shown(value)}" if value is not None else "is missing"))
        elif len(value) > SEED_MOST:
            found.append((key, f"has {len(value):,} characters, at most {SEED_MOST:,} are allowed"))
    for key, option in READ.items():
        if one.get(key) is not None:
            try:
                if isinstance(one[key], str) != (option.kind == "text"):
                    raise ValueError(f"must be {option.allowed}, not {shown(one[key])}")
                option.read(one[key])
            except ValueError as error:
                found.append((key, str(error)))
    people = one.get("personas")
    if people is not None and not (isinstance(people, list) and all(isinstance(who, str) for who in people)):
        found.append(("personas", f"must be a list of ids, not {shown(people)}"))
    return found


def as_experiment(
    base: Mapping[str, Any],
    variants: Mapping[str, Variant],
    people: Sequence[Person],
    *,
    runs: int,
    seed: int,
    parallel: int,
    most: int,
    name: str = "",
    outcomes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The design of an experiment, as data (`app.experiments.design.Experiment`).

    Args:
        base: the conversation that all variants share, as `single.design_data` has it.
        people: everybody in the persona file, of whom a variant may name others.
        most: how many may talk.

    Raises:
        Invalid: a variant names somebody who is not there.
    """
    terms = dict(base["terms"])
    terms.pop("seed", None)
    budget = {part: terms.pop(key) for part, key in BUDGETS.items() if key in terms}
    return {
        "name": name,
        "venue": "dialogue",
        "runs": runs,
        "seed": seed,
        "setting": {**base, "terms": terms},
        "variants": {key: _changed(base, one, people, most) for key, one in variants.items()},
        "parallel": parallel,
        **({"budget": budget} if budget else {}),
        **({"outcomes": dict(outcomes)} if outcomes else {}),
    }


def _changed(base: Mapping[str, Any], one: Variant, people: Sequence[Person], most: int) -> dict[str, Any]:
    """What of the conversation a variant has otherwise; lists as a whole."""
    over: dict[str, Any] = {}
    if one.get("seed_text"):
        over["seed_message"] = {"message": one["seed_text"]}
    if one.get("turns") is not None:
        over["stop"] = {"turns": one["turns"]}
    terms = {key: one[key] for key in ("model", "max_tokens") if one.get(key) is not None}
    if terms:
        over["terms"] = terms
    bots = (
        base["bots"] if one.get("personas") is None else [p.bot() for p in chosen(people, one["personas"], most=most)]
    )
    if (told := [_bot(bot, one) for bot in bots]) != list(base["bots"]):
        over["bots"] = told
        over["initial_bot"] = told[0]["name"]
    return over


def _bot(bot: Mapping[str, Any], one: Variant) -> dict[str, Any]:
    made = dict(bot)
    if one.get("model") is not None:
        made["model"] = one["model"]
    if one.get("temperature") is not None:
        made["options"] = {**made.get("options", {}), "temperature": one["temperature"]}
    if one.get("prompt"):
        made["prompt"] = f"{made.get('prompt', '')}\n{one['prompt']}".strip()[:PROMPT_MOST]
    return made


METRICS = ("duration", "total_messages", "total_tokens", "api_calls", "errors", "average_response_time")


def summed_up(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Of each variant: `runs`, how many `succeeded`, and each metric's mean over all its runs, None without any."""
    return {
        variant: {
            "runs": len(runs),
            "succeeded": sum(bool(run["success"]) for run in runs),
            "metrics": {
                name: round(fmean(run["metrics"][name] for run in runs), 3) if runs else None for name in METRICS
            },
        }
        for variant, runs in results.items()
    }
