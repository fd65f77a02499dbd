"""Quotes that were said and quotes that were not."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.analysis.quotes import DASHES, LETTERS_LEAST, Line, found, is_evidence
from app.analysis.words import WORD

ANA = "I’d pay — at most — 12 euros… for   a “good” coffee, naturally."
TALK = [
    Line(1, "Ana", ANA, 1),
    Line(2, "Bo", "I like artichokes and don't eat cafés, said the non-smoker", 1),
    Line(3, "Cleo", "Ana says: I'd pay at least 12 euros, and I like artichokes and other thistles", 2),
    Line(4, "Dan", "咖啡太贵了，我不会买这种东西。", 2),
]


@pytest.mark.parametrize(
    ("quote", "line", "text"),
    [
        ("I'd pay - at most - 12 euros", 1, "I’d pay — at most — 12 euros"),
        ("“FOR A 'GOOD' COFFEE”", 1, "for   a “good” coffee"),
        ("at most--12 euros... for a", 1, "at most — 12 euros… for   a"),
        ("I'd pay … for a good coffee", 1, ANA[: ANA.index(",")]),
        ("I'd pay … coffee, naturally", 1, ANA[:-1]),
        ("I'd pay [...] coffee, naturally", 1, ANA[:-1]),
        ("...and don't eat cafés...", 2, "and don't eat cafés"),
        (unicodedata.normalize("NFD", "don't eat cafés"), 2, "don't eat cafés"),
        ("咖啡太贵了，我不会买", 4, "咖啡太贵了，我不会买"),
    ],
)
def test_a_quote_is_found_whatever_its_marks(quote: str, line: int, text: str) -> None:
    at = found(quote, TALK)
    assert at is not None
    assert (at.line, at.speaker) == (line, TALK[line - 1].speaker)
    assert TALK[line - 1].text[at.start : at.end] == text


@pytest.mark.parametrize(
    "quote",
    [
        "I'd pay at least 12 euros for",  # a word changed
        "12 euros … I'd pay at",  # another order
        "a good coffee, naturally. I like artichokes",  # over two lines
        "and I really like artichokes",  # a word put in
        "I like artichokes and don",  # ends within a word
        "artichokes and don't eat cafe",  # of a letter and its accent only the letter
        "ike artichokes and",
        "I … pay … euros … for",  # words that are in any line
        "I like",
        "it is so",
        "",
        "…",
        "咖啡太贵",
    ],
)
def test_what_was_not_said_or_is_too_short_is_no_quote(quote: str) -> None:
    assert found(quote, TALK) is None


def test_the_line_of_the_person_comes_first() -> None:
    first, own = found("I like artichokes and", TALK), found("I like artichokes and", TALK, speaker="Cleo")
    assert first is not None
    assert own is not None
    assert (first.line, own.line) == (2, 3)
    other = found("said the non-smoker", TALK, speaker="Cleo")
    assert other is not None
    assert other.speaker == "Bo"


TOKENS = st.lists(st.text(min_size=1, max_size=9).filter(lambda s: len(s.split()) == 1), min_size=3, max_size=15)


@given(TOKENS, st.data())
def test_any_stretch_of_three_words_is_found(tokens: list[str], draw: st.DataObject) -> None:
    tokens = [token.strip() for token in tokens]
    start = draw.draw(st.integers(0, len(tokens) - 3))
    quote = " ".join(tokens[start : draw.draw(st.integers(start + 3, len(tokens)))])
    assume(is_evidence(quote))
    at = found(quote, [Line(1, "a", "  ".join(tokens))])
    assert at is not None
    assert at.end > at.start


PLAIN = st.lists(st.text("abcdefgéß", min_size=2, max_size=8), min_size=4, max_size=15)


@given(PLAIN, st.data())
def test_a_stretch_with_another_word_is_not(tokens: list[str], draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(tokens) - 3))
    quote = tokens[start : draw.draw(st.integers(start + 3, len(tokens)))]
    line = [Line(1, "a", " ".join(tokens))]
    assume(is_evidence(" ".join(quote)))
    assert found(" ".join(quote).upper(), line) is not None
    quote[draw.draw(st.integers(0, len(quote) - 1))] = "xyz"
    assert found(" ".join(quote), line) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_may_be_asked_for_in_any_text(quote: str, text: str) -> None:
    at = found(quote, [Line(1, "a", text)])
    if at is not None:
        assert 0 <= at.start < at.end <= len(text)
        assert len(WORD.findall(quote)) > 0
        assert len(quote) >= LETTERS_LEAST // 2


def test_dashes_are_one_kind() -> None:
    for dash in DASHES:
        assert found(f"a well{chr(dash)}known hat", [Line(1, "a", "It was a well-known hat.")]) is not None
