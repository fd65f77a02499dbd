"""What the small model is given: who speaks, a few lines in the same voice, and how the next line begins."""

import re
from dataclasses import dataclass

from app.llm.scripted.anybody import invent
from app.llm.scripted.reading import Call, Persona, Post, Remark, Scene
from app.llm.scripted.voice import Voice
from app.llm.scripted.voices import bank
from app.world.text import BIO_MAX, COMMENT_MAX, POST_MAX

FIELDS = {"create_post": ("body", POST_MAX), "comment_on_post": ("body", COMMENT_MAX), "update_bio": ("bio", BIO_MAX)}
"""The calls whose text is written anew: which argument it is, and how long it may be."""

_SHOTS = 3
_OPENER_WORDS = 8
_MENTION = re.compile(r"@([A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)")
_ASK = {
    "create_post": "Write a short post.",
    "comment_on_post": "{by} posted: {said}\nWhat do you answer?",
    "update_bio": "Say who you are in one line.",
}


@dataclass(frozen=True)
class Task:
    """One text to write: the prompt, whose last words are `opener`, and what to hold the result against.

    `known` are the texts it must not copy, `names` the handles it may mention, `kept` the scripted
    text that stands when no draft is good enough.
    """

    call: int
    name: str
    prompt: str
    opener: str
    kept: str
    limit: int
    known: tuple[str, ...]
    names: frozenset[str]
    about: str
    me: str


def task(scene: Scene, call: Call, place: int, seed: int) -> Task | None:
    """The text that a planned call leaves to the model; None when it has none."""
    field, limit = FIELDS.get(call.name, ("", 0))
    kept = call.arguments.get(field)
    if not isinstance(kept, str) or not kept.strip():
        return None
    persona = scene.persona
    voice = Voice(bank(persona.username) or invent(persona), f"{seed}/{persona.username}")
    on = _target(scene, call, kept)
    shots = _shots(voice, scene, call.name, on, kept)
    begins = opener(kept)
    asked = _asked(call, on)
    turns = "".join(_turn(question, answer) for question, answer in shots)
    prompt = f"<|im_start|>system\n{_who(persona)}<|im_end|>\n{turns}{_turn(asked, begins, open_=True)}"
    seen = [p.text for p in scene.posts.values()] + [remark.text for remark in scene.remarks]
    own = [str(made.arguments.get("body", "")) for made in scene.made]
    return Task(
        call=place,
        name=call.name,
        prompt=prompt,
        opener=begins,
        kept=kept,
        limit=limit,
        known=(*(answer for _, answer in shots), *seen, *own, scene.lately, persona.description, asked),
        names=frozenset(_MENTION.findall(kept)),
        about=" ".join([persona.description, persona.role, *(a for _, a in shots), kept, on.text if on else ""]),
        me=persona.username,
    )


def opener(text: str) -> str:
    """How a text begins: about half of it, at most eight words, whole quotations, up to a handle near the start."""
    words = text.split()
    least = next((n for n, word in enumerate(words[:12], 1) if "@" in word), 0)
    most = max(least, min(_OPENER_WORDS, len(words) // 2), 2)
    for size in range(min(most, len(words)), max(least, 2) - 1, -1):
        piece = " ".join(words[:size])
        if piece.count("“") == piece.count("”") and piece.count('"') % 2 == 0:
            return piece
    return " ".join(words[: max(least, 2)])


def _target(scene: Scene, call: Call, kept: str) -> Post | Remark | None:
    """What a comment answers: the remark of whom it names under the post, else the post."""
    post_id, named = call.arguments.get("post_id"), set(_MENTION.findall(kept))
    remarks = [r for r in scene.remarks if r.post_id == post_id and r.by in named]
    post = scene.posts.get(post_id) if isinstance(post_id, int) else None
    return post if post is not None and (post.by in named or not remarks) else remarks[-1] if remarks else None


def _shots(voice: Voice, scene: Scene, name: str, on: Post | Remark | None, kept: str) -> list[tuple[str, str]]:
    """What this voice said on like occasions, as (question, answer)."""
    start = 17 + scene.written + scene.commented
    if name == "comment_on_post":
        others = [post for post in scene.posts.values() if post.by != scene.persona.username and post.text]
        posts = [post for post in others if on is None or post.text != on.text][: _SHOTS - 1]
        shots = [(_question(post), voice.comment(post, "muse", start + n, kept)) for n, post in enumerate(posts)]
    elif name == "update_bio":
        shots = [(_ASK[name], voice.bio(start + n)) for n in range(_SHOTS)]
    else:
        shots = [(_ASK[name], str(voice.post(start + n, None, kept)["body"])) for n in range(_SHOTS)]
    return [(question, answer) for question, answer in shots if answer and answer != kept]


def _asked(call: Call, on: Post | Remark | None) -> str:
    title = call.arguments.get("title")
    if isinstance(title, str) and title:
        return f"Write a short post with the title {plain(title, 120)}."
    return _question(on) if call.name == "comment_on_post" else _ASK[call.name]


def _question(on: Post | Remark | None) -> str:
    if on is None:
        return "What do you answer?"
    return _ASK["comment_on_post"].format(by=f"@{on.by}", said=plain(on.text, 240))


def _who(persona: Persona) -> str:
    role = f", {plain(persona.role, 80)}" if persona.role else ""
    style = f" Style: {plain(persona.fact('Style'), 120)}." if persona.fact("Style") else ""
    return f"You are {persona.username.replace('_', ' ')}{role}. {plain(persona.description, 360)}{style}"


def _turn(question: str, answer: str, *, open_: bool = False) -> str:
    said = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{plain(answer, 300)}"
    return said if open_ else f"{said}<|im_end|>\n"


def plain(text: str, limit: int) -> str:
    """`text` on one line, within `limit`, with nothing in it that the model takes for the end of a message."""
    return " ".join(text.replace("<|", "‹").replace("|>", "›").split())[:limit].rstrip()
