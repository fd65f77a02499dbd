"""The simulation engine's conversations, variants and results as data."""

import copy
import json
from html.parser import HTMLParser
from typing import Any

import pytest

from app.analysis.tables import from_csv
from app.errors import Invalid
from app.experiments import design as experiments
from app.experiments.engine.config import Config, configured
from app.experiments.engine.exports import FORMS, TURNS, as_html, forms_of
from app.experiments.engine.personas import looked_over, usable
from app.experiments.engine.result import analysis
from app.experiments.engine.single import SEED, design_data, design_of, estimated
from app.experiments.engine.variants import as_experiment, summed_up, variants_of
from app.settings import load_settings
from tests.experiments.test_engine_personas import PEOPLE, TOM, VERA

# The conversation and its variants


def config(**flags: Any) -> Config:
    return configured(None, flags, {})


def test_the_conversation_that_flags_and_personas_mean() -> None:
    people = usable(looked_over(copy.deepcopy(PEOPLE), "p"))
    data = design_data(people, " A four-day week? ", config(max_turns=4, timeout_seconds=60, max_tokens=90), seed=7)
    design = design_of(data)
    assert (design.stop.turns, design.stop.seconds, design.stop.goodbye) == (4, 60, False)
    assert (design.terms.seed, design.terms.max_tokens, design.terms.model) == (7, 90, None)
    assert design.seed_message.message == "A four-day week?"
    assert [(bot.name, bot.role, bot.options.temperature) for bot in design.bots] == [
        ("Vera Stone", "Critic", 0.7), ("Tom", "Baker", None),
    ]  # fmt: skip
    assert "Traits: sharp; fair." in design.bots[0].prompt
    assert "direct" in design.bots[0].prompt
    everybody = design_of(design_data(people, "x", config(model="scripted", temperature=1.5)))
    assert {(bot.model, bot.options.temperature) for bot in everybody.bots} == {("scripted", 1.5)}


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "\ud800", "x" * 20_001, "\x1b[31m"])
def test_a_seed_text_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="--seed-text"):
        design_data(["a", "b"], text, config())


def test_whoever_has_the_moderators_name_keeps_it() -> None:
    people = usable(looked_over([VERA, TOM | {"name": SEED}], "p"))
    assert design_data(people, "x", config())["seed_message"]["from"] == f"{SEED} 2"


def test_the_estimate_pays_each_model_at_its_own_price() -> None:
    people = usable(looked_over([VERA | {"model": "dear"}, TOM], "p"))
    priced = load_settings(model_prices="dear=1000/1000/1000", openai_base_url="http://127.0.0.1:1/v1")
    design = design_of(design_data(people, "x", config()))
    found = estimated(priced, design)
    assert found["models"] == ["dear", "scripted"]
    tokens = (found["prompt_tokens"] + found["completion_tokens"]) / 2
    assert found["usd"] == pytest.approx(tokens / 1000, rel=0.01)
    assert estimated(load_settings(openai_base_url="http://127.0.0.1:1/v1"), design)["usd"] is None


VARIANTS = [
    {"name": "plain"},
    {"name": "Hot one", "temperature": 1.5, "model": "scripted"},
    {
        "name": "brief",
        "prompt": "Be brief.",
        "turns": 2,
        "seed_text": "A three-day week?",
        "personas": ["baker-2", "critic_1"],
    },
]


def test_variants_become_an_experiment() -> None:
    people = usable(looked_over(copy.deepcopy(PEOPLE), "p"))
    base = design_data(people, "A four-day week?", config(), seed=7)
    value = as_experiment(base, variants_of(VARIANTS, "v"), people, runs=3, seed=7, parallel=2, most=20)
    design = experiments.checked(value)
    assert (design.venue, design.runs, design.parallel, design.seed) == ("dialogue", 3, 2, 7)
    assert list(design.variants) == ["plain", "Hot_one", "brief"]
    assert design.budget.tokens is None
    capped = design_data(people, "x", config(), budget_tokens=500)
    few = experiments.checked(as_experiment(capped, {"a": {}}, people, runs=1, seed=0, parallel=1, most=20))
    assert (few.budget.tokens, few.setting_of("a").terms.budget_tokens) == (500, None)  # type: ignore[union-attr]
    assert design.variants["plain"] == {}
    settings = {name: design.setting_of(name) for name in design.variants}
    hot, brief = settings["Hot_one"], settings["brief"]
    assert {(bot.model, bot.options.temperature) for bot in hot.bots} == {("scripted", 1.5)}  # type: ignore[union-attr]
    assert [bot.name for bot in brief.bots] == ["Tom", "Vera Stone"]  # type: ignore[union-attr]
    assert all(bot.prompt.endswith("Be brief.") for bot in brief.bots)  # type: ignore[union-attr]
    assert brief.initial_bot == "Tom"  # type: ignore[union-attr]
    assert brief.stop.turns == 2  # type: ignore[union-attr]
    assert brief.seed_message.message == "A three-day week?"  # type: ignore[union-attr]
    assert brief.seed_message.from_ == SEED  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "must hold a list"),
        ([], "must hold a list"),
        ([5], "item 1: must be an object, not 5"),
        ([{"model": "m"}], "item 1: name: is missing"),
        ([{"name": "a"}, {"name": "A"}], "item 2: name: .* is the name of a variant before it"),
        ([{"name": "a", "colour": 1}], "item 1: colour: unknown key 'colour'"),
        ([{"name": "a", "temperature": 3}], "item 1: temperature: must be a number from 0 to 2"),
        ([{"name": "a", "temperature": "1"}], "item 1: temperature: must be a number"),
        ([{"name": "a", "personas": "x"}], "item 1: personas: must be a list of ids"),
        ([{"name": "a", "turns": True}], "item 1: turns: must be a whole number"),
        ([{"name": "a", "prompt": 5}], "item 1: prompt: must be a text, not 5"),
        ([{"name": str(n)} for n in range(51)], "at most 50"),
    ],
)
def test_wrong_variants_are_refused(value: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        variants_of(value, "v.yaml")


def test_variants_by_names_and_within_an_object() -> None:
    assert list(variants_of({"variants": VARIANTS}, "v")) == ["plain", "Hot_one", "brief"]
    assert variants_of({"a": {"model": "m"}, "b": {}}, "v")["a"]["model"] == "m"


# Results

RESULT: dict[str, Any] = {
    "success": True,
    "transcript": [
        {"turn": 1, "speaker": "Vera", "role": "Critic", "text": "=cmd() <script>alert(1)</script>", "timestamp": "t"},
        {"turn": 3, "speaker": "Tom", "role": "", "text": "Two\n# lines, *bold* \x1b[31m", "timestamp": None},
    ],
    "agents": [{"name": "Vera", "role": "Critic"}, {"name": "Tom", "role": ""}, {"name": "Ida", "role": "<b>"}],
    "metrics": {
        "duration": 1.5, "total_messages": 2, "total_tokens": 1200, "api_calls": 2, "errors": 1,
        "average_response_time": 0.25,
    },
    "config": {"seed_text": "<img src=x onerror=alert(1)>"},
    "session": {
        "key": "k", "run": 1, "status": "partial", "reason": "1 of 3 gave nothing", "seed": 0, "cost_usd": 0.0,
        "lost": [{"turn": 2, "speaker": "Ida", "reason": "timeout"}],
    },
}  # fmt: skip


def test_who_said_how_much() -> None:
    found = analysis(RESULT)
    assert found["words"] == 9
    assert [(one["speaker"], one["messages"], one["words"], one["lost"]) for one in found["speakers"]] == [
        ("Vera", 1, 5, 0), ("Tom", 1, 4, 0), ("Ida", 0, 0, 1),
    ]  # fmt: skip
    assert sum(one["share"] for one in found["speakers"]) == pytest.approx(1)
    assert found["speakers"][2]["type_token_ratio"] is None


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, _: Any) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_forms_of_a_result() -> None:
    result = {**RESULT, "analysis": analysis(RESULT)}
    written = {form: write(result) for form, write in FORMS.items()}
    assert json.loads(written["json"]) == result
    rows = from_csv(written["csv"], TURNS).dicts()
    assert [row["text"] for row in rows] == [one["text"] for one in RESULT["transcript"]]
    assert b"'=cmd()" in written["csv"]
    assert rb"\<script\>" in written["md"]
    assert rb"\# lines, \*bold\*" in written["md"]
    assert b"\x1b" not in written["txt"] + written["md"] + written["html"]
    page = Tags()
    page.feed(written["html"].decode())
    assert not {"script", "img", "b"} & set(page.seen)
    assert "<script>alert(1)</script>" in page.text
    assert "<svg/>" in as_html(result, ["<svg/>"]).decode()


def test_which_forms_are_wanted() -> None:
    assert forms_of("json, CSV,json") == ["json", "csv"]
    for wrong in ("", "pdf", "json,xls"):
        with pytest.raises(Invalid, match="--format"):
            forms_of(wrong)


def test_means_of_a_variants_runs() -> None:
    lost = {**RESULT, "success": False, "metrics": {**RESULT["metrics"], "errors": 3}}
    found = summed_up({"a": [RESULT, lost], "b": []})
    assert (found["a"]["runs"], found["a"]["succeeded"], found["a"]["metrics"]["errors"]) == (2, 1, 2)
    assert found["b"]["metrics"]["errors"] is None
