"""TinyTroupe's agents, many at once: a folder or a zip file of `*.agent.json`."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from app.agent.population.checking import shown
from app.agent.population.files import BYTES_MAX, parse_personas
from app.agent.population.results import PersonaFormat, Problem, ReadResult
from app.errors import Invalid

SUFFIX = ".agent.json"


def read_agents(place: Path) -> ReadResult:
    """Return the personas of all agents in the folder or zip file `place`.

    Raises:
        Invalid: it holds none, or it or one of its files can't be read.
    """
    result = ReadResult()
    owners: dict[str, str] = {}
    notes: dict[str, None] = {}
    is_empty = True
    for name, content in _zipped(place) if place.is_file() else _kept(place):
        is_empty = False
        found = parse_personas(content, name, PersonaFormat.TINYTROUPE)
        result.problems += found.problems
        notes |= dict.fromkeys(f"{name}: {note}" for note in found.notes)
        for record, persona in enumerate(found.personas, 1):
            owner = owners.setdefault(persona.username.casefold(), name)
            if owner == name:
                result.personas.append(persona)
            else:
                told = f"{shown(persona.username)} is already the username of {owner}"
                result.problems.append(Problem(name, record, "username", told))
    if is_empty:
        raise Invalid(f"{place}: holds no *{SUFFIX}")
    result.notes = list(notes)
    return result


def _kept(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as file:
                yield path.name, file.read(BYTES_MAX + 1)
        except OSError as error:
            raise Invalid(f"{path}: cannot be read: {error.strerror or error}") from None


def _zipped(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(file) as packed:
            agents = sorted((one for one in packed.infolist() if one.filename.endswith(SUFFIX)), key=_name)
            if sum(one.file_size for one in agents) > BYTES_MAX:
                raise Invalid(f"{file}: holds more than {BYTES_MAX // 1024**2} MiB")
            for one in agents:
                yield _name(one), packed.read(one)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise Invalid(f"{file}: is no zip file that can be read: {error}") from None
    except OSError as error:
        raise Invalid(f"{file}: cannot be read: {error.strerror or error}") from None


def _name(one: zipfile.ZipInfo) -> str:
    return one.filename.rpartition("/")[2]
