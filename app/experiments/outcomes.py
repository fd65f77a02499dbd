"""What runs of experiments are compared by: metrics of worlds for the feed, figures of the transcript for the others.

Chatrooms have those of `app/analysis/room.py`.

Of a session there are `FIGURES`, and what was asked or extracted: `answer.KEY` and `field.NAME` are means (of numbers,
or of a scale's points); with `:OPTION` behind they are the share of those who chose it.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from app.analysis.answers import LISTED_MOST
from app.analysis.catalogue import METRICS
from app.analysis.room import FIGURES as ROOM
from app.analysis.words import mattr, words

FIGURES = {
    "lines": "lines that somebody said or answered",
    "words_per_line": "words of a line, on average",
    "lexical_diversity": "moving-average type-token ratio of all lines in a row, 0 to 1",
    "missing_share": "share of what was asked that came to nothing, 0 to 1",
    "quality_score": "share of what was asked that came to something, times the checks' score, 0 to 1",
    "calls": "model calls",
    "prompt_tokens": "tokens of prompts",
    "completion_tokens": "tokens that models wrote",
    "cost_usd": "US dollars",
}
"""Figures of every session, and what they count."""

_ASKED = re.compile(r"(?P<of>answer|field)\.(?P<key>[A-Za-z0-9_-]{1,60})(?::(?P<option>.{1,200}))?")
COUNTS = {
    "calls": "calls",
    "prompt_tokens": "tokens",
    "completion_tokens": "tokens",
    "cost_usd": "USD",
    "lines": "lines",
}


def known(venue: str) -> dict[str, str]:
    """The outcomes that a venue has by name, and what they count."""
    if venue == "feed":
        return {name: metric.formula for name, metric in METRICS.items()}
    return {name: figure.what for name, figure in ROOM.items()} if venue == "chatroom" else FIGURES


def unknown(venue: str, name: str) -> str | None:
    """Why a venue has no such outcome, with what is like it; None where it has."""
    names = list(known(venue))
    asks = venue not in ("feed", "chatroom")
    if name in names or (asks and _ASKED.fullmatch(name)):
        return None
    like = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {like[0]}?" if like else "`simfeed metrics --list` tells which there are"
    if venue != "feed":
        more = ", answer.KEY, answer.KEY:OPTION, field.NAME and field.NAME:VALUE" if asks else ""
        hint = f"there are {', '.join(names)}{more}"
    return f"there is no outcome {name[:60]!r} of this venue: {hint}"


def unit_of(venue: str, name: str) -> str:
    """The unit of an outcome."""
    if venue in ("feed", "chatroom"):
        return METRICS[name].unit if venue == "feed" else ROOM[name].unit
    if name in COUNTS:
        return COUNTS[name]
    return "words" if name == "words_per_line" else "share" if ":" in name or name in FIGURES else "value"


def limits_of(venue: str, name: str) -> str:
    """What an outcome can't tell."""
    return METRICS[name].limits if venue == "feed" and name in METRICS else ""


def asked_of(name: str) -> tuple[str, str, str | None] | None:
    """Of an outcome that was asked or extracted: `answer` or `field`, its key, its option; else None."""
    found = _ASKED.fullmatch(name)
    return None if found is None else (found["of"], found["key"], found["option"])


def of_block(block: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, float | None], dict[str, str]]:
    """The outcomes of a session from its answer block (`results.block`), and why those that are None have no value."""
    values: dict[str, float | None] = {}
    why: dict[str, str] = {}
    for name in names:
        values[name] = _figure(block, name) if name in FIGURES else _asked(block, name)
        if values[name] is None:
            why[name] = "nobody said or was asked that" if name not in FIGURES else "there is nothing to count"
    return values, why


def _figure(block: Mapping[str, Any], name: str) -> float | None:
    said = block["simulation_results"]["interactions"]
    texts = [str(line["text"]) for line in said if not line["missing"]]
    match name:
        case "lines":
            return float(len(texts))
        case "words_per_line":
            return sum(len(words(text)) for text in texts) / len(texts) if texts else None
        case "lexical_diversity":
            return mattr([word for text in texts for word in words(text)])
        case "missing_share":
            return sum(bool(line["missing"]) for line in said) / len(said) if said else None
        case "quality_score":
            return _number(block["metadata"]["quality_score"])
    return _number(block["metadata"][name])


def _asked(block: Mapping[str, Any], name: str) -> float | None:
    found = _ASKED.fullmatch(name)
    if found is None:
        return None
    told = block["extracted_results"]
    if found["of"] == "field":
        summaries = told["aggregate_statistics"]
    else:
        summaries = (told["statistical_analysis"] or {}).get("answers", {})
    summary = summaries.get(found["key"])
    if summary is None:
        return None
    if found["option"] is None:
        return _number((summary.get("mean") or {}).get("value"))
    for share in summary.get("shares", ()):
        if str(share["label"]).casefold() == found["option"].casefold():
            return _number(share["share"])
    whole = summary["type"] == "list" and len(summary["shares"]) < LISTED_MOST
    return 0.0 if whole and summary["n"] else None  # a list's shares are of what was named


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
