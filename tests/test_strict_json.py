"""The JSON loader every body, file and tool argument goes through."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.strict_json import JSONError, loads

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def refusal(data: bytes | str, **options: Any) -> JSONError:
    with pytest.raises(JSONError) as caught:
        loads(data, **options)
    return caught.value


@given(values, st.booleans(), st.sampled_from([None, 2]))
def test_reads_what_json_writes(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert loads(text) == value
    assert loads(text.encode()) == value


@given(st.text(alphabet='{}[]",:\\ \n019.eE-+aNuflltrs\x00é\ud800') | st.text())
def test_agrees_with_the_standard_library_or_refuses(text: str) -> None:
    try:
        ours = loads(text)
    except JSONError:
        return
    assert ours == json.loads(text)


@given(st.binary())
def test_any_bytes_give_a_value_or_a_json_error(data: bytes) -> None:
    try:
        loads(data, allow_bom=True)
    except JSONError as error:
        place = (error.line, error.column)
    else:
        place = (1, 1)
    assert min(place) >= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "line 1, column 1: NaN is not a finite number"),
        ('{"a": [1, -Infinity]}', "line 1, column 11: -Infinity is not a finite number"),
        ('["1e999",\n 1e999]', "line 2, column 2: 1e999 is not a finite number"),
        ("[-1e999]", "line 1, column 2: -1e999 is not a finite number"),
        ("[" + "9" * 401 + "]", "line 1, column 2: a number of 401 characters; at most 400 are allowed"),
        ("0." + "1" * 5_000, "line 1, column 1: a number of 5002 characters; at most 400 are allowed"),
        ('{"a": 1,\n "a": 2}', 'line 2, column 2: the key "a" is given twice'),
        ('{"b": ["a", "a", {"a": 1}], "x": {"k": 1, "\\u006b": 2}}', 'the key "\\u006b" is given twice'),
        ('{"a": 1,}', "line 1, column 9: expecting property name enclosed in double quotes"),
        ("", "line 1, column 1: is empty; a JSON value was expected"),
        (" \n ", "is empty"),
        ("{} x", "line 1, column 4: extra data"),
        ("{'a': 1}", "line 1, column 2: expecting property name"),
        ("01", "line 1, column 2: extra data"),
        ("[1 // one\n]", "expecting ',' delimiter"),
        ('"a\nb"', "line 1, column 3: invalid control character"),
        ('"\\x41"', "invalid \\escape"),
        ('"abc', "unterminated string"),
        ("٣", "expecting value"),
    ],
)
def test_says_what_is_wrong_and_where(text: str, message: str) -> None:
    assert message in str(refusal(text))
    assert message in str(refusal(text.encode()))


def test_big_integers_are_kept_whole() -> None:
    assert loads("1" * 400) == int("1" * 400)
    assert loads(str(2**64)) == 2**64


def test_lone_surrogates_are_left_to_the_text_rules() -> None:
    assert loads('"\\ud800"') == "\ud800"


def test_depth_counts_brackets_outside_strings_only() -> None:
    assert loads("[" * 32 + "]" * 32)
    assert loads('["[[[[[[{{{{{{\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]')
    assert loads("[" + ",".join(["[]"] * 100) + "]")
    error = refusal("\n" + "[" * 33 + "]" * 33)
    assert str(error) == "line 2, column 33: is nested deeper than 32 levels"
    assert "deeper than 2 levels" in str(refusal('{"a": {"b": []}}', max_depth=2))


@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "]" * 100_000 + "[" * 100_000,
        "[" * 40 + '"' + '\\"' * 100_000,
        "[" * 32 + '"\\' * 100_000,
        "[" * 20 + '"' * 100_000 + "[" * 20,
        "[]" * 100_000,
        "[" + "9" * 100_000 + "]",
        "{" + ",".join(f'"k{n}":{n}' for n in range(20_000)) + ',"k7":1}',
    ],
)
def test_hostile_shapes_are_refused_at_once(hostile: str) -> None:
    start = time.process_time()
    refusal(hostile)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":\n"caf\xe9"}', "line 2, column 5: is not UTF-8: byte 0xE9"),
        ('"é'.encode() + b'\xff"', "line 1, column 3: is not UTF-8: byte 0xFF"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        (b'"\xc0\xaf"', "is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16 or UTF-32, not UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "is UTF-16 or UTF-32, not UTF-8"),
        ('{"a": 1}'.encode("utf-32-be"), "is UTF-16 or UTF-32, not UTF-8"),
    ],
)
def test_other_encodings_are_named(data: bytes, message: str) -> None:
    assert message in str(refusal(data, allow_bom=True))


def test_a_byte_order_mark_passes_where_it_is_allowed() -> None:
    data = '{"a": 1}'.encode("utf-8-sig")
    assert loads(data, allow_bom=True) == {"a": 1}
    assert "byte order mark" in str(refusal(data))
