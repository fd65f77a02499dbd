"""What came of a session, for people: distributions with their intervals, what was extracted, quality, cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import asyncpg
import typer
from rich.console import Console

from app.analysis.answers import Bar, Grid, Numbers, Ranks, Scale, Summary, Texts, bars
from app.analysis.extracted import Extracted, Record
from app.analysis.talk import FLAGS, Quality
from app.cli.common import err, out, table
from app.cli.session_play import piped, plain
from app.db.engine import Database
from app.venues.session.findings import judged, whole
from app.venues.session.reading import worded
from app.venues.session.results import Answers, Findings, answers, extracted, quality, status_of
from app.world.sessions import SESSIONS

BAR_WIDTH, LABEL_WIDTH, BARS_MOST, ROWS_MOST = 24, 26, 12, 60
FILE_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""


async def show(database: Database, row: asyncpg.Record) -> None:
    """Tell what came of a session that is a simulation or an extraction, as far as it is."""
    given, found_of = await answers(database, row), await extracted(database, row)
    checks, verdicts = await quality(database, row), judged(await whole(database, row))
    with piped():
        for line in charts(given):
            typer.echo(line)
        _show_extracted(row["key"], found_of)
        for line in _quality_lines(checks, verdicts):
            typer.echo(line)
    for line in await cost(database, row):
        err.print(line, markup=False, highlight=False)


def wide() -> Console:
    """stdout, with room for a table where it is no terminal."""
    return out if out.is_terminal else Console(width=FILE_WIDTH, soft_wrap=True)


def charts(given: Answers) -> Iterator[str]:
    """The answers to each question, as bars."""
    for question in given.questions:
        yield ""
        yield from chart(given.summaries[question.key], plain(question.text))


def chart(summary: Summary, title: str = "") -> Iterator[str]:
    """A summary in lines: what was asked, a bar for each share with its 95 % interval, figures."""
    lost = ", ".join(f"{count} × {plain(reason)}" for reason, count in summary.missing.items())
    head = f"{summary.key} ({summary.type}, n = {summary.n}{f'; missing: {lost}' if lost else ''})"
    yield f"{head}: {title}" if title else head
    shown = bars(summary)
    for one in shown[:BARS_MOST]:
        yield _bar(one)
    if len(shown) > BARS_MOST:
        yield f"  … and {len(shown) - BARS_MOST} more"
    if figures := ", ".join(_figures(summary)):
        yield f"  {figures}"


def _bar(one: Bar) -> str:
    label = plain(one.label)
    label = label if len(label) <= LABEL_WIDTH else f"{label[: LABEL_WIDTH - 1]}…"
    if one.share is None or one.low is None or one.high is None:
        return f"  {label:<{LABEL_WIDTH}} nobody"
    filled = "█" * round(one.share * BAR_WIDTH)
    interval = f"[{one.low:5.1%}, {one.high:6.1%}]"
    return f"  {label:<{LABEL_WIDTH}} {filled:<{BAR_WIDTH}} {one.share:6.1%} {interval} {one.count:>5}"


def _figures(summary: Summary) -> Iterator[str]:
    match summary:
        case Scale() | Numbers():
            unit = f" {plain(summary.unit)}" if isinstance(summary, Numbers) and summary.unit else ""
            yield from _mean("mean", summary.mean, unit)
            if summary.median is not None:
                yield f"median {summary.median:.3g}{unit}"
            if isinstance(summary, Scale) and summary.consensus is not None:
                yield f"agreement {summary.consensus:.2f}"
        case Grid():
            for row in summary.rows:
                yield from _mean(plain(row.key), row.mean)
        case Ranks():
            for rank in summary.ranks:
                if rank.mean_rank is not None:
                    yield f"{plain(rank.label)} rank {rank.mean_rank:.2f}"
            if summary.w is not None:
                yield f"W = {summary.w:.2f}"
        case Texts():
            yield from _mean("words an answer", summary.mean_words)
            yield f"{summary.different:,} different words"


def _mean(name: str, mean: Any, unit: str = "") -> Iterator[str]:
    if mean.value is not None:
        interval = "" if mean.low is None else f" [{mean.low:.2f}, {mean.high:.2f}]"
        yield f"{name} {mean.value:.2f}{interval}{unit}"


def _show_extracted(key: str, found_of: Findings) -> None:
    if found_of.fields:
        typer.echo("")
        rows = [row for record in found_of.records for row in _rows(record)]
        columns = ("who", "field", "value", "quote", "line", "confidence")
        table("Extracted", *columns, rows=rows[:ROWS_MOST], empty="", console=wide())
        if len(rows) > ROWS_MOST:
            more = f"`simfeed session export {key} --what extracted --format csv -o FILE` has them all"
            err.print(f"{len(rows) - ROWS_MOST:,} rows more: {more}", markup=False)
        for name, summary in found_of.summaries.items():
            if summary.type != "text":
                typer.echo("")
                for line in chart(summary):
                    typer.echo(line)
            elif summary.missing:
                typer.echo(f"{name}: {summary.n} of {summary.n + sum(summary.missing.values())} said something of it")
    if found_of.summary:
        typer.echo(f"\nSummary: {plain(found_of.summary)}")


def _rows(record: Record) -> Iterator[tuple[object, ...]]:
    for name, one in record.fields.items():
        yield (plain(record.name), name, *_cells(one))


def _cells(one: Extracted) -> tuple[object, ...]:
    if one.value is None:
        return (None, f"(missing: {plain(one.missing or '')})", None, None)
    sure = None if one.confidence is None else f"{one.confidence:.2f}"
    quote = None if one.quote is None else f"“{plain(one.quote)}”"
    value = ("yes" if one.value else "no") if isinstance(one.value, bool) else plain(worded(one.value))
    return (value, quote, one.line, sure)


def _quality_lines(checks: Quality | None, verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if checks is not None:
        scores = ", ".join(f"{c.name} {'—' if c.score is None else f'{c.score:.2f}'}" for c in checks.checks)
        yield ""
        yield f"Quality {'—' if checks.score is None else f'{checks.score:.2f}'} ({scores})"
        for flag in checks.flags:
            yield f"  flag {flag}: {FLAGS[flag]}"
    given = [int(one["score"]) for one in verdicts if "score" in one]
    if given:
        yield f"Judged in character: {sum(given) / len(given):.1f} of 10 ({len(given)} of {len(verdicts)} judged)"


async def cost(database: Database, row: asyncpg.Record) -> list[str]:
    """How a session ended, and what it took; what to do next."""
    spent = await database.fetchrow(SESSIONS["spent"], row["id"])
    assert spent is not None  # noqa: S101 - an aggregate always gives its row
    tokens = f"{spent['prompt_tokens']:,} prompt and {spent['completion_tokens']:,} written tokens"
    unpriced = f" and {spent['unpriced']} calls of unknown price" * bool(spent["unpriced"])
    reason = f" ({row['reason']})" if row["reason"] else ""
    which = f"{row['kind'].replace('_', ' ').capitalize()} {row['key']}"
    calls = f"{spent['calls']:,} calls, {spent['reused']:,} of them reused"
    told = [f"{which}: {status_of(row)}{reason}. {calls}, {tokens}, ${spent['usd']:.4f}{unpriced}"]
    if row["ended_at"] is None:
        told.append(f"`simfeed session resume {row['key']}` goes on with it.")
    elif row["state"] in ("partial", "failed"):
        told.append(f"`simfeed trace {row['run_id']}` shows what was asked and what came.")
    return told
