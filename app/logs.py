"""Logs: one JSON object a line on stderr, with secrets taken out."""

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from traceback import walk_tb
from typing import Any

import structlog

SECRET_NAMES = re.compile(r"password|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
SECRET_VALUES = re.compile(r"(?:sf_(?:inv|boot|par)_|sk-|eyJ[\w-]+\.)[\w.-]{8,}|(?<=://)[^/\s:@]+:[^@\s]+(?=@)")
REDACTED = "[redacted]"
CAUSES = 5


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out what is named like a secret, and what looks like one inside other values."""
    for name, value in event.items():
        if SECRET_NAMES.search(name):
            event[name] = REDACTED
        elif isinstance(value, str):
            event[name] = SECRET_VALUES.sub(REDACTED, value)
    return event


def places(error: BaseException | None) -> list[str]:
    """The traceback without the exceptions' own words, in which a password or a person's text may stand."""
    found: list[str] = []
    for _ in range(CAUSES):
        if error is None:
            break
        frames = [f"{f.f_code.co_filename}:{line} {f.f_code.co_name}" for f, line in walk_tb(error.__traceback__)]
        found += [*frames, f"{type(error).__module__}.{type(error).__qualname__}"]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def without_words(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say of an exception what it is and where, and no more."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event.update(error=type(error).__name__, at=places(error))
    return event


class _Stderr:
    """Standard error, whatever becomes of it: a log that can't be written must not fail a request."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # full, closed, or None from the start
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


def configure(level: str) -> None:
    """Set up logging for the process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_words,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]  # write and flush suffice
        cache_logger_on_first_use=True,
    )
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)  # it tells of each lost connection in a page of its own
