"""What is asked of sessions and what they answer, for the OpenAPI document and its clients."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.agent.population.sampling import Method
from app.venues.session.design import PARTICIPANTS_MOST, ExtractionConfig, Kind, Line, Seed, Some, Terms
from app.web.inputs import Body

Status = Literal["running", "paused", "stopped", "budget_exhausted", "completed", "partial", "failed", "cancelled"]

# What is taken


EXAMPLE: dict[str, Any] = {
    "session_config": {"session_name": "Cups with a deposit"},
    "participants": {
        "mode": "from_demographics",
        "specifications": {"age": {"18-29": 0.3, "30-49": 0.4, "50-80": 0.3}},
        "count": 12,
    },
    "simulation_config": {"environment_type": "focus_group", "rounds": 2, "enable_thinking": True},
    "stimulus": {"type": "product", "content": "A coffee cup with a deposit of two euros, taken back everywhere."},
    "extraction_config": {
        "extraction_objective": "Who would use it, and why",
        "fields": [{"name": "would_use", "type": "boolean"}, {"name": "reason"}],
    },
    "terms": {"seed": 7},
}
DIALOGUE: dict[str, Any] = {
    "channel": "rare-earths",
    "bots": [
        {"name": "Geo", "prompt": "You are a geologist. Answer briefly."},
        {"name": "Mara", "prompt": "You are a journalist, curious and critical."},
    ],
    "seed_message": {"from": "Host", "message": "Will there be enough rare earths for electric motors?"},
    "stop": {"turns": 8},
    "terms": {"seed": 7},
}
DEMOGRAPHICS = {"marginals": {"age": {"18-29": 1, "30-80": 2}, "gender": {"woman": 1, "man": 1}}}


class PopulationWish(Body):
    """People to be drawn from demographics; `written`: by the model, one after the other, else composed at once."""

    demographics: Annotated[dict[str, Any], Field(examples=[DEMOGRAPHICS])]
    size: Annotated[int, Ge(1), Le(PARTICIPANTS_MOST), Field(examples=[10])]
    seed: Seed = 0
    method: Method = "quota"
    into_world: bool = False
    written: bool = False
    terms: Terms | None = None


class CheckpointWish(Body):
    """What a checkpoint is called."""

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9_. -]+$", examples=["before lunch"])]


class RecoverWish(Body):
    """From which checkpoint a new session goes on."""

    checkpoint: Annotated[str, Field(min_length=1, max_length=60, examples=["round 1"])]


class ExtractionWish(Body):
    """What is to be found in what was said."""

    extraction_config: Annotated[ExtractionConfig, Field(examples=[EXAMPLE["extraction_config"]])]
    terms: Terms | None = None


class GroundWish(Body):
    """Passages of sources out of which a persona is to be made, each trait with the passage it rests on."""

    passages: Annotated[tuple[Some, ...], MinLen(1), MaxLen(500), Field(examples=[["Ada keeps bees in Ulm."]])]
    name: Line = ""
    terms: Terms = Terms()


class RewriteWish(Body):
    """A text that is to be written anew, as `wish` says."""

    text: Annotated[str, Field(min_length=1, max_length=200_000, examples=["The cup costs two euros."])]
    wish: Annotated[str, Field(min_length=1, max_length=2_000, examples=["for children"])]
    name: Line = ""
    terms: Terms = Terms()


class DocumentWish(Body):
    """A document to be written from the transcript of the session `of`."""

    of: Annotated[str, Field(min_length=1, max_length=40, examples=["k3v9mq2xw7ab"])]
    genre: Literal["report", "article", "minutes"] = "report"
    title: Line = ""
    wish: Annotated[str, Field(max_length=2_000)] = ""
    terms: Terms = Terms()


# What is answered


class LineOut(BaseModel):
    """A line of a transcript. `missing` is why nothing came; `thought` was told to nobody else."""

    number: int
    by: str
    member: int
    kind: str
    round: int
    text: str
    thought: str | None
    value: dict[str, Any] | None
    missing: str | None
    turn: int | None
    at: AwareDatetime | None


class LinesPage(BaseModel):
    """A page of a transcript, in order."""

    data: list[LineOut]
    next_cursor: str | None
    has_more: bool


class ProgressOut(BaseModel):
    """How many were asked and have answered so far, and in which round that is."""

    asked: int
    answered: int
    round: int | None


class FailureOut(BaseModel):
    name: str
    reason: str


class ParticipantsOut(BaseModel):
    """How many took part; who gave nothing at least once has failed, with the first reason."""

    total: int
    successful: int
    failed: int
    failures: list[FailureOut]


class ResultsOut(BaseModel):
    """What was said and answered, in order."""

    model_config = ConfigDict(extra="allow")

    interactions: list[LineOut]
    rounds_completed: int
    total_interactions: int


class ExtractedOut(BaseModel):
    """Fields by participant, each a value with its quote, line and confidence or the reason why it is missing."""

    individual_results: list[dict[str, Any]]
    aggregate_statistics: dict[str, Any]
    statistical_analysis: dict[str, Any] | None
    summary: str


class MetadataOut(BaseModel):
    """`execution_time` is in seconds, null before the end; `quality_score` from 0 to 1."""

    execution_time: float | None
    cache_file: str | None
    checkpoints: list[str]
    quality_score: float | None
    seed: int
    run: int
    calls: int
    reused: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class SessionOut(BaseModel):
    """A session: how it stands and, so far as there is any, what has come of it."""

    operation_id: Annotated[str, Field(examples=["k3v9mq2xw7ab"])]
    session_id: Annotated[str, Field(examples=["k3v9mq2xw7ab"])]
    status: Status
    reason: str | None
    progress: ProgressOut
    participants: ParticipantsOut
    simulation_results: ResultsOut
    extracted_results: ExtractedOut
    quality: dict[str, Any] | None
    metadata: MetadataOut


class SessionLineOut(BaseModel):
    """A session in a list."""

    session_id: str
    kind: Kind
    name: str
    status: Status
    reason: str | None
    seed: int
    members: int
    lines: int
    asked: int
    answered: int
    created_at: AwareDatetime
    ended_at: AwareDatetime | None


class SessionsPage(BaseModel):
    """A page of sessions, newest first."""

    data: list[SessionLineOut]
    next_cursor: str | None
    has_more: bool


class CheckpointOut(BaseModel):
    """A point to go on from: so many lines and asks, and the SHA-256 of all up to there."""

    name: str
    lines: int
    asks: int
    sha256: str
    at: AwareDatetime


class CheckpointsOut(BaseModel):
    checkpoints: list[CheckpointOut]


class ShareOut(BaseModel):
    """How many persons of a value were asked for, and how many there are; `mean`: a number's mean instead."""

    attribute: str
    value: str
    asked: float
    got: float
    mean: bool


class PopulationOut(BaseModel):
    """People, and in the answer that drew them the table of what was asked and got; `wrong`: what came to nothing."""

    session_id: str | None
    status: Status
    table: list[ShareOut] | None = None
    personas: list[dict[str, Any]]
    wrong: list[str]
    notes: list[str]


class SectionOut(BaseModel):
    heading: str
    text: str


class QuoteOut(BaseModel):
    """A quotation: whether it is in the transcript, in which line, and whether that is the line `n` that it names."""

    n: int
    quote: str
    found: bool
    line: int | None
    as_cited: bool


class DocumentOut(BaseModel):
    title: str
    sections: list[SectionOut]
    quotes: list[QuoteOut]


class TraitOut(BaseModel):
    """A trait, and the passage it rests on, by number and in its words."""

    name: str
    text: str
    passage: int
    source: str


class WritingOut(BaseModel):
    """What was written, of the kind `what`: the others are null, and all while it is being written."""

    session_id: str
    status: Status
    reason: str | None
    what: Literal["document", "rewrite", "ground", "persona"]
    document: DocumentOut | None
    text: str | None
    traits: list[TraitOut] | None
    persona: dict[str, Any] | None
