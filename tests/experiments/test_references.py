"""People's values beside runs: read whole or refused by row, compared with personas' own answers or with runs."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.db.engine import Database
from app.errors import AppError, Invalid, NotFound
from app.experiments.design import checked
from app.experiments.people import PEOPLE_MOST, Person, fits, read
from app.experiments.references import Persona, Reference, attach, beside, compared, detach, listed, simulated
from app.experiments.results import results
from app.experiments.runner import design_of
from app.world import worlds
from app.world.experiments import found
from tests.conftest import copy_of
from tests.experiment_stand import SMALL, a_home, planned, ran, trials_of
from tests.session_stand import DEMOGRAPHICS

SURVEY: dict[str, Any] = {
    "name": "",
    "venue": "survey",
    "setting": {
        "participants": {"mode": "from_demographics", "specifications": DEMOGRAPHICS, "count": 6},
        "questions": [
            {"type": "likert", "key": "like", "text": "How much would you like a tram?"},
            {"type": "single", "key": "use", "text": "Would you take it?", "options": ["yes", "no"]},
        ],
    },
    "variants": {"plain": {}, "hot": {"terms": {"temperature": 1.5}}},
    "runs": 2,
    "seed": 7,
    "outcomes": {"primary": ["answer.like"], "exploratory": ["answer.use:yes", "lines"]},
}


@pytest.fixture(scope="module")
async def home(server_url: str, template: str) -> AsyncIterator[Database]:
    async with copy_of(server_url, template) as url, a_home(url) as database:
        yield database


@pytest.fixture(scope="module")
async def survey(home: Database) -> str:
    key = await planned(home, SURVEY)
    assert await ran(home, key) == "completed"
    return key


@pytest.mark.parametrize(
    ("name", "data", "people"),
    [
        ("a.csv", b"value\n1\n2.5\n", [Person(1), Person(2.5)]),
        ("a.csv", b"\xef\xbb\xbfValue,Group\r\n1,gender=female\r\n,gender=male\r\n",
         [Person(1, "gender=female"), Person(None, "gender=male")]),
        ("a.csv", b'persona,value\n"ann, b",-1e3\n', [Person(-1000, "", "ann, b")]),
        ("a.json", b"[1, null, 2]", [Person(1), Person(None), Person(2)]),
        ("a.json", b'{"age=18-29": [1], "": [2]}', [Person(1, "age=18-29"), Person(2)]),
        ("a.json", b'[{"value": 3, "persona": "ann", "group": ""}]', [Person(3, "", "ann")]),
    ],
)  # fmt: skip
def test_files_are_read(tmp_path: Path, name: str, data: bytes, people: list[Person]) -> None:
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == people


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "row 1: must name the columns"),
        ("a.csv", b"score\n1\n", "row 1: must name the columns"),
        ("a.csv", b"value,value\n1,2\n", "row 1: must name the columns"),
        (
            "a.csv",
            b"value\none\n2\nthree\n",
            "row 2: must be a number, not 'one'; row 4: must be a number, not 'three'",
        ),
        ("a.csv", b"value\nnan\n", "row 2: must be a finite number"),
        ("a.csv", b"value\n1e999\n", "row 2: must be a finite number"),
        ("a.csv", b"value,group\n1\n", "row 2: has 1 cells, not 2"),
        ("a.csv", b'value\n"1\n', "is not CSV"),
        ("a.csv", b"value\n\xff\n", "is not UTF-8"),
        ("a.csv", b"value\n\n", "holds no value"),
        ("a.json", b"[1, NaN]", "NaN"),
        ("a.json", b'[1, "two", true]', "row 2: must be a number, not 'two'; row 3: must be a number, not 'True'"),
        ("a.json", b'{"a": [1], "a": [2]}', "given twice"),
        ("a.json", b'{"a": 1}', "'a': must hold a list"),
        ("a.json", b'{"a": ["x"]}', "'a', row 1: must be a number"),
        ("a.json", b'[{"score": 1}]', "row 1: has the unknown key 'score'"),
        ("a.json", b'[{"value": 1, "group": 5}]', "row 1: group must be a line"),
        ("a.json", b"7", "must be a list"),
        ("a.txt", b"1", "must end in .csv or .json"),
    ],
)
def test_files_are_refused_by_row(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Invalid) as refused:
        read(tmp_path / name)
    assert words in refused.value.detail
    assert refused.value.detail.startswith(name)


def test_what_is_not_there_or_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "none.csv")
    with pytest.raises(Invalid, match="more than"):
        read([0] * (PEOPLE_MOST + 1))
    with pytest.raises(Invalid, match="and 30 more"):
        read(["x"] * 50)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(JSON, st.binary(max_size=40))
def test_whatever_it_is_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: Any, data: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "x.json").write_text(json.dumps(value))
    (folder / "x.csv").write_bytes(b"value,group\n" + data)
    for given_so in (value, folder / "x.json", folder / "x.csv"):
        with suppress(AppError):
            assert any(one.value is not None for one in read(given_so))


async def test_personas_own_answers_are_compared_with_people(home: Database, survey: str) -> None:
    row = await found(home, survey)
    design, known = design_of(row), await trials_of(home, survey)
    answers = await simulated(home, design, known, "answer.like")
    assert [len(run) for run in answers["plain"]] == [6, 6]
    for trial, run in zip([one for one in known if one.variant == "plain"], answers["plain"], strict=True):
        values = [one.value for one in run if one.value is not None]
        assert sum(values) / len(values) == pytest.approx(trial.outcomes["answer.like"])
    chosen = await simulated(home, design, known, "answer.use:yes")
    share = [one.value for one in chosen["plain"][0] if one.value is not None]
    assert sum(share) / len(share) == pytest.approx(known[0].outcomes["answer.use:yes"])
    groups = {group for one in answers["plain"][0] for group in one.groups}
    assert any(group.startswith("gender=") for group in groups)
    names = [one.name for one in answers["plain"][0]]
    assert len(set(names)) == 6

    people = [{"value": 1 + n % 5, "group": f"gender={('female', 'male')[n % 2]}"} for n in range(40)]
    people += [{"value": 3, "group": "gender=other"}, *({"value": 2, "persona": name} for name in names[:3])]
    told = await attach(home, survey, "answer.like", "town", people, held_out=True, note="a street survey")
    assert (told["people"], told["groups"]) == (44, ["gender=female", "gender=male", "gender=other"])
    one, other = (await results(home, survey))["human"]
    assert (one["arm"], other["arm"], one["of"]) == ("plain", "hot", "personas")
    assert (one["agreement"]["runs"], one["agreement"]["n"], one["agreement"]["n_human"]) == (2, 12, 44)
    assert [group["name"] for group in one["agreement"]["groups"]] == ["gender=female", "gender=male"]
    assert "gender=other: no persona is known to be of this sub-group" in one["stamp"]["reasons"]
    assert "2 runs, fewer than 10" in one["stamp"]["reasons"]
    assert (one["corrected"]["n"], one["corrected"]["n_simulated"]) == (3, 12 - 3)


async def test_a_reference_called_as_a_variant_is_of_that_one(home: Database, survey: str) -> None:
    await attach(home, survey, "answer.use:yes", "hot", [0, 1, 1])
    await attach(home, survey, "lines", "groups", [11.0, 12.0])
    people = {(one["outcome"], one["arm"]): one for one in (await results(home, survey))["human"]}
    assert ("answer.use:yes", "plain") not in people
    assert people["answer.use:yes", "hot"]["agreement"]["n"] == 12
    lines = people["lines", "plain"]
    assert (lines["of"], lines["agreement"]["n"]) == ("runs", 2)
    await detach(home, survey, "answer.use:yes", "hot")
    with pytest.raises(NotFound):
        await detach(home, survey, "answer.use:yes", "hot")


async def test_what_can_t_be_is_refused(home: Database, survey: str) -> None:
    for outcome, values, words in (
        ("answer.other", [1], "none of this experiment"),
        ("answer.use:yes", [0.5, 45], "person 2: must be from 0 to 1, not 45"),
        ("lines", [{"value": 1, "group": "gender=male"}], "one value a run"),
        ("lines", "nothing", "must be a list"),
    ):
        with pytest.raises(Invalid, match=words):
            await attach(home, survey, outcome, "x", values)
    for name, note in (("", ""), ("a\nb", ""), ("x" * 201, ""), ("x", "y" * 1001)):
        with pytest.raises(Invalid):
            await attach(home, survey, "lines", name, [1], note=note)
    feed = await planned(home, SMALL)
    with pytest.raises(Invalid, match="from 0 to 1"):
        await attach(home, feed, "attention_gini", "town", [50])
    with pytest.raises(NotFound):
        await attach(home, "nosuchkey123", "lines", "x", [1])


async def test_another_of_this_name_takes_its_place(home: Database) -> None:
    key = await planned(home, SMALL)
    experiment = (await found(home, key))["id"]
    await attach(home, key, "attention_gini", "town", [0.1])
    await attach(home, key, "attention_gini", "town", [0.2, None, 0.3], held_out=True)
    (one,) = await listed(home, experiment)
    assert (one.held_out, one.people) == (True, (Person(0.2), Person(None), Person(0.3)))


async def test_dropped_worlds_are_told(home: Database, survey: str) -> None:
    row, known = await found(home, survey), await trials_of(home, survey)
    await attach(home, survey, "answer.like", "town", [1, 2, 3])
    await worlds.drop(home, known[0].world or "")
    told = await beside(home, row["id"], design_of(row), known)
    (one,) = [one for one in told if one["outcome"] == "answer.like" and one["arm"] == known[0].variant]
    assert one["agreement"]["runs"] == 1
    assert "the worlds of 1 of 2 runs were dropped, with what personas said" in one["stamp"]["reasons"]


def test_a_corrected_mean_needs_to_know_whose_persona_it_is() -> None:
    design = checked(SURVEY)
    runs = [[Persona(float(n % 5), f"p{n}") for n in range(20)]] * 2
    people = tuple(Person(n % 5 + 1.0, persona=f"P{n}") for n in range(10))
    known = compared(design, Reference("answer.like", "town", people), "plain", runs, 2)["corrected"]
    assert (known["n"], known["n_simulated"], known["bias"]) == (10, 10, -1.0)
    assert known["mean"]["value"] == pytest.approx(3.0)
    unknown = tuple(Person(one.value) for one in people)
    assert compared(design, Reference("answer.like", "town", unknown), "plain", runs, 2)["corrected"] is None


def test_two_people_of_one_persona_are_refused() -> None:
    people = [Person(1, persona="ann"), Person(2, persona="Ann"), Person(3, persona="bo"), Person(4), Person(5)]
    with pytest.raises(Invalid, match="'ann': stands there twice") as refused:
        fits(checked(SURVEY), "answer.like", people)
    assert len(refused.value.errors) == 1
    fits(checked(SURVEY), "answer.like", people[1:])
