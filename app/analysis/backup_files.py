"""Files of backups: what one says of itself, and whether its dump is what it says.

A file is a zip of two members: `database.dump`, made by pg_dump in its custom format, and `manifest.json`.
"""

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import strict_json
from app.db import migrate
from app.db.worlds import Told
from app.errors import Invalid, Misconfigured

DUMP, MANIFEST = "database.dump", "manifest.json"
MANIFEST_MOST = 4 * 1024**2
BLOCK = 1024**2
SUFFIX = ".simfeed"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def quiet(_: str) -> None:
    """Tells nobody."""


class TableDigest(BaseModel):
    """`sha256` covers the digests of all rows, in the order of these."""

    model_config = ConfigDict(extra="forbid")

    rows: Annotated[int, Field(ge=0)]
    sha256: Digest


class Manifest(BaseModel):
    """What a backup says of itself. `whole`: the database with accounts, participants and all; else a world alone.

    `server` and `program` are PostgreSQL's major versions, of the server and of pg_dump; `bytes` and `sha256` are the
    dump's; `revision` is the schema's, `state` the world's canonical
    hash (docs/worlds.md).
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["simfeed backup"] = "simfeed backup"
    version: Literal[1] = 1
    world: str
    whole: bool
    admins: Annotated[int, Field(ge=0)]
    made_at: datetime
    revision: str
    server: int
    program: int
    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest
    state: Digest
    tables: dict[str, TableDigest]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())


@dataclass(frozen=True)
class Pack:
    """A backup whose dump is as its manifest says."""

    path: Path
    manifest: Manifest

    def blocks(self, told: Told = quiet) -> Iterator[bytes]:
        """The dump, piece by piece."""
        with _opened(self.path) as pack, pack.open(DUMP) as file:
            done = 0
            while block := file.read(BLOCK):
                yield block
                done += len(block)
                told(f"restoring {done / 1e6:,.0f} of {self.manifest.bytes / 1e6:,.0f} MB")


def peek(path: Path) -> Manifest:
    """What a backup says of itself; its dump is not read.

    Raises:
        Invalid: it is no backup, or cut short.
    """
    with _opened(path) as pack:
        return _manifest(pack, path)


def checked(path: Path, told: Told = quiet) -> Pack:
    """A backup, once its dump has been read and is as the manifest says.

    Raises:
        Invalid: it is no backup, cut short or damaged.
        Misconfigured: a newer Sim-Feed made it.
    """
    with _opened(path) as pack:
        manifest = _manifest(pack, path)
        told("reading the backup")
        digest, size = hashlib.sha256(), 0
        with pack.open(DUMP) as file:
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
    if size != manifest.bytes or digest.hexdigest() != manifest.sha256:
        raise Invalid(f"{path}: is damaged: its dump is not the one that its manifest names; nothing was restored")
    if not migrate.knows(manifest.revision):
        raise Misconfigured(
            f"{path}: was made by a newer Sim-Feed (schema {manifest.revision!r}): install that to restore it"
        )
    return Pack(path, manifest)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as pack:
            yield pack
    except FileNotFoundError:
        raise Invalid(f"there is no file {path}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise Invalid(f"{path}: is no backup of Sim-Feed, or was cut short or damaged ({error})") from None
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror or error}") from None


def _manifest(pack: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        about = pack.getinfo(MANIFEST)
        pack.getinfo(DUMP)
    except KeyError:
        raise Invalid(f"{path}: is no backup of Sim-Feed: it lacks {MANIFEST} or {DUMP}") from None
    if about.file_size > MANIFEST_MOST:
        raise Invalid(f"{path}: {MANIFEST} is larger than {MANIFEST_MOST:,} bytes")
    try:
        return Manifest.model_validate(strict_json.loads(pack.read(MANIFEST)))
    except strict_json.JSONError as error:
        raise Invalid(f"{path}: {MANIFEST}: is not JSON: {error}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise Invalid(f"{path}: {MANIFEST}: {faults}") from None
