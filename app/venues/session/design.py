"""What a session is, as data: dialogues, focus groups, surveys, interviews, what is written. Checked as a whole."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.actions.asking import ExtractedField, Key, Question
from app.errors import FieldError, Invalid

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f⟦⟧]*$")
]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=20_000, pattern=r"^[^\x00]*$")]
Some = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000, pattern=r"^[^\x00]*$")]
Kind = Literal["dialogue", "focus_group", "survey", "interview", "extraction", "population", "writing"]
Temperature = Annotated[float, Ge(0), Le(2)]
Seed = Annotated[int, Ge(0), Le(2**62)]
PARTICIPANTS_MOST = 1000
QUESTIONS_MOST = 200


Rule: TypeAlias = Literal["adherence", "self_consistency", "fluency", "repetition", "convergence"]
Check: TypeAlias = Rule | Literal["judge"]
"""Checks by rules, and by a model."""


class Part(BaseModel):
    """Base: nothing extra is taken, no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Terms(Part):
    """What any session may say of how models are asked, and of what is kept."""

    seed: Seed = 0
    model: Line | None = None
    temperature: Temperature | None = None
    max_tokens: Annotated[int, Ge(16), Le(16_000)] = 500
    cache: bool = True
    recall: bool = False
    """Whether participants who are personas of the world remember what they have lived there."""

    remember: bool = False
    """Whether participants remember the session afterwards."""

    budget_tokens: Annotated[int, Ge(1), Le(10**12)] | None = None
    budget_usd: Annotated[float, Ge(0), Le(10**6)] | None = None


P = TypeVar("P", bound=Part)


def _without(design: P, faults: Iterable[tuple[str, str]]) -> P:
    """The design, if it has none of these faults, each of which tells its place (`questions item 2.key`)."""
    found = [
        InitErrorDetails(
            type=PydanticCustomError(
                "missing" if wrong.startswith("is needed") else "contradiction", "{wrong}", {"wrong": wrong}
            ),
            loc=tuple(int(part) - 1 if part.isdigit() else part for part in place.replace(" item ", ".").split(".")),
            input=None,
        )
        for place, wrong in faults
    ]
    if found:
        raise ValidationError.from_exception_data(type(design).__name__, found)
    return design


# Dialogues


class Options(Part):
    """Generation options of one bot, by the names that Ollama has for them."""

    temperature: Temperature | None = None
    top_p: Annotated[float, Ge(0), Le(1)] | None = None
    num_predict: Annotated[int, Ge(1), Le(16_000)] | None = None
    stop: Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=60)], ...], MaxLen(8)] = ()

    @field_validator("stop", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Bot(Part):
    """Who talks: a persona of the world by its handle, or a bare bot with a prompt."""

    name: Name
    role: Line = ""
    """What results tell of it; no model is told that."""

    persona: Line | None = None
    prompt: Text = ""
    model: Line | None = None
    options: Options = Options()


class Message(Part):
    """What a dialogue begins with, and whose words it is in; that need not be one of the bots."""

    from_: Name = Field(alias="from")
    message: Some

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Stop(Part):
    """When a dialogue ends, whichever comes first."""

    turns: Annotated[int, Ge(1), Le(10_000)] = 20
    tokens: Annotated[int, Ge(1), Le(10**10)] | None = None
    seconds: Annotated[float, Ge(0.1), Le(7 * 86_400)] | None = None
    goodbye: bool = True
    """Whether it ends once two in a row have said goodbye."""

    phrase: Line = ""
    """What ends it as soon as somebody says it."""


class Dialogue(Part):
    """Models talk to each other."""

    name: Line = ""
    channel: Line = ""
    bots: Annotated[tuple[Bot, ...], MinLen(2), MaxLen(20)]
    seed_message: Message
    initial_bot: Name = "random"
    turn_taking: Literal["round_robin", "random", "moderated", "raised_hands"] = "round_robin"
    moderator: Literal["model", "rule"] = "model"
    window: Annotated[int, Ge(1), Le(200)] = 20
    stop: Stop = Stop()
    checks: Annotated[tuple[Rule, ...], MaxLen(5)] = ()
    terms: Terms = Terms()

    @model_validator(mode="after")
    def _fits(self) -> "Dialogue":
        names = [bot.name for bot in self.bots]
        faults = []
        if len({name.casefold() for name in names}) < len(names):
            faults.append(("bots", "must have names of their own"))
        if self.initial_bot != "random" and self.initial_bot not in names:
            faults.append(("initial_bot", f"must be random or one of: {', '.join(names)}"))
        return _without(self, faults)


# Focus groups, surveys, interviews: the blocks of the contract, with ours beside them


class SessionConfig(Part):
    session_name: Line = ""
    cache_file: Line | None = None
    description: Text = ""


class Participants(Part):
    """Who takes part. `specifications` is a demographics object, an agent or persona, a list of them, or handles."""

    mode: Literal["from_demographics", "from_agent", "from_population", "custom"]
    specifications: dict[str, Any] | Annotated[list[Any], MaxLen(PARTICIPANTS_MOST)] = {}
    count: Annotated[int, Ge(1), Le(PARTICIPANTS_MOST)] | None = None


class SimulationConfig(Part):
    environment_type: Literal["focus_group", "survey", "interview"] = "focus_group"
    rounds: Annotated[int, Ge(1), Le(100)] = 1
    enable_memory: bool = True
    enable_thinking: bool = False
    broadcast_mode: bool = True
    in_turn: bool = False
    """Whether participants of a focus group speak one after the other, each hearing all before it; else all at once."""


class Stimulus(Part):
    type: Literal["product", "message", "question", "scenario"] = "question"
    content: Some
    context: Text = ""


class ExtractionConfig(Part):
    extract_results: bool = True
    extraction_objective: Text = ""
    situation: Text = ""
    fields: Annotated[tuple[ExtractedField, ...], MaxLen(50)] = ()
    fields_hints: Annotated[dict[str, Text], MaxLen(50)] = {}
    statistical_analysis: bool = True
    per: Literal["participant", "run"] = "participant"
    repetitions: Annotated[int, Ge(1), Le(9)] = 1
    summary: bool = True

    @field_validator("fields", mode="before", json_schema_input_type=list[Key | ExtractedField])
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [{"name": one} if isinstance(one, str) else one for one in value]
        return value

    @model_validator(mode="after")
    def _fits(self) -> "ExtractionConfig":
        return _without(self, self.contradictions())

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if not self.extract_results:
            return
        names = [field.name for field in self.fields]
        if not names:
            yield "fields", "is needed: name at least one"
        if len(set(names)) < len(names):
            yield "fields", "must differ by name"
        if stray := sorted(set(self.fields_hints) - set(names)):
            yield "fields_hints", f"must be of fields: {', '.join(stray)[:200]} is none"

    def hinted(self) -> tuple[ExtractedField, ...]:
        """The fields with their hints."""
        return tuple(
            field.model_copy(update={"hint": self.fields_hints.get(field.name, field.hint)}) for field in self.fields
        )


class Simulation(Part):
    """A focus group, survey or interview: the request of `POST /simulations`."""

    session_config: SessionConfig = SessionConfig()
    participants: Participants
    simulation_config: SimulationConfig = SimulationConfig()
    stimulus: Stimulus | None = None
    questions: Annotated[tuple[Question, ...], MaxLen(QUESTIONS_MOST)] = ()
    extraction_config: ExtractionConfig | None = None
    checks: Annotated[tuple[Check, ...], MaxLen(6)] = ()
    terms: Terms = Terms()

    @model_validator(mode="after")
    def _fits(self) -> "Simulation":
        return _without(self, self.contradictions())

    def contradictions(self) -> Iterator[tuple[str, str]]:
        kind = self.simulation_config.environment_type
        if self.stimulus is None and not self.questions:
            yield "stimulus", "is needed where there are no questions"
        known: set[str] = set()
        for n, question in enumerate(self.questions):
            if question.key in known:
                yield f"questions item {n + 1}.key", f"must be its own: {question.key} is there already"
            if question.when is not None and question.when.question not in known:
                yield f"questions item {n + 1}.when.question", "must be the key of a question before it"
            known.add(question.key)
        if kind == "interview" and any(question.type != "open" for question in self.questions):
            yield "questions", "of an interview must be open; ask others in a survey"
        if "thought" in known:
            yield "questions", "must not have the key thought"
        if self.simulation_config.in_turn and not self.simulation_config.broadcast_mode:
            yield "simulation_config.in_turn", "needs broadcast_mode: else nobody hears who spoke before"
        if self.simulation_config.in_turn and kind != "focus_group":
            yield "simulation_config.in_turn", "is for focus groups"


class Extraction(Part):
    """What was said in another session, read again for fields."""

    of: Line
    extraction_config: ExtractionConfig
    terms: Terms = Terms()


class Writing(Part):
    """Something written with a model: persons, a document from a transcript, a text anew, traits out of sources."""

    what: Literal["persona", "document", "rewrite", "ground"]
    name: Line = ""
    of: Line | None = None
    genre: Literal["report", "article", "minutes"] = "report"
    title: Line = ""
    text: Annotated[str, StringConstraints(max_length=200_000)] = ""
    wish: Text = ""
    sampled: Annotated[tuple[dict[str, Any], ...], MaxLen(PARTICIPANTS_MOST)] = ()
    passages: Annotated[tuple[Some, ...], MaxLen(500)] = ()
    terms: Terms = Terms()


DESIGNS: dict[str, type[Part]] = {
    "dialogue": Dialogue,
    "focus_group": Simulation,
    "survey": Simulation,
    "interview": Simulation,
    "extraction": Extraction,
    "population": Writing,
    "writing": Writing,
}


def checked(design: type[Part], value: Any, name: str = "") -> Any:
    """`value` as a design.

    Raises:
        Invalid: tells each wrong place and what must be there.
    """
    try:
        return design.model_validate(value)
    except ValidationError as error:
        faults = [(place_of(one["loc"]), one["msg"].removeprefix("Value error, ")) for one in error.errors()]
        front = f"{name}: " if name else ""
        told = "; ".join(f"{place}: {wrong}" if place else wrong for place, wrong in faults[:20])
        errors = [
            FieldError("/" + "/".join(map(str, one["loc"])), one["type"], fault[1])
            for one, fault in zip(error.errors(), faults, strict=True)
        ]
        raise Invalid(f"{front}{told}", errors=errors[:50]) from None


def place_of(loc: tuple[int | str, ...]) -> str:
    """A place within a design, in words: `questions item 2.key`."""
    words: list[str] = []
    for part in loc:
        if isinstance(part, int):
            words[-1:] = [f"{words[-1]} item {part + 1}"] if words else [f"item {part + 1}"]
        else:
            words.append(part)
    return ".".join(words)
