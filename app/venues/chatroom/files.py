"""Studies in TOML files: one of our own, or Simulacra's three as they are. All that is wrong is told at once."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.agent.population.checking import shown, unknown
from app.errors import FieldError, Invalid, NotFound
from app.venues.chatroom.design import Pace, StudyDesign

FILE_MAX = 1_000_000
EXPERIMENT, TOKENS, SIMULATION = "experimental_settings.toml", "participant_tokens.toml", "simulation_settings.toml"
PACE = tuple(Pace.model_fields)
NEEDED = ("num_agents", "agent_names", *PACE[:4], "llm_concurrency_limit")
"""What Simulacra's simulation settings must hold; the rest of our pace, and model and temperature, they may."""

SCHEMA: dict[str, Any] = StudyDesign.model_json_schema()
Wrong = list[FieldError]


class Simulacra(NamedTuple):
    """What Simulacra's files say. `tokens` are by arm; `notes` name the keys that have no use here."""

    design: StudyDesign
    tokens: dict[str, list[str]]
    notes: list[str]


def read_toml(path: Path) -> StudyDesign:
    """A study from one file of our own.

    Raises:
        NotFound: there is no such file.
        Invalid: names file, key and what is allowed, for every wrong value.
    """
    data = _load(path)
    try:
        return StudyDesign.model_validate(data)
    except ValidationError as error:
        raise _refusal([_field(path.name, place, message) for place, message in problems(error)]) from None


def problems(error: ValidationError) -> list[tuple[str, str]]:
    """Each wrong place of a design, as `cast item 2.name`, and what must be there instead."""
    found: dict[str, str] = {}
    for place, message in located(error):
        found.setdefault(_place(place), message)
    return list(found.items())


def located(error: ValidationError) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Each wrong place of a design as its keys, such as `("cast", 1, "name")`, and what must be there instead."""
    for detail in error.errors(include_url=False):
        loc, message = detail["loc"], _message(detail)
        if "[key]" in loc:
            loc, message = loc[: loc.index("[key]")], f"is a name that {message}"
        yield tuple(_keys(loc)), message


def _place(loc: Sequence[int | str]) -> str:
    place = ""
    for part in loc:
        place += f" item {part + 1}" if isinstance(part, int) else f"{'.' * bool(place)}{part}"
    return place or "the design"


def _keys(loc: Sequence[int | str]) -> Iterator[int | str]:
    """`loc` without the names of types that a choice between types adds."""
    schema: Mapping[str, Any] = SCHEMA
    for part in loc:
        schema = _resolved(schema)
        if isinstance(part, int):
            schema = schema.get("items", {})
        elif part in schema.get("properties", {}):
            schema = schema["properties"][part]
        elif isinstance(schema.get("additionalProperties"), dict):
            schema = schema["additionalProperties"]
        elif schema.get("type") != "object":
            return
        yield part


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    options = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    if len(options) == 1:
        schema = options[0]
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _schema(loc: Sequence[int | str]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = SCHEMA
    for part in _keys(loc):
        schema = _resolved(schema)
        if isinstance(part, int):
            schema = schema.get("items", {})
        else:
            schema = schema.get("properties", {}).get(part) or schema.get("additionalProperties") or {}
    return _resolved(schema) if isinstance(schema, Mapping) else {}


def _message(detail: ErrorDetails) -> str:
    kind, loc = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        parent = _schema(loc[:-1])
        return f"is an {unknown(str(loc[-1]), 'key', parent.get('properties', {}))}"
    if kind == "missing":
        return f"is missing; it must be {allowed(_schema(loc))}"
    if kind == "contradiction":
        return str(detail["msg"])
    if kind in OUR_WORDS:
        return str(detail["msg"])
    if kind == "string_unicode":
        return "holds a lone surrogate, which is not allowed"
    given = detail["input"]
    count = f"a list of {len(given)}" if isinstance(given, list) else _shown(given)
    return f"must be {allowed(_schema(loc))}, not {count}"


OUR_WORDS = frozenset(
    {"text_character", "text_marks", "string_too_long", "string_too_short", "one_line", "pattern", "address", "origin"}
    | {"username"}
)


def _shown(value: object) -> str:
    try:
        return shown(value)
    except (TypeError, ValueError):
        return f"{value}"[:60]


def allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words, from its JSON schema."""
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    match schema.get("type"):
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum"))
            span = f"above {low:g}, at most" if "exclusiveMinimum" in schema else f"from {low:,.12g} to"
            kind = "a whole number" if schema["type"] == "integer" else "a number"
            return f"{kind} {span} {schema['maximum']:,.12g}"
        case "boolean":
            return "true or false"
        case "array":
            kind = {"object": "tables", "string": "texts"}.get(_resolved(schema["items"]).get("type", ""), "entries")
            return f"a list of {schema.get('minItems', 0)} to {schema.get('maxItems', 'any number of')} {kind}"
        case "object":
            least, most = schema.get("minProperties"), schema.get("maxProperties")
            return f"a table with {least or 0} to {most} entries" if most else "a table"
        case _:
            return "a text"


def _field(file: str, key: str, message: str) -> FieldError:
    return FieldError(f"{file}: {key}", "value", message)


def _refusal(wrong: Wrong) -> Invalid:
    return Invalid("\n".join(f"{one.pointer} {one.message}" for one in wrong), errors=wrong)


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Invalid(f"{path} can't be read: {error.strerror}") from None
    try:
        if len(raw) > FILE_MAX:
            raise ValueError(f"is larger than {FILE_MAX:,} bytes")
        return tomllib.loads(raw.decode())
    except UnicodeDecodeError:
        raise Invalid(f"{path.name} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path.name} is not valid TOML: {str(error) or 'too deep'}") from None


# Simulacra


def read_simulacra(folder: Path, title: str | None = None) -> Simulacra:
    """A study from Simulacra's `experimental_settings.toml`, `participant_tokens.toml` and `simulation_settings.toml`.

    Consent is `external`: such a study begins as soon as somebody gives a token.

    Raises:
        NotFound: names the files that are not there.
        Invalid: names file, key and what is allowed, for every wrong value.
    """
    if missing := [name for name in (EXPERIMENT, TOKENS, SIMULATION) if not (folder / name).is_file()]:
        raise NotFound(f"{folder} has no {' and no '.join(missing)}; Simulacra's studies have all three files")
    experiment, listed, simulation = (_load(folder / name) for name in (EXPERIMENT, TOKENS, SIMULATION))
    wrong: Wrong = []
    notes: list[str] = []
    arms = _arms(experiment, wrong, notes)
    lists = _lists(listed, wrong, notes)
    _compare(arms, lists, wrong, notes)
    given: dict[str, Any] = {
        "title": (title or folder.resolve().name or "A study")[:120],
        "consent": "external",
        "arms": arms,
        "cast": _cast(simulation, wrong),
        "pace": {key: simulation[key] for key in PACE if key in simulation},
        **{key: simulation[key] for key in ("model", "temperature") if key in simulation},
    }
    notes += _unused(SIMULATION, simulation, (*NEEDED, *PACE, "model", "temperature"))
    design = None
    try:
        design = StudyDesign.model_validate(given)
    except ValidationError as error:
        told = {one.pointer for one in wrong}
        wrong += [one for one in _translated(error) if one.pointer not in told]
    for key in NEEDED:
        if key not in simulation:
            schema = _schema(("pace", key)) if key in PACE else {}
            what = {"num_agents": "the number of agent_names", "agent_names": "a list of names"}.get(key)
            wrong.append(_field(SIMULATION, key, f"is missing; it must be {what or allowed(schema)}"))
    if wrong or design is None:
        raise _refusal(wrong)
    return Simulacra(design, lists, notes)


def _groups(file: str, data: Mapping[str, Any], wrong: Wrong, notes: list[str]) -> dict[str, Any]:
    notes += _unused(file, data, ("groups",))
    groups = data.get("groups")
    if not isinstance(groups, dict) or not groups:
        wrong.append(_field(file, "groups", "must be a table with at least one group"))
        return {}
    return groups


def _arms(data: Mapping[str, Any], wrong: Wrong, notes: list[str]) -> dict[str, Any]:
    arms = {}
    for name, group in _groups(EXPERIMENT, data, wrong, notes).items():
        if not isinstance(group, dict):
            wrong.append(
                _field(EXPERIMENT, f"groups.{name}", f"must be a table with prompt_template, not {_shown(group)}")
            )
            continue
        known = ("prompt_template", "weight")
        notes += _unused(EXPERIMENT, group, known, f"groups.{name}.")
        arms[name] = {key: group[key] for key in known if key in group}
    return arms


def _lists(data: Mapping[str, Any], wrong: Wrong, notes: list[str]) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for name, tokens in _groups(TOKENS, data, wrong, notes).items():
        if not isinstance(tokens, list):
            wrong.append(_field(TOKENS, f"groups.{name}", f"must be a list of tokens, not {_shown(tokens)}"))
            continue
        lists[name] = []
        for number, token in enumerate(tokens, 1):
            place = f"groups.{name} item {number}"
            if (
                not isinstance(token, str)
                or not 1 <= len(token) <= 200
                or not token.isprintable()
                or token != token.strip()
            ):
                wrong.append(_field(TOKENS, place, "must be a text of 1 to 200 characters, without spaces around it"))
            elif token in first:
                wrong.append(_field(TOKENS, place, f"is the same token as {first[token]}; each lets in one person"))
            else:
                first[token] = place
                lists[name].append(token)
    return lists


def _compare(arms: Mapping[str, Any], lists: Mapping[str, Any], wrong: Wrong, notes: list[str]) -> None:
    if arms:
        for name in lists.keys() - arms.keys():
            known = ", ".join(sorted(arms))
            wrong.append(_field(TOKENS, f"groups.{name}", f"is no group of {EXPERIMENT}, which has {known}"))
    notes += [f"{EXPERIMENT}: groups.{name} has no tokens in {TOKENS}" for name in arms if not lists.get(name)]


def _cast(data: Mapping[str, Any], wrong: Wrong) -> Any:
    names, number = data.get("agent_names"), data.get("num_agents")
    if isinstance(names, list) and "num_agents" in data and (type(number) is not int or number != len(names)):
        message = f"must be {len(names)}, the number of agent_names, not {_shown(number)}"
        wrong.append(_field(SIMULATION, "num_agents", message))
    elif "num_agents" in data and type(number) is not int:
        wrong.append(_field(SIMULATION, "num_agents", f"must be a whole number, not {_shown(number)}"))
    if not isinstance(names, list):
        if "agent_names" in data:
            wrong.append(_field(SIMULATION, "agent_names", f"must be a list of names, not {_shown(names)}"))
        return [{"name": "nobody"}]
    return [{"name": name} for name in names]


def _translated(error: ValidationError) -> Iterator[FieldError]:
    """What is wrong with a design, in the files and keys that it was read from."""
    for detail in error.errors(include_url=False):
        message = _message(detail)
        match detail["loc"]:
            case ("arms", name, "[key]", *_):
                yield _field(EXPERIMENT, f"groups.{name}", f"is a name that {message}")
            case ("arms", *rest):
                if rest:
                    yield _field(EXPERIMENT, ".".join(["groups", *map(str, rest)]), message)
            case ("cast", int(number), "name"):
                yield _field(SIMULATION, f"agent_names item {number + 1}", message)
            case ("cast", *_):
                yield _field(SIMULATION, "agent_names", message.replace("tables", "names"))
            case ("pace", key, *_) | (key, *_):
                yield _field(SIMULATION, str(key), message)


def _unused(file: str, data: Mapping[str, Any], known: Sequence[str], before: str = "") -> list[str]:
    return [f"{file}: {before}{key} has no use here" for key in data if key not in known]
