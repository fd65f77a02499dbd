"""The engine's configuration: `config.ini` and its configuration object; from flags, environment, file, default.

The first of these that says something wins. Each option says what it becomes here, or why nothing.
"""

import configparser
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from app import strict_json
from app.agent.population.checking import shown, unknown
from app.agent.population.engine import plain
from app.errors import FieldError, Invalid
from app.llm.retry import FIRST_WAIT, LONGEST_WAIT, TRIES
from app.settings import Settings, load_settings, sources
from app.venues.session.files import read_bytes, read_value

Source: TypeAlias = Literal["flag", "environment", "file", "default"]
Kind: TypeAlias = Literal["text", "whole", "number", "truth", "level"]
FRONT = "SIMULATE_"
"""With this before its name in upper case, an option is taken from the environment."""

LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "warn": "warning", "error": "error"}
LEVELS |= {"critical": "error"}
TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
ANYWHERE = "*"
"""The section of the configuration object's options, which may stand in any."""

_TRIED = "how often is fixed: " + ", ".join(f"{n} times ({why})" for why, n in TRIES.items())
_WAITS = f"waits double from {2 * FIRST_WAIT:g} s to at most {LONGEST_WAIT:g} s, with full jitter"


@dataclass(frozen=True)
class Option:
    """One option: which values it takes, its default, the setting it stands for, and what it becomes.

    `unused` says why it has no meaning here. `least` of a number that `opens` is not itself allowed.
    """

    name: str
    section: str
    kind: Kind
    default: Any = None
    least: float = 0
    most: float = math.inf
    opens: bool = False
    setting: str = ""
    becomes: str = ""
    unused: str = ""

    @property
    def allowed(self) -> str:
        """Which values it takes, in words."""
        match self.kind:
            case "text":
                return "a text of 1 to 200 characters"
            case "truth":
                return "true or false"
            case "level":
                return f"one of {', '.join(LEVELS)}"
        what = "a whole number" if self.kind == "whole" else "a number"
        front = f"{what} above {self.least:g}" if self.opens else f"{what} from {self.least:g}"
        return front if math.isinf(self.most) else f"{front} to {self.most:,g}"

    def read(self, value: object) -> Any:
        """`value`, from a file of texts or of values, as the option has it.

        Raises:
            ValueError: it is not allowed.
        """
        found: Any
        if self.kind == "truth":
            found = value if isinstance(value, bool) else TRUTHS.get(value.lower()) if isinstance(value, str) else None
        elif self.kind == "level":
            found = LEVELS.get(value.lower()) if isinstance(value, str) else None
        elif self.kind == "text":
            found = value.strip() if isinstance(value, str) else None
            found = found if found and len(found) <= 200 and found.isprintable() else None
        else:
            found = self._number(value)
        if found is None:
            raise ValueError(f"must be {self.allowed}, not {plain(shown(value))}")
        return found

    def _number(self, value: object) -> float | int | None:
        if isinstance(value, str):
            try:
                value = int(value) if self.kind == "whole" else float(value)
            except ValueError:
                return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if self.kind == "whole" and not isinstance(value, int):
            return None
        return value if self.least <= value <= self.most and not (self.opens and value == self.least) else None


OPTIONS: dict[str, Option] = {
    one.name: one
    for one in (
        Option("model", "OpenAI", "text", setting="simfeed_model", becomes="the model of personas that name none"),
        Option(
            "temperature",
            "OpenAI",
            "number",
            most=2,
            setting="model_temperature",
            becomes="the temperature of personas that have none",
        ),
        Option("max_tokens", "OpenAI", "whole", 500, 16, 16_000, becomes="the most tokens of an answer"),
        Option(
            "timeout",
            "OpenAI",
            "number",
            most=600,
            opens=True,
            setting="model_timeout",
            becomes="seconds that a model call may take",
        ),
        Option("max_attempts", "OpenAI", "whole", least=1, unused=_TRIED),
        Option("exponential_backoff_factor", "OpenAI", "number", unused=_WAITS),
        Option(
            "parallel_agent_generation",
            "Simulation",
            "truth",
            unused="nobody is generated: personas come from their file",
        ),
        Option(
            "parallel_agent_actions",
            "Simulation",
            "truth",
            unused="in a conversation one speaks at a time, each hearing all before it",
        ),
        Option("max_turns", "Simulation", "whole", 10, 1, 10_000, becomes="turns, where --turns says nothing"),
        Option(
            "rate_limit_delay", "Performance", "number", most=60, becomes="REQUESTS_PER_MINUTE, 60 / it; 0 is no limit"
        ),
        Option(
            "max_workers",
            "Performance",
            "whole",
            least=1,
            most=10_000,
            setting="max_concurrent_turns",
            becomes="turns that are under way at once, and runs of an experiment side by side",
        ),
        Option("batch_size", "Performance", "whole", least=1, unused="turns are handed out as they come due"),
        Option("enable_monitoring", "Monitoring", "truth", unused="every call is always recorded: `simfeed trace RUN`"),
        Option("log_level", "Monitoring", "level", setting="log_level", becomes="the least level that is logged"),
        Option("performance_tracking", "Monitoring", "truth", unused="what each call took is always measured"),
        Option("max_personas", ANYWHERE, "whole", 20, 2, 20, becomes="the most personas that talk"),
        Option(
            "persona_timeout",
            ANYWHERE,
            "number",
            most=600,
            opens=True,
            becomes="seconds that a model call may take, where it is less than timeout",
        ),
        Option("parallel_execution", ANYWHERE, "truth", False, becomes="runs of an experiment side by side"),
        Option("max_retries", ANYWHERE, "whole", unused=_TRIED),
        Option("output_dir", ANYWHERE, "text", becomes="the folder of results"),
        Option("auto_analysis", ANYWHERE, "truth", True, becomes="whether results hold an analysis"),
        Option("save_visualizations", ANYWHERE, "truth", True, becomes="whether charts are written beside results"),
        Option(
            "timeout_seconds",
            ANYWHERE,
            "number",
            least=0.1,
            most=7 * 86_400,
            becomes="seconds after which the conversation is cut off",
        ),
        Option(
            "graceful_degradation",
            ANYWHERE,
            "truth",
            True,
            becomes="whether a turn that gives nothing is skipped; else it ends the run",
        ),
        Option(
            "fallback_model",
            ANYWHERE,
            "text",
            setting="model_fallback",
            becomes="the model that is asked where a persona's own gives nothing",
        ),
    )
}
SECTIONS = tuple(dict.fromkeys(one.section for one in OPTIONS.values() if one.section != ANYWHERE))


@dataclass(frozen=True)
class Value:
    """What an option is set to, where that was said, and under which name there."""

    value: Any
    source: Source
    place: str = ""


@dataclass(frozen=True)
class Config:
    """Every option's value; `notes` name what was said and is not used."""

    values: Mapping[str, Value]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name].value

    def settings(self, settings: Settings) -> Settings:
        """`settings` as these options want them.

        Raises:
            Misconfigured: a setting can't have that value.
        """
        over = {
            one.setting: self[one.name]
            for one in OPTIONS.values()
            if one.setting and self.values[one.name].source != "default"
        }
        delay = self.values["rate_limit_delay"]
        weaker = delay.source == "file" and sources(settings)["requests_per_minute"] in ("environment", "command line")
        if delay.value is not None and not weaker:
            over["requests_per_minute"] = max(1, math.floor(60 / delay.value)) if delay.value else 0
        if (seconds := self["persona_timeout"]) is not None:
            over["model_timeout"] = min(seconds, over.get("model_timeout", seconds))
        given = {name: getattr(settings, name) for name in settings._given if name in Settings.model_fields}
        return load_settings(**{**given, **over}) if over else settings

    def told(self) -> list[dict[str, Any]]:
        """Each option with its value, where that comes from, and what it becomes."""
        return [
            {
                "section": "" if one.section == ANYWHERE else one.section,
                "option": one.name,
                "value": self[one.name],
                "source": self.values[one.name].source,
                "place": self.values[one.name].place,
                "becomes": f"not used: {one.unused}" if one.unused else one.becomes,
                "used": not one.unused,
            }
            for one in OPTIONS.values()
        ]

    def in_effect(self) -> dict[str, Any]:
        """The options that have a meaning and a value."""
        return {one.name: self[one.name] for one in OPTIONS.values() if not one.unused and self[one.name] is not None}


def configured(
    path: Path | None = None, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Config:
    """The configuration, of a file (.ini, .json, .toml, .yaml), the environment, and flags, the later the stronger.

    Raises:
        NotFound: there is no such file.
        Invalid: tells each wrong place, and what is allowed there.
    """
    wrong: list[tuple[str, str]] = []
    notes: list[str] = []
    values = {one.name: Value(one.default, "default") for one in OPTIONS.values()}
    if path is not None:
        _take(values, _in_file(path, wrong, notes), "file", wrong)
    _take(values, _in_environment(os.environ if environment is None else environment), "environment", wrong)
    _take(values, _in_flags(flags or {}), "flag", wrong)
    if wrong:
        errors = [FieldError(place, "option", message) for place, message in wrong]
        raise Invalid("; ".join(f"{place}: {message}" for place, message in wrong[:50]), errors=errors[:50])
    said = [one for one in OPTIONS.values() if one.unused and values[one.name].source != "default"]
    notes += [f"{values[one.name].place} is not used: {one.unused}" for one in said]
    return Config(values, tuple(notes))


def _take(
    values: dict[str, Value],
    said: Iterator[tuple[str, Option, Any]],
    source: Source,
    wrong: list[tuple[str, str]],
) -> None:
    seen: dict[str, str] = {}
    for place, option, value in said:
        if option.name in seen:
            wrong.append((place, f"is given already as {seen[option.name]}"))
            continue
        seen[option.name] = place
        try:
            values[option.name] = Value(option.read(value), source, place)
        except ValueError as error:
            wrong.append((place, str(error)))


def _in_flags(flags: Mapping[str, Any]) -> Iterator[tuple[str, Option, Any]]:
    for name, value in flags.items():
        if value is not None:
            yield f"--{name.replace('_', '-')}", OPTIONS[name], value


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Option, Any]]:
    """Options by their own names, then by those of the settings they stand for."""
    for option in OPTIONS.values():
        for name in (FRONT + option.name.upper(), option.setting.upper()):
            if name and environment.get(name, "").strip():
                yield name, option, environment[name].strip()
                break


def _in_file(path: Path, wrong: list[tuple[str, str]], notes: list[str]) -> Iterator[tuple[str, Option, Any]]:
    sections = _ini(path) if path.suffix.lower() in ("", ".ini", ".cfg", ".conf") else _value(path)
    for section, entries in sections.items():
        front = f"[{plain(section[:60])}] " if section else ""
        known = next((one for one in SECTIONS if one.casefold() == section.casefold()), None)
        for key, value in entries.items():
            place = f"{path.name}: {front}{plain(key[:60])}"
            option = OPTIONS.get(key.lower())
            if option is None:
                near = unknown(plain(key[:60]), "option", OPTIONS)
                notes.append(f"{place} is not used: {near}")
            elif section and option.section not in (ANYWHERE, known):
                notes.append(f"{place} is not used: it belongs to [{option.section}]")
            elif value is None or value == "":
                notes.append(f"{place} is empty and leaves the default")
            else:
                yield place, option, value


def _ini(path: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        text = strict_json.decode(read_bytes(path, 2**20), allow_bom=True)
    except strict_json.JSONError as error:
        raise Invalid(f"{path.name}: {error.message}") from None
    parser = configparser.ConfigParser(
        interpolation=None, default_section="\0", inline_comment_prefixes=("#", ";"), allow_no_value=True
    )
    try:
        parser.read_string(text, path.name)
    except configparser.Error as error:
        told = " ".join(str(error).split())[:300]
        raise Invalid(f"{path.name}: is no configuration file: {told}") from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _value(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Sections of an object: those that hold one, and one without a name for options that stand by themselves."""
    value = read_value(path)
    if not isinstance(value, dict):
        raise Invalid(f"{path.name}: must be an object of sections or options")
    bare = {key: one for key, one in value.items() if not isinstance(one, dict)}
    return {"": bare, **{key: one for key, one in value.items() if isinstance(one, dict)}}
