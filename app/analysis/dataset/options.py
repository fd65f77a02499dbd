"""What is asked of a build, and what is known while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.analysis.dataset.forms import FORMS, Form
from app.analysis.dataset.journal import Journal
from app.analysis.dataset.landing import put, sha256_of
from app.analysis.dataset.pseudonyms import How
from app.analysis.dataset.schema import Shape, shapes

GRAPHML = "graphml"
FORMATS = (*FORMS, GRAPHML)

Extra = bytes | Path | Callable[[Path], None]
"""A file that goes along: what is in it, where it is, or what writes it to a path."""


@dataclass(frozen=True)
class Source:
    """A world that is put into a package: its name, the URL of its database, and the folder (`worlds/NAME/`) for it."""

    name: str
    url: str
    prefix: str = ""


@dataclass(frozen=True)
class Options:
    """What is put into a package, and how. `tables` None: all there are.

    `title`, `description`, `authors`, `licence` (an SPDX name or a URL) and `url` are told as they are given.
    """

    tables: tuple[str, ...] | None = None
    formats: tuple[str, ...] = FORMATS
    pseudonyms: How = "none"
    spreadsheet_safe: bool = False
    resume: bool = False
    title: str = ""
    description: str = ""
    authors: tuple[str, ...] = ()
    licence: str = ""
    url: str = ""

    def shapes(self) -> list[Shape]:
        """The tables that are wanted."""
        return [shape for name, shape in shapes().items() if self.tables is None or name in self.tables]

    def forms(self) -> tuple[Form, ...]:
        """The forms of tables that are wanted, the most exact first."""
        return tuple(form for form in FORMS if form in self.formats)


@dataclass(frozen=True)
class Step:
    """How far a build is: what is done now, and rows of how many."""

    what: str
    done: int = 0
    total: int = 0


Told = Callable[[Step], None]


@dataclass
class Build:
    """What is known while a package is built."""

    folder: Path
    options: Options
    told: Told
    journal: Journal
    files: list[dict[str, Any]] = field(default_factory=list)
    worlds: list[dict[str, Any]] = field(default_factory=list)
    revisions: set[str] = field(default_factory=set)
    kept: int = 0

    def add(self, path: str, **more: Any) -> dict[str, Any]:
        """List a file that is there, and say what is in it."""
        there = self.folder / path
        entry = {"path": path, **more, "bytes": there.stat().st_size, "sha256": sha256_of(there)}
        self.files.append(entry)
        return entry

    def put(self, path: str, data: bytes, about: str) -> None:
        put(self.folder / path, data)
        self.add(path, about=about)
