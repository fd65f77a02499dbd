"""What a room in simulated time will take, about, before it is played: calls and tokens, from its setting alone."""

from dataclasses import dataclass

from app.actions.showing import tokens
from app.agent.prompt import text
from app.llm.budget import pricing_of
from app.llm.model import Usage
from app.settings import Settings
from app.venues.chatroom.setting import RoomSetting

CALLS_A_GO, TOOLS_TOKENS, CHARACTER_TOKENS, SAID_TOKENS, REPLY_TOKENS = 1.1, 130, 60, 35, 35
"""Calls that a go takes; tokens of the actions, of a character, of a message that is shown, and of a reply."""


@dataclass(frozen=True)
class Forecast:
    """What a room takes. `usd` is None where a price is unknown; `unpriced` names those models."""

    calls: float
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    unpriced: tuple[str, ...]


def forecast(settings: Settings, setting: RoomSetting) -> Forecast:
    """What one room of this setting takes: a go for each moment of the agents and the person, and for each answer."""
    person, pace = setting.participant, setting.pace
    minutes = pace.session_duration_minutes
    own = person.messages_per_minute * minutes
    agents = max(pace.messages_per_minute * minutes, (own + len(person.script)) * pace.user_response_probability)
    spoken_to = agents * person.answer_probability / len(setting.cast)
    usual = settings.simfeed_model
    goes: dict[str, float] = {}
    for member in setting.cast:
        model = setting.model or member.model or usual
        goes[model] = goes.get(model, 0.0) + agents / len(setting.cast)
    theirs = person.model or usual
    goes[theirs] = goes.get(theirs, 0.0) + own + spoken_to
    shown = _window(pace.context_window_size, agents + own + spoken_to) * SAID_TOKENS
    prompt = tokens(text("chatroom")) + tokens(setting.prompt_template or "") + TOOLS_TOKENS + CHARACTER_TOKENS + shown
    pricing = pricing_of(settings)
    used = {
        model: Usage(round(times * CALLS_A_GO * prompt), round(times * CALLS_A_GO * REPLY_TOKENS))
        for model, times in goes.items()
    }
    usd = {model: pricing(model, usage) for model, usage in used.items()}
    return Forecast(
        sum(goes.values()) * CALLS_A_GO,
        sum(usage.prompt for usage in used.values()),
        sum(usage.completion for usage in used.values()),
        None if None in usd.values() else sum(value or 0.0 for value in usd.values()),
        tuple(sorted(model for model, value in usd.items() if value is None)),
    )


def _window(most: int, messages: float) -> float:
    """How many messages are shown, on average over a room that begins empty."""
    return messages / 2 if messages <= most else most - most**2 / (2 * messages)
