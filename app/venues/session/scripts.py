"""Which script a session follows."""

from collections.abc import Mapping

import asyncpg

from app.actions.asking import Question
from app.db.engine import Database
from app.venues.dialogue import DialogueScript
from app.venues.group import GroupScript, asked_of
from app.venues.session.design import DESIGNS, Dialogue, Extraction, Part, Simulation, Writing
from app.venues.session.reading import ExtractionScript
from app.venues.session.script import Script
from app.venues.writing import WritingScript
from app.world import sessions


def design_of(row: asyncpg.Record) -> Part:
    """A session's design, as it was begun."""
    return DESIGNS[row["kind"]].model_validate_json(row["design"])


def questions_of(design: Part) -> Mapping[str, Question]:
    """The questions of a simulation, by key."""
    return {q.key: q for q in asked_of(design)} if isinstance(design, Simulation) else {}


async def script_of(database: Database, row: asyncpg.Record) -> Script:
    """The script of a session, with who takes part and, where it reads another, what was said there."""
    design = design_of(row)
    members = await sessions.members(database, row["id"])
    match design:
        case Dialogue():
            return DialogueScript(design, members, row["seed"])
        case Simulation():
            return GroupScript(design, members, row["seed"])
        case Extraction():
            source = await sessions.by_id(database, row["of"])
            said = await sessions.lines(database, row["of"])
            return ExtractionScript(design, members, said, questions_of(design_of(source)))
        case Writing() if row["of"] is not None:
            said = await sessions.lines(database, row["of"])
            return WritingScript(design, members, said, await sessions.members(database, row["of"]))
        case Writing():
            return WritingScript(design, members)
        case _:
            raise AssertionError(f"no script for {row['kind']}")
