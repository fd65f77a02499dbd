"""Checks of the quality of a talk by plain rules, each with a score from 0 (bad) to 1 and the lines that broke one.

Rules are words and counts, so that anybody can see why one was broken. They hear no irony, know no facts, and know of
English where they look for words (`assistant_speak`, `against_leaning`, `contradiction`, `agreement`, `cut_off`); a
judge model may say what they can't.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any, Literal, get_args

import msgspec

from app.actions.asking import Value
from app.agent.copies import OWN_INSTRUCTIONS, repeated
from app.analysis import adherence
from app.analysis.adherence import Persona, Written
from app.analysis.claims import contradictions
from app.analysis.quotes import Line
from app.analysis.words import mean_similarity, slope, vectors, words
from app.world.memories import DISSENT

VERSION = 1
CheckName = Literal["adherence", "consistency", "fluency", "repetition", "convergence"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)

RULES: dict[str, tuple[CheckName, str]] = {
    "assistant_speak": ("adherence", adherence.RULES["assistant_speak"]),
    "own_instructions": ("adherence", adherence.RULES["own_instructions"]),
    "other_script": ("adherence", adherence.RULES["other_script"]),
    "against_leaning": ("adherence", adherence.RULES["against_leaning"]),
    "contradiction": ("consistency", "denies what it said of itself, without saying that it thinks otherwise now"),
    "answered_otherwise": ("consistency", "gives another answer to a question that it was asked before"),
    "cut_off": ("fluency", "ends in the middle of a sentence: on a comma or a word like “the”, or an open bracket"),
    "broken_encoding": ("fluency", "has letters that a wrong encoding left: “â€™”, “Ã©”, “�”"),
    "repeated_words": ("fluency", "says a word three times in a row, or a group of words twice"),
    "too_short": ("fluency", "has no word in it"),
    "too_long": ("fluency", "has more than 300 words"),
    "tool_speak": ("fluency", "shows the machinery: JSON, tags of a chat template, calls of tools, “Action:”"),
    "repeats_itself": ("repetition", "half or more of what it says, by four words, its speaker has said before"),
    "repeats_another": ("repetition", "half or more of what it says, by four words, another has said before"),
    "agreement": ("convergence", "opens with agreement, and has neither a “but” nor a word of dissent"),
}
"""Every rule: the check it belongs to, and what breaks it."""

FLAGS: dict[str, str] = {
    "uniform_agreement": "6 lines or more in a row, of two speakers or more, of which 5 in 6 only agree",
    "converging": "speakers use more and more the same words from round to round (99 % interval above 0)",
    "repetition_loop": "a third of all lines or more repeat earlier ones",
    "out_of_character": "an assistant's voice or instructions in a tenth of all lines or more",
    "broken_lines": "a fifth of all lines or more are not fluent",
    "contradictions": "somebody contradicts itself",
}
"""What a summary of the run warns of."""

SHINGLE, REPEATS_FROM = 4, 0.5
WORDS_MOST = 300
LOOP_LEAST, LOOP_SHARE = 6, 5 / 6
SPARSE = 0.34
"""How far two numbers of a scale may differ, of its width, before the answer is another one."""


@dataclass(frozen=True)
class Finding:
    """A line that broke a rule; `earlier` is the line it repeats or contradicts."""

    rule: str
    line: int
    speaker: str
    note: str = ""
    earlier: int | None = None


@dataclass(frozen=True)
class Check:
    """A check's score, None where there was nothing to check; `of` is how many lines it looked at."""

    name: CheckName
    score: float | None
    of: int
    findings: tuple[Finding, ...]
    figures: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION


@dataclass(frozen=True)
class Quality:
    """All checks of a talk; `score` is halfway between their mean and the worst, `flags` are keys of `FLAGS`."""

    score: float | None
    checks: tuple[Check, ...]
    flags: tuple[str, ...]
    version: int = VERSION


@dataclass(frozen=True)
class Asked:
    """An answer that a speaker gave to a question; `points` where it is one of a scale from 1 on."""

    speaker: str
    question: str
    answer: Value
    line: int
    points: int | None = None


def quality(
    lines: Sequence[Line],
    checks: Sequence[CheckName] = CHECKS,
    *,
    personas: Mapping[str, Persona] | None = None,
    asked: Sequence[Asked] = (),
) -> Quality:
    """What rules say of a talk. `personas` are by speaker; `asked` are typed answers, in the order they were given."""
    made = tuple(_CHECKS[name](lines, personas or {}, asked) for name in checks)
    scores = [check.score for check in made if check.score is not None]
    score = (fmean(scores) + min(scores)) / 2 if scores else None
    return Quality(score, made, tuple(_flags({check.name: check for check in made})))


def data(found: Quality) -> dict[str, Any]:
    """It as JSON has it."""
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain


def _flags(checks: Mapping[str, Check]) -> list[str]:
    def of(name: str, *rules: str) -> float:
        check = checks.get(name)
        if check is None or not check.of:
            return 0.0
        return len({one.line for one in check.findings if not rules or one.rule in rules}) / check.of

    figures = checks["convergence"].figures if "convergence" in checks else {}
    raised = {
        "uniform_agreement": bool(figures.get("loops")),
        "converging": (figures.get("likeness_trend") or {}).get("low", 0) > 0,
        "repetition_loop": of("repetition") >= 1 / 3,
        "out_of_character": of("adherence", "assistant_speak", "own_instructions") >= 0.1,
        "broken_lines": of("fluency") >= 0.2,
        "contradictions": of("consistency") > 0,
    }
    return [flag for flag in FLAGS if raised[flag]]


def _by_line(name: CheckName, of: int, findings: Sequence[Finding], **figures: Any) -> Check:
    """A check whose score is the share of lines that broke no rule."""
    broken = len({finding.line for finding in findings})
    return Check(name, 1 - broken / of if of else None, of, tuple(findings), figures)


def _adherence(lines: Sequence[Line], personas: Mapping[str, Persona], _: Sequence[Asked]) -> Check:
    findings = []
    for line in lines:
        persona = personas.get(line.speaker, Persona(0))
        told = [persona.description.encode()] if persona.description else []
        leaks = repeated(line.text, told) == OWN_INSTRUCTIONS
        broken = adherence.count([persona], [Written(persona.id, "line", line.text, leaks)])
        findings += [Finding(rule, line.number, line.speaker) for (_, rule), found in broken.items() if found.broken]
    return _by_line("adherence", len(lines), findings)


def _consistency(lines: Sequence[Line], _: Mapping[str, Persona], asked: Sequence[Asked]) -> Check:
    findings = [
        Finding("contradiction", now.line.number, now.line.speaker, _claim(now.verb, now.thing), before.line.number)
        for before, now in contradictions(lines)
    ]
    first: dict[tuple[str, str], Asked] = {}
    again, off = 0, []
    for one in asked:
        key = (one.speaker, " ".join(words(one.question)))
        before = first.setdefault(key, one)
        if before is one:
            continue
        again += 1
        off.append(differs(before, one))
        if off[-1] > SPARSE:
            note = f"{before.answer} before, {one.answer} now"
            findings.append(Finding("answered_otherwise", one.line, one.speaker, note, before.line))
    figures = {"asked_again": again, "mean_difference": fmean(off) if off else None}
    return _by_line(
        "consistency", len({line.number for line in lines} | {one.line for one in asked}), findings, **figures
    )


def _claim(verb: str, thing: frozenset[str]) -> str:
    return f"{verb} {' '.join(sorted(thing))}"


def differs(one: Asked, other: Asked) -> float:
    """How far two answers to one question differ, 0 to 1: on a scale by its width, of lists what they don't share."""
    a, b = one.answer, other.answer
    if a == b:
        return 0.0
    if isinstance(a, list) and isinstance(b, list):
        return 1 - len({*a} & {*b}) / len({*a} | {*b}) if {*a} != {*b} else _crossed(a, b)
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys() and one.points:
        return fmean(abs(a[row] - b[row]) for row in a) / (one.points - 1)
    if isinstance(a, bool | str | list | dict) or isinstance(b, bool | str | list | dict):
        return 1.0
    return abs(a - b) / (one.points - 1 if one.points else max(abs(a), abs(b)))


def _crossed(one: list[str], other: list[str]) -> float:
    """The share of pairs that two rankings have in another order (Kendall's distance)."""
    pairs = [(other.index(a), other.index(b)) for a, b in combinations(one, 2)]
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else 0.0


_ENDS_OPEN = re.compile(
    r"[,(\[{:;“‘–—-]$|\b(?:the|a|an|of|to|and|or|but|with|for|in|on|at|from|by|my|your|his|her|their|our|is|are|was"
    r"|were|that|which|because|if|than|as|into|very)$",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"\ufffd|â€|Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|Ð[\u0080-\u00bf]Ñ|&(?:amp|quot|#39|lt|gt);|\\u[0-9a-f]{4}"
)
_TWICE = re.compile(r"\b(\w+)(?:\W+\1){2,}\b|\b(\w+(?:\W+\w+){2,7})\W+\2\b", re.IGNORECASE)
_TOOLS = re.compile(
    r"<\|?/?(?:tool|function|im_start|im_end|think|system|assistant|eot|s>)|\[/?INST\]|```"
    r"|^\s*[{\[]\s*(?:\"|\{)|\"(?:tool_calls?|function|arguments|role|content)\"\s*:"
    r"|^\s*(?:Action|Thought|Observation|Action Input|Assistant|System|User):",
    re.MULTILINE,
)
_FLUENCY: dict[str, Callable[[str], bool]] = {
    "cut_off": lambda text: _ENDS_OPEN.search(text.rstrip()) is not None,
    "broken_encoding": lambda text: _BROKEN.search(text) is not None,
    "repeated_words": lambda text: _TWICE.search(text) is not None,
    "too_short": lambda text: not words(text),
    "too_long": lambda text: len(words(text)) > WORDS_MOST,
    "tool_speak": lambda text: _TOOLS.search(text) is not None,
}


def _fluency(lines: Sequence[Line], _: Mapping[str, Persona], __: Sequence[Asked]) -> Check:
    findings = [
        Finding(rule, line.number, line.speaker)
        for line in lines
        for rule, broken in _FLUENCY.items()
        if broken(line.text)
    ]
    return _by_line("fluency", len(lines), findings)


def _repetition(lines: Sequence[Line], _: Mapping[str, Persona], __: Sequence[Asked]) -> Check:
    """Shares of a line's shingles that were said before: containment (Broder 1997, “On the resemblance and containment
    of documents”, SEQUENCES), of four words; shorter lines are not counted. The score is 1 - the mean share.
    """
    first: dict[tuple[str, ...], Line] = {}
    by_speaker: dict[tuple[str, tuple[str, ...]], Line] = {}
    shares, findings = [], []
    for line in lines:
        tokens = words(line.text)
        shingles = {tuple(tokens[n : n + SHINGLE]) for n in range(len(tokens) - SHINGLE + 1)}
        if not shingles:
            continue
        own = [by_speaker[line.speaker, one] for one in shingles if (line.speaker, one) in by_speaker]
        any_ = [first[one] for one in shingles if one in first]
        shares.append(len(any_) / len(shingles))
        if shares[-1] >= REPEATS_FROM:
            said, rule = (own, "repeats_itself") if 2 * len(own) >= len(any_) else (any_, "repeats_another")
            earlier = max({one.number for one in said}, key=[one.number for one in said].count)
            findings.append(Finding(rule, line.number, line.speaker, f"{shares[-1]:.0%}", earlier))
        for one in shingles:
            first.setdefault(one, line)
            by_speaker.setdefault((line.speaker, one), line)
    score = 1 - fmean(shares) if shares else None
    return Check("repetition", score, len(shares), tuple(findings))


_AGREES = re.compile(
    r"^\W*(?:(?:oh|well|yes|yeah|yep|wow|and|hi|hello|thanks|thank you|[@\w]+),?\W+){0,2}"
    r"(?:i (?:(?!not|never|cannot)\w+ ){0,2}agree\b"
    r"|i couldn't agree more|i second (?:that|this)|i'm (?:\w+ )?with (?:you|\w+)\b|agreed\b"
    r"|(?:exactly|absolutely|totally|definitely|indeed|precisely|certainly)\b"
    r"|(?:what (?:an? )?|that's (?:an? )?|that is (?:an? )?|such an? )?(?:\w+ )?(?:great|excellent|good|wonderful"
    r"|fantastic|brilliant|valid|important|amazing) (?:point|idea|question|thought|insight|suggestion|observation)"
    r"|(?:you're|you are|\w+ is|\w+'s) (?:\w+ )?(?:so |absolutely |totally |completely )?right\b|well said|so true"
    r"|building on (?:what|that|\w+'s)|(?:just )?like \w+ said|as \w+ (?:said|mentioned|pointed out)"
    r"|i love (?:that|this|what|how|your))"
)
_BUT = re.compile(r"\b(?:but|however|though|although|except|yet|on the other hand|i'm not (?:so )?sure|disagree)\b")


def agrees(text: str) -> bool:
    """Whether a line opens with agreement and takes nothing of it back."""
    plain = " ".join(text.lower().replace("’", "'").split())
    if not _AGREES.match(plain) or _BUT.search(plain):
        return False
    return not set(words(plain)) & set(DISSENT)


def _convergence(lines: Sequence[Line], _: Mapping[str, Persona], __: Sequence[Asked]) -> Check:
    """The score is 1 - the share of lines that only agree, of all but the first; the figures are by round."""
    replies = lines[1:]
    agreeing = {line.number for line in replies if agrees(line.text)}
    rounds = _rounds(replies)
    shares = [len([x for x in some if x.number in agreeing]) / len(some) for some in rounds]
    likeness = _likeness(rounds)
    trend = slope([(value, 1.0) for value in likeness if value is not None])
    figures = {
        "agreement": shares,
        "agreement_trend": msgspec.to_builtins(slope([(value, 1.0) for value in shares])),
        "likeness": likeness,
        "likeness_trend": msgspec.to_builtins(trend),
        "loops": _loops(replies, agreeing),
    }
    findings = tuple(Finding("agreement", one.number, one.speaker) for one in replies if one.number in agreeing)
    score = 1 - len(agreeing) / len(replies) if replies else None
    return Check("convergence", score, len(replies), findings, figures)


def _rounds(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines by round; where there are no rounds, by stretches in which each speaker could speak once."""
    if any(line.round is not None for line in lines):
        by_round: dict[int, list[Line]] = {}
        for line in lines:
            by_round.setdefault(line.round or 0, []).append(line)
        return [by_round[number] for number in sorted(by_round)]
    size = max(2, len({line.speaker for line in lines}))
    return [list(lines[n : n + size]) for n in range(0, len(lines), size)]


def _likeness(rounds: Sequence[Sequence[Line]]) -> list[float | None]:
    """By round, the mean cosine of speakers' words (tf · idf over all rounds)."""
    spoken: list[tuple[int, list[str]]] = []
    for number, some in enumerate(rounds):
        by_speaker: dict[str, list[str]] = {}
        for line in some:
            by_speaker.setdefault(line.speaker, []).extend(words(line.text))
        spoken += [(number, tokens) for tokens in by_speaker.values() if tokens]
    units = vectors([tokens for _, tokens in spoken])
    return [
        mean_similarity([unit for (of, _), unit in zip(spoken, units, strict=True) if of == number])
        for number in range(len(rounds))
    ]


def _loops(lines: Sequence[Line], agreeing: set[int]) -> list[list[int]]:
    """Stretches of uniform agreement: [first, last] line of each, from an agreeing line to an agreeing line."""
    loops: list[list[int]] = []
    start = 0
    while start < len(lines):
        longest = _uniform(lines, start, agreeing) if lines[start].number in agreeing else 0
        if longest:
            loops.append([lines[start].number, lines[longest - 1].number])
        start = longest or start + 1
    return loops


def _uniform(lines: Sequence[Line], start: int, agreeing: set[int]) -> int:
    """Where the uniform agreement that begins at `start` ends; 0 where there is none."""
    longest, agreed, first = 0, 0, lines[start].speaker
    several = False
    for size, line in enumerate(lines[start:], 1):
        alike = line.number in agreeing
        agreed += alike
        several |= line.speaker != first
        if size < LOOP_LEAST:
            continue
        if agreed < LOOP_SHARE * size or not several:
            break
        if alike:
            longest = start + size
    return longest


_CHECKS: dict[CheckName, Callable[[Sequence[Line], Mapping[str, Persona], Sequence[Asked]], Check]] = {
    "adherence": _adherence,
    "consistency": _consistency,
    "fluency": _fluency,
    "repetition": _repetition,
    "convergence": _convergence,
}
