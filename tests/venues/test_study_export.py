"""R2–R4: a study's package is one snapshot, loses nothing, and is never half there."""

import asyncio
import csv
import hashlib
import io
import json
import random
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.cli.writing import whole
from app.db.engine import Database
from app.errors import Conflict, Misconfigured, NotFound
from app.venues.chatroom import withdrawal
from app.venues.chatroom.design import StudyDesign, arm_of
from app.venues.chatroom.export import (
    EXPORT,
    GUARDED,
    ROOM_FILES,
    STUDY_FILES,
    Column,
    csv_head,
    csv_line,
    export,
    json_line,
    toml,
)
from app.world import rooms
from tests.chat import person
from tests.conftest import sign_up
from tests.taking_part import CANARY, DESIGN, echoing, hits, house, open_study, take_part
from tests.venues.test_erasure import live_through

TABLES = {*STUDY_FILES, *ROOM_FILES, "questionnaire"}
REFERENCES = [
    ("sessions", "participant", "participants", "participant"),
    ("assignments", "participant", "participants", "participant"),
    ("answers", "participant", "participants", "participant"),
    ("questionnaire", "_participant", "participants", "participant"),
    *[
        (name, "session", "sessions", "session")
        for name in ("members", "messages", "events", "reactions", "reports", "blocks", "turns", "calls", "drafts")
    ],
    ("messages", ("session", "member"), "members", ("session", "member")),
    ("messages", ("session", "reply_to"), "messages", ("session", "number")),
    ("messages", ("session", "turn_id"), "turns", ("session", "turn_id")),
    ("events", ("session", "number"), "messages", ("session", "number")),
    ("reactions", ("session", "number"), "messages", ("session", "number")),
    ("calls", ("session", "turn_id"), "turns", ("session", "turn_id")),
    ("actions", ("turn_id", "step"), "calls", ("turn_id", "step")),
    ("actions", "draft_id", "drafts", "draft_id"),
    ("drafts", ("session", "turn_id"), "turns", ("session", "turn_id")),
    ("calls", "tools_sha256", "texts", "tools_sha256"),
]


def cells(text: str) -> Iterator[list[str | None]]:
    """RFC 4180, with the difference between `""` and nothing."""
    place, row = 0, []
    while place < len(text):
        if text[place] == '"':
            end = place + 1
            while text[end] != '"' or text[end + 1 : end + 2] == '"':
                end += 2 if text[end] == '"' else 1
            cell: str | None = text[place + 1 : end].replace('""', '"')
            place = end + 1
        else:
            found = re.compile(r"[^,\r]*").match(text, place)
            assert found is not None
            cell, place = found[0] or None, found.end()
        row.append(cell)
        if text.startswith("\r\n", place):
            yield row
            row, place = [], place + 2
        else:
            assert text[place] == ",", text[place : place + 20]
            place += 1
            if text.startswith("\r\n", place):
                yield [*row, None]
                row, place = [], place + 2


def value(kind: str, cell: str | None) -> Any:
    if cell is None:
        return None
    match kind:
        case "integer":
            return int(cell)
        case "number":
            return float(cell)
        case "boolean":
            return {"true": True, "false": False}[cell]
        case "json":
            return json.loads(cell)
    return cell


class Package:
    """A package read back by what its codebook says."""

    def __init__(self, data: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            assert packed.testzip() is None
            self.files = {name: packed.read(name) for name in packed.namelist()}
        self.manifest = json.loads(self.files["manifest.json"])
        book = json.loads(self.files["codebook.json"])
        self.kinds = {one["file"]: {c["name"]: c["kind"] for c in one["columns"]} for one in book["files"]}
        self.book = book

    def from_csv(self, name: str, folder: str = "data") -> list[dict[str, Any]]:
        head, *rows = cells(self.files[f"{folder}/{name}.csv"].decode("utf-8-sig"))
        return [
            {str(column): value(self.kinds[name][str(column)], cell) for column, cell in zip(head, row, strict=True)}
            for row in rows
        ]

    def from_lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[f"data/{name}.jsonl"].split(b"\n") if line]


async def packed(database: Database, study_id: int, *, spreadsheet: bool = False) -> Package:
    file = io.BytesIO()
    manifest = await export(database, study_id, file, spreadsheet=spreadsheet)
    found = Package(file.getvalue())
    assert found.manifest == manifest
    return found


def check(package: Package) -> None:
    """It is whole: checksums, counts, both forms alike, and nothing points outside of it."""
    listed = {one["path"]: one for one in package.manifest["files"]}
    assert set(listed) == set(package.files) - {"manifest.json", "SHA256SUMS"}
    for path, data in package.files.items():
        if path in listed:
            assert (listed[path]["bytes"], listed[path]["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    sums = dict(line.split("  ")[::-1] for line in package.files["SHA256SUMS"].decode().splitlines())
    assert sums == {
        path: hashlib.sha256(data).hexdigest() for path, data in package.files.items() if path != "SHA256SUMS"
    }
    tables = {name: package.from_csv(name) for name in TABLES}
    for name, rows in tables.items():
        assert rows == package.from_lines(name), name
        assert package.manifest["rows"][name] == len(rows) == listed[f"data/{name}.csv"]["rows"]
    for name, columns, other, keys in REFERENCES:
        known = {_key(row, keys) for row in tables[other]}
        missing = {key for row in tables[name] if None not in (key := _key(row, columns))} - known
        assert not missing, (name, columns)
    for session in tables["sessions"]:
        for name, counter in (("messages", "messages_count"), ("events", "events_count")):
            assert sum(row["session"] == session["session"] for row in tables[name]) == session[counter]


def _key(row: dict[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[column] for column in ((columns,) if isinstance(columns, str) else columns))


# R3

HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40) | st.sampled_from(
    ["", '"', '""', ",", "\r", "\n", "\r\n", '=cmd|"/C calc"!A1', "@x", "-1", "'", "''", "😀", "\u2028", "null", " x "]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": HOSTILE,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "json": st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | HOSTILE,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
        max_leaves=5,
    ),
}
COLUMNS = [Column(f"c{n}_{kind}", kind, "") for n, kind in enumerate(VALUES)]  # type: ignore[arg-type]
ROWS = st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), max_size=6)


def stored(row: tuple[Any, ...]) -> list[Any]:
    return [
        msgspec.Raw(msgspec.json.encode(one)) if column.kind == "json" and one is not None else one
        for column, one in zip(COLUMNS, row, strict=True)
    ]


@examples(max_examples=300, deadline=None)
@given(ROWS)
def test_r3_what_is_exported_is_read_back(rows: list[tuple[Any, ...]]) -> None:
    text = (csv_head(COLUMNS) + b"".join(csv_line(COLUMNS, stored(row)) for row in rows)).decode()
    head, *read = cells(text)
    assert head == [column.name for column in COLUMNS]
    assert [tuple(value(c.kind, x) for c, x in zip(COLUMNS, row, strict=True)) for row in read] == rows
    lines = b"".join(json_line(COLUMNS, stored(row)) for row in rows)
    assert [tuple(json.loads(line).values()) for line in lines.split(b"\n") if line] == rows
    plain = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [[one or None for one in row] for row in plain[1:]] == [[one or None for one in row] for row in read]


@examples(max_examples=300, deadline=None)
@given(ROWS)
def test_r3_the_spreadsheets_guard_can_be_taken_off(rows: list[tuple[Any, ...]]) -> None:
    text = b"".join(csv_line(COLUMNS, stored(row), guarded=True) for row in rows).decode()
    plain = b"".join(csv_line(COLUMNS, stored(row)) for row in rows).decode()
    for guarded, row in zip(cells(text), cells(plain), strict=True):
        for column, cell, own in zip(COLUMNS, guarded, row, strict=True):
            if column.kind in ("text", "json") and cell is not None:
                assert not cell.startswith(tuple(sign for sign in GUARDED if sign != "'"))
                assert cell.removeprefix("'") == own
            else:
                assert cell == own


def test_r3_a_hundred_thousand_texts() -> None:
    chance = random.Random(7)
    signs = ",\"\r\n\t=+-@' aé😀\u2028\x01\x7f＝"
    texts = ["".join(chance.choices(signs, k=chance.randrange(12))) for _ in range(100_000)]
    columns = [Column("text", "text", ""), Column("again", "text", "")]
    data = b"".join(csv_line(columns, [text, text]) for text in texts).decode()
    assert list(cells(data)) == [[text, text] for text in texts]
    assert list(csv.reader(io.StringIO(data, newline=""), strict=True)) == [[text, text] for text in texts]
    lines = b"".join(json_line(columns[:1], [text]) for text in texts)
    assert [json.loads(line)["text"] for line in lines.split(b"\n") if line] == texts


async def test_r3_hostile_words_through_the_database(database: Database) -> None:
    study_id = await open_study(database)
    words = ['=cmd|"/C calc"!A1', "a,b", 'say "hi"', "one\ntwo", "\r\n", "'", "😀é", "\u2028", "-1", "@Bob", " "]
    one = await take_part(database, study_id, why="=1+1")
    await database.fetch("UPDATE rooms SET state = 'running', started_at = now(), ends_at = now() + interval '1 hour'")
    for text in words:
        await rooms.say(database, one.key, text, quoted_text=text)
    package = await packed(database, study_id, spreadsheet=True)
    check(package)
    assert [row["body"] for row in package.from_csv("messages")] == words
    assert [row["quoted_text"] for row in package.from_csv("messages")] == words
    guarded = [row["body"] for row in package.from_csv("messages", "spreadsheet")]
    assert guarded[0] == "'" + words[0]
    assert guarded[5] == "''"
    assert [text.removeprefix("'") if text.startswith("'") else text for text in guarded] == words
    (wide,) = package.from_csv("questionnaire")
    assert (wide["_participant"], wide["why"], wide["city"], wide["which"], wide["fair"]) == (
        one.pseudonym,
        "=1+1",
        "elsewhere",
        None,
        None,
    )
    long = {row["question"]: row["value"] for row in package.from_csv("answers")}
    assert long == {"why": "=1+1", "city": "elsewhere", "which": None}


# What is in it


async def test_a_whole_study(database: Database, url: str) -> None:
    study_id = await open_study(database)
    async with house(url, echoing()) as (address, _), httpx2.AsyncClient(base_url=address) as client:
        admin = await sign_up(client)
        takers = [
            await take_part(database, study_id, label=f"{CANARY}-label", PROLIFIC_PID=f"{CANARY}-prolific")
            for _ in range(5)
        ]
        for one in takers[:2]:
            await live_through(address, database, one)
        await withdrawal.withdraw(database, takers[1].id, "erase")
        await withdrawal.withdraw(database, takers[2].id, "anonymised")
        answer = await client.get(f"/studies/{study_id}/export", headers=admin)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/zip"
        assert int(answer.headers["content-length"]) == len(answer.content)
        package = Package(answer.content)
        for path, status in (
            (f"/studies/{study_id + 1}/export", 404),
            ("/studies/99999999999999999999/export", 422),
            (f"/studies/{study_id}/export?spreadsheet=maybe", 422),
        ):
            assert (await client.get(path, headers=admin)).status_code == status, path
        assert (await client.get(f"/studies/{study_id}/export")).status_code == 401
        audited = await database.fetchrow("SELECT detail::text AS detail FROM audit WHERE action = 'study.exported'")
        assert audited is not None
        assert json.loads(audited["detail"])["sha256"] == hashlib.sha256(answer.content).hexdigest()
    check(package)
    tables = {name: package.from_lines(name) for name in TABLES}
    assert [row["participant"] for row in tables["participants"]] == [one.pseudonym for one in takers]
    assert sum(row["came"] for row in tables["attrition"]) == 5
    assert sum(row["withdrawn_erased"] for row in tables["attrition"]) == 1
    assert sum(row["withdrawn_anonymised"] for row in tables["attrition"]) == 1
    assert {row["name"] for row in tables["cast_members"]} == {"Alice", "Bob"}
    own = [row for row in tables["messages"] if row["session"] == takers[0].key]
    assert [row["number"] for row in own] == list(range(1, len(own) + 1))
    assert all(row["body"] for row in own)
    erased = [row for row in tables["messages"] if row["session"] == takers[1].key]
    assert len(erased) >= 6
    assert {(row["body"], row["quoted_text"]) for row in erased} == {(None, None)}
    calls = [row for row in tables["calls"] if row["session"] == takers[1].key]
    assert {(row["told"], row["reply"], row["response"]) for row in calls} == {(None, None, None)}
    assert all(row["prompt_tokens"] for row in calls)
    assert any(row["told"] and row["reply"] for row in tables["calls"] if row["session"] == takers[0].key)
    assert {row["cause"] for row in tables["turns"]} == {"addressed"}
    assert tables["reports"][0]["reason"] == f"{CANARY}-reason"
    assert len(tables["blocks"]) == 1
    design = StudyDesign.model_validate_json(package.files["design.json"])
    assert design == StudyDesign.model_validate(DESIGN)
    assert design == StudyDesign.model_validate(tomllib.loads(package.files["design.toml"].decode()))
    assert package.manifest["study"]["design_sha256"] == design.sha256().hex()
    for row in tables["assignments"]:
        if row["how"] == "drawn":
            seed = package.manifest["study"]["seed"]
            assert arm_of(design, seed, row["stratum"], row["place"]) == row["arm"]
            assert row["block"] == (row["place"] - 1) // design.block_size + 1
    assert [q["id"] for q in package.book["questions"]] == ["city", "why", "which", "fair"]
    assert all(column["meaning"] for one in package.book["files"] for column in one["columns"])
    readme = package.files["README.md"].decode()
    assert all(f"| `{name}` |" in readme for name in TABLES)
    for path, data in package.files.items():
        for one in takers:
            secret = hits(data, one.token, one.secret, one.receipt)
            assert hits(data, f"{CANARY}-label", f"{CANARY}-prolific", f"{CANARY}-name") + secret == 0, path
    hashes = await database.fetch(
        "SELECT sha256 FROM study_tokens UNION SELECT secret_sha256 FROM participants "
        "UNION SELECT receipt_sha256 FROM participants"
    )
    everything = b"".join(package.files.values())
    assert not any(row["sha256"].hex().encode() in everything for row in hashes if row["sha256"])


def test_every_statement_is_a_file_of_the_package() -> None:
    assert set(EXPORT) == {*STUDY_FILES, *ROOM_FILES, "room_ids", "now", "study"}


async def test_no_study_and_an_empty_one(database: Database) -> None:
    with pytest.raises(NotFound):
        await export(database, 10**18, io.BytesIO())
    study_id = await open_study(database, consent="external", strata=None, intake=[], closing=[])
    package = await packed(database, study_id, spreadsheet=True)
    check(package)
    assert set(package.manifest["rows"].values()) == {0, 2}  # two agents
    assert "Consent was obtained elsewhere" in package.files["README.md"].decode()


def test_a_design_in_toml_is_the_same_design() -> None:
    odd = {
        **DESIGN,
        "title": 'Odd "title" \\ with 😀 and = signs',
        "arms": {'the "odd" arm. [1]': {"prompt_template": "a\nb\t\"\"\"c'''"}, "plain": {"prompt_template": "x"}},
        "cast": [
            {
                "name": "Alice",
                "description": "D\u007f"[:1],
                "traits": ["=1", ""][:1],
                "demographics": {"a b": 1, "c": "d"},
            },
            {"name": "Bob"},
        ],
        "origins": ["https://chat.example.org"],
        "temperature": 0.00001,
        "redirect": {"completion": "https://example.org/?cc={completion_code}"},
    }
    design = StudyDesign.model_validate(odd)
    assert StudyDesign.model_validate(tomllib.loads(toml(design))) == design


# R2


async def test_r2_a_package_is_one_snapshot_while_people_write(database: Database, url: str) -> None:
    study_id = await open_study(database, token_reusable_before_first_message=True)
    stop = asyncio.Event()
    sizes: list[int] = []

    async with house(url, echoing()) as (address, _):
        takers = [await take_part(database, study_id) for _ in range(6)]

        async def talk(key: str) -> None:
            async with person(address, key, query="?extras=1") as socket:
                n = 0
                while not stop.is_set() and socket.code is None:
                    n += 1
                    await socket.say(f"@Bob @Alice number {n}")
                    await asyncio.sleep(0.2)

        async def come_and_go() -> None:
            while not stop.is_set():
                one = await take_part(database, study_id)
                await asyncio.sleep(0.05)
                await withdrawal.withdraw(database, one.id, "erase")

        work = [asyncio.create_task(one) for one in (*(talk(t.key) for t in takers), come_and_go())]
        try:
            async with asyncio.timeout(60):
                while len(sizes) < 6 or sizes[-1] == sizes[0]:
                    package = await packed(database, study_id)
                    check(package)
                    sizes.append(package.manifest["rows"]["messages"])
                    await asyncio.sleep(0.2)
        finally:
            stop.set()
            await asyncio.gather(*work)
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]


# R4


def break_off(target: Path) -> None:
    with whole(target) as file:
        file.write(b"half")
        assert not target.exists()
        raise RuntimeError


def test_r4_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "study.zip"
    with pytest.raises(RuntimeError):
        break_off(target)
    assert list(target.parent.iterdir()) == []
    with whole(target) as file:
        file.write(b"whole")
        with pytest.raises(Conflict), whole(target):
            pass
    assert target.read_bytes() == b"whole"
    assert [one.name for one in target.parent.iterdir()] == ["study.zip"]
    assert target.stat().st_mode & 0o777 == 0o600
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Misconfigured), whole(blocked / "study.zip"):
        pass


KILLED = """
import sys, time
from pathlib import Path
from app.cli.writing import whole
with whole(Path(sys.argv[1])) as file:
    file.write(b"half of the first try, which is longer")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_r4_a_killed_export_leaves_nothing_under_its_name_and_can_be_done_again(tmp_path: Path) -> None:
    target = tmp_path / "study.zip"
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"half\n"
            child.send_signal(signal.SIGKILL)
        assert not target.exists()
    with whole(target) as file:
        file.write(b"whole")
    assert target.read_bytes() == b"whole"
    assert [one.name for one in tmp_path.iterdir()] == ["study.zip"]
