"""What a session will take, about, before it is begun: calls and tokens, from its design alone."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.actions.asking import Question
from app.actions.showing import tokens
from app.llm.budget import pricing_of
from app.llm.model import Usage
from app.settings import Settings
from app.venues.dialogue import WINDOW_TOKENS
from app.venues.group import HEARD_TOKENS, OWN_TOKENS, asked_of, pages_of
from app.venues.session.design import Dialogue, Simulation
from app.venues.session.reading import MATERIAL_TOKENS, WHOLE_TOKENS

ASK_TOKENS, BOT_TOKENS, CHARACTER_TOKENS = 330, 110, 120
"""Tokens of a prompt without what was said: of an ask with its tool, of a dialogue's turn, of a character."""

SAID_TOKENS, FIELD_TOKENS, SUMMARY_TOKENS, SHORT_TOKENS = 70, 45, 250, 15
QUESTION_TOKENS = 45
"""What an utterance, a field that is found, a summary, a choice and a question that is put take, as measured."""


@dataclass(frozen=True)
class Forecast:
    """What a session takes; `usd` is None where its model's price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    model: str


@dataclass(frozen=True)
class _Asks:
    """So many asks of so many tokens each."""

    times: int
    prompt: float
    completion: float


def forecast(settings: Settings, design: Dialogue | Simulation, people: int) -> Forecast:
    """What `design` takes with so many participants, all asked once, nothing answered from earlier sessions."""
    asks = list(_dialogue(design) if isinstance(design, Dialogue) else _simulation(design, people))
    usage = Usage(round(sum(a.times * a.prompt for a in asks)), round(sum(a.times * a.completion for a in asks)))
    model = design.terms.model or settings.simfeed_model
    usd = pricing_of(settings)(model, usage)
    return Forecast(sum(a.times for a in asks), usage.prompt, usage.completion, usd, model)


def _dialogue(design: Dialogue) -> Iterator[_Asks]:
    turns, bots = design.stop.turns, len(design.bots)
    said = min(SAID_TOKENS * min(design.window, turns) * 0.6, WINDOW_TOKENS) + tokens(design.seed_message.message)
    prompts = sum(tokens(bot.prompt) + (CHARACTER_TOKENS if bot.persona else 0) for bot in design.bots) / bots
    yield _Asks(turns, BOT_TOKENS + prompts + said, SAID_TOKENS)
    if design.turn_taking == "moderated" and design.moderator == "model":
        yield _Asks(turns - 1, ASK_TOKENS + said, SHORT_TOKENS)
    if design.turn_taking == "raised_hands":
        yield _Asks((turns - 1) * (bots - 1), ASK_TOKENS + prompts + said, SHORT_TOKENS)


def _simulation(design: Simulation, people: int) -> Iterator[_Asks]:
    config = design.simulation_config
    topic = tokens(design.stimulus.content) + tokens(design.stimulus.context) if design.stimulus else 0
    asked = asked_of(design)
    survey = config.environment_type == "survey"
    spoken = sum(question.type == "open" for question in design.questions)
    rounds = 0 if survey else max(config.rounds, spoken)
    for number in range(rounds):
        heard = min(SAID_TOKENS * 2 * number, OWN_TOKENS) if config.enable_memory else 0
        if config.enable_memory and config.broadcast_mode and config.environment_type == "focus_group":
            heard += min(SAID_TOKENS * number * people, HEARD_TOKENS)
        thought = 1.5 if config.enable_thinking else 1
        yield _Asks(people, ASK_TOKENS + CHARACTER_TOKENS + topic + heard, SAID_TOKENS * thought)
    own = min(SAID_TOKENS * 2 * rounds, OWN_TOKENS) if config.enable_memory else 0
    for page in pages_of(asked) if asked else ():
        put = sum(_put(question) for question in page)
        given = sum(SAID_TOKENS if question.type == "open" else SHORT_TOKENS for question in page)
        times = people * (config.rounds if survey else 1)
        yield _Asks(times, ASK_TOKENS + CHARACTER_TOKENS + topic + own + put, given)
    yield from _readings(design, people, SAID_TOKENS * rounds + (SAID_TOKENS if asked else 0))


def _put(question: Question) -> float:
    """A question stands in the data and, with its options, in the tool's schema."""
    options = [*getattr(question, "options", ()), *getattr(question, "rows", ())]
    return QUESTION_TOKENS + tokens(question.text) + 2 * sum(tokens(option) for option in options)


def _readings(design: Simulation, people: int, said: float) -> Iterator[_Asks]:
    """Extraction, the summary and the judge read what each has said."""
    config = design.extraction_config
    if config is not None and config.extract_results:
        fields = len(config.fields)
        whole = config.per == "run"
        read = min(said * (people if whole else 1), WHOLE_TOKENS if whole else MATERIAL_TOKENS)
        times = (1 if whole else people) * config.repetitions
        yield _Asks(times, ASK_TOKENS + 2 * FIELD_TOKENS * fields + read, FIELD_TOKENS * fields)
    if config is not None and config.summary:
        yield _Asks(1, ASK_TOKENS + min(said * people, WHOLE_TOKENS), SUMMARY_TOKENS)
    if "judge" in design.checks:
        yield _Asks(people, ASK_TOKENS + CHARACTER_TOKENS + min(said, MATERIAL_TOKENS), SHORT_TOKENS * 3)
