"""The offline model as extractor, rapporteur, judge, moderator and writer: nothing it tells is made up."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.actions.asking import ExtractedField
from app.agent.population.invented import invented
from app.world.personas import PersonaSpec
from tests.llm.session_asks import KIT, called, recorded, request, system, tool
from tests.llm.test_scripted_talk import HOSTILE, TWELVE, group, line

SAID = [
    line(1, "Ana", "I'd buy the meal kit tomorrow. The bike delivery is great. I'd pay 25 euros, no more."),
    line(2, "Bo", "No from me, it's too expensive. I worry about the packaging, and my kitchen is small."),
    line(3, "Cleo", "I'm not sure yet. Could one try it first? I have two children and a dog."),
]
FIELDS = (
    ExtractedField(name="would_buy", type="boolean", hint="whether they would buy or use it"),
    ExtractedField(name="max_price", type="number", hint="the highest price they would pay, in euros"),
    ExtractedField(name="attitude", type="category", options=("positive", "neutral", "negative")),
    ExtractedField(name="concern", type="text", hint="what worries them"),
    ExtractedField(name="likes", type="list", hint="what they like about it"),
    ExtractedField(
        name="feature", type="category", hint="what they speak of", options=("bike delivery", "packaging", "recipes")
    ),
    ExtractedField(name="children", type="integer", hint="how many children they have", least=0, most=12),
    ExtractedField(name="car_brand", type="text", hint="the brand of their car"),
)


async def found(place: int) -> dict[str, Any]:
    return {name: one["value"] for name, one in (await recorded(FIELDS, [SAID[place]])).items()}


async def test_values_are_found_where_something_was_said() -> None:
    ana, bo, cleo = [await found(place) for place in range(3)]
    assert (ana["would_buy"], ana["max_price"], ana["attitude"], ana["feature"]) == (
        True,
        25,
        "positive",
        "bike delivery",
    )
    assert "bike delivery" in ana["likes"]
    assert (bo["would_buy"], bo["attitude"], bo["feature"]) == (False, "negative", "packaging")
    assert re.search("packaging|expensive", bo["concern"])
    assert cleo["children"] == 2


async def test_nothing_is_invented() -> None:
    for place in range(3):
        assert "car_brand" not in await found(place)
    assert "max_price" not in await found(1)
    assert "children" not in await found(0)
    assert not {"would_buy", "max_price", "feature", "likes"} & (await found(2)).keys()
    assert await recorded(FIELDS, []) == {}
    assert await recorded(FIELDS, [line(1, "Ana", "Good morning.")]) == {}


async def test_a_question_is_no_evidence() -> None:
    asked = [line(1, "Ana", "Would you pay 50 euros? Is the packaging a problem?")]
    assert await recorded(FIELDS, asked) == {}


async def test_of_several_only_the_named_one_counts() -> None:
    rows = [{"name": "max_price", "type": "number", "hint": "price they would pay"}]
    forms = {"max_price": {"type": "object", "properties": {"value": {"type": "number"}, "quote": {"type": "string"}}}}
    said = [line(1, "Ana", "I'd pay 25 euros."), line(2, "Bo", "I'd pay 9 euros.")]
    asked = request("You extract.", {"fields": rows, "said": said, "names": ["Bo"]}, tool("record", forms))
    assert (await called(asked))["max_price"]["value"] == 9


async def test_what_the_moderator_says_is_nobodys_view() -> None:
    said = [
        line(1, "Moderator", "It costs 99 euros."),
        line(2, "Ana", "I'd pay 25 euros."),
        line(3, "Bo", "I'd pay 9 euros."),
    ]
    price = ExtractedField(name="price", type="number", hint="price they would pay")
    assert (await recorded([price], said, ends="Record what was said about Ana: call record."))["price"]["value"] == 25
    assert await recorded([price], said[:1]) == {}


async def test_bounds_and_options_are_kept() -> None:
    field = ExtractedField(name="price", type="integer", hint="price", least=10, most=20)
    assert await recorded([field], [line(1, "A", "I'd pay 25 euros.")]) == {}
    assert (await recorded([field], [line(1, "A", "I'd pay 15 euros.")]))["price"]["value"] == 15
    assert await recorded([field], [line(1, "A", "I'd pay 15.50 euros.")]) == {}


async def test_what_a_focus_group_said_can_be_extracted() -> None:
    said = await group(KIT)
    values: Counter[str] = Counter()
    sides: Counter[bool] = Counter()
    for name in TWELVE:
        own = [line(one["n"], name, one["text"]) for one in said if one["by"] == name]
        text = "\n".join(one["text"] for one in own)
        for field, one in (await recorded(FIELDS, own)).items():
            assert one["quote"] in text
            values[field] += 1
            if field == "would_buy":
                sides[one["value"]] += 1
    assert values["would_buy"] >= 8
    assert values["attitude"] >= 9
    assert values["max_price"] >= 3
    assert sides[True] >= 2 <= sides[False]
    assert values["car_brand"] == values["children"] == 0


texts = st.text(max_size=80) | st.sampled_from([*HOSTILE, "I'd pay 12,50 €.", "No. Yes! 3 dogs…", "1.000.000 euros"])


@given(st.lists(texts, max_size=5), st.sampled_from([*FIELDS, ExtractedField(name="x", type="list")]))
@settings(max_examples=200, deadline=None)
async def test_every_value_is_valid_and_every_quote_verbatim(lines: list[str], field: ExtractedField) -> None:
    said = [line(n, "Ana", text.encode("utf-8", "ignore").decode()) for n, text in enumerate(lines, 1)]
    for one in (await recorded([field], said)).values():
        assert field.fault(one["value"]) is None
        shown = [entry["text"].replace("⟦", "[").replace("⟧", "]") for entry in said]
        assert any(one["quote"] in text for text in shown)


async def test_json_mode_records() -> None:
    told = "You extract.\nAnswer with JSON only.\nrecord(max_price?, attitude?): what was found"
    rows = [
        {"name": "max_price", "type": "number", "hint": "price"},
        {"name": "attitude", "type": "category", "options": ["positive", "negative"]},
    ]
    made = await called(request(told, {"fields": rows, "said": SAID[:1]}, json_only=True))
    assert made["max_price"]["value"] == 25
    assert made["attitude"]["value"] == "positive"


async def test_a_summary_names_who_said_what() -> None:
    made = await called(request("You sum up.", {"topic": KIT, "said": SAID}, tool("summarise", {"text": {}})))
    assert all(name in made["text"] for name in ("Ana", "Bo", "Cleo"))
    assert re.search(r"for it \(Ana\).*against it \(Bo\)", made["text"])
    said = "\n".join(one["text"] for one in SAID)
    assert all(quote in said for quote in re.findall("“(.+?)”", made["text"]))
    empty = await called(request("You sum up.", {"topic": KIT, "said": []}, tool("summarise", {"text": {}})))
    assert "Nothing was said" in empty["text"]


@pytest.mark.parametrize("genre", ["report", "article", "minutes", "", "letter"])
async def test_a_document_quotes_verbatim(genre: str) -> None:
    said = [line(one["n"], one["by"], one["text"]) for one in await group(KIT, rounds=2)]
    tools = tool("write_document", {"title": {}, "sections": {}, "quotes": {}})
    made = await called(request("You write.", {"topic": KIT, "said": said, "genre": genre}, tools))
    by_number = {one["n"]: one["text"] for one in said}
    assert made["title"]
    assert len(made["quotes"]) >= 4
    assert all(one["quote"] in by_number[one["n"]] for one in made["quotes"])
    assert len(made["sections"]) >= 3
    assert all(one["heading"] and one["text"] for one in made["sections"])
    whole = "\n".join(by_number.values())
    assert all(quote in whole for one in made["sections"] for quote in re.findall("“(.+?)”", one["text"]))


async def test_a_judge_tells_repetition_from_variety() -> None:
    async def score(texts: list[str], rule: str, **more: Any) -> int:
        said = [line(n, "Ana", text) for n, text in enumerate(texts, 1)]
        made = await called(
            request("You judge.", {"rule": rule, "said": said, **more}, tool("judge", {"score": {}, "reason": {}}))
        )
        assert made["reason"]
        assert 0 <= made["score"] <= 10
        return int(made["score"])

    same, other = (
        ["I like the box a lot."] * 5,
        [f"I like {thing}." for thing in ("tea", "rain", "cats", "old trams", "salt")],
    )
    assert await score(same, "Do they repeat themselves?") < 4 < await score(other, "Do they repeat themselves?")
    fits, strays = ["My bicycle is all I need.", "I cycle to the bakery."], ["I sell insurance.", "My SUV is fast."]
    assert await score(fits, "Does it fit?", character="A baker with a bicycle") > await score(
        strays, "Does it fit?", character="A baker with a bicycle"
    )
    assert await score([], "Does it fit?") == 0


async def test_a_moderator_lets_everybody_speak() -> None:
    said: list[dict[str, Any]] = []
    for n in range(24):
        names = TWELVE[n % 12 :] + TWELVE[: n % 12]
        forms = tool("choose_speaker", {"name": {"type": "string", "enum": names}})
        made = await called(request("You moderate.", {"said": said, "names": names}, forms, seed=n))
        assert made["name"] in TWELVE
        assert not said or made["name"] != said[-1]["by"]
        said.append(line(n + 1, made["name"], "I think so."))
    assert set(Counter(one["by"] for one in said).values()) == {2}
    asked = [*said, line(25, TWELVE[0], "What do you think, Hana?")]
    forms = tool("choose_speaker", {"name": {"type": "string", "enum": TWELVE}})
    assert (await called(request("You moderate.", {"said": asked}, forms)))["name"] == "Hana"


async def test_hands_are_raised_by_who_is_spoken_to() -> None:
    async def hand(spec: PersonaSpec, said: list[dict[str, Any]]) -> int:
        made = await called(request(system(spec), {"topic": KIT, "said": said}, tool("raise_hand", {"eagerness": {}})))
        assert 0 <= made["eagerness"] <= 10
        return int(made["eagerness"])

    people = invented(TWELVE, 2)
    quiet = [await hand(spec, [line(1, "Zed", "Well.")]) for spec in people]
    named = [await hand(spec, [line(1, "Zed", f"And you, {spec.display_name}?")]) for spec in people]
    spoke = [await hand(spec, [line(1, str(spec.display_name), "Well.")]) for spec in people]
    assert sum(named) > sum(quiet) > sum(spoke)
    assert len(set(quiet)) > 2


TEXT = (
    "I really don't think the new library opens early enough. My kids use it a lot, and the reading room is very small."
)


@pytest.mark.parametrize(
    "wish", ["", "shorter", "more formal", "friendly and casual", "add concrete detail", "in the style of a pirate"]
)
@pytest.mark.parametrize("text", [TEXT, "Rain.", "It is small.", "Buses run late; nobody knows why."])
async def test_a_rewritten_text_differs_and_keeps_its_nouns(text: str, wish: str) -> None:
    made = (await called(request("You rewrite.", {"text": text, "wish": wish}, tool("rewrite", {"text": {}}))))["text"]
    assert made != text
    for noun in ("library", "kids", "reading room", "Rain", "Buses"):
        assert (noun in text) <= (noun.lower() in made.lower())
    if wish == "shorter" and text == TEXT:
        assert len(made) < len(text)
    if wish == "add concrete detail":
        assert len(made) > len(text)


FACTS = {
    "age": 34, "gender": "female", "region": "Bavaria", "education": "secondary", "occupation": "nurse",
    "traits": ["frugal", "curious"], "car": True,
}  # fmt: skip


async def test_a_written_persona_fits_its_facts() -> None:
    tools = tool("write_persona", {"username": {}, "description": {}})
    taken = ["Ana Albers", "petra_weber"]
    names = set()
    for seed in range(60):
        made = await called(request("You write.", {"sampled": FACTS, "taken": taken}, tools, seed=seed))
        spec = PersonaSpec.model_validate(made)
        assert all(fact in spec.description for fact in ("34", "female", "Bavaria", "secondary", "nurse", "frugal"))
        assert {"frugal", "curious"} <= set(spec.traits)
        assert not {spec.username, str(spec.display_name)} & set(taken)
        names.add(spec.display_name)
        taken += [spec.username, str(spec.display_name)]
    assert len(names) == 60


facts = st.dictionaries(
    st.text(max_size=12),
    st.text(max_size=40) | st.integers() | st.lists(st.text(max_size=9), max_size=3) | st.none(),
    max_size=6,
)


@given(facts, st.integers(0, 999))
@settings(max_examples=100, deadline=None)
async def test_any_facts_make_a_persona(sampled: dict[str, Any], seed: int) -> None:
    clean = json.loads(json.dumps(sampled).encode("utf-8", "ignore"))
    made = await called(request("You write.", {"sampled": clean, "taken": []}, tool("write_persona", {}), seed=seed))
    assert made["username"]
    assert made["description"]


async def test_traits_rest_on_their_passage() -> None:
    passages: list[dict[str, Any]] = [
        {"n": 2, "text": "Marta works as a nurse in Graz. She is patient and reads crime novels. The river is long."},
        {"n": 7, "text": "She distrusts apps and prefers cash."},
        {"n": "x", "text": "broken"},
    ]
    made = await called(request("You ground.", {"passages": passages}, tool("ground", {"traits": {}})))
    by_number = {2: str(passages[0]["text"]), 7: str(passages[1]["text"])}
    assert {one["passage"] for one in made["traits"]} == {2, 7}
    assert all(one["text"] in by_number[one["passage"]] for one in made["traits"])
    assert "patient" in [one["name"] for one in made["traits"]]
    assert await called(request("You ground.", {"passages": []}, tool("ground", {"traits": {}}))) == {"traits": []}
