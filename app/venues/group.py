"""Focus groups, surveys, interviews: who is asked what, when, and how."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.actions import session as acts
from app.actions.asking import Open, Question
from app.actions.registry import ActionSet
from app.agent import asking
from app.agent.asking import Asking
from app.agent.memory import Recollection
from app.streams import stream
from app.venues.session.design import Simulation
from app.venues.session.reading import (
    ANSWER,
    MATERIAL_TOKENS,
    QUESTION,
    SAY,
    STIMULUS,
    answers_by_member,
    extraction_opening,
    extraction_phases,
    material,
)
from app.venues.session.script import Move, Opening, Stand
from app.venues.session.talk import named, said_data, size
from app.world.sessions import Ask, Line, Member

JUDGE = "judge"
SPOKEN = (QUESTION, SAY)
PAGE_MOST = 12
"""Questions that are asked together."""

HEARD_TOKENS, OWN_TOKENS, JUDGE_TOKENS = 500, 250, 200
FIRST = "What do you think of this? Say what speaks to you, what puts you off, and why."
NEXT = (
    "You have heard each other. What changed your mind, or what would you object to?",
    "What matters most to you in this, and what would you give up for it?",
    "Think of your own days: when would this make a difference, and when not?",
    "What has nobody said yet that ought to be said?",
    "If you had to decide now, what would you do, and what would make you change that?",
)
FOLLOW_UPS = (
    "Why is that? Tell me more.",
    "Can you give an example from your own life?",
    "What would have to be different for you to see it otherwise?",
    "How do people around you see this?",
    "What else should I have asked you?",
)
RULE = "What is said fits the character: its views, its knowledge, its manner of speaking; nothing betrays a machine."
FRAMES = {"focus_group": "Focus group", "survey": "Survey", "interview": "Interview"}


class GroupScript:
    """The moves of a simulation. Participants are the members from 1; 0 is the moderator, and whoever extracts."""

    def __init__(self, design: Simulation, members: Sequence[Member], seed: int) -> None:
        self.design = design
        self.members = members
        self.seed = seed
        self.config = design.simulation_config
        self.kind = self.config.environment_type
        self.questions = asked_of(design)
        self._spoken = [q for q in design.questions if q not in self.questions]
        self._by_key = {q.key: q for q in self.questions}
        self.rounds = self.config.rounds if self.kind == "survey" else max(self.config.rounds, len(self._spoken))

    @property
    def people(self) -> range:
        return range(1, len(self.members))

    def move(self, stand: Stand) -> Move:
        """The first phase of which something is still to be said or asked."""
        there = {line.key for line in stand.lines}
        checkpoint = ""
        for name, say, ask in self._phases(stand.lines):
            say = [line for line in say if line.key not in there]
            ask = [one for one in ask if one.key not in there]
            if say or ask:
                return Move(say, ask, checkpoint=checkpoint)
            checkpoint = name or checkpoint
        return Move(over=True)

    def _phases(self, lines: Sequence[Line]) -> Iterator[tuple[str, list[Line], list[Ask]]]:
        """Each phase in its order: the checkpoint behind it, what the session says, what is asked."""
        stimulus = self.design.stimulus
        if stimulus is not None:
            yield "", [Line(STIMULUS, 0, STIMULUS, 0, stimulus.content)], []
        if self.kind == "survey":
            for number in range(1, self.rounds + 1):
                yield from self._pages(lines, number)
                yield f"round-{number}", [], []
        else:
            for number in range(1, self.rounds + 1):
                yield from self._round(number)
                yield f"round-{number}", [], []
            if self.questions:
                yield from self._pages(lines, 1)
        yield from extraction_phases(self.design.extraction_config, self.people)
        if "judge" in self.design.checks:
            yield "", [], [Ask(f"judge/{n}", n, JUDGE) for n in self.people]

    def _round(self, number: int) -> Iterator[tuple[str, list[Line], list[Ask]]]:
        posed = [Line(f"question/{number}", 0, QUESTION, number, self._posed(number))]
        asked = [Ask(f"say/{number}/{n}", n, SAY, number) for n in self._order(number)]
        if self.config.in_turn:
            yield "", posed, asked[:1]
            for one in asked[1:]:
                yield "", [], [one]
        else:
            yield "", posed, []
            yield "", [], asked

    def _order(self, number: int) -> list[int]:
        order = list(self.people)
        if self.config.in_turn:
            stream(self.seed, "order", number).shuffle(order)
        return order

    def _posed(self, number: int) -> str:
        if number <= len(self._spoken):
            return self._spoken[number - 1].text
        bank = FOLLOW_UPS if self.kind == "interview" else NEXT
        if number == 1:
            return FIRST
        place = number - 2 - max(0, len(self._spoken) - 1)
        order = list(bank)
        stream(self.seed, "follow up").shuffle(order)
        return order[max(0, place) % len(order)]

    # Surveys

    def _pages(self, lines: Sequence[Line], number: int) -> Iterator[tuple[str, list[Line], list[Ask]]]:
        for place, page in enumerate(pages_of(self.questions)):
            given = answers_by_member(lines, number)
            asks = []
            for n in self.people:
                mine = [q for q in page if q.when is None or q.when.holds(given.get(n, {}))]
                if mine:
                    orders = {q.key: self._permutation(q, n) for q in mine if getattr(q, "shuffle", False)}
                    about = {"questions": [q.key for q in mine], "orders": orders}
                    asks.append(Ask(f"answer/{number}/{place}/{n}", n, ANSWER, number, about=about))
            yield "", [], asks

    def _permutation(self, question: Question, member: int) -> list[int]:
        places = list(range(len(getattr(question, "options", ()))))
        stream(self.seed, "options", question.key, member).shuffle(places)
        return places

    # How things are asked

    def opening(self, ask: Ask, lines: Sequence[Line], marker: str, *, native: bool, recalled: Recollection) -> Opening:
        """How a participant, the extractor, the rapporteur or a judge is asked."""
        member = self.members[ask.member]
        match ask.kind:
            case "say":
                return self._say(ask, lines, member, marker, native, recalled)
            case "answer":
                return self._answer(ask, lines, member, marker, native, recalled)
            case "judge":
                return self._judge(lines, member, marker, native)
            case _:
                config = self.design.extraction_config
                assert config is not None  # noqa: S101 - nobody else asks for a record or a summary
                material = self._material(lines)
                return extraction_opening(config, ask, material, self.members, marker, native=native)

    def _topic(self) -> dict[str, Any]:
        stimulus = self.design.stimulus
        if stimulus is None:
            return {}
        return {"topic": stimulus.content, **({"context": stimulus.context} if stimulus.context else {})}

    def _say(
        self, ask: Ask, lines: Sequence[Line], member: Member, marker: str, native: bool, recalled: Recollection
    ) -> Opening:
        offered = ActionSet([acts.speak(thinking=self.config.enable_thinking)])
        frame = f"{FRAMES[self.kind]}, round {ask.round} of {self.rounds}."
        if self.config.broadcast_mode and self.kind == "focus_group":
            frame += f" {len(self.members) - 1} people take part; your name is {member.name}."
        data = {**self._topic(), "said": said_data(self._heard(ask, lines), self.members, 10**6)}
        told = f"You are {member.name}. It is your turn: call speak."
        what = Asking(self.kind, told, named(member), frame, data, recalled.lines)
        return self._opening(what, offered, member, marker, native)

    def _heard(self, ask: Ask, lines: Sequence[Line]) -> list[Line]:
        """What a participant has in mind: the question at hand, what it said itself, what it heard of others, newest
        first, as much as fits; whoever spoke of it comes first."""
        at_hand = [line for line in lines if line.kind == QUESTION and line.round == ask.round]
        if not self.config.enable_memory:
            return at_hand
        earlier = [line for line in lines if line.kind in SPOKEN and line.missing is None and line not in at_hand]
        own = [line for line in earlier if line.member == ask.member or line.kind == QUESTION]
        kept = _fitting(reversed(own), OWN_TOKENS)
        if self.config.broadcast_mode and self.kind == "focus_group":
            name = self.members[ask.member].name.casefold()
            others = [line for line in earlier if line.member not in (0, ask.member)]
            chance = stream(self.seed, "heard", ask.round, ask.member)
            ranked = sorted(others, key=lambda line: (line.round, name in line.body.casefold(), chance.random()))
            kept += _fitting(reversed(ranked), HEARD_TOKENS)
        return sorted([*kept, *at_hand], key=lambda line: line.number)

    def _answer(
        self, ask: Ask, lines: Sequence[Line], member: Member, marker: str, native: bool, recalled: Recollection
    ) -> Opening:
        questions = [self._by_key[key] for key in ask.about["questions"]]
        shown = {key: self._by_key[key].order(places) for key, places in ask.about["orders"].items()}
        shown |= {q.key: q.order(()) for q in questions if q.key not in shown}
        offered = ActionSet([acts.answer(questions, shown, thinking=self.config.enable_thinking)])
        data: dict[str, Any] = {**self._topic(), "questions": [_put(q, shown[q.key]) for q in questions]}
        if self.config.enable_memory:
            own = [line for line in lines if line.kind in SPOKEN and line.member in (0, ask.member) and line.body]
            if own:
                data["said"] = said_data(own, self.members, OWN_TOKENS)
        frame = f"{FRAMES[self.kind]}. You are {member.name}."
        what = Asking("survey", "Answer all questions: call answer.", named(member), frame, data, recalled.lines)
        again = ask.round if not self.config.enable_memory or self.kind == "survey" else 0
        return self._opening(what, offered, member, marker, native, again=again)

    def _judge(self, lines: Sequence[Line], member: Member, marker: str, native: bool) -> Opening:
        offered = ActionSet([acts.judge()])
        own = [line for line in self._material(lines) if line.member == member.number]
        data = {"character": named(member), "rule": RULE, "said": said_data(own, self.members, MATERIAL_TOKENS)}
        what = Asking("judge", "Judge by the rule: call judge.", data=data)
        messages = asking.messages(what, offered, marker=marker, native=native)
        return Opening(messages, offered, JUDGE_TOKENS)

    def _opening(
        self, what: Asking, offered: ActionSet, member: Member, marker: str, native: bool, *, again: int = 0
    ) -> Opening:
        row, terms = member.row, self.design.terms
        return Opening(
            asking.messages(what, offered, marker=marker, native=native),
            offered,
            terms.max_tokens + 60 * len(what.data["questions"] if what.data and "questions" in what.data else ()),
            row["model"],
            row["temperature"] if row["temperature"] is not None else terms.temperature,
            again=again,
        )

    def _material(self, lines: Sequence[Line]) -> list[Line]:
        """The transcript as something to be read: answers as words."""
        return material([line for line in lines if line.kind in (STIMULUS, QUESTION, SAY, ANSWER)], self._by_key)

    def result(self, lines: Sequence[Line]) -> Mapping[str, Any]:
        """How many rounds were completed, and how many participants gave something in each."""
        done = [r for r in range(1, self.rounds + 1) if all(self._in(r, n, lines) for n in self.people)]
        return {"rounds_completed": len(done)}

    def _in(self, number: int, member: int, lines: Sequence[Line]) -> bool:
        return any(line.round == number and line.member == member for line in lines)


def asked_of(design: Simulation) -> list[Question]:
    """The questions that are answered in writing: of a survey all, else those that are not open."""
    if design.simulation_config.environment_type != "survey":
        return [q for q in design.questions if q.type != "open"]
    if not design.questions and design.stimulus is not None:
        return [Open(key="answer", text=design.stimulus.content[:2000])]
    return list(design.questions)


def _fitting(lines: Iterable[Line], budget: int) -> list[Line]:
    """The first of the lines that fit into so many tokens; one that is too long leaves its place to shorter ones."""
    kept = []
    for line in lines:
        takes = size(line.body)
        if takes <= budget:
            kept.append(line)
            budget -= takes
    return kept


def pages_of(questions: Sequence[Question]) -> list[list[Question]]:
    """Questions in pages that can be asked at once: one that depends on another comes on a later page."""
    pages: list[list[Question]] = []
    for question in questions:
        here = {q.key for q in pages[-1]} if pages else set()
        if not pages or len(here) >= PAGE_MOST or (question.when is not None and question.when.question in here):
            pages.append([])
        pages[-1].append(question)
    return pages


def _put(question: Question, options: Sequence[str]) -> dict[str, Any]:
    """A question as it is put to a participant."""
    put: dict[str, Any] = {"key": question.key, "text": question.text, "type": question.type}
    if options:
        put["options"] = list(options)
    for name in ("points", "low", "high", "rows", "unit"):
        value = getattr(question, name, None)
        if value:
            put[name] = list(value) if name == "rows" else value
    return put
