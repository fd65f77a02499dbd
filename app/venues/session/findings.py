"""What was found out in a session: answers, extracted fields with their confidence, the quality of the talk."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import msgspec

from app.actions.asking import ExtractedField, Likert, Matrix, Question
from app.analysis import talk
from app.analysis.adherence import Persona
from app.analysis.answers import Summary
from app.analysis.confidence import confidence, features, same
from app.analysis.extracted import Answered, Extracted, Record, answer_summaries, extraction_summaries
from app.analysis.quotes import Line as Spoken
from app.analysis.quotes import found
from app.db.engine import Database
from app.venues.group import asked_of
from app.venues.session.design import Extraction, ExtractionConfig, Part, Simulation
from app.venues.session.reading import ANSWER, MODERATOR, RECORD, SAY, SUMMARY, answers_by_member, material, speaker
from app.venues.session.scripts import design_of, questions_of
from app.world import sessions
from app.world.sessions import Line, Member

NOT_ASKED = "not asked: skipped by an earlier answer"
RUN = "run"
"""As whose a record stands that is about the run as a whole."""


@dataclass(frozen=True)
class Answers:
    """What was answered in writing, and what it comes to, by question."""

    questions: Sequence[Question]
    records: Sequence[Answered]
    summaries: Mapping[str, Summary]


@dataclass(frozen=True)
class Findings:
    """What was extracted, and what it comes to, by field; `summary` is the rapporteur's."""

    fields: Sequence[ExtractedField]
    records: Sequence[Record]
    summaries: Mapping[str, Summary]
    summary: str = ""


@dataclass(frozen=True)
class Whole:
    """A session read as a whole."""

    row: asyncpg.Record
    design: Part
    members: Sequence[Member]
    lines: Sequence[Line]

    @property
    def people(self) -> Sequence[Member]:
        return self.members[1:]


async def whole(database: Database, row: asyncpg.Record) -> Whole:
    """A session with its members and transcript."""
    members = await sessions.members(database, row["id"])
    return Whole(row, design_of(row), members, await sessions.lines(database, row["id"]))


def told(line: Line, members: Sequence[Member]) -> dict[str, Any]:
    """A line for people and programs."""
    return {
        "number": line.number,
        "by": speaker(line, members),
        "member": line.member,
        "kind": line.kind,
        "round": line.round,
        "text": line.body,
        "thought": line.thought,
        "value": None if line.value and "by" in line.value else line.value,
        "missing": line.missing,
        "turn": line.turn_id,
        "at": line.at.isoformat() if line.at else None,
    }


async def transcript(database: Database, row: asyncpg.Record) -> list[dict[str, Any]]:
    """All lines, in order: number, by, member, kind, round, text, thought, value, missing, turn, at."""
    one = await whole(database, row)
    return [told(line, one.members) for line in one.lines]


# Answers


async def answers(database: Database, row: asyncpg.Record) -> Answers:
    """What was answered in writing. Of a question that was asked in several rounds the first answer counts."""
    one = await whole(database, row)
    return await asyncio.to_thread(answers_of, one)


def answers_of(one: Whole) -> Answers:
    """What was answered in a session, as it stands."""
    questions = asked_of(one.design) if isinstance(one.design, Simulation) else []
    given = answers_by_member(one.lines)
    lost = {line.member: line.missing for line in reversed(one.lines) if line.kind == ANSWER and line.missing}
    over = one.row["ended_at"] is not None
    records = []
    for member in one.people:
        mine = given.get(member.number, {})
        why = lost.get(member.number) or (NOT_ASKED if mine and over else "no answer yet" if not over else "no answer")
        missing = {q.key: why for q in questions if q.key not in mine}
        records.append(Answered(str(member.number), member.name, mine, missing))
    return Answers(questions, records, answer_summaries(questions, records) if questions else {})


# Extraction


async def extracted(database: Database, row: asyncpg.Record) -> Findings:
    """What was extracted from a session, by itself or, of an extraction, from the session it reads."""
    one = await whole(database, row)
    source = one
    if row["of"] is not None and isinstance(one.design, Extraction):
        source = await whole(database, await sessions.by_id(database, row["of"]))
    return await asyncio.to_thread(extracted_of, one, source)


def extraction_config(design: Part) -> ExtractionConfig | None:
    """What is to be extracted, if anything is."""
    return design.extraction_config if isinstance(design, Simulation | Extraction) else None


def extracted_of(one: Whole, source: Whole) -> Findings:
    """What was extracted in `one` from the transcript of `source`; each value with its confidence."""
    config = extraction_config(one.design)
    summary = next((line.body for line in one.lines if line.kind == SUMMARY and line.missing is None), "")
    if config is None or not config.extract_results:
        return Findings((), (), {}, summary)
    fields = config.hinted()
    questions = questions_of(source.design)
    heard = material([line for line in source.lines if line.kind != RECORD], questions)
    spoken = [Spoken(line.number, speaker(line, source.members), line.body, line.round) for line in heard if line.body]
    whose = one.people if config.per == "participant" else [replace(one.members[0], name=RUN)]
    rounds: dict[int, list[Line]] = {}
    for line in one.lines:
        if line.kind == RECORD:
            rounds.setdefault(line.member, []).append(line)
    own = config.per == "participant"
    by_speaker: dict[str, list[Spoken]] = {}
    for one_said in spoken:
        by_speaker.setdefault(one_said.speaker, []).append(one_said)
    asked = by_speaker.get(MODERATOR, []) if own else []
    records = []
    for member in whose:
        mine = sorted(rounds.get(member.number, []), key=lambda line: line.round)
        lines = [*by_speaker.get(member.name, []), *asked] if own else spoken
        values = {field.name: _extracted(field, mine, lines, member.name if own else None) for field in fields}
        records.append(Record(str(member.number) if own else RUN, member.name, values))
    return Findings(fields, records, extraction_summaries(fields, records), summary)


def _extracted(field: ExtractedField, rounds: Sequence[Line], lines: Sequence[Spoken], person: str | None) -> Extracted:
    """A field's value: that of most extractions, of equally many the first; missing where most found none."""
    if not rounds:
        return Extracted(missing="not asked yet")
    given = [line.value.get(field.name) if line.value else None for line in rounds]
    values = [one["value"] if one is not None else None for one in given]
    if all(value is None for value in values):
        return Extracted(
            missing=next((line.missing for line in rounds if line.missing), None) or "nothing was said of it"
        )
    votes = [sum(same(field, value, other) for other in values) for value in values]
    best = max(range(len(values)), key=lambda n: (votes[n], values[n] is not None, -n))
    won, value = given[best], values[best]
    if won is None or value is None:
        return Extracted(missing="most extractions found nothing")
    quote = str(won["quote"])
    at = found(quote, lines, speaker=person)
    others = [value for n, value in enumerate(values) if n != best]
    sure = confidence(features(field, value, quote, lines, person=person, repetitions=others))
    return Extracted(value, quote if at else None, at.line if at else None, round(sure, 4))


# Quality


async def quality(database: Database, row: asyncpg.Record) -> talk.Quality | None:
    """The checks that the design has switched on; None where it has none."""
    one = await whole(database, row)
    return await asyncio.to_thread(quality_of, one)


def quality_of(one: Whole) -> talk.Quality | None:
    """The checks by rules that a design has switched on, of what participants said so far."""
    asked = [name for name in getattr(one.design, "checks", ()) if name != "judge"]
    checks: list[talk.CheckName] = ["consistency" if name == "self_consistency" else name for name in asked]
    if not checks:
        return None
    spoken = [
        Spoken(line.number, one.members[line.member].name, line.body, line.round)
        for line in one.lines
        if line.kind == SAY and line.member > 0 and line.body
    ]
    personas = {
        m.name: Persona(m.persona_id, m.row["description"], msgspec.json.decode(m.row["profile"])) for m in one.people
    }
    return talk.quality(spoken, checks, personas=personas, asked=_asked_again(one))


def _asked_again(one: Whole) -> list[talk.Asked]:
    questions = questions_of(one.design)
    return [
        talk.Asked(one.members[line.member].name, key, value, line.number, _points(questions.get(key)))
        for line in one.lines
        if line.kind == ANSWER and line.value
        for key, value in line.value.items()
    ]


def _points(question: Question | None) -> int | None:
    return question.points if isinstance(question, Likert | Matrix) else None


def judged(one: Whole) -> list[dict[str, Any]]:
    """The verdicts of the judge model: name, score from 0 to 10, reason."""
    return [
        {"name": one.members[line.member].name, **(line.value or {"missing": line.missing})}
        for line in one.lines
        if line.kind == "judge"
    ]
