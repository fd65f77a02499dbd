"""The network of a world as GraphML: personas, and for each kind of tie between two of them an edge with its weight."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import asyncpg

from app.analysis.dataset.pseudonyms import Pseudonyms, alias
from app.analysis.graph import printable
from app.db.queries import load

DATASET = load("dataset")
FETCH = 2_000
NODE = {
    "username": "string", "display_name": "string", "leaning": "string", "status": "string", "activity": "double",
    "posts_count": "long", "comments_count": "long", "followers_count": "long", "following_count": "long",
}  # fmt: skip
EDGE = {"kind": "string", "weight": "long", "first_at": "string", "last_at": "string"}
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
"""


def _data(values: Mapping[str, Any]) -> str:
    return "".join(
        f'<data key="{name}">{escape(printable(str(value)), {chr(13): "&#13;"})}</data>'
        for name, value in values.items()
    )


async def write(connection: asyncpg.Connection, path: Path, others: Pseudonyms) -> int:
    """Write the network that `connection` sees, row by row, and say how many edges it has.

    A tie is of a kind (`follows`, `likes`, …) and weighs as many acts as there were; times are ISO 8601 in UTC. What
    XML can't hold becomes U+FFFD.
    """
    edges = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEAD)
        for what, keys in (("node", NODE), ("edge", EDGE)):
            for name, kind in keys.items():
                file.write(f'<key id="{name}" for="{what}" attr.name="{name}" attr.type="{kind}"/>\n')
        file.write('<graph edgedefault="directed">\n')
        cursor = await connection.cursor(DATASET["people"])
        while people := await cursor.fetch(FETCH):
            for row in people:
                values = {name: row[name] for name in NODE}
                if others.how != "none":
                    values |= {"username": alias(row["id"]), "display_name": row["display_name"] and alias(row["id"])}
                file.write(f'<node id="{row["id"]}">{_data(values)}</node>\n')
        cursor = await connection.cursor(DATASET["ties"])
        while ties := await cursor.fetch(FETCH):
            for row in ties:
                edges += 1
                values = {name: row[name] for name in EDGE} | {
                    name: row[name].isoformat() for name in ("first_at", "last_at")
                }
                head = f'<edge id="e{edges}" source="{row["source"]}" target="{row["target"]}">'
                file.write(f"{head}{_data(values)}</edge>\n")
        file.write("</graph>\n</graphml>\n")
    return edges
