"""A package that came from anywhere: opened without trusting it."""

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from app import strict_json
from app.errors import Invalid, NotFound

FORMAT, FORMAT_VERSION = "simfeed-dataset", 1
MANIFEST, JOURNAL = "manifest.json", ".building.json"
MANIFEST_MOST = 64 * 2**20
FILES_MOST = 200_000
RATIO_MOST = 200
"""How many times as large as the zip file its files may be together, beyond `FREELY` bytes."""

FREELY = 64 * 2**20
CHUNK = 2**20
_PART = re.compile(r"[^\x00-\x1f\x7f\\/:*?\"<>|]{1,120}")


class FileEntry(msgspec.Struct, kw_only=True):
    """A file as the manifest lists it."""

    path: str
    bytes: int
    sha256: str
    about: str = ""
    world: str | None = None
    prefix: str = ""
    table: str | None = None
    format: str | None = None
    rows: int | None = None
    derived: bool = False
    spreadsheet_safe: bool = False
    extra: bool = False


class TableEntry(msgspec.Struct):
    rows: int
    sha256: str


class WorldEntry(msgspec.Struct):
    """A world as the manifest lists it. `whole`: all that travels of it is there."""

    name: str
    prefix: str
    taken_at: str
    whole: bool
    sha256: str
    tables: dict[str, TableEntry]


class Program(msgspec.Struct):
    name: str
    version: str


class Manifest(msgspec.Struct):
    """`manifest.json`; `schema` is the revision of the worlds' tables."""

    format: str
    format_version: int
    title: str
    created_at: str
    program: Program
    schema: str
    pseudonyms: str
    spreadsheet_safe: bool
    worlds: list[WorldEntry]
    files: list[FileEntry]
    prompts_sha256: str = ""


def checked_path(path: str) -> str:
    """A path within a package.

    Raises:
        Invalid: it leads out of it, or is none that every system can hold.
    """
    parts = path.split("/")
    if len(path) > 400 or not all(_PART.fullmatch(part) for part in parts):
        raise Invalid(f"{path[:80]!r} is no path of a file in a package")
    if any(part.startswith(".") or part.endswith((".", " ")) for part in parts):
        raise Invalid(f"{path[:80]!r} is no path of a file in a package: no part of it may begin or end with a dot")
    return path


def distinct(paths: Sequence[str]) -> None:
    """Refuse two files of one name, also where only capitals tell them apart.

    Raises:
        Invalid: there are.
    """
    seen: set[str] = set()
    for path in paths:
        if path.casefold() in seen:
            raise Invalid(f"{path[:80]!r} is there twice")
        seen.add(path.casefold())


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a package; a zip file is unpacked into a temporary one, which is gone at the end.

    Raises:
        NotFound: there is nothing.
        Invalid: it is no package, or a zip file that means harm: nothing is written outside of the temporary folder.
    """
    if path.is_dir():
        yield path
        return
    if not path.exists():
        raise NotFound(f"there is no {path}")
    with tempfile.TemporaryDirectory(prefix="simfeed-dataset-") as room:
        try:
            with zipfile.ZipFile(path) as file:
                _unpack(file, path, Path(room))
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError, ValueError) as error:
            raise Invalid(f"{path} can't be unpacked: {error or type(error).__name__}") from None
        yield Path(room)


def _unpack(file: zipfile.ZipFile, path: Path, room: Path) -> None:
    members = [one for one in file.infolist() if not one.is_dir()]
    if len(file.infolist()) > FILES_MOST:
        raise Invalid(f"{path} holds more than {FILES_MOST:,} files")
    for one in members:
        _looked_at(one)
    distinct([one.filename for one in members])
    size, held = sum(one.file_size for one in members), path.stat().st_size
    if sum(one.compress_size for one in members) > held:
        raise Invalid(f"{path} holds files that overlap")
    if size > max(FREELY, RATIO_MOST * held):
        raise Invalid(f"{path} would become {size:,} bytes, more than {RATIO_MOST} times what it is")
    if size > shutil.disk_usage(room).free:
        raise Invalid(f"{path} would become {size:,} bytes; there is not so much room in {tempfile.gettempdir()}")
    for one in members:
        to = room / PurePosixPath(one.filename)
        to.parent.mkdir(parents=True, exist_ok=True)
        left = one.file_size
        with file.open(one) as packed, to.open("xb") as unpacked:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise Invalid(f"{path}: {one.filename}: is larger than it says")
                unpacked.write(chunk)


def _looked_at(one: zipfile.ZipInfo) -> None:
    checked_path(one.filename)
    mode = one.external_attr >> 16
    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
        raise Invalid(f"{one.filename!r} is a link or a device")
    if one.flag_bits & 1:
        raise Invalid(f"{one.filename!r} is encrypted")


def manifest_of(folder: Path) -> Manifest:
    """A package's manifest, whose paths stay within it.

    Raises:
        Invalid: there is none, or it is wrong; the message says where.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise Invalid(f"there is no {MANIFEST}: this is no dataset, or one that was never finished")
    if path.stat().st_size > MANIFEST_MOST:
        raise Invalid(f"{MANIFEST}: is larger than {MANIFEST_MOST:,} bytes")
    try:
        found = msgspec.convert(strict_json.loads(path.read_bytes()), Manifest, strict=True)
    except (strict_json.JSONError, msgspec.ValidationError) as error:
        raise Invalid(f"{MANIFEST}: {error}") from None
    if found.format != FORMAT or found.format_version != FORMAT_VERSION:
        raise Invalid(
            f"{MANIFEST}: is {found.format[:40]!r} {found.format_version}; {FORMAT} {FORMAT_VERSION} is read here"
        )
    for one in found.files:
        checked_path(one.path)
    distinct([one.path for one in found.files])
    return found


def listing(folder: Path) -> tuple[set[str], set[str]]:
    """The paths of all files of a package, and of what is no file: links, devices."""
    files, strange = set(), set()
    for at, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(at, name)
            inside = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                files.add(inside)
            elif not stat.S_ISDIR(mode):
                strange.add(inside)
    return files - {JOURNAL}, strange
