"""What was extracted and answered goes into files and comes back as it was."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.actions.asking import ExtractedField, Likert, Matrix, Multiple, Number, Open, Question, Ranking, Single
from app.analysis.answers import Scale, Shares
from app.analysis.extracted import (
    Answered,
    Extracted,
    Record,
    answer_columns,
    answer_long,
    answer_records,
    answer_summaries,
    answer_table,
    extraction_columns,
    extraction_long,
    extraction_records,
    extraction_summaries,
    extraction_table,
)
from app.analysis.tables import Column, Table, frame, from_csv, from_json, from_parquet, to_csv, to_json, to_parquet
from app.errors import Invalid

OPTIONS = ("red", "=1+1", 'a "quoted", one')
FIELDS = (
    ExtractedField(name="reason"),
    ExtractedField(name="price", type="number"),
    ExtractedField(name="age", type="integer"),
    ExtractedField(name="buys", type="boolean"),
    ExtractedField(name="colour", type="category", options=OPTIONS),
    ExtractedField(name="brands", type="list"),
)
QUESTIONS: tuple[Question, ...] = (
    Open(key="why", text="?"),
    Single(key="colour", text="?", options=OPTIONS),
    Multiple(key="some", text="?", options=OPTIONS),
    Likert(key="likes", text="?"),
    Number(key="pays", text="?"),
    Number(key="cups", text="?", whole=True),
    Ranking(key="best", text="?", options=OPTIONS),
    Matrix(key="rates", text="?", rows=("price", "-smell", "a, b")),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
REASON = TEXT.filter(bool)
NUMBER = st.one_of(st.floats(-1e12, 1e12), st.integers(-(10**12), 10**12))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "reason": TEXT,
    "price": NUMBER,
    "age": st.integers(-(10**12), 10**12),
    "buys": st.booleans(),
    "colour": st.sampled_from(OPTIONS),
    "brands": st.lists(TEXT, max_size=4),
}
ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "why": TEXT,
    "colour": st.sampled_from(OPTIONS),
    "some": st.lists(st.sampled_from(OPTIONS), unique=True),
    "likes": st.integers(1, 5),
    "pays": NUMBER,
    "cups": st.integers(0, 99),
    "best": st.permutations(OPTIONS),
    "rates": st.fixed_dictionaries(
        {"price": st.integers(1, 5), "-smell": st.integers(1, 5), "a, b": st.integers(1, 5)}
    ),
}


def extractions(name: str) -> st.SearchStrategy[Extracted]:
    sure, line = st.one_of(st.none(), st.floats(0, 1)), st.one_of(st.none(), st.integers(1, 999))
    there = st.builds(Extracted, VALUES[name], st.one_of(st.none(), REASON), line, sure)
    return st.one_of(there, st.builds(Extracted, missing=REASON))


@st.composite
def answered(draw: st.DrawFn) -> Answered:
    answers = {key: draw(ANSWERS[key]) for key in ANSWERS if draw(st.integers(0, 3))}
    return Answered(draw(TEXT), draw(TEXT), answers, {key: draw(REASON) for key in ANSWERS if key not in answers})


RECORDS = st.lists(
    st.builds(Record, TEXT, TEXT, st.fixed_dictionaries({name: extractions(name) for name in VALUES})), max_size=4
)
PEOPLE = st.lists(answered(), max_size=4)
Way = tuple[Callable[[Table], bytes], Callable[[bytes, Sequence[Column]], Table]]
WAYS: dict[str, Way] = {
    "csv": (to_csv, from_csv),
    "json": (to_json, from_json),
    "parquet": (to_parquet, from_parquet),
}


@pytest.mark.parametrize("way", WAYS)
@given(records=RECORDS)
def test_extractions_come_back(way: str, records: list[Record]) -> None:
    there, back = WAYS[way]
    table = back(there(extraction_table(FIELDS, records)), extraction_columns(FIELDS))
    assert extraction_records(FIELDS, table) == records


@pytest.mark.parametrize("way", WAYS)
@given(people=PEOPLE)
def test_answers_come_back(way: str, people: list[Answered]) -> None:
    there, back = WAYS[way]
    table = back(there(answer_table(QUESTIONS, people)), answer_columns(QUESTIONS))
    assert answer_records(QUESTIONS, table) == people


ANA = Answered(
    "1",
    "Ana",
    {
        "why": "-2\r\n+x",
        "some": ["red"],
        "likes": 4,
        "pays": -2.5,
        "best": list(OPTIONS),
        "rates": dict.fromkeys(("price", "-smell", "a, b"), 3),
    },
    {"colour": "not asked"},
)
BO = Answered("2", "Bo", {"likes": 2, "cups": 3})


def test_a_csv_of_answers_as_others_read_it() -> None:
    written = to_csv(answer_table(QUESTIONS, [ANA, BO])).decode()
    assert written.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert rows[0]["why"] == "'-2\r\n+x"  # no formula
    assert rows[0]["pays"] == "-2.5"
    assert json.loads(rows[0]["best"]) == list(OPTIONS)
    assert [rows[0][f"rates[{row}]"] for row in ("price", "-smell", "a, b")] == ["3"] * 3
    assert (rows[0]["colour"], rows[0]["colour.missing"]) == ("", "not asked")
    assert rows[1]["why.missing"] == "no answer"


def test_frames_have_types() -> None:
    wide = frame(answer_table(QUESTIONS, [ANA, BO]))
    assert wide.schema["some"] == pl.List(pl.String)
    assert [str(wide.schema[name]) for name in ("likes", "pays", "rates[price]")] == ["Int64", "Float64", "Int64"]
    assert wide["likes"].mean() == 3
    read = pl.read_parquet(io.BytesIO(to_parquet(answer_table(QUESTIONS, [ANA, BO]))))
    assert read.equals(wide)
    assert frame(answer_table(QUESTIONS, [])).schema == wide.schema


def test_long_tables_have_a_row_a_value() -> None:
    long = frame(answer_long(QUESTIONS, [ANA, BO]))
    assert long.height == (len(QUESTIONS) + 2) + len(QUESTIONS)  # of Ana's matrix one a row
    rated = long.filter(pl.col("question") == "rates", pl.col("name") == "Ana")
    assert rated["row"].to_list() == ["price", "-smell", "a, b"]
    assert rated["number"].to_list() == [3, 3, 3]
    records = [Record("1", "Ana", {"buys": Extracted(True, "I would buy it", 3, 0.9)})]
    found = frame(extraction_long(FIELDS, records))
    assert found.height == len(FIELDS)
    assert found.filter(pl.col("field") == "buys").select("number", "quote", "line", "missing").row(0) == (
        1, "I would buy it", 3, None,
    )  # fmt: skip


def test_summaries_count_why_values_are_missing() -> None:
    answers = answer_summaries(QUESTIONS, [ANA, BO])
    likes, colour = answers["likes"], answers["colour"]
    assert isinstance(likes, Scale)
    assert (likes.n, likes.mean.value) == (2, 3)
    assert isinstance(colour, Shares)
    assert (colour.n, colour.missing) == (0, {"not asked": 1, "no answer": 1})
    records = [
        Record("1", "Ana", {"price": Extracted(4.5), "reason": Extracted(missing="no valid JSON")}),
        Record("2", "Bo", {}),
    ]
    fields = extraction_summaries(FIELDS, records)
    assert (fields["price"].n, fields["price"].missing) == (1, {"no answer": 1})
    assert fields["reason"].missing == {"no valid JSON": 1, "no answer": 1}


def test_a_value_is_there_or_missing_for_a_reason() -> None:
    for value, missing in ((None, None), (None, ""), (1, "why")):
        with pytest.raises(ValueError, match="missing for a reason"):
            Extracted(value, missing=missing)
    gone = Table(extraction_columns(FIELDS[1:2]), (("1", "Ana", None, None, None, None, None),))
    with pytest.raises(Invalid, match="row 1: price: must have a value, or a reason"):
        extraction_records(FIELDS[1:2], gone)


COLUMNS = (Column("a"), Column("n", "integer"), Column("l", "list"), Column("b", "boolean"), Column("x", "number"))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", "line 1: must be the names a, n, l, b, x"),
        (b"a,b\r\n", "line 1"),
        (b"a,n,l,b,x\r\n1,2\r\n", "row 1: has 2 cells, must be 5"),
        (b"a,n,l,b,x\r\n1,2.5,[],true,1\r\n", "row 1: n: must be a whole number"),
        (b"a,n,l,b,x\r\n1,2,[],yes,1\r\n", "row 1: b: must be true or false"),
        (b"a,n,l,b,x\r\n1,2,{},true,1\r\n", "row 1: l: must be a list of texts"),
        (b"a,n,l,b,x\r\n1,2,[1],true,1\r\n", "row 1: l: must be a list of texts"),
        (b"a,n,l,b,x\r\n1,2,[],true,NaN\r\n", "row 1: x: must be a number"),
        (b"a,n,l,b,x\r\n1,2,[],true,1e999\r\n", "row 1: x: must be a number"),
        (b'a,n,l,b,x\r\n"1,2\r\n', "is not CSV"),
        (b"\xff\xfea,n", "is UTF-16 or UTF-32"),
        (b"a,n,l,b,x\r\n\xe9,2,[],true,1", "is not UTF-8"),
    ],
)
def test_a_csv_that_is_no_such_table(written: bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        from_csv(written, COLUMNS)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"[", "is not JSON"),
        (b"{}", "must be a list of objects"),
        (b"[{}]", "row 1: must be an object with the keys"),
        (b'[{"a": 1, "n": 1, "l": [], "b": true, "x": 1}]', "row 1: a: must be a text or null"),
        (b'[{"a": "", "n": true, "l": [], "b": true, "x": 1}]', "row 1: n: must be a whole number"),
        (b'[{"a": "", "a": ""}]', "given twice"),
        (b'[{"a": "", "n": 1, "l": [], "b": true, "x": NaN}]', "not a finite number"),
    ],
)
def test_json_that_is_no_such_table(written: bytes, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        from_json(written, COLUMNS)


def test_parquet_that_is_no_such_table() -> None:
    for wrong, told in ((b"PAR1 no", "is not Parquet"), (to_parquet(Table(COLUMNS[:1], ())), "its columns must be")):
        with pytest.raises(Invalid, match=told):
            from_parquet(wrong, COLUMNS)
