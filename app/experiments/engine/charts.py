"""Charts of a conversation: who said how much, and when."""

from collections.abc import Mapping
from typing import Any

from app.analysis.plots.plot import (
    SERIES,
    Plot,
    Spec,
    axis,
    chart,
    counted,
    inked,
    labels,
    nothing,
    number,
    scale,
    table,
)
from app.analysis.tables import Column
from app.experiments.engine.result import words_of


def charts(result: Mapping[str, Any]) -> dict[str, Plot]:
    """Charts by their names: `messages` (words and messages by speaker) and `words` (words so far, turn by turn)."""
    return {"messages": messages(result), "words": words(result)}


def messages(result: Mapping[str, Any]) -> Plot:
    """Words of each speaker; beside them its messages. Needs a result with its analysis."""
    title = "Who said how much"
    speakers = result["analysis"]["speakers"]
    held = table(
        (Column("speaker"), Column("messages", "integer"), Column("words", "integer")),
        ((one["speaker"], one["messages"], one["words"]) for one in speakers),
    )
    if not result["transcript"]:
        return nothing(title, "nobody said anything", held)
    rows = [
        {
            "name": name,
            "value": one["words"],
            "said": f"{counted(one['words'], 'word')}, {counted(one['messages'], 'message')}",
        }
        for name, one in zip(labels(one["speaker"] for one in speakers), speakers, strict=True)
    ]
    span = scale([row["value"] for row in rows], zero=True)
    across = {"field": "value", "type": "quantitative", "scale": span, "axis": axis(span["domain"], "words")}
    place = {
        "y": {
            "field": "name",
            "type": "nominal",
            "sort": None,
            "axis": {"title": None, "ticks": False},
            "scale": {"paddingInner": 0.45},
        }
    }
    said = {"x": {"datum": 0}, "text": {"field": "said"}}
    layers: list[Spec] = [
        {"mark": {"type": "bar", "color": SERIES[0], "yOffset": 7, "height": 16}, "encoding": place | {"x": across}},
        {"mark": {"type": "text", "align": "left", "dy": -10, "dx": 3}, "encoding": place | said},
    ]
    most = max(rows, key=lambda row: row["value"])
    alt = f"{title}: {number(result['analysis']['words'])} words in all, most by {most['name']} ({most['said']})."
    return Plot(title, alt, chart(layers, rows=rows, height=46 * len(rows) + 60), held)


def words(result: Mapping[str, Any]) -> Plot:
    """Words of each speaker so far, turn by turn."""
    title = "Words over time"
    so_far = dict.fromkeys((agent["name"] for agent in result["agents"]), 0)
    points: list[tuple[str, int, int]] = []
    for entry in result["transcript"]:
        so_far[entry["speaker"]] += len(words_of(entry["text"]))
        points += [(name, entry["turn"], count) for name, count in so_far.items()]
    held = table((Column("speaker"), Column("turn", "integer"), Column("words", "integer")), points)
    if not points:
        return nothing(title, "nobody said anything", held)
    names = dict(zip(so_far, labels(so_far), strict=True))
    rows = [{"name": names[name], "x": turn, "y": count} for name, turn, count in points]
    looks = inked(list(names.values()), dash=True)
    turns, counts = [row["x"] for row in rows], [row["y"] for row in rows]
    across = {"field": "x", "type": "quantitative", "scale": scale(turns), "axis": axis(turns, "turn", tickMinStep=1)}
    up = {"field": "y", "type": "quantitative", "scale": scale(counts, zero=True), "axis": axis(counts, "words so far")}
    line: Spec = {
        "mark": {"type": "line", "strokeWidth": 2.2, "interpolate": "step-after"},
        "encoding": {"x": across, "y": up, **looks},
    }
    ends = ", ".join(f"{names[name]} {count:,}" for name, count in so_far.items())
    return Plot(title, f"{title}, after the last turn: {ends}.", chart([line], rows=rows, height=330), held)
