"""Who follows, likes or answers whom, as a picture that needs no page around it."""

from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from app.analysis.graph import Colour, Graph
from app.analysis.picture import Picture, picture
from app.analysis.plots.plot import FONT, INK, PAPER, SERIES, SOFT, SVG, Plot, counted, nothing, number, shown, table
from app.analysis.tables import Column

TITLES: Final = {"follows": "Who follows whom", "likes": "Who likes whose posts", "replies": "Who answers whom"}
LEGEND_ROW, LEGEND_COLUMN = 26, 320


def network(graph: Graph, colour: Colour = "community", step: int | None = None) -> Plot:
    """The graph at the end of a step, or of all: dots by ties that arrive, coloured and shaped by group.

    Groups beyond five share colours; their shapes differ.
    """
    moment = graph.at(graph.life.steps if step is None else step)
    title = TITLES[graph.kind]
    people = graph.people
    held = table(
        (Column("source"), Column("target"), Column("weight", "number")),
        ((people[a].handle, people[b].handle, weight) for a, b, weight in moment.ties),
    )
    if not moment.ties:
        return nothing(title, "nothing of it yet", held)
    found = picture(moment, colour)
    facts = moment.facts(colour)
    ahead = [f"@{shown(people[n].handle)} ({moment.into[n]})" for n in moment.nodes[:3] if moment.into.get(n)]
    told = f"{title}: {counted(len(moment.nodes), 'persona')}, {counted(len(moment.ties), 'tie')}."
    told += (
        f" Ahead: {', '.join(ahead)}. Density {number(facts['density'])}, reciprocity {number(facts['reciprocity'])}."
    )
    left = len(moment.ties) - found.drawn
    told += f" {counted(left, 'weaker tie is', 'weaker ties are')} not drawn." * (left > 0)
    return Plot(title, told, {}, held, _drawn(found))


def _ink(slot: int) -> str:
    return SERIES[(slot - 1) % len(SERIES)] if slot else SOFT


def _drawn(found: Picture) -> str:
    legend = [(look, shown(look.group.label)) for look in found.legend]
    rows = -(-len(legend) // 3)
    height = found.height + LEGEND_ROW * rows + 8
    root = Element(
        "svg",
        {"xmlns": SVG, "width": str(found.width), "height": str(height), "viewBox": f"0 0 {found.width} {height}"},
    )
    SubElement(root, "rect", {"width": str(found.width), "height": str(height), "fill": PAPER})
    ties = SubElement(root, "g", {"fill": "none", "stroke-linecap": "round", "stroke-opacity": "0.35"})
    for strand in found.strands:
        slot = strand.look.slot if strand.look else 0
        SubElement(ties, "path", {"d": strand.path, "stroke": _ink(slot), "stroke-width": f"{strand.width + 0.6:g}"})
    for dot in found.dots:
        inside, edge = (_ink(dot.look.slot), PAPER) if dot.look.slot else (PAPER, SOFT)
        made = SubElement(root, "path", {"d": dot.path, "fill": inside, "stroke": edge, "stroke-width": "1.5"})
        SubElement(made, "title").text = f"@{shown(dot.person.handle, 60)}: {dot.got} in, {dot.gave} out"
    words = SubElement(
        root, "g", {"font-family": FONT, "font-size": "19", "font-weight": "bold", "text-anchor": "middle"}
    )
    for dot in found.dots:
        if dot.label and dot.label.first:
            _text(words, dot.label.text, dot.label.x, dot.label.y + 6)
    keys = SubElement(root, "g", {"font-family": FONT, "font-size": "19"})
    for n, (look, label) in enumerate(legend):
        x, y = 20 + LEGEND_COLUMN * (n % 3), found.height + LEGEND_ROW * (n // 3)
        SubElement(keys, "path", {"d": look.mark, "fill": _ink(look.slot), "transform": f"translate({x},{y})"})
        _text(keys, f"{label}: {look.group.members}", x + 28, y + 16, halo=False)
    return tostring(root, encoding="unicode")


def _text(into: Element, text: str, x: float, y: float, *, halo: bool = True) -> None:
    place = {"x": f"{x:g}", "y": f"{y:g}"}
    if halo:
        around = {"fill": "none", "stroke": PAPER, "stroke-width": "5", "stroke-linejoin": "round"}
        SubElement(into, "text", place | around).text = shown(text)
    SubElement(into, "text", place | {"fill": INK}).text = shown(text)
