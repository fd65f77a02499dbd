"""`simfeed write`: documents from transcripts, texts anew, personas out of sources; all of it in the ledger."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import asyncpg
import typer

from app.cli.common import EXIT_FAILED, Home, Json, err, go, opened, out, settings_for, show_json
from app.cli.session_data import document_markdown
from app.errors import Invalid
from app.settings import Settings
from app.venues.run import open_mind
from app.venues.session import results, written
from app.venues.session.design import Kind, Writing, checked
from app.venues.session.files import read_bytes
from app.venues.session.opening import begin
from app.venues.session.stage import play
from app.world import sessions

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed write document KEY --genre minutes -o minutes.md\n"
    '  simfeed write rewrite letter.txt --wish "shorter and formal"\n'
    '  simfeed write ground notes.md posts.csv --name "Rita Bolt" --json\n\n'
    "Documents from transcripts, texts anew, personas out of sources.",
)
SOURCE_MOST = 2_000_000
Seed = Annotated[int, typer.Option(min=0, max=2**62, help="The same seed, the same text from the offline model.")]
Model = Annotated[str | None, typer.Option(metavar="MODEL", help="Else SIMFEED_MODEL.")]
Into = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Else stdout.")]


async def _written(settings: Settings, design: Writing, of: str | None = None) -> tuple[asyncpg.Record, Any]:
    """Have it written in this process; the session at its end, and what `results` or `written` read of it."""
    kind: Kind = "writing"
    async with opened(settings) as database, open_mind(settings, database) as mind:
        source = await sessions.found(database, of) if of is not None else None
        key = await begin(database, settings, kind, design, name=design.name, of=source and source["id"])
        begun = await sessions.found(database, key)
        with err.status("writing …") if err.is_terminal else nullcontext():
            await play(mind, settings, begun["id"])
        row = await sessions.found(database, key)
        if design.what == "document":
            return row, await results.document(database, row)
        if design.what == "ground":
            return row, await written.grounded(database, row, design.name)
        line = next((one for one in await sessions.lines(database, row["id"]) if one.missing is None), None)
        return row, line and line.body


def _or_fail(row: asyncpg.Record, found: Any) -> Any:
    if found is None:
        err.print(f"simfeed: nothing was written: {row['reason']} (session {row['key']})", markup=False)
        raise typer.Exit(EXIT_FAILED)
    return found


def _put(text: str, into: Path | None) -> None:
    if into is None:
        typer.echo(text)
        return
    try:
        into.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{into} can't be written: {error.strerror}") from None
    err.print(f"written to {into}", markup=False)


def _terms(seed: int, model: str | None) -> dict[str, Any]:
    return {"seed": seed, **({"model": model} if model else {})}


@app.command()
def document(
    key: Annotated[str, typer.Argument(help="Of the session whose transcript it is made of.")],
    genre: Annotated[Literal["report", "article", "minutes"], typer.Option(help="What it is.")] = "report",
    title: Annotated[str, typer.Option(help="Its title; else the model's.")] = "",
    wish: Annotated[str, typer.Option(help="What else it should be.")] = "",
    seed: Seed = 0,
    model: Model = None,
    output: Into = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed write document h7k2mnpqrs3t --genre minutes -o minutes.md
      simfeed write document h7k2mnpqrs3t --json

    Write a document from a session's transcript. Each quote is looked up in it; one that is not there is marked.
    """
    given = {"what": "document", "of": key, "genre": genre, "title": title, "wish": wish, "terms": _terms(seed, model)}
    row, found = go(_written(settings_for(home), checked(Writing, given), of=key))
    _or_fail(row, found)
    if json:
        show_json(found)
    else:
        _put(document_markdown(found).decode(), output)
    if wrong := sum(not quote["as_cited"] for quote in found["quotes"]):
        err.print(f"{wrong} of {len(found['quotes'])} quotes are not in the line they cite", markup=False)


@app.command()
def rewrite(
    file: Annotated[str, typer.Argument(help="A text file; - is stdin.")],
    wish: Annotated[str, typer.Option(help="How: shorter, formal, easy to read, richer in detail …")],
    seed: Seed = 0,
    model: Model = None,
    output: Into = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed write rewrite letter.txt --wish "shorter and formal"
      echo "The tram is late again." | simfeed write rewrite - --wish "richer in detail"

    Write a text anew; its facts, names and numbers stay.
    """
    data = sys.stdin.buffer.read(SOURCE_MOST + 1) if file == "-" else read_bytes(Path(file), SOURCE_MOST)
    text = "\n\n".join(written.passages_of("standard input" if file == "-" else f"{file}.txt", data))
    given = {"what": "rewrite", "text": text, "wish": wish, "terms": _terms(seed, model)}
    row, found = go(_written(settings_for(home), checked(Writing, given)))
    _or_fail(row, found)
    if json:
        show_json({"session": row["key"], "text": found})
    else:
        _put(found, output)


@app.command()
def ground(
    files: Annotated[list[Path], typer.Argument(help="Sources: text, Markdown, CSV, JSON.")],
    name: Annotated[str, typer.Option(help="The persona's name.")],
    seed: Seed = 0,
    model: Model = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed write ground notes.md posts.csv --name "Rita Bolt"
      simfeed write ground diary.txt --name "Rita Bolt" --json > rita.json

    Make a persona out of sources: each trait with the passage it rests on. `persona` of the JSON can be imported.
    """
    passages = [one for file in files for one in written.passages_of(str(file), read_bytes(file, SOURCE_MOST))]
    if len(passages) > written.PASSAGES_MOST:
        raise Invalid(f"the sources have {len(passages)} passages; at most {written.PASSAGES_MOST} can be read")
    given = {"what": "ground", "name": name, "passages": passages, "terms": _terms(seed, model)}
    row, found = go(_written(settings_for(home), checked(Writing, given)))
    _or_fail(row, found)
    if json:
        persona = found.spec.model_dump(mode="json", exclude_defaults=True)
        show_json({"session": row["key"], "persona": persona, "traits": list(found.traits)})
        return
    out.print(f"@{found.spec.username} ({name})", markup=False, highlight=False)
    for trait in found.traits:
        source = " ".join(trait["source"].split())
        out.print(f"  {trait['text']}\n    [{trait['passage']}] {source[:160]}", markup=False, highlight=False)
