"""JSON files of one object, read whole or refused with a sentence."""

from pathlib import Path
from typing import Any

from app.errors import Invalid
from app.strict_json import JSONError, loads

BYTES_MAX = 4 * 1024**2


def read_object(path: Path, most: int = BYTES_MAX) -> Any:
    """The JSON value in the file at `path`.

    Raises:
        Invalid: it can't be read, is larger than `most` bytes, or is no JSON.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror or error}") from None
    return object_of(data, path.name, most)


def object_of(data: bytes, name: str, most: int = BYTES_MAX) -> Any:
    """The JSON value in `data`, the content of `name`; as `read_object` otherwise."""
    if len(data) > most:
        raise Invalid(f"{name}: is larger than {most // 1024**2} MiB")
    try:
        return loads(data, allow_bom=True)
    except JSONError as error:
        raise Invalid(f"{name}: is not JSON: {error}") from None
