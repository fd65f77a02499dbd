"""`simfeed study`: studies with people in chatrooms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from app.auth import participants
from app.auth.participants import TOKENS_MOST, NewToken
from app.cli import study_data, study_monitor, study_test
from app.cli.common import Home, Json, confirm, err, go, opened, out, settings_for, show_json, table
from app.db.engine import Database
from app.errors import Invalid, Misconfigured
from app.settings import Settings
from app.venues.chatroom import studies
from app.venues.chatroom.design import Label, StudyDesign, StudyName
from app.venues.chatroom.files import read_simulacra, read_toml
from app.world import studies as rows
from app.world.text import INT64_MAX

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="\b\nExamples:\n  simfeed study create bicycles --file study.toml\n"
    "  simfeed study create pilot --toml config/\n"
    "  simfeed study tokens bicycles --count 20 --csv links.csv --qr codes/\n  simfeed study open bicycles\n\n"
    "Studies with people in chatrooms (docs/studies.md).",
)
app.command("monitor")(study_monitor.show)
app.command()(study_data.export)
app.command()(study_data.log)
app.command()(study_data.purge)
app.command("test")(study_test.study_test)
PAGE = 500
Which = Annotated[str, typer.Argument(metavar="NAME", help="A study's name or number.")]
OwnFile = Annotated[Path | None, typer.Option("--file", help="A study in one TOML file (docs/studies.md).")]
Folder = Annotated[Path | None, typer.Option("--toml", help="A folder with Simulacra's three TOML files.")]


def _read(file: Path | None, folder: Path | None, title: str | None) -> tuple[StudyDesign, Mapping[str, Sequence[str]]]:
    if (file is None) == (folder is None):
        raise Invalid("give either --file with a study of ours, or --toml with a folder of Simulacra's files")
    if file is not None:
        return read_toml(file), {}
    design, tokens, notes = read_simulacra(folder or Path(), title)
    for note in notes:
        err.print(f"note: {note}", markup=False, highlight=False)
    return design, tokens


def _checked(kind: Any, name: str, value: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise Invalid(f"{name} {error.errors()[0]['msg']}") from None


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called here; unique.")],
    file: OwnFile = None,
    toml: Folder = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=INT64_MAX, help="Decides the assignment; drawn if not given.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study create bicycles --file study.toml
      simfeed study create pilot --toml config/

    Make a study, as a draft. From Simulacra's files it takes the tokens, too.
    """
    called = _checked(StudyName, "NAME", name)
    design, tokens = _read(file, toml, called)

    async def work() -> dict[str, Any]:
        async with opened(settings_for(home)) as database:
            made = await studies.create(database, called, design, own_tokens=tokens, seed=seed, by=None)
            return (await studies.show(database, made)).out()

    made = go(work())
    if json:
        show_json(made)
        return
    count = sum(map(len, tokens.values()))
    own = f" with {count} token{'s' * (count != 1)} of its own" if tokens else ""
    err.print(
        f"{called} is study {made['id']}, a draft{own}: `simfeed study open {called}` lets people in", markup=False
    )


@app.command()
def validate(file: OwnFile = None, toml: Folder = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed study validate --file study.toml
      simfeed study validate --toml config/

    Check the files of a study and change nothing: no database is needed.
    """
    design, tokens = _read(file, toml, None)
    found = {
        "valid": True,
        "title": design.title,
        "arms": sorted(design.arms),
        "block_size": design.block_size,
        "stages": design.stages(),
        "consent": design.consent,
        "members": [member.name for member in design.cast],
        "tokens": sum(map(len, tokens.values())),
        "design_sha256": design.sha256().hex(),
    }
    if json:
        show_json(found)
        return
    for key, value in found.items():
        said = ", ".join(map(str, value)) if isinstance(value, list) else value
        out.print(f"{key:>14}  {said}", markup=False, highlight=False)


@app.command("list")
def list_(home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed study list
      simfeed study list --json

    All studies, newest first.
    """

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with opened(settings_for(home)) as database:
            before = INT64_MAX
            while page := await rows.page(database, before=before, limit=PAGE):
                found += [dict(row) for row in page]
                before = page[-1]["id"]
        return found

    found = go(read())
    if json:
        show_json(found)
        return
    cells: list[tuple[object, ...]] = [
        (r["id"], r["name"], r["state"], r["consent"], r["participants"], r["finished"], r["tokens_open"], r["title"])
        for r in found
    ]
    columns = ("id", "name", "state", "consent", "participants", "finished", "tokens left", "title")
    table("", *columns, rows=cells, empty="No studies yet: `simfeed study create NAME --file study.toml` makes one.")


@app.command()
def show(study: Which, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed study show bicycles
      simfeed study show bicycles --json

    One study: its arms, its cast, and how many are where.
    """

    async def read() -> studies.Study:
        async with opened(settings_for(home)) as database:
            return await studies.show(database, await _id(database, study))

    found = go(read())
    if json:
        show_json(found.out())
        return
    pace, facts = found.design.pace, found.out()
    for key in (
        "id",
        "name",
        "title",
        "state",
        "consent",
        "seed",
        "design_sha256",
        "created_at",
        "opened_at",
        "closed_at",
    ):
        if facts[key] is not None:
            out.print(f"{key:>14}  {facts[key]}", markup=False, highlight=False)
    out.print(
        f"{'pace':>14}  {pace.session_duration_minutes:g} min, {pace.messages_per_minute:g} messages a minute, "
        f"answers {pace.user_response_probability:.0%}",
        markup=False,
        highlight=False,
    )
    cast: list[tuple[object, ...]] = [(m["ordinal"], m["name"], m["description"]) for m in found.members]
    table("Cast", "", "name", "persona", rows=cast, empty="The cast is put together when the study opens.")
    people: list[tuple[object, ...]] = [(p["arm"], p["state"], p["stage"], p["count"]) for p in found.people]
    table("Participants", "arm", "state", "stage", "count", rows=people, empty="Nobody has taken part yet.")
    stock: list[tuple[object, ...]] = [(t["arm"] or "(assigned)", t["state"], t["count"]) for t in found.tokens]
    hint = f"No tokens yet: `simfeed study tokens {found.name} --count 20` makes some."
    table("Tokens", "arm", "state", "count", rows=stock, empty=hint)


async def _id(database: Database, study: str) -> int:
    return int((await studies.find(database, study))["id"])


@app.command("open")
def open_(study: Which, home: Home = None, json: Json = False) -> None:
    """\b
    Examples:
      simfeed study open bicycles

    Fix the design, put the cast together, and let people in. What is missing is told at once.
    """

    async def work(settings: Settings) -> dict[str, Any]:
        async with opened(settings) as database:
            found = await _id(database, study)
            await studies.open_study(database, settings, found, by=None)
            return (await studies.show(database, found)).out()

    found = go(work(settings_for(home)))
    if json:
        show_json(found)
        return
    names = ", ".join(member["name"] for member in found["members"])
    err.print(f"{found['name']} is open; its rooms are played by {names}", markup=False)


@app.command()
def pause(study: Which, home: Home = None) -> None:
    """\b
    Examples:
      simfeed study pause bicycles

    Let nobody new in; rooms under way go on. `resume` lets people in again.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await studies.pause(database, await _id(database, study), by=None)

    go(work())
    err.print(f"{study} lets nobody new in: `simfeed study resume {study}` does again", markup=False)


@app.command()
def resume(study: Which, home: Home = None) -> None:
    """\b
    Examples:
      simfeed study resume bicycles

    Let people into a paused study again.
    """

    async def work() -> None:
        async with opened(settings_for(home)) as database:
            await studies.resume(database, await _id(database, study), by=None)

    go(work())
    err.print(f"{study} is open again", markup=False)


@app.command()
def close(
    study: Which,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without being asked.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study close bicycles --yes

    End a study for good: its unused tokens are worth nothing from now on; rooms under way go on to their end.
    """

    async def work() -> int:
        async with opened(settings_for(home)) as database:
            return await studies.close(database, await _id(database, study), by=None)

    confirm(f"Close the study {study} for good?", yes=yes)
    revoked = go(work())
    if json:
        show_json({"study": study, "tokens_revoked": revoked})
    else:
        err.print(f"{study} is closed; {revoked} unused token{'s' * (revoked != 1)} ended", markup=False)


@app.command()
def tokens(
    study: Which,
    count: Annotated[int | None, typer.Option(min=1, max=TOKENS_MOST, help="How many to make.")] = None,
    arm: Annotated[
        str | None, typer.Option(help="The arm they lead to; without it, whoever comes is assigned.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="What one is called on the sheet; may be repeated.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="A file for the link sheet: label, token, url, arm.")
    ] = None,
    qr: Annotated[Path | None, typer.Option("--qr", help="A folder for a QR code of each link, as SVG.")] = None,
    url: Annotated[
        str, typer.Option(help="The address of the server, as participants reach it.")
    ] = "http://127.0.0.1:8000",
    home: Home = None,
    json: Json = False,
) -> None:
    """\b
    Examples:
      simfeed study tokens bicycles --count 20 --csv links.csv --qr codes/ --url https://chat.example.org
      simfeed study tokens bicycles --count 5 --arm civil
      simfeed study tokens bicycles

    Make single-use tokens; they are told once, here. Without --count, list what became of those made before.
    """
    if count is None:
        if arm or label or csv or qr:
            raise Invalid("--arm, --label, --csv and --qr are for new tokens: say with --count how many")
        _list_tokens(settings_for(home), study, json)
        return
    labels = [_checked(Label, "--label", one) for one in label or []]
    if csv is not None and csv.exists():
        raise Invalid(f"{csv} is there already: choose another file, so that no tokens are lost")
    if qr is not None:
        studies.qr_svg(url)
    for folder in filter(None, (qr, csv.parent if csv else None)):
        _make_folder(folder)
    number = count

    async def work() -> list[NewToken]:
        async with opened(settings_for(home)) as database:
            found = await _id(database, study)
            return await studies.make_tokens(database, found, number, arm=arm, labels=labels, by=None)

    made = go(work())
    _write(made, csv, qr, url)
    if json:
        show_json(
            [
                {"id": t.id, "label": t.label, "token": t.token, "url": studies.link(url, t.token), "arm": t.arm}
                for t in made
            ]
        )
    elif csv is None:
        typer.echo(studies.link_sheet(made, url), nl=False)
    err.print(f"{len(made)} token{'s' * (len(made) != 1)} made; they can't be shown again", markup=False)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{folder} can't be made: {error.strerror}") from None


def _write(made: list[NewToken], csv: Path | None, qr: Path | None, url: str) -> None:
    """Files that only their owner may read: whoever has a token can take somebody's place."""
    sheets = [(csv, studies.link_sheet(made, url).encode())] if csv is not None else []
    if qr is not None:
        sheets += [(qr / studies.qr_name(one), studies.qr_svg(studies.link(url, one.token))) for one in made]
    for file, content in sheets:
        file.touch(mode=0o600)
        file.write_bytes(content)


def _list_tokens(settings: Settings, study: str, json: bool) -> None:
    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with opened(settings) as database:
            study_id, after = await _id(database, study), 0
            while page := await participants.list_tokens(database, study_id, after=after, limit=PAGE):
                found += [dict(row) for row in page]
                after = page[-1]["id"]
        return found

    found = go(read())
    if json:
        show_json(found)
        return
    cells: list[tuple[object, ...]] = [
        (t["id"], t["label"], t["arm"] or "(assigned)", t["state"], t["redeemed_at"]) for t in found
    ]
    hint = f"No tokens yet: `simfeed study tokens {study} --count 20` makes some."
    table("", "id", "label", "arm", "state", "used", rows=cells, empty=hint)
