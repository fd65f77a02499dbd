"""The server's life: its data are made, it is started, found again and stopped."""

import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded import locks
from app.db.embedded.account import Account, owner_of
from app.db.embedded.binaries import Binaries
from app.db.embedded.files import sync_folder
from app.db.embedded.place import Place
from app.db.embedded.wire import PORT, ROLE, Answer, State, ask
from app.errors import Misconfigured, Unavailable

BUILTIN_LOCALE_SINCE = 17
RECOVERY = 300.0
"""Seconds a server that says it is starting may take: replaying its log after a crash can be long."""

STOPPING = ((signal.SIGTERM, 0.5), (signal.SIGINT, 60.0), (signal.SIGQUIT, 15.0))
"""Wait for the clients, then without them, then as after a crash."""


DISK_FULL = ("No space left on device", "Disk quota exceeded", "Check free disk space")


class Unresponsive(Unavailable):
    """Processes of the server live, yet it doesn't answer."""


@dataclass(frozen=True)
class Postmaster:
    """What postmaster.pid says; anything may be missing from it while the server starts, or after a full disk."""

    pid: int
    data: Path
    socket_dir: Path

    @classmethod
    def of(cls, data: Path) -> "Postmaster | None":
        try:
            lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return None
        lines += [""] * (5 - len(lines))
        return cls(int(lines[0]) if lines[0].isdecimal() else 0, Path(lines[1]), Path(lines[4]))

    def answer(self, data: Path, seconds: float = 5) -> Answer:
        """Copied data name the socket of the original's server, which isn't ours."""
        if self.data != data or not self.socket_dir.is_absolute():
            return Answer(State.SILENT)
        return ask(self.socket_dir, seconds)


@dataclass(frozen=True)
class Running:
    socket_dir: Path
    version: str


def pid_of(place: Place) -> int:
    """The postmaster's pid, 0 when there is none: what the file says counts only if that process works on our data."""
    record = Postmaster.of(place.data)
    if record and record.pid > 0 and owner_of(place.data).works_in(record.pid, place.data):
        return record.pid
    return 0


def is_alive(place: Place) -> bool:
    """Whether any process still works on the data, whether it answers or not."""
    return locks.server_lives(place.locks) or bool(pid_of(place))


def find_ready(place: Place, patience: float) -> Running | None:
    """The server as soon as it takes connections; None once nothing works on the data.

    Raises:
        Unresponsive: it lives, but said nothing for `patience` seconds.
        Unavailable: it is still recovering.
    """
    begin = heard = time.monotonic()
    while True:
        record = Postmaster.of(place.data)
        answer = record.answer(place.data) if record else Answer(State.SILENT)
        if record and answer.state is State.READY:
            return Running(record.socket_dir, answer.version or place.data_version())
        if not is_alive(place):
            return None
        heard = time.monotonic() if answer.state is State.STARTING else heard
        _check_patience(place, silence=time.monotonic() - heard - patience, wait=time.monotonic() - begin - RECOVERY)
        time.sleep(0.02)


def _check_patience(place: Place, *, silence: float, wait: float) -> None:
    if silence > 0:
        raise Unresponsive(
            f"processes of a PostgreSQL still work on {place.data} but don't answer: end them "
            f"(`fuser -v {place.locks / 'server'}` shows which) and try again"
        )
    if wait > 0:
        raise Unavailable(f"PostgreSQL has been starting for {RECOVERY:.0f} seconds; {place.log} says why. Try again")


def check_version(place: Place, binaries: Binaries) -> None:
    """Raises Misconfigured when other binaries made the data, or something else lies there."""
    made_by = place.data_version()
    if made_by and made_by != str(binaries.major):
        raise Misconfigured(
            f"PostgreSQL {made_by} made the data in {place.data}, and {binaries.folder} is {binaries.version}: set "
            f"POSTGRES_BINARIES to the programs of a PostgreSQL {made_by}, or move the data away to begin anew"
        )
    if not made_by and place.data.is_dir() and any(place.data.iterdir()):
        raise Misconfigured(f"{place.data} holds no PostgreSQL data (no PG_VERSION): move it away")


def create(place: Place, binaries: Binaries, account: Account, *, durable: bool) -> None:
    """Make the data beside their place, then rename: half-made data are never taken for whole ones.

    Raises:
        Unavailable: the disk is full, or initdb failed otherwise.
    """
    data = place.data
    for leftover in data.parent.glob("pg.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = data.parent / f"pg.new-{secrets.token_hex(4)}"
    try:
        fresh.mkdir(mode=0o700)
        os.chown(fresh, account.uid, account.gid, follow_symlinks=False)
        _fill(fresh, place, binaries, account, durable=durable)
        fresh.rename(data)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    sync_folder(data.parent)


def _fill(fresh: Path, place: Place, binaries: Binaries, account: Account, *, durable: bool) -> None:
    builtin = ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    locale = builtin if binaries.major >= BUILTIN_LOCALE_SINCE else ["--locale=C", "--lc-ctype=C.UTF-8"]
    access = [f"--username={ROLE}", "--auth-local=trust", "--auth-host=reject"]
    sync = [] if durable else ["--no-sync"]
    flags = ["--encoding=UTF8", *locale, *access, *sync]
    _run_logged(place, account, binaries.folder / "initdb", "--pgdata", fresh, *flags)
    single = (binaries.folder / "postgres", "--single", "-D", fresh, "-c", "exit_on_error=on", "template1")
    _run_logged(place, account, *single, words=f"CREATE DATABASE {ROLE}\n".encode())


def _run_logged(place: Place, account: Account, *command: str | Path, words: bytes = b"") -> None:
    """Output goes to a file: a pipe stays open for as long as some grandchild lives.

    The lock shows an initdb that outlived us, which the next to come must wait for.
    """
    with os.fdopen(place.open_log(), "ab") as log, locks.for_server(place.locks) as lock:
        begin = log.tell()
        code = account.run(*command, output=log, words=words, keep=[lock]).returncode
    if code:
        raise failure(place, begin, "PostgreSQL's data could not be made")


def failure(place: Place, begin: int, what: str) -> Unavailable:
    """What to say after the server or initdb gave up; `begin` is where this attempt's log begins."""
    with place.log.open("rb") as log:
        log.seek(begin)
        last = log.read().decode(errors="replace").strip().splitlines()[-10:]
    if any(words in line for words in DISK_FULL for line in last):
        return Unavailable(f"the disk of {place.data} is full: free some space and try again")
    return Unavailable("\n".join((f"{what}; the end of {place.log} says:", *last)))


def clear_remains(place: Place, socket_dir: Path) -> None:
    """After a crash these name a pid that may be somebody else's by now; nothing of the dead server lives."""
    for path in (place.data / "postmaster.pid", *(socket_dir / f".s.PGSQL.{PORT}{end}" for end in ("", ".lock"))):
        path.unlink(missing_ok=True)


def spawn(place: Place, binaries: Binaries, account: Account, settings: Mapping[str, str]) -> None:
    """Start the server as nobody's child, so that no zombie of it depends on us or our parent reaping it."""
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = [str(binaries.folder / "postgres"), "-D", str(place.data), *flags]
    with os.fdopen(place.open_log(), "ab") as log, locks.for_server(place.locks) as lock:
        account.run("/bin/sh", "-c", '"$@" &', "sh", *server, output=log, keep=[lock])


def shut_down(place: Place) -> None:
    """Stop the server and wait until none of its processes lives.

    Raises:
        Unresponsive: it outlived all requests, or can't be told from here.
    """
    record = Postmaster.of(place.data)
    for request, patience in STOPPING:
        if _ended(place, request, patience):
            break
    else:
        _check_patience(place, silence=1, wait=0)
    if record and record.data == place.data:
        with suppress(OSError):  # shared with something else
            record.socket_dir.rmdir()


def _ended(place: Place, request: signal.Signals, patience: float) -> bool:
    deadline, told = time.monotonic() + patience, 0
    while is_alive(place):
        pid = pid_of(place)
        if pid and pid != told:  # a server that was just started has its pid file a moment later
            with suppress(ProcessLookupError):
                os.kill(pid, request)
            told = pid
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
