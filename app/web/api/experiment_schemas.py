"""What the API takes and answers about experiments and datasets."""

from datetime import datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.analysis.dataset import licences
from app.analysis.dataset.options import FORMATS
from app.analysis.dataset.pseudonyms import How
from app.web.inputs import Body
from app.world.text import ChatBody, Line, Note

EXAMPLE: dict[str, Any] = {
    "name": "latest against interest",
    "venue": "feed",
    "setting": {"cycles": 3},
    "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest"}},
    "runs": 2,
    "seed": 7,
    "outcomes": {"primary": ["attention_gini"], "exploratory": ["density"]},
}


class CellOut(BaseModel):
    """What all runs of a variant will take; `seconds` as if one by one."""

    variant: str
    runs: int
    calls: float
    tokens: int
    usd: float | None
    seconds: float


class EstimateOut(BaseModel):
    """What an experiment will take; `seconds` with as many runs at once as the design says. `unpriced`: models."""

    cells: list[CellOut]
    runs: int
    calls: float
    tokens: int
    usd: float | None
    seconds: float
    unpriced: list[str]


class ProgressOut(BaseModel):
    """Runs by state (`done`: completed or partial; `starved`: out of budget), and what they have taken."""

    trials: int
    queued: int
    running: int
    done: int
    partial: int
    failed: int
    starved: int
    cycles: int
    tokens: int
    usd: float


class TrialOut(BaseModel):
    """A run of a variant: those of a replicate share the seed. `excluded`: why it is left out of comparisons."""

    number: int
    variant: str
    replicate: int
    seed: int
    state: str
    reason: str | None
    excluded: str | None
    attempts: int
    cycles_done: int
    calls: int
    tokens: int
    usd: float
    seconds: float | None
    world: str | None
    session: str | None
    started_at: datetime | None
    ended_at: datetime | None
    outcomes: dict[str, float | None]
    why: dict[str, str]
    world_sha256: str | None


class SaidOut(BaseModel):
    """A line of a run. In a room, `seconds` are from its start by its own clock, `reply_to` and `answers` numbers of
    messages; in a session these are null, and so are `likes`. `missing` tells why a line came to nothing."""

    number: int
    seconds: float | None
    speaker: str
    text: str
    reply_to: int | None
    answers: int | None
    likes: int | None
    missing: str | None


class TranscriptOut(BaseModel):
    """All that was said in a run."""

    lines: list[SaidOut]


class ExperimentOut(BaseModel):
    """An experiment as it stands."""

    key: str
    name: str
    venue: str
    state: str
    reason: str | None
    seed: int
    world: str
    start_world: str | None
    budget_tokens: int | None
    budget_usd: float | None
    parallel: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    frozen_at: datetime | None
    frozen_sha256: str | None
    design: dict[str, Any]
    estimate: EstimateOut | None
    progress: ProgressOut
    trials: list[TrialOut]


class ExperimentLineOut(BaseModel):
    """An experiment in the list."""

    key: str
    name: str
    venue: str
    state: str
    reason: str | None
    seed: int
    world: str
    trials: int
    done: int
    failed: int
    usd: float
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    frozen_at: datetime | None


class ExperimentsPage(BaseModel):
    """A page of experiments, newest first."""

    data: list[ExperimentLineOut]
    next_cursor: str | None
    has_more: bool


class ResumeWish(Body):
    """How it goes on: with more budget (the new whole, not what is added), and with runs that failed once more."""

    budget_tokens: Annotated[int, Field(strict=True), Ge(1), Le(10**15)] | None = None
    budget_usd: Annotated[float, Field(allow_inf_nan=False), Gt(0), Le(10**9)] | None = None
    failed: Annotated[bool, Field(strict=True)] = False


class AmendWish(Body):
    """`design` lies over the design that is there (RFC 7396: null takes away); `note` says why."""

    design: Annotated[dict[str, Any], MinLen(1)]
    note: ChatBody


class ExcludeWish(Body):
    """Why a run is left out of comparisons; null takes it in again."""

    reason: Line | None


class PersonGiven(Body):
    """What somebody did, in a sub-group; `persona` is the one that plays them."""

    value: Annotated[float, Field(allow_inf_nan=False)] | None
    group: Note = ""
    persona: Note = ""


Given = Annotated[list[Annotated[float, Field(allow_inf_nan=False)] | PersonGiven | None], MinLen(1), MaxLen(100_000)]


class ReferenceWish(Body):
    """What people did: a value for each of them, or such lists by sub-group.

    `held_out`: nothing of the experiment was chosen by looking at them.
    """

    outcome: Line
    name: Line
    values: Given | Annotated[dict[Line, Given], MinLen(1), MaxLen(200)]
    held_out: Annotated[bool, Field(strict=True)] = False
    note: Note = ""


class ResultsOut(BaseModel):
    """What an experiment has come to; docs/experiments.md tells what is in each part."""

    model_config = ConfigDict(extra="allow")

    key: str
    name: str
    state: str
    reason: str | None
    venue: str
    seed: int
    source_world: str
    n_planned: int
    n_done: int
    n_failed: int
    n_excluded: int
    trials: list[dict[str, Any]]
    variants: list[dict[str, Any]]
    outcomes: list[dict[str, Any]]


class FreezeOut(BaseModel):
    """What was promised, and its hash."""

    sha256: str
    at: datetime
    document: dict[str, Any]


class DatasetWish(Body):
    """A package of a world, or of an experiment with all its worlds. `tables` null: all there are."""

    kind: Literal["world", "experiment"]
    about: Line
    tables: Annotated[list[Annotated[str, MaxLen(63)]], MinLen(1), MaxLen(100)] | None = None
    formats: Annotated[list[Literal["csv", "jsonl", "parquet", "graphml"]], MinLen(1), MaxLen(len(FORMATS))] | None = (
        None
    )
    pseudonyms: How = "none"
    spreadsheet_safe: Annotated[bool, Field(strict=True)] = False
    title: Note = ""
    description: Note = ""
    licence: Annotated[Note, AfterValidator(licences.licence)] = ""


class DoiWish(Body):
    """The DOI under which a package is published; empty takes it away."""

    doi: Annotated[str, Field(strict=True, max_length=200, pattern=r"^(10\.\d{4,9}/[\x21-\x7e]{1,180})?$")]


class DatasetOut(BaseModel):
    """A package that is being built, or was. `words`: what is done just now; `options` as they were asked for."""

    key: str
    kind: str
    about: str
    options: dict[str, Any]
    state: Literal["running", "completed", "failed"]
    reason: str | None
    words: str
    size: int | None
    rows: int | None
    sha256: str | None
    doi: str
    created_by: str | None
    created_at: datetime
    ended_at: datetime | None


class DatasetsPage(BaseModel):
    """A page of packages, newest first."""

    data: list[DatasetOut]
    next_cursor: str | None
    has_more: bool
