"""What is written with models: persons of a sample, persons grounded in sources, documents, texts anew."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import asyncpg

from app import strict_json
from app.agent.population.consistency import Consistency, consistency, interview_questions
from app.agent.population.invented import handles
from app.agent.population.sampling import Sample
from app.agent.turn import Mind
from app.db.engine import Database
from app.errors import Invalid
from app.settings import Settings
from app.venues.session.design import Participants, Simulation, SimulationConfig, Terms, Writing
from app.venues.session.driver import Told
from app.venues.session.opening import begin
from app.venues.session.reading import answers_by_member
from app.venues.session.results import persona_specs
from app.venues.session.scripts import design_of
from app.venues.session.stage import SessionStage, play
from app.world import sessions
from app.world.personas import PersonaSpec

PASSAGE_MOST = 800
"""Characters of a passage."""

PASSAGES_MOST = 500


@dataclass(frozen=True)
class Grounded:
    """A persona out of sources: each of its traits with the passage it rests on, as `traits` has them, in order."""

    spec: PersonaSpec
    traits: tuple[dict[str, Any], ...]


def passages_of(name: str, data: bytes) -> list[str]:
    """The passages of a source: paragraphs of a text or of Markdown, rows of a CSV, entries of a JSON file.

    Raises:
        Invalid: it can't be read, or holds nothing.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(f"{name}: is not UTF-8 at byte {error.start}") from None
    if "\0" in text:
        raise Invalid(f"{name}: holds a NUL character")
    match PurePath(name).suffix.lower():
        case ".csv":
            found = _rows(name, text)
        case ".json":
            found = _entries(name, text)
        case _:
            found = text.replace("\r\n", "\n").split("\n\n")
    passages = [piece for passage in found if passage.strip() for piece in _pieces(passage.strip())]
    if not passages:
        raise Invalid(f"{name}: holds nothing")
    return passages


def _pieces(passage: str) -> list[str]:
    """A passage in pieces that are not too long, cut between sentences or at least between words."""
    pieces = []
    while len(passage) > PASSAGE_MOST:
        head = passage[:PASSAGE_MOST]
        cut = max(head.rfind(". ") + 1, head.rfind("\n")) or head.rfind(" ")
        cut = cut if cut > 0 else PASSAGE_MOST
        pieces.append(passage[:cut].strip())
        passage = passage[cut:].strip()
    return [*pieces, passage]


def _rows(name: str, text: str) -> list[str]:
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise Invalid(f"{name}: is no CSV: {error}") from None
    return ["; ".join(f"{key}: {value}" for key, value in row.items() if key and value) for row in rows]


def _entries(name: str, text: str) -> list[str]:
    try:
        value = strict_json.loads(text)
    except ValueError as error:
        raise Invalid(f"{name}: is no JSON: {error}") from None
    if isinstance(value, list):
        return [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in value]
    if isinstance(value, dict):
        return [
            f"{key}: {one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)}"
            for key, one in value.items()
        ]
    return [str(value)]


async def grounded(database: Database, row: asyncpg.Record, name: str) -> Grounded | None:
    """The persona that a grounding session found in its passages; None where it found nothing.

    A trait that names a passage that is not there is left out.
    """
    design = design_of(row)
    line = next((one for one in await sessions.lines(database, row["id"]) if one.value), None)
    if not isinstance(design, Writing) or line is None or line.value is None:
        return None
    known = dict(enumerate(design.passages, 1))
    traits = tuple({**one, "source": known[one["passage"]]} for one in line.value["traits"] if one["passage"] in known)
    if not traits:
        return None
    told = " ".join(str(one["text"]).rstrip(".") + "." for one in traits)
    names = list(dict.fromkeys(str(one["name"])[:100] for one in traits))
    spec = PersonaSpec(
        username=handles([name])[0], display_name=name, description=f"{name}. {told}"[:2_000], traits=names[:20]
    )
    return Grounded(spec, traits)


async def write_population(
    mind: Mind, settings: Settings, sample: Sample, terms: Terms, *, told: Told = lambda _: None
) -> tuple[list[PersonaSpec], list[str]]:
    """Have a model write each person of a sample; who was written, and what is wrong with others.

    Raises:
        Invalid: the model can't be used.
    """
    design = Writing(what="persona", sampled=tuple(dict(row) for row in sample.rows), terms=terms)
    key = await begin(mind.database, settings, "population", design)
    row = await sessions.found(mind.database, key)
    await play(mind, settings, row["id"], told=told)
    return await persona_specs(mind.database, row)


async def interview(mind: Mind, settings: Settings, specs: Sequence[PersonaSpec], terms: Terms) -> list[Consistency]:
    """Ask each persona about itself, outside its memory, and score whether it answers as who it is, in their order."""
    keys: dict[int, str] = {}
    for place, spec in enumerate(specs):
        questions = interview_questions(spec)
        if not questions:
            continue
        design = Simulation(
            participants=Participants(mode="custom", specifications=[spec.model_dump(exclude_unset=True)]),
            simulation_config=SimulationConfig(environment_type="survey"),
            questions=tuple(questions),
            terms=terms,
        )
        keys[place] = await begin(
            mind.database, settings, "survey", design, name=f"consistency of @{spec.username}"[:200]
        )
    async with SessionStage(mind, settings):
        await SessionStage.over(mind.database, list(keys.values()))
    scored = []
    for place, spec in enumerate(specs):
        given = {}
        if place in keys:
            row = await sessions.found(mind.database, keys[place])
            given = answers_by_member(await sessions.lines(mind.database, row["id"])).get(1, {})
        scored.append(consistency(spec, given))
    return scored
