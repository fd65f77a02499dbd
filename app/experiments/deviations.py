"""Where an experiment is not what was promised when it was frozen: found by themselves, in the rows."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any

from pydantic import ValidationError

from app.agent.prompt import texts_sha256
from app.analysis.catalogue import METRICS
from app.experiments.design import Experiment
from app.world.experiments import Trial

HOW = ("parallel", "keep_worlds")
"""Of a design what changes nothing that is found."""

LATE = "frozen late"
MISSING = object()


def canonical(document: Any) -> bytes:
    """A document as JSON that is the same however it was kept: keys in order, whole numbers without a point."""
    return json.dumps(
        _whole(document), sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).encode()


def sha256_of(document: Any) -> bytes:
    """The SHA-256 of the canonical document."""
    return hashlib.sha256(canonical(document)).digest()


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def plain(design: Experiment) -> dict[str, Any]:
    """A design as data, all that it leaves out with its default."""
    data: dict[str, Any] = design.model_dump(mode="json", by_alias=True)
    return data


def program(design: Experiment) -> dict[str, Any]:
    """What else the results hang on: this program's version, its prompts, its versions of the outcomes' metrics."""
    metrics = {name: METRICS[name].version for name in design.outcomes.names() if name in METRICS}
    told: dict[str, Any] = {"version": version("simfeed"), "prompts_sha256": texts_sha256()}
    return {**told, "metrics": metrics} if design.venue == "feed" else told


def differences(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ: path, the one, the other; None for what is not there. Lists differ as a whole."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*was, *now)):
            place = f"{path}.{key}" if path else str(key)
            yield from differences(was.get(key, MISSING), now.get(key, MISSING), place)
    elif _whole(was) != _whole(now):
        yield path, None if was is MISSING else was, None if now is MISSING else now


def deviations(
    row: Mapping[str, Any], design: Experiment, trials: Sequence[Trial], changes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What is not as it was promised: `what`, `was`, `is`, `at`, `note`; none where nothing was frozen.

    A run that failed or never ran is one, and so is a program, a prompt or a metric of another version that played a
    run, and a world that was another when the first run began.

    Args:
        row: The experiment's, with `frozen` as data.
        design: As it is now.
        trials: All of its runs.
        changes: What was done to it.
    """
    frozen = row.get("frozen")
    if frozen is None:
        return []
    since = [one for one in changes if one["at"] >= row["frozen_at"]]
    return [
        *_frozen(row, frozen, trials),
        *_design(frozen, design, since),
        *_start(row, frozen),
        *_program(frozen, trials),
        *_done(since),
        *_ended(row),
        *_runs(row, frozen, trials),
    ]


def _one(what: str, was: Any, now: Any, at: datetime | None = None, note: str = "") -> dict[str, Any]:
    return {"what": what, "was": was, "is": now, "at": None if at is None else at.isoformat(), "note": note}


def _frozen(row: Mapping[str, Any], frozen: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    if (now := sha256_of(frozen)) != row["frozen_sha256"]:
        yield _one("the frozen document was altered", row["frozen_sha256"].hex(), now.hex())
    begun = [one for one in trials if one.started_at is not None and one.started_at < row["frozen_at"]]
    if begun:
        told = f"{len(begun)} of {len(trials)} runs had begun"
        yield _one("frozen after the first run began", "before any run", told, row["frozen_at"])


def _design(
    frozen: Mapping[str, Any], design: Experiment, since: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for path, was, now in differences(_as_now(frozen["design"]), plain(design)):
        if path.split(".")[0] in HOW or path in ("outcomes.primary", "outcomes.exploratory"):
            continue
        yield _one(f"design: {path}", was, now, *_noted(f"design: {path}", since))
    for family in ("primary", "exploratory"):
        promised = {one["name"] for one in frozen["outcomes"][family]}
        path = f"design: outcomes.{family}"
        for name in [one for one in getattr(design.outcomes, family) if one not in promised]:
            was = next((f for f in ("primary", "exploratory") if name in _names(frozen, f)), "not an outcome")
            yield _one(f"outcome: {name}", was, family, *_noted(path, since))
        for name in [one for one in _names(frozen, family) if one not in design.outcomes.names()]:
            yield _one(f"outcome: {name}", family, "not an outcome", *_noted(path, since))


def _as_now(design: Mapping[str, Any]) -> Mapping[str, Any]:
    """A frozen design with the parts that designs have got since, as they were without them."""
    try:
        return plain(Experiment.model_validate(design))
    except ValidationError:
        return design


def _names(frozen: Mapping[str, Any], family: str) -> list[str]:
    return [one["name"] for one in frozen["outcomes"][family]]


def _noted(path: str, since: Sequence[Mapping[str, Any]]) -> tuple[datetime | None, str]:
    """When a place of the design was last changed, and what was said of it."""
    for one in reversed(since):
        if one["what"] == path or path.startswith(f"{one['what']}."):
            return one["at"], one["note"]
    return None, ""


def _start(row: Mapping[str, Any], frozen: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    promised, now = (frozen.get("start") or {}).get("sha256"), row.get("start_sha256")
    if promised is not None and now is not None and promised != now.hex():
        told = f"the world {frozen['start']['world']} has changed between the freeze and the first run"
        yield _one("the starting world", promised, now.hex(), row.get("started_at"), told)


def _program(frozen: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """What played a run and was not what was promised, with the runs."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for one in trials:
        for played in one.programs:
            for what, was, now in _versions(frozen, played):
                found.setdefault((what, str(was), str(now)), []).append(one.number)
    for (what, was, now), runs in found.items():
        listed = ", ".join(map(str, runs[:20])) + (f" and {len(runs) - 20} more" if len(runs) > 20 else "")
        yield _one(what, was, now, note=f"in run{'s' if len(runs) > 1 else ''} {listed}")


def _versions(frozen: Mapping[str, Any], played: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    names = {"version": "program: version", "prompts_sha256": "program: prompts"}
    for key, what in names.items():
        if key in frozen["program"] and frozen["program"][key] != played.get(key):
            yield what, frozen["program"][key], played.get(key)
    for one in (*frozen["outcomes"]["primary"], *frozen["outcomes"]["exploratory"]):
        now = played.get("metrics", {}).get(one["name"])
        if now is not None and one.get("version") is not None and now != one["version"]:
            yield f"metric: {one['name']}", f"version {one['version']}", f"version {now}"


def _done(since: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What was done by hand: runs left out, budgets raised, stops."""
    for one in since:
        if one["what"] != LATE and not str(one["what"]).startswith("design: "):
            yield _one(str(one["what"]), one["was"], one["now"], one["at"], str(one["note"]))


def _ended(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if row["state"] in ("stopped", "paused", "budget_exhausted") and not _by_rule(row):
        yield _one("stopped before all its runs were done", "completed", row["state"], None, row.get("reason") or "")


def _by_rule(row: Mapping[str, Any]) -> bool:
    return str(row.get("reason") or "").startswith("stopping rule")


def _runs(row: Mapping[str, Any], frozen: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    ended = row.get("ended_at")
    for one in trials:
        told = f"run {one.number} ({one.variant}, seed {one.seed})"
        if one.state == "failed":
            yield _one(told, "completed", "failed", one.ended_at, one.reason or "")
        elif ended is not None and not one.over and not _by_rule(row):
            yield _one(told, "completed", f"not run: {one.state}", ended, one.reason or "")
    there = {(one.number, one.variant, one.seed) for one in trials}
    for run in frozen["runs"]:
        if (run["number"], run["variant"], run["seed"]) not in there:
            yield _one(f"run {run['number']} ({run['variant']}, seed {run['seed']})", "planned", "not planned")
