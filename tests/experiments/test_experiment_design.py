"""Designs of experiments: what is wrong is told whole, each fault with its place; what is right is planned by seed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.experiments.design import Experiment, checked, merge, read
from app.experiments.examples import EXAMPLES
from app.venues.session.files import toml_value, value_of, value_of_any

SMALL: dict[str, Any] = {
    "setting": {"cycles": 2},
    "variants": {"latest": {"ranker": "latest"}, "interest": {"ranker": "interest"}},
    "runs": 3,
    "seed": 7,
    "outcomes": {"primary": ["attention_gini"]},
}

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"colour": 1}, "/colour", "colour"),
    ({"venue": "moon"}, "/venue", "venue"),
    ({"runs": 0}, "/runs", "runs"),
    ({"runs": "3"}, "/runs", "runs"),
    ({"setting": {"cycles": True}}, "/setting/cycles", "setting.cycles"),
    ({"variants": {"a": {"cycles": "3"}}}, "/variants/a/cycles", "variants.a.cycles"),
    ({"variants": {}}, "/variants", "variants"),
    ({"variants": {"a b": {}}}, "/variants/a b/[key]", "variants"),
    ({"variants": {"a": {"rankr": "latest"}}}, "/variants/a/rankr", "variants.a.rankr"),
    ({"variants": {"a": {"ranker": "best"}}}, "/variants/a/ranker", "variants.a.ranker: there is no ranker"),
    ({"setting": {"cycles": 0}}, "/setting/cycles", "setting.cycles"),
    ({"setting": {"every": "soon"}}, "/setting/every", "setting.every"),
    ({"variants": {"a": {"temperature": float("nan")}}}, "/variants/a/temperature", "variants.a.temperature"),
    ({"outcomes": {"primary": ["atention_gini"]}}, "/outcomes/primary/0", "did you mean attention_gini?"),
    ({"outcomes": {"control": "nobody"}}, "/outcomes/control", "there are latest, interest"),
    ({"outcomes": {"margins": {"density": 0.1}}}, "/outcomes/margins/density", "is no outcome"),
    ({"outcomes": {"primary": ["density"], "exploratory": ["density"]}}, "/outcomes/exploratory", "is primary already"),
    ({"weights": {"latest": 0.5, "interest": 0.4}}, "/weights", "must sum to 1, and sum to 0.9"),
    ({"weights": {"latest": 0.5, "best": 0.5}}, "/weights/best", "is no variant"),
    ({"seeds": [1, 2, 2]}, "/seeds", "must differ"),
    ({"seeds": [1, 2]}, "/seeds", "are 2, and a variant has 3 runs"),
    ({"exclude": [{"outcome": "density"}]}, "/exclude/0", "would leave nothing out"),
    ({"exclude": [{"outcome": "dens", "above": 1}]}, "/exclude/0/outcome", "did you mean density?"),
    ({"stop": {"precision": {"outcome": "x", "half_width": 1}}}, "/stop/precision/outcome", "no outcome"),
    ({"runs": 1000, "variants": {n: {} for n in "abc"}}, "/runs", "3,000 runs in all"),
    ({"personas": [{"username": "a", "description": "b"}], "world": "try"}, "/personas", "instead of `world`"),
    ({"variants": {"a": {"interventions": [{"kind": "dance", "cycle": 1}]}}}, "/variants/a/interventions", "kind"),
    ({"variants": {"a": {"cast": {"everybody": {"activity": 2}}}}}, "/variants/a/cast/everybody/activity", "activity"),
]


@pytest.mark.parametrize(("change", "pointer", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_each_fault_is_told_with_its_place(change: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(Invalid) as told:
        checked({**SMALL, **change})
    assert pointer in [error.pointer for error in told.value.errors]
    assert words in told.value.detail


def test_all_faults_are_told_at_once() -> None:
    wrong = {
        **SMALL,
        "variants": {"a": {"ranker": "best", "model": 3}, "b": {"memory": "maybe"}},
        "outcomes": {"primary": ["nothing"], "control": "c"},
    }
    with pytest.raises(Invalid) as told:
        checked(wrong, "try.toml")
    assert told.value.detail.startswith("try.toml: ")
    places = {error.pointer for error in told.value.errors}
    assert places >= {
        "/variants/a/ranker",
        "/variants/a/model",
        "/variants/b/memory",
        "/outcomes/primary/0",
        "/outcomes/control",
    }


def test_a_fault_of_what_all_share_is_told_once() -> None:
    with pytest.raises(Invalid) as told:
        checked({**SMALL, "setting": {"cycles": 2, "memory": "maybe"}})
    assert [error.pointer for error in told.value.errors] == ["/setting/memory"]


def test_runs_are_paired_by_seed() -> None:
    runs = checked(SMALL).plan()
    assert [(run.number, run.variant, run.replicate) for run in runs] == [
        (1, "latest", 0),
        (2, "interest", 0),
        (3, "latest", 1),
        (4, "interest", 1),
        (5, "latest", 2),
        (6, "interest", 2),
    ]
    by_replicate = {run.replicate: {one.seed for one in runs if one.replicate == run.replicate} for run in runs}
    assert all(len(seeds) == 1 for seeds in by_replicate.values())
    assert len(set.union(*by_replicate.values())) == 3
    assert [run.seed for run in checked({**SMALL, "seed": 8}).plan()] != [run.seed for run in runs]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 30))
def test_weights_give_all_runs(parts: list[int], runs: int) -> None:
    names = [f"v{n}" for n in range(len(parts))]
    weights = {name: part / sum(parts) for name, part in zip(names, parts, strict=True)}
    design = Experiment.model_validate({"variants": {name: {} for name in names}, "runs": runs, "weights": weights})
    counts = design.counts()
    assert sum(counts.values()) == runs * len(names)
    assert all(abs(counts[name] - weights[name] * runs * len(names)) < 1 for name in names)


def test_a_variant_says_what_is_otherwise() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}
    setting = checked({**SMALL, "variants": {"a": {"cycles": 9}}}).setting_of("a")
    assert setting.cycles == 9  # type: ignore[union-attr]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_right(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text(EXAMPLES[name])
    design = read(file)
    assert design == checked(toml_value(EXAMPLES[name].encode(), name))
    assert len(design.plan()) == design.runs * len(design.variants)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", b"runs = 1\nruns = 2"),
        ("a.yaml", b"a: 1\na: 2"),
        ("a.yaml", b"a: &a [*a]"),
        ("a.json", b'{"runs": NaN}'),
        ("a.json", b"[" * 100_000),
        ("a.txt", b"runs = 1"),
        ("a.toml", b"\xff\xfe"),
        ("a.toml", b""),
        ("a.json", b"[]"),
        ("a.json", b"null"),
    ],
)
def test_files_that_are_none(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(Invalid):
        read(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[variants.a" + ".x" * 3000 + "]\ny = 1\n", "is nested deeper than 32 levels"),
        ("variants = " + "[" * 3000 + "]" * 3000, "is nested deeper than 32 levels"),
        ("x" + ".x" * 32 + " = 1\n", "is nested deeper than 32 levels"),
        ("runs = 1" + "0" * 5000, "holds a number that is too long"),
    ],
    ids=["tables", "lists", "one too many", "digits"],
)
def test_toml_that_goes_too_far_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text)
    with pytest.raises(Invalid, match=f"^deep.toml: .*{words}$"):
        read(file)


def test_toml_may_go_as_deep_as_json() -> None:
    assert toml_value(b"x" + b".x" * 31 + b" = 1\n", "a.toml")
    assert value_of(b'{"x":' * 32 + b"1" + b"}" * 32, "a.json")


def test_what_comes_without_a_name_is_json_toml_or_yaml() -> None:
    for text in (b'\xef\xbb\xbf {"runs": 3}', b"runs = 3\n", b"runs: 3\n"):
        assert value_of_any(text, "standard input") == {"runs": 3}
    with pytest.raises(Invalid, match=r"standard input: is not TOML: .*; is not YAML"):
        value_of_any(b"runs: {", "standard input")


def test_a_long_key_is_not_told_whole() -> None:
    with pytest.raises(Invalid) as told:
        checked({"k" * 100_000: 1, "variants": {"v" * 100_000: {}}})
    assert len(told.value.detail) < 1_000
    assert all(len(one.pointer) < 300 for one in told.value.errors)
