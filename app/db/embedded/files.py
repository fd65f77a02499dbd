"""Files and folders that root makes in places of other people, without following a link laid there for it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import Misconfigured, Unavailable

FULL = (errno.ENOSPC, errno.EDQUOT)
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def plain_errors(home: Path) -> Iterator[None]:
    """Say what the operating system refused, and what to do about it.

    Raises:
        Misconfigured: a folder can't be used.
        Unavailable: the disk is full.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or home
        if error.errno in FULL:
            raise Unavailable(f"the disk of {home} is full: free some space and try again") from error
        if isinstance(error, PermissionError):
            raise Misconfigured(
                f"no permission for {where}: run as its owner, or set SIMFEED_HOME to a folder of your own"
            ) from error
        raise Misconfigured(f"{where} can't be used ({error.strerror}): set SIMFEED_HOME to another folder") from error


def open_private(path: Path, flags: int) -> int:
    """Open a file only its owner may read, making it if need be; a new one belongs to the owner of its folder."""
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    _give(fd, path.parent.stat())
    return fd


def make_folder(path: Path, mode: int) -> None:
    """Make a folder and its missing parents; each belongs to the owner of the one above it."""
    if path.is_dir():
        return
    make_folder(path.parent, 0o755)
    path.mkdir(mode=mode, exist_ok=True)
    fd = os.open(path, FOLDER)
    try:
        _give(fd, path.parent.stat())
    finally:
        os.close(fd)


def claim_folder(path: Path, uid: int, gid: int, mode: int) -> bool:
    """Make a folder for a user, or take the one we made before; False if it is somebody else's."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(path, FOLDER)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if found.st_uid not in (uid, os.geteuid()):
            return False
        if found.st_uid != uid:
            os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return True


def is_temporary(path: Path) -> bool:
    """Whether everybody may write there, as in /tmp and /dev/shm."""
    return bool(path.stat().st_mode & stat.S_ISVTX)


def sync_folder(path: Path) -> None:
    """Make a rename in this folder outlast a power cut."""
    fd = os.open(path, FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _give(fd: int, owner: os.stat_result) -> None:
    if os.geteuid() == 0 and not owner.st_mode & stat.S_ISVTX and os.fstat(fd).st_uid != owner.st_uid:
        os.fchown(fd, owner.st_uid, owner.st_gid)
