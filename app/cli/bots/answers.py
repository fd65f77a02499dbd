"""Answers to questions: by chance, but such as the question allows."""

from math import ceil, floor
from random import Random

from app.cli.bots.pages import Form, Unexpected
from app.venues.chatroom.design import Question

TALK = (
    "I have thought about this more than once and I am still of two minds as it depends on the day and on who asks "
    "most people I know would say the same though not for the same reason and that is what makes it interesting"
)
SKIPS = 0.2
"""How often a question that need not be answered is left out."""

OPEN_MOST = 300
LIMITLESS = 1_000


def filled(form: Form, questions: list[Question], random: Random) -> list[tuple[str, str]]:
    """A page of questions with all that must be answered, and most of the rest.

    Raises:
        Unexpected: the page does not ask what the study asks.
    """
    fields: list[tuple[str, str]] = []
    for question in questions:
        name = f"q-{question.id}"
        if name not in form:
            raise Unexpected(f"the page does not ask the question {question.id}")
        if not question.required and random.random() < SKIPS:
            continue
        values = values_of(question, random)
        if (offered := form.choices.get(name)) and (missing := set(values) - set(offered)):
            raise Unexpected(f"the page does not offer {sorted(missing)[0]!r} at the question {question.id}")
        fields += [(name, value) for value in values]
    return fields


def values_of(question: Question, random: Random) -> list[str]:
    """What a form sends for one question."""
    least, most = question.bounds()
    match question.kind:
        case "open":
            return [_text(max(1, int(least)), int(most), random)]
        case "single":
            return [random.choice(question.options)]
        case "multiple":
            count = random.randint(max(int(least), question.required), int(most))
            return random.sample(question.options, count)
        case "likert":
            return [str(random.randint(int(least), int(most)))]
        case "number":
            low, high = ceil(max(least, min(-LIMITLESS, most))), floor(min(most, max(LIMITLESS, least)))
            return [str(random.randint(low, high)) if low <= high else f"{least:.12f}"]
    raise AssertionError(question.kind)


def _text(least: int, most: int, random: Random) -> str:
    words = TALK.split()
    start, wanted = random.randrange(len(words)), random.randint(3, 14)
    text = " ".join(words[(start + n) % len(words)] for n in range(wanted))
    while len(text) < least:
        text += " " + random.choice(words)
    return text[: max(least, min(most, OPEN_MOST))].strip().ljust(least, ".")
