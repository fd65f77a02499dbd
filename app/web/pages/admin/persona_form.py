"""A persona as a form's fields, and back: lists by lines, facts as `key: value`."""

import json
import re

from pydantic import ValidationError

from app import strict_json
from app.agent.population.checking import worded
from app.agent.population.tables import number
from app.web.pages.session import Form
from app.world.personas import PersonaSpec

TEXTS = ("username", "description", "bio", "status")
OPTIONAL = ("display_name", "role", "style", "leaning", "model", "ranker")
LISTS = ("traits", "goals", "interests", "fragments")
NUMBERS = ("temperature", "activity")
FIELDS = (*TEXTS, *OPTIONAL, *LISTS, *NUMBERS, "hours", "demographics")
WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,9})", re.ASCII)
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
SHOWN_MAX = 20_000
RANKERS = {
    "latest": "the newest posts",
    "following": "the newest posts and shares of those whom it follows",
    "hot": "what is liked and answered much, and young",
    "top": "what is liked most, however old",
    "interest": "authors it engages with, and words that it cares about",
    "similar_people": "what people who like the same posts have liked lately",
    "random": "newest posts drawn by lot",
    "mixed": "each place by lot from following, interest and random, with the weights that are given",
}
"""Each ranker in a line, as the editor explains it."""


class WrongFields(Exception):
    """What is wrong, by field."""

    def __init__(self, wrong: dict[str, str]) -> None:
        super().__init__("the form can't be taken as it is")
        self.wrong = wrong


def line_of(text: str, special: bool = False) -> str:
    """An entry on a line of its own; what would read back as something else stands in quotation marks, as JSON."""
    return json.dumps(text, ensure_ascii=False) if special or "\n" in text or text.startswith('"') else text


def entry_of(line: str) -> str:
    """What `line_of` wrote on a line."""
    return str(strict_json.loads(line)) if QUOTED.fullmatch(line) and _is_json(line) else line


def _is_json(text: str) -> bool:
    try:
        strict_json.loads(text)
    except ValueError:
        return False
    return True


def fact_of(line: str) -> tuple[str, str | int] | None:
    """A line `key: value`; None if it is none."""
    quoted = QUOTED.match(line)
    key, rest = (entry_of(quoted[0]), line[quoted.end() :].lstrip()) if quoted else (line.partition(":")[0].strip(), "")
    rest = rest if quoted else line[len(line.partition(":")[0]) :]
    if not key or not rest.startswith(":"):
        return None
    value = rest[1:].strip()
    return key, int(value) if WHOLE.fullmatch(value) else entry_of(value)


def fields_of(spec: PersonaSpec) -> dict[str, str]:
    """The text in each field of the form."""
    told = spec.model_dump()
    found = {name: told[name] or "" for name in (*TEXTS, *OPTIONAL)}
    found |= {name: "\n".join(line_of(entry) for entry in told[name]) for name in LISTS}
    found |= {name: "" if told[name] is None else f"{told[name]:g}" for name in NUMBERS}
    facts = told["demographics"].items()
    return found | {
        "hours": " ".join(f"{share:g}" for share in told["hours"]),
        "demographics": "\n".join(
            f"{line_of(key, ':' in key)}: {line_of(v, bool(WHOLE.fullmatch(v))) if isinstance(v, str) else v}"
            for key, v in facts
        ),
    }


def fields_in(form: Form) -> dict[str, str]:
    """The same, as somebody has filled them in."""
    return {name: form[name][:SHOWN_MAX] for name in FIELDS}


def spec_in(form: Form) -> PersonaSpec:
    """The persona that a form describes.

    Raises:
        WrongFields: a field can't be taken as it is.
    """
    given: dict[str, object] = {name: form[name] for name in TEXTS}
    given |= {name: form[name] for name in OPTIONAL if form[name].strip()}
    given |= {name: [entry_of(line) for line in form.lines(name)] for name in LISTS}
    given |= {name: number(form[name].strip()) for name in NUMBERS if form[name].strip()}
    given["hours"] = [number(share) for share in form["hours"].replace(",", " ").split()]
    wrong: dict[str, str] = {}
    facts: dict[str, str | int] = {}
    for n, line in enumerate(form.lines("demographics"), 1):
        fact = fact_of(line)
        if fact is None:
            wrong.setdefault("demographics", f"entry {n} is not of the form key: value")
        elif fact[0] in facts:
            wrong.setdefault("demographics", f"entry {n} gives {fact[0][:60]!r} a second time")
        else:
            facts[fact[0]] = fact[1]
    try:
        spec = PersonaSpec.model_validate({**given, "demographics": facts})
    except ValidationError as error:
        raise WrongFields(_by_field(error) | wrong) from None
    if wrong:
        raise WrongFields(wrong)
    return spec


def _by_field(error: ValidationError) -> dict[str, str]:
    wrong: dict[str, str] = {}
    for place, message in worded(error):
        name, _, inner = place.partition(" ") if " item " in place else place.partition(".")
        wrong.setdefault(name, f"{inner.replace('item', 'entry')}: {message}" if inner else message)
    return wrong
