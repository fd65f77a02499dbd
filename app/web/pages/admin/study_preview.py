"""A study before anybody takes part: its pages as participants see them, and what the agents of each arm are told."""

import re
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from app.actions.chat import CHAT_ACTIONS
from app.actions.showing import tokens
from app.agent import prompt
from app.agent.dry_run import Told, told
from app.venues.chatroom.design import Question, StudyDesign
from app.venues.chatroom.studies import new_personas
from app.web.deps import House
from app.web.pages.frame import templates
from app.web.pages.participant import LIKERT_MOST, Asked
from app.world import personas
from app.world.rooms import PERSON_NAME
from app.world.text import CHAT_MAX

MAIN = '<main id="main" tabindex="-1">'
FORM = re.compile(r"<(/?)form\b[^>]*>")
OWN_LINK = re.compile(r'<a\b[^>]*\bhref="/(?:s|withdraw)\b[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
HEADING = re.compile(r"<(/?)h([12])\b")
UNSENT = re.compile(r'(<(?:button|input)\b[^>]*?) type="submit"')
REFERENCE = re.compile(r'\b(id|for|aria-labelledby|aria-describedby)="([^"]+)"')
"""Attributes that name elements: a quotation mark in what somebody wrote is escaped, so only tags hold them."""

HIDDEN = re.compile(r'<input type="hidden"[^>]*>')
SECRETS = {"code": "A1B2C3D4", "receipt": "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY-Z2345"}
QUESTION = "What do you make of all this?"
LINES = ("Hello everybody!", f"Hi. {QUESTION}", "I have been wondering about that, too.", "Tell us more.")


@dataclass(frozen=True)
class Seen:
    """A page that participants see, with no form that could be sent."""

    key: str
    title: str
    html: Markup


@dataclass(frozen=True)
class AgentPrompt:
    """What an agent is told when its turn comes, and about how many tokens that takes each time."""

    name: str
    kind: str
    character: str
    messages: tuple[Told, ...]
    actions_tokens: int

    @property
    def tokens(self) -> int:
        return self.actions_tokens + sum(message.tokens for message in self.messages)


@dataclass(frozen=True)
class Prompts:
    """The first agent's prompt in each arm, with the arm's share of people; and each agent's in the first arm."""

    arms: list[tuple[str, float, AgentPrompt]]
    agents: list[AgentPrompt]


def pages_of(design: StudyDesign, place: str) -> list[Seen]:
    """The pages in the order of a participant's way; `place` is where they withdraw later."""
    external = design.consent == "external"
    found = [
        _seen(
            design,
            "consent",
            "Link",
            external=external,
            token="",
            params={},
            paragraphs=_paragraphs(design.consent_text),
            choices=design.withdrawal,
            minutes=design.pace.session_duration_minutes,
            version="",
            nonce="",
            save="/s",
            wrong="",
        )
    ]
    if design.intake and not external:
        found.append(_questions(design, "intake", design.intake))
    room = {"members": [member.name for member in design.cast], "minutes": design.pace.session_duration_minutes}
    found.append(_seen(design, "door", "Waiting", name="", wrong="", **room))
    found.append(_room(design))
    if design.closing and not external:
        found.append(_questions(design, "closing", design.closing))
    if design.debrief_text:
        found.append(_seen(design, "debrief", "Debrief", paragraphs=_paragraphs(design.debrief_text)))
    end = {
        "finished": True,
        "why": "",
        "code": design.completion_code or SECRETS["code"],
        "receipt": SECRETS["receipt"],
        "told_before": False,
        "kept": design.withdrawal[0],
        "place": place,
        "onward": "/s" if design.redirect.completion else "",
    }
    return [*found, _seen(design, "end", "End", **end)]


def _paragraphs(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part.strip()]


def _questions(design: StudyDesign, stage: str, questions: list[Question]) -> Seen:
    asked = []
    for question in questions:
        least, most = question.bounds()
        points = range(int(least), int(most) + 1) if question.kind == "likert" else None
        if points is not None and len(points) > LIKERT_MOST:
            points = None
        asked.append(Asked(question, [], "", points, (least, most)))
    title = "Questions before" if stage == "intake" else "Questions after"
    return replace(_seen(design, "questions", title, asked=asked, wrong=[], stage=stage), key=stage)


def _room(design: StudyDesign) -> Seen:
    names = [member.name for member in design.cast]
    told = [
        {"own": n == 1, "name": "You" if n == 1 else names[(n - (n > 1)) % len(names)], "text": text}
        for n, text in enumerate(LINES)
    ]
    shown = templates.get_template("admin/study_sample_room.html").render(
        **_frame(design), members=names, messages=told, minutes=design.pace.session_duration_minutes, most=CHAT_MAX
    )
    return Seen("chat", "Chat", Markup(shown))  # noqa: S704 - an autoescaped template of ours


def _frame(design: StudyDesign) -> dict[str, Any]:
    return {
        "study": design.title,
        "contact": design.contact,
        "discloses": design.disclosure == "at_once",
        "leaving": None,
        "step": None,
        "can_withdraw": False,
        "csrf": "",
        "notice": None,
    }


def _seen(design: StudyDesign, page: str, title: str, **context: Any) -> Seen:
    """The middle of a participant's page. Nothing there can be sent, and no heading outranks those around it."""
    whole = templates.get_template(f"participant/{page}.html").render(**_frame(design), **context)
    main = whole.partition(MAIN)[2].partition("</main>")[0]
    main = HIDDEN.sub("", main)
    main = REFERENCE.sub(lambda found: f'{found[1]}="{_apart(found[2], title)}"', main)
    main = FORM.sub(r"<\1div>", main)
    main = UNSENT.sub(r'\1 type="button"', main)
    main = OWN_LINK.sub(_unlinked, main)
    main = HEADING.sub(lambda found: f"<{found[1]}h{int(found[2]) + 2}", main)
    return Seen(page, title, Markup(main))  # noqa: S704 - autoescaped templates of ours


def _unlinked(found: re.Match[str]) -> str:
    kind = "button" if 'class="button' in found[0] else "as-link"
    return f'<span class="{kind}">{found[1]}</span>'


def _apart(names: str, title: str) -> str:
    """Names of elements that nothing else on the page has."""
    mark = title.lower().replace(" ", "-")
    return " ".join(f"seen-{mark}-{name}" for name in names.split())


async def prompts_of(house: House, design: StudyDesign, seed: int) -> Prompts:
    """What agents are told, with a sample transcript; made-up personas are those of `seed`."""
    cast = await _cast(house, design, seed)
    weights = sum(arm.weight for arm in design.arms.values())
    first = next(iter(design.arms.values())).prompt_template
    return Prompts(
        [
            (name, arm.weight / weights, _prompt(house, design, arm.prompt_template, cast[0]))
            for name, arm in design.arms.items()
        ],
        [_prompt(house, design, first, one) for one in cast],
    )


async def _cast(house: House, design: StudyDesign, seed: int) -> list[tuple[str, str, str]]:
    """Name in the room, character, and where it comes from, of each agent."""
    found = []
    for member, new in zip(design.cast, new_personas(design.cast, seed), strict=True):
        spec, kind = new, "made up" if member.description is None else "described here"
        if member.persona is not None:
            row = await house.database.fetchrow(personas.PEOPLE["by_username"], member.persona)
            if row is None:
                found.append((member.name, "", f"@{member.persona} does not exist"))
                continue
            spec, kind = personas.spec_of(row), f"@{member.persona}"
        profile = spec.model_dump(include=set(personas.PROFILE) - {"display_name"})
        found.append((member.name, prompt.character(member.name, spec.description, spec.bio, profile), kind))
    return found


def _prompt(house: House, design: StudyDesign, brief: str, who: tuple[str, str, str]) -> AgentPrompt:
    name, character, kind = who
    members = [PERSON_NAME, *(member.name for member in design.cast)]
    lately: list[dict[str, Any]] = [{"n": 1, "by": members[-1], "text": LINES[0]}]
    lately.append({"n": 2, "by": PERSON_NAME, "text": f"@{name} {QUESTION}"})
    scene = prompt.Scene(
        name=name,
        character=character,
        brief=brief,
        members=members,
        lately=lately[-design.pace.context_window_size :],
        cause="addressed",
        answers=2,
        minutes_left=max(0, round(design.pace.session_duration_minutes)),
        blocked=False,
        disclosed=design.disclosure == "at_once",
    )
    native = house.settings.tool_mode == "native"
    opening = prompt.chat_opening(scene, CHAT_ACTIONS, marker=prompt.marker(0, 0), native=native)
    messages = tuple(map(told, opening))
    return AgentPrompt(name, kind, character, messages, tokens(CHAT_ACTIONS.tools.decode()) if native else 0)
