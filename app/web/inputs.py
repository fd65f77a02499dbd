"""The input types that all routes share: strict, bounded, the same everywhere."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Le
from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.errors import FieldError, Invalid
from app.world.text import INT64_MAX, clean
from app.world.text import Query as Words

_DIGITS = re.compile(r"[1-9][0-9]{0,18}")


def _whole(value: object) -> object:
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise PydanticCustomError("int_parsing", "must be a whole number from 1, in plain digits")
    return value


PathId = Annotated[int, Ge(1), Le(INT64_MAX), BeforeValidator(_whole), Path()]
QueryId = Annotated[int, Ge(1), Le(INT64_MAX), BeforeValidator(_whole), Query()]
Limit = Annotated[int, Ge(1), Le(100), BeforeValidator(_whole), Query(description="How many, 1 to 100.")]
Wait = Annotated[
    int, Ge(1), Le(60), BeforeValidator(_whole), Query(description="Wait so many seconds, up to 60, for its end.")
]
Cursor = Annotated[str, Query(max_length=400, description="`next_cursor` of the page before.")]
SearchWords = Annotated[Words, Query(description="Words that all must occur.")]
Handle = Annotated[str, Path(min_length=1, max_length=200), BeforeValidator(lambda v: clean(v))]
Password = Annotated[str, Field(strict=True, min_length=12, max_length=256)]
GivenPassword = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
Token = Annotated[str, Field(strict=True, min_length=1, max_length=200)]


class Body(BaseModel):
    """Base of the request bodies: nothing extra is taken."""

    model_config = ConfigDict(extra="forbid")


def sign_cursor(secret: str, scope: tuple[Any, ...], position: tuple[Any, ...]) -> str:
    """A cursor that holds only for the same list: `scope` names its route, sort and filters."""
    payload = msgspec.json.encode(position)
    return base64.urlsafe_b64encode(_seal(secret, scope, payload) + payload).decode().rstrip("=")


def next_cursor(secret: str, scope: tuple[Any, ...], rows: Sequence[Any], limit: int) -> str | None:
    """The cursor behind the first `limit` of rows that go on by id; None where no more were found."""
    return sign_cursor(secret, scope, (rows[limit - 1]["id"],)) if len(rows) > limit else None


def read_cursor(secret: str, scope: tuple[Any, ...], cursor: str) -> list[Any]:
    """The position a cursor stands for.

    Raises:
        Invalid: it is not one of ours, or of another list.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        seal, payload = raw[:16], raw[16:]
        if hmac.compare_digest(seal, _seal(secret, scope, payload)):
            return list(msgspec.json.decode(payload))
    except (ValueError, msgspec.DecodeError):
        pass
    raise Invalid(
        "cursor: is not one that this list gave",
        errors=[FieldError("cursor", "cursor", "must be the `next_cursor` of a page of the same list and sort")],
    )


def _seal(secret: str, scope: tuple[Any, ...], payload: bytes) -> bytes:
    return hmac.digest(secret.encode(), msgspec.json.encode(scope) + payload, hashlib.sha256)[:16]
