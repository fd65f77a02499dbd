"""One page from parameters to results: set them, pick or build personas, choose where they meet, run."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app import strict_json
from app.auth.admins import record
from app.errors import AppError, Invalid
from app.experiments.design import checked as checked_experiment
from app.experiments.engine.personas import looked_over, usable
from app.venues.session.design import Dialogue, Simulation, checked
from app.venues.session.opening import begin
from app.web import experiment_deeds as deeds
from app.web.deps import House, TheHouse
from app.web.pages.admin.runs import workers_alive
from app.web.pages.admin.session_notation import WrongLinesError, questions
from app.web.pages.frame import DONE, go_to, render
from app.web.pages.session import AdminForm, Form, TheViewer, Viewer
from app.world import personas
from app.world.personas import PersonaSpec

router = APIRouter(prefix="/admin/simulate", include_in_schema=False)
SHOWN_MOST, TEXT_MOST, BOTS_MOST = 60, 120_000, 6
TURNS_MOST = {"dialogue": 10_000, "feed": 100_000}
PLACES = (
    ("dialogue", "a dialogue: two to six talk, turn by turn"),
    ("focus_group", "a focus group: rounds about something"),
    ("survey", "a survey: each answers questions"),
    ("interview", "interviews: each is asked alone"),
    ("feed", "the feed: they post, comment, like and follow"),
)
BLANK: Mapping[str, str] = {
    "seed_text": "",
    "turns": "10",
    "model": "",
    "temperature": "",
    "runs": "1",
    "seed": "7",
    "place": "dialogue",
    "questions": "",
    "new_name": "",
    "new_description": "",
    "people": "",
}
DONE |= {"simulated": "It has begun. Its results stand below as they come."}


class WrongError(ValueError):
    """What is wrong, by field."""

    def __init__(self, **wrong: str) -> None:
        super().__init__("; ".join(wrong.values()))
        self.wrong = wrong


@router.get("")
async def simulate_page(request: Request, house: TheHouse, viewer: TheViewer) -> Response:
    """The page, with nothing filled in."""
    return await _show(request, house, viewer, BLANK, [])


async def _show(
    request: Request,
    house: House,
    viewer: Viewer,
    given: Mapping[str, str],
    picked: list[str],
    *,
    wrong: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    rows = await personas.listed(house.database, limit=SHOWN_MOST)
    return render(
        request,
        "admin/simulate.html",
        viewer=viewer,
        status=status,
        given=given,
        picked=picked,
        wrong=wrong or {},
        people=[row for row in rows if row["status"] != "departed"],
        places=PLACES,
        model=house.settings.simfeed_model,
        workers=await workers_alive(house.database),
    )


@router.post("")
async def simulate(request: Request, house: TheHouse, viewer: TheViewer, form: AdminForm) -> Response:
    """Begin, and lead to where it can be watched: a session, or an experiment of so many runs."""
    given, picked = _typed(form)
    try:
        return go_to(await _begun(house, viewer, given, picked), done="simulated")
    except WrongError as error:
        return await _show(request, house, viewer, given, picked, wrong=error.wrong, status=422)
    except AppError as error:
        wrong = {"form": error.detail}
        return await _show(request, house, viewer, given, picked, wrong=wrong, status=error.status)


def _typed(form: Form) -> tuple[dict[str, str], list[str]]:
    given = {name: form[name].replace("\r\n", "\n")[:TEXT_MOST] for name in BLANK}
    return given, [name[:60] for name in form.all("who")][:SHOWN_MOST]


async def _begun(house: House, viewer: Viewer, given: Mapping[str, str], picked: list[str]) -> str:
    """Begin what a form describes; where it can be watched.

    Raises:
        WrongError, AppError: it can't be.
    """
    made, runs = _sound(given, picked)
    if given["place"] == "feed":
        key = await deeds.plan(
            house, viewer.admin.id, checked_experiment(feed_data(given, picked, made, runs)), run=True
        )
        return f"/admin/experiments/{key}"
    data = dialogue_data(given, picked, made) if given["place"] == "dialogue" else group_data(given, picked, made)
    if runs > 1:
        design = checked_experiment(
            {
                "name": given["seed_text"][:60] or given["place"],
                "venue": given["place"],
                "variants": {"simulation": {}},
                "setting": data,
                "runs": runs,
                "seed": _whole("seed", given["seed"], 2**62),
                "outcomes": {"exploratory": ["lines", "words_per_line", "lexical_diversity"]},
            }
        )
        return f"/admin/experiments/{await deeds.plan(house, viewer.admin.id, design, run=True)}"
    design_of = checked(Dialogue if given["place"] == "dialogue" else Simulation, data)
    kind: Any = given["place"]
    key = await begin(house.database, house.settings, kind, design_of, name="simulation", by=viewer.admin.id)
    async with house.database.connection() as connection:
        await record(connection, viewer.admin.id, "session.begun", key, kind=kind)
    return f"/admin/sessions/{key}"


def _sound(given: Mapping[str, str], picked: list[str]) -> tuple[list[PersonaSpec], int]:
    """Who was built here, and how many runs are wanted, once nothing is wrong in any field.

    Raises:
        WrongError: tells of every field.
    """
    wrong: dict[str, str] = {}
    made: list[PersonaSpec] = []
    try:
        made = _people(given)
        _voices(given["place"], len(picked) + len(made))
    except WrongError as error:
        wrong |= error.wrong
    place = given["place"]
    for look in (
        lambda: _about(place, given["seed_text"]),
        lambda: place == "survey" or _whole("turns", given["turns"], TURNS_MOST.get(place, 100)),
        lambda: _temperature(given["temperature"]),
        lambda: _whole("seed", given["seed"], 2**62),
        lambda: _whole("runs", given["runs"], 1_000),
        lambda: _asked(place, given["questions"]),
    ):
        try:
            look()
        except WrongError as error:
            wrong |= error.wrong
    if wrong:
        raise WrongError(**wrong)
    return made, _whole("runs", given["runs"], 1_000)


def _voices(place: str, count: int) -> None:
    if place == "dialogue" and not 2 <= count <= BOTS_MOST:
        raise WrongError(who=f"a dialogue has two to six voices; {count} are chosen")
    if not count:
        raise WrongError(who="pick somebody, or build a persona")


def _about(place: str, text: str) -> None:
    if not text.strip() and place not in ("survey", "feed"):
        what = "what shall they talk about?" if place == "dialogue" else "what is it about?"
        raise WrongError(seed_text=f"must not be empty: {what}")


def _asked(place: str, text: str) -> list[Any]:
    if place in ("dialogue", "feed"):
        return []
    try:
        asked = questions(text)
    except WrongLinesError as error:
        raise WrongError(questions=str(error)) from None
    if not asked and place != "focus_group":
        raise WrongError(questions="must not be empty: what are they asked?")
    return asked


def _whole(name: str, text: str, most: int, least: int = 0) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit() or not max(least, int(name != "seed")) <= int(text[:30]) <= most:
        raise WrongError(**{name: f"must be a whole number up to {most:,}"})
    return int(text)


def _people(given: Mapping[str, str]) -> list[PersonaSpec]:
    """Personas that are not of the world: one that was built here, and those of a file.

    Raises:
        WrongError: one can't be.
    """
    made: list[PersonaSpec] = []
    if given["new_name"].strip() or given["new_description"].strip():
        try:
            made.append(PersonaSpec(username=given["new_name"].strip(), description=given["new_description"]))
        except ValidationError as error:
            place = "new_name" if any("username" in one["loc"] for one in error.errors()) else "new_description"
            raise WrongError(**{place: error.errors()[0]["msg"].removeprefix("Value error, ")}) from None
    if not given["people"].strip():
        return made
    try:
        value = strict_json.loads(given["people"].encode("utf-8", "replace"), allow_bom=True)
        records = value.get("personas", value.get("agents", [value])) if isinstance(value, dict) else value
        if (
            isinstance(records, list)
            and records
            and all(isinstance(one, dict) and "username" in one for one in records)
        ):
            return [*made, *(PersonaSpec.model_validate(one) for one in records)]
        return [*made, *(one.spec for one in usable(looked_over(value, "the personas")))]
    except strict_json.JSONError as error:
        raise WrongError(people=f"is not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongError(people=f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except Invalid as error:
        raise WrongError(people=error.detail) from None


def _terms(given: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"seed": _whole("seed", given["seed"], 2**62)}
    if given["model"].strip():
        told["model"] = given["model"].strip()
    if (temperature := _temperature(given["temperature"])) is not None:
        told["temperature"] = temperature
    return told


def _temperature(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 2:
        raise WrongError(temperature="must be a number from 0 to 2")
    return found


def dialogue_data(given: Mapping[str, str], picked: list[str], made: list[PersonaSpec]) -> dict[str, Any]:
    """A dialogue of those who were picked and built."""
    bots = [{"name": name, "persona": name} for name in picked]
    bots += [{"name": one.username, "prompt": one.description} for one in made]
    return {
        "bots": bots,
        "seed_message": {"from": "Moderator", "message": given["seed_text"].strip()},
        "stop": {"turns": int(given["turns"])},
        "terms": _terms(given),
    }


def group_data(given: Mapping[str, str], picked: list[str], made: list[PersonaSpec]) -> dict[str, Any]:
    """A focus group, survey or interview of those who were picked and built."""
    who: list[Any] = [*picked, *(one.model_dump(mode="json", exclude_defaults=True) for one in made)]
    asked = _asked(given["place"], given["questions"])
    told: dict[str, Any] = {
        "session_config": {"session_name": given["seed_text"].strip()[:60] or given["place"]},
        "participants": {"mode": "custom", "specifications": who},
        "simulation_config": {
            "environment_type": given["place"],
            "rounds": 1 if given["place"] == "survey" else int(given["turns"]),
        },
        "questions": [one.model_dump(mode="json", exclude_defaults=True) | {"type": one.type} for one in asked],
        "terms": _terms(given),
    }
    if given["seed_text"].strip():
        told["stimulus"] = {"type": "message", "content": given["seed_text"].strip()}
    return told


def feed_data(given: Mapping[str, str], picked: list[str], made: list[PersonaSpec], runs: int) -> dict[str, Any]:
    """An experiment of one variant: the feed among those who were picked and built, in copies of the world."""
    terms = _terms(given)
    cast: dict[str, Any] = {"add": [one.model_dump(mode="json", exclude_defaults=True) for one in made]}
    cast["only"] = [*picked, *(one.username for one in made)]
    setting: dict[str, Any] = {"cycles": int(given["turns"]), "cast": cast}
    setting |= {name: terms[name] for name in ("model", "temperature") if name in terms}
    if given["seed_text"].strip():
        title, _, body = given["seed_text"].strip()[:500].partition("\n")
        news = {"kind": "news", "cycle": 1, "title": title[:200]} | ({"body": body.strip()} if body.strip() else {})
        setting["interventions"] = [news]
    return {
        "name": given["seed_text"].strip()[:60] or "feed",
        "venue": "feed",
        "setting": setting,
        "variants": {"simulation": {}},
        "runs": runs,
        "seed": terms["seed"],
        "outcomes": {"exploratory": ["posts_per_persona", "comments_per_persona", "attention_gini", "sentiment_mean"]},
    }
