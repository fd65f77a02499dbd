"""TinyTroupe's people: `*.agent.json` with a structured persona, and the flat records before it."""

from typing import Any

from app.agent.population.foreign import Draft, is_blank, is_line, labelled, plain_list, slug, tidy
from app.agent.population.results import UnusableError
from app.world.text import BIO_MAX

_STATE = {
    "mental_faculties",
    "current_episode_event_count",
    "episodic_memory",
    "semantic_memory",
    "mental_state",
    "actions_buffer",
}
FACTS = ("age", "gender", "nationality", "residence", "country_of_residence", "education")
_TOLD = ("beliefs", "skills", "behaviors", "routines", "health", "relationships", "other_facts")
_MAPPED = (
    *("name", "occupation", "occupation_description", "style", "long_term_goals", "political_affiliation"),
    *("personality", "personality_traits", "preferences", "professional_interests", "personal_interests"),
)
_OWN = ("username", "description", "bio", "demographics")
"""What TinyTroupe has no word for; our own export writes it all the same, for a person may hold anything."""
KNOWN = {*FACTS, *_TOLD, *_MAPPED, *_OWN, "type", "json_serializable_class_name"}
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
    handle = persona.get("username")
    handle = handle if isinstance(handle, str) and handle.strip() else None
    draft = Draft(handle=handle or slug(name).lower(), losses=[f"{key}: not imported" for key in state])
    _describe(draft, name.strip(), persona)
    if handle is None:
        draft.fact("username", persona.get("username"))
    if name.strip() != handle:
        draft.line("display_name", name.strip(), "Full name")
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


def _describe(draft: Draft, name: str, persona: dict[str, Any]) -> None:
    """Begin the description: with the person's own, or with who it is."""
    own, post = persona.get("description"), _occupation(persona.get("occupation"))
    title, place = post.get("title"), post.get("organization")
    if isinstance(own, str) and own.strip():
        draft.parts.append(tidy(own))
        draft.line("role", title, "Occupation")
        draft.tell("Organization", place)
    else:
        named = isinstance(place, str) and place.strip() and isinstance(title, str)
        introduced = f"You are {name}, {title}{f' at {place}' if named else ''}." if title else f"You are {name}."
        draft.parts.append(introduced)
        if isinstance(title, str) and is_line(title):
            draft.fields["role"] = title
        if not named:
            draft.tell("Organization", place)
        draft.tell("Description", own)
    for key, value in post.items():
        if key not in ("title", "organization"):
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
    _publish(draft, persona.get("bio"))
    facts = persona.get("demographics")
    for name, value in (facts if isinstance(facts, dict) else {"demographics": facts}).items():
        draft.fact(name, value)
    for name in FACTS:
        draft.fact(name, persona.get(name))
    for name in _TOLD:
        draft.tell(labelled(name), persona.get(name))
    draft.rest(persona, KNOWN)


def _publish(draft: Draft, bio: Any) -> None:
    if isinstance(bio, str) and len(tidy(bio)) <= BIO_MAX:
        draft.fields["bio"] = tidy(bio)
    else:
        draft.tell("Bio", bio)


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
