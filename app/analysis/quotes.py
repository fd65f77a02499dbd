"""Whether a quote was said: word by word in one line of a transcript, whatever its case, spaces and marks.

Compared are texts in compatibility form (Unicode NFKD, which is equal where NFKC is), case-folded, with apostrophes
within words but no other quotation marks, one kind of dash, and single spaces. A quote may leave out words where it
has an ellipsis. It must begin and end where words do. Words that were changed, moved or taken from two lines are not
found; what a quote means in its context is not judged.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.analysis.words import WORD

WORDS_LEAST, LETTERS_LEAST = 3, 12
"""What a quote must have to be evidence; a sign of a script without spaces counts as a word and as two letters."""

PART_LEAST = 2
"""Words of each part between ellipses."""

MARKS = dict.fromkeys(map(ord, "'\"‘’‚‛“”„‟«»‹›`´′″‵‶ʼ＇＂「」『』"), "'")
DASHES = dict.fromkeys(map(ord, "-‐‑‒–—―−﹘﹣－⁃"), "-")
_ONE = str.maketrans({**MARKS, **DASHES})
_CUT = re.compile(r"[\[(]?(?:…|\.{3,}|\. \. \.)[\])]?")
_DENSE = re.compile(  # Thai, Lao, Burmese, Khmer, kana and Han
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_ENDS = " .,;:'"


@dataclass(frozen=True)
class Line:
    """A line of a transcript: its number, who said it, and in which round."""

    number: int
    speaker: str
    text: str
    round: int | None = None


@dataclass(frozen=True)
class QuoteFound:
    """Where a quote was found: `text[start:end]` of a line holds it, with what an ellipsis left out."""

    line: int
    speaker: str
    start: int
    end: int


@dataclass(frozen=True)
class _Plain:
    text: str
    starts: "array[int]"
    ends: "array[int]"
    """Where in the original each sign begins and ends."""


def found(quote: str, lines: Iterable[Line], *, speaker: str | None = None) -> QuoteFound | None:
    """The first line that holds a quote, of `speaker` before others; None if none does or it is too short to tell."""
    if not is_evidence(quote):
        return None
    wanted = _wanted(quote)
    for line in sorted(lines, key=lambda line: speaker is not None and line.speaker != speaker):
        plain = _plain(line.text)
        for parts in wanted:
            if (span := _span(plain.text, parts)) is not None:
                return QuoteFound(line.number, line.speaker, plain.starts[span[0]], plain.ends[span[1] - 1])
    return None


def is_evidence(quote: str) -> bool:
    """Whether a quote is long enough that it is not in any talk by chance: 3 words and 12 letters."""
    dense = len(_DENSE.findall(quote))
    rest = _plain(_DENSE.sub(" ", quote)).text.strip(_ENDS)
    return _words(quote) >= WORDS_LEAST and len(rest) + 2 * dense >= LETTERS_LEAST


def _wanted(quote: str) -> list[list[str]]:
    """What to look for, in order within a line: the quote as it is, or its parts between ellipses."""
    whole = _plain(quote).text.strip(_ENDS)
    parts = [part for one in _CUT.split(whole) if (part := one.strip(_ENDS))]
    if parts == [whole] or (len(parts) > 1 and any(_words(part) < PART_LEAST for part in parts)):
        return [[whole]]
    return [[whole], parts]


def _words(text: str) -> int:
    return len(WORD.findall(_DENSE.sub(" ", text))) + len(_DENSE.findall(text))


def _span(text: str, parts: Sequence[str]) -> tuple[int, int] | None:
    """From where to where `text` holds the parts in order, each from a word's beginning to a word's end."""
    begin, at = -1, 0
    for part in parts:
        start = next(_whole(text, part, at), None)
        if start is None:
            return None
        begin, at = (start if begin < 0 else begin), start + len(part)
    return (begin, at) if begin >= 0 else None


def _whole(text: str, part: str, at: int) -> Iterator[int]:
    while (at := text.find(part, at)) >= 0:
        if not _inside(text, at) and not _inside(text, at + len(part)):
            yield at
        at += 1


def _inside(text: str, at: int) -> bool:
    """Whether a word goes on across this place."""
    if not 0 < at < len(text):
        return False
    if unicodedata.category(text[at])[0] == "M" and text[at - 1] != " ":
        return True
    before, after = text[at - 1], text[at]
    if before == "'" and at > 1:
        before = text[at - 2]
    elif after == "'" and at + 1 < len(text):
        after = text[at + 1]
    return all(_lettered(sign) and not _DENSE.match(sign) for sign in (before, after))


def _lettered(sign: str) -> bool:
    return sign.isalnum() or (sign != "" and unicodedata.category(sign)[0] == "M")


@lru_cache(maxsize=2048)
def _plain(text: str) -> _Plain:
    """A text in the form that is compared: no quotation marks but within words, no spaces at ends and beside dashes."""
    folded = [(sign, place) for place in _clusters(text) for sign in _folded(text[slice(*place)])]
    around = ["", *(sign for sign, _ in folded), ""]
    kept: list[tuple[str, tuple[int, int]]] = []
    for n, (sign, place) in enumerate(folded):
        last = kept[-1][0] if kept else " "
        if sign == "'" and not (_lettered(around[n]) and _lettered(around[n + 2])):
            continue
        if sign.isspace():
            if last not in " -":
                kept.append((" ", place))
        elif sign == "-":
            if last == " " and kept:
                kept.pop()
            if last != "-":
                kept.append((sign, place))
        else:
            kept.append((sign, place))
    if kept and kept[-1][0] == " ":
        kept.pop()
    starts, ends = (array("I", [place[side] for _, place in kept]) for side in (0, 1))
    return _Plain("".join(sign for sign, _ in kept), starts, ends)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Each sign with the combining marks behind it, which compatibility forms may put in another order."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not unicodedata.combining(text[at]):
            yield start, at
            start = at


def _folded(cluster: str) -> str:
    plain = unicodedata.normalize("NFKD", cluster.translate(_ONE)).casefold()
    kept = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFKD", kept).translate(_ONE)
