"""Measures of large graphs have the values that a hand reckons, and those of `measures.py` and networkx."""

import random
from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis import communities, measures, networks, polarisation
from app.analysis.networks import Ties

KITE = Ties.of(4, [0, 1, 1, 2, 3], [1, 0, 2, 3, 1])
"""A triangle 1 → 2 → 3 → 1 with a tail 0 ⇄ 1."""

TRIANGLES = Ties.of(6, [0, 1, 2, 3, 4, 5], [1, 2, 0, 4, 5, 3])
PAIRS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(lambda pair: pair[0] != pair[1]), max_size=50)
GROUPS = st.lists(st.integers(-1, 3), min_size=9, max_size=9)


def made(nodes: int, pairs: Sequence[tuple[int, ...]], weight: Sequence[float] | None = None) -> Ties:
    return Ties.of(nodes, [pair[0] for pair in pairs], [pair[1] for pair in pairs], weight)


def test_known_density() -> None:
    assert networks.density(KITE) == pytest.approx(5 / 12)


def test_known_reciprocity() -> None:
    assert networks.reciprocity(KITE) == pytest.approx(2 / 5)


def test_known_clustering() -> None:
    assert networks.clustering(KITE) == pytest.approx((0 + 1 / 3 + 1 + 1) / 4)


def test_known_degree_assortativity() -> None:
    """Σj = Σk = 7, Σjk = 9, Σj² = Σk² = 11 over 5 ties: (45 - 49) / (55 - 49)."""
    assert networks.degree_assortativity(KITE) == pytest.approx(-2 / 3)


def test_known_ei_index() -> None:
    """Groups 0 0 1 1: 0 ⇄ 1 and 2 → 3 within, 1 → 2 and 3 → 1 between."""
    assert polarisation.ei_index([0, 0, 1, 1], KITE) == pytest.approx((2 - 3) / 5)
    assert polarisation.ei_index([0, 0, 1, -1], KITE) == pytest.approx((1 - 2) / 3), "3 has no group"


def test_known_leaning_assortativity() -> None:
    """e₀₀ = 2/5, e₁₁ = 1/5; a = b = (3/5, 2/5): (3/5 - 13/25) / (1 - 13/25)."""
    assert polarisation.group_assortativity([0, 0, 1, 1], KITE) == pytest.approx(1 / 6)


def test_known_leaning_modularity() -> None:
    """L = 2 and 1, K = 6 and 4, m = 5: 2/5 - (6/10)² + 1/5 - (4/10)²."""
    assert polarisation.modularity([0, 0, 1, 1], KITE) == pytest.approx(0.08)


def test_known_community_modularity() -> None:
    assert communities.communities(TRIANGLES).tolist() == [0, 0, 0, 1, 1, 1]
    assert communities.community_modularity(TRIANGLES) == pytest.approx(1 / 2)


def test_what_has_no_value_is_none() -> None:
    none = Ties.of(3, [], [])
    for measure in (networks.reciprocity, networks.degree_assortativity, communities.community_modularity):
        assert measure(none) is None
    for of_groups in (polarisation.ei_index, polarisation.group_assortativity, polarisation.modularity):
        assert of_groups([0, 0, 1], none) is None
        assert of_groups([-1] * 4, KITE) is None
    assert networks.density(Ties.of(1, [], [])) is None
    assert networks.clustering(Ties.of(0, [], [])) is None
    assert networks.clustering(none) == 0
    assert networks.degree_assortativity(Ties.of(3, [0, 1, 2], [1, 2, 0])) is None, "all degrees are the same"
    assert polarisation.group_assortativity([2] * 4, KITE) is None, "all are of one group"
    assert communities.communities(none).tolist() == [0, 1, 2]


def test_bad_ties_are_refused() -> None:
    with pytest.raises(ValueError, match="target: item 2: must be another node"):
        Ties.of(3, [0, 1], [1, 1])
    with pytest.raises(ValueError, match="source: item 1: must be from 0 to 2"):
        Ties.of(3, [3], [1])
    with pytest.raises(ValueError, match="weight: item 1: must be 0 or more"):
        Ties.of(3, [0], [1], [-1])
    with pytest.raises(ValueError, match="equally long"):
        Ties.of(3, [0], [1, 2])
    with pytest.raises(ValueError, match="groups: must be one for each of 4 nodes, not 3"):
        polarisation.ei_index([0, 1, 1], KITE)


def test_ties_that_come_twice_are_one() -> None:
    ties = Ties.of(3, [0, 1, 0, 2], [1, 2, 1, 0], [2, 1, 3, 0])
    assert (ties.source.tolist(), ties.target.tolist(), ties.weight.tolist()) == ([0, 1], [1, 2], [5, 1])


@pytest.mark.parametrize("seed", range(8))
def test_measures_and_networkx_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "AT_ONCE", 7)
    chance = random.Random(seed)
    nodes = chance.randint(5, 40)
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b and chance.random() < 0.15]
    chance.shuffle(pairs)
    weight = [chance.randint(1, 9) for _ in pairs]
    plain = [(a, b, float(w)) for (a, b), w in zip(pairs, weight, strict=True)]
    group = [chance.randrange(4) for _ in range(nodes)]
    ties = made(nodes, pairs, weight)
    assert networks.density(ties) == pytest.approx(measures.density(nodes, plain))
    assert networks.reciprocity(ties) == pytest.approx(measures.reciprocity(plain))
    assert networks.clustering(ties) == pytest.approx(measures.clustering(nodes, plain))
    assert networks.degree_assortativity(ties) == pytest.approx(measures.assortativity(plain))
    assert polarisation.modularity(group, ties) == pytest.approx(measures.modularity(group, plain))
    directed = nx.DiGraph(pairs)
    nx.set_node_attributes(directed, dict(enumerate(group)), "leaning")
    unweighted = polarisation.group_assortativity(group, made(nodes, pairs))
    assert unweighted == pytest.approx(nx.attribute_assortativity_coefficient(directed, "leaning"))


@given(PAIRS, GROUPS, st.permutations(range(9)))
def test_bounds_hold_and_names_of_nodes_and_groups_do_not_matter(
    pairs: list[tuple[int, int]], group: list[int], other: list[int]
) -> None:
    ties = made(9, pairs)
    renamed = made(9, [(other[a], other[b]) for a, b in pairs])
    moved = np.empty(9, np.int64)
    moved[other] = [10 * (3 - one) if one >= 0 else -1 for one in group]
    for measure, low in ((networks.density, 0), (networks.reciprocity, 0), (networks.clustering, 0),
                         (networks.degree_assortativity, -1)):  # fmt: skip
        found = measure(ties)
        assert found is None or low <= found <= 1
        assert found == pytest.approx(measure(renamed))
    for of_groups, least in ((polarisation.ei_index, -1), (polarisation.group_assortativity, -1),
                             (polarisation.modularity, -0.5)):  # fmt: skip
        found = of_groups(group, ties)
        assert found is None or least - 1e-9 <= found <= 1
        assert found == pytest.approx(of_groups(moved, renamed))


def town(nodes: int, circles: int, seed: int, within: float = 0.9) -> tuple[Ties, list[int]]:
    """Each has ten ties, `within` of them in its circle."""
    chance = random.Random(seed)
    circle = [chance.randrange(circles) for _ in range(nodes)]
    members = [[one for one in range(nodes) if circle[one] == k] for k in range(circles)]
    pairs = [
        (a, b)
        for a in range(nodes)
        for _ in range(10)
        if (b := chance.choice(members[circle[a]] if chance.random() < within else range(nodes))) != a
    ]
    return made(nodes, pairs), circle


@pytest.mark.parametrize(("nodes", "circles"), [(60, 4), (250, 6), (900, 12)])
def test_communities_are_as_good_as_those_of_networkx(nodes: int, circles: int) -> None:
    """One by one and in batches: a modularity of at most 0.02 less, and the circles themselves."""
    ties, circle = town(nodes, circles, 3)
    graph = nx.Graph()
    low, high, weight = ties.undirected()
    graph.add_weighted_edges_from(zip(low.tolist(), high.tolist(), weight.tolist(), strict=True))
    theirs = nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=1))
    ours = communities.community_modularity(ties, seed=1)
    assert ours is not None
    assert ours >= theirs - 0.02
    found = communities.communities(ties, seed=1)
    assert len(set(zip(found.tolist(), circle, strict=True))) <= circles + 3
    sizes = np.bincount(found)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


def test_without_circles_communities_are_as_good_as_those_of_networkx() -> None:
    ties, _ = town(800, 1, 5)
    low, high, weight = ties.undirected()
    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(low.tolist(), high.tolist(), weight.tolist(), strict=True))
    theirs = nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=1))
    ours = communities.community_modularity(ties)
    assert ours is not None
    assert ours >= theirs - 0.03


def test_a_seed_gives_the_same_communities_and_another_may_not() -> None:
    ties, _ = town(800, 1, 5)
    again = Ties.of(800, ties.source[::-1], ties.target[::-1], ties.weight[::-1])
    first = communities.communities(ties, seed=4)
    assert first.tolist() == communities.communities(again, seed=4).tolist()
    assert first.tolist() != communities.communities(ties, seed=5).tolist()
