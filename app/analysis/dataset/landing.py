"""Files that are there under their name only once they are whole, and what is in them."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import Misconfigured

CHUNK = 2**20


@contextmanager
def landed(path: Path) -> Iterator[Path]:
    """Where to write what shall be `path`; it is put there, synced, at the end of the block.

    Raises:
        Misconfigured: it can't be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
            _synced(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Misconfigured(f"{path} can't be written: {error.strerror or error}") from None


def _synced(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def put(path: Path, data: bytes) -> None:
    """Write a small file, whole or not at all."""
    with landed(path) as part:
        part.write_bytes(data)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
