"""What is promised of an experiment before it runs, kept with its hash; and what may be changed later, with a note."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from app.analysis.catalogue import METRICS
from app.db import worlds as databases
from app.db.engine import Database
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.experiments import planning
from app.experiments.compared import unit_of
from app.experiments.design import Experiment, checked
from app.experiments.deviations import HOW, LATE, differences, plain, program, sha256_of
from app.experiments.outcomes import known
from app.experiments.runner import design_of
from app.experiments.trial import excluded_by, measured, network_sha256, wanted
from app.settings import Settings
from app.world import worlds
from app.world.experiments import EXPERIMENTS, Trial, change, found, trial_of, trials
from app.world.sessions import decoded, encoded

FORMAT = 2
ANALYSIS = ("name", "hypotheses", "analysis", "outcomes", "exclude", "sensitivity")
"""Parts of a design that can be changed once a run has begun: what is made of the runs, not the runs."""

BY_HAND = "by hand: "
NOTE_MOST = 1_000
DROPPED = "its world was dropped before this was asked for"


async def freeze(
    home: Database, settings: Settings, key: str, *, by: int | None = None, late: bool = False
) -> dict[str, Any]:
    """Promise an experiment as it is; what was promised: `sha256`, `at`, `document`, and `late`.

    Args:
        by: Which admin's.
        late: Even though runs have begun, which its report then tells.

    Raises:
        NotFound: there is none of this key.
        Conflict: it is frozen already, or a run has begun.
        Invalid, Misconfigured: it can't be run as it is (`planning.check`).
    """
    row = await found(home, key)
    if row["frozen_at"] is not None:
        raise Conflict(f"the experiment {key} was frozen on {row['frozen_at']:%Y-%m-%d %H:%M} UTC: that is done once")
    design = design_of(row)
    if not late:
        await planning.check(home, settings, design)
    start = await _start(home, row, design)
    async with home.connection() as connection, connection.transaction():
        row = await _locked(connection, key)
        runs = [trial_of(one) for one in await connection.fetch(EXPERIMENTS["trials"], row["id"])]
        begun = _begun(row, runs)
        if begun and not late:
            raise Conflict(
                f"runs of the experiment {key} have begun: --late freezes it still, and its report tells that"
            )
        document = {**document_of(row, design_of(row), runs), "start": start}
        digest = sha256_of(document)
        at = await connection.fetchval(EXPERIMENTS["freeze"], row["id"], encoded(document), digest)
        if at is None:
            raise Conflict(f"the experiment {key} was frozen just now")
        if begun:
            await change(connection, row["id"], LATE, now=digest.hex(), by=by)
    return {"sha256": digest.hex(), "at": at.isoformat(), "document": document, "late": begun}


async def _start(home: Database, row: Mapping[str, Any], design: Experiment) -> dict[str, Any] | None:
    """The world in which all runs begin, and the hash of its network; None where the design has people of its own."""
    if design.personas is not None:
        return None
    if row["start_sha256"] is not None:
        return {"world": row["source"], "sha256": row["start_sha256"].hex()}
    url = await databases.locate(home.url, design.world)
    return {"world": design.world, "sha256": (await network_sha256(url)).hex()}


def document_of(row: Mapping[str, Any], design: Experiment, runs: Sequence[Trial]) -> dict[str, Any]:
    """What is promised, as data."""
    families = {family: getattr(design.outcomes, family) for family in ("primary", "exploratory")}
    whole = plain(design)
    return {
        "format": FORMAT,
        "experiment": row["key"],
        "name": design.name,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hypotheses": list(design.hypotheses),
        "outcomes": {
            **{family: [_outcome(design.venue, name) for name in names] for family, names in families.items()},
            **{key: whole["outcomes"][key] for key in ("margins", "paired", "level")},
            "control": design.control,
        },
        "exclude": whole["exclude"],
        "stop": whole["stop"],
        "analysis": design.analysis,
        "budget": {"tokens": row["budget_tokens"], "usd": row["budget_usd"]},
        "estimate": decoded(row["estimate"]),
        "design": whole,
        "runs": [{k: getattr(one, k) for k in ("number", "variant", "replicate", "seed")} for one in runs],
        "runs_begun": sum(one.started_at is not None for one in runs),
        "program": program(design),
    }


def _outcome(venue: str, name: str) -> dict[str, Any]:
    if venue == "feed" and name in METRICS:
        one = METRICS[name]
        return {"name": name, "unit": one.unit, "version": one.version, "formula": one.formula, "source": one.source}
    return {"name": name, "unit": unit_of(venue, name), "formula": known(venue).get(name, "")}


async def _locked(connection: asyncpg.pool.PoolConnectionProxy, key: str) -> asyncpg.Record:
    """An experiment's row, which nobody begins or changes until the transaction's end."""
    row = await connection.fetchrow(EXPERIMENTS["locked"], key)
    if row is None:
        raise NotFound(f"no experiment has the key {key[:40]!r}")
    return row


def _begun(row: Mapping[str, Any], runs: Sequence[Trial]) -> bool:
    return row["started_at"] is not None or any(one.started_at is not None for one in runs)


# Changes


async def amend(
    home: Database, settings: Settings, key: str, changes: Mapping[str, Any], note: str = "", by: int | None = None
) -> list[dict[str, Any]]:
    """Change a design: what was changed, each as `what`, `was`, `is`. `changes` is a merge patch (RFC 7396): tables are
    merged, null takes away, all else takes the place of what was there.

    Before it is begun all of it can be changed, and its runs are planned anew. After that it is the parts in `ANALYSIS`
    alone, while it does not run; outcomes that are new are measured in the worlds of runs that were kept.

    Raises:
        NotFound: there is none of this key.
        Invalid: the design would be none, each fault with its place; or nothing would change.
        Conflict: runs have begun, and this would change them; or it runs.
    """
    row = await found(home, key)
    design = design_of(row)
    new = checked(_patched(decoded(row["design"]), changes), "changes")
    places = list(differences(plain(design), plain(new)))
    if not places:
        raise Invalid("changes: all of it is as it was")
    said = _note(note)
    begun = _begun(row, await trials(home, row["id"]))
    told = None
    if begun:
        _only_analysis(key, row["state"], places)
        planning.check_outcomes(new)
    else:
        told = await planning.check(home, settings, new)
    async with home.connection() as connection, connection.transaction():
        now = await _locked(connection, key)
        runs = [trial_of(one) for one in await connection.fetch(EXPERIMENTS["trials"], row["id"])]
        if now["design"] != row["design"] or _begun(now, runs) != begun:
            raise Conflict(f"the experiment {key} was changed or begun just now: look at it again")
        if begun:
            await connection.fetchval(EXPERIMENTS["redesign"], row["id"], planning.stored(new), new.name)
        else:
            await _replan(connection, row["id"], new, told)
        for path, was, is_now in places:
            await change(connection, row["id"], f"design: {path}", was=was, now=is_now, note=said, by=by)
    if begun:
        await measure_again(home, key)
    return [{"what": path, "was": was, "is": is_now} for path, was, is_now in places]


def _patched(base: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    both = dict(base) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            both.pop(key, None)
        else:
            both[key] = _patched(both.get(key), value)
    return both


def _note(note: str) -> str:
    said = " ".join(note.split())
    if len(said) > NOTE_MOST or "\x00" in said:
        raise Invalid(f"note: must be a text of at most {NOTE_MOST:,} characters")
    return said


def _only_analysis(key: str, state: str, places: Sequence[tuple[str, Any, Any]]) -> None:
    if state == "running":
        raise Conflict(f"the experiment {key} runs: stop it first")
    if wrong := [path for path, _, _ in places if path.split(".")[0] not in (*ANALYSIS, *HOW)]:
        words = f"can't be changed: runs of {key} have begun with it; a new experiment can have another"
        errors = [FieldError("/" + path.replace(".", "/"), "runs_have_begun", words) for path in wrong]
        raise Conflict("; ".join(f"{path}: {words}" for path in wrong[:20]), errors=errors)


async def _replan(
    connection: asyncpg.pool.PoolConnectionProxy, experiment_id: int, design: Experiment, told: Any
) -> None:
    runs = design.plan()
    await connection.fetchval(
        EXPERIMENTS["replan"],
        experiment_id,
        design.name,
        design.venue,
        planning.stored(design),
        design.seed,
        design.world,
        encoded(told.data()),
        design.budget.tokens,
        design.budget.usd,
        design.parallel,
    )
    await connection.fetch(EXPERIMENTS["unplan"], experiment_id)
    await connection.fetch(
        EXPERIMENTS["plan_runs"],
        experiment_id,
        [run.number for run in runs],
        [run.variant for run in runs],
        [run.replicate for run in runs],
        [run.seed for run in runs],
    )


async def measure_again(home: Database, key: str) -> int:
    """Measure what runs were not asked for yet, and apply the exclusion rules anew; how many runs changed.

    What is known stays as it was. What was left out by hand stays left out.

    Raises:
        NotFound: there is none of this key.
    """
    row = await found(home, key)
    design, changed = design_of(row), 0
    for one in await trials(home, row["id"]):
        if not one.over:
            continue
        values, why = await _with_new(home, design, one)
        by_hand = one.excluded is not None and one.excluded.startswith(BY_HAND)
        excluded = one.excluded if by_hand else excluded_by(design, values)
        if (values, why, excluded) != (dict(one.outcomes), dict(one.why), one.excluded):
            statement = EXPERIMENTS["measured"]
            await home.fetchval(statement, row["id"], one.number, encoded(values), encoded(why), excluded)
            changed += 1
    return changed


async def _with_new(home: Database, design: Experiment, one: Trial) -> tuple[dict[str, float | None], dict[str, str]]:
    values, why = dict(one.outcomes), dict(one.why)
    new = [name for name in wanted(design) if name not in values]
    if not new:
        return values, why
    known: Mapping[str, float | None] = {}
    reasons: Mapping[str, str] = dict.fromkeys(new, DROPPED)
    if one.world is not None:
        try:
            async with worlds.inside(home, one.world) as database:
                known, reasons, _ = await measured(database, design, one)
        except NotFound:
            pass
    for name in new:
        values[name] = known.get(name)
        if values[name] is None:
            why[name] = reasons.get(name, "it can't be told")
    return values, why


async def exclude(home: Database, key: str, number: int, reason: str | None, by: int | None = None) -> None:
    """Leave a run out of comparisons by hand, for a reason; or (None) take it in again, unless a rule leaves it out.

    Raises:
        NotFound: there is none of this key, or no such run.
        Conflict: the run did not come to an end: it is not compared anyway.
        Invalid: no reason, or one that is too long.
    """
    said = None if reason is None else _note(reason)
    if said == "":
        raise Invalid("reason: is needed: the report tells why a run is left out")
    row = await found(home, key)
    async with home.connection() as connection, connection.transaction():
        await _locked(connection, key)
        runs = [trial_of(one) for one in await connection.fetch(EXPERIMENTS["trials"], row["id"])]
        one = next((one for one in runs if one.number == number), None)
        if one is None:
            raise NotFound(f"the experiment {key} has no run {number}: it has {len(runs)}")
        if not one.over:
            raise Conflict(f"run {number} is {one.state}: it is not compared anyway")
        now = excluded_by(design_of(row), one.outcomes) if said is None else f"{BY_HAND}{said}"
        await connection.fetchval(EXPERIMENTS["exclude"], row["id"], number, now)
        what = f"run {number} {'taken in' if said is None else 'left out'} by hand"
        await change(connection, row["id"], what, was=one.excluded, now=now, note=said or "", by=by)


# For registries


def osf_text(document: Mapping[str, Any]) -> str:
    """A preregistration as Markdown, to be pasted into a registry: the frozen document, and its hash at the end."""
    outcomes, design = document["outcomes"], document["design"]
    lists = {
        "Hypotheses": document["hypotheses"],
        "Primary outcomes (corrected by Holm)": [_line(one) for one in outcomes["primary"]],
        "Exploratory outcomes (corrected by Benjamini and Hochberg)": [_line(one) for one in outcomes["exploratory"]],
        "Margins of equivalence": [f"{name}: ±{value:g}" for name, value in outcomes["margins"].items()],
        "Exclusion of runs": [
            "a run that fails is shown, and counts as missing",
            *(_rule(one) for one in document["exclude"]),
        ],
        "Stopping": [*_stops(document["stop"]), *(f"at most {v:,} {k}" for k, v in document["budget"].items() if v)],
    }
    paired = "paired by seed" if outcomes["paired"] else "independent"
    facts = [
        f"Unit of analysis: the run. {len(document['runs'])} runs of {len(design['variants'])} variants, {paired}.",
        f"Control: `{outcomes['control']}`. Intervals: {100 * outcomes['level']:g} %.",
        "p: randomisation tests over runs, two-sided.",
        f"Runs that had begun when this was written: {document['runs_begun']}.",
        f"Program: version {document['program']['version']}, prompts {document['program']['prompts_sha256']}.",
        *([f"Starting world: SHA-256 {start['sha256']}."] if (start := document.get("start")) else []),
    ]
    parts = [
        f"# Preregistration: {_escaped(document['name'] or document['experiment'])}",
        f"Written {document['written_at']}.",
    ]
    for title, lines in lists.items():
        parts += [f"## {title}", "\n".join(f"- {_escaped(one)}" for one in lines) or "None."]
    parts += ["## Analysis", _escaped(document["analysis"]) or "As docs/statistics.md says."]
    parts += ["## Design", "\n".join(f"- {one}" for one in facts), _fenced(design)]
    return "\n\n".join([*parts, f"SHA-256 of the frozen document: {sha256_of(document).hex()}"]) + "\n"


def _line(one: Mapping[str, Any]) -> str:
    version = f", version {one['version']}" if one.get("version") else ""
    return f"{one['name']} ({one['unit']}{version})" + (f": {one['formula']}" if one.get("formula") else "")


def _rule(rule: Mapping[str, Any]) -> str:
    bounds = [f"{word} {rule[word]:g}" for word in ("above", "below") if rule[word] is not None]
    return f"{rule['outcome']}: " + " or ".join([*bounds, *(["missing"] if rule["missing"] else [])])


def _stops(stop: Mapping[str, Any]) -> list[str]:
    told = [f"{stop['failed']} failed runs"] if stop["failed"] else []
    told += [f"{stop['seconds']:g} seconds"] if stop["seconds"] else []
    if (one := stop["precision"]) is not None:
        told.append(f"{one['outcome']} known to ±{one['half_width']:g}, from {one['least']} runs a variant on")
    return told


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in " ".join(str(text).split()))


def _fenced(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    fence = "`" * 3
    while fence in text:
        fence += "`"
    return f"{fence}json\n{text}\n{fence}"
