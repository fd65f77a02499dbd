"""A moment of a graph as files that other programs open."""

import csv
import io

from app.analysis.graph import Colour, Moment
from app.analysis.picture import picture
from app.world.text import unreckoned


def graphml(moment: Moment, colour: Colour) -> bytes:
    """GraphML, as Gephi and networkx open it: places, colours and groups are attributes."""
    import networkx as nx  # 0.2 s, which a server that draws nothing need not wait for

    graph = nx.DiGraph(kind=moment.graph.kind, until=moment.time.isoformat())
    for dot in sorted(picture(moment, colour).dots, key=lambda dot: dot.node):
        person, ink = dot.person, dot.look.ink
        graph.add_node(
            person.id,
            label=f"@{person.handle}",
            handle=person.handle,
            name=person.name,
            leaning=person.leaning,
            community=moment.graph.communities[dot.node],
            followers=person.followers,
            departed=person.departed,
            received=dot.got,
            given=dot.gave,
            x=dot.x,
            y=-dot.y,
            r=int(ink[1:3], 16),
            g=int(ink[3:5], 16),
            b=int(ink[5:7], 16),
        )
    people = moment.graph.people
    for source, target, weight in moment.ties:
        graph.add_edge(people[source].id, people[target].id, weight=weight)
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *nx.generate_graphml(graph)]).encode()


def edges_csv(moment: Moment) -> bytes:
    """The ties, strongest first. A spreadsheet takes no cell of it for a formula."""
    people = moment.graph.people
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["source_id", "source", "source_name", "target_id", "target", "target_name", "weight"])
    for source, target, weight in moment.ties:
        a, b = people[source], people[target]
        writer.writerow(
            [a.id, unreckoned(a.handle), unreckoned(a.name), b.id, unreckoned(b.handle), unreckoned(b.name), weight]
        )
    return text.getvalue().encode()
