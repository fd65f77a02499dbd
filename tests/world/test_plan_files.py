"""Files of interventions: read whole, and what is wrong is named with its entry, its key and what is allowed."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Invalid
from app.world.plans import PLANS_MAX, Group, MessagePlan, PostPlan, RankerPlan, checked, parse_plans, read_plans

DOCS = Path(__file__).parents[2] / "docs" / "interventions.md"
POST: dict[str, Any] = {"kind": "post", "cycle": 1, "persona": "ada", "body": "x"}


def toml(text: str, name: str = "plan.toml") -> list[Any]:
    return parse_plans(text.encode(), name)


def test_the_example_of_the_docs_is_read() -> None:
    example = DOCS.read_text().split("```toml\n")[1].split("```")[0]
    first, second, third = toml(example)
    assert isinstance(first, PostPlan)
    assert (first.persona, first.cycle, first.note) == ("luna_unfurls", 2, "the rumour")
    assert isinstance(second, MessagePlan)
    assert second.to == ["max_vantage", "knut_knows"]
    assert isinstance(third, RankerPlan)
    assert third.to == "all"


def test_times_and_groups() -> None:
    found = toml(
        '[[intervention]]\nkind = "pause"\nat = "2026-03-02T08:00"\nto = {leaning = "green"}\n'
        '[[intervention]]\nkind = "pause"\nat = 2026-03-02T08:00:00+01:00\nto = {tag = "trams"}\n'
        '[[intervention]]\nkind = "pause"\nat = 2026-03-02 08:00:00\nto = ["@ada"]\n'
    )
    assert [one.at for one in found] == [
        datetime(2026, 3, 2, 8, tzinfo=UTC), datetime(2026, 3, 2, 7, tzinfo=UTC), datetime(2026, 3, 2, 8, tzinfo=UTC)
    ]  # fmt: skip
    assert isinstance(found[0].to, Group)
    assert found[2].to == ["ada"]


def test_json_as_well() -> None:
    for data in ([POST], {"intervention": [POST]}):
        (found,) = parse_plans(json.dumps(data).encode(), "plan.json")
        assert found.kind == "post"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "dance"}, r"entry 2, `kind`: must be one of post, message, ranker, pause, resume, news"),
        ({"kind": None}, r"entry 2, `kind`"),
        ({"cycle": 0}, r"entry 2, `cycle`"),
        ({"cycle": "3"}, r"entry 2, `cycle`"),
        ({"cycle": 10**30}, r"entry 2, `cycle`"),
        ({"cycle": None}, r"entry 2: needs either `cycle` or `at`"),
        ({"at": "2026-03-02T08:00"}, r"entry 2: needs either `cycle` or `at`"),
        ({"cycle": None, "at": "soon"}, r"entry 2, `at`: must be a time such as 2026-03-02T08:00"),
        ({"cycle": None, "at": 5}, r"entry 2, `at`: must be a time"),
        ({"cycle": None, "at": "0001-01-01T00:00+14:00"}, r"entry 2, `at`: must lie between 1970 and 2999"),
        ({"cycle": None, "at": "9999-12-31T23:59-14:00"}, r"entry 2, `at`: must lie between 1970 and 2999"),
        ({"body": ""}, r"entry 2, `body`: must not be empty"),
        ({"body": "x" * 501}, r"entry 2, `body`: has 501 characters"),
        ({"body": "a\0b"}, r"entry 2, `body`: holds U\+0000"),
        ({"body": "\ud800"}, r"entry 2, `body`"),
        ({"persona": "no body"}, r"entry 2, `persona`: must be 1 to 40 letters"),
        ({"text": "x"}, r"entry 2, `text`: is no key of it; there are kind, cycle, at, note, persona, title, body"),
        ({"kind": "message", "persona": None, "to": 5}, r"entry 2, `to`: must be \"all\", a list of usernames"),
        ({"kind": "message", "persona": None, "to": "some"}, r"entry 2, `to`"),
        ({"kind": "message", "persona": None, "to": []}, r"entry 2, `to`"),
        ({"kind": "message", "persona": None, "to": {"leaning": "a", "tag": "b"}}, r"entry 2, `to`: must hold either"),
        ({"kind": "message", "persona": None, "to": {"hair": "red"}}, r"entry 2, `to.hair`: .* there are leaning, tag"),
        ({"kind": "message", "persona": None, "from": "a", "sender": "b"}, r"entry 2: is either `from` a persona"),
        ({"kind": "ranker", "persona": None, "body": None}, r"entry 2: needs `ranker` or `who_to_follow`"),
        ({"kind": "ranker", "persona": None, "body": None, "ranker": "best"}, r"entry 2, `ranker`: there is no ranker"),
        ({"kind": "ranker", "persona": None, "body": None, "who_to_follow": "me"}, r"must be off, own"),
        ({"kind": "pause", "persona": None, "body": None}, r"entry 2, `to`"),
        ({"kind": "news", "persona": None, "title": "x", "url": "javascript:alert(1)"}, r"`url`: must be an address"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    entry = {key: value for key, value in {**POST, **change}.items() if value is not None}
    with pytest.raises(Invalid, match=said):
        checked([POST, entry])


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "plan.toml", "plan.toml: holds no list of interventions"),
        ("x = ", "plan.toml", "plan.toml: is not TOML"),
        ("[[other]]\nx = 1", "plan.toml", "plan.toml: `other` is no key here"),
        ("intervention = 5", "plan.toml", "holds no list"),
        ("intervention = [5]", "plan.toml", "entry 1: must be a table"),
        ("{", "plan.json", "plan.json: is not JSON"),
        ("[]", "plan.json", "plan.json: holds no list"),
        ("[null]", "plan.json", "entry 1"),
        ("[" * 5000, "plan.json", "plan.json: is not JSON"),
        ("x = " + "[" * 5000, "plan.toml", "plan.toml: is not TOML"),
        ("- kind: post", "plan.yaml", "plan.yaml: must be TOML or JSON"),
        ("\ufeff[]", "plan.json", "holds no list"),
        (json.dumps([POST] * (PLANS_MAX + 1)), "plan.json", "at most 500 are planned"),
        (" " * 1024**2 + " ", "plan.json", "is larger than 1 MiB"),
    ],
)
def test_files_that_are_none(text: str, name: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parse_plans(text.encode(), name)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"plan.toml: is not TOML: line 1"):
        parse_plans(b"\xff\xfe", "plan.toml")
    with pytest.raises(Invalid, match="can't be read"):
        read_plans(tmp_path / "none.toml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("kind", "cycle", "at", "note", "persona", "title", "body", "to", "from", "sender", "ranker", "who_to_follow")


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(["post", "message", "all"])), max_size=3))
def test_whatever_comes_is_a_plan_or_a_sentence(entries: list[dict[str, Any]]) -> None:
    try:
        found: list[Any] | Invalid = checked(entries)
    except Invalid as error:
        found = error
    assert (found.detail and found.errors) if isinstance(found, Invalid) else len(found) == len(entries)
