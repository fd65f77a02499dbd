"""The canonical hash of a world (docs/worlds.md) worked out from files, without a database.

A row's digest is that of PostgreSQL's `record_send`: the number of columns (int32), then for each the type's number and
the length of its binary form (-1: NULL), and that form.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from struct import pack
from typing import Any

from app.analysis.dataset.schema import Shape
from app.analysis.state import ALL, header

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
Send = Callable[[Any], bytes]


def _array(item: int, send: Send) -> Send:
    def whole(cells: Sequence[Any]) -> bytes:
        if not cells:
            return pack(">iii", 0, 0, item)
        parts = [pack(">iiiii", 1, 0, item, len(cells), 1)]
        for cell in cells:
            sent = send(cell)
            parts.append(pack(">i", len(sent)) + sent)
        return b"".join(parts)

    return whole


def _numeric(cell: float) -> bytes:
    """Of `numeric(14, 8)`: digits to the base 10,000, their weight, sign, and 8 decimals."""
    number = Decimal(repr(cell)).quantize(Decimal("0.00000001"))
    whole, part = divmod(abs(int(number.scaleb(8))), 10**8)
    digits = [whole // 10_000, whole % 10_000, part // 10_000, part % 10_000]
    weight = 1
    while digits and not digits[0]:
        digits.pop(0)
        weight -= 1
    while digits and not digits[-1]:
        digits.pop()
    return pack(">hhHH", len(digits), weight if digits else 0, 0x4000 if number < 0 else 0, 8) + pack(
        f">{len(digits)}h", *digits
    )


def _float4(cell: float) -> bytes:
    return pack(">f", math.nan if math.isnan(cell) else cell)


def _text(cell: str) -> bytes:
    return cell.encode()


def _micros(cell: datetime) -> bytes:
    since = cell - EPOCH
    return pack(">q", (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _days(cell: date) -> bytes:
    return pack(">i", (cell - EPOCH.date()).days)


def _whole(form: str) -> Send:
    return lambda cell: pack(form, cell)


SENT: dict[str, tuple[int, Send]] = {
    "boolean": (16, _whole(">?")),
    "bytea": (17, bytes),
    "bigint": (20, _whole(">q")),
    "smallint": (21, _whole(">h")),
    "integer": (23, _whole(">i")),
    "text": (25, _text),
    "real": (700, _float4),
    "double precision": (701, _whole(">d")),
    "date": (1082, _days),
    "timestamp with time zone": (1184, _micros),
    "numeric(14, 8)": (1700, _numeric),
    "jsonb": (3802, lambda cell: b"\x01" + cell.encode()),
    "integer[]": (1007, _array(23, _whole(">i"))),
    "bigint[]": (1016, _array(20, _whole(">q"))),
    "text[]": (1009, _array(25, _text)),
    "real[]": (1021, _array(700, _float4)),
}
"""Types by name: their numbers, and their binary forms."""

NULL = pack(">i", -1)


def _sender(shape: Shape) -> Callable[[Sequence[Any]], bytes]:
    place = {field.name: n for n, field in enumerate(shape.fields)}
    types = {field.name: field.type for field in shape.fields}
    counted = [
        (place[name], pack(">i", SENT[types[name]][0]), SENT[types[name]][1]) for name in ALL.columns(shape.name)
    ]
    head = pack(">i", len(counted))

    def sent(row: Sequence[Any]) -> bytes:
        parts = [head]
        for at, number, send in counted:
            cell = row[at]
            if cell is None:
                parts += (number, NULL)
            else:
                form = send(cell)
                parts += (number, pack(">i", len(form)), form)
        return b"".join(parts)

    return sent


def table_sha256(shape: Shape, batches: Iterable[Sequence[Sequence[Any]]]) -> str:
    """The hash of a table whose rows come in the order of its key.

    Raises:
        OverflowError, struct.error, ValueError: a cell is none that its column can hold.
    """
    digest = hashlib.sha256(header(shape.name, ALL))
    sent = _sender(shape)
    for batch in batches:
        digest.update(b"".join([hashlib.sha256(sent(row)).digest() for row in batch]))
    return digest.hexdigest()


def world_sha256(tables: Mapping[str, str]) -> str:
    """The hash of a world from those of its tables."""
    whole = "".join(f"{name} {tables[name]}\n" for name in ALL.tables())
    return hashlib.sha256(whole.encode()).hexdigest()
