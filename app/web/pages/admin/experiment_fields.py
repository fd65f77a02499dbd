"""The builder of experiments: what stands in its form, the design that it comes to, and which field is wrong."""

import json
from collections.abc import Mapping
from typing import Any

from app.analysis.catalogue import METRICS, Metric
from app.errors import Invalid
from app.experiments.design import Experiment, checked, merge
from app.venues.session.files import value_of
from app.web.pages.session import Form

CARDS = range(1, 7)
TEXT_MOST = 200_000
VARIANT = ("name", "ranker", "who_to_follow", "prompt", "model", "temperature", "memory", "more")
SHARED: Mapping[str, str] = {
    "name": "",
    "venue": "feed",
    "world": "home",
    "cycles": "12",
    "every": "30m",
    "model": "",
    "setting": "",
    "runs": "10",
    "seed": "7",
    "parallel": "1",
    "control": "",
    "pairing": "paired",
    "primary_more": "",
    "exploratory_more": "",
    "margins": "",
    "hypotheses": "",
    "analysis": "",
    "exclude_outcome": "",
    "exclude_above": "",
    "exclude_below": "",
    "exclude_missing": "",
    "stop_failed": "",
    "stop_minutes": "",
    "stop_outcome": "",
    "stop_half_width": "",
    "budget_tokens": "",
    "budget_usd": "",
    "text": "",
    "mode": "form",
}
BLANK: Mapping[str, str] = {
    **SHARED,
    **{f"v{n}_{part}": "" for n in CARDS for part in VARIANT},
    "v1_name": "latest",
    "v1_ranker": "latest",
    "v2_name": "interest",
    "v2_ranker": "interest",
}
PLACES: Mapping[str, str] = {
    "name": "name",
    "venue": "venue",
    "world": "world",
    "personas": "world",
    "setting/cycles": "cycles",
    "setting/every": "every",
    "setting/model": "model",
    "setting": "setting",
    "runs": "runs",
    "seed": "seed",
    "seeds": "seed",
    "parallel": "parallel",
    "hypotheses": "hypotheses",
    "analysis": "analysis",
    "outcomes/control": "control",
    "outcomes/primary": "primary_more",
    "outcomes/exploratory": "exploratory_more",
    "outcomes/margins": "margins",
    "exclude": "exclude_outcome",
    "stop/failed": "stop_failed",
    "stop/seconds": "stop_minutes",
    "stop/precision/half_width": "stop_half_width",
    "stop": "stop_outcome",
    "budget/tokens": "budget_tokens",
    "budget/usd": "budget_usd",
}
"""Which field holds a place of a design; the longest beginning counts."""


class WrongFieldsError(ValueError):
    """What is wrong, by field; `form` for what no field holds."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("; ".join(wrong.values()))
        self.wrong = dict(wrong)


def families() -> dict[str, list[Metric]]:
    """The metrics of worlds by family, as the catalogue has them."""
    found: dict[str, list[Metric]] = {}
    for one in METRICS.values():
        found.setdefault(one.family, []).append(one)
    return found


def typed(form: Form) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What somebody has filled in: texts by field, and the outcomes that are ticked."""
    texts = {name: form[name].replace("\r\n", "\n")[:TEXT_MOST] for name in BLANK}
    ticked = {name: [one for one in form.all(name) if one in METRICS] for name in ("primary", "exploratory")}
    return texts, ticked


def design_of(texts: Mapping[str, str], ticked: Mapping[str, list[str]]) -> Experiment:
    """The design that a form describes.

    Raises:
        WrongFieldsError: tells of every field that can't be taken.
    """
    try:
        return checked(data_of(texts, ticked))
    except Invalid as error:
        raise WrongFieldsError(located(texts, error)) from None


def data_of(texts: Mapping[str, str], ticked: Mapping[str, list[str]]) -> dict[str, Any]:
    """The same as data, not checked.

    Raises:
        WrongFieldsError: a text can't be read.
    """
    if texts["mode"] == "text":
        return table_of("text", texts["text"], whole=True)
    t = {name: text.strip() for name, text in texts.items()}
    wrong: dict[str, str] = {}

    def read(name: str) -> dict[str, Any]:
        try:
            return table_of(name, t[name])
        except WrongFieldsError as error:
            wrong.update(error.wrong)
            return {}

    shared = {"cycles": "cycles", "every": "every"} if t["venue"] == "feed" else {}
    shared |= {"model": "model"} if t["venue"] in ("feed", "chatroom") else {}
    found: dict[str, Any] = {
        **_given(t, name="name", venue="venue", world="world", runs="runs", seed="seed", parallel="parallel"),
        "setting": merge(_given(t, **shared), read("setting")),
        "variants": {
            t[f"v{n}_name"] or f"variant{n}": merge(
                _given(t, **{_part(t, part): f"v{n}_{part}" for part in VARIANT if part not in ("name", "more")}),
                read(f"v{n}_more"),
            )
            for n in cards(t)
        },
        "outcomes": _outcomes(t, ticked, wrong),
    }
    if len(found["variants"]) < len(cards(t)):
        wrong[f"v{cards(t)[-1]}_name"] = "another variant has this name"
    found |= _rules(t)
    if t["hypotheses"]:
        found["hypotheses"] = [line.strip() for line in t["hypotheses"].splitlines() if line.strip()]
    if t["analysis"]:
        found["analysis"] = t["analysis"]
    if wrong:
        raise WrongFieldsError(wrong)
    return found


def _part(texts: Mapping[str, str], field: str) -> str:
    """What a field of a variant is called in the design: agents of a chatroom are told a template."""
    return "prompt_template" if field == "prompt" and texts["venue"] == "chatroom" else field


def cards(texts: Mapping[str, str]) -> list[int]:
    """The variants of which anything is filled in."""
    return [n for n in CARDS if any(texts[f"v{n}_{part}"].strip() for part in VARIANT)]


def _given(texts: Mapping[str, str], **names: str) -> dict[str, Any]:
    """What is filled in, by the design's names; numbers as numbers."""
    return {
        name: _number(texts[field]) if name in NUMBERS else texts[field]
        for name, field in names.items()
        if texts[field]
    }


NUMBERS = frozenset(
    {"cycles", "runs", "seed", "parallel", "temperature", "above", "below", "failed", "half_width", "tokens", "usd"}
)


def _number(text: str) -> Any:
    """A number where it is one; else the text, for the design to refuse."""
    try:
        found = float(text) if any(c in text for c in ".eE") else int(text)
    except (ValueError, OverflowError):
        return text[:100]
    return found


def _outcomes(t: Mapping[str, str], ticked: Mapping[str, list[str]], wrong: dict[str, str]) -> dict[str, Any]:
    lists = {
        name: list(
            dict.fromkeys([*ticked[name], *(one.strip() for one in t[f"{name}_more"].splitlines() if one.strip())])
        )
        for name in ("primary", "exploratory")
    }
    margins = {}
    for line in t["margins"].splitlines():
        name, sign, value = line.partition("=")
        if line.strip() and not (sign and isinstance(_number(value.strip()), int | float)):
            wrong["margins"] = f"{line.strip()[:60]!r} is not NAME = NUMBER"
        elif line.strip():
            margins[name.strip()] = _number(value.strip())
    return {
        **lists,
        **({"margins": margins} if margins else {}),
        **({"control": t["control"]} if t["control"] else {}),
        "paired": t["pairing"] != "apart",
    }


def _rules(t: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exclusion = _given(t, outcome="exclude_outcome", above="exclude_above", below="exclude_below")
    if exclusion or t["exclude_missing"]:
        found["exclude"] = [{**exclusion, "missing": t["exclude_missing"] == "yes"}]
    stop = _given(t, failed="stop_failed")
    if t["stop_minutes"]:
        minutes = _number(t["stop_minutes"])
        stop["seconds"] = minutes * 60 if isinstance(minutes, int | float) else minutes
    if t["stop_outcome"] or t["stop_half_width"]:
        stop["precision"] = _given(t, outcome="stop_outcome", half_width="stop_half_width")
    if stop:
        found["stop"] = stop
    if budget := _given(t, tokens="budget_tokens", usd="budget_usd"):
        found["budget"] = budget
    return found


def table_of(field: str, text: str, *, whole: bool = False) -> dict[str, Any]:
    """The table in a field: JSON, where it begins with a brace, else TOML.

    Raises:
        WrongFieldsError: it can't be read, or `whole` and empty.
    """
    if not text.strip():
        if whole:
            raise WrongFieldsError({field: "is empty: paste a design, or load an example"})
        return {}
    name = "design.json" if text.lstrip().startswith("{") else "design.toml"
    try:
        found = value_of(text.encode("utf-8", "replace"), name)
    except Invalid as error:
        raise WrongFieldsError({field: error.detail.partition(": ")[2]}) from None
    if not isinstance(found, dict):
        raise WrongFieldsError({field: "must be an object"})
    return found


def located(texts: Mapping[str, str], error: Invalid) -> dict[str, str]:
    """What is wrong, by the form's fields."""
    wrong: dict[str, str] = {}
    for one in error.errors:
        place = one.pointer.strip("/").replace("~1", "/").replace("~0", "~")
        said = one.message
        if texts["mode"] != "form":
            said = f"{place.removesuffix('/[key]').replace('/', '.')}: {said}"
        name = _field(texts, place)
        wrong[name] = f"{wrong[name]}; {said}" if name in wrong else said
    return wrong or {_field(texts, ""): error.detail}


def _field(texts: Mapping[str, str], place: str) -> str:
    if texts["mode"] == "text":
        return "text"
    parts = place.split("/")
    if parts[0] == "variants":
        return _field_of_variant(texts, place.partition("/")[2])
    for size in range(len(parts), 0, -1):
        if (name := PLACES.get("/".join(parts[:size]))) is not None:
            return name
    return "form"


def _field_of_variant(texts: Mapping[str, str], place: str) -> str:
    """The field of what stands at NAME or NAME/KEY; names are as they were typed, so may hold a slash."""
    names = {n: texts[f"v{n}_name"].strip() or f"variant{n}" for n in cards(texts)}
    n = max((n for n in names if f"{place}/".startswith(f"{names[n]}/")), key=lambda n: len(names[n]), default=0)
    key = place[len(names[n]) + 1 :].partition("/")[0] if n else ""
    if key in ("", "[key]"):
        return f"v{n or 1}_name"
    key = "prompt" if key == "prompt_template" else key
    return f"v{n}_{key if key in VARIANT else 'more'}"


def as_text(data: Mapping[str, Any]) -> str:
    """A design as JSON, to be changed by hand."""
    return json.dumps(data, ensure_ascii=False, indent=2)
