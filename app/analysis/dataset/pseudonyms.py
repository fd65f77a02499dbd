"""Other names for personas: where they stand as names, or also wherever anybody wrote them."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from app.analysis.dataset.schema import Cells, Field, Shape

How = Literal["none", "names", "all"]
HOWS: tuple[How, ...] = ("none", "names", "all")
_ATOM = re.compile(r"\\+(?:u[0-9a-fA-F]{4}|.)|\w+", re.DOTALL)
"""A word, or what JSON writes for a character, however often it was written into JSON: a name may follow it at once."""

SPARED = ("prompt_texts",)


def alias(persona: int) -> str:
    """What a persona is called instead."""
    return f"member_{persona}"


class Pseudonyms:
    """`people`: (persona, name, whether it is a username). Where two share a name, the username's, then the newest."""

    def __init__(self, people: Iterable[tuple[int, str, bool]], how: How) -> None:
        self.how = how
        self._known: dict[str, dict[str, str]] = {}
        if how == "all":
            for persona, name, _ in sorted(people, key=lambda one: (one[2], one[0])):
                for written in {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}:
                    if found := _ATOM.search(written.lower()):
                        self._known.setdefault(found[0], {})[written.lower()[found.start() :]] = alias(persona)
        self._longest = {
            atom: sorted(names.items(), key=lambda one: -len(one[0])) for atom, names in self._known.items()
        }

    def replaced(self, text: str) -> str:
        """`text` with other names for all that are known, as whole words, however they are capitalised."""
        lower = text.lower()
        if len(lower) != len(text):  # a character whose small form is longer
            lower = text = lower
        parts: list[str] = []
        done = 0
        for found in _ATOM.finditer(lower):
            if found.start() < done:
                continue
            for name, other in self._longest.get(found[0], ()):
                end = found.start() + len(name)
                if lower.startswith(name, found.start()) and not _goes_on(lower, end):
                    parts += (text[done : found.start()], other)
                    done = end
                    break
        return "".join([*parts, text[done:]])

    def fix(self, shape: Shape, columns: Sequence[Cells], spared: frozenset[str]) -> list[Cells]:
        """The columns of some rows with other names; `spared` ones hold no names."""
        place = {field.name: n for n, field in enumerate(shape.fields)}
        fixed = list(columns)
        if self.how == "none":
            return fixed
        if shape.name == "personas":
            ids = columns[place["id"]]
            fixed[place["username"]] = [alias(one) for one in ids]
            fixed[place["profile"]] = [
                _renamed(profile, alias(one)) for one, profile in zip(ids, columns[place["profile"]], strict=True)
            ]
        if shape.name == "session_members":
            fixed[place["name"]] = [
                name if number == 0 else alias(one)
                for one, number, name in zip(
                    columns[place["persona_id"]], columns[place["number"]], columns[place["name"]], strict=True
                )
            ]
        if self.how == "all" and shape.name not in SPARED:
            fixed = [
                column if field.name in spared else [self._cell(field, cell) for cell in column]
                for field, column in zip(shape.fields, fixed, strict=True)
            ]
        return fixed

    def _cell(self, field: Field, cell: Any) -> Any:
        if cell is None:
            return None
        match field.kind:
            case "text" | "json":
                return self.replaced(cell)
            case "texts":
                return [self.replaced(one) for one in cell]
            case "bytes":
                try:
                    return self.replaced(cell.decode()).encode()
                except UnicodeDecodeError:
                    return cell
        return cell


def _goes_on(text: str, place: int) -> bool:
    return place < len(text) and (text[place].isalnum() or text[place] == "_")


def _renamed(profile: str, name: str) -> str:
    found = json.loads(profile)
    if isinstance(found, dict) and found.get("display_name"):
        found["display_name"] = name
        return json.dumps(found, ensure_ascii=False)
    return profile
