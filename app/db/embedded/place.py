"""Where the parts of the embedded server lie, so that both we and its account can reach them."""

import hashlib
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded.account import Account
from app.db.embedded.files import claim_folder, is_temporary, make_folder, open_private
from app.db.embedded.wire import PORT
from app.errors import Misconfigured

LONGEST_SOCKET = 103
"""macOS's limit; Linux takes four more."""

PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)
"""PostgreSQL and asyncpg both split a socket's folder at commas, and URLs have their own ideas of the rest."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """The layout of one home."""

    home: Path

    @classmethod
    def at(cls, home: Path) -> "Place":
        return cls(home.expanduser().resolve())

    @property
    def link(self) -> Path:
        """The data folder, or a link to it when the server's account can't reach the home."""
        return self.home / "pg"

    @property
    def data(self) -> Path:
        return self.link.resolve()

    @property
    def log(self) -> Path:
        return self.home / "pg.log"

    @property
    def locks(self) -> Path:
        return self.home / "pg.locks"

    def make(self) -> None:
        make_folder(self.home, 0o755)
        make_folder(self.locks, 0o755)

    def open_log(self) -> int:
        return open_private(self.log, os.O_WRONLY | os.O_APPEND)

    def data_version(self) -> str:
        """The major version that made the data; empty if there are none."""
        with suppress(FileNotFoundError):
            return (self.data / "PG_VERSION").read_text().strip()
        return ""


def settle(place: Place, account: Account) -> Path:
    """Where the data are or are to be; for an account that can't reach the home, somewhere it can.

    Raises:
        Misconfigured: the data are gone, or out of the account's reach.
    """
    link = place.link
    if not os.path.lexists(link) and not account.reaches(place.home):
        _move_out(place, account)
    data = place.data
    if not data.parent.is_dir():
        raise Misconfigured(f"the data are gone: {link} points to {data}; bring them back, or remove {link}")
    if not account.reaches(data if data.exists() else data.parent):
        raise Misconfigured(
            f"{account.name}, as whom the server of {data} runs, can't reach it: let others enter the folders above "
            "it (`chmod o+x`), or set SIMFEED_HOME elsewhere"
        )
    return data


def _move_out(place: Place, account: Account) -> None:
    name = re.sub(r"\W+", "", place.home.parent.name) or "home"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=shelter(place.home, account)))
    folder.chmod(0o711)
    place.link.symlink_to(folder / "pg")
    logger.warning(
        "PostgreSQL runs as %s, who can't reach %s: its data are kept in %s", account.name, place.home, folder / "pg"
    )


def shelter(near: Path, account: Account) -> Path:
    """A folder of ours that the account can reach; beside `near` when that is only temporary.

    Raises:
        Misconfigured: there is none.
    """
    bases = (*_temporary_above(near, account), Path("/var/lib"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108
    for folder in (base / "simfeed" for base in bases):
        if claim_folder(folder, os.geteuid(), os.getegid(), 0o755) and account.reaches(folder):
            return folder
    raise Misconfigured(
        f"{account.name}, as whom the server runs, can't reach {near}, nor could a folder be made in /var/lib: "
        "set SIMFEED_HOME to a folder that others may enter"
    )


def _temporary_above(path: Path, account: Account) -> Iterator[Path]:
    nearest = next((above for above in path.parents if account.reaches(above)), None)
    if nearest and is_temporary(nearest):
        yield nearest


def socket_folder(data: Path, account: Account) -> Path:
    """A folder for the socket that nobody but us and the account can enter.

    Raises:
        Misconfigured: there is none.
    """
    short = f"simfeed-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"
    temporary = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # claimed, not trusted
    for folder in (data.parent / "pg.socket", *(base / short for base in temporary)):
        if _is_usable(folder, account):
            return folder
    raise Misconfigured(f"no folder for the server's socket: {temporary[0] / short} is somebody else's; remove it")


def _is_usable(folder: Path, account: Account) -> bool:
    path = os.fspath(folder / f".s.PGSQL.{PORT}")
    if len(os.fsencode(path)) > LONGEST_SOCKET or not PLAIN_PATH.fullmatch(path):
        return False
    return claim_folder(folder, account.uid, account.gid, 0o700) and account.reaches(folder) and _can_bind(folder)


def _can_bind(folder: Path) -> bool:
    """Shared folders of virtual machines often can't hold a socket."""
    trial = folder / f"t{os.getpid() % 10_000_000}"
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.bind(os.fspath(trial))
        except OSError:
            return False
    trial.unlink(missing_ok=True)
    return True
