"""What text may hold, wherever it comes from: a client, a file or a model."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, EmailStr, Field, StrictInt, StringConstraints
from pydantic_core import PydanticCustomError

POST_MAX = 500
TITLE_MAX = 120
COMMENT_MAX = 1_000
CHAT_MAX = 2_000
BIO_MAX = 500
PERSONA_MAX = 8_000
USERNAME_MAX = 40
INT64_MAX = 2**63 - 1

_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""C0 and C1 controls but newline and tab, DEL, and lone surrogates: nothing PostgreSQL or a page can show."""

MARKS_MAX = 30
"""Combining marks in a row, as in Unicode's stream-safe form: NFC takes quadratic time in them."""

_USERNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


FORMULA = tuple("=+-@＝＋－＠\t\r\n")
"""What makes a spreadsheet reckon with a cell that begins so."""


def unreckoned(cell: str) -> str:
    """`cell` with an apostrophe before what a spreadsheet would reckon with (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def quoted(cell: str) -> str:
    """`unreckoned`, and so that `reckoned` gives the cell back: a cell that looks guarded is guarded once more."""
    return f"'{cell}" if cell.lstrip("'").startswith(FORMULA) else cell


def reckoned(cell: str) -> str:
    """The text that `quoted` guarded."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA) else cell


def clean(value: str) -> str:
    """Return `value` in Unicode NFC, line ends as LF, without outer white space.

    Raises:
        PydanticCustomError: it holds a control character, a lone surrogate, or a heap of combining marks.
    """
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if found := _FORBIDDEN.search(value):
        raise PydanticCustomError(
            "text_character",
            "holds U+{code}, a control character or lone surrogate, which is not allowed",
            {"code": f"{ord(found[0]):04X}"},
        )
    if not value.isascii() and _heaped(value):
        raise PydanticCustomError(
            "text_marks", "holds more than {limit} combining marks in a row, which is not allowed", {"limit": MARKS_MAX}
        )
    return unicodedata.normalize("NFC", value).strip()


def _heaped(value: str) -> bool:
    run = 0
    for character in value:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > MARKS_MAX:
            return True
    return False


def _within(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        value = clean(value)
        if len(value) > limit:
            raise PydanticCustomError(
                "string_too_long", "has {n} characters, at most {limit} are allowed", {"n": len(value), "limit": limit}
            )
        return value

    return AfterValidator(check)


def _not_blank(value: str) -> str:
    if not value:
        raise PydanticCustomError("string_too_short", "must not be empty")
    return value


def _username(value: str) -> str:
    value = value.removeprefix("@")
    if not _USERNAME.fullmatch(value):
        raise PydanticCustomError(
            "username",
            "must be 1 to {limit} letters A-Z, digits, '_', '-' or '.', and begin and end with a letter or digit",
            {"limit": USERNAME_MAX},
        )
    return value


_strict = StringConstraints(strict=True)
_filled = AfterValidator(_not_blank)

Id = Annotated[StrictInt, Field(ge=1, le=INT64_MAX)]
PostBody = Annotated[str, _strict, _within(POST_MAX), _filled]
PostTitle = Annotated[str, _strict, _within(TITLE_MAX)]
CommentBody = Annotated[str, _strict, _within(COMMENT_MAX), _filled]
ChatBody = Annotated[str, _strict, _within(CHAT_MAX), _filled]
Bio = Annotated[str, _strict, _within(BIO_MAX)]
PersonaText = Annotated[str, _strict, _within(PERSONA_MAX), _filled]
Username = Annotated[str, _strict, _within(USERNAME_MAX), AfterValidator(_username)]
Quotation = Annotated[str, _strict, _within(CHAT_MAX)]
Note = Annotated[str, _strict, _within(200)]
Line = Annotated[str, _strict, _within(200), _filled]
Query = Annotated[str, _strict, _within(100), _filled]
Email = Annotated[EmailStr, StringConstraints(max_length=254)]
