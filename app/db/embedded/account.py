"""Whom the server runs as: PostgreSQL refuses root, so root's server runs as another account of this machine."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.errors import Misconfigured

KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True)
class Account:
    """`switch`: we are root and become this account for each command."""

    uid: int
    gid: int
    switch: bool

    @property
    def name(self) -> str:
        return pwd.getpwuid(self.uid).pw_name if self.has_entry else f"uid {self.uid}"

    @property
    def has_entry(self) -> bool:
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    def run(
        self,
        *command: str | Path,
        output: int | IO[bytes] = subprocess.PIPE,
        words: bytes = b"",
        keep: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as this account, beyond the reach of the terminal's Ctrl-C.

        Raises:
            OSError: the account can't reach the program, or we may not become the account.
        """
        return subprocess.run(  # noqa: S603  # no shell, and the programs are PostgreSQL's
            command,
            input=words,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd="/",  # ours may be closed to the account
            umask=0o077,
            start_new_session=True,
            pass_fds=keep,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def check(self) -> None:
        """Raises Misconfigured when we may not become this account."""
        try:
            self.run("/bin/sh", "-c", ":")
        except OSError as error:
            raise Misconfigured(
                f"PostgreSQL refuses to run as root, and root may not become {self.name} here ({error.strerror}): "
                "run Sim-Feed as a normal user, or set DATABASE_URL to a PostgreSQL of your own"
            ) from error

    def reaches(self, folder: Path) -> bool:
        """Whether this account can enter `folder`: asked of the kernel, which knows about ACLs too."""
        if not self.switch:
            return os.access(folder, os.X_OK)
        return self.run("/bin/sh", "-c", 'test -x "$1"', "sh", folder).returncode == 0

    def works_in(self, pid: int, folder: Path) -> bool:
        """Whether process `pid` has `folder` as its working folder, as a postmaster has its data folder."""
        working = f"/proc/{pid}/cwd"
        try:
            return os.path.samefile(working, folder)
        except PermissionError:  # root in a container often lacks SYS_PTRACE; the account may look at its own
            same = 'test "$1" -ef "$2"'
            return self.switch and self.run("/bin/sh", "-c", same, "sh", working, folder).returncode == 0
        except OSError:
            return False


def owner_of(data: Path) -> Account:
    """The account that the server of existing data runs as.

    Raises:
        Misconfigured: the data are root's, or not ours.
    """
    found, us = data.stat(), os.geteuid()
    account = _account(found)
    if found.st_uid == 0:
        raise Misconfigured(
            f"{data} belongs to root, and PostgreSQL refuses to run as root: give it to another user "
            f"(`chown -R postgres {data}`)"
        )
    if us not in (0, found.st_uid):
        raise Misconfigured(
            f"{data} belongs to {account.name}: run as that user, or set SIMFEED_HOME to a folder of your own"
        )
    return account


def choose(home: Path) -> Account:
    """The account for new data: ourselves, or for root the home's owner, `postgres` or `nobody`.

    Raises:
        Misconfigured: the account has no name, which initdb insists on.
    """
    if os.geteuid() != 0:
        return _named(Account(os.geteuid(), os.getegid(), switch=False))
    account = _account(home.stat())
    return account if account.uid != 0 and account.has_entry else _service_account()


def _account(owner: os.stat_result) -> Account:
    try:
        group = pwd.getpwuid(owner.st_uid).pw_gid
    except KeyError:
        group = owner.st_gid
    return Account(owner.st_uid, group, switch=os.geteuid() == 0)


def _service_account() -> Account:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switch=True)
    raise Misconfigured(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody`: "
        "run Sim-Feed as a normal user, or set DATABASE_URL"
    )


def _named(account: Account) -> Account:
    if not account.has_entry:
        raise Misconfigured(
            f"user id {account.uid} has no entry in /etc/passwd, which PostgreSQL needs to set up a database: "
            "run as a user that has one, or set DATABASE_URL to a PostgreSQL of your own"
        )
    return account


def _environment() -> dict[str, str]:
    """No PG*, LC_* or LANG, which break initdb, and none of our secrets, which SQL could read from the server."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {"PATH": os.defpath, **kept, "LANG": "C", "TZ": "UTC"}
