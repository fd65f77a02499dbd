"""What `bench turns` and the processes that play for it tell each other, one JSON line at a time."""

from typing import Literal

import msgspec

from app.cli.bench.profile import Profile
from app.cli.bench.tokens import Prompts

Over = Literal["http", "raw", "inprocess"]
"""The vendor's client or the raw transport against a stub of a model's server, or the offline model."""

CALLS_A_TURN = 6


class Plan(msgspec.Struct):
    """One configuration: at least `cycles` cycles and `min_steps` steps. Without `base_url` the scripted model plays.

    With `counts` the prompts' tokens are counted. With `sample_url` it is the bare floor: `min_steps` of the requests
    stored there, and nothing of ours.
    """

    url: str
    personas: int
    cycles: int
    min_steps: int
    concurrency: int
    over: Over = "http"
    base_url: str = ""
    warm_up: bool = True
    sample_url: str = ""
    profile: bool = False
    counts: bool = True
    calls_a_turn: int = CALLS_A_TURN


class Cycle(msgspec.Struct):
    """What one cycle took. Seconds; `postgres` is None where its processes can't be seen."""

    turns: int
    steps: int
    seconds: float
    ours: float
    postgres: float | None


class Done(msgspec.Struct):
    """A configuration at its end."""

    cycles: list[Cycle]
    peak_mb: float
    sound: dict[str, int]
    prompts: Prompts
    profile: Profile | None = None


class Said(msgspec.Struct, omit_defaults=True):
    """A line: turns so far, or the end."""

    turns: int = 0
    done: Done | None = None
