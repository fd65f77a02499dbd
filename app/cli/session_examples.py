"""Designs that run as they are: `simfeed session example`."""

from typing import Annotated, Any, Literal

import typer

from app.cli.common import show_json

TOWN: dict[str, Any] = {
    "marginals": {
        "age": {"18-29": 0.2, "30-49": 0.35, "50-64": 0.25, "65+": 0.2},
        "gender": {"woman": 51, "man": 48, "non-binary": 1},
        "leaning": {"left": 40, "centre": 25, "right": 35},
    }
}
CUP = "A reusable coffee cup with a deposit of two euros, taken back in every café of the town."
QUESTIONS: list[dict[str, Any]] = [
    {"key": "use", "type": "likert", "text": "I would use this cup."},
    {
        "key": "why_not",
        "type": "multiple",
        "text": "What would keep you from it?",
        "options": ["the deposit", "carrying it back", "hygiene", "I drink no coffee out", "nothing"],
        "most": 2,
        "when": {"question": "use", "at_most": 3},
    },
    {
        "key": "deposit",
        "type": "number",
        "text": "Which deposit would be right?",
        "least": 0,
        "most": 10,
        "unit": "euros",
    },
    {
        "key": "where",
        "type": "single",
        "text": "Where would you most want it?",
        "options": ["at the station", "at work", "in the market", "nowhere"],
    },
    {
        "key": "matters",
        "type": "ranking",
        "text": "What matters most in it?",
        "options": ["price", "convenience", "less waste"],
    },
    {
        "key": "trust",
        "type": "matrix",
        "text": "How far do you trust each to run it?",
        "rows": ["the town", "the cafés", "a company"],
        "low": "not at all",
        "high": "wholly",
    },
    {"key": "say", "type": "open", "text": "What would you tell those who run it?"},
]
EXAMPLES: dict[str, dict[str, Any]] = {
    "dialogue": {
        "name": "rare earths",
        "channel": "general",
        "bots": [
            {
                "name": "Geologist",
                "prompt": "You are a geologist who knows rare earth metals. Be concise.",
                "options": {"temperature": 0.7, "top_p": 0.9, "num_predict": 300},
            },
            {"name": "Journalist", "prompt": "You are a journalist, curious and critical. Be concise."},
        ],
        "seed_message": {"from": "Host", "message": "Discuss current issues surrounding rare earth metals."},
        "initial_bot": "Journalist",
        "turn_taking": "round_robin",
        "stop": {"turns": 8, "goodbye": True},
        "checks": ["repetition", "convergence"],
        "terms": {"seed": 7},
    },
    "focus_group": {
        "session_config": {"session_name": "Cups with a deposit"},
        "participants": {"mode": "from_demographics", "specifications": TOWN, "count": 12},
        "simulation_config": {
            "environment_type": "focus_group",
            "rounds": 3,
            "enable_memory": True,
            "enable_thinking": True,
            "broadcast_mode": True,
        },
        "stimulus": {"type": "product", "content": CUP},
        "questions": QUESTIONS[:1],
        "extraction_config": {
            "extraction_objective": "Who would use the cup, and what speaks for and against it.",
            "fields": [
                "reason",
                {"name": "would_use", "type": "boolean", "hint": "whether this person would use the cup"},
                {"name": "stance", "type": "category", "options": ["for", "against", "undecided"]},
            ],
            "fields_hints": {"reason": "the main reason that this person gives"},
        },
        "checks": ["adherence", "repetition", "convergence"],
        "terms": {"seed": 7},
    },
    "survey": {
        "session_config": {"session_name": "Cups with a deposit, asked"},
        "participants": {"mode": "from_demographics", "specifications": TOWN, "count": 200},
        "simulation_config": {"environment_type": "survey", "rounds": 1},
        "stimulus": {"type": "product", "content": CUP},
        "questions": QUESTIONS,
        "terms": {"seed": 7},
    },
    "interview": {
        "session_config": {"session_name": "Mornings and cups"},
        "participants": {"mode": "from_demographics", "specifications": TOWN, "count": 4},
        "simulation_config": {"environment_type": "interview", "rounds": 4, "broadcast_mode": False},
        "stimulus": {"type": "message", "content": CUP},
        "questions": [
            {"key": "morning", "type": "open", "text": "How does your morning go, and where does coffee come in?"},
            {"key": "cup", "type": "open", "text": "What would change in it with such a cup?"},
        ],
        "extraction_config": {"fields": ["habit", {"name": "concerns", "type": "list"}]},
        "terms": {"seed": 7},
    },
}


def example(
    kind: Annotated[Literal["dialogue", "focus_group", "survey", "interview"], typer.Argument(help="Of which kind.")],
) -> None:
    """\b
    Examples:
      simfeed session example dialogue > talk.json && simfeed dialogue run talk.json
      simfeed session example focus_group > group.json && simfeed group run group.json
      simfeed session example survey > survey.json && simfeed survey run survey.json
      simfeed session example interview > interview.json && simfeed interview run interview.json

    A design that runs as it is, to begin with.
    """
    show_json(EXAMPLES[kind])
