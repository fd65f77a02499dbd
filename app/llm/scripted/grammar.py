"""Templates become sentences: slots, articles, numbers, capitals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.llm.scripted.chance import order

_SLOT = re.compile(r"(?:\b([Aa])n? )?\{(\^?)(a:)?([a-z_]+\d?|#\d+-\d+)(?:\.(\d))?\}")
_START = re.compile(r"(?:^|(?<=[.!?]\s)|(?<=\n))“?[a-z]")
_SENTENCE = re.compile(r"(?<=[.!?])[”)]?\s+|\n+")
_AN_SOUND = re.compile(r"(?:[aeiou](?!ne\b|nce\b)|hou?r\b|hour|honest|heir|8|11\b|18\b)", re.I)
_A_SOUND = re.compile(r"(?:uni(?!n)|use|usu|eu|one|once|ur[ai])", re.I)


@dataclass(frozen=True)
class Fill:
    """What the slots of one text take: the lists, the words of the occasion, and where in each list we stand."""

    lists: Mapping[str, tuple[str, ...]]
    words: Mapping[str, str]
    key: str
    index: int

    def word(self, name: str, nth: int) -> str:
        if name.startswith("#"):
            return self._number(name, nth)
        if name in self.words:
            return self.words[name]
        fillers = self.lists[name]
        shift = nth * (1 + len(fillers) // 3)
        return fillers[order(f"{self.key}/{name}", len(fillers))[(self.index + shift) % len(fillers)]]

    def _number(self, name: str, nth: int) -> str:
        low, high = (int(end) for end in name[1:].split("-"))
        places = order(f"{self.key}/{name}", min(high - low + 1, 97))
        return str(low + places[(self.index + nth) % len(places)])


def article(word: str) -> str:
    """The word with its indefinite article."""
    bare = word.lstrip("“‘\"'(")
    vowel = _AN_SOUND.match(bare) and not _A_SOUND.match(bare)
    return f"{'an' if vowel else 'a'} {word}"


def write(template: str, fill: Fill) -> str:
    """The template with its slots filled, as a clean text."""

    def put(found: re.Match[str]) -> str:
        before, capital, indefinite, name, nth = found.groups()
        word = fill.word(name, int(nth) - 1 if nth else 0)
        word = article(word) if indefinite or before else word
        return word[:1].upper() + word[1:] if capital or before == "A" else word

    return _START.sub(lambda found: found[0].upper(), _SLOT.sub(put, template))


def slots(template: str) -> list[str]:
    """The names of the template's slots."""
    return [found[4] for found in _SLOT.finditer(template)]


def literals(template: str) -> list[str]:
    """What stands between the template's slots."""
    return re.split(r"(?:\b[Aa]n? )?\{[^{}]*\}", template)


def sentences(text: str) -> list[str]:
    """The sentences of a text, without outer white space."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]
