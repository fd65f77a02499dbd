"""A persona's voice: a bank of templates, and the place in it that the persona's counters name."""

import unicodedata
from dataclasses import dataclass

from app.llm.scripted.chance import order, spread
from app.llm.scripted.grammar import Fill, sentences, write
from app.llm.scripted.reading import Post, Remark
from app.llm.scripted.topics import quotes, topics
from app.llm.scripted.voices import Bank
from app.world.text import BIO_MAX, COMMENT_MAX, POST_MAX, TITLE_MAX

TITLE_MARK = " || "
_TRIES = 6
_SHAPES = ("both", "stance", "both", "hook", "both", "stance", "both", "both", "hook", "stance", "both")


@dataclass(frozen=True)
class Voice:
    bank: Bank
    key: str

    def post(self, written: int, about: Post | None, heard: str) -> dict[str, object]:
        """The arguments of the next create_post, taking up `about` if given."""
        for attempt in range(_TRIES):
            text = self._post(written + attempt * (len(self.bank.posts) + len(self.bank.callbacks)), about)
            if not _said(text, heard):
                break
        title, mark, body = text.rpartition(TITLE_MARK)
        extra: dict[str, object] = {"title": _cut(title, TITLE_MAX)} if mark else {}
        return {"body": _cut(body, POST_MAX), **extra}

    def comment(self, on: Post | Remark, mood: str, commented: int, heard: str) -> str:
        """A comment that answers `on`."""
        for attempt in range(_TRIES):
            text = self._comment(on, mood, commented + attempt * 101)
            if not _said(text, heard):
                break
        return _cut(text, COMMENT_MAX)

    def opinion(self, text: str, index: int) -> str:
        """What the persona thinks of what a text is about, said to nobody in particular."""
        known = [topic for topic, _ in topics(text)[:2] if topic in self.bank.stances]
        lines = [
            line for topic in (*known, "any") for line in self.bank.stances.get(topic, ()) if "{author}" not in line
        ]
        alone = tuple(line for line in lines if "{q}" not in line)
        return (
            self._write(self._pick(f"on {'/'.join(known)}", alone, index), index) if alone else self._post(index, None)
        )

    def quote(self, on: Post, mood: str, index: int, heard: str) -> str:
        """A sentence to stand over `on`, with words out of it, so that no other quote says the same."""
        hooks = self._hooks(mood)
        apt = [line for line in (*hooks, *self.bank.callbacks) if "{q}" in line and len(sentences(line)) == 1]
        for attempt in range(_TRIES):
            line = self._pick(f"quote/{mood}", tuple(apt) or hooks, index + attempt)
            text = self._write(line, index + attempt * 101, self._occasion(on, index))
            if not _said(text, heard):
                break
        return _cut(text, POST_MAX)

    def bio(self, index: int) -> str:
        return _cut(self._write(self._pick("bios", self.bank.bios, index), index), BIO_MAX)

    def reason(self, index: int) -> str:
        return self._write(self._pick("reasons", self.bank.reasons, index), index)

    def search(self, index: int) -> str:
        return self._pick("searches", self.bank.searches, index)[:100]

    def warmth(self, post: Post | Remark) -> float:
        """How much the persona likes what the post is about and who wrote it: about -2 to 2."""
        about = [topic for topic, _ in topics(post.text)[:2]]
        subject = sum(topic in self.bank.warm for topic in about) - sum(topic in self.bank.cold for topic in about)
        return subject * 0.5 + (post.by in self.bank.allies) - (post.by in self.bank.foils)

    def has_view(self, post: Post) -> bool:
        return any(topic in self.bank.stances for topic, _ in topics(post.text)[:2])

    def _post(self, index: int, about: Post | None) -> str:
        if index == 0 and self.bank.hellos:
            return self._write(self._pick("hellos", self.bank.hellos, 0), index)
        places = spread(f"{self.key}/posts", self.bank.forms + ("callback",) * len(self.bank.callbacks))
        place, last = places[index % len(places)], len(self.bank.posts)
        words = self._occasion(about, index) if about and place >= last else {}
        template = self.bank.callbacks[place - last] if words else self.bank.posts[place % last]
        return self._write(template, index, words)

    def _comment(self, on: Post | Remark, mood: str, index: int) -> str:
        words = self._occasion(on, index)
        shape = _SHAPES[order(f"{self.key}/shapes", len(_SHAPES))[index % len(_SHAPES)]]
        hooked = bool(words) and shape != "stance"
        line = self._stance(on, index, words, widely=hooked)
        if not hooked:
            return line if f"@{on.by}" in line else f"@{on.by} {line}"
        hook = self._write(self._pick(mood, self._hooks(mood), index), index, words)
        return hook if shape == "hook" else f"{hook} {line.replace(f', @{on.by}', '')}"

    def _hooks(self, mood: str) -> tuple[str, ...]:
        return {"agree": self.bank.agree, "needle": self.bank.needle}.get(mood, self.bank.muse)

    def _stance(self, on: Post | Remark, index: int, words: dict[str, str], widely: bool) -> str:
        """What the persona thinks of the topic; `widely` also what it thinks of everything."""
        known = [topic for topic, _ in topics(on.text)[:2] if topic in self.bank.stances]
        lines = (() if widely else self._due(known, index)) or self._due([*known, "any"], index)
        return self._write(self._pick("/".join(known), lines, index // 3), index + 7, {**words, "author": f"@{on.by}"})

    def _due(self, about: list[str], index: int) -> tuple[str, ...]:
        """The lines whose turn it is: a third of them, so that a line meets the same fillers 33 comments apart."""
        stances = self.bank.stances
        return tuple(line for topic in about for place, line in enumerate(stances[topic]) if (place + index) % 3 == 0)

    def _occasion(self, on: Post | Remark, index: int) -> dict[str, str]:
        """The author and a quotation; empty where nothing can be quoted."""
        found = quotes(on.text)[:4]
        return {"author": f"@{on.by}", "q": found[index % len(found)]} if found else {}

    def _pick(self, use: str, lines: tuple[str, ...], index: int) -> str:
        return lines[order(f"{self.key}/{use}", len(lines))[index % len(lines)]]

    def _write(self, template: str, index: int, words: dict[str, str] | None = None) -> str:
        return write(template, Fill(self.bank.lists, words or {}, self.key, index))


def _said(text: str, heard: str) -> bool:
    """Whether somebody, perhaps we, said a sentence of `text` already."""
    return any(sentence in heard for sentence in sentences(text.replace(TITLE_MARK, " ")))


def _cut(text: str, limit: int) -> str:
    """The text within `limit` characters, ending with a whole sentence where that loses little."""
    text = unicodedata.normalize("NFC", text).strip()
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    stop = max(kept.rfind(mark) for mark in (". ", "? ", "! "))
    return kept[: stop + 1] if stop > limit // 3 else kept.rstrip() + "…"
