"""What the offline model makes of the news: it reads them now and then, and says what it thinks of what it read."""

import random
from collections.abc import Sequence

from app.llm.scripted.reading import Call, News, Scene
from app.llm.scripted.topics import topics
from app.llm.scripted.voice import Voice

READS, SPEAKS = 0.5, 0.7
"""How often a persona looks at the news where it may, and how often a post of one who has is about them."""

TITLE_MAX = 90
_LOOKS = ("view_news", "view_trends")
_LEADS = (
    "“{title}”, I read.",
    "So: “{title}”.",
    "It is in the news: “{title}”.",
    "“{title}”. They print this now.",
    "Somebody explain “{title}” to me.",
    "I have read “{title}” twice.",
)
_FROM = ("{source} says: “{title}”.", "“{title}”, says {source}.", "{source} has it that “{title}”.")


def looks(scene: Scene, chance: random.Random) -> list[Call]:
    """What is looked up of the world around, before anything else; nothing is drawn where nothing is offered."""
    return [Call(name, {}) for name in _LOOKS if name in scene.offered and chance.random() < READS]


def about_news(scene: Scene, voice: Voice, index: int, chance: random.Random, heard: str) -> dict[str, object] | None:
    """The arguments of a post about what was read; None where there is no news, or nothing to say of them."""
    fresh = [one for one in scene.news if quoted(one) not in heard]
    if not fresh or chance.random() >= SPEAKS:
        return None
    item = _nearest(fresh, voice, chance)
    leads = _LEADS + _FROM * bool(item.source)
    lead = chance.choice(leads).format(title=quoted(item), source=item.source)
    return {"body": f"{lead} {voice.opinion(f'{item.title} {item.text}', index)}"[:500].strip()}


def quoted(item: News) -> str:
    """A headline as it is quoted: short enough to leave room, and without quotation marks of its own."""
    title = item.title.translate(dict.fromkeys(map(ord, '“”„"')))
    return title if len(title) <= TITLE_MAX else title[: TITLE_MAX - 1].rsplit(" ", 1)[0] + "…"


def _nearest(news: Sequence[News], voice: Voice, chance: random.Random) -> News:
    """What the persona has a view of, rather than anything."""
    known = [one for one in news if any(topic in voice.bank.stances for topic, _ in topics(one.title)[:2])]
    return chance.choice(known or list(news))
