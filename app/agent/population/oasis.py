"""OASIS user profiles: the CSV of its Twitter-like platform and the JSON of its Reddit-like one."""

from typing import Any

from app.agent.population.foreign import Draft, is_blank, tidy
from app.agent.population.results import UnusableError
from app.agent.population.tables import NUMBERS, number, whole_number
from app.strict_json import JSONError, loads
from app.world.text import BIO_MAX, reckoned

FORM = ("name", "username", "following_agentid_list", "previous_tweets", "user_char", "description")
"""The columns without which OASIS can't load its CSV."""
SAID = ("age", "gender", "mbti", "country")
"""What OASIS says of everybody in its JSON, and can't load a profile without."""
_NAMES = ("realname", "name", "username", "user_name")
_TEXTS = ("persona", "user_char", "description", "bio")
_SETTINGS = ("model", "temperature", "activity")
MAPPED = {*_NAMES, *_TEXTS, *_SETTINGS, "profession", "interested_topics"}
_LEFT_OUT = {
    *("user_id", "agent_id", "following_agentid_list", "following_list", "follower_agentid_list", "previous_tweets"),
    *("tweets_id", "activity_level", "activity_level_frequency", "is_super_user", "created_at"),
    *("followers_count", "follower_count", "following_count"),
}
"""Ids, ties, counts and history of accounts elsewhere: they would point at nobody here."""


def from_oasis_csv(record: dict[str, Any]) -> Draft:
    """Return the draft of one row: its `description` is the public bio, its `user_char` the persona."""
    named = {reckoned(name): cell.strip() for name, cell in record.items()}
    cells = {name: _cell(name, cell) for name, cell in named.items()}
    return _draft(cells, _text(cells, "user_char"), _text(cells, "description"))


def from_oasis_json(record: dict[str, Any]) -> Draft:
    """Return the draft of one profile."""
    bio = _text(record, "bio") or _text(record, "description")
    return _draft(record, _text(record, "persona") or _text(record, "user_char"), bio)


def _cell(name: str, cell: str) -> Any:
    cell = reckoned(cell)
    if name in NUMBERS:
        return number(cell)
    if name == "interested_topics":
        return _topics(cell)
    return cell if name in MAPPED or is_left_out(name) else whole_number(cell)


def _topics(cell: str) -> Any:
    """Return the list that `cell` is in JSON, as our own export writes it, else the cell."""
    try:
        topics = loads(cell) if cell.startswith("[") else cell
    except JSONError:
        return cell
    return topics if isinstance(topics, list) else cell


def _draft(record: dict[str, Any], character: str, bio: str) -> Draft:
    real_name = _text(record, "realname") or _text(record, "name")
    named = _text(record, "username") or _text(record, "user_name")
    handle = named or real_name
    if not handle:
        raise UnusableError("is missing; an OASIS profile needs a username or a name, a text", "username")
    draft = Draft(handle, parts=[character or bio or f"You are {real_name or handle}."])
    draft.losses = [f"{name}: not imported" for name in record if _lost(name, record[name])]
    if not character and not bio:
        draft.losses.append("description: written from the name, as there is none")
    if real_name != named:
        draft.line("display_name", real_name, "Name")
    _publish(draft, bio, character)
    draft.line("role", record.get("profession"), "Profession")
    draft.lines("interests", record.get("interested_topics"), "Interested topics")
    draft.fields |= {name: record[name] for name in _SETTINGS if not is_blank(record.get(name))}
    draft.rest(record, {name for name in record if is_left_out(name)} | MAPPED)
    return draft


def _publish(draft: Draft, bio: str, character: str) -> None:
    """Make `bio` the public bio; one too long for that is told in the description."""
    if len(bio) <= BIO_MAX:
        draft.fields["bio"] = bio
    elif bio not in (character or bio):
        draft.tell("Bio", bio)


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return tidy(value) if isinstance(value, str) else ""


def is_left_out(name: str) -> bool:
    return name in _LEFT_OUT or not name or name.startswith("Unnamed:")


def _lost(name: str, value: Any) -> bool:
    """Whether something is lost with this entry; the nameless columns are pandas' row numbers."""
    return name in _LEFT_OUT and not is_blank(value) and value != "[]"
