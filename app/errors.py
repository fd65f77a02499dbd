"""Errors a person can act on: each says in one sentence what is wrong, and carries its HTTP meaning."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One wrong place in a payload.

    `pointer` is a JSON Pointer (RFC 6901) into the body, or the name of the query or path parameter.
    """

    pointer: str
    code: str
    message: str


class AppError(Exception):
    """Base of the errors that are told to the caller; anything else is a bug."""

    status = 500
    title = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = headers or {}


class Unauthorized(AppError):
    status = 401
    title = "Not signed in"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail, errors=errors, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(AppError):
    status = 403
    title = "Not allowed"


class NotFound(AppError):
    status = 404
    title = "Not found"


class Conflict(AppError):
    status = 409
    title = "Conflict"


class Invalid(AppError):
    status = 422
    title = "Invalid input"


class TooMany(AppError):
    status = 429
    title = "Too many requests"


class Unavailable(AppError):
    status = 503
    title = "Temporarily unavailable"


class Misconfigured(AppError):
    """The operator must mend something before this can run (exit code 78, EX_CONFIG of sysexits.h)."""

    title = "Not configured"
