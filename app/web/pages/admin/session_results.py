"""What came of a session, as its page shows it: charts of answers, tables of what was extracted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.actions.asking import ExtractedField, Likert, Question
from app.analysis.answers import Bar, Grid, Numbers, Ranks, Scale, Summary, Texts, bars
from app.analysis.extracted import Extracted, Record
from app.analysis.intervals import Mean
from app.analysis.talk import FLAGS, RULES, Quality
from app.venues.session.findings import Answers, Findings
from app.venues.session.reading import worded

NAMES = {
    "adherence": "In character",
    "consistency": "Consistent",
    "fluency": "Fluent",
    "repetition": "Not repetitive",
    "convergence": "Not merely agreeing",
}
"""What a check finds where its score is 1."""

FINDINGS_MOST = 12
BARS_MOST = 15
QUOTES_MOST = 5


@dataclass(frozen=True)
class Drawn:
    """A bar over a width of 100: its share and interval, and the same in words."""

    label: str
    count: int
    share: str
    interval: str
    width: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Chart:
    """A question's or field's summary: bars, key figures as pairs, why values are missing, and some texts."""

    key: str
    title: str
    type: str
    n: int
    missing: tuple[tuple[str, int], ...]
    what: str
    drawn: tuple[Drawn, ...]
    facts: tuple[tuple[str, str], ...]
    quotes: tuple[tuple[str, str], ...] = ()


def _drawn(bar: Bar) -> Drawn:
    if bar.share is None:
        return Drawn(bar.label, bar.count, "—", "—", 0, None, None)
    interval = "—" if bar.low is None or bar.high is None else f"{bar.low:.0%} to {bar.high:.0%}"
    ends = (None, None) if bar.low is None or bar.high is None else (round(100 * bar.low, 2), round(100 * bar.high, 2))
    return Drawn(bar.label, bar.count, f"{bar.share:.0%}", interval, round(100 * bar.share, 2), *ends)


def figure(value: float | None) -> str:
    """A number for people."""
    return "—" if value is None else f"{value:,.2f}".rstrip("0").rstrip(".")


def _mean(mean: Mean) -> str:
    if mean.low is None or mean.high is None:
        return figure(mean.value)
    return f"{figure(mean.value)} ({figure(mean.low)} to {figure(mean.high)})"


def _facts(summary: Summary) -> Iterable[tuple[str, str]]:
    """Key figures with their intervals of 95 %."""
    match summary:
        case Scale():
            yield "mean", f"{_mean(summary.mean)} of {summary.points}"
            yield "median", figure(summary.median)
            if summary.top.share is not None:
                yield f"say {summary.top.label}", f"{summary.top.share:.0%}"
            if summary.consensus is not None:
                yield "consensus", f"{summary.consensus:.2f}"
        case Numbers():
            yield "mean", f"{_mean(summary.mean)} {summary.unit}".strip()
            yield "median", figure(summary.median)
            yield "middle half", f"{figure(summary.q1)} to {figure(summary.q3)}"
            yield "range", f"{figure(summary.least)} to {figure(summary.most)}"
        case Ranks() if summary.w is not None:
            told = f"{summary.w:.2f}" + (f" (p = {summary.p:.3f})" if summary.p is not None else "")
            yield "agreement, Kendall’s W", told
            for rank in summary.ranks[:3]:
                yield f"mean rank of {rank.label}", figure(rank.mean_rank)
        case Texts():
            yield "words, on average", _mean(summary.mean_words)
            yield "different words", f"{summary.different:,}"
        case Grid():
            for row in summary.rows:
                yield row.key, f"{_mean(row.mean)} of {row.points}"


def _what(summary: Summary) -> str:
    """What the bars are shares of."""
    match summary:
        case Grid():
            return "those who gave one of the highest points, by row"
        case Ranks():
            return "those who put it first"
        case Texts():
            return "texts with the word"
    if getattr(summary, "of_many", False):
        return "those who named it; several could be named"
    return "those who answered"


def _chart(title: str, summary: Summary, texts: Sequence[tuple[str, str]] = ()) -> Chart:
    missing = tuple(sorted(summary.missing.items(), key=lambda one: (-one[1], one[0])))
    shown = tuple(_drawn(bar) for bar in bars(summary)[:BARS_MOST])
    return Chart(
        summary.key,
        title,
        summary.type,
        summary.n,
        missing,
        _what(summary),
        shown,
        tuple(_facts(summary)),
        tuple(texts[:QUOTES_MOST]),
    )


def _named(question: Question, chart: Chart) -> Chart:
    """A scale whose ends bear their names."""
    if not isinstance(question, Likert):
        return chart
    names = {"1": question.low, str(question.points): question.high}
    drawn = [
        replace(bar, label=f"{bar.label} {names[bar.label]}") if bar.label in names else bar for bar in chart.drawn
    ]
    return replace(chart, drawn=tuple(drawn))


def answer_charts(found: Answers) -> list[Chart]:
    """A chart for each question that was answered in writing."""
    charts = []
    for question in found.questions:
        texts = [(str(one.answers[question.key]), one.name) for one in found.records if question.key in one.answers]
        chart = _chart(question.text, found.summaries[question.key], texts if question.type == "open" else ())
        charts.append(_named(question, chart))
    return charts


def field_charts(found: Findings) -> list[Chart]:
    """A chart for each extracted field whose values can be counted."""
    charts = [_chart(f.hint or f.name, found.summaries[f.name]) for f in found.fields if f.type != "text"]
    return [chart for chart in charts if chart.n]


@dataclass(frozen=True)
class Cell:
    """An extracted value with its quote and where that stands, or why it is missing; `sure` is of 100."""

    value: str
    quote: str
    line: int | None
    sure: int | None
    missing: str


def cells(fields: Sequence[ExtractedField], record: Record) -> list[Cell]:
    """A participant's values, in order of the fields."""
    return [_cell(record.fields.get(field.name)) for field in fields]


def _cell(one: Extracted | None) -> Cell:
    if one is None or one.value is None:
        return Cell("", "", None, None, (one.missing if one else None) or "no answer")
    value = {True: "yes", False: "no"}[one.value] if isinstance(one.value, bool) else worded(one.value)
    sure = None if one.confidence is None else round(100 * one.confidence)
    return Cell(value, one.quote or "", one.line, sure, "")


@dataclass(frozen=True)
class Checked:
    """A check of the talk: score of 100, and the lines that broke a rule as (line, who, what)."""

    name: str
    score: int | None
    of: int
    findings: tuple[tuple[int, str, str], ...]
    more: int


@dataclass(frozen=True)
class Looked:
    """The quality of a talk: score of 100, warnings, checks, verdicts of the judge."""

    score: int | None
    flags: tuple[tuple[str, str], ...]
    checks: tuple[Checked, ...]
    judged: Sequence[Mapping[str, Any]]


def looked(quality: Quality | None, judged: Sequence[Mapping[str, Any]]) -> Looked | None:
    """The quality of a talk as it is shown; None where nothing was checked."""
    if quality is None:
        return Looked(None, (), (), judged) if judged else None
    checks = []
    for check in quality.checks:
        broken = [(one.line, one.speaker, _broken(one.rule, one.note, one.earlier)) for one in check.findings]
        score = None if check.score is None else round(100 * check.score)
        shown = tuple(broken[:FINDINGS_MOST])
        checks.append(Checked(NAMES[check.name], score, check.of, shown, len(broken) - len(shown)))
    flags = tuple((flag.replace("_", " "), FLAGS[flag]) for flag in quality.flags)
    return Looked(None if quality.score is None else round(100 * quality.score), flags, tuple(checks), judged)


def _broken(rule: str, note: str, earlier: int | None) -> str:
    told = RULES[rule][1]
    if earlier is not None:
        told += f", in line {earlier}"
    return f"{told} ({note})" if note else told
