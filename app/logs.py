"""Logs: one JSON object a line on stderr, with secrets taken out."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET_NAMES = re.compile(r"password|secret|token|authorization|api_?key|cookie", re.IGNORECASE)
SECRET_VALUES = re.compile(r"(?:sf_(?:inv|boot|par)_|sk-|eyJ[\w-]+\.)[\w.-]{8,}|(?<=://)[^/\s:@]+:[^@\s]+(?=@)")
REDACTED = "[redacted]"


def redact(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out what is named like a secret, and what looks like one inside other values."""
    for name, value in event.items():
        if SECRET_NAMES.search(name):
            event[name] = REDACTED
        elif isinstance(value, str):
            event[name] = SECRET_VALUES.sub(REDACTED, value)
    return event


class _Stderr:
    """Standard error, whatever becomes of it: a log that can't be written must not fail a request."""

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except (OSError, ValueError):
            return

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            return


def configure(level: str) -> None:
    """Set up logging for the process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_Stderr()),  # type: ignore[arg-type]  # write and flush suffice
        cache_logger_on_first_use=True,
    )
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
