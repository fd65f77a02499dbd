"""Reading transcripts: what is extracted from them, and summed up; answers as words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.actions import session as acts
from app.actions.asking import Likert, Question, Value
from app.actions.registry import ActionSet
from app.agent import asking
from app.agent.asking import Asking
from app.agent.memory import Recollection
from app.venues.session.design import Extraction, ExtractionConfig
from app.venues.session.script import Move, Opening, Stand
from app.venues.session.talk import by, said_data
from app.world.sessions import Ask, Line, Member

STIMULUS, QUESTION, SAY, ANSWER, RECORD, SUMMARY = "stimulus", "question", "say", "answer", "record", "summary"
MODERATOR = "Moderator"
MATERIAL_TOKENS, WHOLE_TOKENS = 3_000, 12_000
RECORD_TOKENS, SUMMARY_TOKENS = 1_500, 800


class ExtractionScript:
    """What was said in another session, read again."""

    def __init__(
        self, design: Extraction, members: Sequence[Member], source: Sequence[Line], questions: Mapping[str, Question]
    ) -> None:
        self.design = design
        self.members = members
        told = [line for line in source if line.kind in (STIMULUS, QUESTION, SAY, ANSWER, "seed")]
        self.material = material(told, questions)

    def move(self, stand: Stand) -> Move:
        there = {line.key for line in stand.lines}
        for _, _, ask in extraction_phases(self.design.extraction_config, range(1, len(self.members))):
            ask = [one for one in ask if one.key not in there]
            if ask:
                return Move(ask=ask)
        return Move(over=True)

    def opening(self, ask: Ask, lines: Sequence[Line], marker: str, *, native: bool, recalled: Recollection) -> Opening:
        return extraction_opening(
            self.design.extraction_config, ask, self.material, self.members, marker, native=native
        )

    def result(self, lines: Sequence[Line]) -> Mapping[str, Any]:
        return {}


def answers_by_member(lines: Sequence[Line], number: int | None = None) -> dict[int, dict[str, Value]]:
    """What each participant answered, by question; in round `number`, or the first time."""
    given: dict[int, dict[str, Value]] = {}
    for line in lines:
        if line.kind == ANSWER and line.missing is None and line.value and number in (None, line.round):
            mine = given.setdefault(line.member, {})
            for key, value in line.value.items():
                mine.setdefault(key, value)
    return given


def worded(value: Value, question: Question | None = None) -> str:
    """An answer in words; with its question, as one of how many points."""
    if isinstance(question, Likert):
        return f"{value} of {question.points}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{row}: {cell}" for row, cell in value.items())
    return str(value)


def material(lines: Sequence[Line], questions: Mapping[str, Question]) -> list[Line]:
    """A transcript to be read: an answer is the question, in the moderator's words, and what came to it."""
    read: list[Line] = []
    for line in lines:
        if line.kind != ANSWER:
            read.append(line)
        elif line.value:
            asked = [(questions[key], value) for key, value in line.value.items() if key in questions]
            put = "\n".join(question.text for question, _ in asked)
            given = "\n".join(worded(value, question) for question, value in asked)
            to = {"to": line.member}
            read.append(Line(f"{line.key}/put", 0, QUESTION, line.round, put, value=to, number=line.number))
            read.append(Line(line.key, line.member, SAY, line.round, given, number=line.number))
    return read


def concerns(line: Line, member: int) -> bool:
    """Whether a participant said a line, or was told it by the moderator."""
    return line.member == member or (line.member == 0 and (line.value or {}).get("to", member) == member)


def extraction_phases(
    config: ExtractionConfig | None, people: Iterable[int]
) -> Iterator[tuple[str, list[Line], list[Ask]]]:
    """What is asked of whoever extracts: each participant's fields, as often as wanted; then a summary."""
    if config is None:
        return
    if config.extract_results:
        whose = list(people) if config.per == "participant" else [0]
        again = range(1, config.repetitions + 1)
        yield "", [], [Ask(f"record/{k}/{n}", n, RECORD, k) for k in again for n in whose]
    if config.summary:
        yield "", [], [Ask(SUMMARY, 0, SUMMARY)]


def extraction_opening(
    config: ExtractionConfig, ask: Ask, lines: Sequence[Line], members: Sequence[Member], marker: str, *, native: bool
) -> Opening:
    """How the extractor or the rapporteur is asked about `lines`."""
    heard = [line for line in lines if line.body]
    if ask.kind == SUMMARY:
        offered = ActionSet([acts.summarise()])
        what = Asking("rapporteur", "Sum up: call summarise.", data=_about(config, heard, members, WHOLE_TOKENS))
        messages = asking.messages(what, offered, marker=marker, native=native)
        return Opening(messages, offered, SUMMARY_TOKENS)
    fields = config.hinted()
    offered = ActionSet([acts.record(fields)])
    if config.per == "participant":
        heard = [line for line in heard if concerns(line, ask.member)]
    budget = MATERIAL_TOKENS if config.per == "participant" else WHOLE_TOKENS
    told = [field.model_dump(exclude_defaults=True) for field in fields]
    data = {**_about(config, heard, members, budget), "fields": told}
    who = f" about {members[ask.member].name}" if config.per == "participant" else ""
    what = Asking("extraction", f"Record what was said{who}: call record.", data=data)
    messages = asking.messages(what, offered, marker=marker, native=native)
    return Opening(messages, offered, RECORD_TOKENS, again=ask.round)


def _about(config: ExtractionConfig, lines: Sequence[Line], members: Sequence[Member], budget: int) -> dict[str, Any]:
    about = {"objective": config.extraction_objective, "situation": config.situation}
    return {**{k: v for k, v in about.items() if v}, "said": said_data(lines, members, budget)}


def speaker(line: Line, members: Sequence[Member]) -> str:
    """Whose line it is, for people."""
    return MODERATOR if line.member == 0 and not (line.value and "by" in line.value) else by(line, members)
