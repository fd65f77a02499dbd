"""When a monitor's value is worth a word: limits for each, how much there must be to judge by, and what to do then.

The limits are chosen so that worlds of the offline model, which repeats itself more than people do, stay quiet, and
worlds in which something has collapsed do not (docs/monitors.md, tests/analysis/test_realism_worlds.py).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from app.errors import Misconfigured
from app.settings import Settings

Level = Literal["notice", "alarm"]
LEVELS: tuple[Level, ...] = ("notice", "alarm")
Limits = Mapping[str, "Limit"]


@dataclass(frozen=True)
class Limit:
    """A monitor, and from which value on it is worth a notice or an alarm; with less than `least` it is not judged."""

    name: str
    what: str
    unit: str
    notice: float
    alarm: float
    least: int
    of: str
    do: str
    falls: bool = False

    def level(self, value: float | None, n: float) -> Level | None:
        """How bad a value is, by what is known from `n`; None if it is not, or nothing can be told."""
        if value is None or n < self.least:
            return None
        beyond = [value <= x if self.falls else value >= x for x in (self.alarm, self.notice)]
        return "alarm" if beyond[0] else "notice" if beyond[1] else None


_TEMPERATURE = "Raise MODEL_TEMPERATURE, take another model, or give personas more different descriptions."
_TRACES = "Read traces of this run"
MONITORS = (
    Limit("lexical_diversity", "different words in 50", "share", 0.65, 0.5, 150, "words",
          f"The run's texts use few words. {_TEMPERATURE}", falls=True),
    Limit("similarity", "how alike the run's texts are", "cosine", 0.25, 0.4, 8, "texts",
          f"Different personas write the same. {_TEMPERATURE}"),
    Limit("self_similarity", "how alike a persona's new texts are to its last", "cosine", 0.35, 0.6, 6, "personas",
          "Personas repeat themselves. MEMORY=on tells what they wrote; news, or another ranker, gives more to say."),
    Limit("near_copies", "texts that copy what was just read", "share", 0.1, 0.25, 8, "texts",
          "Admin → Safety shows what spreads; COPIES=quarantine hides it."),
    Limit("agreement", "words of consent less words of dissent", "balance", 0.8, 0.95, 20, "such words",
          "Everybody agrees. Models please: say in descriptions whom a persona disagrees with, or take another model."),
    Limit("agreement_drift", "by how much that rose or fell over the last runs", "balance", 0.6, 1.0, 60, "such words",
          "The tone of this world moves one way. Compare the ranker (`simfeed runs exposures`), and an earlier fork."),
    Limit("action_mix", "distance of what they do from the reference", "bits", 0.12, 0.3, 30, "acts",
          "They act otherwise than before: see which action grew, and whether a prompt, model or setting changed."),
    Limit("commonest_action", "share of the commonest action", "share", 0.85, 0.95, 20, "acts",
          f"They do one thing only. {_TRACES}: refused calls say what a model can't do; TOOL_MODE=json may help."),
    Limit("assistant_speak", "texts in the voice of an AI assistant", "share", 0.01, 0.1, 8, "texts",
          "The model falls out of its part. Take another, or make descriptions more vivid; the list says whose."),
    Limit("own_instructions", "texts that repeat instructions", "share", 0.01, 0.1, 8, "texts",
          "Instructions leak. Admin → Safety shows the texts; take another model."),
    Limit("off_topic", "posts without a word of their writer's interests", "share", 0.95, 0.99, 40, "posts",
          "Personas do not speak of what they care for: look whether interests are told, and what the feed shows."),
    Limit("other_script", "texts in another script than the description", "share", 0.05, 0.25, 8, "texts",
          "The model changes its language. Say in the description which one the persona writes."),
    Limit("length", "texts much longer or shorter than usual", "share", 0.3, 0.6, 8, "texts",
          "Lengths jumped: look whether MODEL_MAX_TOKENS, the prompt or the model changed."),
    Limit("against_leaning", "texts with the other side's catchwords alone", "share", 0.1, 0.3, 8, "texts",
          "Personas speak against their leaning. Make it plainer in descriptions, or take another model."),
    Limit("refusals", "turns in which the model declined", "share", 0.05, 0.2, 8, "turns",
          f"The model declines to play. {_TRACES}, soften what it objects to, or set MODEL_FALLBACK."),
    Limit("errors", "turns that failed or were put off", "share", 0.05, 0.2, 8, "turns",
          "`simfeed runs show` names the reasons; mend them, then `simfeed runs resume`."),
    Limit("silence", "turns in which nothing was done", "share", 0.6, 0.9, 8, "turns",
          f"They read and do nothing. {_TRACES}: a model without function calls needs TOOL_MODE=json."),
)  # fmt: skip
"""Every monitor, in the order in which they are shown."""

BY_NAME = {one.name: one for one in MONITORS}
_LIMIT = re.compile(r"([a-z_]+)=(?:(off)|([0-9.]+)/([0-9.]+))")
KINDS = (
    "post", "comment", "reply", "quote", "repost", "like", "unlike", "like_comment",
    "unlike_comment", "react", "follow", "unfollow", "mute", "block",
    "report", "bio",
)  # fmt: skip


def limits_of(setting: str) -> dict[str, Limit]:
    """The limits that hold, by monitor: `ALARMS` is `off`, or by commas `NAME=NOTICE/ALARM` and `NAME=off`.

    Raises:
        Misconfigured: it is not of that form, or names no monitor.
    """
    if setting.strip() == "off":
        return {}
    found = dict(BY_NAME)
    for part in filter(None, (part.strip() for part in setting.split(","))):
        match = _LIMIT.fullmatch(part)
        if match is None or match[1] not in BY_NAME:
            names = ", ".join(BY_NAME)
            raise Misconfigured(f"ALARMS: {part!r} is not NAME=NOTICE/ALARM or NAME=off; the names are {names}")
        if match[2]:
            del found[match[1]]
            continue
        try:
            found[match[1]] = replace(BY_NAME[match[1]], notice=float(match[3]), alarm=float(match[4]))
        except ValueError:
            raise Misconfigured(f"ALARMS: {part!r} holds no two numbers, as similarity=0.3/0.5") from None
    return found


def mix_of(setting: str) -> dict[str, float] | None:
    """The reference that `ACTION_MIX` names, as shares; None for `first`, the world's first cycles.

    Raises:
        Misconfigured: it is neither that nor `KIND=NUMBER` by commas.
    """
    if setting.strip() in ("", "first"):
        return None
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        name, _, given = part.partition("=")
        try:
            found[name.strip()] = float(given)
        except ValueError:
            found[name.strip()] = -1.0
        if name.strip() not in KINDS or not 0 <= found[name.strip()] < 1e9:
            raise Misconfigured(f"ACTION_MIX: {part!r} is not KIND=NUMBER; the kinds are {', '.join(KINDS)}")
    if not sum(found.values()):
        raise Misconfigured("ACTION_MIX: at least one number must be more than 0, as in post=20,comment=30,like=50")
    return found


def check(settings: Settings) -> None:
    """
    Raises:
        Misconfigured: ALARMS or ACTION_MIX is wrong.
    """
    limits_of(settings.alarms)
    mix_of(settings.action_mix)


@dataclass(frozen=True)
class Alarm:
    """A monitor whose value is beyond a limit."""

    monitor: str
    level: Level
    value: float
    limit: float

    @property
    def text(self) -> str:
        """What is the matter, and what to do."""
        known = BY_NAME.get(self.monitor)
        if known is None:
            return f"{self.monitor} is {self.value:g}"
        side = "at most" if known.falls else "at least"
        first, rest = known.what[0].upper(), known.what[1:]
        return f"{first}{rest}: {self.value:.2f} ({side} {self.limit:g} is worth {_worth(self.level)}). {known.do}"

    @property
    def do(self) -> str:
        """What to do."""
        known = BY_NAME.get(self.monitor)
        return known.do if known is not None else ""


def _worth(level: Level) -> str:
    return "an alarm" if level == "alarm" else "a notice"


def sounded(limits: Limits, values: Iterable[tuple[str, float | None, float]]) -> list[Alarm]:
    """The alarms of (monitor, value, by how many), the worst first."""
    found = []
    for name, value, n in values:
        limit = limits.get(name)
        level = (
            limit.level(abs(value) if value is not None and name == "agreement_drift" else value, n) if limit else None
        )
        if limit is not None and level is not None and value is not None:
            found.append(Alarm(name, level, value, limit.alarm if level == "alarm" else limit.notice))
    return sorted(found, key=lambda one: one.level != "alarm")
