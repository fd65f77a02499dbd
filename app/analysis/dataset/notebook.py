"""A notebook that runs on a dataset: it needs Python with polars, and networkx for the network."""

import json
from collections.abc import Sequence
from typing import Any

from app.analysis.dataset.forms import Form

START = """import json
from pathlib import Path

import polars as pl

HERE = Path(".")
manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
for world in manifest["worlds"]:
    print(world["name"], world["sha256"])"""

READ = {
    "parquet": '''def table(name, world=FIRST):
    """A table as a polars data frame; `.to_pandas()` makes it one of pandas."""
    return pl.read_parquet(HERE / f"{world}data/{name}.parquet")''',
    "csv": '''def table(name, world=FIRST):
    """A table as a polars data frame: empty cells are null, empty texts are "" (docs: README.md)."""
    return pl.read_csv(HERE / f"{world}data/{name}.csv", try_parse_dates=True, infer_schema_length=None)''',
    "jsonl": '''def table(name, world=FIRST):
    """A table as a polars data frame."""
    path = HERE / f"{world}data/{name}.jsonl"
    return pl.read_ndjson(path, infer_schema_length=None) if path.stat().st_size else pl.DataFrame()''',
}

ROWS = """pl.DataFrame([{"table": f["table"], "world": f["world"], "rows": f["rows"]} for f in manifest["files"]
              if f.get("table") and f["format"] == FORM])"""

ACTIVITY = """posts, personas = table("posts"), table("personas")
if posts.height:
    wrote = posts.group_by("author_id").len("posts").sort("posts", descending=True).head(10)
    print(wrote.join(personas.select("id", "username"), left_on="author_id", right_on="id", maintain_order="left"))
print(personas.height, "personas,", posts.height, "posts")"""

SHOWN = """shown = table("exposure_items")
if shown.height:
    print(shown.group_by("rank").len().sort("rank").head(10))
print(shown.height, "things were shown")"""

NETWORK = """try:
    import networkx as nx
except ImportError:
    print("the network needs networkx: pip install networkx")
else:
    network = nx.read_graphml(HERE / f"{FIRST}network.graphml", force_multigraph=True)
    follows = nx.DiGraph((a, b) for a, b, kind in network.edges(data="kind") if kind == "follows")
    print(network.number_of_nodes(), "personas,", network.number_of_edges(), "ties; density of follows:",
          round(nx.density(follows), 4) if follows else "-")"""

TRIALS = """pl.concat([table("posts", w["prefix"]).select(pl.lit(w["name"]).alias("trial"), pl.len().alias("posts"))
           for w in manifest["worlds"]])"""


def notebook(title: str, form: Form, prefixes: Sequence[str], tables: Sequence[str], *, network: bool) -> bytes:
    """The notebook of a package whose tables have that form (nbformat 4.5)."""
    first = f"FIRST, FORM = {prefixes[0]!r}, {form!r}\n\n{READ[form]}"
    parts: list[tuple[str, str]] = [
        ("markdown", f"# {title}\n\nRun it in the package's folder. `codebook.md` tells what tables and columns mean."),
        ("code", START),
        ("code", f"{first}\n\n{ROWS}"),
    ]
    if {"posts", "personas"} <= set(tables):
        parts += [("markdown", "## Who wrote"), ("code", ACTIVITY)]
    if "exposure_items" in tables:
        parts += [("markdown", "## What was shown"), ("code", SHOWN)]
    if network:
        parts += [("markdown", "## The network"), ("code", NETWORK)]
    if len(prefixes) > 1 and "posts" in tables:
        parts += [("markdown", "## Worlds side by side"), ("code", TRIALS)]
    cells: list[dict[str, Any]] = [
        {"cell_type": kind, "id": f"cell-{n}", "metadata": {}, "source": text.splitlines(keepends=True)}
        | ({"execution_count": None, "outputs": []} if kind == "code" else {})
        for n, (kind, text) in enumerate(parts)
    ]
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"
