"""What a study is: arms, cast, pace, consent and questions as data, checked before anybody takes part."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.models.studies import STAGES
from app.streams import stream
from app.world.personas import Demographic, Lines
from app.world.text import Bio, Line, Note, PersonaText, Username, clean

TEXT_MAX = 20_000
ANSWER_MAX = 5_000
BLOCK_MAX = 1_000
PARAM_MAX = 200
RESERVED_NAMES = frozenset({"participant", "user", "system", "everyone", "all"})
"""What no member may be called: the person is `participant` in rows and prompts."""

CODE = "{completion_code}"


def bounded(most: int, *, least: int = 0, lines: bool = False) -> AfterValidator:
    """Clean text of `least` to `most` characters; `lines`: it may hold line breaks."""

    def check(value: str) -> str:
        value = clean(value)
        if len(value) > most:
            raise PydanticCustomError(
                "string_too_long", "has {n} characters, at most {most} are allowed", {"n": len(value), "most": most}
            )
        if len(value) < least:
            raise PydanticCustomError("string_too_short", "must not be empty")
        if not lines and ("\n" in value or "\t" in value):
            raise PydanticCustomError("one_line", "must be one line, without tabs")
        return value

    return AfterValidator(check)


def _matching(pattern: str, allowed: str) -> AfterValidator:
    known = re.compile(pattern)

    def check(value: str) -> str:
        if not known.fullmatch(value):
            raise PydanticCustomError("pattern", "must be {allowed}", {"allowed": allowed})
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    """An http(s) address; the only placeholder is `{completion_code}`, never in the host."""
    if not value:
        return value
    try:
        url = urlsplit(value.replace(CODE, "CODE"))
        sound = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        sound = False
    if (
        not sound
        or not value.isascii()
        or not value.isprintable()
        or re.search(r'[\s{}<>"\\^`|]', value.replace(CODE, ""))
    ):
        raise PydanticCustomError("address", "must be an address that begins with http:// or https://")
    if "@" in url.netloc or CODE in urlsplit(value).netloc:
        raise PydanticCustomError("address", "must name a host without a user, a password or {{completion_code}} in it")
    return value


def _origin(value: str) -> str:
    if value == "*":
        return value
    try:
        url = urlsplit(value)
        sound = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or value != f"{url.scheme}://{url.netloc}" or "@" in value or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise PydanticCustomError("origin", "must be * or an origin such as https://chat.example.org, without a path")
    return value.lower()


StudyName = Annotated[
    str,
    bounded(60, least=1),
    _matching(
        r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?",
        "1 to 60 letters A-Z, digits, '_', '-' or '.', and begin and end with a letter or digit",
    ),
]
"""It stands in addresses, in file names and on command lines; what people read is the title."""
Title = Annotated[str, bounded(120, least=1)]
ArmName = Annotated[str, bounded(60, least=1)]
MemberName = Annotated[str, bounded(40, least=1)]
Label = Annotated[str, bounded(120)]
OwnToken = Annotated[str, bounded(200, least=1)]
Text = Annotated[str, bounded(TEXT_MAX, lines=True)]
Address = Annotated[str, MaxLen(2_000), AfterValidator(_address)]
Origin = Annotated[str, MaxLen(300), AfterValidator(_origin)]
Finite = Field(allow_inf_nan=False)
QuestionId = Annotated[
    str, _matching(r"[A-Za-z][A-Za-z0-9_]{0,39}", "1 to 40 letters A-Z, digits or '_', and begin with a letter")
]
ParamName = Annotated[str, _matching(r"[A-Za-z0-9_.-]{1,60}", "1 to 60 letters A-Z, digits, '_', '-' or '.'")]
CompletionCode = Annotated[str, _matching(r"[A-Za-z0-9_.-]{0,60}", "at most 60 letters A-Z, digits, '_', '-' or '.'")]

CONSENT_TEXT = """\
You are invited to take part in a study about conversation online.

What happens: you may be asked some questions, then you write with a small group in a chatroom for a limited time. \
Some or all of its other members are played by a computer program (artificial intelligence).

What you write, when you write it, and what you answer is kept for research under a random code, not under your name. \
Please write nothing that tells who you or others are.

Taking part is voluntary. You can leave at any time, without giving a reason and without disadvantage. You get a \
receipt code, with which you can withdraw later."""


class Part(BaseModel):
    """Base of a design's parts: exact types, nothing extra, unchangeable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _agrees(cls, data: Any, handler: ModelWrapValidatorHandler["Part"]) -> "Part":
        found = handler(data)
        if wrong := list(found.contradictions()):
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("contradiction", "{text}", {"text": text}),
                        loc=(place,),
                        input=getattr(found, place),
                    )
                    for place, text in wrong
                ],
            )
        return found

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Values that are right by themselves and wrong together: the field, and what it must be."""
        yield from ()


class Arm(Part):
    """A treatment: what the agents are told, and how often it is drawn compared to the others."""

    prompt_template: PersonaText
    weight: Annotated[int, Ge(1), Le(100)] = 1


class Member(Part):
    """An agent of the room: an existing persona, one described here, or (with only a name) one made up."""

    reserved: ClassVar[frozenset[str]] = RESERVED_NAMES

    name: MemberName
    persona: Username | None = None
    description: PersonaText | None = None
    bio: Bio = ""
    role: Line | None = None
    traits: Lines = []
    goals: Lines = []
    style: Line | None = None
    interests: Lines = []
    leaning: Line | None = None
    demographics: Annotated[dict[Line, Demographic], MaxLen(32)] = {}
    fragments: Lines = []
    model: Line | None = None
    temperature: Annotated[float, Ge(0), Le(2), Finite] | None = None

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.name.casefold() in self.reserved:
            yield "name", f"is kept for others; choose another than {', '.join(sorted(self.reserved))}"
        more = [name for name, field in Member.model_fields.items() if getattr(self, name) != field.default]
        more = [name for name in more if name not in ("name", "persona", "description")]
        if self.persona is not None and (self.description is not None or more):
            yield "persona", "names an existing persona, which has its own description and other fields; give none here"
        elif self.persona is None and self.description is None and more:
            yield "name", f"comes with {', '.join(more)} but without description: give one, or leave them out"


USUAL_CAST = (Member(name="Robin"), Member(name="Sam"), Member(name="Noor"), Member(name="Toni"))
Cast = Annotated[list[Member], MinLen(1), MaxLen(30)]


class Pace(Part):
    """How fast the room is, and for how long."""

    messages_per_minute: Annotated[float, Gt(0), Le(60), Finite] = 5.0
    user_response_probability: Annotated[float, Ge(0), Le(1), Finite] = 0.7
    context_window_size: Annotated[int, Ge(1), Le(200)] = 20
    session_duration_minutes: Annotated[float, Gt(0), Le(1440), Finite] = 15.0
    words_per_minute: Annotated[float, Ge(0), Le(1000), Finite] = 60.0
    llm_concurrency_limit: Annotated[int, Gt(0), Le(1000)] = 5
    grace_seconds: Annotated[float, Ge(1), Le(86_400), Finite] = 60.0


class Question(Part):
    """A question before or after the room. What `min` and `max` bound depends on its kind."""

    id: QuestionId
    text: Annotated[str, bounded(2_000, least=1, lines=True)]
    kind: Literal["open", "single", "multiple", "likert", "number"]
    required: bool = True
    options: Annotated[list[Line], MaxLen(50)] = []
    min: Annotated[float, Ge(-1e12), Le(1e12), Finite] | None = None
    max: Annotated[float, Ge(-1e12), Le(1e12), Finite] | None = None
    low: Note = ""
    high: Note = ""

    def bounds(self) -> tuple[float, float]:
        """The least and most characters, options, points or value."""
        most = {"open": ANSWER_MAX, "multiple": len(self.options), "likert": 7, "number": 1e12}.get(self.kind, 1)
        least = {"likert": 1, "number": -1e12}.get(self.kind, 0)
        return (least if self.min is None else self.min, most if self.max is None else self.max)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.kind in ("single", "multiple"):
            if len(self.options) < 2:
                yield "options", f"must be 2 to 50 texts for a question of the kind {self.kind}"
            elif len(set(self.options)) < len(self.options):
                yield "options", "must differ from each other"
        elif self.options:
            yield "options", "are for the kinds single and multiple only"
        if self.kind == "single" and not self.min == self.max == None:  # noqa: E711 - a chain reads best
            yield "kind", "is single, which has neither min nor max"
        if (self.low or self.high) and self.kind != "likert":
            yield "kind", f"is {self.kind}; low and high are for likert only"
        least, most = self.bounds()
        if least > most:
            yield ("max" if self.max is not None else "min"), "must leave something between min and max"
        elif self.kind != "number" and not (least == int(least) and most == int(most)):
            yield ("min" if self.min is not None else "max"), f"must be a whole number for the kind {self.kind}"
        elif self.kind == "likert" and (most - least > 100 or most == least):
            yield ("max" if self.max is not None else "min"), "must give a likert scale 2 to 101 points"
        elif self.kind in ("open", "multiple") and (least < 0 or most < 1 or most > _most(self)):
            yield ("max" if self.max is not None else "min"), f"must stay from 0 to {_most(self)} here, and max from 1"


def _most(question: Question) -> int:
    return ANSWER_MAX if question.kind == "open" else len(question.options)


Questions = Annotated[list[Question], MaxLen(100)]


class Redirect(Part):
    """Where a participant is sent at the end; `{completion_code}` is put in there."""

    completion: Address = ""
    leave: Address = ""


class StudyDesign(Part):
    """A whole study. A title and one arm are enough; all else has a default."""

    title: Title
    arms: Annotated[dict[ArmName, Arm], MinLen(1), MaxLen(50)]
    repeat: Annotated[int, Ge(1), Le(100)] = 1
    strata: QuestionId | None = None
    cast: Cast = list(USUAL_CAST)
    pace: Pace = Pace()
    model: Line | None = None
    temperature: Annotated[float, Ge(0), Le(2), Finite] | None = None
    disclosure: Literal["at_once", "delayed"] = "at_once"
    ethics_reference: Note = ""
    debrief_text: Text = ""
    consent: Literal["page", "external"] = "page"
    consent_text: Annotated[str, bounded(TEXT_MAX, least=1, lines=True)] = CONSENT_TEXT
    withdrawal: Annotated[list[Literal["erase", "anonymised"]], MinLen(1), MaxLen(2)] = ["erase", "anonymised"]
    contact: Note = ""
    intake: Questions = []
    closing: Questions = []
    redirect: Redirect = Redirect()
    completion_code: CompletionCode = ""
    params: Annotated[list[ParamName], MaxLen(20)] = ["PROLIFIC_PID", "STUDY_ID", "SESSION_ID"]
    retention_days: Annotated[int, Ge(1), Le(36_500)] = 3_650
    token_reusable_before_first_message: bool = False
    origins: Annotated[list[Origin], MaxLen(50)] = []

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.block_size > BLOCK_MAX:
            yield "repeat", f"makes blocks of {self.block_size} places; weights times repeat may be at most {BLOCK_MAX}"
        yield from doubled(self.cast)
        if repeated := _repeated(question.id.casefold() for question in (*self.intake, *self.closing)):
            yield ("closing" if self.closing else "intake"), f"has more than one question with the id {repeated}"
        if len(set(self.withdrawal)) < len(self.withdrawal):
            yield "withdrawal", "must not name the same twice"
        if repeated := _repeated(self.params):
            yield "params", f"names {repeated} twice"
        if self.disclosure == "delayed":
            missing = [name for name in ("ethics_reference", "debrief_text") if not getattr(self, name)]
            if missing:
                yield "disclosure", f"is delayed, which needs {' and '.join(missing)}"
            if self.consent == "page" and self.consent_text == CONSENT_TEXT:
                yield (
                    "disclosure",
                    "is delayed, but the usual consent_text tells at once that AI takes part: write your own",
                )
        if self.strata is not None:
            asked = next((question for question in self.intake if question.id == self.strata), None)
            if asked is None:
                yield "strata", "must be the id of an intake question"
            elif asked.kind not in ("single", "likert") or not asked.required:
                yield "strata", "must be a required intake question of the kind single or likert"
            if self.consent == "external":
                yield "strata", "needs intake questions, which nobody is asked where consent is external"

    @property
    def block_size(self) -> int:
        """Places in one block of the assignment."""
        return self.repeat * sum(arm.weight for arm in self.arms.values())

    @property
    def consent_sha256(self) -> bytes:
        """Names the version of the consent text that somebody agreed to."""
        return hashlib.sha256(self.consent_text.encode()).digest()

    @property
    def allowed_origins(self) -> list[str]:
        """Origins whose pages may open a socket besides our own; `*` is any, as where consent is external."""
        return self.origins or (["*"] if self.consent == "external" else [])

    def canonical(self) -> str:
        """The design as JSON, the same however it was written and stored."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def sha256(self) -> bytes:
        """Names the design in logs and exports."""
        return hashlib.sha256(self.canonical().encode()).digest()

    def stages(self) -> list[str]:
        """The stages of a participant, in order."""
        asks = {
            "intake": self.intake,
            "chat": True,
            "closing": self.closing,
            "debrief": self.debrief_text,
            "done": True,
        }
        return [stage for stage, wanted in asks.items() if wanted]

    def after(self, stage: str) -> str:
        """The stage that follows; `done` follows itself."""
        later = STAGES[STAGES.index(stage) + 1 :]
        return next((one for one in self.stages() if one in later), "done")

    def kept_params(self, given: Mapping[str, str]) -> dict[str, str]:
        """Those parameters of a link that the study keeps; a value that is no clean text of at most 200 is dropped."""
        kept = {}
        for name in self.params:
            try:
                kept[name] = _PARAM.validate_python(given[name])
            except (KeyError, ValidationError):
                continue
        return {name: value for name, value in kept.items() if value}


_PARAM: TypeAdapter[str] = TypeAdapter(Annotated[str, MaxLen(4 * PARAM_MAX), bounded(PARAM_MAX)])


def doubled(cast: Sequence[Member]) -> Iterator[tuple[str, str]]:
    """What a cast has more than once."""
    if repeated := _repeated(member.name.casefold() for member in cast):
        yield "cast", f"has more than one member of the name {repeated}"
    if repeated := _repeated(member.persona.casefold() for member in cast if member.persona):
        yield "cast", f"has the persona {repeated} more than once"


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def stored(design: str) -> StudyDesign:
    """A design as the database has it."""
    return StudyDesign.model_validate_json(design)


def arm_of(design: StudyDesign, seed: int, stratum: str, place: int) -> str:
    """The arm of the `place`-th (from 1) who was assigned in a stratum: seeded permuted blocks.

    Each full block of `design.block_size` places holds every arm exactly `weight * repeat` times.
    """
    block, position = divmod(place - 1, design.block_size)
    slots = [name for name in sorted(design.arms) for _ in range(design.arms[name].weight * design.repeat)]
    stream(seed, "assign", stratum, block).shuffle(slots)
    return slots[position]


def redirect_url(address: str, code: str) -> str:
    """Where somebody is sent, with their completion code in it."""
    return address.replace(CODE, quote(code, safe=""))
