"""Each measure has the value that a hand reckons and networkx finds."""

import random

import networkx as nx
import pytest

from app.analysis import measures
from app.analysis.measures import Tie

KITE: list[Tie] = [(0, 1, 1), (1, 0, 1), (1, 2, 1), (2, 3, 1), (3, 1, 1)]
"""A triangle 1 → 2 → 3 → 1 with a tail 0 ⇄ 1."""


def test_density_of_the_kite() -> None:
    assert measures.density(4, KITE) == pytest.approx(5 / 12)


def test_reciprocity_of_the_kite() -> None:
    assert measures.reciprocity(KITE) == pytest.approx(2 / 5)


def test_clustering_of_the_kite() -> None:
    assert measures.clustering(4, KITE) == pytest.approx((0 + 1 / 3 + 1 + 1) / 4)


def test_assortativity_of_the_kite() -> None:
    """Σj = Σk = 7, Σjk = 9, Σj² = Σk² = 11 over 5 ties: (45 - 49) / (55 - 49)."""
    assert measures.assortativity(KITE) == pytest.approx(-2 / 3)


def test_modularity_of_the_kite() -> None:
    """L = 2 and 1, K = 6 and 4, m = 5: 2/5 - (6/10)² + 1/5 - (4/10)²."""
    assert measures.modularity([0, 0, 1, 1], KITE) == pytest.approx(0.08)


def test_two_triangles_are_as_modular_as_newman_says() -> None:
    triangles: list[Tie] = [
        (a, b, 1) for base in (0, 3) for a, b in ((base, base + 1), (base + 1, base + 2), (base + 2, base))
    ]
    assert measures.modularity([0, 0, 0, 1, 1, 1], triangles) == pytest.approx(1 / 2)
    assert measures.modularity([0] * 6, triangles) == pytest.approx(0)


def test_what_has_no_value_is_none() -> None:
    assert measures.density(1, []) is None
    assert measures.reciprocity([]) is None
    assert measures.clustering(0, []) is None
    assert measures.modularity([], []) is None
    assert measures.assortativity([(0, 1, 1), (1, 2, 1), (2, 0, 1)]) is None, "all degrees are the same"


@pytest.mark.parametrize("seed", range(8))
def test_networkx_agrees(seed: int) -> None:
    chance = random.Random(seed)
    nodes = chance.randint(5, 40)
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b and chance.random() < 0.15]
    ties: list[Tie] = [(a, b, chance.randint(1, 9)) for a, b in pairs]
    group = [chance.randrange(4) for _ in range(nodes)]
    directed, plain = nx.DiGraph(), nx.Graph()
    directed.add_nodes_from(range(nodes))
    plain.add_nodes_from(range(nodes))
    for a, b, weight in ties:
        directed.add_edge(a, b, weight=weight)
        plain.add_edge(a, b, weight=weight + (plain.edges[a, b]["weight"] if plain.has_edge(a, b) else 0))
    parts = [{node for node in range(nodes) if group[node] == one} for one in range(4)]
    assert measures.density(nodes, ties) == pytest.approx(nx.density(directed))
    assert measures.reciprocity(ties) == pytest.approx(nx.overall_reciprocity(directed))
    assert measures.clustering(nodes, ties) == pytest.approx(nx.average_clustering(plain))
    if (r := measures.assortativity(ties)) is not None:
        assert r == pytest.approx(nx.degree_assortativity_coefficient(directed))
    assert measures.modularity(group, ties) == pytest.approx(nx.community.modularity(plain, parts))
