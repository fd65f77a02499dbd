"""A text enriched or restyled by rules: its nouns stay, its words around them change."""

import random
import re
from collections.abc import Sequence

from app.llm.scripted.asked import Asked
from app.llm.scripted.grammar import sentences
from app.llm.scripted.voices import load
from app.llm.scripted.wording import phrases, stem, tokens

_CONTRACTED = (
    ("I'm", "I am"), ("I've", "I have"), ("I'd", "I would"), ("I'll", "I will"), ("it's", "it is"), ("It's", "It is"),
    ("that's", "that is"), ("That's", "That is"), ("don't", "do not"), ("Don't", "Do not"), ("doesn't", "does not"),
    ("didn't", "did not"), ("isn't", "is not"), ("aren't", "are not"), ("wasn't", "was not"), ("weren't", "were not"),
    ("can't", "cannot"), ("couldn't", "could not"), ("won't", "will not"), ("wouldn't", "would not"),
    ("shouldn't", "should not"), ("haven't", "have not"), ("hasn't", "has not"), ("you're", "you are"),
    ("we're", "we are"), ("they're", "they are"), ("there's", "there is"), ("let's", "let us"), ("what's", "what is"),
)  # fmt: skip
_FORMAL = (
    ("buy", "purchase"), ("get", "obtain"), ("help", "assist"), ("need", "require"), ("show", "demonstrate"),
    ("use", "employ"), ("start", "commence"), ("end", "conclude"), ("ask", "enquire"), ("big", "considerable"),
    ("lots of", "numerous"), ("a lot of", "a great deal of"), ("kids", "children"), ("really", "indeed"),
    ("very", "particularly"), ("but", "however"), ("also", "furthermore"), ("so", "therefore"),
    ("about", "approximately"),
    ("think", "believe"), ("give", "provide"), ("keep", "retain"), ("enough", "sufficient"),
)  # fmt: skip
_FILLERS = re.compile(
    r"\b(?:really|very|quite|rather|just|actually|basically|simply|honestly|certainly|definitely|in fact|of course|"
    r"in my opinion|I think that|it is worth noting that|as a matter of fact|at the end of the day|somewhat"
    r"|perhaps)\b,? ?",
    re.IGNORECASE,
)
_SHORT = re.compile(r"\b(?:short|shorter|shorten|brief|concise|terse|condense|tight|trim|compact)", re.IGNORECASE)
_POLITE = re.compile(r"\b(?:formal|polite|official|academic|professional|serious|business)", re.IGNORECASE)
_EASY = re.compile(
    r"\b(?:casual|informal|friendly|colloquial|relaxed|chatty|conversational|warm|plain|simple)", re.IGNORECASE
)
_DETAILS: tuple[str, ...] = tuple(load("writing")["details"])
_LEADS: tuple[str, ...] = tuple(load("writing")["leads"])


def rewrite(asked: Asked, chance: random.Random) -> str:
    """The text by the wish: shorter, formal, easier, or else with concrete detail. It differs from what it was."""
    text = " ".join(asked.text("text").split())
    if not text:
        return asked.text("wish").strip() or asked.text("title").strip() or "There is no text."
    wish = asked.text("wish")
    if _SHORT.search(wish):
        made = _shorter(text)
    elif _POLITE.search(wish):
        made = _formal(text)
    elif _EASY.search(wish):
        made = _easier(text, chance)
    else:
        made = _richer(text, chance)
    return made if made != text else _richer(text, chance)


def _shorter(text: str) -> str:
    kept: list[str] = []
    told: set[str] = set()
    for sentence in sentences(text):
        nouns = {stem(word) for phrase in phrases(sentence) for word in tokens(phrase.text)}
        if kept and nouns and nouns <= told:
            continue
        told |= nouns
        bare = _capital(_FILLERS.sub("", sentence))
        kept.append(bare)
    made = _contracted(" ".join(kept))
    return made if made != text else f"In short: {text}"


def _formal(text: str) -> str:
    for short, long in _CONTRACTED:
        text = re.sub(rf"\b{re.escape(short)}\b", long, text.replace("’", "'"))
    named = {word for phrase in phrases(text) for word in tokens(phrase.text)}
    for plain, stiff in _FORMAL:
        if plain not in named:
            text = re.sub(rf"\b{plain}\b", stiff, text)
            text = re.sub(rf"\b{plain.capitalize()}\b", stiff.capitalize(), text)
    first, rest = text[:1], text[1:]
    return f"It may be noted that {first if first == 'I' and rest[:1] in (' ', chr(39)) else first.lower()}{rest}"


def _contracted(text: str) -> str:
    for short, long in _CONTRACTED:
        text = re.sub(rf"\b{long}\b", short, text)
    return text


def _easier(text: str, chance: random.Random) -> str:
    made = _contracted(text)
    named = {word for phrase in phrases(text) for word in tokens(phrase.text)}
    for plain, stiff in _FORMAL[:12]:
        if stiff not in named:
            made = re.sub(rf"\b{stiff}\b", plain, made)
    return f"{chance.choice(_LEADS)} {made}"


def _richer(text: str, chance: random.Random) -> str:
    """A sentence of detail behind some of the sentences, on something that each names."""
    found = sentences(text)
    lines = list(_DETAILS)
    chance.shuffle(lines)
    made: list[str] = []
    for place, sentence in enumerate(found):
        made.append(sentence)
        named = [phrase.named for phrase in phrases(sentence)]
        if named and lines and (place % 2 == 0 or len(found) < 3):
            thing = max(named, key=len)
            line = lines.pop()
            made.append(line.replace("{^d}", _capital(thing)).replace("{d}", thing))
    return " ".join(_ended(made)) if len(made) > len(found) else f"{text} {_PLAIN_DETAIL}"


_PLAIN_DETAIL = "That is how it looks from close by, on an ordinary day."


def _ended(parts: Sequence[str]) -> list[str]:
    return [part if part[-1:] in ".!?…”\"')" else f"{part}." for part in parts]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
