"""Datasets: everything comes back exactly, nothing private goes out, what is damaged or hostile is told or refused."""

import csv
import json
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import nbformat
import networkx as nx
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.analysis import state as states
from app.analysis.dataset import codebook
from app.analysis.dataset.checking import check
from app.analysis.dataset.forms import FORMS, Form, sink
from app.analysis.dataset.options import Extra, Options, Source, Step
from app.analysis.dataset.package import build, counted
from app.analysis.dataset.pseudonyms import Pseudonyms
from app.analysis.dataset.reading import Manifest, checked_path, manifest_of, opened
from app.analysis.dataset.rebuild import rebuild
from app.analysis.dataset.rows import rows
from app.analysis.dataset.schema import Field, shapes
from app.db.engine import Database
from app.db.worlds import EMPTIED
from app.errors import AppError, Conflict, Invalid, NotFound
from app.world import worlds
from tests.cli.test_cli import SEED, simfeed
from tests.conftest import copy_of, run_sql, with_database
from tests.filled import fill

CANARY = "canary-7f3a"
NASTY = (
    "", "NULL", "\\N", "null", "=1+1", "+1", "-1", "@ada", "'=1", "''+1", "\t=1", 'say "no"', '"', '""', "a,b;c", "\n",
    "\r", "\r\n", "two\nlines\r\nand\rmore", "tab\there", "😀 👩‍👩‍👧 e\u0301", "שלום \u202eabc\u202c", " spaces ",
    "{\"a\": 1}", "#", "\\", "\\.", "\x01\x1f\x7f", "\u2028\u2029\ufeff", "\ufffe",
)  # fmt: skip
KINDS = [
    Field("id", "integer"), Field("number", "number", null=True), Field("flag", "boolean", null=True),
    Field("body", "text", null=True), Field("data", "json", null=True), Field("raw", "bytes", null=True),
    Field("at", "time", null=True), Field("day", "date", null=True), Field("items", "integers", null=True),
    Field("scores", "numbers", null=True), Field("reasons", "texts", null=True),
]  # fmt: skip


@dataclass
class Town:
    """A world with everything in it, its package in all formats, and another world's URL for imports."""

    url: str
    folder: Path
    home: str


async def _more(url: str) -> None:
    """Texts that are hard to write down, rows in every corner, and what must never go out."""
    connection = await asyncpg.connect(url)
    try:
        for n, text in enumerate(NASTY, 1):
            if text:
                await connection.execute(
                    "INSERT INTO posts (author_id, title, body) VALUES (1, $2, $1)", text, NASTY[-n]
                )
            await connection.execute("INSERT INTO reports (post_id, reporter_id, reason) VALUES ($1, 2, $2)", n, text)
        for statement in (  # a cycle need not have any of them
            "INSERT INTO likes (persona_id, post_id) VALUES (2, 1), (3, 1), (4, 2) ON CONFLICT DO NOTHING",
            "INSERT INTO follows (follower, followed) VALUES (2, 1), (3, 1) ON CONFLICT DO NOTHING",
            "INSERT INTO comments (author_id, post_id, body) VALUES (2, 1, 'So do I.')",
        ):
            await connection.execute(statement)
        await connection.execute(
            "INSERT INTO post_counts (post_id, created_at) SELECT id, created_at FROM posts ON CONFLICT DO NOTHING"
        )
        await connection.execute(
            "INSERT INTO memories (persona_id, kind, body, importance, sources, counts, embedding)"
            " VALUES (1, 'given', $1, 0.1, '{}', '{1,2}', '{0.1,-3e-38,NaN,Infinity}')",
            "remember\r\nthis",
        )
        await connection.execute(
            "INSERT INTO interventions (kind, cycle, detail, note) VALUES ('news', 99, $1, '=cmd')",
            '{"a": [1.10, 2e3, null, "\\u00e9\\n\\"", {"b": {}}], "none": null}',
        )
        await connection.execute("UPDATE runs SET estimate = 'null'::jsonb, realism = NULL")
        await connection.execute("UPDATE calls SET cost_usd = 0.00012345 WHERE step = 0")
        await connection.execute("UPDATE calls SET cost_usd = 123456.78 WHERE step = 1")
        filled = []
        for table in EMPTIED:
            with suppress(asyncpg.CheckViolationError):
                await fill(connection, table, CANARY, first=900)
                filled.append(table)
        assert {"admin", "admin_keys", "identities", "answers", "room_messages", "providers"} <= set(filled)
        for table in ("runs", "turns", "calls", "actions", "exposures", "marks", "memories"):
            await fill(connection, table, CANARY, first=900)
        await connection.execute(
            "UPDATE reports SET verdict = 'hidden', closed_at = now(), closed_by = 900 WHERE id = 1"
        )
        await connection.execute("UPDATE instance SET bootstrapped_at = '2001-02-03 04:05Z'")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def town(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    async with copy_of(server_url, template) as url, copy_of(server_url, template) as home:
        assert simfeed(url, "personas", "import", str(SEED)).returncode == 0
        how = ("--clock", "simulated", "--start", "2026-03-02T08:00", "--rounds")
        lived = simfeed(url, "run", "--seed", "3", *how)
        assert lived.returncode == 0
        await _more(url)
        folder = tmp_path_factory.mktemp("dataset") / "town"
        await build([Source("home", url)], folder)
        yield Town(url, folder, home)
        for row in await _fetch(home, "SELECT database FROM worlds WHERE state <> 'dropped'"):
            await run_sql(with_database(home, "postgres"), f'DROP DATABASE IF EXISTS "{row["database"]}" WITH (FORCE)')


async def _fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


@pytest.fixture
async def home(town: Town) -> AsyncIterator[Database]:
    database = await Database.open(town.home, size=4)
    yield database
    await database.close()


@pytest.fixture
def mine(town: Town, tmp_path: Path) -> Path:
    """A copy of the package to damage."""
    return Path(shutil.copytree(town.folder, tmp_path / "mine"))


def _plain(lines: Sequence[Sequence[Any]]) -> str:
    """So that NaN equals NaN, and -0.0 not 0.0."""
    return repr([tuple(one.isoformat() if isinstance(one, datetime) else one for one in line) for line in lines])


def _written(
    form: Form, path: Path, fields: Sequence[Field], lines: Sequence[Sequence[Any]], *, safe: bool = False
) -> None:
    one = sink(form, path, fields, safe=safe)
    for start in range(0, len(lines), 3):
        stretch = lines[start : start + 3]
        one.put([[line[n] for line in stretch] for n in range(len(fields))], len(stretch))
    one.close()


def _read(form: Form, path: Path, fields: Sequence[Field], *, safe: bool = False) -> list[tuple[Any, ...]]:
    return [row for batch in rows(form, path, fields, safe=safe) for row in batch]


TEXT = st.one_of(st.sampled_from(NASTY), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
INTEGER = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.floats(allow_nan=True, allow_infinity=True)
TIME = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
).map(lambda value: json.dumps(value, ensure_ascii=False))
ROW = st.tuples(
    INTEGER, *(
        st.none() | one
        for one in (
            NUMBER, st.booleans(), TEXT, JSON, st.binary(max_size=9), TIME,
            st.dates(date(1900, 1, 1), date(2200, 1, 1)),
            st.lists(INTEGER, max_size=3), st.lists(NUMBER, max_size=3), st.lists(TEXT, max_size=3),
        )
    ),
)  # fmt: skip


@pytest.mark.parametrize(("form", "safe"), [*((form, False) for form in FORMS), ("csv", True)])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(ROW, max_size=7))
def test_every_form_gives_back_exactly_what_was_written(
    tmp_path: Path, form: Form, safe: bool, lines: list[tuple[Any, ...]]
) -> None:
    path = tmp_path / f"table.{form}"
    _written(form, path, KINDS, lines, safe=safe)
    assert _plain(_read(form, path, KINDS, safe=safe)) == _plain(lines)


@pytest.mark.parametrize("form", FORMS)
def test_hard_texts_come_back(tmp_path: Path, form: Form) -> None:
    fields = [Field("id", "integer"), Field("body", "text", null=True)]
    lines = [*enumerate(NASTY), (99, None)]
    path = tmp_path / f"table.{form}"
    _written(form, path, fields, lines)
    assert _read(form, path, fields) == lines
    if form == "csv":
        assert pl.read_csv(path)["body"].to_list() == [body for _, body in lines]
        assert pd.read_csv(path, keep_default_na=False)["body"].to_list() == [body or "" for _, body in lines]
        with path.open(encoding="utf-8", newline="") as file:
            assert [cells[1] for cells in csv.reader(file)][1:] == [body or "" for _, body in lines]
    elif form == "jsonl":
        assert [json.loads(line)["body"] for line in path.read_bytes().split(b"\n")[:-1]] == [b for _, b in lines]
    else:
        assert pd.read_parquet(path)["body"].tolist()[:-1] == list(NASTY)
        assert pd.read_parquet(path)["body"].isna().tolist() == [False] * len(NASTY) + [True]


def test_a_safe_spreadsheet_reckons_with_nothing(tmp_path: Path) -> None:
    fields = [Field("id", "integer"), Field("body", "text")]
    safe, plain = tmp_path / "safe.csv", tmp_path / "plain.csv"
    _written("csv", safe, fields, list(enumerate(NASTY)), safe=True)
    _written("csv", plain, fields, list(enumerate(NASTY)))
    formula = ("=", "+", "-", "@", "\t", "\r", "\n")
    assert not [cell for cell in pl.read_csv(safe)["body"] if cell.startswith(formula)]
    assert [cell for cell in pl.read_csv(plain)["body"] if cell.startswith(formula)]


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("csv", '"id","body"\n1,"a\n', "line 2: its last quote"),
        ("csv", '"id","body"\n1,"a"b\n', "line 2: cell 2"),
        ("csv", '"id","body"\n1,"a",\n', "line 2: has 3 cells"),
        ("csv", '"id","body"\n1,"a\nb"\nx,"c"\n', "line 4: id: 'x' is no integer"),
        ("csv", '"id","text"\n', "line 1: must be the names id, body"),
        ("csv", b"\xff", "is not UTF-8"),
        ("jsonl", '{"id":1,"body":"a"}\n{"id":"1","body":"a"}\n', "line 2: Expected `int"),
        ("jsonl", '{"id":1,"body":"a","more":1}\n', "line 1: Object contains unknown field"),
        ("jsonl", '{"id":1', "line 1: Input data was truncated"),
        ("parquet", "PAR1", "is no Parquet"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path: Path, form: Form, text: str | bytes, said: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Invalid, match=said):
        _read(form, path, [Field("id", "integer"), Field("body", "text")])


def test_the_codebook_tells_of_every_column() -> None:
    every = codebook.entries(list(shapes().values()))
    assert [f"{one.table}.{one.column}" for one in every if not one.meaning] == []
    assert [name for name in shapes() if not codebook.table_meaning(name)] == []
    by = {(one.table, one.column): one for one in every}
    assert by["personas", "status"].values == ("active", "paused", "departed", "cast")
    assert by["posts", "author_id"].refers_to == "personas(id)"
    assert by["calls", "latency_ms"].unit == "milliseconds"
    assert by["posts", "title"].null
    assert not by["posts", "body"].null


async def test_a_package_holds_a_world_and_its_hash(town: Town) -> None:
    found = check(town.folder)
    assert found.faults == []
    (world,) = found.manifest.worlds
    state = await states.state_at(town.url)
    assert world.sha256 == state.sha256
    assert world.whole
    connection = await asyncpg.connect(town.url)
    try:
        held = await counted(connection)
    finally:
        await connection.close()
    assert {f.table: f.rows for f in found.manifest.files if f.format == "csv"} == held
    assert held["posts"] > len(NASTY)
    names = {one.path for one in found.manifest.files}
    assert names >= {
        "README.md", "CITATION.cff", "codebook.json", "codebook.csv", "codebook.md", "network.graphml",
        "analysis.ipynb", "croissant.json", "ro-crate-metadata.json", "data/exposures.parquet",
        "data/exposure_items.csv",
    }  # fmt: skip
    assert len([name for name in names if name.startswith("prompts/") and name.endswith(".txt")]) == 1
    assert not list(town.folder.rglob("*.part"))
    assert not (town.folder / ".building.json").exists()


async def test_tables_open_in_pandas_and_polars_and_the_network_in_networkx(town: Town) -> None:
    posts = await _fetch(town.url, "SELECT id, body FROM posts ORDER BY id")
    bodies = [row["body"] for row in posts]
    data = town.folder / "data"
    assert pd.read_parquet(data / "posts.parquet")["body"].tolist() == bodies
    assert pl.read_parquet(data / "posts.parquet")["body"].to_list() == bodies
    assert pl.read_csv(data / "posts.csv", infer_schema_length=None)["body"].to_list() == bodies
    assert pd.read_csv(data / "posts.csv", keep_default_na=False)["body"].tolist() == bodies
    assert pd.read_json(data / "posts.jsonl", lines=True, dtype=False)["body"].tolist() == bodies
    network = nx.read_graphml(town.folder / "network.graphml", force_multigraph=True)
    follows = await _fetch(town.url, "SELECT follower, followed FROM follows")
    drawn = {(int(a), int(b)) for a, b, kind in network.edges(data="kind") if kind == "follows"}
    assert drawn == {(row["follower"], row["followed"]) for row in follows} != set()
    assert network.number_of_nodes() == 12
    assert network.nodes["1"]["username"]


async def test_nothing_private_goes_out(town: Town, tmp_path: Path) -> None:
    seen = {one.path: (town.folder / one.path).read_bytes() for one in manifest_of(town.folder).files}
    cells = {
        f"{name}.parquet": repr(_read("parquet", town.folder / f"data/{name}.parquet", shape.fields)).encode()
        for name, shape in shapes().items()
    }
    assert [name for name, data in (seen | cells).items() if CANARY.encode() in data] == []
    assert [name for name, data in (seen | cells).items() if CANARY.encode().hex().encode() in data] == []
    assert b"2001-02-03" not in seen["data/instance.csv"]
    closed = pl.read_csv(town.folder / "data/reports.csv").filter(pl.col("verdict") == "hidden")
    assert closed["closed_by"].to_list() == [None]
    # the same look finds it where it was put into what travels
    (row,) = await _fetch(town.url, "SELECT username FROM personas WHERE id = 1")
    assert [name for name, data in cells.items() if row["username"].encode() in data]


async def test_one_moment_is_read_while_the_world_goes_on(
    town: Town, server_url: str, template: str, tmp_path: Path
) -> None:
    async with copy_of(server_url, template) as url:
        await run_sql(url, "INSERT INTO personas (username, description) VALUES ('ada', 'x'), ('bob', 'y')")
        before = await states.state_at(url)

        def told(step: Step) -> None:
            if step.what == "instance":
                subprocess.run(
                    [sys.executable, "-c", _INSERT, url], check=True, capture_output=True, timeout=60
                )  # after the first tables were read, before the last

        await build([Source("home", url)], tmp_path / "moment", told=told)
        assert check(tmp_path / "moment").faults == []
        assert manifest_of(tmp_path / "moment").worlds[0].sha256 == before.sha256 != (await states.state_at(url)).sha256


_INSERT = """
import asyncio, asyncpg, sys
async def work():
    c = await asyncpg.connect(sys.argv[1])
    await c.execute("INSERT INTO posts (author_id, body) VALUES (1, 'later')")
    await c.close()
asyncio.run(work())
"""


def _graph(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    crate = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    return crate, {one["@id"]: one for one in crate["@graph"]}


def _crate_faults(folder: Path) -> list[str]:
    """What RO-Crate 1.2 requires of an attached crate, as its specification has it."""
    crate, by = _graph(folder)
    faults = []
    if crate.get("@context") != "https://w3id.org/ro/crate/1.2/context":
        faults.append("the context")
    if len(by) != len(crate["@graph"]):
        faults.append("an @id twice")
    head = by.get("ro-crate-metadata.json", {})
    if head.get("@type") != "CreativeWork" or head.get("about") != {"@id": "./"}:
        faults.append("the descriptor")
    if not head.get("conformsTo", {}).get("@id", "").startswith("https://w3id.org/ro/crate/1.2"):
        faults.append("what it conforms to")
    root = by.get("./", {})
    faults += [
        f"the root's {name}" for name in ("name", "description", "datePublished", "license") if not root.get(name)
    ]
    if root.get("@type") != "Dataset" or not by.get(root.get("license", {}).get("@id"), {}).get("name"):
        faults.append("the root")
    datetime.fromisoformat(root.get("datePublished", "x"))
    parts = [one["@id"] for one in root.get("hasPart", ())]
    faults += [f"{one}: no File" for one in parts if by.get(one, {}).get("@type") != "File"]
    faults += [f"{one}: not there" for one in parts if not (folder / one).is_file()]
    faults += [f"{one}: not linked" for one, entity in by.items() if entity["@type"] == "File" and one not in parts]
    known = {"@id", "@type"}
    for entity in by.values():
        for name, value in entity.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and (
                    set(one) - known or ("@id" in one and name != "conformsTo" and one["@id"] not in by)
                ):
                    faults.append(f"{entity['@id']}: {name}: not flat, or of nothing")
    return faults


async def test_the_crate_is_valid(town: Town, mine: Path) -> None:
    assert _crate_faults(town.folder) == []
    listed = {one["@id"] for one in _graph(town.folder)[1]["./"]["hasPart"]}
    there = {one.path for one in manifest_of(town.folder).files} | {"manifest.json"}
    assert there - listed == {"ro-crate-metadata.json"}
    crate, by = _graph(mine)
    del by["./"]["license"]
    by["README.md"]["@type"] = "Thing"
    (mine / "ro-crate-metadata.json").write_text(json.dumps(crate))
    assert _crate_faults(mine) == ["the root's license", "the root", "README.md: no File"]


CROISSANT = """
import socket, sys, warnings, logging
def away(*_): raise OSError("the network is off")
socket.socket.connect = away
import mlcroissant
try:
    dataset = mlcroissant.Dataset(jsonld=sys.argv[1])
except mlcroissant.ValidationError as error:
    print("invalid", str(error)[:300]); raise SystemExit
print(len(dataset.metadata.issues.errors), len(dataset.metadata.issues.warnings))
print(sum(1 for _ in dataset.records("posts")), sum(1 for _ in dataset.records("exposure_items")))
"""


def test_croissants_validator_finds_nothing_and_reads_the_records(town: Town, mine: Path) -> None:
    def look(folder: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", CROISSANT, str(folder / "croissant.json")],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    posts, shown = (
        pl.read_parquet(town.folder / f"data/{name}.parquet").height for name in ("posts", "exposure_items")
    )
    assert look(town.folder) == ["0 0", f"{posts} {shown}"]
    broken = json.loads((mine / "croissant.json").read_text())
    broken["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "nowhere"
    (mine / "croissant.json").write_text(json.dumps(broken))
    assert look(mine)[0].startswith("invalid")


def _run_notebook(folder: Path) -> str:
    book = nbformat.read(folder / "analysis.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(book)
    code = "\n".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_notebook_runs(town: Town) -> None:
    said = _run_notebook(town.folder)
    assert "12 personas," in said
    assert "things were shown" in said
    assert "ties; density of follows" in said


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_the_notebook_runs_on_each_form(town: Town, tmp_path: Path, form: str) -> None:
    await build([Source("home", town.url)], tmp_path / "one", options=Options(formats=(form,)))
    assert "12 personas," in _run_notebook(tmp_path / "one")


def _resealed(folder: Path, path: str, data: bytes) -> None:
    """Change a file, and the manifest with it, as somebody would who wants it to pass."""
    import hashlib

    (folder / path).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for one in manifest["files"]:
        if one["path"] == path:
            one |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _edit(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: _resealed(folder, path, change((folder / path).read_bytes()))


def _manifest(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        change(found)
        (folder / "manifest.json").write_text(json.dumps(found), encoding="utf-8")

    return damage


def _link(folder: Path) -> None:
    (folder / "data/posts.csv").unlink()
    (folder / "data/posts.csv").symlink_to("/etc/hostname")


DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (lambda f: (f / "data/posts.csv").unlink(), ["data/posts.csv: is missing"]),
    "cut": (lambda f: (f / "README.md").write_bytes(b"x"), ["README.md: has 1 bytes"]),
    "flipped": (
        lambda f: (f / "data/likes.csv").write_bytes((f / "data/likes.csv").read_bytes().replace(b"1", b"2")),
        ["data/likes.csv: has another SHA-256"],
    ),
    "more": (lambda f: (f / "data/more.csv").write_text("x"), ["data/more.csv: is not in the manifest"]),
    "link": (_link, ["data/posts.csv: is a link", "data/posts.csv: is missing"]),
    "row gone": (
        _edit("data/turns.jsonl", lambda data: data.split(b"\n", 1)[1]),
        ["data/turns.jsonl: its rows are others than the manifest's",
         "data/turns.jsonl: its rows are others than those of", "data/turns.jsonl: has 11 rows, must be 12"],
    ),
    "no number": (
        _edit("data/turns.csv", lambda data: data.replace(b"\n1,", b"\nx,", 1)),
        ["data/turns.csv: line 2: id: 'x' is no integer"],
    ),
    "a wrong hash": (
        _manifest(lambda m: m["worlds"][0].update(sha256="0" * 64)),
        ["manifest.json: worlds: home: its hash is not that of its tables"],
    ),
    "a table's wrong hash": (
        _manifest(lambda m: m["worlds"][0]["tables"]["likes"].update(sha256="0" * 64)),
        ["data/likes.parquet: its rows", "data/likes.csv: its rows", "data/likes.jsonl: its rows",
         "manifest.json: worlds"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_told_with_its_place(mine: Path, damage: str) -> None:
    work, said = DAMAGES[damage]
    assert check(mine).faults == []
    work(mine)
    found = [str(fault) for fault in check(mine).faults]
    assert len(found) == len(said), found
    for words in said:
        assert any(one.startswith(words) for one in found), found


async def test_references_and_keys_are_followed(town: Town, tmp_path: Path) -> None:
    folder = tmp_path / "csv"
    await build([Source("home", town.url)], folder, options=Options(formats=("csv",)))
    lines = (folder / "data/likes.csv").read_bytes().splitlines()
    name = [cell.strip(b'"') for cell in lines[0].split(b",")].index(b"persona_id")
    cells = lines[1].split(b",")
    cells[name] = b"4711"
    wrong = b"\n".join([lines[0], lines[1], b",".join(cells), *lines[2:]]) + b"\n"
    _resealed(folder, "data/likes.csv", wrong)
    found = [str(fault) for fault in check(folder).faults]
    assert f"data/likes.csv: row 2: the key id {int(cells[0])} is there twice" in found
    assert "data/likes.csv: row 2: persona_id 4711: there is no such row in personas" in found


def _zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in members:
            file.writestr(name, data, zipfile.ZIP_DEFLATED)
    return path


def _symlink(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


HOSTILE: dict[str, tuple[tuple[tuple[str | zipfile.ZipInfo, bytes], ...], str]] = {
    "slip": ((("../outside", b"x"),), "no path of a file"),
    "deep slip": ((("data/../../outside", b"x"),), "no path of a file"),
    "absolute": ((("/tmp/outside", b"x"),), "no path of a file"),
    "drive": ((("c:/outside", b"x"),), "no path of a file"),
    "backslash": ((("..\\outside", b"x"),), "no path of a file"),
    "twice": ((("manifest.json", b"{}"), ("manifest.json", b"{}")), "is there twice"),
    "twice but for capitals": ((("manifest.json", b"{}"), ("Manifest.json", b"{}")), "is there twice"),
    "link": (((_symlink("data"), b"/etc"),), "link or a device"),
    "bomb": ((("bomb", bytes(80 * 2**20)),), "would become"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_zips_are_refused_and_write_nothing(tmp_path: Path, kind: str) -> None:
    members, said = HOSTILE[kind]
    room = tmp_path / "room"
    room.mkdir()
    path = _zip(room / "bad.zip", *members)
    with pytest.raises(Invalid, match=said):
        check(path)
    assert sorted(tmp_path.rglob("*")) == [room, path]


def test_a_zip_that_lies_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "lies.zip", ("manifest.json", b"x" * 1000))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xe8\x03\x00\x00", b"\x05\x00\x00\x00"))  # it says it holds 5 bytes
    with pytest.raises(Invalid, match="can't be unpacked"):
        check(path)
    path.write_bytes(data[:-30])
    with pytest.raises(Invalid, match="can't be unpacked"):
        check(path)
    with pytest.raises(NotFound):
        check(tmp_path / "nowhere")
    good = _zip(tmp_path / "good.zip", ("data/a.txt", b"a"))
    with opened(good) as folder:
        assert (folder / "data/a.txt").read_bytes() == b"a"


@pytest.mark.parametrize(
    "path", ["", ".", "a/", "/a", "a//b", "a/../b", "a\0b", ".hidden", "a/.b", "con\n", "a:b", "x" * 500]
)
def test_only_plain_paths_are_files(path: str) -> None:
    with pytest.raises(Invalid):
        checked_path(path)
    assert checked_path("worlds/latest-1/data/posts.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "manifest.json: line 1"),
        ('{"a": 1, "a": 2}', "given twice"),
        ("[]", "manifest.json: Expected `object`"),
        ('{"format": NaN}', "NaN is not a finite number"),
        (None, "no manifest.json"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(Invalid, match=said):
        check(tmp_path)


async def _left(url: str) -> tuple[int, int]:
    """Worlds that are not dropped, and databases of worlds."""
    (row,) = await _fetch(
        url,
        "SELECT (SELECT count(*) FROM worlds WHERE state <> 'dropped') AS worlds,"
        " (SELECT count(*) FROM pg_database d JOIN worlds w ON w.database = d.datname) AS databases",
    )
    return row["worlds"], row["databases"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_world_is_made_again_from_each_form(town: Town, home: Database, tmp_path: Path, form: Form) -> None:
    safe = form == "csv"
    options = Options(formats=(form,), spreadsheet_safe=safe)
    await build([Source("home", town.url)], tmp_path / "town.zip", options=options)
    made = await rebuild(home, tmp_path / "town.zip", f"again-{form}")
    state = await states.state_at(town.url)
    found = await worlds.one(home, made.world.name)
    assert (made.sha256, made.same, made.rested, found.state) == (state.sha256, True, False, "ready")
    url = with_database(town.home, found.database)
    assert (await states.state_at(url)).sha256 == state.sha256
    await run_sql(url, "INSERT INTO posts (author_id, body) VALUES (1, 'the next number')")
    assert _names(tmp_path) == ["town.zip"]


async def test_what_was_open_is_put_at_rest(server_url: str, template: str, home: Database, tmp_path: Path) -> None:
    async with copy_of(server_url, template) as url:
        await run_sql(
            url,
            "INSERT INTO personas (username, description) VALUES ('ada', 'x')",
            "INSERT INTO runs (venue, slot, state, seed) VALUES ('feed', 's', 'running', 1)",
        )
        await build([Source("home", url)], tmp_path / "open")
        made = await rebuild(home, tmp_path / "open", "open")
        assert (made.same, made.rested) == (True, True)
        (row,) = await _fetch(with_database(home.url, made.world.database), "SELECT state FROM runs")
        assert row["state"] == "stopped"


def _names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def _orphan(data: bytes) -> bytes:
    lines = data.splitlines()
    return b"\n".join(line.replace(b'"post_id":', b'"post_id":99', 1) for line in lines) + b"\n"


async def test_half_an_import_leaves_nothing(town: Town, home: Database, tmp_path: Path) -> None:
    folder = tmp_path / "jsonl"
    await build([Source("home", town.url)], folder, options=Options(formats=("jsonl",)))
    before = await _left(town.home)

    async def refused(damage: Callable[[Path], object], said: str) -> None:
        again = Path(shutil.copytree(folder, tmp_path / "again"))
        damage(again)
        with pytest.raises(Invalid, match=said):
            await rebuild(home, again, "never")
        assert await _left(town.home) == before
        shutil.rmtree(again)

    await refused(_edit("data/likes.jsonl", _orphan), "references: .*is not present in table")
    await refused(_edit("data/likes.jsonl", lambda data: data + data), "likes.jsonl: Key .*already exists")
    await refused(
        _edit("data/comments.jsonl", lambda data: data.replace(b'"body":"', b'"body":"!', 1)),
        "another hash .*: comments",
    )
    await refused(
        _edit("data/posts.jsonl", lambda data: data.replace(b'"body":"', b'"body":"\\u0000', 1)), "posts.jsonl"
    )
    await refused(_edit("data/posts.jsonl", lambda data: data[:-9]), "posts.jsonl: line")
    await refused(lambda f: (f / "data/posts.jsonl").write_bytes(b"x"), "not what the manifest says")
    await refused(_manifest(lambda m: m.update(schema="0001")), "older schema")
    await refused(_manifest(lambda m: m.update(schema="ffff")), "another schema")
    await refused(_manifest(lambda m: m.update(format_version=2)), "is read here")
    with pytest.raises(Invalid, match="world's name"):
        await rebuild(home, folder, "../x")
    await rebuild(home, folder, "well")  # what was not damaged comes in
    with pytest.raises(Conflict, match="already"):
        await rebuild(home, folder, "well")


async def test_a_part_of_a_world_can_be_read_but_not_imported(town: Town, home: Database, tmp_path: Path) -> None:
    await build([Source("home", town.url)], tmp_path / "part", options=Options(tables=("posts", "personas")))
    found = check(tmp_path / "part")
    assert (found.faults, found.manifest.worlds[0].whole) == ([], False)
    with pytest.raises(Invalid, match="is not whole: the package lacks actions, calls"):
        await rebuild(home, tmp_path / "part", "part")


async def test_pseudonyms_hide_names_wherever_they_were_written(town: Town, home: Database, tmp_path: Path) -> None:
    people = await _fetch(town.url, "SELECT username, profile ->> 'display_name' AS name FROM personas")
    names = {row["username"] for row in people} | {row["name"] for row in people if row["name"]}
    for how in ("names", "all"):
        options = Options(pseudonyms=how)
        await build([Source("home", town.url)], tmp_path / how, options=options)
    hidden = _words(tmp_path / "all")
    assert [name for name in names if re.search(rf"\b{re.escape(name.lower())}\b", hidden)] == []
    assert [name for name in names if re.search(rf"\b{re.escape(name.lower())}\b", _words(town.folder))]
    users = pl.read_parquet(tmp_path / "names/data/personas.parquet")["username"].to_list()
    assert users == [f"member_{n}" for n in range(1, 13)]
    assert check(tmp_path / "all").faults == check(tmp_path / "names").faults == []
    made = await rebuild(home, tmp_path / "all", "masks")
    assert made.same is None


def _words(folder: Path) -> str:
    files = [
        one.path for one in manifest_of(folder).files if not one.path.startswith(("prompts/", "README", "codebook"))
    ]
    texts = [(folder / path).read_text(encoding="utf-8") for path in files if not path.endswith(".parquet")]
    calls = _read("parquet", folder / "data/calls.parquet", shapes()["calls"].fields)
    return " ".join([*texts, repr(calls)]).lower()


def test_names_are_found_as_words_also_behind_what_json_writes() -> None:
    others = Pseudonyms([(1, "ada", True), (2, "ada.l", True), (3, "Zoë Ö", False), (3, "zoe", True)], "all")
    assert others.replaced("Ada, @ada.l and adam, ada's ADA") == "member_1, @member_2 and adam, member_1's member_1"
    assert others.replaced('{"a": "\\nada", "b": "zo\\u00eb \\u00d6"}') == '{"a": "\\nmember_1", "b": "member_3"}'
    assert others.replaced("Zoë Ö!") == "member_3!"
    assert others.replaced("nada canada ada_1") == "nada canada ada_1"


def _report(path: Path) -> None:
    path.write_text("<p>ok</p>")


async def test_several_worlds_and_more_files_lie_in_one_package(town: Town, home: Database, tmp_path: Path) -> None:
    sources = [Source(name, town.url, f"worlds/{name}/") for name in ("latest-1", "interest-1")]
    (tmp_path / "plot.svg").write_text("<svg/>")
    extras: dict[str, Extra] = {
        "assignment.csv": b'"trial","arm"\n',
        "plots/one.svg": tmp_path / "plot.svg",
        "report.html": _report,
    }
    done = await build(sources, tmp_path / "both.zip", options=Options(formats=("parquet",)), extras=extras)
    with zipfile.ZipFile(tmp_path / "both.zip") as file:
        assert {"assignment.csv", "plots/one.svg", "report.html", "worlds/latest-1/data/posts.parquet"} <= set(
            file.namelist()
        )
    found = check(tmp_path / "both.zip")
    assert found.faults == []
    assert [world.name for world in found.manifest.worlds] == ["latest-1", "interest-1"]
    assert len(done.manifest["files"]) == found.files
    with opened(tmp_path / "both.zip") as folder:
        assert "latest-1" in _run_notebook(folder)
        assert _crate_faults(folder) == []
    with pytest.raises(Invalid, match="which of its worlds"):
        await rebuild(home, tmp_path / "both.zip", "third")
    made = await rebuild(home, tmp_path / "both.zip", "third", world="interest-1")
    assert made.same


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(tables=("posts", "admin")), "no table 'admin'"),
        (Options(formats=("xlsx", "csv")), "no format 'xlsx'"),
        (Options(formats=("graphml",)), "name a format of tables"),
    ],
)
async def test_what_cannot_be_built_is_refused(town: Town, tmp_path: Path, options: Options, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await build([Source("home", town.url)], tmp_path / "no", options=options)
    assert _names(tmp_path) == []


async def test_extras_stay_in_the_package_and_replace_nothing(town: Town, tmp_path: Path) -> None:
    one = Options(tables=("likes",), formats=("csv",))
    with pytest.raises(Invalid, match="no path of a file"):
        await build([Source("home", town.url)], tmp_path / "no", options=one, extras={"../out": b"x"})
    with pytest.raises(Invalid, match="a file of the package already"):
        await build([Source("home", town.url)], tmp_path / "no", options=one, extras={"data/likes.csv": b"x"})


async def test_what_is_there_is_not_overwritten(town: Town, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine.txt").write_text("mine")
    (tmp_path / "there.zip").write_text("mine")
    for name in ("there", "there.zip"):
        with pytest.raises(AppError, match="is there already"):
            await build([Source("home", town.url)], tmp_path / name, options=Options(resume=True))
    assert (tmp_path / "there/mine.txt").read_text() == (tmp_path / "there.zip").read_text() == "mine"


def test_the_manifest_is_typed() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"format": 1}, Manifest)
