"""JSON as RFC 8259 has it and nothing more: what every body, file and model-written argument is read with."""

import codecs
import json
import math
import re
from typing import Any, NoReturn

NUMBER_MAX = 400
"""Characters of a number; one any longer only keeps the processor busy."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]|[-+.\w]++', re.DOTALL)
_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
# The closing quote is optional in both: an open string then ends the scan instead of restarting it at every quote.

_WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class JSONError(ValueError):
    """What is wrong with a JSON text, and where; lines and columns count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


class _RepeatedKeyError(Exception):
    pass


class _BadNumberError(Exception):
    pass


def loads(data: bytes | str, *, max_depth: int = 32, allow_bom: bool = False) -> Any:
    """Return the value `data` holds.

    Raises:
        JSONError: not UTF-8, not JSON, a repeated key, a number that is none (NaN, 1e999) or too long, or brackets
            nested deeper than `max_depth`. Lone surrogates pass.
    """
    text = decode(data, allow_bom=allow_bom)
    if text.count("[") + text.count("{") > max_depth:
        _check_depth(text, max_depth)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise JSONError(_worded(error, text), error.lineno, error.colno) from None
    except _BadNumberError as error:
        _refuse_number(text, error.args[0])
    except _RepeatedKeyError:
        _refuse_repeated_key(text)


def decode(data: bytes | str, *, allow_bom: bool = False) -> str:
    """Return `data` as text, without its byte order mark.

    Raises:
        JSONError: it is not UTF-8, or begins with a byte order mark that is not allowed here.
    """
    text = data if isinstance(data, str) else _utf8(data)
    if text[:1] != "\ufeff":
        return text
    if not allow_bom:
        raise JSONError("begins with a byte order mark, which is not allowed here", 1, 1)
    return text[1:]


def _utf8(data: bytes) -> str:
    if data.startswith(_WIDE_BOMS) or b"\0" in data[:4]:
        raise JSONError("is UTF-16 or UTF-32, not UTF-8", 1, 1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise _at(before, len(before), f"is not UTF-8: byte 0x{data[error.start]:02X}") from None


def _at(text: str, position: int, message: str) -> JSONError:
    return JSONError(message, text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position))


def _worded(error: json.JSONDecodeError, text: str) -> str:
    if not text.strip():
        return "is empty; a JSON value was expected"
    return error.msg[:1].lower() + error.msg[1:].removesuffix(" at")


def _check_depth(text: str, max_depth: int) -> None:
    depth = 0
    for match in _BRACKET.finditer(text):
        mark = match[0]
        if mark in ("{", "["):
            depth += 1
            if depth > max_depth:
                raise _at(text, match.start(), f"is nested deeper than {max_depth} levels")
        elif mark in ("}", "]"):
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RepeatedKeyError
    return value


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_MAX:
        raise _BadNumberError(literal)
    return int(literal)


def _number(literal: str) -> float:
    value = float(literal)
    if len(literal) > NUMBER_MAX or math.isinf(value):
        raise _BadNumberError(literal)
    return value


def _constant(literal: str) -> NoReturn:
    raise _BadNumberError(literal)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant
)


def _refuse_number(text: str, literal: str) -> NoReturn:
    if len(literal) > NUMBER_MAX:
        message = f"a number of {len(literal)} characters; at most {NUMBER_MAX} are allowed"
    else:
        message = f"{literal} is not a finite number"
    position = next((found.start() for found in _TOKEN.finditer(text) if found[0] == literal), 0)
    raise _at(text, position, message)


def _refuse_repeated_key(text: str) -> NoReturn:
    objects: list[set[str] | None] = []
    before = ""
    for match in _TOKEN.finditer(text):
        mark = match[0]
        if mark in ("{", "["):
            objects.append(set() if mark == "{" else None)
        elif mark in ("}", "]"):
            objects.pop()
        elif before in ("{", ",") and (keys := objects[-1]) is not None:
            key = _DECODER.decode(mark)
            if key in keys:
                raise _at(text, match.start(), f"the key {_shown(mark)} is given twice")
            keys.add(key)
        before = mark
    raise AssertionError("the decoder met a repeated key that the text does not hold")


def _shown(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
