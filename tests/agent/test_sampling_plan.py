"""Sampling plans: what is asked for is met, the same seed draws the same people, each fault is named with its place."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from app.agent.population.demographics import ages
from app.agent.population.sampling import METHODS, SIZE_MAX, Sample, plan, points
from app.agent.population.statistics_files import population_of, read_demographics
from app.errors import Invalid

TOWN: dict[str, Any] = {
    "marginals": {
        "age": {"18-29": 0.2, "30-49": 0.35, "50-64": 0.25, "65+": 0.2},
        "gender": {"woman": 51, "man": 48, "non-binary": 1},
    },
    "joint": [
        {"attributes": {"region": "harbour", "leaning": "left"}, "weight": 3},
        {"attributes": {"region": "hills", "leaning": "left"}, "weight": 2},
        {"attributes": {"region": "hills", "leaning": "right"}, "weight": 5},
    ],
    "ranges": {"income": {"low": 8000, "high": 90000, "distribution": "normal", "mean": 31000, "sd": 11000}},
}
COUNTRY: dict[str, Any] = {
    "title": "Examplia",
    "source": "made up",
    "content": {
        "Demographics": {
            "Country": "Spain",
            "Median Age": "40 years",
            "Age Distribution": {"0-14": "20%", "15-24": "10%", "25-64": "50%", "65+": "20.4%"},
            "Gender Distribution": {"Male": 0.49, "Female": 0.51},
            "Educational Attainment": {"High School or Higher": "80%", "Bachelor's Degree or Higher": "30%"},
            "Household Income": {"Median Income": "$5", "Distribution": {"Under $10": "60%", "$10 and Over": "40%"}},
            "Geographic Distribution": {"Urban": "70%", "Rural": "30%", "Regions": {"North": "45%", "South": "55%"}},
            "Employment Status": {"Participation Rate": "60%", "Unemployment Rate": "8%"},
        },
        "Political Affiliation": {"A": "40%", "B": "70%"},
        "Religion": {"Christian": {"Total": "60%", "Catholic": "50%", "Other": "10%"}, "Unaffiliated": "40%"},
        "Occupations": {"Legal": {"Employment": "1.5 million"}, "Farming": {"Employment": "500,000"}},
        "Personality": {"Openness": {"High": "40%", "Low": "60%"}, "Neuroticism": {"High": "30%", "Low": "70%"}},
        "Interests and Hobbies": {"Reading": "37%", "Sports": ["Running"]},
    },
}


def refusal(value: Any, size: int = 10) -> str:
    with pytest.raises(Invalid) as caught:
        plan(value, size, 1)
    return caught.value.detail


def off(sample: Sample, attribute: str) -> float:
    return max(abs(share.off) for share in sample.table() if share.attribute == attribute)


shares = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 1000), min_size=1, max_size=12)


@given(st.dictionaries(st.sampled_from(["gender", "region", "education"]), shares, min_size=1), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_a_quota_is_met_within_one_person(marginals: dict[str, dict[str, int]], size: int) -> None:
    marginals = {name: {**weights, "rest": 1} for name, weights in marginals.items()}
    sample = plan({"marginals": marginals}, size, 3)
    assert sample.worst() < 1
    for name, weights in marginals.items():
        told = {share.value: share.got for share in sample.table() if share.attribute == name}
        assert sum(told.values()) == size
        assert {value: sum(row[name] == value for row in sample.rows) for value in weights} == told


@given(st.lists(st.integers(0, 50), min_size=2, max_size=12), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_the_cells_of_a_joint_table_are_met_within_one_person(weights: list[int], size: int) -> None:
    cells = [
        {"attributes": {"a": str(place // 3), "b": str(place % 3)}, "weight": weight + 1}
        for place, weight in enumerate(weights)
    ]
    sample = plan({"joint": [cells]}, size, 5)
    assert off(sample, "a × b") < 1


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_draws_the_same_people_and_another_seed_others(method: Any) -> None:
    assert plan(TOWN, 60, 7, method) == plan(TOWN, 60, 7, method)
    assert plan(TOWN, 60, 7, method).rows != plan(TOWN, 60, 8, method).rows


def test_a_row_has_a_value_for_each_attribute_and_an_age_within_its_bin() -> None:
    sample = plan(TOWN, 400, 7)
    assert set(sample.rows[0]) == {"region", "leaning", "age", "gender", "income"}
    for label, asked in (("18-29", 80), ("65+", 80)):
        low, high = ages(label) or (0, 0)
        found = [row["age"] for row in sample.rows if isinstance(row["age"], int) and low <= row["age"] <= high]
        assert len(found) == asked
        assert {min(found), max(found)} <= {low, low + 1, high - 1, high}  # all of the bin is used
    assert all(8000 <= float(row["income"]) <= 90000 for row in sample.rows)
    assert {row["leaning"] for row in sample.rows if row["region"] == "harbour"} == {"left"}  # as the cells have it


def test_another_attribute_changes_nobodys_other_values() -> None:
    more = {**TOWN, "marginals": {**TOWN["marginals"], "hat": {"yes": 1, "no": 1}}}
    before = plan(TOWN, 50, 7).rows
    assert [{k: v for k, v in row.items() if k != "hat"} for row in plan(more, 50, 7).rows] == list(before)


def test_columns_are_shuffled_independently() -> None:
    sample = plan({"marginals": {"a": {"x": 1, "y": 1}, "b": {"x": 1, "y": 1}}}, 1000, 7)
    assert 200 < sum(row["a"] == row["b"] == "x" for row in sample.rows) < 300


def test_quasi_random_points_are_spread_more_evenly_than_random_ones() -> None:
    tags = ["a", "b", "c", "d"]

    def discrepancy(method: Any) -> float:
        return mean(
            float(qmc.discrepancy(list(zip(*points(method, 100, tags, seed), strict=True)))) for seed in range(12)
        )

    assert discrepancy("quasi") < discrepancy("random") / 3
    gaps = {m: mean(plan(TOWN, 100, seed, m).worst() for seed in range(12)) for m in METHODS}
    assert gaps["quota"] < 1 <= gaps["quasi"] + 1 < gaps["random"]


def test_a_mean_of_a_range_is_met() -> None:
    for shape in (
        {"distribution": "uniform"},
        {"distribution": "triangular", "mode": 10.0},
        {"distribution": "normal", "mean": 30.0, "sd": 40.0},
    ):
        sample = plan({"ranges": {"x": {"low": 0.0, "high": 100.0, "digits": 2, **shape}}}, 500, 1)
        (share,) = sample.table()
        assert share.mean
        assert abs(share.off) < 1


def test_the_least_age_cuts_bins() -> None:
    sample = plan({"marginals": {"age": {"0-14": 20, "15-24": 10, "25-64": 70}}, "least_age": 18}, 100, 1)
    found = [int(row["age"]) for row in sample.rows]
    assert min(found) >= 18
    assert sum(age <= 24 for age in found) == pytest.approx(100 * 7 / 77, abs=1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "must be an object, not a list"),
        ({}, "needs marginals, joint or ranges"),
        ({"marginal": {}}, "unknown field 'marginal'; did you mean 'marginals'?"),
        ({"marginals": {"g": {"a": -1, "b": 2}}}, 'marginals.g["a"]: must not be negative, but is -1'),
        ({"marginals": {"g": {"a": 0}}}, "marginals.g: all weights are 0"),
        ({"marginals": {"g": {"a": 0.5, "b": 0.2}}}, "marginals.g: as fractions they must sum to 1, not 0.7"),
        ({"marginals": {"g": {"a": 50.5, "b": 20}}}, "marginals.g: as percentages they must sum to 100, not 70.5"),
        ({"marginals": {"g": {"a": "much"}}}, 'marginals.g["a"]: must be a number, not "much"'),
        ({"marginals": {"g": {"a": True}}}, 'marginals.g["a"]: must be a number, not true'),
        ({"marginals": {"g": {"a": float("nan")}}}, 'marginals.g["a"]: must be a number, not nan'),
        ({"marginals": {"g": {"a": 1, "a ": 2}}}, "marginals.g: has names that are the same but for white space"),
        ({"marginals": {"g": {}}}, "marginals.g: has too few entries"),
        ({"marginals": {"age": {"young": 1}}}, 'marginals.age["young"]: must be an age or a bin of ages'),
        ({"marginals": {"age": {"18-30": 1, "30-40": 1}}}, "age: the bins 18-30 and 30-40 overlap"),
        ({"marginals": {"age": {"5-9": 1}}, "least_age": 18}, "least_age: nobody is 18 or older"),
        (
            {"marginals": {"leaning": {"left": 1, "right": 3}}, "joint": TOWN["joint"]},
            'marginals.leaning["left"]: is 25',
        ),
        (
            {"joint": [{"attributes": {"a": "1", "b": "1"}, "weight": -2}]},
            "joint table 1, cell 1, weight: must not be neg",
        ),
        ({"joint": [*TOWN["joint"], TOWN["joint"][0]]}, "joint table 1, cell 4: is the same as cell 1"),
        (
            {"joint": [TOWN["joint"], [{"attributes": {"region": "x", "b": "1"}, "weight": 1}]]},
            "joint table 2: region is in joint table 1, too",
        ),
        (
            {"joint": [TOWN["joint"][0], {"attributes": {"region": "x", "b": "1"}, "weight": 1}]},
            "joint table 1, cell 2: must have the attributes of cell 1: region, leaning",
        ),
        (
            {"joint": [{"attributes": {"a": "1", "b": "2"}, "weight": 1, "n": 1}]},
            "joint table 1, cell 1: unknown field",
        ),
        ({"ranges": {"x": {"low": 5, "high": 1}}}, "ranges.x: low must be below high"),
        ({"ranges": {"x": {"low": 1, "high": 5, "sd": 1.0}}}, "ranges.x: a uniform distribution has none of"),
        ({"ranges": {"x": {"low": 1, "high": 5, "distribution": "normal"}}}, "a normal distribution has mean and sd"),
        ({"ranges": {"x": {"low": 1, "high": 5, "step": 2}}}, "ranges.x: unknown field 'step'"),
        ({"ranges": {"age": {"low": -1, "high": 5}}}, "ranges.age: must be whole years from 0 to 110"),
        (
            {"marginals": {"g": {"a": 1}}, "ranges": {"g": {"low": 1, "high": 5}}},
            "ranges.g: has shares, too; give only one of them",
        ),
    ],
)
def test_each_fault_is_named_with_its_place(value: Any, words: str) -> None:
    assert words in refusal(value)


def test_all_faults_are_named_at_once_with_pointers() -> None:
    with pytest.raises(Invalid) as caught:
        plan({"marginals": {"a/b": {"x": -1}, "c": {"y": "z"}}, "foo": 1}, 5, 1)
    assert [fault.pointer for fault in caught.value.errors] == ["/marginals/a~1b/x", "/marginals/c/y", "/foo"]


@pytest.mark.parametrize("size", [0, -1, SIZE_MAX + 1])
def test_a_wrong_size_is_refused(size: int) -> None:
    assert "size must be from 1 to 10,000" in refusal(TOWN, size)


def test_what_may_be_is_taken() -> None:
    plan({"marginals": {"g": {"a": 333, "b": 1}}}, 5, 1)  # counts
    plan({"marginals": {"g": {"a": 33.3, "b": 33.3, "c": 33.3}}}, 5, 1)  # rounded percentages
    plan({"marginals": {"leaning": {"left": 50, "right": 50}}, "joint": TOWN["joint"]}, 5, 1)  # says the same twice


def test_tinytroupes_population_files_are_read_and_what_is_unused_is_named(tmp_path: Path) -> None:
    file = tmp_path / "examplia.json"
    file.write_text(json.dumps(COUNTRY))
    population, notes = read_demographics(file)
    found = population.marginals
    assert list(found) == [
        *("country", "age", "gender", "education", "household_income", "area", "region", "religion", "sector"),
        *("openness", "neuroticism"),
    ]
    assert found["education"] == {"less than High School": 20, "High School": 50, "Bachelor's Degree": 30}
    assert found["religion"] == {"Catholic": 50, "Other (Christian)": 10, "Unaffiliated": 40}
    assert found["sector"] == {"Legal": 1_500_000, "Farming": 500_000}
    assert found["gender"] == {"Male": 49, "Female": 51}
    told = "\n".join(notes)
    for unused in ("Median Age", "Employment Status", "Political Affiliation", "Interests and Hobbies"):
        assert unused in told
    assert population.least_age == 18
    assert "age: only from 18 on" in told
    sample = plan(COUNTRY, 80, 7)
    assert sample.worst() < 1
    assert sample.notes == tuple(notes)
    assert min(int(row["age"]) for row in sample.rows) >= 18


def test_a_file_that_is_no_distribution_at_all_is_refused() -> None:
    with pytest.raises(Invalid, match="there is nothing to draw"):
        population_of({"content": {"Demographics": {"Median Age": "40"}}})
