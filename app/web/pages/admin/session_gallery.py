"""Sessions to begin with: three that fill a form."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.web.pages.admin.session_fields import Begun, Typed, blank


@dataclass(frozen=True)
class Template:
    """A form that is filled in; `fills` differs from the blank one."""

    kind: Begun
    title: str
    words: str
    fills: Mapping[str, str]


GALLERY: Mapping[str, Template] = {
    "rare-earths": Template(
        "dialogue",
        "Rare earths, two voices",
        "A geologist and a journalist talk about metals for electric motors, turn by turn, until they say goodbye.",
        {
            "name": "Rare earths",
            "bot1_name": "Geologist",
            "bot1_prompt": "You are a geologist who has worked in rare earth mines for twenty years. You answer in two "
            "or three sentences, with figures where you know them, and say so where you do not.",
            "bot2_name": "Journalist",
            "bot2_prompt": "You are a journalist, curious and critical. You ask one question at a time and doubt easy "
            "answers. Two sentences at most.",
            "seed_from": "Editor",
            "seed_message": "Where will the world get enough rare earth metals for electric motors?",
            "turns": "12",
            "seed": "7",
        },
    ),
    "returnable-cup": Template(
        "focus_group",
        "A returnable cup",
        "Twelve people out of demographics discuss a product in three rounds, then answer three questions; who would "
        "use it, why, and at which deposit is extracted with quotes.",
        {
            "name": "Returnable cup",
            "demographics": "age: 18-29 = 25, 30-49 = 40, 50-80 = 35\ngender: female = 50, male = 50\n"
            "region: city = 60, country = 40",
            "count": "12",
            "stimulus_type": "product",
            "content": "A reusable coffee cup with a deposit of two euros that every café of the town takes back.",
            "context": "The town has 80,000 inhabitants and 60 cafés.",
            "questions": "open: What do you think of this cup?\n[use] likert: I would use this cup.\n"
            "[deposit] number: What deposit would you accept? | 0..20 euros\n"
            "[colour] single: Which colour should it have? | green | white | black",
            "rounds": "3",
            "objective": "Find out who would use the cup, and what keeps others from it.",
            "fields": "would_use (boolean): would use the cup\nreason: the main reason, for or against\n"
            "feeling (glad | indifferent | annoyed): how the person feels about it",
            "seed": "7",
        },
    ),
    "four-day-week": Template(
        "survey",
        "A four-day week",
        "Fifty people answer five questions of different types, each for themselves; shares come with intervals.",
        {
            "name": "Four-day week",
            "demographics": "age: 18-34 = 35, 35-54 = 40, 55-67 = 25\ngender: female = 50, male = 50\n"
            "occupation: office = 45, care = 20, trade = 20, industry = 15",
            "count": "50",
            "stimulus_type": "scenario",
            "content": "Your employer offers a week of four days, with the same pay and one hour more on each day.",
            "questions": "[take] single: Would you take the offer? | yes | no | not sure\n"
            "[rested] likert: I would be better rested. | 7\n"
            "[hours] number: How many hours of free time would you win in a week? | 0..24 hours\n"
            "[free_day] ranking: Which day should be free? | Monday | Wednesday | Friday\n"
            "[why] open: What speaks against it for you? | if take = no, not sure",
            "seed": "7",
        },
    ),
}


def filled(template: Template) -> Typed:
    """The form of a template."""
    given = blank(template.kind)
    return Typed({**given.texts, **template.fills}, given.checks)
