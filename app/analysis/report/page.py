"""One page that needs nothing else: no request, no script. Sections of text, tables and plots, all escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from app.analysis.graph import printable
from app.analysis.plots.plot import CSS, Plot, number

ROWS_MOST = 500
"""Rows of a table that are shown; a sentence tells how many there are."""

CELL_MOST, PROSE_MOST, LONG, WORD = 600, 8_000, 40, 24
"""Characters of a cell and of a paragraph; from which on a cell gets room to wrap, and a word may break on paper."""

Tone = Literal["note", "warn", "good"]


@dataclass(frozen=True)
class Text:
    """A paragraph; with a `tone`, set apart."""

    text: str
    tone: Tone | None = None
    kind: ClassVar = "text"


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]
    kind: ClassVar = "bullets"


@dataclass(frozen=True)
class Facts:
    """Names and what they are, such as settings."""

    rows: Sequence[tuple[str, Any]]
    kind: ClassVar = "facts"


@dataclass(frozen=True)
class Grid:
    """A table; cells that are numbers stand right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    kind: ClassVar = "grid"

    @property
    def shown(self) -> Sequence[Sequence[Any]]:
        return self.rows[:ROWS_MOST]


@dataclass(frozen=True)
class Code:
    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True)
class Figure:
    """A plot with its words and its numbers."""

    plot: Plot
    kind: ClassVar = "figure"

    @property
    def svg(self) -> Markup:
        return Markup(self.plot.svg())  # noqa: S704 - built as XML of known tags and attributes alone

    @property
    def grid(self) -> Grid:
        table = self.plot.table
        return Grid(self.plot.title, [column.name.replace("_", " ") for column in table.columns], table.rows)


Part = Text | Bullets | Facts | Grid | Code | Figure


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """What becomes a page; `label` is a stamp such as exploratory, `lead` what it comes to in sentences."""

    title: str
    lead: Sequence[str]
    sections: Sequence[Section] = field(default_factory=tuple)
    label: str = ""
    reasons: Sequence[str] = ()

    def html(self) -> str:
        """The page; the same for the same data."""
        return _template().render(page=self, css=Markup(_css()))  # noqa: S704 - our own files

    def plots(self) -> list[Plot]:
        """All its plots, in order."""
        return [part.plot for section in self.sections for part in section.parts if isinstance(part, Figure)]


def plain(value: Any) -> str:
    """A cell's or fact's text: numbers for people, `–` for what is not there."""
    match value:
        case None | "":
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return number(value)
        case dict() | Mapping():
            return plain(", ".join(f"{name}: {plain(one)}" for name, one in value.items()))
        case list() | tuple():
            return plain(", ".join(plain(one) for one in value))
    return prose(value, CELL_MOST)


def prose(value: Any, most: int = PROSE_MOST) -> str:
    """A text that can be shown, cut where it is very long."""
    text = printable(str(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def _css() -> str:
    return (Path(__file__).parent / "report.css").read_text() + CSS


@cache
def _template() -> Template:
    room = Environment(
        loader=PackageLoader("app.analysis.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"plain": plain, "prose": prose}
    room.tests["long"] = lambda value: len(plain(value)) > LONG
    room.tests["unbroken"] = lambda value: any(len(word) > WORD for word in plain(value).split())
    room.tests["quantity"] = lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return room.get_template("report.html")
