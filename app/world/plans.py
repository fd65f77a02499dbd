"""Planned changes to a world, as people, files and programs write them: checked whole before anything is kept."""

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import FieldError, Invalid
from app.strict_json import JSONError, decode, loads
from app.world.news import Address, Source
from app.world.ranking import SUGGESTERS, parse
from app.world.text import Line, Note, PostBody, PostTitle, Quotation, Username

BYTES_MAX = 1024 * 1024
PLANS_MAX = 500
"""Interventions that are planned at a time."""

NAMED_MAX = 200
CYCLE_MAX = 1_000_000_000
YEARS = (1970, 2999)
TOLD_ERRORS = 10
OWN = "own"
"""Instead of a ranker's name: from then on what the run, or the persona itself, says."""


def _time(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if not isinstance(value, datetime):
        raise PydanticCustomError("time", "must be a time such as 2026-03-02T08:00 (UTC, unless it names its zone)")
    if not YEARS[0] < value.year < YEARS[1]:
        raise PydanticCustomError("time", "must lie between {least} and {most}", {"least": YEARS[0], "most": YEARS[1]})
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _kind_of_addressees(value: object) -> str | None:
    if isinstance(value, str):
        return "all"
    return "personas" if isinstance(value, list) else "group" if isinstance(value, dict | Group) else None


def _ranker(value: str) -> str:
    try:
        return value if value == OWN else str(parse(value))
    except Invalid as error:
        raise PydanticCustomError("ranker", "{why}, or own", {"why": error.detail}) from None


def _way(value: str) -> str:
    if value not in ("off", OWN, *SUGGESTERS):
        raise PydanticCustomError("way", "must be off, own, {ways}", {"ways": ", ".join(SUGGESTERS)})
    return value


class Group(BaseModel):
    """All who have this leaning, or this tag: an interest, a trait or their role, in any case of letters."""

    model_config = ConfigDict(extra="forbid")

    leaning: Line | None = None
    tag: Line | None = None

    @model_validator(mode="after")
    def _one(self) -> "Group":
        if (self.leaning is None) == (self.tag is None):
            raise PydanticCustomError("group", "must hold either `leaning` or `tag`")
        return self


Addressees = Annotated[
    Annotated[Literal["all"], Tag("all")]
    | Annotated[list[Username], Field(min_length=1, max_length=NAMED_MAX), Tag("personas")]
    | Annotated[Group, Tag("group")],
    Discriminator(
        _kind_of_addressees,
        custom_error_type="to",
        custom_error_message='must be "all", a list of usernames, or a group: {leaning = "…"} or {tag = "…"}',
    ),
]
Time = Annotated[datetime, BeforeValidator(_time)]


class Plan(BaseModel):
    """What all kinds have: the cycle (1 is the world's first) or the time in the world, and why it is done."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: str
    cycle: Annotated[int, Field(strict=True, ge=1, le=CYCLE_MAX)] | None = None
    at: Time | None = None
    note: Note = ""

    @model_validator(mode="after")
    def _once(self) -> "Plan":
        if (self.cycle is None) == (self.at is None):
            raise PydanticCustomError("when", "needs either `cycle` or `at`")
        return self


class PostPlan(Plan):
    """A persona says something; no model is asked."""

    kind: Literal["post"]
    persona: Username
    title: PostTitle | None = None
    body: PostBody


class MessagePlan(Plan):
    """Something is said to personas: by one of them (`from`), or from outside, by `sender`."""

    kind: Literal["message"]
    to: Addressees = "all"
    by: Username | None = Field(default=None, alias="from")
    sender: Annotated[Line, Field(max_length=60)] | None = None
    body: PostBody

    @model_validator(mode="after")
    def _from_one(self) -> "MessagePlan":
        if self.by is not None and self.sender is not None:
            raise PydanticCustomError("from", "is either `from` a persona or from a `sender` outside")
        return self


class RankerPlan(Plan):
    """From then on feeds are ranked, or people suggested, otherwise; `own` takes that back."""

    kind: Literal["ranker"]
    to: Addressees = "all"
    ranker: Annotated[Line, AfterValidator(_ranker)] | None = None
    who_to_follow: Annotated[Line, AfterValidator(_way)] | None = None

    @model_validator(mode="after")
    def _some(self) -> "RankerPlan":
        if self.ranker is None and self.who_to_follow is None:
            raise PydanticCustomError("ranker", "needs `ranker` or `who_to_follow`, or both")
        return self


class PausePlan(Plan):
    """Personas wake no more."""

    kind: Literal["pause"]
    to: Addressees


class ResumePlan(Plan):
    """Personas that an intervention paused wake again."""

    kind: Literal["resume"]
    to: Addressees


class NewsPlan(Plan):
    """Something happened in the world outside."""

    kind: Literal["news"]
    title: Line
    body: Quotation = ""
    source: Source = ""
    url: Address | None = None


KINDS: dict[str, type[Plan]] = {
    "post": PostPlan,
    "message": MessagePlan,
    "ranker": RankerPlan,
    "pause": PausePlan,
    "resume": ResumePlan,
    "news": NewsPlan,
}
AnyPlan = Annotated[
    PostPlan | MessagePlan | RankerPlan | PausePlan | ResumePlan | NewsPlan, Field(discriminator="kind")
]
_ANY: TypeAdapter[Any] = TypeAdapter(AnyPlan)
_SHAPES = ("all", "personas", "group")


def read_plans(path: Path) -> list[Plan]:
    """The plans of a file; see `parse_plans`."""
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror or error}") from None
    return parse_plans(data, path.name)


def parse_plans(data: bytes, name: str) -> list[Plan]:
    """The plans in `data`, the content of the file `name`: TOML with `[[intervention]]`, or JSON with a list.

    Raises:
        Invalid: names the file, the entry, the key and what is allowed.
    """
    if len(data) > BYTES_MAX:
        raise Invalid(f"{name}: is larger than {BYTES_MAX // 1024**2} MiB")
    try:
        return checked(_entries(data, name))
    except Invalid as error:
        said = error.detail if error.detail.startswith(f"{name}: ") else f"{name}: {error.detail}"
        raise Invalid(said, errors=error.errors) from None


def _entries(data: bytes, name: str) -> list[Any]:
    suffix = Path(name).suffix.lower()
    if suffix not in (".toml", ".json"):
        raise Invalid("must be TOML or JSON, and its name end so: .toml or .json")
    try:
        value = tomllib.loads(decode(data, allow_bom=True)) if suffix == ".toml" else loads(data, allow_bom=True)
    except (tomllib.TOMLDecodeError, JSONError, RecursionError) as error:
        raise Invalid(f"is not {suffix[1:].upper()}: {str(error)[:200]}") from None
    if isinstance(value, dict):
        if others := [key for key in value if key != "intervention"]:
            raise Invalid(f"`{others[0][:60]}` is no key here: there is `[[intervention]]`, for each of them")
        value = value.get("intervention", [])
    if not isinstance(value, list) or not value:
        raise Invalid("holds no list of interventions: `[[intervention]]` begins each in TOML; JSON holds an array")
    return value


def checked(entries: Sequence[object]) -> list[Plan]:
    """Entries as plans, all or none.

    Raises:
        Invalid: names each wrong entry, its key and what is allowed.
    """
    if len(entries) > PLANS_MAX:
        raise Invalid(f"holds {len(entries):,} interventions; at most {PLANS_MAX} are planned at a time")
    plans, wrong = [], Wrong()
    for n, entry in enumerate(entries):
        try:
            plans.append(_ANY.validate_python(entry))
        except ValidationError as error:
            kind = str(entry.get("kind")) if isinstance(entry, dict) else ""
            for one in error.errors(include_url=False):
                wrong.add(n, *_said(one, kind))
    wrong.tell()
    return plans


def _said(error: ErrorDetails, kind: str) -> tuple[str, str]:
    """The key an error is about, and what is wrong with it."""
    path = [str(part) for part in error["loc"]]
    path = path[1:] if path[:1] == [kind] else path
    path = path[:1] + path[2:] if path[:1] == ["to"] and path[1:2] and path[1] in _SHAPES else path
    match error["type"]:
        case "union_tag_invalid" | "union_tag_not_found" if not path or path == ["kind"]:
            return "kind", f"must be one of {', '.join(KINDS)}"
        case "extra_forbidden":
            fields = Group if path[:1] == ["to"] else KINDS.get(kind, Plan)
            names = [field.alias or name for name, field in fields.model_fields.items()]
            return ".".join(path), f"is no key of it; there are {', '.join(names)}"
        case "missing":
            return ".".join(path), "must be given"
        case "model_attributes_type" | "model_type" | "dict_type":
            return ".".join(path), "must be a table of keys and values"
    return ".".join(path), str(error["msg"])


class Wrong:
    """What is wrong with a list of plans, told at once."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str, str]] = []

    def add(self, entry: int, key: str, words: str) -> None:
        """`entry` counts from 0."""
        if (entry, key, words) not in self.found:
            self.found.append((entry, key, words))

    def tell(self) -> None:
        """
        Raises:
            Invalid: something was added.
        """
        if not self.found:
            return
        said = [f"entry {n + 1}{f', `{key[:80]}`' if key else ''}: {words[:300]}" for n, key, words in self.found]
        more = f"; and {len(said) - TOLD_ERRORS} more" if len(said) > TOLD_ERRORS else ""
        raise Invalid(
            "; ".join(said[:TOLD_ERRORS]) + more,
            errors=[FieldError(f"/{n}/{key.replace('.', '/')}", "plan", words) for n, key, words in self.found[:100]],
        )
