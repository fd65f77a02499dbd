"""File locks: who starts or stops, who uses the server, and whether the server itself still lives.

The kernel drops them when a process ends in whatever way, so that nobody has to trust a list of pids.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.db.embedded.files import open_private
from app.errors import Misconfigured, Unavailable

PATIENCE = 360.0
"""Longer than a recovery may take, through which its starter holds the turn."""


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Hold the right to start or stop the server.

    Raises:
        Unavailable: another process has held it for minutes.
        Misconfigured: the file system has no locks.
    """
    fd = _open_locked(folder / "turn", fcntl.LOCK_EX)
    try:
        yield
    finally:
        _let_go(fd)


class Share:
    """One user of the server, for as long as this is open."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "users"
        self._fd = _open_locked(self._path, fcntl.LOCK_SH)
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """Not in a forked child: the share is its parent's."""
        return self._fd >= 0 and self._pid == os.getpid()

    @property
    def is_current(self) -> bool:
        """Not when the home was deleted or replaced: a server there would be somebody else's."""
        return _is_at(self._fd, self._path)

    def is_last(self) -> bool:
        """Whether nobody else uses the server; to be asked by the holder of `turn` only."""
        last = _try_lock(self._fd, fcntl.LOCK_EX)
        _try_lock(self._fd, fcntl.LOCK_SH)
        return last

    def drop(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._pid == os.getpid():
            _let_go(fd)
        elif fd >= 0:
            os.close(fd)  # unlocking would take the parent's share too


@contextmanager
def for_server(folder: Path) -> Iterator[int]:
    """A locked descriptor to hand down to the server: it stays locked while one of its processes lives."""
    fd = _open_locked(folder / "server", fcntl.LOCK_EX)
    try:
        yield fd
    finally:
        os.close(fd)


def server_lives(folder: Path) -> bool:
    """Whether a process of the server holds the descriptor it was handed."""
    try:
        fd = os.open(folder / "server", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _open_locked(path: Path, kind: int) -> int:
    while True:
        fd = open_private(path, os.O_RDWR)
        try:
            _wait_for(fd, kind, path)
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the folder was deleted while we waited


def _wait_for(fd: int, kind: int, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(fd, kind):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"another process has been starting or stopping the embedded PostgreSQL for {PATIENCE:.0f} seconds: "
                f"`fuser -v {path}` shows which; end it and try again"
            )
        time.sleep(0.01)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise Misconfigured(
            f"the folder of the embedded PostgreSQL has no file locks ({error.strerror}): "
            "set SIMFEED_HOME to a folder on a local disk"
        ) from error
    return True


def _is_at(fd: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.stat())
    return False


def _let_go(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)  # a child forked meanwhile keeps the descriptor, and closing ours would not unlock
    os.close(fd)
