"""Cascades have the values that a hand reckons and networkx finds, in whatever order posts come."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.cascades import ROOT, Cascades, cascades, summary

FOREST = [ROOT, 0, 0, 0, ROOT, 4, 5, 6, ROOT]
"""A star of 4, a chain of 4, and a post alone."""


@st.composite
def forests(draw: st.DrawFn) -> list[int]:
    n = draw(st.integers(1, 25))
    return [draw(st.integers(ROOT, post - 1)) for post in range(n)]


def known() -> Cascades:
    return cascades(FOREST)


def test_known_cascade_size() -> None:
    assert known().root.tolist() == [0, 4, 8]
    assert known().size.tolist() == [4, 4, 1]
    assert summary(known())["cascade_size"] == pytest.approx(3)


def test_known_cascade_largest() -> None:
    assert summary(cascades([ROOT, 0, 0, ROOT]))["cascade_largest"] == 3


def test_known_cascade_depth() -> None:
    assert known().depth.tolist() == [1, 3, 0]
    assert summary(known())["cascade_depth"] == pytest.approx(4 / 3)


def test_known_cascade_breadth() -> None:
    assert known().breadth.tolist() == [3, 1, 1]
    assert summary(known())["cascade_breadth"] == pytest.approx(5 / 3)


def test_known_structural_virality() -> None:
    """Star of 4: three pairs 1 apart and three 2 apart, 9 / 6. Chain of 4: 3 · 1 + 2 · 2 + 3, 10 / 6."""
    assert known().virality[:2].tolist() == pytest.approx([9 / 6, 10 / 6])
    assert np.isnan(known().virality[2])
    assert summary(known())["structural_virality"] == pytest.approx(19 / 12)


def test_no_posts_have_no_cascades() -> None:
    assert set(summary(cascades([])).values()) == {None}
    alone = summary(cascades([ROOT, ROOT]))
    assert alone["structural_virality"] is None
    assert alone["cascade_size"] == 1


def test_a_long_chain_is_no_matter() -> None:
    """ν of a chain of n is (n + 1) / 3."""
    n = 20_000
    found = cascades(np.arange(-1, n - 1))
    assert (found.depth.tolist(), found.breadth.tolist()) == ([n - 1], [1])
    assert found.virality[0] == pytest.approx((n + 1) / 3)


@pytest.mark.parametrize(("parents", "item"), [([0], 1), ([ROOT, 2, 1], 2), ([1, 2, 3, 1], 1)])
def test_circles_are_refused(parents: list[int], item: int) -> None:
    with pytest.raises(ValueError, match=f"parents: item {item}: leads back to itself"):
        cascades(parents)


@pytest.mark.parametrize("parents", [[ROOT, 2], [ROOT, -2]])
def test_parents_that_are_no_posts_are_refused(parents: list[int]) -> None:
    with pytest.raises(ValueError, match="parents: item 2: must be from -1 to 1"):
        cascades(parents)


@given(forests(), st.randoms())
def test_networkx_agrees_in_any_order(parents: list[int], chance: object) -> None:
    n = len(parents)
    place = sorted(range(n), key=lambda _: chance.random())  # type: ignore[attr-defined]
    mixed = [0] * n
    for post, parent in enumerate(parents):
        mixed[place[post]] = place[parent] if parent != ROOT else ROOT
    found = cascades(mixed)
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((post, parent) for post, parent in enumerate(mixed) if parent != ROOT)
    for k, root in enumerate(found.root.tolist()):
        tree = graph.subgraph(nx.node_connected_component(graph, root))
        size = len(tree)
        steps = nx.single_source_shortest_path_length(tree, root)
        levels = np.bincount(list(steps.values()))
        assert (found.size[k], found.depth[k], found.breadth[k]) == (size, max(steps.values()), levels.max())
        if size > 1:
            assert found.virality[k] == pytest.approx(2 * nx.wiener_index(tree) / (size * (size - 1)))
            assert 1 <= found.virality[k] <= (size + 1) / 3 + 1e-9
    assert found.size.sum() == n
