"""The package of a study that bots played: marked as such, read back, and compared with what the bots were told."""

import hashlib
import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from app.cli.bench.load import timing
from app.cli.bots.people import Bot
from app.errors import Misconfigured
from app.venues.chatroom.design import StudyDesign, arm_of

SUMS = "SHA256SUMS"
WARNING = """\
> **This is test data.** Everybody who takes part in it is a bot of `simfeed study test`: no person wrote, answered or
> agreed to anything in here. `manifest.json` says `"test": true`.

"""
ROWS = "participants", "assignments", "sessions", "messages", "events", "members", "turns", "blocks", "calls"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Read:
    """A package as it was read back. `rows`: its tables; `wrong`: files whose checksum is another."""

    rows: dict[str, list[dict[str, Any]]]
    wrong: list[str]


def read(file: IO[bytes]) -> Read:
    """A package as anybody reads it: only what is in the file.

    Raises:
        Misconfigured: it is none.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            files = {name: packed.read(name) for name in packed.namelist()}
    except (zipfile.BadZipFile, KeyError) as error:
        raise Misconfigured(f"the package can't be read back: {error}") from None
    lines = (line.partition("  ") for line in files.pop(SUMS).decode().splitlines())
    sums = {name: sum_ for sum_, _, name in lines}
    wrong = sorted(name for name in sums.keys() | files.keys() if sums.get(name) != _sha256(files.get(name, b"")))
    rows = {name: [json.loads(line) for line in files[f"data/{name}.jsonl"].splitlines()] for name in ROWS}
    return Read(rows, wrong)


# What the bots were told, beside what the package holds


def compare(found: Read, bots: Sequence[Bot], design: StudyDesign, seed: int) -> dict[str, Any]:
    """The figures of a test: who came how far, how soon answers came, and whatever is not as it should be."""
    by_session = {name: _grouped(rows) for name, rows in found.rows.items() if rows and "session" in rows[0]}
    whose = {row["session"]: row["participant"] for row in found.rows["sessions"]}
    people = {row["participant"]: row for row in found.rows["participants"]}
    lost, doubled, disordered = Counter[str](), 0, 0
    problems: list[tuple[Bot | None, str]] = [(bot, problem) for bot in bots for problem in bot.problems]
    echoes: list[float] = []
    answers: list[float] = []
    for bot in bots:
        seat = bot.seat
        if seat is None:
            continue
        rows = {name: grouped.get(bot.room, []) for name, grouped in by_session.items()}
        echoes += [sent.seconds for sent in seat.sent if sent.seconds is not None]
        answers += _first_answers(bot, rows)
        told, wanted = [one["message_id"] for one in seat.heard], _wanted(bot, rows)
        lost["messages to bots"] += len(set(wanted) - set(told))
        lost["events to bots"] += seat.gaps
        doubled += seat.doubled
        known, due = set(told), set(wanted)
        disordered += [key for key in wanted if key in known] != [key for key in told if key in due]
        if known - due:
            problems.append((bot, f"was told {len(known - due)} messages that were not for it"))
        missing, twice = _own(bot, rows)
        lost["messages of bots"] += missing
        doubled += twice
        person = people.get(whose.get(bot.room) or "")
        if person is not None and not bot.problems and (end := ended(person)) != bot.end:
            problems.append((bot, f"is {end} in the data, and should be {bot.end}"))
    lost["numbers without a row"] = _gaps(by_session.get("messages", {}), "number") + _gaps(
        by_session.get("events", {}), "position"
    )
    if (came := sum(bot.came for bot in bots)) != len(people):
        problems.append((None, f"{came} bots came in, and {len(people)} participants are in the data"))
    if undebriefed := [
        name
        for name, row in people.items()
        if design.debrief_text and design.consent == "page" and row["state"] == "finished" and not row["debriefed_at"]
    ]:
        problems.append((None, f"{len(undebriefed)} participants finished without the debrief"))
    problems += [(None, f"{name} is not what its checksum says") for name in found.wrong]
    balance, unlike = _balance(found.rows["assignments"], design, seed)
    sound = not (problems or any(lost.values()) or doubled or disordered or unlike)
    messages = found.rows["messages"]
    return {
        "participants": len(people),
        "ends": _ends(people.values(), design),
        "characters": _characters(bots),
        "messages": {
            "people": sum(row["member"] == 0 for row in messages),
            "agents": sum(row["member"] != 0 for row in messages),
        },
        "calls": len(found.rows["calls"]),
        "calls_failed": sum(row["status"] != "ok" for row in found.rows["calls"]),
        "echo": _timing(echoes),
        "first_answer": _timing(answers),
        "lost": sum(lost.values()),
        "lost_of": dict(lost),
        "doubled": doubled,
        "disordered": disordered,
        "breaks": sum(bot.seat.breaks for bot in bots if bot.seat),
        "balance": balance,
        "assigned_otherwise": unlike,
        "problems": [
            {"bot": None if bot is None else bot.number, "character": bot and bot.character, "problem": problem}
            for bot, problem in problems
        ],
        "sound": sound,
    }


def _grouped(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["session"]].append(row)
    return found


def ended(person: Mapping[str, Any]) -> str:
    """How it ended with a participant, in the words of the table."""
    left = person["end_reason"] == "left"
    match person["state"]:
        case "finished":
            return "left" if left else "finished"
        case "dropped_out":
            return "left" if left else "dropped out"
        case "active":
            return "dropped out"  # a page is closed without a word
        case state:
            return str(state)


def _ends(people: Any, design: StudyDesign) -> list[dict[str, Any]]:
    found = {arm: Counter[str]() for arm in sorted(design.arms)}
    for row in people:
        found.setdefault(row["arm"] or "", Counter())[ended(row)] += 1
    return [{"arm": arm, "came": counts.total(), **counts} for arm, counts in found.items()]


def _characters(bots: Sequence[Bot]) -> list[dict[str, Any]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for bot in bots:
        counts = found[bot.character]
        counts["bots"] += 1
        counts["wrote"] += len(bot.seat.sent) if bot.seat else 0
        counts["was_told"] += len(bot.seat.at) if bot.seat else 0
        counts["failed"] += bool(bot.problems)
    return [{"character": name, **counts} for name, counts in sorted(found.items())]


def _wanted(bot: Bot, rows: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    """The messages that a bot must have been told, in order, as far as it listened."""
    seat = bot.seat
    if seat is None:
        return []
    messages = {row["number"]: row for row in rows.get("messages", [])}
    names = {row["member"]: row["name"] for row in rows.get("members", [])}
    last = next((n for n in sorted(messages, reverse=True) if messages[n]["message_id"] in seat.at), 0)
    wanted: list[str] = []
    blocked: set[int] = set()
    whole = seat.ended in ("time", "left", "closed")
    for event in rows.get("events", []):
        if event["kind"] == "user_block":
            blocked.add(_json(event["detail"])["blocked"])
        row = messages.get(event["number"]) if event["kind"] == "message" else None
        if row is None or row["member"] in blocked or (not seat.extras and names[row["member"]] == "participant"):
            continue
        if event["position"] <= seat.position if seat.extras else (whole or row["number"] <= last):
            wanted.append(row["message_id"])
    return wanted


def _json(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, str) else value


def _own(bot: Bot, rows: Mapping[str, list[dict[str, Any]]]) -> tuple[int, int]:
    """How many messages of a bot are not there, and how many more than once; erased ones can only be counted."""
    if bot.seat is None:
        return 0, 0
    own = [row["body"] for row in rows.get("messages", []) if row["member"] == 0]
    sent = [one.content for one in bot.seat.sent if not one.refused]
    if own and all(body is None for body in own):
        return max(0, len(sent) - len(own)), max(0, len(own) - len(sent))
    counts = Counter(own)
    return sum(not counts[text] for text in sent), sum(counts[text] > 1 for text in sent)


def _first_answers(bot: Bot, rows: Mapping[str, list[dict[str, Any]]]) -> list[float]:
    """Seconds from sending a message to being told the first agent's answer to it."""
    seat = bot.seat
    if seat is None:
        return []
    numbers = {row["message_id"]: row["number"] for row in rows.get("messages", [])}
    bodies = {row["body"]: row["number"] for row in rows.get("messages", []) if row["member"] == 0}
    why = {row["turn_id"]: row["number"] for row in rows.get("turns", []) if row["cause"] != "background"}
    heard: dict[int, float] = {}
    for row in rows.get("messages", []):
        asked, at = why.get(row["turn_id"]), seat.at.get(row["message_id"])
        if asked is not None and at is not None:
            heard[asked] = min(at, heard.get(asked, at))
    mine = [(numbers.get(sent.key) or bodies.get(sent.content), sent.at) for sent in seat.sent]
    return [heard[number] - at for number, at in mine if number in heard]


def _timing(seconds: list[float]) -> dict[str, Any]:
    if not seconds:
        return {"count": 0, "p50_ms": None, "p99_ms": None}
    found = timing(seconds, 1.0)
    return {"count": len(seconds), "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}


def _gaps(sessions: Mapping[str, list[dict[str, Any]]], column: str) -> int:
    return sum(
        len(set(range(1, max(row[column] for row in rows) + 1)) - {row[column] for row in rows})
        for rows in sessions.values()
    )


def _balance(
    assignments: Sequence[Mapping[str, Any]], design: StudyDesign, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """By arm: who came by a token that named it, and who was drawn, beside what the weights make one expect.

    Returns:
        The rows, and how many were drawn into another arm than design and seed give.
    """
    named, drawn = Counter[str](), Counter[str]()
    unlike = 0
    for row in assignments:
        if row["how"] == "drawn":
            drawn[row["arm"]] += 1
            unlike += arm_of(design, seed, row["stratum"] or "", row["place"]) != row["arm"]
        elif row["how"] == "token":
            named[row["arm"]] += 1
    weights = sum(arm.weight for arm in design.arms.values())
    return [
        {
            "arm": arm,
            "weight": design.arms[arm].weight,
            "by_token": named[arm],
            "drawn": drawn[arm],
            "expected": round(drawn.total() * design.arms[arm].weight / weights, 1),
        }
        for arm in sorted(design.arms)
    ], unlike
