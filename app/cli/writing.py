"""Files that commands write: whole or not at all, and never in the place of a device."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from app.errors import Conflict, Misconfigured

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def is_special(path: Path) -> bool:
    """Whether `path` leads to a device, a pipe or the like, which takes what is written and keeps no file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def whole(path: Path, mode: int = 0o600, *, folders: bool = True) -> Iterator[IO[bytes]]:
    """A file that is there under its name only once it is whole; for its owner alone, if it tells of people.

    What a crash leaves behind is `.NAME.part` beside it, which the next try writes over. What is no regular file (a
    device, a pipe, a link such as /dev/stdout) is written straight.

    Raises:
        Misconfigured: it can't be written.
        Conflict: somebody else is writing it.
    """
    try:
        if folders:
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with _straight(path, mode) if path.is_symlink() or is_special(path) else _renamed(path, mode) as file:
            yield file
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> Misconfigured:
    return Misconfigured(f"{path} can't be written: {error.strerror}")


@contextmanager
def _straight(path: Path, mode: int) -> Iterator[IO[bytes]]:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    except OSError as error:
        raise _unwritable(path, error) from None
    with os.fdopen(number, "wb") as file:
        yield file


@contextmanager
def _renamed(path: Path, mode: int) -> Iterator[IO[bytes]]:
    part = path.with_name(f".{path.name}.part")
    try:
        number = os.open(part, os.O_RDWR | os.O_CREAT, mode)
    except OSError as error:
        raise _unwritable(path, error) from None
    with os.fdopen(number, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"{path} is being written by another process") from None
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
