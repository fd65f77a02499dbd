"""What is written about a talk: a summary, a document with quotes, a judgement; and who speaks next in it."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from app.llm.scripted.asked import Asked, Line, strings
from app.llm.scripted.chance import stream
from app.llm.scripted.disposition import even, leaning, nature
from app.llm.scripted.grammar import sentences
from app.llm.scripted.voices import words
from app.llm.scripted.wording import Phrase, joined, phrases, slant, stems, subject, tokens

SUMMARY_MOST, QUOTE_MOST = 1_400, 240

_HEADS = {
    "minutes": ("Present", "Discussion", "For", "Against", "Open points"),
    "article": ("What it is about", "What speaks for it", "What speaks against it", "What remains"),
    "report": ("Background", "What was raised", "Arguments for", "Arguments against", "Conclusion"),
}


def talked_of(asked: Asked) -> str:
    """What a talk is about, as a phrase."""
    found = subject(asked.text("topic") or asked.text("situation") or asked.text("title") or asked.text("context"))
    if found is None and asked.said:
        found = subject(" ".join(line.text for line in asked.said[:3]))
    return found.named if found else "the subject"


def sides(said: Sequence[Line]) -> dict[str, int]:
    """Name → for (1), against (-1) or neither (0), by the words that each used."""
    total = Counter[str]()
    for line in said:
        total[line.by] += max(-2, min(2, slant(line.text)))
    return {by: (total[by] > 0) - (total[by] < 0) for by in dict.fromkeys(line.by for line in said)}


def raised(said: Sequence[Line], topic: str = "", most: int = 4) -> list[tuple[str, list[str]]]:
    """What was spoken of: (thing, by whom), first what the topic names, then the most widely shared. The subject itself
    is no point."""
    whole, near, weak = subject(topic), stems(topic), frozenset(words("weak_things"))
    by_whom: dict[str, list[str]] = {}
    shown: dict[str, Phrase] = {}
    names = {word for line in said for word in tokens(line.by)}
    for line in said:
        for phrase in phrases(line.text):
            key = phrase.text.lower()
            if (
                len(key) < 4
                or set(tokens(key)) <= weak
                or names & set(tokens(key))
                or (whole and key == whole.text.lower())
            ):
                continue
            shown.setdefault(key, phrase)
            if line.by not in (known := by_whom.setdefault(key, [])):
                known.append(line.by)
    ranked = sorted(by_whom, key=lambda key: (not stems(key) & near, -len(by_whom[key]), " " not in key, key))
    return [(shown[key].named, by_whom[key]) for key in ranked[:most]]


def _telling(line: Line) -> str:
    """The sentence of a line that says most, to be quoted."""
    found = [
        one for one in sentences(line.text) if len(one.split()) > 3 and len(one) <= QUOTE_MOST and not one.endswith("?")
    ]
    return max(found, key=lambda one: (abs(slant(one)), len(stems(one)))) if found else ""


MODERATOR = "Moderator"
"""Whose lines are what was asked, and no opinion."""


def summarise(asked: Asked) -> str:
    """Who is for it, who against, what was raised, and two voices, all of it out of the lines."""
    about = talked_of(asked)
    said = tuple(line for line in asked.said if line.by != MODERATOR)
    if not said:
        return f"Nothing was said about {about}."
    where = sides(said)
    names = {side: [by for by, taken in where.items() if taken == side] for side in (1, -1, 0)}
    parts = [
        f"{_counted(len(where), 'person', 'people')} spoke about {about}, in {_counted(len(said), 'contribution')}."
    ]
    told = [
        f"{len(names[side])} {label} ({_some(names[side])})"
        for side, label in ((1, "rather for it"), (-1, "rather against it"), (0, "took no clear side"))
        if names[side]
    ]
    parts.append(f"By their words: {'; '.join(told)}.")
    if points := raised(said, asked.text("topic")):
        parts.append("Raised most: " + "; ".join(f"{thing} ({_some(by)})" for thing, by in points) + ".")
    for side, label in ((1, "In favour"), (-1, "Against")):
        voice = _voice(said, names[side], side)
        if voice:
            parts.append(f"{label}, {voice[0].by}: “{voice[1]}”")
    return " ".join(parts)[:SUMMARY_MOST]


def _voice(said: Sequence[Line], names: Sequence[str], side: int) -> tuple[Line, str] | None:
    own = [(line, one) for line in said if line.by in names and (one := _telling(line)) and slant(one) * side > 0]
    return max(own, key=lambda item: slant(item[1]) * side) if own else None


def _counted(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


def _some(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return joined(names) if rest < 1 else f"{', '.join(names[:most])} and {_counted(rest, 'other')}"


def write_document(asked: Asked) -> dict[str, Any]:
    """A report, an article or minutes, with verbatim quotes of what was said."""
    about, genre = talked_of(asked), asked.text("genre").lower()
    kind = next((kind for kind in _HEADS if kind in genre), "report")
    title = asked.text("title").strip() or f"{(genre.strip() or kind).capitalize()[:40]}: {about}"
    quotes = _quotes(asked.said)
    sections = [{"heading": head, "text": text} for head in _HEADS[kind] if (text := _section(head, asked, about))]
    return {"title": title[:200], "sections": sections, "quotes": quotes}


def _quotes(said: Sequence[Line], most: int = 6) -> list[dict[str, Any]]:
    told = [(abs(slant(one)), -place, line, one) for place, line in enumerate(said) if (one := _telling(line))]
    ranked = sorted(told, key=lambda item: item[:2], reverse=True)
    chosen: dict[str, tuple[Line, str]] = {}
    for _, _, line, one in ranked:
        chosen.setdefault(line.by, (line, one))
    return [{"n": line.n, "quote": one} for line, one in list(chosen.values())[:most]]


def _section(head: str, asked: Asked, about: str) -> str:
    said = asked.said
    people = list(dict.fromkeys(line.by for line in said))
    if head in ("Background", "What it is about", "Present"):
        opened = " ".join(sentences(asked.text("topic") or asked.text("context") or asked.text("situation"))[:2])
        there = f"{joined(people)} took part." if people else ""
        return f"The talk was about {about}. {there} {'' if head == 'Present' else opened}".strip()
    if head in ("What was raised", "Discussion"):
        points = [f"On {thing}: {_some(by)}." for thing, by in raised(said, asked.text("topic"), 5)]
        return " ".join(points) or _passages(asked)
    if head in ("For", "Arguments for", "What speaks for it", "Against", "Arguments against", "What speaks against it"):
        side = -1 if "gainst" in head else 1
        voices = [(line, one) for line in said if (one := _telling(line)) and slant(one) * side > 0]
        best = {line.by: one for line, one in sorted(voices, key=lambda item: slant(item[1]) * side)}
        return " ".join(f"{by}: “{one}”" for by, one in list(best.items())[-4:]) or "Nobody argued that way."
    where = Counter(sides(said).values())
    asks = [f"{line.by} asked: “{one}”" for line in said for one in sentences(line.text) if one.endswith("?")]
    end = f"{where[1]} of {len(people)} spoke rather for it, {where[-1]} rather against it." if people else ""
    return f"{end} {' '.join(asks[-2:])}".strip() or _passages(asked)


def _passages(asked: Asked) -> str:
    told = [row["text"] for row in asked.rows("passages") if isinstance(row.get("text"), str)] + [asked.text("text")]
    return " ".join(one for text in told[:6] for one in sentences(text)[:1])[:900]


# Judging

_REPEATS = re.compile(r"\brepe(?:at|tit)", re.IGNORECASE)
_FLUENT = re.compile(r"\bfluen|\bgramma|\blanguage\b", re.IGNORECASE)
_AGREES = re.compile(r"\bconverg|\bagree", re.IGNORECASE)
_CONSISTS = re.compile(r"\bconsisten|\bcontradict", re.IGNORECASE)


def judge(asked: Asked) -> dict[str, Any]:
    """A score from 0 to 10 by the words of what is judged, with the figure that it rests on."""
    rule = asked.text("rule") or asked.system
    texts = [line.text for line in asked.said] or [one for one in (asked.text("text"), *_answers(asked)) if one]
    if not texts:
        return {"score": 0, "reason": "There is nothing to judge."}
    if _REPEATS.search(rule):
        share = _alike(texts)
        return {
            "score": round(10 * (1 - share)),
            "reason": f"{share:.0%} of the texts share most of their words with an earlier one.",
        }
    if _FLUENT.search(rule):
        share = sum(map(_whole, texts)) / len(texts)
        return {"score": round(10 * share), "reason": f"{share:.0%} of the texts begin and end as sentences do."}
    if _AGREES.search(rule) and not asked.text("character"):
        where = Counter((slant(text) > 0) - (slant(text) < 0) for text in texts)
        share = max(where.values()) / len(texts)
        return {"score": round(10 * share), "reason": f"{share:.0%} of the texts take the same side."}
    if _CONSISTS.search(rule) and len(texts) > 1:
        turned = sum(slant(one) * slant(other) < 0 for one, other in pairwise(texts)) / (len(texts) - 1)
        return {
            "score": round(10 - 7 * turned),
            "reason": f"{turned:.0%} of the texts take another side than the one before.",
        }
    return _fits(asked, texts)


def _answers(asked: Asked) -> list[str]:
    return [*strings(asked.given.get("answers")), asked.text("context")]


def _fits(asked: Asked, texts: Sequence[str]) -> dict[str, Any]:
    """How much of what is said has to do with the character or the rule."""
    character = asked.text("character") or asked.text("rule")
    own = stems(character)
    shared = Counter(word for text in texts for word in stems(text) & own)
    hits = sum(bool(stems(text) & own) for text in texts) / len(texts)
    score = min(10, round(5 + 3 * hits + min(2, len(shared) / 3)))
    named = joined(sorted(shared, key=lambda word: (-shared[word], word))[:3])
    reason = (
        f"{hits:.0%} of the texts take up words of it ({named})."
        if named
        else "No text takes up a word of it, and none goes against it."
    )
    return {"score": score, "reason": reason}


def _alike(texts: Sequence[str]) -> float:
    bags = [stems(text) for text in texts]
    near = sum(
        any(one and len(one & other) >= 0.7 * len(one | other) for other in bags[:n]) for n, one in enumerate(bags)
    )
    return near / len(texts)


def _whole(text: str) -> bool:
    bare = text.strip()
    return bool(bare) and (bare[0].isupper() or not bare[0].isalpha()) and bare[-1] in ".!?…”\"')"


# Turn-taking


def choose_speaker(asked: Asked, seed: str) -> str:
    """Whoever was spoken to last, else who has waited longest; of several one by chance."""
    schema = asked.tool.properties.get("name")
    names = strings(schema.get("enum") if isinstance(schema, dict) else None) or asked.strings("names")
    if not names:
        return asked.others[0] if asked.others else ""
    last = asked.said[-1] if asked.said else None
    open_to = [name for name in names if last is None or name != last.by] or names
    if last:
        spoken_to = [name for name in sorted(open_to) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", last.text)]
        if spoken_to and last.text.rstrip().endswith("?"):
            return spoken_to[0]
    since = {line.by: place for place, line in enumerate(asked.said)}
    longest = min(since.get(name, -1) for name in open_to)
    waiting = sorted(name for name in open_to if since.get(name, -1) == longest)
    return stream(seed, "choose").choice(waiting)


def raise_hand(asked: Asked, seed: str) -> int:
    """How much somebody wants to speak: with a firm view, when spoken to, and after a silence of its own, more."""
    me = nature(asked.persona)
    recent = asked.said[-6:]
    about = asked.text("topic") or (asked.said[0].text if asked.said else "")
    keen = 3.5 + 2 * abs(leaning(me, about)) + 1.5 * (even(me.key, "talks") - 0.5) * 2
    if recent and asked.me and asked.me in recent[-1].text:
        keen += 3
    if recent and recent[-1].by == asked.me:
        keen -= 4
    elif not any(line.by == asked.me for line in recent):
        keen += 1.5
    keen -= 1.5 * bool({"shy", "quiet", "reserved", "introverted"} & me.words)
    keen += 1.5 * bool({"chatty", "talkative", "outspoken", "loud", "impatient", "blunt"} & me.words)
    return max(0, min(10, round(keen + stream(seed, "hand").uniform(-1.2, 1.2))))
