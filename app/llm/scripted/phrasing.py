"""Sentences for a session's talk, out of data files: each speaker walks along the banks from a place of its own."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from app.llm.scripted.chance import order
from app.llm.scripted.grammar import Fill, literals, sentences, slots, write

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff{}]+")
_COMMON = 5
"""Words up to which a sentence may be said again: "That depends."."""

_STRIDE = 17


@lru_cache(maxsize=8_192)
def mark_of(template: str) -> str:
    """The longest piece of a template, by which what came of it is known again; "" where that is too short."""
    longest = max((plain(piece).strip(" .,;:!?“”") for piece in literals(template)), key=len, default="")
    return longest if len(longest) > 5 else ""


@lru_cache(maxsize=8_192)
def _slots(template: str) -> tuple[str, ...]:
    return tuple(slots(template))


def plain(text: str) -> str:
    """A text as it is compared."""
    return text.lower().replace("’", "'")


@dataclass
class Phrasing:
    """One speaker's way through the banks: `key` shuffles them, `at` is its place, `heard` what was said, in plain."""

    key: str
    at: int
    lists: Mapping[str, tuple[str, ...]]
    words: Mapping[str, str]
    chance: random.Random
    heard: str = ""
    told: list[str] = field(default_factory=list)

    def line(self, use: str, lines: Sequence[str], **words: str) -> str:
        """The first line from the own place on that fits and wasn't heard; "" where there is none."""
        known = {**self.words, **words}
        places = order(f"{self.key}/{use}/{self.at // len(lines)}", len(lines)) if lines else ()
        for step in range(len(lines)):
            line = (
                lines[places[(self.at + step * _STRIDE) % len(lines)]] if step else lines[places[self.at % len(lines)]]
            )
            if self._fits(line, known) and not self._stale(line):
                return self._written(line, use, known)
        return ""

    def again(self, use: str, lines: Sequence[str], **words: str) -> str:
        """A line that fits, heard or not."""
        known = {**self.words, **words}
        fit = [line for line in lines if self._fits(line, known)]
        return self._written(fit[order(f"{self.key}/{use}", len(fit))[self.at % len(fit)]], use, known) if fit else ""

    def _fits(self, line: str, known: Mapping[str, str]) -> bool:
        return all(slot in known or self.lists.get(slot) or slot[0] == "#" for slot in _slots(line))

    def _stale(self, line: str) -> bool:
        sign = mark_of(line)
        return bool(sign) and (sign in self.heard or any(sign in one for one in self.told))

    def _written(self, line: str, use: str, known: Mapping[str, str]) -> str:
        filled = write(line, Fill(self.lists, known, f"{self.key}/{use}", self.at))
        text = _named(_CONTROLS.sub(" ", filled).strip(), known.get("a", ""))
        self.told.append(plain(text))
        return text

    def fresh(self, text: str) -> bool:
        """Whether nothing of a text but what is short was heard word for word."""
        return bool(text) and not any(
            len(one.split()) > _COMMON and plain(one).strip(" .!?") in self.heard for one in sentences(text)
        )

    def whole(self, compose: Callable[[], Sequence[str]], most: int, tries: int = 6) -> str:
        """What `compose` gives, as one text of at most so many characters; made again as long as it repeats."""
        text = ""
        for _ in range(tries):
            self.told.clear()
            text = clip(" ".join(dict.fromkeys(part for part in compose() if part)), most)
            if self.fresh(text):
                return text
            self.at += _STRIDE + 2
        return text


def _named(text: str, name: str) -> str:
    """The text with a name as its bearer writes it, at the beginning of a sentence too."""
    return text.replace(name[:1].upper() + name[1:], name) if name[:1].islower() else text


def clip(text: str, most: int) -> str:
    """At most so many characters, in whole sentences where that can be."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    stop = max(kept.rfind(mark) for mark in (". ", "? ", "! "))
    return kept[: stop + 1] if stop > most // 3 else kept.rstrip() + "…"
