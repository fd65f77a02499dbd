"""What reading a persona file yields: personas, problems and notes."""

from dataclasses import dataclass, field
from enum import StrEnum

from app.world.personas import PersonaSpec


class PersonaFormat(StrEnum):
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TINYTROUPE = "tinytroupe"
    OASIS_CSV = "oasis-csv"
    OASIS_JSON = "oasis-json"
    ENGINE = "engine"
    """The persona list of the TinyTroupe Simulation Engine."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong place: records and lines count from 1; `field` is empty when the whole record is wrong."""

    file: str
    record: int
    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        line = f" (line {self.line})" if self.line else ""
        place = f", field {self.field}" if self.field else ""
        return f"{self.file}, record {self.record}{line}{place}: {self.message}"


@dataclass(slots=True)
class ReadResult:
    """The personas that are right, the problems of the others, and notes on what other systems' files lost."""

    personas: list[PersonaSpec] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Record:
    """One persona as the file has it, before it is checked."""

    number: int
    value: object
    line: int | None = None


class UnusableError(ValueError):
    """A record, or one field of it, can't be a persona; `more` is what else is wrong with it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.more: list[UnusableError] = []
