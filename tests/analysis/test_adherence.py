"""Rules about personas, each broken and kept."""

import pytest

from app.analysis.adherence import Broken, Persona, Written, count, script, side_of

GARDENER = Persona(
    1, "A retired gardener who loves roses.", {"interests": ["roses", "slugs"], "leaning": "conservative"}
)


def counted(rule: str, *texts: Written, persona: Persona = GARDENER) -> Broken | None:
    return count([persona], texts).get((persona.id, rule))


@pytest.mark.parametrize(
    "body",
    [
        "As an AI language model, I cannot have opinions.",
        "As a large language model I don't eat.",
        "I’m just an AI, but trams are nice.",
        "I cannot assist with that request.",
        "How can I help you today?",
        "My knowledge cutoff is last year.",
    ],
)
def test_the_voice_of_an_assistant_is_heard(body: str) -> None:
    assert counted("assistant_speak", Written(1, "post", body)) == Broken(1, 1)


@pytest.mark.parametrize(
    "body",
    [
        "They will replace us all with AI, mark my words.",
        "I can't help laughing at this.",
        "As an aid to memory, I keep slugs.",
        "The shop assistant was rude; I am an assistant gardener myself.",
        "Language models write bad sonnets.",
    ],
)
def test_talk_about_machines_is_no_assistants_voice(body: str) -> None:
    assert counted("assistant_speak", Written(1, "post", body)) == Broken(0, 1)


def test_posts_without_a_word_of_the_interests_are_off_topic() -> None:
    posts = [Written(1, "post", body, now=n == 2) for n, body in enumerate(("My rose!", "A SLUG again", "Taxes rise"))]
    assert counted("off_topic", *posts) == Broken(1, 3)
    assert counted("off_topic", *posts[1:]) is None  # too few
    nobody = Persona(1, "Somebody", {})
    assert counted("off_topic", *posts, persona=nobody) is None


def test_another_script_than_the_descriptions() -> None:
    assert counted("other_script", Written(1, "post", "Сегодня мои розы зацвели, как никогда")) == Broken(1, 1)
    assert counted("other_script", Written(1, "post", "My roses flowered today as never before")) == Broken(0, 1)
    assert counted("other_script", Written(1, "post", "🌹🌹🌹 да")) is None
    assert script("玫瑰" * 20) == "CJK"


def test_a_jump_in_length() -> None:
    earlier = [Written(1, "post", "five words are in here", now=False)] * 5
    assert counted("length", *earlier, Written(1, "post", "word " * 60)) == Broken(1, 1)
    assert counted("length", *earlier, Written(1, "post", "word " * 12)) == Broken(0, 1)
    assert counted("length", *earlier[1:], Written(1, "post", "word " * 60)) is None
    long = [Written(1, "post", "word " * 80, now=False)] * 5
    assert counted("length", *long, Written(1, "post", "Yes.")) == Broken(1, 1)


def test_catchwords_of_the_other_side() -> None:
    assert counted("against_leaning", Written(1, "post", "Tax the rich! A wealth tax now.")) == Broken(1, 1)
    assert counted("against_leaning", Written(1, "post", "A wealth tax? Nonsense.")) == Broken(0, 1)
    assert counted("against_leaning", Written(1, "post", "Law and order, not a wealth tax.")) == Broken(0, 1)
    assert (
        counted("against_leaning", Written(1, "post", "x"), persona=Persona(1, "", {"leaning": "apolitical"})) is None
    )
    assert [side_of(x) for x in ("labour left", "far-right", "left and right", "")] == ["left", "right", None, None]


def test_who_repeats_instructions_and_who_wrote_nothing() -> None:
    assert counted("own_instructions", Written(1, "post", "You are @p1", leaks=True)) == Broken(1, 1)
    assert count([GARDENER], [Written(1, "post", "My roses", now=False)]) == {}
