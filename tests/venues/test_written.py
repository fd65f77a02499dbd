"""What is written: persons of a sample, personas out of sources, documents with their quotes looked up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.population.compose import compose
from app.agent.population.consistency import _asked
from app.agent.population.sampling import plan
from app.agent.turn import Mind
from app.db.engine import Database
from app.errors import Invalid
from app.settings import load_settings
from app.venues.session import results, written
from app.venues.session.design import Terms, Writing
from app.venues.session.opening import begin
from app.venues.session.stage import play
from app.venues.session.written import PASSAGE_MOST, passages_of
from app.world import sessions
from tests.conftest import a_mind
from tests.session_stand import DEMOGRAPHICS, Watched, a_group, calls, played

SETTINGS = load_settings()


async def wrote(mind: Mind, design: Writing, of: int | None = None) -> int:
    key = await begin(mind.database, SETTINGS, "writing", design, of=of)
    row = await sessions.found(mind.database, key)
    await play(mind, SETTINGS, row["id"])
    return int(row["id"])


def test_passages_of_each_kind_of_source() -> None:
    assert passages_of("a.md", b"One.\n\nTwo.\n\n\n") == ["One.", "Two."]
    assert passages_of("a.csv", b"who,what\nRita,trams\n") == ["who: Rita; what: trams"]
    assert passages_of("a.json", b'["One", {"a": 1}]') == ["One", '{"a": 1}']
    assert passages_of("a.json", b'{"job": "driver"}') == ["job: driver"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b""),
        ("a.txt", b"\xff"),
        ("a.txt", b"a\0b"),
        ("a.json", b"{"),
        ("a.json", b'{"a":1,"a":2}'),
        ("a.csv", b'"x'),
    ],
)
def test_a_source_that_can_t_be_read_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(Invalid, match=name):
        passages_of(name, data)


@given(st.text(min_size=1, max_size=4_000).filter(lambda text: text.strip() and "\0" not in text))
def test_passages_are_short_and_keep_every_word(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    if not text.strip():
        return
    found = passages_of("a.txt", text.encode())
    assert all(0 < len(one) <= PASSAGE_MOST for one in found)
    assert "".join("".join(found).split()) == "".join(text.replace("\ufeff", "", text.startswith("\ufeff")).split())


async def test_traits_name_the_passage_they_rest_on(database: Database) -> None:
    traits = [
        {"name": "job", "text": "Rita drives trams", "passage": 2},
        {"name": "lie", "text": "Rita flies", "passage": 9},
    ]
    design = Writing(what="ground", name="Rita Bolt", passages=("She lives here.", "Rita drives a tram."))
    async with a_mind(database, Watched(lambda *_: calls("ground", traits=traits))) as mind:
        number = await wrote(mind, design)
    found = await written.grounded(database, await sessions.by_id(database, number), "Rita Bolt")
    assert found is not None
    assert [(one["name"], one["source"]) for one in found.traits] == [("job", "Rita drives a tram.")]
    assert "Rita drives trams." in found.spec.description
    assert "flies" not in found.spec.description


async def test_quotes_of_a_document_are_looked_up(database: Database) -> None:
    async with a_mind(database) as mind:
        source, _ = await played(mind, a_group(3))
    line = next(one for one in await sessions.lines(database, source) if one.kind == "say")
    quotes = [
        {"n": line.number, "quote": line.body},
        {"n": line.number + 1, "quote": line.body},
        {"n": line.number, "quote": "Nobody ever said these words here"},
    ]
    answer = calls("write_document", title="T", sections=[{"heading": "H", "text": "x"}], quotes=quotes)
    key = (await sessions.by_id(database, source))["key"]
    async with a_mind(database, Watched(lambda *_: answer)) as mind:
        number = await wrote(mind, Writing(what="document", of=key), of=source)
    found = await results.document(database, await sessions.by_id(database, number))
    assert found is not None
    assert [(one["found"], one["as_cited"]) for one in found["quotes"]] == [(True, True), (True, False), (False, False)]


async def test_the_offline_model_writes_each_kind(mind: Mind) -> None:
    source, _ = await played(mind, a_group(3))
    key = (await sessions.by_id(mind.database, source))["key"]
    for genre in ("report", "article", "minutes"):
        number = await wrote(mind, Writing.model_validate({"what": "document", "of": key, "genre": genre}), of=source)
        found = await results.document(mind.database, await sessions.by_id(mind.database, number))
        assert found is not None
        assert all(one["as_cited"] for one in found["quotes"])
        assert found["quotes"]
    number = await wrote(mind, Writing(what="rewrite", text="The tram is late. Forty people wait.", wish="formal"))
    line = (await sessions.lines(mind.database, number))[0]
    assert line.body
    assert line.body != "The tram is late. Forty people wait."


async def test_a_model_writes_the_persons_of_a_sample(mind: Mind) -> None:
    sample = plan({"marginals": DEMOGRAPHICS}, 30, 7)
    people, wrong = await written.write_population(mind, SETTINGS, sample, Terms(seed=7))
    assert (len(people), wrong) == (30, [])
    assert len({one.username for one in people}) == len({one.display_name for one in people}) == 30
    assert len({one.description for one in people}) == 30
    assert [one.demographics["gender"] for one in people] == [row["gender"] for row in sample.rows]


async def test_persons_that_are_not_written_are_told(database: Database) -> None:
    model = Watched(lambda _, nth: calls("write_persona", display_name="") if nth in (2, 5) else None)
    async with a_mind(database, model) as mind:
        people, wrong = await written.write_population(
            mind, SETTINGS, plan({"marginals": DEMOGRAPHICS}, 4, 7), Terms(seed=7)
        )
    assert len(people) + len(wrong) == 4
    assert len(people) >= 3


async def test_an_interview_tells_the_right_persona_from_another(database: Database) -> None:
    """Who answers as described scores more than who answers as somebody else."""
    one, other = compose(plan({"marginals": DEMOGRAPHICS}, 2, 7), 7)

    def honest(request: object, _: int) -> object:
        return calls("answer", **{asked.question.key: asked.right for asked in _asked(one)})

    async with a_mind(database, Watched(honest)) as mind:  # type: ignore[arg-type]
        right = await written.interview(mind, SETTINGS, [one], Terms(seed=7))
    assert right[0].score == 1.0
    async with a_mind(database) as mind:
        scores = await written.interview(mind, SETTINGS, [one, other], Terms(seed=7))
    assert all(found.answered == found.asked > 0 for found in scores)
