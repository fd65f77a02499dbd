"""TinyTroupe's people: `*.agent.json` with a structured persona, and the flat records before it."""

from typing import Any

from app.agent.population.foreign import Draft, is_blank, is_line, labelled, plain_list, slug
from app.agent.population.results import UnusableError

_STATE = {
    "mental_faculties",
    "current_episode_event_count",
    "episodic_memory",
    "semantic_memory",
    "mental_state",
    "actions_buffer",
}
_FACTS = ("age", "gender", "nationality", "residence", "country_of_residence", "education")
_TOLD = ("beliefs", "skills", "behaviors", "routines", "health", "relationships", "other_facts")
_MAPPED = (
    *("name", "occupation", "occupation_description", "style", "long_term_goals", "political_affiliation"),
    *("personality", "personality_traits", "preferences", "professional_interests", "personal_interests"),
)
_KNOWN = {*_FACTS, *_TOLD, *_MAPPED, "type", "json_serializable_class_name"}
MARKS = {"personality", "occupation", "long_term_goals", "personality_traits", "occupation_description", "nationality"}


def from_tinytroupe(record: dict[str, Any]) -> Draft:
    """Return the draft of one person.

    Raises:
        UnusableError: it is a fragment, or has no name.
    """
    if record.get("type") == "Fragment":
        raise UnusableError("is a TinyTroupe fragment, which describes no person", "type")
    persona, state = _unwrapped(record)
    name = persona.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UnusableError("is missing; a TinyTroupe person needs a name, a text", "name")
    draft = Draft(handle=slug(name).lower(), losses=[f"{key}: not imported" for key in state])
    _introduce(draft, name.strip(), persona.get("occupation"))
    _map(draft, persona)
    return draft


def _unwrapped(record: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the person within `record`, and the names of the state saved beside it."""
    for wrapper in ("persona", "_configuration"):
        if isinstance(inner := record.get(wrapper), dict):
            outer = {"type", "json_serializable_class_name", wrapper, "name"}
            person = {"name": record.get("name"), **inner}
            return person, [key for key, value in record.items() if key not in outer and not is_blank(value)]
    state = [key for key in record if key in _STATE]
    return {key: value for key, value in record.items() if key not in _STATE}, state


def _introduce(draft: Draft, name: str, occupation: Any) -> None:
    post = _occupation(occupation)
    title, place = post.get("title"), post.get("organization")
    named = isinstance(place, str) and place.strip() and isinstance(title, str)
    draft.parts.append(f"You are {name}, {title}{f' at {place}' if named else ''}." if title else f"You are {name}.")
    draft.line("display_name", name, "Full name")
    if isinstance(title, str) and is_line(title):
        draft.fields["role"] = title
    told = {key: value for key, value in post.items() if key not in ("title", "organization")}
    if not named:
        draft.tell("Organization", place)
    for key, value in told.items():
        draft.tell("Occupation" if key == "description" else f"Occupation, {key.replace('_', ' ')}", value)


def _occupation(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        title = value.get("title")
        return value if title is None or isinstance(title, str) else {**value, "title": None, "titles": title}
    return {"title": value} if isinstance(value, str) and value.strip() else {"description": value}


def _map(draft: Draft, persona: dict[str, Any]) -> None:
    draft.tell("Occupation", persona.get("occupation_description"))
    _personality(draft, persona.get("personality"), persona.get("personality_traits"))
    draft.line("style", persona.get("style"), "Style")
    draft.lines("goals", persona.get("long_term_goals"), "Long-term goals")
    _preferences(draft, persona)
    draft.line("leaning", persona.get("political_affiliation"), "Political affiliation")
    for name in _FACTS:
        draft.fact(name, persona.get(name))
    for name in _TOLD:
        draft.tell(labelled(name), persona.get(name))
    draft.rest(persona, _KNOWN)


def _personality(draft: Draft, personality: Any, older: Any) -> None:
    entries = personality if isinstance(personality, dict) else {"traits": personality}
    draft.lines("traits", plain_list(entries.get("traits")) + plain_list(older), "Personality traits")
    for name, value in entries.items():
        if name != "traits":
            draft.tell(labelled(name), value)


def _preferences(draft: Draft, persona: dict[str, Any]) -> None:
    preferences = persona.get("preferences")
    entries = preferences if isinstance(preferences, dict) else {"preferences": preferences}
    sources = (entries.get("interests"), persona.get("professional_interests"), persona.get("personal_interests"))
    draft.lines("interests", [item for source in sources for item in plain_list(source)], "Interests")
    for name, value in entries.items():
        if name != "interests":
            draft.tell(labelled(name), value)
